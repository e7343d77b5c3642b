# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Bring a file, a folder or a zip into an archive, leaving out what is there.

One thread looks for files, reads their headers and asks the archive, study by study, what it has; others compare and
send, each over a connection of its own. Nothing is held but a bounded list of what comes next, so the memory does not
grow with the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import stat
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_file import (
    DirectoryError,
    Identifiers,
    NotDicomError,
    identify,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Connection,
    Orthanc,
    OrthancError,
    SourceError,
    route,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._upload_replace import (
    UNHEARD,
    LabelsError,
    NotPutBack,
    replace,
)

MEGABYTE = 1_000_000
IN_MEMORY = MEGABYTE  # a file up to this size is read at once, larger ones in blocks
PAGE = 5000  # instances of one listing: 1.2 MB of JSON
BATCH = 64  # files that wait for a listing
STUDIES = 32  # studies of one listing; the archive's time grows with the square
REMEMBERED = 100_000  # instances that are remembered from listings: about 35 MB
LISTED = 100  # names of files in a result
RETRIES = (0.5, 2, 5)  # seconds before another attempt where the archive is out of reach for a moment


@dataclass
class Source:
    """One instance: in a file, or in a member of a zip."""

    name: str
    size: int
    weight: int  # bytes on the disk
    open: Callable[[], IO[bytes]]
    who: Identifiers
    there: tuple[int, str] | None = None  # size and MD5 of what the archive has; the MD5 is empty where it is not told
    listed: bool = False  # whether the archive was asked for this instance
    twin: bool = False  # whether another file of this upload is the same instance

    def content(self) -> bytes | None:
        """All of it where it is small."""
        if self.size > IN_MEMORY:
            return None
        content = b"".join(self._blocks(self.size))
        if len(content) != self.size:
            raise SourceError("changed its size meanwhile; is it still being written?")
        return content

    def md5(self, content: bytes | None) -> str:
        digest = hashlib.md5(content or b"", usedforsecurity=False)
        if content is None:
            for block in self._blocks(MEGABYTE):
                digest.update(block)
        return digest.hexdigest()

    def _blocks(self, size: int) -> Iterator[bytes]:
        try:
            with self.open() as stream:
                while block := stream.read(size):
                    yield block
        except SourceError:
            raise
        except Exception as error:  # a damaged zip shows itself in many ways
            raise SourceError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


@dataclass
class Names:
    """How many there are, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(readable(text))


@dataclass
class Tally:
    """What happened so far."""

    found: int = 0
    sent: int = 0
    replaced: int = 0
    present: int = 0
    bytes_sent: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    junk: Names = field(default_factory=Names)
    different: Names = field(default_factory=Names)
    failed: Names = field(default_factory=Names)
    kept: list[str] = field(default_factory=list)  # what is in a folder and not in the archive; all of it is told
    studies: dict[str, list[int]] = field(default_factory=dict)  # UID: of the files that are there before, after


@dataclass(frozen=True)
class Options:
    """compare: hash, size or uid; different: keep, replace or fail."""

    compare: str
    different: str
    threads: int
    recursive: bool
    check_mode: bool


class Upload:
    """One upload. `run` it, then read `tally`; `stopped_by` is what ended it early."""

    def __init__(self, archive: Orthanc, options: Options, progress: Progress) -> None:
        self.archive = archive
        self.options = options
        self.progress = progress
        self.tally = Tally()
        self.study_ids: set[str] = set()
        self.stopped_by: OrthancError | None = None
        self.requests = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._queue: queue.Queue[Source | None] = queue.Queue(maxsize=4 * options.threads)
        self._known: dict[str, tuple[int, str]] = {}
        self._listed: set[str] = set()
        self._planned: set[str] = set()
        # Whether the archive may cut its listings short (LimitFindInstances) and must be asked until nothing comes;
        # None before it has listed anything.
        self._cut_short: bool | None = None

    def run(self, src: str) -> None:
        self.tally.bytes_total = self.progress.total(src, self.options.recursive)
        threads = [threading.Thread(target=self._work, daemon=True) for _number in range(self.options.threads)]
        for thread in threads:
            thread.start()
        try:
            for source in self._planned_sources(src):
                if not self._put(source):
                    break
        except OrthancError as error:
            self._stop(error)
        except Exception as error:  # what is being replaced must come to its end
            self._stop(OrthancError(f"Looking for files failed unexpectedly: {type(error).__name__}: {error}."))
        for _thread in threads:
            self._put(None)
        for thread in threads:
            thread.join()
        self.requests += self.archive.requests
        self.progress.write(self.tally, "failed" if self.stopped_by or self.tally.failed.count else "done")

    def _put(self, source: Source | None) -> bool:
        """Hand over work; False where it ended early."""
        while not self._stopped.is_set():
            try:
                self._queue.put(source, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def _stop(self, error: OrthancError) -> None:
        with self._lock:
            self.stopped_by = self.stopped_by or error
        self._stopped.set()

    # Looking for files

    def _planned_sources(self, src: str) -> Iterator[Source]:
        """The instances in `src`, each with what the archive has of it; those of studies listed before do not wait."""
        batch: list[Source] = []
        for source in self._sources(src):
            if source.who.study in self._listed:
                yield self._resolved(source)
                continue
            batch.append(source)
            if len(batch) == BATCH:
                yield from self._listed_and_resolved(batch)
                batch = []
        yield from self._listed_and_resolved(batch)

    def _sources(self, src: str) -> Iterator[Source]:
        if not os.path.isdir(src):
            yield from self._file(src)
            return
        for directory, directories, files in os.walk(src, onerror=self._unreadable):
            if not self.options.recursive:
                directories.clear()
            directories.sort()
            for name in sorted(files):
                yield from self._file(os.path.join(directory, name))

    def _unreadable(self, error: OSError) -> None:
        self.tally.failed.add(f"{error.filename} cannot be read ({error.strerror})")

    def _file(self, path: str) -> Iterator[Source]:
        try:
            known = os.stat(path)
            if not stat.S_ISREG(known.st_mode):
                raise NotDicomError("is no regular file")
            with open(path, "rb") as stream:
                is_zip = stream.read(4) in (b"PK\3\4", b"PK\5\6")
                stream.seek(0)
                who = None if is_zip and stream.read(132)[128:] != b"DICM" else self._identify(stream)
            if who is None:
                yield from self._members(path)
                return
        except zipfile.BadZipFile:
            self._refuse(path, NotDicomError("is a damaged zip, or none"), known.st_size)
            return
        except (NotDicomError, OSError) as error:
            self._refuse(path, error, 0)
            return
        yield Source(readable(path), known.st_size, known.st_size, _reader(path, known.st_size), who)

    @staticmethod
    def _identify(stream: IO[bytes]) -> Identifiers:
        stream.seek(0)
        return identify(stream)

    def _members(self, path: str) -> Iterator[Source]:
        """The instances in a zip. It is closed when the last of them is forgotten."""
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            if info.is_dir():
                continue
            name = readable(f"{path}:{info.filename}")
            try:
                if info.flag_bits & 1:
                    raise NotDicomError("is encrypted")
                with archive.open(info) as stream:
                    who = identify(stream)
            # A damaged member shows itself in many ways, zlib.error and NotImplementedError among them.
            except Exception as error:
                self._refuse(name, error, info.compress_size)
                continue
            yield Source(name, info.file_size, info.compress_size, _opener(archive, info), who)

    def _refuse(self, name: str, error: Exception, weight: int) -> None:
        with self._lock:
            self.tally.bytes_done += weight
            if isinstance(error, DirectoryError):
                return
            if isinstance(error, NotDicomError):
                self.tally.junk.add(f"{name} {error}")
            else:
                self.tally.failed.add(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})")

    # Asking the archive

    def _listed_and_resolved(self, batch: list[Source]) -> Iterator[Source]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
            self._listed.clear()
        new = sorted({source.who.study for source in batch} - self._listed)
        for start in range(0, len(new), STUDIES):
            self._list(new[start : start + STUDIES])
        self._listed.update(new)
        return map(self._resolved, batch)

    def _overwrites(self, page: list[dict[str, Any]]) -> bool:
        """Whether the archive may overwrite what a listing left out, and never say that it was there.

        It says so from 1.11.0 on. One that lists neither attachments nor labels (1.12.0) is not asked.
        """
        if not any("Attachments" in instance or "Labels" in instance for instance in page):
            return True
        try:
            return self.archive.system.get("OverwriteInstances") not in (False, "Never")
        except OrthancError:  # not for this account, or a fault that the listing tells
            return True

    def _resolved(self, source: Source) -> Source:
        """The source, with what the archive has of it."""
        key = source.who.instance_id
        source.listed = key is not None
        source.there = self._known.get(key) if key else None
        if key and source.there is None:
            source.twin = key in self._planned
            if len(self._planned) > REMEMBERED:
                self._planned.clear()
            self._planned.add(key)
        self._note(source)
        return source

    def _list(self, studies: list[str]) -> None:
        """Remember every instance of the studies, with its size, and its MD5 where the archive tells it (1.12.5)."""
        since = 0
        while True:
            search = {
                "Level": "Instance",
                "Query": {"StudyInstanceUID": "\\".join(studies)},
                "Expand": True,
                "ResponseContent": ["Attachments"],
                "Since": since,
                "Limit": PAGE,
            }
            page = self._patiently(partial(self.archive.post, "/tools/find", search), first=not self._listed)
            if not isinstance(page, list):
                raise OrthancError(f"POST {self.archive.url}/tools/find does not answer as Orthanc does. Is url right?")
            for instance in page:
                self._known[instance["ID"]] = _size_and_md5(instance)
            since += len(page)
            if not page:
                return
            if self._cut_short is None:
                overwrites = self._overwrites(page)
                self._cut_short = self._cut_short or overwrites  # an upload may have found out meanwhile
            if len(page) < PAGE and not self._cut_short:
                return

    def _note(self, source: Source) -> None:
        with self._lock:
            self.tally.found += 1
            counts = self.tally.studies.setdefault(source.who.study, [0, 0])
            if source.there is not None:
                counts[0] += 1
            if not source.twin:
                counts[1] += 1
            if source.who.study_id:
                self.study_ids.add(source.who.study_id)

    # Comparing and sending

    def _work(self) -> None:
        connection = self.archive.connection()
        while not self._stopped.is_set():
            try:
                source = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if source is None:
                break
            try:
                self._bring(source, connection)
            except SourceError as error:
                with self._lock:
                    self.tally.failed.add(f"{source.name} {error}")
            except NotPutBack as error:
                text = f"{source.name}: {error}"
                with self._lock:
                    self.tally.kept.append(text)
                self._stop(OrthancError(text))
            except OrthancError as error:
                self._failed(source, error)
            except Exception as error:
                self._stop(OrthancError(f"{source.name} failed unexpectedly: {type(error).__name__}: {error}"))
            with self._lock:
                self.tally.bytes_done += source.weight
                self.progress.tick(self.tally)
        connection.close()
        with self._lock:
            self.requests += connection.requests

    def _bring(self, source: Source, connection: Connection) -> None:
        content: bytes | None = None
        replaces = False
        if source.there is not None:
            if self.options.compare == "hash":
                content = source.content()
            if self._same(source, content, source.there, source.who.instance_id or "", connection):
                self._count(present=1)
                return
            if not self._differs(source):
                return
            replaces = True
        if self.options.check_mode:
            self._count(present=int(source.twin), sent=int(not source.twin and not replaces), replaced=int(replaces))
            return
        if content is None:
            content = source.content()
        if replaces:
            self._replace(source, content, source.who.instance_id or "", connection)
            return
        answer = self._send(source, content, connection)
        status = answer.get("Status")
        if status == "Success":
            self._count(sent=1, bytes_sent=source.size)
        elif status == "AlreadyStored":
            # Not listed, and there: a second file of this instance, somebody was quicker, or the listing was cut short.
            if source.listed and not source.twin:
                self._cut_short = True
            instance = str(answer["ID"])
            if self._same(source, content, None, instance, connection):
                self._count(present=1)
            elif self._differs(source):
                self._replace(source, content, instance, connection)
        else:
            with self._lock:
                self.tally.failed.add(f"{source.name} was not stored: the archive says {status}")

    def _same(
        self,
        source: Source,
        content: bytes | None,
        there: tuple[int, str] | None,
        instance: str,
        connection: Connection,
    ) -> bool:
        """Whether the archive has the same file, as far as the user wants to know it.

        there: size and MD5 as listed; None where the instance was not listed, and the archive is asked for one of them.
        """
        if self.options.compare == "uid":
            return True
        if there is not None and there[0] != source.size:
            return False
        if self.options.compare == "size":
            return there is not None or self._told("size", instance, connection) == str(source.size)
        md5 = there[1] if there is not None else ""
        return (md5 or self._told("md5", instance, connection)) == source.md5(content)

    @staticmethod
    def _told(what: str, instance: str, connection: Connection) -> str:
        """The size or the MD5 of what the archive has."""
        answer = connection.send("GET", route("instances", instance, "attachments", "dicom", what))
        return answer.decode("ascii", "replace").strip()

    def _differs(self, source: Source) -> bool:
        """Note that the archive has another file of this instance; True where it is to be replaced."""
        with self._lock:
            self.tally.different.add(source.name)
        return self.options.different == "replace"

    def _replace(self, source: Source, content: bytes | None, instance: str, connection: Connection) -> None:
        def send() -> str:
            return str(self._send(source, content, connection)["Status"])

        def send_back(opened: Callable[[], IO[bytes]], size: int) -> str:
            post = partial(connection.send, "POST", "/instances", opened, size)
            return str(self._parsed(self._patiently(post, always=True))["Status"])

        wrong = ""
        try:
            with self._replacing:
                said = replace(connection, instance, send, send_back, partial(source.md5, content))
            if said != "Success":
                wrong = f"was not stored: {said}"
        except LabelsError as error:
            wrong, said = str(error), "Success"
            with self._lock:
                self.tally.kept.append(f"{source.name} {wrong}.")
        if said == "Success":
            self._count(replaced=1, bytes_sent=source.size)
        if wrong:
            with self._lock:
                self.tally.failed.add(f"{source.name} {wrong}")

    def _send(self, source: Source, content: bytes | None, connection: Connection) -> dict[str, Any]:
        body = source.open if content is None else content
        return self._parsed(self._patiently(lambda: connection.send("POST", "/instances", body, source.size)))

    def _parsed(self, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or "Status" not in parsed:
            raise OrthancError(f"POST {self.archive.url}/instances does not answer as Orthanc does. Is url right?")
        return parsed

    def _patiently(self, act: Callable[[], Any], first: bool = False, always: bool = False) -> Any:
        """Try again where the archive or its database is out of reach for a moment; not at once after the start.

        always: also where the upload is about to end, because of another file.
        """
        for pause in () if first else RETRIES:
            try:
                return act()
            except SourceError:
                raise
            except OrthancError as error:
                if error.status not in UNHEARD:
                    raise
                if always:
                    time.sleep(pause)
                elif self._stopped.wait(pause):
                    raise
        return act()

    def _failed(self, source: Source, error: OrthancError) -> None:
        """One file that the archive does not take is noted; what concerns all of them ends the upload."""
        if error.status in (400, 415, 422):
            with self._lock:
                self.tally.junk.add(f"{source.name} is refused by the archive ({error.details or error.status})")
        elif error.status == 413:
            with self._lock:
                self.tally.failed.add(
                    f"{source.name} ({source.size / MEGABYTE:.0f} MB) is too large for what stands in front of the "
                    "archive, or for its MaximumRequestBodySizeMB"
                )
        elif error.status == 507:
            self._stop(
                OrthancError(
                    f"The archive at {self.archive.url} is full (507): it has no room for {source.name}. Give it more "
                    "(MaximumStorageSize, MaximumPatientCount, its disk) and run this again; it goes on where it was.",
                    507,
                )
            )
        elif error.status in (500, 409):
            with self._lock:
                self.tally.failed.add(f"{source.name} was not stored ({error.details or error.status})")
        else:
            self._stop(error)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                setattr(self.tally, name, getattr(self.tally, name) + number)


class Progress:
    """Where others can read how far the upload is, as JSON, once a second; and the journal, once a minute."""

    def __init__(self, path: str | None, log: Callable[[str], None]) -> None:
        self.path = path
        self.log = log
        self.start = time.monotonic()
        self._written = 0.0
        self._logged = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def total(self, src: str, recursive: bool) -> int:
        """Bytes on the disk; only looked for where somebody wants to read it."""
        if not self.path:
            return 0
        if not os.path.isdir(src):
            return os.path.getsize(src)
        size = 0
        for directory, directories, files in os.walk(src):
            if not recursive:
                directories.clear()
            for name in files:
                try:
                    size += os.stat(os.path.join(directory, name)).st_size
                except OSError:
                    continue
        return size

    def tick(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._written >= 1:
            self._written = now
            self.write(tally, "running")
        if now - self._logged >= 60:
            self._logged = now
            self.log(f"{tally.sent} instances sent, {tally.present} were there, {tally.bytes_sent // MEGABYTE} MB")

    def write(self, tally: Tally, state: str) -> None:
        """Replace the file in one step, so that a reader never sees half of it."""
        if not self.path:
            return
        done = min(tally.bytes_done, tally.bytes_total)
        document = {
            "state": state,
            "percent": 100 if state == "done" else int(100 * done / tally.bytes_total) if tally.bytes_total else 0,
            "found": tally.found,
            "sent": tally.sent,
            "present": tally.present,
            "different": tally.different.count,
            "junk": tally.junk.count,
            "failed": tally.failed.count,
            "megabytes_sent": round(tally.bytes_sent / MEGABYTE, 1),
            "seconds": round(self.seconds, 1),
            "megabytes_per_second": round(tally.bytes_sent / MEGABYTE / max(self.seconds, 0.001), 1),
        }
        try:
            handle, draft = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(self.path)), prefix=".ansible-")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                os.fchmod(handle, 0o644)
                stream.write(json.dumps(document) + "\n")
            os.replace(draft, self.path)
        except OSError as error:
            # The upload matters more than the news of it.
            self.log(f"progress_file {self.path} cannot be written ({error.strerror})")
            self.path = None


def readable(name: str) -> str:
    """A name of a file that is no UTF-8, as Ansible may print it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def read() -> IO[bytes]:
        try:
            return archive.open(info)
        except Exception as error:  # a damaged zip shows itself in many ways
            raise SourceError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None

    return read


def _reader(path: str, size: int) -> Callable[[], IO[bytes]]:
    def read() -> IO[bytes]:
        try:
            stream = open(path, "rb", buffering=0)  # noqa: SIM115 - who calls closes it
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})") from None
        if os.fstat(stream.fileno()).st_size != size:
            stream.close()
            raise SourceError("changed its size meanwhile; is it still being written?")
        return stream

    return read


def _size_and_md5(instance: dict[str, Any]) -> tuple[int, str]:
    for attachment in instance.get("Attachments", ()):
        if attachment.get("ContentType") == 1:
            return int(attachment["UncompressedSize"]), str(attachment.get("UncompressedMD5", ""))
    return int(instance.get("FileSize", -1)), ""
