"""The program lightbox-certificates on this machine, with scripts in place of certbot and systemctl."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_web import PLACEHOLDER

from tests.support.project import PROJECT

PROGRAM = PROJECT / "roles/certificates/files/certificates.py"
# Notes its arguments, fails where a file says so, else issues a certificate and runs the deploy hook as certbot does.
CERTBOT = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$*" >>calls
printf '%s\\n' "$TOKEN" >token
if [ -s failure ]; then cat failure; exit 1; fi
mkdir -p acme/live/lightbox acme/renewal
printf '# renew_before_expiry = 30 days\\nversion = 4.0.0\\n' >acme/renewal/new.conf
[ -e acme/renewal/lightbox.conf ] || mv acme/renewal/new.conf acme/renewal/lightbox.conf
if [ "$1" = certonly ] || [ -e due ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=issued \\
    -days "$(cat days || echo 90)" \\
    -keyout acme/live/lightbox/privkey.pem -out acme/live/lightbox/fullchain.pem 2>/dev/null
  rm -f due
fi
"""
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$*" >>reloads
[ ! -e cannot-reload ]
"""


class Server:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.pair = directory / "etc/certificates"
        self.settings: dict[str, Any] = {
            "directory": str(self.pair),
            "hooks": str(directory / "reload.d"),
            "services": ["nginx"],
            "metrics": str(directory / "metrics/certificates.prom"),
            "watched": {"database": str(directory / "database.pem")},
            "state": str(directory / "state"),
            "names": ["pacs.example.org"],
            "addresses": ["192.0.2.7"],
            "acme": {
                "certbot": str(directory / "certbot"),
                "options": "certbot.ini",
                "configuration": str(directory / "acme"),
                "lineage": "lightbox",
                "renews_by_lifetime": False,
                "environment": str(directory / "environment.json"),
                "ca": str(directory / "roots.pem"),
                "request": ["--server", "https://ca/dir", "--domain=pacs.example.org"],
            },
        }
        for name, text in {"certbot": CERTBOT, "systemctl": SYSTEMCTL}.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        (directory / "environment.json").write_text('{"TOKEN": "from the settings"}')
        (directory / "roots.pem").write_text("roots\n")
        (directory / "reload.d").mkdir()

    def run(self, *arguments: str, code: int = 0) -> str:
        (self.directory / "settings.json").write_text(json.dumps(self.settings))
        done = subprocess.run(
            [sys.executable, PROGRAM, *arguments],
            env=os.environ
            | {
                "LIGHTBOX_CERTIFICATES_SETTINGS": str(self.directory / "settings.json"),
                "PATH": f"{self.directory}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def lines(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def fail(self, text: str) -> None:
        (self.directory / "failure").write_text(text)

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status"))

    def subject(self) -> str:
        command = ["openssl", "x509", "-in", str(self.pair / "fullchain.pem"), "-noout", "-subject"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def metrics(self) -> dict[str, str]:
        lines = self.lines("metrics/certificates.prom")
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Server:
    return Server(tmp_path)


def test_the_placeholder_gives_way_to_the_certificate(server):
    assert "made" in server.run("placeholder")
    assert "kept" in server.run("placeholder")
    assert "lightbox.pacs placeholder" in server.subject()
    assert server.status()["placeholder"] is True
    assert server.status()["needed"] is True
    server.run("renew")
    assert "issued" in server.subject()
    modes = {name: stat.S_IMODE((server.pair / name).stat().st_mode) for name in ("fullchain.pem", "privkey.pem")}
    assert modes == {"fullchain.pem": 0o444, "privkey.pem": 0o400}
    assert [path.name for path in (server.pair / "pairs").iterdir()] == [server.status()["pair"]]
    assert (server.pair / "ca.pem").read_text() == "roots\n"
    assert server.lines("reloads") == ["try-reload-or-restart nginx"]
    assert server.lines("token") == ["from the settings"]
    # Others than root reach the certificate, whatever the umask was.
    assert stat.S_IMODE((server.pair / "current").stat().st_mode) == 0o755
    (call,) = server.lines("calls")
    assert call.startswith("certonly --config certbot.ini --non-interactive --cert-name lightbox")
    assert call.endswith("--server https://ca/dir --domain=pacs.example.org")
    assert server.status()["needed"] is False


def test_the_checks_recognize_the_placeholder():
    assert f'PLACEHOLDER_NAME = "{PLACEHOLDER.decode()}"' in PROGRAM.read_text()


def test_a_renewal_that_is_not_due_changes_nothing(server):
    server.run("renew")
    before = server.status()["pair"]
    server.run("renew")
    assert server.status()["pair"] == before
    assert len(server.lines("reloads")) == 1
    assert "--no-random-sleep-on-renew" in server.lines("calls")[1]
    assert server.lines("calls")[1].startswith("renew ")
    (server.directory / "due").touch()
    server.run("renew")
    assert server.status()["pair"] != before
    assert len(server.lines("reloads")) == 2


@pytest.mark.parametrize(("days", "seconds"), [(6, 3 * 86400), (20, 576000), (45, 15 * 86400), (90, 30 * 86400)])
def test_an_old_client_renews_by_the_lifetime(server, days, seconds):
    (server.directory / "days").write_text(str(days))
    server.run("renew")
    conf = server.directory / "acme/renewal/lightbox.conf"
    rest = ["# renew_before_expiry = 30 days", "version = 4.0.0"]
    for _run in range(2):
        server.run("renew")
        assert conf.read_text().splitlines() == [f"renew_before_expiry = {seconds} seconds", *rest]
    # What an operator has set is kept, and a newer client decides itself.
    conf.write_text("renew_before_expiry = 40 days\n")
    server.run("renew")
    assert conf.read_text() == "renew_before_expiry = 40 days\n"
    conf.write_text(f"renew_before_expiry = {seconds} seconds\nversion = 4.0.0\n")
    server.settings["acme"]["renews_by_lifetime"] = True
    server.run("renew")
    assert conf.read_text() == "version = 4.0.0\n"


def test_another_request_gets_another_certificate(server):
    server.run("renew")
    server.settings["acme"]["request"].append("--domain=other.example.org")
    assert server.status()["needed"] is True
    server.run("renew")
    assert server.lines("calls")[1].startswith("certonly ")
    assert "--renew-with-new-domains --force-renewal" in server.lines("calls")[1]
    assert server.status()["needed"] is False


REASONS = {
    "An unexpected error occurred:\nError: urn:ietf:params:acme:error:rateLimited :: too many\nAsk for help\n": (
        "urn:ietf:params:acme:error:rateLimited :: too many"
    ),
    "Certbot failed to authenticate some domains\n  Domain: a\n  Type:   dns\n  Detail: NXDOMAIN looking up A for a\n"
    "Some challenges have failed.\n": "Detail: NXDOMAIN looking up A for a",
    "Saving debug log to /x\nsomething else\nSee the logfile /x\n": "something else",
    "Failed to renew certificate lightbox with error: refused\nAll renewals failed.\n": "with error: refused",
    "": "certbot gave no reason",
}


@pytest.mark.parametrize(("printed", "reason"), REASONS.items())
def test_a_failure_leaves_the_old_pair_and_names_the_reason(server, printed, reason):
    server.run("renew")
    before = server.status()
    (server.directory / "due").touch()
    server.fail(printed or "\n")
    output = server.run("renew", code=1)
    after = server.status()
    assert reason in after["error"]
    assert reason in output.splitlines()[-1]
    assert after["needed"] is True
    assert (after["pair"], after["not_after"]) == (before["pair"], before["not_after"])
    assert server.metrics()["lightbox_certificate_renewal_failed"] == "1"
    server.fail("")
    server.run("renew")
    assert server.status()["error"] == ""
    assert server.metrics()["lightbox_certificate_renewal_failed"] == "0"


def test_a_key_of_another_certificate_is_not_installed(server):
    server.run("renew")
    before = server.status()["pair"]
    live = server.directory / "acme/live/lightbox"
    old = (live / "privkey.pem").read_text()
    (server.directory / "due").touch()
    server.run("certbot", "renew")
    (live / "privkey.pem").write_text(old)
    assert "do not belong together" in server.run("deploy", code=1)
    assert server.status()["pair"] == before


def test_a_reload_that_failed_is_done_again(server):
    (server.directory / "cannot-reload").touch()
    assert "not reloaded with the new certificate: nginx" in server.run("renew", code=1)
    (server.directory / "cannot-reload").unlink()
    assert server.status()["needed"] is True
    server.run("renew")
    assert server.status()["needed"] is False
    assert len(server.lines("reloads")) == 2


def test_hooks_run_in_order_and_one_that_fails_stops_no_other(server):
    for name, text in {"20-second": "echo second >>../hooks", "10-first": "echo first >>../hooks; exit 3"}.items():
        hook = server.directory / "reload.d" / name
        hook.write_text(f'#!/bin/sh\ncd "$(dirname "$0")"; {text}\n')
        hook.chmod(0o755)
    (server.directory / "reload.d/README").write_text("not a program")
    assert "10-first" in server.run("renew", code=1)
    assert server.lines("hooks") == ["first", "second"]


def test_another_providers_pair_is_not_replaced_by_a_client_that_ends_late(server):
    server.run("renew")
    before = server.status()["pair"]
    (server.directory / "due").touch()
    server.run("certbot", "renew")
    del server.settings["acme"]
    server.run("deploy")
    assert server.status()["pair"] == before
    assert server.status()["needed"] is False
    # What the role has put in place is reloaded by the timer, where the run that did it was interrupted.
    (server.directory / "state/state.json").write_text("{}")
    server.run("renew")
    assert len(server.lines("reloads")) == 2
    assert "certificates_provider is not acme" in server.run("certbot", "renew", code=1)


def test_a_pair_of_an_older_release_is_kept(server):
    server.run("renew")
    live = server.directory / "acme/live/lightbox"
    for path in list(server.pair.iterdir()):
        path.rename(server.directory / f"old-{path.name}")
    for name in ("fullchain.pem", "privkey.pem"):
        (server.pair / name).write_text((live / name).read_text())
    (server.pair / "ca.pem").write_text("its own CA\n")
    assert "kept" in server.run("placeholder")
    assert "issued" in server.subject()
    assert (server.pair / "ca.pem").read_text() == "its own CA\n"
    assert (server.pair / "privkey.pem").is_symlink()


ENDS = {"server": 45, "database": 90}


def test_metrics_of_each_certificate(server):
    server.run("renew")
    assert list(server.metrics()) == [
        'lightbox_certificate_days_left{certificate="server"}',
        "lightbox_certificate_renewal_failed",
    ]
    (server.directory / "database.pem").write_text((server.pair / "fullchain.pem").read_text())
    (server.directory / "days").write_text("45")
    (server.directory / "due").touch()
    server.run("certbot", "renew")
    server.run("renew")
    days = {name: float(server.metrics()[f'lightbox_certificate_days_left{{certificate="{name}"}}']) for name in ENDS}
    assert days == {name: pytest.approx(end, abs=0.1) for name, end in ENDS.items()}
    assert stat.S_IMODE((server.directory / "metrics/certificates.prom").stat().st_mode) == 0o644


def test_usage(server):
    assert "What" not in server.run(code=2)
    assert "lightbox-certificates certbot certificates" in server.run("other", code=2)
