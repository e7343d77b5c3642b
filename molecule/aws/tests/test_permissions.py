"""The smallest policy on docs/aws-permissions.md has exactly the actions that the playbooks need."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.aws_lab import calls
from tests.support.project import PROJECT

pytestmark = pytest.mark.last  # the calls of all other tests count
# action → what AWS checks besides when it is called with what the roles send; moto does not.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
IMPLIED: dict[str, set[str]] = {
    "ec2:RunInstances": {"ec2:CreateTags", "iam:PassRole"},
}
# What needs no permission. https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity"}


def policies() -> list[dict]:
    page = (PROJECT / "docs/aws-permissions.md").read_text()
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]


def actions_of(policy: dict) -> set[str]:
    found: set[str] = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return found


def test_the_policy_has_no_wildcards_in_actions():
    assert policies()
    for policy in policies():
        assert [
            action for action in actions_of(policy) if "*" in action or not re.fullmatch(r"[a-z0-9]+:\w+", action)
        ] == []


def test_the_policy_is_what_the_playbooks_call():
    allowed = set().union(*(actions_of(policy) for policy in policies()))
    called = {one["call"] for one in calls(None)}
    needed = called.union(*(IMPLIED.get(call, set()) for call in called)) - FREE
    assert sorted(needed - allowed) == [], "the policy lacks what was called"
    assert sorted(allowed - needed) == [], "the policy allows what nothing calls"
