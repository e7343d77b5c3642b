# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The client of Orthanc's REST API, which every module `orthanc_*` uses; connections and requests are in `_http`.

Orthanc reports an error as JSON {HttpStatus, OrthancStatus, Message, Details}, the reverse proxy as HTML. Both become
an `OrthancError`. A resource that may be absent is a value: see `Orthanc.find` and `Orthanc.delete`.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._http import Answer, Connection, HttpError, Opener

Version = tuple


class OrthancError(Exception):
    """What is wrong, as sentences for the user.

    status: the HTTP status, None where there is no answer. path: the path below the URL. details: Orthanc's own words.
    retry_after: the seconds after which a busy server (503) takes the same request.
    """

    retry_after: int | None = None

    def __init__(self, message: str, status: int | None = None, path: str = "", details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.path = path
        self.details = details


def connection_spec() -> dict[str, dict[str, Any]]:
    """Return the connection options of a module's argument_spec; they are documented in doc_fragments/orthanc.py."""
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


def build_path(*parts: str) -> str:
    """Build a path of the API, each part quoted: ("modalities", "CT 1/2") becomes /modalities/CT%201%2F2."""
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def parse_version(text: str) -> tuple[int, ...]:
    """Parse 1.12.7 into (1, 12, 7). A build from the development branch ("mainline") is newer than every release."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else (9999,)


class Orthanc:
    """A client with one connection; not for several threads at once, see `clone`."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """params: the module's parameters, of which those of `connection_spec` are read. Raises OrthancError."""
        for one, other in (("url_username", "url_password"), ("client_key", "client_cert")):
            if params.get(one) and not params.get(other):
                raise OrthancError(f"{one} is set without {other}. Set both.")
        tls = ("ca_path", "client_cert", "client_key", "validate_certs")
        try:
            self._connection = Connection(
                params["url"],
                params.get("timeout") or 30,
                login=(params["url_username"], params["url_password"]) if params.get("url_username") else None,
                headers={"Accept": "application/json"},
                **{name: params[name] for name in tls if params.get(name) is not None},
            )
        except HttpError as error:
            raise OrthancError(str(error)) from None
        self.url = self._connection.url
        self._params = params
        self._system: dict[str, Any] | None = None

    def clone(self) -> Orthanc:
        """Return a client for another thread."""
        return Orthanc(self._params)

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far."""
        return self._connection.requests

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the parsed answer."""
        path += "?" + urllib.parse.urlencode(query) if query else ""
        answer = self.request("GET", path)
        try:
            return answer.json()
        except ValueError:
            shown = answer.body[:60].decode(errors="replace").strip()
            raise OrthancError(
                f"GET {self.url}{path} answers '{shown}', which is not JSON. Is url the address of Orthanc's REST API?",
                path=path,
            ) from None

    def find(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """As `get`, but return None for 404."""
        try:
            return self.get(path, query)
        except OrthancError as error:
            if error.status == 404:
                return None
            raise

    def get_text(self, path: str) -> str:
        """Return an answer that is plain text, such as a checksum."""
        return self.request("GET", path).text().strip()

    def get_etag(self, path: str) -> str | None:
        """Return the revision of a resource; None where Orthanc reports none."""
        return self.request("GET", path).headers.get("etag")

    def post(self, path: str, body: Any = None) -> Any:
        """Send a mapping or list as JSON, a string as plain text, bytes as they are.

        Return the parsed answer; text that is not JSON as text; None where the answer is empty.
        """
        return self._write("POST", path, body)

    def search(self, path: str, body: Any) -> list[dict[str, Any]]:
        """As `post`, for a path that answers with a list."""
        answer = self.post(path, body)
        if not isinstance(answer, list):
            raise self.unexpected("POST", path)
        return answer

    def put(self, path: str, body: Any = None, if_match: str | None = None) -> Any:
        """As `post`. if_match: what `get_etag` returned for the resource; needed with CheckRevisions."""
        return self._write("PUT", path, body, {"If-Match": if_match} if if_match else {})

    def delete(self, path: str) -> bool:
        """Return whether the resource was there."""
        try:
            self.request("DELETE", path)
        except OrthancError as error:
            if error.status == 404:
                return False
            raise
        return True

    def request(self, method: str, path: str, body: bytes | Opener = b"", **options: Any) -> Answer:
        """As `Connection.request`. Raises OrthancError where no answer comes or it is not a success; SourceError."""
        try:
            answer = self._connection.request(method, path, body, **options)
        except HttpError as error:
            raise OrthancError(str(error), path=path) from None
        if answer.status >= 300:
            raise self._refusal(method, path, answer)
        return answer

    def close(self) -> None:
        self._connection.close()

    def unexpected(self, method: str, path: str) -> OrthancError:
        """Return the error for an answer that Orthanc would not give."""
        return OrthancError(f"{method} {self.url}{path} does not answer as Orthanc does. Is url right?", path=path)

    @property
    def system(self) -> dict[str, Any]:
        """The answer of /system, requested once."""
        if self._system is None:
            answer = self.get("/system")
            if not isinstance(answer, dict) or "Version" not in answer:
                raise self.unexpected("GET", "/system")
            self._system = answer
        return self._system

    @property
    def api_version(self) -> int:
        """The number of the REST API, such as 16 (Orthanc 1.10.1) or 27 (1.12.7)."""
        return int(self.system.get("ApiVersion", 0))

    def require(self, version: Version, what: str) -> None:
        """Refuse an Orthanc that is older than `version`; `what` begins the sentence, such as "Labels"."""
        has = str(self.system["Version"])
        if parse_version(has) < tuple(version):
            wanted = ".".join(str(part) for part in version)
            raise OrthancError(f"{what} need Orthanc {wanted} or newer, and {self.url} is Orthanc {has}.")

    def wait_for_job(self, job_id: str, wait_seconds: float, interval: float = 0.5) -> dict[str, Any]:
        """Wait until a job ends and return it. A job that fails, is paused or takes longer is an error."""
        path = build_path("jobs", job_id)
        end = time.monotonic() + wait_seconds
        while True:
            job = self.get(path)
            state = job.get("State")
            if state == "Success":
                return job
            if state == "Failure":
                details = " ".join(filter(None, (job.get("ErrorDescription"), job.get("ErrorDetails"))))
                raise OrthancError(f"Job {job_id} ({job.get('Type')}) failed: {details}", path=path, details=details)
            if state == "Paused":
                raise OrthancError(f"Job {job_id} ({job.get('Type')}) was paused by another user.", path=path)
            if time.monotonic() + interval > end:
                raise OrthancError(
                    f"Job {job_id} ({job.get('Type')}) did not end within {wait_seconds:g} seconds: it is at "
                    f"{job.get('Progress')} % in state {state} and continues.",
                    path=path,
                )
            time.sleep(interval)

    def _write(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        content_type = {}
        if isinstance(body, str):
            body, content_type = body.encode(), {"Content-Type": "text/plain"}
        elif body is not None and not isinstance(body, bytes):
            body, content_type = json.dumps(body).encode(), {"Content-Type": "application/json"}
        answer = self.request(method, path, body or b"", headers={**content_type, **(headers or {})})
        try:
            return answer.json() if answer.body else None
        except ValueError:
            return answer.text()

    def _refusal(self, method: str, path: str, answer: Answer) -> OrthancError:
        """Return the error for an answer that is not a success."""
        details = ""
        try:
            described = answer.json()
            details = ": ".join(str(described[key]) for key in ("Message", "Details") if described.get(key))
        except (ValueError, AttributeError, TypeError):
            pass
        text = f"{method} {self.url}{path} answers {answer.status} {answer.reason}"
        if details:
            text += f" ({details})"
        if answer.status == 401:
            text += ". Set url_username and url_password to a user of Orthanc"
        elif answer.status < 400:
            text += f", a redirect to {answer.headers.get('location')}. Set url to the address that answers itself"
        retry_after = answer.headers.get("retry-after", "") if answer.status == 503 else ""
        if retry_after:
            text += ". It is busy with other requests"
        elif answer.status == 503:
            text += ". Its database may be out of reach"
        error = OrthancError(text + ".", answer.status, path, details)
        if re.fullmatch("[0-9]{1,9}", retry_after):
            error.retry_after = int(retry_after)
        return error
