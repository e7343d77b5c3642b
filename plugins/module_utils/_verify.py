# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""What every check needs: the settings, the results, the table."""

from __future__ import annotations

import base64
import time
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection, HttpError

# (arguments) -> exit code and the text of both outputs. Raises ``OSError`` when the program is not installed.
Run = t.Callable[[list[str]], tuple[int, str]]


class Shortfall(Exception):
    """What was found is not what was wanted. The text says what was found."""

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.remedy = remedy


class NotTried(Exception):
    """The check does not apply here, or cannot be made. The text says why."""


@dataclass(frozen=True)
class Settings:
    """The module's options, plus what the checks share."""

    url: str
    connect_address: str
    ca_path: str
    username: str
    password: str
    archive_url: str
    archive_username: str
    archive_password: str
    dicomweb_root: str
    archive_path: str
    viewer_path: str
    http_port: int
    dicom_host: str
    dicom_port: int
    dicom_aet: str
    dicom_calling_aet: str
    dicom_tls_port: int
    dicom_client_certificate: str
    dicom_client_key: str
    accepted_options: list[str]
    containers: list[str]
    reconcile_metrics: str
    certificate_days: int
    certificate_warn_days: int
    closed_ports: list[int]
    outside_probe: dict[str, t.Any] | None
    timeout: int
    writes: bool
    temporary: str
    run: Run

    def connect_to_proxy(self) -> Connection:
        """Return a client of the public URL. Raises HttpError for settings that cannot work."""
        if urlsplit(self.url).path.strip("/"):
            raise HttpError(f"'{self.url}' is not of the form https://name[:port]")
        return self._connect(self.url, (self.username, self.password), self.connect_address)

    def connect_to_orthanc(self) -> Connection:
        """Return a client of Orthanc's own REST API. Raises HttpError for settings that cannot work."""
        return self._connect(self.archive_url, (self.archive_username, self.archive_password))

    def _connect(self, url: str, login: tuple[str, str], address: str = "") -> Connection:
        return Connection(url, self.timeout, login=login, address=address, use_proxy=False, ca_path=self.ca_path)

    @property
    def wado_path(self) -> str:
        return self.archive_path.rstrip("/") + "/wado"


# Checks that fail where a dangerous option of Orthanc is set, and these options. A stranger gets an association as soon
# as he may ask for anything.
OPENED_BY = {
    "no scripts": ("ExecuteLuaEnabled",),
    "no file export": ("RestApiWriteToFileSystemEnabled",),
    "wrong called AE title": ("DicomCheckCalledAet",),
    "unknown calling AE title": tuple(
        f"DicomAlwaysAllow{request}" for request in ("Echo", "Find", "FindWorklist", "Get", "Move", "Store")
    ),
    "C-STORE from an unknown AE title": ("DicomAlwaysAllowStore",),
}


@dataclass
class Checks:
    """The results. A check is a function that returns what it found, or raises."""

    secrets: list[str]
    accepted_options: list[str] = field(default_factory=list)
    results: list[dict[str, t.Any]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def run(self, group: str, name: str, remedy: str, check: t.Callable[[], str], needs: str = "") -> bool:
        """Run a check, record its result and return whether it passed.

        needs: the name of a check; where that one failed, this one is skipped.
        """
        started = time.monotonic()
        state, advice = "ok", ""
        try:
            if needs in self.failed:
                raise NotTried(f"not tried, because '{needs}' failed")
            detail = check()
        except NotTried as reason:
            state, detail = "skipped", str(reason)
        except Shortfall as shortfall:
            state, detail, advice = "failed", str(shortfall), shortfall.remedy or remedy
            if accepted := [option for option in OPENED_BY.get(name, ()) if option in self.accepted_options]:
                state, detail, advice = "skipped", f"{shortfall}, which was accepted ({', '.join(accepted)})", ""
        except HttpError as error:
            state, detail, advice = "failed", str(error).rstrip("."), remedy
        except Exception as error:  # whatever a broken server does is a failed line of the table
            state, detail, advice = "failed", f"{type(error).__name__}, {error}", remedy
        if state != "ok" and (state == "failed" or needs in self.failed):
            self.failed.add(name)
        self.results.append(
            {
                "name": name,
                "group": group,
                "state": state,
                "passed": state == "ok",
                "detail": self.scrub(detail),
                "remedy": self.scrub(advice),
                "seconds": round(time.monotonic() - started, 3),
            }
        )
        return state == "ok"

    def fail(self, group: str, name: str, detail: str, remedy: str) -> None:
        """Record a check that could not begin."""

        def check() -> str:
            raise Shortfall(detail)

        self.run(group, name, remedy, check)

    def scrub(self, text: str) -> str:
        """Make one line without secrets."""
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, "********")
        return " ".join(text.split())[:400]

    @property
    def passed(self) -> bool:
        return all(result["state"] != "failed" for result in self.results)

    def remedies(self) -> list[str]:
        """Return for every failed check where, what is wrong and what to do."""
        return [
            f"{result['group']}, {result['name']} - {result['detail']}. {result['remedy']}".strip()
            for result in self.results
            if result["state"] == "failed"
        ]

    def table(self) -> list[str]:
        """Return the results as aligned lines of ASCII."""
        words = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
        group_width = max((len(result["group"]) for result in self.results), default=0)
        name_width = max((len(result["name"]) for result in self.results), default=0)
        return [
            f"{words[result['state']]:<7}  {result['group']:<{group_width}}  {result['name']:<{name_width}}  "
            f"{result['detail']}"
            for result in self.results
        ]


def secrets_of(*logins: tuple[str, str]) -> list[str]:
    """Return the passwords, and their form in an Authorization header."""
    found = []
    for user, password in logins:
        if password:
            found += [base64.b64encode(f"{user}:{password}".encode()).decode("ascii"), password]
    return found


def expect(condition: bool, found: str, remedy: str = "") -> None:
    """Raise Shortfall with what was found unless the condition holds."""
    if not condition:
        raise Shortfall(found, remedy)
