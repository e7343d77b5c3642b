"""The module orthanc_upload against scripted archives, and the reader of DICOM headers beneath it."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _upload
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_file import (
    DirectoryError,
    NotDicomError,
    compute_orthanc_id,
    identify,
)
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from tests.bench import upload as bench
from tests.support import orthanc_server
from tests.support.orthanc_server import ANYTHING, MISSING, call, error, run_module
from tests.support.project import PROJECT

FIND = "/tools/find"
FULL = error(507, "The disk is full")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(_upload, "RETRIES", (0.0, 0.0))


def dataset(number=1, study=1, patient="P1", text="", charset="ISO_IR 192", syntax=uid.ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = uid.UID(f"2.25.1{study}{number}")
    meta.TransferSyntaxUID = syntax
    it = Dataset()
    it.file_meta = meta
    it.SpecificCharacterSet = charset
    it.SOPClassUID, it.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    it.PatientID, it.PatientName, it.PatientComments = patient, "A^B", text
    it.StudyInstanceUID, it.SeriesInstanceUID = f"2.25.2{study}", f"2.25.3{study}"
    return it


def written(it: Dataset) -> bytes:
    buffer = io.BytesIO()
    it.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def instance(*arguments, **more) -> bytes:
    return written(dataset(*arguments, **more))


def id_of(content: bytes) -> str:
    found = identify(io.BytesIO(content)).instance_id
    assert found
    return found


def listed(*contents: bytes, old=False) -> list:
    """What an archive with these files lists; old: as before 1.12.5."""
    return [
        {"ID": id_of(content), "FileSize": len(content)}
        if old
        else {
            "ID": id_of(content),
            "Attachments": [
                {"ContentType": 3, "UncompressedSize": 1, "UncompressedMD5": "x"},
                {
                    "ContentType": 1,
                    "UncompressedSize": len(content),
                    "UncompressedMD5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                },
            ],
        }
        for content in contents
    ]


def find(answer, studies=(1,), since=0):
    body = {
        "Level": "Instance",
        "Query": {"StudyInstanceUID": "\\".join(f"2.25.2{number}" for number in studies)},
        "Expand": True,
        "ResponseContent": ["Attachments"],
        "Since": since,
        "Limit": 5000,
    }
    return call("POST", FIND, answer, body=body)


def post(content, said="Success", **more):
    answer = {"ID": id_of(content), "Status": said, "Path": ""}
    return call("POST", "/instances", more.pop("answer", answer), body=content, **more)


def md5_of(content, says=None):
    right = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return call("GET", f"/instances/{id_of(content)}/attachments/dicom/md5", says or right)


def archive(*calls, overwrites=False, **more):
    """An archive that is asked after its first listing whether it overwrites, if it is new enough to tell.

    overwrites: what it says; an int refuses to say.
    """
    told = {"Version": "1.12.7"} | ({} if overwrites is MISSING else {"OverwriteInstances": overwrites})
    system = call("GET", "/system", told)
    if isinstance(overwrites, int) and not isinstance(overwrites, bool):
        system = call("GET", "/system", status=overwrites)
    pages = (
        place for place, one in enumerate(calls) if one.path == FIND and isinstance(one.answer, list) and one.answer
    )
    first = next(pages, None)
    asked = first is not None and any(instance.keys() & {"Attachments", "Labels"} for instance in calls[first].answer)
    expected = [*calls[: first + 1], system, *calls[first + 1 :]] if first is not None and asked else calls
    return orthanc_server.archive(*expected, **more)


def run(src, *calls, check=False, **arguments):
    with archive(*calls, unordered=True) as played:
        return run_module("orthanc_upload", {"url": played.url, "src": str(src), **arguments}, check)


def in_order(src, *calls, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_upload", {"url": played.url, "src": str(src), **arguments})


# What users gave to the resources of which an instance is the only one.
LONELY: dict = {
    "instances": {"labels": ["mark"], "attachments": ["4444"]},
    "series": {"attachments": ["4301"]},
    "studies": {"labels": ["head", "teaching"], "metadata": {"51907": "noted", "MyNote": "Ü", "Newer": "x"}},
    "patients": {"protected": True},
}


def has(content, given=None, stays="series"):
    """What is asked of an instance before it is replaced; stays: the level that has others."""
    instance = id_of(content)
    given = given or {}
    ids = {"instances": instance, "series": "of-series", "studies": "of-study", "patients": "of-patient"}
    if given:
        stays = None
    above = {"instances": ("ParentSeries", "series"), "series": ("ParentStudy", "studies")}
    above["studies"] = ("ParentPatient", "patients")
    below = {"series": ("Instances", "instances"), "studies": ("Series", "series"), "patients": ("Studies", "studies")}
    own = {"LastUpdate": "20260101T000000", "MainDicomTagsSignature": "x"}
    for level, one in ids.items():
        told = given.get(level, {})
        answer = {"ID": one, "Labels": told.get("labels", [])}
        if level in above:
            answer[above[level][0]] = ids[above[level][1]]
        if level in below:
            answer[below[level][0]] = [ids[below[level][1]]] + ["other"] * (level == stays)
        path = f"/{level}/{one}"
        yield call("GET", path, answer)
        if level == stays:
            return
        yield call("GET", f"{path}/metadata?expand", own | told.get("metadata", {}))
        attached = ["dicom", "dicom-until-pixel-data"] * (level == "instances") + told.get("attachments", [])
        yield call("GET", f"{path}/attachments", attached)
    yield call("GET", f"{path}/protected", "1" if given["patients"].get("protected") else "0")


def removed(mine, theirs, *after):
    """How an instance is replaced, or what comes after it was removed."""
    path = f"/instances/{id_of(mine)}"
    yield post(mine, "AlreadyStored")
    yield call("GET", f"{path}/file", theirs)
    yield call("DELETE", path, {})
    yield from after or [post(mine)]


def given_back(content):
    """How new resources get what the old ones had; the archive says itself what is its own."""
    study = "/studies/of-study"
    yield call("PUT", f"/instances/{id_of(content)}/labels/mark")
    yield call("PUT", f"{study}/labels/head")
    yield call("PUT", f"{study}/labels/teaching")
    yield call("GET", f"{study}/metadata?expand", {"LastUpdate": "20261121T000000"})
    yield call("PUT", f"{study}/metadata/51907", body="noted")
    yield call("PUT", f"{study}/metadata/MyNote", body="Ü")
    yield call("PUT", f"{study}/metadata/Newer", error(403, "Forbidden"), body="x", status=403)
    yield call("PUT", "/patients/of-patient/protected", body="1")


@pytest.fixture
def three(tmp_path):
    """Three instances, in folders."""
    contents = [instance(number) for number in (1, 2, 3)]
    for name, content in zip(("a.dcm", "deep/b with space.dcm", "deep/er/ü"), contents, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return contents


class TestUpload:
    def test_check_do_again_check_again(self, tmp_path, three):
        some, everything = find(listed(three[0])), find(listed(*three))
        checked = run(tmp_path, some, check=True)
        done = run(tmp_path, some, post(three[1]), post(three[2]))
        assert (checked["changed"], done["changed"]) == (True, True)
        assert checked["diff"] == done["diff"]
        assert done["diff"] == {
            "before": "study 2.25.21: 1 of 3 instances\n",
            "after": "study 2.25.21: 3 of 3 instances\n",
        }
        for result in (checked, done):
            upload = result["upload"]
            assert (upload["found"], upload["sent"], upload["present"]) == (3, 2, 1)
            assert upload["studies"] == [compute_orthanc_id("P1", "2.25.21")]
        assert done["upload"]["bytes_sent"] == len(three[1]) + len(three[2])
        for check in (False, True):
            again = run(tmp_path, everything, check=check)
            assert again["changed"] is False
            assert again["upload"]["requests"] == 2

    def test_one_file(self, tmp_path, three):
        assert run(tmp_path / "a.dcm", find([]), post(three[0]))["upload"]["sent"] == 1

    def test_only_the_folder_itself(self, tmp_path, three):
        assert run(tmp_path, find([]), post(three[0]), recursive=False)["upload"]["found"] == 1

    def test_links_to_folders_are_not_followed(self, tmp_path, three):
        (tmp_path / "deep/er/loop").symlink_to(tmp_path)
        assert run(tmp_path, find(listed(*three)))["upload"]["found"] == 3

    def test_two_studies_are_listed_together(self, tmp_path):
        contents = [instance(1, study) for study in (1, 2)]
        for number, content in enumerate(contents):
            (tmp_path / str(number)).write_bytes(content)
        done = run(tmp_path, find(listed(contents[1]), studies=(1, 2)), post(contents[0]))
        assert (done["upload"]["sent"], done["upload"]["studies_count"]) == (1, 2)

    def test_the_same_instance_twice(self, tmp_path, three):
        (tmp_path / "twin").write_bytes(three[0])
        done = run(
            tmp_path, find(listed(*three[1:])), post(three[0]), post(three[0], "AlreadyStored"), md5_of(three[0])
        )
        assert (done["upload"]["found"], done["upload"]["sent"], done["upload"]["present"]) == (4, 1, 3)
        checked = run(tmp_path, find(listed(*three[1:])), check=True)
        assert (checked["upload"]["sent"], checked["upload"]["present"]) == (1, 3)

    def test_a_source_that_is_not_there(self, tmp_path):
        assert "which is not there" in run(tmp_path / "nowhere")["msg"]
        assert "threads is 0" in run(tmp_path, threads=0)["msg"]

    def test_an_empty_folder_asks_nothing(self, tmp_path):
        done = run(tmp_path)
        assert (done["changed"], done["upload"]["requests"]) == (False, 0)


class TestCompare:
    def test_an_old_archive_is_asked_for_each_hash(self, tmp_path, three):
        calls = find(listed(*three, old=True)), find([], since=3), *map(md5_of, three)
        done = run(tmp_path, *calls)
        assert (done["changed"], done["upload"]["requests"]) == (False, 5)

    @pytest.mark.parametrize("old", [False, True])
    @pytest.mark.parametrize("compare", ["size", "uid"])
    def test_without_hash_the_archive_is_asked_twice(self, tmp_path, three, compare, old):
        """Once what it has; then whether it overwrites, or an old one, which does not say so, whether that was all."""
        rest = [find([], since=3)] * old
        done = run(tmp_path, find(listed(*three, old=old)), *rest, compare=compare)
        assert (done["changed"], done["upload"]["requests"], done["upload"]["present"]) == (False, 2, 3)

    @pytest.mark.parametrize(
        ("compare", "text", "same"),
        [("uid", "longer", True), ("size", "longer", False), ("size", "b", True), ("hash", "b", False)],
    )
    def test_what_counts_as_the_same(self, tmp_path, compare, text, same):
        mine, theirs = instance(text="a"), instance(text=text)
        (tmp_path / "a").write_bytes(mine)
        done = run(tmp_path, find(listed(theirs)), compare=compare)
        assert done["changed"] is False
        assert done["upload"]["different_count"] == (0 if same else 1)
        assert bool(done["warnings"]) is not same

    @pytest.mark.parametrize("old", [False, True])
    def test_what_differs_is_replaced_or_fails_when_asked(self, tmp_path, old):
        mine, theirs = instance(text="a"), instance(text="b")
        (tmp_path / "a").write_bytes(mine)
        calls = [find(listed(theirs, old=old))]
        if old:
            calls += [find([], since=1), md5_of(theirs)]
        failed = run(tmp_path, *calls, different="fail")
        assert failed["failed"]
        assert str(tmp_path / "a") in failed["msg"]
        checked = run(tmp_path, *calls, different="replace", check=True)
        done = in_order(tmp_path, *calls, *has(mine), *removed(mine, theirs), different="replace")
        for result in (checked, done):
            assert result["changed"] is True
            assert (result["upload"]["sent"], result["upload"]["replaced"]) == (0, 1)

    def test_one_that_tells_no_hashes_yet_is_asked_whether_it_overwrites(self, tmp_path, three):
        """From 1.12.0 on a listing has labels."""
        page = [
            {**instance, "Labels": []} if number else instance
            for number, instance in enumerate(listed(*three, old=True))
        ]
        done = run(tmp_path, find(page), compare="size")
        assert (done["changed"], done["upload"]["requests"]) == (False, 2)

    @pytest.mark.parametrize(("text", "size", "same"), [("a", 0, True), ("a", 2, False)])
    def test_the_size_of_what_a_listing_left_out_is_asked(self, tmp_path, text, size, same):
        mine = instance(text=text)
        (tmp_path / "a").write_bytes(mine)
        told = call("GET", f"/instances/{id_of(mine)}/attachments/dicom/size", str(len(mine) + size))
        done = run(tmp_path, find([]), post(mine, "AlreadyStored"), told, compare="size")
        assert (done["changed"], done["upload"]["different_count"]) == (False, 0 if same else 1)
        assert done["upload"]["present"] == (1 if same else 0)

    def test_a_twin_of_another_size(self, tmp_path):
        """Two files of one instance: the second is not the first because both have the same UIDs."""
        contents = [instance(text="a"), instance(text="longer")]
        for number, content in enumerate(contents):
            (tmp_path / str(number)).write_bytes(content)
        told = call("GET", f"/instances/{id_of(contents[0])}/attachments/dicom/size", str(len(contents[0])))
        calls = find([]), post(contents[0]), post(contents[1], "AlreadyStored"), told
        done = in_order(tmp_path, *calls, compare="size", threads=1)
        assert (done["upload"]["sent"], done["upload"]["present"]) == (1, 0)
        assert done["upload"]["different"] == [f"{tmp_path}/1"]
        assert done["warnings"]

    def test_what_a_listing_left_out_is_compared_when_it_was_sent(self, tmp_path, three):
        """LimitFindInstances cuts listings short, without a word."""
        calls = [find([])]
        for content in three:
            calls += [post(content, "AlreadyStored"), md5_of(content)]
        done = run(tmp_path, *calls)
        assert (done["changed"], done["upload"]["present"]) == (False, 3)

    def test_after_that_listings_are_asked_to_their_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_upload, "BATCH", 1)
        first, second = instance(1, 1), instance(1, 2)
        (tmp_path / "1").write_bytes(first)
        (tmp_path / "2").write_bytes(second)
        upload_may_go_on = threading.Event()

        def stored(_body):
            upload_may_go_on.set()
            return {"ID": id_of(first), "Status": "AlreadyStored"}

        original = _upload.Upload._list

        def waiting(self, studies):
            if studies == ["2.25.22"]:
                upload_may_go_on.wait(5)
                while not self._cut_short:
                    pass
            original(self, studies)

        monkeypatch.setattr(_upload.Upload, "_list", waiting)
        calls = find([]), call("POST", "/instances", stored, body=first)
        more = find([{"ID": "x"}], studies=(2,)), find(listed(second), studies=(2,), since=1), find([], (2,), since=2)
        done = run(tmp_path, *calls, *more, compare="uid")
        assert (done["changed"], done["upload"]["present"]) == (False, 2)

    @pytest.mark.parametrize(
        ("overwrites", "to_the_end"),
        [(False, False), ("Never", False), (True, True), ("IfChanged", True), (MISSING, True), (403, True)],
    )
    def test_an_archive_that_overwrites_is_asked_to_its_end(self, tmp_path, overwrites, to_the_end):
        """It never says that something was there; LimitFindInstances must not make the module overwrite it."""
        mine, theirs = instance(text="a"), instance(text="b")
        (tmp_path / "a").write_bytes(mine)
        calls = [find([{"ID": "x", "Attachments": []}] if to_the_end else listed(theirs))]
        if to_the_end:
            calls += [find(listed(theirs), since=1), find([], since=2)]
        with archive(*calls, overwrites=overwrites) as played:
            done = run_module("orthanc_upload", {"url": played.url, "src": str(tmp_path)})
        assert (done["changed"], done["upload"]["different_count"]) == (False, 1)


class TestReplace:
    """The archive's instance is removed only when the archive has read the new file, and put back where that fails."""

    @pytest.fixture
    def two(self, tmp_path, monkeypatch):
        """The file, what the archive has, and where what would be lost is kept."""
        mine, theirs = instance(text="a"), instance(text="their own")
        (tmp_path / "src").mkdir()
        (tmp_path / "src/a").write_bytes(mine)
        (tmp_path / "kept").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "kept"))
        return mine, theirs

    def run(self, tmp_path, *calls, **options):
        return in_order(tmp_path / "src", *calls, different="replace", **options)

    def kept(self, tmp_path):
        return [path for path in (tmp_path / "kept").iterdir() if path.name.startswith("orthanc_upload-")]

    def test_the_last_instance_of_a_patient(self, tmp_path, two):
        """With it go series, study and patient, and what users gave them."""
        mine, theirs = two
        calls = find(listed(theirs)), *has(mine, LONELY), *removed(mine, theirs), *given_back(mine)
        done = self.run(tmp_path, *calls)
        assert (done["changed"], done["upload"]["replaced"], done["upload"]["failed"]) == (True, 1, [])
        assert self.kept(tmp_path) == []

    @pytest.mark.parametrize("many", ["series", "studies", "patients"])
    def test_what_has_others_stays(self, tmp_path, two, many):
        mine, theirs = two
        calls = find(listed(theirs)), *has(mine, stays=many), *removed(mine, theirs)
        assert self.run(tmp_path, *calls)["upload"]["replaced"] == 1

    def test_an_archive_that_overwrites(self, tmp_path, two):
        """It removes the old one itself, and what went with it as well."""
        mine, theirs = two
        calls = find(listed(theirs)), *has(mine, LONELY), post(mine), *given_back(mine)
        assert self.run(tmp_path, *calls)["upload"]["replaced"] == 1
        assert self.kept(tmp_path) == []

    @pytest.mark.parametrize(
        ("answer", "status", "said"),
        [
            (error(400, "Bad file format"), 400, "Bad file format"),
            ("<html>", 413, "too large"),
            ({"ID": "x", "Status": "FilteredOut"}, 200, "FilteredOut"),
            (FULL, 507, "is full (507)"),
        ],
    )
    def test_nothing_is_removed_for_a_file_that_is_refused(self, tmp_path, two, answer, status, said):
        mine, theirs = two
        done = self.run(tmp_path, find(listed(theirs)), *has(mine), post(mine, answer=answer, status=status))
        assert (done["changed"], done["upload"]["replaced"]) == (False, 0)
        assert said in json.dumps(done)
        assert self.kept(tmp_path) == []

    @pytest.mark.parametrize(
        ("answer", "status"), [({"ID": "x", "Status": "FilteredOut"}, 200), (FULL, 507), (error(500, "Oops"), 500)]
    )
    def test_what_was_there_is_put_back(self, tmp_path, two, answer, status):
        mine, theirs = two
        refusal = post(mine, answer=answer, status=status)
        calls = *has(mine, LONELY), *removed(mine, theirs, refusal, post(theirs)), *given_back(mine)
        done = self.run(tmp_path, find(listed(theirs)), *calls)
        assert done["failed"]
        assert (done["changed"], done["upload"]["replaced"]) == (False, 0)
        assert self.kept(tmp_path) == []

    def test_it_is_put_back_when_the_archive_is_there_again(self, tmp_path, two):
        mine, theirs = two
        away = error(503, "Database unavailable")
        lost = [post(mine, answer=away, status=503)] * 3
        back = [post(theirs, answer=away, status=503)] * 2
        calls = *has(mine), *removed(mine, theirs, *lost, *back, post(theirs))
        done = self.run(tmp_path, find(listed(theirs)), *calls)
        assert "503" in done["msg"]
        assert self.kept(tmp_path) == []

    def test_it_stays_on_the_disk_where_the_archive_does_not_come_back(self, tmp_path, two):
        mine, theirs = two
        away = error(503, "Database unavailable")
        lost = [post(content, answer=away, status=503) for content in (mine,) * 3 + (theirs,) * 3]
        done = self.run(tmp_path, find(listed(theirs)), *has(mine, LONELY), *removed(mine, theirs, *lost))
        (folder,) = self.kept(tmp_path)
        assert f"It is in {folder}, with the labels" in done["msg"]
        assert len(done["upload"]["kept"]) == done["msg"].count(str(folder)) == 1
        assert f"/instances/{id_of(mine)} of Orthanc" in done["msg"]
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "instance.dcm").read_bytes() == theirs
        told = json.loads((folder / "labels.json").read_text())
        assert [one["labels"] for one in told] == [["mark"], [], ["head", "teaching"], []]
        assert [one["protected"] for one in told] == [False, False, False, True]

    def test_an_answer_that_got_lost(self, tmp_path, two):
        """The new file was stored, and nobody heard it; said again the archive has it already."""
        mine, theirs = two
        unheard = post(mine, answer=error(504, "Gateway timeout"), status=504)
        calls = *has(mine), *removed(mine, theirs, unheard, post(mine, "AlreadyStored"), md5_of(mine))
        done = self.run(tmp_path, find(listed(theirs)), *calls)
        assert (done["changed"], done["upload"]["replaced"]) == (True, 1)

    def test_an_archive_that_overwrites_and_fails(self, tmp_path, two):
        """It may have removed the old one, and what went with it."""
        mine, theirs = two
        oops = post(mine, answer=error(500, "Oops"), status=500)
        calls = find(listed(theirs)), *has(mine, LONELY), oops
        done = self.run(tmp_path, *calls, *given_back(mine))
        assert "Oops" in done["msg"]
        assert self.kept(tmp_path) == []
        label = call("PUT", f"/instances/{id_of(mine)}/labels/mark", error(503, "Away"), status=503)
        done = self.run(tmp_path, *calls, label)
        (folder,) = self.kept(tmp_path)
        assert f"are in {folder}" in done["msg"]
        assert "head" in (folder / "labels.json").read_text()

    def test_an_archive_that_overwrites_later(self, tmp_path, two):
        """What it did not answer it may yet do, and labels that were put back would go again."""
        mine, theirs = two
        unheard = [post(mine, answer=error(504, "Gateway timeout"), status=504)] * 3
        calls = find(listed(theirs)), *has(mine, LONELY), *unheard, *given_back(mine)
        done = self.run(tmp_path, *calls)
        (folder,) = self.kept(tmp_path)
        assert (
            f"or stores it later, the labels and metadata that were deleted with the old one are in {folder}"
            in done["msg"]
        )
        assert "head" in (folder / "labels.json").read_text()

    def test_somebody_else_was_quicker(self, tmp_path, two):
        """Or the archive changes what it stores: what it has is not what was there."""
        mine, theirs = two
        other = md5_of(mine, says="another")
        after = post(mine, "AlreadyStored"), other, post(theirs, "AlreadyStored"), other
        done = self.run(tmp_path, find(listed(theirs)), *has(mine), *removed(mine, theirs, *after))
        (folder,) = self.kept(tmp_path)
        assert "Orthanc answers AlreadyStored" in done["msg"]
        assert "Orthanc has another content by now" in done["msg"]
        assert str(folder) in done["msg"]
        assert (folder / "instance.dcm").read_bytes() == theirs
        assert done["upload"]["replaced"] == 0

    def test_whether_the_new_one_was_stored_is_not_told(self, tmp_path, two):
        mine, theirs = two
        path = f"/instances/{id_of(mine)}/attachments/dicom/md5"
        oops = call("GET", path, error(500, "Oops"), status=500)
        after = post(mine, "AlreadyStored"), oops, post(theirs, "AlreadyStored"), md5_of(mine)
        done = self.run(tmp_path, find(listed(theirs)), *has(mine), *removed(mine, theirs, *after))
        (folder,) = self.kept(tmp_path)
        assert str(folder) in done["msg"]

    @pytest.mark.parametrize(("status", "stays"), [(504, True), (500, True), (403, False)])
    def test_a_removal_that_is_not_heard(self, tmp_path, two, status, stays):
        """The archive may remove it after it was found to be there."""
        mine, theirs = two
        path = f"/instances/{id_of(mine)}"
        refusal = call("DELETE", path, error(status, "Oops"), status=status)
        calls = post(mine, "AlreadyStored"), call("GET", f"{path}/file", theirs), refusal
        there = post(theirs, "AlreadyStored"), md5_of(theirs)
        done = self.run(tmp_path, find(listed(theirs)), *has(mine), *calls, *there)
        assert "Oops" in done["msg"]
        assert ["may still delete it" in done["msg"], len(self.kept(tmp_path))] == [stays, int(stays)]
        for folder in self.kept(tmp_path):
            assert f"A copy is in {folder}" in done["upload"]["kept"][0]

    @pytest.mark.parametrize("damage", [RuntimeError("bad"), MemoryError(), zipfile.BadZipFile("bad")])
    def test_what_nobody_expects_after_the_removal(self, tmp_path, two, monkeypatch, damage):
        mine, theirs = two
        original, sent = _upload.Upload._send, []

        def failing(self, source, *arguments):
            sent.append(source)
            if len(sent) > 1:
                raise damage
            return original(self, source, *arguments)

        monkeypatch.setattr(_upload.Upload, "_send", failing)
        calls = *has(mine, LONELY), *removed(mine, theirs, post(theirs)), *given_back(mine)
        done = self.run(tmp_path, find(listed(theirs)), *calls)
        assert f"could not be replaced ({type(damage).__name__}: " in done["msg"]
        assert "It was restored." in done["msg"]
        assert self.kept(tmp_path) == []

    def test_a_zip_that_is_damaged_after_the_removal(self, tmp_path, two, monkeypatch):
        mine, theirs = two
        monkeypatch.setattr(_upload, "IN_MEMORY", 10)
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archived:
            archived.writestr("a", mine)

        def bad(*_unused):
            raise zipfile.BadZipFile("Bad magic number")

        def damaged(_body):
            monkeypatch.setattr(zipfile.ZipFile, "open", bad)
            return theirs

        file = f"/instances/{id_of(mine)}"
        after = call("GET", f"{file}/file", damaged), call("DELETE", file, {}), post(theirs)
        calls = find(listed(theirs)), *has(mine), post(mine, "AlreadyStored"), *after
        done = in_order(path, *calls, different="replace", compare="size")
        assert "a.zip:a cannot be read (Bad magic number" in done["upload"]["failed"][0]
        assert self.kept(tmp_path) == []

    @pytest.mark.parametrize("given", [None, LONELY])
    def test_a_full_disk(self, tmp_path, two, monkeypatch, given):
        """Which shows itself only when it is written for good."""
        mine, theirs = two

        def full(_handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        copied = () if given else (post(mine, "AlreadyStored"), call("GET", f"/instances/{id_of(mine)}/file", theirs))
        done = self.run(tmp_path, find(listed(theirs)), *has(mine, given), *copied)
        assert "cannot be written (No space left on device)" in done["msg"]
        assert "nothing was deleted. Set TMPDIR" in done["msg"]
        assert self.kept(tmp_path) == []

    def test_the_folder_is_on_a_disk(self, tmp_path, two, monkeypatch):
        mine, theirs = two
        places = []
        original = tempfile.mkdtemp

        def made(**more):
            places.append(more["dir"])
            return original(dir=tmp_path / "kept")

        monkeypatch.setattr(tempfile, "mkdtemp", made)
        for place in ("", str(tmp_path / "nowhere")):
            monkeypatch.setenv("TMPDIR", place)
            self.run(tmp_path, find(listed(theirs)), *has(mine), *removed(mine, theirs))
        assert places == ["/var/tmp", None]  # noqa: S108 - nothing is written there

    def test_what_is_kept_is_told_whatever_else_fails(self, tmp_path, two, monkeypatch):
        """The archive dies: the error of another thread comes first, and must not be all that is told."""
        mine, theirs = two
        original = _upload.Upload._stop

        def second(self, error):
            original(self, _upload.OrthancError("Another thread was quicker."))
            original(self, error)

        monkeypatch.setattr(_upload.Upload, "_stop", second)
        away = error(503, "Database unavailable")
        lost = [post(content, answer=away, status=503) for content in (mine, theirs, theirs, theirs)]
        done = self.run(tmp_path, find(listed(theirs)), *has(mine), *removed(mine, theirs, *[lost[0]] * 3, *lost[1:]))
        (folder,) = self.kept(tmp_path)
        assert done["msg"].startswith("Another thread was quicker.")
        assert f"It is in {folder}" in done["msg"]
        assert done["msg"].endswith(done["upload"]["kept"][0])

    def test_all_that_is_kept_is_told(self, tmp_path, two, monkeypatch):
        monkeypatch.setattr(_upload, "LISTED", 1)
        contents = [(instance(number, text="a"), instance(number, text="their own")) for number in (1, 2)]
        calls = [find(listed(*(old for _new, old in contents)))]
        for number, (new, old) in enumerate(contents):
            (tmp_path / f"src/{'ab'[number]}").write_bytes(new)
            label = call("PUT", f"/instances/{id_of(new)}/labels/mark", error(500, "Oops"), status=500)
            calls += [*has(new, LONELY), *removed(new, old), label]
        done = self.run(tmp_path, *calls, threads=1)
        assert len(done["upload"]["failed"]) == 1
        assert len(done["upload"]["kept"]) == 2
        for folder in self.kept(tmp_path):
            assert done["msg"].count(f"They are in {folder}") == 1

    def test_the_copy_broke_off(self, tmp_path, two):
        mine, theirs = two
        half = call("GET", f"/instances/{id_of(mine)}/file", theirs, headers={"Content-Length": str(len(theirs) + 1)})
        calls = *has(mine), post(mine, "AlreadyStored"), half
        done = self.run(tmp_path, find(listed(theirs)), *calls, timeout=1)
        assert done["failed"]
        assert done["changed"] is False
        assert self.kept(tmp_path) == []

    def test_labels_that_cannot_be_put_back_are_told(self, tmp_path, two):
        mine, theirs = two
        path = f"/instances/{id_of(mine)}/labels/mark"
        refusal = call("PUT", path, error(500, "Oops"), status=500)
        done = self.run(tmp_path, find(listed(theirs)), *has(mine, LONELY), *removed(mine, theirs), refusal)
        (folder,) = self.kept(tmp_path)
        assert done["failed"]
        assert (done["changed"], done["upload"]["replaced"]) == (True, 1)
        assert f"They are in {folder}" in done["upload"]["failed"][0]

    def test_what_is_attached_is_not_lost(self, tmp_path, two):
        mine, theirs = two
        lonely = {**LONELY, "studies": {**LONELY["studies"], "attachments": ["report"]}}
        done = self.run(tmp_path, find(listed(theirs)), *has(mine, lonely))
        assert done["failed"]
        assert "it would lose /studies/of-study/attachments/report" in done["upload"]["failed"][0]

    def test_one_at_a_time(self, tmp_path):
        """Two that share a series must not both believe that the other one stays."""
        mine, theirs = [[instance(number, text=text) for number in range(6)] for text in ("a", "their own")]
        calls = [find(listed(*theirs))]
        for number, (new, old) in enumerate(zip(mine, theirs, strict=True)):
            (tmp_path / str(number)).write_bytes(new)
            calls += [*has(new), *removed(new, old)]
        with archive(*calls, unordered=True) as played:
            arguments = {"url": played.url, "src": str(tmp_path), "different": "replace", "threads": 6}
            done = run_module("orthanc_upload", arguments)
        assert done["upload"]["replaced"] == 6
        removals = [[*has(new), *removed(new, old)] for new, old in zip(mine, theirs, strict=True)]
        paths = [path for _method, path, _body in played.seen[2:]]
        for start in range(0, len(paths), len(removals[0])):
            group = paths[start : start + len(removals[0])]
            assert group in [[one.path for one in removal] for removal in removals]

    def test_an_instance_that_is_gone_meanwhile(self, tmp_path, two):
        mine, theirs = two
        gone = call("GET", f"/instances/{id_of(mine)}", error(404, "Unknown resource"), status=404)
        done = self.run(tmp_path, find(listed(theirs)), gone, post(mine))
        assert done["upload"]["replaced"] == 1

    def test_what_a_listing_left_out(self, tmp_path, two):
        mine, theirs = two
        calls = find([]), post(mine, "AlreadyStored"), md5_of(theirs), *has(mine), *removed(mine, theirs)
        done = self.run(tmp_path, *calls)
        assert (done["upload"]["sent"], done["upload"]["replaced"]) == (0, 1)


class TestJunk:
    def test_it_is_listed_and_does_no_harm(self, tmp_path, three):
        (tmp_path / "readme.txt").write_text("hello")
        (tmp_path / "empty").write_bytes(b"")
        (tmp_path / "photo").write_bytes(os.urandom(4096))
        (tmp_path / "half").write_bytes(three[0][:200])
        os.mkfifo(tmp_path / "pipe")
        done = run(tmp_path, find(listed(*three)))
        assert done["changed"] is False
        assert done["upload"]["junk_count"] == 5
        assert f"{tmp_path}/readme.txt is not a DICOM file" in done["upload"]["junk"]
        assert f"{tmp_path}/pipe is not a regular file" in done["upload"]["junk"]
        failed = run(tmp_path, find(listed(*three)), junk="fail")
        assert failed["failed"]
        assert "5 files are not DICOM files" in failed["msg"]

    def test_names_that_are_no_text(self, tmp_path):
        for name in (b"\xff.txt", b"\xfe.dcm"):
            with open(os.fsencode(tmp_path) + b"/" + name, "wb") as stream:
                stream.write(instance() if name.endswith(b"dcm") else b"x")
        done = run(tmp_path, find(listed(instance(text="other"))))
        assert done["upload"]["junk"] == [f"{tmp_path}/\\xff.txt is not a DICOM file"]
        assert done["upload"]["different"] == [f"{tmp_path}/\\xfe.dcm"]

    def test_what_the_archive_cannot_read(self, tmp_path, three):
        refusal = post(three[0], answer=error(400, "Bad file format", "Cannot parse"), status=400)
        done = run(tmp_path / "a.dcm", find([]), refusal)
        assert (done["changed"], done["upload"]["junk_count"]) == (False, 1)
        assert "Bad file format: Cannot parse" in done["upload"]["junk"][0]

    def test_a_dicomdir_is_passed_over(self, tmp_path, three):
        directory = dataset()
        directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = uid.UID("1.2.840.10008.1.3.10")
        (tmp_path / "DICOMDIR").write_bytes(written(directory))
        done = run(tmp_path, find(listed(*three)), junk="fail")
        assert (done["upload"]["found"], done["upload"]["junk_count"]) == (3, 0)


class TestZip:
    def test_members_are_instances(self, tmp_path, three):
        path = tmp_path / "some.archive"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
            for number, content in enumerate(three):
                archived.writestr(f"folder/{number}", content)
            archived.mkdir("empty")
            archived.writestr("readme", "hello")
            archived.writestr("nested.zip", b"PK\3\4" + bytes(200))
        done = run(path, find(listed(three[0])), post(three[1]), post(three[2]))
        assert (done["upload"]["sent"], done["upload"]["present"]) == (2, 1)
        assert done["upload"]["junk"] == [f"{path}:{name} is not a DICOM file" for name in ("nested.zip", "readme")]
        assert run(path, find(listed(*three)))["changed"] is False

    def test_large_members_are_streamed(self, tmp_path, monkeypatch, three):
        monkeypatch.setattr(_upload, "IN_MEMORY", 10)
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
            archived.writestr("a", three[0])
            archived.writestr("b", three[1])
        done = run(path, find(listed(three[1])), post(three[0]))
        assert (done["upload"]["sent"], done["upload"]["present"]) == (1, 1)

    def test_damage(self, tmp_path, three):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archived:
            for number, content in enumerate(three):
                archived.writestr(str(number), content)
        content = path.read_bytes()
        path.write_bytes(content.replace(b"A^B", b"A^X", 1))  # the first member's checksum is wrong now
        done = run(path, find([]), post(three[1]), post(three[2]))
        assert done["failed"]
        assert "a.zip:0 cannot be read (Bad CRC-32" in done["upload"]["failed"][0]
        assert done["upload"]["sent"] == 2
        path.write_bytes(content[: len(content) // 2])
        assert run(path)["upload"]["junk"] == [f"{path} is not a zip file, or a damaged one"]

    def test_encrypted_members_are_junk(self, tmp_path, three):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archived:
            archived.writestr("a", three[0])
        content = bytearray(path.read_bytes())
        content[6] |= 1
        content[content.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(content)
        assert run(path)["upload"]["junk"] == [f"{path}:a is encrypted"]


class TestFaults:
    def test_a_full_archive_ends_it(self, tmp_path, three):
        done = run(tmp_path / "a.dcm", find([]), post(three[0], answer=FULL, status=507))
        assert done["failed"]
        assert "is full (507)" in done["msg"]
        assert "it continues there" in done["msg"]

    def test_what_was_sent_before_is_told(self, tmp_path, three):
        with archive(find([]), post(three[0]), post(three[1], answer=FULL, status=507)) as played:
            done = run_module("orthanc_upload", {"url": played.url, "src": str(tmp_path), "threads": 1})
        assert done["changed"] is True
        assert done["upload"]["sent"] == 1
        assert "Before that 1 instances were sent, which stay." in done["msg"]

    def test_a_wrong_password_ends_it_at_once(self, tmp_path, three):
        done = run(tmp_path, call("POST", FIND, status=401, body=ANYTHING))
        assert "Set url_username and url_password" in done["msg"]
        assert done["changed"] is False

    def test_a_moment_without_database_is_waited_for(self, tmp_path, three):
        away = post(three[0], answer=error(503, "Database unavailable"), status=503)
        assert run(tmp_path / "a.dcm", find([]), away, away, post(three[0]))["upload"]["sent"] == 1
        done = run(tmp_path / "a.dcm", find([]), away, away, away)
        assert "503" in done["msg"]

    def test_a_busy_server_is_waited_for_as_long_as_it_asks(self, tmp_path, three, monkeypatch):
        monkeypatch.setattr(_upload, "SHORTEST_WAIT", 0.01)
        busy = post(three[0], answer=b"Another large upload is under way.", status=503, headers={"Retry-After": "0"})
        away = post(three[0], answer=error(503, "Database unavailable"), status=503)
        calls = *[busy] * 5, away, *[busy] * 5, away, post(three[0])
        assert run(tmp_path / "a.dcm", find([]), *calls)["upload"]["sent"] == 1
        begin = time.monotonic()
        later = post(three[0], answer=b"", status=503, headers={"Retry-After": "1"})
        assert run(tmp_path / "a.dcm", find([]), later, post(three[0]))["upload"]["sent"] == 1
        assert 1 <= time.monotonic() - begin < 5

    @pytest.mark.parametrize(
        ("seconds", "retry_after", "times"), [(0, "5", 1), (600, "601", 1), (600, "999999999", 1), (0.9, "0", 2)]
    )
    def test_a_server_that_stays_busy_fails_one_file(self, tmp_path, three, monkeypatch, seconds, retry_after, times):
        monkeypatch.setattr(_upload, "SHORTEST_WAIT", 0.5)
        monkeypatch.setattr(_upload, "BUSY_SECONDS", seconds)
        busy = post(three[0], answer=b"", status=503, headers={"Retry-After": retry_after})
        done = run(tmp_path, find(listed(three[1])), *[busy] * times, post(three[2]))
        assert done["failed"]
        assert "was busy with other uploads" in done["upload"]["failed"][0]
        assert (done["upload"]["sent"], done["upload"]["failed_count"]) == (1, 1)

    @pytest.mark.parametrize("retry_after", ["", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "x"])
    def test_other_forms_of_retry_after_are_not_waited_for(self, tmp_path, three, retry_after):
        busy = post(three[0], answer=b"", status=503, headers={"Retry-After": retry_after})
        assert "503" in run(tmp_path / "a.dcm", find([]), *[busy] * 3)["msg"]

    def test_waiting_is_in_the_progress(self, tmp_path, three, monkeypatch):
        written = []
        monkeypatch.setattr(_upload.Progress, "update", lambda _self, _tally: written.append(1))
        busy = post(three[0], answer=b"", status=503, headers={"Retry-After": "2"})
        run(tmp_path / "a.dcm", find([]), busy, post(three[0]))
        assert len(written) >= 3

    def test_too_large_for_the_reverse_proxy(self, tmp_path, three):
        calls = find(listed(three[1])), post(three[0], answer=b"<html>", status=413), post(three[2])
        done = run(tmp_path, *calls)
        assert done["failed"]
        assert "too large for the reverse proxy" in done["upload"]["failed"][0]
        assert done["upload"]["sent"] == 1

    def test_a_file_that_grows(self, tmp_path, three, monkeypatch):
        path = tmp_path / "a.dcm"
        original = _upload.Upload._list

        def growing(self, studies):
            path.write_bytes(three[0] + b"more")
            original(self, studies)

        monkeypatch.setattr(_upload.Upload, "_list", growing)
        done = run(path, find([]))
        assert "changed its size meanwhile" in done["upload"]["failed"][0]

    def test_an_archive_that_filters(self, tmp_path, three):
        done = run(tmp_path / "a.dcm", find([]), post(three[0], "FilteredOut"))
        assert "Orthanc answers FilteredOut" in done["msg"]

    def test_somebody_else_answers(self, tmp_path, three):
        page = call("POST", FIND, "<html>Log in</html>", body=ANYTHING)
        assert "does not answer as Orthanc does" in run(tmp_path, page)["msg"]
        done = run(tmp_path / "a.dcm", find([]), post(three[0], answer="<html>Log in</html>"))
        assert "does not answer as Orthanc does" in done["msg"]

    def test_nobody_answers(self, tmp_path, three):
        arguments = {"url": "http://127.0.0.1:9", "src": str(tmp_path)}
        assert "cannot be reached" in run_module("orthanc_upload", arguments)["msg"]


def test_progress_is_a_file(tmp_path, three):
    path = tmp_path / "progress"
    run(tmp_path / "deep", find([]), post(three[1]), post(three[2]), progress_file=str(path))
    told = json.loads(path.read_text())
    assert (told["state"], told["percent"], told["found"], told["sent"]) == ("done", 100, 2, 2)
    assert path.stat().st_mode & 0o777 == 0o644
    run(tmp_path / "a.dcm", find([]), post(three[0], answer=FULL, status=507), progress_file=str(path))
    assert json.loads(path.read_text())["state"] == "failed"


class Counting(http.server.BaseHTTPRequestHandler):
    """An empty archive that takes everything; notes how it came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    headers_seen: list = []  # noqa: RUF012 - shared by all connections
    connections: set = set()  # noqa: RUF012
    large: list = []  # noqa: RUF012 - of those that are being received, and the most of them at once

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        large = left >= 32_000_000
        type(self).large[0] += large
        type(self).large[1] = max(self.large)
        type(self).headers_seen.append((self.path, {name.lower() for name in self.headers}))
        type(self).connections.add(self.client_address)
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        type(self).large[0] -= large
        answer = b"[]" if self.path == FIND else b'{"ID": "x", "Status": "Success"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_unused):
        pass


@pytest.fixture
def counting():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    Counting.headers_seen, Counting.connections, Counting.large = [], set(), [0, 0]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_connections_are_kept_and_expect_is_never_sent(tmp_path, counting):
    for number in range(100):
        (tmp_path / str(number)).write_bytes(instance(number))
    done = run_module("orthanc_upload", {"url": counting, "src": str(tmp_path), "threads": 3})
    assert done["upload"]["sent"] == 100
    assert len(Counting.connections) == 4
    for _path, names in Counting.headers_seen:
        assert not names & {"expect", "transfer-encoding"}


def test_large_files_are_sent_one_at_a_time(tmp_path, counting):
    """Orthanc needs several times their size in memory, and the reverse proxy refuses a second one of the largest."""
    for number in range(4):
        (tmp_path / str(number)).write_bytes(instance(number) + bytes(32_000_000))
    done = run_module("orthanc_upload", {"url": counting, "src": str(tmp_path), "threads": 4})
    assert done["upload"]["sent"] == 4
    assert Counting.large == [0, 1]


# The largest that this program was: getrusage would count the test runner from which it was forked.
MEASURED = """
import json, pathlib, re, sys
from tests.support.orthanc_server import run_module
done = run_module("orthanc_upload", json.load(sys.stdin), diff=False)
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", pathlib.Path("/proc/self/status").read_text())
print(json.dumps([done, int(peak[1]) // 1024]))
"""


def test_memory_depends_neither_on_size_nor_on_number(tmp_path, counting):
    """Four files of 400 MB at once and three thousand small ones: less than 100 MB, as for a few."""
    small = instance("10000")
    for number in range(4):
        with open(tmp_path / f"large{number}", "wb") as stream:
            stream.write(instance(number, study=7))
            stream.truncate(400_000_000)
    for number in range(3000):
        content = small.replace(b"2.25.1110000", f"2.25.111{number:04d}".encode())
        (tmp_path / f"small{number}").write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", MEASURED],
        input=json.dumps({"url": counting, "src": str(tmp_path), "compare": "uid"}),
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '.collections'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    done, memory = json.loads(run.stdout)
    assert done["upload"]["sent"] == 3004
    assert memory < 120


class TestHeaders:
    """What is read is what pydicom wrote, and Orthanc's identifiers are those that Orthanc gave (tried with both)."""

    @pytest.mark.parametrize(
        "syntax",
        [
            uid.ExplicitVRLittleEndian,
            uid.ImplicitVRLittleEndian,
            uid.ExplicitVRBigEndian,
            uid.DeflatedExplicitVRLittleEndian,
        ],
        ids=lambda one: one.name,
    )
    @pytest.mark.parametrize("undefined", [False, True])
    def test_transfer_syntaxes_and_sequences(self, syntax, undefined):
        it = dataset(syntax=syntax)
        inner, outer = Dataset(), Dataset()
        inner.CodeValue = "x"
        outer.ReferencedSOPClassUID = "1.2.3"
        outer.PurposeOfReferenceCodeSequence = Sequence([inner])
        it.ReferencedStudySequence = Sequence([outer])
        for item, name in ((outer, "PurposeOfReferenceCodeSequence"), (it, "ReferencedStudySequence")):
            item[name].is_undefined_length = undefined
        for item in (inner, outer):
            item.is_undefined_length_sequence_item = undefined
        found = identify(io.BytesIO(written(it)))
        assert (found.patient_id, found.study, found.series) == ("P1", "2.25.21", "2.25.31")
        assert found.instance == "2.25.111"

    def test_unknown_sequences_are_implicit_inside(self):
        item = b"\x08\x00\x00\x01\x02\x00\x00\x00ab"  # (0008,0100), implicit
        content = instance()
        sequence = (
            b"\x09\x00\x10\x10UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + item
        ) + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        where = content.index(b"\x10\x00\x10\x00PN")
        found = identify(io.BytesIO(content[:where] + sequence + content[where:]))
        assert (found.patient_id, found.instance) == ("P1", "2.25.111")

    @pytest.mark.parametrize("implicit", [False, True])
    def test_without_preamble(self, implicit):
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
        write_dataset(buffer, dataset(text=200 * "x"))
        assert identify(io.BytesIO(buffer.getvalue())).instance == "2.25.111"

    @pytest.mark.parametrize(
        ("charset", "patient"),
        [
            ("ISO_IR 192", "Ä12ß"),
            ("ISO_IR 100", "Ä12ß"),
            ("ISO_IR 144", "Щ1"),
            ("GB18030", "中1"),
            ("ISO_IR 192", " before"),
            ("ISO_IR 192", ""),
        ],
    )
    def test_patient_ids(self, charset, patient):
        found = identify(io.BytesIO(instance(patient=patient, charset=charset)))
        assert found.patient_id == patient
        digest = hashlib.sha1(f"{patient}|2.25.21|2.25.31|2.25.111".encode(), usedforsecurity=False).hexdigest()
        assert found.instance_id is not None
        assert found.instance_id.replace("-", "") == digest

    def test_a_patient_id_that_only_the_archive_can_read(self, tmp_path):
        content = instance(patient="XX1").replace(b"ISO_IR 192", b"ISO_IR 999").replace(b"XX1 ", b"\xc3\x841 ")
        found = identify(io.BytesIO(content))
        assert (found.patient_id, found.instance_id, found.study_id) == (None, None, None)
        (tmp_path / "a").write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        answer = {"ID": "x", "Status": "AlreadyStored"}
        calls = find([]), call("POST", "/instances", answer, body=content)
        done = run(tmp_path, *calls, call("GET", "/instances/x/attachments/dicom/md5", md5))
        assert (done["changed"], done["upload"]["present"]) == (False, 1)

    def test_an_identifier_that_a_real_archive_gave(self):
        assert compute_orthanc_id(" lead and trail", "2.25.5561", "2.25.5571", "2.25.5551") == (
            "4a532bce-bfd8f7d7-aeaaba87-d16c2e18-c8de67d0"
        )

    def test_what_is_none(self):
        good = instance()
        for bad, said in (
            (b"", "is not a DICOM file"),
            (b"x" * 500, "is not a DICOM file"),
            (good[:140], "ends before"),
            (good[:128] + b"DICM" + b"\xff" * 100, "damaged"),
            (good[:132] + good[144:], "has no length"),
            (good.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"), "has no StudyInstanceUID"),
        ):
            with pytest.raises(NotDicomError, match=said):
                identify(io.BytesIO(bad))
        directory = dataset()
        directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = uid.UID("1.2.840.10008.1.3.10")
        with pytest.raises(DirectoryError):
            identify(io.BytesIO(written(directory)))

    def test_random_damage_is_told_and_no_other_error(self):
        good = bytearray(instance())
        for place in range(132, len(good)):
            for value in (0, 0x20, 0xFF):
                bad = good.copy()
                bad[place] = value
                try:
                    identify(io.BytesIO(bytes(bad)))
                except NotDicomError:
                    continue


def test_the_plain_client_of_the_benchmark_sends_the_same(tmp_path, three, counting):
    for path in list(tmp_path.rglob("*")):
        if path.is_file():
            path.rename(tmp_path / path.name)
    for directory in (tmp_path / "deep/er", tmp_path / "deep"):
        directory.rmdir()
    arguments = {"url": counting, "url_username": "me", "url_password": "x", "src": str(tmp_path), "threads": 2}
    plain, module = bench.plain(arguments), bench.module(arguments)
    assert plain["bytes"] == module["bytes"] == sum(map(len, three))
    assert [path for path, _names in Counting.headers_seen].count("/instances") == 6
