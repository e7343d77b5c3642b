# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The synthetic image that is written by hand, read by pydicom."""

from __future__ import annotations

import io

import numpy
import pydicom
import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _dicom


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (7, 5)])
def test_pydicom_reads_what_was_written(rows: int, columns: int) -> None:
    image = _dicom.synthetic_image("LIGHTBOX-VERIFY-ODD", rows, columns)
    read = pydicom.dcmread(io.BytesIO(image.file))
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == image.instance_uid
    assert read.file_meta.MediaStorageSOPClassUID == read.SOPClassUID == _dicom.SECONDARY_CAPTURE
    assert (read.StudyInstanceUID, read.SeriesInstanceUID) == (image.study_uid, image.series_uid)
    assert (read.PatientID, str(read.PatientName)) == ("LIGHTBOX-VERIFY-ODD", _dicom.PATIENT_NAME)
    assert (read.Rows, read.Columns, read.BitsAllocated) == (rows, columns, 16)
    assert read.PixelData == image.pixels
    expected = numpy.frombuffer(image.pixels, "<u2").reshape(rows, columns)
    assert (read.pixel_array == expected).all()


def test_pydicom_writes_the_same_bytes() -> None:
    image = _dicom.synthetic_image("LIGHTBOX-VERIFY-SAME")
    written = io.BytesIO()
    pydicom.dcmread(io.BytesIO(image.file)).save_as(written, enforce_file_format=False)
    assert written.getvalue() == image.file


def test_every_image_is_a_study_of_its_own() -> None:
    uids = [
        uid
        for image in (_dicom.synthetic_image("A"), _dicom.synthetic_image("A"))
        for uid in (image.study_uid, image.series_uid, image.instance_uid)
    ]
    assert len(set(uids)) == 6
    assert all(uid.startswith("2.25.") and len(uid) <= 64 and pydicom.uid.UID(uid).is_valid for uid in uids)


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--", b"a\r\n--not the boundary\r\n", bytes(range(256))])
def test_multipart_gives_back_what_went_in(content: bytes) -> None:
    media_type, body = _dicom.stow_body([content, b"second"])
    assert _dicom.first_part(media_type, body) == content
    assert _dicom.first_part(media_type, b"to be ignored\r\n" + body + b"also") == content


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/related", b"--b\r\n\r\nx\r\n--b--"),
        ("multipart/related; boundary=b", b"--b\r\n\r\ncut off"),
        ("multipart/related; boundary=b", b""),
    ],
)
def test_what_is_no_multipart_is_refused(media_type: str, body: bytes) -> None:
    with pytest.raises(ValueError, match="multipart"):
        _dicom.first_part(media_type, body)
