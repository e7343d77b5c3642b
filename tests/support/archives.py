"""The two archives of the scenario, and a way to run a module against them: in this process, as the unit tests do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc

from tests.support.lab import lab_hosts, secret
from tests.support.orthanc_server import run_module

HOST = lab_hosts()["modules"]["ansible_host"]
# What an archive keeps for others, and must not be seen anywhere.
SECRET = f"Trial{secrets.token_hex(12)}"


@dataclass(frozen=True)
class Archive:
    version: str
    url: str
    dicom_port: int
    aet: str

    def __str__(self) -> str:
        return self.version

    @property
    def login(self) -> dict[str, str]:
        return {"url": self.url, "url_username": "admin", "url_password": secret("archive_password")}

    @property
    def rest(self) -> Orthanc:
        """For what a test wants to see or do itself."""
        return Orthanc(self.login)

    def run(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run a module and return its result, and as `requests` how many HTTP requests it sent."""
        sent = []
        exchange = Connection._exchange

        def counted(self: Connection, *given: Any) -> Any:
            sent.append(given[:2])
            return exchange(self, *given)

        with mock.patch.object(Connection, "_exchange", counted):
            result = run_module(module, {**self.login, **arguments}, check)
        return result | {"requests": len(sent)}


NEW = Archive("1.12.7", f"http://{HOST}:8042", 14242, "LIGHTBOX")
OLD = Archive("1.10.1", f"http://{HOST}:8110", 4110, "OLD")
BOTH = [NEW, OLD]
