"""Fixtures of every scenario, and the journal of a server on which a test failed."""

from __future__ import annotations

import pathlib

import pytest
import requests

from tests.support import lab


@pytest.fixture(scope="session")
def secrets_directory() -> pathlib.Path:
    return lab.INVENTORY / ".secrets"


@pytest.fixture(scope="session")
def web() -> requests.Session:
    return lab.web_session()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: bool(item.get_closest_marker("last")) - bool(item.get_closest_marker("first")))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "host" in getattr(item, "funcargs", {}):
        host = item.funcargs["host"]
        with host.sudo():
            for command in ("journalctl --no-pager --lines 40", "docker logs --tail 20 lightbox-orthanc"):
                try:
                    shown = host.run(command)
                    printed = shown.stdout + shown.stderr
                except RuntimeError as error:  # no SSH; the other tests still count
                    printed = str(error)
                report.sections.append((f"{host.backend.hostname}: {command}", printed))
