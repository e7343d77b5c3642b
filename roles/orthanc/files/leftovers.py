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

The other way round an entry of the index may name a file that is not there: where just the answer to PostgreSQL's
COMMIT is lost, the archive refuses the image, removes its file, and does not know that the entry stays. Whoever sends
the image again would be told that it is stored already. So after the archive was away for a while (its database was),
and removed a file since, the images that came from two minutes before that to two minutes after it are looked at. One
whose file is neither in the storage nor readable by the archive is taken out of the index, so that it is taken when it
comes again. Only a few may be: where many files are missing, the storage is at fault and not the index. What came
before this program, or the archive, was started is never looked at.

watch   Do that for ever.
health  Exit code 0 when `watch` works.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from dicom_file import NotDicomError, identify  # type: ignore[import-not-found] # beside this file in the container
from health import login, read  # type: ignore[import-not-found] # as well

HOST = "orthanc"  # the archive's name in the network of its compose project
EVERY = 5  # seconds
SETTLED = 15  # seconds after its start in which an archive is left alone
SLACK = 120  # seconds: longer than the archive takes from a file to its index
SLOW = 3  # seconds for an answer that tell of trouble: the archive tries again for ten before it gives up
SAME_REMOVAL = 15  # seconds: the archive tells when its slowest removal in ten was
SAME_START = 2  # seconds: the archive tells for how long it runs in whole seconds
MOST_CHANGES = 200_000  # more than come in an outage and the minutes around it
MOST_WITHOUT_FILE = 20  # more than the archive has connections to its database
NO_FILE = (13, 2006)  # OrthancStatus: inexistent file, regular file expected
TAKEN_OUT = "taken-out.txt"  # in `leftovers` of the storage
HEARTBEAT = Path("/tmp/alive")  # noqa: S108 (the container's own)


class Away(Exception):
    """The archive does not answer, or answers that it cannot."""


class Refused(Away):
    """The archive answers, and will not change its mind: this program is told wrong things."""


class WrongStorage(Refused):
    """The storage is not the one that the archive writes to, or not whole."""


class State(NamedTuple):
    """What an archive that reaches its index says of itself."""

    running: float  # seconds since its start
    removed: float  # when it last removed a file, seconds since 1970; 0 for never
    change: int  # number of its last change


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

    def state(self) -> State:
        changes = self.json("GET", "/changes?last")
        if not isinstance(changes, dict):
            raise Away("/changes answers no dictionary")
        status, content = self.ask("GET", "/tools/metrics-prometheus")
        if status >= 500:
            raise Away(f"/tools/metrics-prometheus answers {status}")
        metrics = {name: more for name, *more in (line.split() for line in content.decode().splitlines() if line)}
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

    def file_of(self, instance: str) -> str:
        """Name of the file that the index has for an instance; empty where there is none."""
        told = self.json("GET", f"/instances/{instance}/attachments/dicom/info")
        return str(told["Uuid"]) if isinstance(told, dict) else ""

    def misses_file(self, instance: str) -> bool:
        """Whether the archive itself says that an instance's file is not there."""
        _status, content = self.ask("POST", f"/instances/{instance}/attachments/dicom/verify-md5")
        try:
            told = json.loads(content)
        except ValueError:  # it does not describe its errors
            return False
        return isinstance(told, dict) and told.get("OrthancStatus") in NO_FILE

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


def is_there(storage: Path, name: str) -> bool:
    """Whether a file is in the storage, or was set aside. Raises OSError where that cannot be told."""
    for path in (place(storage, name), storage / "leftovers" / name):
        with contextlib.suppress(FileNotFoundError):
            path.stat()
            return True
    return False


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


class Memory:
    """What outlives this process: when the archive that was last seen had started, and when it was last seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""
        try:
            self.started, self.seen = map(float, path.read_text(encoding="ascii").split())
        except (FileNotFoundError, ValueError):
            self.started = self.seen = 0.0

    def keep(self, started: float, seen: float) -> None:
        self.started, self.seen = started, seen
        self.text = f"{started:.0f} {seen:.0f}\n"
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as stream:
            stream.write(self.text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.path)

    def is_in_place(self) -> bool:
        """Whether the storage is the one that this process wrote to, and no copy, nor what lies below a mount point."""
        try:
            return not self.text or self.path.read_text(encoding="ascii") == self.text
        except FileNotFoundError:
            return False


class Fault:
    """A time in which the archive was away, as this process saw it, and what came around it."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, int]] = []  # when which change was the last one, of the last SLACK seconds
        self.begun = 0.0  # when the archive was last seen before it; 0 for no fault
        self.since = 0  # the number of a change that is older than SLACK then: transactions may take long
        self.ended = 0.0  # when the archive was seen again
        self.files: dict[int, tuple[str, str]] = {}  # number of the change: instance, and name of its file
        self.taken = 0  # how many were taken out of the index

    def forget(self) -> None:
        """As if nothing had been seen of the archive."""
        self.begun, self.taken = 0.0, 0
        self.changes.clear()
        self.files.clear()

    def begin(self) -> None:
        """The archive is away."""
        if self.changes and not self.begun:
            self.begun, self.since = self.changes[-1][0], self.changes[0][1]
        elif self.changes and self.ended:  # again: what is older than SLACK by now was looked at long enough
            self.since = max(self.since, self.changes[0][1])
            self.files = {number: file for number, file in self.files.items() if number > self.since}
        self.ended = 0.0

    def goes_on(self, now: float, change: int) -> bool:
        """Whether a fault is to be looked into, now that the archive answers. change: number of its last one."""
        # The last change goes with what was deleted, but not so many that those of two minutes ago would be the last.
        if self.changes and (change < (self.since if self.begun else self.changes[0][1]) or now < self.changes[-1][0]):
            self.forget()  # another index, or the clock was set back
        self.changes.append((now, change))
        while len(self.changes) > 1 and self.changes[1][0] <= now - SLACK:
            del self.changes[0]
        self.ended = self.ended or now
        if self.begun and change - self.since > MOST_CHANGES:
            self.forget()
        if self.begun and now - self.ended > SLACK:
            self.begun, self.taken = 0.0, 0
            self.files.clear()
        return self.begun > 0


def settings_allow(settings: dict) -> bool:
    """Whether an entry without a file can be what a lost answer left: the index in PostgreSQL, and written by this
    archive alone, the images in files, none replaced by another one of the same name."""
    try:
        database = read("database.json")["PostgreSQL"]
    except FileNotFoundError:
        return False
    elsewhere = any("Storage" in Path(plugin).name for plugin in settings["Plugins"])
    return database.get("Lock", True) is True and not elsewhere and settings.get("OverwriteInstances", False) is False


def forget_images_without_file(archive: Archive, storage: Path, fault: Fault) -> None:
    """Take out of the index what came around a fault and has no file."""
    for number, instance in archive.new_instances(fault.since):
        if number not in fault.files:
            HEARTBEAT.touch()
            fault.files[number] = instance, archive.file_of(instance)
    # All of them at every look: a thread of the archive may give up, and remove its file, a minute after another one.
    missing = {
        number: (instance, name)
        for number, (instance, name) in fault.files.items()
        if name and not is_there(storage, name)
    }
    if missing:
        time.sleep(1)
    out = {}
    for number, (instance, name) in missing.items():
        HEARTBEAT.touch()
        if (now := archive.file_of(instance)) != name:
            fault.files[number] = instance, now  # deleted, or another one
        elif not is_there(storage, name) and archive.misses_file(instance):
            out[number] = instance, name
    if fault.taken + len(out) > MOST_WITHOUT_FILE:
        fault.forget()
        raise WrongStorage(
            f"{len(out)} images that just came have no file in {storage}. Is it the right one, and whole?"
        )
    for number, (instance, name) in out.items():
        called = archive.uids_of(instance)
        if archive.file_of(instance) == name:
            print(f"takes {called} out of the index: its file is not there. Send it again", flush=True)
            archive.json("DELETE", f"/instances/{instance}")
            (storage / "leftovers").mkdir(mode=0o750, exist_ok=True)
            with (storage / "leftovers" / TAKEN_OUT).open("a", encoding="utf-8") as stream:
                stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} {called}\n")
            fault.taken += 1
        fault.files[number] = instance, ""


def look(
    archive: Archive,
    storage: Path,
    memory: Memory,
    fault: Fault,
    allowed: Callable[[], bool],
    clock: Callable[[], float] = time.time,
) -> None:
    """One look at the archive, and the work when it has started anew or was away.

    allowed: asked before anything is taken out of the index.
    """
    asked = clock()
    state = archive.state()
    now = clock()
    if now - asked > SLOW:
        fault.begin()
    # It may have told its time at the begin of a long wait for its index.
    same = asked - SAME_START <= memory.started + state.running <= now + SAME_START
    started = memory.started if same else now - state.running
    if not same and memory.seen:
        if state.running < SETTLED:
            return
        tidy(archive, storage, memory.seen - SLACK, started)
        fault.forget()
    if not memory.is_in_place():
        fault.forget()
        memory.text = ""
        raise WrongStorage(f"{storage} is another one than {EVERY} seconds ago")
    try:
        if fault.goes_on(now, state.change) and state.removed > fault.begun - SAME_REMOVAL and allowed():
            forget_images_without_file(archive, storage, fault)
    finally:
        memory.keep(started, now)


def watch() -> None:
    settings = read("orthanc.json")
    archive = Archive(HOST, settings["HttpPort"])
    storage = Path(settings["StorageDirectory"])
    memory, fault = Memory(storage / ".seen"), Fault()
    told = ""
    while True:
        problem = ""
        try:
            look(archive, storage, memory, fault, lambda: settings_allow(read("orthanc.json")))
            HEARTBEAT.touch()
        except WrongStorage as error:
            problem = f"takes nothing out of the index: {error}"
        except Refused as error:
            problem = f"cannot ask the archive: {error}"
        except Away:
            fault.begin()
            HEARTBEAT.touch()  # it starts, or its database is away: the next look tells
        except OSError as error:
            problem = f"cannot work on {storage}: {error}"
        except (LookupError, TypeError, ValueError) as error:
            problem = f"does not understand the archive: {type(error).__name__} {error}"
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
