"""The study list goes on whatever devices send; today's studies come first, and a search shows all that it matches."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator

import pytest
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from tests.samples.studies import SAMPLES, make_uid, to_bytes
from tests.support.lab import address, lab_hosts

testinfra_hosts = [address("full")]
PACS = f"https://{lab_hosts()['full']['ansible_host']}/pacs"
STUDIES = f"{PACS}/dicom-web/studies"
TODAY = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
# As the viewer asks.
LIST = f"{STUDIES}?limit=1001&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
MANY, NEW = 150, 20

TAGS = (
    *(
        "Modality",
        "StudyDate",
        "StudyTime",
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "StudyDescription",
        "StudyID",
    ),
    *("ReferringPhysicianName", "PatientBirthDate", "PatientSex", "SpecificCharacterSet"),
    *("SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "InstanceNumber", "Manufacturer"),
)
ODD: dict[str, Callable[[Dataset], object]] = {
    **{f"no {tag}": lambda image, tag=tag: tag in image and delattr(image, tag) for tag in TAGS},
    **{f"empty {tag}": lambda image, tag=tag: setattr(image, tag, "") for tag in TAGS},
    "several modalities": lambda image: setattr(image, "Modality", ["CT", "MR"]),
    "empty modalities": lambda image: setattr(image, "Modality", ["", ""]),
    "blank modality": lambda image: setattr(image, "Modality", "  "),
    "long modality": lambda image: setattr(image, "Modality", "not a modality at all"),
    "several dates": lambda image: setattr(image, "StudyDate", ["20240101", "20240202"]),
    "no such date": lambda image: setattr(image, "StudyDate", "20241399"),
    "text as date": lambda image: setattr(image, "StudyDate", "yesterday"),
    "text as time": lambda image: setattr(image, "StudyTime", "noon"),
    "old form of date": lambda image: setattr(image, "StudyDate", "2024.01.15"),
    "five groups": lambda image: setattr(image, "PatientName", "A=B=C=D=E"),
    "no alphabetic group": lambda image: setattr(image, "PatientName", "=山田^太郎=やまだ^たろう"),
    "first name empty": lambda image: setattr(image, "PatientName", ["", "Second^Name"]),
    "carets": lambda image: setattr(image, "PatientName", "^^^^"),
    "several descriptions": lambda image: setattr(image, "StudyDescription", ["a", "b"]),
    "long description": lambda image: setattr(image, "StudyDescription", "x" * 10000),
    "markup": lambda image: setattr(image, "StudyDescription", "<img src=x onerror=alert(1)>\"'&\r\n\x07"),
    "comma": lambda image: image.update({"StudyDescription": "CT Thorax, nativ", "PatientName": "Comma^Anna^Maria"}),
    "several IDs": lambda image: setattr(image, "PatientID", ["LIST1", "LIST2"]),
    "blank ID": lambda image: setattr(image, "PatientID", "  "),
}


def make(name: str, change: Callable[[Dataset], object], **values: str) -> bytes:
    """A small image of a study of its own."""
    image = SAMPLES["ct"].instance(0)
    image.PixelData = image.pixel_array[:16, :16].copy().tobytes()
    image.Rows = image.Columns = 16
    image.StudyInstanceUID = make_uid(f"list/{name}")
    image.SeriesInstanceUID = make_uid(f"list/{name}/series")
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = make_uid(f"list/{name}/image")
    image.PatientID, image.AccessionNumber, image.StudyDescription = f"LIST {name}"[:64], "LIST", "Study list"
    image.PatientName = f"List^{name}"[:64]
    for tag, value in values.items():
        setattr(image, tag, value)
    change(image)
    return to_bytes(image)


@pytest.fixture(scope="module", autouse=True)
def stored(web) -> Iterator[None]:
    """Odd studies, 150 old ones of one family name and 20 of today; gone afterwards."""
    mode = pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        files = [make(name, change) for name, change in ODD.items()]
    finally:
        pydicom_config.settings.writing_validation_mode = mode
    old = {"StudyDate": "20010101", "PatientName": "Zuse^Konrad"}
    files += [make(f"old {number}", lambda _image: None, **old) for number in range(MANY)]
    new = {"StudyDate": TODAY, "PatientName": "Today^List"}
    files += [make(f"new {n}", lambda _image: None, StudyTime=f"00{n:02d}00", **new) for n in range(NEW)]
    before = set(web.get(f"{PACS}/studies", timeout=30).json())
    answers = [web.post(f"{PACS}/instances", data=file, timeout=30) for file in files]
    assert {answer.status_code for answer in answers} == {200}
    yield
    added = sorted(set(web.get(f"{PACS}/studies", timeout=30).json()) - before)
    web.post(f"{PACS}/tools/bulk-delete", json={"Resources": added}, timeout=60).raise_for_status()


def values(study: dict, tag: str) -> list:
    return study.get(tag, {}).get("Value", [])


def search(web, query: str) -> list[str]:
    answer = web.get(f"{STUDIES}?{query}", timeout=30, headers={"Accept": "application/dicom+json"})
    assert answer.status_code == 200, answer.text
    return [values(study, "0020000D")[0] for study in answer.json()]


def test_the_list_goes_on_whatever_is_stored_and_today_comes_first(web):
    studies = web.get(LIST, timeout=30).json()
    listed = [values(study, "0020000D")[0] for study in studies]
    assert {make_uid(f"list/{name}") for name in ODD} <= set(listed)
    assert len(listed) == len(set(listed)) == len(web.get(f"{PACS}/studies", timeout=30).json())
    assert [listed.index(make_uid(f"list/new {number}")) for number in reversed(range(NEW))] == list(range(NEW))
    for study in studies:
        assert all(attribute["Value"] for attribute in study.values() if "Value" in attribute), study
        assert "Value" in study.get("00080061", {"Value": []}), (
            "the viewer's program fails at ModalitiesInStudy without a value"
        )
        assert not any(value is None for attribute in study.values() for value in attribute.get("Value", []))
    dates = [(values(study, "00080020") or [""])[0] for study in studies]
    dated = [day for day in dates if "0" <= day < ":"]
    assert dates[: len(dated)] == sorted(dated, reverse=True), "those without a date come last"
    pages = [uid for offset in range(0, len(listed) + 100, 100) for uid in search(web, f"limit=100&offset={offset}")]
    assert pages == listed


def test_a_search_shows_all_that_it_matches(web):
    assert len(search(web, "PatientName=*Zuse%5EK*&limit=1001&offset=0")) == MANY
    assert len(search(web, f"StudyDate={TODAY}&limit=1001&PatientName=*today*")) == NEW


QUERIES = [
    *(
        "",
        "PatientName=",
        "PatientName=*",
        "PatientName=*list*",
        "PatientName=LIST?no*",
        "PatientName=*=B*",
        "PatientName=nobody",
    ),
    *(
        "PatientID=LIST1",
        "00100020=*list*",
        "AccessionNumber=list",
        "StudyDescription=*study*",
        "StudyID=ct",
        "PatientSex=O",
    ),
    *(
        "StudyDate=20260112",
        "StudyDate=20010101-20251231",
        "StudyDate=20260113-",
        "StudyDate=-20250101",
        "StudyDate=yesterday",
    ),
    *(
        "StudyTime=0000-0900",
        "ModalitiesInStudy=CT",
        "ModalitiesInStudy=MR",
        "ModalitiesInStudy=CT,MR",
        "InstitutionName=*",
    ),
    *(
        "ReferringPhysicianName=*sample*",
        "PatientBirthDate=19000101-20300101",
        f"StudyInstanceUID={make_uid('list/carets')}",
    ),
    f"StudyInstanceUID={make_uid('list/carets')},{make_uid('list/markup')}",
]


@pytest.mark.parametrize("query", QUERIES)
def test_it_finds_what_the_archives_own_search_finds(web, query):
    """fuzzymatching=true goes to the archive's own search, which ignores it."""
    own = search(web, f"limit=1000&fuzzymatching=true&{query}".rstrip("&"))
    assert sorted(search(web, f"limit=1000&{query}")) == sorted(own)


DECODED = {
    "PatientName=List%5Eno*": {"PatientName": "List^no*"},
    "PatientName=*%E5%B1%B1*": {"PatientName": "*山*"},
    "StudyDescription=%3Cimg+src*": {"StudyDescription": "<img src*"},
    "StudyDescription=*%26*": {"StudyDescription": "*&*"},
    "ModalitiesInStudy=CT%2CMR": {"ModalitiesInStudy": "CT\\MR"},
    "StudyDescription=%22,%22Limit%22:1": {"StudyDescription": '","Limit":1'},
    "StudyDescription=CT%20Thorax,%20nativ": {"StudyDescription": "CT Thorax, nativ"},
}


@pytest.mark.parametrize("query", DECODED)
def test_encoded_criteria_find_what_they_mean(web, query):
    body = {"Level": "Study", "Query": DECODED[query], "Expand": True}
    expected = [
        study["MainDicomTags"]["StudyInstanceUID"]
        for study in web.post(f"{PACS}/tools/find", json=body, timeout=30).json()
    ]
    assert sorted(search(web, f"limit=1000&{query}")) == sorted(expected)


@pytest.mark.parametrize(
    "query",
    [
        "StudyDescription=*CT%20Thorax,%20nativ*",
        "StudyDescription=thorax%5CCT%20Thorax,%20nativ",
        "PatientName=*comma,%20anna%20m*",
        "PatientName=Comma%2CAnna%3FMaria",
        "PatientName=Comma%5EAnna%5EMaria",
    ],
)
def test_a_comma_is_part_of_a_value_and_separates_the_parts_of_a_name(web, query):
    assert search(web, f"limit=10&{query}") == [make_uid("list/comma")]


def test_loading_the_list_reads_no_file_and_warns_of_nothing(host, web):
    with host.sudo():
        time.sleep(1)
        before = host.check_output("docker logs lightbox-orthanc 2>&1 | grep -c 'W00[0-9]' || true")
        web.get(LIST, timeout=30).raise_for_status()
        assert host.check_output("sleep 1; docker logs lightbox-orthanc 2>&1 | grep -c 'W00[0-9]' || true") == before
        lines = host.check_output("sleep 1; tail -n 20 /var/log/lightbox/reverse_proxy/audit.log").splitlines()
    (line, *_rest) = [one for one in map(json.loads, reversed(lines)) if one["path"] == "/pacs/dicom-web/studies"]
    assert (line["status"], line["route"], line["user"]) == (200, "dicomweb", "admin")
    assert line["bytes_out"] > 1000
    assert float(line["archive_seconds"]) > 0


@pytest.mark.parametrize("path", ["system", "tools/find", "tools/count-resources"])
def test_nobody_reaches_the_archive_by_the_lists_own_way(web, path):
    assert web.get(f"{PACS.removesuffix('/pacs')}/_lightbox/archive/{path}", timeout=30).status_code == 404


def test_the_list_needs_a_login(web):
    answer = web.get(LIST, timeout=30, auth=("admin", "wrong"))
    assert answer.status_code == 401
    assert "PatientName" not in answer.text
