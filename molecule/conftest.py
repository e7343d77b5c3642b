"""What the tests of every scenario share: the inventory, playbook runs, the journal of a server whose test failed."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable

import pytest
import testinfra
import yaml

PROJECT = pathlib.Path(__file__).resolve().parents[1]
SCENARIO = pathlib.Path(os.environ.get("MOLECULE_SCENARIO_DIRECTORY", PROJECT / "molecule/default"))
INVENTORY = SCENARIO / "inventory"
os.environ.setdefault("MOLECULE_PROJECT_DIRECTORY", str(PROJECT))
os.environ.setdefault("ANSIBLE_CONFIG", str(PROJECT / "ansible.cfg"))
os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(PROJECT / ".collections"))


def lab_hosts() -> dict[str, dict]:
    """The scenario's servers with what its inventory says of them."""
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    return {**groups["pacs"]["hosts"], **groups["lab"].get("hosts", {})}


def address(name: str) -> str:
    """What testinfra calls a server of the scenario."""
    return f"ssh://{lab_hosts()[name]['ansible_host']}?ssh_config={PROJECT}/.lab/ssh_config"


def server(name: str):
    return testinfra.get_host(address(name))


Playbook = Callable[..., subprocess.CompletedProcess[str]]


def run_playbook(
    *arguments: str | os.PathLike[str], timeout: float = 900, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook from the project's root and return what it said; the caller judges its exit code."""
    return subprocess.run(
        ["ansible-playbook", *map(str, arguments)],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "false"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def playbook() -> Playbook:
    return run_playbook


@pytest.fixture(scope="session")
def secrets_directory() -> pathlib.Path:
    return INVENTORY / ".secrets"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "host" in getattr(item, "funcargs", {}):
        host = item.funcargs["host"]
        with host.sudo():
            for command in ("journalctl --no-pager --lines 40", "docker logs --tail 20 lightbox-orthanc"):
                try:
                    shown = host.run(command)
                    said = shown.stdout + shown.stderr
                except RuntimeError as error:  # no SSH; the other tests still count
                    said = str(error)
                report.sections.append((f"{host.backend.hostname}: {command}", said))
