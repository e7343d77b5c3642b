"""A migration that is killed at several points, before and after the copy of the index: the next run completes it."""

from __future__ import annotations

import pathlib
import time

import pytest

from tests.support.database_server import instance, new_uid, on_server, session, upload, wait_until_ready
from tests.support.lab import address, killable_playbook
from tests.support.migration import (
    MIGRATE,
    everything,
    fill_archive_on_sqlite,
    indexes,
    migrate_to_the_end,
    play,
    wait_until_stable,
)

pytestmark = pytest.mark.long
testinfra_hosts = [address("migration")]
# Where runs are killed: when the name of this task appears, which is when it has ended, and so many seconds later.
# What the server was told by then it does, perhaps the next task, too: the last of these is two tasks before the copy.
KILLS_BEFORE_THE_COPY = [
    ("Write the configuration for an archive on the empty database", 0.8),
    ("migrate | Stop the archive beside]", 0.0),
]
KILLS_AFTER_THE_COPY = [
    ("Put the old index aside", 0.0),
    ("service | Run the archive and wait until it is healthy", 0.5),
]


@pytest.fixture(scope="module")
def before(host) -> dict:
    return fill_archive_on_sqlite(host)


def kill(host, log: pathlib.Path, text: str, seconds: float) -> None:
    with killable_playbook(log, *MIGRATE) as run:
        run.wait_for(text)
        time.sleep(seconds)
        assert run.process.poll() is None, f"the run ended before the kill at {text}"
    assert len(indexes(host)) == 1, f"after the kill at {text}"


def test_a_kill_before_the_copy_leaves_the_old_index(host, before, tmp_path):
    for number, (text, seconds) in enumerate(KILLS_BEFORE_THE_COPY):
        kill(host, tmp_path / f"{number}.log", text, seconds)
        assert indexes(host) == ["index"]


def test_the_archive_on_its_old_index_may_take_images_in_between(host, before):
    # Whoever gives up for today starts it again; what arrives then is brought over, too.
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 0, run.stdout[-3000:]
    # What the runs that were killed left is gone: the archive beside, and its configuration with the passwords.
    assert on_server(host, "docker ps --all --quiet --filter name=lightbox-orthanc-migrating") == ""
    assert on_server(host, "ls -d /opt/lightbox/orthanc/migrating 2>/dev/null || true") == ""
    web = session()
    wait_until_ready(web)
    assert upload(web, instance(new_uid(), new_uid(), 1)[1])["Status"] == "Success"
    wait_until_stable(web)
    before.clear()
    before.update(everything(web))


def test_a_kill_after_the_copy_is_completed_by_the_next_run(host, before, tmp_path):
    for number, (text, seconds) in enumerate(KILLS_AFTER_THE_COPY):
        kill(host, tmp_path / f"after-{number}.log", text, seconds)
    migrate_to_the_end(host, before)
    after = everything(session())
    for level in ("statistics", "patients", "studies", "series", "instances", "changes", "modalities"):
        assert after[level] == before[level], level
