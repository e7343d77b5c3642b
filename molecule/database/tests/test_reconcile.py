"""What faults leave between index and storage is reported, reconciled by a playbook, and by itself only where asked."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.support import orphans
from tests.support.database_server import ROLES, Load, instance, new_uid, on_server, remove, session, wait_until_ready
from tests.support.lab import address, recap, run_roles
from tests.support.orphans import STORAGE, list_files, read_metrics, reconcile, verify_storage, wait_for_metrics

testinfra_hosts = [address("database")]


@pytest.fixture(scope="module")
def web():
    return session()


def kill_under_load(host, web) -> tuple[Load, list[str]]:
    """Kill Orthanc while images arrive and a whole file and a torn one are orphaned."""
    time.sleep(6)  # Orthanc is seen alive
    planted = orphans.plant_files("database", instance(new_uid(), new_uid(), 1)[1])
    with Load(threads=2) as load:
        orphans.kill_orthanc(host)
        wait_until_ready(web)
        load.wait_for_more(len(load.acknowledged))
    return load, planted


@pytest.fixture(scope="module")
def killed(host, web):
    on_server(host, f"rm -rf {STORAGE}/orphaned")  # of other tests
    load, planted = kill_under_load(host, web)
    metrics = wait_for_metrics(host, lambda metrics: metrics["orphaned_files"] >= 2)
    yield load, planted, metrics
    remove(web, load.study)


def test_orphaned_files_are_reported_and_stay(host, web, killed):
    load, planted, metrics = killed
    assert set(planted) <= list_files(host, "??")
    assert list_files(host, "orphaned") == set()
    size = sum(int(on_server(host, f"stat -c %s {STORAGE}/{path}")) for path in planted)
    assert metrics["orphaned_bytes"] >= size
    assert 0 < time.time() - metrics["orphaned_since_seconds"] < 300
    found = f"{metrics['orphaned_files']:.0f} orphaned files"
    assert found in on_server(host, "docker logs --since 3m lightbox-orthanc-reconcile 2>&1")
    said = verify_storage("database")
    assert "FAILED   storage" in said
    assert found in said
    assert f"of {metrics['orphaned_bytes']:.0f} bytes" in said
    assert "since 20" in said
    assert "playbooks/reconcile.yml" in said
    load.assert_nothing_is_lost(web)


def test_check_mode_lists_them_and_changes_nothing(host, killed):
    _load, planted, metrics = killed
    before = list_files(host, ".")
    run = reconcile("database", "--check")
    assert run.returncode == 0, run.stdout
    assert all(f"Move {path} (" in run.stdout for path in planted)
    assert f"Steps to take: {metrics['orphaned_files']:.0f}" in run.stdout
    assert list_files(host, ".") == before
    assert read_metrics(host) == metrics


def test_the_playbook_reconciles_them_and_the_checks_pass(host, web, killed):
    load, planted, metrics = killed
    run = reconcile("database")
    assert run.returncode == 0, run.stdout
    assert f"Steps taken: {metrics['orphaned_files']:.0f}" in run.stdout
    assert recap(run.stdout)["changed"] == 1
    aside = {path.rsplit("/", 1)[1] for path in list_files(host, "orphaned")}
    assert {path.rsplit("/", 1)[1] for path in planted} <= aside
    assert len(aside) == metrics["orphaned_files"]
    assert not set(planted) & list_files(host, "??")
    said = verify_storage("database")
    assert re.search("ok +storage", said), said
    assert recap(reconcile("database").stdout)["changed"] == 0
    load.assert_nothing_is_lost(web)
    on_server(host, f"rm -r {STORAGE}/orphaned")


@pytest.mark.long
def test_where_asked_the_container_reconciles_by_itself(host, web):
    answer = json.dumps({"orthanc_reconcile_automatically": True})
    run = run_roles(ROLES, "-e", answer)
    assert run.returncode == 0, run.stdout[-3000:]
    try:
        load, planted = kill_under_load(host, web)
        until = time.monotonic() + 120
        while set(planted) & list_files(host, "??"):
            assert time.monotonic() < until, "the files stay"
            time.sleep(1)
        assert {path.rsplit("/", 1)[1] for path in planted} <= {path[-36:] for path in list_files(host, "orphaned")}
        wait_for_metrics(host, lambda metrics: metrics["orphaned_files"] == 0)
        assert f"Move {planted[0]} (" in on_server(host, "docker logs lightbox-orthanc-reconcile 2>&1")
        load.assert_nothing_is_lost(web)
        remove(web, load.study)
    finally:
        on_server(host, f"rm -rf {STORAGE}/orphaned")
        assert run_roles(ROLES).returncode == 0
