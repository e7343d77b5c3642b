# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the browser tests and the browser benchmark share: a browser that trusts one CA, and eyes for a canvas."""

from __future__ import annotations

import base64
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Response

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
SECRETS = ROOT / "inventories" / "lab" / ".secrets"

DEFAULT_URL = "https://localhost:8443"
DEFAULT_CA = SECRETS / "ca" / "ca.pem"
DEFAULT_USER = "admin"
DEFAULT_PASSWORD_FILE = SECRETS / "web_password"
DEFAULT_ARTIFACTS = ROOT / "artifacts" / "e2e"

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """The server under test and how to log in."""

    url: str
    ca: Path
    user: str
    password_file: Path

    @property
    def password(self) -> str:
        return self.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/pacs/dicom-web"

    def viewer(self, study_uid: str, more: str = "") -> str:
        return f"{self.url}/viewer?StudyInstanceUIDs={study_uid}{more}"

    def login_url(self) -> str:
        """A small page with the credentials in its address: the browser keeps them for the whole site.

        Unlike Playwright's ``http_credentials`` this leaves the browser's cache on. The query keeps the page itself
        out of the cache, which would answer without asking for a login.
        """
        parts = urlsplit(self.url)
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{parts.scheme}://{who}@{parts.netloc}/app-config.js?{uuid.uuid4().hex}"


def trusting_home(directory: Path, ca: Path) -> Path:
    """Make a home directory whose browser trusts ``ca`` (and stays as strict as ever with other certificates)."""
    if not ca.is_file():
        raise FileNotFoundError(f"{ca}: the certificate of the CA is missing; name it with --ca or E2E_CA")
    database = directory / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "under test", "-i", str(ca)]):
        subprocess.run(  # without a terminal certutil would ask for ever
            ["certutil", "-d", f"sql:{database}", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=30
        )
    return directory


_TOUR_IS_OVER = "try { localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour'])); } catch (e) {}"
_WINDOW: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}


def _options(home: Path) -> dict[str, Any]:
    """Chromium with WebGL in software; proxies and credentials of the environment stay outside."""
    arguments = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-proxy-server"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR", "DISPLAY")}
    program = os.environ.get("E2E_CHROMIUM", CHROMIUM)
    found = "E2E_CHROMIUM" in os.environ or os.path.exists(program)
    return {
        # Where the distribution has none: what `playwright install chromium` fetched (untested).
        **({"executable_path": program} if found else {"channel": "chromium"}),
        "args": arguments,
        "env": {**environment, "HOME": str(home)},
    }


def launch(playwright: Playwright, home: Path) -> Browser:
    """Start a browser for many private windows (`new_context`)."""
    return playwright.chromium.launch(**_options(home))


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A private window, 1280x800, in which the viewer's first-run tour is over."""
    context = browser.new_context(**_WINDOW, **options)
    context.add_init_script(_TOUR_IS_OVER)
    return context


def launch_profile(playwright: Playwright, home: Path, profile: Path) -> BrowserContext:
    """Start a browser on a profile directory, with a cache on disk; closing the context ends it."""
    context = playwright.chromium.launch_persistent_context(profile, **_options(home), **_WINDOW)
    context.add_init_script(_TOUR_IS_OVER)
    return context


@dataclass
class Watch:
    """Writes down whatever must not happen while a page is used.

    Chromium's own PDF viewer (chrome-extension:, chrome:) and data made in the page (blob:, data:) are no requests to
    another host. ERR_ABORTED is the page changing its mind (prefetching ends when a study is left); a server that
    breaks off shows as ERR_CONNECTION_… or ERR_HTTP2_….
    """

    site: Site
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    expected_statuses: set[int] = field(default_factory=set)
    on: bool = True

    def attach(self, context: BrowserContext) -> None:
        context.expose_binding("__violation", lambda source, text: self._note(f"CSP violation: {text}"))
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => window.__violation("
            "`${e.violatedDirective} refused ${e.blockedURI} at ${e.sourceFile}:${e.lineNumber}`));"
        )
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"uncaught error: {error.error}"))

    def _note(self, text: str) -> None:
        if self.on:
            self.errors.append(text)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(self.site.url).netloc:
            self._note(f"request to another host: {request.method} {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":
            self._note(f"request failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected_statuses:
            self._note(f"status {response.status}: {response.request.method} {response.url}")

    def _console(self, message: ConsoleMessage) -> None:
        deliberate = any(f"status of {status}" in message.text for status in self.expected_statuses)
        if message.type == "error" and not deliberate:
            self._note(f"console error: {message.text[:300]}")


@dataclass(frozen=True)
class Drawn:
    """What is on a canvas: size, pixels that are not black, different grey levels, brightness in the middle and at
    the rim (0..255), and a checksum that tells two images apart."""

    width: int
    height: int
    lit: int
    levels: int
    middle: float
    rim: float
    checksum: int

    @property
    def is_image(self) -> bool:
        return self.lit > 0.02 * self.width * self.height and self.levels > 32


_READ_PIXELS = """
(data, width, height) => {
  let lit = 0, checksum = 0, rim = 0, rims = 0, middle = 0, middles = 0;
  const levels = new Set();
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const i = 4 * (y * width + x), grey = (data[i] + data[i + 1] + data[i + 2]) / 3;
    if (grey > 4) lit++;
    levels.add(Math.round(grey));
    checksum = (Math.imul(checksum, 31) + data[i]) | 0;
    if (x < 12 || y < 12 || x >= width - 12 || y >= height - 12) { rim += grey; rims++; }
    if (Math.abs(x - width / 2) < width / 10 && Math.abs(y - height / 2) < height / 10) { middle += grey; middles++; }
  }
  return {width, height, lit, levels: levels.size, middle: middle / middles, rim: rim / rims, checksum};
}
"""


def canvas(page: Page, number: int = 0) -> Drawn | None:
    """Look at one of the viewer's canvases; None while it does not exist."""
    seen = page.evaluate(
        f"""number => {{
          const canvas = document.querySelectorAll('canvas.cornerstone-canvas')[number];
          if (!canvas || !canvas.width || !canvas.height) return null;
          const {{data, width, height}} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return ({_READ_PIXELS})(data, width, height);
        }}""",
        number,
    )
    return Drawn(**seen) if seen else None


def wait_for(what: str, look: Callable[[], T | bool | None], page: Page, timeout: float = 60.0) -> T:
    """Call ``look`` until it returns something, letting the page work in between."""
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if seen:
            return seen  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:.0f} s")
        page.wait_for_timeout(100)


def wait_drawn(page: Page, number: int = 0, timeout: float = 60.0, unlike: Drawn | None = None) -> Drawn:
    """Wait until a canvas shows an image that has come to rest; one ``unlike`` the image before, when that is given:
    the viewer writes the number of the new image a moment before it draws it."""
    last: list[Drawn | None] = [None]

    def look() -> Drawn | None:
        now = canvas(page, number)
        same = now is not None and last[0] is not None and now.checksum == last[0].checksum
        new = now is not None and (unlike is None or now.checksum != unlike.checksum)
        last[0] = now
        return now if now and same and new and now.is_image else None

    return wait_for(f"an image on canvas {number}", look, page, timeout)


def count_colour(page: Page, png: bytes, colour: tuple[int, int, int], tolerance: int = 12) -> int:
    """How many pixels of a picture have a colour; ``page`` (any) decodes it."""
    count: int = page.evaluate(
        """async ([encoded, colour, tolerance]) => {
          const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
          const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
          context.drawImage(image, 0, 0);
          const data = context.getImageData(0, 0, image.width, image.height).data;
          let count = 0;
          for (let i = 0; i < data.length; i += 4)
            if (colour.every((value, k) => Math.abs(value - data[i + k]) <= tolerance)) count++;
          return count;
        }""",
        [base64.b64encode(png).decode(), colour, tolerance],
    )
    return count
