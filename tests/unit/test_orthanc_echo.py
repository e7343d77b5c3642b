"""The module orthanc_echo against a scripted archive."""

from __future__ import annotations

import threading

import pytest

from tests.support.orthanc_server import archive, call, error, run_module

FAILED = error(500, "Error in the network protocol", "DicomAssociation - connecting to AET MR: Connection refused")


def run(*calls, check=False, **arguments):
    with archive(*calls, unordered=True) as played:
        return run_module("orthanc_echo", {"url": played.url, **arguments}, check)


def echo(name, answer=None, status=200, body=None):
    return call("POST", f"/modalities/{name}/echo", answer or {}, status=status, body=body or {"Timeout": 10})


@pytest.mark.parametrize("check", [False, True])
def test_all_that_the_archive_knows(check):
    done = run(call("GET", "/modalities", ["MR", "CT"]), echo("CT"), echo("MR", FAILED, 500), check=check)
    assert done["changed"] is False
    assert [(one["name"], one["reachable"]) for one in done["echoes"]] == [("CT", True), ("MR", False)]
    assert done["echoes"][1]["details"].endswith("connecting to AET MR: Connection refused")
    assert done["unreachable_names"] == ["MR"]
    assert done["table"][0] == "NAME  ANSWERS  SECONDS  DETAILS"
    assert done["table"][1].startswith("CT    yes      0.")
    assert done["table"][2].endswith("Connection refused")


def test_those_named_in_their_order_and_with_a_query():
    body = {"Timeout": 3, "CheckFind": True}
    done = run(
        echo("MR", body=body),
        echo("CT", body=body),
        modalities=["MR", "CT"],
        check_find=True,
        echo_timeout=3,
        fail=True,
    )
    assert [one["name"] for one in done["echoes"]] == ["MR", "CT"]
    assert done["unreachable_names"] == []


def test_nodes_that_the_archive_does_not_know():
    body = {"AET": "CT", "Host": "192.0.2.1", "Port": 104, "Timeout": 10}
    nodes = [{"aet": "CT", "host": "192.0.2.1", "port": 104}]
    done = run(call("POST", "/tools/dicom-echo", {}, body=body), nodes=nodes)
    assert [(one["name"], one["reachable"]) for one in done["echoes"]] == [("CT", True)]


def test_a_title_that_is_none_is_refused():
    assert "'A\\B' is not an AE title" in run(nodes=[{"aet": "A\\B", "host": "x", "port": 104}])["msg"]


def test_many_are_called_at_once():
    all_are_here = threading.Barrier(8, timeout=20)

    def meet(_unused):
        all_are_here.wait()
        return {}

    calls = [echo(f"M{number}", meet) for number in range(8)]
    done = run(*calls, modalities=[f"M{number}" for number in range(8)])
    assert done["unreachable_names"] == []
    assert not all_are_here.broken


def test_an_unknown_name_is_told():
    done = run(echo("CTX", error(404, "Unknown resource"), 404), modalities=["CTX"])
    assert done["echoes"][0]["details"] == "It is not registered in Orthanc."


def test_fails_where_told_to():
    failed = run(echo("MR", FAILED, 500), modalities=["MR"], fail=True)
    assert failed["msg"] == "No answer from MR."
    assert failed["unreachable_names"] == ["MR"]


def test_nothing_to_call():
    assert run(call("GET", "/modalities", []))["echoes"] == []
    assert run(modalities=[])["table"] == ["NAME  ANSWERS  SECONDS  DETAILS"]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_is_wrong_with_the_archive_is_no_answer_of_a_modality(status):
    failed = run(echo("MR", "", status), modalities=["MR"])
    assert failed["failed"] is True
    assert f"answers {status}" in failed["msg"]


def test_no_time_at_all_is_refused():
    assert "must be 1 or more" in run(modalities=["CT"], echo_timeout=0)["msg"]
