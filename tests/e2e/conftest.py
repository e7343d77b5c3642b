# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: the site, its samples, a browser that trusts its CA, and a page that is watched in every test.

Where the site is: options, else the environment (E2E_BASE_URL, E2E_CA, E2E_USER, E2E_PASSWORD_FILE, E2E_ARTIFACTS),
else the demo.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e import browser as viewer
from tests.samples.load import DicomWeb, send_by_stow, show_nothing
from tests.samples.studies import SAMPLES

OPTIONS = {
    "--base-url": (viewer.DEFAULT_URL, "address of the site"),
    "--ca": (str(viewer.DEFAULT_CA), "certificate of the CA that signed the site's"),
    "--user": (viewer.DEFAULT_USER, "who logs in"),
    "--password-file": (str(viewer.DEFAULT_PASSWORD_FILE), "file with the password"),
    "--artifacts": (str(viewer.DEFAULT_ARTIFACTS), "directory for screenshots"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lightbox", "the site under test")
    for option, (default, text) in OPTIONS.items():
        with contextlib.suppress(ValueError):  # another plugin may own the name
            group.addoption(option, default=None, help=f"{text} (default: {default})")


def setting(config: pytest.Config, option: str) -> str:
    name = option.strip("-").replace("-", "_")
    given = config.getoption(name, default=None) or os.environ.get(f"E2E_{name.upper()}")
    return str(given or OPTIONS[option][0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> viewer.Site:
    return viewer.Site(
        url=setting(pytestconfig, "--base-url").rstrip("/"),
        ca=Path(setting(pytestconfig, "--ca")),
        user=setting(pytestconfig, "--user"),
        password_file=Path(setting(pytestconfig, "--password-file")),
    )


@pytest.fixture(scope="session")
def artifacts(pytestconfig: pytest.Config) -> Path:
    directory = Path(setting(pytestconfig, "--artifacts"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def archive(site: viewer.Site) -> DicomWeb:
    """The archive over HTTPS, the CA verified."""
    return DicomWeb(site.dicomweb, site.user, site.password, str(site.ca))


@pytest.fixture(scope="session")
def samples(archive: DicomWeb) -> None:
    """Every sample study is in the archive; what is missing is sent."""
    tally = send_by_stow(SAMPLES.values(), archive, progress=show_nothing)
    assert not tally.refused


@pytest.fixture(scope="session")
def home(site: viewer.Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viewer.trusting_home(tmp_path_factory.mktemp("home"), site.ca)


@pytest.fixture(scope="session")
def browser(home: Path) -> Iterator[Browser]:
    expect.set_options(timeout=30_000)  # software rendering on a busy machine takes its time
    with sync_playwright() as playwright:
        chromium = viewer.launch(playwright, home)
        yield chromium
        chromium.close()


@pytest.fixture
def watch(site: viewer.Site) -> viewer.Watch:
    return viewer.Watch(site)


@pytest.fixture
def watched(browser: Browser, watch: viewer.Watch) -> Iterator[Callable[..., BrowserContext]]:
    """Make contexts that are watched; the test fails at its end when anything was noted that must not happen."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        context = viewer.new_context(browser, **options)
        watch.attach(context)
        contexts.append(context)
        return context

    yield make
    watch.on = False  # closing breaks off what is still loading
    for context in contexts:
        context.close()
    assert not watch.errors, "\n".join(watch.errors)


@pytest.fixture
def page(
    watched: Callable[..., BrowserContext], site: viewer.Site, artifacts: Path, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """A page of somebody who has logged in."""
    page = watched(http_credentials={"username": site.user, "password": site.password, "origin": site.url}).new_page()
    page.set_default_timeout(30_000)
    yield page
    if request.node.stash.get(FAILED, False):
        name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
        with contextlib.suppress(Exception):  # the test's own failure is the message
            page.screenshot(path=artifacts / f"failed-{name}.png", timeout=10_000)
