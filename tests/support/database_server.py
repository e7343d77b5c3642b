"""The archive of this scenario as the tests use it: its REST API, images to send, its database's superuser."""

from __future__ import annotations

import functools
import io
import json
import shlex
import threading
import time
from typing import Any

import pydicom
import requests
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE

from tests.samples import noise
from tests.support import lab
from tests.support.lab import lab_hosts, pacs_host, secret

ADDRESS = lab_hosts()[pacs_host()]["ansible_host"]
# The roles that a change of the database or of the archive concerns.
ROLES = ("postgresql", "orthanc")
ARCHIVE = f"http://{ADDRESS}:8042"
CONFIGURATION = "/opt/lightbox/orthanc/configuration"
STORAGE = "/var/lib/lightbox/orthanc"
new_uid = noise.new_uid
instance = functools.partial(noise.instance, side=64, patient="LIGHTBOX-DATABASE")
# The patient of the load must not appear in any log. No other test has these words.
PATIENT_NAME, PATIENT_ID, DESCRIPTION = "Numbat^Eremia", "NE-4471-K", "Kakapo control"
of_load = functools.partial(noise.instance, side=64, patient=PATIENT_ID, name=PATIENT_NAME, description=DESCRIPTION)


def session() -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.auth = ("reverse_proxy", secret("archive_password"))
    return made


def upload(web: requests.Session, file: bytes, timeout: float = 60) -> dict[str, Any] | None:
    """Send one file by REST. What the archive says of it when it took it, else None."""
    try:
        answer = web.post(f"{ARCHIVE}/instances", data=file, timeout=timeout)
    except requests.RequestException:
        return None
    if answer.status_code != 200 or answer.json().get("Status") not in ("Success", "AlreadyStored"):
        return None
    return answer.json()


def find(web: requests.Session, study: str) -> dict[str, str]:
    """SOP Instance UIDs of a study with the archive's identifiers."""
    found = web.post(
        f"{ARCHIVE}/tools/find",
        json={"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True},
        timeout=60,
    )
    assert found.status_code == 200, found.text
    return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in found.json()}


def remove(web: requests.Session, study: str) -> None:
    found = web.post(f"{ARCHIVE}/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}, timeout=60)
    for orthanc_id in found.json():
        assert web.delete(f"{ARCHIVE}/studies/{orthanc_id}", timeout=120).status_code == 200


def wait_until_ready(web: requests.Session, seconds: float = 120) -> float:
    return lab.wait_until_ready(web, ARCHIVE, seconds)


class Load:
    """Images that arrive all the time, by REST and by C-STORE, until the end of the block; what was acknowledged."""

    def __init__(self, threads: int = 3) -> None:
        self.study, self.series = new_uid(), new_uid()
        self.acknowledged: dict[str, bytes] = {}
        self.refused: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._rest) for _unused in range(threads)]
        self.threads.append(threading.Thread(target=self._dicom))

    def _note(self, uid: str, file: bytes, taken: bool) -> None:
        with self.lock:
            (self.acknowledged if taken else self.refused)[uid] = file
        if not taken:
            time.sleep(0.2)

    def _rest(self) -> None:
        web = session()
        while not self.over.is_set():
            uid, file = of_load(self.study, self.series, 1)
            self._note(uid, file, upload(web, file) is not None)

    def _dicom(self) -> None:
        entity = AE("DEMO")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
        entity.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        association = None
        while not self.over.is_set():
            uid, file = of_load(self.study, self.series, 2)
            if association is None or not association.is_established:
                association = entity.associate(ADDRESS, 14242, ae_title="LIGHTBOX")
            status = None
            if association.is_established:
                try:
                    status = association.send_c_store(pydicom.dcmread(io.BytesIO(file)))
                except (RuntimeError, ValueError):
                    association.abort()
            self._note(uid, file, status is not None and status.get("Status") == 0x0000)
        if association is not None and association.is_established:
            association.release()

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        until = time.monotonic() + 60
        while len(self.acknowledged) < 20:
            assert time.monotonic() < until, "the archive takes no images"
            time.sleep(0.1)
        return self

    def __exit__(self, *_unused: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(120)

    def wait_for_more(self, taken: int, seconds: float = 15) -> None:
        """Until twenty more images than `taken` were acknowledged."""
        until = time.monotonic() + seconds
        while len(self.acknowledged) <= taken + 20:
            assert time.monotonic() < until, "the archive takes no images after the outage"
            time.sleep(0.1)

    def assert_acknowledged_is_kept(self, web: requests.Session) -> dict[str, str]:
        """Each image that was acknowledged is there with its pixels. What the archive has beyond that."""
        kept = find(web, self.study)
        assert set(self.acknowledged) <= set(kept), "an image that was acknowledged is lost"
        assert set(kept) <= set(self.acknowledged) | set(self.refused)
        for uid, sent in self.acknowledged.items():
            assert pixels(fetch(web, kept[uid])) == pixels(sent)
        return {uid: orthanc_id for uid, orthanc_id in kept.items() if uid not in self.acknowledged}

    def assert_nothing_is_lost(self, web: requests.Session) -> None:
        """Nor is anything there by halves: what was not acknowledged is there with its pixels or not at all."""
        for uid, orthanc_id in self.assert_acknowledged_is_kept(web).items():
            assert pixels(fetch(web, orthanc_id)) == pixels(self.refused[uid])

    def list_without_file(self, web: requests.Session) -> list[str]:
        """What the index lists beyond what was acknowledged, and has no file."""
        return [
            uid
            for uid, orthanc_id in self.assert_acknowledged_is_kept(web).items()
            if web.get(f"{ARCHIVE}/instances/{orthanc_id}/file", timeout=30).status_code == 500
        ]

    def assert_refused_can_be_sent_again(self, web: requests.Session) -> None:
        """As a modality does: what is acknowledged then is kept, too."""
        for uid, file in self.refused.items():
            said = upload(web, file)
            assert said, f"the archive refuses {uid} when it comes a second time"
            assert pixels(fetch(web, said["ID"])) == pixels(file)


def fetch(web: requests.Session, orthanc_id: str) -> bytes:
    answer = web.get(f"{ARCHIVE}/instances/{orthanc_id}/file", timeout=30)
    assert answer.status_code == 200, f"an image of the index cannot be fetched: {answer.text}"
    return answer.content


def pixels(file: bytes) -> bytes:
    return pydicom.dcmread(io.BytesIO(file)).PixelData


def sql(host, question: str, database: str = "postgres") -> list[str]:
    """Ask PostgreSQL as its superuser."""
    with host.sudo():
        answer = host.check_output(f"psql -U postgres -XAtq -d {database} -c {shlex.quote(question)}")
    return answer.splitlines()


def on_server(host, command: str) -> str:
    with host.sudo():
        return host.check_output(command)


def container(host) -> dict[str, Any]:
    return json.loads(on_server(host, "docker inspect lightbox-orthanc"))[0]
