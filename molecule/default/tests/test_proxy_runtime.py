"""The reverse proxy in use: logs are rotated, uploads without a login are refused, large ones never touch its disk."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import ssl
import time

import pytest

from tests.samples.noise import instance, new_uid
from tests.support.lab import INVENTORY, address, lab_hosts

FULL = lab_hosts()["full"]
testinfra_hosts = [address("full")]
PACS = f"https://{FULL['ansible_host']}/pacs"
LOGS = "/var/log/lightbox/reverse_proxy"
CA = str(INVENTORY / ".secrets/ca/ca.pem")


def audited(host, path: str, log: str = "audit.log") -> list[dict]:
    """What the audit log says of a path; it is written once a second."""
    until = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in host.check_output(f"cat {LOGS}/{log}").splitlines()]
        found = [line for line in lines if line["path"] == path]
        if found or time.monotonic() > until:
            return found
        time.sleep(0.3)


def test_a_rotated_log_is_kept_and_a_new_one_begun(host, web):
    first, second = (f"/pacs/patients/{secrets.token_hex(8)}" for _unused in range(2))
    with host.sudo():
        # logrotate would not overwrite what a rotation on the same day has left.
        host.check_output(f"rm -f {LOGS}/*.log-*")
        web.get(PACS + first.removeprefix("/pacs"), timeout=30)
        assert audited(host, first)
        host.check_output("logrotate --force /etc/logrotate.d/lightbox-reverse-proxy")
        web.get(PACS + second.removeprefix("/pacs"), timeout=30)
        (line,) = audited(host, second)
        assert (line["user"], line["status"]) == ("admin", 404)
        assert audited(host, second) == [line]
        old = host.check_output(f"ls {LOGS} | grep '^audit.log-'")
        assert audited(host, first, old)
        new = host.file(f"{LOGS}/audit.log")
        assert first not in new.content_string
        assert second not in host.file(f"{LOGS}/{old}").content_string
        assert new.mode == 0o640
        assert host.file(LOGS).mode == 0o750
        assert host.check_output("systemctl is-enabled logrotate.timer") == "enabled"


@pytest.mark.parametrize(("path", "kind"), [("/instances", "application/dicom"), ("/dicom-web/studies", "multipart")])
def test_an_upload_without_a_login_is_refused_at_once(host, path, kind):
    if kind == "multipart":
        kind = 'multipart/related; type="application/dicom"; boundary=x'
    size, piece = 200_000_000, bytes(256 * 1024)
    with host.sudo():
        before = disk(host)
    connection = http.client.HTTPSConnection(
        FULL["ansible_host"], timeout=20, context=ssl.create_default_context(cafile=CA)
    )
    with contextlib.closing(connection):
        connection.putrequest("POST", f"/pacs{path}")
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        sent, start = 0, time.monotonic()
        answered = b""
        while sent < size and not answered:
            connection.sock.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                answered = connection.sock.recv(4096)
            connection.sock.settimeout(20)
            if not answered:
                connection.sock.sendall(piece)
                sent += len(piece)
        seconds = time.monotonic() - start
    assert answered.startswith(b"HTTP/1.1 401 "), answered[:60]
    assert sent < 64_000_000, f"{sent} bytes were taken before the answer"
    assert seconds < 5
    with host.sudo():
        assert disk(host) == before


def disk(host) -> str:
    """Where nginx would put what does not fit into memory: a file that came and went leaves another time."""
    return host.check_output("find /var/lib/nginx -printf '%p %T@\\n' | sort")


def test_a_large_image_passes_in_both_directions_without_touching_the_disk(host, web):
    # 200 MB: nearly the largest upload
    uid, file = instance(new_uid(), new_uid(), 1, side=10_000)
    with host.sudo():
        before = disk(host)
    answer = web.post(f"{PACS}/instances", data=file, headers={"Content-Type": "application/dicom"}, timeout=120)
    assert answer.status_code == 200, answer.text
    stored = f"{PACS}/instances/{answer.json()['ID']}"
    try:
        assert web.get(f"{stored}/simplified-tags", timeout=60).json()["SOPInstanceUID"] == uid
        with web.get(f"{stored}/file", timeout=120, stream=True) as sent:
            # Read late: nginx has to wait, and must not do so on the disk.
            time.sleep(1)
            assert sent.content == file
        with host.sudo():
            assert disk(host) == before
            assert host.check_output("find /var/lib/nginx -type f") == ""
    finally:
        assert web.delete(stored, timeout=60).status_code == 200
