"""What the lab's tests name is there, and nothing of the machine that the project is worked on is in its files."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.project import PROJECT, tasks_in

# Hosts that everybody's configuration names; every other one is somebody's own.
PUBLIC = re.compile(r"(.*\.)?(debian\.org|ubuntu\.com|docker\.com|pypi\.org|pythonhosted\.org|npmjs\.org|localhost)$")
# On a server the modules' own directory is in root's home.
MACHINE = re.compile(r"(?<![\w.$}~-])/(?:work|tmp/w|root(?!/\.ansible\b))/")


KILLS = re.compile(r"KILLS(_[A-Z_]+)?")


def test_runs_are_killed_at_tasks_that_exist():
    known = {
        task.get("name", "")
        for path in (*PROJECT.glob("roles/*/tasks/*.yml"), *PROJECT.glob("playbooks/*.yml"))
        for task in tasks_in(path)
    }
    points = [
        (file.name, task.removesuffix("]"))
        for file in PROJECT.glob("molecule/*/tests/*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and KILLS.fullmatch(getattr(node.targets[0], "id", ""))
        for task, _seconds in ast.literal_eval(node.value)
    ]
    assert len(points) >= 4
    assert [(file, task) for file, task in points if not any(task in name for name in known)] == []


def test_no_test_imports_another():
    """What tests share is in tests/support; a conftest is pytest's to import."""
    found = [
        f"{file.relative_to(PROJECT)}: {module}"
        for directory in ("molecule", "tests")
        for file in (PROJECT / directory).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if re.search(r"(^|\.)(test_[a-z_]+|conftest)(\.|$)", module)
    ]
    assert found == []


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text file that git has, by its path in the project."""
    if not shutil.which("git") or not (PROJECT / ".git").exists():
        pytest.skip("needs git and a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    found = {}
    for name in filter(None, listed.split("\0")):
        path = PROJECT / name
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if b"\0" not in content:
                found[name] = content.decode(errors="replace")
    return found


def test_no_path_of_a_machine(texts):
    found = {
        f"{name}:{number}: {line.strip()}"
        for name, text in texts.items()
        for number, line in enumerate(text.split("\n"), 1)
        if MACHINE.search(line)
    }
    assert found == set()


def registries() -> set[str]:
    """Hosts from which this machine takes packages and that are not everybody's. Only hosts are kept, no login."""
    variables = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "NPM_CONFIG_REGISTRY")
    said = [os.environ.get(name, "") for name in variables]
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if path.suffix in (".list", ".sources") and os.access(path, os.R_OK):
            said += [line for line in path.read_text().split("\n") if not line.lstrip().startswith("#")]
    for path in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        settings = configparser.RawConfigParser(strict=False)
        settings.read(path if os.access(path, os.R_OK) else [])
        for section in settings.sections():
            said += [settings.get(section, key, fallback="") for key in ("index-url", "extra-index-url", "find-links")]
    npm = shutil.which("npm")
    if npm:
        said.append(
            subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False).stdout
        )
    hosts = re.findall(r"https?://(?:[^/@\s]*@)?([A-Za-z0-9][A-Za-z0-9.-]+)", "\n".join(said))
    return {host.lower() for host in hosts if not PUBLIC.match(host.lower())}


def test_registries_are_read_without_their_login(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:mine@packages.example.org:8443/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://pypi.org/simple")
    assert "packages.example.org" in registries()
    assert not {"pypi.org", "me", "mine"} & registries()


def test_no_registry_of_a_machine(texts):
    hosts = registries()
    assert [name for name, text in texts.items() if any(host in text.lower() for host in hosts)] == []


def test_check_config_is_a_command_of_its_own(tmp_path):
    """Without Docker, without the lab's packages, and with the exit code that a pull request's checks want."""
    (tmp_path / "hosts.yml").write_text(
        yaml.safe_dump(
            {"pacs": {"hosts": {"one": {"pacs_name": "pacs.example.org", "orthanc_configuration": {"StableAgee": 1}}}}}
        )
    )
    results = [
        subprocess.run(
            ["make", "check-config", f"INVENTORY={inventory}"], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        for inventory in ("inventories/onprem", tmp_path / "hosts.yml", "")
    ]
    assert [result.returncode for result in results] == [0, 2, 2], results
    assert "orthanc_configuration.StableAgee" in results[1].stdout
    assert "INVENTORY=inventories/onprem" in results[2].stderr
    assert not re.search("Docker|Installing packages", "".join(result.stdout for result in results))
