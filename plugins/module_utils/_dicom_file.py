# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Identify the instance in a DICOM file by its first kilobytes.

Without pydicom, which the host on which an upload runs need not have. Formats: DICOM PS3.5 and PS3.10.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import IO, Protocol

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DIRECTORY = "1.2.840.10008.1.3.10"

CHARSET = (0x0008, 0x0005)
SOP_INSTANCE = (0x0008, 0x0018)
PATIENT_ID = (0x0010, 0x0020)
STUDY = (0x0020, 0x000D)
SERIES = (0x0020, 0x000E)
ITEM = (0xFFFE, 0xE000)
ITEM_END = (0xFFFE, 0xE00D)
SEQUENCE_END = (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF

LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS")
) | frozenset((b"ST", b"TM", b"UI", b"UL", b"US"))

# Character sets of one byte per character, or that say themselves where a character ends; the others name their shifts.
CODECS = {
    "ISO_IR 6": "ascii",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}


class NotDicomError(Exception):
    """It is not a DICOM file of an instance; the message is a sentence without its subject and full stop."""


class DirectoryError(NotDicomError):
    """It is a DICOMDIR, the table of contents of a medium."""


@dataclass(frozen=True)
class Identifiers:
    """The identifiers of an instance. patient_id is None where its characters depend on Orthanc's settings."""

    patient_id: str | None
    study: str
    series: str
    instance: str

    @property
    def study_id(self) -> str | None:
        """Orthanc's identifier of the study."""
        return None if self.patient_id is None else compute_orthanc_id(self.patient_id, self.study)

    @property
    def instance_id(self) -> str | None:
        """Orthanc's identifier of the instance."""
        if self.patient_id is None:
            return None
        return compute_orthanc_id(self.patient_id, self.study, self.series, self.instance)


def compute_orthanc_id(*parts: str) -> str:
    """Compute Orthanc's identifier: the SHA-1 of patient ID, study, series and instance UID, down to its level."""
    digest = hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Inflated:
    """The inflated content of a deflated data set, as a stream."""

    def __init__(self, stream: Readable) -> None:
        self.stream = stream
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.ready = b""

    def read(self, size: int = -1) -> bytes:
        while len(self.ready) < size:
            block = self.stream.read(16384)
            if not block:
                break
            try:
                self.ready += self.inflate.decompress(block)
            except zlib.error:
                raise NotDicomError("is deflated and damaged") from None
        taken, self.ready = self.ready[:size], self.ready[size:]
        return taken


class Elements:
    """The elements of a data set in their order, read on demand."""

    def __init__(self, stream: Readable, explicit: bool, big: bool) -> None:
        self.stream = stream
        self.explicit = explicit
        self.kind = b""
        self.head = struct.Struct(">HHI" if big else "<HHI")
        self.short = struct.Struct(">H" if big else "<H")
        self.long = struct.Struct(">I" if big else "<I")

    def read_exactly(self, size: int) -> bytes:
        block = self.stream.read(size)
        if len(block) < size:
            raise NotDicomError("ends before its identifiers")
        return block

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.read_exactly(min(size, 65536)))

    def read_tag(self) -> tuple[tuple[int, int], int]:
        """Read the next tag and the length of its value."""
        head = self.read_exactly(8)
        group, number, length = self.head.unpack(head)
        if not self.explicit or group == 0xFFFE:
            return (group, number), length
        self.kind = head[4:6]
        if self.kind in LONG:
            return (group, number), self.long.unpack(self.read_exactly(4))[0]
        if self.kind not in SHORT:
            raise NotDicomError("is not a DICOM file, or a damaged one")
        return (group, number), self.short.unpack(head[6:])[0]

    def skip_sequence(self, depth: int = 0) -> None:
        """Pass over items until the delimiter of a sequence of undefined length."""
        if depth > 32:
            raise NotDicomError("has sequences nested deeper than any real file")
        outside = self.explicit
        self.explicit = outside and self.kind != b"UN"  # what is of unknown type is implicit inside (PS3.5 6.2.2)
        while True:
            tag, length = self.read_tag()
            if tag == SEQUENCE_END:
                self.explicit = outside
                return
            if tag != ITEM:
                raise NotDicomError("is not a DICOM file, or a damaged one")
            if length != UNDEFINED:
                self.skip(length)
                continue
            while True:
                tag, length = self.read_tag()
                if tag == ITEM_END:
                    break
                if length == UNDEFINED:
                    self.skip_sequence(depth + 1)
                else:
                    self.skip(length)


def identify(stream: IO[bytes]) -> Identifiers:
    """Return the identifiers of the instance in `stream`. Raises NotDicomError."""
    start = stream.read(132)
    explicit, big = True, False
    source: Readable = stream
    if start[128:] == b"DICM":
        syntax = _read_syntax(stream)
        explicit, big = syntax != IMPLICIT, syntax == BIG_ENDIAN
        if syntax == DEFLATED:
            source = Inflated(stream)
    elif start[:2] == b"\x08\x00" and len(start) == 132:
        # From before there were preambles: the bare data set. Orthanc takes it, too.
        explicit = start[4:6].isalpha()
        source = _Chain(start, stream)
    else:
        raise NotDicomError("is not a DICOM file")
    values = _read_values(Elements(source, explicit, big))
    for tag, name in ((SOP_INSTANCE, "SOPInstanceUID"), (STUDY, "StudyInstanceUID"), (SERIES, "SeriesInstanceUID")):
        if not values.get(tag):
            raise NotDicomError(f"has no {name}")
    return Identifiers(
        _decode(values.get(PATIENT_ID, b""), values.get(CHARSET, b"")),
        *(_decode(values[tag], b"") or "" for tag in (STUDY, SERIES, SOP_INSTANCE)),
    )


class _Chain:
    """Bytes that were read already, and the rest."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self.start, self.rest = start, rest

    def read(self, size: int = -1) -> bytes:
        taken, self.start = self.start[:size], self.start[size:]
        return taken + self.rest.read(size - len(taken)) if len(taken) < size else taken


def _read_syntax(stream: IO[bytes]) -> str:
    """Read the transfer syntax from the file meta information; the data set is next in the stream."""
    elements = Elements(stream, explicit=True, big=False)
    tag, length = elements.read_tag()
    if tag != (0x0002, 0x0000) or length != 4:
        raise NotDicomError("has no length of its file meta information")
    left = elements.long.unpack(elements.read_exactly(4))[0]
    if not 0 < left <= 65536:
        raise NotDicomError("has a wrong length of its file meta information")
    meta = Elements(_Chain(elements.read_exactly(left), _Nothing()), explicit=True, big=False)
    syntax = ""
    while left > 0:
        try:
            tag, length = meta.read_tag()
            value = meta.read_exactly(length)
        except NotDicomError:
            break
        if tag == (0x0002, 0x0010):
            syntax = _decode(value, b"") or ""
        elif tag == (0x0002, 0x0002) and _decode(value, b"") == DIRECTORY:
            raise DirectoryError("is a DICOMDIR")
    if not syntax:
        raise NotDicomError("has no transfer syntax")
    return syntax


class _Nothing:
    def read(self, size: int = -1) -> bytes:
        return b""


def _read_values(elements: Elements) -> dict[tuple[int, int], bytes]:
    values: dict[tuple[int, int], bytes] = {}
    while SERIES not in values:
        try:
            tag, length = elements.read_tag()
        except NotDicomError:
            if not values:
                raise
            break
        if tag > SERIES:
            break
        if length == UNDEFINED:
            elements.skip_sequence()
        elif tag in (CHARSET, SOP_INSTANCE, PATIENT_ID, STUDY, SERIES):
            values[tag] = elements.read_exactly(min(length, 1024))
            elements.skip(length - min(length, 1024))
        else:
            elements.skip(length)
    return values


def _decode(value: bytes, charset: bytes) -> str | None:
    """Decode a value as Orthanc does: without padding; None where its meaning depends on Orthanc's settings.

    A space before the value counts, as tried with 1.10.1 and 1.12.7.
    """
    value = value.rstrip(b" \0")
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        codec = CODECS.get(charset.decode("ascii", "replace").strip(" \0"))
        try:
            return value.decode(codec) if codec else None
        except UnicodeDecodeError:
            return None
