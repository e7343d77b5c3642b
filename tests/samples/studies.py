# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample studies: what is in them, and their instances one at a time.

All identifiers are hashed from fixed names, so that sending the studies twice makes nothing twice.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from . import pdf, phantom

NAMESPACE = uuid.UUID("6c696768-7462-4f78-8061-637373616d70")
IMPLEMENTATION_VERSION = "LIGHTBOX_SAMPLES"
Way = Literal["stow", "store"]


def make_uid(name: str) -> str:
    """A UID below 2.25 that is always the same for the same name."""
    return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"


@dataclass(frozen=True)
class Sample:
    """One study with one series.

    key: its name on the command line; way: how the loader sends it; taken: date and time (YYYYMMDDHHMM);
    seed: prefix of its UIDs (its key unless a test wants a study of its own).
    """

    key: str
    title: str
    patient_id: str
    patient_name: str
    study_description: str
    series_description: str
    modality: str
    sop_class: str
    transfer_syntax: str
    count: int
    way: Way
    build: Callable[[Sample, int], Dataset]
    taken: str
    seed: str = ""

    @property
    def study_uid(self) -> str:
        return make_uid(f"{self.seed or self.key}/study")

    @property
    def series_uid(self) -> str:
        return make_uid(f"{self.seed or self.key}/series")

    def instance_uid(self, index: int) -> str:
        return make_uid(f"{self.seed or self.key}/instance/{index}")

    def instance(self, index: int) -> Dataset:
        """Instance ``index`` (0 …), complete with its file meta information."""
        return self.build(self, index)

    def instances(self) -> Iterator[Dataset]:
        """Make the instances one at a time."""
        return (self.instance(index) for index in range(self.count))


def to_bytes(dataset: Dataset) -> bytes:
    """The instance as a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _common(sample: Sample, index: int) -> Dataset:
    """Patient, study, series, equipment and SOP common modules."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID(sample.sop_class)
    meta.MediaStorageSOPInstanceUID = uid.UID(sample.instance_uid(index))
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid.UID(make_uid("implementation"))
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION

    ds = Dataset()
    ds.file_meta = meta
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sample.sop_class
    ds.SOPInstanceUID = sample.instance_uid(index)
    ds.PatientName = sample.patient_name
    ds.PatientID = sample.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic data, no person behind it"
    ds.StudyInstanceUID = sample.study_uid
    ds.StudyID = sample.key.upper()
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = sample.taken[:8]
    ds.StudyTime = ds.SeriesTime = sample.taken[8:] + "00"
    ds.ContentTime = f"{sample.taken[8:10]}{int(sample.taken[10:]) + index // 60:02d}{index % 60:02d}"
    ds.AccessionNumber = f"DEMO-{sample.key.upper()}"
    ds.ReferringPhysicianName = "Sample^Doctor"
    ds.StudyDescription = sample.study_description
    ds.Modality = sample.modality
    ds.SeriesInstanceUID = sample.series_uid
    ds.SeriesNumber = 1
    ds.SeriesDescription = sample.series_description
    ds.InstanceNumber = index + 1
    ds.Manufacturer = "lightbox.pacs"
    ds.ManufacturerModelName = "Arithmetic phantom"
    ds.InstitutionName = "lightbox.pacs demo"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    return ds


def _image(
    sample: Sample, index: int, pixels: phantom.Image, canvas: phantom.Canvas, height: float, step: float
) -> Dataset:
    """Frame of reference, image plane and image pixel modules; an axial image of a patient lying on the back.

    pixels: values from 0 to 4095; height: z of the slice in the patient (mm), step: distance of slices (mm).
    """
    ds = _common(sample, index)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionDate, ds.AcquisitionTime = ds.ContentDate, ds.ContentTime
    ds.AcquisitionNumber = 1
    ds.PatientPosition = "HFS"
    ds.FrameOfReferenceUID = make_uid(f"{sample.seed or sample.key}/frame")
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    origin = round(canvas.origin, 6)
    ds.ImagePositionPatient = [origin, origin, round(height, 3)]
    ds.SliceLocation = round(height, 3)
    ds.PixelSpacing = [canvas.spacing, canvas.spacing]
    ds.SliceThickness = step
    ds.SpacingBetweenSlices = step
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    stored = np.rint(pixels).astype("<u2")
    if sample.transfer_syntax == uid.ExplicitVRLittleEndian:
        ds.PixelData = stored.tobytes()
        ds["PixelData"].VR = "OW"
    else:
        ds.compress(sample.transfer_syntax, stored, generate_instance_uid=False)
    return ds


def _ct(sample: Sample, index: int, thorax: phantom.Thorax, depth: float, step: float) -> Dataset:
    hounsfield = thorax.slice(depth, seed=int(sample.instance_uid(index)[5:]) % 2**63)
    ds = _image(sample, index, hounsfield + 1024, thorax.canvas, 1500 - depth, step)
    ds.BodyPartExamined = "CHEST"
    ds.ProtocolName = "Chest phantom"
    ds.ScanOptions = "HELICAL"
    ds.KVP = 120
    ds.XRayTubeCurrent = 200
    ds.ExposureTime = 500
    ds.GantryDetectorTilt = 0
    ds.DataCollectionDiameter = 500
    ds.ReconstructionDiameter = 400
    ds.ConvolutionKernel = "STANDARD"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = [40, -600], [400, 1500]
    ds.WindowCenterWidthExplanation = ["SOFT TISSUE", "LUNG"]
    return ds


_CANVASES: dict[str, phantom.Thorax] = {}


def _thorax(key: str, size: int, shift: tuple[float, float]) -> phantom.Thorax:
    """One phantom per series: its grids are made once and kept only for the series at work."""
    if key not in _CANVASES:
        _CANVASES.clear()
        _CANVASES[key] = phantom.Thorax(size, shift=shift)
    return _CANVASES[key]


def _chest(sample: Sample, index: int) -> Dataset:
    return _ct(sample, index, _thorax(sample.key, 512, (0.0, 0.0)), depth=2.5 * index, step=2.5)


def _chest_part(first: float, shift: tuple[float, float]) -> Callable[[Sample, int], Dataset]:
    def build(sample: Sample, index: int) -> Dataset:
        return _ct(sample, index, _thorax(sample.key, 512, shift), depth=first + 5.0 * index, step=5.0)

    return build


def _small_chest(sample: Sample, index: int) -> Dataset:
    return _ct(sample, index, _thorax(sample.key, 128, (0.0, 0.0)), depth=140 + 5.0 * index, step=5.0)


def _head(sample: Sample, index: int) -> Dataset:
    head, step = phantom.Head(), 5.0
    height = 57 - step * index
    ds = _image(sample, index, head.slice(height, seed=index), head.canvas, height, step)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.BodyPartExamined = "HEAD"
    ds.ProtocolName = "Head phantom T1"
    ds.ScanningSequence = "SE"
    ds.SequenceVariant = "SK"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.SequenceName = "phantom_se"
    ds.RepetitionTime = 550
    ds.EchoTime = 14
    ds.EchoTrainLength = 1
    ds.FlipAngle = 90
    ds.MagneticFieldStrength = 1.5
    ds.ImagedNucleus = "1H"
    ds.NumberOfAverages = 1
    ds.WindowCenter, ds.WindowWidth = 800, 1600
    return ds


def _report(sample: Sample, index: int) -> Dataset:
    ds = _common(sample, index)
    document = pdf.one_page(
        "Sample report",
        [
            "Patient: Sample Phantom (LIGHTBOX-DEMO-1)",
            "Study: CT of the chest, phantom, 12 January 2026",
            "",
            "This page was written by the demonstration of lightbox.pacs.",
            "No person was examined: the images are made by arithmetic.",
            "",
            "Findings",
            "A round nodule of 16 mm in the right upper lobe, put there to be found.",
            "Heart, great vessels, liver, spleen and kidneys are made of ellipses.",
            "A level of air and fluid in the stomach. No ellipse is missing.",
            "",
            "Conclusion",
            "The archive stores documents, and the viewer shows them.",
        ],
    )
    ds.AcquisitionDateTime = sample.taken + "00"
    ds.ConversionType = "WSD"
    ds.BurnedInAnnotation = "NO"
    ds.DocumentTitle = "Sample report"
    ds.ConceptNameCodeSequence = Sequence()
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = document
    ds.EncapsulatedDocumentLength = len(document)
    return ds


_THORAX = ("LIGHTBOX-DEMO-1", "Sample^Phantom")
_HEAD = ("LIGHTBOX-DEMO-2", "Sample^Head")
_CODECS = ("LIGHTBOX-DEMO-3", "Sample^Codec")
_PLAIN = uid.ExplicitVRLittleEndian

SAMPLES: dict[str, Sample] = {
    sample.key: sample
    for sample in (
        Sample(
            "ct", "CT chest, 120 slices", *_THORAX, "CT chest phantom", "Chest 2.5 mm", "CT",
            uid.CTImageStorage, _PLAIN, 120, "stow", _chest, "202601120930",
        ),
        Sample(
            "pdf", "report (PDF)", *_THORAX, "Report of the CT chest phantom", "Report", "DOC",
            uid.EncapsulatedPDFStorage, _PLAIN, 1, "stow", _report, "202601121015",
        ),
        Sample(
            "mr", "MR head, 24 slices", *_HEAD, "MR head phantom", "T1 axial 5 mm", "MR",
            uid.MRImageStorage, _PLAIN, 24, "store", _head, "202601091405",
        ),
        Sample(
            "j2k", "CT in JPEG 2000 (lossless)", *_CODECS, "CT phantom, JPEG 2000 lossless", "JPEG 2000 lossless", "CT",
            uid.CTImageStorage, uid.JPEG2000Lossless, 10, "store", _chest_part(60, (-18, 6)), "202601050810",
        ),
        Sample(
            "jls", "CT in JPEG-LS (lossless)", *_CODECS, "CT phantom, JPEG-LS lossless", "JPEG-LS lossless", "CT",
            uid.CTImageStorage, uid.JPEGLSLossless, 10, "store", _chest_part(130, (16, -8)), "202601050820",
        ),
        Sample(
            "rle", "CT in RLE (lossless)", *_CODECS, "CT phantom, RLE lossless", "RLE lossless", "CT",
            uid.CTImageStorage, uid.RLELossless, 10, "store", _chest_part(230, (4, -16)), "202601050830",
        ),
    )
}  # fmt: skip


def scratch(name: str, count: int = 3) -> Sample:
    """A small study for a test to create and delete: 128x128, UIDs hashed from ``name``."""
    return Sample(
        "scratch", "scratch study", "LIGHTBOX-TEST", "Sample^Scratch", f"Scratch {name}"[:64], "Scratch", "CT",
        uid.CTImageStorage, _PLAIN, count, "stow", _small_chest, "202601010800", seed=f"scratch/{name}",
    )  # fmt: skip
