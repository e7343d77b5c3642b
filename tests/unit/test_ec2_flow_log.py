"""The module ec2_flow_log, against moto and botocore's Stubber."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import boto3
import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.modules import ec2_flow_log
from botocore.stub import Stubber

from tests.support.aws_modules import REGION, aws_account, failing, recorded_calls, run_module

RETURN = yaml.safe_load(ec2_flow_log.RETURN)
TAGS = {"Name": "lab-flow-logs", "lightbox:environment": "lab"}


@pytest.fixture(scope="module")
def made():
    """A VPC, and two roles and log groups."""
    with aws_account():
        ids = {"vpc": boto3.client("ec2", REGION).create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]}
        iam, logs = boto3.client("iam"), boto3.client("logs", REGION)
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        for name in ("lab", "other"):
            logs.create_log_group(logGroupName=name)
            ids[name] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        yield ids


@pytest.fixture
def account(made):
    """The same without flow logs."""
    ec2 = boto3.client("ec2", REGION)
    left = [one["FlowLogId"] for one in ec2.describe_flow_logs()["FlowLogs"]]
    if left:
        ec2.delete_flow_logs(FlowLogIds=left)
    return made


def run(account: dict[str, str], check: bool = False, **arguments: Any) -> dict[str, Any]:
    defaults = {"vpc_id": account["vpc"], "log_group": "lab", "role_arn": account["lab"], "tags": TAGS}
    given = {name: value for name, value in {**defaults, **arguments}.items() if value is not None}
    return run_module("ec2_flow_log", check=check, **given)


def listed() -> list[dict[str, Any]]:
    return boto3.client("ec2", REGION).describe_flow_logs()["FlowLogs"]


def test_check_do_again_check_again(account):
    with recorded_calls() as calls:
        checked = run(account, check=True)
    assert (checked["changed"], checked["flow_log"], listed()) == (True, {}, [])
    assert calls == ["ec2:DescribeFlowLogs"]
    assert checked["diff"]["before"] == {"flow_logs": []}
    assert checked["diff"]["after"]["flow_logs"][0]["traffic"] == "REJECT"

    done = run(account)
    (found,) = listed()
    assert done["changed"] is True
    assert set(done["flow_log"]) == set(RETURN["flow_log"]["contains"])
    assert (found["FlowLogId"], found["ResourceId"]) == (done["flow_log"]["id"], account["vpc"])
    assert (found["TrafficType"], found["LogGroupName"]) == ("REJECT", "lab")
    assert found["DeliverLogsPermissionArn"] == account["lab"]
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == TAGS

    for check in (False, True):
        with recorded_calls() as calls:
            again = run(account, check=check)
        assert (again["changed"], again["flow_log"]) == (False, done["flow_log"])
        assert again["diff"]["before"] == again["diff"]["after"]
        assert calls == ["ec2:DescribeFlowLogs"]


@pytest.mark.parametrize(("option", "value"), [("traffic", "ALL"), ("role_arn", "other")])
def test_what_aws_cannot_change_is_replaced(account, option, value):
    first = run(account)["flow_log"]
    value = account.get(value, value)
    checked = run(account, check=True, **{option: value})
    assert (checked["changed"], checked["flow_log"]) == (True, {})
    assert [one["FlowLogId"] for one in listed()] == [first["id"]]
    second = run(account, **{option: value})
    assert (second["changed"], second["flow_log"][option]) == (True, value)
    assert [one["FlowLogId"] for one in listed()] == [second["flow_log"]["id"]] != [first["id"]]
    assert run(account, **{option: value})["changed"] is False


def test_tags(account):
    first = run(account)["flow_log"]
    assert run(account, tags=None)["changed"] is False
    tags = {"Name": "another", "number": 5}
    assert run(account, check=True, tags=tags)["changed"] is True
    changed = run(account, tags=tags)
    assert (changed["changed"], changed["flow_log"]["id"]) == (True, first["id"])
    assert changed["flow_log"]["tags"] == {"Name": "another", "number": "5"}
    assert {tag["Key"]: tag["Value"] for tag in listed()[0]["Tags"]} == changed["flow_log"]["tags"]
    assert run(account, tags=tags)["changed"] is False
    assert run(account, tags={})["flow_log"]["tags"] == {}
    assert run(account, tags=None)["changed"] is False


def test_absent(account):
    assert run(account, state="absent", role_arn=None)["changed"] is False
    run(account)
    run(account, log_group="other")
    checked = run(account, check=True, state="absent")
    assert (checked["changed"], len(listed())) == (True, 2)
    done = run(account, state="absent")
    assert (done["changed"], done["flow_log"], done["diff"]["after"]) == (True, {}, {"flow_logs": []})
    assert [one["LogGroupName"] for one in listed()] == ["other"]
    assert run(account, state="absent")["changed"] is False


def test_a_role_is_needed(account):
    result = run(account, role_arn=None)
    assert result["failed"]
    assert "role_arn" in result["msg"]


@pytest.mark.parametrize("operation", ["DescribeFlowLogs", "CreateFlowLogs"])
def test_a_denied_call_fails_with_its_name(account, operation):
    with failing(operation, "UnauthorizedOperation"):
        result = run(account)
    assert result["failed"]
    assert result["msg"].startswith(f"Cannot manage the flow log of {account['vpc']}: An error occurred (Unauthorized")
    assert operation in result["msg"]


def test_throttling_is_waited_for(account):
    with failing("CreateFlowLogs", "RequestLimitExceeded", times=2):
        assert run(account)["changed"] is True
    assert len(listed()) == 1


def stubbed(account: dict[str, str], prepare: Any, **arguments: Any) -> dict[str, Any]:
    ec2 = boto3.client("ec2", REGION)
    with (
        Stubber(ec2) as stub,
        mock.patch("ansible_collections.amazon.aws.plugins.module_utils.modules.boto3_conn", return_value=ec2),
    ):
        prepare(stub)
        result = run(account, **arguments)
        stub.assert_no_pending_responses()
    return result


def describe(account: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "FlowLogId": "fl-1",
        "ResourceId": account["vpc"],
        "LogGroupName": "lab",
        "TrafficType": "REJECT",
        "DeliverLogsPermissionArn": account["lab"],
        "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()],
        **more,
    }


@pytest.mark.parametrize(("state", "deleted"), [("present", ["fl-2"]), ("absent", ["fl-1", "fl-2"])])
def test_of_several_one_stays(account, state, deleted):
    several = [describe(account), describe(account, FlowLogId="fl-2", TrafficType="ALL")]

    def prepare(stub):
        stub.add_response("describe_flow_logs", {"FlowLogs": several})
        stub.add_response("delete_flow_logs", {}, {"FlowLogIds": deleted})

    result = stubbed(account, prepare, state=state)
    assert (result["changed"], result["flow_log"].get("id")) == (True, "fl-1" if state == "present" else None)


def test_a_role_that_was_just_made(account):
    def prepare(stub):
        stub.add_response("describe_flow_logs", {"FlowLogs": []})
        for _attempt in range(3):
            stub.add_client_error(
                "create_flow_logs", "InvalidParameter", "Unable to assume given IAM role arn:aws:iam::1:role/lab."
            )
        stub.add_response("create_flow_logs", {"FlowLogIds": ["fl-1"]})

    assert stubbed(account, prepare)["flow_log"]["id"] == "fl-1"


def test_a_role_that_cannot_be_assumed(account):
    times = iter(range(0, 10**6, 50))

    def prepare(stub):
        stub.add_response("describe_flow_logs", {"FlowLogs": []})
        for _attempt in range(3):
            stub.add_client_error("create_flow_logs", "InvalidParameter", "Unable to assume given IAM role")

    with mock.patch.object(ec2_flow_log.time, "monotonic", side_effect=times):
        result = stubbed(account, prepare)
    assert result["failed"]
    assert "Unable to assume given IAM role" in result["msg"]


def test_what_aws_reports_beside_an_answer(account):
    failure = {"ResourceId": "vpc-1", "Error": {"Code": "400", "Message": "Access Denied for LogDestination"}}

    def prepare(stub):
        stub.add_response("describe_flow_logs", {"FlowLogs": []})
        stub.add_response("create_flow_logs", {"FlowLogIds": [], "Unsuccessful": [failure]})

    result = stubbed(account, prepare)
    assert result["failed"]
    assert result["msg"] == f"Cannot manage the flow log of {account['vpc']}: Access Denied for LogDestination (400)"


def test_a_log_group_that_cannot_be_written_to(account):
    flow_log = describe(account, DeliverLogsStatus="FAILED", DeliverLogsErrorMessage="Access error")
    flow_log["Tags"].append({"Key": "aws:owner", "Value": "x"})

    def prepare(stub):
        stub.add_response("describe_flow_logs", {"FlowLogs": [flow_log]})

    result = stubbed(account, prepare)
    assert (result["changed"], result["flow_log"]["delivery_error"]) == (False, "Access error")
    assert result["flow_log"]["tags"]["aws:owner"] == "x"
    assert f"AWS cannot write the flow log of {account['vpc']} to lab: Access error. Check role_arn." in str(
        result["warnings"]
    )
