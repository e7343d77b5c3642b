"""The module postgresql_tls_info against a server that plays PostgreSQL."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from typing import Any

import pytest

from tests.support.orthanc_server import run_module
from tests.support.pki import make_pki, server_context

SCRAM = b"R" + struct.pack(">II", 23, 10) + b"SCRAM-SHA-256\0\0"
TRUST = b"R" + struct.pack(">II", 8, 0)


def refusal(code: str, message: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


NO_ENTRY = refusal("28000", "no pg_hba.conf entry, no encryption")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


@contextlib.contextmanager
def postgres(
    context: ssl.SSLContext | None, encrypted: bytes = SCRAM, plain: bytes = NO_ENTRY, hello: bytes | None = None
):
    """Serves as many sessions as come; `sessions` gets what each began with. hello: its answer about TLS."""
    listening = socket.create_server(("127.0.0.1", 0))
    sessions: list[dict[str, Any]] = []

    def begin(stream: socket.socket, length: int, tls: bool) -> None:
        body = stream.recv(length - 4)
        assert struct.unpack(">I", body[:4])[0] == 196608
        words = [word.decode() for word in body[4:].split(b"\0")]
        sessions.append({"tls": tls, **dict(zip(words[::2], words[1::2], strict=False))})
        stream.sendall(encrypted if tls else plain)

    def serve(stream: socket.socket) -> None:
        length = struct.unpack(">I", stream.recv(4))[0]
        if length != 8:
            begin(stream, length, False)
            return
        assert struct.unpack(">I", stream.recv(4))[0] == 80877103
        stream.sendall(hello if hello is not None else b"N" if context is None else b"S")
        if context is not None:
            with context.wrap_socket(stream, server_side=True) as tls, contextlib.suppress(struct.error):
                begin(tls, struct.unpack(">I", tls.recv(4))[0], True)

    def run() -> None:
        while True:
            try:
                stream, _unused = listening.accept()
            except OSError:
                return
            with stream, contextlib.suppress(OSError, struct.error):
                serve(stream)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1], sessions
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def ask(port: int, check: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_module("postgresql_tls_info", {"host": "localhost", "port": port, "timeout": 5, **arguments}, check)


@pytest.mark.parametrize("check", [False, True])
def test_as_it_should_be(pki, check):
    with postgres(server_context(pki)) as (port, sessions):
        found = ask(port, check, ca_path=str(pki / "ca.pem"), user="orthanc", database="archive")
    assert (found["changed"], found["tls"], found["verified"], found["verification_error"]) == (False, True, True, "")
    assert (found["version"], found["cipher"][:4]) == ("TLSv1.3", "TLS_")
    assert found["encrypted"] == {"accepted": True, "method": "scram-sha-256", "message": ""}
    assert found["unencrypted"]["accepted"] is False
    assert "no encryption" in found["unencrypted"]["message"]
    certificate = found["certificate"]
    assert (certificate["subject"], certificate["issuer"]) == ("commonName=localhost", "commonName=ca")
    assert certificate["names"] == ["localhost", "localhost"]
    assert certificate["days_left"] == 1
    assert len(certificate["sha256"]) == 64
    assert [(session["tls"], session["user"], session["database"]) for session in sessions] == [
        (True, "orthanc", "archive"),
        (False, "orthanc", "archive"),
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("localhost", {"ca_path": "other.pem"}, "unable to get local issuer certificate"),
        ("localhost", {}, "unable to get local issuer certificate"),
        ("localhost", {"ca_path": "ca.pem", "server_name": "elsewhere"}, "Hostname mismatch"),
        ("expired", {"ca_path": "ca.pem"}, "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_verify_is_shown_all_the_same(pki, name, arguments, said):
    arguments = {key: str(pki / value) if key == "ca_path" else value for key, value in arguments.items()}
    with postgres(server_context(pki, name)) as (port, _unused):
        found = ask(port, **arguments)
    assert found["verified"] is False
    assert said in found["verification_error"]
    assert found["certificate"]["subject"] == f"commonName={name}"
    assert (found["certificate"]["days_left"] < 0) is (name == "expired")


def test_without_tls():
    with postgres(None, plain=TRUST) as (port, sessions):
        found = ask(port)
    assert (found["tls"], found["version"], found["verified"], found["certificate"]) == (False, None, False, None)
    assert found["verification_error"] == "The server does not support TLS."
    assert found["encrypted"] is None
    assert found["unencrypted"] == {"accepted": True, "method": "none", "message": ""}
    assert len(sessions) == 1


def test_an_unencrypted_session_is_not_tried_where_it_should_not(pki):
    with postgres(server_context(pki)) as (port, sessions):
        assert ask(port, unencrypted=False)["unencrypted"] is None
    assert [session["tls"] for session in sessions] == [True]


def test_an_answer_that_says_nothing_about_it(pki):
    starting = refusal("57P03", "the database system is starting up")
    with postgres(server_context(pki), encrypted=starting, plain=starting) as (port, _unused):
        found = ask(port)
    for session in (found["encrypted"], found["unencrypted"]):
        assert session == {"accepted": None, "method": None, "message": "the database system is starting up"}


@pytest.mark.parametrize(
    ("hello", "said"),
    [(b"H", "answers b'H' to the request for TLS, which is not PostgreSQL"), (b"", "closed the connection")],
)
def test_what_is_no_postgresql(hello, said):
    with postgres(None, hello=hello) as (port, _unused):
        assert said in ask(port)["msg"]
    with postgres(None, plain=b"HTTP/1.1 400 Bad Request") as (port, _unused):
        assert "to the beginning of a session, which is not PostgreSQL" in ask(port)["msg"]


def test_one_that_says_yes_and_speaks_no_tls():
    with postgres(None, hello=b"Sxxxxxxxxxxxx") as (port, _unused):
        assert "did not complete the TLS handshake" in ask(port)["msg"]


def test_nobody_listens_or_nothing_can_be_trusted(pki):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert f"localhost:{port} cannot be reached (Connection refused)." in ask(port)["msg"]
    assert "absent.pem cannot be used (No such file" in ask(port, ca_path=str(pki / "absent.pem"))["msg"]
