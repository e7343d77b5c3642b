# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what a person waits for: time to the first image and bytes transferred, with a cold and a warm cache.

python -m tests.bench.browser --runs 3 > browser.json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Error, sync_playwright

from tests.e2e import browser as viewer
from tests.samples.studies import SAMPLES

# A look at every frame that the browser draws, small enough not to disturb it: 48x48 pixels of the canvas.
_FIRST_IMAGE = """
(() => {
  const small = new OffscreenCanvas(48, 48).getContext('2d', {willReadFrequently: true});
  const look = () => {
    const canvas = document.querySelector('canvas.cornerstone-canvas');
    if (canvas && canvas.width && canvas.height) {
      small.drawImage(canvas, 0, 0, 48, 48);
      const data = small.getImageData(0, 0, 48, 48).data, levels = new Set();
      for (let i = 0; i < data.length; i += 4) levels.add(data[i]);
      if (levels.size > 16) { window.__firstImage = performance.now() / 1000; return; }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


class Traffic:
    """Bytes on the wire as Chromium's network events count them (headers and compressed bodies), of the page and of
    its workers' fetches that run through it."""

    def __init__(self) -> None:
        self.transferred = self.requests = self.cached = self.image_bytes = self.events = 0
        self._address: dict[str, str] = {}

    def attach(self, session: Any) -> None:
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.requestServedFromCache", self._from_cache)
        session.on("Network.responseReceived", self._received)
        session.on("Network.loadingFinished", self._finished)
        session.send("Network.enable")

    def _sent(self, event: dict[str, Any]) -> None:
        address = event["request"]["url"]
        self.events += 1
        if address.startswith("https:"):
            self.requests += 1
            self._address[event["requestId"]] = address

    def _from_cache(self, event: dict[str, Any]) -> None:
        self.cached += 1

    def _received(self, event: dict[str, Any]) -> None:
        self.cached += bool(event["response"].get("fromDiskCache"))

    def _finished(self, event: dict[str, Any]) -> None:
        address = self._address.get(event["requestId"])
        self.events += 1
        if address is None:
            return
        size = int(event["encodedDataLength"])
        self.transferred += size
        if "/pacs/" in address:
            self.image_bytes += size

    def snapshot(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "from_cache": self.cached,
            "megabytes": round(self.transferred / 1e6, 3),
            "megabytes_of_images": round(self.image_bytes / 1e6, 3),
        }


def open_study(context: BrowserContext, site: viewer.Site, study_uid: str) -> dict[str, Any]:
    """Open a study in a new page; measure from the start of the navigation to the first image on the canvas."""
    page = context.new_page()
    traffic = Traffic()
    traffic.attach(context.new_cdp_session(page))
    page.add_init_script(_FIRST_IMAGE)
    page.goto(site.viewer(study_uid), wait_until="commit")
    seconds = viewer.wait_for("the first image", lambda: page.evaluate("window.__firstImage || 0"), page)
    result: dict[str, Any] = {
        "seconds_to_first_image": round(seconds, 2),
        "until_first_image": traffic.snapshot(),
    }
    start = time.monotonic()
    before = -1
    while before != traffic.events and time.monotonic() - start < 120:  # quiet for two seconds: all is loaded
        before = traffic.events
        page.wait_for_timeout(2000)
    result["until_all_loaded"] = traffic.snapshot()
    page.close()
    return result


def log_in(context: BrowserContext, site: viewer.Site) -> None:
    page = context.new_page()
    answer = page.goto(site.login_url())
    if answer is None or answer.status != 200:
        raise SystemExit(f"error: {site.url}: login refused")
    page.close()


def measure(site: viewer.Site, study_uid: str, runs: int) -> dict[str, Any]:
    cold: list[dict[str, Any]] = []
    warm: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        home = viewer.trusting_home(Path(directory) / "home", site.ca)
        version = ""
        for run in range(runs):
            # A profile on disk, as people have it: the cache of a private window is small and forgets the viewer
            # under the images. The warm visit is made by a browser that was started anew.
            profile = Path(directory) / f"profile-{run}"
            for results in (cold, warm):
                context = viewer.launch_profile(playwright, home, profile)
                version = context.browser.version if context.browser else version
                log_in(context, site)
                results.append(open_study(context, site, study_uid))
                context.close()

    def median(results: list[dict[str, Any]], name: str) -> float:
        return round(statistics.median(result[name] for result in results), 2)

    return {
        "url": site.url,
        "browser": f"Chromium {version}, WebGL in software",
        "study": study_uid,
        "runs": runs,
        "median_seconds_to_first_image": {
            "cold": median(cold, "seconds_to_first_image"),
            "warm": median(warm, "seconds_to_first_image"),
        },
        "megabytes_until_first_image": {
            "cold": cold[-1]["until_first_image"]["megabytes"],
            "warm": warm[-1]["until_first_image"]["megabytes"],
        },
        "cold": cold,
        "warm": warm,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.browser", description="Time to the first image.")
    parser.add_argument("--base-url", default=viewer.DEFAULT_URL)
    parser.add_argument("--ca", type=Path, default=viewer.DEFAULT_CA)
    parser.add_argument("--user", default=viewer.DEFAULT_USER)
    parser.add_argument("--password-file", type=Path, default=viewer.DEFAULT_PASSWORD_FILE)
    parser.add_argument("--sample", choices=[key for key in SAMPLES if key != "pdf"], default="ct")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    site = viewer.Site(options.base_url.rstrip("/"), options.ca, options.user, options.password_file)
    try:
        result = measure(site, SAMPLES[options.sample].study_uid, options.runs)
    except (AssertionError, Error, OSError) as error:
        # Playwright quotes addresses in its messages, and one of them carries the password.
        told = re.sub(r"//[^/@\s]*@", "//", str(error))
        print(f"error: {told}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
