"""A run that is cut off anywhere is mended by the next one, and no run ever shows a secret."""

from __future__ import annotations

import base64
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import INVENTORY, PROJECT, address, server

testinfra_hosts = [address("spare")]
SITE = [
    *("ansible-playbook", "site.yml", "-i", str(INVENTORY), "--limit", "spare", "-e", "pacs_hosts=spare"),
    *("-vvv", "--diff"),
]
# Where runs are cut off: when the name of this task appears, and so many seconds later.
CUTS = [
    ("load | Load the image", 1.0),
    ("configure | Write the configuration", 0.2),
    ("install | Copy the release", 0.4),
    ("configure | Render nginx.conf", 0.6),
]


def site(log: pathlib.Path, cut: tuple[str, float] | None = None) -> int:
    """Run the whole playbook into a log; kill it and all its children at the cut. The return value is its exit code."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            SITE,
            cwd=PROJECT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "false", "PYTHONUNBUFFERED": "1"},
        )
        try:
            until = time.monotonic() + 600
            while cut and process.poll() is None:
                assert time.monotonic() < until
                if f"{cut[0]}]".encode() in log.read_bytes():
                    time.sleep(cut[1])
                    break
                time.sleep(0.05)
            if not cut:
                process.wait(600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return process.returncode


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> list[pathlib.Path]:
    """The complete output of every run against the bare server: each cut off at another place, then two to the end."""
    directory = tmp_path_factory.mktemp("cut-off")
    made = []
    for number, cut in enumerate([*CUTS, None, None]):
        log = directory / f"{number}.log"
        made.append(log)
        code = site(log, cut)
        if cut:
            assert code == -signal.SIGKILL, f"the run ended before {cut[0]}"
        else:
            assert code == 0, log.read_text()[-3000:]
    return made


def test_the_next_run_mends_what_was_cut_off(logs):
    recap = logs[-2].read_text().rsplit("PLAY RECAP", 1)[1]
    assert "failed=0" in recap
    assert ", 0 failed, 0 skipped" in logs[-2].read_text()


def test_the_run_after_that_changes_nothing(logs):
    assert "changed=0" in logs[-1].read_text().rsplit("PLAY RECAP", 1)[1]


def test_every_image_that_the_cut_runs_left_is_gone(logs, host):
    with host.sudo():
        assert host.check_output("ls /var/tmp | grep lightbox || true") == ""
        names = host.check_output("docker ps --all --format '{{.Names}}'").split()
        assert sorted(names) == ["lightbox-orthanc", "lightbox-orthanc-leftovers"]


def secrets() -> dict[str, str]:
    """Every secret of the run, and the forms in which it could show."""
    directory = INVENTORY / ".secrets"
    found = {}
    for path in directory.rglob("*"):
        if (
            not path.is_file()
            or (path.suffix == ".pem" and "PRIVATE" not in path.read_text())
            or path.name == ".gitignore"
        ):
            continue
        text = path.read_text().strip()
        if "PRIVATE KEY" in text:
            found[str(path.relative_to(directory))] = text.splitlines()[1]
        else:
            found[path.name] = text
            for user in ("admin", "gateway"):
                found[f"{path.name} of {user} as base64"] = base64.b64encode(f"{user}:{text}".encode()).decode()
    return found


def test_no_run_shows_a_secret(logs):
    known = secrets()
    assert {"web_password", "archive_password"} <= set(known)
    assert any("key" in name for name in known)
    for log in logs:
        text = log.read_text()
        assert len(text) > 10000
        flat = text.replace("\\n", "\n")
        shown = [name for name, secret in known.items() if secret in text or secret in flat]
        assert shown == [], f"{log.name} shows {shown}"


def test_no_secret_is_readable_for_everyone_on_the_server(logs, host):
    with host.sudo():
        for name in ("web_password", "archive_password"):
            secret = (INVENTORY / ".secrets" / name).read_text().strip()
            readable = host.run(
                f"grep -rlF --exclude-dir=proc {secret} /etc /opt /var/lib/lightbox /var/log /run 2>/dev/null"
            )
            for path in readable.stdout.split():
                assert host.file(path).mode & 0o007 == 0, f"{path} shows {name} to everyone"


def test_the_server_is_the_one_that_was_bare():
    assert server("spare").check_output("hostname") == "spare"
