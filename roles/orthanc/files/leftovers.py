# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets aside what an archive that was killed left in its storage. Runs beside it, with nothing but Python.

The archive writes a file and then names it in its index; it takes a name out of the index and then removes the file.
When it is killed in between, a file stays that nobody can see, list or delete: half of an upload that nobody was told
is stored, or an image that had just come and was being deleted. Here such files are moved to the directory `leftovers`
of the storage; none is removed, and one that the index names after all (another index runs now) goes back to its place.

Whatever the archive wrote before it was last seen alive is in order, so after a start only what was written since then
is looked at: what each file says it is (SOP Instance UID) is asked of the archive, which says in which files it keeps
that. A file stays where it is unless the archive answers, and answers that it is not one of these.

watch   Do that for ever.
health  Exit code 0 when `watch` works.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dicom_file import NotDicomError, identify  # type: ignore[import-not-found] # beside this file in the container
from health import login, read  # type: ignore[import-not-found] # as well

HOST = "orthanc"  # the archive's name in the network of its compose project
EVERY = 5  # seconds
SETTLED = 15  # seconds after its start in which an archive is left alone
SLACK = 120  # seconds: longer than the archive takes from a file to its index
SAME_START = 2  # seconds: the archive tells for how long it runs in whole seconds
HEARTBEAT = Path("/tmp/alive")  # noqa: S108 (the container's own)


class Away(Exception):
    """The archive does not answer, or answers that it cannot."""


class Refused(Away):
    """The archive answers, and will not change its mind: this program is told wrong things."""


class Archive:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.headers = host, port, login()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Away(str(error)) from error
        finally:
            connection.close()

    def json(self, method: str, path: str, body: object = None) -> object:
        status, content = self.ask(method, path, body)
        if status == 404:
            return None
        if status != 200:
            raise (Away if status >= 500 else Refused)(f"{path} answers {status}")
        return json.loads(content)

    def running_for(self) -> float:
        """Seconds since its start, while it reaches its index."""
        self.json("GET", "/changes?last")
        status, content = self.ask("GET", "/tools/metrics-prometheus")
        for line in content.decode().splitlines():
            if line.startswith("orthanc_up_time_s "):
                return float(line.split()[1])
        raise Refused(f"/tools/metrics-prometheus answers {status} and no orthanc_up_time_s")

    def files_of(self, sop_instance_uid: str) -> set[str]:
        """Names of the files in which it keeps an instance."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}, "CaseSensitive": True}
        found = self.json("POST", "/tools/find", query)
        if not isinstance(found, list):
            raise Away("/tools/find answers no list")
        names = set()
        for instance in found:
            for kind in self.json("GET", f"/instances/{instance}/attachments") or []:  # type: ignore[attr-defined]
                told = self.json("GET", f"/instances/{instance}/attachments/{kind}/info")
                if isinstance(told, dict):
                    names.add(told["Uuid"])
        return names


def recent(storage: Path, since: float, until: float) -> Iterator[Path]:
    """Files of the archive that were written in between.

    A directory knows when it last got a file, so that most of the 65,536 need not be read.
    """
    for outer in os.scandir(storage):
        if len(outer.name) != 2 or not outer.is_dir(follow_symlinks=False):
            continue
        for inner in os.scandir(outer):
            if not inner.is_dir(follow_symlinks=False) or inner.stat().st_mtime < since:
                continue
            for file in os.scandir(inner):
                if file.is_file(follow_symlinks=False) and since <= file.stat().st_mtime < until:
                    yield Path(file.path)


def is_left_over(archive: Archive, file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            uid = identify(stream).instance
    except NotDicomError:
        return False  # not of an instance (a summary of a series, say), or cut off before it says of which
    except FileNotFoundError:
        return False
    return file.name not in archive.files_of(uid) and file.exists()


def back(storage: Path, aside: Path) -> None:
    place = storage / aside.name[:2] / aside.name[2:4] / aside.name
    place.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(place)


def take_back(archive: Archive, storage: Path) -> None:
    """Return what was set aside under another index, or when the archive went away in the middle."""
    for aside in (storage / "leftovers").glob("*"):
        HEARTBEAT.touch()
        try:
            with aside.open("rb") as stream:
                uid = identify(stream).instance
        except NotDicomError:
            continue
        if aside.name in archive.files_of(uid):
            back(storage, aside)
            print(f"took back leftovers/{aside.name}: the archive knows this file", flush=True)


def tidy(archive: Archive, storage: Path, since: float, until: float) -> int:
    """Set aside what is left over from between two times. Returns how many files."""
    take_back(archive, storage)
    suspects = []
    for file in recent(storage, since, until):
        HEARTBEAT.touch()
        if is_left_over(archive, file):
            suspects.append(file)
    if suspects:
        # Where the clock of a file server is late a file may be newer than it looks: by now its upload has ended.
        time.sleep(SETTLED)
    count = 0
    for file in suspects:
        HEARTBEAT.touch()
        if not is_left_over(archive, file):
            continue
        aside = storage / "leftovers" / file.name
        aside.parent.mkdir(mode=0o750, exist_ok=True)
        file.rename(aside)
        if not is_left_over(archive, aside):
            back(storage, aside)
            continue
        count += 1
        print(f"set aside leftovers/{file.name}: the archive does not know this file", flush=True)
    return count


class Memory:
    """What outlives this process: when the archive that was last seen had started, and when it was last seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.started, self.seen = map(float, path.read_text(encoding="ascii").split())
        except (FileNotFoundError, ValueError):
            self.started = self.seen = 0.0

    def keep(self, started: float, seen: float) -> None:
        self.started, self.seen = started, seen
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as stream:
            stream.write(f"{started:.0f} {seen:.0f}\n")
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.path)


def look(archive: Archive, storage: Path, memory: Memory, now: float) -> None:
    """One look at the archive, and the work when it has started anew."""
    running = archive.running_for()
    started = now - running
    if abs(started - memory.started) > SAME_START and memory.seen:
        if running < SETTLED:
            return
        tidy(archive, storage, memory.seen - SLACK, started)
    memory.keep(started, now)


def watch() -> None:
    settings = read("orthanc.json")
    archive = Archive(HOST, settings["HttpPort"])
    storage = Path(settings["StorageDirectory"])
    memory = Memory(storage / ".seen")
    told = ""
    while True:
        problem = ""
        try:
            look(archive, storage, memory, time.time())
            HEARTBEAT.touch()
        except Refused as error:
            problem = f"cannot ask the archive: {error}"
        except Away:
            HEARTBEAT.touch()  # it starts, or its database is away: the next look tells
        except OSError as error:
            problem = f"cannot work on {storage}: {error}"
        if problem != told:
            print(problem or "works again", flush=True)
            told = problem
        time.sleep(EVERY)


def main() -> int:
    if sys.argv[1:] == ["health"]:
        try:
            return 0 if time.time() - HEARTBEAT.stat().st_mtime < 600 else 1
        except FileNotFoundError:
            return 1
    if sys.argv[1:] != ["watch"]:
        print("usage: leftovers.py watch|health")
        return 2
    watch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
