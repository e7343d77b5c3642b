"""The collection as people have it: installed from its tarball, and as a clone; both in paths with a space."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from tests.support.lab import INVENTORY, PROJECT, address, recap, server

testinfra_hosts = [address("full")]


def run(*command: str | os.PathLike[str], cwd: pathlib.Path, **environment: str) -> str:
    """A command of a stranger: nothing in the environment leads to this project's own copy of the collection."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH")
    }
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=inherited | {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def state() -> str:
    """Whatever a run could change on the server."""
    host = server("full")
    with host.sudo():
        return host.check_output(
            "find /etc /opt/lightbox /usr/local -printf '%p %y %m %u %g %s %T@ %l\\n' | sort;"
            "docker inspect --format '{{.Id}} {{.State.StartedAt}}' lightbox-orthanc;"
            "systemctl show --value --property MainPID nginx.service"
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> pathlib.Path:
    """The directory of collections into which the built tarball was installed."""
    directory = tmp_path_factory.mktemp("tarball")
    source, collections = directory / "source", directory / "my collections"
    source.mkdir()
    run(PROJECT / "tests/sanity/export", "archive", source, cwd=PROJECT)
    run("ansible-galaxy", "collection", "build", source, "--output-path", directory, cwd=directory)
    (tarball,) = directory.glob("*.tar.gz")
    run(
        *(
            "ansible-galaxy",
            "collection",
            "install",
            "--offline",
            "--no-deps",
            "--collections-path",
            collections,
            tarball,
        ),
        cwd=directory,
        ANSIBLE_COLLECTIONS_PATH=str(collections),
    )
    return collections


@pytest.fixture
def elsewhere(tmp_path) -> pathlib.Path:
    directory = tmp_path / "my site"
    directory.mkdir()
    return directory


def test_installed_collection_proves_a_server(installed, elsewhere):
    proved = run(
        *("ansible-playbook", "lightbox.pacs.verify", "-i", INVENTORY, "--limit", "full"),
        cwd=elsewhere,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    assert ", 0 failed, 0 skipped" in proved
    assert recap(proved)["changed"] == 0
    assert list(elsewhere.iterdir()) == []


def test_installed_collection_finds_the_server_as_it_left_it(installed, elsewhere):
    before = state()
    checked = run(
        *("ansible-playbook", "lightbox.pacs.site", "-i", INVENTORY, "--limit", "full", "--check", "--diff"),
        cwd=elsewhere,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    assert recap(checked)["changed"] == 0
    assert state() == before


@pytest.mark.long
def test_clone_finds_the_server_as_it_left_it(elsewhere):
    clone = elsewhere / "a clone"
    clone.mkdir()
    run(PROJECT / "tests/sanity/export", "clone", clone, cwd=PROJECT)
    before = state()
    checked = run("ansible-playbook", "site.yml", "-i", INVENTORY, "--limit", "full", "--check", "--diff", cwd=clone)
    assert recap(checked)["changed"] == 0
    assert state() == before
