"""What the role aws_security_groups refuses, the rules that it makes, and those that it finds undeclared."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import boto3
import moto.server
import pytest
from ansible_collections.lightbox.pacs.plugins.filter.security_group_rules import security_group_rules
from ansible_collections.lightbox.pacs.plugins.filter.unmanaged_rules import unmanaged_rules
from ansible_collections.lightbox.pacs.plugins.filter.wide_networks import wide_networks

from tests.support.aws_modules import ENVIRONMENT, REGION
from tests.support.project import PROJECT
from tests.support.rendering import Role

WEB = {"aws_security_groups_web_networks": ["198.51.100.0/24"]}
SSH = {"aws_security_groups_ssh_networks": ["198.51.100.7"]}
EVERYBODY = ["0.0.0.0/0", "::/0"]
ADDITIONAL = {"port": 5432, "networks": ["10.9.0.0/16"], "description": "A database"}


@pytest.fixture(scope="module")
def role() -> Role:
    return Role("aws_security_groups", aws_security_groups_name="radiology", **WEB, **SSH)


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"aws_security_groups_web_networks": EVERYBODY, "aws_security_groups_http_networks": EVERYBODY},
        {"aws_security_groups_web_networks": []},
        {"aws_security_groups_ssh_networks": ["2001:db8::1", "10.0.0.0/8"]},
        {"aws_security_groups_ssh_networks": EVERYBODY, "aws_security_groups_accepted_public_ports": [22]},
        {"aws_security_groups_ssh_networks": [], "aws_security_groups_connect": "session_manager"},
        {
            "aws_security_groups_dicom_networks": ["127.0.0.1", "10.1.0.0/16"],
            "aws_security_groups_dicom_tls_networks": ["10.1.2.3"],
        },
        {"aws_security_groups_dicom_tls_networks": EVERYBODY, "aws_security_groups_accepted_public_ports": [11112]},
        {"aws_security_groups_dicom_port": 443},  # that nobody may reach
        {"aws_security_groups_web_networks": [f"10.0.0.{host}" for host in range(59)]},
        {"aws_security_groups_additional_egress": [ADDITIONAL, {**ADDITIONAL, "proto": "udp"}]},
        {"aws_security_groups_vpc_cidr": "10.77.0.0/16"},
    ],
)
def test_good_input_is_accepted(role, answers):
    assert role.errors(**answers) == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"aws_security_groups_web_networks": ["198.51.100.0/33"]},
            'web_networks contains "198.51.100.0/33", which is not a',
        ),
        ({"aws_security_groups_web_networks": ["hospital.example.org"]}, "which is not a valid network"),
        ({"aws_security_groups_web_networks": ["10.01.0.0/16"]}, "which is not a valid network"),
        ({"aws_security_groups_web_networks": ["10.0.0.1/24"]}, "which is not a valid network"),
        ({"aws_security_groups_web_networks": ["10.0.0.0/255.0.0.0"]}, "which is not a valid network"),
        ({"aws_security_groups_web_networks": ["fe80::1%eth0"]}, "which is not a valid network"),
        ({"aws_security_groups_web_networks": [""]}, "which is not a valid network"),
        (
            {"aws_security_groups_web_networks": "0.0.0.0/0"},
            "aws_security_groups_web_networks is '0.0.0.0/0', which is text",
        ),
        (
            {"aws_security_groups_ssh_networks": ["me"]},
            'aws_security_groups_ssh_networks contains "me", which is not a',
        ),
        ({"aws_security_groups_dicom_networks": ["ct"]}, 'contains "ct", which is not a valid'),
        ({"aws_security_groups_dicom_tls_networks": ["ct"]}, 'contains "ct", which is not a valid'),
        ({"aws_security_groups_http_networks": ["ct"]}, 'contains "ct", which is not a valid'),
        (
            {"aws_security_groups_additional_egress": [{**ADDITIONAL, "networks": ["db"]}]},
            'additional_egress contains "db"',
        ),
        ({"aws_security_groups_additional_egress": [{"port": 1}]}, "has no networks, which is required"),
        (
            {"aws_security_groups_additional_egress": [{**ADDITIONAL, "port": 0}]},
            "additional_egress has 0. Set it to a port",
        ),
        ({"aws_security_groups_ssh_networks": []}, "aws_security_groups_ssh_networks is not set"),
        ({"aws_security_groups_ssh_networks": ["0.0.0.0/0"]}, "opens port 22 to 0.0.0.0/0: nearly everybody"),
        ({"aws_security_groups_ssh_networks": ["::/0"]}, "opens port 22 to ::/0"),
        ({"aws_security_groups_ssh_networks": ["0.0.0.0/1", "128.0.0.0/1"]}, "opens port 22 to 0.0.0.0/0"),
        ({"aws_security_groups_ssh_networks": ["8.0.0.0/7"]}, "opens port 22 to 8.0.0.0/7"),
        ({"aws_security_groups_ssh_networks": ["8.0.0.0/8", "9.0.0.0/8"]}, "opens port 22 to 8.0.0.0/7"),
        ({"aws_security_groups_ssh_networks": ["2000::/3"]}, "opens port 22 to 2000::/3"),
        (
            {"aws_security_groups_ssh_networks": EVERYBODY, "aws_security_groups_accepted_public_ports": [443]},
            "opens port 22 to 0.0.0.0/0, ::/0",
        ),
        ({"aws_security_groups_dicom_networks": ["0.0.0.0/0"]}, "aws_security_groups_dicom_networks opens port 4242"),
        (
            {"aws_security_groups_dicom_tls_networks": ["0.0.0.0/0"]},
            "aws_security_groups_dicom_tls_networks opens port 11112",
        ),
        ({"aws_security_groups_https_port": 22}, "must differ from each other and from 22"),
        ({"aws_security_groups_http_port": 443}, "must differ from each other"),
        ({"aws_security_groups_dicom_port": 443, "aws_security_groups_dicom_networks": ["10.1.0.0/16"]}, "must differ"),
        (
            {"aws_security_groups_https_port": 8042},
            "is 8042, the port of Orthanc's own web server, which is never opened",
        ),
        ({"aws_security_groups_https_port": 70000}, "has 70000. Set it to a port from 1 to 65535"),
        ({"aws_security_groups_database_port": 0}, "has 0. Set it to a port"),
        ({"aws_security_groups_name": "sg-radiology"}, "aws_security_groups_name is 'sg-radiology'"),
        ({"aws_security_groups_name": "r" * 101}, "Set it to 1 to 100 letters"),
        ({"aws_security_groups_vpc_cidr": "vpc"}, "aws_security_groups_vpc_cidr is 'vpc'"),
        (
            {"aws_security_groups_web_networks": [f"10.0.0.{host}" for host in range(60)]},
            "need 61 rules of one direction",
        ),
        (
            {"aws_security_groups_web_networks": [f"2001:db8::{host}" for host in range(61)]},
            "need 61 rules of one direction",
        ),
        (
            {"aws_security_groups_modalities": [{"host": f"10.0.0.{host}", "port": 104} for host in range(56)]},
            "need 62 rules of one direction",
        ),
        ({"aws_security_groups_unmanaged": "keep"}, "Set aws_security_groups_unmanaged to one of remove, report"),
        ({"aws_security_groups_connect": "vpn"}, "aws_security_groups_connect is 'vpn'"),
    ],
)
def test_bad_input_is_refused(role, answers, message):
    assert message in "\n".join(role.errors(**answers))


def test_who_may_reach_it_has_no_default():
    errors = Role("aws_security_groups").errors()
    assert [error.split(" is not set.")[0] for error in errors] == [
        "aws_security_groups_web_networks",
        "aws_security_groups_ssh_networks",
    ]
    assert "[198.51.100.0/24]" in errors[0]
    assert "[198.51.100.7/32]" in errors[1]


@pytest.mark.parametrize(
    ("networks", "wide"),
    [
        (["10.0.0.0/8", "172.16.0.0/12", "fc00::/16"], []),
        (["0.0.0.0/0", "10.0.0.0/8"], ["0.0.0.0/0"]),
        (["::/1", "8000::/1"], ["::/0"]),
        (["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1"], ["0.0.0.0/0"]),
        (["fc00::/15"], ["fc00::/15"]),
        (["198.51.100.7", "2001:db8::1", "nobody", "10.0.0.1/0"], ["0.0.0.0/0"]),
        ([], []),
    ],
)
def test_networks_that_are_nearly_everybody(networks, wide):
    assert wide_networks(networks) == wide


# The rules.


def test_openings_become_rules():
    openings: list[dict[str, Any]] = [
        {"port": 443, "networks": ["198.51.100.7", "10.1.0.0/16", "2001:DB8:0::/32", "::1"], "description": "HTTPS"},
        {"port": 443, "networks": ["10.1.0.0/16"], "description": "Again"},
        {"port": 53, "proto": "udp", "networks": ["127.0.0.1/32"], "description": "Nobody"},
        {"port": 104, "host": "ct.example.org", "description": "A name"},
        {"port": "104", "host": "10.1.2.3", "description": "A CT"},
        {"port": 104, "description": "Neither"},
        {"port": 5432, "group_name": "x", "group_description": "X", "description": "A group"},
    ]
    assert security_group_rules(openings) == [
        {"proto": "tcp", "ports": ["443"], "rule_desc": "HTTPS", "cidr_ip": ["198.51.100.7/32", "10.1.0.0/16"]},
        {"proto": "tcp", "ports": ["443"], "rule_desc": "HTTPS", "cidr_ipv6": ["2001:db8::/32"]},
        {"proto": "tcp", "ports": ["104"], "rule_desc": "A CT", "cidr_ip": ["10.1.2.3/32"]},
        {"proto": "tcp", "ports": ["5432"], "rule_desc": "A group", "group_name": ["x"], "group_desc": "X"},
    ]


def short(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Protocol, port and target of each rule."""
    return {
        (rule["proto"], port, target)
        for rule in rules
        for port in rule["ports"]
        for key in ("cidr_ip", "cidr_ipv6", "group_name")
        for target in rule.get(key, [])
    }


def test_the_archive_admits_what_was_named(role):
    group = role.value(
        "__aws_security_groups_archive_group",
        aws_security_groups_https_port=8443,
        aws_security_groups_dicom_networks=["10.1.2.3"],
        aws_security_groups_dicom_tls_networks=["10.1.0.0/16", "127.0.0.1/32"],
    )
    assert short(group["rules"]) == {
        ("tcp", "8443", "198.51.100.0/24"),
        ("tcp", "22", "198.51.100.7/32"),
        ("tcp", "4242", "10.1.2.3/32"),
        ("tcp", "11112", "10.1.0.0/16"),
    }
    assert all(rule["rule_desc"] for rule in group["rules"] + group["rules_egress"])


def test_http_is_open_for_acme_only(role):
    rules = role.value("__aws_security_groups_archive_group.rules", aws_security_groups_http_networks=EVERYBODY)
    assert {rule for rule in short(rules) if rule[1] == "80"} == {("tcp", "80", "0.0.0.0/0"), ("tcp", "80", "::/0")}


def test_the_archive_reaches_what_it_needs(role):
    modalities = [
        {"name": "ct", "host": "10.1.2.9", "port": 104},
        {"name": "mr", "host": "mr.example.org", "port": 105},
        {"name": "self", "host": "127.0.0.1", "port": 106},
        {"name": "caller"},
    ]
    rules = role.value(
        "__aws_security_groups_archive_group.rules_egress",
        aws_security_groups_modalities=modalities,
        aws_security_groups_vpc_cidr="172.28.77.0/24",
        aws_security_groups_additional_egress=[ADDITIONAL],
    )
    resolvers = {(proto, "53", one) for proto in ("tcp", "udp") for one in ("169.254.169.253/32", "172.28.77.2/32")}
    assert short(rules) == resolvers | {
        ("tcp", "443", "0.0.0.0/0"),
        ("tcp", "443", "::/0"),
        ("tcp", "80", "0.0.0.0/0"),
        ("tcp", "80", "::/0"),
        ("udp", "123", "169.254.169.123/32"),
        ("tcp", "5432", "radiology-database"),
        ("tcp", "5432", "10.9.0.0/16"),
        ("tcp", "104", "10.1.2.9/32"),
    }


def test_the_database_admits_the_archive_only(role):
    group = role.value("__aws_security_groups_database_group", aws_security_groups_database_port=5433)
    assert short(group["rules"]) == {("tcp", "5433", "radiology-archive")}
    assert group["rules_egress"] == []


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ({}, ["radiology-database", "radiology-archive", "default"]),
        ({"aws_security_groups_own_vpc": False}, ["radiology-database", "radiology-archive"]),
        ({"aws_security_groups_database": False}, ["radiology-archive", "default"]),
    ],
)
def test_groups_are_listed_by_name(role, answers, names):
    groups = role.value("__aws_security_groups_groups", **answers)
    assert [group["name"] for group in groups] == names
    resources = role.value("aws_security_groups_resources", **answers)
    assert {(one["kind"], one["name"]) for one in resources} == {
        ("security_group", name) for name in names if name != "default"
    }
    rules = [rule for group in groups for rule in group["rules_egress"] if "group_name" in rule]
    assert bool(rules) == answers.get("aws_security_groups_database", True)


def test_descriptions_have_characters_that_aws_takes(role):
    groups = role.value("__aws_security_groups_groups")
    rules = [rule for group in groups for rule in group["rules"] + group["rules_egress"]]
    texts = [rule["rule_desc"] for rule in rules] + [group["description"] for group in groups]
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789. _-:/()#,@[]+=&;{}!$*")
    assert [text for text in texts if set(text) - allowed or not 0 < len(text) < 256] == []


# Rules that nobody declared.


def permission(proto: str, first: int | None, last: int | None, **targets: list[dict[str, str]]) -> dict[str, Any]:
    ports = {} if first is None else {"from_port": first, "to_port": last}
    return {
        "ip_protocol": proto,
        **ports,
        "ip_ranges": [],
        "ipv6_ranges": [],
        "prefix_list_ids": [],
        "user_id_group_pairs": [],
    } | targets


OPEN = {"cidr_ip": "0.0.0.0/0", "description": "by hand"}
DATABASE = {"group_name": "x-database", "group_id": "sg-2", "ip_permissions": [], "ip_permissions_egress": []}
DECLARED = {
    "name": "x-archive",
    "rules": security_group_rules([{"port": 443, "networks": ["10.0.0.0/8", "2001:db8::/32"], "description": "HTTPS"}]),
    "rules_egress": security_group_rules(
        [{"port": 5432, "group_name": "x-database", "group_description": "X", "description": "PostgreSQL"}]
    ),
}


@pytest.mark.parametrize(
    ("ingress", "egress", "found"),
    [
        ([], [], []),
        ([permission("tcp", 443, 443, ip_ranges=[{"cidr_ip": "10.0.0.0/8", "description": "another text"}])], [], []),
        ([permission("tcp", 443, 443, ipv6_ranges=[{"cidr_ipv6": "2001:db8::/32"}])], [], []),
        ([], [permission("tcp", 5432, 5432, user_id_group_pairs=[{"group_id": "sg-2", "user_id": "1"}])], []),
        ([permission("tcp", 22, 22, ip_ranges=[OPEN])], [], ["incoming tcp 22 from 0.0.0.0/0 (by hand)"]),
        ([permission("tcp", 443, 443, ip_ranges=[OPEN])], [], ["incoming tcp 443 from 0.0.0.0/0 (by hand)"]),
        (
            [permission("tcp", 443, 444, ip_ranges=[{"cidr_ip": "10.0.0.0/8"}])],
            [],
            ["incoming tcp 443-444 from 10.0.0.0/8"],
        ),
        (
            [permission("udp", 443, 443, ip_ranges=[{"cidr_ip": "10.0.0.0/8"}])],
            [],
            ["incoming udp 443 from 10.0.0.0/8"],
        ),
        ([permission("-1", None, None, ip_ranges=[OPEN])], [], ["incoming all traffic from 0.0.0.0/0 (by hand)"]),
        ([permission("icmp", -1, -1, ipv6_ranges=[{"cidr_ipv6": "::/0"}])], [], ["incoming icmp from ::/0"]),
        ([permission("tcp", 1, 1, prefix_list_ids=[{"prefix_list_id": "pl-1"}])], [], ["incoming tcp 1 from pl-1"]),
        ([permission("tcp", 443, 443, user_id_group_pairs=[{"group_id": "sg-9"}])], [], ["incoming tcp 443 from sg-9"]),
        ([], [permission("tcp", 443, 443, ip_ranges=[{"cidr_ip": "10.0.0.0/8"}])], ["outgoing tcp 443 to 10.0.0.0/8"]),
        (
            [],
            [permission("tcp", 5432, 5432, user_id_group_pairs=[{"group_id": "sg-1"}])],
            ["outgoing tcp 5432 to sg-1"],
        ),
    ],
)
def test_rules_that_nobody_declared(ingress, egress, found):
    group = {"group_name": "x-archive", "group_id": "sg-1", "ip_permissions": ingress, "ip_permissions_egress": egress}
    other = {**group, "group_name": "somebody-elses"}
    assert unmanaged_rules([group, DATABASE, other], [DECLARED]) == [f"x-archive: {rule}" for rule in found]


def test_new_groups_are_not_kept_as_they_are(role):
    """With `report` a group that AWS has just made would keep its rule for all outgoing traffic."""
    used = {"group_name": "radiology-archive", "ip_permissions": [permission("tcp", 22, 22, ip_ranges=[OPEN])]}
    new = {"group_name": "radiology-database", "ip_permissions": []}
    found = {"__aws_security_groups_found": {"security_groups": [used, new, {**used, "group_name": "default"}]}}
    kept = "__aws_security_groups_kept"
    assert role.value(kept, aws_security_groups_unmanaged="report", **found) == ["radiology-archive"]
    assert role.value(kept, aws_security_groups_unmanaged="remove", **found) == []


def test_the_outgoing_rule_of_aws_is_recognized(role):
    anywhere = [{"cidr_ip": "0.0.0.0/0"}]
    everything = permission("-1", None, None, ip_ranges=anywhere)
    groups = {
        "a": [everything],
        "a6": [everything | {"ipv6_ranges": [{"cidr_ipv6": "::/0"}]}],
        "b": [],
        "c": [permission("-1", None, None, ip_ranges=[{"cidr_ip": "10.0.0.0/8"}])],
        "d": [everything, permission("tcp", 443, 443, ip_ranges=anywhere)],
        "e": [permission("tcp", 443, 443, ip_ranges=anywhere)],
        "f": [permission("-1", None, None, ip_ranges=[OPEN])],
    }
    found = [{"group_name": name, "ip_permissions_egress": rules} for name, rules in groups.items()]
    value = role.value("__aws_security_groups_unfinished", __aws_security_groups_found={"security_groups": found})
    assert value == ["a", "a6"]


# The role on moto.


PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/amazon.aws.aws:
      region: eu-central-1
  tasks:
    - ansible.builtin.import_role:
        name: lightbox.pacs.aws_security_groups
    - ansible.builtin.debug:
        var: aws_security_groups
"""


class Account:
    """The security groups of one VPC on moto, which runs as a server."""

    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory = directory
        self.environment = (
            os.environ
            | ENVIRONMENT
            | {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".collections"),
            }
        )
        self.ec2 = boto3.client(
            "ec2",
            REGION,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        self.vpc = self.ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        (directory / "play.yml").write_text(PLAY)

    def run(self, *options: str) -> str:
        answers = {"aws_security_groups_name": "radiology", "aws_security_groups_vpc_id": self.vpc, **WEB, **SSH}
        (self.directory / "answers.json").write_text(json.dumps(answers))
        command = ["ansible-playbook", "-i", "localhost,", "-e", "@answers.json", "play.yml", *options]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout + done.stderr
        return done.stdout

    def groups(self) -> dict[str, dict[str, Any]]:
        found = self.ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["SecurityGroups"]
        return {group["GroupName"]: group for group in found}


def test_the_role_declares_what_it_opens_to_the_check(role):
    opened = {
        "aws_security_groups_web_networks": ["198.51.100.0/24", "2001:db8::/32"],
        "aws_security_groups_dicom_networks": ["10.1.0.7", "127.0.0.1"],
        "aws_security_groups_database": True,
    }
    archive, database = "radiology-archive", "radiology-database"
    assert role.value("aws_security_groups_declared", **opened) == [
        {"protocol": "tcp", "ports": ["443"], "from": ["198.51.100.0/24"], "group": archive},
        {"protocol": "tcp", "ports": ["443"], "from": ["2001:db8::/32"], "group": archive},
        {"protocol": "tcp", "ports": ["4242"], "from": ["10.1.0.7/32"], "group": archive},
        {"protocol": "tcp", "ports": ["22"], "from": ["198.51.100.7/32"], "group": archive},
        {"protocol": "tcp", "ports": ["5432"], "from": [archive], "group": database},
    ]
    alone = role.value("aws_security_groups_declared", **opened | {"aws_security_groups_database": False})
    assert {one["group"] for one in alone} == {archive}


@pytest.fixture
def account(tmp_path):
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield Account(tmp_path, server.get_host_and_port()[1])
    server.stop()


def test_groups_are_made_and_repaired(account):
    assert "changed=1 " in account.run()
    made = account.groups()
    assert made.keys() == {"default", "radiology-archive", "radiology-database"}
    assert (made["default"]["IpPermissions"], made["default"]["IpPermissionsEgress"]) == ([], [])
    assert made["radiology-database"]["IpPermissionsEgress"] == []
    [rule] = made["radiology-database"]["IpPermissions"]
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [made["radiology-archive"]["GroupId"]]
    assert {tag["Value"] for tag in made["radiology-archive"]["Tags"]} == {"radiology-archive", "radiology"}

    everybody = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    account.ec2.authorize_security_group_ingress(
        GroupId=made["radiology-archive"]["GroupId"], IpPermissions=[everybody]
    )
    opened = account.groups()
    kept = account.run("-e", "aws_security_groups_unmanaged=report")
    assert "radiology-archive: incoming tcp 22 from 0.0.0.0/0" in kept
    assert "changed=0 " in kept
    assert account.groups() == opened
    removed = account.run()
    assert "radiology-archive: incoming tcp 22 from 0.0.0.0/0" in removed
    assert "changed=1 " in removed
    assert account.groups() == made
    # As if a run had been interrupted before it replaced AWS's rule.
    archive = {"GroupId": made["radiology-archive"]["GroupId"]}
    found = account.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": list(archive.values())}])
    outgoing = [rule["SecurityGroupRuleId"] for rule in found["SecurityGroupRules"] if rule["IsEgress"]]
    account.ec2.revoke_security_group_egress(**archive, SecurityGroupRuleIds=outgoing)
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    account.ec2.authorize_security_group_egress(**archive, IpPermissions=[everything])
    assert [rule["IpProtocol"] for rule in account.groups()["radiology-archive"]["IpPermissionsEgress"]] == ["-1"]
    assert "changed=1 " in account.run("-e", "aws_security_groups_unmanaged=report")
    closed = account.groups()["radiology-archive"]
    assert closed["IpPermissions"] == made["radiology-archive"]["IpPermissions"]
    assert not [rule for rule in closed["IpPermissionsEgress"] if rule["IpProtocol"] == "-1"]
