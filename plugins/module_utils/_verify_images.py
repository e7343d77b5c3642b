# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Checks of the archive: its REST API, the way of an image through DICOMweb and through DICOM.

What is sent is synthetic, carries the patient ID of ``Traces`` and is deleted again, also when a check in between
fails. Deleting goes by the archive's REST API and only ever touches studies with all three marks of a synthetic one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import time
import typing as t
from urllib.parse import quote, urlsplit

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom import (
    PATIENT_NAME,
    SyntheticImage,
    first_part,
    stow_body,
    synthetic_image,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_association import EchoError, EchoResult, send_echo
from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection, HttpError, basic_auth
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import tls_context
from ansible_collections.lightbox.pacs.plugins.module_utils._verify import Checks, NotTried, Settings, Shortfall, expect
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_web import DEFAULT_LOGINS, HTTPS, LOGIN

ANSWERS = "answers"
ECHO = "C-ECHO"
PREFIX = "LIGHTBOX-VERIFY-"
NO_INSTANCE = "-".join(["00000000"] * 5)
REFUSED = re.compile(r"Association Rejected|No Acceptable Presentation Contexts", re.IGNORECASE)


class Archive:
    """The checks that ask the archive itself, on the loopback address that only the reverse proxy uses."""

    def __init__(self, settings: Settings, checks: Checks, client: Connection) -> None:
        self.settings = settings
        self.checks = checks
        self.client = client
        self.version = ""

    def all(self) -> None:
        start = "See 'docker logs' of the archive; run the playbook again."
        for name, remedy, check in (
            (ANSWERS, start, self.answers),
            (
                "index answers",
                "The archive runs, its database does not: see its log and the disk's free space.",
                self.is_ready,
            ),
            (
                "DICOMweb plugin",
                "Name the DICOMweb plugin in the archive's configuration (Plugins).",
                self.has_dicomweb,
            ),
            ("without login", "Set AuthenticationEnabled to true.", self.asks_for_login),
            (
                "default logins",
                "Configure RegisteredUsers; without it the archive makes orthanc:orthanc.",
                self.no_default_login,
            ),
            ("no scripts", "Set ExecuteLuaEnabled to false.", self.runs_no_scripts),
            ("no file export", "Set RestApiWriteToFileSystemEnabled to false.", self.exports_no_files),
        ):
            self.checks.run("archive", name, remedy, check, "" if name == ANSWERS else ANSWERS)

    def answers(self) -> str:
        answer = self.client.get("/system")
        expect(
            answer.status != 401,
            "it refuses the login",
            "Check verify_archive_user and verify_archive_password against the archive's configuration.",
        )
        expect(answer.status == 200, f"GET /system answers {answer.status}")
        system = answer.json()
        self.version = str(system["Version"])
        expect(
            system["DicomAet"] == self.settings.dicom_aet,
            f"its AE title is {system['DicomAet']}, not {self.settings.dicom_aet}",
            "Make verify_dicom_aet and the archive's AE title agree.",
        )
        return f"Orthanc {self.version}, AE title {system['DicomAet']}"

    def is_ready(self) -> str:
        answer = self.client.get("/changes?last")
        expect(answer.status == 200, f"GET /changes?last answers {answer.status}")
        return f"change {answer.json()['Last']}"

    def has_dicomweb(self) -> str:
        answer = self.client.get("/plugins/dicom-web")
        expect(answer.status == 200, "the archive has no DICOMweb plugin")
        return f"version {answer.json()['Version']}"

    def asks_for_login(self) -> str:
        paths = [
            "/",
            "/system",
            "/studies",
            "/app/explorer.html",
            f"{self.settings.dicomweb_root}/studies?limit=1",
            "/verify",
        ]
        answered = {path: self.client.get(path, login=False).status for path in paths}
        open_ones = [f"GET {path} answers {status}" for path, status in answered.items() if status not in (401, 403)]
        expect(not open_ones, "; ".join(open_ones))
        return f"{len(paths)} requests refused"

    def no_default_login(self) -> str:
        taken = [
            user
            for user, password in DEFAULT_LOGINS
            if self.client.get("/system", basic_auth(user, password), login=False).status not in (401, 403)
        ]
        expect(not taken, "it takes the well-known password of " + ", ".join(taken))
        return f"{len(DEFAULT_LOGINS)} refused"

    def runs_no_scripts(self) -> str:
        answer = self.client.request("POST", "/tools/execute-script")
        expect(answer.status == 403, f"POST /tools/execute-script answers {answer.status}")
        return "403"

    def exports_no_files(self) -> str:
        # Of an instance that does not exist: nothing is written even where this is allowed.
        answer = self.client.request("POST", f"/instances/{NO_INSTANCE}/export", body=b"/dev/null")
        expect(answer.status == 403, f"POST /instances/.../export answers {answer.status}")
        return "403"


def this_host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def synthetic() -> SyntheticImage:
    """A new study that a later run knows as one to delete."""
    return synthetic_image(f"{PREFIX}{this_host()}-{int(time.time())}-{secrets.token_hex(4)}")


class Traces:
    """Every synthetic study of this run and how it goes away again.

    A patient ID is ``LIGHTBOX-VERIFY-<host>-<unix time>-<random>``: what an interrupted run left is found by it.
    Studies of another host are left alone for an hour, because it may be in the midst of a run with the same database.
    """

    def __init__(self, client: Connection) -> None:
        self.client = client
        self.host = this_host()
        self.images: list[SyntheticImage] = []

    def image(self) -> SyntheticImage:
        made = synthetic()
        self.images.append(made)
        return made

    def lookup(self, uid: str, level: str) -> str:
        """The archive's identifier of a study or an instance; empty when it has none."""
        answer = self.client.request("POST", "/tools/lookup", body=uid.encode("ascii"))
        expect(answer.status == 200, f"POST /tools/lookup answers {answer.status}")
        return next((str(found["ID"]) for found in answer.json() if found["Type"] == level), "")

    def delete(self, identifier: str) -> bool:
        """Deletes one study if it is synthetic; false when it is not, or not ours to delete."""
        answer = self.client.get(f"/studies/{quote(identifier, safe='')}")
        if answer.status == 404:
            return False
        expect(answer.status == 200, f"GET /studies/{identifier} answers {answer.status}")
        if not self.is_synthetic(answer.json()):
            return False
        deleted = self.client.request("DELETE", f"/studies/{quote(identifier, safe='')}")
        expect(deleted.status in (200, 404), f"DELETE /studies/{identifier} answers {deleted.status}")
        return True

    def is_synthetic(self, study: dict[str, t.Any]) -> bool:
        """All three marks: patient ID, patient's name, a UID under 2.25."""
        patient = study.get("PatientMainDicomTags", {})
        return (
            str(patient.get("PatientID", "")).startswith(PREFIX)
            and patient.get("PatientName") == PATIENT_NAME
            and str(study.get("MainDicomTags", {}).get("StudyInstanceUID", "")).startswith("2.25.")
        )

    def is_left_over(self, patient_id: str) -> bool:
        found = re.fullmatch(re.escape(PREFIX) + r"([0-9a-f]{8})-([0-9]{1,11})-[0-9a-f]+", patient_id)
        return not found or found.group(1) == self.host or time.time() - int(found.group(2)) > 3600

    def sweep(self) -> str:
        """Deletes what interrupted runs left."""
        query = json.dumps({"Level": "Study", "Query": {"PatientID": f"{PREFIX}*"}, "Expand": True}).encode()
        answer = self.client.request("POST", "/tools/find", body=query)
        expect(answer.status == 200, f"POST /tools/find answers {answer.status}")
        gone = 0
        for study in answer.json():
            if self.is_synthetic(study) and self.is_left_over(str(study["PatientMainDicomTags"]["PatientID"])):
                gone += self.delete(str(study["ID"]))
        return f"{gone} studies of an interrupted run deleted" if gone else "nothing was left over"

    def remove_all(self) -> str:
        """Deletes the studies of this run and looks whether they are gone."""
        left, gone = [], 0
        for image in self.images:
            try:
                identifier = self.lookup(image.study_uid, "Study")
                if identifier:
                    gone += self.delete(identifier)
                    expect(not self.lookup(image.study_uid, "Study"), "the archive still knows it")
            except Exception as error:  # the next one must be tried whatever became of this one
                left.append(f"{image.patient_id} ({error})")
        expect(not left, "not deleted are " + ", ".join(left))
        return f"{gone} studies deleted and gone"


class Dicomweb:
    """One image on its way: STOW-RS, QIDO-RS, WADO-RS, all through the reverse proxy."""

    def __init__(self, settings: Settings, proxy: Connection, image: SyntheticImage) -> None:
        self.settings = settings
        self.proxy = proxy
        self.image = image
        self.root = settings.dicomweb_root
        self.instance = (
            f"{self.root}/studies/{image.study_uid}/series/{image.series_uid}/instances/{image.instance_uid}"
        )

    def store(self) -> str:
        media_type, body = stow_body([self.image.file])
        answer = self.proxy.request(
            "POST",
            f"{self.root}/studies",
            body,
            headers={"Content-Type": media_type, "Accept": "application/dicom+json"},
        )
        expect(answer.status == 200, f"POST {self.root}/studies answers {answer.status}")
        stored = answer.json().get("00081199", {}).get("Value", [])
        expect(len(stored) == 1, "the archive did not take the image")
        return f"{len(self.image.file)} bytes stored"

    def query(self) -> str:
        found = self.search()
        expect(len(found) == 1, f"{len(found)} studies found instead of 1")
        patient = found[0]["00100020"]["Value"][0]
        expect(patient == self.image.patient_id, f"found is patient '{patient}'")
        return f"patient {patient}"

    def search(self) -> list[dict[str, t.Any]]:
        answer = self.proxy.get(
            f"{self.root}/studies?StudyInstanceUID={self.image.study_uid}&limit=2", {"Accept": "application/dicom+json"}
        )
        if answer.status == 204:
            return []
        expect(answer.status == 200, f"GET {self.root}/studies answers {answer.status}")
        return list(answer.json())

    def frames(self) -> str:
        answer = self.proxy.get(
            f"{self.instance}/frames/1",
            {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'},
        )
        expect(answer.status == 200, f"GET .../frames/1 answers {answer.status}")
        pixels = first_part(answer.headers.get("content-type", ""), answer.decompress())
        expect(
            pixels == self.image.pixels,
            f"the {len(pixels)} bytes that came back are not the {len(self.image.pixels)} sent",
        )
        return f"{len(pixels)} bytes, each the same"

    def metadata(self) -> str:
        answer = self.proxy.get(
            f"{self.root}/studies/{self.image.study_uid}/metadata", {"Accept": "application/dicom+json"}
        )
        expect(answer.status == 200, f"GET .../metadata answers {answer.status}")
        instances = json.loads(answer.decompress())
        expect(len(instances) == 1, f"{len(instances)} instances instead of 1")
        wanted = {
            "00080018": self.image.instance_uid,
            "00280010": self.image.rows,
            "00280011": self.image.columns,
            "00280100": 16,
        }
        wrong = [tag for tag, value in wanted.items() if instances[0].get(tag, {}).get("Value") != [value]]
        expect(
            not wrong,
            "missing or different is " + ", ".join(wrong),
            "Set StudiesMetadata and SeriesMetadata of the DICOMweb plugin to Full.",
        )
        return f"{len(instances[0])} attributes"

    def links(self) -> str:
        """URLs that the archive writes into its answers must be the public ones."""
        answers = [
            self.proxy.get(
                f"{self.root}/studies/{self.image.study_uid}/metadata", {"Accept": "application/dicom+json"}
            ),
            self.proxy.get(f"{self.root}/studies?StudyInstanceUID={self.image.study_uid}&limit=2"),
        ]
        found = sorted({link for answer in answers for link in _links(json.loads(answer.decompress()))})
        public = f"{self.settings.url.rstrip('/')}{self.root}/"
        wrong = [link for link in found if not link.startswith(public)]
        expect(bool(found), "no answer carries a BulkDataURI or a RetrieveURL")
        expect(not wrong, f"instead of {public} they begin with {wrong[0][:60] if wrong else ''}")
        return f"{len(found)} begin with {public}"


def _links(value: t.Any) -> list[str]:
    """Every BulkDataURI and RetrieveURL in DICOM JSON."""
    if isinstance(value, list):
        return [link for item in value for link in _links(item)]
    if not isinstance(value, dict):
        return []
    found = [str(value["BulkDataURI"])] if "BulkDataURI" in value else []
    for tag, item in value.items():
        if tag == "00081190" and isinstance(item, dict):
            found += [str(link) for link in item.get("Value", [])]
        found += _links(item)
    return found


class Dimse:
    """The archive's DICOM listener: C-ECHO as the module dicom_echo does it, C-STORE by DCMTK's storescu."""

    def __init__(self, settings: Settings, client: Connection, traces: Traces) -> None:
        self.settings = settings
        self.client = client
        self.traces = traces

    def echo(self, calling: str = "", called: str = "", tls: bool = False, encrypted: bool = False) -> EchoResult:
        """tls: ask the port for TLS, encrypted: with TLS. Raises ``EchoError``."""
        settings = self.settings
        return send_echo(
            settings.connect_address if tls else settings.dicom_host,
            settings.dicom_tls_port if tls else settings.dicom_port,
            called or settings.dicom_aet,
            calling or settings.dicom_calling_aet,
            settings.timeout,
            tls_context(settings.ca_path) if encrypted else None,
            str(urlsplit(settings.url).hostname),
        )

    def echoes(self) -> str:
        settings = self.settings
        try:
            self.echo()
        except EchoError as error:
            raise Shortfall(f"it {error}") from error
        return f"{settings.dicom_calling_aet} to {settings.dicom_aet} at {settings.dicom_host}:{settings.dicom_port}"

    def refuses_called(self) -> str:
        return self.refuses(called=_stranger())

    def refuses_calling(self) -> str:
        return self.refuses(calling=_stranger())

    def refuses(self, calling: str = "", called: str = "") -> str:
        try:
            self.echo(calling, called)
        except EchoError as error:
            expect("refused the association" in str(error), f"no refusal: it {error}")
            return str(error)
        raise Shortfall("it is taken")

    def stores(self) -> str:
        image = self.traces.image()
        code, output = self.send(image, self.settings.dicom_calling_aet)
        expect(code == 0, _dcmtk_error(output))
        identifier = self.traces.lookup(image.instance_uid, "Instance")
        expect(bool(identifier), "the archive said yes and does not have the image")
        answer = self.client.get(f"/instances/{identifier}/frames/0/raw")
        expect(answer.status == 200, f"GET /instances/.../frames/0/raw answers {answer.status}")
        expect(answer.decompress() == image.pixels, "other pixels came back than were sent")
        return f"{len(image.pixels)} bytes of pixels, each the same"

    def refuses_to_store(self) -> str:
        image = self.traces.image()
        code, output = self.send(image, _stranger())
        expect(code != 0 and not self.traces.lookup(image.instance_uid, "Instance"), "the image is taken")
        expect(bool(REFUSED.search(output)), f"no refusal but {_dcmtk_error(output)}")
        reason = re.search(r"Reason: (.*)", output)
        return reason.group(1).strip() if reason else "refused"

    def send(self, image: SyntheticImage, calling: str) -> tuple[int, str]:
        """Runs ``storescu``: its exit code and what it says. Raises ``NotTried`` when it is not installed."""
        settings = self.settings
        seconds = str(settings.timeout)
        path = os.path.join(settings.temporary, f"verify-{secrets.token_hex(4)}.dcm")
        try:
            with open(path, "xb") as file:
                file.write(image.file)
            limits = ["-to", seconds, "-ta", seconds, "-td", seconds]
            address = [settings.dicom_host, str(settings.dicom_port)]
            return settings.run(
                ["storescu", "-aet", calling, "-aec", settings.dicom_aet, *limits, "-R", *address, path]
            )
        except FileNotFoundError as error:
            raise NotTried("storescu is not installed on the server (package dcmtk)") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def echoes_with_tls(self) -> str:
        try:
            answer = self.echo(tls=True, encrypted=True)
        except EchoError as error:
            raise Shortfall(f"it {error}") from error
        try:
            self.echo(tls=True)
        except EchoError:
            version = (answer.tls or {}).get("version")
            return (
                f"{version} at {self.settings.connect_address}:{self.settings.dicom_tls_port}, and nothing without TLS"
            )
        raise Shortfall("the port also answers without TLS")


def _stranger() -> str:
    """An AE title that nobody has."""
    return "NO" + secrets.token_hex(6).upper()


def _dcmtk_error(output: str) -> str:
    """The lines of DCMTK's output that tell an error, without their marks."""
    lines = [line[2:].strip() for line in output.splitlines() if line[:2] in ("F:", "E:")]
    return "; ".join(lines or output.split("\n")[:2]) or "it says nothing"


@contextlib.contextmanager
def alone(timeout: float) -> t.Iterator[None]:
    """Holds the place of the one run that may sweep on this machine.

    An abstract socket leaves nothing behind, even when the process is killed.
    """
    place = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                place.bind("\0lightbox.pacs.verify")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Shortfall("another verification runs on this server", "Wait until it has ended.") from error
                time.sleep(0.2)
        yield
    finally:
        place.close()


def check_images(settings: Settings, checks: Checks) -> str:
    """Everything that concerns the archive; returns its version, empty when it did not answer."""
    try:
        client = settings.connect_to_orthanc()
    except HttpError as error:
        reason = f"verify_archive_url cannot be used ({error})"
        checks.fail("archive", ANSWERS, reason, "Correct verify_archive_url.")
        return ""
    try:
        archive = Archive(settings, checks, client)
        archive.all()
        check_flows(settings, checks, client)
        return archive.version
    finally:
        client.close()


def check_flows(settings: Settings, checks: Checks, client: Connection) -> None:
    """The flows that store something, in check mode only those that do not."""
    traces = Traces(client)
    if not settings.writes:
        for name in ("STOW, QIDO, WADO", "C-STORE"):
            checks.run("images", name, "", _not_in_check_mode)
        check_dicom(settings, checks, client, traces)
        return
    try:
        with alone(settings.timeout * 3):
            try:
                checks.run(
                    "images",
                    "left by an earlier run",
                    "Delete the studies of patients LIGHTBOX-VERIFY-*.",
                    traces.sweep,
                    ANSWERS,
                )
                check_dicomweb(settings, checks, traces)
                check_dicom(settings, checks, client, traces)
            finally:
                checks.run(
                    "images",
                    "deleted again",
                    "Delete the studies of patients LIGHTBOX-VERIFY-* in the archive's own pages.",
                    traces.remove_all,
                    ANSWERS,
                )
    except Shortfall as shortfall:
        checks.fail("images", "alone on this server", str(shortfall), shortfall.remedy)


def _not_in_check_mode() -> str:
    raise NotTried("not in check mode, it would store an image")


def check_dicomweb(settings: Settings, checks: Checks, traces: Traces) -> None:
    for needed in (HTTPS, LOGIN, ANSWERS):
        if needed in checks.failed:
            checks.run("images", "STOW, QIDO, WADO", "", lambda: "", needed)
            return
    proxy = settings.connect_to_proxy()
    try:
        way = Dicomweb(settings, proxy, traces.image())
        stored = "STOW-RS"
        see = "See the reverse proxy's error log and 'docker logs' of the archive."
        public = (
            "Let the reverse proxy set 'Forwarded' to the public host and scheme; "
            "configure no Host in the DICOMweb plugin."
        )
        checks.run("images", stored, see, way.store)
        checks.run("images", "QIDO-RS", see, way.query, stored)
        checks.run("images", "WADO-RS frames", see, way.frames, stored)
        checks.run("images", "WADO-RS metadata", see, way.metadata, stored)
        checks.run("images", "links", public, way.links, stored)
    finally:
        proxy.close()


def check_dicom(settings: Settings, checks: Checks, client: Connection, traces: Traces) -> None:
    if not settings.dicom_port:
        return
    dimse = Dimse(settings, client, traces)
    known = f"Declare the AE title {settings.dicom_calling_aet} among the archive's modalities, with echo and store."
    strict = "Set DicomCheckCalledAet to true, DicomAlwaysAllowEcho and DicomAlwaysAllowStore to false."
    checks.run("DICOM", ECHO, known, dimse.echoes)
    checks.run("DICOM", "another called AE title", strict, dimse.refuses_called, ECHO)
    checks.run("DICOM", "an unknown calling AE title", strict, dimse.refuses_calling, ECHO)
    if settings.writes and ANSWERS not in checks.failed:
        checks.run("DICOM", "C-STORE", known, dimse.stores, ECHO)
        checks.run("DICOM", "C-STORE of a stranger", strict, dimse.refuses_to_store, ECHO)
    if settings.dicom_tls_port:
        checks.run(
            "DICOM",
            "C-ECHO with TLS",
            "Listen with TLS on that port, let the server itself in, and name the CA (verify_ca).",
            dimse.echoes_with_tls,
            ECHO,
        )
