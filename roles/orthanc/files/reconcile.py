# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare Orthanc's index with its storage directory after a fault. Runs in a container beside Orthanc's.

Orthanc writes a file before it lists it in the index, and removes an entry of the index before its file.

Orphaned files: Orthanc was killed, and a file stays that the index does not list. All that was written before Orthanc
was last seen alive is in order. After a start the files are compared that were written from two minutes before that
until the start. One is orphaned when Orthanc answers that it does not keep the image with that SOP Instance UID in it.

Index entries without a file: the answer to PostgreSQL's COMMIT was lost. Orthanc refused the image and removed its
file, but the entry stays, and the image is called AlreadyStored when it is sent again. After an outage of the database
the entries are compared that were added from two minutes before it until two minutes after it, but not those from
before the start of this program or of Orthanc. One counts when its file is missing and Orthanc cannot read it either.

report   List both. Changes neither storage nor index.
act      Move orphaned files to `orphaned` in the storage directory, and back those that the index lists after all.
         Remove index entries without a file, so that the image is stored when it is sent again. Never removes a file.
--watch  Repeat this every few seconds and log what is found or done.
health   Exit with 0 while `--watch` works.
"""

from __future__ import annotations

import dataclasses
import fcntl
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dicom_file import NotDicomError, identify  # type: ignore[import-not-found] # beside this file in the container
from health import login, read  # type: ignore[import-not-found] # as well

HOST = "orthanc"  # Orthanc's name in the network of its compose project
INTERVAL = 5  # seconds between two comparisons
SETTLED = 15  # seconds after its start before Orthanc is compared
SLACK = 120  # seconds: longer than Orthanc takes from a file to its index entry
SLOW = 3  # seconds for a response that indicate an outage: Orthanc retries for ten before it reports one
SAME_START = 2  # seconds: Orthanc reports its uptime in whole seconds
MAX_CHANGES = 200_000  # more than are added in an outage and the minutes around it
MAX_WITHOUT_FILE = 20  # more than Orthanc has connections to its database: beyond, the storage is at fault
MISSING_FILE = (13, 2006)  # OrthancStatus: inexistent file, regular file expected
RETRY = 75  # exit code: temporary failure
ASIDE = "orphaned"  # in the storage directory, as is the next
STATE = ".reconcile.json"
REMOVED = "removed-from-index.txt"  # in ASIDE
METRICS = Path("/srv/metrics/orthanc_reconcile.prom")
HEARTBEAT, LOCK = Path("/tmp/alive"), Path("/tmp/lock")  # noqa: S108 (the container's own)
SUMMARY = "{} orphaned files ({} bytes), {} index entries without a file"


class ReconcileError(Exception):
    """Index and storage cannot be compared, and retrying does not help. The text says why."""


class UnavailableError(ReconcileError):
    """Orthanc does not answer, or not yet."""


class Orthanc:
    """The calls of Orthanc's REST API that the comparison needs."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.headers = host, port, login()

    def send(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"Orthanc does not answer: {error}") from error
        finally:
            connection.close()

    def call(self, method: str, path: str, body: object = None, missing: Any = None) -> bytes:
        """The content of the response; `missing`, where that is given, when there is no such resource."""
        status, content = self.send(method, path, body)
        if status == 404 and missing is not None:
            return missing
        if status != 200:
            raise (UnavailableError if status >= 500 else ReconcileError)(f"Orthanc answers {status} to {path}")
        return content

    def get(self, path: str) -> dict:
        """The response, parsed; {} when there is no such resource."""
        return json.loads(self.call("GET", path, missing=b"{}"))

    def status(self) -> tuple[float, int]:
        """Seconds since its start and number of its last change, of an Orthanc that reaches its index."""
        last = self.get("/changes?last")["Last"]
        metrics = self.call("GET", "/tools/metrics-prometheus")
        return float(metrics.split(b"orthanc_up_time_s ")[1].split()[0]), last

    def new_instances(self, since: int) -> Iterator[tuple[int, str]]:
        """Number of the change and identifier of the instances that were added after a change."""
        done = False
        while not done:
            page = self.get(f"/changes?since={since}&limit=1000")
            for change in page["Changes"]:
                if change["ChangeType"] == "NewInstance":
                    yield change["Seq"], change["ID"]
            done, since = page["Done"], page["Last"]

    def describe(self, instance: str) -> str:
        """An instance by the UIDs that its sender has."""
        words = [f"instance {instance}"]
        for level, tag in (("", "SOPInstanceUID"), ("/study", "StudyInstanceUID")):
            tags = self.get(f"/instances/{instance}{level}").get("MainDicomTags", {})
            words.append(f"{tag} {tags.get(tag, 'unknown')}")
        return ", ".join(words)

    def file_of(self, instance: str, attachment: str = "dicom") -> str:
        """Name of the file that the index lists for an instance; empty for none."""
        return self.get(f"/instances/{instance}/attachments/{attachment}/info").get("Uuid", "")

    def files_of(self, instance: str) -> set[str]:
        return {self.file_of(instance, name) for name in self.get(f"/instances/{instance}/attachments")}

    def find(self, sop_instance_uid: str) -> dict[str, str]:
        """Names of the files in which Orthanc keeps an image, each with the identifier of the instance."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}, "CaseSensitive": True}
        found = json.loads(self.call("POST", "/tools/find", query))
        if not isinstance(found, list):
            raise TypeError("/tools/find returns no list")
        return {name: instance for instance in found for name in self.files_of(instance)}

    def misses_file(self, instance: str) -> bool:
        """Whether Orthanc itself reports that the file of an instance does not exist."""
        _status, content = self.send("POST", f"/instances/{instance}/attachments/dicom/verify-md5")
        try:
            return json.loads(content)["OrthancStatus"] in MISSING_FILE
        except (ValueError, TypeError, KeyError):
            return False


def replace_file(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


@dataclasses.dataclass
class State:
    """What outlives this process. Kept in the storage directory that it is about."""

    started: float = 0.0  # when the Orthanc that was last seen had started
    seen: float = 0.0  # when it was last seen
    since: float = 0.0  # when Orthanc was last seen before the fault that left the first of the following; 0 for none
    orphaned: list[str] = dataclasses.field(default_factory=list)  # names of files
    without_file: dict[str, str] = dataclasses.field(default_factory=dict)  # instances, each with its file's name

    @classmethod
    def load(cls, storage: Path) -> State:
        try:
            return cls(**json.loads((storage / STATE).read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def save(self, storage: Path) -> int:
        """Write it, and metrics for node_exporter's textfile collector and the role verify. The size of the files."""
        if not self.orphaned and not self.without_file:
            self.since = 0.0
        size = sum(place(storage, name).stat().st_size for name in self.orphaned)
        replace_file(storage / STATE, json.dumps(dataclasses.asdict(self)))
        metrics = (
            f"lightbox_orphaned_files {len(self.orphaned)}\n"
            f"lightbox_orphaned_bytes {size}\n"
            f"lightbox_instances_without_file {len(self.without_file)}\n"
            f"lightbox_orphaned_since_seconds {self.since:.0f}\n"
        )
        if not METRICS.exists() or METRICS.read_text(encoding="ascii") != metrics:
            replace_file(METRICS, metrics)
        return size


class Outage:
    """A time in which Orthanc did not reach its database, as this process saw it, and what was added around it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.saved = 0.0  # when Orthanc was last seen, as this process saved it
        self.history: list[tuple[float, int]] = []  # when which change was the last one, of the last SLACK seconds
        self.end()

    def end(self) -> None:
        self.begun = 0.0  # when Orthanc was last seen before it; 0 for no outage
        self.since = 0  # number of a change that was older than SLACK then: transactions may take long
        self.over = 0.0  # when Orthanc was seen again
        self.files: dict[int, tuple[str, str]] = {}  # number of the change: instance, and name of its file
        self.removed = 0  # entries that were removed from the index

    def begin(self) -> None:
        if self.history and not self.begun:
            self.begun, self.since = self.history[-1][0], self.history[0][1]
        self.over = 0.0

    def is_recent(self, now: float, change: int) -> bool:
        """Whether to compare what was added around an outage, now that `change` is the last one of the index."""
        # The last change goes with what was deleted, but not so many that those of two minutes ago would be the last.
        if self.history and (change < (self.since or self.history[0][1]) or now < self.history[-1][0]):
            self.forget()  # another index, or the clock was set back
        self.history.append((now, change))
        while len(self.history) > 1 and self.history[1][0] <= now - SLACK:
            del self.history[0]
        self.over = self.over or now
        if now - self.over > SLACK or change - self.since > MAX_CHANGES:
            self.end()
        return self.begun > 0


def place(storage: Path, name: str) -> Path:
    return storage / name[:2] / name[2:4] / name


def is_there(path: Path) -> bool:
    """Whether a file exists. Raises OSError where that cannot be determined, other than Path.exists."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def written_between(storage: Path, since: float, until: float) -> Iterator[Path]:
    """Orthanc's files by their modification time."""
    for directory in storage.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]"):
        # Its own time is that of its last new file: most of the 65,536 need not be read.
        if directory.stat().st_mtime >= since:
            for file in directory.iterdir():
                if since <= file.stat().st_mtime < until:
                    yield file


def find_instance(orthanc: Orthanc, file: Path) -> str | None:
    """Identifier of the instance for which the index lists a file; empty for none.

    None when the file is gone, or is not of an instance (a summary of a series, say), or too short to say of which.
    """
    HEARTBEAT.touch()
    try:
        with file.open("rb") as stream:
            uid = identify(stream).instance
    except (NotDicomError, FileNotFoundError):
        return None
    return orthanc.find(uid).get(file.name, "")


def is_orphaned(orthanc: Orthanc, file: Path) -> bool:
    return find_instance(orthanc, file) == "" and is_there(file)


def find_orphaned(orthanc: Orthanc, storage: Path, since: float, until: float) -> list[str]:
    """Names of the orphaned files that were written between two times."""
    found = [file for file in written_between(storage, since, until) if is_orphaned(orthanc, file)]
    if found:
        # Where the clock of a file server is late a file may be newer than it looks: by now its upload has ended.
        time.sleep(SETTLED)
    return [file.name for file in found if is_orphaned(orthanc, file)]


def has_own_files() -> bool:
    """Whether an entry without a file can be what a lost answer left: the index is in PostgreSQL and written by this
    Orthanc alone, the images are in files, and none is replaced by another one of the same UID."""
    try:
        database = read("database.json")["PostgreSQL"]
    except FileNotFoundError:
        return False
    settings = read("orthanc.json")
    elsewhere = any("Storage" in Path(plugin).name for plugin in settings["Plugins"])
    return database.get("Lock", True) is True and not elsewhere and settings.get("OverwriteInstances", False) is False


def find_without_file(orthanc: Orthanc, storage: Path, outage: Outage) -> dict[str, str]:
    """Instances that were added around an outage and have no file, each with its file's name."""
    found: dict[str, str] = {}
    for number, instance in orthanc.new_instances(outage.since):
        HEARTBEAT.touch()
        if number not in outage.files:
            outage.files[number] = instance, orthanc.file_of(instance)
        name = outage.files[number][1]
        # At every comparison: a thread of Orthanc may give up, and remove its file, a minute after another one.
        if name and not is_there(place(storage, name)):
            # Queried after the file was missed: when Orthanc deletes an image it removes the entry first.
            outage.files[number] = instance, orthanc.file_of(instance)
            if outage.files[number][1] == name and orthanc.misses_file(instance):
                found[instance] = name
                if len(found) > MAX_WITHOUT_FILE:
                    break
    return found


def compare(
    orthanc: Orthanc, storage: Path, state: State, outage: Outage, clock: Callable[[], float] = time.time
) -> None:
    """Add to the state what a fault left since the last comparison, and drop from it what is no longer so."""
    if state.seen < outage.saved:
        outage.forget()
        raise ReconcileError(f"The storage directory is not the one of {INTERVAL} seconds ago. Nothing is compared")
    asked = clock()
    running, change = orthanc.status()
    now = clock()
    if now - asked > SLOW:
        outage.begin()
    # It may have determined its uptime at the begin of a long wait for its index.
    is_same = asked - SAME_START <= state.started + running <= now + SAME_START
    started = state.started if is_same else now - running
    if not is_same and state.seen:
        if running < SETTLED:
            raise UnavailableError(f"Orthanc started less than {SETTLED} seconds ago")
        outage.forget()
        # `started` may be too early by what Orthanc rounds, and a killed one is back within a second.
        state.orphaned += find_orphaned(orthanc, storage, state.seen - SLACK, started + SAME_START)
        for file in (storage / ASIDE).glob("*"):  # moved there while another index was in use
            if instance := find_instance(orthanc, file):
                state.without_file[instance] = file.name
        state.since = state.since or state.seen
    if outage.is_recent(now, change) and has_own_files():
        state.without_file |= find_without_file(orthanc, storage, outage)
        state.since = state.since or outage.begun
    state.orphaned = [name for name in dict.fromkeys(state.orphaned) if is_there(place(storage, name))]
    for instance, name in list(state.without_file.items()):
        if is_there(place(storage, name)) or name not in orthanc.files_of(instance):
            del state.without_file[instance]
    state.started, state.seen = started, now


def reconcile(orthanc: Orthanc, storage: Path, state: State, outage: Outage, act: bool) -> Iterator[str]:
    """Yield a line for each step. `act`: take it."""
    aside = storage / ASIDE
    if act and (state.orphaned or state.without_file):
        aside.mkdir(mode=0o750, exist_ok=True)
    for name in state.orphaned.copy():
        file = place(storage, name)
        if is_orphaned(orthanc, file):
            size = file.stat().st_size
            yield f"Move {file.relative_to(storage)} ({size} bytes) to {ASIDE}: the index does not list it"
            if act:
                file.rename(aside / name)
        if act:
            state.orphaned.remove(name)
    missing = [instance for instance, name in state.without_file.items() if not is_there(aside / name)]
    if act and outage.removed + len(missing) > MAX_WITHOUT_FILE:
        raise ReconcileError(
            f"More than {MAX_WITHOUT_FILE} images that were just stored have no file. No index entry is removed. Check "
            "that the storage directory is the right one, and whole"
        )
    for instance, name in list(state.without_file.items()):
        if instance not in missing:
            file = place(storage, name)
            yield f"Move {ASIDE}/{name} to {file.relative_to(storage)}: the index lists it"
            if act:
                file.parent.mkdir(parents=True, exist_ok=True)
                (aside / name).rename(file)
        elif orthanc.misses_file(instance):
            description = orthanc.describe(instance)
            if orthanc.file_of(instance) == name:
                yield f"Remove {description} from the index: its file does not exist. Send it again"
                if act:
                    orthanc.call("DELETE", f"/instances/{instance}", missing=b"")
                    outage.removed += 1
                    with (aside / REMOVED).open("a", encoding="utf-8") as stream:
                        stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} {description}\n")
        if act:
            del state.without_file[instance]


def run(orthanc: Orthanc, storage: Path, outage: Outage, act: bool, watch: bool) -> str:
    """Compare once, and list or take the steps. Returns a summary."""
    count = 0
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a playbook's run and the one that watches share the state
        state = State.load(storage)
        compare(orthanc, storage, state, outage)
        for line in reconcile(orthanc, storage, state, outage, act) if act or not watch else ():
            count += 1
            print(line, flush=True)
        size = state.save(storage)
        outage.saved = state.seen
    if watch:
        advice = ". Run playbooks/reconcile.yml" if state.since else ""
        return SUMMARY.format(len(state.orphaned), size, len(state.without_file)) + advice
    return f"Steps {'taken' if act else 'to take'}: {count}"


def main() -> int:
    mode, watch = sys.argv[1:2], sys.argv[2:] == ["--watch"]
    if mode == ["health"]:
        works = HEARTBEAT.exists() and time.time() - HEARTBEAT.stat().st_mtime < 600
        return 0 if works and METRICS.exists() else 1
    if mode not in (["report"], ["act"]) or len(sys.argv) != 2 + watch:
        print("usage: reconcile.py report|act [--watch], or reconcile.py health")
        return 2
    settings = read("orthanc.json")
    orthanc, storage, outage = Orthanc(HOST, settings["HttpPort"]), Path(settings["StorageDirectory"]), Outage()
    last = SUMMARY.format(0, 0, 0)
    while True:
        code = 1
        try:
            text = run(orthanc, storage, outage, mode == ["act"], watch)
            code = 0
        except UnavailableError as error:
            outage.begin()
            text, code = last if watch else str(error), RETRY
        except ReconcileError as error:
            text = str(error)
        except (OSError, LookupError, TypeError, ValueError) as error:  # a storage or an Orthanc that answers strangely
            text = f"Cannot compare index and storage: {type(error).__name__} {error}"
        if code != 1:
            HEARTBEAT.touch()
        if text != last or not watch:
            print(text, flush=True)
        if not watch:
            return code
        last = text
        time.sleep(INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
