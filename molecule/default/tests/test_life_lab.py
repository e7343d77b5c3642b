"""The lab itself: its servers know each other, and making it again changes nothing."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import INVENTORY, PROJECT, lab_hosts, run_playbook, server


@pytest.mark.parametrize("name", lab_hosts())
def test_servers_know_each_other_by_name(name):
    host = server(name)
    for other, values in lab_hosts().items():
        if other != name:
            for known in (other, values["pacs_name"]):
                assert host.check_output(f"getent hosts {known}").split()[0] == values["ansible_host"]


def test_images_are_not_built_again():
    environment = PROJECT / ".cache/images.env"
    before = environment.read_text()
    build = subprocess.run([PROJECT / "molecule/shared/images/build"], capture_output=True, text=True, check=False)
    assert (build.returncode, build.stdout, build.stderr) == (0, "", "")
    assert environment.read_text() == before


def test_servers_are_not_made_again():
    started = {name: server(name).check_output("stat --format %Y /proc/1") for name in lab_hosts()}
    run = run_playbook("molecule/shared/create.yml", "-i", INVENTORY)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert set(re.findall(r"changed=(\d+)", run.stdout.rsplit("PLAY RECAP", 1)[1])) == {"0"}
    assert {name: server(name).check_output("stat --format %Y /proc/1") for name in lab_hosts()} == started
