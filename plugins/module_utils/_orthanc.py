# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The one client of Orthanc's REST API. Every module ``orthanc_*`` speaks through it.

An archive answers an error as JSON {HttpStatus, OrthancStatus, Message, Details}; the reverse proxy as HTML.
Both become an `OrthancError`. What is expected to be absent is a value: see `Orthanc.find` and `Orthanc.delete`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import re
import select
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any

from ansible.module_utils.urls import make_context

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


class SourceError(OrthancError):
    """What was to be sent could not be read; says why, for a sentence that begins with its name."""


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
        self._params = params
        self._connection = self.connection()

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

    def search(self, path: str, body: Any) -> list[dict[str, Any]]:
        """As `post`, of a path that answers with a list. Raises OrthancError where whoever answers is no Orthanc."""
        answer = self.post(path, body)
        if not isinstance(answer, list):
            raise OrthancError(f"POST {self.url}{path} does not answer as Orthanc does. Is url right?")
        return answer

    def put(self, path: str, body: Any = None, if_match: str | None = None) -> Any:
        """As `post`. if_match: the `etag` of what is to be replaced, as an archive with CheckRevisions wants it."""
        return self._write("PUT", path, body, {"If-Match": if_match} if if_match else None)

    def etag(self, path: str) -> str | None:
        """The revision of what stands at `path`; None where the archive tells none."""
        self._open("GET", path)
        return self._connection.etag

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

    def connection(self) -> Connection:
        """A connection that is kept open, for many requests of one thread."""
        return Connection(self.url, self._params, self.timeout)

    def _write(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        headers = dict(headers or {})
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
        self.requests += 1
        headers = dict(headers or {})
        body: bytes | Callable[[], contextlib.AbstractContextManager[IO[bytes]]] = b""
        length = 0
        if isinstance(data, bytes):
            body = data
        elif data is not None:
            stream, start = data, data.tell()
            length = int(headers.pop("Content-Length"))

            def body() -> contextlib.AbstractContextManager[IO[bytes]]:
                stream.seek(start)
                return contextlib.nullcontext(stream)

        shown = path + ("?" + urllib.parse.urlencode(query) if query else "")
        return self._connection.send(method, shown, body, length, headers)


class Connection:
    """A connection to an archive that stays open between requests.

    Not for several threads at once. Written on http.client because Ansible's own `Request` reads all certificates of
    the system for each request, without TLS too (0.08 s, where the archive takes 0.001 s), and keeps nothing open.
    No `Expect` header is ever sent: some archives answer it with silence.
    """

    # Orthanc takes what comes in pieces of any size; Python's 8 KiB cost a third of the speed.
    BLOCK = 256 * 1024

    def __init__(self, url: str, params: Mapping[str, Any], timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self.requests = 0
        self.etag: str | None = None  # of the last answer
        self._parsed = urllib.parse.urlsplit(url)
        self._params = params
        self._http: http.client.HTTPConnection | None = None
        self._headers = {"Accept": "application/json", "User-Agent": "lightbox.pacs"}
        if params.get("url_username"):
            account = f"{params['url_username']}:{params['url_password']}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(account).decode()
        proxies = urllib.request.getproxies()
        host = self._parsed.hostname or ""
        self._proxy = None if urllib.request.proxy_bypass(host) else proxies.get(self._parsed.scheme)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[], contextlib.AbstractContextManager[IO[bytes]]] = b"",
        length: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a request and return the answer's body.

        body: bytes, or what opens a stream of `length` bytes. Raises OrthancError.

        What may be said twice without harm is said again where the connection breaks that was kept open. Of a POST
        nobody knows then whether the archive has acted on it.
        """
        again = method != "POST" and self._http is not None
        while True:
            self.requests += 1
            try:
                status, why, answer, location = self._exchange(method, path, body, length, headers or {})
                break
            except LIBRARY_ERRORS as error:
                self.close()
                if not again or isinstance(error, TimeoutError):
                    message = f"{method} {redacted(self.url)}{path} {reason(error, self.timeout)}"
                    raise OrthancError(message, path=path) from None
                again = False
        if status >= 300:
            raise refused(self.url, method, path, status, why, answer, location)
        return answer

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[], contextlib.AbstractContextManager[IO[bytes]]],
        length: int,
        headers: Mapping[str, str],
    ) -> tuple[int, str, bytes, str | None]:
        connection = self._alive() or self._connect()
        whole = body if isinstance(body, bytes) else None
        length = length if whole is None else len(whole)
        with contextlib.nullcontext(io.BytesIO()) if isinstance(body, bytes) else body() as stream:
            connection.putrequest(method, self._target(path), skip_accept_encoding=True)
            for name, value in {**self._headers, **headers}.items():
                connection.putheader(name, value)
            if method in ("POST", "PUT") or length:
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            left = length
            try:
                while left:
                    block = self._read(stream, min(self.BLOCK, left)) if whole is None else whole
                    connection.send(block)
                    left -= len(block)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who refuses a body (too large, disk full) may answer and close before all of it was sent
        response = connection.getresponse()
        answer = response.read()
        self.etag = response.headers.get("ETag")
        if left or response.will_close:
            self.close()
        return response.status, response.reason, answer, response.headers.get("Location")

    def _alive(self) -> http.client.HTTPConnection | None:
        """The connection, unless the archive has closed it meanwhile; it does so after a second without a request."""
        if self._http is not None and self._http.sock is not None:
            if not select.select([self._http.sock], [], [], 0)[0]:
                return self._http
            self.close()
        return None

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        try:
            block = stream.read(size)
        except Exception as error:
            self.close()  # half a request was sent
            raise SourceError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
        if not block:
            self.close()
            raise SourceError("is shorter than it was a moment ago")
        return block

    def _target(self, path: str) -> str:
        if self._proxy and self._parsed.scheme == "http":
            return self.url + path
        return self._parsed.path + path

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parsed.hostname or "", self._parsed.port
        tls = self._parsed.scheme == "https"
        if self._proxy:
            proxy = urllib.parse.urlsplit(self._proxy if "//" in self._proxy else "//" + self._proxy)
            far, far_port = host, port or (443 if tls else 80)
            host, port = proxy.hostname or "", proxy.port
        if tls:
            context = make_context(
                cafile=self._params.get("ca_path"),
                validate_certs=self._params.get("validate_certs", True),
                client_cert=self._params.get("client_cert"),
                client_key=self._params.get("client_key"),
            )
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        if self._proxy and tls:
            connection.set_tunnel(far, far_port)
        self._http = connection
        return connection


def refused(
    url: str, method: str, path: str, status: int, why: str, body: bytes, location: str | None = None
) -> OrthancError:
    """The error that an answer with another status than success is."""
    details = ""
    try:
        answer = json.loads(body)
        details = ": ".join(str(answer[key]) for key in ("Message", "Details") if answer.get(key))
    except (ValueError, AttributeError, TypeError):
        pass
    text = f"{method} {url}{path} answers {status} {why}"
    if details:
        text += f" ({details})"
    if status == 401:
        text += ". Set url_username and url_password to an account that the archive knows"
    elif 300 <= status < 400:
        text += f" and points to {location}. Set url to the address that answers itself"
    elif status == 503:
        text += ". Its database may be out of reach"
    return OrthancError(text + ".", status, path, details)


def redacted(url: str) -> str:
    """The URL without what may be a password in it."""
    return re.sub(r"//[^/@]*@", "//…@", url)


def reason(error: BaseException, timeout: float) -> str:
    """Why no answer came, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that does not verify ({error.verify_message}). Set ca_path to the CA that signed it."
    if isinstance(error, ssl.SSLError):
        return f"cannot be reached by TLS ({error.reason or error}). Does url want http:// instead?"
    if isinstance(error, TimeoutError):
        return f"gave no answer within {timeout:g} seconds."
    if isinstance(error, OSError):
        return f"cannot be reached ({error.strerror or error}). Does the archive run, and is url right?"
    if isinstance(error, http.client.HTTPException):
        return f"does not answer as a web server does ({type(error).__name__}). Is url right?"
    return f"failed ({error})."
