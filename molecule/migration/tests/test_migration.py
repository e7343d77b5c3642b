"""From SQLite to PostgreSQL: everything arrives, also after a killed run, and the old index is kept."""

from __future__ import annotations

import base64
import shlex
import sqlite3
import time

import pytest

from tests.support.database_server import (
    ARCHIVE,
    ROLES,
    STORAGE,
    instance,
    new_uid,
    on_server,
    session,
    sql,
    upload,
    wait_until_ready,
)
from tests.support.lab import KillablePlaybook, address, killable_playbook, recap, run_playbook, run_roles, secret
from tests.support.migration import MIGRATE, everything, fill_archive_on_sqlite, indexes, migrate_to_the_end, play

testinfra_hosts = [address("migration")]


@pytest.fixture(scope="module")
def before(host) -> dict:
    return fill_archive_on_sqlite(host)


def test_the_playbook_refuses_an_archive_on_sqlite_to_start_empty(before):
    run = play()
    assert run.returncode == 2
    assert "migrate_to_postgresql.yml" in run.stdout
    assert everything(session()) == before


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


def wait_for_copy(host, run: KillablePlaybook, event: str) -> None:
    """Until the copy waits for a lock: `advisory` is its first, `relation` that of a table."""
    waits = f"application_name = 'lightbox-index-copy' AND wait_event = '{event}'"
    until = time.monotonic() + 90
    while sql(host, f"SELECT count(*) FROM pg_stat_activity WHERE {waits}") != ["1"]:
        assert time.monotonic() < until
        assert run.process.poll() is None, run.log.read_text()[-2000:]
        time.sleep(0.3)


def test_a_kill_before_and_in_the_copy_leaves_nothing_in_the_database(host, before, tmp_path):
    """test_migration_kills.py kills at more points."""
    with killable_playbook(tmp_path / "before.log", *MIGRATE) as run:
        run.wait_for("migrate | Stop the archive beside]")
    assert indexes(host) == ["index"]
    # The copy waits before it begins, and once more when it has filled the other tables.
    hold(host, f"SELECT pg_advisory_xact_lock({0x6C62_7063})")
    with killable_playbook(tmp_path / "copy.log", *MIGRATE) as run:
        wait_for_copy(host, run, "advisory")
        first = sql(host, f"SELECT pid FROM pg_stat_activity WHERE {HELD}")[0]
        hold(host, "LOCK TABLE globalintegers IN ACCESS EXCLUSIVE MODE", locks=2)
        sql(host, f"SELECT pg_terminate_backend({first})")
        wait_for_copy(host, run, "relation")
    found = on_server(host, "ss -Htnp state established 'dport = :5432'")
    pids = [part.split("pid=")[1].split(",")[0] for part in found.splitlines() if '"python3' in part]
    assert pids
    on_server(host, f"kill -9 {' '.join(pids)}")
    sql(host, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {HELD}")
    assert sql(host, "SELECT count(*) FROM resources", "orthanc") == ["0"]
    assert indexes(host) == ["index"]


def test_the_next_run_completes_the_migration(host, before):
    migrate_to_the_end(host, before)


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
    run = run_playbook(*MIGRATE)
    assert run.returncode == 0, run.stdout[-3000:]
    assert f"{len(left)} images are in the archive with the MD5 that they had" in run.stdout
    assert f"{len(before['instances']) - len(left)} images of the old index were deleted or replaced" in run.stdout
    # Without the old index nobody could tell which they were: it does not go in the run that says so.
    run = run_playbook(*MIGRATE, "-e", "pacs_remove_old_index=true")
    assert run.returncode == 2
    assert "-e pacs_deleted_on_purpose=true" in " ".join(run.stdout.split())
    assert indexes(host) == ["index.before-postgresql"]
    # A run that was killed before it compared anything: they may be lost.
    on_server(host, f"rm {STORAGE}/index.before-postgresql.compared")
    run = run_playbook(*MIGRATE)
    assert run.returncode == 2
    assert "No comparison has passed since the index was copied" in " ".join(run.stdout.split())
    # An image that leaves the index while its file stays: as after the restore of an older backup.
    one = sorted(left)[0]
    row = f"FROM resources WHERE publicid = '{one}'"
    sql(host, f"UPDATE resources SET publicid = 'hidden' WHERE publicid = '{one}'", "orthanc")
    try:
        assert sql(host, f"SELECT count(*) {row}", "orthanc") == ["0"]
        run = run_playbook(*MIGRATE)
        assert run.returncode == 2
        assert f"{one} is missing in Orthanc, which still has its file" in " ".join(run.stdout.split())
    finally:
        sql(host, f"UPDATE resources SET publicid = '{one}' WHERE publicid = 'hidden'", "orthanc")


def test_the_old_index_is_kept_whole_until_it_is_told_to_go(host, tmp_path):
    copy = tmp_path / "index"
    content = on_server(host, f"base64 -w0 {STORAGE}/index.before-postgresql")
    copy.write_bytes(base64.b64decode(content))
    assert sqlite3.connect(copy).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    run = run_roles(ROLES)
    assert run.returncode == 0, run.stdout[-3000:]
    assert recap(run.stdout)["changed"] == 0
    assert on_server(host, f"ls {STORAGE}/index.before-postgresql")


def test_a_database_that_was_used_since_is_not_emptied(host):
    """Somebody started an archive on SQLite again, or brought an old index back: PostgreSQL holds what came since."""
    count = session().get(f"{ARCHIVE}/statistics", timeout=30).json()["CountInstances"]
    on_server(host, f"cp -p {STORAGE}/index.before-postgresql {STORAGE}/index")
    run = run_playbook(*MIGRATE)
    assert run.returncode == 2
    assert "index.before-postgresql) and another one (index)" in " ".join(run.stdout.split())
    # Another index than the one that was copied, and nothing kept beside it.
    on_server(host, f"mv {STORAGE}/index.before-postgresql {STORAGE}/kept")
    script = (
        f"import sqlite3; sqlite3.connect('{STORAGE}/index', isolation_level=None).execute('PRAGMA user_version = 7')"
    )
    on_server(host, f"python3 -c {shlex.quote(script)} && docker stop lightbox-orthanc")
    run = run_playbook(*MIGRATE)
    assert run.returncode == 2
    assert "the database was used since" in " ".join(run.stdout.split())
    on_server(host, f"rm -f {STORAGE}/index {STORAGE}/index-wal; mv {STORAGE}/kept {STORAGE}/index.before-postgresql")
    assert run_roles(ROLES).returncode == 0
    wait_until_ready(session())
    assert session().get(f"{ARCHIVE}/statistics", timeout=30).json()["CountInstances"] == count


def test_sqlite_cannot_come_back_by_accident(host):
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 2
    assert "orthanc_database is empty, but the index is in PostgreSQL" in " ".join(run.stdout.split())
    assert secret("database_password") not in run.stdout
