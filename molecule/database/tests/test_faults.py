"""The database goes away under load and comes back: nothing is lost, the archive reconnects, readiness tells."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import re
import shlex
import subprocess
import time

import pytest

from tests.samples import noise
from tests.support.database_server import (
    ADDRESS,
    DESCRIPTION,
    PATIENT_ID,
    PATIENT_NAME,
    STORAGE,
    Load,
    container,
    on_server,
    remove,
    session,
    sql,
    upload,
    wait_until_ready,
)
from tests.support.lab import INVENTORY, PROJECT, address, recap, run_playbook
from tests.support.orphans import reconcile, wait_for_metrics

testinfra_hosts = [address("database")]
UNIT = "postgresql@17-main"
SILENT = 34  # seconds: more than a connection may be without an answer (tcp_user_timeout)
# Docker checks every 15 seconds, which takes up to 8 when the database is away; the third that fails counts.
UNHEALTHY = 3 * (15 + 8) + 6
# The reasons that are the database's: the index cannot be reached, or fails.
NO = re.compile(r"not ready: (timed out|the index .*)")


@dataclasses.dataclass
class Sample:
    """One answer of the health check; the times are seconds of this machine's clock, which the lab's servers share."""

    begun: float
    ended: float
    ready: bool
    say: str


class Watch:
    """Asks the archive's own health check every two seconds, in its container, whether the one before ended or not."""

    # Ends when its input does.
    PROGRAM = """
import json, select, subprocess, sys, threading, time
def ask():
    begun = time.time()
    command = [sys.executable, "/usr/local/lib/lightbox/health.py", "ready"]
    done = subprocess.run(command, capture_output=True, text=True)
    print(json.dumps([begun, time.time(), done.returncode == 0, done.stdout.strip()]), flush=True)
while not select.select([sys.stdin], [], [], 2)[0]:
    threading.Thread(target=ask).start()
"""

    def __init__(self) -> None:
        self.seen: list[Sample] = []
        inside = f"sudo docker exec -i lightbox-orthanc python3 -c {shlex.quote(self.PROGRAM)}"
        self.command = ["ssh", "-F", str(PROJECT / ".lab/ssh_config"), ADDRESS, inside]

    def __enter__(self) -> Watch:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_unused: object) -> None:
        said, _unused_errors = self.process.communicate(timeout=60)
        self.seen = sorted((Sample(*json.loads(line)) for line in said.splitlines()), key=lambda one: one.begun)

    def assert_told_the_outage(self, begun: float, gone: float, back: float, ready: float) -> None:
        """It was asked all the while from the outage's begin to its end and never said yes, and always afterwards.

        The database goes at some moment between `begun` and `gone`; an answer in between may be either.
        """
        assert [one for one in self.seen if one.ended < begun and not one.ready] == []
        away = [one for one in self.seen if gone + 1 <= one.begun < back]
        asked = [gone + 1, *(one.begun for one in away), back]
        assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 6, asked
        # One that is asked shortly before the end and answered after it may say either.
        answered = [one for one in away if one.ended < back]
        assert len(answered) >= max(1, (back - gone) / 2 - 8)
        assert [one for one in answered if one.ready] == [], "readiness said yes while the database was away"
        assert [one.say for one in answered if not NO.fullmatch(one.say)] == [], "the reason is the database"
        after = [one for one in self.seen if one.begun > ready]
        assert after, "asked after the outage, too"
        assert [one for one in after if not one.ready] == []


def wait_for_health(host, wanted: str, until: float) -> float:
    """Wait until Docker says that of the container; when that was."""
    while container(host)["State"]["Health"]["Status"] != wanted:
        assert time.time() < until, f"the container is not {wanted}"
        time.sleep(1)
    return time.time()


def verify() -> tuple[int, str]:
    """playbooks/verify.yml, whose checks of the web fail here: its exit code, what it says of the index."""
    answers = {"verify_enabled": True, "verify_modules": False, "verify_timeout": 4}
    run = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "-e", json.dumps(answers))
    said = [line for line in run.stdout.splitlines() if "index answers" in line]
    return run.returncode, "\n".join(said)


@pytest.fixture
def web():
    return session()


@pytest.mark.parametrize(("away", "threads"), [(14, 1), pytest.param(60, 3, marks=pytest.mark.long)])
def test_database_stopped_for_a_while(host, web, away, threads):
    """away: seconds. Only the long outage lasts until Docker calls the container unhealthy."""
    before = container(host)
    with Load(threads) as load, Watch() as watch, concurrent.futures.ThreadPoolExecutor(1) as pool:
        time.sleep(2)
        begun = time.time()
        on_server(host, f"systemctl stop {UNIT}")
        gone = time.time()
        verified = pool.submit(verify)
        taken = len(load.acknowledged)
        live = on_server(
            host, "docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py live && echo live"
        )
        time.sleep(max(0.0, gone + away - time.time()))
        if away > UNHEALTHY / 2:
            wait_for_health(host, "unhealthy", gone + UNHEALTHY)
        code, told = verified.result()
        during = len(load.acknowledged) - taken
        back = time.time()
        on_server(host, f"systemctl start {UNIT}")
        seconds = wait_until_ready(web)
        ready = time.time()
        taken = len(load.acknowledged)
        load.wait_for_more(taken)
        wait_for_health(host, "healthy", ready + 30)
        time.sleep(3)  # the health check is asked once more
    print(
        f"database away {back - gone:.0f} s; ready {seconds:.1f} s after its start; "
        f"{len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    assert live == "live", "a database that is away must not look like an archive to restart"
    assert during <= 4, "images were acknowledged while the index could not be written"
    watch.assert_told_the_outage(begun, gone, back, ready)
    assert code == 2
    assert "The archive runs, its database does not" in told
    assert seconds < 30
    after = container(host)
    assert (after["State"]["StartedAt"], after["RestartCount"]) == (
        before["State"]["StartedAt"],
        before["RestartCount"],
    )
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


@pytest.mark.parametrize(("cuts", "threads"), [(4, 1), pytest.param(16, 3, marks=pytest.mark.long)])
def test_connections_cut_again_and_again(host, web, cuts, threads):
    before = container(host)
    cut = 0
    with Load(threads) as load, Watch() as watch:
        until = time.monotonic() + 5 * cuts
        while cut < cuts:
            assert time.monotonic() < until, f"{cut} connections were cut"
            cut += int(
                sql(host, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'orthanc'")[0]
            )
            time.sleep(0.7)
        seconds = wait_until_ready(web)
        ready = time.time()
        load.wait_for_more(len(load.acknowledged))
        time.sleep(4)
    said_no = [one for one in watch.seen if not one.ready]
    print(
        f"{cut} connections cut; ready after {seconds:.1f} s; {len(said_no)} of {len(watch.seen)} times not ready; "
        f"{len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    assert [one.say for one in said_no if not NO.fullmatch(one.say)] == []
    after = [one.ready for one in watch.seen if one.begun > ready]
    assert after
    assert all(after)
    assert container(host)["State"]["StartedAt"] == before["State"]["StartedAt"]
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


def test_database_killed_under_load(host, web):
    with Load(threads=1) as load, Watch() as watch:
        time.sleep(2)
        on_server(host, "kill -9 $(head -n 1 /var/lib/postgresql/17/main/postmaster.pid)")
        gone = time.time()
        time.sleep(2)
        seconds = wait_until_ready(web)  # its unit starts it again
        ready = time.time()
        load.wait_for_more(len(load.acknowledged))
        time.sleep(4)
    print(
        f"ready {seconds + 2:.1f} s after the kill; {len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    assert [one for one in watch.seen if one.ready and gone + 0.5 < one.begun and one.ended < ready - 1.5] == []
    assert any(one.begun > ready for one in watch.seen)
    assert [one for one in watch.seen if one.begun > ready and not one.ready] == []
    load.assert_nothing_is_lost(web)
    remove(web, load.study)


@pytest.fixture(scope="module")
def silence(host):
    """Every packet between the archive and its database is lost for a while, under load; what was seen of it."""
    before = container(host)
    sessions = "SELECT pid FROM pg_stat_activity WHERE usename = 'orthanc'"
    rules = ("INPUT -p tcp --dport 5432 -j DROP", "OUTPUT -p tcp --sport 5432 -j DROP")
    with Load(threads=1) as load, Watch() as watch:
        time.sleep(3)
        old = set(sql(host, sessions))
        try:
            begun = time.time()
            on_server(host, " && ".join(f"iptables -w -I {rule}" for rule in rules))
            gone = time.time()
            taken = len(load.acknowledged)
            time.sleep(SILENT)
            during = len(load.acknowledged) - taken
            back = time.time()
        finally:
            on_server(host, "; ".join(f"iptables -w -D {rule}" for rule in rules))
        seconds = wait_until_ready(session(), 60)
        ready = time.time()
        taken = len(load.acknowledged)
        time.sleep(5)
        afterwards = len(load.acknowledged) - taken
    new = set(sql(host, sessions)) - old
    print(
        f"silent for {back - gone:.0f} s; ready {seconds:.1f} s after it; "
        f"{len(load.acknowledged)} images taken, {len(load.refused)} refused"
    )
    restarted = container(host)["State"]["StartedAt"] != before["State"]["StartedAt"]
    yield load, watch, (begun, gone, back, ready), (during, afterwards), new, restarted
    remove(session(), load.study)


@pytest.mark.long
def test_the_network_loses_everything_for_a_while(silence, web):
    load, watch, times, (during, afterwards), new, restarted = silence
    watch.assert_told_the_outage(*times)
    assert during <= 4, "images were acknowledged while the index could not be written"
    assert new, "the archive gave its connection up and made another"
    assert afterwards > 20, "the archive takes no images after the network is back"
    assert times[3] - times[2] < 45
    assert not restarted
    load.assert_acknowledged_is_kept(web)


@pytest.mark.long
def test_what_was_refused_in_the_silence_can_be_sent_again(silence, web):
    """Where the answer to COMMIT was lost Orthanc keeps an entry without its file, which the playbook removes."""
    until = time.monotonic() + 120
    while without_file := silence[0].list_without_file(web):
        assert time.monotonic() < until, without_file
        assert reconcile("database").returncode == 0
    silence[0].assert_refused_can_be_sent_again(web)


@pytest.fixture
def without_file(host):
    """What docs/database.md says: a command that prints the archive's identifiers of images that have no file."""
    blocks = re.findall(r"```sh\n(.*?)```", (PROJECT / "docs/database.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "publicid" in block]
    return lambda: on_server(host, f"export PGUSER=postgres\n{block}")


@pytest.fixture
def image(host, web):
    """An image that was stored: its file, what the archive said, and where it keeps it."""
    study = noise.new_uid()
    file = noise.instance(study, noise.new_uid(), 1)[1]
    stored = upload(web, file)
    assert stored
    question = "SELECT uuid FROM attachedfiles JOIN resources ON internalid = id WHERE filetype = 1 AND publicid = "
    (uuid,) = sql(host, f"{question}'{stored['ID']}'", "orthanc")
    yield file, stored["ID"], f"{STORAGE}/{uuid[:2]}/{uuid[2:4]}/{uuid}"
    remove(web, study)


def test_an_image_without_its_file_is_found_as_documented(host, image, without_file):
    _file, orthanc_id, path = image
    assert without_file() == ""
    on_server(host, f"mv {path} {path}.away")
    try:
        assert without_file() == orthanc_id
    finally:
        on_server(host, f"mv {path}.away {path}")


def test_an_image_that_lost_its_file_in_an_outage_is_reported_and_can_be_sent_again_once_reconciled(
    host, web, image, without_file
):
    file, orthanc_id, path = image
    time.sleep(6)  # more than from one comparison to the next
    on_server(host, f"systemctl stop {UNIT}")
    time.sleep(20)
    on_server(host, f"rm {path}; systemctl start {UNIT}")
    wait_until_ready(web)
    wait_for_metrics(host, lambda metrics: metrics["instances_without_file"] == 1, 60)
    assert (upload(web, file) or {})["Status"] == "AlreadyStored"
    step = f"Remove instance {orthanc_id}, SOPInstanceUID 2.25."
    run = reconcile("database", "--check")
    assert step in run.stdout
    assert without_file() == orthanc_id
    run = reconcile("database")
    assert step in run.stdout
    assert (run.returncode, recap(run.stdout)["changed"]) == (0, 1)
    assert without_file() == ""
    assert orthanc_id in on_server(host, f"cat {STORAGE}/orphaned/removed-from-index.txt")
    assert (upload(web, file) or {})["Status"] == "Success"
    wait_for_metrics(host, lambda metrics: metrics["instances_without_file"] == 0, 15)


def test_the_database_soon_drops_an_archive_that_vanished(host):
    timers = re.findall(r"timer:\(keepalive,(?:(\d+)min)?", on_server(host, "ss -Htno state established sport = :5432"))
    assert timers
    assert [one for one in timers if int(one or 0) > 1] == []


def test_no_patient_of_the_load_is_in_the_logs(host, web):
    """After all of the above, on each side of the connection."""
    with host.sudo():
        database = host.check_output("cat /var/log/postgresql/*; journalctl --no-pager")
        archive = host.check_output("docker logs lightbox-orthanc 2>&1")
    assert "terminating connection due to administrator command" in database
    assert "database system was not properly shut down" in database
    assert "PostgreSQL error" in archive
    words = [*PATIENT_NAME.split("^"), PATIENT_ID, DESCRIPTION.split()[0]]
    assert [word for word in words if word.lower() in (database + archive).lower()] == []


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
