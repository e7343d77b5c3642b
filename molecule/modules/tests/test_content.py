"""What is in an archive: uploads, searches, labels, copies, worklists; and the traps of the REST API beneath them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import pydicom
import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom import synthetic_image
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from tests.samples.studies import SAMPLES, to_bytes
from tests.support.archives import BOTH, HOST, NEW, OLD, Archive
from tests.support.lab import INVENTORY, PROJECT, address, run_playbook

testinfra_hosts = [address("modules")]
OTHER = {NEW: OLD, OLD: NEW}
# The same programs once more, with a disk of one megabyte, listings that are cut short, and worklists.
SMALL_NEW = Archive("1.12.7-small", f"http://{HOST}:8043", 4143, "SMALLNEW")
SMALL_OLD = Archive("1.10.1-small", f"http://{HOST}:8111", 4111, "SMALLOLD")
SMALL = [SMALL_NEW, SMALL_OLD]
STARTS = {
    SMALL_NEW: "docker run -d --rm --name lightbox-trial --network host -v /srv/trial:/srv/trial "
    '$(docker inspect -f "{{.Image}}" lightbox-orthanc) /srv/trial/new.json',
    SMALL_OLD: "systemd-run --unit trial-old -p RootDirectory=/srv/debian12 -p MountAPIVFS=true "
    "-p BindPaths=/srv/trial -E TCP_NODELAY=1 /usr/sbin/Orthanc /srv/trial/old.json",
}
STOP = "docker rm -f lightbox-trial; systemctl stop trial-old; systemctl reset-failed trial-old; rm -rf /srv/trial"


@pytest.fixture(scope="module")
def small(host):
    """Both small archives, running."""
    login = NEW.login
    with host.sudo():
        host.run(STOP)
        for archive, name in ((SMALL_NEW, "new"), (SMALL_OLD, "old")):
            configuration = {
                "Name": name,
                "StorageDirectory": f"/srv/trial/{name}",
                "IndexDirectory": f"/srv/trial/{name}",
                "HttpPort": int(archive.url.rsplit(":", 1)[1]),
                "DicomPort": archive.dicom_port,
                "DicomAet": archive.aet,
                "RemoteAccessAllowed": True,
                "AuthenticationEnabled": True,
                "RegisteredUsers": {login["url_username"]: login["url_password"]},
                "DicomAlwaysAllowFindWorklist": True,
                "LimitFindResults": 2,
                "LimitFindInstances": 2,
                "MaximumStorageSize": 1,
                "MaximumStorageMode": "Reject",
                "Plugins": ["/usr/share/orthanc/plugins/libModalityWorklists.so"],
                "Worklists": {"Enable": True, "Database": f"/srv/trial/worklists-{name}"},
            }
            host.check_output(f"mkdir -p /srv/trial/{name} /srv/trial/worklists-{name}")
            host.check_output("chmod -R 777 /srv/trial")
            host.check_output("printf %%s %s > /srv/trial/%s.json", json.dumps(configuration), name)
            host.check_output(STARTS[archive].replace("%", "%%"))
    for archive in SMALL:
        end = time.monotonic() + 30
        while not archive.run("orthanc_info", gather_subset=["health"])["health"]["ready"]:
            assert time.monotonic() < end, archive
            time.sleep(0.2)
    yield
    with host.sudo():
        host.run(STOP)


@pytest.fixture(params=BOTH, ids=str)
def archive(request):
    return request.param


@pytest.fixture(params=SMALL, ids=str)
def small_archive(request, small):
    return request.param


def write_ct(directory, count: int, seed: str = "") -> str:
    """CT slices of a new study in a directory; returns its UID."""
    sample = replace(SAMPLES["ct"], seed=seed or f"content/{os.urandom(8).hex()}", count=count)
    for index in range(count):
        (directory / f"{index}.dcm").write_bytes(to_bytes(sample.instance(index)))
    return sample.study_uid


def write_tiny(directory, count: int) -> list[str]:
    """Images of 1.5 KB, each a study of its own; returns their UIDs."""
    uids = []
    for index in range(count):
        image = synthetic_image("TRIAL")
        (directory / f"tiny{index}").write_bytes(image.file)
        uids.append(image.study_uid)
    return uids


def delete(archive, *uids: str) -> None:
    for uid in uids:
        archive.run("orthanc_study", uid=uid, state="absent")


@pytest.fixture
def study(archive, tmp_path):
    """Four slices in a directory, and their study in the archive."""
    uid = write_ct(tmp_path, 4)
    assert archive.run("orthanc_upload", src=str(tmp_path))["upload"]["sent"] == 4
    yield uid
    for one in BOTH:
        delete(one, uid)


def count_of(archive, uid: str) -> int:
    found = archive.rest.post("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": uid}})
    return len(found)


class TestUpload:
    def test_check_do_again_check_again(self, archive, tmp_path):
        uid = write_ct(tmp_path, 5)
        (tmp_path / "readme.txt").write_text("hello")
        assert archive.run("orthanc_upload", src=str(tmp_path), check=True)["upload"]["sent"] == 5
        assert count_of(archive, uid) == 0
        done = archive.run("orthanc_upload", src=str(tmp_path))
        assert (done["upload"]["sent"], done["upload"]["junk_count"], count_of(archive, uid)) == (5, 1, 5)
        for check in (False, True):
            again = archive.run("orthanc_upload", src=str(tmp_path), check=check)
            assert again["changed"] is False
            # Before 1.12.5 hashes are not listed; one that does not say whether it overwrites is listed to its end.
            assert again["requests"] == (2 if archive is NEW else 7)
            by_size = archive.run("orthanc_upload", src=str(tmp_path), compare="size", check=check)
            assert by_size["requests"] == 2
        delete(archive, uid)

    def test_a_zip(self, archive, tmp_path):
        (tmp_path / "files").mkdir()
        uid = write_ct(tmp_path / "files", 3)
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archived:
            for path in (tmp_path / "files").iterdir():
                archived.write(path, path.name)
        assert archive.run("orthanc_upload", src=str(tmp_path / "a.zip"))["upload"]["sent"] == 3
        assert archive.run("orthanc_upload", src=str(tmp_path / "files"))["changed"] is False
        delete(archive, uid)

    def test_what_arrives_is_the_file(self, archive, study, tmp_path):
        for path in tmp_path.iterdir():
            instance = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            found = archive.rest.post("/tools/lookup", instance)[0]["ID"]
            answer = archive.rest.request("GET", f"/instances/{found}/file").body
            assert hashlib.sha256(answer).digest() == hashlib.sha256(path.read_bytes()).digest()

    def test_another_content_under_the_same_uids(self, archive, study, tmp_path):
        changed = pydicom.dcmread(tmp_path / "0.dcm")
        changed.StudyDescription = "another"
        changed.save_as(tmp_path / "0.dcm")
        kept = archive.run("orthanc_upload", src=str(tmp_path))
        assert (kept["changed"], kept["upload"]["different_count"]) == (False, 1)
        assert archive.run("orthanc_upload", src=str(tmp_path), different="fail")["failed"] is True
        done = archive.run("orthanc_upload", src=str(tmp_path), different="replace")
        assert (done["changed"], done["upload"]["replaced"]) == (True, 1)
        assert archive.run("orthanc_upload", src=str(tmp_path))["upload"]["different_count"] == 0

    def test_the_only_instance_is_replaced(self, archive, tmp_path):
        """With it go the study and what users gave it; all of that is there afterwards."""
        uid = write_ct(tmp_path, 1)
        archive.run("orthanc_upload", src=str(tmp_path))
        (found,) = archive.run("orthanc_study_info", query={"StudyInstanceUID": uid})["resources"]
        study, patient = f"/studies/{found['id']}", f"/patients/{found['parent_patient']}"
        archive.rest.put(f"{study}/metadata/4711", "noted")
        archive.rest.put(f"{patient}/protected", "1")
        if archive is NEW:
            archive.run("orthanc_label", uid=uid, labels=["head"])
        changed = pydicom.dcmread(tmp_path / "0.dcm")
        changed.StudyDescription = "another"
        changed.save_as(tmp_path / "0.dcm")
        done = archive.run("orthanc_upload", src=str(tmp_path), different="replace")
        assert (done["changed"], done["upload"]["replaced"], done["upload"]["failed"]) == (True, 1, [])
        assert archive.rest.get(study)["MainDicomTags"]["StudyDescription"] == "another"
        assert archive.rest.get_text(f"{study}/metadata/4711") == "noted"
        assert archive.rest.get_text(f"{patient}/protected") == "1"
        if archive is NEW:
            assert archive.rest.get(f"{study}/labels") == ["head"]
        assert archive.run("orthanc_upload", src=str(tmp_path))["upload"]["present"] == 1
        archive.rest.put(f"{study}/attachments/4711", "attached")
        changed.StudyDescription = "a third"
        changed.save_as(tmp_path / "0.dcm")
        kept = archive.run("orthanc_upload", src=str(tmp_path), different="replace")
        assert f"it would lose {study}/attachments/4711" in kept["msg"]
        assert archive.rest.get(study)["MainDicomTags"]["StudyDescription"] == "another"
        delete(archive, uid)

    def test_what_is_replaced_is_put_back(self, small, tmp_path):
        """The disk has room for the old one only. 1.10.1 knows no MaximumStorageMode."""
        uid = write_ct(tmp_path, 1)
        SMALL_NEW.run("orthanc_upload", src=str(tmp_path))
        old = (tmp_path / "0.dcm").read_bytes()
        changed = pydicom.dcmread(tmp_path / "0.dcm")
        changed.add_new(0x00091001, "OB", bytes(1_000_000))
        changed.save_as(tmp_path / "0.dcm")
        failed = SMALL_NEW.run("orthanc_upload", src=str(tmp_path), different="replace")
        assert "is full (507)" in failed["msg"]
        (tmp_path / "0.dcm").write_bytes(old)
        assert SMALL_NEW.run("orthanc_upload", src=str(tmp_path))["upload"]["present"] == 1
        delete(SMALL_NEW, uid)

    def test_what_the_archive_refuses(self, archive, tmp_path):
        image = synthetic_image("TRIAL").file
        (tmp_path / "cut").write_bytes(image[: image.index(b"\x28\x00")])  # all UIDs, and no image
        wrong = image.replace(b"\x28\x00\x02\x00US\x02\x00", b"\x28\x00\x02\x00US\xff\xff")
        assert wrong != image
        (tmp_path / "wrong").write_bytes(wrong)
        done = archive.run("orthanc_upload", src=str(tmp_path))
        assert done["upload"]["junk_count"] >= 1
        delete(archive, str(pydicom.dcmread(io.BytesIO(image)).StudyInstanceUID))

    def test_a_killed_upload_goes_on(self, archive, tmp_path):
        uid = write_ct(tmp_path, 120)
        code = (
            "import json, sys; from tests.support.orthanc_server import run_module;"
            "print(json.dumps(run_module('orthanc_upload', json.load(sys.stdin))))"
        )
        running = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / '.collections'}"},
            text=True,
        )
        assert running.stdin is not None
        json.dump({**archive.login, "src": str(tmp_path)}, running.stdin)
        running.stdin.close()
        end = time.monotonic() + 30
        while count_of(archive, uid) < 10:
            assert time.monotonic() < end
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(0.5)  # the archive ends what it had received
        there = count_of(archive, uid)
        assert 10 <= there < 120
        done = archive.run("orthanc_upload", src=str(tmp_path))
        assert (done["upload"]["sent"], done["upload"]["present"]) == (120 - there, there)
        assert archive.run("orthanc_upload", src=str(tmp_path))["changed"] is False
        delete(archive, uid)

    def test_a_full_archive(self, small, tmp_path):
        """1.10.1 knows no MaximumStorageMode: it throws away the oldest."""
        uid = write_ct(tmp_path, 4)
        failed = SMALL_NEW.run("orthanc_upload", src=str(tmp_path), threads=1)
        assert failed["failed"] is True
        assert "is full (507)" in failed["msg"]
        assert failed["upload"]["sent"] == count_of(SMALL_NEW, uid) == 1
        delete(SMALL_NEW, uid)

    def test_listings_that_are_cut_short(self, small_archive, tmp_path):
        images = [pydicom.dcmread(io.BytesIO(synthetic_image("TRIAL").file)) for _number in range(7)]
        study = images[0].StudyInstanceUID
        for number, image in enumerate(images):
            image.StudyInstanceUID, image.SeriesInstanceUID = study, images[0].SeriesInstanceUID
            image.save_as(tmp_path / str(number))
        assert small_archive.run("orthanc_upload", src=str(tmp_path))["upload"]["sent"] == 7
        assert count_of(small_archive, study) < 7, "this archive cuts its listings short"
        for compare in ("hash", "uid"):
            again = small_archive.run("orthanc_upload", src=str(tmp_path), compare=compare)
            assert (again["changed"], again["upload"]["present"]) == (False, 7)
        delete(small_archive, study)

    def test_through_ansible(self, host, tmp_path):
        """As a task, on the server, with its progress."""
        uid = write_ct(tmp_path, 3)
        login = NEW.login
        play = [
            {
                "hosts": "pacs",
                "become": True,
                "gather_facts": False,
                "module_defaults": {"group/lightbox.pacs.orthanc": login},
                "tasks": [
                    {"ansible.builtin.copy": {"src": f"{tmp_path}/", "dest": "/srv/trial-upload/", "mode": "0644"}},
                    {
                        "lightbox.pacs.orthanc_upload": {
                            "src": "/srv/trial-upload",
                            "progress_file": "/srv/trial-progress.json",
                        },
                        "async": 60,
                        "poll": 1,
                        "register": "done",
                    },
                    {"ansible.builtin.assert": {"that": ["done.upload.sent == 3", "done is changed"]}},
                    {"ansible.builtin.file": {"path": "/srv/trial-upload", "state": "absent"}},
                ],
            }
        ]
        (tmp_path.parent / f"{tmp_path.name}.yml").write_text(json.dumps(play))
        run = run_playbook("-i", INVENTORY, tmp_path.parent / f"{tmp_path.name}.yml")
        assert run.returncode == 0, run.stdout + run.stderr
        assert login["url_password"] not in run.stdout
        told = json.loads(host.file("/srv/trial-progress.json").content_string)
        assert (told["state"], told["sent"], told["percent"]) == ("done", 3, 100)
        with host.sudo():
            host.run("rm /srv/trial-progress.json")
        delete(NEW, uid)


class TestSearch:
    def test_by_tags(self, archive, study):
        found = archive.run("orthanc_study_info", query={"StudyInstanceUID": study})
        assert found["requests"] == 2
        assert [one["main_dicom_tags"]["StudyInstanceUID"] for one in found["resources"]] == [study]
        assert found["resources"][0]["patient_main_dicom_tags"]["PatientID"]
        for level, count in (("patient", 1), ("series", 1), ("instance", 4)):
            query = {"StudyInstanceUID": study, "PatientID": "*"} if level != "patient" else {"PatientID": "LIGHTBOX*"}
            assert len(archive.run("orthanc_study_info", level=level, query=query)["resources"]) == count
        assert archive.run("orthanc_study_info", query={"StudyDate": "19000101-19000102"})["resources"] == []
        unknown = archive.run("orthanc_study_info", query={"PatientNane": "x"})
        assert "a tag that is unknown to Orthanc" in unknown["msg"]

    def test_labels_that_are_ignored_are_refused(self, study_in):
        """The trap: 1.10 returns everything, which the next task may delete."""
        uid = study_in(OLD)
        raw = OLD.rest.post("/tools/find", {"Level": "Study", "Query": {}, "Labels": ["nobody-has-this"]})
        assert raw, "this archive ignores labels in a search"
        for constraint in ("all", "any", "none"):
            refused = OLD.run("orthanc_study_info", labels=["nobody-has-this"], labels_constraint=constraint)
            assert refused["failed"] is True
            assert "Labels need Orthanc 1.12.0 or newer" in refused["msg"]
            assert "resources" not in refused
        for state in ("present", "absent", "exact"):
            assert "Labels need Orthanc" in OLD.run("orthanc_label", uid=uid, labels=["a"], state=state)["msg"]

    def test_labels(self, study_in):
        uid = study_in(NEW)
        arguments = {"uid": uid, "labels": ["trial-a", "trial-b"]}
        assert NEW.run("orthanc_label", check=True, **arguments)["changed"] is True
        assert NEW.run("orthanc_label", **arguments)["changed"] is True
        for check in (False, True):
            again = NEW.run("orthanc_label", check=check, **arguments)
            assert (again["changed"], again["requests"]) == (False, 2)

        def ids(**search):
            return [
                one["main_dicom_tags"]["StudyInstanceUID"]
                for one in NEW.run("orthanc_study_info", limit=0, **search)["resources"]
            ]

        assert ids(labels=["trial-a", "trial-b"]) == [uid]
        assert ids(labels=["trial-a", "trial-c"]) == []
        assert ids(labels=["trial-a", "trial-c"], labels_constraint="any") == [uid]
        assert uid not in ids(labels=["trial-a"], labels_constraint="none")
        exact = {"uid": uid, "labels": ["trial-c"], "state": "exact"}
        assert NEW.run("orthanc_label", **exact)["labels"] == ["trial-c"]
        assert NEW.run("orthanc_label", **exact)["changed"] is False
        gone = {"uid": uid, "labels": ["trial-c"], "state": "absent"}
        assert NEW.run("orthanc_label", **gone)["labels"] == []
        assert NEW.run("orthanc_label", **gone)["changed"] is False

    def test_an_archive_that_cuts_its_answers_short(self, small, tmp_path):
        for archive, found in ((SMALL_NEW, 5), (SMALL_OLD, 3)):
            uids = write_tiny(tmp_path, 5)
            archive.run("orthanc_upload", src=str(tmp_path))
            everything = archive.run("orthanc_study_info", limit=0)
            # 1.10.1 cannot be asked for the rest; the module's documentation says so.
            assert len(everything["resources"]) == found
            limited = archive.run("orthanc_study_info", limit=2)
            assert (len(limited["resources"]), limited["truncated"]) == (2, True)
            delete(archive, *uids)


@pytest.fixture
def study_in(tmp_path):
    """A way to put a study of two slices into an archive."""
    put = []

    def bring(archive):
        uid = write_ct(tmp_path, 2)
        archive.run("orthanc_upload", src=str(tmp_path))
        put.append((archive, uid))
        return uid

    yield bring
    for archive, uid in put:
        delete(archive, uid)


class TestStudy:
    def test_anonymized(self, archive, study):
        arguments = {"uid": study, "state": "anonymized", "replace": {"PatientName": "Trial^One", "PatientID": "T1"}}
        checked = archive.run("orthanc_study", check=True, **arguments)
        done = archive.run("orthanc_study", **arguments)
        assert (checked["changed"], done["changed"], done["study"]["instances"]) == (True, True, 4)
        copy = done["study"]["copy"]
        for check in (False, True):
            again = archive.run("orthanc_study", check=check, **arguments)
            assert (again["changed"], again["study"]["copy"]) == (False, copy)
            assert again["requests"] == (2 if archive is NEW else 3)  # by UID; by id two for both
        tags = archive.rest.get(f"/studies/{copy}")
        assert tags["PatientMainDicomTags"]["PatientName"] == "Trial^One"
        assert tags["MainDicomTags"]["StudyInstanceUID"] != study
        assert "51907" not in archive.rest.get(f"/studies/{copy}/metadata", {"expand": ""})
        assert count_of(archive, study) == 4, "the study itself stays"
        other = archive.run("orthanc_study", uid=study, state="anonymized")["study"]["copy"]
        assert other not in ("", copy)
        archive.run("orthanc_study", id=copy, state="absent")
        assert archive.run("orthanc_study", check=True, **arguments)["changed"] is True, "the copy is gone"
        archive.run("orthanc_study", id=other, state="absent")

    def test_an_interrupted_wait_is_taken_up(self, archive, study):
        arguments = {"uid": study, "state": "anonymized"}
        started = archive.run("orthanc_study", wait=False, **arguments)
        assert started["changed"] is True
        taken_up = archive.run("orthanc_study", **arguments)
        assert taken_up["changed"] is False
        assert taken_up["study"]["job"] == started["study"]["job"]
        assert archive.run("orthanc_study", id=taken_up["study"]["copy"], state="absent")["changed"] is True

    @pytest.mark.parametrize("way", ["modality", "peer"])
    def test_sent(self, archive, study, way):
        other = OTHER[archive]
        if way == "peer":
            login = other.login
            body = {"Url": other.url, "Username": login["url_username"], "Password": login["url_password"]}
            archive.rest.put("/peers/trial-there", body)
        else:
            archive.rest.put("/modalities/trial-there", [other.aet, HOST, other.dicom_port])
        arguments = {"uid": study, "state": "sent", way: "trial-there"}
        assert archive.run("orthanc_study", check=True, **arguments)["changed"] is True
        assert count_of(other, study) == 0
        done = archive.run("orthanc_study", **arguments)
        assert (done["changed"], done["study"]["instances"], count_of(other, study)) == (True, 4, 4)
        for check in (False, True):
            again = archive.run("orthanc_study", check=check, **arguments)
            assert (again["changed"], again["requests"]) == (False, 1 if archive is NEW else 2)
        assert archive.run("orthanc_study", again=True, **arguments)["changed"] is True
        unknown = archive.run("orthanc_study", **{**arguments, way: "trial-nobody"})
        assert "trial-nobody is not registered in Orthanc" in unknown["msg"]
        archive.rest.delete("/peers/trial-there" if way == "peer" else "/modalities/trial-there")

    def test_absent(self, archive, study):
        arguments = {"uid": study, "state": "absent"}
        assert archive.run("orthanc_study", check=True, **arguments)["changed"] is True
        assert count_of(archive, study) == 4
        assert archive.run("orthanc_study", **arguments)["changed"] is True
        for check in (False, True):
            again = archive.run("orthanc_study", check=check, **arguments)
            assert (again["changed"], again["requests"]) == (False, 1)


def worklist(archive) -> list[pydicom.Dataset]:
    """What a modality finds."""
    query = pydicom.Dataset()
    query.PatientName = query.AccessionNumber = query.StudyInstanceUID = ""
    step = pydicom.Dataset()
    step.Modality, step.ScheduledProcedureStepStartDate = "CT", "20261201-20261231"
    query.ScheduledProcedureStepSequence = [step]
    entity = AE(ae_title="TRIAL")
    entity.add_requested_context(ModalityWorklistInformationFind)
    association = entity.associate(HOST, archive.dicom_port, ae_title=archive.aet)
    assert association.is_established
    answers = list(association.send_c_find(query, ModalityWorklistInformationFind))
    association.release()
    assert answers[-1][0].Status == 0
    return [dataset for _status, dataset in answers[:-1]]


def test_worklist(small_archive, host, tmp_path):
    folder = f"/srv/trial/worklists-{'new' if small_archive is SMALL_NEW else 'old'}"
    step = {"Modality": "CT", "ScheduledProcedureStepStartDate": "20261224", "ScheduledStationAETitle": "CT1"}
    tags = {"AccessionNumber": "4711", "PatientName": "Müller^Änne", "ScheduledProcedureStepSequence": [step]}

    def run(*steps: tuple[dict, bool, bool]) -> None:
        """Tasks of one play, each with its arguments, in check mode or not, and whether it must change something."""
        common = {"name": "4711", "folder": folder, "mode": "0644", "tags": tags, **small_archive.login}
        tasks: list[dict] = []
        for arguments, check, changes in steps:
            module = {"lightbox.pacs.orthanc_worklist": {**common, **arguments}}
            tasks.append({**module, "check_mode": check, "register": "done"})
            tasks.append(
                {"ansible.builtin.assert": {"that": ["done is changed" if changes else "done is not changed"]}}
            )
        play(tasks)

    def play(tasks: list[dict]) -> None:
        content = [{"hosts": "pacs", "become": True, "gather_facts": False, "tasks": tasks}]
        (tmp_path / "play.yml").write_text(json.dumps(content))
        done = run_playbook("-i", INVENTORY, tmp_path / "play.yml")
        assert done.returncode == 0, done.stdout + done.stderr

    def search(*queries: tuple[dict, int]) -> None:
        """Searches in one play, each with how many entries it must find; in check mode too."""
        tasks: list[dict] = []
        for query, count in queries:
            module = {"folder": folder, "query": query, **small_archive.login}
            for check in (False, True):
                task = {"lightbox.pacs.orthanc_worklist_info": module, "check_mode": check, "register": "found"}
                tasks += [task, {"ansible.builtin.assert": {"that": [f"found.worklists | length == {count}"]}}]
        play(tasks)

    run(({}, True, True))
    assert worklist(small_archive) == []
    run(({}, False, True), ({}, False, False), ({}, True, False))
    found = worklist(small_archive)
    assert [str(one.PatientName) for one in found] == ["Müller^Änne"]
    search(
        ({"AccessionNumber": "4711", "PatientName": "müller*"}, 1),
        ({"Modality": "CT", "ScheduledProcedureStepStartDate": "20261201-20261231"}, 1),
        ({"ScheduledStationAETitle": "MR1"}, 0),
    )
    run(({"tags": {**tags, "PatientName": "Other^One"}}, False, True))
    assert [str(one.PatientName) for one in worklist(small_archive)] == ["Other^One"]
    assert worklist(small_archive)[0].StudyInstanceUID == found[0].StudyInstanceUID
    gone = {"state": "absent"}
    run((gone, True, True), (gone, False, True), (gone, False, False), (gone, True, False))
    assert worklist(small_archive) == []
