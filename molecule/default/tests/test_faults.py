"""The archive under faults: killed in the middle of an upload, killed as a process, killed as a whole server."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import threading

import pydicom
import requests

from tests.samples.noise import instance, new_uid
from tests.support.lab import INVENTORY, address, lab_hosts, recap, run_playbook, wait_until_ready
from tests.support.orphans import STORAGE, kill_orthanc, list_files, plant_files, reconcile, wait_for_metrics

testinfra_hosts = [address("full")]
WEB = "https://localhost:8444"
PACS = f"{WEB}/pacs"


def stow(web: requests.Session, files: list[bytes]) -> requests.Response:
    boundary = secrets.token_hex(16)
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n" for file in files
    )
    return web.post(
        f"{PACS}/dicom-web/studies",
        data=body + f"--{boundary}--\r\n".encode(),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
        timeout=60,
    )


def stored(web: requests.Session, study: str) -> dict[str, bytes]:
    """What the archive has of a study: SOP Instance UID → file."""
    found = web.post(
        f"{PACS}/tools/find",
        json={"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True},
        timeout=30,
    ).json()
    return {
        one["MainDicomTags"]["SOPInstanceUID"]: web.get(f"{PACS}/instances/{one['ID']}/file", timeout=30).content
        for one in found
    }


def files(host) -> set[str]:
    """Names of the files in which the archive keeps images."""
    with host.sudo():
        return set(host.check_output(f"find {STORAGE} -mindepth 3 -type f -size +400k -printf '%P\\n'").splitlines())


def test_archive_killed_during_uploads_keeps_only_whole_images(host, web):
    study, series = new_uid(), new_uid()
    before = files(host)
    batches = [[instance(study, series, batch * 4 + number) for number in range(4)] for batch in range(40)]
    acknowledged: set[str] = set()
    refused = 0
    lock = threading.Lock()
    started = threading.Event()

    def upload(part: list) -> None:
        nonlocal refused
        for batch in part:
            try:
                answer = stow(web, [file for _uid, file in batch])
            except requests.RequestException:
                answer = None
            with lock:
                if answer is not None and answer.status_code == 200 and "00081198" not in answer.json():
                    acknowledged.update(uid for uid, _file in batch)
                else:
                    refused += 1
            started.set()

    planted = plant_files("full", instance(study, series, 999)[1])
    threads = [threading.Thread(target=upload, args=(batches[first::3],)) for first in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(60)
    kill_orthanc(host)
    for thread in threads:
        thread.join(120)
    wait_until_ready(web, PACS)

    sent = {uid: file for batch in batches for uid, file in batch}
    kept = stored(web, study)
    assert refused > 0, "no client noticed that the archive was killed"
    assert acknowledged <= set(kept), "an image that was acknowledged is lost"
    for uid, file in kept.items():
        assert pydicom.dcmread(io.BytesIO(file)).PixelData == pydicom.dcmread(io.BytesIO(sent[uid])).PixelData

    # The clients send again: the study is whole then, with nothing twice.
    for batch in batches:
        assert stow(web, [file for _uid, file in batch]).status_code == 200
    assert set(stored(web, study)) == set(sent)

    # What was half stored is reported and stays, until the playbook moves it: then each file is one of the index.
    # Orthanc is queried for each file that was written around the kill, one by one.
    orphaned = int(wait_for_metrics(host, lambda metrics: metrics["orphaned_files"] > 0, 300)["orphaned_files"])
    assert orphaned >= max(len(planted), len(files(host) - before) - len(sent))
    verified = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "--limit", "full", "-e", "verify_modules=false")
    assert verified.returncode == 2
    assert f"{orphaned} orphaned files of " in verified.stdout
    assert "Run playbooks/reconcile.yml" in verified.stdout
    assert f"Steps to take: {orphaned}" in reconcile("full", "--check").stdout
    assert set(planted) <= list_files(host, "??")
    assert f"Steps taken: {orphaned}" in reconcile("full").stdout
    assert len(files(host) - before) == len(sent)
    aside = {path.rsplit("/", 1)[1] for path in list_files(host, "orphaned")}
    assert {path.rsplit("/", 1)[1] for path in planted} <= aside
    with host.sudo():
        host.check_output(f"rm -r {STORAGE}/orphaned")
    assert stored(web, study) == sent

    for orthanc_id in web.post(
        f"{PACS}/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}, timeout=30
    ).json():
        assert web.delete(f"{PACS}/studies/{orthanc_id}", timeout=60).status_code == 200
    assert files(host) == before


def test_server_killed_and_started_returns_by_itself(host, web):
    study, series = new_uid(), new_uid()
    uid, file = instance(study, series, 1)
    assert stow(web, [file]).status_code == 200
    for command in (["kill", "--signal", "KILL"], ["start"]):
        subprocess.run(["docker", *command, "lightbox-full"], check=True, capture_output=True)
    wait_until_ready(web, PACS)
    assert stored(web, study)[uid]
    with host.sudo():
        state = json.loads(host.check_output("docker inspect --format '{{json .State}}' lightbox-orthanc"))
    assert state["Running"] is True
    for orthanc_id in web.post(
        f"{PACS}/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}, timeout=30
    ).json():
        web.delete(f"{PACS}/studies/{orthanc_id}", timeout=30)


def test_what_is_missing_is_told_and_no_directory_is_made_of_it(host, web):
    """Docker would make a directory of a file that it does not find, and no later run could write the file."""
    file = "/opt/lightbox/orthanc/start.py"
    with host.sudo():
        host.check_output(f"mv {file} {file}.away")
        try:
            restart = host.run("docker restart lightbox-orthanc")
            assert restart.rc == 1
            assert f"{file}: no such file" in restart.stderr
            assert not host.file(file).exists
        finally:
            host.check_output(f"mv {file}.away {file}")
            host.check_output("docker start lightbox-orthanc")
    wait_until_ready(web, PACS)


def test_everything_is_proved_after_the_faults(host, web):
    run = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "--limit", "full")
    assert run.returncode == 0, run.stdout[-3000:]
    assert " 0 failed" in run.stdout
    assert "on a synthetic study: brought in, labelled, found and removed; " in run.stdout
    assert recap(run.stdout)["changed"] == 0
    left = {"Level": "Study", "Query": {"PatientID": "LIGHTBOX-VERIFY-*"}}
    assert web.post(f"{PACS}/tools/find", json=left, timeout=30).json() == []
    assert not host.file("/run/lightbox-verify.dcm").exists


def test_verify_fails_when_the_modules_cannot_do_their_work(tmp_path):
    report = tmp_path / "report.json"
    answers = {"verify_archive_url": "http://127.0.0.1:8041", "verify_report": str(report)}
    run = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "--limit", "full", "-e", json.dumps(answers))
    assert run.returncode == 2
    assert "modules | Bring the study in - " in run.stdout
    assert "modules | Remove it - " in run.stdout
    told = json.loads(report.read_text())
    assert told["passed"] is False
    assert [one["state"] for one in told["checks"] if one["group"] == "modules"] == ["failed"]


def test_verify_fails_when_something_is_broken(host):
    with host.sudo():
        host.check_output("systemctl stop nginx")
    try:
        run = run_playbook("playbooks/verify.yml", "-i", INVENTORY, "--limit", "full")
        assert run.returncode == 2
        assert "systemctl status nginx" in run.stdout
    finally:
        with host.sudo():
            host.check_output("systemctl start nginx")


def test_engine_restart_leaves_the_archive_running(host, web):
    with host.sudo():
        before = host.check_output("docker inspect --format '{{.State.StartedAt}}' lightbox-orthanc")
        host.check_output("systemctl restart docker")
        assert host.check_output("docker inspect --format '{{.State.StartedAt}}' lightbox-orthanc") == before
    assert wait_until_ready(web, PACS) < 60
    assert lab_hosts()["full"]["pacs_name"]
