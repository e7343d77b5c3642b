# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Put a file in the place of an archive's instance, and lose nothing on the way.

An archive takes no second file of an instance unless it is set to overwrite (OverwriteInstances), which lets everybody
replace stored images. So the instance must be removed first. With the last instance of a series, study or patient these
go, too, and with them labels and metadata that users gave them; an archive that overwrites does the same inside. What
would go is kept on the disk until it is back: the file, and of the rest what the API can set.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    LIBRARY_ERRORS,
    Connection,
    OrthancError,
    SourceError,
    reason,
    redacted,
    refused,
    route,
)

# Level, field of the level below that names it, and field of its own that lists these.
ABOVE = (
    ("series", "ParentSeries", "Instances"),
    ("studies", "ParentStudy", "Series"),
    ("patients", "ParentPatient", "Studies"),
)
# What the archive notes itself, and cannot be told.
OWN_METADATA = frozenset(
    (
        "AnonymizedFrom",
        "CalledAET",
        "ExpectedNumberOfInstances",
        "HttpUsername",
        "IndexInSeries",
        "IsProtected",
        "LastUpdate",
        "MainDicomSequences",
        "MainDicomTagsSignature",
        "ModifiedFrom",
        "Origin",
        "PatientRecyclingOrder",
        "PixelDataOffset",
        "PixelDataVR",
        "ReceptionDate",
        "RemoteAET",
        "RemoteIP",
        "SopClassUid",
        "TransferSyntax",
    )
)
OWN_ATTACHMENTS = frozenset(("dicom", "dicom-as-json", "dicom-until-pixel-data"))
UNHEARD = (None, 502, 503, 504)  # nobody knows whether the archive has heard what it was told, or will yet
# What plugins derive from the file, and must derive again: of OHIF (4202); of DICOMweb (4301, 4444), Web viewer (9997).
DERIVED_METADATA = frozenset(("4202",))
DERIVED_ATTACHMENTS = frozenset(("4301", "4444", "9997"))


class LabelsError(OrthancError):
    """It was replaced, but what users had given to the old one could not be given to the new one."""


class NotPutBack(OrthancError):
    """What the archive had is not there, or may not stay there; says in which folder it is."""


@dataclass
class Gone:
    """What users gave to a resource that goes away with its last instance, or to the instance."""

    path: str
    labels: list[str]
    metadata: dict[str, str]
    attachments: list[str]
    protected: bool = False

    def __bool__(self) -> bool:
        return bool(self.labels or self.metadata or self.protected)


def what_goes(connection: Connection, instance: str) -> list[Gone]:
    """What goes away with an instance; empty where the archive has it no more."""
    path = route("instances", instance)
    try:
        resource = _get(connection, path)
    except OrthancError as error:
        if error.status == 404:
            return []
        raise
    gone = [_gone(connection, path, resource)]
    for level, parent, children in ABOVE:
        path = route(level, resource[parent])
        resource = _get(connection, path)
        if len(resource[children]) > 1:
            break
        gone.append(_gone(connection, path, resource))
    else:
        gone[-1].protected = connection.send("GET", f"{path}/protected").strip() == b"1"
    return gone


def _gone(connection: Connection, path: str, resource: dict[str, Any]) -> Gone:
    metadata = _get(connection, f"{path}/metadata?expand")
    attachments = _get(connection, f"{path}/attachments")
    return Gone(
        path,
        resource.get("Labels", []),
        {name: text for name, text in metadata.items() if name not in OWN_METADATA | DERIVED_METADATA},
        sorted(set(attachments) - OWN_ATTACHMENTS - DERIVED_ATTACHMENTS),
    )


def give_back(connection: Connection, gone: list[Gone]) -> None:
    """Give new resources what the old ones had. What they have already, by a script of the archive, stays."""
    for one in gone:
        for label in one.labels:
            connection.send("PUT", one.path + route("labels", label))
        there = _get(connection, f"{one.path}/metadata?expand") if one.metadata else {}
        for name in sorted(one.metadata.keys() - there.keys()):
            try:
                text = one.metadata[name].encode()
                connection.send("PUT", one.path + route("metadata", name), text, headers={"Content-Type": "text/plain"})
            except OrthancError as error:
                if error.status != 403:  # the archive's own, of a release that notes more than OWN_METADATA has
                    raise
        if one.protected:
            connection.send("PUT", f"{one.path}/protected", b"1", headers={"Content-Type": "text/plain"})


class Kept:
    """A folder, for the user's eyes only, with what would be lost. It stays until `forget`, also where this ends."""

    def __init__(self, connection: Connection, gone: list[Gone]) -> None:
        self.connection = connection
        self.gone = gone
        self.size = 0
        self.md5 = ""
        # Not /tmp, which is memory in many places: what is there is lost when the machine stops.
        place = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - mkdtemp makes a folder of its own in it
        try:
            self.folder = tempfile.mkdtemp(prefix="orthanc_upload-", dir=place if os.path.isdir(place) else None)
        except OSError as error:
            raise _no_room(place, error) from None
        self.file = os.path.join(self.folder, "instance.dcm")
        if any(gone):
            self._write("labels.json", json.dumps([vars(one) for one in gone], indent=2).encode())

    def fetch(self) -> None:
        """Bring the archive's file here."""
        self._write("instance.dcm", None)

    def _write(self, name: str, content: bytes | None) -> None:
        """Write a file that stays, also where the machine stops then; where that fails nothing stays."""
        path = os.path.join(self.folder, name)
        try:
            with open(path, "wb") as stream:
                if content is None:
                    self.size, self.md5 = fetch(self.connection, f"{self.gone[0].path}/file", stream)
                else:
                    stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            for folder in (self.folder, os.path.dirname(self.folder)):
                handle = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError as error:
            self.forget()
            raise _no_room(path, error) from None
        except Exception:  # a half copy is no use, whatever ended it
            self.forget()
            raise

    def open(self) -> IO[bytes]:
        return open(self.file, "rb", buffering=0)

    def give_back(self) -> None:
        give_back(self.connection, self.gone)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def replace(
    connection: Connection,
    instance: str,
    send: Callable[[], str],
    send_back: Callable[[Callable[[], IO[bytes]], int], str],
    md5: Callable[[], str],
) -> str:
    """Replace an instance by what `send` sends; return the status that the archive gave the file in the end.

    send, send_back: send the new file or an opened one of a size, and return the status. md5: of the new file.
    Only one at a time: two that share a series must not both believe that the other one stays.

    It is sent before anything is removed. So the archive has read all of it by then, and one that overwrites is done.
    Raises OrthancError where nothing is lost; NotPutBack or LabelsError where something is in a folder that stays.
    """
    gone = what_goes(connection, instance)
    attached = [f"{one.path}/attachments/{name}" for one in gone for name in one.attachments]
    if attached:
        return f"it would lose {' and '.join(attached)}; save and remove what is attached there first"
    kept = Kept(connection, gone)
    try:
        said = send()
    except Exception as error:
        _not_taken(kept, error)
        raise
    if gone and said == "AlreadyStored":
        kept.fetch()
        said = _swap(kept, instance, send, send_back, md5)
    elif said != "Success":
        kept.forget()
        return f"the archive says {said}"
    try:
        kept.give_back()
    except Exception as error:
        raise LabelsError(
            "was replaced, but labels and metadata that went with the old one could not be put back "
            f"({_told(error)}) They are in {kept.folder}"
        ) from None
    kept.forget()
    return said


def _not_taken(kept: Kept, error: Exception) -> None:
    """Nobody knows whether an archive that overwrites has done so before its answer got lost, or does so later."""
    status = error.status if isinstance(error, OrthancError) else None
    if any(kept.gone) and (status or 500) >= 500:
        late = status in UNHEARD and not isinstance(error, SourceError)
        try:
            kept.give_back()
        except Exception:  # then the folder has the labels, and is named
            late = True
        if late:
            raise NotPutBack(
                f"{_told(error)} Should the archive have taken the new file all the same, or take it later, labels and "
                f"metadata that went with the old one are in {kept.folder}.",
                status,
            ) from None
    kept.forget()


def _swap(
    kept: Kept,
    instance: str,
    send: Callable[[], str],
    send_back: Callable[[Callable[[], IO[bytes]], int], str],
    md5: Callable[[], str],
) -> str:
    """Remove the old file and send the new one; where that fails put the old one back and raise why."""
    late = True  # whether the archive may yet remove what it did not say to have removed
    what = f"{kept.gone[0].path} of the archive"
    try:
        try:
            kept.connection.send("DELETE", route("instances", instance))
            late = False
        except OrthancError as error:
            late = (error.status or 500) >= 500
            if error.status != 404:
                raise
        said = send()
        # Of a POST whose answer got lost nobody knew whether it was heard.
        if said == "AlreadyStored" and _has(kept.connection, instance, md5()):
            said = "Success"
        if said != "Success":
            raise OrthancError(f"The archive says {said} of the new file.", 409, details=f"the archive says {said}")
        return said
    except Exception as error:
        try:
            _put_back(kept, instance, send_back)
        except Exception as again:
            raise NotPutBack(
                f"{what} could not be replaced ({_told(error)}) nor put back ({_told(again)}) It is in {kept.folder}, "
                "with the labels and metadata that went with it. Send that file, or the new one again."
            ) from None
        if late:
            raise NotPutBack(
                f"{what} could not be replaced ({_told(error)}) It is there, but the archive may still remove it, as "
                f"it was told without an answer. A copy is in {kept.folder}, with the labels and metadata that would "
                "go with it. Send that file should it be gone."
            ) from None
        kept.forget()
        if isinstance(error, OrthancError):
            raise
        raise OrthancError(f"{what} could not be replaced ({_told(error)}) It was put back.") from None


def _put_back(kept: Kept, instance: str, send_back: Callable[[Callable[[], IO[bytes]], int], str]) -> None:
    said = send_back(kept.open, kept.size)
    if said == "AlreadyStored":
        # Somebody else was quicker, or the new file was taken without a word.
        if not _has(kept.connection, instance, kept.md5):
            raise OrthancError("The archive has another content by now.")
    elif said != "Success":
        raise OrthancError(f"The archive says {said} of it.")
    kept.give_back()


def _has(connection: Connection, instance: str, md5: str) -> bool:
    told = connection.send("GET", route("instances", instance, "attachments", "dicom", "md5"))
    return told.decode("ascii", "replace").strip() == md5


def _told(error: Exception) -> str:
    """What went wrong, as a sentence."""
    return str(error) if isinstance(error, OrthancError) else f"{type(error).__name__}: {error}."


def fetch(connection: Connection, path: str, into: IO[bytes]) -> tuple[int, str]:
    """GET a file of any size into a stream; returns its size and MD5. Raises OrthancError."""
    digest = hashlib.md5(usedforsecurity=False)
    connection.requests += 1
    try:
        http = connection._alive() or connection._connect()
        http.putrequest("GET", connection._target(path), skip_accept_encoding=True)
        for name, value in connection._headers.items():
            http.putheader(name, value)
        http.endheaders()
        response = http.getresponse()
        if response.status >= 300:
            raise refused(connection.url, "GET", path, response.status, response.reason, response.read())
        length = response.length
        while block := response.read(Connection.BLOCK):
            digest.update(block)
            _write(into, block)
        if length is None or into.tell() != length:
            raise ConnectionResetError("it broke off")
        if response.will_close:
            connection.close()
        return length, digest.hexdigest()
    except LIBRARY_ERRORS as error:
        connection.close()
        message = f"GET {redacted(connection.url)}{path} {reason(error, connection.timeout)}"
        raise OrthancError(message, path=path) from None


def _write(into: IO[bytes], block: bytes) -> None:
    try:
        into.write(block)
    except OSError as error:
        raise _no_room(into.name, error) from None


def _no_room(path: str, error: OSError) -> OrthancError:
    return OrthancError(
        f"{path} cannot be written ({error.strerror}). It is to hold what the archive has until that is replaced; "
        "nothing was removed. Set TMPDIR to a folder with room."
    )


def _get(connection: Connection, path: str) -> Any:
    try:
        return json.loads(connection.send("GET", path))
    except ValueError:
        raise OrthancError(f"GET {redacted(connection.url)}{path} does not answer as Orthanc does.") from None
