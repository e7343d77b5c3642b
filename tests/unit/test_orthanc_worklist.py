"""The module orthanc_worklist: files for Orthanc's own plugin, the API of the newer one; against scripted archives."""

from __future__ import annotations

import copy
import io
import os
import shutil
import subprocess

import pydicom
import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_file import NotDicomError
from ansible_collections.lightbox.pacs.plugins.module_utils._worklist import (
    DICTIONARY,
    WorklistError,
    build_file,
    normalize,
    parse_file,
)

from tests.support.orthanc_server import ANYTHING, archive, call, error, run_module

LIST = "/worklists?format=Simplify"
NO_API = call("GET", LIST, error(404, "Unknown resource"), status=404)
PLUGINS = call("GET", "/plugins", ["explorer.js", "worklists"])
TAGS = {
    "ScheduledProcedureStepSequence": [
        {
            "ScheduledStationAETitle": "CT1",
            "Modality": "CT",
            "ScheduledProcedureStepStartDate": "20261231",
            "ScheduledProcedureStepStartTime": "0930",
            "ScheduledProtocolCodeSequence": [{"CodeValue": "1", "CodingSchemeDesignator": "L", "CodeMeaning": "Kopf"}],
        }
    ],
    "AccessionNumber": "4711",
    "PatientID": "P-12",
    "PatientName": "Müller^Änne",
    "OtherPatientIDs": ["a", "b"],
    "PregnancyStatus": 4,
    "PatientComments": "line one\r\nback\\slash",
    "StudyInstanceUID": "1.2.3",
}


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_worklist", {"url": played.url, "name": "4711", **arguments}, check)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wl").mkdir(mode=0o750)
    return tmp_path / "wl"


class TestFolder:
    def test_check_do_again_check_again(self, folder):
        options = {"folder": str(folder), "tags": TAGS}
        checked = run(NO_API, PLUGINS, check=True, **options)
        assert list(folder.iterdir()) == []
        done = run(NO_API, PLUGINS, **options)
        path = folder / "4711.wl"
        assert path.stat().st_mode & 0o777 == 0o640
        assert list(folder.iterdir()) == [path]
        assert (checked["changed"], done["changed"]) == (True, True)
        assert checked["diff"] == done["diff"]
        assert done["diff"] == {"before": {}, "after": normalize(TAGS)}
        assert done["worklist"] == {"name": "4711", "way": "folder", "path": str(path), "study_instance_uid": "1.2.3"}
        for check in (False, True):
            again = run(NO_API, PLUGINS, check=check, **options)
            assert again["changed"] is False
            assert again["diff"]["before"] == again["diff"]["after"]

    def test_absent_check_do_again_check_again(self, folder):
        options = {"folder": str(folder), "way": "folder", "state": "absent"}
        run(PLUGINS, folder=str(folder), way="folder", tags=TAGS)
        assert run(PLUGINS, check=True, **options)["changed"] is True
        done = run(PLUGINS, **options)
        assert (done["changed"], done["diff"]) == (True, {"before": normalize(TAGS), "after": {}})
        assert list(folder.iterdir()) == []
        for check in (False, True):
            assert run(PLUGINS, check=check, **options)["changed"] is False

    def test_the_study_keeps_its_uid(self, folder):
        tags: dict = {**TAGS, "StudyInstanceUID": None}
        options = {"folder": str(folder), "way": "folder"}
        uid = run(PLUGINS, tags=tags, **options)["worklist"]["study_instance_uid"]
        assert uid.startswith("2.25.")
        assert run(PLUGINS, tags=tags, **options)["changed"] is False
        done = run(PLUGINS, tags={**tags, "PatientID": "other"}, **options)
        assert (done["changed"], done["worklist"]["study_instance_uid"]) == (True, uid)

    def test_what_is_not_given_goes(self, folder):
        options = {"folder": str(folder), "way": "folder"}
        run(PLUGINS, tags=TAGS, **options)
        less = {key: value for key, value in TAGS.items() if key != "PatientComments"}
        assert run(PLUGINS, tags=less, **options)["changed"] is True
        assert "PatientComments" not in pydicom.dcmread(folder / "4711.wl")

    def test_mode_is_part_of_it(self, folder):
        options = {"folder": str(folder), "way": "folder", "tags": TAGS}
        run(PLUGINS, **options)
        assert run(PLUGINS, mode="0644", **options)["changed"] is True
        assert (folder / "4711.wl").stat().st_mode & 0o777 == 0o644

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_the_file_belongs_to_whom_the_folder_does(self, folder):
        os.chown(folder, 1234, 4321)
        run(PLUGINS, folder=str(folder), way="folder", tags=TAGS)
        known = (folder / "4711.wl").stat()
        assert (known.st_uid, known.st_gid) == (1234, 4321)

    @pytest.mark.skipif(shutil.which("dump2dcm") is None, reason="needs DCMTK")
    @pytest.mark.parametrize("syntax", ["+te", "+ti", "+tb"])
    def test_an_entry_of_dump2dcm_is_read_and_written_anew(self, folder, tmp_path, syntax):
        (tmp_path / "dump").write_text(
            "(0008,0005) CS [ISO_IR 192]\n(0010,0010) PN [Sample^One]\n(0020,000d) UI [1.2.9]\n(0040,0100) SQ\n"
            "(fffe,e000) -\n(0008,0060) CS [CT]\n(0040,0002) DA [20261231]\n(fffe,e00d) -\n(fffe,e0dd) -\n"
        )
        path = folder / "4711.wl"
        subprocess.run(["dump2dcm", "-g", syntax, "-e", tmp_path / "dump", path], check=True)
        tags = copy.deepcopy(TAGS)
        del tags["StudyInstanceUID"]
        done = run(PLUGINS, folder=str(folder), way="folder", tags=tags)
        assert done["changed"] is True
        assert done["diff"]["before"]["PatientName"] == "Sample^One"
        assert done["diff"]["before"]["ScheduledProcedureStepSequence"] == [
            {"Modality": "CT", "ScheduledProcedureStepStartDate": "20261231"}
        ]
        assert done["worklist"]["study_instance_uid"] == "1.2.9"

    def test_a_file_that_is_damaged_is_written_anew(self, folder):
        (folder / "4711.wl").write_bytes(b"no DICOM")
        done = run(PLUGINS, folder=str(folder), way="folder", tags=TAGS)
        assert done["changed"] is True

    def test_where_it_cannot_go(self, folder):
        missing = folder / "nowhere"
        assert f"folder is '{missing}'" in run(PLUGINS, folder=str(missing), way="folder", tags=TAGS)["msg"]
        assert "Set folder to it (Worklists.Database)" in run(NO_API, PLUGINS, tags=TAGS)["msg"]
        none = call("GET", "/plugins", ["explorer.js"])
        assert "has no worklist plugin" in run(NO_API, none, folder=str(folder), tags=TAGS)["msg"]


class TestRest:
    def entry(self, **more):
        tags = {
            "SpecificCharacterSet": "ISO_IR 192",
            "PatientName": "Müller^Änne",
            "PatientID": "P-12",
            "OtherPatientIDs": "a\\b",
            "StudyInstanceUID": "1.2.3",
            "ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStartDate": "20261231", "Modality": "CT"}],
        }
        return call("GET", LIST, [{"ID": "other", "Tags": {}}, {"ID": "4711", "Tags": {**tags, **more}}])

    tags = {  # noqa: RUF012
        "PatientName": "Müller^Änne",
        "PatientID": "P-12",
        "OtherPatientIDs": ["a", "b"],
        "StudyInstanceUID": "1.2.3",
        "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledProcedureStepStartDate": 20261231}],
    }

    def test_check_do_again_check_again(self):
        empty = call("GET", LIST, [])
        body = {
            "Tags": {
                **self.tags,
                "OtherPatientIDs": "a\\b",
                "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledProcedureStepStartDate": "20261231"}],
            }
        }
        assert run(empty, tags=self.tags, check=True)["changed"] is True
        done = run(empty, call("PUT", "/worklists/4711", {"ID": "4711"}, body=body), tags=self.tags)
        assert done["changed"] is True
        assert done["worklist"]["path"] == "/worklists/4711"
        for check in (False, True):
            assert run(self.entry(), tags=self.tags, check=check)["changed"] is False

    def test_the_study_keeps_its_uid(self):
        tags = {**self.tags, "StudyInstanceUID": ""}
        assert run(self.entry(), tags=tags)["changed"] is False
        done = run(self.entry(PatientSex="F"), call("PUT", "/worklists/4711", {}, body=ANYTHING), tags=tags)
        assert (done["changed"], done["worklist"]["study_instance_uid"]) == (True, "1.2.3")

    def test_absent_check_do_again_check_again(self):
        assert run(self.entry(), state="absent", check=True)["changed"] is True
        assert run(self.entry(), call("DELETE", "/worklists/4711", {}), state="absent")["changed"] is True
        for check in (False, True):
            assert run(call("GET", LIST, []), state="absent", check=check)["changed"] is False

    def test_an_archive_without_it(self):
        assert "has no API for worklists" in run(NO_API, way="rest", tags=self.tags)["msg"]


class TestInput:
    @pytest.mark.parametrize(
        ("tags", "said"),
        [
            (
                {"PatientNme": "x"},
                "tags.PatientNme is not a worklist attribute that this module supports; did you mean",
            ),
            (
                {"PatientBirthDate": "31.12.1970"},
                "tags.PatientBirthDate is '31.12.1970'. Write it as a date as",
            ),
            ({"PatientID": "x" * 65}, "tags.PatientID has 65 characters, and may have 64"),
            ({"PatientID": "a\\b"}, "tags.PatientID has a backslash"),
            ({"PatientID": "a\nb"}, "tags.PatientID has a control character"),
            ({"PatientID": {"a": 1}}, "tags.PatientID is not text"),
            ({"PatientSex": "female"}, "tags.PatientSex is 'female'"),
            ({"StudyInstanceUID": "abc"}, "tags.StudyInstanceUID is 'abc'"),
            ({"PregnancyStatus": "70000"}, "tags.PregnancyStatus is '70000'"),
            ({"RequestedProcedureCodeSequence": "x"}, "tags.RequestedProcedureCodeSequence is a sequence"),
            ({"RequestedProcedureCodeSequence": [{"Foo": 1}]}, "tags.RequestedProcedureCodeSequence[0].Foo is no"),
            ({"PatientComments": ["a", "b"]}, "tags.PatientComments is a list"),
            ({"ScheduledProcedureStepSequence": []}, "no ScheduledProcedureStepSequence with at least one step"),
            ({"ScheduledProcedureStepSequence": [{"Modality": "CT"}]}, "ScheduledProcedureStepStartDate is missing"),
        ],
    )
    def test_wrong_tags_are_refused_before_anything_is_asked(self, tags, said):
        done = run(tags={**TAGS, **tags})
        assert said in done["msg"]

    def test_all_findings_at_once(self):
        message = run(tags={**TAGS, "PatientSex": "female", "AccessionNumber": "x" * 17})["msg"]
        assert "tags.PatientSex" in message
        assert "tags.AccessionNumber" in message

    @pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "ä", "x" * 65])
    def test_wrong_names(self, name):
        assert "name is" in run(name=name, tags=TAGS)["msg"]

    def test_wrong_mode(self):
        assert "mode is '640'" in run(mode="640", tags=TAGS)["msg"]


class TestFile:
    def test_pydicom_reads_what_was_written(self):
        content = build_file("4711", normalize(TAGS))
        read = pydicom.dcmread(io.BytesIO(content))
        assert read.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert str(read.PatientName) == "Müller^Änne"
        assert read.OtherPatientIDs == ["a", "b"]
        assert read.PregnancyStatus == 4
        assert read.PatientComments == TAGS["PatientComments"]
        step = read.ScheduledProcedureStepSequence[0]
        assert (step.Modality, step.ScheduledProcedureStepStartTime) == ("CT", "0930")
        assert step.ScheduledProtocolCodeSequence[0].CodeMeaning == "Kopf"
        assert build_file("4711", normalize(TAGS)) == content
        assert {**parse_file(content)} == {"SpecificCharacterSet": "ISO_IR 192", **normalize(TAGS)}

    def test_the_dictionary_is_that_of_the_standard(self):
        for keyword, (group, element, kind) in DICTIONARY.items():
            tag = pydicom.datadict.tag_for_keyword(keyword)
            assert tag == group << 16 | element, keyword
            assert pydicom.datadict.dictionary_VR(tag) == kind, keyword

    def test_every_attribute_can_be_written_and_read(self):
        samples = {"AS": "045Y", "CS": "A B", "DA": "20261231", "DS": "1.5", "TM": "093000", "UI": "1.2", "US": "3"}
        tags = normalize(
            {
                keyword: [{"CodeValue": "x"}] if kind == "SQ" else samples.get(kind, "some text")
                for keyword, (_group, _build_element, kind) in DICTIONARY.items()
            }
        )
        tags["SpecificCharacterSet"] = "ISO_IR 192"
        assert parse_file(build_file("x", tags)) == tags
        for element in pydicom.dcmread(io.BytesIO(build_file("x", tags))):
            assert element.value not in (None, ""), element

    def test_damage_is_told(self):
        content = build_file("4711", normalize(TAGS))
        for end in range(140, len(content), 7):
            try:
                parse_file(content[:end])
            except NotDicomError:
                continue

    def test_empty_values(self):
        assert normalize({"PatientID": None, "PatientName": " ", "OtherPatientIDs": []}) == {
            "PatientName": "",
            "PatientID": "",
            "OtherPatientIDs": "",
        }
        with pytest.raises(WorklistError, match="in quotes"):
            normalize({"PatientID": True})
