# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody gets in without the right password, nothing leaks before, and nothing is served in the clear."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import BrowserContext, Error

from tests.e2e import browser as viewer
from tests.samples.studies import SAMPLES

PATHS = (
    "/",
    "/viewer",
    "/pacs/",
    "/pacs/system",
    "/pacs/studies",
    "/pacs/dicom-web/studies?limit=1",
    f"/pacs/dicom-web/studies/{SAMPLES['ct'].study_uid}/metadata",
    f"/pacs/wado?requestType=WADO&studyUID={SAMPLES['ct'].study_uid}",
)


def session(site: viewer.Site) -> requests.Session:
    client = requests.Session()
    client.trust_env = False
    client.verify = str(site.ca)
    return client


def check_refused(answer: requests.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    for sample in SAMPLES.values():
        assert sample.patient_id not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_nobody(site: viewer.Site, path: str) -> None:
    check_refused(session(site).get(site.url + path, timeout=30, allow_redirects=False))


# Few, and the same in every run: the reverse proxy counts them, and the other tests log in from the same address.
@pytest.mark.parametrize("who", ["wrong password", "unknown user", "not basic"])
def test_wrong_credentials(site: viewer.Site, who: str) -> None:
    client = session(site)
    if who == "not basic":
        client.headers["Authorization"] = "Bearer let-me-in"
    else:
        client.auth = (site.user if who == "wrong password" else "nobody-here", site.password[::-1] + "x")
    check_refused(client.get(f"{site.dicomweb}/studies?limit=1", timeout=30, allow_redirects=False))


def test_browser_without_credentials(
    watched: Callable[..., BrowserContext], watch: viewer.Watch, site: viewer.Site
) -> None:
    watch.on = False  # Chromium reports a refused login in two ways, by the length of the answer
    page = watched().new_page()
    status = None
    with contextlib.suppress(Error):  # ERR_INVALID_AUTH_CREDENTIALS when the answer is short
        answer = page.goto(site.url + "/")
        status = answer.status if answer else None
    assert status in (None, 401)
    assert not page.locator("script, canvas").count()
    assert watch.requests == [site.url + "/"]


def test_browser_with_a_wrong_password(
    watched: Callable[..., BrowserContext], watch: viewer.Watch, site: viewer.Site
) -> None:
    watch.expected_statuses.add(401)
    page = watched(http_credentials={"username": site.user, "password": "wrong", "origin": site.url}).new_page()
    answer = page.goto(site.url + "/")
    assert answer is not None
    assert answer.status == 401


def test_the_right_password(site: viewer.Site) -> None:
    client = session(site)
    client.auth = (site.user, site.password)
    assert client.get(site.url + "/", timeout=30).status_code == 200
    assert client.get(site.dicomweb + "/studies", params={"limit": "1"}, timeout=30).status_code in (200, 204)


def test_a_browser_that_has_logged_in_says_so_from_then_on(
    watched: Callable[..., BrowserContext], watch: viewer.Watch, site: viewer.Site
) -> None:
    """A guesser at the same address cannot lock it out."""
    watch.expected_statuses.add(404)  # the icon that a browser looks for beside a file
    login = {"username": site.user, "password": site.password, "origin": site.url}
    page = watched(http_credentials=login).new_page()
    page.goto(site.url + "/app-config.js")
    cookies = [cookie for cookie in page.context.cookies() if cookie["name"].startswith("__Host-lightbox-")]
    assert [(cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) for cookie in cookies] == [(True, True, "Lax")]
    with page.expect_request("**/pacs/system") as sent:
        page.evaluate("fetch('/pacs/system')")
    assert cookies[0]["value"] in sent.value.all_headers()["cookie"]


def test_an_unknown_ca_is_refused(site: viewer.Site) -> None:
    """The tests would notice a certificate that nobody can verify."""
    client = session(site)
    client.verify = True
    with pytest.raises(requests.exceptions.SSLError):
        client.get(site.url + "/", timeout=30)
