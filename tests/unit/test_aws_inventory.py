"""The example that people copy, and the order of the playbooks that run for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import yaml

from tests.support.project import PROJECT

EXAMPLE = PROJECT / "inventories/aws"


def plays(name: str) -> list[dict]:
    return yaml.safe_load((PROJECT / f"playbooks/{name}.yml").read_text())


def test_the_example_is_short():
    text = "\n".join(file.read_text() for file in EXAMPLE.rglob("*.yml"))
    answers = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(answers) < 25


def test_the_first_run_asks_who_may_reach_what(tmp_path):
    """Missing on purpose: a default would be too wide for somebody."""
    shutil.copytree(EXAMPLE, tmp_path / "mine")
    done = subprocess.run(
        ["ansible-playbook", "playbooks/check_config.yml", "-i", tmp_path / "mine"],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    text = " ".join(done.stdout.split())
    for wanted in ("web", "ssh"):
        assert f"aws_security_groups_{wanted}_networks is not set" in text
    files = {"aws_host_public_key", "postgresql_ca"}  # what else the example leaves to its reader
    assert set(re.findall(r"- '?(\w+) is", text)) - files == {
        "aws_security_groups_web_networks",
        "aws_security_groups_ssh_networks",
    }


def test_boto3_is_not_everybodys():
    with_boto3 = {file.name for file in PROJECT.glob("requirements*.txt") if "boto3" in file.read_text()}
    assert with_boto3 == {"requirements-aws.txt"}


def test_the_server_is_built_then_configured_then_verified():
    assert [play["ansible.builtin.import_playbook"] for play in plays("site")] == ["aws.yml", "pacs.yml", "verify.yml"]


def test_what_builds_on_aws_runs_on_the_controller_for_the_hosts_own_name():
    for name in ("aws", "aws_destroy"):
        (play,) = plays(name)
        assert play["hosts"] == plays("pacs")[0]["hosts"]
        assert (play["vars"]["ansible_connection"], play["vars"]["ansible_become"]) == ("local", False)
        assert play["tasks"][0]["ansible.builtin.meta"] == "end_host"
        groups = {"group/amazon.aws.aws", "group/lightbox.pacs.aws"}
        assert play["module_defaults"] == {group: {"region": "{{ aws_region }}"} for group in groups}


def test_no_host_is_added():
    files = [*PROJECT.glob("playbooks/**/*.yml"), *PROJECT.glob("roles/**/*.yml")]
    assert [file.name for file in files if "add_host" in file.read_text()] == []
