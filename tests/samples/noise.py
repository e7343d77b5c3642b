# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of noise, each another one: for tests of faults, which ask whether what comes back is what went in."""

from __future__ import annotations

import io
import secrets

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage


def new_uid() -> str:
    return f"2.25.{secrets.randbits(120)}"


def instance(
    study: str,
    series: str,
    number: int,
    side: int = 512,
    patient: str = "LIGHTBOX-FAULT",
    name: str = "Noise^Test",
    description: str = "",
) -> tuple[str, bytes]:
    """A secondary capture of random pixels: its SOP Instance UID, and the file. patient is an ID."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(new_uid())
    data = Dataset()
    data.file_meta = meta
    data.PatientID, data.PatientName = patient, name
    if description:
        data.StudyDescription = description
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.InstanceNumber = "OT", number
    data.Rows = data.Columns = side
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelData = secrets.token_bytes(side * side * 2)
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return data.SOPInstanceUID, file.getvalue()
