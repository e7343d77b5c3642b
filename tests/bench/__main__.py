# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the data path of the running demo: `python -m tests.bench`. Takes less than four minutes.

A JSON document goes to stdout, a table to stderr.

What is compared is measured in one run, the two sides in turn, so that a drift of the machine cancels; ratios mean
something on other machines, the absolute numbers do not. Many short runs are better than a few long ones here.
Frames and uploads run on the server (see server.py); C-STORE is sent from this machine by pynetdicom, which is the
slower side of it: its figures are of plain against TLS, not of what the archive can take. What was uploaded is deleted.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import uid

from tests.bench import figures
from tests.samples.load import DicomNode, LoadError, Tally, _Body, send_by_store, show_nothing
from tests.samples.studies import SAMPLES, Sample, to_bytes

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SECRETS = ROOT / "inventories" / "lab" / ".secrets"
DICOMWEB = "/pacs/dicom-web"
CT = SAMPLES["ct"]
TOKEN = "900000000001"  # stands in the UIDs of an upload where the server puts another number for each

# $1 is the server's half: the directory goes with it, whatever happens.
REMOTE = """umask 077
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
tar -x -C "$directory" && python3 "$directory/server.py" "$directory"
"""
INSTALL = """command -v wrk >/dev/null && exit 0
sudo -n apt-get update -q || exit 1
exec sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends wrk
"""


STEPS = {
    "frames": "Fetching frames",
    "stow": "Uploading",
    "library": "Comparing Orthanc with and without the preloaded library",
    "store": "Sending by C-STORE",
}


class BenchError(Exception):
    """What the person at the keyboard is told: one plain sentence."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}. Is the demo up (make demo)?") from error


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Server:
    """The server under test: how SSH reaches it, and the ways to its archive as seen from itself."""

    host: str
    ssh_config: Path
    targets: dict[str, str]  # name -> URL, `direct` first
    authorizations: dict[str, str]
    ca: Path

    def ssh(self, command: str, stdin: bytes, timeout: float) -> bytes:
        try:
            run = subprocess.run(
                ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", self.host, "sh -c " + shlex.quote(command)],
                input=stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{self.host}: did not finish within {timeout:.0f} s") from error
        if run.returncode:
            told = run.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise BenchError(f"{self.host}: {told[-1].removeprefix('error: ')}")
        return run.stdout

    def prepare(self) -> None:
        self.ssh(INSTALL, b"", 180)

    def run(self, job: dict[str, Any], more: dict[str, bytes] | None = None, timeout: float = 200) -> dict[str, Any]:
        """Let the server's half do a job. Passwords travel in files that only the SSH user can read."""
        files = {
            "job.json": json.dumps({"targets": self.targets, **job}).encode(),
            "ca.pem": self.ca.read_bytes(),
            "server.py": (HERE / "server.py").read_bytes(),
            "frames.lua": (HERE / "frames.lua").read_bytes(),
            **{f"{name}.authorization": self.authorizations[name].encode() for name in self.targets},
            **(more or {}),
        }
        answer = json.loads(self.ssh(REMOTE, pack(files), timeout))
        assert isinstance(answer, dict)
        return answer


def pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def frame_paths(sample: Sample) -> list[str]:
    series = f"{DICOMWEB}/studies/{sample.study_uid}/series/{sample.series_uid}"
    return [f"{series}/instances/{sample.instance_uid(index)}/frames/1" for index in range(sample.count)]


def upload(sample: Sample, count: int) -> tuple[bytes, dict[str, Any]]:
    """A STOW-RS body of ``count`` slices with TOKEN in all their UIDs, and what the server must know of it.

    The token has as many digits as what takes its place, so the body stays valid.
    """
    study = f"2.25.{TOKEN}0"
    parts = []
    for index in range(count):
        instance = sample.instance(index)
        instance.StudyInstanceUID, instance.SeriesInstanceUID = study, f"2.25.{TOKEN}1"
        instance.PatientID = instance.AccessionNumber = f"BENCH-{TOKEN}"[:16]
        instance.FrameOfReferenceUID = f"2.25.{TOKEN}2"
        instance.SOPInstanceUID = uid.UID(f"2.25.{TOKEN}9{index:05d}")
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        parts.append(to_bytes(instance))
    body = _Body(parts)
    job = {"token": TOKEN, "study": study, "boundary": body.boundary, "path": f"{DICOMWEB}/studies", "instances": count}
    return b"".join(body), job


def zipped(sample: Sample) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(sample.count):
            archive.writestr(f"{index}.dcm", to_bytes(sample.instance(index)))
    return buffer.getvalue()


def store(server: Server, nodes: dict[str, DicomNode], rounds: int, count: int) -> dict[str, Any]:
    """C-STORE by each node in turn, a new study each time; nodes that do not answer are left out."""
    runs: dict[str, list[dict[str, Any]]] = {}
    studies: list[str] = []
    try:
        for number in range(rounds):
            for name in list(nodes) if number % 2 == 0 else list(reversed(nodes)):
                sample = replace(CT, seed=f"bench/{secrets.token_hex(8)}", count=count)
                studies.append(sample.study_uid)
                try:
                    tally: Tally = send_by_store([sample], nodes[name], progress=show_nothing)
                except (LoadError, OSError) as error:
                    if name in runs:
                        raise BenchError(f"C-STORE, {name}: {error}") from error
                    say(f"C-STORE, {name}: left out: {error}")
                    nodes = {key: node for key, node in nodes.items() if key != name}
                    continue
                if tally.refused:
                    raise BenchError(f"C-STORE, {name}: {tally.refused[0]}")
                runs.setdefault(name, []).append(
                    {"per_second": tally.sent / tally.seconds, "megabytes_per_second": tally.rate}
                )
    finally:
        server.run({"delete": studies})
    if not runs:
        return {}
    ordered = {name: runs[name] for name in nodes}
    result = figures.compare(ordered, next(iter(ordered)))
    result["megabytes_per_second"] = {
        name: figures.compare({name: [{"per_second": run["megabytes_per_second"]} for run in of_node]}, name)[
            "per_second"
        ][name]
        for name, of_node in ordered.items()
    }
    return {"instances": count, "rounds": rounds, **result}


def tasks_of_site() -> int | None:
    """Number of tasks, as Ansible lists them without running: a file that is included at run time counts as one."""
    try:
        run = subprocess.run(
            ["ansible-playbook", "site.yml", "-i", "inventories/lab", "--list-tasks"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            env={"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), **os.environ, "ANSIBLE_FORCE_COLOR": "false"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if run.returncode else figures.count_tasks(run.stdout)


def measure_browser(runs: int) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.browser", "--runs", str(runs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if run.returncode:
        raise BenchError(f"browser: {run.stderr.strip()[-300:]}")
    result = json.loads(run.stdout)
    assert isinstance(result, dict)
    return result


def measure(server: Server, nodes: dict[str, DicomNode], options: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "frames_are": "uncompressed CT slices, 512 x 512 x 16 bit",
    }
    if document["load_before"] > 1.5:
        say(f"This machine is busy (load {document['load_before']}): the figures will be of that, too.")
    say("Preparing the server")
    server.prepare()
    before = server.run({"memory": True})["memory_mb"]

    def compared(part: str, answer: dict[str, Any], base: str = "direct") -> dict[str, Any]:
        result = answer[part]
        result["connections"] = {count: figures.compare(runs, base) for count, runs in result["connections"].items()}
        return dict(result)

    steps: dict[str, Callable[[], dict[str, Any]]] = {}

    def frames() -> dict[str, Any]:
        job = {"connections": [1, 8], "rounds": options.rounds, "seconds": options.seconds}
        return compared("frames", server.run({"frames": job}, {"paths": "\n".join(frame_paths(CT)).encode()}))

    def stow() -> dict[str, Any]:
        body, job = upload(CT, 16)
        return compared(
            "stow", server.run({"stow": {**job, "connections": [1, 4], "rounds": 6}}, {"stow.bin": body}, timeout=120)
        )

    def library() -> dict[str, Any]:
        """The same image with and without the library that its Dockerfile preloads into Orthanc."""
        archives = {"without": ["LD_PRELOAD="], "with": []}
        body, job = upload(CT, 16)
        answer = server.run(
            {
                "bare": archives,
                "frames": {"connections": [1, 8], "rounds": options.rounds, "seconds": options.seconds},
                "stow": {**job, "connections": [1, 4], "rounds": 6},
            },
            {"stow.bin": body, "ct.zip": zipped(CT), "paths": "\n".join(frame_paths(CT)).encode()},
        )
        return {part: compared(part, answer, "without") for part in ("frames", "stow")}

    steps["frames"], steps["stow"], steps["library"] = frames, stow, library
    steps["store"] = lambda: store(server, dict(nodes), 4, 24)
    for name, step in steps.items():
        if name not in options.only:
            continue
        say(STEPS[name])
        start = time.monotonic()
        result = step()
        if result:
            document[name] = {**result, "took_seconds": round(time.monotonic() - start, 1)}
    document["memory_mb"] = {"before": before, "after": server.run({"memory": True})["memory_mb"]}
    document["load_after"] = round(os.getloadavg()[0], 2)
    document["tasks"] = tasks_of_site()
    if options.browser:
        say("Opening the study in a browser")
        document["browser"] = measure_browser(2)
    return document


def main() -> int:
    steps = list(STEPS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure the data path of the running demo.", allow_abbrev=False
    )
    parser.add_argument("--host", help="the server as SSH knows it (default: the inventory's)")
    parser.add_argument("--ssh-config", type=Path, default=ROOT / ".lab" / "ssh_config")
    parser.add_argument("--direct", default="http://127.0.0.1:8042", help="the archive, seen from the server")
    parser.add_argument("--reverse-proxy", default="https://localhost", help="the reverse proxy, seen from the server")
    parser.add_argument("--secrets", type=Path, default=SECRETS, help="directory of the passwords and the CA")
    parser.add_argument("--only", choices=steps, action="append", help="(default: all)")
    parser.add_argument("--rounds", type=int, default=12, help="of the frames (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="of a run of frames (%(default)s)")
    parser.add_argument("--browser", action="store_true", help="also time the first image in Chromium")
    options = parser.parse_args()
    options.only = options.only or steps
    try:
        host = options.host or lab_address()
        ca = options.secrets / "ca" / "ca.pem"
        server = Server(
            host,
            options.ssh_config,
            {"direct": options.direct, "reverse_proxy": options.reverse_proxy},
            {
                "direct": basic("reverse_proxy", secret(options.secrets / "archive_password")),
                "reverse_proxy": basic("admin", secret(options.secrets / "web_password")),
            },
            ca,
        )
        nodes = {
            "plain": DicomNode(host, 4242, "LIGHTBOX", "DEMO"),
            "tls": DicomNode(host, 11112, "LIGHTBOX", "DEMO", str(ca), tls=True),
        }
        document = measure(server, nodes, options)
    except (BenchError, LoadError, OSError) as error:
        say(f"error: {error}")
        return 1
    say("")
    say(figures.table(document))
    print(json.dumps(document, indent=2))
    return 0


def lab_address() -> str:
    found = re.search(r"ansible_host: *(\S+)", (ROOT / "inventories" / "lab" / "hosts.yml").read_text(encoding="utf-8"))
    if found is None:
        raise BenchError("inventories/lab/hosts.yml names no ansible_host: give --host")
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
