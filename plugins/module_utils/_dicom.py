# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""One tiny synthetic image as a DICOM Part-10 file, and the multipart bodies of DICOMweb.

Written by hand because a server that is checked need not have pydicom, and because a file of 1.5 KB that is known to
the last byte is what a check of "the same pixels came back" wants.
"""

from __future__ import annotations

import base64
import os
import struct
import time
import uuid
from dataclasses import dataclass

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# {2.25.<UUID as a decimal>}: the form of UID that anybody may make (DICOM PS3.5 B.2).
IMPLEMENTATION_CLASS = "2.25.172968571862354217653287469126497538241"
PATIENT_NAME = "LIGHTBOX^VERIFY"
DESCRIPTION = "Synthetic study of a check, may be deleted"
LONG_LENGTH = frozenset({"OB", "OW", "UN"})
JPEG_2000 = "1.2.840.10008.1.2.4.90"
# 32 x 32 pixels of 8 bits, without loss: the left half 0, the right half 200.
HALVES = base64.b64decode(
    "/0//UQApAAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABBwEB/1IADAAAAAEABQQEAAH/XAATQEBISFBISFBISFBISFBISFD/ZAAl"
    "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjL/kAAKAAAAAABOAAH/k8+0CAWvz8AIAw/H2goACCByEePH2hIAFyuff5GGu0lLx9oY"
    "ACFuB+2H4PbFMUO0oMfaGAA18j+rZw+0AwWGHH//2Q=="
)


@dataclass(frozen=True)
class SyntheticImage:
    """One image that is a study of its own. ``file`` is what is sent, ``pixels`` what must come back."""

    patient_id: str
    study_uid: str
    series_uid: str
    instance_uid: str
    rows: int
    columns: int
    pixels: bytes
    file: bytes


def new_uid() -> str:
    """A random UID under 2.25."""
    return f"2.25.{uuid.uuid4().int}"


def element(group: int, number: int, vr: str, value: bytes | str | int) -> bytes:
    """One data element in explicit VR little endian. An int is written as US; text and UIDs get an even length."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", group, number, vr.encode("ascii"))
    if vr in LONG_LENGTH:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def synthetic_image(patient_id: str, rows: int = 16, columns: int = 16) -> SyntheticImage:
    """A secondary capture of random 16-bit pixels of nobody. Every call makes a new study."""
    pixels = os.urandom(rows * columns * 2)
    return _build(patient_id, rows, columns, 16, pixels, EXPLICIT_LITTLE_ENDIAN, element(0x7FE0, 0x0010, "OW", pixels))


def compressed_image(patient_id: str) -> SyntheticImage:
    """The same in JPEG 2000; ``pixels`` are what a client must get that asks for uncompressed ones."""
    frame = HALVES + b"\0" * (len(HALVES) % 2)
    encapsulated = b"".join(
        (
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF),
            struct.pack("<HHI", 0xFFFE, 0xE000, 0),
            struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame,
            struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
        )
    )
    return _build(patient_id, 32, 32, 8, (b"\0" * 16 + b"\xc8" * 16) * 32, JPEG_2000, encapsulated)


def _build(
    patient_id: str, rows: int, columns: int, bits: int, pixels: bytes, syntax: str, pixel_data: bytes
) -> SyntheticImage:
    study, series, instance = new_uid(), new_uid(), new_uid()
    today, now = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    meta = b"".join(
        (
            element(0x0002, 0x0001, "OB", b"\x00\x01"),
            element(0x0002, 0x0002, "UI", SECONDARY_CAPTURE),
            element(0x0002, 0x0003, "UI", instance),
            element(0x0002, 0x0010, "UI", syntax),
            element(0x0002, 0x0012, "UI", IMPLEMENTATION_CLASS),
        )
    )
    dataset = b"".join(
        (
            element(0x0008, 0x0005, "CS", "ISO_IR 192"),
            element(0x0008, 0x0008, "CS", "DERIVED\\SECONDARY"),
            element(0x0008, 0x0016, "UI", SECONDARY_CAPTURE),
            element(0x0008, 0x0018, "UI", instance),
            element(0x0008, 0x0020, "DA", today),
            element(0x0008, 0x0030, "TM", now),
            element(0x0008, 0x0050, "SH", "VERIFY"),
            element(0x0008, 0x0060, "CS", "OT"),
            element(0x0008, 0x0064, "CS", "SYN"),
            element(0x0008, 0x0090, "PN", ""),
            element(0x0008, 0x1030, "LO", DESCRIPTION),
            element(0x0010, 0x0010, "PN", PATIENT_NAME),
            element(0x0010, 0x0020, "LO", patient_id),
            element(0x0010, 0x0030, "DA", ""),
            element(0x0010, 0x0040, "CS", "O"),
            element(0x0020, 0x000D, "UI", study),
            element(0x0020, 0x000E, "UI", series),
            element(0x0020, 0x0010, "SH", "1"),
            element(0x0020, 0x0011, "IS", "1"),
            element(0x0020, 0x0013, "IS", "1"),
            element(0x0028, 0x0002, "US", 1),
            element(0x0028, 0x0004, "CS", "MONOCHROME2"),
            element(0x0028, 0x0010, "US", rows),
            element(0x0028, 0x0011, "US", columns),
            element(0x0028, 0x0100, "US", bits),
            element(0x0028, 0x0101, "US", bits),
            element(0x0028, 0x0102, "US", bits - 1),
            element(0x0028, 0x0103, "US", 0),
            pixel_data,
        )
    )
    length = element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
    return SyntheticImage(
        patient_id=patient_id,
        study_uid=study,
        series_uid=series,
        instance_uid=instance,
        rows=rows,
        columns=columns,
        pixels=pixels,
        file=b"\0" * 128 + b"DICM" + length + meta + dataset,
    )


def stow_body(files: list[bytes]) -> tuple[str, bytes]:
    """The media type and body of a STOW-RS request."""
    boundary = uuid.uuid4().hex
    parts = b"".join(
        b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files
    )
    return (
        f'multipart/related; type="application/dicom"; boundary={boundary}',
        parts + b"--" + boundary.encode() + b"--\r\n",
    )


def first_part(media_type: str, body: bytes) -> bytes:
    """The content of the first part of a multipart body. Raises ``ValueError`` when it is none."""
    boundary = ""
    for parameter in media_type.split(";")[1:]:
        name, _unused, value = parameter.strip().partition("=")
        if name.lower() == "boundary":
            boundary = value.strip('"')
    if not media_type.lower().startswith("multipart/") or not boundary:
        raise ValueError(f"not a multipart answer but '{media_type}'")
    delimiter = b"--" + boundary.encode()
    # What stands before the first delimiter and after the last one is to be ignored (RFC 2046, 5.1.1).
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(pieces) < 3:
        raise ValueError("a multipart answer that is not closed")
    return pieces[1].partition(b"\r\n\r\n")[2]
