"""The database goes away under load and comes back: nothing is lost, the archive reconnects, readiness tells."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
from conftest import address
from lab_archive import Load, container, on_server, remove, session, sql, wait_until_ready

testinfra_hosts = [address("database")]
UNIT = "postgresql@17-main"
AWAY = 60  # seconds


class Watch:
    """Asks the archive's own health check again and again: (seconds since the start, ready, what it says)."""

    def __init__(self, host) -> None:
        self.host, self.over = host, threading.Event()
        self.seen: list[tuple[float, bool, str]] = []
        self.start = time.monotonic()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.over.is_set():
            begun = time.monotonic() - self.start
            answer = self.host.run("sudo docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py ready")
            self.seen.append((begun, answer.rc == 0, answer.stdout.strip()))
            self.over.wait(1)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.over.set()
        self.thread.join(60)

    def now(self) -> float:
        return time.monotonic() - self.start


@pytest.fixture
def web():
    return session()


def test_database_stopped_for_a_while(host, web):
    before = container(host)
    with Load() as load, Watch(host) as watch:
        time.sleep(3)
        on_server(host, f"systemctl stop {UNIT}")
        gone = watch.now()
        taken = len(load.acknowledged)
        live = on_server(
            host, "docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py live && echo live"
        )
        time.sleep(AWAY)
        during = len(load.acknowledged) - taken
        back = watch.now()
        on_server(host, f"systemctl start {UNIT}")
        seconds = wait_until_ready(web)
        taken = len(load.acknowledged)
        time.sleep(8)
        assert len(load.acknowledged) > taken + 20, "the archive takes no images after the database is back"
    print(
        f"database away {back - gone:.0f} s; ready {seconds:.1f} s after its start; "
        f"{len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    assert live == "live", "a database that is away must not look like an archive to restart"
    assert during <= 4, "images were acknowledged while the index could not be written"
    away = [(ready, say) for begun, ready, say in watch.seen if gone < begun < back - 10]
    assert len(away) >= 2
    assert [say for ready, say in away if ready] == [], "readiness said yes while the database was away"
    assert any("index cannot be reached" in say or "timed out" in say for _ready, say in away)
    assert watch.seen[0][1], watch.seen[0]
    assert watch.seen[-1][1], watch.seen[-1]
    assert seconds < 30
    after = container(host)
    assert (after["State"]["StartedAt"], after["RestartCount"]) == (
        before["State"]["StartedAt"],
        before["RestartCount"],
    )
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


def test_connections_cut_again_and_again(host, web):
    before = container(host)
    cut = 0
    with Load() as load:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            cut += int(
                sql(host, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'orthanc'")[0]
            )
            time.sleep(0.7)
        seconds = wait_until_ready(web)
        taken = len(load.acknowledged)
        time.sleep(5)
        assert len(load.acknowledged) > taken + 20
    print(
        f"{cut} connections cut; ready after {seconds:.1f} s; "
        f"{len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    assert cut >= 5
    assert container(host)["State"]["StartedAt"] == before["State"]["StartedAt"]
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


def test_database_killed_under_load(host, web):
    with Load() as load:
        on_server(host, "kill -9 $(head -n 1 /var/lib/postgresql/17/main/postmaster.pid)")
        time.sleep(2)
        seconds = wait_until_ready(web)  # its unit starts it again
        taken = len(load.acknowledged)
        time.sleep(5)
        assert len(load.acknowledged) > taken + 20
    print(
        f"ready {seconds + 2:.1f} s after the kill; {len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


def test_the_whole_server_restarts(host, web):
    subprocess.run(["docker", "restart", "lightbox-database"], check=True, capture_output=True)
    assert wait_until_ready(web, 180) < 180
    assert on_server(host, "ss -Hltn 'sport = :5432' | wc -l") == "1"


def test_archive_starts_before_its_database(host, web):
    on_server(host, f"systemctl stop {UNIT} && docker restart lightbox-orthanc >/dev/null")
    time.sleep(8)
    assert not on_server(
        host, "docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py ready || true"
    ).endswith("ready\n")
    on_server(host, f"systemctl start {UNIT}")
    assert wait_until_ready(web) < 60
