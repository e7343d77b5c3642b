# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The HTTP client of the collection: of Orthanc's REST API (`_orthanc`) and of the end-to-end checks (`_verify`).

Not `open_url` of ansible.module_utils.urls, which opens a connection for each request and reads the system's CAs each
time, for plain HTTP too: 49 ms per request, and 8 ms by HTTPS with a CA file, where a kept connection takes 0.3 ms (two
busy cores, a server that answers at once). An upload sends hundreds of requests per second. Besides, `open_url` cannot
connect to another address than the URL's name, as the checks do on the server itself, and raises errors for 401 and
404, which are expected answers here.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import select
import socket
import ssl
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.lightbox.pacs.plugins.module_utils._tls import (
    TlsError,
    describe_error,
    describe_verification_error,
    tls_context,
)

# Orthanc takes blocks of any size; Python's 8 KiB cost a third of the speed.
BLOCK = 256 * 1024
Opener = Callable[[], contextlib.AbstractContextManager[IO[bytes]]]


class HttpError(Exception):
    """There is no answer; the message is a sentence. is_closed: the server closed the connection instead."""

    def __init__(self, message: str, is_closed: bool = False) -> None:
        super().__init__(message)
        self.is_closed = is_closed


class SourceError(Exception):
    """The body of a request cannot be read; the message is a sentence without its subject and full stop."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case, the body as it was sent."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        return self.headers.get("content-encoding", "identity").strip().lower()

    def json(self) -> Any:
        """Parse the body. Raises ValueError when it is not JSON."""
        return json.loads(self.body)

    def decompress(self) -> bytes:
        """Return the body without gzip. Raises ValueError for another encoding, zlib.error for a broken body."""
        if self.encoding == "identity":
            return self.body
        if self.encoding == "gzip":
            return zlib.decompress(self.body, wbits=31)
        raise ValueError(f"cannot read the encoding {self.encoding}")

    def text(self) -> str:
        return self.decompress().decode("utf-8", "replace")


def basic_auth(user: str, password: str) -> dict[str, str]:
    """Return the header that logs in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}


class Connection:
    """A connection to one server that stays open between requests; not for several threads at once.

    Any status is an answer, redirects are not followed. No `Expect` header is ever sent: some releases of Orthanc do
    not answer it.
    """

    requests = 0
    """How many requests were sent so far, repeated ones too."""

    def __init__(
        self,
        url: str,
        timeout: float,
        *,
        login: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        address: str = "",
        use_proxy: bool = True,
        **tls: Any,
    ) -> None:
        """Connect with the first request.

        url: scheme, name, optional port and path. headers: of every request. address: where to connect instead of to
        the name, which stays in the TLS handshake, the certificate check and the Host header. use_proxy: whether the
        proxies of the environment apply. tls: for https the arguments of `tls_context`. Raises HttpError.
        """
        self.url = url.rstrip("/")
        try:
            parsed = urllib.parse.urlsplit(self.url)
            self.host, self.port = parsed.hostname or "", parsed.port or (443 if parsed.scheme == "https" else 80)
        except ValueError:
            parsed = urllib.parse.SplitResult("", "", "", "", "")
        if parsed.username is not None:
            raise HttpError("url contains a user name. Set user and password by their own options instead.")
        if parsed.scheme not in ("http", "https") or not self.host or parsed.query or parsed.fragment:
            raise HttpError(
                f"url is '{url}', which is not a valid address. "
                "Set it to one such as http://127.0.0.1:8042 or https://pacs.example.org/pacs."
            )
        try:
            self.context = tls_context(**tls) if parsed.scheme == "https" else None
        except TlsError as error:
            raise HttpError(f"{error}.") from None
        self.address = address or self.host
        self.timeout = timeout
        self._path = parsed.path
        self._login = basic_auth(*login) if login else {}
        self._headers = {"Accept": "*/*", "User-Agent": "lightbox.pacs", **(headers or {})}
        self._proxy = None
        if use_proxy and not urllib.request.proxy_bypass(self.host):
            self._proxy = urllib.request.getproxies().get(parsed.scheme)
        self._http: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Opener = b"",
        *,
        length: int = 0,
        headers: Mapping[str, str] | None = None,
        login: bool = True,
        into: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """Send a request and return the answer.

        path: sent as it is, below the path of the URL. body: bytes, or a function that opens a stream of `length`
        bytes. login: whether to send the login. into: called with each block of the body of a successful answer.
        Raises HttpError where no complete answer comes, SourceError where the body cannot be read.

        A request is sent again where a connection breaks that was kept open. Not a POST, because nobody knows whether
        the server has acted on it.
        """
        headers = {**self._headers, **(self._login if login else {}), **(headers or {})}
        may_repeat = method != "POST" and into is None and self._http is not None
        while True:
            self.requests += 1
            try:
                return self._exchange(method, path, body, length, headers, into)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                if not may_repeat or isinstance(error, TimeoutError):
                    is_closed = isinstance(error, (ConnectionError, http.client.BadStatusLine))
                    raise HttpError(f"{method} {self.url}{path} {self._describe(error)}", is_closed) from None
                may_repeat = False
            except BaseException:
                self.close()  # half a request or half an answer is on it
                raise

    def get(self, path: str, headers: Mapping[str, str] | None = None, login: bool = True) -> Answer:
        return self.request("GET", path, headers=headers, login=login)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def dial(self) -> socket.socket:
        """Open a socket to the server, past any proxy: an ssl.SSLSocket for https. Raises OSError."""
        stream = socket.create_connection((self.address, self.port), self.timeout)
        # Head and body of a request are sent one after the other; waiting for the first to arrive costs 40 ms.
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(stream, server_hostname=self.host) if self.context else stream

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | Opener,
        length: int,
        headers: Mapping[str, str],
        into: Callable[[bytes], object] | None,
    ) -> Answer:
        with contextlib.nullcontext(body) if isinstance(body, bytes) else body() as content:
            connection = self._reuse() or self._connect()
            target = self.url if self._proxy and self.context is None else self._path
            connection.putrequest(method, target + path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            length = len(content) if isinstance(content, bytes) else length
            if method in ("POST", "PUT") or length:
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            try:
                for block in [content] if isinstance(content, bytes) else read_blocks(content, length):
                    connection.send(block)
                is_sent = True
            except (BrokenPipeError, ConnectionResetError):
                is_sent = False  # a server that refuses a body may answer and close before reading all of it
        response = connection.getresponse()
        received = b""
        if into is not None and response.status < 300:
            while block := response.read(BLOCK):
                into(block)
            if not (response.chunked or response.length == 0):
                raise http.client.IncompleteRead(b"")
        else:
            received = response.read()
        if not is_sent or response.will_close:
            self.close()
        answered: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            answered[key] = f"{answered[key]}, {value}" if key in answered else value
        return Answer(response.status, response.reason, answered, received)

    def _reuse(self) -> http.client.HTTPConnection | None:
        """Return the open connection, unless the server has closed it; Orthanc does so after an idle second."""
        if self._http is not None and self._http.sock is not None:
            if not select.select([self._http.sock], [], [], 0)[0]:
                return self._http
            self.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        def create(host: str, port: int | None) -> http.client.HTTPConnection:
            if self.context is None:
                return http.client.HTTPConnection(host, port, timeout=self.timeout)
            return http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self.context)

        if self._proxy:
            proxy = urllib.parse.urlsplit(self._proxy if "//" in self._proxy else "//" + self._proxy)
            self._http = create(proxy.hostname or "", proxy.port)
            if self.context is not None:
                self._http.set_tunnel(self.host, self.port)
        else:
            self._http = create(self.host, self.port)
            self._http.sock = self.dial()
        return self._http

    def _describe(self, error: Exception) -> str:
        """Return why no answer came, and what to do about it."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{describe_verification_error(error)}."
        if isinstance(error, ssl.SSLError):
            return f"cannot be reached by TLS ({error.reason or error}). Should url begin with http:// instead?"
        if isinstance(error, TimeoutError):
            return f"gave no answer within {self.timeout:g} seconds."
        if isinstance(error, OSError):
            return f"cannot be reached ({describe_error(error)}). Is the server running, and is url right?"
        if isinstance(error, http.client.HTTPException):
            return f"does not answer as a web server does ({type(error).__name__}). Is url right?"
        return f"failed ({error})."


def read_blocks(stream: IO[bytes], length: int) -> Iterator[bytes]:
    """Read exactly `length` bytes. Raises SourceError."""
    while length:
        try:
            block = stream.read(min(BLOCK, length))
        except Exception as error:  # a damaged zip file raises many types
            raise SourceError(f"cannot be read ({describe_error(error)})") from None
        if not block:
            raise SourceError("is shorter than a moment ago; is it still being written?")
        yield block
        length -= len(block)
