"""The role aws_host: what it refuses, and what it makes of an account of moto in two runs; its modules."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any
from unittest import mock

import boto3
import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.modules import ec2_host_keys, ec2_instance_type_info
from botocore.stub import Stubber
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.responses import general
from moto.server import ThreadedMotoServer

from tests.support.aws import ENVIRONMENT, REGION, aws_account, recorded_calls, run_module
from tests.support.project import PROJECT

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
        (f"{console(ED25519)}-----BEGIN SSH HOST KEY KEYS-----\r\n{ECDSA}", [ED25519]),  # the second list is not complete
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
    assert [one["memory_mb"] for one in done["instance_types"]] == [8192, 8192]
    assert done["instance_types"][0]["zones"][0].startswith(f"{REGION}")
    assert sorted(set(calls)) == ["ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes"]


def test_a_type_that_exists_and_is_not_offered():
    client = boto3.client("ec2", REGION)
    filters = [{"Name": "instance-type", "Values": ["m9.large"]}]
    found = {
        "InstanceType": "m9.large",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "MemoryInfo": {"SizeInMiB": 1},
    }
    with Stubber(client) as stub:
        offers: dict[str, Any] = {"InstanceTypeOfferings": []}
        expected = {"LocationType": "availability-zone", "Filters": filters}
        stub.add_response("describe_instance_type_offerings", offers, expected)
        stub.add_response("describe_instance_types", {"InstanceTypes": [found]}, {"Filters": filters})
        assert ec2_instance_type_info.find_types(client, ["m9.large"]) == []
