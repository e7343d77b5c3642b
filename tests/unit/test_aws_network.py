"""The role aws_network: what it refuses, how it divides a network, which existing one it takes, what it builds."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from typing import Any

import boto3
import pytest
from ansible_collections.lightbox.pacs.plugins.filter.aws_subnets import aws_subnets
from ansible_collections.lightbox.pacs.plugins.filter.given_network import given_network
from moto.server import ThreadedMotoServer

from tests.support.aws_modules import ENVIRONMENT, REGION, aws_account
from tests.support.project import PROJECT
from tests.support.rendering import Role

ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
VPC = "vpc-0abcdef1234567890"
OTHER_VPC = "vpc-0fedcba0987654321"
PUBLIC, PRIVATE, SECOND = "subnet-0000000a", "subnet-0000000b", "subnet-0000000c"
GIVEN = {
    "aws_network_vpc_id": VPC,
    "aws_network_public_subnet_ids": [PUBLIC],
    "aws_network_private_subnet_ids": [PRIVATE, SECOND],
}


@pytest.fixture(scope="module")
def role() -> Role:
    return Role("aws_network", aws_network_name="radiology")


def region(*zones: str) -> dict[str, Any]:
    """What aws_az_info returns."""
    return {"availability_zones": [{"zone_name": zone, "region_name": zone[:-1]} for zone in zones]}


def vpc(cidr: str = "10.77.0.0/16", name: str = VPC) -> dict[str, Any]:
    return {"kind": "vpc", "name": "radiology", "id": name, "vpc_id": name, "cidr": cidr}


def subnet(cidr: str, zone: str, **more: Any) -> dict[str, Any]:
    """A subnet as aws_resource_info returns it."""
    common = {"kind": "subnet", "vpc_id": VPC, "state": "available", "map_public": False, "tags": {}}
    return common | {"cidr": cidr, "zone": zone, "id": f"subnet-of-{cidr}"} | more


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"aws_network_cidr": "172.28.77.0/24"},
        {"aws_network_cidr": "192.168.0.0/25"},
        {"aws_network_cidr": "100.64.0.0/16"},
        {"aws_network_zones": ZONES},
        {"aws_network_zones": ZONES[:2]},
        {"aws_network_zones": ["us-gov-west-1a", "us-gov-west-1b"]},
        {"aws_network_flow_log_days": 365},
        {"aws_network_flow_log_days": "365"},
        {"aws_network_tags": {"Cost": "radiology", "lightbox:environment": "radiology"}},
        GIVEN,
        GIVEN | {"aws_network_private_subnet_ids": []},
    ],
)
def test_good_input_is_accepted(role, answers):
    assert role.errors(**answers) == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"aws_network_cidr": "10.77.0.0"}, "aws_network_cidr is '10.77.0.0', which is not an IPv4 network"),
        ({"aws_network_cidr": "10.77.0.1/16"}, "no bits set behind the prefix"),
        ({"aws_network_cidr": "10.77.0.0/255.255.0.0"}, "is not an IPv4 network"),
        ({"aws_network_cidr": "10.77.0.0/99"}, "is not an IPv4 network"),
        ({"aws_network_cidr": "fd00::/48"}, "is not an IPv4 network"),
        ({"aws_network_cidr": "hospital"}, "is not an IPv4 network"),
        ({"aws_network_cidr": ""}, "is not an IPv4 network"),
        ({"aws_network_cidr": "8.8.0.0/16"}, "aws_network_cidr is 8.8.0.0/16, whose addresses belong to others"),
        ({"aws_network_cidr": "172.32.0.0/16"}, "belong to others"),
        ({"aws_network_cidr": "10.0.0.0/8"}, "Set it to a network with a prefix from /16"),
        ({"aws_network_cidr": "10.77.0.0/26"}, "to /25"),
        ({"aws_network_zones": ["eu-central-1a"]}, "aws_network_zones is eu-central-1a. Set it to two or three"),
        ({"aws_network_zones": [*ZONES, "eu-central-1d"]}, "two or three different zones"),
        ({"aws_network_zones": ["eu-central-1a", "eu-central-1a"]}, "two or three different zones"),
        (
            {"aws_network_zones": ["eu-central-1", "eu-central-1b"]},
            "contains eu-central-1, which is not an availability",
        ),
        ({"aws_network_zones": "eu-central-1a"}, "aws_network_zones is 'eu-central-1a', which is text"),
        ({"aws_network_flow_log_days": 100}, "aws_network_flow_log_days is 100, which CloudWatch does not offer"),
        ({"aws_network_flow_log_days": 0}, "aws_network_flow_log_days is 0"),
        ({"aws_network_name": "r" * 51}, "aws_network_name is 'rrr"),
        ({"aws_network_name": "1st"}, "aws_network_name is '1st'"),
        ({"aws_network_tags": {"aws:createdBy": "me"}}, "aws_network_tags contains aws:createdBy"),
        ({"aws_network_tags": {"Cost": 7}}, "aws_network_tags has a value for Cost that is not text"),
        ({"aws_network_tags": {str(number): "x" for number in range(46)}}, "aws_network_tags has 46 tags"),
        ({"aws_network_vpc_id": "vpc-1"}, "aws_network_vpc_id is 'vpc-1'"),
        ({"aws_network_vpc_id": VPC}, "aws_network_vpc_id is set without subnets"),
        ({"aws_network_private_subnet_ids": [PRIVATE]}, "is set without their VPC. Set aws_network_vpc_id"),
        (GIVEN | {"aws_network_public_subnet_ids": ["eu-central-1a"]}, "contains eu-central-1a. Set ids of subnets"),
        (GIVEN | {"aws_network_public_subnet_ids": [PRIVATE]}, "have a subnet in common"),
    ],
)
def test_bad_input_is_refused(role, answers, message):
    assert message in "\n".join(role.errors(**answers))


@pytest.mark.parametrize(
    ("answers", "found", "message"),
    [
        (
            {"aws_network_zones": ["eu-central-1a", "eu-central-1d"]},
            [],
            "contains eu-central-1d, which the region does not",
        ),
        ({"aws_network_cidr": "10.78.0.0/16"}, [vpc()], f"but the VPC radiology ({VPC}) has the network 10.77.0.0/16"),
        ({"aws_network_name": "r" * 42}, [], "Set aws_network_name to 41 characters or fewer"),
        ({}, [vpc(), vpc(name=OTHER_VPC)], f"{VPC} and {OTHER_VPC} both have that name"),
        (
            {"aws_network_zones": ZONES[:2]},
            [vpc(), subnet("10.77.64.0/19", ZONES[2])],
            "but there are subnets in eu-central-1c, too",
        ),
    ],
)
def test_what_exists_is_compared_before_anything_changes(role, answers, found, message):
    known = {"__aws_network_region": region(*ZONES), "aws_network_existing": found}
    assert role.errors(**known) == [] or found[1:]
    errors = role.errors(**known, **answers)
    assert message in "\n".join(errors)
    assert len(errors) == 1


def test_no_second_vpc_is_made_where_somebody_removed_the_tag_of_the_first(role):
    known = {"__aws_network_region": region(*ZONES)}
    for stray in (subnet("10.77.64.0/19", ZONES[2]), {"kind": "instance", "id": "i-1", "vpc_id": VPC}):
        (error,) = role.errors(**known, aws_network_existing=[stray])
        assert f"{stray['id']} of that name are in {VPC}, which does not have it as its tag" in error
        assert role.errors(**known, aws_network_existing=[stray, vpc()]) == []


def test_a_play_that_validated_before_compares_with_what_aws_answers(role):
    known = {"__aws_network_region": region(*ZONES), "aws_network_existing": [vpc("10.1.0.0/16")]}
    assert role.errors(**known, __pacs_validated={}) != []
    assert role.errors(aws_network_existing=[vpc("10.1.0.0/16")], __pacs_validated={}) == []


def test_one_zone_is_too_few(role):
    assert "only eu-central-1a is available" in role.errors(__aws_network_region=region(ZONES[0]))[0]


# How the network is divided.


def test_subnets_of_three_zones():
    subnets = aws_subnets("10.77.0.0/16", "radiology", ZONES)
    assert [(one["name"], one["cidr"], one["zone"], one["public"]) for one in subnets] == [
        ("radiology-public-a", "10.77.0.0/19", "eu-central-1a", True),
        ("radiology-public-b", "10.77.32.0/19", "eu-central-1b", True),
        ("radiology-public-c", "10.77.64.0/19", "eu-central-1c", True),
        ("radiology-private-a", "10.77.128.0/19", "eu-central-1a", False),
        ("radiology-private-b", "10.77.160.0/19", "eu-central-1b", False),
        ("radiology-private-c", "10.77.192.0/19", "eu-central-1c", False),
    ]
    assert {(one["id"], one["complete"]) for one in subnets} == {("", False)}


def test_subnets_of_the_smallest_network():
    subnets = aws_subnets("172.28.77.0/25", "x", ZONES[:2])
    assert [one["cidr"] for one in subnets] == [
        "172.28.77.0/28",
        "172.28.77.16/28",
        "172.28.77.64/28",
        "172.28.77.80/28",
    ]


def test_more_zones_than_three_are_not_used():
    assert len(aws_subnets("10.77.0.0/16", "x", [f"us-east-1{letter}" for letter in "abcdef"])) == 6


@pytest.mark.parametrize("cidr", ["", "10.77.0.1/16", "hospital", "fd00::/48"])
def test_an_invalid_network_has_no_subnets(cidr):
    assert aws_subnets(cidr, "x", ZONES) == []


def test_subnets_keep_their_zones():
    """As after a run that ended early, in a region with another order of zones since."""
    existing = [subnet("10.77.32.0/19", ZONES[0]), subnet("10.77.128.0/19", ZONES[2])]
    subnets = aws_subnets("10.77.0.0/16", "x", ZONES, existing)
    assert [one["zone"][-1] for one in subnets] == ["c", "a", "b"] * 2
    assert [bool(one["id"]) for one in subnets] == [False, True, False, True, False, False]


@pytest.mark.parametrize(
    "drift",
    [
        {"map_public": True},
        {"tags": {"Name": "x-public-a"}},
        {"state": "pending"},
        {"tags": {"Name": "y", "Cost": "1"}},
    ],
)
def test_a_subnet_that_was_changed_is_not_complete(drift):
    as_made = subnet("10.77.0.0/19", ZONES[0], tags={"Name": "x-public-a", "Cost": "1"})
    first = aws_subnets("10.77.0.0/16", "x", ZONES, [as_made], {"Cost": "1"})[0]
    assert (first["complete"], first["id"]) == (True, "subnet-of-10.77.0.0/19")
    assert not aws_subnets("10.77.0.0/16", "x", ZONES, [as_made | drift], {"Cost": "1"})[0]["complete"]


def test_subnets_that_were_just_made_have_their_ids():
    made = [{"cidr_block": "10.77.128.0/19", "id": "subnet-new"}]
    assert aws_subnets("10.77.0.0/16", "x", ZONES, made=made)[3]["id"] == "subnet-new"


# What the role makes.


def test_resources_are_listed_by_name(role):
    resources = role.value("aws_network_resources", __aws_network_region=region("us-west-1a", "us-west-1c"))
    assert [(one["kind"], one["name"]) for one in resources] == [
        ("vpc", "radiology"),
        ("subnet", "radiology-public-a"),
        ("subnet", "radiology-public-c"),
        ("subnet", "radiology-private-a"),
        ("subnet", "radiology-private-c"),
        ("internet_gateway", "radiology"),
        ("route_table", "radiology-public"),
        ("route_table", "radiology-private"),
        ("vpc_endpoint", "radiology-s3"),
        ("log_group", "radiology-flow-logs"),
        ("iam_role", "radiology-us-west-1-flow-logs"),
        ("flow_log", "radiology-flow-logs"),
    ]
    assert role.value("aws_network_resources", **GIVEN) == []


def test_the_role_of_the_log_may_write_to_that_log_only(role):
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:radiology-flow-logs"
    [statement] = role.value("__aws_network_log_statements", __aws_network_log_group={"arn": f"{arn}:*"})
    assert statement["Resource"] == [arn, f"{arn}:*"]
    assert not [action for action in statement["Action"] if "*" in action or "Delete" in action]


def test_what_an_interrupted_run_left_is_used(role):
    found = [
        vpc(),
        {"kind": "internet_gateway", "name": "radiology", "id": "igw-1", "vpc_id": ""},
        {"kind": "route_table", "name": "radiology-private", "id": "rtb-1", "vpc_id": VPC},
    ]
    assert role.value("__aws_network_vpc_id", aws_network_existing=found) == VPC
    assert role.value("__aws_network_gateway_id", aws_network_existing=found) == "igw-1"
    assert role.value("__aws_network_route_table_ids", aws_network_existing=found) == {"radiology-private": "rtb-1"}
    assert role.value("__aws_network_vpc_id ~ __aws_network_gateway_id", aws_network_existing=[]) == ""


# Existing networks.


def table(routes: list[dict[str, Any]], *subnets: str, main: bool = False) -> dict[str, Any]:
    """A route table as ec2_vpc_route_table_info returns it."""
    associations = [{"main": False, "subnet_id": one} for one in subnets] + ([{"main": True}] if main else [])
    return {
        "routes": [{"destination_cidr_block": "10.50.0.0/16", "gateway_id": "local"}, *routes],
        "associations": associations,
    }


OUT = {"destination_cidr_block": "0.0.0.0/0", "gateway_id": "igw-1", "state": "active"}
NETWORK: dict[str, Any] = {
    "vpcs": [{"vpc_id": VPC, "cidr_block": "10.50.0.0/16", "state": "available", "enable_dns_support": True}],
    "subnets": [
        {
            "subnet_id": one,
            "vpc_id": VPC,
            "cidr_block": cidr,
            "availability_zone": zone,
            "available_ip_address_count": 251,
        }
        for one, cidr, zone in (
            (SECOND, "10.50.2.0/24", ZONES[1]),
            (PRIVATE, "10.50.1.0/24", ZONES[0]),
            (PUBLIC, "10.50.0.0/24", ZONES[0]),
        )
    ],
    "route_tables": [table([OUT], PUBLIC), table([], main=True)],
}


def given(network: dict[str, Any]) -> dict[str, Any]:
    return given_network(**network, vpc_id=VPC, public=[PUBLIC], private=[PRIVATE, SECOND])


def test_an_existing_network_is_described_in_the_order_of_the_variables(role):
    expected = {
        "vpc_id": VPC,
        "cidr": "10.50.0.0/16",
        "public_subnets": [{"id": PUBLIC, "zone": ZONES[0], "cidr": "10.50.0.0/24"}],
        "private_subnets": [
            {"id": PRIVATE, "zone": ZONES[0], "cidr": "10.50.1.0/24"},
            {"id": SECOND, "zone": ZONES[1], "cidr": "10.50.2.0/24"},
        ],
    }
    assert given(NETWORK) == {"network": expected, "errors": []}
    answers = GIVEN | {
        "__aws_network_vpcs": {"vpcs": NETWORK["vpcs"]},
        "__aws_network_subnets": {"subnets": NETWORK["subnets"]},
        "__aws_network_route_tables": {"route_tables": NETWORK["route_tables"]},
    }
    assert role.errors(**answers) == []
    assert role.value("__aws_network_given.network", **answers) == expected
    answers["__aws_network_vpcs"] = {"vpcs": []}
    assert role.errors(**answers) == [
        f"aws_network_vpc_id is {VPC}, which does not exist in this region of the account. Set it to the id of a VPC, "
        "or to '' to make one."
    ]


def change(part: str, number: int, **values: Any) -> dict[str, Any]:
    network = copy.deepcopy(NETWORK)
    network[part][number] |= values
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (change("vpcs", 0, vpc_id=OTHER_VPC), f"aws_network_vpc_id is {VPC}, which does not exist"),
        (change("vpcs", 0, state="pending"), "which is pending"),
        (change("vpcs", 0, enable_dns_support=False), "whose DNS support is off"),
        (
            change("subnets", 0, subnet_id="subnet-gone"),
            f"aws_network_private_subnet_ids contains {SECOND}, which does not exist",
        ),
        (change("subnets", 0, vpc_id=OTHER_VPC), f"which belongs to {OTHER_VPC}"),
        (
            change("subnets", 2, available_ip_address_count=3),
            f"aws_network_public_subnet_ids contains {PUBLIC}, which has 3 free",
        ),
        (change("subnets", 0, availability_zone=ZONES[0]), "has subnets in the zone eu-central-1a only"),
        (
            NETWORK | {"route_tables": [table([], PUBLIC), table([OUT], main=True)]},
            "which has no route to an internet gateway",
        ),
        (
            NETWORK | {"route_tables": [table([{**OUT, "gateway_id": "vgw-1"}], PUBLIC)]},
            "no route to an internet gateway",
        ),
        (
            NETWORK | {"route_tables": [table([{**OUT, "gateway_id": None, "nat_gateway_id": "nat-1"}], PUBLIC)]},
            "no route to",
        ),
        (
            NETWORK | {"route_tables": [table([{**OUT, "state": "blackhole"}], PUBLIC)]},
            "no route to an internet gateway",
        ),
        (NETWORK | {"route_tables": []}, "no route to an internet gateway"),
    ],
)
def test_an_existing_network_that_is_not_fit_is_refused(network, message):
    assert message in "\n".join(given(network)["errors"])


def test_the_main_route_table_counts_for_subnets_without_their_own():
    assert given(NETWORK | {"route_tables": [table([OUT], main=True), table([], "subnet-other")]})["errors"] == []


# The role on moto

PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/amazon.aws.aws: {region: eu-central-1}
    group/lightbox.pacs.aws: {region: eu-central-1}
  tasks:
    - ansible.builtin.import_role: {name: lightbox.pacs.aws_network}
    - ansible.builtin.copy:
        content: "{{ aws_network | to_json }}"
        dest: "{{ playbook_dir }}/facts.json"
        mode: "0600"
"""


def tagged(resource: dict[str, Any]) -> str:
    """The name of what has the tags of the environment."""
    tags = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
    assert (tags["lightbox:environment"], tags["cost-center"]) == ("ward", "it"), resource
    return tags["Name"]


def test_a_network_is_built(tmp_path):
    (tmp_path / "play.yml").write_text(PLAY)
    answers = {"aws_network_name": "ward", "aws_network_tags": {"cost-center": "it"}, "aws_network_flow_log_days": 30}
    (tmp_path / "vars.json").write_text(json.dumps(answers))
    with aws_account():
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        done = subprocess.run(
            ["ansible-playbook", "play.yml", "-i", "localhost,", "-e", "@vars.json"],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                **ENVIRONMENT,
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".collections"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        server.stop()
        assert done.returncode == 0, done.stdout[-3000:]
        check_network(json.loads((tmp_path / "facts.json").read_text()))


def check_network(facts: dict[str, Any]) -> None:
    """Compare what is in the account with what the page says."""
    ec2, logs, iam = (boto3.client(name, REGION) for name in ("ec2", "logs", "iam"))
    (vpc,) = [one for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]]
    assert (vpc["CidrBlock"], tagged(vpc), facts["vpc_id"]) == ("10.77.0.0/16", "ward", vpc["VpcId"])
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        answer = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)
        assert answer[attribute[0].upper() + attribute[1:]]["Value"] is True
    here = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnets = {tagged(one): one for one in ec2.describe_subnets(Filters=here)["Subnets"]}
    assert sorted(subnets) == [f"ward-{kind}-{zone}" for kind in ("private", "public") for zone in "abc"]
    assert {one["MapPublicIpOnLaunch"] for one in subnets.values()} == {False}
    for kind in ("public", "private"):
        ids = {one["SubnetId"] for name, one in subnets.items() if kind in name}
        assert {one["id"] for one in facts[f"{kind}_subnets"]} == ids
        assert len({one["AvailabilityZone"] for name, one in subnets.items() if kind in name}) == 3
    (gateway,) = ec2.describe_internet_gateways()["InternetGateways"]
    assert tagged(gateway) == "ward"
    assert [one["VpcId"] for one in gateway["Attachments"]] == [vpc["VpcId"]]
    tables = {tagged(one): one for one in ec2.describe_route_tables(Filters=here)["RouteTables"] if one["Tags"]}
    assert sorted(tables) == ["ward-private", "ward-public"]
    for kind, ways in (("public", [gateway["InternetGatewayId"]]), ("private", [])):
        table = tables[f"ward-{kind}"]
        routes = [one for one in table["Routes"] if one.get("DestinationCidrBlock") == "0.0.0.0/0"]
        assert [one["GatewayId"] for one in routes] == ways
        names = {
            name
            for name, one in subnets.items()
            for other in table["Associations"]
            if other.get("SubnetId") == one["SubnetId"]
        }
        assert names == {f"ward-{kind}-{zone}" for zone in "abc"}
    (endpoint,) = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["ServiceName"], endpoint["VpcEndpointType"]) == (f"com.amazonaws.{REGION}.s3", "Gateway")
    assert set(endpoint["RouteTableIds"]) == {one["RouteTableId"] for one in tables.values()}
    assert tagged(endpoint) == "ward-s3"
    (group,) = logs.describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("ward-flow-logs", 30)
    (flow,) = ec2.describe_flow_logs()["FlowLogs"]
    assert (flow["ResourceId"], flow["TrafficType"]) == (vpc["VpcId"], "REJECT")
    assert (flow["LogGroupName"], tagged(flow)) == ("ward-flow-logs", "ward-flow-logs")
    (role,) = iam.list_roles()["Roles"]
    assert role["RoleName"] == f"ward-{REGION}-flow-logs"
    assert flow["DeliverLogsPermissionArn"] == role["Arn"]
