"""The policies on docs/aws-permissions.md: valid, narrow, and with a reason for each action."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_errors import find_operations

from tests.support.permissions import read_actions, read_policy, read_sections

HEADINGS = ["Build and change", "Verify only", "Remove", "What AWS calls for you", "Changes later"]
# Permissions of which IAM asks although no operation has their name.
NOT_OPERATIONS = {"iam:PassRole", "kms:ReEncryptFrom", "kms:ReEncryptTo"}
# What has no resource that could be named before it exists, or none by which an environment could be recognized.
NOT_NARROWED = {"kms:CreateKey", "route53:ChangeResourceRecordSets"}


@pytest.fixture(params=HEADINGS)
def heading(request) -> str:
    return request.param


def test_sections():
    assert list(read_sections()) == HEADINGS


def test_actions_exist(heading):
    for action in set(read_actions(heading)) - NOT_OPERATIONS:
        service, _colon, operation = action.partition(":")
        assert operation in find_operations(service).values(), action


def test_each_action_is_allowed_once_and_has_a_reason(heading):
    actions = read_actions(heading)
    assert len(actions) == len(set(actions))
    rows = re.findall(r"^\| `([a-z0-9-]+:\w+)` \| \S.* \|$", read_sections()[heading], re.M)
    assert sorted(rows) == sorted(actions)


def test_what_writes_is_narrowed(heading):
    wide = [statement for statement in read_policy(heading)["Statement"] if statement["Resource"] == "*"]
    actions = {action for statement in wide for action in statement["Action"]}
    assert {action for action in actions if not re.search(":(Describe|Get|List)", action)} <= NOT_NARROWED


def test_what_deletes_is_narrowed_to_the_environment():
    for statement in read_policy("Remove")["Statement"]:
        if not all(re.search(":(Describe|Get|List)", action) for action in statement["Action"]):
            assert "hospital-prod" in json.dumps([statement["Resource"], statement.get("Condition")])


def test_verification_only_reads():
    assert [action for action in read_actions("Verify only") if not re.search(":(Describe|Get|List)", action)] == []
    assert "secretsmanager:GetSecretValue" not in read_actions("Verify only")


def test_policies_fit_into_a_managed_policy(heading):
    assert len(json.dumps(read_policy(heading), separators=(",", ":"))) <= 6144


def test_permissions_that_are_not_called_are_documented_by_aws():
    rows = [line for line in read_sections()["What AWS calls for you"].splitlines() if line.startswith("| `")]
    assert [row for row in rows if "](https://docs.aws.amazon.com/" not in row] == []
