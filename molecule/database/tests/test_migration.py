"""From SQLite to PostgreSQL: everything arrives, a kill anywhere is mended by the next run, the old index is kept."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import shlex
import signal
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.database_server import (
    ARCHIVE,
    STORAGE,
    instance,
    new_uid,
    on_server,
    secret,
    session,
    sql,
    upload,
    wait_until_ready,
)
from tests.support.lab import INVENTORY, PROJECT, address, run_playbook

testinfra_hosts = [address("database")]
MIGRATE = ["ansible-playbook", "playbooks/migrate_to_postgresql.yml", "-i", str(INVENTORY), "-vv"]
# Where runs are killed: when the name of this task appears, which is when it has ended, and so many seconds later.
# What the server was told by then it does, perhaps the next task, too: the last of these is two tasks before the copy.
CUTS = [
    ("Write the configuration for an archive on the empty database", 0.8),
    ("move | Stop the archive beside]", 0.0),
]
CUTS_AFTER_THE_COPY = [
    ("Put the old index aside", 0.0),
    ("service | Run the archive and wait until it is healthy", 0.5),
]
PATIENTS, SERIES, IMAGES = 12, 2, 6


def play(*more: str) -> subprocess.CompletedProcess[str]:
    return run_playbook("playbooks/pacs.yml", "-i", INVENTORY, *more)


def everything(web) -> dict:
    """All that the archive says of what it has: the same before and after."""
    found: dict = {"statistics": web.get(f"{ARCHIVE}/statistics", timeout=60).json()}
    for level in ("patients", "studies", "series", "instances"):
        found[level] = {}
        for one in sorted(web.get(f"{ARCHIVE}/{level}", timeout=60).json()):
            path = f"{ARCHIVE}/{level}/{one}"
            about = web.get(path, timeout=60).json()
            about.pop("IsStable", None)
            found[level][one] = {
                "about": {**about, **{key: sorted(value) for key, value in about.items() if isinstance(value, list)}},
                "metadata": web.get(f"{path}/metadata?expand", timeout=60).json(),
                "labels": sorted(web.get(f"{path}/labels", timeout=60).json()),
                "attachments": sorted(web.get(f"{path}/attachments", timeout=60).json()),
            }
    for one in found["instances"]:
        file = web.get(f"{ARCHIVE}/instances/{one}/file", timeout=60).content
        found["instances"][one]["hash"] = hashlib.sha256(file).hexdigest()
    for one in found["patients"]:
        found["patients"][one]["protected"] = web.get(f"{ARCHIVE}/patients/{one}/protected", timeout=60).text
    changes, last, done = [], 0, False
    while not done:
        part = web.get(f"{ARCHIVE}/changes?limit=500&since={last}", timeout=60).json()
        changes += [
            (one["Seq"], one["ChangeType"], one["ID"], one["Date"])
            for one in part["Changes"]
            if one["ChangeType"] not in ("StableSeries", "StableStudy", "StablePatient")
        ]
        last, done = part["Last"], part["Done"]
    found["changes"] = changes
    found["modalities"] = web.get(f"{ARCHIVE}/modalities?expand", timeout=60).json()
    return found


@pytest.fixture(scope="module")
def before(host) -> dict:
    """An archive on SQLite with all that one can hold; what it says of itself."""
    assert play("-e", '{"orthanc_enabled": false}').returncode == 0
    on_server(host, f"find {STORAGE} -mindepth 1 -delete")
    sql(host, "DROP DATABASE IF EXISTS orthanc WITH (FORCE)")
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 0, run.stdout[-3000:]
    web = session()
    wait_until_ready(web)
    files = []
    for number in range(PATIENTS):
        study = new_uid()
        for _unused in range(SERIES):
            series = new_uid()
            files += [(number, *instance(study, series, image)) for image in range(IMAGES)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: upload(session(), renamed(one[2], one[0])), files))
    assert all(answers)
    for number, one in enumerate(web.get(f"{ARCHIVE}/studies", timeout=30).json()):
        assert web.put(f"{ARCHIVE}/studies/{one}/labels/label-{number % 3}", timeout=30).status_code == 200
        odd = "Tab\there, back\\slash, line\nbreak, \\N, \\., Müller^Jürgen 東京"
        assert web.put(f"{ARCHIVE}/studies/{one}/metadata/4000", data=odd.encode(), timeout=30).status_code == 200
    patients = web.get(f"{ARCHIVE}/patients", timeout=30).json()
    assert web.put(f"{ARCHIVE}/patients/{patients[0]}/protected", data="1", timeout=30).status_code == 200
    assert (
        web.put(f"{ARCHIVE}/patients/{patients[1]}/attachments/4001", data=b"\0\1 report", timeout=30).status_code
        == 200
    )
    removed = web.get(f"{ARCHIVE}/instances", timeout=30).json()[0]
    assert web.delete(f"{ARCHIVE}/instances/{removed}", timeout=30).status_code == 200
    return everything(web)


def renamed(file: bytes, number: int) -> bytes:
    return file.replace(b"LIGHTBOX-DATABASE ", f"LIGHTBOX-MOVE-{number:02} ".ljust(18).encode())


def test_the_playbook_refuses_an_archive_on_sqlite_to_start_empty(before):
    run = play()
    assert run.returncode == 2
    assert "migrate_to_postgresql.yml" in run.stdout
    assert everything(session()) == before


class Run:
    """The playbook, to be killed: with all its children, as a lost controller would be."""

    def __init__(self, log: pathlib.Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            MIGRATE,
            cwd=PROJECT,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "false", "PYTHONUNBUFFERED": "1"},
        )

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 300
        while text.encode() not in self.log.read_bytes():
            assert self.process.poll() is None, f"the run ended before {text}: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < until
            time.sleep(0.03)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def indexes(host) -> list[str]:
    return on_server(host, f"cd {STORAGE} && ls -d index index.before-postgresql 2>/dev/null || true").split()


def cut(host, log: pathlib.Path, text: str, seconds: float) -> None:
    run = Run(log)
    try:
        run.wait_for(text)
        time.sleep(seconds)
    finally:
        run.kill()
    assert len(indexes(host)) == 1, f"after the kill at {text}"


def test_a_kill_before_the_copy_leaves_the_old_index(host, before, tmp_path):
    on_server(
        host,
        f"docker stop lightbox-orthanc && cp -a {STORAGE}/index /srv/index.reference && docker start lightbox-orthanc",
    )
    wait_until_ready(session())
    for number, (text, seconds) in enumerate(CUTS):
        cut(host, tmp_path / f"{number}.log", text, seconds)
        assert indexes(host) == ["index"]


HELD = "query LIKE '%pg_sleep(300)' AND pid <> pg_backend_pid()"


def hold(host, what: str, locks: int = 1) -> None:
    """Keep a lock in the database until it is told to go; then there are so many."""
    on_server(
        host, f'systemd-run --quiet --collect psql -U postgres -d orthanc -c "BEGIN; {what}; SELECT pg_sleep(300)"'
    )
    until = time.monotonic() + 30
    held = f"SELECT count(*) FROM pg_stat_activity WHERE {HELD} AND wait_event = 'PgSleep'"
    while sql(host, held) != [str(locks)]:
        assert time.monotonic() < until
        time.sleep(0.2)


def wait_for_copy(host, run: Run, event: str) -> None:
    """Until the copy waits for a lock: `advisory` is its first, `relation` that of a table."""
    waits = f"application_name = 'lightbox-index-copy' AND wait_event = '{event}'"
    until = time.monotonic() + 90
    while sql(host, f"SELECT count(*) FROM pg_stat_activity WHERE {waits}") != ["1"]:
        assert time.monotonic() < until
        assert run.process.poll() is None, run.log.read_text()[-2000:]
        time.sleep(0.3)


def test_a_kill_in_the_copy_leaves_nothing_in_the_database(host, before, tmp_path):
    # The copy waits before it begins, and once more when it has filled the other tables.
    hold(host, f"SELECT pg_advisory_xact_lock({0x6C62_7063})")
    run = Run(tmp_path / "copy.log")
    try:
        wait_for_copy(host, run, "advisory")
        first = sql(host, f"SELECT pid FROM pg_stat_activity WHERE {HELD}")[0]
        hold(host, "LOCK TABLE globalintegers IN ACCESS EXCLUSIVE MODE", locks=2)
        sql(host, f"SELECT pg_terminate_backend({first})")
        wait_for_copy(host, run, "relation")
    finally:
        run.kill()
    found = on_server(host, "ss -Htnp state established 'dport = :5432'")
    pids = [part.split("pid=")[1].split(",")[0] for part in found.splitlines() if '"python3' in part]
    assert pids
    on_server(host, f"kill -9 {' '.join(pids)}")
    sql(host, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {HELD}")
    assert sql(host, "SELECT count(*) FROM resources", "orthanc") == ["0"]
    assert indexes(host) == ["index"]


def test_the_archive_on_its_old_index_may_take_images_in_between(host, before):
    # Whoever gives up for today starts it again; what arrives then is brought over, too.
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 0, run.stdout[-3000:]
    # What the runs that were killed left is gone: the archive beside, and its configuration with the passwords.
    assert on_server(host, "docker ps --all --quiet --filter name=lightbox-orthanc-moving") == ""
    assert on_server(host, "ls -d /opt/lightbox/orthanc/moving 2>/dev/null || true") == ""
    web = session()
    wait_until_ready(web)
    assert upload(web, instance(new_uid(), new_uid(), 1)[1])["Status"] == "Success"
    before.clear()
    before.update(everything(web))


def test_a_kill_after_the_copy_is_mended_by_the_next_run(host, before, tmp_path):
    for number, (text, seconds) in enumerate(CUTS_AFTER_THE_COPY):
        cut(host, tmp_path / f"after-{number}.log", text, seconds)
    run = run_playbook(*MIGRATE[1:])
    assert run.returncode == 0, run.stdout[-3000:]
    expected = len(before["instances"])
    assert f"{expected} images are in the archive with the MD5 that they had" in run.stdout
    assert indexes(host) == ["index.before-postgresql"]
    # The same files, where they were: nothing was stored twice.
    with_pixels = int(on_server(host, f"find {STORAGE} -mindepth 3 -type f | wc -l"))
    assert with_pixels == sum(
        len(one["attachments"])
        for level in ("patients", "studies", "series", "instances")
        for one in before[level].values()
    )


def test_everything_arrived(host, before):
    after = everything(session())
    assert after["statistics"] == before["statistics"]
    for level in ("patients", "studies", "series", "instances", "changes", "modalities"):
        assert after[level] == before[level], level
    in_use = sql(host, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lightbox'")
    assert in_use != ["0"]


def test_new_images_follow_the_old_ones(before):
    web = session()
    last = web.get(f"{ARCHIVE}/changes?last", timeout=30).json()["Last"]
    assert last >= max(one[0] for one in before["changes"])
    study = new_uid()
    assert upload(web, instance(study, new_uid(), 1)[1])["Status"] == "Success"
    assert web.get(f"{ARCHIVE}/changes?last", timeout=30).json()["Last"] > last
    assert web.get(f"{ARCHIVE}/statistics", timeout=30).json()["CountInstances"] == len(before["instances"]) + 1
    one = next(iter(before["studies"]))
    assert web.delete(f"{ARCHIVE}/studies/{one}", timeout=30).status_code == 200
    gone = before["studies"][one]["about"]["Series"]
    assert web.get(f"{ARCHIVE}/statistics", timeout=30).json()["CountSeries"] == len(before["series"]) + 1 - len(gone)


def test_images_that_were_deleted_since_are_told_from_lost_ones(host, before):
    """Again, after a study was deleted: said, and no failure when a comparison passed before. A lost row is one."""
    left = set(session().get(f"{ARCHIVE}/instances", timeout=30).json()) & set(before["instances"])
    run = run_playbook(*MIGRATE[1:])
    assert run.returncode == 0, run.stdout[-3000:]
    assert f"{len(left)} images are in the archive with the MD5 that they had" in run.stdout
    assert f"{len(before['instances']) - len(left)} images of the old index were deleted or replaced" in run.stdout
    # Without the old index nobody could tell which they were: it does not go in the run that says so.
    run = run_playbook(*MIGRATE[1:], "-e", "pacs_remove_old_index=true")
    assert run.returncode == 2
    assert "-e pacs_deleted_on_purpose=true" in " ".join(run.stdout.split())
    assert indexes(host) == ["index.before-postgresql"]
    # A run that was killed before it compared anything: they may be lost.
    on_server(host, f"rm {STORAGE}/index.before-postgresql.compared")
    run = run_playbook(*MIGRATE[1:])
    assert run.returncode == 2
    assert "No comparison has passed since the index was copied" in " ".join(run.stdout.split())
    # An image that leaves the index while its file stays: as after the restore of an older backup.
    one = sorted(left)[0]
    row = f"FROM resources WHERE publicid = '{one}'"
    sql(host, f"UPDATE resources SET publicid = 'hidden' WHERE publicid = '{one}'", "orthanc")
    try:
        assert sql(host, f"SELECT count(*) {row}", "orthanc") == ["0"]
        run = run_playbook(*MIGRATE[1:])
        assert run.returncode == 2
        assert f"{one} is missing in the archive, which still has its file" in " ".join(run.stdout.split())
    finally:
        sql(host, f"UPDATE resources SET publicid = '{one}' WHERE publicid = 'hidden'", "orthanc")


def test_the_old_index_is_kept_whole_until_it_is_told_to_go(host, tmp_path):
    copy = tmp_path / "index"
    content = on_server(host, f"base64 -w0 {STORAGE}/index.before-postgresql")
    copy.write_bytes(base64.b64decode(content))
    assert sqlite3.connect(copy).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    run = play()
    assert run.returncode == 0, run.stdout[-3000:]
    assert "changed=0" in run.stdout.rsplit("PLAY RECAP", 1)[1]
    assert on_server(host, f"ls {STORAGE}/index.before-postgresql")


def test_a_database_that_was_used_since_is_not_emptied(host):
    """Somebody started an archive on SQLite again, or brought an old index back: PostgreSQL holds what came since."""
    count = session().get(f"{ARCHIVE}/statistics", timeout=30).json()["CountInstances"]
    on_server(host, f"cp -p {STORAGE}/index.before-postgresql {STORAGE}/index")
    run = run_playbook(*MIGRATE[1:])
    assert run.returncode == 2
    assert "index.before-postgresql) and another one (index)" in " ".join(run.stdout.split())
    # Another index than the one that was copied, and nothing kept beside it.
    on_server(host, f"mv {STORAGE}/index.before-postgresql {STORAGE}/kept")
    script = (
        f"import sqlite3; sqlite3.connect('{STORAGE}/index', isolation_level=None).execute('PRAGMA user_version = 7')"
    )
    on_server(host, f"python3 -c {shlex.quote(script)} && docker stop lightbox-orthanc")
    run = run_playbook(*MIGRATE[1:])
    assert run.returncode == 2
    assert "the database was used since" in " ".join(run.stdout.split())
    on_server(host, f"rm -f {STORAGE}/index {STORAGE}/index-wal; mv {STORAGE}/kept {STORAGE}/index.before-postgresql")
    assert play().returncode == 0
    wait_until_ready(session())
    assert session().get(f"{ARCHIVE}/statistics", timeout=30).json()["CountInstances"] == count


def test_sqlite_cannot_come_back_by_accident(host):
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 2
    assert "orthanc_database is empty, but the archive's index is in PostgreSQL" in run.stdout
    assert secret("database_password") not in run.stdout
