# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The one client of Orthanc's REST API. Every module ``orthanc_*`` speaks through it.

An archive answers an error as JSON {HttpStatus, OrthancStatus, Message, Details}; the gateway in front of it as HTML.
Both become an `OrthancError`. What is expected to be absent is a value: see `Orthanc.find` and `Orthanc.delete`.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
from collections.abc import Mapping
from typing import IO, Any

from ansible.module_utils.urls import Request

Version = tuple
LIBRARY_ERRORS = (OSError, http.client.HTTPException, ValueError)


class OrthancError(Exception):
    """What went wrong, as one sentence for the person who called.

    status is the HTTP status, None where no answer came; path the path below the URL; details what the archive said.
    """

    def __init__(self, message: str, status: int | None = None, path: str = "", details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.path = path
        self.details = details


def connection_spec() -> dict[str, dict[str, Any]]:
    """The part of a module's argument_spec that says where the archive is; documented in doc_fragments/orthanc.py."""
    return {
        "url": {"type": "str", "required": True},
        "url_username": {"type": "str"},
        "url_password": {"type": "str", "no_log": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "validate_certs": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 30},
    }


def route(*parts: str) -> str:
    """A path of the API from its parts, each quoted whole: ("modalities", "CT 1/2") is /modalities/CT%201%2F2."""
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def version_of(text: str) -> tuple[int, ...]:
    """1.12.7 as (1, 12, 7). A build from the development branch ("mainline") is newer than everything."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else (9999,)


class Orthanc:
    """An archive. Not for several threads at once: give each its own."""

    requests: int
    """How many HTTP requests were sent so far."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """params: the module's parameters, of which those of `connection_spec` are read."""
        self.url = params["url"].rstrip("/")
        parsed = urllib.parse.urlsplit(self.url)
        if parsed.scheme not in ("http", "https") or not parsed.hostname or parsed.query or parsed.fragment:
            raise OrthancError(
                f"url is '{redacted(self.url)}', which is no address of an archive. "
                "Set it to one such as http://127.0.0.1:8042 or https://pacs.example.org/pacs."
            )
        if parsed.username is not None:
            raise OrthancError("url has a user name in it. Set url_username and url_password instead.")
        for one, other in (("url_username", "url_password"), ("client_key", "client_cert")):
            if params.get(one) and not params.get(other):
                raise OrthancError(f"{one} is given without {other}. Set both.")
        self.requests = 0
        self.timeout = params.get("timeout") or 30
        self._system: dict[str, Any] | None = None
        self._request = Request(
            headers={"Accept": "application/json"},
            timeout=self.timeout,
            validate_certs=params.get("validate_certs", True),
            url_username=params.get("url_username"),
            url_password=params.get("url_password"),
            force_basic_auth=bool(params.get("url_username")),
            follow_redirects="none",
            client_cert=params.get("client_cert"),
            client_key=params.get("client_key"),
            ca_path=params.get("ca_path"),
            use_netrc=False,
            http_agent="lightbox.pacs",
        )

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer."""
        return self._json("GET", path, self._open("GET", path, query))

    def find(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """As `get`, and None where the archive says 404."""
        try:
            return self.get(path, query)
        except OrthancError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: Any = None) -> Any:
        """Send a mapping or list as JSON, a string as it is (resources that are plain text want that).

        Return the parsed answer; a text that is no JSON as text; None where the answer is empty.
        """
        return self._write("POST", path, body)

    def put(self, path: str, body: Any = None) -> Any:
        """As `post`."""
        return self._write("PUT", path, body)

    def delete(self, path: str) -> bool:
        """True: deleted; False: was not there (404)."""
        try:
            self._open("DELETE", path)
        except OrthancError as error:
            if error.status == 404:
                return False
            raise
        return True

    def send(self, method: str, path: str, data: bytes | IO[bytes], headers: Mapping[str, str] | None = None) -> Any:
        """Send bytes, or stream a file (give its Content-Length then), and return the parsed answer."""
        return self._json(method, path, self._open(method, path, None, data, headers))

    @property
    def system(self) -> dict[str, Any]:
        """What /system says; asked once."""
        if self._system is None:
            answer = self.get("/system")
            if not isinstance(answer, dict) or "Version" not in answer:
                raise OrthancError(f"{self.url}/system does not answer as Orthanc does. Is url right?", path="/system")
            self._system = answer
        return self._system

    @property
    def api_version(self) -> int:
        """The number of the REST API, such as 16 (Orthanc 1.10.1) or 27 (1.12.7)."""
        return int(self.system.get("ApiVersion", 0))

    def require(self, version: Version, what: str) -> None:
        """Refuse when the archive is older than `version`; `what` begins the sentence, such as "Labels"."""
        has = str(self.system["Version"])
        if version_of(has) < tuple(version):
            wanted = ".".join(str(part) for part in version)
            raise OrthancError(f"{what} need Orthanc {wanted} or newer, and the archive at {self.url} is {has}.")

    def job(self, job_id: str, wait_seconds: float, interval: float = 0.5) -> dict[str, Any]:
        """Wait for a job's end and return it. A job that fails, is paused or takes longer is an error."""
        path = route("jobs", job_id)
        end = time.monotonic() + wait_seconds
        while True:
            job = self.get(path)
            state = job.get("State")
            if state == "Success":
                return job
            if state == "Failure":
                said = " ".join(filter(None, (job.get("ErrorDescription"), job.get("ErrorDetails"))))
                raise OrthancError(f"Job {job_id} ({job.get('Type')}) failed: {said}", path=path, details=said)
            if state == "Paused":
                raise OrthancError(f"Job {job_id} ({job.get('Type')}) was paused by somebody.", path=path)
            if time.monotonic() + interval > end:
                raise OrthancError(
                    f"Job {job_id} ({job.get('Type')}) did not end within {wait_seconds:g} seconds: it is at "
                    f"{job.get('Progress')} % in state {state}. It goes on.",
                    path=path,
                )
            time.sleep(interval)

    def _write(self, method: str, path: str, body: Any) -> Any:
        headers = {}
        data = None
        if isinstance(body, str):
            data = body.encode()
            headers["Content-Type"] = "text/plain"
        elif body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        answer = self._open(method, path, None, data if data is not None else b"", headers)
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            return answer.decode(errors="replace")

    def _json(self, method: str, path: str, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError:
            shown = answer[:60].decode(errors="replace").strip()
            raise OrthancError(
                f"{method} {self.url}{path} answers '{shown}', which is not JSON. "
                "Is url the address of the archive's REST API?",
                path=path,
            ) from None

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        data: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        where = self.url + path
        if query:
            where += "?" + urllib.parse.urlencode(query)
        self.requests += 1
        try:
            with self._request.open(method, where, data=data, headers=dict(headers or {})) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(method, path, error) from None
        except LIBRARY_ERRORS as error:
            raise OrthancError(f"{method} {self.url}{path} {reason(error, self.timeout)}", path=path) from None

    def _refused(self, method: str, path: str, error: urllib.error.HTTPError) -> OrthancError:
        body = error.read()
        details = ""
        try:
            answer = json.loads(body)
            details = ": ".join(str(answer[key]) for key in ("Message", "Details") if answer.get(key))
        except (ValueError, AttributeError, TypeError):
            pass
        text = f"{method} {self.url}{path} answers {error.code} {error.reason}"
        if details:
            text += f" ({details})"
        if error.code == 401:
            text += ". Set url_username and url_password to an account that the archive knows"
        elif 300 <= error.code < 400:
            text += f" and points to {error.headers.get('Location')}. Set url to the address that answers itself"
        elif error.code == 503:
            text += ". Its database may be out of reach"
        return OrthancError(text + ".", error.code, path, details)


def redacted(url: str) -> str:
    """The URL without what may be a password in it."""
    return re.sub(r"//[^/@]*@", "//…@", url)


def reason(error: BaseException, timeout: float) -> str:
    """Why no answer came, and what to do about it."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"has a certificate that does not verify ({cause.verify_message}). Set ca_path to the CA that signed it."
    if isinstance(cause, ssl.SSLError):
        return f"cannot be reached by TLS ({cause.reason or cause}). Does url want http:// instead?"
    if isinstance(cause, TimeoutError):
        return f"gave no answer within {timeout:g} seconds."
    if isinstance(cause, OSError):
        return f"cannot be reached ({cause.strerror or cause}). Does the archive run, and is url right?"
    if isinstance(cause, http.client.HTTPException):
        return f"does not answer as a web server does ({type(cause).__name__}). Is url right?"
    return f"failed ({cause})."
