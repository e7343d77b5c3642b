"""The role aws_host: what it refuses, and what it makes of an account of moto in two runs; its modules."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import subprocess
import sys
from typing import Any
from unittest import mock

import boto3
import pytest
from ansible_collections.lightbox.pacs.plugins.modules import ec2_host_keys, ec2_instance_type_info
from botocore.stub import Stubber
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.responses import general
from moto.server import ThreadedMotoServer

from tests.support.aws_modules import ENVIRONMENT, REGION, aws_account, recorded_calls, run_module
from tests.support.project import PROJECT, tasks_in
from tests.support.rendering import Role

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIX8TYzVz7hOPTuJKfGtzp2EdU1xGL4L0dG0qJzZ9y7e"
ECDSA = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBK0G9yz6="


def console(*keys: str) -> str:
    lines = "\r\n".join(f"{key} root@ip-10-77-0-10" for key in keys)
    return f"-----BEGIN SSH HOST KEY KEYS-----\r\n{lines}\r\n-----END SSH HOST KEY KEYS-----\r\n"


# The module ec2_host_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        ("[    0.000000] Linux version 6.12.43+deb13-cloud-amd64\r\n", []),
        (f"booting\r\n{console(ED25519, ECDSA)}login: ", [ECDSA, ED25519]),
        (f"[  12.1] cloud-init[612]: {console(ED25519)}", [ED25519]),
        (f"{console(ECDSA)}rebooted\r\n{console(ED25519)}", [ED25519]),  # the last start counts
        (
            f"{console(ED25519)}-----BEGIN SSH HOST KEY KEYS-----\r\n{ECDSA}",
            [ED25519],
        ),  # the second list is not complete
        (f"-----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n{ED25519}\r\n-----END SSH HOST KEY FINGERPRINTS-----", []),
        ("-----BEGIN SSH HOST KEY KEYS-----\r\nssh-dss AAAAB3NzaC1kc3M=\r\n-----END SSH HOST KEY KEYS-----", []),
    ],
)
def test_keys_on_a_console(text, keys):
    assert ec2_host_keys.parse_keys(text) == keys


def test_host_keys_are_awaited():
    client = boto3.client("ec2", REGION)
    with Stubber(client) as stub, mock.patch("time.sleep") as sleep:
        for text in ("", "booting", console(ED25519)):
            stub.add_response(
                "get_console_output", {"Output": text}, {"InstanceId": "i-0123456789abcdef0", "Latest": True}
            )
        assert ec2_host_keys.wait_for_keys(client, "i-0123456789abcdef0", 600) == [ED25519]
        assert sleep.call_count == 2


def test_host_keys_of_an_instance_without_nitro():
    client = boto3.client("ec2", REGION)
    with Stubber(client) as stub:
        stub.add_client_error("get_console_output", "UnsupportedOperation")
        stub.add_response("get_console_output", {"Output": console(ED25519)}, {"InstanceId": "i-0123456789abcdef0"})
        assert ec2_host_keys.wait_for_keys(client, "i-0123456789abcdef0", 600) == [ED25519]


@pytest.mark.parametrize("check", [False, True])
def test_host_keys_of_moto(check, monkeypatch):
    with aws_account():
        image = boto3.client("ec2", REGION).describe_images()["Images"][0]["ImageId"]
        instance = boto3.client("ec2", REGION).run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
        asked = {"instance_id": instance["InstanceId"], "timeout": 0}
        assert run_module("ec2_host_keys", check, **asked)["host_keys"] == []
        monkeypatch.setattr(general, "SAMPLE_CONSOLE_OUTPUT", console(ED25519, ECDSA))
        done = run_module("ec2_host_keys", check, **asked)
        assert (done["changed"], done["host_keys"]) == (False, [ECDSA, ED25519])
        failed = run_module("ec2_host_keys", check, instance_id="i-0123456789abcdef0", timeout=0)
        assert failed["failed"]
        assert "InvalidInstanceID.NotFound" in failed["msg"]


# The module ec2_instance_type_info


def test_instance_types_of_moto():
    with aws_account(), recorded_calls() as calls:
        done = run_module("ec2_instance_type_info", instance_types=["t4g.large", "t3.large", "t9.huge"])
    assert not done["changed"]
    assert [one["name"] for one in done["instance_types"]] == ["t3.large", "t4g.large"]
    assert [one["architectures"] for one in done["instance_types"]] == [["x86_64"], ["arm64"]]
    assert done["instance_types"][0]["zones"][0].startswith(f"{REGION}")
    assert sorted(set(calls)) == ["ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes"]


def test_a_type_that_exists_and_is_not_offered():
    client = boto3.client("ec2", REGION)
    filters = [{"Name": "instance-type", "Values": ["m9.large"]}]
    found = {
        "InstanceType": "m9.large",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    }
    with Stubber(client) as stub:
        offers: dict[str, Any] = {"InstanceTypeOfferings": []}
        expected = {"LocationType": "availability-zone", "Filters": filters}
        stub.add_response("describe_instance_type_offerings", offers, expected)
        stub.add_response("describe_instance_types", {"InstanceTypes": [found]}, {"Filters": filters})
        assert ec2_instance_type_info.find_types(client, ["m9.large"]) == []


# The role's tasks on the controller, in an account of moto

PLAY_HEAD = """
- hosts: server
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/amazon.aws.aws: {region: eu-central-1}
    group/lightbox.pacs.aws: {region: eu-central-1}
  tasks:
"""
PLAY = (
    PLAY_HEAD
    + """
    - ansible.builtin.include_role: {name: lightbox.pacs.aws_host, tasks_from: preflight, public: true}
    - ansible.builtin.include_role: {name: lightbox.pacs.aws_host, tasks_from: instance}
      when: not (ansible_check_mode and __aws_host_is_new)
    - ansible.builtin.include_role: {name: lightbox.pacs.aws_host, tasks_from: connection}
      when: not ansible_check_mode
    - ansible.builtin.copy:
        content: "{{ {'facts': aws_host, 'host': ansible_host, 'user': ansible_user} | to_json }}"
        dest: "{{ playbook_dir }}/facts.json"
        mode: "0600"
      when: not ansible_check_mode
      changed_when: false
"""
)


UBUNTU = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04"


def find(kind: str, key: str, **filters: str) -> list[dict[str, Any]]:
    names = {name.replace("_", "-"): value for name, value in filters.items()}
    wanted = [{"Name": name, "Values": [value]} for name, value in names.items()]
    return getattr(boto3.client("ec2", REGION), f"describe_{kind}")(Filters=wanted)[key]


class Account:
    """An account with a network, and the role's variables for it."""

    def __init__(self, directory: pathlib.Path, endpoint: str) -> None:
        self.directory = directory
        self.endpoint = endpoint
        ec2 = boto3.client("ec2", REGION)
        vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        self.subnets = []
        for zone, cidr in (("a", "10.77.0.0/19"), ("b", "10.77.32.0/19")):
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"{REGION}{zone}")["Subnet"]
            self.subnets.append({"id": made["SubnetId"], "zone": made["AvailabilityZone"], "cidr": cidr})
        group = ec2.create_security_group(GroupName="archive", Description="-", VpcId=vpc)["GroupId"]
        images = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
        for number, (name, owner) in enumerate(
            [
                ("debian-13-amd64-20260801-2190", "136693071363"),
                ("debian-13-amd64-20261101-2290", "136693071363"),
                ("debian-13-amd64-20261201-6666", "666666666666"),
                ("debian-13-arm64-20261101-2290", "136693071363"),
                (f"{UBUNTU}-amd64-server-20261101", "099720109477"),
                (f"{UBUNTU}-arm64-server-20261101", "099720109477"),
                (f"{UBUNTU}-arm64-server-20261102", "666666666666"),
            ],
            1,
        ):
            ami = f"ami-0000000{number}"
            images.amis[ami] = Ami(
                images,
                ami,
                name=name,
                owner_id=owner,
                public=True,
                virtualization_type="hvm",
                architecture="arm64" if "arm64" in name else "x86_64",
                root_device_type="ebs",
                root_device_name="/dev/xvda",
                creation_date=datetime.datetime(2026, 4 + number, 1, tzinfo=datetime.UTC),
            )
        (directory / "key.pub").write_text(f"{ED25519} operator\n")
        self.key = boto3.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
        self.variables: dict[str, Any] = {
            "aws_host_name": "ward",
            "aws_host_tags": {"lightbox:environment": "ward", "cost-center": "radiology"},
            "aws_host_subnets": self.subnets,
            "aws_host_security_group_ids": [group],
            "aws_host_kms_key_id": self.key,
            "aws_host_public_key": str(directory / "key.pub"),
            "aws_host_known_hosts": str(directory / "known_hosts"),
            "aws_host_data_gb": 20,
            "aws_host_wait_minutes": 1,
        }

    def run(self, *options: str, fails: bool = False, play: str = PLAY, **variables: Any) -> tuple[list[str], str]:
        """Run the role's tasks; return the names of those that changed something, and what was printed."""
        (self.directory / "play.yml").write_text(play)
        (self.directory / "vars.json").write_text(json.dumps(self.variables | variables))
        done = subprocess.run(
            ["ansible-playbook", "play.yml", "-i", "server,", "-e", "@vars.json", *options],
            cwd=self.directory,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                **ENVIRONMENT,
                "AWS_ENDPOINT_URL": self.endpoint,
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".collections"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
                "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout[-4000:] + done.stderr[-2000:]
        return changed_tasks(done.stdout), done.stdout + done.stderr

    def instance(self) -> dict[str, Any]:
        """The only instance that is not terminated."""
        reservations = find("instances", "Reservations", instance_state_name="running") + find(
            "instances", "Reservations", instance_state_name="stopped"
        )
        (instance,) = [instance for reservation in reservations for instance in reservation["Instances"]]
        return instance

    def volumes(self, instance: dict[str, Any]) -> list[dict[str, Any]]:
        """The root volume and the data volume."""
        attached = [
            volume
            for volume in find("volumes", "Volumes")
            if [one["InstanceId"] for one in volume["Attachments"]] == [instance["InstanceId"]]
        ]
        return sorted(attached, key=lambda volume: volume["Attachments"][0]["Device"] == "/dev/sdf")

    def is_protected(self, instance: dict[str, Any]) -> bool:
        return boto3.client("ec2", REGION).describe_instance_attribute(
            InstanceId=instance["InstanceId"], Attribute="disableApiTermination"
        )["DisableApiTermination"]["Value"]

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.directory / "facts.json").read_text())


def results(printed: str) -> list[tuple[str, dict[str, Any]]]:
    """The tasks that ended well, and their results."""
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [
        (event["task"]["name"].rpartition(" | ")[2], result)
        for event in events
        if event.get("_event") == "v2_runner_on_ok"
        for result in event["hosts"].values()
    ]


def changed_tasks(printed: str) -> list[str]:
    return [name for name, result in results(printed) if result.get("changed")]


def complaints(printed: str) -> list[Any]:
    """The warnings and deprecations of all tasks."""
    return [
        one for _name, result in results(printed) for key in ("warnings", "deprecations") for one in result.get(key, [])
    ]


def executed_tasks(printed: str) -> list[str]:
    return [name for name, _result in results(printed)]


def tags(resource: dict[str, Any], key: str = "Tags") -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get(key, [])}


@pytest.fixture
def account(tmp_path, monkeypatch):
    monkeypatch.setattr(general, "SAMPLE_CONSOLE_OUTPUT", console(ED25519, ECDSA))
    with aws_account():
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        try:
            yield Account(tmp_path, f"http://{host}:{port}")
        finally:
            server.stop()


@pytest.fixture
def policies_of_aws(monkeypatch):
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")


def test_session_manager(policies_of_aws, account):
    answers = {"aws_host_connect": "session_manager", "aws_host_public_key": "", "aws_host_region": REGION}
    changed, printed = account.run(**answers)
    assert changed[:2] == ["Make a role for Session Manager", "Make an instance profile with that role"]
    assert complaints(printed) == []
    iam, instance = boto3.client("iam"), account.instance()
    (profile,) = iam.list_instance_profiles()["InstanceProfiles"]
    assert instance["IamInstanceProfile"]["Arn"] == profile["Arn"]
    (role,) = profile["Roles"]
    assert role["RoleName"] == profile["InstanceProfileName"] == f"ward-{REGION}"  # the same in all regions
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    (policy,) = iam.list_attached_role_policies(RoleName=f"ward-{REGION}")["AttachedPolicies"]
    assert policy["PolicyName"] == "AmazonSSMManagedInstanceCore"
    assert account.facts["host"] == instance["InstanceId"]
    assert account.run(**answers)[0] == []


def test_two_runs(account):
    changed, printed = account.run()
    assert changed == [
        "Import the public key",
        "Run the instance",
        "Attach the data volume",
        "Tag the network interface",
        "Associate the Elastic IP",
        "Trust the host keys",
    ]
    assert complaints(printed) == []
    instance = account.instance()
    root, data = account.volumes(instance)
    assert instance["ImageId"] == "ami-00000002"  # the newest of the official ones for the architecture
    assert instance["InstanceType"] == "t3.large"
    assert instance["SubnetId"] == account.subnets[0]["id"]
    assert (instance["MetadataOptions"]["HttpTokens"], instance["MetadataOptions"]["HttpPutResponseHopLimit"]) == (
        "required",
        1,
    )
    assert account.is_protected(instance)
    assert (root["Size"], root["VolumeType"], root["Encrypted"]) == (30, "gp3", True)
    assert (data["Size"], data["VolumeType"], data["Encrypted"]) == (20, "gp3", True)
    assert root["KmsKeyId"] == data["KmsKeyId"] == account.key
    assert [one["GroupId"] for one in instance["SecurityGroups"]] == account.variables["aws_host_security_group_ids"]
    assert "IamInstanceProfile" not in instance
    assert data["Attachments"][0]["Device"] == "/dev/sdf"
    kept = [
        one["Ebs"]["DeleteOnTermination"] for one in instance["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdf"
    ]
    assert kept == [False]
    (interface,) = find("network_interfaces", "NetworkInterfaces")
    (address,) = find("addresses", "Addresses")
    (key,) = find("key_pairs", "KeyPairs")
    assert instance["KeyName"] == key["KeyName"]
    (public,) = boto3.client("ec2", REGION).describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert public["PublicKey"].split()[:2] == ED25519.split()
    common = {"Name": "ward", "lightbox:environment": "ward", "cost-center": "radiology"}
    assert tags(instance) == tags(root) == common | {"lightbox:user": "admin"}
    assert tags(interface, "TagSet") == tags(address) == tags(key) == common
    assert tags(data) == common | {"Name": "ward-data"}
    assert account.facts == {
        "facts": {
            "instance_id": instance["InstanceId"],
            "private_address": instance["PrivateIpAddress"],
            "public_address": address["PublicIp"],
            "volume_id": data["VolumeId"],
            "zone": f"{REGION}a",
            "user": "admin",
        },
        "host": address["PublicIp"],
        "user": "admin",
    }
    trusted = [f"{address['PublicIp']} {key} {instance['InstanceId']}" for key in (ECDSA, ED25519)]
    assert (account.directory / "known_hosts").read_text().splitlines() == trusted

    changed, printed = account.run()
    assert changed == []
    assert complaints(printed) == []
    assert "Read the host keys from the console" not in executed_tasks(printed)
    assert "Run the instance" in executed_tasks(printed)
    assert account.instance()["InstanceId"] == instance["InstanceId"]

    # Stopped by hand, and an address without its tags: it is started, and gets no second address.
    client = boto3.client("ec2", REGION)
    client.stop_instances(InstanceIds=[instance["InstanceId"]])
    client.delete_tags(Resources=[address["AllocationId"]], Tags=[{"Key": key} for key in common])
    assert tags(find("addresses", "Addresses")[0]) == {}
    changed, printed = account.run()
    assert changed == ["Run the instance", "Associate the Elastic IP"]
    assert account.instance()["State"]["Name"] == "running"
    (after,) = find("addresses", "Addresses")
    assert (after["PublicIp"], after["InstanceId"]) == (address["PublicIp"], instance["InstanceId"])
    assert tags(after) == common
    assert account.facts["host"] == address["PublicIp"]


def test_ubuntu_on_arm64_with_a_name(account):
    """The image, the type and the user that belong to them; the record leads to the server's address."""
    route53 = boto3.client("route53")
    zone = route53.create_hosted_zone(Name="example.org.", CallerReference="test")["HostedZone"]["Id"]
    answers = {
        "aws_host_distribution": "ubuntu-24.04",
        "aws_host_architecture": "arm64",
        "aws_host_route53_zone": "example.org",
        "aws_host_names": ["pacs.example.org", "other.example.org"],
    }
    changed, printed = account.run(**answers)
    assert "Set the DNS record" in changed
    assert complaints(printed) == []
    instance = account.instance()
    assert (instance["ImageId"], instance["InstanceType"]) == ("ami-00000006", "t4g.large")
    assert account.facts["user"] == account.facts["facts"]["user"] == tags(instance)["lightbox:user"] == "ubuntu"
    (record,) = [
        one
        for one in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if one["Type"] not in ("NS", "SOA")
    ]
    (address,) = find("addresses", "Addresses")
    assert (record["Name"], record["Type"], record["TTL"]) == ("pacs.example.org.", "A", 300)
    assert record["ResourceRecords"] == [{"Value": address["PublicIp"]}]
    # Changed by hand.
    record["ResourceRecords"] = [{"Value": "192.0.2.1"}]
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    assert account.run(**answers)[0] == ["Set the DNS record"]

    # A removal deletes it, but not one that leads to somebody else's server.
    def remove(address: str) -> list[str]:
        play = PLAY_HEAD + f"    - ansible.builtin.include_tasks: {PROJECT}/playbooks/tasks/aws_destroy_record.yml\n"
        to_remove = [{"kind": "elastic_ip", "address": address}]
        return account.run(play=play, **answers, __aws_to_remove=to_remove)[0]

    assert remove("192.0.2.1") == []
    assert remove(address["PublicIp"]) == ["Delete the DNS record that leads to the server"]
    assert {one["Type"] for one in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]} <= {
        "NS",
        "SOA",
    }


# The other two are launched above.
IMAGES = {
    ("debian-13", "arm64"): ("ami-00000004", "t4g.large"),
    ("ubuntu-24.04", "amd64"): ("ami-00000005", "t3.large"),
}


def test_images(account):
    """The newest one of the maker's own, for the architecture."""
    play = PLAY_HEAD
    for distribution, architecture in IMAGES:
        play += f"""
    - ansible.builtin.include_role: {{name: lightbox.pacs.aws_host, tasks_from: preflight, public: true}}
      vars: {{aws_host_distribution: {distribution}, aws_host_architecture: {architecture}}}
    - ansible.builtin.debug: {{msg: ["{{{{ __aws_host_image.image_id }}}}", "{{{{ __aws_host_type }}}}"]}}
      vars: {{aws_host_architecture: {architecture}}}
"""
    _changed, printed = account.run(play=play)
    found = [tuple(result["msg"]) for _name, result in results(printed) if isinstance(result.get("msg"), list)]
    assert found == list(IMAGES.values())


@pytest.mark.long
def test_differences_are_repaired(account):
    account.run()
    client, before = boto3.client("ec2", REGION), account.instance()
    identifier = before["InstanceId"]
    client.stop_instances(InstanceIds=[identifier])
    client.modify_instance_attribute(InstanceId=identifier, DisableApiTermination={"Value": False})
    client.delete_tags(Resources=[identifier], Tags=[{"Key": "cost-center"}])
    answers = {"aws_host_data_gb": 30, "aws_host_instance_type": "t3.xlarge"}
    changed, _printed = account.run("--check", **answers)
    assert changed == ["Run the instance", "Attach the data volume"]
    assert account.instance()["State"]["Name"] == "stopped"
    assert account.volumes(before)[1]["Size"] == 20

    changed, _printed = account.run(**answers)
    assert changed == ["Run the instance", "Attach the data volume"]
    after = account.instance()
    assert (after["InstanceId"], after["State"]["Name"], after["InstanceType"]) == (identifier, "running", "t3.xlarge")
    assert account.is_protected(after)
    assert tags(after)["cost-center"] == "radiology"
    assert account.volumes(after)[1]["Size"] == 30
    # A smaller size, an image of another id and another key change nothing.
    (account.directory / "key.pub").write_text(f"{ED25519[:-4]}AAAA\n")
    changed, printed = account.run(**answers | {"aws_host_data_gb": 10, "aws_host_image_id": "ami-00000001"})
    assert changed == []
    assert "was launched with another key" in printed


@pytest.mark.long
def test_after_an_interrupted_run_and_with_another_instance(account):
    """An address and a volume that a killed run made are used; the data volume and the address survive the instance."""
    client = boto3.client("ec2", REGION)
    both = [{"Key": key, "Value": value} for key, value in account.variables["aws_host_tags"].items()]
    address = client.allocate_address(
        Domain="vpc",
        TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [*both, {"Key": "Name", "Value": "ward"}]}],
    )["PublicIp"]
    volume = client.create_volume(
        AvailabilityZone=f"{REGION}b",
        Size=40,
        Encrypted=True,
        VolumeType="gp3",
        TagSpecifications=[{"ResourceType": "volume", "Tags": [*both, {"Key": "Name", "Value": "ward-data"}]}],
    )["VolumeId"]
    (account.directory / "known_hosts").write_text(f"{address} {ED25519}\n")  # of another machine
    changed, _printed = account.run(aws_host_termination_protection=False)
    assert "Remove the host keys of a machine that had the address before" in changed
    first = account.instance()
    assert account.facts["facts"]["volume_id"] == volume
    assert account.facts["host"] == address
    assert first["SubnetId"] == account.subnets[1]["id"]  # in the volume's zone

    client.terminate_instances(InstanceIds=[first["InstanceId"]])
    changed, _printed = account.run(aws_host_termination_protection=False)
    second = account.instance()
    assert second["InstanceId"] != first["InstanceId"]
    assert account.volumes(second)[1]["VolumeId"] == volume
    assert account.facts["host"] == address
    trusted = (account.directory / "known_hosts").read_text()
    assert first["InstanceId"] not in trusted
    assert second["InstanceId"] in trusted
    # Neither is asked for again where the run was killed before it trusted the keys, nor where a person entered them.
    (account.directory / "known_hosts").write_text(f"{address} {ED25519} {first['InstanceId']}\n")
    assert account.run(aws_host_termination_protection=False)[0] == [
        "Remove the host keys of a machine that had the address before",
        "Trust the host keys",
    ]
    (account.directory / "known_hosts").write_text(f"{address} {ED25519}\n")
    assert account.run(aws_host_termination_protection=False)[0] == []
    (account.directory / "known_hosts").unlink()
    with mock.patch.object(general, "SAMPLE_CONSOLE_OUTPUT", "rebooted"):
        _changed, printed = account.run(fails=True)
    assert "ssh-keyscan" in printed
    assert "aws_host_known_hosts" in printed


@pytest.mark.parametrize(("connect", "waits"), [("public", True), ("private", True), ("session_manager", False)])
def test_ssh_is_awaited_and_its_keys_are_trusted(role, connect, waits):
    tasks = {task["name"]: task for task in tasks_in(PROJECT / "roles/aws_host/tasks/main.yml")}
    wait = tasks["Wait for the server's SSH"]
    answers = {"aws_host_connect": connect, "ansible_check_mode": False}
    assert role.value(f"({wait['when']})", **answers) is waits
    order = list(tasks)
    assert order.index("Trust the server's host keys") < order.index("Wait for the server's SSH")


# What the role refuses

SUBNETS = [
    {"id": "subnet-1", "zone": f"{REGION}a", "cidr": "10.77.0.0/19"},
    {"id": "subnet-2", "zone": f"{REGION}b", "cidr": "10.77.32.0/19"},
]
INSTANCE = {
    "kind": "instance",
    "name": "ward",
    "id": "i-0123456789abcdef0",
    "state": "running",
    "zone": f"{REGION}a",
    "type": "t3.large",
    "private_address": "10.77.0.10",
    "key_name": "ward-1",
    "volume_ids": {"/dev/xvda": "vol-00000001", "/dev/sdf": "vol-00000002"},
}
VOLUME = {
    "kind": "volume",
    "name": "ward-data",
    "id": "vol-00000002",
    "state": "in-use",
    "zone": f"{REGION}a",
    "size_gb": 200,
    "encrypted": True,
    "type": "gp3",
    "tags": {},
    "instance_id": INSTANCE["id"],
}
OFFER = {"name": "t3.large", "architectures": ["x86_64"], "zones": [f"{REGION}a", f"{REGION}b"]}
IMAGE = {"image_id": "ami-00000001", "architecture": "x86_64"}
# As preflight.yml leaves it before the first launch, and later.
FRESH: dict[str, Any] = {
    "aws_host_existing": [],
    "__aws_host_host": "queried",
    "__aws_host_type_query": {"instance_types": [OFFER]},
    "__aws_host_image_query": {"images": [IMAGE]},
}
LATER: dict[str, Any] = {
    "aws_host_existing": [INSTANCE, VOLUME],
    "__aws_host_host": "queried",
    "__aws_host_type_query": {"skipped": True},
    "__aws_host_image_query": {"skipped": True},
}


@pytest.fixture(scope="module")
def role(tmp_path_factory):
    directory = tmp_path_factory.mktemp("keys")
    (directory / "key.pub").write_text(f"{ED25519} operator@example\n")
    (directory / "rsa.pub").write_text("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ==\n")
    (directory / "ecdsa.pub").write_text(f"{ECDSA}\n")
    (directory / "two.pub").write_text(f"{ED25519} one\n{ED25519} two\n")
    (directory / "empty.pub").write_text("")
    (directory / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn==\n-----END OPENSSH PRIVATE KEY-----\n")
    return Role(
        "aws_host",
        aws_host_name="ward",
        aws_host_public_key=str(directory / "key.pub"),
        aws_host_subnets=SUBNETS,
        keys=str(directory),
    )


def errors(role: Role, answers: dict[str, Any]) -> list[str]:
    key = answers.get("aws_host_public_key", role.answers["aws_host_public_key"])
    return role.errors(**answers | {"aws_host_public_key": key.replace("KEYS", role.answers["keys"])})


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"aws_host_public_key": "KEYS/rsa.pub"},
        {"aws_host_connect": "session_manager", "aws_host_public_key": "", "aws_host_region": "us-gov-west-1"},
        {"aws_host_connect": "private", "aws_host_elastic_ip": False},
        {"aws_host_instance_type": "t4g.large", "aws_host_architecture": "arm64"},
        {"aws_host_instance_type": "g5g.xlarge", "aws_host_architecture": "arm64"},
        {"aws_host_instance_type": "g4dn.xlarge"},
        {"aws_host_instance_type": "c7gn.medium", "aws_host_architecture": "arm64"},
        {"aws_host_instance_type": "u-6tb1.metal"},
        {"aws_host_private_address": "10.77.0.4"},
        {"aws_host_private_address": "10.77.63.254"},
        {"aws_host_private_address": "10.77.1.0"},
        {"aws_host_subnets": [], "aws_host_private_address": "10.1.1.1"},
        {"aws_host_subnets": [{"cidr": "172.28.77.32/27"}], "aws_host_private_address": "172.28.77.62"},
        {"aws_host_data_directory": "/srv"},
        {"aws_host_route53_zone": "example.org", "aws_host_names": ["pacs.example.org"]},
        {"aws_host_route53_zone": "example.org", "aws_host_names": ["example.org"]},
        FRESH,
        LATER,
        FRESH | {"aws_host_existing": [VOLUME | {"instance_id": "", "zone": f"{REGION}b"}]},
        LATER | {"aws_host_private_address": "10.77.0.10", "aws_host_image_id": "ami-12345678"},
        LATER | {"aws_host_existing": [INSTANCE, VOLUME, INSTANCE | {"state": "terminated"}]},
        FRESH | {"aws_host_subnets": []},
    ],
    ids=str,
)
def test_accepted(role, answers):
    assert errors(role, answers) == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"aws_host_name": "1ward"}, "aws_host_name is '1ward'. Set it to at most 54 letters"),
        ({"aws_host_name": "w" * 55}, "aws_host_name is 'w"),
        ({"aws_host_public_key": ""}, "aws_host_public_key is not set."),
        ({"aws_host_connect": "session_manager"}, "aws_host_region is '', and aws_host_connect is session_manager."),
        (
            {"aws_host_connect": "session_manager", "aws_host_name": "w" * 52, "aws_host_region": REGION},
            "which IAM refuses. Set aws_host_name to 51 characters or fewer.",
        ),
        (
            {"aws_host_public_key": "/nowhere/id.pub"},
            "aws_host_public_key is '/nowhere/id.pub', a file that is missing",
        ),
        ({"aws_host_public_key": "KEYS/empty.pub"}, "empty.pub', a file that is missing, empty or not readable"),
        ({"aws_host_public_key": "KEYS/key"}, "key', which is a private key. It must not leave this machine."),
        ({"aws_host_public_key": "KEYS/ecdsa.pub"}, "which is not one public SSH key that EC2 supports"),
        ({"aws_host_public_key": "KEYS/two.pub"}, "which is not one public SSH key that EC2 supports"),
        ({"aws_host_instance_type": "t3"}, "aws_host_instance_type is 't3'. Set it to an instance type such as"),
        ({"aws_host_instance_type": "t4g.large"}, "aws_host_instance_type is t4g.large, whose processor is not amd64"),
        (
            {"aws_host_instance_type": "m7i.large", "aws_host_architecture": "arm64"},
            "aws_host_instance_type is m7i.large, whose processor is not arm64",
        ),
        ({"aws_host_image_id": "debian"}, "aws_host_image_id is 'debian'. Set it to the id of an image"),
        ({"aws_host_root_gb": 7}, "aws_host_root_gb is 7. Set it to 8 to 16384."),
        ({"aws_host_data_gb": 0}, "aws_host_data_gb is 0."),
        (
            {"aws_host_data_volume_id": "snap-00000001"},
            "aws_host_data_volume_id is 'snap-00000001'. Set it to the id of",
        ),
        ({"aws_host_data_directory": "/"}, "aws_host_data_directory is '/', on which no volume can be mounted."),
        ({"aws_host_data_directory": "/var"}, "aws_host_data_directory is '/var', on which"),
        ({"aws_host_data_directory": "data"}, "aws_host_data_directory is 'data', on which"),
        ({"aws_host_data_directory": "/a/../etc"}, "aws_host_data_directory is '/a/../etc', on which"),
        ({"aws_host_wait_minutes": 0}, "aws_host_wait_minutes is 0."),
        ({"aws_host_known_hosts": ""}, "aws_host_known_hosts is empty."),
        (
            {"aws_host_private_address": "10.77.0.300"},
            "aws_host_private_address is '10.77.0.300', which is not a valid",
        ),
        ({"aws_host_private_address": "10.78.0.10"}, "aws_host_private_address is 10.78.0.10, which is in none of the"),
        ({"aws_host_private_address": "10.77.32.3"}, "aws_host_private_address is 10.77.32.3, which AWS reserves"),
        ({"aws_host_private_address": "10.77.63.255"}, "aws_host_private_address is 10.77.63.255, which AWS reserves"),
        ({"aws_host_elastic_ip": False}, "aws_host_connect is public, and aws_host_elastic_ip is false"),
        ({"aws_host_route53_zone": "not a zone"}, "aws_host_route53_zone is 'not a zone'."),
        (
            {"aws_host_route53_zone": "example.org", "aws_host_names": ["pacs.example.org.uk"]},
            "aws_host_route53_zone is example.org, and the server's name 'pacs.example.org.uk' is not in it.",
        ),
        ({"aws_host_route53_zone": "ample.org", "aws_host_names": ["example.org"]}, "is not in it."),
        (
            LATER | {"aws_host_existing": [INSTANCE, VOLUME, INSTANCE | {"id": "i-00000002", "state": "stopped"}]},
            "aws_host_name is ward, and i-0123456789abcdef0 and i-00000002 have that name.",
        ),
        (
            FRESH | {"__aws_host_type_query": {"instance_types": []}},
            "aws_host_instance_type is t3.large, which the region does not have.",
        ),
        (
            FRESH | {"__aws_host_type_query": {"instance_types": [OFFER | {"architectures": ["arm64"]}]}},
            "aws_host_instance_type is t3.large, whose processor is arm64, and aws_host_architecture is amd64",
        ),
        (
            FRESH | {"__aws_host_type_query": {"instance_types": [OFFER | {"zones": [f"{REGION}c"]}]}},
            "aws_host_instance_type is t3.large, which the zone eu-central-1a does not have; eu-central-1c have it.",
        ),
        (
            FRESH | {"__aws_host_image_query": {"images": []}},
            "the region has no image debian-13-amd64-* of the owner 136693071363.",
        ),
        (
            FRESH | {"__aws_host_image_query": {"images": []}, "aws_host_image_id": "ami-00000009"},
            "aws_host_image_id is 'ami-00000009', and the region has no such image.",
        ),
        (
            FRESH | {"__aws_host_image_query": {"images": [IMAGE | {"architecture": "arm64"}]}},
            "an image for arm64, and aws_host_architecture is amd64 (x86_64).",
        ),
        (
            LATER | {"aws_host_private_address": "10.77.0.11"},
            "aws_host_private_address is 10.77.0.11, and i-0123456789abcdef0 has 10.77.0.10, which AWS cannot change.",
        ),
        (
            FRESH | {"aws_host_data_volume_id": "vol-00000009"},
            "aws_host_data_volume_id is vol-00000009, and this account has no such volume in the region.",
        ),
        (
            FRESH
            | {"aws_host_existing": [VOLUME | {"instance_id": ""}, VOLUME | {"id": "vol-00000003", "instance_id": ""}]},
            "aws_host_data_volume_id is '', and vol-00000002 and vol-00000003 have the name ward-data.",
        ),
        (
            LATER | {"aws_host_existing": [INSTANCE, VOLUME | {"encrypted": False}]},
            "aws_host_data_volume_id is vol-00000002, which is not encrypted.",
        ),
        (
            LATER | {"aws_host_existing": [INSTANCE, VOLUME | {"delete_on_termination": True}]},
            "vol-00000002 would be deleted with the server, because somebody changed its attachment.",
        ),
        (
            LATER | {"aws_host_existing": [INSTANCE, VOLUME | {"zone": f"{REGION}b"}]},
            "which is in the zone eu-central-1b, and the server would be in eu-central-1a.",
        ),
        (
            FRESH | {"aws_host_existing": [VOLUME | {"instance_id": "", "zone": f"{REGION}c"}]},
            "which is in the zone eu-central-1c, and the server would be in eu-central-1a or eu-central-1b.",
        ),
        (
            FRESH
            | {
                "aws_host_data_volume_id": "vol-00000007",
                "__aws_host_volume_query": {
                    "volumes": [
                        {
                            "id": "vol-00000007",
                            "zone": f"{REGION}c",
                            "size": 500,
                            "encrypted": True,
                            "type": "gp3",
                            "tags": {},
                            "attachment_set": [],
                        }
                    ]
                },
            },
            "aws_host_data_volume_id is vol-00000007, which is in the zone eu-central-1c",
        ),
        (
            FRESH | {"aws_host_existing": [VOLUME]},
            "aws_host_data_volume_id is vol-00000002, which is attached to i-0123456789abcdef0, not to the server of",
        ),
        (
            LATER | {"aws_host_existing": [INSTANCE, VOLUME | {"id": "vol-00000003"}]},
            "has the volume vol-00000002 as /dev/sdf.",
        ),
    ],
    ids=str,
)
def test_refused(role, answers, message):
    (error,) = errors(role, answers)
    assert message in error


# Variables


def test_resources_of_the_plan(role):
    kinds = [one["kind"] for one in role.value("aws_host_resources")]
    assert kinds == ["instance", "volume", "key_pair", "elastic_ip"]
    other = {
        "aws_host_connect": "session_manager",
        "aws_host_region": REGION,
        "aws_host_elastic_ip": False,
        "aws_host_route53_zone": "example.org",
        "aws_host_names": ["pacs.example.org"],
    }
    resources = role.value("aws_host_resources", **other)
    assert [(one["kind"], one["name"]) for one in resources] == [
        ("instance", "ward"),
        ("volume", "ward-data"),
        ("iam_role", f"ward-{REGION}"),
        ("instance_profile", f"ward-{REGION}"),
        ("dns_record", "pacs.example.org"),
    ]


@pytest.mark.parametrize(
    ("line", "new", "needed"),
    [
        ("", False, True),  # a run was killed before it trusted the keys
        ("192.0.2.10 KEY i-0123456789abcdef0", False, False),
        ("192.0.2.10 KEY i-0123456789abcdef0", True, False),
        ("192.0.2.10 KEY i-00000000000000001", False, True),  # of the instance that had the address before
        ("192.0.2.10 KEY", False, False),  # entered by a person
        ("192.0.2.10 KEY", True, True),  # of another machine
        ("192.0.2.1 KEY i-0123456789abcdef0", False, True),
        ("HASHED KEY", False, False),
        ("other.example.org,192.0.2.10 KEY operator", False, False),
    ],
)
def test_when_host_keys_are_read(role, tmp_path, line, new, needed):
    file = tmp_path / "known hosts"
    if line:
        file.write_text(line.replace("KEY", ED25519).replace("HASHED", "192.0.2.10") + "\n")
    if "HASHED" in line:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
        assert "192.0.2.10" not in file.read_text()
    answers = {
        "ansible_host": "192.0.2.10",
        "aws_host": {"instance_id": "i-0123456789abcdef0"},
        "aws_host_known_hosts": str(file),
        "aws_host_existing": [] if new else [INSTANCE],
    }
    assert role.value("__aws_host_needs_keys", **answers) is needed


@pytest.mark.parametrize(
    ("answers", "subnet"),
    [
        ({}, "subnet-1"),
        ({"aws_host_private_address": "10.77.40.1"}, "subnet-2"),
        ({"aws_host_existing": [VOLUME | {"zone": f"{REGION}b"}]}, "subnet-2"),
        ({"aws_host_existing": [VOLUME | {"zone": f"{REGION}c"}]}, None),
        ({"aws_host_existing": [VOLUME], "aws_host_private_address": "10.77.40.1"}, None),
        ({"aws_host_subnets": [{"cidr": "10.77.0.0/19"}]}, None),
    ],
)
def test_subnet(role, answers, subnet):
    assert role.value("__aws_host_subnet", **{"aws_host_existing": []} | answers).get("id") == subnet


def test_tags_do_not_hide_what_a_run_has_made(role):
    answers = {"aws_host_tags": {"Name": "Images", "owner": "it", "lightbox:environment": ENVIRONMENT}}
    tags = role.value("[__aws_host_instance_tags, __aws_host_all_tags, __aws_host_data_tags]", **answers)
    name = role.value("aws_host_name")
    assert [(one["Name"], one["owner"]) for one in tags] == [(name, "it"), (name, "it"), (f"{name}-data", "it")]


def test_a_volume_never_shrinks(role):
    sizes = [
        role.value("__aws_host_data_gb", aws_host_existing=existing, aws_host_data_gb=size)
        for existing, size in (([], 100), ([VOLUME], 100), ([VOLUME], 300))
    ]
    assert list(map(int, sizes)) == [100, 200, 300]


# The data volume on the server: what the query answered, and what is refused

EMPTY = "device=/dev/nvme1n1\nsignatures=\nuuid=\nmounted=\nelsewhere=\nfiles=\nprograms=installed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"signatures=": "signatures=ext4", "mounted=": "mounted=/dev/nvme1n1"}, None),
        ({"signatures=": "signatures=xfs"}, None),
        ({"signatures=": "signatures=LVM2_member"}, "has LVM2_member on it, so it is not formatted."),
        ({"signatures=": "signatures=PMBR gpt"}, "has PMBR gpt on it, so it is not formatted."),
        ({"signatures=": "signatures=btrfs"}, "has btrfs on it"),
        ({"signatures=": "signatures=ext4 swap"}, "has ext4 swap on it"),
        ({"mounted=": "mounted=/dev/nvme2n1"}, "something else is mounted, /dev/nvme2n1,"),
        ({"elsewhere=": "elsewhere=/srv"}, "is mounted on /srv."),
        ({"files=": "files=docker a=b"}, "which has files on the root disk (docker a=b)."),
    ],
    ids=str,
)
def test_data_volume(role, changes, message):
    text = EMPTY
    for before, after in changes.items():
        text = text.replace(before, after)
    answers = {
        "aws_host": {"volume_id": "vol-0abc", "instance_id": "i-0123456789abcdef0"},
        "__aws_host_query_answer": {"rc": 0, "stdout_lines": text.splitlines()},
    }
    found = role.value("__aws_host_mount_errors", **answers)
    assert len(found) == (1 if message else 0)
    assert (message or "") in "".join(found)


def tasks_on_the_volume() -> dict[str, dict[str, Any]]:
    tasks = tasks_in(PROJECT / "roles/aws_host/tasks/data_volume.yml")
    return {task["name"].partition(" | ")[2]: task for task in tasks}


@pytest.mark.parametrize(
    ("signatures", "formats"), [("", True), ("ext4", False), ("xfs", False), ("LVM2_member", False)]
)
def test_only_an_empty_volume_is_formatted(role, signatures, formats):
    text = EMPTY.replace("signatures=", f"signatures={signatures}")
    answers = {"ansible_check_mode": False, "__aws_host_query_answer": {"rc": 0, "stdout_lines": text.splitlines()}}
    tasks = tasks_on_the_volume()
    condition = tasks["Make a file system on the empty volume"]["when"]
    assert role.value(f"({condition})", **answers) is formats
    refuses = tasks["Refuse what would hide or lose data"]["when"]
    answers["aws_host"] = {"volume_id": "vol-0abc", "instance_id": "i-0123456789abcdef0"}
    assert role.value(f"({refuses})", **answers) is (signatures == "LVM2_member")
    order = list(tasks)
    assert order.index("Refuse what would hide or lose data") < order.index("Make a file system on the empty volume")


def test_the_volume_is_mounted_by_what_is_on_it(role):
    """By its UUID, found by the volume's id, and Docker does not start without it."""
    answers = {
        "aws_host": {"volume_id": "vol-0abc", "instance_id": "i-0123456789abcdef0"},
        "__aws_host_query_answer": {"rc": 0, "stdout_lines": EMPTY.replace("uuid=", "uuid=1234-abcd").splitlines()},
    }
    tasks = tasks_on_the_volume()
    mount = tasks["Mount the volume"]["ansible.posix.mount"]
    assert mount["src"] == "UUID={{ __aws_host_uuid }}"
    assert role.value("__aws_host_uuid", **answers) == "1234-abcd"
    assert "x-systemd.required-by=docker.service" in mount["opts"].split(",")
    names = role.value("__aws_host_volume_names", **answers)
    assert names[0] == "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"


@pytest.mark.parametrize("fails", ["", "wipefs", "blkid"])
def test_a_volume_that_cannot_be_read_is_not_an_empty_one(tmp_path, fails):
    """The query of a file in place of a device, with a program that fails as on a device with errors."""
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(2**20))
    if fails:
        (tmp_path / fails).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / fails).chmod(0o755)
    program = (PROJECT / "roles/aws_host/files/query_volume.sh").read_text()
    script = program.replace('[ -b "$name" ]', '[ -f "$name" ]')
    done = subprocess.run(
        ["sh", "-c", script, "query", str(volume), "/missing"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if fails:
        assert done.returncode not in (0, 3)
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert {"signatures=", "uuid=", f"device={volume}"} <= set(done.stdout.splitlines())


def test_data_volume_without_device(role):
    answers = {
        "aws_host": {"volume_id": "vol-0abc", "instance_id": "i-0123456789abcdef0"},
        "__aws_host_query_answer": {"rc": 3, "stdout_lines": []},
    }
    (error,) = role.value("__aws_host_mount_errors", **answers)
    assert error.startswith("The server has no device of the volume vol-0abc.")
