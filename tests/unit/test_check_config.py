"""An inventory is checked without its servers: all findings at once, and nothing is written."""

from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Any

import pytest
import yaml

from tests.unit.conftest import PROJECT

HOSTS: dict[str, dict[str, Any]] = {
    "good": {"pacs_name": "good.example.org", "orthanc_configuration": {"StableAge": 30}},
    "bad": {
        "pacs_name": "bad.example.org",
        "pacs_modalites": [],
        "orthanc_flavor": "debian",
        "orthanc_configuration": {
            "StableAgee": 30,
            "HttpServer": {"CorsEnabled": True},
            "HttpBindAddresses": ["::1"],
            "ExecuteLuaEnabled": True,
        },
        "gateway_https_port": 99999,
    },
    "types": {
        "pacs_name": "types.example.org",
        "orthanc_memory_mb": "much",
        "gateway_https_port": 80,
        "pacs_archive_password": "Hush7Hush7Hush7",
        "pacs_modalities": [{"name": "ct1", "host": "192.0.2.7"}],
    },
    "nameless": {"pacs_dicom_network": ["10.0.0.0/8"]},
}


def check(inventory: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", str(PROJECT / "playbooks/check_config.yml"), "-i", str(inventory)],
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".collections"),
            "ANSIBLE_FORCE_COLOR": "false",
            "COLUMNS": "1000",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over servers that do not exist; what it said of each, and what lay beside the inventory after it."""
    directory = tmp_path_factory.mktemp("inventory")
    hosts = {name: {"ansible_host": "192.0.2.1", **answers} for name, answers in HOSTS.items()}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"pacs": {"hosts": hosts}}))
    done = check(directory)
    text = " ".join(done.stdout.split())
    said = {name: text.split(f"fatal: [{name}]: FAILED!")[1].split("fatal: [")[0] for name in HOSTS if name != "good"}
    return done, said, sorted(path.name for path in directory.iterdir())


def test_a_wrong_inventory_fails(run):
    done, _said, _files = run
    assert done.returncode != 0
    assert "fatal: [good]" not in done.stdout
    assert "unreachable=0" in done.stdout


def test_all_findings_of_a_server_come_at_once(run):
    _done, said, _files = run
    for finding in (
        "pacs_modalites is set, but nothing reads it. Did you mean pacs_modalities?",
        "orthanc_configuration.StableAgee is not known",
        "orthanc_configuration.HttpServer does nothing",
        "orthanc_configuration.HttpBindAddresses needs Orthanc 1.12.10",
        "orthanc_configuration.ExecuteLuaEnabled is true, which is dangerous",
        "Set each to 1 to 65535",
    ):
        assert finding in said["bad"]


def test_wrong_types_are_told_beside_the_findings_of_other_roles(run):
    _done, said, _files = run
    assert "argument ''orthanc_memory_mb'' is of type str" in said["types"]
    assert "missing required arguments: aet found in orthanc_modalities" in said["types"]
    assert "Set each to a port of its own" in said["types"]
    assert "Hush7" not in said["types"]


def test_an_archive_without_a_name_is_refused(run):
    _done, said, _files = run
    assert "pacs_name is not set" in said["nameless"]
    assert "Did you mean pacs_dicom_networks?" in said["nameless"]


def test_nothing_is_written(run):
    _done, _said, files = run
    assert files == ["hosts.yml"]


def test_an_inventory_without_an_archive_is_refused(tmp_path):
    (tmp_path / "hosts.yml").write_text("web:\n  hosts:\n    a:\n")
    done = check(tmp_path)
    assert done.returncode != 0
    assert "no host in the group pacs" in done.stdout


def test_the_example_is_good():
    done = check(PROJECT / "inventories/onprem")
    assert done.returncode == 0, done.stdout
