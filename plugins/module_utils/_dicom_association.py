# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""C-ECHO over TCP or TLS, in the standard library alone; docs/architecture.md has the reason.

The bytes are those of DICOM PS3.8 chapter 9 (PDUs) and PS3.7 chapter 9.3.5 (C-ECHO).
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._tls import describe_error, describe_verification_error

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
VERIFICATION = b"1.2.840.10008.1.1"
IMPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2"
IMPLEMENTATION_CLASS = b"2.25.172968571862354217653287469126497538241"
IMPLEMENTATION_VERSION = b"LIGHTBOX"
CONTEXT_ID = 1
LARGEST_PDU = 1 << 20  # of an answer to C-ECHO; more is not DICOM

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
REJECTED = {
    (1, 1): "without a reason",
    (1, 2): "because it knows no such application context",
    (1, 3): "because it does not know the calling AE title",
    (1, 7): "because the called AE title is not its own",
    (2, 1): "without a reason (ACSE)",
    (2, 2): "because it speaks another version of the protocol",
    (3, 1): "because it has too much to do now",
    (3, 2): "because it has too many associations already",
}


class EchoError(Exception):
    """Why there is no answer; a sentence without its subject and full stop: "refused …"."""


@dataclass
class EchoResult:
    """The answer of a node. seconds: from connecting to the answer. tls: None without TLS."""

    seconds: float
    implementation: str
    tls: dict[str, Any] | None


def send_echo(
    host: str, port: int, called: str, calling: str, timeout: float, context: ssl.SSLContext | None, server_name: str
) -> EchoResult:
    """Send C-ECHO to a node. timeout: seconds for all of it. Raises EchoError."""
    begin = time.monotonic()
    try:
        stream: socket.socket = socket.create_connection((host, port), timeout)
    except (OSError, UnicodeError) as error:
        raise EchoError(f"cannot be reached ({describe_error(error)})") from None
    with stream:
        try:
            if context is not None:
                stream = context.wrap_socket(stream, server_hostname=server_name)
            association = Association(stream, begin + timeout)
            implementation = association.open(called, calling)
            association.echo()
            seconds = time.monotonic() - begin
            tls = describe_session(stream) if isinstance(stream, ssl.SSLSocket) else None
            association.release()
        except ssl.SSLCertVerificationError as error:
            raise EchoError(describe_verification_error(error)) from None
        except ssl.SSLError as error:
            raise EchoError(describe_tls_error(error, isinstance(stream, ssl.SSLSocket))) from None
        except TimeoutError:
            raise EchoError(f"gave no answer within {timeout:g} seconds") from None
        except OSError as error:
            question = "TLS" if context is None else "a client certificate that it trusts, or no TLS"
            raise EchoError(
                f"closed the connection ({describe_error(error)}). Does the port require {question}?"
            ) from None
        finally:
            stream.close()
    return EchoResult(round(seconds, 3), implementation, tls)


def describe_tls_error(error: ssl.SSLError, after_handshake: bool) -> str:
    """Return what is wrong, as an `EchoError` has it.

    With TLS 1.3 a client learns after the handshake that its certificate is missing; some nodes just close then.
    """
    reason = str(error.reason or error)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return f"requires a client certificate that it trusts ({reason}). Set client_cert and client_key"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_UNKNOWN" in reason:
        return f"does not trust the client certificate ({reason})"
    if after_handshake:
        return f"closes after the TLS handshake ({reason}). Does it require a client certificate that it trusts?"
    if "WRONG_VERSION_NUMBER" in reason or "EOF" in reason or "RECORD_LAYER" in reason:
        return f"does not answer in TLS ({reason}). Is the port one for DICOM without TLS?"
    return f"failed in TLS ({reason})"


def describe_session(stream: ssl.SSLSocket) -> dict[str, Any]:
    """Return what the handshake agreed on, and of the certificate what Python shows where it was verified."""
    certificate = stream.getpeercert() or {}
    subject: Any = certificate.get("subject", ())
    names = [pair[1] for part in subject for pair in part if pair[0] == "commonName"]
    return {
        "version": stream.version(),
        "cipher": (stream.cipher() or ("",))[0],
        "common_name": names[0] if names else None,
        "not_after": certificate.get("notAfter"),
    }


class Association:
    """An association on an open connection. end: by the clock of time.monotonic()."""

    def __init__(self, stream: socket.socket, end: float) -> None:
        self.stream = stream
        self.end = end

    def open(self, called: str, calling: str) -> str:
        """Associate and return the name of the node's implementation."""
        abstract = build_item(0x30, VERIFICATION) + build_item(0x40, IMPLICIT_LITTLE_ENDIAN)
        user = (
            build_item(0x51, struct.pack(">I", 16384))
            + build_item(0x52, IMPLEMENTATION_CLASS)
            + build_item(0x55, IMPLEMENTATION_VERSION)
        )
        titles = called.ljust(16).encode("ascii") + calling.ljust(16).encode("ascii")
        self.send(
            ASSOCIATE_RQ,
            struct.pack(">HH", 1, 0)
            + titles
            + bytes(32)
            + build_item(0x10, APPLICATION_CONTEXT)
            + build_item(0x20, bytes((CONTEXT_ID, 0, 0, 0)) + abstract)
            + build_item(0x50, user),
        )
        kind, body = self.receive()
        if kind == ASSOCIATE_RJ and len(body) >= 4:
            reason = REJECTED.get((body[2], body[3]), f"for the reason {body[3]} of source {body[2]}")
            raise EchoError(f"refused the association {reason}")
        if kind != ASSOCIATE_AC or len(body) < 68:
            raise EchoError(f"answers the association with a PDU of type {kind}, which is not DICOM")
        items = dict(parse_items(body[68:]))
        context = items.get(0x21, b"")
        if len(context) < 3 or context[2] != 0:
            self.release()
            raise EchoError("accepts the association and refuses C-ECHO in it")
        return dict(parse_items(items.get(0x50, b""))).get(0x55, b"").decode("ascii", "replace").strip()

    def echo(self) -> None:
        """Send C-ECHO and check its answer."""
        elements = (
            build_element(0x0002, VERIFICATION + b"\0" * (len(VERIFICATION) % 2))
            + build_element(0x0100, struct.pack("<H", 0x0030))
            + build_element(0x0110, struct.pack("<H", 1))
            + build_element(0x0800, struct.pack("<H", 0x0101))
        )
        message = build_element(0x0000, struct.pack("<I", len(elements))) + elements
        self.send(DATA, struct.pack(">IBB", len(message) + 2, CONTEXT_ID, 0x03) + message)
        status = parse_command(self.receive_message()).get(0x0900, b"")
        if len(status) != 2:
            raise EchoError("answers C-ECHO without a status")
        if status != b"\0\0":
            raise EchoError(f"answers C-ECHO with the status 0x{struct.unpack('<H', status)[0]:04X}")

    def receive_message(self) -> bytes:
        """Receive a whole command, which may come in several fragments."""
        whole = b""
        while True:
            kind, body = self.receive()
            if kind != DATA:
                raise EchoError(f"answers C-ECHO with a PDU of type {kind}, which is not DICOM")
            while len(body) >= 6:
                length, _unused, control = struct.unpack(">IBB", body[:6])
                whole += body[6 : 4 + length]
                body = body[4 + length :]
                if control & 0x02:
                    return whole

    def release(self) -> None:
        """Release the association; the answer does not matter any more."""
        try:
            self.send(RELEASE_RQ, bytes(4))
            self.receive()
        except (OSError, EchoError):
            pass

    def send(self, kind: int, body: bytes) -> None:
        self.stream.settimeout(self.compute_timeout())
        self.stream.sendall(struct.pack(">BBI", kind, 0, len(body)) + body)

    def receive(self) -> tuple[int, bytes]:
        """Receive the next PDU: its type and body."""
        head = self.receive_bytes(6)
        kind, _unused, length = struct.unpack(">BBI", head)
        if kind == 0x15:
            raise EchoError("answers in TLS. Set tls to true")
        if length > LARGEST_PDU or not ASSOCIATE_RQ <= kind <= ABORT:
            raise EchoError(f"answers {head!r}, which is not DICOM")
        body = self.receive_bytes(length)
        if kind == ABORT:
            raise EchoError("aborted the association")
        return kind, body

    def receive_bytes(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self.stream.settimeout(self.compute_timeout())
            piece = self.stream.recv(size - len(data))
            if not piece:
                raise EchoError(
                    "closed the connection without an answer. Does the port require TLS, or a client certificate?"
                )
            data += piece
        return data

    def compute_timeout(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def build_item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def parse_items(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        kind, _unused, length = struct.unpack(">BBH", data[:4])
        found.append((kind, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def build_element(number: int, value: bytes) -> bytes:
    """Build an element of a command set: group 0000, implicit VR little endian."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def parse_command(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 8:
        _unused, number, length = struct.unpack("<HHI", data[:8])
        found[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return found
