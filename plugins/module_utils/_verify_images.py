# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Check Orthanc: its REST API, and an image sent and retrieved by DICOMweb and by DICOM.

What is sent is synthetic, has a patient ID of `SyntheticStudies` and is deleted, also when a check in between fails.
Only studies with all three marks of a synthetic one are ever deleted, by Orthanc's REST API.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import ssl
import time
import typing as t
from urllib.parse import quote, urlsplit

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom import (
    DESCRIPTION,
    PATIENT_NAME,
    SyntheticImage,
    compressed_image,
    first_part,
    stow_body,
    synthetic_image,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_association import EchoError, EchoResult, send_echo
from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection, HttpError, basic_auth
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import TlsError, tls_context
from ansible_collections.lightbox.pacs.plugins.module_utils._verify import Checks, NotTried, Settings, Shortfall, expect
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_web import DEFAULT_LOGINS, HTTPS, LOGIN

ANSWERS = "answers"
ECHO = "C-ECHO"
PREFIX = "LIGHTBOX-VERIFY-"
NO_INSTANCE = "-".join(["00000000"] * 5)
REFUSED = re.compile(r"Association Rejected|No Acceptable Presentation Contexts", re.IGNORECASE)


class Archive:
    """The checks of Orthanc itself, at the loopback address that only the reverse proxy uses."""

    def __init__(self, settings: Settings, checks: Checks, client: Connection) -> None:
        self.settings = settings
        self.checks = checks
        self.client = client
        self.version = ""

    def run_all(self) -> None:
        start = "See 'docker logs' of Orthanc; run the playbook again."
        for name, remedy, check in (
            (ANSWERS, start, self.check_system),
            (
                "index answers",
                "The archive runs, its database does not: see its log and the disk's free space.",
                self.check_index,
            ),
            (
                "DICOMweb plugin",
                "List the DICOMweb plugin in Orthanc's configuration (Plugins).",
                self.check_dicomweb_plugin,
            ),
            ("without login", "Set AuthenticationEnabled to true.", self.check_login_required),
            (
                "default logins",
                "Configure RegisteredUsers; without it Orthanc creates orthanc:orthanc.",
                self.check_default_logins,
            ),
            ("no scripts", "Set ExecuteLuaEnabled to false.", self.check_scripts),
            ("no file export", "Set RestApiWriteToFileSystemEnabled to false.", self.check_file_export),
        ):
            self.checks.run("archive", name, remedy, check, "" if name == ANSWERS else ANSWERS)

    def check_system(self) -> str:
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

    def check_index(self) -> str:
        answer = self.client.get("/changes?last")
        expect(answer.status == 200, f"GET /changes?last answers {answer.status}")
        return f"change {answer.json()['Last']}"

    def check_dicomweb_plugin(self) -> str:
        answer = self.client.get("/plugins/dicom-web")
        expect(answer.status == 200, "the archive has no DICOMweb plugin")
        return f"version {answer.json()['Version']}"

    def check_login_required(self) -> str:
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

    def check_default_logins(self) -> str:
        taken = [
            user
            for user, password in DEFAULT_LOGINS
            if self.client.get("/system", basic_auth(user, password), login=False).status not in (401, 403)
        ]
        expect(not taken, "it accepts the well-known password of " + ", ".join(taken))
        return f"{len(DEFAULT_LOGINS)} refused"

    def check_scripts(self) -> str:
        answer = self.client.request("POST", "/tools/execute-script")
        expect(answer.status == 403, f"POST /tools/execute-script answers {answer.status}")
        return "403"

    def check_file_export(self) -> str:
        # Of an instance that does not exist: nothing is written even where this is allowed.
        answer = self.client.request("POST", f"/instances/{NO_INSTANCE}/export", body=b"/dev/null")
        expect(answer.status == 403, f"POST /instances/.../export answers {answer.status}")
        return "403"


def hash_hostname() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def synthetic(compressed: bool = False) -> SyntheticImage:
    """Create a study that a later run recognizes as one to delete."""
    create = compressed_image if compressed else synthetic_image
    return create(f"{PREFIX}{hash_hostname()}-{int(time.time())}-{secrets.token_hex(4)}")


class SyntheticStudies:
    """The synthetic studies of this run, and how they are deleted.

    A patient ID is `LIGHTBOX-VERIFY-<host>-<unix time>-<random>`: what an interrupted run left is found by it.
    Studies of another host are left alone for an hour, because it may be in the midst of a run with the same database.
    """

    def __init__(self, client: Connection) -> None:
        self.client = client
        self.host = hash_hostname()
        self.images: list[SyntheticImage] = []

    def create(self, compressed: bool = False) -> SyntheticImage:
        made = synthetic(compressed)
        self.images.append(made)
        return made

    def lookup(self, uid: str, level: str) -> str:
        """Return Orthanc's identifier of a study or an instance; empty when it has none."""
        answer = self.client.request("POST", "/tools/lookup", body=uid.encode("ascii"))
        expect(answer.status == 200, f"POST /tools/lookup answers {answer.status}")
        return next((str(found["ID"]) for found in answer.json() if found["Type"] == level), "")

    def delete(self, identifier: str) -> bool:
        """Delete a study if it is synthetic; return whether it was."""
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
        """Return whether a study has all three marks: patient ID, patient's name, a UID under 2.25."""
        patient = study.get("PatientMainDicomTags", {})
        return (
            str(patient.get("PatientID", "")).startswith(PREFIX)
            and patient.get("PatientName") == PATIENT_NAME
            and str(study.get("MainDicomTags", {}).get("StudyInstanceUID", "")).startswith("2.25.")
        )

    def is_orphaned(self, patient_id: str) -> bool:
        found = re.fullmatch(re.escape(PREFIX) + r"([0-9a-f]{8})-([0-9]{1,11})-[0-9a-f]+", patient_id)
        return not found or found.group(1) == self.host or time.time() - int(found.group(2)) > 3600

    def delete_orphaned(self) -> str:
        """Delete what interrupted runs left."""
        query = json.dumps({"Level": "Study", "Query": {"PatientID": f"{PREFIX}*"}, "Expand": True}).encode()
        answer = self.client.request("POST", "/tools/find", body=query)
        expect(answer.status == 200, f"POST /tools/find answers {answer.status}")
        gone = 0
        for study in answer.json():
            if self.is_synthetic(study) and self.is_orphaned(str(study["PatientMainDicomTags"]["PatientID"])):
                gone += self.delete(str(study["ID"]))
        return f"{gone} studies of an interrupted run deleted" if gone else "nothing was left over"

    def delete_all(self) -> str:
        """Delete the studies of this run and check that they are gone."""
        left, gone = [], 0
        for image in self.images:
            try:
                identifier = self.lookup(image.study_uid, "Study")
                if identifier:
                    gone += self.delete(identifier)
                    expect(not self.lookup(image.study_uid, "Study"), "Orthanc still has it")
            except Exception as error:  # the next one must be tried whatever became of this one
                left.append(f"{image.patient_id} ({error})")
        expect(not left, "not deleted are " + ", ".join(left))
        return f"{gone} studies deleted and gone"


class Dicomweb:
    """The checks of one image by STOW-RS, QIDO-RS and WADO-RS, all through the reverse proxy."""

    def __init__(self, settings: Settings, proxy: Connection, image: SyntheticImage) -> None:
        self.settings = settings
        self.proxy = proxy
        self.image = image
        self.root = settings.dicomweb_root
        self.instance = (
            f"{self.root}/studies/{image.study_uid}/series/{image.series_uid}/instances/{image.instance_uid}"
        )

    def check_stow(self) -> str:
        media_type, body = stow_body([self.image.file])
        answer = self.proxy.request(
            "POST",
            f"{self.root}/studies",
            body,
            headers={"Content-Type": media_type, "Accept": "application/dicom+json"},
        )
        expect(answer.status == 200, f"POST {self.root}/studies answers {answer.status}")
        stored = answer.json().get("00081199", {}).get("Value", [])
        expect(len(stored) == 1, "Orthanc did not store the image")
        return f"{len(self.image.file)} bytes stored"

    def check_query(self) -> str:
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

    def check_encoded_query(self) -> str:
        """Check that a query is decoded: browsers and clients encode blanks, carets and commas."""
        query = f"PatientName={quote(PATIENT_NAME, safe='')}&StudyDescription={quote(DESCRIPTION, safe='')}"
        answer = self.proxy.get(
            f"{self.root}/studies?{query}&PatientID={self.image.patient_id}", {"Accept": "application/dicom+json"}
        )
        expect(answer.status in (200, 204), f"GET {self.root}/studies answers {answer.status}")
        found = len(answer.json()) if answer.status == 200 else 0
        expect(found == 1, f"{found} studies found by {query} instead of 1")
        return f"found by {query}"

    def check_jpeg_2000(self, archive: Connection) -> str:
        """Store an image in JPEG 2000 and check that it is decoded for a client that asks as the standard lets it."""
        self.check_stow()
        answer = self.proxy.get(self.instance, {"Accept": 'multipart/related; type="application/dicom"'})
        if answer.status != 200 and "gdcm" not in archive.get("/plugins").json():
            raise NotTried("Orthanc runs without the plugin OrthancGdcm, which reads JPEG 2000")
        expect(answer.status == 200, f"GET .../instances/... answers {answer.status}")
        file = first_part(answer.headers.get("content-type", ""), answer.decompress())
        expect(file.endswith(self.image.pixels), "the pixels that came back are not those that were compressed")
        return f"{len(self.image.pixels)} bytes decoded, each the same"

    def check_frames(self) -> str:
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

    def check_metadata(self) -> str:
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

    def check_links(self) -> str:
        """Check that the URLs in Orthanc's answers are the public ones."""
        answers = [
            self.proxy.get(
                f"{self.root}/studies/{self.image.study_uid}/metadata", {"Accept": "application/dicom+json"}
            ),
            self.proxy.get(f"{self.root}/studies?StudyInstanceUID={self.image.study_uid}&limit=2"),
        ]
        found = sorted({link for answer in answers for link in _find_links(json.loads(answer.decompress()))})
        public = f"{self.settings.url.rstrip('/')}{self.root}/"
        wrong = [link for link in found if not link.startswith(public)]
        expect(bool(found), "no answer carries a BulkDataURI or a RetrieveURL")
        expect(not wrong, f"instead of {public} they begin with {wrong[0][:60] if wrong else ''}")
        return f"{len(found)} begin with {public}"


def _find_links(value: t.Any) -> list[str]:
    """Find every BulkDataURI and RetrieveURL in DICOM JSON."""
    if isinstance(value, list):
        return [link for item in value for link in _find_links(item)]
    if not isinstance(value, dict):
        return []
    found = [str(value["BulkDataURI"])] if "BulkDataURI" in value else []
    for tag, item in value.items():
        if tag == "00081190" and isinstance(item, dict):
            found += [str(link) for link in item.get("Value", [])]
        found += _find_links(item)
    return found


class Dimse:
    """The checks of Orthanc's DICOM port: C-ECHO as the module dicom_echo, C-STORE by DCMTK's storescu."""

    def __init__(self, settings: Settings, client: Connection, studies: SyntheticStudies) -> None:
        self.settings = settings
        self.client = client
        self.studies = studies

    def send_echo(self, calling: str = "", called: str = "", tls: bool = False, encrypted: bool = False) -> EchoResult:
        """Send C-ECHO. tls: to the port for TLS; encrypted: with TLS. Raises EchoError."""
        settings = self.settings
        return send_echo(
            settings.connect_address if tls else settings.dicom_host,
            settings.dicom_tls_port if tls else settings.dicom_port,
            called or settings.dicom_aet,
            calling or settings.dicom_calling_aet,
            settings.timeout,
            self.create_context() if encrypted else None,
            str(urlsplit(settings.url).hostname),
        )

    def create_context(self) -> ssl.SSLContext:
        """Create the context of a client with the checks' certificate, where they have one. Raises Shortfall."""
        settings = self.settings
        try:
            return tls_context(settings.ca_path, settings.dicom_client_certificate, settings.dicom_client_key or None)
        except TlsError as error:
            raise Shortfall(
                str(error), "Correct verify_ca, verify_dicom_client_certificate or verify_dicom_client_key."
            ) from error

    def check_echo(self) -> str:
        settings = self.settings
        try:
            self.send_echo()
        except EchoError as error:
            raise Shortfall(f"it {error}") from error
        return f"the checks' AE title to {settings.dicom_aet} at {settings.dicom_host}:{settings.dicom_port}"

    def check_called_aet(self) -> str:
        return self.check_refusal(called=_create_unknown_aet())

    def check_calling_aet(self) -> str:
        return self.check_refusal(calling=_create_unknown_aet())

    def check_refusal(self, calling: str = "", called: str = "") -> str:
        try:
            self.send_echo(calling, called)
        except EchoError as error:
            expect("refused the association" in str(error), f"no refusal: it {error}")
            return str(error)
        raise Shortfall("the association is accepted")

    def check_store(self) -> str:
        image = self.studies.create()
        code, output = self.send(image, self.settings.dicom_calling_aet)
        expect(code == 0, _extract_errors(output))
        identifier = self.studies.lookup(image.instance_uid, "Instance")
        expect(bool(identifier), "C-STORE succeeded, but Orthanc does not have the image")
        answer = self.client.get(f"/instances/{identifier}/frames/0/raw")
        expect(answer.status == 200, f"GET /instances/.../frames/0/raw answers {answer.status}")
        expect(answer.decompress() == image.pixels, "other pixels came back than were sent")
        return f"{len(image.pixels)} bytes of pixels, each the same"

    def check_store_refusal(self) -> str:
        image = self.studies.create()
        code, output = self.send(image, _create_unknown_aet())
        expect(code != 0 and not self.studies.lookup(image.instance_uid, "Instance"), "the image is stored")
        expect(bool(REFUSED.search(output)), f"no refusal but {_extract_errors(output)}")
        reason = re.search(r"Reason: (.*)", output)
        return reason.group(1).strip() if reason else "refused"

    def send(self, image: SyntheticImage, calling: str) -> tuple[int, str]:
        """Run storescu and return its exit code and output. Raises NotTried when it is not installed."""
        settings = self.settings
        seconds = str(settings.timeout)
        path = os.path.join(settings.temporary, f"verify-{secrets.token_hex(4)}.dcm")
        # The title may be a secret, and every user of the server can list command lines. DCMTK has no escapes in such a
        # file.
        arguments = path + ".arguments"
        if "'" in calling and '"' in calling:
            raise NotTried("storescu cannot take an AE title with both kinds of quotes")
        quote = "'" if '"' in calling else '"'
        try:
            with open(path, "xb") as file:
                file.write(image.file)
            with open(os.open(arguments, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as options:
                options.write(f"-aet {quote}{calling}{quote}\n")
            limits = ["-to", seconds, "-ta", seconds, "-td", seconds]
            address = [settings.dicom_host, str(settings.dicom_port)]
            return settings.run(
                ["storescu", f"@{arguments}", "-aec", settings.dicom_aet, *limits, "-R", *address, path]
            )
        except FileNotFoundError as error:
            raise NotTried("storescu is not installed on the server (package dcmtk)") from error
        finally:
            for written in (path, arguments):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(written)

    def check_echo_with_tls(self) -> str:
        try:
            answer = self.send_echo(tls=True, encrypted=True)
        except EchoError as error:
            raise Shortfall(f"it {error}") from error
        try:
            self.send_echo(tls=True)
        except EchoError:
            version = (answer.tls or {}).get("version")
            certificate = " with a client certificate" if self.settings.dicom_client_certificate else ""
            place = f"{self.settings.connect_address}:{self.settings.dicom_tls_port}"
            return f"{version}{certificate} at {place}, and nothing without TLS"
        raise Shortfall("the port also answers without TLS")


def _create_unknown_aet() -> str:
    """Create an AE title that is not registered."""
    return "NO" + secrets.token_hex(6).upper()


def _extract_errors(output: str) -> str:
    """Return the errors in DCMTK's output, without their marks."""
    lines = [line[2:].strip() for line in output.splitlines() if line[:2] in ("F:", "E:")]
    return "; ".join(lines or output.split("\n")[:2]) or "no output"


@contextlib.contextmanager
def lock(timeout: float) -> t.Iterator[None]:
    """Hold the lock of the one run that may delete orphaned studies on this machine.

    An abstract socket leaves nothing behind, even when the process is killed.
    """
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                guard.bind("\0lightbox.pacs.verify")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Shortfall("another verification runs on this server", "Wait until it has ended.") from error
                time.sleep(0.2)
        yield
    finally:
        guard.close()


def check_images(settings: Settings, checks: Checks) -> str:
    """Run all checks of Orthanc; return its version, empty when it did not answer."""
    try:
        client = settings.connect_to_orthanc()
    except HttpError as error:
        reason = f"verify_archive_url cannot be used ({error})"
        checks.fail("archive", ANSWERS, reason, "Correct verify_archive_url.")
        return ""
    try:
        archive = Archive(settings, checks, client)
        archive.run_all()
        check_flows(settings, checks, client)
        return archive.version
    finally:
        client.close()


def check_flows(settings: Settings, checks: Checks, client: Connection) -> None:
    """Run the checks that store images; in check mode only those beside them that do not."""
    studies = SyntheticStudies(client)
    if not settings.writes:
        for name in ("STOW, QIDO, WADO", "C-STORE"):
            checks.run("images", name, "", _skip_in_check_mode)
        check_dicom(settings, checks, client, studies)
        return
    try:
        with lock(settings.timeout * 3):
            try:
                checks.run(
                    "images",
                    "orphaned test studies",
                    "Delete the studies of patients LIGHTBOX-VERIFY-*.",
                    studies.delete_orphaned,
                    ANSWERS,
                )
                check_dicomweb(settings, checks, client, studies)
                check_dicom(settings, checks, client, studies)
            finally:
                checks.run(
                    "images",
                    "test studies deleted",
                    "Delete the studies of patients LIGHTBOX-VERIFY-* in the archive's own pages.",
                    studies.delete_all,
                    ANSWERS,
                )
    except Shortfall as shortfall:
        checks.fail("images", "no other verification", str(shortfall), shortfall.remedy)


def _skip_in_check_mode() -> str:
    raise NotTried("not in check mode, it would store an image")


def check_dicomweb(settings: Settings, checks: Checks, client: Connection, studies: SyntheticStudies) -> None:
    for needed in (HTTPS, LOGIN, ANSWERS):
        if needed in checks.failed:
            checks.run("images", "STOW, QIDO, WADO", "", lambda: "", needed)
            return
    proxy = settings.connect_to_proxy()
    try:
        dicomweb = Dicomweb(settings, proxy, studies.create())
        stored = "STOW-RS"
        see = "See the reverse proxy's error log and 'docker logs' of the archive."
        public = (
            "Let the reverse proxy set 'Forwarded' to the public host and scheme; "
            "configure no Host in the DICOMweb plugin."
        )
        checks.run("images", stored, see, dicomweb.check_stow)
        checks.run("images", "QIDO-RS", see, dicomweb.check_query, stored)
        image = (
            "Load a new image of Orthanc (Debian's own does not decode queries and ends at JPEG 2000), "
            "and run the playbook again."
        )
        checks.run("images", "QIDO-RS, encoded", image, dicomweb.check_encoded_query, stored)
        checks.run("images", "WADO-RS frames", see, dicomweb.check_frames, stored)
        checks.run("images", "WADO-RS metadata", see, dicomweb.check_metadata, stored)
        checks.run("images", "links", public, dicomweb.check_links, stored)
        compressed = Dicomweb(settings, proxy, studies.create(compressed=True))
        checks.run("images", "JPEG 2000", image, lambda: compressed.check_jpeg_2000(client), stored)
    finally:
        proxy.close()


def check_dicom(settings: Settings, checks: Checks, client: Connection, studies: SyntheticStudies) -> None:
    if not settings.dicom_port:
        return
    dimse = Dimse(settings, client, studies)
    known = "List the AE title in dicom_calling_aet in Orthanc's modalities, with echo and store."
    strict = "Set DicomCheckCalledAet to true, DicomAlwaysAllowEcho and DicomAlwaysAllowStore to false."
    checks.run("DICOM", ECHO, known, dimse.check_echo)
    checks.run("DICOM", "wrong called AE title", strict, dimse.check_called_aet, ECHO)
    checks.run("DICOM", "unknown calling AE title", strict, dimse.check_calling_aet, ECHO)
    if settings.writes and ANSWERS not in checks.failed:
        checks.run("DICOM", "C-STORE", known, dimse.check_store, ECHO)
        checks.run("DICOM", "C-STORE from an unknown AE title", strict, dimse.check_store_refusal, ECHO)
    if settings.dicom_tls_port:
        checks.run(
            "DICOM",
            "C-ECHO with TLS",
            "Listen with TLS on that port, allow the server itself, and set verify_ca to the CA. Where clients need a "
            "certificate, set verify_dicom_client_certificate. The reverse proxy's dicom.log has the reason.",
            dimse.check_echo_with_tls,
            HTTPS if HTTPS in checks.failed else ECHO,  # the same certificate
        )
