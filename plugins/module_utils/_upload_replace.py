# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Replace an instance that Orthanc has by another file, and lose nothing on the way.

Orthanc takes no second file of an instance unless OverwriteInstances is set, which lets every client replace stored
images. So the instance must be deleted first. With the last instance of a series, study or patient these are deleted,
too, and with them the labels and metadata that users gave them; Orthanc does the same when it overwrites. What would be
lost is on the disk until it is restored: the file, and of the rest what the API can set.
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

from ansible_collections.lightbox.pacs.plugins.module_utils._http import SourceError
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError, build_path

# Level, field of the level below that names it, field of its own that lists the level below.
ABOVE = (
    ("series", "ParentSeries", "Instances"),
    ("studies", "ParentStudy", "Series"),
    ("patients", "ParentPatient", "Studies"),
)
# Metadata that Orthanc sets itself and does not let a client set.
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
# Statuses after which nobody knows whether Orthanc has acted on the request, or will yet.
UNCERTAIN = (None, 502, 503, 504)
# What plugins derive from the file, and must derive again: of OHIF (4202); of DICOMweb (4301, 4444), Web viewer (9997).
DERIVED_METADATA = frozenset(("4202",))
DERIVED_ATTACHMENTS = frozenset(("4301", "4444", "9997"))


class LabelsError(OrthancError):
    """The instance was replaced, but what users had given to the old one could not be restored."""


class RestoreError(OrthancError):
    """What Orthanc had is not there, or may not stay there; the message names the directory that has it."""


@dataclass
class UserData:
    """What users gave to the instance, or to a resource that is deleted with its last instance."""

    path: str
    labels: list[str]
    metadata: dict[str, str]
    attachments: list[str]
    protected: bool = False

    def __bool__(self) -> bool:
        return bool(self.labels or self.metadata or self.protected)


def read_user_data(orthanc: Orthanc, instance: str) -> list[UserData]:
    """Read what is deleted with an instance; empty where Orthanc no longer has it."""
    path = build_path("instances", instance)
    resource = orthanc.find(path)
    if resource is None:
        return []
    lost = [_read_level(orthanc, path, resource)]
    for level, parent, children in ABOVE:
        path = build_path(level, resource[parent])
        resource = orthanc.get(path)
        if len(resource[children]) > 1:
            break
        lost.append(_read_level(orthanc, path, resource))
    else:
        lost[-1].protected = orthanc.get_text(f"{path}/protected") == "1"
    return lost


def _read_level(orthanc: Orthanc, path: str, resource: dict[str, Any]) -> UserData:
    metadata = orthanc.get(f"{path}/metadata?expand")
    attachments = orthanc.get(f"{path}/attachments")
    return UserData(
        path,
        resource.get("Labels", []),
        {name: text for name, text in metadata.items() if name not in OWN_METADATA | DERIVED_METADATA},
        sorted(set(attachments) - OWN_ATTACHMENTS - DERIVED_ATTACHMENTS),
    )


def restore_user_data(orthanc: Orthanc, lost: list[UserData]) -> None:
    """Give new resources what the old ones had. What a script of Orthanc has already set stays."""
    for one in lost:
        for label in one.labels:
            orthanc.put(one.path + build_path("labels", label))
        present = orthanc.get(f"{one.path}/metadata?expand") if one.metadata else {}
        for name in sorted(one.metadata.keys() - present.keys()):
            try:
                orthanc.put(one.path + build_path("metadata", name), one.metadata[name])
            except OrthancError as error:
                if error.status != 403:  # Orthanc's own, of a release that sets more than OWN_METADATA lists
                    raise
        if one.protected:
            orthanc.put(f"{one.path}/protected", "1")


class Backup:
    """A directory that only the user can read, with what would be lost. It stays until `remove`, whatever happens."""

    def __init__(self, orthanc: Orthanc, lost: list[UserData]) -> None:
        self.orthanc = orthanc
        self.lost = lost
        self.size = 0
        self.md5 = ""
        # Not /tmp, which is in memory on many servers: its content is lost when the machine stops.
        parent = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - mkdtemp creates a directory of its own in it
        try:
            self.directory = tempfile.mkdtemp(prefix="orthanc_upload-", dir=parent if os.path.isdir(parent) else None)
        except OSError as error:
            raise _disk_error(parent, error) from None
        self.file = os.path.join(self.directory, "instance.dcm")
        if any(lost):
            content = json.dumps([vars(one) for one in lost], indent=2).encode()
            self._write("labels.json", lambda stream: stream.write(content))

    def download(self) -> None:
        """Write Orthanc's file into the directory."""
        digest = hashlib.md5(usedforsecurity=False)

        def fill(stream: IO[bytes]) -> None:
            def write(block: bytes) -> None:
                digest.update(block)
                try:
                    stream.write(block)
                except OSError as error:
                    raise _disk_error(self.file, error) from None

            self.orthanc.request("GET", f"{self.lost[0].path}/file", into=write)
            self.size = stream.tell()

        self._write("instance.dcm", fill)
        self.md5 = digest.hexdigest()

    def _write(self, name: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Write a file that is on the disk even when the machine stops then; where that fails nothing stays."""
        path = os.path.join(self.directory, name)
        try:
            with open(path, "wb") as stream:
                fill(stream)
                stream.flush()
                os.fsync(stream.fileno())
            for directory in (self.directory, os.path.dirname(self.directory)):
                handle = os.open(directory, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError as error:
            self.remove()
            raise _disk_error(path, error) from None
        except Exception:  # half a copy is of no use, whatever ended it
            self.remove()
            raise

    def open(self) -> IO[bytes]:
        return open(self.file, "rb", buffering=0)

    def restore_user_data(self) -> None:
        restore_user_data(self.orthanc, self.lost)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def replace(
    orthanc: Orthanc,
    instance: str,
    send: Callable[[], str],
    send_back: Callable[[Callable[[], IO[bytes]], int], str],
    md5: Callable[[], str],
) -> str:
    """Replace an instance by what `send` sends; return Orthanc's final status for the file.

    send, send_back: send the new file, or an opened one of a size, and return the status. md5: of the new file.
    Only one at a time: two that share a series must not both rely on the other one to stay.

    It is sent before anything is deleted, so Orthanc has read all of it by then, and one that overwrites is done.
    Raises OrthancError or SourceError where nothing is lost; RestoreError or LabelsError where something is in a
    directory that stays.
    """
    lost = read_user_data(orthanc, instance)
    attached = [f"{one.path}/attachments/{name}" for one in lost for name in one.attachments]
    if attached:
        return f"it would lose {' and '.join(attached)}; save and remove what is attached there first"
    backup = Backup(orthanc, lost)
    try:
        status = send()
    except Exception as error:
        _handle_refusal(backup, error)
        raise
    if lost and status == "AlreadyStored":
        backup.download()
        status = _swap(backup, instance, send, send_back, md5)
    elif status != "Success":
        backup.remove()
        return f"Orthanc answers {status}"
    try:
        backup.restore_user_data()
    except Exception as error:
        raise LabelsError(
            "was replaced, but labels and metadata that were deleted with the old one could not be restored "
            f"({_describe(error)}) They are in {backup.directory}"
        ) from None
    backup.remove()
    return status


def _handle_refusal(backup: Backup, error: Exception) -> None:
    """Restore the user data where Orthanc may have overwritten the file before its answer got lost, or may yet."""
    status = error.status if isinstance(error, OrthancError) else None
    if any(backup.lost) and (status or 500) >= 500:
        may_follow = status in UNCERTAIN and not isinstance(error, SourceError)
        try:
            backup.restore_user_data()
        except Exception:  # then the message names the directory that has it
            may_follow = True
        if may_follow:
            raise RestoreError(
                f"{_describe(error)} If Orthanc has stored the new file nevertheless, or stores it later, the labels "
                f"and metadata that were deleted with the old one are in {backup.directory}.",
                status,
            ) from None
    backup.remove()


def _swap(
    backup: Backup,
    instance: str,
    send: Callable[[], str],
    send_back: Callable[[Callable[[], IO[bytes]], int], str],
    md5: Callable[[], str],
) -> str:
    """Delete the old file and send the new one; where that fails restore the old one and raise why."""
    may_follow = True  # whether Orthanc may yet delete what it did not report as deleted
    old = f"{backup.lost[0].path} of Orthanc"
    try:
        try:
            backup.orthanc.request("DELETE", build_path("instances", instance))
            may_follow = False
        except OrthancError as error:
            may_follow = (error.status or 500) >= 500
            if error.status != 404:
                raise
        status = send()
        # After a POST whose answer got lost and that was sent again.
        if status == "AlreadyStored" and query_file(backup.orthanc, instance, "md5") == md5():
            status = "Success"
        if status != "Success":
            raise OrthancError(f"Orthanc answers {status} for the new file.", 409, details=f"Orthanc answers {status}")
        return status
    except Exception as error:
        try:
            _restore(backup, instance, send_back)
        except Exception as second:
            raise RestoreError(
                f"{old} could not be replaced ({_describe(error)}) nor restored ({_describe(second)}) It is in "
                f"{backup.directory}, with the labels and metadata that were deleted with it. Upload that file, or the "
                "new one again."
            ) from None
        if may_follow:
            raise RestoreError(
                f"{old} could not be replaced ({_describe(error)}) It is there, but Orthanc may still delete it, "
                f"because it did not answer the request to do so. A copy is in {backup.directory}, with the labels and "
                "metadata that would be deleted with it. Upload that file if it is gone."
            ) from None
        backup.remove()
        if isinstance(error, (OrthancError, SourceError)):
            raise
        raise OrthancError(f"{old} could not be replaced ({_describe(error)}) It was restored.") from None


def _restore(backup: Backup, instance: str, send_back: Callable[[Callable[[], IO[bytes]], int], str]) -> None:
    status = send_back(backup.open, backup.size)
    if status == "AlreadyStored":
        # Another client was quicker, or the new file was stored without an answer.
        if query_file(backup.orthanc, instance, "md5") != backup.md5:
            raise OrthancError("Orthanc has another content by now.")
    elif status != "Success":
        raise OrthancError(f"Orthanc answers {status} for it.")
    backup.restore_user_data()


def query_file(orthanc: Orthanc, instance: str, what: str) -> str:
    """Return the "size" or "md5" of the file that Orthanc has."""
    return orthanc.get_text(build_path("instances", instance, "attachments", "dicom", what))


def _describe(error: Exception) -> str:
    """Return what is wrong, as a sentence."""
    return str(error) if isinstance(error, (OrthancError, SourceError)) else f"{type(error).__name__}: {error}."


def _disk_error(path: str, error: OSError) -> OrthancError:
    return OrthancError(
        f"{path} cannot be written ({error.strerror}). It must hold what Orthanc has until that is replaced; nothing "
        "was deleted. Set TMPDIR to a directory with free space."
    )
