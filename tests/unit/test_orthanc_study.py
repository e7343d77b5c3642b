"""The module orthanc_study against a scripted archive."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from tests.support.orthanc_server import ANYTHING, archive, call, error, four_cases, run_module

STUDY = "95157c93-1e751764-e278a968-bbcdf1d0-205e019c"
COPY = "3d90046a-e04c0246-74025a4e-e2914153-ab5086d0"
PATH = f"/studies/{STUDY}"
METADATA = f"{PATH}/metadata?expand="
NOTE = f"{PATH}/metadata/51907"
LAST = "20261121T033226"
UNKNOWN = error(404, "Unknown resource")


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_study", {"url": played.url, "id": STUDY, **arguments}, check)


def metadata(notes=None, last=LAST):
    found = {"LastUpdate": last}
    if notes is not None:
        found["51907"] = notes if isinstance(notes, str) else json.dumps(notes)
    return call("GET", METADATA, found)


def noting(**what):
    """The note of whatever task, with these words in it."""

    def right(received):
        return any(note == {"of": LAST, **what} for note in json.loads(received).values())

    return call("PUT", NOTE, body=right)


def job(state="Success", **content):
    answer = {"ID": "j", "State": state, "Type": "T", "Progress": 50, "Content": content, "ErrorDescription": "broken"}
    return call("GET", "/jobs/j", answer)


def build_task(**arguments):
    """How the module calls the task in its note."""
    return next(iter(run(metadata(), check=True, **arguments)["diff"]["after"]))


class TestAbsent:
    def test_check_do_again_check_again(self):
        there = call("GET", PATH, {"ID": STUDY})
        gone = call("GET", PATH, UNKNOWN, status=404)
        results = four_cases(
            "orthanc_study",
            {"id": STUDY, "state": "absent"},
            there,
            gone,
            call("DELETE", PATH, {"RemainingAncestor": None}),
        )
        assert results[1]["diff"] == {"before": {"state": "present"}, "after": {"state": "absent"}}

    def test_by_uid(self):
        lost = call("POST", "/tools/lookup", [], body="1.2.3")
        done = run(lost, id=None, uid="1.2.3", state="absent")
        assert done["changed"] is False
        found = call("POST", "/tools/lookup", [{"ID": STUDY, "Type": "Study"}], body="1.2.3")
        calls = found, call("GET", PATH, {}), call("DELETE", PATH, {})
        assert run(*calls, id=None, uid="1.2.3", state="absent")["changed"] is True

    def test_must_be_said(self):
        assert "state" in run()["msg"]


class TestAnonymized:
    options: ClassVar = {
        "state": "anonymized",
        "replace": {"PatientName": "A^B", "PatientID": 12},
        "keep": ["StudyDescription"],
    }
    body: ClassVar = {
        "Asynchronous": True,
        "Replace": {"PatientName": "A^B", "PatientID": "12"},
        "Keep": ["StudyDescription"],
        "Force": True,
    }
    copy = call("GET", f"/studies/{COPY}/metadata?expand=", {"AnonymizedFrom": STUDY})
    search: ClassVar = {
        "Level": "Study",
        "Query": {"StudyInstanceUID": "1.2.3"},
        "Expand": True,
        "ResponseContent": ["Metadata"],
    }

    def start(self):
        return call("POST", f"{PATH}/anonymize", {"ID": "j", "Path": "/jobs/j"}, body=self.body)

    def test_check_do_again_check_again(self):
        task = build_task(**self.options)
        record = metadata({task: {"of": LAST, "copy": COPY}})
        checked = run(metadata(), check=True, **self.options)
        assert checked["changed"] is True
        done = run(
            metadata(),
            self.start(),
            metadata(),
            noting(job="j"),
            job("Running"),
            job(ID=COPY, InstancesCount=60, FailedInstancesCount=0),
            metadata({task: {"of": LAST, "job": "j"}}),
            noting(copy=COPY),
            **self.options,
        )
        assert done["changed"] is True
        assert done["study"] == {"id": STUDY, "copy": COPY, "job": "j", "instances": 60}
        assert done["diff"] == checked["diff"] == {"before": {task: False}, "after": {task: True}}
        for check in (False, True):
            again = run(record, self.copy, check=check, **self.options)
            assert again["changed"] is False
            assert again["study"]["copy"] == COPY

    def test_by_uid_a_new_archive_tells_all_at_once(self):
        record = {"LastUpdate": LAST, "51907": json.dumps({build_task(**self.options): {"of": LAST, "copy": COPY}})}
        found = call("POST", "/tools/find", [{"ID": STUDY, "Metadata": record}], body=self.search)
        again = run(found, self.copy, id=None, uid="1.2.3", **self.options)
        assert (again["changed"], again["study"]["copy"]) == (False, COPY)

    def test_by_uid_a_study_without_metadata_is_not_asked_again(self):
        found = call("POST", "/tools/find", [{"ID": STUDY, "Metadata": {}}], body=self.search)
        assert run(found, id=None, uid="1.2.3", check=True, **self.options)["changed"] is True

    @pytest.mark.parametrize("answer", [{"a": 1}, "hello"])
    def test_by_uid_who_is_no_archive_is_told(self, answer):
        found = call("POST", "/tools/find", answer, body=self.search)
        assert "does not answer as Orthanc does" in run(found, id=None, uid="1.2.3", **self.options)["msg"]

    def test_by_uid_an_old_archive_is_asked_for_the_metadata(self):
        found = call("POST", "/tools/find", [{"ID": STUDY, "Type": "Study"}], body=self.search)
        assert run(found, metadata(), id=None, uid="1.2.3", check=True, **self.options)["changed"] is True

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            ([], "has no study 1.2.3"),
            ([STUDY, COPY], f"the study of 2 patients. Give one of these as id: {COPY}, {STUDY}"),
        ],
    )
    def test_by_uid_it_must_be_one(self, found, message):
        answer = call("POST", "/tools/find", [{"ID": one, "Metadata": {}} for one in found], body=self.search)
        assert message in run(answer, id=None, uid="1.2.3", **self.options)["msg"]

    @pytest.mark.parametrize("uid", ["*", "1.2\\3.4", "1.2.?", "PATIENT", "1" * 65])
    def test_what_is_no_uid_is_not_searched_for(self, uid):
        lost = call("POST", "/tools/lookup", [], body=uid)
        assert f"has no study {uid}" in run(lost, id=None, uid=uid, **self.options)["msg"]

    @pytest.mark.parametrize(
        "copy",
        [
            call("GET", f"/studies/{COPY}/metadata?expand=", UNKNOWN, status=404),
            call("GET", f"/studies/{COPY}/metadata?expand=", {"AnonymizedFrom": "another"}),
        ],
        ids=["gone", "of another"],
    )
    def test_a_copy_that_is_gone_is_made_again(self, copy):
        record = metadata({build_task(**self.options): {"of": LAST, "copy": COPY}})
        assert run(record, copy, check=True, **self.options)["changed"] is True

    @pytest.mark.parametrize("notes", ["no JSON", "[]", {"anonymized": 3}, {"x": {"of": LAST, "copy": COPY}}])
    def test_a_note_that_says_nothing(self, notes):
        assert run(metadata(notes), check=True, **self.options)["changed"] is True

    def test_new_images_make_a_new_copy_and_so_do_other_options(self):
        record = {build_task(**self.options): {"of": "20200101T000000", "copy": COPY}}
        assert run(metadata(record), check=True, **self.options)["changed"] is True
        assert build_task(**self.options) != build_task(**{**self.options, "keep_private_tags": True})

    def test_again(self):
        record = {build_task(**self.options): {"of": LAST, "copy": COPY}}
        assert run(metadata(record), check=True, again=True, **self.options)["changed"] is True

    def test_an_interrupted_run_is_taken_up(self):
        record = metadata({build_task(**self.options): {"of": LAST, "job": "j"}})
        done = run(record, job("Running"), job(ID=COPY, InstancesCount=2), record, noting(copy=COPY), **self.options)
        assert (done["changed"], done["study"]["copy"]) == (False, COPY)

    @pytest.mark.parametrize("gone", [job("Failure"), call("GET", "/jobs/j", UNKNOWN, status=404)])
    def test_a_job_that_failed_or_is_forgotten_is_started_again(self, gone):
        record = metadata({build_task(**self.options): {"of": LAST, "job": "j"}})
        assert run(record, gone, check=True, **self.options)["changed"] is True

    def test_without_waiting(self):
        done = run(metadata(), self.start(), metadata(), noting(job="j"), wait=False, **self.options)
        assert (done["study"]["job"], done["study"]["copy"]) == ("j", "")

    def test_others_notes_stay(self):
        other = {"sent to peers/x": {"of": LAST, "sent": "3"}}

        def keeps(received):
            return json.loads(received).items() >= other.items()

        calls = metadata(other), self.start(), metadata(other), call("PUT", NOTE, body=keeps)
        assert run(*calls, wait=False, **self.options)["changed"] is True

    def test_an_archive_that_checks_revisions(self):
        conflict = call("PUT", NOTE, error(409, "Conflict"), status=409, body=ANYTHING)
        revision = call("GET", NOTE, "{}", headers={"ETag": '"0-abc"'})
        calls = metadata(), self.start(), metadata(), conflict, revision
        done = run(*calls, noting(job="j"), wait=False, **self.options)
        assert (done["changed"], done["warnings"]) == (True, [])
        done = run(*calls, conflict, wait=False, **self.options)
        assert done["changed"] is True
        assert "could not be recorded" in done["warnings"][0]

    def test_a_note_that_the_archive_refuses_is_a_warning(self):
        refusal = call("PUT", NOTE, error(403, "Forbidden"), status=403, body=ANYTHING)
        done = run(metadata(), self.start(), metadata(), refusal, wait=False, **self.options)
        assert done["changed"] is True
        assert "could not be recorded" in done["warnings"][0]

    def test_what_fails(self):
        calls = metadata(), self.start(), metadata(), noting(job="j")
        assert "Job j (T) failed: broken" in run(*calls, job("Failure"), **self.options)["msg"]
        partly = job(ID=COPY, InstancesCount=3, FailedInstancesCount=1)
        assert "left out 1 of 3" in run(*calls, partly, **self.options)["msg"]
        record = metadata({build_task(**self.options): {"of": LAST, "job": "j"}})
        assert run(record, partly, check=True, **self.options)["changed"] is True
        late = run(*calls, job("Running"), wait_seconds=0, **self.options)
        assert "did not end within 0 seconds" in late["msg"]
        gone = call("GET", METADATA, UNKNOWN, status=404)
        assert run(gone, **self.options)["msg"].endswith(f"has no study {STUDY}.")
        assert "keep contains SOPInstanceUID" in run(metadata(), state="anonymized", keep=["SOPInstanceUID"])["msg"]


class TestSent:
    @pytest.mark.parametrize(("option", "kind"), [("modality", "modalities"), ("peer", "peers")])
    def test_check_do_again_check_again(self, option, kind):
        options = {"state": "sent", option: "CT 1/2"}
        task = f"sent to {kind}/CT 1/2"
        body = {"Synchronous": False, "Resources": [STUDY]}
        checked = run(metadata(), check=True, **options)
        done = run(
            metadata(),
            call("POST", f"/{kind}/CT%201%2F2/store", {"ID": "j"}, body=body),
            metadata(),
            noting(job="j"),
            job(InstancesCount=60),
            metadata(),
            noting(sent="60"),
            **options,
        )
        assert (checked["changed"], done["changed"]) == (True, True)
        assert done["study"]["instances"] == 60
        assert checked["diff"] == done["diff"] == {"before": {task: False}, "after": {task: True}}
        for check in (False, True):
            assert run(metadata({task: {"of": LAST, "sent": "60"}}), check=check, **options)["changed"] is False
        assert run(metadata({task: {"of": "then", "sent": "60"}}), check=True, **options)["changed"] is True

    def test_an_unknown_one(self):
        answer = call("POST", "/peers/x/store", UNKNOWN, status=404, body=lambda _received: True)
        assert "x is not registered in Orthanc" in run(metadata(), answer, state="sent", peer="x")["msg"]

    def test_one_of_both(self):
        assert "modality, peer" in run(state="sent")["msg"]
        assert "mutually exclusive" in run(state="sent", modality="a", peer="b")["msg"]
