"""The module iam_service_role, against moto and botocore's Stubber."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import boto3
import pytest
from ansible_collections.lightbox.pacs.plugins.modules import iam_service_role
from botocore.stub import Stubber

from tests.support.aws_modules import aws_account, failing, recorded_calls, run_module

NAME = "lab-flow-logs"
SERVICE = "vpc-flow-logs.amazonaws.com"
STATEMENTS = [
    {"Effect": "Allow", "Action": ["logs:PutLogEvents"], "Resource": "arn:aws:logs:eu-central-1:1:log-group:lab:*"}
]
WANTED = {
    "name": NAME,
    "service": SERVICE,
    "account_id": "123456789012",
    "statements": STATEMENTS,
    "description": "Writes a log",
    "tags": {"Name": NAME, "lightbox:environment": "lab"},
}
READ = {"iam:GetRole", "iam:ListRolePolicies", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies"}


@pytest.fixture
def account():
    with aws_account():
        yield boto3.client("iam")


def run(check: bool = False, **more: Any) -> dict[str, Any]:
    return run_module("iam_service_role", check=check, **WANTED | more)


def described(iam: Any) -> dict[str, Any]:
    role = iam.get_role(RoleName=NAME)["Role"]
    names = iam.list_role_policies(RoleName=NAME)["PolicyNames"]
    return {
        "trust": role["AssumeRolePolicyDocument"]["Statement"][0],
        "description": role["Description"],
        "tags": {tag["Key"]: tag["Value"] for tag in role["Tags"]},
        "policies": {
            name: iam.get_role_policy(RoleName=NAME, PolicyName=name)["PolicyDocument"]["Statement"] for name in names
        },
        "attached": iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"],
    }


AS_WANTED = {
    "trust": {
        "Effect": "Allow",
        "Principal": {"Service": SERVICE},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
    },
    "description": "Writes a log",
    "tags": WANTED["tags"],
    "policies": {NAME: STATEMENTS},
    "attached": [],
}


def test_create_check_and_again(account):
    with recorded_calls() as calls:
        assert run(check=True)["changed"]
    assert set(calls) <= READ
    first = run()
    assert (first["changed"], first["arn"]) == (True, f"arn:aws:iam::123456789012:role/{NAME}")
    assert first["diff"]["before"] == {}
    assert described(account) == AS_WANTED
    with recorded_calls() as calls:
        again = run()
    assert (again["changed"], again["arn"]) == (False, first["arn"])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert set(calls) == READ
    assert account.list_instance_profiles()["InstanceProfiles"] == []


def test_a_run_that_ended_early_is_completed(account):
    with failing("PutRolePolicy", "LimitExceeded", times=1):
        assert run()["failed"]
    assert described(account)["tags"] == WANTED["tags"]
    assert run()["changed"]
    assert described(account) == AS_WANTED


MANAGED = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"


def managed_policies(iam: Any) -> list[str]:
    return [one["PolicyArn"] for one in described(iam)["attached"]]


def test_managed_policies_and_again(account, monkeypatch):
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    other = account.create_policy(
        PolicyName="other", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": STATEMENTS})
    )["Policy"]["Arn"]
    given: dict[str, Any] = {"statements": [], "managed_policies": [MANAGED]}
    with recorded_calls() as calls:
        assert run(check=True, **given)["changed"]
    assert set(calls) <= READ
    with failing("AttachRolePolicy", "ServiceFailure", times=1):
        assert run(**given)["failed"]
    assert run(**given)["diff"]["after"]["attached"] == [MANAGED]
    assert managed_policies(account) == [MANAGED]
    assert described(account)["policies"] == {}
    assert not run(**given)["changed"]
    account.attach_role_policy(RoleName=NAME, PolicyArn=other)
    account.detach_role_policy(RoleName=NAME, PolicyArn=MANAGED)
    assert run(**given)["changed"]
    assert managed_policies(account) == [MANAGED]
    assert run()["changed"]  # statements in place of it
    assert described(account) == AS_WANTED
    assert run(**given)["changed"]
    assert (described(account)["policies"], managed_policies(account)) == ({}, [MANAGED])
    assert run_module("iam_service_role", name=NAME, state="absent")["changed"]
    assert account.list_roles()["Roles"] == []


def test_delete_and_again(account):
    run()
    account.put_role_policy(
        RoleName=NAME, PolicyName="more", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": STATEMENTS})
    )
    absent: dict[str, Any] = {"name": NAME, "state": "absent"}
    assert run_module("iam_service_role", check=True, **absent)["changed"]
    assert described(account)["policies"].keys() == {NAME, "more"}
    assert run_module("iam_service_role", **absent)["changed"]
    assert account.list_roles()["Roles"] == []
    assert not run_module("iam_service_role", **absent)["changed"]


def test_a_throttled_call_is_repeated(account):
    with failing("GetRole", "Throttling", times=2):
        assert "failed" not in run()


def test_a_denied_call_is_named(account):
    with failing("CreateRole", "AccessDenied"):
        result = run()
    assert result["failed"]
    assert "CreateRole" in result["msg"]


def test_incomplete_options_are_refused():
    with aws_account():
        assert "service" in run_module("iam_service_role", name=NAME, statements=STATEMENTS)["msg"]
        assert "Neither statements nor managed_policies" in run(statements=[])["msg"]


def test_only_what_differs_is_sent():
    """With answers as AWS gives them: a single statement for a list of one is the same."""
    client = boto3.client("iam", aws_access_key_id="x", aws_secret_access_key="y")
    statement = {**STATEMENTS[0], "Action": "logs:PutLogEvents"}
    role = {
        "Path": "/",
        "RoleName": NAME,
        "RoleId": "AROAEXAMPLEEXAMPLE",
        "Arn": f"arn:aws:iam::123456789012:role/{NAME}",
        "CreateDate": "2026-01-01T00:00:00Z",
        "Description": WANTED["description"],
        "AssumeRolePolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": AS_WANTED["trust"]}),
        "Tags": [{"Key": "Name", "Value": NAME}],
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    name = {"RoleName": NAME}
    with Stubber(client) as stub:
        stub.add_response("get_role", {"Role": role}, name)
        stub.add_response("list_role_policies", {"PolicyNames": [NAME]}, name)
        stub.add_response(
            "get_role_policy", {**name, "PolicyName": NAME, "PolicyDocument": document}, {**name, "PolicyName": NAME}
        )
        stub.add_response("list_attached_role_policies", {"AttachedPolicies": []}, name)
        stub.add_response("tag_role", {}, {**name, "Tags": [{"Key": "lightbox:environment", "Value": "lab"}]})
        with (
            mock.patch.object(
                iam_service_role.Role,
                "call",
                lambda self, operation, **given: getattr(client, operation)(**name, **given),
            ),
            aws_account(),
        ):
            result = run()
        stub.assert_no_pending_responses()
    assert result["changed"]


@pytest.fixture(scope="module")
def made():
    """An account with the role."""
    with aws_account():
        run()
        yield boto3.client("iam")


@pytest.mark.parametrize(
    "drift",
    [
        lambda iam: iam.put_role_policy(
            RoleName=NAME,
            PolicyName="more",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": STATEMENTS}),
        ),
        lambda iam: iam.put_role_policy(
            RoleName=NAME,
            PolicyName=NAME,
            PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
            ),
        ),
        lambda iam: iam.delete_role_policy(RoleName=NAME, PolicyName=NAME),
        lambda iam: iam.attach_role_policy(
            RoleName=NAME,
            PolicyArn=iam.create_policy(
                PolicyName="all", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": STATEMENTS})
            )["Policy"]["Arn"],
        ),
        lambda iam: iam.update_assume_role_policy(
            RoleName=NAME,
            PolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
                }
            ),
        ),
        lambda iam: iam.update_role(RoleName=NAME, Description="by hand"),
        lambda iam: iam.tag_role(RoleName=NAME, Tags=[{"Key": "Name", "Value": "other"}, {"Key": "x", "Value": "y"}]),
        lambda iam: iam.untag_role(RoleName=NAME, TagKeys=["lightbox:environment"]),
    ],
)
def test_what_was_changed_by_hand_is_repaired(made, drift):
    drift(made)
    with recorded_calls() as calls:
        assert run(check=True)["changed"]
    assert set(calls) <= READ
    found = run()
    assert found["changed"]
    assert found["diff"]["before"] != found["diff"]["after"]
    assert described(made) == AS_WANTED
