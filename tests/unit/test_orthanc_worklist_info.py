"""The module orthanc_worklist_info: what a folder or the API of the newer plugin lists; against scripted archives."""

from __future__ import annotations

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._worklist import build_file, normalize

from tests.support.orthanc_server import archive, call, error, run_module

LIST = "/worklists?format=Simplify"
NO_API = call("GET", LIST, error(404, "Unknown resource"), status=404)
PLUGINS = call("GET", "/plugins", ["explorer.js", "worklists"])


def entry(number: str, *steps: dict, **more) -> dict:
    return normalize(
        {
            "AccessionNumber": number,
            "PatientID": f"P-{number}",
            "PatientName": "Müller^Änne",
            "OtherPatientIDs": ["a", "b"],
            "StudyInstanceUID": f"1.2.{number}",
            "ScheduledProcedureStepSequence": list(steps),
            **more,
        }
    )


CT = {"ScheduledStationAETitle": "CT1", "Modality": "CT", "ScheduledProcedureStepStartDate": "20261224"}
MR = {"ScheduledStationAETitle": "MR1", "Modality": "MR", "ScheduledProcedureStepStartDate": "20261231"}
AT = "ScheduledProcedureStepStartTime"
ENTRIES = {
    "one": entry("1", {**CT, AT: "0930"}),
    "two": entry("2", MR, PatientName="Doe^J[1]"),
    "three": entry("3", {**CT, "ScheduledProcedureStepStartDate": "20270101"}, MR, StudyInstanceUID=None),
}


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_worklist_info", {"url": played.url, **arguments}, check)


def names(done: dict) -> list[str]:
    assert done["changed"] is False, done
    return [one["name"] for one in done["worklists"]]


@pytest.fixture
def folder(tmp_path):
    for name, tags in ENTRIES.items():
        (tmp_path / f"{name}.wl").write_bytes(build_file(name, tags))
    return tmp_path


def listed() -> list[dict]:
    """As the plugin answers: several values with backslashes, and what it adds by itself."""
    return [
        {
            "ID": name,
            "CreationDate": "20261101T120000",
            "Tags": {**tags, "OtherPatientIDs": "a\\b", "SpecificCharacterSet": "ISO_IR 192"},
        }
        for name, tags in ENTRIES.items()
    ]


@pytest.mark.parametrize("check", [False, True])
def test_a_folder(folder, check):
    done = run(NO_API, PLUGINS, folder=str(folder), check=check)
    assert names(done) == ["one", "three", "two"]
    assert (done["way"], done["truncated"], done["unreadable"], done["warnings"]) == ("folder", False, [], [])
    assert done["worklists"][0] == {
        "name": "one",
        "path": str(folder / "one.wl"),
        "study_instance_uid": "1.2.1",
        "accession_number": "1",
        "patient_id": "P-1",
        "patient_name": "Müller^Änne",
        "tags": ENTRIES["one"],
    }
    assert done["worklists"][1]["study_instance_uid"] == ""


@pytest.mark.parametrize("check", [False, True])
def test_an_api(folder, check):
    done = run(call("GET", LIST, listed()), check=check)
    assert names(done) == ["one", "three", "two"]
    assert (done["way"], done["worklists"][0]["path"]) == ("rest", "/worklists/one")
    found = run(PLUGINS, folder=str(folder), way="folder")
    for mine, file in zip(done["worklists"], found["worklists"], strict=True):
        assert {**mine, "path": ""} == {**file, "path": ""}


def test_an_api_is_not_told_the_folder(folder):
    assert run(call("GET", LIST, []), folder=str(folder))["worklists"] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["one", "three", "two"]),
        ({"AccessionNumber": "2"}, ["two"]),
        ({"AccessionNumber": 2}, ["two"]),
        ({"AccessionNumber": ["1", "3", "4"]}, ["one", "three"]),
        ({"PatientID": "p-?"}, ["one", "three", "two"]),
        ({"PatientID": "P"}, []),
        ({"PatientName": "müller*"}, ["one", "three"]),
        ({"PatientName": "doe^j[1]"}, ["two"]),
        ({"PatientName": "*"}, ["one", "three", "two"]),
        ({"ScheduledProcedureStepStartDate": "2027*"}, ["three"]),
        ({"OtherPatientIDs": "b"}, ["one", "three", "two"]),
        ({"Modality": "CT"}, ["one", "three"]),
        ({"Modality": "MR", "ScheduledStationAETitle": "MR*"}, ["three", "two"]),
        # Of one and the same step.
        ({"Modality": "CT", "ScheduledStationAETitle": "MR1"}, []),
        ({"ScheduledProcedureStepStartDate": "20261224"}, ["one"]),
        ({"ScheduledProcedureStepStartDate": "20261201-20261231"}, ["one", "three", "two"]),
        ({"ScheduledProcedureStepStartDate": "-20261230"}, ["one"]),
        ({"ScheduledProcedureStepStartDate": "20270101-"}, ["three"]),
        ({AT: "0900-09"}, ["one"]),
        ({AT: "-0929"}, []),
        ({AT: "0931-"}, []),
        ({"StudyInstanceUID": "1.2.?"}, ["one", "two"]),
        ({"StudyInstanceUID": "1.2.1", "AccessionNumber": "2"}, []),
    ],
)
def test_queries(folder, query, found):
    assert names(run(PLUGINS, folder=str(folder), way="folder", query=query)) == found
    assert names(run(call("GET", LIST, listed()), query=query)) == found


def test_capital_letters(folder):
    options = {"folder": str(folder), "way": "folder", "case_sensitive": True}
    assert names(run(PLUGINS, query={"PatientID": "p-1"}, **options)) == []
    assert names(run(PLUGINS, query={"PatientID": "P-1"}, **options)) == ["one"]


def test_one_entry(folder):
    (folder / "bad.wl").write_bytes(b"of no interest")
    done = run(PLUGINS, folder=str(folder), way="folder", name="two")
    assert (names(done), done["unreadable"]) == (["two"], [])
    assert names(run(call("GET", LIST, listed()), name="two")) == ["two"]
    assert names(run(call("GET", LIST, listed()), name="nobody")) == []


def test_the_limit(folder):
    options = {"folder": str(folder), "way": "folder"}
    done = run(PLUGINS, limit=2, **options)
    assert (names(done), done["truncated"]) == (["one", "three"], True)
    assert "There are 3 that match" in done["warnings"][0]
    for limit in (0, 3):
        done = run(PLUGINS, limit=limit, **options)
        assert (len(names(done)), done["truncated"], done["warnings"]) == (3, False, [])
    assert "limit is -1" in run(limit=-1, **options)["msg"]


def test_what_else_is_in_a_folder(folder):
    """The plugin passes over what does not end with .wl; a damaged file is told and does no harm."""
    (folder / "one.wl").rename(folder / "ONE.WL")
    (folder / "two.wl").rename(folder / "two.txt")
    (folder / "folder.wl").mkdir()
    (folder / ".ansible-draft").write_bytes(b"x")
    whole = (folder / "three.wl").read_bytes()
    (folder / "half.wl").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wl").write_bytes(b"")
    done = run(PLUGINS, folder=str(folder), way="folder")
    assert names(done) == ["ONE", "three"]
    assert done["unreadable"] == [
        f"{folder}/{name}.wl is not a worklist entry or is damaged" for name in ("empty", "half")
    ]
    assert "2 files of the worklist cannot be read" in done["warnings"][0]


def test_a_file_says_its_characters(folder):
    (folder / "two.wl").unlink()
    latin = build_file("x", ENTRIES["one"]).replace("Müller^Änne ".encode(), b"M\xfcller^\xc4nne   ")
    (folder / "x.wl").write_bytes(latin.replace(b"ISO_IR 192", b"ISO_IR 100"))
    done = run(PLUGINS, folder=str(folder), way="folder", name="x")
    assert done["worklists"][0]["patient_name"] == "Müller^Änne"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            {"PatientNme": "x"},
            "query.PatientNme is not a worklist attribute that this module supports; did you mean Pat",
        ),
        ({"ScheduledProcedureStepSequence": [{"Modality": "CT"}]}, "Give the attributes in its steps without it"),
        ({"PatientID": {"a": 1}}, "query.PatientID is not text"),
        ({"PatientID": [True]}, "query.PatientID is not text"),
        # Of a variable that was not set: what is found may be removed next.
        ({"PatientID": ""}, "query.PatientID is empty, and would match everything"),
        ({"PatientID": None}, "query.PatientID is empty"),
        ({"PatientID": ["1", ""]}, "query.PatientID is empty"),
        ({"PatientID": []}, "query.PatientID is empty"),
        ({"ScheduledProcedureStepStartDate": "2026-12-24"}, "is '2026-12-24'. Set it to a value such as 20261121, or"),
        ({"ScheduledProcedureStepStartDate": "20261224-tomorrow"}, "Set it to a value such as 20261121"),
        ({AT: "9:30"}, "is '9:30'. Set it to a value such as 1430"),
    ],
)
def test_wrong_queries_are_refused_before_anything_is_asked(query, said):
    assert said in run(query=query)["msg"]


def test_all_findings_at_once():
    message = run(query={"PatientNme": "x", "Modalty": "CT"})["msg"]
    assert "PatientNme" in message
    assert "Modalty" in message


def test_where_there_is_none(folder):
    missing = folder / "nowhere"
    assert f"folder is '{missing}'" in run(PLUGINS, folder=str(missing), way="folder")["msg"]
    assert "Set folder to it (Worklists.Database)" in run(NO_API, PLUGINS)["msg"]
    assert "has no API for worklists" in run(NO_API, way="rest")["msg"]
    none = call("GET", "/plugins", ["explorer.js"])
    assert "has no worklist plugin" in run(NO_API, none, folder=str(folder))["msg"]
    assert "does not answer as Orthanc does" in run(call("GET", LIST, {"error": "log in"}))["msg"]
    assert "missing" in run(way="folder")["msg"]
