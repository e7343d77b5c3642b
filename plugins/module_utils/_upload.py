# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Upload a file, a directory or a zip file to Orthanc, except what is already stored.

One thread finds files, reads their headers and lists, study by study, what Orthanc has; others compare and send, each
with a connection of its own. Only a bounded queue is in memory, which does not grow with the directory.
"""

from __future__ import annotations

import contextlib
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
from ansible_collections.lightbox.pacs.plugins.module_utils._http import Opener, SourceError, read_blocks
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import describe_error
from ansible_collections.lightbox.pacs.plugins.module_utils._upload_replace import (
    UNCERTAIN,
    LabelsError,
    RestoreError,
    query_file,
    replace,
)

MEGABYTE = 1_000_000
LARGE = 32 * MEGABYTE  # only one file of this size is sent at a time: Orthanc needs several times its size in memory
IN_MEMORY = MEGABYTE  # a file up to this size is read at once, larger ones in blocks
PAGE = 5000  # instances of one listing: 1.2 MB of JSON
BATCH = 64  # files that wait for a listing
STUDIES = 32  # studies of one listing; Orthanc's time grows with the square
REMEMBERED = 100_000  # instances that are remembered from listings: about 35 MB
LISTED = 100  # names of files in a result
RETRIES = (0.5, 2, 5)  # seconds before another attempt where Orthanc is out of reach for a moment
BUSY_SECONDS = 600  # how long one file waits where the reverse proxy answers 503 with Retry-After: other large uploads
SHORTEST_WAIT = 0.5  # seconds


@dataclass
class Source:
    """One instance: in a file, or in a member of a zip file."""

    name: str
    size: int
    weight: int  # bytes on the disk
    open: Callable[[], IO[bytes]]
    identifiers: Identifiers
    stored: tuple[int, str] | None = None  # size and MD5 of what Orthanc has; the MD5 is empty where it is not listed
    listed: bool = False  # whether this instance was looked up in a listing
    duplicate: bool = False  # whether another file of this upload is the same instance

    def read_small(self) -> bytes | None:
        """Read all of it; None where it is large."""
        if self.size > IN_MEMORY:
            return None
        with self.open() as stream:
            return b"".join(read_blocks(stream, self.size))

    def compute_md5(self, content: bytes | None) -> str:
        """content: what `read_small` returned."""
        digest = hashlib.md5(content or b"", usedforsecurity=False)
        if content is None:
            with self.open() as stream:
                for block in read_blocks(stream, self.size):
                    digest.update(block)
        return digest.hexdigest()


@dataclass
class Files:
    """How many files there are, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(make_printable(text))


@dataclass
class Tally:
    """The counts so far."""

    found: int = 0
    sent: int = 0
    replaced: int = 0
    present: int = 0
    bytes_sent: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    junk: Files = field(default_factory=Files)
    different: Files = field(default_factory=Files)
    failed: Files = field(default_factory=Files)
    kept: list[str] = field(default_factory=list)  # what is in a backup directory and not in Orthanc, without a limit
    studies: dict[str, list[int]] = field(default_factory=dict)  # UID: instances before, after


@dataclass(frozen=True)
class Options:
    """compare: hash, size or uid; different: keep, replace or fail."""

    compare: str
    different: str
    threads: int
    recursive: bool
    check_mode: bool


class Upload:
    """One upload: call `run`, then read `tally`; `stopped_by` is what ended it early."""

    def __init__(self, orthanc: Orthanc, options: Options, progress: Progress) -> None:
        self.orthanc = orthanc
        self.options = options
        self.progress = progress
        self.tally = Tally()
        self.study_ids: set[str] = set()
        self.stopped_by: OrthancError | None = None
        self._clients = [orthanc.clone() for _number in range(options.threads)]
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._sending_large = threading.Lock()
        self._queue: queue.Queue[Source | None] = queue.Queue(maxsize=4 * options.threads)
        self._known: dict[str, tuple[int, str]] = {}
        self._listed: set[str] = set()
        self._planned: set[str] = set()
        # Whether Orthanc may cut its listings short (LimitFindInstances), so that pages are requested until one is
        # empty; None before it has listed anything.
        self._cut_short: bool | None = None

    def run(self, src: str) -> None:
        self.tally.bytes_total = self.progress.measure(src, self.options.recursive)
        threads = [threading.Thread(target=self._work, args=(client,), daemon=True) for client in self._clients]
        for thread in threads:
            thread.start()
        try:
            for source in self._plan(src):
                if not self._put(source):
                    break
        except OrthancError as error:
            self._stop(error)
        except Exception as error:  # a replacement that is under way must be finished
            self._stop(OrthancError(f"The search for files failed unexpectedly: {type(error).__name__}: {error}."))
        for _thread in threads:
            self._put(None)
        for thread in threads:
            thread.join()
        self.progress.write(self.tally, "failed" if self.stopped_by or self.tally.failed.count else "done")

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent."""
        return sum(client.requests for client in (self.orthanc, *self._clients))

    def _put(self, source: Source | None) -> bool:
        """Queue a file; False where the upload ended early."""
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

    # Finding files

    def _plan(self, src: str) -> Iterator[Source]:
        """Yield the instances in `src`, each with what Orthanc has of it; those of listed studies do not wait."""
        batch: list[Source] = []
        for source in self._find_sources(src):
            if source.identifiers.study in self._listed:
                yield self._resolve(source)
                continue
            batch.append(source)
            if len(batch) == BATCH:
                yield from self._list_and_resolve(batch)
                batch = []
        yield from self._list_and_resolve(batch)

    def _find_sources(self, src: str) -> Iterator[Source]:
        if not os.path.isdir(src):
            yield from self._read_file(src)
            return
        for directory, directories, files in os.walk(src, onerror=self._note_unreadable):
            if not self.options.recursive:
                directories.clear()
            directories.sort()
            for name in sorted(files):
                yield from self._read_file(os.path.join(directory, name))

    def _note_unreadable(self, error: OSError) -> None:
        self.tally.failed.add(f"{error.filename} cannot be read ({error.strerror})")

    def _read_file(self, path: str) -> Iterator[Source]:
        try:
            known = os.stat(path)
            if not stat.S_ISREG(known.st_mode):
                raise NotDicomError("is not a regular file")
            with open(path, "rb") as stream:
                is_zip = stream.read(4) in (b"PK\3\4", b"PK\5\6")
                stream.seek(0)
                identifiers = None if is_zip and stream.read(132)[128:] != b"DICM" else self._identify(stream)
            if identifiers is None:
                yield from self._read_zip(path)
                return
        except zipfile.BadZipFile:
            self._refuse(path, NotDicomError("is not a zip file, or a damaged one"), known.st_size)
            return
        except (NotDicomError, OSError) as error:
            self._refuse(path, error, 0)
            return
        yield Source(
            make_printable(path), known.st_size, known.st_size, _make_file_opener(path, known.st_size), identifiers
        )

    @staticmethod
    def _identify(stream: IO[bytes]) -> Identifiers:
        stream.seek(0)
        return identify(stream)

    def _read_zip(self, path: str) -> Iterator[Source]:
        """Yield the instances in a zip file, which is closed when the last of them is garbage."""
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            if info.is_dir():
                continue
            name = make_printable(f"{path}:{info.filename}")
            try:
                if info.flag_bits & 1:
                    raise NotDicomError("is encrypted")
                with archive.open(info) as stream:
                    identifiers = identify(stream)
            except Exception as error:  # a damaged member raises many types, zlib.error and NotImplementedError too
                self._refuse(name, error, info.compress_size)
                continue
            yield Source(name, info.file_size, info.compress_size, _make_zip_opener(archive, info), identifiers)

    def _refuse(self, name: str, error: Exception, weight: int) -> None:
        with self._lock:
            self.tally.bytes_done += weight
            if isinstance(error, DirectoryError):
                return
            if isinstance(error, NotDicomError):
                self.tally.junk.add(f"{name} {error}")
            else:
                self.tally.failed.add(f"{name} cannot be read ({describe_error(error)})")

    # Listing what Orthanc has

    def _list_and_resolve(self, batch: list[Source]) -> Iterator[Source]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
            self._listed.clear()
        new = sorted({source.identifiers.study for source in batch} - self._listed)
        for start in range(0, len(new), STUDIES):
            self._list(new[start : start + STUDIES])
        self._listed.update(new)
        return map(self._resolve, batch)

    def _is_overwriting(self, page: list[dict[str, Any]]) -> bool:
        """Return whether Orthanc may overwrite an instance that a listing left out, and report it as new.

        The setting is reported from 1.11.0 on; one that lists neither attachments nor labels is older than 1.12.0.
        """
        if not any("Attachments" in instance or "Labels" in instance for instance in page):
            return True
        try:
            return self.orthanc.system.get("OverwriteInstances") not in (False, "Never")
        except OrthancError:  # forbidden for this user, or a fault that the listing reports
            return True

    def _resolve(self, source: Source) -> Source:
        """Set what Orthanc has of the source."""
        key = source.identifiers.instance_id
        source.listed = key is not None
        source.stored = self._known.get(key) if key else None
        if key and source.stored is None:
            source.duplicate = key in self._planned
            if len(self._planned) > REMEMBERED:
                self._planned.clear()
            self._planned.add(key)
        self._note(source)
        return source

    def _list(self, studies: list[str]) -> None:
        """Remember every instance of the studies, with its size, and its MD5 where Orthanc lists it (1.12.5)."""
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
            page = self._retry(partial(self.orthanc.search, "/tools/find", search), first=not self._listed)
            for instance in page:
                self._known[instance["ID"]] = _parse_size_and_md5(instance)
            since += len(page)
            if not page:
                return
            if self._cut_short is None:
                overwrites = self._is_overwriting(page)
                self._cut_short = self._cut_short or overwrites  # a worker may have set it meanwhile
            if len(page) < PAGE and not self._cut_short:
                return

    def _note(self, source: Source) -> None:
        with self._lock:
            self.tally.found += 1
            counts = self.tally.studies.setdefault(source.identifiers.study, [0, 0])
            if source.stored is not None:
                counts[0] += 1
            if not source.duplicate:
                counts[1] += 1
            if source.identifiers.study_id:
                self.study_ids.add(source.identifiers.study_id)

    # Comparing and sending

    def _work(self, orthanc: Orthanc) -> None:
        while not self._stopped.is_set():
            try:
                source = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if source is None:
                break
            try:
                self._process(source, orthanc)
            except SourceError as error:
                with self._lock:
                    self.tally.failed.add(f"{source.name} {error}")
            except RestoreError as error:
                text = f"{source.name}: {error}"
                with self._lock:
                    self.tally.kept.append(text)
                self._stop(OrthancError(text))
            except OrthancError as error:
                self._handle_error(source, error)
            except Exception as error:
                self._stop(OrthancError(f"{source.name} failed unexpectedly: {type(error).__name__}: {error}"))
            with self._lock:
                self.tally.bytes_done += source.weight
                self.progress.update(self.tally)
        orthanc.close()

    def _process(self, source: Source, orthanc: Orthanc) -> None:
        content: bytes | None = None
        replaces = False
        if source.stored is not None:
            if self.options.compare == "hash":
                content = source.read_small()
            if self._is_same(source, content, source.stored, source.identifiers.instance_id or "", orthanc):
                self._count(present=1)
                return
            if not self._note_difference(source):
                return
            replaces = True
        if self.options.check_mode:
            self._count(
                present=int(source.duplicate), sent=int(not source.duplicate and not replaces), replaced=int(replaces)
            )
            return
        if content is None:
            content = source.read_small()
        if replaces:
            self._replace(source, content, source.identifiers.instance_id or "", orthanc)
            return
        answer = self._send(source, content, orthanc)
        status = answer.get("Status")
        if status == "Success":
            self._count(sent=1, bytes_sent=source.size)
        elif status == "AlreadyStored":
            # Not listed, but stored: a second file of this instance, another client was quicker, or a listing was cut.
            if source.listed and not source.duplicate:
                self._cut_short = True
            instance = str(answer["ID"])
            if self._is_same(source, content, None, instance, orthanc):
                self._count(present=1)
            elif self._note_difference(source):
                self._replace(source, content, instance, orthanc)
        else:
            with self._lock:
                self.tally.failed.add(f"{source.name} was not stored: Orthanc answers {status}")

    def _is_same(
        self,
        source: Source,
        content: bytes | None,
        stored: tuple[int, str] | None,
        instance: str,
        orthanc: Orthanc,
    ) -> bool:
        """Return whether Orthanc has the same file, by the option `compare`.

        stored: size and MD5 as listed; None where the instance was not listed, so that one of them is queried.
        """
        if self.options.compare == "uid":
            return True
        if stored is not None and stored[0] != source.size:
            return False
        if self.options.compare == "size":
            return stored is not None or query_file(orthanc, instance, "size") == str(source.size)
        md5 = stored[1] if stored is not None else ""
        return (md5 or query_file(orthanc, instance, "md5")) == source.compute_md5(content)

    def _note_difference(self, source: Source) -> bool:
        """Record that Orthanc has another file of this instance; return whether to replace it."""
        with self._lock:
            self.tally.different.add(source.name)
        return self.options.different == "replace"

    def _replace(self, source: Source, content: bytes | None, instance: str, orthanc: Orthanc) -> None:
        def send() -> str:
            return str(self._send(source, content, orthanc)["Status"])

        def send_back(opened: Callable[[], IO[bytes]], size: int) -> str:
            return str(self._post(opened, size, orthanc, always=True)["Status"])

        failure = ""
        try:
            with self._replacing:
                status = replace(orthanc, instance, send, send_back, partial(source.compute_md5, content))
            if status != "Success":
                failure = f"was not stored: {status}"
        except LabelsError as error:
            failure, status = str(error), "Success"
            with self._lock:
                self.tally.kept.append(f"{source.name} {failure}.")
        if status == "Success":
            self._count(replaced=1, bytes_sent=source.size)
        if failure:
            with self._lock:
                self.tally.failed.add(f"{source.name} {failure}")

    def _send(self, source: Source, content: bytes | None, orthanc: Orthanc) -> dict[str, Any]:
        return self._post(source.open if content is None else content, source.size, orthanc)

    def _post(self, body: bytes | Opener, size: int, orthanc: Orthanc, always: bool = False) -> dict[str, Any]:
        with self._sending_large if size >= LARGE else contextlib.nullcontext():
            answer = self._retry(lambda: orthanc.request("POST", "/instances", body, length=size), always=always)
        try:
            parsed = answer.json()
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or "Status" not in parsed:
            raise orthanc.unexpected("POST", "/instances")
        return parsed

    def _retry(self, send: Callable[[], Any], first: bool = False, always: bool = False) -> Any:
        """Repeat a request while Orthanc or its database is out of reach for a moment, or busy with other uploads.

        first: not this one, the first of the upload. always: also where the upload is ending because of another file.
        """
        pauses = iter(() if first else RETRIES)
        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return send()
            except OrthancError as error:
                if error.retry_after is not None:
                    pause = max(error.retry_after, SHORTEST_WAIT)
                    if time.monotonic() + pause > end:
                        raise
                else:
                    pause = next(pauses, -1)
                    if pause < 0 or error.status not in UNCERTAIN:
                        raise
                if not self._wait(pause, always):
                    raise

    def _wait(self, seconds: float, always: bool) -> bool:
        """Return whether to go on: not where the upload ended meanwhile, except with `always`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if always:
                time.sleep(min(left, 1))
            elif self._stopped.wait(min(left, 1)):
                return False
            with self._lock:
                self.progress.update(self.tally)
        return True

    def _handle_error(self, source: Source, error: OrthancError) -> None:
        """Record a file that Orthanc refuses; end the upload where the error concerns all files."""
        if error.status in (400, 415, 422):
            with self._lock:
                self.tally.junk.add(f"{source.name} is refused by Orthanc ({error.details or error.status})")
        elif error.status == 413:
            with self._lock:
                self.tally.failed.add(
                    f"{source.name} ({source.size / MEGABYTE:.0f} MB) is too large for the reverse proxy, or "
                    "for Orthanc's MaximumRequestBodySizeMB"
                )
        elif error.status == 507:
            self._stop(
                OrthancError(
                    f"Orthanc at {self.orthanc.url} is full (507): it has no room for {source.name}. Give it more "
                    "(MaximumStorageSize, MaximumPatientCount, its disk) and run this again; it continues there.",
                    507,
                )
            )
        elif error.retry_after is not None:
            with self._lock:
                self.tally.failed.add(
                    f"{source.name} was not stored: the server was busy with other uploads for "
                    f"{BUSY_SECONDS // 60} minutes (503). Run this again; it continues there"
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
    """Write the progress of the upload as JSON to a file, once a second, and to the journal, once a minute."""

    def __init__(self, path: str | None, log: Callable[[str], None]) -> None:
        self.path = path
        self.log = log
        self.start = time.monotonic()
        self._written = 0.0
        self._logged = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def measure(self, src: str, recursive: bool) -> int:
        """Return the bytes on the disk; 0 where no file of progress is wanted."""
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

    def update(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._written >= 1:
            self._written = now
            self.write(tally, "running")
        if now - self._logged >= 60:
            self._logged = now
            self.log(
                f"{tally.sent} instances sent, {tally.present} were stored already, {tally.bytes_sent // MEGABYTE} MB"
            )

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
            # The upload matters more than its progress.
            self.log(f"progress_file {self.path} cannot be written ({error.strerror})")
            self.path = None


def make_printable(name: str) -> str:
    """Escape what Ansible cannot print in a file name that is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _make_zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        try:
            return archive.open(info)
        except Exception as error:  # a damaged zip file raises many types
            raise SourceError(f"cannot be read ({describe_error(error)})") from None

    return open_member


def _make_file_opener(path: str, size: int) -> Callable[[], IO[bytes]]:
    def open_file() -> IO[bytes]:
        try:
            stream = open(path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})") from None
        if os.fstat(stream.fileno()).st_size != size:
            stream.close()
            raise SourceError("changed its size meanwhile; is it still being written?")
        return stream

    return open_file


def _parse_size_and_md5(instance: dict[str, Any]) -> tuple[int, str]:
    for attachment in instance.get("Attachments", ()):
        if attachment.get("ContentType") == 1:
            return int(attachment["UncompressedSize"]), str(attachment.get("UncompressedMD5", ""))
    return int(instance.get("FileSize", -1)), ""
