"""Certificates of an ACME CA: the first run without it, names, challenges, renewal, a CA that fails, moves.

The tests of this file are one story and run in its order.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import shlex
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import SecondaryCaptureImageStorage  # type: ignore[attr-defined] # made at import

from tests.support.acme import (
    ARCHIVE,
    CA,
    LOCAL_CA,
    NAME,
    PAIR,
    PROGRAM,
    UNIT,
    checksums,
    converge,
    delay_reload,
    encode_key,
    failing_ca,
    fetch_wheels,
    metrics,
    names_of,
    on_archive,
    on_ca,
    read_management,
    renew,
    served,
    start_ca,
    status,
    uninterrupted,
    warnings_of,
)
from tests.support.dicom_nodes import associated, image, new_uid
from tests.support.lab import INVENTORY, address, lab_hosts, recap, secret
from tests.support.project import PROJECT

testinfra_hosts = [address("acme")]
LOCAL_PAIR = INVENTORY / ".secrets/ca/acme"


# --- The story


@pytest.fixture(scope="module")
def first_run() -> str:
    """The output of a first run while the CA does not answer: that of `molecule converge`, as long as it is new."""
    log = pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log"
    if not (status()["placeholder"] and log.exists()):
        on_archive(f"rm -rf /etc/lightbox/acme {PAIR} /var/lib/lightbox/certificates")
        with failing_ca("down"):
            return converge()
    return log.read_text().rpartition("PLAY [Serve HTTPS")[2]  # the log has older runs, too


def test_a_first_run_without_the_ca_brings_up_everything_else(first_run):
    (warning,) = warnings_of(first_run)
    assert "The server has only a placeholder" in warning
    assert "Connection refused" in warning
    assert "failed=0" in first_run
    assert on_archive(f"systemctl is-failed {UNIT}", None) == "failed"
    for port in (443, 11112):
        assert "lightbox.pacs placeholder" in served(port, ca=None).subject.rfc4514_string()
    assert metrics()["lightbox_certificate_renewal_failed"] == 1


def test_the_checks_name_the_placeholder(first_run):
    asked = {"url": f"https://{NAME}", "ca_path": f"{PAIR}/ca.pem", "username": "admin", "password": "x" * 12}
    asked |= {"archive_username": "x", "archive_password": "y" * 12, "archive_url": "http://127.0.0.1:1"}
    done = subprocess.run(
        ["ansible", "acme", "-i", INVENTORY, "--become", "-m", "lightbox.pacs.pacs_verify", "-a", json.dumps(asked)],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    remedies = yaml.safe_load(done.stdout.split("=> ", 1)[1])["remedies"]
    (web,) = [text for text in remedies if text.startswith("web")]
    assert "only a placeholder certificate, because its CA has not issued one for acme.lightbox.test yet" in web
    assert "journalctl -u lightbox-certificates" in web


def test_the_next_run_repairs_it_by_http():
    start_ca()
    output = converge()
    assert warnings_of(output) == []
    for port in (443, 11112):
        assert names_of(served(port)) == {NAME}
        assert isinstance(served(port).public_key(), ec.EllipticCurvePublicKey)
    assert status()["needed"] is False
    assert metrics() == {
        'lightbox_certificate_days_left{certificate="server"}': pytest.approx(20, abs=0.1),
        "lightbox_certificate_renewal_failed": 0,
    }
    # Servers ask the CA at different times, each at the same time every day.
    timer = "systemctl show lightbox-certificates.timer --value -p"
    assert on_archive(f"{timer} RandomizedDelayUSec -p FixedRandomDelay -p Persistent").split() == ["12h", "yes", "yes"]
    assert on_archive(f"{timer} NextElapseUSecRealtime")
    assert on_archive("systemctl is-enabled lightbox-certificates.timer") == "enabled"
    # The distribution's own timer has nothing to renew.
    assert on_archive("sh -c 'ls -A /etc/letsencrypt/renewal 2>/dev/null'", None) == ""
    again = converge(certificates_alone=True)
    assert recap(again)["changed"] == 0


# --- Renewal while images are sent


class Sink(http.server.BaseHTTPRequestHandler):
    """In place of the archive's HTTP server: counts what it gets."""

    protocol_version = "HTTP/1.1"
    received: list[int]

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        count = 0
        while count < left:
            count += len(self.rfile.read1(min(left - count, 1 << 20)))
        self.received.append(count)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments: object) -> None:
        pass


@contextlib.contextmanager
def archive() -> Iterator[tuple[list[int], list[str]]]:
    """What is behind the reverse proxy, on this machine: gives the sizes of uploads and the UIDs of stored images."""
    variables = lab_hosts()["acme"]
    (http_host, http_port), (_host, dicom_port) = (
        variables[f"reverse_proxy_archive_{kind}address"].split(":") for kind in ("", "dicom_")
    )
    sizes: list[int] = []
    images: list[str] = []
    web = http.server.ThreadingHTTPServer((http_host, int(http_port)), type("Counting", (Sink,), {"received": sizes}))
    threading.Thread(target=web.serve_forever, daemon=True).start()

    def store(event: evt.Event) -> int:
        images.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    node = AE("LIGHTBOX")
    node.add_supported_context(SecondaryCaptureImageStorage)
    listener = node.start_server(("0.0.0.0", int(dicom_port)), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])  # noqa: S104 - the lab servers call it
    try:
        yield sizes, images
    finally:
        web.shutdown()
        web.server_close()
        if listener:
            listener.shutdown()


class Upload(threading.Thread):
    """Sends zeros, a piece at a time; the last piece once `finish` is set."""

    def __init__(self, size: int, rate: int) -> None:
        super().__init__()
        self.size, self.rate, self.finish, self.sent, self.status = size, rate, threading.Event(), 0, 0

    def run(self) -> None:
        connection = http.client.HTTPConnection(NAME)
        # By its address: the name has no DNS on this machine.
        plain = socket.create_connection((ARCHIVE, 443), 120)
        connection.sock = ssl.create_default_context(cafile=CA).wrap_socket(plain, server_hostname=NAME)
        token = base64.b64encode(f"admin:{secret('web_password')}".encode()).decode()
        connection.putrequest("POST", "/pacs/instances")
        for name, value in {"Authorization": f"Basic {token}", "Content-Length": str(self.size)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        piece = bytes(min(1 << 20, self.size // 8))
        while self.sent + len(piece) < self.size:
            connection.send(piece)
            self.sent += len(piece)
            time.sleep(len(piece) / self.rate)
        self.finish.wait(300)
        connection.send(bytes(self.size - self.sent))
        self.status = connection.getresponse().status


def renew_under_load(size: int, rate: int, slices: int) -> None:
    before = served()
    context = ssl.create_default_context(cafile=CA)
    slice_ = image(new_uid(), new_uid())
    wanted = [build_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)]
    with (
        archive() as (sizes, images),
        associated("DEMO", wanted, port=11112, tls_args=(context, NAME)) as association,
    ):
        assert association.is_established
        upload = Upload(size, rate)
        upload.start()
        codes = [association.send_c_store(slice_).Status for _number in range(slices // 2)]
        until = time.monotonic() + 60
        while upload.sent == 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        delay_reload()
        renew()
        for port in (443, 11112):
            assert served(port).serial_number != before.serial_number
        # Both began before the renewal and go on.
        assert upload.is_alive()
        assert association.is_established
        codes += [association.send_c_store(slice_).Status for _number in range(slices - slices // 2)]
        association.release()
        assert association.is_released
        upload.finish.set()
        upload.join(300)
        assert upload.status == 200
        assert sizes == [size]
        assert codes == [0] * slices
        assert len(images) == slices


def test_a_renewal_interrupts_no_transfer():
    hook = "/etc/lightbox/reload.d/10-test"
    on_archive(f"sh -c \"printf '#!/bin/sh\\nenv >/run/hook-ran\\n' >{hook}; chmod 755 {hook}; rm -f /run/hook-ran\"")
    try:
        renew_under_load(size=4 << 20, rate=8 << 20, slices=10)
        assert f"CERTIFICATES_DIRECTORY={PAIR}" in on_archive("cat /run/hook-ran")
    finally:
        on_archive(f"rm -f {hook}")


@pytest.mark.long
@pytest.mark.usefixtures("issued")
def test_a_renewal_interrupts_no_large_transfer():
    converge(reverse_proxy_upload_mb=1100)
    renew_under_load(size=1 << 30, rate=20 << 20, slices=500)


# --- Other challenges, names and clients


@contextlib.contextmanager
def request_under_way(path: str) -> Iterator[None]:
    """The timer's unit has been started, and asks the CA some seconds after a run has written a file."""
    dropin = f"/run/systemd/system/{UNIT}.d"
    wait = f'if mkdir /run/once; then timeout 120 sh -c "until [ -e {path} ]; do sleep 0.2; done"; sleep 6; fi'
    text = shlex.quote(f"[Service]\nExecStartPre=/bin/sh -c '{wait}'\n")
    on_archive(f"sh -c {shlex.quote(f'mkdir {dropin}; printf {text} >{dropin}/wait.conf; systemctl daemon-reload')}")
    on_archive(f"systemctl start --no-block {UNIT}")
    try:
        yield
    finally:
        on_archive(f"sh -c 'rm -rf /run/once {dropin}; systemctl daemon-reload'")


def test_dns_and_another_key_type_while_the_timer_asks_the_ca():
    with request_under_way("/etc/lightbox/acme/rfc2136.ini"):
        output = converge_by_dns()
    assert warnings_of(output) == []
    assert names_of(served()) == {NAME, "*.wild.lightbox.test"}
    assert isinstance(served().public_key(), rsa.RSAPublicKey)
    assert on_archive("stat -c '%a %U' /etc/lightbox/acme/rfc2136.ini") == "400 root"
    for name in ("tsig_key", "eab_key"):
        # Encoded once more, because sudo logs the command.
        key = base64.b64encode(encode_key(name).encode()).decode()
        places = "/etc /var/log /var/lib/lightbox /run"
        found = on_archive(f"sh -c 'grep -rl -e $(echo {key} | base64 -d) {places}; true'").split()
        assert [path for path in found if path.startswith("/etc/lightbox/acme/")]
        assert [path for path in found if on_archive(f"stat -c %a {path}") != "400"] == []


def converge_by_dns() -> str:
    return converge(
        certificates_alone=True,
        pacs_alternative_names=["*.wild.lightbox.test"],
        certificates_acme_key_type="rsa",
        certificates_acme_challenge="rfc2136",
        certificates_acme_dns_seconds=1,
        certificates_acme_rfc2136={
            "server": lab_hosts()["acme-ca"]["ansible_host"],
            "key_name": "acme",
            "key": encode_key("tsig_key") + "=",  # of 32 characters
        },
    )


@pytest.mark.long
@pytest.mark.usefixtures("issued")
def test_addresses_with_a_newer_certbot_from_wheels(tmp_path):
    pip = fetch_wheels(tmp_path)
    output = converge(pacs_alternative_names=[ARCHIVE], **pip)
    assert warnings_of(output) == []
    assert names_of(served()) == {NAME, ARCHIVE}
    assert "certbot 5.8.0" in on_archive(f"{PROGRAM} certbot --version")
    assert recap(converge(pacs_alternative_names=[ARCHIVE], **pip))["changed"] == 0
    converge()
    assert names_of(served()) == {NAME}


# --- A CA that fails, and moves


# What a user writes whose DNS no plugin of certbot knows; with dnspython, which the plugin for RFC 2136 has installed.
HOOK = """#!/usr/bin/python3
import os
import dns.query, dns.tsig, dns.tsigkeyring, dns.update
keyring = dns.tsigkeyring.from_text({{"acme": os.environ["TSIG_KEY"]}})
update = dns.update.Update("lightbox.test", keyring=keyring, keyalgorithm=dns.tsig.HMAC_SHA512)
update.{change}
dns.query.tcp(update, "{server}", timeout=10)
"""
RECORD = 'f"_acme-challenge.{os.environ["CERTBOT_DOMAIN"]}."'
CHANGES = {
    "auth": f"add({RECORD}, 1, 'TXT', os.environ['CERTBOT_VALIDATION'])",
    "cleanup": f"delete({RECORD})",
}


def hooks(directory: pathlib.Path) -> dict[str, object]:
    """The variables with which programs of the user's publish the records."""
    for name, change in CHANGES.items():
        (directory / name).write_text(HOOK.format(change=change, server=lab_hosts()["acme-ca"]["ansible_host"]))
    return {
        "pacs_alternative_names": ["*.hooks.lightbox.test"],
        "certificates_acme_challenge": "hooks",
        "certificates_acme_environment": {"TSIG_KEY": encode_key("tsig_key") + "="},
        **{f"certificates_acme_{name}_hook": str(directory / name) for name in CHANGES},
    }


def test_a_failing_ca_leaves_the_old_pair(tmp_path):
    before = checksums()
    with failing_ca("500"):
        renew(code=1)
    assert checksums() == before
    assert status()["error"]
    assert metrics()["lightbox_certificate_renewal_failed"] == 1
    assert on_archive(f"systemctl is-failed {UNIT}", None) == "failed"
    with failing_ca("429"):
        output = converge(certificates_alone=True, **hooks(tmp_path))
        assert checksums() == before
        assert on_archive(f"systemctl is-failed {UNIT}", None) == "failed"
    (warning,) = warnings_of(output)
    assert "too many certificates" in warning
    assert f"valid until {served().not_valid_after_utc:%Y-%m-%d %H:%M} UTC" in warning
    # The next attempt gets what that run asked for: other names, by the hooks.
    renew()
    assert names_of(served()) == {NAME, "*.hooks.lightbox.test"}
    records = on_ca("sh -c 'rndc sync -clean; cat /var/lib/bind/lightbox.test'")
    assert "acme-ca" in records
    assert "_acme-challenge" not in records
    assert checksums() != before
    assert on_archive(f"systemctl is-failed {UNIT}", None) == "inactive"
    assert metrics()["lightbox_certificate_renewal_failed"] == 0


def account_keys() -> str:
    return on_archive("find /etc/lightbox/acme/accounts -name private_key.json")


def test_removing_it_keeps_the_account():
    account = account_keys()
    assert account
    converge(certificates_alone=True, certificates_enabled=False)
    assert account_keys() == account
    assert on_archive(f"sh -c 'ls -A {PAIR}; ls {PROGRAM} /etc/systemd/system/lightbox-certificates.*'", 2) == ""


def test_moves_between_providers():
    account = account_keys()
    converge(certificates_alone=True, certificates_provider="local_ca")
    local = served(ca=LOCAL_CA)
    with uninterrupted():
        with failing_ca("down"):
            output = converge(certificates_alone=True)
        (warning,) = warnings_of(output)
        assert f"{local.not_valid_after_utc:%Y-%m-%d}" in warning
        assert served(ca=LOCAL_CA) == local
        # The checks after a run trust the pair that is in place.
        assert hashlib.sha256(LOCAL_CA.read_bytes()).hexdigest() in on_archive(f"sha256sum {PAIR}/ca.pem")
        on_archive(f"systemctl start {UNIT}")
        assert names_of(served()) == {NAME}
        assert account_keys() == account
        provided = {f"certificates_provided_{kind}": str(path) for kind, path in PROVIDED.items()}
        converge(certificates_alone=True, certificates_provider="provided", **provided)
        assert served(ca=LOCAL_CA) == local
    # The timer goes on with the metrics, and asks no CA any more.
    with failing_ca("down"):
        on_archive(f"systemctl start {UNIT}")
    assert metrics()['lightbox_certificate_days_left{certificate="server"}'] > 300


PROVIDED = {"certificate": LOCAL_PAIR / "fullchain.pem", "key": LOCAL_PAIR / "privkey.pem", "ca": LOCAL_CA}


@pytest.mark.long
@pytest.mark.usefixtures("issued")
def test_the_plugin_for_route_53_loads():
    on_archive("apt-get install -y -q --no-install-recommends python3-certbot-dns-route53")
    assert "* dns-route53" in on_archive(f"{PROGRAM} certbot plugins")


# --- The commands of docs/certificates.md


@pytest.mark.long
@pytest.mark.usefixtures("issued")
def test_the_documented_commands():
    section = (PROJECT / "docs/certificates.md").read_text().split("\n### Renew, revoke, change keys\n")[1]
    blocks = section.split("```")[1].removeprefix("sh\n").strip().split("\n\n")
    commands = [[line for line in block.splitlines() if not line.startswith("#")] for block in blocks]
    (renew_now,), (revoke, request), (change_email,), (unregister, remove, register) = commands
    first = served()
    on_archive(renew_now)
    second = served()
    assert second.serial_number != first.serial_number
    assert second.public_key() != first.public_key()
    on_archive(revoke)
    assert served() == second
    assert [state_at_ca(one) for one in (first, second)] == ["Valid", "Revoked"]
    on_archive(request)
    third = served()
    assert state_at_ca(third) == "Valid"
    on_archive(change_email)
    assert "new@example.org" in on_archive(f"{PROGRAM} certbot show_account")
    account = account_keys()
    on_archive(unregister)
    on_archive(remove)
    assert served() == third
    on_archive(register)
    assert state_at_ca(served()) == "Valid"
    assert served() != third
    assert account_keys() not in (account, "")
    assert status()["needed"] is False


def state_at_ca(certificate: x509.Certificate) -> str:
    """What pebble says of a certificate that it has issued."""
    return json.loads(read_management(f"cert-status-by-serial/{certificate.serial_number:x}"))["Status"]
