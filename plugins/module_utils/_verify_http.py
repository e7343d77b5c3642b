# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The HTTP client of the checks.

Not ``ansible.module_utils.urls``: the checks run on the server and connect to its loopback address while the TLS server
name, the certificate check and the ``Host`` header stay those of the public URL; they send paths such as ``/pacs/../x``
as they are; and an answer of 401 is a value. None of this can be said to ``open_url``. Proxies of the environment are
not used, redirects not followed.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import typing as t
import zlib
from dataclasses import dataclass
from urllib.parse import urlsplit

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case, the body as it was sent."""

    status: int
    headers: Headers
    body: bytes

    @property
    def media_type(self) -> str:
        """Without parameters, lower case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        return self.headers.get("content-encoding", "identity").strip().lower()

    def json(self) -> t.Any:
        """The parsed body. Raises ``ValueError`` when it is no JSON."""
        return json.loads(self.body.decode("utf-8"))

    def plain(self) -> bytes:
        """The body without gzip. Raises ``ValueError`` for another encoding, ``zlib.error`` for a broken body."""
        if self.encoding == "identity":
            return self.body
        if self.encoding == "gzip":
            return zlib.decompress(self.body, wbits=31)
        raise ValueError(f"cannot read the encoding {self.encoding}")

    def text(self) -> str:
        return self.plain().decode("utf-8", "replace")


def dial(address: str, port: int, timeout: float | None) -> socket.socket:
    """A connection that sends at once: head and body of a request leave separately, and waiting costs 40 ms each."""
    connected = socket.create_connection((address, port), timeout)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


class PinnedHTTPSConnection(http.client.HTTPSConnection):
    """Connects to one address whatever the name is; the name stays in the TLS handshake and in the ``Host`` header."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        plain = dial(self._address, self.port, self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class PinnedHTTPConnection(http.client.HTTPConnection):
    """As above without TLS."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        self.sock = dial(self._address, self.port, self.timeout)


def basic(user: str, password: str) -> Headers:
    """The header that logs in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}


class Client:
    """Requests to one origin over one kept connection, which is opened again when the server has closed it."""

    def __init__(
        self, url: str, timeout: float, address: str = "", login: tuple[str, str] | None = None, ca_path: str = ""
    ) -> None:
        """``url`` is an origin (scheme://name[:port]).

        Raises ``ValueError`` when it is not, ``OSError`` when ``ca_path`` cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"'{url}' is not of the form https://name[:port]")
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.address = address or self.host
        self.timeout = timeout
        self._login = basic(*login) if login else {}
        self.context: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self.context = ssl.create_default_context(cafile=ca_path or None)
            # Python 3.13 demands a key usage extension of every CA; browsers do not, and many hospitals' CAs have none.
            self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._connection = PinnedHTTPSConnection(self.host, self.port, self.address, self.context, timeout)
        else:
            self._connection = PinnedHTTPConnection(self.host, self.port, self.address, timeout)

    def get(self, path: str, headers: Headers | None = None, login: bool = True) -> Answer:
        return self.request("GET", path, headers, login=login)

    def request(
        self, method: str, path: str, headers: Headers | None = None, body: bytes | None = None, login: bool = True
    ) -> Answer:
        """One request; ``path`` is sent as it is.

        Raises ``OSError`` or ``http.client.HTTPException`` when no answer comes.
        """
        wanted = {"Accept": "*/*", **(self._login if login else {}), **(headers or {})}
        used = self._connection.sock is not None
        try:
            return self._once(method, path, wanted, body)
        except (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest):
            self._connection.close()
            if not used:
                raise
        # An idle connection may have been closed by the server in the very moment.
        try:
            return self._once(method, path, wanted, body)
        except BaseException:
            self._connection.close()
            raise

    def _once(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        connection = self._connection
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        answered: Headers = {}
        for name, value in response.getheaders():
            key = name.lower()
            answered[key] = f"{answered[key]}, {value}" if key in answered else value
        return Answer(response.status, answered, content)

    def close(self) -> None:
        self._connection.close()
