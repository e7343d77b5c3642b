# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells whether the archive beside it works. Runs inside its container, with nothing but Python.

live   The process answers HTTP at all. Stays true while the database is away: restarting would not help then.
ready  The archive can serve and take images: it lets its user in, reaches its index, listens for DICOM and can write
       its storage.

Exit code 0 when true, else 1 with one line that says what is wrong.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import sys

CONFIGURATION = "/etc/orthanc"
TIMEOUT = 8  # seconds


def read(name: str) -> dict:
    with open(os.path.join(CONFIGURATION, name), encoding="utf-8") as stream:
        return json.load(stream)


def status(port: int, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def login() -> dict[str, str]:
    name, password = next(iter(read("users.json")["RegisteredUsers"].items()))
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def live(settings: dict) -> None:
    # Without credentials: 401 is the right answer of a process that works.
    answer = status(settings["HttpPort"], "/system", {})
    if answer not in (200, 401):
        raise RuntimeError(f"HTTP answers {answer}")


def ready(settings: dict) -> None:
    # /changes reads the index; /system would answer 200 although the database is gone.
    answer = status(settings["HttpPort"], "/changes?last", login())
    if answer != 200:
        reason = {401: "the archive refuses its own user", 503: "the index cannot be reached"}.get(
            answer, "the index fails"
        )
        raise RuntimeError(f"{reason} (HTTP {answer})")
    if status(settings["HttpPort"], "/changes?last", {}) != 401:
        raise RuntimeError("the archive answers without credentials")
    socket.create_connection(("127.0.0.1", settings["DicomPort"]), timeout=TIMEOUT).close()
    # A name of its own: two checks at once would take away each other's file.
    probe = os.path.join(settings["StorageDirectory"], f".health-{os.getpid()}")
    with open(probe, "w", encoding="ascii") as stream:
        stream.write("writable\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.unlink(probe)


def main() -> int:
    checks = {"live": live, "ready": ready}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        print("usage: health.py live|ready")
        return 2
    try:
        checks[sys.argv[1]](read("orthanc.json"))
    except (OSError, RuntimeError, http.client.HTTPException, ValueError, KeyError, StopIteration) as error:
        print(f"not {sys.argv[1]}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
