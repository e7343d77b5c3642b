# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the server's certificate: renew it, put a new pair in place, reload what uses it, report when it ends.

  renew        what the timer runs: request or renew the certificate (ACME), reload what was not yet, write the metrics
  deploy       put the pair of the ACME client in place; certbot runs it as its deploy hook
  reload       remove pairs that are no longer used, reload what uses the certificate, write the metrics
  placeholder  make a self-signed pair where there is none, so that servers can start
  status       print as JSON what is in place and whether the CA must be asked
  certbot ...  run certbot with this server's configuration, for example: lightbox-certificates certbot certificates

The pair is the directory that the link `current` refers to. The link is replaced in one step: nobody reads a
certificate with another's key.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS = Path(os.environ.get("LIGHTBOX_CERTIFICATES_SETTINGS", "/etc/lightbox/certificates.json"))
FILES = {"fullchain.pem": 0o444, "privkey.pem": 0o400, "ca.pem": 0o444}
PLACEHOLDER = "placeholder"
# The role verify recognizes the certificate by this name.
PLACEHOLDER_NAME = "lightbox.pacs placeholder"
# Lines of certbot that do not say what is wrong.
NO_REASON = (
    "Ask for help",
    "See the logfile",
    "Saving debug log",
    "Some challenges have failed",
    "Certbot failed to auth",
    "- - -",
    "All renewals failed",
    "1 renew failure",
)
# In certbot's configuration of the lineage. Other units are the operator's.
OWN_RENEWAL_TIME = re.compile(r"renew_before_expiry = \d+ seconds")
COMMANDS = ("renew", "deploy", "reload", "placeholder", "status", "certbot")


class CertificateError(Exception):
    """What is wrong, for the journal and the playbook."""


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def link(path: Path, target: str) -> None:
    """Make or replace a symbolic link in one step."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.symlink_to(target)
    draft.replace(path)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, open to all whatever the umask is."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def read_dates(certificate: Path) -> tuple[float, float]:
    """Return when the first certificate of a file begins and ends, in seconds since 1970."""
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-startdate", "-enddate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CertificateError(f"{certificate} is not a certificate that can be read")
    begin, end = (ssl.cert_time_to_seconds(line.partition("=")[2]) for line in done.stdout.splitlines())
    return begin, end


def read_end(certificate: Path) -> float:
    return read_dates(certificate)[1]


def name_pair(chain: str) -> str:
    """Return the name of a pair's directory; vars/main/main.yml computes the same one."""
    return hashlib.sha256(chain.encode()).hexdigest()[:16]


def find_reason(output: str) -> str:
    """Return what certbot reports as wrong, as one line."""
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith(NO_REASON)]
    for mark in ("Detail:", "Error:", "urn:ietf:params:acme:error", "with error:"):
        for line in lines:
            if mark in line:
                return " ".join(line.split())[:300]
    return " ".join(" ".join(lines[-2:]).split())[:300] or "certbot gave no reason"


class Certificates:
    """The pair of this server, as the settings describe it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.acme: dict[str, Any] | None = settings.get("acme")
        self.directory = Path(settings["directory"])
        self.current = self.directory / "current"
        self.state_file = Path(settings["state"]) / "state.json"

    # --- What outlives a run

    def recall(self) -> dict[str, Any]:
        """Return the fulfilled request (issued), the pair in use (used), and why the last request failed (error)."""
        try:
            return dict(json.loads(self.state_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return {}

    def remember(self, **values: Any) -> None:
        make_directory(self.state_file.parent)
        write(self.state_file, json.dumps(self.recall() | values), 0o600)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from changing the pair. Not held while certbot runs: its hook needs it."""
        make_directory(self.state_file.parent)
        with self.state_file.with_name("lock").open("w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @property
    def pair(self) -> str:
        """The name of the pair that is in place; '' for none."""
        return os.path.basename(os.readlink(self.current)) if (self.current / "fullchain.pem").exists() else ""

    # --- Put a pair in place

    def install(self, name: str, chain: str, key: str, ca: str = "", ca_link: str = "") -> bool:
        """Put a pair in place, with the text of ca.pem or what it refers to. Returns whether it was another one."""
        if self.pair == name:
            return False
        pairs = self.directory / "pairs"
        make_directory(pairs)
        draft = pairs / f".{name}.{os.getpid()}"
        make_directory(draft)
        for file, text in {"fullchain.pem": chain, "privkey.pem": key, "ca.pem": ca}.items():
            if text:
                write(draft / file, text, FILES[file])
        if ca_link:
            (draft / "ca.pem").symlink_to(ca_link)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(draft / "fullchain.pem", draft / "privkey.pem")
        except ssl.SSLError as error:
            shutil.rmtree(draft)
            raise CertificateError(f"the certificate and its key do not belong together ({error})") from error
        shutil.rmtree(pairs / name, ignore_errors=True)
        draft.rename(pairs / name)
        link(self.current, f"pairs/{name}")
        for file in FILES:
            link(self.directory / file, f"current/{file}")
        return True

    def adopt(self) -> None:
        """Keep a pair that an older version of the role installed as plain files."""
        text = {
            name: (self.directory / name).read_text(encoding="utf-8")
            for name in FILES
            if (self.directory / name).is_file()
        }
        if "fullchain.pem" in text and "privkey.pem" in text:
            self.install(
                name_pair(text["fullchain.pem"]), text["fullchain.pem"], text["privkey.pem"], text.get("ca.pem", "")
            )

    def make_placeholder(self) -> bool:
        """Make a self-signed pair where there is none. Returns whether there was none."""
        with self.lock():
            if not self.pair:
                self.adopt()
            if self.pair:
                return False
            names = [f"DNS:{name}" for name in self.settings["names"]] + [
                f"IP:{one}" for one in self.settings["addresses"]
            ]
            generate = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
            sign = ["openssl", "req", "-x509", "-key", "/dev/stdin", "-days", "7", "-subj", f"/CN={PLACEHOLDER_NAME}"]
            sign += ["-addext", f"subjectAltName={','.join(names)}"]
            key = subprocess.run(generate, capture_output=True, text=True, check=True).stdout
            chain = subprocess.run(sign, input=key, capture_output=True, text=True, check=True).stdout
            return self.install(PLACEHOLDER, chain, key, ca_link=self.acme["ca"] if self.acme else "")

    def find_lineage(self) -> Path | None:
        """Return the directory with the newest pair of the ACME client; None where there is none."""
        if not self.acme:
            return None
        lineage = Path(self.acme["configuration"]) / "live" / self.acme["lineage"]
        return lineage if (lineage / "fullchain.pem").exists() and (lineage / "privkey.pem").exists() else None

    def deploy(self) -> None:
        """Put the pair of the ACME client in place, and reload what uses it."""
        lineage = self.find_lineage()
        # A client that ends after the provider has changed must not replace the other provider's pair.
        if not lineage or not self.acme:
            return
        with self.lock():
            chain, key = ((lineage / name).read_text(encoding="utf-8") for name in ("fullchain.pem", "privkey.pem"))
            if self.install(name_pair(chain), chain, key, ca_link=self.acme["ca"]):
                print(f"Installed the certificate that ends on {self.describe_end()}", flush=True)
            if self.recall().get("used") != self.pair:
                self.reload()

    # --- Reload

    def reload(self) -> None:
        """Remove the other pairs and reload what uses the certificate."""
        for other in (self.directory / "pairs").glob("*"):
            if other.name != self.pair:
                shutil.rmtree(other)
        failed = []
        for service in self.settings["services"]:
            # 5: no such unit, so nothing uses the certificate.
            if subprocess.run(["systemctl", "try-reload-or-restart", service], check=False).returncode not in (0, 5):
                failed.append(service)
        environment = os.environ | {"CERTIFICATES_DIRECTORY": str(self.directory)}
        hooks = Path(self.settings["hooks"])
        for hook in sorted(hooks.iterdir()) if hooks.is_dir() else []:
            is_program = hook.is_file() and os.access(hook, os.X_OK)
            if is_program and subprocess.run([str(hook)], env=environment, check=False).returncode != 0:
                failed.append(str(hook))
        if failed:
            raise CertificateError(f"not reloaded with the new certificate: {', '.join(failed)}")
        self.remember(used=self.pair)

    # --- ACME

    def hash_request(self) -> str:
        return hashlib.sha256(json.dumps(self.acme["request"] if self.acme else []).encode()).hexdigest()

    def run_certbot(self, arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if not self.acme:
            raise CertificateError("certificates_provider is not acme on this server")
        secrets = json.loads(Path(self.acme["environment"]).read_text(encoding="utf-8"))
        command = [self.acme["certbot"], *arguments[:1], "--config", self.acme["options"], *arguments[1:]]
        return subprocess.run(command, env=os.environ | secrets, text=True, check=False, **options)

    def set_renewal_time(self, lineage: Path) -> None:
        """Make a certbot before 4.1 renew at a third of the lifetime, below ten days at a half, as newer ones do.

        It renews 30 days before the end, which would be each run for a certificate of six days.
        """
        if not self.acme:
            return
        path = Path(self.acme["configuration"]) / "renewal" / f"{self.acme['lineage']}.conf"
        before = path.read_text(encoding="utf-8").splitlines()
        lines = [line for line in before if not OWN_RENEWAL_TIME.fullmatch(line)]
        is_set = any(line.startswith("renew_before_expiry") for line in lines)  # by the operator
        if not self.acme["renews_by_lifetime"] and not is_set:
            begin, end = read_dates(lineage / "fullchain.pem")
            share = 2 if end - begin < 10 * 86400 else 3
            lines.insert(0, f"renew_before_expiry = {round((end - begin) / share)} seconds")
        if lines != before:
            write(path, "\n".join([*lines, ""]), 0o644)

    def request(self) -> None:
        """Request a certificate where the last one is not what is asked for; else renew it when it is due."""
        if not self.acme:
            return
        wanted = self.hash_request()
        common = ["--non-interactive", "--cert-name", self.acme["lineage"]]
        common += ["--deploy-hook", f"{Path(__file__).resolve()} deploy"]
        lineage = self.find_lineage()
        if lineage and self.recall().get("issued") == wanted:
            self.set_renewal_time(lineage)
            arguments = ["renew", *common, "--no-random-sleep-on-renew"]
        else:
            arguments = ["certonly", *common, "--renew-with-new-domains", "--force-renewal", *self.acme["request"]]
        done = self.run_certbot(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(done.stdout.strip(), flush=True)
        if done.returncode != 0:
            reason = find_reason(done.stdout)
            self.remember(error=reason)
            raise CertificateError(f"the CA issued no certificate: {reason}")
        self.remember(issued=wanted, error="")

    # --- Report

    def describe_end(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(read_end(self.current / "fullchain.pem")))

    def write_metrics(self) -> None:
        """Write when each certificate ends, for node_exporter's textfile collector."""
        name = "lightbox_certificate_days_left"
        lines = [f"# HELP {name} Days for which a certificate remains valid.", f"# TYPE {name} gauge"]
        for certificate, path in {"server": str(self.directory / "fullchain.pem"), **self.settings["watched"]}.items():
            if os.path.exists(path):
                days = (read_end(Path(path)) - time.time()) / 86400
                lines.append(f'{name}{{certificate="{certificate}"}} {days:.2f}')
        name = "lightbox_certificate_renewal_failed"
        lines += [f"# HELP {name} Whether the last request to the CA failed.", f"# TYPE {name} gauge"]
        lines.append(f"{name} {int(bool(self.acme and self.recall().get('error')))}")
        metrics = Path(self.settings["metrics"])
        make_directory(metrics.parent)
        write(metrics, "\n".join(lines) + "\n", 0o644)

    def status(self) -> dict[str, Any]:
        lineage, state = self.find_lineage(), self.recall()
        ends = read_end(self.current / "fullchain.pem") if self.pair else 0.0
        is_current = lineage is not None and self.pair == name_pair(
            (lineage / "fullchain.pem").read_text(encoding="utf-8")
        )
        is_fulfilled = is_current and state.get("issued") == self.hash_request() and state.get("used") == self.pair
        return {
            "needed": bool(self.acme) and (not is_fulfilled or bool(state.get("error")) or ends < time.time()),
            "pair": self.pair,
            "placeholder": self.pair == PLACEHOLDER,
            "error": state.get("error", "") if self.acme else "",
            "not_after": self.describe_end() if self.pair else "",
            "valid": ends > time.time(),
        }

    def renew(self) -> None:
        try:
            self.request()
            self.deploy()
            with self.lock():
                if self.pair and self.recall().get("used") != self.pair:
                    self.reload()
        finally:
            self.write_metrics()


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    command = arguments[0]
    certificates = Certificates(json.loads(SETTINGS.read_text(encoding="utf-8")))
    try:
        if command == "renew":
            certificates.renew()
        elif command == "deploy":
            certificates.deploy()
            certificates.write_metrics()
        elif command == "reload":
            with certificates.lock():
                certificates.reload()
            certificates.write_metrics()
        elif command == "placeholder":
            print("made" if certificates.make_placeholder() else "kept")
        elif command == "status":
            print(json.dumps(certificates.status()))
        else:
            return certificates.run_certbot(arguments[1:]).returncode
    except CertificateError as error:
        print(f"lightbox-certificates: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
