"""Bad input is refused before anything is made on AWS: each case is a host of one run, with one wrong value."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from tests.support.aws_lab import REGION, Run, calls, client, credentials, fault, new_account, writes
from tests.support.lab import INVENTORY, run_playbook
from tests.support.project import PROJECT

MISSING = object()
EVERYBODY = ["0.0.0.0/0"]

# Hosts of the second run, of the long tests: more of what only AWS can answer.
LONG = {"relations-4", "zones-of-another-region", "vpc-unknown", "class-unknown", "volume-unknown"}
# name of the case: (host of the run, what its inventory says, the variable that the refusal must name, a part of the
# remedy). A host that never gets as far as AWS has several cases. What is in braces is what `prepare` made on AWS.
CASES: dict[str, tuple[str, dict, str, str]] = {
    "environment-too-long": ("relations-1", {"aws_environment": "a" * 31}, "aws_environment", "30"),
    "environment-with-capitals": ("relations-2", {"aws_environment": "Hospital"}, "aws_environment", "lower-case"),
    "region-missing": ("relations-3", {"aws_region": MISSING}, "aws_region", "Set"),
    "account-malformed": ("relations-1", {"aws_account_id": "1234"}, "aws_account_id", "12 digits"),
    "account-of-others": ("account-of-others", {"aws_account_id": "999999999999"}, "aws_account_id", "Use credentials"),
    "connect-unknown": ("types", {"aws_connect": "vpn"}, "aws_connect", "session_manager"),
    "network-malformed": ("relations-1", {"aws_network_cidr": "10.77.0.0/33"}, "aws_network_cidr", "Set"),
    "network-too-small": ("relations-2", {"aws_network_cidr": "10.77.0.0/27"}, "aws_network_cidr", "Set"),
    "network-of-docker": ("relations-4", {"aws_network_cidr": "172.17.0.0/16"}, "aws_network_cidr", "Set"),
    "zones-one": ("relations-1", {"aws_network_zones": [f"{REGION}a"]}, "aws_network_zones", "two"),
    "zones-of-another-region": (
        "zones-of-another-region",
        {"aws_network_zones": ["us-east-1a", "us-east-1b"], "aws_host_private_address": ""},
        "aws_network_zones",
        "Set",
    ),
    "subnets-in-one-zone": (
        "subnets-in-one-zone",
        {
            "aws_network_vpc_id": "{vpc}",
            "aws_network_public_subnet_ids": ["{public}"],
            "aws_network_private_subnet_ids": ["{private}", "{same_zone}"],
        },
        "aws_network_private_subnet_ids",
        "zone",
    ),
    "vpc-unknown": (
        "vpc-unknown",
        {
            "aws_network_vpc_id": "vpc-0123456789abcdef0",
            "aws_network_public_subnet_ids": ["{public}"],
            "aws_network_private_subnet_ids": ["{private}"],
        },
        "aws_network_vpc_id",
        "Set",
    ),
    "web-networks-missing": (
        "relations-3",
        {"aws_security_groups_web_networks": MISSING},
        "aws_security_groups_web_networks",
        "",
    ),
    "ssh-networks-missing": (
        "relations-1",
        {"aws_security_groups_ssh_networks": MISSING},
        "aws_security_groups_ssh_networks",
        "Set",
    ),
    "ssh-for-everybody": (
        "relations-2",
        {"aws_security_groups_ssh_networks": EVERYBODY},
        "aws_security_groups_ssh_networks",
        "aws_security_groups_accepted_public_ports",
    ),
    "ssh-for-everybody-by-ipv6": (
        "relations-3",
        {"aws_security_groups_ssh_networks": ["::/0"]},
        "aws_security_groups_ssh_networks",
        "aws_security_groups_accepted_public_ports",
    ),
    "ssh-for-everybody-in-halves": (
        "relations-4",
        {"aws_security_groups_ssh_networks": ["0.0.0.0/1", "128.0.0.0/1"]},
        "aws_security_groups_ssh_networks",
        "aws_security_groups_accepted_public_ports",
    ),
    "dicom-for-everybody": (
        "relations-2",
        {"pacs_dicom_networks": EVERYBODY, "reverse_proxy_dicom_open_to_world": True},
        "dicom_networks",
        "aws_security_groups_accepted_public_ports",
    ),
    "web-network-malformed": (
        "relations-1",
        {"aws_security_groups_web_networks": ["10.0.0.300/24"]},
        "aws_security_groups_web_networks",
        "CIDR",
    ),
    "unmanaged-unknown": (
        "types",
        {"aws_security_groups_unmanaged": "ignore"},
        "aws_security_groups_unmanaged",
        "report",
    ),
    "engine-unknown": ("relations-1", {"aws_database_engine_version": "9.6"}, "aws_database_engine_version", "Set"),
    "class-unknown": (
        "class-unknown",
        {"aws_database_instance_class": "db.t4g.huge"},
        "aws_database_instance_class",
        "Set",
    ),
    "storage-shrinks": ("relations-1", {"aws_database_max_storage_gb": 30}, "aws_database_max_storage_gb", "Set"),
    "backups-too-long": ("relations-1", {"aws_database_backup_days": 40}, "aws_database_backup_days", "35"),
    "windows-overlap": (
        "relations-2",
        {"aws_database_backup_window": "03:00-04:00"},
        "aws_database_backup_window",
        "aws_database_maintenance_window",
    ),
    "administrator-reserved": (
        "relations-1",
        {"aws_database_administrator": "rdsadmin"},
        "aws_database_administrator",
        "Set",
    ),
    "tls-optional": (
        "relations-1",
        {"aws_database_parameters": {"rds.force_ssl": "0"}},
        "aws_database_parameters",
        "rds.force_ssl",
    ),
    "distribution-unknown": ("types", {"aws_host_distribution": "debian-12"}, "aws_host_distribution", "debian-13"),
    "type-of-another-architecture": (
        "relations-2",
        {"aws_host_instance_type": "t4g.large"},
        "aws_host_instance_type",
        "Set",
    ),
    "type-not-in-the-region": (
        "server",
        {"aws_host_instance_type": "h1.2xlarge"},
        "aws_host_instance_type",
        "Set",
    ),
    "image-unknown": ("server", {"aws_host_image_id": "ami-0123456789abcdef0"}, "aws_host_image_id", "Set"),
    "key-missing": ("relations-1", {"aws_host_public_key": "/missing.pub"}, "aws_host_public_key", "Set"),
    "key-is-private": ("relations-2", {"aws_host_public_key": "{private_key}"}, "aws_host_public_key", "Set"),
    "address-outside": ("relations-3", {"aws_host_private_address": "10.1.2.3"}, "aws_host_private_address", "Set"),
    "volume-in-another-zone": (
        "server",
        {"aws_host_data_volume_id": "{volume}"},
        "aws_host_data_volume_id",
        "zone",
    ),
    "volume-unknown": (
        "volume-unknown",
        {"aws_host_data_volume_id": "vol-0123456789abcdef0"},
        "aws_host_data_volume_id",
        "Set",
    ),
}


def prepare(account: str) -> dict[str, str]:
    """What the cases refer to, made by hand."""
    ec2 = client("ec2", account)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]

    def subnet(network: str, zone: str) -> str:
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=network, AvailabilityZone=f"{REGION}{zone}")
        return made["Subnet"]["SubnetId"]

    return {
        "vpc": vpc,
        "public": subnet("10.9.0.0/24", "a"),
        "private": subnet("10.9.1.0/24", "b"),
        "same_zone": subnet("10.9.2.0/24", "b"),
        "volume": ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8, Encrypted=True)["VolumeId"],
        "private_key": str(PROJECT / ".lab/id_ed25519"),
    }


def filled(value, words: dict[str, str]):
    if isinstance(value, dict):
        return {name: filled(part, words) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, words) for part in value]
    if isinstance(value, str) and re.fullmatch(r"\{\w+\}", value):
        return words[value[1:-1]]
    return value


def play_at_once(directory: pathlib.Path) -> pathlib.Path:
    """The playbook aws.yml for all hosts side by side: one after the other, the first refusal would end the run."""
    text = (PROJECT / "playbooks/aws.yml").read_text()
    assert "\n  serial: 1\n" in text
    path = directory / "aws.yml"
    path.write_text(text.replace("\n  serial: 1\n", "\n"))
    for name in ("group_vars", "meta", "tasks"):
        (directory / name).symlink_to(PROJECT / "playbooks" / name)
    return path


def refuse(directory: pathlib.Path, is_long: bool) -> dict:
    """Run the play once, every case a host: host → its failed task, what changed, and what was called."""
    account = new_account()
    words = prepare(account)
    common = {
        **yaml.safe_load((INVENTORY / "group_vars/lab.yml").read_text()),
        **yaml.safe_load((INVENTORY / "group_vars/pacs.yml").read_text()),
        "aws_account_id": account,
        "pacs_secrets_directory": str(directory / "secrets"),
    }
    hosts: dict[str, dict] = {}
    for number, (host, case, _variable, _remedy) in enumerate(CASES.values()):
        one = hosts.setdefault(host, {**common, "aws_environment": f"case-{number}"})
        assert not [
            name for name in case if name in one and one[name] != common.get(name) and name != "aws_environment"
        ]
        one.update(filled(case, words))
    for host, one in hosts.items():
        hosts[host] = {name: value for name, value in one.items() if value is not MISSING}
    hosts = {host: one for host, one in hosts.items() if (host in LONG) == is_long}
    inventory = directory / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"pacs": {"hosts": hosts}}))
    run = run_playbook(
        play_at_once(directory),
        *("-i", inventory, "--forks", "4"),
        **credentials(account),
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ANSIBLE_CALLBACK_RESULT_FORMAT="json",
    )
    answer = json.loads(run.stdout[run.stdout.index("{") :])
    failed: dict[str, dict] = {}
    for play in answer["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed"):
                    failed[host] = {"task": task["task"]["name"], **result}  # the last one: what the rescue explains
    return {"failed": failed, "calls": calls(account), "text": run.stdout}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> dict:
    return refuse(tmp_path_factory.mktemp("refused"), is_long=False)


@pytest.fixture(scope="module")
def more_refusals(tmp_path_factory) -> dict:
    return refuse(tmp_path_factory.mktemp("refused"), is_long=True)


RUNS = ["refusals", pytest.param("more_refusals", marks=pytest.mark.long)]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.long] if CASES[case][0] in LONG else []) for case in CASES]
)
def test_bad_input_is_refused_with_the_variable_and_the_remedy(request, case):
    host, _answers, variable, remedy = CASES[case]
    found = request.getfixturevalue("more_refusals" if host in LONG else "refusals")
    failure = found["failed"].get(host)
    assert failure, f"{case} was not refused"
    messages = [failure["msg"]] if isinstance(failure["msg"], str) else failure["msg"]
    assert [message for message in messages if variable in message and remedy in message], messages
    assert "Traceback" not in str(messages)


@pytest.mark.parametrize("run", RUNS)
def test_nothing_was_made(request, run):
    found = request.getfixturevalue(run)
    assert found["calls"]
    assert writes(found["calls"]) == []


@pytest.mark.parametrize("run", RUNS)
def test_no_refusal_shows_a_private_key(request, run):
    key = (PROJECT / ".lab/id_ed25519").read_text().splitlines()
    assert not [line for line in key[1:-1] if line in request.getfixturevalue(run)["text"]]


@pytest.mark.parametrize(
    ("kind", "explained"),
    [("expired", "expired"), pytest.param("clock", "clock", marks=pytest.mark.long)],
)
def test_credentials_that_aws_refuses_are_explained(kind, explained):
    account = new_account()
    with fault("*", kind, account, times=100):
        run = Run(account=account)
    assert run.result.returncode != 0
    assert explained in run.message
    assert "Traceback" not in run.output
    assert writes(run.calls) == []
