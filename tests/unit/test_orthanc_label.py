"""The module orthanc_label against a scripted archive."""

from __future__ import annotations

import pytest

from tests.support.orthanc_server import archive, call, error, four_cases, run_module

STUDY = "95157c93-1e751764-e278a968-bbcdf1d0-205e019c"
LABELS = f"/studies/{STUDY}/labels"
UNKNOWN = error(404, "Unknown resource")


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_label", {"url": played.url, **arguments}, check)


def put(label):
    return call("PUT", f"{LABELS}/{label}")


def delete(label):
    return call("DELETE", f"{LABELS}/{label}")


@pytest.mark.parametrize(
    ("state", "writes", "after"),
    [
        ("present", [put("b"), put("c")], ["a", "b", "c", "x"]),
        ("exact", [put("b"), put("c"), delete("x")], ["a", "b", "c"]),
    ],
)
def test_check_do_again_check_again(state, writes, after):
    results = four_cases(
        "orthanc_label",
        {"id": STUDY, "labels": ["c", "a", "b", "b"], "state": state},
        call("GET", LABELS, ["a", "x"]),
        call("GET", LABELS, after),
        *writes,
    )
    assert [result["labels"] for result in results] == [after] * 4
    assert results[0]["diff"] == {"before": {"labels": ["a", "x"]}, "after": {"labels": after}}


def test_absent_check_do_again_check_again():
    results = four_cases(
        "orthanc_label",
        {"id": STUDY, "labels": ["a", "nowhere"], "state": "absent"},
        call("GET", LABELS, ["a", "x"]),
        call("GET", LABELS, ["x"]),
        delete("a"),
    )
    assert [result["labels"] for result in results] == [["x"]] * 4


def test_exactly_none():
    done = run(call("GET", LABELS, ["a"]), delete("a"), id=STUDY, labels=[], state="exact")
    assert (done["changed"], done["labels"]) == (True, [])


def test_by_uid_and_level():
    found = [{"ID": "1" * 8 + "-0" * 0, "Type": "Study", "Path": ""}, {"ID": STUDY, "Type": "Series", "Path": ""}]
    done = run(
        call("POST", "/tools/lookup", found, body="1.2.3"),
        call("GET", f"/series/{STUDY}/labels", ["a"]),
        uid="1.2.3",
        level="series",
        labels=["a"],
    )
    assert done["changed"] is False


def test_a_uid_that_means_several_is_refused():
    other = STUDY.replace("9", "8")
    found = [{"ID": STUDY, "Type": "Study", "Path": ""}, {"ID": other, "Type": "Study", "Path": ""}]
    done = run(call("POST", "/tools/lookup", found, body="1.2.3"), uid="1.2.3", labels=["a"])
    assert done["failed"]
    assert STUDY in done["msg"]
    assert other in done["msg"]


def test_what_is_not_there():
    lost = call("POST", "/tools/lookup", [], body="1.2.3")
    assert run(lost, uid="1.2.3", labels=["a"])["msg"].endswith("has no study 1.2.3.")
    done = run(lost, uid="1.2.3", labels=["a"], state="absent")
    assert done["changed"] is False
    calls = call("GET", LABELS, UNKNOWN, status=404), call("GET", "/system", {"Version": "1.12.7", "HasLabels": True})
    assert run(*calls, id=STUDY, labels=["a"])["msg"].endswith(f"has no study {STUDY}.")
    assert run(*calls, id=STUDY, labels=["a"], state="absent")["changed"] is False


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ({"Version": "1.10.1"}, "Labels need Orthanc 1.12.0 or newer"),
        ({"Version": "1.12.0", "HasLabels": False}, "does not support labels"),
    ],
)
@pytest.mark.parametrize("state", ["present", "absent", "exact"])
def test_an_archive_without_labels_is_told_from_a_missing_study(system, said, state):
    calls = call("GET", LABELS, UNKNOWN, status=404), call("GET", "/system", system)
    done = run(*calls, id=STUDY, labels=["a"], state=state)
    assert said in done["msg"]


@pytest.mark.parametrize("label", ["", "two words", "ä", "x" * 65, "a/b", "../x"])
def test_what_is_no_label(label):
    assert "is not a label" in run(id=STUDY, labels=["fine", label])["msg"]


def test_what_is_no_identifier():
    assert "which is not an identifier of Orthanc" in run(id="1.2.840.1", labels=["a"])["msg"]
    assert "uid is empty" in run(uid=" ", labels=["a"])["msg"]


def test_somebody_else_answers():
    done = run(call("POST", "/tools/lookup", "<html>Log in</html>", body="1.2.3"), uid="1.2.3", labels=["a"])
    assert "does not answer as Orthanc does" in done["msg"]
