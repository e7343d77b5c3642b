# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of the benchmark that runs on the server, with nothing but its Python and wrk.

It runs there because the archive listens on the server's loopback only, and because the port that a lab server
publishes on the developer's machine goes through a proxy of Docker's that would count as the reverse proxy's.

Frames are fetched by wrk: a client written in Python spends as long on a frame as the archive does, and would
measure itself. wrk does not check certificates, so each target is asked once beforehand by a client that does.
Uploads are sent by http.client from memory: one call of sendall per body, so that the client is not what is measured.

python3 server.py DIRECTORY    job.json, stow.bin, ca.pem, paths and *.authorization lie there; JSON goes to stdout
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ACCEPT_FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
SERVICES = ("Orthanc", "nginx", "docker-proxy", "dockerd", "containerd", "containerd-shim")
TICK = os.sysconf("SC_CLK_TCK")
TIMEOUT = 60


class Failure(Exception):
    """What the person at the keyboard is told: one plain sentence."""


def in_turn(names: list[str], rounds: int) -> Iterator[str]:
    """a b, b a, a b, …: a steady drift of the machine touches all alike."""
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


# -- Processes


def processes() -> Iterator[tuple[str, Path]]:
    """Name of the program and directory below /proc of each process of the services."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                program = (directory / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            except OSError:
                continue
            # "nginx: worker process", "/usr/sbin/Orthanc", "/usr/bin/containerd-shim-runc-v2"
            name = program.split(":")[0].split(" ")[0].rsplit("/", 1)[-1].replace("-runc-v2", "")
            if name in SERVICES:
                yield name, directory


def cpu() -> dict[str, float]:
    """Seconds of processor time that each service has used so far (user and system)."""
    used: dict[str, float] = {}
    for name, directory in processes():
        try:
            fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        used[name] = used.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / TICK
    return used


def memory() -> dict[str, dict[str, float]]:
    """MB of each service: `resident` (the sum over its processes, what they share counted in each) and
    `proportional` (what they share divided by the number of its users)."""
    result: dict[str, dict[str, float]] = {}
    for name, directory in processes():
        got = subprocess.run(
            ["sudo", "-n", "cat", f"{directory}/smaps_rollup"], capture_output=True, text=True, check=False
        )
        sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", got.stdout, re.MULTILINE))
        if len(sizes) == 2:
            entry = result.setdefault(name, {"processes": 0, "resident": 0.0, "proportional": 0.0})
            entry["processes"] += 1
            entry["resident"] = round(entry["resident"] + int(sizes["Rss"]) * 1024 / 1e6, 1)
            entry["proportional"] = round(entry["proportional"] + int(sizes["Pss"]) * 1024 / 1e6, 1)
    return result


# -- HTTP


class Target:
    """One way to the archive: ``url``, the file with the Authorization header, a CA for https."""

    def __init__(self, directory: Path, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.authorization_file = directory / f"{name}.authorization"
        self.authorization = self.authorization_file.read_text().strip()
        self.ca = directory / "ca.pem"

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca))
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        connection.request(method, path, body, {"Authorization": self.authorization, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise Failure(f"{self.name}: {method} {path} was answered with {answer.status}")
        return content


# -- Measuring


def frames(directory: Path, targets: list[Target], job: dict[str, Any]) -> dict[str, Any]:
    """For each number of connections: a list of runs for each target."""
    paths = (directory / "paths").read_text().splitlines()
    sizes = set()
    for target in targets:
        connection = target.connect()
        sizes.add(len(target.ask(connection, "GET", paths[0], headers={"Accept": ACCEPT_FRAME})))
        connection.close()
    if max(sizes) - min(sizes) > 1024:  # boundaries of multipart may differ
        raise Failure(f"the targets answer with frames of different sizes: {sorted(sizes)}")
    by_name = {target.name: target for target in targets}

    def run(count: int, name: str) -> dict[str, Any]:
        return wrk(directory, by_name[name], count, job["seconds"])

    for target in targets:
        wrk(directory, target, 8, 1)
    return {
        "bytes_per_frame": max(sizes),
        "connections": {
            str(count): collect(
                in_turn(list(by_name), job["rounds"]),
                partial(run, count),
            )
            for count in job["connections"]
        },
    }


def collect(names: Iterator[str], measure: Callable[[str], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    result: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        result.setdefault(name, []).append(measure(name))
    return result


def wrk(directory: Path, target: Target, connections: int, seconds: float) -> dict[str, Any]:
    before = cpu()
    run = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", "frames.lua", target.url],
        cwd=directory,
        env={**os.environ, "BENCH_PATHS": "paths", "BENCH_AUTHORIZATION": target.authorization_file.name},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    after = cpu()
    if run.returncode:
        raise Failure(f"wrk failed: {run.stderr.strip()[-300:]}")
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    if result["bad_status"] or result["socket_errors"] or not result["requests"]:
        raise Failure(f"{target.name}: not all frames came: {result}")
    result["per_second"] = result["requests"] / result["seconds"]
    result["cpu_ms"] = {  # of each service, per frame
        name: round((used - before.get(name, 0)) * 1000 / result["requests"], 3)
        for name, used in after.items()
        if used > before.get(name, 0)
    }
    return result


def stow(directory: Path, targets: list[Target], job: dict[str, Any]) -> dict[str, Any]:
    """As ``frames``. Every upload is a new study: the archive would answer at once for what it has."""
    template = (directory / "stow.bin").read_bytes()
    token = job["token"].encode()
    content_type = f'multipart/related; type="application/dicom"; boundary={job["boundary"]}'
    by_name = {target.name: target for target in targets}
    studies: list[str] = []

    def run(count: int, name: str) -> dict[str, Any]:
        target = by_name[name]
        bodies = []
        for _number in range(count):
            serial = f"{secrets.randbelow(9 * 10 ** (len(token) - 1)) + 10 ** (len(token) - 1)}".encode()
            studies.append(job["study"].replace(job["token"], serial.decode()))
            bodies.append(template.replace(token, serial))
        connections = [target.connect() for _body in bodies]
        failures: list[str] = []

        def send(connection: http.client.HTTPConnection, body: bytes) -> None:
            try:
                headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
                answer = json.loads(target.ask(connection, "POST", job["path"], body, headers))
                if len(answer["00081199"]["Value"]) != job["instances"]:
                    failures.append(f"{target.name}: not all instances of an upload were stored")
            except (Failure, OSError, ValueError, LookupError, http.client.HTTPException) as error:
                failures.append(str(error))

        for connection in connections:
            connection.connect()
        threads = [threading.Thread(target=send, args=pair) for pair in zip(connections, bodies, strict=True)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        for connection in connections:
            connection.close()
        if failures:
            raise Failure(failures[0])
        size = sum(map(len, bodies))
        return {"seconds": seconds, "bytes": size, "per_second": size / 1e6 / seconds}

    try:
        for target in targets:
            run(1, target.name)  # warm
        result = {
            str(count): collect(in_turn(list(by_name), job["rounds"]), partial(run, count))
            for count in job["connections"]
        }
    finally:
        delete(targets[0], studies)
    return {"bytes_per_upload": len(template), "instances": job["instances"], "connections": result}


def delete(archive: Target, studies: list[str]) -> None:
    """Remove studies by the archive's REST API; what was not stored is passed over."""
    connection = archive.connect()
    for uid in studies:
        for found in json.loads(archive.ask(connection, "POST", "/tools/lookup", uid.encode())):
            if found["Type"] == "Study":
                archive.ask(connection, "DELETE", found["Path"])
    connection.close()


@contextlib.contextmanager
def bare_archives(directory: Path, environments: dict[str, list[str]]) -> Iterator[list[Target]]:
    """Archives of the deployed image without a login, which differ only in their environment.

    Each gets the study whose frames are fetched, from ct.zip.
    """
    image = docker("inspect", "--format", "{{.Config.Image}}", "lightbox-orthanc")
    settings = {
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "DicomWeb": {"Root": "/pacs/dicom-web/"},
        "HttpCompressionEnabled": False,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "RemoteAccessAllowed": True,
        "StorageDirectory": "/srv/bench",
    }
    configuration = directory / "bare"
    configuration.mkdir(mode=0o755)
    directory.chmod(0o755)  # the container's root may be another user's
    (configuration / "orthanc.json").write_text(json.dumps(settings))
    containers, targets = [], []
    try:
        for name, environment in environments.items():
            options = [f"--env={entry}" for entry in environment]
            container = docker(
                "run", "--detach", "--rm", "--user=0", "--network=bridge", "--volume=/srv/bench",
                f"--volume={configuration}:/etc/orthanc:ro", *options, image,
            )  # fmt: skip
            containers.append(container)
            address = docker("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", container)
            (directory / f"{name}.authorization").write_text("")
            targets.append(Target(directory, name, f"http://{address}:8042"))
        for target in targets:
            wait_for(target)
            connection = target.connect()
            target.ask(connection, "POST", "/instances", (directory / "ct.zip").read_bytes())
            connection.close()
        yield targets
    finally:
        if containers:
            docker("rm", "--force", "--volumes", *containers)


def docker(*arguments: str) -> str:
    run = subprocess.run(["sudo", "-n", "docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode:
        raise Failure(f"docker {arguments[0]}: {run.stderr.strip()[-300:]}")
    return run.stdout.strip()


def wait_for(target: Target) -> None:
    limit = time.monotonic() + 30
    while True:
        try:
            connection = target.connect()
            target.ask(connection, "GET", "/system")
            connection.close()
            return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)


def measure(directory: Path, job: dict[str, Any], targets: list[Target]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if "delete" in job:
        delete(targets[0], job["delete"])
    if "memory" in job:
        result["memory_mb"] = memory()
    if "frames" in job:
        result["frames"] = frames(directory, targets, job["frames"])
    if "stow" in job:
        result["stow"] = stow(directory, targets, job["stow"])
    return result


def main() -> int:
    directory = Path(sys.argv[1])
    job = json.loads((directory / "job.json").read_text())
    try:
        if "bare" in job:
            with bare_archives(directory, job["bare"]) as targets:
                result = measure(directory, job, targets)
        else:
            result = measure(directory, job, [Target(directory, *target) for target in job["targets"].items()])
    except (Failure, OSError, ValueError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
