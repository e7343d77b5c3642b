"""The reverse proxy's ports for DICOM, run by nginx with dicom.js: who reaches the archive, and what dicom.log has."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from pynetdicom import AE, StoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from tests.support.device_ca import Device, DeviceCa
from tests.support.nginx import MODULES, NGINX, needs_nginx
from tests.support.project import PROJECT
from tests.support.rendering import Role

pytestmark = needs_nginx
SECONDS = 2
SECRET = "LBX0123456789ABC"
DEVICES = [
    {"name": "ct1", "aets": ["CT1", "CT1_STORE"]},
    {"name": "MR (2nd floor)", "aets": ["mr"]},
    {"name": "verify", "aets": [SECRET], "hide_aet": True},
]
REJECTION = bytes((3, 0, 0, 0, 0, 4, 0, 1, 1, 3))
REVERSE_PROXY = Role(
    "reverse_proxy",
    ansible_facts={"distribution_release": "trixie"},
    reverse_proxy_server_names=["localhost"],
    reverse_proxy_users=[],
    reverse_proxy_archive_password="not a secret",
    reverse_proxy_dicom_networks=["127.0.0.1"],
    reverse_proxy_dicom_tls_networks=["127.0.0.1"],
    reverse_proxy_ipv6_enabled=False,
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive().running() as running:
        yield running


class Archive:
    """A node that answers C-ECHO and rejects the calling AE title UNKNOWN."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections = 0
        self.calling: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Archive]:
        entity = AE("LIGHTBOX")
        entity.supported_contexts = [build_context(Verification), *StoragePresentationContexts[:100]]
        entity.require_calling_aet = ["CT1", "CT1_STORE", "MR", "OTHER", SECRET]
        entity.network_timeout = 60
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self.count)]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        assert server
        try:
            yield self
        finally:
            server.shutdown()

    def count(self, _event: evt.Event) -> None:
        self.connections += 1


@dataclasses.dataclass
class Proxy:
    """An nginx. pki: the CA of the devices; the server's certificate is from a CA in its directory `server`."""

    archive: Archive
    directory: pathlib.Path
    pki: DeviceCa
    server_ca: pathlib.Path
    plain: int
    tls: int
    process: subprocess.Popen | None = None

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "dicom.log").read_text("ascii").splitlines()]

    @contextlib.contextmanager
    def logs(self, seconds: float = 10) -> Iterator[dict[str, Any]]:
        """The one line that dicom.log has of what happens in the block; filled in when it ends."""
        before = len(self.lines())
        line: dict[str, Any] = {}
        yield line
        end = time.monotonic() + seconds
        while len(self.lines()) == before:
            assert time.monotonic() < end, "nothing is logged"
            time.sleep(0.02)
        (found,) = self.lines()[before:]
        line |= found

    def reload(self) -> None:
        """Load the configuration again; returns when the old workers take no connections any more."""
        assert self.process
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        before = set(children.read_text().split())
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while before & set(children.read_text().split()):
            assert time.monotonic() < end, "the old workers do not end"
            time.sleep(0.05)

    def context(self, device: Device | None = None) -> ssl.SSLContext:
        return device.context(self.server_ca) if device else ssl.create_default_context(cafile=str(self.server_ca))

    def connect(self, port: int, context: ssl.SSLContext | None = None) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", port), 10)
        return context.wrap_socket(plain, server_hostname="localhost") if context else plain


def settings(directory: pathlib.Path, pki: DeviceCa, server: Device, port: int, **answers: Any) -> dict[str, Any]:
    return {
        "reverse_proxy_dicom_port": free_port(),
        "reverse_proxy_dicom_tls_port": free_port(),
        "reverse_proxy_tls_certificate": str(server.pem),
        "reverse_proxy_tls_key": str(server.key),
        "reverse_proxy_log_directory": str(directory),
        "reverse_proxy_archive_dicom_address": f"127.0.0.1:{port}",
        "reverse_proxy_dicom_client_ca": str(pki.path),
        "reverse_proxy_dicom_client_crl": str(pki.crl),
        "reverse_proxy_dicom_devices": DEVICES,
        "reverse_proxy_dicom_request_seconds": SECONDS,
        "__reverse_proxy_dicom_settings": str(directory / "dicom.json"),
        "__reverse_proxy_njs_directory": str(directory / "njs"),
        "__reverse_proxy_runtime_directory": str(directory),
    } | answers


@contextlib.contextmanager
def started(directory: pathlib.Path, archive: Archive, port: int = 0, **answers: Any) -> Iterator[Proxy]:
    """A proxy of the archive, or of another port."""
    assert NGINX
    (directory / "server").mkdir()
    (directory / "njs").symlink_to(
        PROJECT / "roles/reverse_proxy/files/njs"
    )  # the role's own place has no space in its path
    authority = DeviceCa(directory / "server", "servers")
    server = authority.issue("localhost", usage=ExtendedKeyUsageOID.SERVER_AUTH, names=("localhost",))
    pki = DeviceCa(directory)
    places = settings(directory, pki, server, port or archive.port, **answers)
    assert REVERSE_PROXY.errors(**places) == []
    (directory / "dicom.json").write_text(
        REVERSE_PROXY.value("__reverse_proxy_dicom_program_settings | to_json", **places)
    )
    stream = REVERSE_PROXY.render("nginx/dicom.conf", **places)
    modules = "".join(f'load_module "{module}";\n' for module in MODULES if "/ngx_stream" in str(module))
    conf = directory / "nginx.conf"
    conf.write_text(
        f"{modules}user {getpass.getuser()};\nworker_processes 2;\nerror_log {directory}/error.log error;\n"
        f"pid {directory}/pid;\nevents {{ worker_connections 1024; }}\nstream {{\n{stream}\n}}\n"
    )
    allowed = r"access forbidden by rule|Connection refused|ignoring stale global SSL error|SSL_shutdown\(\) failed"
    with subprocess.Popen([NGINX, "-c", conf, "-g", "daemon off;"], stderr=subprocess.PIPE) as process:
        proxy = Proxy(
            archive, directory, pki, authority.path,
            places["reverse_proxy_dicom_port"], places["reverse_proxy_dicom_tls_port"], process,
        )  # fmt: skip
        try:
            while True:
                with contextlib.suppress(OSError), proxy.connect(proxy.plain):
                    break
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.05)
            while not proxy.lines():
                time.sleep(0.02)
            yield proxy
        finally:
            process.terminate()
            process.wait(10)
    errors = (directory / "error.log").read_text()
    assert [line for line in errors.splitlines() if not re.search(allowed, line)] == []


@pytest.fixture(scope="module")
def off(tmp_path_factory, archive) -> Iterator[Proxy]:
    with started(tmp_path_factory.mktemp("off"), archive) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def optional(tmp_path_factory, archive) -> Iterator[Proxy]:
    with started(
        tmp_path_factory.mktemp("optional"), archive, reverse_proxy_dicom_client_certificates="optional"
    ) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def required(tmp_path_factory, archive) -> Iterator[Proxy]:
    with started(
        tmp_path_factory.mktemp("required"), archive, reverse_proxy_dicom_client_certificates="required"
    ) as proxy:
        yield proxy


# -- Bytes and associations


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def build_request(
    calling: bytes | str = "CT1", called: bytes | str = "LIGHTBOX", contexts: int = 1, syntaxes: int = 1
) -> bytes:
    """An A-ASSOCIATE-RQ for C-ECHO; each context has so many transfer syntaxes."""
    titles = b"".join((one.encode() if isinstance(one, str) else one).ljust(16)[:16] for one in (called, calling))
    proposed = item(0x30, b"1.2.840.10008.1.1") + b"".join(
        item(0x40, b"1.2.840.10008.1.2" + f".4.{number}".encode() * (number > 0)) for number in range(syntaxes)
    )
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1")
    body += b"".join(item(0x20, bytes((number * 2 + 1, 0, 0, 0)) + proposed) for number in range(contexts))
    body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
    return struct.pack(">BBI", 1, 0, len(body)) + body


def receive(connection: socket.socket) -> bytes:
    """What comes until a rejection is complete or the connection ends, which may be by a reset."""
    got = b""
    with contextlib.suppress(OSError):
        while got != REJECTION and (piece := connection.recv(65536)):
            got += piece
    return got


def answer(
    proxy: Proxy, data: bytes, port: int = 0, context: ssl.SSLContext | None = None
) -> tuple[bytes, dict[str, Any]]:
    """The answer to bytes, of which A-ASSOCIATE-AC gives the first byte alone, and the line in the log."""
    with proxy.logs() as line, proxy.connect(port or proxy.plain, context) as connection:
        connection.sendall(data)
        got = b""
        with contextlib.suppress(OSError):
            got = connection.recv(65536)
        got = got[:1] if got[:1] == b"\x02" else got if got == REJECTION else got + receive(connection)
    return got, line


def echo(
    proxy: Proxy, calling: str, device: Device | None = None, port: int = 0, called: str = "LIGHTBOX"
) -> tuple[Any, dict[str, Any]]:
    """The status of pynetdicom's C-ECHO, or why there is none; and the line in the log."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    tls = None if port == proxy.plain else (proxy.context(device), "localhost")
    got: list[bytes] = []
    handlers: list[Any] = [(evt.EVT_DATA_RECV, lambda event: got.append(event.data))]
    with proxy.logs() as line:
        association = entity.associate(
            "127.0.0.1", port or proxy.tls, [build_context(Verification)],
            ae_title=called, tls_args=tls, evt_handlers=handlers,
        )  # fmt: skip
        found: Any = "no association"
        if association.is_established:
            found = association.send_c_echo().Status
            association.release()
        elif got and got[0][0] == 3:  # pynetdicom itself sometimes takes a rejection for an abort
            found = (got[0][8], got[0][9])
    return found, line


# -- The first PDU


def test_a_request_reaches_the_archive(off):
    status, line = echo(off, "CT1", port=off.plain)
    assert status == 0
    assert line["refused"] == ""
    assert (line["address"], line["port"], line["status"], line["tls"]) == ("127.0.0.1", off.plain, 200, "")
    assert (line["calling_aet"], line["called_aet"]) == ("CT1", "LIGHTBOX")
    assert (line["device"], line["certificate"], line["certificate_serial"], line["certificate_days"]) == (
        "",
        "",
        "",
        None,
    )
    assert line["bytes_in"] > 50, "without the request"
    assert line["bytes_out"] > 200


def test_a_silent_connection_is_closed_in_time_and_the_archive_hears_nothing(off):
    before = off.archive.connections
    with off.logs() as line, off.connect(off.plain) as connection:
        begin = time.monotonic()
        assert receive(connection) == b""
        assert SECONDS - 0.5 < time.monotonic() - begin < SECONDS + 1
    assert off.archive.connections == before
    assert (line["status"], line["refused"]) == (408, f"no complete A-ASSOCIATE-RQ within {SECONDS} s")


def test_many_silent_connections_delay_nobody(off):
    with contextlib.ExitStack() as stack:
        for _again in range(20):
            stack.enter_context(off.connect(off.plain)).send(b"\x01")
        begin = time.monotonic()
        with off.connect(off.plain) as connection:
            connection.sendall(build_request())
            assert connection.recv(1) == b"\x02"
        assert time.monotonic() - begin < 0.5
        time.sleep(0.2)
    time.sleep(0.5)


def test_a_request_byte_by_byte_has_the_same_time(off):
    before = off.archive.connections
    with off.logs() as line, off.connect(off.plain) as connection:
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in build_request():
                connection.send(bytes((byte,)))
                time.sleep(0.1)
        assert SECONDS - 0.5 < time.monotonic() - begin < SECONDS + 1
    assert off.archive.connections == before
    assert line["status"] == 408


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 26, 42, -1])
def test_a_request_in_pieces_arrives(off, cut):
    whole = build_request()
    with off.logs() as line, off.connect(off.plain) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(whole[:cut])
        time.sleep(0.05)
        connection.sendall(whole[cut:])
        assert connection.recv(1) == b"\x02"
    assert (line["refused"], line["calling_aet"]) == ("", "CT1")


def test_a_client_that_goes_away(off):
    before = off.archive.connections
    with off.logs() as line, off.connect(off.plain) as connection:
        connection.sendall(build_request()[:-1])
    assert off.archive.connections == before
    assert (line["status"], line["refused"]) == (
        400,
        "the client has closed the connection before its A-ASSOCIATE-RQ was complete",
    )


@pytest.mark.parametrize(("tls", "syntaxes", "piece"), [(False, 18, 536), (True, 30, 2000)])
def test_a_large_request_arrives_in_small_segments(off, tls, syntaxes, piece):
    """128 presentation contexts, as a link with small packets brings them.

    Without TLS, nginx 1.25.5 and newer leave the bytes in the system's buffer, which takes less than nginx's.
    """
    data = build_request(contexts=128, syntaxes=syntaxes)
    assert (100_000 if tls else 60_000) < len(data) <= 131_072
    port, context = (off.tls, off.context()) if tls else (off.plain, None)
    with off.logs() as line, off.connect(port, context) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), piece):
            connection.sendall(data[start : start + piece])
        assert connection.recv(1) == b"\x02"
    assert line["refused"] == ""


def test_many_tiny_pieces_are_refused(off):
    """nginx keeps a copy of all so far for each piece that arrives."""
    data = build_request(contexts=128, syntaxes=30)
    with off.logs() as line, off.connect(off.plain) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(data[:50_000])
        with contextlib.suppress(OSError):
            for byte in data[50_000:50_400]:
                connection.send(bytes((byte,)))
                time.sleep(0.002)
        assert receive(connection) == b""
    assert (line["status"], line["refused"]) == (400, "the A-ASSOCIATE-RQ arrives in too many pieces")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not DICOM: the first byte is 0x47, and 0x01 begins an A-ASSOCIATE-RQ"),
        (b"\0", "not DICOM: the first byte is 0x00, and 0x01 begins an A-ASSOCIATE-RQ"),
        (b"\x04\0\0\0\0\x04abcd", "not DICOM: the first byte is 0x04, and 0x01 begins an A-ASSOCIATE-RQ"),
        (b"\x05\0\0\0\0\x04\0\0\0\0", "not DICOM: the first byte is 0x05, and 0x01 begins an A-ASSOCIATE-RQ"),
        (b"\xff" * 100, "not DICOM: the first byte is 0xff, and 0x01 begins an A-ASSOCIATE-RQ"),
        (b"\x16\x03\x01\x02\0\x01", "the client uses TLS on a port without TLS"),
        (b"\x01\0\xff\xff\xff\xff", "an A-ASSOCIATE-RQ of 4294967295 bytes is too large, more than 131066"),
        (b"\x01\0\x80\0\0\0", "an A-ASSOCIATE-RQ of 2147483648 bytes is too large, more than 131066"),
        (b"\x01\0\0\x02\0\0", "an A-ASSOCIATE-RQ of 131072 bytes is too large, more than 131066"),
        (b"\x01\0\0\0\0\0", "not DICOM: an A-ASSOCIATE-RQ of 0 bytes is too short"),
        (b"\x01\0\0\0\0\x43" + bytes(67), "not DICOM: an A-ASSOCIATE-RQ of 67 bytes is too short"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_request_is_refused_at_once(off, data, reason):
    before = off.archive.connections
    begin = time.monotonic()
    got, line = answer(off, data)
    assert time.monotonic() - begin < SECONDS - 0.5
    assert (got, off.archive.connections) == (b"", before)
    assert (line["status"], line["refused"]) == (400, reason)
    assert (line["calling_aet"], line["called_aet"]) == ("", "")


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        (b'A"B', 'A"B'),
        (b"A\\B", r"A\x5cB"),
        (b"A\\x1b", r"A\x5cx1b"),
        (b"\xc3\xa9\xff\x80", r"\xc3\xa9\xff\x80"),
        (b"</script>${x}%s", "</script>${x}%s"),
        (b" " * 16, ""),
        (b"\0" * 16, ""),
        (b"  CT1 \0\0", "CT1"),
        (b"$remote_addr", "$remote_addr"),
    ],
)
def test_titles_are_untrusted_text_in_the_log(off, title, shown):
    """The archive gets them as they are."""
    _got, line = answer(off, build_request(title, title))
    assert (line["calling_aet"], line["called_aet"]) == (shown, shown)


@pytest.mark.parametrize("title", [b"CT1\t", b"\nCT1", b"A\x01B", b"\x1b[31m", b"\x7f"])
def test_control_characters_in_the_calling_title_are_refused(off, title):
    """Orthanc strips more than spaces: the title would pass as another."""
    before = off.archive.connections
    got, line = answer(off, build_request(title, title))
    assert (got, off.archive.connections) == (REJECTION, before)
    assert line["status"] == 403
    assert line["refused"] == f"calling AE title {line['calling_aet']} contains a control character"
    assert "\\x" in line["calling_aet"]
    assert line["called_aet"] == line["calling_aet"]


def test_who_is_rejected_by_the_archive_is_told_so_in_the_log(off):
    status, line = echo(off, "UNKNOWN", port=off.plain)
    assert status == (1, 3)
    assert (line["status"], line["refused"]) == (200, "Orthanc has rejected or aborted the association")


def test_a_secret_title_is_not_in_the_log(off):
    for calling, called in ((SECRET, SECRET.lower()), (SECRET.lower(), SECRET)):
        _got, line = answer(off, build_request(calling, called))
        assert (line["calling_aet"], line["called_aet"]) == ("********", "********")
    assert SECRET not in (off.directory / "dicom.log").read_text().upper()


def test_more_connections_than_an_address_may_have(tmp_path, archive):
    with (
        started(tmp_path, archive, reverse_proxy_dicom_connections_per_address=3) as proxy,
        contextlib.ExitStack() as stack,
    ):
        open_ = [stack.enter_context(proxy.connect(proxy.plain)) for _again in range(3)]
        time.sleep(0.1)
        with proxy.logs() as line, proxy.connect(proxy.tls) as one_more:
            assert receive(one_more) == b""
        assert (line["status"], line["refused"]) == (503, "more than 3 connections from this address")
        for one in open_:
            one.sendall(build_request())
            assert one.recv(1) == b"\x02"


def test_addresses_that_are_not_named(tmp_path, archive):
    networks: dict[str, Any] = {
        "reverse_proxy_dicom_networks": ["192.0.2.1"],
        "reverse_proxy_dicom_tls_networks": ["192.0.2.1"],
    }
    with started(tmp_path, archive, **networks) as proxy:
        for port, name in (
            (proxy.plain, "reverse_proxy_dicom_networks"),
            (proxy.tls, "reverse_proxy_dicom_tls_networks"),
        ):
            got, line = answer(proxy, build_request(), port)
            assert (got, line["status"], line["refused"]) == (b"", 403, f"the address is not in {name}")


def test_an_archive_that_is_down(tmp_path, archive):
    with started(tmp_path, archive, port=free_port()) as proxy:
        got, line = answer(proxy, build_request())
    assert (got, line["status"], line["refused"]) == (b"", 502, "Orthanc does not answer")


# -- Certificates of devices


def test_without_client_certificates_the_log_names_none(off):
    status, line = echo(off, "CT1", off.pki.issue("ct1"))
    assert status == 0
    assert (line["port"], line["refused"], line["device"], line["certificate"]) == (off.tls, "", "", "NONE")
    assert line["tls"] == "TLSv1.3"


@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize(
    ("name", "title"), [("ct1", "CT1"), ("ct1", "ct1_store"), ("MR (2nd floor)", "MR"), ("verify", SECRET)]
)
def test_a_device_with_its_certificate(request: pytest.FixtureRequest, mode, name, title):
    proxy = request.getfixturevalue(mode)
    device = proxy.pki.issue(name, days=20, organization="A hospital, CN=other + CN=x")
    status, line = echo(proxy, title, device)
    # This archive, other than Orthanc, distinguishes case.
    rejected = (1, 3), "Orthanc has rejected or aborted the association"
    assert (status, line["refused"]) == (rejected if title == "ct1_store" else (0, ""))
    assert (line["device"], line["certificate"], line["certificate_days"]) == (name, "SUCCESS", 20)
    assert (
        line["certificate_serial"]
        == f"{device.certificate.serial_number:X}".rjust(40, "0")[-len(line["certificate_serial"]) :]
    )
    assert line["calling_aet"] == ("********" if title == SECRET else title)


@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize(
    ("names", "title", "reason"),
    [
        (["ct1"], "MR", "calling AE title MR is not one of device ct1"),
        (["ct1"], SECRET, "calling AE title ******** is not one of device ct1"),
        (["ct1"], "CT", "calling AE title CT is not one of device ct1"),
        (["CT1"], "CT1", "the certificate is of 'CT1', which is not in reverse_proxy_dicom_devices"),
        (["other"], "CT1", "the certificate is of 'other', which is not in reverse_proxy_dicom_devices"),
        (["x", "ct1"], "CT1", "the certificate is of 'ct1+x', which is not in reverse_proxy_dicom_devices"),
        (["ct1,CN=x"], "CT1", r"the certificate is of 'ct1\,CN=x', which is not in reverse_proxy_dicom_devices"),
        (["__proto__"], "CT1", "the certificate is of '__proto__', which is not in reverse_proxy_dicom_devices"),
        ([], "CT1", "the certificate is of '', which is not in reverse_proxy_dicom_devices"),
    ],
)  # fmt: skip
def test_another_title_or_device_is_rejected_and_told_why(request: pytest.FixtureRequest, mode, names, title, reason):
    proxy = request.getfixturevalue(mode)
    before = proxy.archive.connections
    status, line = echo(proxy, title, proxy.pki.issue(*names))
    assert status == (1, 3), "rejected by the service user: calling AE title not recognized"
    assert proxy.archive.connections == before
    assert (line["status"], line["refused"], line["certificate"]) == (403, reason, "SUCCESS")


def refused_certificates(proxy: Proxy) -> dict[str, tuple[Device, str]]:
    other = proxy.directory / "other"
    other.mkdir(exist_ok=True)
    # A device that issues certificates with its own.
    device, issuer = proxy.pki.issue("MR (2nd floor)"), DeviceCa(other, "device")
    key = serialization.load_pem_private_key(device.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer.key, issuer.subject = key, device.certificate.subject
    forged = issuer.issue("ct1")
    forged.pem.write_bytes(forged.pem.read_bytes() + device.pem.read_bytes())
    return {
        "a device's": (forged, "unable to get certificate CRL"),  # the last of its errors
        "expired": (proxy.pki.issue("ct1", days=-2), "certificate has expired"),
        "of another CA": (DeviceCa(other, "others").issue("ct1"), "unable to verify the first certificate"),
        "of another CA of the same name": (DeviceCa(other, "devices").issue("ct1"), "certificate signature failure"),
        "a server's": (proxy.pki.issue("ct1", usage=ExtendedKeyUsageOID.SERVER_AUTH), "certificate purpose"),
    }


@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize(
    "which", ["expired", "of another CA", "of another CA of the same name", "a server's", "a device's"]
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_does_not_verify(request: pytest.FixtureRequest, mode, which, version):
    proxy = request.getfixturevalue(mode)
    device, reason = refused_certificates(proxy)[which]
    context = proxy.context(device)
    context.minimum_version = context.maximum_version = version
    before = proxy.archive.connections
    data = build_request()
    got, line = answer(proxy, data, proxy.tls, context)
    assert (got, proxy.archive.connections) == (b"", before)
    assert line["status"] == 403
    assert line["refused"].startswith("the client certificate is not accepted: ")
    assert reason in line["refused"]
    assert (line["device"], line["certificate"]) == ("ct1", "FAILED:" + line["refused"].split(": ", 1)[1])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_certificate_where_one_is_required(required, version):
    context = required.context()
    context.minimum_version = context.maximum_version = version
    before = required.archive.connections
    got, line = answer(required, build_request("OTHER"), required.tls, context)
    assert (got, required.archive.connections) == (REJECTION, before)
    assert (line["status"], line["refused"]) == (403, "the client has sent no certificate")
    assert (line["device"], line["certificate"], line["calling_aet"]) == ("", "NONE", "OTHER")


@pytest.mark.parametrize("title", ["CT1", "OTHER"])
def test_no_certificate_where_it_is_optional(optional, title):
    for port in (optional.plain, optional.tls):
        status, line = echo(optional, title, port=port)
        assert (status, line["refused"], line["device"]) == (0, "", "")


@pytest.mark.parametrize("title", ["CT1", "ct1_Store", "MR", " ct1", b"CT1\0\0", b"CT1 \0xyz"])
def test_nobody_poses_as_a_device_without_tls(required, title):
    before = required.archive.connections
    got, line = answer(required, build_request(title))
    assert (got, required.archive.connections) == (REJECTION, before)
    owner = "MR (2nd floor)" if title == "MR" else "ct1"
    reason = f"calling AE title {line['calling_aet']} is one of device {owner}, which must use TLS and its certificate"
    assert (line["status"], line["refused"]) == (403, reason)


def test_other_titles_call_without_tls_as_before(required):
    status, line = echo(required, "OTHER", port=required.plain)
    assert (status, line["refused"]) == (0, "")


@pytest.mark.parametrize("mode", ["off", "optional", "required"])
def test_a_client_without_tls_on_the_port_for_tls(request: pytest.FixtureRequest, mode):
    proxy = request.getfixturevalue(mode)
    got, line = answer(proxy, build_request(), proxy.tls)
    assert len(got) < 8, "at most an alert of TLS"
    assert line["status"] == 400
    assert line["refused"] == "no TLS handshake: the client uses no TLS"


@pytest.mark.parametrize("mode", ["off", "required"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_does_not_trust_the_server(request: pytest.FixtureRequest, mode, version):
    proxy = request.getfixturevalue(mode)
    context = ssl.create_default_context(cafile=str(proxy.pki.path))
    context.minimum_version = context.maximum_version = version
    with proxy.logs() as line, pytest.raises(ssl.SSLCertVerificationError):
        proxy.connect(proxy.tls, context)
    assert line["status"] == 400
    assert line["refused"].startswith(
        "the TLS handshake failed: the client does not trust the certificate of this server"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
            "no TLS handshake: the client supports TLSv1.1 at most, and TLSv1.2 is needed",
        ),
        (["-tls1_2", "-cipher", "AES128-SHA"], "or has no cipher in common with it"),
        (["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"], "or has no cipher in common with it"),
    ],
)
def test_a_client_that_is_too_old(off, options, reason):
    with off.logs() as line:
        command = ["openssl", "s_client", *options, "-connect", f"127.0.0.1:{off.tls}"]
        subprocess.run(command, input=b"", capture_output=True, check=False, timeout=10)
    assert line["status"] == 400
    assert line["refused"].endswith(reason)


def test_the_client_has_a_second_to_close_after_a_rejection(required):
    with required.logs() as line, required.connect(required.plain) as connection:
        connection.sendall(build_request())
        assert connection.recv(100) == REJECTION
        begin = time.monotonic()
        assert connection.recv(100) == b""
        assert 0.5 < time.monotonic() - begin < 1.5
    assert line["bytes_out"] == 10
    begin = time.monotonic()
    answer(required, build_request())
    assert time.monotonic() - begin < 0.5, "the connection ends when the client closes it"


def test_a_silent_client_on_the_port_for_tls(required):
    begin = time.monotonic()
    with required.logs() as line, required.connect(required.tls) as connection:
        assert receive(connection) == b""
    assert SECONDS - 0.5 < time.monotonic() - begin < SECONDS + 1
    assert (line["status"], line["refused"]) == (408, f"no TLS handshake within {SECONDS} s")
    with required.logs() as line, required.connect(required.tls, required.context()) as connection:
        assert receive(connection) == b""
    assert (line["status"], line["refused"]) == (408, f"no complete A-ASSOCIATE-RQ within {SECONDS} s")


def resume(
    proxy: Proxy, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bytes, ssl.SSLSession | None]:
    """The first byte of the answer on a connection that tries to resume a session, and its own session."""
    plain = socket.create_connection(("127.0.0.1", proxy.tls), 10)
    with (
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(build_request())
        got = connection.recv(1)
        return got, connection.session
    return b"", None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_revoked_device_is_refused_after_a_reload_also_with_an_old_session(required, version):
    device = required.pki.issue("ct1")
    context = required.context(device)
    context.minimum_version = context.maximum_version = version
    before = required.pki.crl.read_bytes()
    got, session = resume(required, context, None)
    assert got == b"\x02"
    try:
        required.pki.revoke(device)
        required.reload()
        with required.logs() as line:
            got, _session = resume(required, context, session)
        assert got == b""
        assert (line["status"], line["certificate"], line["device"]) == (403, "FAILED:certificate revoked", "ct1")
        assert line["refused"] == "the client certificate is not accepted: certificate revoked"
        status, _line = echo(required, "CT1", required.pki.issue("ct1"))
        assert status == 0, "another certificate of the same device"
    finally:
        required.pki.crl.write_bytes(before)
        required.reload()


def test_a_revocation_list_that_is_out_of_date_refuses_all_devices(required):
    before = required.pki.crl.read_bytes()
    try:
        required.pki.revoke(days=-1)
        required.reload()
        _status, line = echo(required, "CT1", required.pki.issue("ct1"))
        assert line["refused"] == "the client certificate is not accepted: CRL has expired"
    finally:
        required.pki.crl.write_bytes(before)
        required.reload()


def test_an_association_goes_on_over_a_reload(required):
    device = required.pki.issue("ct1")
    entity = AE("CT1")
    tls = (required.context(device), "localhost")
    association = entity.associate(
        "127.0.0.1", required.tls, [build_context(Verification)], ae_title="LIGHTBOX", tls_args=tls
    )
    assert association.send_c_echo().Status == 0
    assert required.process
    required.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert association.send_c_echo().Status == 0
    with required.logs():
        association.release()


# -- Input


def test_a_run_reloads_nginx_when_the_ca_or_the_list_has_changed():
    files = {"reverse_proxy_dicom_client_ca": "/x/ca.pem", "reverse_proxy_dicom_client_crl": "/x/crl.pem"}

    def compared(mode: str, **answers: Any) -> list[str]:
        answers |= {"reverse_proxy_dicom_client_certificates": mode}
        return REVERSE_PROXY.value("__reverse_proxy_dicom_client_files", **(files | answers))

    assert compared("required") == compared("optional") == ["/x/ca.pem", "/x/crl.pem"]
    assert compared("optional", reverse_proxy_dicom_client_crl="") == ["/x/ca.pem"]
    assert compared("off") == compared("required", reverse_proxy_dicom_tls_networks=[]) == []
    tasks = (PROJECT / "roles/reverse_proxy/tasks/service.yml").read_text()
    assert "+ __reverse_proxy_dicom_client_files + ['-newer'" in tasks


def check(**answers: Any) -> list[str]:
    return REVERSE_PROXY.errors(
        **{"reverse_proxy_dicom_client_certificates": "required", "reverse_proxy_dicom_client_ca": "/etc/x/ca.pem",
           "reverse_proxy_dicom_client_crl": "/etc/x/crl.pem", "reverse_proxy_dicom_devices": DEVICES} | answers
    )  # fmt: skip


def test_good_input_has_no_errors():
    assert check() == []
    assert check(reverse_proxy_dicom_client_crl="") == []
    assert check(reverse_proxy_dicom_client_certificates="optional") == []
    off: dict[str, Any] = {"reverse_proxy_dicom_client_certificates": "off", "reverse_proxy_dicom_client_ca": ""}
    assert check(**off, reverse_proxy_dicom_devices=[], reverse_proxy_dicom_client_crl="") == []


@pytest.mark.parametrize(
    ("variable", "answers"),
    [
        ("reverse_proxy_dicom_client_certificates", {"reverse_proxy_dicom_client_certificates": "on"}),
        ("reverse_proxy_dicom_client_certificates", {"reverse_proxy_dicom_client_certificates": True}),
        ("reverse_proxy_dicom_tls_networks", {"reverse_proxy_dicom_tls_networks": []}),
        ("reverse_proxy_dicom_client_ca", {"reverse_proxy_dicom_client_ca": ""}),
        ("reverse_proxy_dicom_client_ca", {"reverse_proxy_dicom_client_ca": "/etc/x y.pem"}),
        ("reverse_proxy_dicom_client_crl", {"reverse_proxy_dicom_client_crl": "crl.pem"}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": []}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a,b", "aets": ["A"]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "", "aets": ["A"]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a\n", "aets": ["A"]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "n" * 65, "aets": ["A"]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a"}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a", "aets": []}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a", "aets": ["A" * 17]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a", "aets": ["A\\B"]}]}),
        ("reverse_proxy_dicom_devices", {"reverse_proxy_dicom_devices": [{"name": "a", "aets": ["A"]}] * 2}),
        ("reverse_proxy_dicom_request_seconds", {"reverse_proxy_dicom_request_seconds": 0}),
        ("reverse_proxy_dicom_connections_per_address", {"reverse_proxy_dicom_connections_per_address": 0}),
    ],
)  # fmt: skip
def test_bad_input_is_named(variable, answers):
    found = check(**answers)
    assert len(found) == 1, found
    assert variable in found[0]
    assert "Set" in found[0] or "must be" in found[0] or "missing" in found[0]


def test_the_program_and_nginx_have_the_same_limit():
    program = (PROJECT / "roles/reverse_proxy/files/njs/dicom.js").read_text()
    assert f"const LARGEST = {128 * 1024};" in program
    assert "preread_buffer_size 128k;" in REVERSE_PROXY.render("nginx/dicom.conf")
