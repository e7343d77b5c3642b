"""The scenario acme: its two servers, runs of its playbook, and the certificates that the archive serves."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator

import yaml
from cryptography import x509

from tests.support.lab import INVENTORY, SCENARIO, lab_hosts, run_playbook, secret, server
from tests.support.project import PROJECT

NAME = "acme.lightbox.test"
ARCHIVE = lab_hosts()["acme"]["ansible_host"]
CA = INVENTORY / ".secrets/acme-ca.pem"
LOCAL_CA = INVENTORY / ".secrets/ca/ca.pem"
PROGRAM = "/usr/local/sbin/lightbox-certificates"
UNIT = "lightbox-certificates.service"
PAIR = "/etc/lightbox/certificates"
RENEWAL = "/etc/lightbox/acme/renewal/lightbox.conf"
METRICS = "/var/lib/lightbox/metrics/certificates.prom"


def on_archive(command: str, code: int | None = 0) -> str:
    host = server("acme")
    with host.sudo():
        done = host.run(command)
    assert code is None or done.rc == code, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout.strip()


def on_ca(command: str) -> str:
    host = server("acme-ca")
    with host.sudo():
        return host.check_output(command)


@contextlib.contextmanager
def failing_ca(mode: str) -> Iterator[None]:
    """The CA answers with an error (500, 429), or not at all (down)."""
    on_ca("systemctl stop acme-proxy" if mode == "down" else f"echo {mode} >/opt/acme-ca/mode")
    try:
        yield
    finally:
        on_ca("sh -c 'true >/opt/acme-ca/mode; systemctl start acme-proxy'")
        wait_for_ca()


def wait_for_ca() -> None:
    until = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection((lab_hosts()["acme-ca"]["ansible_host"], 14000), 2):
            return
        assert time.monotonic() < until, "the ACME proxy does not start"
        time.sleep(0.2)


def start_ca() -> None:
    on_ca("systemctl start acme-proxy")
    wait_for_ca()


def renew(code: int = 0) -> None:
    """What the timer does, with a certificate that is due."""
    on_archive("sed -i 's/^.*renew_before_expiry.*/renew_before_expiry = 30 days/' " + RENEWAL)
    on_archive(f"systemctl start {UNIT}", code)


def delay_reload() -> None:
    """At its next reload nginx reads its configuration a second later, as on a busy server."""
    pid = on_archive("cat /run/nginx.pid")
    # Until SIGHUP, the lowest bit, waits for it.
    wait = f'for _ in $(seq 200); do grep -q "^ShdPnd:.*1$" /proc/{pid}/status && break; sleep 0.1; done'
    on_archive(f"kill -STOP {pid}")
    on_archive(f"systemd-run --quiet --collect sh -c '{wait}; sleep 1; kill -CONT {pid}'")


def status() -> dict:
    return json.loads(on_archive(f"{PROGRAM} status"))


def checksums() -> str:
    return on_archive(f"sha256sum {PAIR}/fullchain.pem {PAIR}/privkey.pem")


def metrics() -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in on_archive(f"cat {METRICS}").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def served(port: int = 443, ca: pathlib.Path | None = CA) -> x509.Certificate:
    """The certificate that a new connection gets; verified, unless `ca` is None."""
    context = ssl.create_default_context(cafile=ca)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((ARCHIVE, port), 10) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as stream,
    ):
        return x509.load_der_x509_certificate(stream.getpeercert(binary_form=True) or b"")


def names_of(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def converge(*, certificates_alone: bool = False, fails: bool = False, **variables: object) -> str:
    """Run the scenario's playbook with other variables; certificates_alone: without the role of the reverse proxy."""
    playbook = SCENARIO / "converge.yml"
    if certificates_alone:
        (play,) = yaml.safe_load(playbook.read_text())
        play["pre_tasks"] = play["pre_tasks"][:1]  # the variables of other roles are not needed
        play["roles"] = [{"role": "lightbox.pacs.certificates"}]
        playbook = PROJECT / ".cache/playbooks/acme-certificates.yml"
        playbook.parent.mkdir(parents=True, exist_ok=True)
        playbook.write_text(yaml.safe_dump([play]))
        with contextlib.suppress(FileExistsError):
            (playbook.parent / "group_vars").symlink_to(PROJECT / "playbooks/group_vars")
    run = run_playbook(playbook, "-i", INVENTORY, "-e", json.dumps(variables), "--diff")
    assert (run.returncode != 0) == fails, run.stdout[-3000:] + run.stderr[-1000:]
    for hidden in (*map(encode_key, ("tsig_key", "eab_key")), secret("web_password")):
        assert hidden not in run.stdout
    assert "PRIVATE KEY" not in run.stdout
    return run.stdout


def encode_key(name: str) -> str:
    return base64.b64encode(secret(name).encode()).decode().rstrip("=")  # as the CA wants it


def warnings_of(output: str) -> list[str]:
    text = " ".join(output.split())
    return re.findall(r"WARNING: .*?docs/certificates\.md", text)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """New connections get a certificate at every moment of the block."""
    failures: list[str] = []
    done = threading.Event()

    def connect() -> None:
        while not done.is_set():
            for port in (443, 11112):
                try:
                    served(port, ca=None)
                except OSError as error:
                    failures.append(f"{port}: {error}")
            done.wait(0.1)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert failures == []


def fetch_wheels(directory: pathlib.Path) -> dict[str, object]:
    """The variables with which certbot 5.8 comes from a directory of wheels, as docs/certificates.md has it."""
    command = ["pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.13", f"--dest={directory}"]
    platforms = [f"--platform=manylinux{tag}_x86_64" for tag in ("2014", "_2_28", "_2_34")]
    subprocess.run([*command, *platforms, "certbot==5.8.0", "acme==5.8.0"], check=True)
    return {"certificates_acme_source": "pip", "certificates_acme_wheels": str(directory)}


def read_management(path: str, body: dict[str, str] | None = None) -> bytes:
    """The answer of pebble's own server beside the CA; `body` is sent by POST."""
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False  # by its address: the name has no DNS on this machine
    url = f"https://{lab_hosts()['acme-ca']['ansible_host']}:15000/{path}"
    with urllib.request.urlopen(url, json.dumps(body).encode() if body else None, 10, context=context) as answer:
        return answer.read()
