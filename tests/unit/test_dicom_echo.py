"""The module dicom_echo against SCPs of another maker, and against what is no DICOM."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any

import pytest
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

from tests.support.orthanc_server import run_module
from tests.support.pki import make_pki, server_context

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


@contextlib.contextmanager
def scp(tls=None, status=0x0000, **settings):
    """A node of pynetdicom called NODE; settings are attributes of its application entity."""
    entity: Any = AE("NODE")
    entity.add_supported_context(settings.pop("context", VERIFICATION), ALL_TRANSFER_SYNTAXES)
    for name, value in settings.items():
        setattr(entity, name, value)
    handlers = [(evt.EVT_C_ECHO, lambda _event: status)]
    server = entity.start_server(("127.0.0.1", 0), block=False, ssl_context=tls, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def plain_server(answer: bytes | None):
    """What takes a connection, reads a little, says something and closes; None: says nothing for a while."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            connection, _unused = listening.accept()
            with connection:
                connection.recv(1000)
                if answer is None:
                    time.sleep(3)
                else:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
        thread.join(4)


def run(port, check=False, **arguments):
    return run_module(
        "dicom_echo", {"host": "localhost", "port": port, "aet": "NODE", "timeout": 5, **arguments}, check
    )


@pytest.mark.parametrize("check", [False, True])
def test_plain(check):
    with scp() as port:
        done = run(port, check=check)
    assert (done["changed"], done["reachable"], done["details"]) == (False, True, "")
    assert done["implementation"].startswith("PYNETDICOM")
    assert done["encryption"] is None
    assert 0 <= done["seconds"] < 5


def test_tls(pki):
    with scp(server_context(pki)) as port:
        done = run(port, tls=True, ca_path=str(pki / "ca.pem"))
    assert done["reachable"] is True
    assert done["encryption"]["version"] == "TLSv1.3"
    assert done["encryption"]["common_name"] == "localhost"
    assert done["encryption"]["not_after"].endswith("GMT")


def test_tls_with_client_certificate(pki):
    client = {"client_cert": str(pki / "client.pem"), "client_key": str(pki / "client.key")}
    with scp(server_context(pki, client=True)) as port:
        assert run(port, tls=True, ca_path=str(pki / "ca.pem"), **client)["reachable"] is True
        failed = run(port, tls=True, ca_path=str(pki / "ca.pem"))
    assert "a client certificate that it trusts" in failed["msg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ca_path": "other.pem"}, "has a certificate that does not verify"),
        ({}, "Set ca_path to the CA that signed it."),
        ({"ca_path": "ca.pem", "server_name": "elsewhere"}, "Hostname mismatch"),
        ({"ca_path": "absent.pem"}, "absent.pem cannot be used (No such file"),
        ({"ca_path": "ca.pem", "client_cert": "ca.key"}, "ca.key cannot be used"),
    ],
)
def test_a_certificate_that_does_not_fit(pki, arguments, said):
    arguments = {key: str(pki / value) if key != "server_name" else value for key, value in arguments.items()}
    with scp(server_context(pki)) as port:
        failed = run(port, tls=True, **arguments)
        assert said in failed["msg"]
        assert run(port, tls=True, validate_certs=False)["reachable"] is True


def test_plain_and_tls_are_not_mixed_up(pki):
    with scp(server_context(pki)) as port:
        assert "TLS" in run(port)["msg"]
    with scp() as port:
        failed = run(port, tls=True, ca_path=str(pki / "ca.pem"))
        assert "Is the port one for DICOM without TLS?" in failed["msg"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"require_called_aet": True, "ae_title": "ANOTHER"}, "because the called AE title is not its own"),
        ({"require_calling_aet": ["CT"]}, "because it does not know the calling AE title"),
        ({"context": CT_IMAGE_STORAGE}, "refuses C-ECHO"),
        ({"status": 0x0211}, "with the status 0x0211"),
    ],
)
def test_a_refusal_says_why(settings, said):
    with scp(**settings) as port:
        failed = run(port)
        assert said in failed["msg"]
        assert failed["reachable"] is False
        soft = run(port, fail=False)
        assert said in soft["details"]
        assert "failed" not in soft


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "which is not DICOM"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "answers in TLS. Set tls to true"),
        (b"", "closed the connection without an answer"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", "aborted the association"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02", "because it has too many associations already"),
        (b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x09", "for the reason 9 of source 3"),
        (b"\x02\x00\x00\x00\x00\x02\x00\x00", "with a PDU of type 2, which is not DICOM"),
        (b"\x02\x00\xff\xff\xff\xff", "which is not DICOM"),
        (None, "gave no answer within 1 seconds"),
    ],
)
def test_what_is_no_dicom_node(answer, said):
    with plain_server(answer) as port:
        failed = run(port, timeout=1)
    assert said in failed["msg"]


def test_an_answer_in_fragments():
    """A command may come in pieces, each in a PDU of its own or several in one."""
    accepted = bytes(68) + b"\x21\x00\x00\x04\x01\x00\x00\x00" + b"\x50\x00\x00\x06\x55\x00\x00\x02\x41\x42"
    status = struct.pack("<HHI", 0, 0x0900, 2) + b"\0\0"
    pieces = [struct.pack(">IBB", 2 + len(part), 1, last) + part for part, last in ((status[:3], 1), (status[3:], 3))]

    def pdu(kind, body):
        return struct.pack(">BBI", kind, 0, len(body)) + body

    for data in (pdu(4, pieces[0]) + pdu(4, pieces[1]), pdu(4, pieces[0] + pieces[1])):
        with plain_server(pdu(2, accepted) + data) as port:
            assert run(port)["implementation"] == "AB"


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert run(port)["msg"] == f"NODE at localhost:{port} cannot be reached (Connection refused)."
    assert "cannot be reached" in run(104, host="no-such-host.invalid")["msg"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aet": "A\\B"}, "aet is 'A\\B', which is not an AE title"),
        ({"calling_aet": "SEVENTEEN_LETTERS"}, "calling_aet is"),
        ({"port": 0}, "Set port to 1 to 65535"),
        ({"timeout": 0}, "timeout to 1 or more"),
        ({"client_key": "/key"}, "client_cert"),
    ],
)
def test_wrong_values_are_refused(wrong, said):
    assert said in run(**{"port": 1, **wrong})["msg"]
