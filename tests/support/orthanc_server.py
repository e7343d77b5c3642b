"""A real HTTP server that plays an archive by a script, and a way to run a module against it.

    with archive(call("GET", "/modalities?expand", {}), call("PUT", "/modalities/CT", body={"AET": "CT"})) as server:
        done = run_module("orthanc_modality", {"url": server.url, …}, check=False)

A call that is not next in the script is answered 500 and fails the test at the end, as does one that was not made.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import importlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

MISSING: Any = object()
ANYTHING: Any = object()
"""As the body of a call: whatever comes."""


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    answer: Any
    status: int
    body: Any
    headers: dict[str, str]


def call(
    method: str,
    path: str,
    answer: Any = None,
    *,
    status: int = 200,
    body: Any = MISSING,
    headers: dict[str, str] | None = None,
) -> Call:
    """One call that is expected.

    path includes the query. answer: dict or list as JSON, str as text, bytes as they are, None empty; or a function of
    the received body that returns one of these. body: dict or list compared as JSON, str or bytes as they are,
    a function that says whether it is right, ANYTHING; not given: there must be none. headers: sent with the answer.
    """
    return Call(method, path, answer, status, body, headers or {})


def error(status: int, message: str, details: str = "") -> dict[str, Any]:
    """The body of an archive's error."""
    return {"HttpStatus": status, "OrthancStatus": 1, "Message": message, "Details": details, "Method": "", "Uri": ""}


@dataclass
class Archive:
    """The server while it runs. `seen` lists what was asked, in order, as (method, path, body)."""

    url: str = ""
    left: list[Call] = field(default_factory=list)
    unordered: bool = False
    login: tuple[str, str] | None = None
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, path: str, body: bytes) -> Call | None:
        """The scripted call that this request is; None, and a note, where it is none."""
        with self.lock:
            self.seen.append((method, path, body))
            candidates = self.left if self.unordered else self.left[:1]
            for one in candidates:
                if (one.method, one.path) == (method, path) and right_body(one.body, body):
                    self.left.remove(one)
                    return one
            expected = " or ".join(f"{one.method} {one.path} {shown(one.body)}" for one in candidates) or "nothing"
            self.wrong.append(f"got {method} {path} {body[:300]!r}, expected {expected}")
            return None


def shown(body: Any) -> str:
    return "" if body is MISSING else "(anything)" if body is ANYTHING else repr(body)


def right_body(expected: Any, received: bytes) -> bool:
    if expected is ANYTHING:
        return True
    if expected is MISSING:
        return received == b""
    if isinstance(expected, bytes):
        return received == expected
    if isinstance(expected, str):
        return received.decode() == expected
    if callable(expected):
        return bool(expected(received))
    try:
        return json.loads(received) == expected
    except ValueError:
        return False


def handler(played: Archive) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.read_body()
            if played.login is not None:
                wanted = "Basic " + base64.b64encode(":".join(played.login).encode()).decode()
                if self.headers.get("Authorization") != wanted:
                    played.wrong.append(f"{self.command} {self.path} came without the right login")
            taken = played.take(self.command, self.path, body)
            if taken is None:
                self.reply(500, error(500, "This call is not in the script"), {})
                return
            answer = taken.answer(body) if callable(taken.answer) else taken.answer
            self.reply(taken.status, answer, taken.headers)

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def reply(self, status: int, answer: Any, headers: dict[str, str]) -> None:
            kind = "application/json"
            if isinstance(answer, (dict, list)):
                content = json.dumps(answer).encode()
            else:
                kind = "text/plain"
                content = answer.encode() if isinstance(answer, str) else answer or b""
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_unused: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def archive(*calls: Call, unordered: bool = False, login: tuple[str, str] | None = None) -> Iterator[Archive]:
    """Serve the script. unordered: the calls may come in any order, as from several threads."""
    played = Archive(left=list(calls), unordered=unordered, login=login)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(played))
    server.daemon_threads = True
    played.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
    missing = [f"{one.method} {one.path} was not called" for one in played.left]
    if played.wrong or missing:
        pytest.fail("\n".join([*played.wrong, *missing]))


def run_module(name: str, arguments: dict[str, Any], check: bool = False, diff: bool = True) -> dict[str, Any]:
    """Run a module of the collection in this process and return its result, failed ones too; warnings as text."""
    main: Callable[[], None] = importlib.import_module(f"ansible_collections.lightbox.pacs.plugins.modules.{name}").main
    given = {key: value for key, value in arguments.items() if value is not None}
    meta = {
        "_ansible_check_mode": check,
        "_ansible_diff": diff,
        "_ansible_no_log": False,
        "_ansible_remote_tmp": "/tmp",  # noqa: S108 - what the module is told where it would run
    }
    printed = io.StringIO()
    warnings: list[str] = []
    with (
        patch_module_args(given | meta),
        # Ansible gathers warnings for a process that ends with its module.
        mock.patch.object(AnsibleModule, "warn", lambda _self, text, **_unused: warnings.append(text)),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main()
    return json.loads(printed.getvalue().strip().splitlines()[-1]) | {"warnings": warnings}


def four_cases(
    name: str, arguments: dict[str, Any], read: Call, read_again: Call, *writes: Call, **server: Any
) -> list[dict[str, Any]]:
    """Check, do, do again, check again: one request that reads, and writes only where something is to do."""
    results = []
    for check, calls in (
        (True, (read,)),
        (False, (read, *writes)),
        (False, (read_again,)),
        (True, (read_again,)),
    ):
        with archive(*calls, **server) as played:
            results.append(run_module(name, {"url": played.url, **arguments}, check))
    assert [result.get("changed") for result in results] == [True, True, False, False], results
    assert results[0]["diff"] == results[1]["diff"]
    return results
