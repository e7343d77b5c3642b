"""DICOM nodes of other makers, run by this machine (dcmtk's programs and pynetdicom), and images of nobody to send."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from tests.support.lab import INVENTORY, lab_hosts, pacs_host

SERVER = lab_hosts()[pacs_host()]
ADDRESS = SERVER["ansible_host"]
PLAIN, TLS = 4242, 11112
ARCHIVE = "LIGHTBOX"
MODALITIES = {one["name"]: one for one in SERVER.get("pacs_modalities", [])}
CA = INVENTORY / ".secrets/ca/ca.pem"
# Must not appear in any log. No other test has these.
PATIENT_NAME, PATIENT_ID = "Quagga^Zebrina", "QZ-7718-X"
REFERRING, DESCRIPTION = "Okapi^Doctor", "Thylacine follow-up"
SIDE = 64
# Small packets are sent at once, which dcmtk leaves to whoever runs it.
ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
# pynetdicom brings programs of the same names, which come first in a virtual environment.
DCMTK = os.environ.get("DCMTK_PATH", "/usr/local/bin:/usr/bin:/bin")


def new_uid() -> str:
    return str(uid.generate_uid(prefix=None))


def image(study: str, series: str, number: int = 1, bits: int = 16) -> Dataset:
    """A secondary capture in explicit VR little endian: a ramp, with a line that tells its number. bits: 8, 12, 16."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid.UID(new_uid())
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20261121", "120000", "QZ-ACC", "1"
    data.Modality, data.ConversionType = "OT", "SYN"
    data.ReferringPhysicianName, data.StudyDescription = REFERRING, DESCRIPTION
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = PATIENT_NAME, PATIENT_ID, "", "O"
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.SeriesNumber, data.InstanceNumber = 1, number
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.Rows = data.Columns = SIDE
    data.BitsAllocated, data.BitsStored, data.HighBit = (8, 8, 7) if bits == 8 else (16, bits, bits - 1)
    pixels = np.add.outer(np.arange(SIDE), np.arange(SIDE)) * ((2**bits - 1) // (2 * SIDE))
    pixels[number % SIDE] = number % 2**bits
    data.PixelData = pixels.astype("uint8" if bits == 8 else "<u2").tobytes()
    return data


def write(data: Dataset, path: pathlib.Path) -> pathlib.Path:
    data.save_as(path, enforce_file_format=True)
    return path


def program_of_dcmtk(name: str) -> str:
    found = shutil.which(name, path=DCMTK)
    assert found, f"dcmtk's {name} is not in {DCMTK}; tests/setup installs dcmtk"
    return found


def dcmtk(program: str, *arguments: str | os.PathLike[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run one of dcmtk's programs."""
    return subprocess.run(
        [program_of_dcmtk(program), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def no_delay(event: evt.Event) -> None:
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def entity(title: str) -> AE:
    made = AE(ae_title=title)
    made.acse_timeout = made.dimse_timeout = made.network_timeout = 30
    made.connection_timeout = 5
    return made


@contextlib.contextmanager
def associated(title: str, contexts: list, called: str = ARCHIVE, **options) -> Iterator[Association]:
    """An association of pynetdicom with the archive, established or not."""
    association = entity(title).associate(
        ADDRESS,
        options.pop("port", PLAIN),
        ae_title=called,
        contexts=contexts,
        evt_handlers=[(evt.EVT_CONN_OPEN, no_delay), *options.pop("evt_handlers", [])],
        **options,
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


@dataclasses.dataclass
class Received:
    """What a node of ours was sent: SOP Instance UID → dataset with its transfer syntax."""

    images: dict[str, Dataset] = dataclasses.field(default_factory=dict)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def store(self, event: evt.Event) -> int:
        data = event.dataset
        data.file_meta = event.file_meta
        with self.lock:
            self.images[str(data.SOPInstanceUID)] = data
        return 0x0000

    def wait(self, count: int, seconds: float = 30) -> dict[str, Dataset]:
        end = time.monotonic() + seconds
        while len(self.images) < count and time.monotonic() < end:
            time.sleep(0.05)
        return self.images


@contextlib.contextmanager
def pynetdicom_listener(name: str) -> Iterator[Received]:
    """pynetdicom's storage SCP as the modality of the inventory that has this name."""
    received = Received()
    node = entity(MODALITIES[name]["aet"])
    node.require_called_aet = True
    for context in AllStoragePresentationContexts:
        node.add_supported_context(str(context.abstract_syntax), [str(syntax) for syntax in uid.AllTransferSyntaxes])
    node.add_supported_context(Verification)
    listener = node.start_server(
        ("", MODALITIES[name]["port"]), block=False, evt_handlers=[(evt.EVT_C_STORE, received.store)]
    )
    assert listener is not None
    try:
        yield received
    finally:
        listener.shutdown()


@contextlib.contextmanager
def dcmtk_listener(name: str, directory: pathlib.Path, *options: str) -> Iterator[pathlib.Path]:
    """dcmtk's storescp as the modality of the inventory that has this name; files land in the directory."""
    one = MODALITIES[name]
    process = subprocess.Popen(
        [program_of_dcmtk("storescp"), "-aet", one["aet"], "-od", str(directory), *options, str(one["port"])],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(one["port"])
        yield directory
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nothing listens on {port}"
            time.sleep(0.05)


def read(path: pathlib.Path) -> Dataset:
    return pydicom.dcmread(path)
