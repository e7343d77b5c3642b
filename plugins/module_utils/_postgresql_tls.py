# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""How a PostgreSQL server encrypts and authenticates, by the beginning of its protocol 3.0 (chapter 54.2).

Without a driver and a password: a connection is closed as soon as the server asks for one.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._tls import PARTIAL_CHAIN, describe_error, tls_context

SSL_REQUEST = struct.pack(">II", 8, 80877103)
PROTOCOL_3 = 196608
LONGEST_MESSAGE = 1 << 16
NO_CHECK_TIME = 0x200000  # of OpenSSL; Python has no name for it
METHODS = {0: "none", 2: "kerberos", 3: "password", 5: "md5", 7: "gss", 9: "sspi", 10: "scram-sha-256"}
NOT_AUTHORIZED = ("28000", "28P01")


class PostgresError(Exception):
    """Why the server could not be queried; a sentence without its subject and full stop: "cannot be reached …"."""


@dataclass(frozen=True)
class Server:
    """Address, and the user and database that decide which line of pg_hba.conf applies."""

    host: str
    port: int
    user: str
    database: str
    timeout: float

    def connect(self) -> socket.socket:
        try:
            stream = socket.create_connection((self.host, self.port), self.timeout)
        except (OSError, UnicodeError) as error:
            raise PostgresError(f"cannot be reached ({describe_error(error)})") from None
        stream.settimeout(self.timeout)
        return stream


def receive_bytes(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            piece = stream.recv(size - len(data))
        except OSError as error:
            raise PostgresError(f"did not answer ({describe_error(error)})") from None
        if not piece:
            raise PostgresError("closed the connection without an answer")
        data += piece
    return data


def request_tls(stream: socket.socket) -> bool:
    """Request TLS and return whether it is accepted; when it is, the handshake is next on the connection."""
    stream.sendall(SSL_REQUEST)
    answer = receive_bytes(stream, 1)
    if answer not in (b"S", b"N"):
        raise PostgresError(f"answers {answer!r} to the request for TLS, which is not PostgreSQL")
    return answer == b"S"


def create_context(ca_path: str | None = None) -> ssl.SSLContext:
    """Create a context that verifies as libpq does with sslmode=verify-full. Raises TlsError."""
    context = tls_context(ca_path)
    context.verify_flags &= ~PARTIAL_CHAIN
    return context


def create_leaf_context(leaf: bytes) -> ssl.SSLContext:
    """Create a context that trusts exactly this certificate, so that Python shows its content."""
    context = tls_context(validate_certs=False)
    context.load_verify_locations(cadata=leaf)
    context.verify_flags |= NO_CHECK_TIME
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def connect_with_tls(server: Server, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    stream = server.connect()
    try:
        if not request_tls(stream):
            raise PostgresError("no longer supports TLS")
        return context.wrap_socket(stream, server_hostname=name)
    except BaseException:
        stream.close()
        raise


def begin_session(stream: socket.socket, server: Server) -> dict[str, Any]:
    """Begin a session and return the server's answer: {accepted: true|false|null, method, message}.

    null: it refused for another reason, such as that it is starting up or has too many connections.
    """
    words = ("user", server.user, "database", server.database, "application_name", "lightbox.pacs")
    body = struct.pack(">I", PROTOCOL_3) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    try:
        stream.sendall(struct.pack(">I", len(body) + 4) + body)
    except OSError as error:
        raise PostgresError(f"did not answer ({describe_error(error)})") from None
    kind, length = struct.unpack(">cI", receive_bytes(stream, 5))
    if kind not in (b"R", b"E") or not 8 <= length <= LONGEST_MESSAGE:
        raise PostgresError(f"answers {kind!r} to the beginning of a session, which is not PostgreSQL")
    answer = receive_bytes(stream, length - 4)
    if kind == b"R":
        number = struct.unpack(">I", answer[:4])[0]
        return {"accepted": True, "method": METHODS.get(number, str(number)), "message": ""}
    fields = {field[:1]: field[1:].decode(errors="replace") for field in answer.split(b"\0") if field}
    refused = fields.get(b"C") in NOT_AUTHORIZED
    return {"accepted": False if refused else None, "method": None, "message": fields.get(b"M", "")}


def verify_certificate(server: Server, context: ssl.SSLContext, name: str) -> tuple[bool, str]:
    """Return whether the certificate is valid for the name, and what is wrong with it."""
    try:
        connect_with_tls(server, context, name).close()
    except ssl.SSLCertVerificationError as error:
        return False, error.verify_message
    except ssl.SSLError as error:
        raise PostgresError(f"did not complete the TLS handshake ({error.reason or error})") from None
    except OSError as error:
        raise PostgresError(f"did not complete the TLS handshake ({describe_error(error)})") from None
    return True, ""


def read_certificate(server: Server, leaf: bytes, name: str) -> dict[str, Any]:
    """Return the content of the certificate, whoever signed it."""
    with connect_with_tls(server, create_leaf_context(leaf), name) as stream:
        shown: dict[str, Any] = dict(stream.getpeercert() or {})
    begin, end = (ssl.cert_time_to_seconds(shown[key]) for key in ("notBefore", "notAfter"))
    return {
        "subject": format_name(shown.get("subject", ())),
        "issuer": format_name(shown.get("issuer", ())),
        "names": [value for _kind, value in shown.get("subjectAltName", ())],
        "not_before": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin)),
        "not_after": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
        "days_left": int((end - time.time()) // 86400),
        "sha256": hashlib.sha256(leaf).hexdigest(),
    }


def format_name(parts: Any) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)


def query_server(server: Server, context: ssl.SSLContext, name: str, unencrypted: bool) -> dict[str, Any]:
    """Return the result of the module. context: that of `create_context`. Raises PostgresError."""
    with server.connect() as stream:
        supported = request_tls(stream)
        found: dict[str, Any] = {
            "tls": supported,
            "version": None,
            "cipher": None,
            "verified": False,
            "verification_error": "" if supported else "The server does not support TLS.",
            "certificate": None,
            "encrypted": None,
            "unencrypted": None,
        }
        if supported:
            try:
                tls = tls_context(validate_certs=False).wrap_socket(stream, server_hostname=name)
            except OSError as error:
                raise PostgresError(f"did not complete the TLS handshake ({describe_error(error)})") from None
            with tls:
                leaf = tls.getpeercert(binary_form=True) or b""
                found.update(version=tls.version(), cipher=(tls.cipher() or (None,))[0])
                found["encrypted"] = begin_session(tls, server)
            try:
                found["certificate"] = read_certificate(server, leaf, name)
            except OSError as error:
                raise PostgresError(f"has a certificate that cannot be read ({describe_error(error)})") from None
            found["verified"], found["verification_error"] = verify_certificate(server, context, name)
    if unencrypted:
        with server.connect() as stream:
            found["unencrypted"] = begin_session(stream, server)
    return found
