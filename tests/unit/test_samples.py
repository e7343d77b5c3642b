# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample studies: fixed identifiers, readable pixels, geometry that volumes can be made of, a loader that tells."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom")
np = pytest.importorskip("numpy")
pytest.importorskip("pynetdicom")

from pydicom.dataset import Dataset  # noqa: E402
from pynetdicom import AE, evt  # noqa: E402

from tests.samples import cli, load, pdf, studies  # noqa: E402
from tests.samples.studies import SAMPLES, Sample, scratch, to_bytes  # noqa: E402

PICTURES = [key for key in SAMPLES if key != "pdf"]


def read(sample: Sample, index: int) -> Dataset:
    return pydicom.dcmread(io.BytesIO(to_bytes(sample.instance(index))))


# The studies


def test_uids_are_fixed_valid_and_unlike() -> None:
    uids = [uid for sample in SAMPLES.values() for uid in (sample.study_uid, sample.series_uid)]
    uids += [sample.instance_uid(index) for sample in SAMPLES.values() for index in range(sample.count)]
    assert len(set(uids)) == len(uids)
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)
    # These are in archives already: another value would load everything a second time.
    assert SAMPLES["ct"].study_uid == "2.25.115076294736384549605551040085598475856"
    assert SAMPLES["ct"].series_uid == "2.25.39887652695263304771461191767338420434"
    assert SAMPLES["pdf"].study_uid == "2.25.218672966812034197427451085254330142048"


@pytest.mark.parametrize("key", SAMPLES)
def test_same_instance_twice(key: str) -> None:
    assert to_bytes(SAMPLES[key].instance(0)) == to_bytes(SAMPLES[key].instance(0))


@pytest.mark.parametrize("key", SAMPLES)
def test_nobody_is_meant(key: str) -> None:
    dataset = read(SAMPLES[key], 0)
    assert str(dataset.PatientName).startswith("Sample^")
    assert dataset.PatientID.startswith("LIGHTBOX-DEMO-")
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.InstitutionName == "lightbox.pacs demo"
    assert dataset.PatientBirthDate == ""


@pytest.mark.parametrize("key", SAMPLES)
def test_file(key: str) -> None:
    sample = SAMPLES[key]
    dataset = read(sample, sample.count - 1)
    assert dataset.file_meta.TransferSyntaxUID == sample.transfer_syntax
    assert (
        dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID == sample.instance_uid(sample.count - 1)
    )
    assert dataset.SOPClassUID == sample.sop_class
    assert dataset.StudyInstanceUID == sample.study_uid
    assert dataset.SeriesInstanceUID == sample.series_uid
    assert dataset.InstanceNumber == sample.count
    for element in dataset:  # limits of the value representations that are filled by hand
        limit = {"SH": 16, "LO": 64, "CS": 16, "DS": 16}.get(element.VR)
        values = element.value if element.VM > 1 else [element.value]
        assert limit is None or all(len(str(value)) <= limit for value in values), element


@pytest.mark.parametrize("key", PICTURES)
def test_pixels(key: str) -> None:
    sample = SAMPLES[key]
    dataset = read(sample, sample.count // 2)
    pixels = dataset.pixel_array
    assert pixels.shape == ((256, 256) if key == "mr" else (512, 512))
    assert pixels.dtype == np.uint16
    assert pixels.max() < 4096
    assert len(np.unique(pixels)) > 500
    if sample.modality == "CT":
        hounsfield = pixels * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert hounsfield[0, 0] == -1024  # outside the reconstruction circle
        assert ((hounsfield > 0) & (hounsfield < 140)).mean() > 0.09  # soft tissue
        assert (hounsfield > 400).sum() > 1000  # bone
        assert (hounsfield < -980).mean() > 0.3  # air around the body


@pytest.mark.parametrize("key", ["j2k", "jls", "rle"])
def test_compression_loses_nothing(key: str) -> None:
    sample = SAMPLES[key]
    compressed = read(sample, 3)
    plain = studies.Sample(**{**sample.__dict__, "transfer_syntax": pydicom.uid.ExplicitVRLittleEndian})
    assert len(compressed.PixelData) < 300_000
    assert np.array_equal(compressed.pixel_array, read(plain, 3).pixel_array)


@pytest.mark.parametrize("key", PICTURES)
def test_slices_stack_to_a_volume(key: str) -> None:
    sample = SAMPLES[key]
    datasets = [sample.instance(index) for index in range(min(sample.count, 4))]
    positions = np.array([dataset.ImagePositionPatient for dataset in datasets], float)
    steps = np.diff(positions, axis=0)
    assert np.allclose(steps, steps[0])
    assert np.allclose(steps[0], (0, 0, -float(datasets[0].SpacingBetweenSlices)))
    assert len({dataset.FrameOfReferenceUID for dataset in datasets}) == 1
    rows, columns = datasets[0].pixel_array.shape
    spacing = [float(value) for value in datasets[0].PixelSpacing]
    # The middle of the image lies on the axis of the patient.
    assert positions[0][0] + spacing[1] * (columns - 1) / 2 == pytest.approx(0, abs=1e-3)
    assert positions[0][1] + spacing[0] * (rows - 1) / 2 == pytest.approx(0, abs=1e-3)
    pictures = [dataset.pixel_array.astype(int) for dataset in datasets]
    assert np.abs(pictures[0] - pictures[-1]).mean() > 5  # scrolling shows something


def test_pdf_is_well_formed() -> None:
    document = read(SAMPLES["pdf"], 0).EncapsulatedDocument
    assert document.startswith(b"%PDF-1.4\n")
    assert document.rstrip().endswith(b"%%EOF")
    assert len(document) % 2 == 0
    table = int(document.rsplit(b"startxref\n", 1)[1].split()[0])
    assert document[table:].startswith(b"xref\n0 7\n")
    offsets = [int(line[:10]) for line in document[table:].split(b"\n")[3:9]]
    for number, offset in enumerate(offsets, start=1):
        assert document[offset:].startswith(b"%d 0 obj\n" % number)


@pytest.mark.parametrize("text", ["(", ")", "\\", "a (b) \\ c"])
def test_pdf_escapes(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    assert f"({escaped}) Tj".encode() in pdf.one_page("Title", [text])


def test_pdf_refuses_what_it_cannot_write() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        pdf.one_page("Ä", [])


# The command line


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--output", str(tmp_path / "new" / "place"), "--only", "pdf,rle"]) == 0
    files = sorted(str(path.relative_to(tmp_path / "new" / "place")) for path in tmp_path.rglob("*.dcm"))
    assert files == ["pdf/0001.dcm"] + [f"rle/{number:04d}.dcm" for number in range(1, 11)]
    assert "11 instances" in capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert [entry["key"] for entry in json.loads(capsys.readouterr().out)] == list(SAMPLES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--output", "x", "--only", "xray"], "unknown sample 'xray'"),
        (["generate", "--output", "x", "--only", ","], "unknown sample"),
        (["load", "--url", "https://x", "--dicom", "4242"], "not HOST:PORT"),
        (["load", "--url", "https://x", "--dicom", "host:99999"], "not HOST:PORT"),
        (["load", "--url", "https://x", "--aet", "A" * 17], "not an AE title"),
        (["load", "--url", "https://x", "--calling-aet", "ÄRZTE"], "not an AE title"),
        (["load", "--url", "https://x", "--password", "secret"], "unrecognized arguments"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "admin"], "--password-file"),
        (["--user", "admin", "--password-file", "/nonexistent"], "/nonexistent"),
        (["--ca", "/nonexistent"], "no such file"),
        ([], "no answer"),
    ],
)
def test_cannot_start(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", "--url", "http://127.0.0.1:1/dicom-web", "--only", "pdf", *arguments]) == 1
    assert message in capsys.readouterr().err


# STOW-RS against a server that does as it is told


class Archive(ThreadingHTTPServer):
    """Keeps what it is sent; refuses SOP instances in ``refuse`` and forgets to mention those in ``forget``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stored: dict[str, bytes] = {}
        self.posts: list[dict[str, str]] = []
        self.refuse: dict[str, int] = {}
        self.forget: set[str] = set()
        self.status: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/dicom-web"


class _Handler(BaseHTTPRequestHandler):
    server: Archive
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.server.status:
            return self.answer(self.server.status, "no")
        found = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in self.server.stored]
        return self.answer(200, found)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append(dict(self.headers))
        boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
        done, failed = [], []
        for part in body.split(b"--" + boundary)[1:-1]:
            header, content = part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1)
            assert header == b"Content-Type: application/dicom"
            uid = str(pydicom.dcmread(io.BytesIO(content[:-2])).SOPInstanceUID)
            if uid in self.server.refuse:
                reason = {"vr": "US", "Value": [self.server.refuse[uid]]}
                failed.append({"00081155": {"vr": "UI", "Value": [uid]}, "00081197": reason})
            elif uid not in self.server.forget:
                self.server.stored[uid] = content[:-2]
                done.append({"00081155": {"vr": "UI", "Value": [uid]}})
        report = {"00081199": {"vr": "SQ", "Value": done}, "00081198": {"vr": "SQ", "Value": failed}}
        self.answer(202 if failed else 200, report)


@pytest.fixture
def archive() -> Iterator[Archive]:
    server = Archive()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_stow(archive: Archive) -> None:
    sample = scratch("unit", count=5)
    web = load.DicomWeb(archive.url, "admin", "geheim", None)
    tally = load.send_by_stow([sample], web, batch_bytes=60_000, progress=load.show_nothing)
    assert (tally.sent, tally.present, tally.refused) == (5, 0, [])
    assert archive.stored == {sample.instance_uid(index): to_bytes(sample.instance(index)) for index in range(5)}
    assert len(archive.posts) == 3  # two instances of 34 kB a batch
    assert all("Transfer-Encoding" not in post for post in archive.posts)
    assert tally.size == sum(map(len, archive.stored.values()))

    again = load.send_by_stow([sample], web, progress=load.show_nothing)
    assert (again.sent, again.present, len(archive.posts)) == (0, 5, 3)


def test_stow_refused(archive: Archive) -> None:
    sample = scratch("unit", count=4)
    archive.refuse = {sample.instance_uid(1): 0x0122, sample.instance_uid(2): 0xA701}
    archive.forget = {sample.instance_uid(3)}
    tally = load.send_by_stow([sample], load.DicomWeb(archive.url, None, None, None), progress=load.show_nothing)
    assert tally.sent == 1
    assert len(tally.refused) == 3
    assert "SOP class not supported" in tally.refused[0]
    assert "out of resources" in tally.refused[1]
    assert "not mentioned" in tally.refused[2]


@pytest.mark.parametrize(("status", "message"), [(401, "refused"), (403, "refused"), (500, "500"), (302, "302")])
def test_stow_status(archive: Archive, status: int, message: str) -> None:
    archive.status = status
    with pytest.raises(load.LoadError, match=message):
        load.send_by_stow([scratch("unit")], load.DicomWeb(archive.url, None, None, None), progress=load.show_nothing)


def test_load_tells(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_text("Zw9UnlikelyElsewhere\n")
    arguments = ["load", "--url", archive.url, "--user", "a", "--password-file", str(tmp_path / "password")]
    assert cli.main([*arguments, "--only", "pdf"]) == 0
    told = capsys.readouterr()
    assert "STOW-RS: 1 instances sent" in told.out
    assert "Zw9UnlikelyElsewhere" not in told.out + told.err
    archive.stored.clear()
    archive.refuse = {SAMPLES["pdf"].instance_uid(0): 0xC000}
    assert cli.main([*arguments, "--only", "pdf"]) == 1
    assert "cannot understand" in capsys.readouterr().err


# C-STORE against pynetdicom's own provider


class Provider:
    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.status = 0x0000
        entity = AE(ae_title="LIGHTBOX")
        entity.require_calling_aet = ["DEMO"]
        for sample in (SAMPLES["rle"], SAMPLES["mr"]):
            entity.add_supported_context(sample.sop_class, sample.transfer_syntax)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])
        assert server is not None
        assert server.socket is not None
        self.server = server
        self.port = server.socket.getsockname()[1]

    def store(self, event: evt.Event) -> int:
        self.stored[event.dataset.SOPInstanceUID] = event.context.transfer_syntax
        return self.status

    def node(self, calling: str = "DEMO") -> load.DicomNode:
        return load.DicomNode("127.0.0.1", self.port, "LIGHTBOX", calling)


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.server.shutdown()


def test_store(provider: Provider) -> None:
    sample = SAMPLES["rle"]
    there = {sample.instance_uid(index) for index in range(7)}
    tally = load.send_by_store([sample], provider.node(), known=lambda sample: set(there), progress=load.show_nothing)
    assert (tally.sent, tally.present, tally.refused) == (3, 7, [])
    assert provider.stored == {sample.instance_uid(index): pydicom.uid.RLELossless for index in (7, 8, 9)}


def test_store_unknown_syntax(provider: Provider) -> None:
    samples = [SAMPLES["jls"], SAMPLES["rle"]]
    there = {SAMPLES["rle"].instance_uid(index) for index in range(9)}
    tally = load.send_by_store(samples, provider.node(), known=lambda sample: set(there), progress=load.show_nothing)
    assert tally.sent == 1
    assert len(tally.refused) == 1
    assert "does not accept CT in JPEG-LS" in tally.refused[0]


def test_store_nothing_accepted(provider: Provider) -> None:
    with pytest.raises(load.LoadError, match="accepts none of"):
        load.send_by_store([SAMPLES["jls"]], provider.node(), progress=load.show_nothing)


def test_store_refused(provider: Provider) -> None:
    provider.status = 0xA700
    sample = SAMPLES["mr"]
    tally = load.send_by_store(
        [sample],
        provider.node(),
        known=lambda asked: {asked.instance_uid(index) for index in range(1, 24)},
        progress=load.show_nothing,
    )
    assert tally.sent == 0
    assert "0xA700 (out of resources)" in tally.refused[0]


def test_store_unknown_caller(provider: Provider) -> None:
    with pytest.raises(load.LoadError, match="is this name known there"):
        load.send_by_store([SAMPLES["mr"]], provider.node("NOBODY"), progress=load.show_nothing)


def test_store_nobody_listens() -> None:
    node = load.DicomNode("127.0.0.1", 1, "LIGHTBOX", "DEMO")
    with pytest.raises(load.LoadError, match="no DICOM connection"):
        load.send_by_store([SAMPLES["mr"]], node, progress=load.show_nothing)
