"""The environment is removed, and once more: images and the key that encrypts them stay."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.aws_lab import ACCOUNT, ENVIRONMENT, Run, actions, client, names, writes
from tests.support.permissions import read_actions

pytestmark = pytest.mark.last
CONFIRMED = ["-e", f"aws_destroy_environment={ENVIRONMENT}"]


@pytest.fixture(scope="module")
def first() -> Run:
    ec2 = client("ec2")
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{ENVIRONMENT}-database"]}])[
        "SecurityGroups"
    ]
    # Somebody's rule, which refers to a group that goes, too.
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}
    ec2.authorize_security_group_egress(GroupId=group["GroupId"], IpPermissions=[rule])
    return Run(*CONFIRMED, playbook="aws_destroy")


@pytest.fixture(scope="module")
def second(first) -> Run:
    return Run(*CONFIRMED, playbook="aws_destroy")


@pytest.fixture(scope="module")
def with_images(second) -> Run:
    words = json.dumps({"aws_destroy_data": f"delete the images of {ENVIRONMENT}"})
    return Run(*CONFIRMED, "-e", words, playbook="aws_destroy")


@pytest.mark.long
def test_another_name_removes_nothing():
    run = Run("-e", "aws_destroy_environment=another", playbook="aws_destroy")
    assert run.result.returncode != 0
    assert ENVIRONMENT in run.message
    assert writes(run.calls) == []


def test_it_is_removed_but_for_images_and_key(first):
    assert first.result.returncode == 0, first.output[-3000:]
    assert {kind for kind, _name in names(ACCOUNT)} == {"volume", "alias", "encryption key"}
    assert client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    (key,) = [one for one in client("kms").list_aliases()["Aliases"] if one["AliasName"] == f"alias/{ENVIRONMENT}"]
    assert client("kms").describe_key(KeyId=key["TargetKeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_it_ends_with_what_stays(first):
    (volume,) = client("ec2").describe_volumes()["Volumes"]
    (snapshot,) = client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    for name in (volume["VolumeId"], snapshot["DBSnapshotIdentifier"], f"alias/{ENVIRONMENT}"):
        assert name in first.message


def test_the_servers_stop(first):
    running = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], capture_output=True, text=True, check=True)
    assert "lightbox-aws" not in running.stdout.split()


def test_once_more_changes_nothing(first, second):
    assert first.result.returncode == 0
    assert second.result.returncode == 0, second.output[-3000:]
    assert writes(second.calls) == []


def test_the_policy_on_the_page_is_what_was_called(first, second):
    called = actions([call for run in (first, second) for call in run.calls])
    assert sorted(called ^ set(read_actions("Remove"))) == ["ec2:DeleteVolume"]


@pytest.mark.long
def test_the_images_go_when_that_is_said_in_words(with_images):
    assert with_images.result.returncode == 0, with_images.output[-3000:]
    assert client("ec2").describe_volumes()["Volumes"] == []
    assert "ec2:DeleteVolume" in actions(with_images.calls)
