"""The module security_group_check, against moto and botocore's Stubber."""

from __future__ import annotations

from typing import Any
from unittest import mock

import boto3
import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.modules import security_group_check
from botocore.stub import Stubber

from tests.support.aws_modules import REGION, aws_account, failing, recorded_calls, run_module

RETURN = yaml.safe_load(security_group_check.RETURN)
DECLARED = [
    {"ports": ["443"], "from": ["198.51.100.0/24"], "group": "lab-archive"},
    {"ports": ["5432"], "from": ["lab-archive"], "group": "lab-database"},
]


@pytest.fixture(scope="module")
def account():
    """Two groups as the roles make them, and one of the same name in another VPC."""
    with aws_account():
        ec2 = boto3.client("ec2", REGION)
        ids = {}
        for number in range(2):
            ids[f"vpc{number}"] = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
        for name, vpc in (("lab-archive", "vpc0"), ("lab-database", "vpc0"), ("lab-archive", "vpc1")):
            made = ec2.create_security_group(GroupName=name, Description="test", VpcId=ids[vpc])["GroupId"]
            ids[f"{vpc}/{name}"] = made
        allow(ec2, ids["vpc0/lab-archive"], 443, IpRanges=[{"CidrIp": "198.51.100.0/24", "Description": "Viewer"}])
        allow(ec2, ids["vpc0/lab-database"], 5432, UserIdGroupPairs=[{"GroupId": ids["vpc0/lab-archive"]}])
        prefixes = ec2.create_managed_prefix_list(
            PrefixListName="devices", MaxEntries=5, AddressFamily="IPv4", Entries=[{"Cidr": "10.9.0.0/16"}]
        )
        ids["devices"] = prefixes["PrefixList"]["PrefixListId"]
        yield ids


def allow(ec2: Any, group: str, port: int, **sources: Any) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **sources}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def check(account: dict[str, str], **arguments: Any) -> dict[str, Any]:
    defaults = {"groups": ["lab-archive", "lab-database"], "vpc_id": account["vpc0"], "declared": DECLARED}
    return run_module("security_group_check", **{**defaults, **arguments})


def test_what_is_declared_and_nothing_else(account):
    with recorded_calls() as calls:
        result = check(account, fail_on="low")
    assert (result["changed"], result["findings"], result["table"]) == (False, [], [])
    assert result["summary"] == "2 security groups with 2 rules: 0 high, 0 medium, 0 low"
    assert calls == ["ec2:DescribeSecurityGroups", "ec2:DescribeSecurityGroupRules"]
    by_group = {one["group_name"]: one for one in result["exposure"]}
    viewer, database = by_group["lab-archive"], by_group["lab-database"]
    assert viewer["rule_id"].startswith("sgr-")
    assert (viewer["description"], viewer["networks"], viewer["is_declared"]) == ("Viewer", ["198.51.100.0/24"], True)
    assert (database["source"], database["source_name"]) == (account["vpc0/lab-archive"], "lab-archive")
    assert [set(one) for one in RETURN["exposure"]["sample"]] == [set(viewer)]
    assert check(account, fail_on="low", groups=[account["vpc0/lab-archive"], account["vpc0/lab-database"]]) == {
        **result,
        "invocation": mock.ANY,
    }


def test_rules_that_were_added_by_hand(account):
    ec2 = boto3.client("ec2", REGION)
    archive, database = account["vpc0/lab-archive"], account["vpc0/lab-database"]
    allow(ec2, archive, 22, IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "by hand"}])
    allow(ec2, database, 5432, IpRanges=[{"CidrIp": "10.0.0.0/16"}])
    allow(ec2, archive, 11112, PrefixListIds=[{"PrefixListId": account["devices"]}])
    try:
        with recorded_calls() as calls:
            result = check(account, check=True)
        assert calls[2:] == ["ec2:GetManagedPrefixListEntries"]
        assert result["failed"]
        assert [(one["severity"], one["ports"], one["networks"]) for one in result["findings"]] == [
            ("high", "22", ["0.0.0.0/0"]),
            ("medium", "11112", ["10.9.0.0/16"]),
            ("medium", "5432", ["10.0.0.0/16"]),
        ]
        assert set(result["findings"][0]) == set(RETURN["findings"]["contains"])
        rules = {one["rule_id"]: one for one in result["findings"]}
        assert len(rules) == 3
        assert result["findings"][0]["description"] == "by hand"
        assert result["msg"].splitlines() == [result["summary"], *result["table"]]
        assert result["table"][0].startswith("HIGH    undeclared: lab-archive (sg-")
        assert "allows tcp 22 from 0.0.0.0/0 [rule sgr-" in result["table"][0]

        more = [
            {"ports": ["22"], "from": ["0.0.0.0/0"], "group": archive},
            {"ports": ["5432"], "from": ["10.0.0.0/8"]},
            {"ports": ["11112"], "from": [account["devices"], "10.8.0.0/15"]},
        ]
        declared = check(account, declared=DECLARED + more, fail_on="never")
        assert [(one["id"], one["networks"]) for one in declared["findings"]] == [
            ("missing", declared["findings"][0]["networks"]),
            ("missing", ["10.8.0.0/16"]),
        ]
        assert "failed" not in declared
        assert check(account, declared=DECLARED + more, fail_on="medium")["failed"]
        assert "failed" not in check(account, declared=DECLARED + more)

        with failing("GetManagedPrefixListEntries", "UnauthorizedOperation"):
            unread = check(account, fail_on="never")["findings"]
        assert [(one["id"], one["severity"], one["status"]) for one in unread if one["ports"] == "11112"] == [
            ("unknown", "high", "unknown"),
            ("undeclared", "medium", "found"),
        ]
    finally:
        for group in (archive, database):
            for rule in ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])[
                "SecurityGroupRules"
            ]:
                if rule["SecurityGroupRuleId"] in rules:
                    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
    assert check(account, fail_on="low")["findings"] == []


def test_outgoing_traffic(account):
    everything = {"protocol": "all", "to": ["0.0.0.0/0"]}
    assert check(account, declared_egress=[everything], fail_on="low")["findings"] == []
    found = check(account, declared_egress=[], fail_on="never")["findings"]
    assert [(one["direction"], one["severity"], one["protocol"]) for one in found] == [("egress", "high", "all")] * 2
    web = check(account, declared_egress=[everything | {"group": "lab-database"}], fail_on="never")["findings"]
    assert [one["group_name"] for one in web] == ["lab-archive"]
    assert "allows all protocols to 0.0.0.0/0 [rule" in web[0]["actual"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": []}, "groups is empty."),
        ({"groups": ["lab-web"]}, "groups: there is no security group lab-web in vpc-"),
        ({"vpc_id": None}, "groups: several VPCs have a security group lab-archive: vpc-"),
        ({"declared": [{"from": ["10.1.2.3/8"]}]}, "declared[0]: `10.1.2.3/8` is an address with the length"),
        ({"declared_egress": [{"to": ["lab-web"]}]}, "declared_egress[0]: `lab-web` is not a network"),
        ({"declared": [{"from": ["self"], "ports": ["x"]}]}, "declared[0]: `x` is not valid for the protocol tcp."),
        ({"declared": [{"from": ["self"], "group": "lab-web"}]}, "declared[0]: `lab-web` is not the name or the ID"),
        (
            {"groups": ["lab-archive"], "declared": DECLARED},
            "declared[1]: `lab-database` is not in groups. Add it there.",
        ),
    ],
)
def test_options_that_are_not_valid(account, arguments, message):
    result = check(account, **arguments)
    assert result["failed"]
    assert message in result["msg"]


@pytest.mark.parametrize("operation", ["DescribeSecurityGroups", "DescribeSecurityGroupRules"])
def test_a_denied_call_fails_with_its_name(account, operation):
    with failing(operation, "UnauthorizedOperation"):
        result = check(account, fail_on="never")
    assert result["failed"]
    assert result["msg"].startswith(
        "Cannot read the security groups: An error occurred (UnauthorizedOperation) when ca"
    )
    assert operation in result["msg"]


def test_a_group_of_another_account(account):
    ec2 = boto3.client("ec2", REGION)
    group = {"GroupId": "sg-1", "GroupName": "lab", "VpcId": "vpc-1"}
    rule = {
        "SecurityGroupRuleId": "sgr-1",
        "GroupId": "sg-1",
        "IsEgress": False,
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "ReferencedGroupInfo": {"GroupId": "sg-2", "UserId": "210987654321", "VpcId": "vpc-2"},
    }
    with Stubber(ec2) as stub, mock.patch.object(security_group_check.AwsModule, "client", return_value=ec2):
        stub.add_response("describe_security_groups", {"SecurityGroups": [group]}, {})
        stub.add_response(
            "describe_security_group_rules",
            {"SecurityGroupRules": [rule]},
            {"Filters": [{"Name": "group-id", "Values": ["sg-1"]}]},
        )
        result = run_module("security_group_check", groups=["lab"])
        stub.assert_no_pending_responses()
    assert [(one["severity"], one["source"], one["source_name"]) for one in result["findings"]] == [
        ("medium", "sg-2", "")
    ]
    assert "failed" not in result
