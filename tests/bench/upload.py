# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the module orthanc_upload against a plain parallel HTTP client: `python -m tests.bench.upload --url …`.

The plain client knows nothing but files and a path: threads that read a file and POST it over a kept-open connection.
Both send the same files, in turn, to an archive that was emptied of them before; what they sent is deleted. Both run in
a process of their own, whose memory is measured too, and time themselves from their first file to their last answer.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import http.client
import importlib
import json
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.samples.studies import SAMPLES, to_bytes

ROOT = Path(__file__).resolve().parents[2]
CT = SAMPLES["ct"]


def connect(arguments: dict[str, Any]) -> http.client.HTTPConnection:
    parsed = urllib.parse.urlsplit(arguments["url"])
    if parsed.scheme == "https":
        context = ssl.create_default_context(cafile=arguments.get("ca_path"))
        return http.client.HTTPSConnection(parsed.hostname or "", parsed.port, timeout=60, context=context)
    return http.client.HTTPConnection(parsed.hostname or "", parsed.port, timeout=60)


def ask(
    connection: http.client.HTTPConnection, arguments: dict[str, Any], method: str, path: str, body: bytes
) -> tuple[int, bytes]:
    account = f"{arguments.get('url_username')}:{arguments.get('url_password')}".encode()
    headers = {"Authorization": "Basic " + base64.b64encode(account).decode()}
    where = urllib.parse.urlsplit(arguments["url"]).path.rstrip("/") + path
    connection.request(method, where, body=body, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """What a person would write in ten lines."""
    here = threading.local()

    def send(path: Path) -> int:
        if not hasattr(here, "connection"):
            here.connection = connect(arguments)
        content = path.read_bytes()
        status, answer = ask(here.connection, arguments, "POST", "/instances", content)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {answer[:200]!r}")
        return len(content)

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(arguments["threads"]) as pool:
        size = sum(pool.map(send, sorted(Path(arguments["src"]).iterdir())))
    return {"seconds": time.monotonic() - start, "bytes": size, "changed": True}


def module(arguments: dict[str, Any]) -> dict[str, Any]:
    """The module as Ansible runs it, but for the way of its arguments."""
    from tests.support.orthanc_server import run_module

    answer = run_module("orthanc_upload", arguments, diff=False)
    if answer.get("failed"):
        raise RuntimeError(answer["msg"])
    upload = answer["upload"]
    return {
        "seconds": upload["seconds"],
        "bytes": upload["bytes_sent"],
        "changed": answer["changed"],
        "requests": upload["requests"],
    }


def run(side: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """One side, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.upload", "--side", side],
        input=json.dumps(arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / '.collections'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def clear(arguments: dict[str, Any], study: str) -> None:
    connection = connect(arguments)
    _status, answer = ask(connection, arguments, "POST", "/tools/lookup", study.encode())
    for one in json.loads(answer):
        if one["Type"] == "Study":
            ask(connection, arguments, "DELETE", one["Path"], b"")


def measure(arguments: dict[str, Any], rounds: int, count: int) -> dict[str, Any]:
    """The two in turn, then the module twice more with everything there: by hash and by UID."""
    sample = replace(CT, seed=f"bench/{os.urandom(8).hex()}", count=count)
    sides: dict[str, list[dict[str, Any]]] = {"plain": [], "module": []}
    with tempfile.TemporaryDirectory() as directory:
        for index in range(count):
            (Path(directory) / f"{index:05d}.dcm").write_bytes(to_bytes(sample.instance(index)))
        arguments = {**arguments, "src": directory}
        for number in range(rounds):
            for side in ("plain", "module") if number % 2 == 0 else ("module", "plain"):
                clear(arguments, sample.study_uid)
                sides[side].append(run(side, arguments))
        again = {compare: run("module", {**arguments, "compare": compare}) for compare in ("hash", "uid")}
        clear(arguments, sample.study_uid)
    if any(one["changed"] for one in again.values()):
        raise RuntimeError("the second upload sent something")

    def rate(one: dict[str, Any]) -> float:
        return one["bytes"] / 1e6 / one["seconds"]

    pairs = [rate(mine) / rate(theirs) for theirs, mine in zip(sides["plain"], sides["module"], strict=True)]
    return {
        "instances": count,
        "rounds": rounds,
        "threads": arguments["threads"],
        "megabytes_per_second": {side: round(statistics.median(map(rate, runs)), 1) for side, runs in sides.items()},
        "ratio": {
            "median": round(statistics.median(pairs), 2),
            "smallest": round(min(pairs), 2),
            "largest": round(max(pairs), 2),
        },
        "memory_mb": {side: max(one["memory_mb"] for one in runs) for side, runs in sides.items()},
        # Less noisy than a rate on a machine that has other work.
        "cpu_seconds": {
            side: round(statistics.median(one["cpu_seconds"] for one in runs), 2) for side, runs in sides.items()
        },
        "requests": sides["module"][0]["requests"],
        "nothing_to_do": {
            compare: {"requests": one["requests"], "seconds": round(one["seconds"], 2)}
            for compare, one in again.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.upload", description="Measure orthanc_upload.", allow_abbrev=False
    )
    parser.add_argument("--side", choices=["plain", "module"], help=argparse.SUPPRESS)
    parser.add_argument("--url", default="https://localhost:8443/pacs", help="(default: the demo's, %(default)s)")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password-file", type=Path, default=ROOT / "inventories/lab/.secrets/web_password")
    parser.add_argument("--ca", type=Path, default=ROOT / "inventories/lab/.secrets/ca/ca.pem")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--instances", type=int, default=300)
    options = parser.parse_args()
    if options.side:
        arguments = json.load(sys.stdin)
        act = {"plain": plain, "module": module}[options.side]
        importlib.import_module("tests.support.orthanc_server")  # a module's start is Ansible's time, not the upload's
        importlib.import_module("ansible_collections.lightbox.pacs.plugins.modules.orthanc_upload")
        start = time.process_time()
        answer = act(arguments)
        used = resource.getrusage(resource.RUSAGE_SELF)
        answer["memory_mb"] = round(used.ru_maxrss / 1024, 1)
        answer["cpu_seconds"] = time.process_time() - start
        print(json.dumps(answer))
        return 0
    arguments = {
        "url": options.url,
        "url_username": options.user,
        "url_password": options.password_file.read_text(encoding="utf-8").strip(),
        "threads": options.threads,
    }
    if options.url.startswith("https"):
        arguments["ca_path"] = str(options.ca)
    try:
        print(json.dumps(measure(arguments, options.rounds, options.instances), indent=2))
    except (RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
