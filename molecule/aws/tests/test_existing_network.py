"""A server and a database in a VPC that others made: it is not changed, and stays when the environment is removed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.aws_lab import ENVIRONMENT, NETWORK, REGION, Run, client, names, new_account, writes
from tests.support.lab import recap

pytestmark = pytest.mark.long
SUBNETS = {"public": ("172.28.77.64/26", "a"), "first": ("172.28.77.128/26", "a"), "second": ("172.28.77.192/26", "b")}


def make_network(account: str) -> dict[str, Any]:
    """What the inventory says of a VPC with a way out, and subnets in two zones."""
    ec2 = client("ec2", account)
    vpc = ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
    for option in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{option: {"Value": True}})
    made = {
        name: ec2.create_subnet(VpcId=vpc, CidrBlock=network, AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
        for name, (network, zone) in SUBNETS.items()
    }
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=made["public"])
    return {
        "aws_network_vpc_id": vpc,
        "aws_network_public_subnet_ids": [made["public"]],
        "aws_network_private_subnet_ids": [made["first"], made["second"]],
    }


def describe_network(account: str) -> dict[str, Any]:
    ec2 = client("ec2", account)
    found = {
        "vpcs": ec2.describe_vpcs()["Vpcs"],
        "subnets": ec2.describe_subnets()["Subnets"],
        "gateways": ec2.describe_internet_gateways()["InternetGateways"],
        "tables": ec2.describe_route_tables()["RouteTables"],
        "default groups": ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])[
            "SecurityGroups"
        ],
    }
    for subnet in found["subnets"]:
        del subnet["AvailableIpAddressCount"]
    return found


def test_it_is_used_and_left_as_it_is():
    account = new_account()
    answers = make_network(account)
    before = describe_network(account)
    arguments = ("-e", json.dumps(answers))

    first = Run(*arguments, account=account)
    assert first.result.returncode == 0, first.output[-3000:]
    assert describe_network(account) == before
    (instance,) = client("ec2", account).describe_instances()["Reservations"][0]["Instances"]
    assert instance["SubnetId"] == answers["aws_network_public_subnet_ids"][0]
    (database,) = client("rds", account).describe_db_instances()["DBInstances"]
    subnets = [one["SubnetIdentifier"] for one in database["DBSubnetGroup"]["Subnets"]]
    assert sorted(subnets) == sorted(answers["aws_network_private_subnet_ids"])

    second = Run(*arguments, account=account)
    assert second.result.returncode == 0, second.output[-3000:]
    assert recap(second.output)["changed"] == 0
    assert writes(second.calls) == []

    removed = Run(*arguments, "-e", f"aws_destroy_environment={ENVIRONMENT}", account=account, playbook="aws_destroy")
    assert removed.result.returncode == 0, removed.output[-3000:]
    assert describe_network(account) == before
    assert {kind for kind, name in names(account) if name} == {"volume", "alias", "encryption key"}
