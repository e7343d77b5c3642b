"""The smallest policy on docs/aws-permissions.md has exactly the actions that the playbooks need."""

from __future__ import annotations

import re

import pytest

from tests.support.aws_lab import calls
from tests.support.permissions import read_actions, read_sections

pytestmark = pytest.mark.last  # the calls of all other tests count
CALLED = ["Build and change", "Verify only", "Remove"]
# What needs no permission. https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity"}


def actions_of(*headings: str) -> set[str]:
    return {action for heading in headings for action in read_actions(heading)}


def test_the_policies_have_no_wildcards_in_actions():
    for action in actions_of(*read_sections()):
        assert re.fullmatch(r"[a-z0-9]+:\w+", action), action


def test_the_policies_are_what_the_playbooks_call():
    called = {one["call"] for one in calls(None)} - FREE
    allowed = actions_of(*CALLED)
    # The tests of drift repair something, too.
    assert sorted(called - allowed - actions_of("Changes later")) == [], "the policies lack what was called"
    assert sorted(allowed - called) == [], "the policies allow what nothing calls"
