# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tidies what a fault left between an archive's index and its storage. Runs beside it, with nothing but Python.

The archive writes a file and then names it in its index; it takes a name out of the index and then removes the file.
When it is killed in between, a file stays that nobody can see, list or delete: half of an upload that nobody was told
is stored, or an image that had just come and was being deleted. Here such files are moved to the directory `leftovers`
of the storage; none is removed, and one that the index names after all (another index runs now) goes back to its place.

Whatever the archive wrote before it was last seen alive is in order, so after a start only what was written since then
is looked at: what each file says it is (SOP Instance UID) is asked of the archive, which says in which files it keeps
that. A file stays where it is unless the archive answers, and answers that it is not one of these.

The other way round an entry of the index may name a file that is not there: where just the answer to the database's
COMMIT is lost, the archive refuses the image, removes its file, and does not know that the entry stays. Whoever sends
the image again would be told that it is stored already. So whenever the archive has removed a file, the images that
came since shortly before are looked at. One whose file is neither in the storage nor readable by the archive is taken
out of the index, so that it is taken when it comes again.

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
from typing import NamedTuple

from dicom_file import NotDicomError, identify  # type: ignore[import-not-found] # beside this file in the container
from health import login, read  # type: ignore[import-not-found] # as well

HOST = "orthanc"  # the archive's name in the network of its compose project
EVERY = 5  # seconds
SETTLED = 15  # seconds after its start in which an archive is left alone
SLACK = 120  # seconds: longer than the archive takes from a file to its index
SAME_START = 2  # seconds: the archive tells for how long it runs in whole seconds
SAME_REMOVAL = (
    30  # seconds: the archive tells the time of its slowest removal in ten, and so not always of the last one
)
MOST_CHANGES = 200_000  # more than come in SLACK seconds
NO_FILE = (13, 2006)  # OrthancStatus: inexistent file, regular file expected
HEARTBEAT = Path("/tmp/alive")  # noqa: S108 (the container's own)


class Away(Exception):
    """The archive does not answer, or answers that it cannot."""


class Refused(Away):
    """The archive answers, and will not change its mind: this program is told wrong things."""


class State(NamedTuple):
    """What an archive that reaches its index says of itself."""

    running: float  # seconds since its start
    removed: float  # when it last removed a file, seconds since 1970; 0 for never
    change: int  # number of its last change


class Archive:
    def __init__(self, host: str, port: int, in_files: bool = True) -> None:
        """in_files: whether it keeps images as files in its storage, and not by a plugin."""
        self.host, self.port, self.in_files, self.headers = host, port, in_files, login()

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

    def state(self) -> State:
        changes = self.json("GET", "/changes?last")
        if not isinstance(changes, dict):
            raise Away("/changes answers no dictionary")
        status, content = self.ask("GET", "/tools/metrics-prometheus")
        metrics = {name: more for name, *more in map(str.split, content.decode().splitlines())}
        if "orthanc_up_time_s" not in metrics:
            raise Refused(f"/tools/metrics-prometheus answers {status} and no orthanc_up_time_s")
        removed = float(metrics.get("orthanc_storage_remove_duration_ms", ["", "0"])[1]) / 1000
        return State(float(metrics["orthanc_up_time_s"][0]), removed, changes["Last"])

    def new_instances(self, since: int) -> Iterator[tuple[int, str]]:
        """Number of the change and identifier of the instances that came after a change."""
        done = False
        while not done:
            page = self.json("GET", f"/changes?since={since}&limit=1000")
            if not isinstance(page, dict):
                raise Away("/changes answers no dictionary")
            for change in page["Changes"]:
                if change["ChangeType"] == "NewInstance":
                    yield change["Seq"], change["ID"]
            done, since = page["Done"], page["Last"]

    def uids_of(self, instance: str) -> str:
        """By what names whoever sent an instance knows it."""
        words = []
        for level, tag in (("", "SOPInstanceUID"), ("/study", "StudyInstanceUID")):
            told = self.json("GET", f"/instances/{instance}{level}")
            words.append(f"{tag} {told['MainDicomTags'].get(tag)}" if isinstance(told, dict) else f"no {tag}")
        return f"instance {instance} ({', '.join(words)})"

    def has_no_file(self, instance: str, storage: Path) -> bool:
        """Whether it keeps an instance whose file is not there, as far as both can tell."""
        path = f"/instances/{instance}/attachments/dicom"
        told = self.json("GET", f"{path}/info")
        if not isinstance(told, dict) or place(storage, told["Uuid"]).exists():
            return False
        _status, content = self.ask("POST", f"{path}/verify-md5")
        try:
            return json.loads(content).get("OrthancStatus") in NO_FILE
        except ValueError:  # it does not describe its errors
            return False

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


def place(storage: Path, name: str) -> Path:
    return storage / name[:2] / name[2:4] / name


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
    target = place(storage, aside.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(target)


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


def forget_images_without_file(archive: Archive, storage: Path, since: int, looked_at: set[int]) -> int:
    """Take out of the index what came after a change and has no file. Returns how many.

    looked_at: the changes that need no further look; more are added, and those up to `since` taken out.
    """
    count = 0
    looked_at.difference_update({number for number in looked_at if number <= since})
    for number, instance in archive.new_instances(since):
        if number in looked_at:
            continue
        HEARTBEAT.touch()
        # Twice: one that is being deleted has its file no longer, and soon no entry.
        if archive.has_no_file(instance, storage):
            time.sleep(1)
            if archive.has_no_file(instance, storage):
                called = archive.uids_of(instance)
                archive.json("DELETE", f"/instances/{instance}")
                print(f"took {called} out of the index: its file is not there. Send it again", flush=True)
                count += 1
        looked_at.add(number)
    return count


class Memory:
    """What outlives this process: when the archive that was last seen had started, when it was last seen, and the
    number of a change that is older than SLACK (-1 for none)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = self.seen = 0.0
        # When which change was the last one. It may be seen later than one that came after it: when its transaction
        # takes longer.
        self.changes: list[tuple[float, int]] = []
        self.looked_at: set[int] = set()  # see forget_images_without_file
        try:
            started, seen, *change = path.read_text(encoding="ascii").split()
            self.started, self.seen = float(started), float(seen)
            self.changes = [(self.seen, int(number)) for number in change]
        except (FileNotFoundError, ValueError):
            pass

    @property
    def change(self) -> int:
        return self.changes[0][1] if self.changes else -1

    def keep(self, started: float, seen: float, change: int) -> None:
        self.started, self.seen = started, seen
        if not 0 <= change - self.change <= MOST_CHANGES:
            self.changes.clear()  # those of another index
            self.looked_at.clear()
        self.changes.append((seen, change))
        while len(self.changes) > 1 and self.changes[1][0] <= seen - SLACK:
            del self.changes[0]
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as stream:
            stream.write(f"{started:.0f} {seen:.0f} {self.change}\n")
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.path)


def look(archive: Archive, storage: Path, memory: Memory, now: float) -> None:
    """One look at the archive, and the work when it has started anew or removed a file."""
    state = archive.state()
    started = now - state.running
    anew = abs(started - memory.started) > SAME_START and memory.seen > 0
    if anew:
        if state.running < SETTLED:
            return
        tidy(archive, storage, memory.seen - SLACK, started)
    came = state.change - memory.change if memory.change >= 0 else 0
    removed = archive.in_files and (anew or state.removed > memory.seen - SAME_REMOVAL)
    if removed and 0 < came <= MOST_CHANGES:
        forget_images_without_file(archive, storage, memory.change, memory.looked_at)
    memory.keep(started, now, state.change)


def watch() -> None:
    settings = read("orthanc.json")
    archive = Archive(HOST, settings["HttpPort"], not any("Storage" in Path(one).name for one in settings["Plugins"]))
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
