"""The module orthanc_study_info against a scripted archive."""

from __future__ import annotations

import json

import pytest

from tests.support.orthanc_server import archive, call, error, run_module

FIND = "/tools/find"
NEW = call("GET", "/system", {"Version": "1.12.7", "HasLabels": True})


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_study_info", {"url": played.url, **arguments}, check)


def study(number, **more):
    return {"ID": f"id-{number}", "Type": "Study", "IsStable": True, "MainDicomTags": {"StudyID": str(number)}, **more}


def body(since=0, limit=101, **more):
    return {
        "Level": "Study",
        "Query": {},
        "CaseSensitive": False,
        "Expand": True,
        "Since": since,
        "Limit": limit,
        **more,
    }


def find(answer, **search):
    return call("POST", FIND, answer, body=body(**search))


@pytest.mark.parametrize("check", [False, True])
def test_search(check):
    search = {"Query": {"PatientID": "P*", "Modality": "CT\\MR", "StudyDate": "20260101", "StudyID": ""}}
    done = run(
        find([study(1, PatientMainDicomTags={"PatientID": "P1"}, Labels=["a"], Series=["s"])], **search),
        find([], since=1, limit=100, **search),
        query={"PatientID": "P*", "Modality": ["CT", "MR"], "StudyDate": 20260101, "StudyID": None},
        check=check,
    )
    assert done["changed"] is False
    assert done["truncated"] is False
    assert done["resources"] == [
        {
            "id": "id-1",
            "type": "Study",
            "is_stable": True,
            "main_dicom_tags": {"StudyID": "1"},
            "patient_main_dicom_tags": {"PatientID": "P1"},
            "labels": ["a"],
            "series": ["s"],
        }
    ]


def test_nothing_takes_one_request():
    assert run(find([]))["resources"] == []


def test_all_is_found_where_the_archive_cuts_its_answers_short():
    done = run(
        find([study(1), study(2)], limit=0),
        find([study(3), study(4)], since=2, limit=0),
        find([study(5)], since=4, limit=0),
        find([], since=5, limit=0),
        limit=0,
    )
    assert [one["id"] for one in done["resources"]] == ["id-1", "id-2", "id-3", "id-4", "id-5"]


def test_an_archive_that_ignores_where_to_begin_ends_it():
    done = run(find([study(1)], limit=0), find([study(1)], since=1, limit=0), limit=0)
    assert len(done["resources"]) == 1


def test_a_limit():
    done = run(find([study(1), study(2), study(3)], limit=3), limit=2)
    assert (len(done["resources"]), done["truncated"]) == (2, True)
    assert "more than 2" in done["warnings"][0]
    assert "limit is -1" in run(limit=-1)["msg"]


@pytest.mark.parametrize(("constraint", "labels"), [("all", ["a", "b", "c"]), ("any", ["b"]), ("none", ["c"])], ids=str)
def test_labels(constraint, labels):
    search = {"Labels": ["a", "b"], "LabelsConstraint": constraint.capitalize()}
    done = run(
        NEW,
        find([study(1, Labels=labels)], **search),
        find([], since=1, limit=100, **search),
        labels=["a", "b"],
        labels_constraint=constraint,
    )
    assert [one["labels"] for one in done["resources"]] == [labels]


@pytest.mark.parametrize("constraint", ["all", "any", "none"])
def test_an_archive_that_ignores_labels_is_never_asked(constraint):
    """1.10 returns everything, which the next task may delete."""
    old = call("GET", "/system", {"Version": "1.10.1"})
    done = run(old, labels=["expired"], labels_constraint=constraint)
    assert done["msg"].startswith("Labels need Orthanc 1.12.0 or newer")
    assert "resources" not in done
    done = run(call("GET", "/system", {"Version": "1.12.7", "HasLabels": False}), labels=["expired"])
    assert "does not support labels" in done["msg"]


@pytest.mark.parametrize(("constraint", "has"), [("all", ["a"]), ("any", []), ("none", ["a"])])
def test_an_archive_that_says_it_knows_labels_and_ignores_them_is_found_out(constraint, has):
    calls = [NEW, call("POST", FIND, [study(1, Labels=has)], body=lambda received: b'"Labels"' in received)]
    calls.append(call("POST", FIND, [], body=lambda received: json.loads(received)["Since"] == 1))
    done = run(*calls, labels=["a", "b"], labels_constraint=constraint)
    assert "ignored the labels" in done["msg"]


@pytest.mark.parametrize(("labels", "said"), [([], "labels is empty"), (["two words"], "is not a label")])
def test_wrong_labels(labels, said):
    assert said in run(labels=labels)["msg"]


def test_requested_tags():
    done = run(
        NEW,
        find([study(1, RequestedTags={"Rows": "512"})], RequestedTags=["Rows"]),
        find([], since=1, limit=100, RequestedTags=["Rows"]),
        requested_tags=["Rows"],
    )
    assert done["resources"][0]["requested_tags"] == {"Rows": "512"}
    done = run(call("GET", "/system", {"Version": "1.10.1"}), requested_tags=["Rows"])
    assert done["msg"].startswith("Requested tags need Orthanc 1.11.0 or newer")


def test_wrong_queries():
    answer = error(500, "Unknown DICOM tag", "PatientNane")
    done = run(
        call("POST", FIND, answer, status=500, body=body(Query={"PatientNane": "x"})), query={"PatientNane": "x"}
    )
    assert done["msg"].startswith("query or requested_tags contains a tag that is unknown to Orthanc")
    assert "PatientNane" in done["msg"]
    assert "query.PatientID is not text" in run(query={"PatientID": {"a": 1}})["msg"]


def test_somebody_else_answers():
    done = run(call("POST", FIND, "<html>Log in</html>", body=body()))
    assert "does not answer as Orthanc does" in done["msg"]
