# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""What a PostgreSQL server says before anybody logs in: PostgreSQL's frontend/backend protocol 3.0, chapter 54.2.

Without a driver, and without a password: a connection is closed as soon as the server asks for one.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any

SSL_REQUEST = struct.pack(">II", 8, 80877103)
PROTOCOL_3 = 196608
LONGEST_MESSAGE = 1 << 16
# Of OpenSSL, by number because Python 3.9 has no names for them: a certificate may vouch for itself, whatever the date.
PARTIAL_CHAIN, NO_CHECK_TIME = 0x80000, 0x200000
METHODS = {0: "none", 2: "kerberos", 3: "password", 5: "md5", 7: "gss", 9: "sspi", 10: "scram-sha-256"}
NOT_AUTHORIZED = ("28000", "28P01")


class PostgresError(Exception):
    """Why the server could not be asked, as a sentence without its subject: "cannot be reached …"."""


@dataclass(frozen=True)
class Server:
    """Where it is, and as whom it is asked; which rule of pg_hba.conf answers depends on user and database."""

    host: str
    port: int
    user: str
    database: str
    timeout: float

    def connect(self) -> socket.socket:
        try:
            stream = socket.create_connection((self.host, self.port), self.timeout)
        except (OSError, UnicodeError) as error:
            raise PostgresError(f"cannot be reached ({why(error)})") from None
        stream.settimeout(self.timeout)
        return stream


def why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            piece = stream.recv(size - len(data))
        except OSError as error:
            raise PostgresError(f"broke off ({why(error)})") from None
        if not piece:
            raise PostgresError("closed the connection without an answer")
        data += piece
    return data


def offers_tls(stream: socket.socket) -> bool:
    """Ask whether it speaks TLS; when it does, the next byte on the connection is of the handshake."""
    stream.sendall(SSL_REQUEST)
    answer = exactly(stream, 1)
    if answer not in (b"S", b"N"):
        raise PostgresError(f"answers {answer!r} to the question for TLS, which is no PostgreSQL")
    return answer == b"S"


def client_context(ca_path: str | None = None) -> ssl.SSLContext:
    """Verifies as libpq does with sslmode=verify-full; less strict than Python 3.13's default, which libpq is too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_path:
        context.load_verify_locations(ca_path)
    else:
        context.load_default_certs()
    return context


def unverified_context(leaf: bytes | None = None) -> ssl.SSLContext:
    """Trusts whatever comes; with `leaf`, exactly that certificate, so that Python shows what stands in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if leaf is not None:
        context.load_verify_locations(cadata=leaf)
        context.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def handshake(server: Server, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    stream = server.connect()
    try:
        if not offers_tls(stream):
            raise PostgresError("speaks no TLS any more")
        return context.wrap_socket(stream, server_hostname=name)
    except BaseException:
        stream.close()
        raise


def first_answer(stream: socket.socket, server: Server) -> dict[str, Any]:
    """Begin a session and return how the server takes it: {accepted: true|false|null, method, message}.

    null: it refused for a reason that says nothing about this (it is starting up, has too many connections).
    """
    words = ("user", server.user, "database", server.database, "application_name", "lightbox.pacs")
    body = struct.pack(">I", PROTOCOL_3) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    try:
        stream.sendall(struct.pack(">I", len(body) + 4) + body)
    except OSError as error:
        raise PostgresError(f"broke off ({why(error)})") from None
    kind, length = struct.unpack(">cI", exactly(stream, 5))
    if kind not in (b"R", b"E") or not 8 <= length <= LONGEST_MESSAGE:
        raise PostgresError(f"answers {kind!r} to the beginning of a session, which is no PostgreSQL")
    answer = exactly(stream, length - 4)
    if kind == b"R":
        number = struct.unpack(">I", answer[:4])[0]
        return {"accepted": True, "method": METHODS.get(number, str(number)), "message": ""}
    fields = {field[:1]: field[1:].decode(errors="replace") for field in answer.split(b"\0") if field}
    refused = fields.get(b"C") in NOT_AUTHORIZED
    return {"accepted": False if refused else None, "method": None, "message": fields.get(b"M", "")}


def verification(server: Server, context: ssl.SSLContext, name: str) -> tuple[bool, str]:
    """Whether the certificate is one of the CA and made out to the name, and what is wrong with it."""
    try:
        handshake(server, context, name).close()
    except ssl.SSLCertVerificationError as error:
        return False, error.verify_message
    except ssl.SSLError as error:
        raise PostgresError(f"fails in the TLS handshake ({error.reason or error})") from None
    except OSError as error:
        raise PostgresError(f"broke off in the TLS handshake ({why(error)})") from None
    return True, ""


def certificate(server: Server, leaf: bytes, name: str) -> dict[str, Any]:
    """What stands in the certificate, whoever signed it."""
    with handshake(server, unverified_context(leaf), name) as stream:
        shown: dict[str, Any] = dict(stream.getpeercert() or {})
    begin, end = (ssl.cert_time_to_seconds(shown[key]) for key in ("notBefore", "notAfter"))
    return {
        "subject": distinguished_name(shown.get("subject", ())),
        "issuer": distinguished_name(shown.get("issuer", ())),
        "names": [value for _kind, value in shown.get("subjectAltName", ())],
        "not_before": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin)),
        "not_after": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
        "days_left": int((end - time.time()) // 86400),
        "sha256": hashlib.sha256(leaf).hexdigest(),
    }


def distinguished_name(parts: Any) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)


def ask(server: Server, context: ssl.SSLContext, name: str, unencrypted: bool) -> dict[str, Any]:
    """All of it. context: that of `client_context`. Raises PostgresError."""
    with server.connect() as stream:
        supported = offers_tls(stream)
        found: dict[str, Any] = {
            "tls": supported,
            "version": None,
            "cipher": None,
            "verified": False,
            "verification_error": "" if supported else "The server speaks no TLS.",
            "certificate": None,
            "encrypted": None,
            "unencrypted": None,
        }
        if supported:
            try:
                tls = unverified_context().wrap_socket(stream, server_hostname=name)
            except OSError as error:
                raise PostgresError(f"fails in the TLS handshake ({why(error)})") from None
            with tls:
                leaf = tls.getpeercert(binary_form=True) or b""
                found.update(version=tls.version(), cipher=(tls.cipher() or (None,))[0])
                found["encrypted"] = first_answer(tls, server)
            try:
                found["certificate"] = certificate(server, leaf, name)
            except OSError as error:
                raise PostgresError(f"shows a certificate that cannot be read ({why(error)})") from None
            found["verified"], found["verification_error"] = verification(server, context, name)
    if unencrypted:
        with server.connect() as stream:
            found["unencrypted"] = first_answer(stream, server)
    return found
