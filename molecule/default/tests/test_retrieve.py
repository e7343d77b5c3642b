"""What clients search, ask for and send: they find what they should, are answered or refused, and never end Orthanc."""

from __future__ import annotations

import io
import pathlib
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pydicom.data
import pytest
import requests
from pydicom import encaps, uid
from pynetdicom import _config, build_context

from tests.samples.studies import SAMPLES, to_bytes
from tests.support.dicom_nodes import ADDRESS, associated, image, new_uid
from tests.support.lab import address, wait_until_ready, web_session

testinfra_hosts = [address("full")]
PACS = f"https://{ADDRESS}/pacs"
WEB = f"{PACS}/dicom-web"
TIMEOUT = 60
BROKEN = {502, 503, 504}  # of the reverse proxy, when Orthanc has ended
JSON = {"Accept": "application/dicom+json"}
TEST_FILES = pathlib.Path(pydicom.data.__file__).parent / "test_files"
# Others than pydicom's: JPEG 2000's second part, retired ones, high-throughput JPEG 2000, and what is none.
SYNTAXES = [
    *map(str, uid.AllTransferSyntaxes),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (52, 55, 65, 92, 93, 94, 95, 110, 112, 201, 202, 203)),
    "1.2.840.10008.1.2.6.1",
    "1.2.840.113619.5.2",
    "1.2.3",
    "*",
]
SOME_SYNTAXES = [f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".5", *(f".4.{n}" for n in (50, 70, 80, 81, 90, 92)))]
MEDIA_TYPES = [f"image/{name}" for name in ("jpeg", "jls", "jp2", "jpx", "dicom-rle", "png")] + ["video/mp4"]

UIDS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}

Store = Callable[[bytes], dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def runs_since(host) -> Iterator[list[str]]:
    """Nothing here may end Orthanc, not even for a moment. The last item is when it was started."""
    since = [started(host)]
    yield since
    assert started(host) == since[-1], "Orthanc has ended during these tests"


def started(host) -> str:
    with host.sudo():
        return host.check_output("docker inspect --format '{{.RestartCount}} {{.State.StartedAt}}' lightbox-orthanc")


@pytest.fixture
def store(web) -> Iterator[Store]:
    """Store a file and return what Orthanc answers; its study is deleted after the test."""
    studies = set()

    def send(file: bytes) -> dict[str, str]:
        answer = web.post(f"{PACS}/instances", data=file, timeout=TIMEOUT)
        assert answer.status_code == 200, answer.text
        studies.add(answer.json()["ParentStudy"])
        return answer.json()

    yield send
    for study in studies:
        web.delete(f"{PACS}/studies/{study}", timeout=TIMEOUT)


# --- images in every transfer syntax


def multipart(media_type: str, syntax: str = "") -> dict[str, str]:
    return {"Accept": f'multipart/related; type="{media_type}"' + (f"; transfer-syntax={syntax}" if syntax else "")}


def path_of(web: requests.Session, stored: dict[str, str]) -> str:
    """The path of a stored image below the root of DICOMweb."""
    at = {"studies": stored["ParentStudy"], "series": stored["ParentSeries"], "instances": stored["ID"]}
    path = ""
    for level, identifier in at.items():
        tags = web.get(f"{PACS}/{level}/{identifier}", timeout=TIMEOUT).json()["MainDicomTags"]
        path += f"/{level}/{tags[UIDS[level]]}"
    return path


def transcode(web: requests.Session, stored: dict[str, str], syntax: str) -> requests.Response:
    body = {"Replace": {"PatientComments": "transcoded"}, "Transcode": syntax}
    return web.post(f"{PACS}/instances/{stored['ID']}/modify", json=body, timeout=TIMEOUT)


def ask_in_all_ways(web: requests.Session, stored: dict[str, str], syntaxes: list[str]) -> Iterator[tuple[str, int]]:
    """Ask for an image in all ways that transcode or draw it; yield each with the status of its answer."""
    instance = WEB + path_of(web, stored)
    frame, rest = f"{instance}/frames/1", f"{PACS}/instances/{stored['ID']}"
    questions = [(f"{instance}/rendered", {}), (f"{rest}/preview", {}), (instance, {"Accept": ""}), (instance, {})]
    questions += [(frame, multipart(media_type)) for media_type in ["application/octet-stream", *MEDIA_TYPES]]
    for syntax in ["", *syntaxes]:
        questions += [(instance, multipart("application/dicom", syntax))]
        questions += [(frame, multipart("application/octet-stream", syntax))]
        questions += [(f"{rest}/file?transcode={syntax}", {})]
    for url, headers in questions:
        yield f"{url} {headers}", web.get(url, headers=headers, timeout=TIMEOUT).status_code
    for syntax in syntaxes:
        yield f"modify with {syntax}", transcode(web, stored, syntax).status_code


def pixels(web: requests.Session, stored: dict[str, str]) -> bytes:
    """Decode an image through the archive."""
    answer = web.get(f"{PACS}/instances/{stored['ID']}/file?transcode={uid.ExplicitVRLittleEndian}", timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    return pydicom.dcmread(io.BytesIO(answer.content)).PixelData


# The second is in JPEG 2000, too; the third has 27 bytes of pixels, less than what any compression adds.
@pytest.mark.parametrize("file", ["JPEG2000.dcm", "sample j2k", "SC_rgb_small_odd.dcm", "ExplVR_BigEnd.dcm"])
def test_an_image_in_several_transfer_syntaxes(web, store, file):
    content = to_bytes(SAMPLES["j2k"].instance(0)) if file == "sample j2k" else (TEST_FILES / file).read_bytes()
    answers = dict(ask_in_all_ways(web, store(content), SOME_SYNTAXES))
    assert [one for one, status in answers.items() if status in BROKEN] == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("", {}),
        ("", {"Accept": ""}),
        ("", multipart("application/dicom")),
        ("", multipart("application/dicom", uid.JPEGLSLossless)),
        ("/frames/1", multipart("application/octet-stream")),
        ("/frames/1", multipart("image/jls")),
        ("/rendered", {}),
    ],
)
def test_a_jpeg_2000_image_as_the_standard_lets_a_client_ask_for_it(web, store, path, headers):
    stored = store((TEST_FILES / "JPEG2000.dcm").read_bytes())
    answer = web.get(WEB + path_of(web, stored) + path, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.RLELossless])
def test_transcoded_without_loss_the_pixels_are_the_same(web, store, syntax):
    stored = store((TEST_FILES / "JPEG2000.dcm").read_bytes())
    answer = transcode(web, stored, syntax)
    assert answer.status_code == 200, answer.text
    assert pydicom.dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == syntax
    assert pixels(web, store(answer.content)) == pixels(web, stored)


def all_images() -> Iterator[tuple[str, bytes]]:
    for sample in SAMPLES.values():
        yield f"sample {sample.key}", to_bytes(sample.instance(0))
    for path in sorted(TEST_FILES.rglob("*")):
        if path.suffix in ("", ".dcm") and path.is_file() and path.name != "DICOMDIR":
            yield str(path.relative_to(TEST_FILES)), path.read_bytes()


@pytest.mark.long
def test_every_image_in_every_transfer_syntax(host, web, runs_since):
    broken, answered = [], 0
    for name, content in all_images():
        answer = web.post(f"{PACS}/instances", data=content, timeout=TIMEOUT)
        assert answer.status_code not in BROKEN, name
        if answer.status_code == 200:
            stored = answer.json()
            for question, status in ask_in_all_ways(web, stored, SYNTAXES):
                answered += 1
                if status in BROKEN:
                    broken.append((name, question))
            assert started(host) == runs_since[-1], name
            web.delete(f"{PACS}/studies/{stored['ParentStudy']}", timeout=TIMEOUT)
    assert broken == []
    assert answered > 10_000


# --- images that are not what they say of themselves

FEWER_BYTES = {"none": lambda old: b"", "two": lambda old: old[:2], "half": lambda old: old[: len(old) // 4 * 2]}
MALFORMED = [
    {"Rows": 0},
    {"Columns": 0},
    {"Rows": 0, "Columns": 0},
    {"Rows": 65535, "Columns": 65535},
    {"Columns": 1000},
    {"Rows": 63, "PixelData": "half"},
    {"Rows": None, "Columns": None},
    {"SamplesPerPixel": 0},
    {"SamplesPerPixel": 65535},
    {"BitsAllocated": 0},
    {"BitsAllocated": 7},
    {"BitsStored": 0},
    {"BitsStored": 17, "HighBit": 31},
    {"PixelRepresentation": 2, "PlanarConfiguration": 65535},
    {"PhotometricInterpretation": "YBR_PARTIAL_422"},
    {"PhotometricInterpretation": "YBR_FULL_422", "BitsStored": 0},
    {"NumberOfFrames": "0"},
    {"NumberOfFrames": "3"},
    {"NumberOfFrames": "2147483647"},
    {"PixelData": "none"},
    {"PixelData": "two"},
    {"PixelData": "half"},
    {"PixelData": "empty fragments"},
    {"PixelData": "wrong offsets"},
    {"PixelData": "wrong segments"},
]
# In no, and in each compressed transfer syntax; of one frame and of several.
MALFORMED_LIKE = [
    *("CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_jp2klossless.dcm"),
    *("MR_small_jpeg_ls_lossless.dcm", "examples_ybr_color.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_jpeg_gdcm.dcm"),
]


def malformed(like: str, change: dict[str, object]) -> bytes:
    """One of pydicom's images with other elements; PixelData: what to do to the pixels."""
    data = pydicom.dcmread(TEST_FILES / like)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid.UID(new_uid())
    pixels = data["PixelData"]
    for name, value in change.items():
        if name != "PixelData":
            setattr(data, name, value)
        elif not pixels.is_undefined_length:
            pixels.value = FEWER_BYTES.get(value, FEWER_BYTES["half"])(pixels.value)
        else:
            fragments = list(encaps.generate_fragments(pixels.value))[1:] or [b""]  # the first are the offsets
            offsets = struct.pack("<II", 0, 0x7FFFFFFF) if value == "wrong offsets" else b""
            if value == "empty fragments":
                fragments = [b""] * len(fragments)
            elif value == "wrong segments":  # of RLE
                fragments = [b"\xff\xff\xff\x00" + fragment[4:] for fragment in fragments]
            elif value != "wrong offsets":
                fragments = [FEWER_BYTES[value](fragment) for fragment in fragments if value != "none"]
            parts = [struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in [offsets, *fragments]]
            pixels.value = b"".join(parts)
    return to_bytes(data)


def ask_for_malformed(host, web, runs_since, like: str, change: dict[str, object], syntaxes: list[str]) -> int:
    """Store such an image and ask for it in all ways. It may be refused, and may be answered with anything."""
    stored = web.post(f"{PACS}/instances", data=malformed(like, change), timeout=TIMEOUT)
    if stored.status_code != 200:
        assert stored.status_code == 400, stored.text
        return 0
    answers = list(ask_in_all_ways(web, stored.json(), syntaxes))
    for path in ("matlab", "numpy", "image-uint16", "frames/0/raw"):
        web.get(f"{PACS}/instances/{stored.json()['ID']}/{path}", timeout=TIMEOUT)
    web.delete(f"{PACS}/instances/{stored.json()['ID']}", timeout=TIMEOUT)
    assert started(host) == runs_since[-1], "Orthanc has ended"
    return len(answers)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of such values
@pytest.mark.parametrize(
    ("like", "change"),
    [
        ("CT_small.dcm", {"Rows": 0}),
        ("CT_small.dcm", {"PixelData": "none"}),
        ("examples_ybr_color.dcm", {"Columns": 1000}),
        ("examples_ybr_color.dcm", {"Rows": 63}),
        ("MR_small_RLE.dcm", {"PixelData": "wrong segments"}),
        ("SC_rgb_rle_2frame.dcm", {"PixelData": "empty fragments"}),
        ("SC_rgb_rle_2frame.dcm", {"PhotometricInterpretation": "YBR_PARTIAL_422"}),
    ],
)
def test_a_malformed_image_does_not_end_the_archive(host, web, runs_since, like, change):
    """Each of these did."""
    syntaxes = [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless, uid.JPEG2000Lossless]
    assert ask_for_malformed(host, web, runs_since, like, change, syntaxes)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("like", MALFORMED_LIKE)
def test_malformed_images_do_not_end_the_archive(host, web, runs_since, like):
    syntaxes = [*SOME_SYNTAXES, "1.2.840.10008.1.2.4.51", uid.JPEG2000MCLossless]
    answered = [ask_for_malformed(host, web, runs_since, like, change, syntaxes) for change in MALFORMED]
    assert len([one for one in answered if one]) > len(MALFORMED) / 2


def test_reading_while_others_are_deleted_does_not_hang_the_archive(web, runs_since):
    """With SQLite, the index and the cache of images waited for each other within seconds."""

    def read_and_delete(_number: int) -> list[int]:
        answers = []
        with web_session() as session:
            for _time in range(5):
                file = malformed("CT_small.dcm", {})
                stored = session.post(f"{PACS}/instances", data=file, timeout=TIMEOUT).json()["ID"]
                instance = f"{PACS}/instances/{stored}"
                answers += [session.get(f"{instance}/matlab", timeout=TIMEOUT).status_code for _again in range(3)]
                answers.append(session.delete(instance, timeout=TIMEOUT).status_code)
        return answers

    with ThreadPoolExecutor(8) as threads:
        answers = [answer for each in threads.map(read_and_delete, range(8)) for answer in each]
    assert len(answers) == 8 * 5 * 4
    assert 200 in answers
    assert web.get(f"{PACS}/statistics", timeout=TIMEOUT).status_code == 200


# --- what is nested too deep


def nested(levels: int, way: str) -> bytes:
    """Sequences in each other, as the elements of one data set in explicit VR little endian."""
    unknown = 0xFFFFFFFF
    item, end = (
        struct.pack("<HHI", 0xFFFE, 0xE000, unknown),
        struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0),
    )
    explicit = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, unknown)
    if way == "without lengths":
        return (explicit + item) * levels + end * levels
    if way == "UN":  # whose content is in implicit VR
        implicit = struct.pack("<HHI", 0x0040, 0xA730, unknown)
        first = struct.pack("<HH2sHI", 0x0040, 0xA730, b"UN", 0, unknown)
        return first + item + (implicit + item) * (levels - 1) + end * levels
    parts, size = [], 0
    for _level in range(levels):
        parts.append(struct.pack("<HH2sHIHHI", 0x0040, 0xA730, b"SQ", 0, size + 8, 0xFFFE, 0xE000, size))
        size += len(parts[-1])
    return b"".join(reversed(parts))


def deep_image(
    levels: int, way: str = "without lengths", like: str = "JPEG2000.dcm"
) -> tuple[bytes, pydicom.FileDataset]:
    """An image with nested sequences; like: a file of pydicom's in explicit VR little endian. Returns the whole too."""
    data = pydicom.dcmread(TEST_FILES / like)
    data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = new_uid(), new_uid(), uid.UID(new_uid())
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    mark = b"the sequences"
    data.add_new(0x0040A730, "OB", mark + b"\0")
    before, _unused, after = to_bytes(data).partition(mark + b"\0")
    del data[0x0040A730]
    return before[:-12] + nested(levels, way) + after, data


def stow(web: requests.Session, file: bytes) -> int:
    body = b"--part\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--part--\r\n"
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=part'}
    return web.post(f"{WEB}/studies", data=body, headers=headers, timeout=TIMEOUT).status_code


DEEP = [(65, "without lengths"), (2000, "with lengths"), (2000, "UN"), (100_000, "without lengths")]


@pytest.mark.parametrize(("levels", "way"), DEEP)
@pytest.mark.parametrize("like", ["JPEG2000.dcm", "CT_small.dcm"])
def test_an_image_that_is_nested_too_deep_is_refused(web, levels, way, like):
    file, data = deep_image(levels, way, like)
    assert web.post(f"{PACS}/instances", data=file, timeout=TIMEOUT).status_code == 400
    assert stow(web, file) in (400, 409)
    assert (
        web.get(f"{WEB}/studies?StudyInstanceUID={data.StudyInstanceUID}", headers=JSON, timeout=TIMEOUT).json() == []
    )


@pytest.mark.parametrize("way", ["without lengths", "with lengths", "UN"])
def test_an_image_with_64_levels_is_stored_and_read(web, store, way):
    file, data = deep_image(64, way)
    stored = store(file)
    answers = dict(ask_in_all_ways(web, stored, SOME_SYNTAXES))
    assert [one for one, status in answers.items() if status in BROKEN] == []
    tags = web.get(f"{PACS}/instances/{stored['ID']}/tags?short", timeout=TIMEOUT)
    assert tags.text.count('"0040,a730"') == 64
    assert web.get(f"{WEB}/studies/{data.StudyInstanceUID}/metadata", headers=JSON, timeout=TIMEOUT).status_code == 200


@pytest.mark.parametrize(("levels", "way"), [(64, "without lengths"), *DEEP])
def test_an_image_that_is_nested_too_deep_is_not_acknowledged(web, tmp_path, monkeypatch, levels, way):
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # pydicom could not read it either
    file, data = deep_image(levels, way, "CT_small.dcm")
    path = tmp_path / "deep.dcm"
    path.write_bytes(file)
    with associated("SCANNER", [build_context(data.SOPClassUID, data.file_meta.TransferSyntaxUID)]) as association:
        status = association.send_c_store(path).get("Status")
    found = web.get(f"{WEB}/studies?StudyInstanceUID={data.StudyInstanceUID}", headers=JSON, timeout=TIMEOUT).json()
    assert (status == 0x0000, len(found)) == ((True, 1) if levels == 64 else (False, 0))


def test_an_image_that_an_earlier_version_stored_nested_too_deep(host, web, store, runs_since):
    """Whoever asks for it gets an error. Orthanc is restarted, so that it reads the files from the disk."""
    sequences = nested(100_000, "without lengths")
    opening, closing = sequences[:20], sequences[-16:]  # of one level
    program = (
        "import sys; path, at = sys.argv[1], int(sys.argv[2]); old = open(path, 'rb').read();"
        f"open(path, 'wb').write(old[:at] + {opening!r} * 100_000 + {closing!r} * 100_000 + old[at:])"
    )
    images = []
    for like in ("JPEG2000.dcm", "CT_small.dcm"):  # read by GDCM, read by DCMTK
        file, data = deep_image(100_000, "without lengths", like)
        stored = store(to_bytes(data))
        name = web.get(f"{PACS}/instances/{stored['ID']}/attachments/dicom/info", timeout=TIMEOUT).json()["Uuid"]
        path = f"/var/lib/lightbox/orthanc/{name[:2]}/{name[2:4]}/{name}"
        with host.sudo():
            host.check_output("python3 -c %s %s %s", program, path, str(file.index(sequences)))
        images.append((file, data, stored))
    assert started(host) == runs_since[-1]
    with host.sudo():
        host.check_output("docker restart lightbox-orthanc")
    wait_until_ready(web, PACS)
    runs_since.append(started(host))

    for file, data, stored in images:
        instance = f"{PACS}/instances/{stored['ID']}"
        answers = dict(ask_in_all_ways(web, stored, SOME_SYNTAXES))
        for path in ("tags", "content", "attachments/dicom/data"):
            answers[path] = web.get(f"{instance}/{path}", timeout=TIMEOUT).status_code
        for path in ("archive", "media", "instances-tags"):
            answers[path] = web.get(f"{PACS}/series/{stored['ParentSeries']}/{path}", timeout=TIMEOUT).status_code
        for path in (f"/studies/{data.StudyInstanceUID}/metadata", f"/studies/{data.StudyInstanceUID}"):
            answers[path] = web.get(WEB + path, timeout=TIMEOUT).status_code
        assert [one for one, status in answers.items() if status in BROKEN] == []
        assert answers["tags"] == 400
        assert web.get(f"{instance}/file", timeout=TIMEOUT).content == file


@pytest.mark.parametrize("levels", [200, 999, 1001, 1_000_000])
@pytest.mark.parametrize("opening", ["[", '{"Tags":'])
@pytest.mark.parametrize("route", ["/tools/find", "/tools/create-dicom"])
def test_json_that_is_nested_too_deep_is_refused(web, levels, opening, route):
    answer = web.post(PACS + route, data=opening * levels, timeout=TIMEOUT)
    assert answer.status_code in (400, 413, 500), answer.text  # 413 is the reverse proxy's


@pytest.mark.parametrize("levels", [65, 400, 5000])
def test_what_could_not_be_read_again_is_not_made(web, store, levels):
    sequences = '"0040,a730":[{' * levels + '"CodeMeaning":"deep"' + "}]" * levels
    patient = f"DEEP-{new_uid()[-12:]}"
    made = web.post(
        f"{PACS}/tools/create-dicom", data=f'{{"Tags":{{"PatientID":"{patient}",{sequences}}}}}', timeout=TIMEOUT
    )
    assert made.status_code not in {200, *BROKEN}
    stored = store((TEST_FILES / "CT_small.dcm").read_bytes())
    changed = web.post(
        f"{PACS}/instances/{stored['ID']}/modify", data=f'{{"Replace":{{{sequences}}}}}', timeout=TIMEOUT
    )
    assert changed.status_code not in {200, *BROKEN}


# --- queries

DESCRIPTIONS = {
    "MR head phantom": "20260102",
    "one+two": "20260103",
    "100% Größe": "20260104",
    "A&B; C=D": "20260105",
    "back-to-back": "20260106",
}
PERSON = "Sample^Phantom"


@pytest.fixture(scope="module")
def studies(web) -> Iterator[dict[str, str]]:
    """One study for each description, of a patient with a name of two parts; the UIDs by their descriptions."""
    made, there = {}, []
    for number, (description, date) in enumerate(DESCRIPTIONS.items()):
        data = image(new_uid(), new_uid())
        data.SpecificCharacterSet = "ISO_IR 192"
        data.PatientID, data.PatientName = "SEARCHED ID", PERSON if number < 2 else "Müller^Anna-Ève"
        data.StudyDescription, data.StudyDate = description, date
        there.append(web.post(f"{PACS}/instances", data=to_bytes(data), timeout=TIMEOUT).json()["ParentStudy"])
        made[description] = data.StudyInstanceUID
    yield made
    for study in there:
        web.delete(f"{PACS}/studies/{study}", timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("StudyDescription=MR%20head%20phantom", 1),
        ("StudyDescription=MR+head+phantom", 1),
        ("StudyDescription=%4D%52%20%68ead%20phantom", 1),
        ("%53tudyDescription=MR%20head%20phantom", 1),
        ("00081030=MR%20head%20phantom", 1),
        ("StudyDescription=MR%20head*", 1),
        ("StudyDescription=MR%20head%2A", 1),
        ("StudyDescription=mr%20%2a", 1),
        ("StudyDescription=MR%20feet", 0),
        ("StudyDescription=one%2Btwo", 1),
        ("StudyDescription=one+two", 0),
        ("StudyDescription=100%25%20Gr%C3%B6%C3%9Fe", 1),
        ("StudyDescription=*Gr%C3%B6*", 1),
        ("StudyDescription=A%3FB%3B%20C%3DD", 1),  # ? finds the & that cannot be written
        ("StudyDescription=back%2Dto%2Dback", 1),
        ("StudyDescription=back-to-back", 1),
        ("PatientName=Sample%5EPhantom", 2),
        ("PatientName=Sample^Phantom", 2),
        ("PatientName=sample%5Ephan%2A", 2),
        ("PatientName=M%C3%BCller%5EAnna-%C3%88ve", 3),
        ("PatientName=M%c3%bcller%2a", 3),
        ("StudyDate=20260102%2D20260104", 3),
        ("StudyDate=20260102-20260104", 3),
        ("StudyDate=%2D20260103", 2),
        ("StudyDate=20260104%2d", 3),
        ("StudyDate=20260104", 1),
        ("StudyInstanceUID={0}", 1),
        ("StudyInstanceUID={0},{1}", 2),
        ("StudyInstanceUID={0}%2C{1}", 2),
        ("StudyInstanceUID={0}%2c{1}", 2),
        ("ModalitiesInStudy=CT%2COT", 5),
        ("StudyInstanceUID={0}%5C{1}", 2),
        ("StudyInstanceUID={0}\\{1}", 2),
        ("StudyDescription=MR%20head%20phantom&includefield=StudyDescription%2CPatientName", 1),
        ("limit=%32", 2),
        ("offset=%34", 1),
    ],
)
def test_a_search_finds_what_it_should(web, studies, query, expected):
    filled = query.format(*studies.values())
    answer = web.get(f"{WEB}/studies?PatientID=SEARCHED%20ID&{filled}", headers=JSON, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == expected


@pytest.mark.parametrize(
    "query",
    [
        "requestType=WADO&studyUID={study}&objectUID={instance}&contentType=application/dicom",
        "requestType=WADO&studyUID={study}&objectUID={instance}&contentType=application%2Fdicom",
        "requestType=%57ADO&objectUID={encoded}&contentType=application%2fdicom",
        "requestType=WADO&objectUID={encoded}&contentType=image%2Fjpeg",
    ],
)
def test_wado_uri_with_an_encoded_query(web, studies, query):
    study = studies["MR head phantom"]
    found = web.get(f"{WEB}/studies/{study}/instances", headers=JSON, timeout=TIMEOUT).json()
    instance = found[0]["00080018"]["Value"][0]
    filled = query.format(study=study, instance=instance, encoded=instance.replace(".", "%2E"))
    answer = web.get(f"{PACS}/wado?{filled}", timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_orthancs_own_routes_with_an_encoded_query(web, studies):
    asked = {"Level": "Study", "Query": {"StudyInstanceUID": studies["MR head phantom"]}}
    (study,) = web.post(f"{PACS}/tools/find", json=asked, timeout=TIMEOUT).json()
    for separator in (";", "%3B", "%3b"):
        query = f"requestedTags=PatientName{separator}ModalitiesInStudy"
        answer = web.get(f"{PACS}/studies/{study}?{query}", timeout=TIMEOUT).json()
        assert answer["RequestedTags"] == {"PatientName": PERSON, "ModalitiesInStudy": "OT"}, separator
    assert len(web.get(f"{PACS}/changes?limit=%31", timeout=TIMEOUT).json()["Changes"]) == 1


# --- files that tell wrong lengths, and broken JPEG 2000


def with_meta_header(*elements: bytes, length: int | None = None) -> bytes:
    """A small image with these elements in its meta header, and no transfer syntax but what stands there."""
    body = to_bytes(image(new_uid(), new_uid()))
    body = body[body.index(struct.pack("<HH", 0x0008, 0x0016)) :]
    header = b"".join(elements)
    preamble = bytes(128) + b"DICM" + element(0, "UL", struct.pack("<I", len(header) if length is None else length))
    return preamble + header + body


def element(number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element of the meta header, which may tell another length than its value has."""
    length = len(value) if length is None else length
    form = "<HH2sH" if vr in ("UI", "UL", "SH") else "<HH2sxxI"
    return struct.pack(form, 2, number, vr.encode(), length) + value


SYNTAX = element(0x10, "UI", b"1.2.840.10008.1.2.1\0")
VERSION = element(1, "OB", b"\0\1")
WRONG_LENGTHS = {
    "an element of 64 MB": with_meta_header(element(1, "OB", b"\0\1", 0x04000002), SYNTAX),
    "an element of 4 GB": with_meta_header(element(1, "OB", b"\0\1", 0xFFFFFFF0), SYNTAX),
    "an element without an end": with_meta_header(element(1, "OB", b"\0\1", 0xFFFFFFFF), SYNTAX),
    "a transfer syntax of 64 kB": with_meta_header(VERSION, element(0x10, "UI", b"1.2.840.10008.1.2.1\0", 0xFF14)),
    "a name of 64 kB": with_meta_header(VERSION, SYNTAX, element(0x13, "SH", b"NAME", 0xFFFE)),
    "half an element at the end": with_meta_header(VERSION, SYNTAX, element(1, "OB", b"")[:8]),
    "an element whose length is cut": with_meta_header(VERSION, SYNTAX, element(1, "OB", b"")[:10]),
    "a header of 4 GB": with_meta_header(VERSION, SYNTAX, length=0xFFFFFFFF),
    "a header of 1.5 GB": with_meta_header(VERSION, SYNTAX, length=0x60000000),
    "a header that is too short": with_meta_header(VERSION, SYNTAX, length=len(VERSION) + len(SYNTAX) - 5),
}


@pytest.mark.parametrize("file", WRONG_LENGTHS.values(), ids=list(WRONG_LENGTHS))
def test_wrong_lengths_in_the_meta_header(host, web, runs_since, file):
    """Stored or refused; no other memory is read, of which the log would tell as of a transfer syntax."""

    def count_refusals() -> str:
        with host.sudo():
            return host.check_output(
                "docker logs lightbox-orthanc 2>&1 | grep -ac 'Unsupported transfer syntax' || true"
            )

    before = count_refusals()
    answer = web.post(f"{PACS}/instances", data=file, timeout=TIMEOUT)
    statuses = {answer.status_code, stow(web, file)}
    if answer.status_code == 200:
        web.delete(f"{PACS}/studies/{answer.json()['ParentStudy']}", timeout=TIMEOUT)
    assert statuses <= {200, 400, 404, 409}
    assert web.get(f"{PACS}/system", timeout=TIMEOUT).status_code == 200
    assert count_refusals() == before
    assert started(host) == runs_since[-1]


def of_the_process(host, question: str) -> int:
    """A number that /proc tells of Orthanc."""
    with host.sudo():
        process = host.check_output("docker inspect --format '{{.State.Pid}}' lightbox-orthanc")
        return int(host.check_output(f"grep {question}: /proc/{process}/status | tr -dc 0-9"))


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x7FE00010, b"OW"), (0x00291010, b"OB"), (0x00291010, b"UN"), (0x0040A730, b"SQ")]
)
def test_a_length_takes_no_memory(host, web, tag, vr):
    """An element at the end of a small file that tells 0.8 GB: refused, or so much memory was not to be had."""
    file = with_meta_header(VERSION, SYNTAX)
    file = file[: file.index(struct.pack("<HH", 0x7FE0, 0x0010))]
    end = struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, vr, 0x30000000) + bytes(8)
    before = of_the_process(host, "VmHWM")
    assert web.post(f"{PACS}/instances", data=file + end, timeout=TIMEOUT).status_code in (400, 500)
    assert of_the_process(host, "VmHWM") < before + 400_000


def test_a_broken_jpeg_2000_image_leaves_no_threads(host, web, store):
    file = bytearray((TEST_FILES / "JPEG2000.dcm").read_bytes())
    file[file.index(b"\xff\x4f\xff\x51") + 98] = 0xFF  # a parameter of how it is coded
    path = f"{PACS}/instances/{store(bytes(file))['ID']}"
    before = of_the_process(host, "Threads")
    for _round in range(10):
        assert web.get(f"{path}/preview", timeout=TIMEOUT).status_code == 415
        assert web.get(f"{path}/file?transcode=1.2.840.10008.1.2.1", timeout=TIMEOUT).status_code == 404
    assert of_the_process(host, "Threads") <= before + 5
