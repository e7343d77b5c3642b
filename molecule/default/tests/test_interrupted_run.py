"""Runs on a bare server that are killed at several points: the next one completes the work, and none shows a secret."""

from __future__ import annotations

import pathlib
import time

import pytest

from tests.support.lab import INVENTORY, address, killable_playbook, recap, run_playbook, server
from tests.support.secrets import find_secrets, scenario_secrets

testinfra_hosts = [address("bare")]
pytestmark = [pytest.mark.long, pytest.mark.last]  # the server is not bare afterwards
SITE = ["site.yml", "-i", INVENTORY, "--limit", "bare", "-e", "pacs_hosts=bare", "-vvv", "--diff"]
# Where runs are killed: when the name of this task appears, and so many seconds later.
KILLS = [
    ("load | Load the image", 1.0),
    ("configure | Write the configuration", 0.2),
    ("install | Copy the release", 0.4),
    ("configure | Render nginx.conf", 0.6),
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> list[pathlib.Path]:
    """The complete output of every run against the bare server: each killed at another point, then two to the end."""
    directory = tmp_path_factory.mktemp("interrupted")
    made = [directory / f"{number}.log" for number in range(len(KILLS) + 2)]
    for log, (task, seconds) in zip(made, KILLS, strict=False):
        with killable_playbook(log, *SITE) as run:
            run.wait_for(f"{task}]")
            time.sleep(seconds)
            assert run.process.poll() is None, f"the run ended before {task}"
    for log in made[-2:]:
        run = run_playbook(*SITE)
        log.write_text(run.stdout + run.stderr)
        assert run.returncode == 0, run.stdout[-3000:]
    return made


def test_the_next_run_completes_the_work(logs):
    assert recap(logs[-2].read_text())["failed"] == 0
    assert ", 0 failed, 0 skipped" in logs[-2].read_text()


def test_the_run_after_that_changes_nothing(logs):
    assert recap(logs[-1].read_text())["changed"] == 0


def test_nothing_of_the_killed_runs_is_left(logs, host):
    with host.sudo():
        assert host.check_output("ls /var/tmp | grep lightbox || true") == ""
        names = host.check_output("docker ps --all --format '{{.Names}}'").split()
        assert sorted(names) == ["lightbox-orthanc", "lightbox-orthanc-reconcile"]


def test_no_run_shows_a_secret(logs):
    known = scenario_secrets()
    assert {"web_password", "archive_password"} <= set(known)
    assert any("key" in name for name in known)
    for log in logs:
        text = log.read_text()
        assert len(text) > 10000
        assert find_secrets(text) == [], log.name


def test_the_server_is_the_one_that_was_bare():
    assert server("bare").check_output("hostname") == "bare"
