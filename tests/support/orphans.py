"""Orphaned files on a lab server: planted as a killed Orthanc leaves them, reported, and reconciled by the playbook."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable

from tests.support.lab import INVENTORY, run_playbook

STORAGE = "/var/lib/lightbox/orthanc"
METRICS = "/opt/lightbox/orthanc/metrics/orthanc_reconcile.prom"


def plant_files(server: str, file: bytes) -> list[str]:
    """Put a whole file and a torn one where Orthanc keeps its own; their paths in the storage directory."""
    planted = []
    for content in (file, file[: -len(file) // 4]):
        name = str(uuid.uuid4())
        path = f"{name[:2]}/{name[2:4]}/{name}"
        command = f"cd {STORAGE} && install -D /dev/stdin {path} && chown -R lightbox-orthanc: {path[:2]}"
        subprocess.run(["docker", "exec", "-i", f"lightbox-{server}", "sh", "-c", command], input=content, check=True)
        planted.append(path)
    return planted


def kill_orthanc(host) -> None:
    """End its process as a fault would (`docker kill` would count as a stop by hand)."""
    with host.sudo():
        host.check_output("kill -9 $(docker inspect --format '{{.State.Pid}}' lightbox-orthanc)")


def read_metrics(host) -> dict[str, float]:
    """What the server reports, as node_exporter's user would read it."""
    lines = host.check_output(f"cat {METRICS}").splitlines()
    return {name.removeprefix("lightbox_"): float(value) for name, value in map(str.split, lines)}


def wait_for_metrics(host, condition: Callable[[dict[str, float]], bool], seconds: float = 120) -> dict[str, float]:
    until = time.monotonic() + seconds
    while not condition(metrics := read_metrics(host)):
        assert time.monotonic() < until, metrics
        time.sleep(1)
    return metrics


def list_files(host, directory: str) -> set[str]:
    with host.sudo():
        return set(host.check_output(f"cd {STORAGE} && find {directory} -type f -printf '%p\\n' || true").splitlines())


def reconcile(server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_playbook("playbooks/reconcile.yml", "-i", INVENTORY, "--limit", server, *arguments)


def verify_storage(server: str) -> str:
    """What playbooks/verify.yml says of storage and index: its line of the table, and the error where it is one."""
    answers = {"verify_enabled": True, "verify_modules": False, "verify_timeout": 4}
    run = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "--limit", server, "-e", json.dumps(answers))
    return "\n".join(line for line in run.stdout.splitlines() if "matches the index" in line)
