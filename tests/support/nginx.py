# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nginx that unit tests run."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.project import PROJECT

OPENSSL = shutil.which("openssl")
FILES = [
    "usr/sbin/nginx",
    "etc/nginx/mime.types",
    "usr/lib/nginx/modules/ngx_stream_module.so",
    "usr/lib/nginx/modules/ngx_http_brotli_static_module.so",
    "usr/lib/nginx/modules/ngx_http_js_module.so",
    "usr/lib/nginx/modules/ngx_stream_js_module.so",
]
# On this machine, or where `tests/setup unit` unpacked it.
NGINX, MIME_TYPES, *MODULES = next(
    (
        [place / file for file in FILES]
        for place in (pathlib.Path("/"), PROJECT / ".cache/nginx")
        if all((place / file).exists() for file in FILES)
    ),
    [None, None],
)

needs_nginx = pytest.mark.skipif(
    not (NGINX and OPENSSL),
    reason="needs openssl, and nginx with its modules stream, brotli-static, http-js and stream-js (tests/setup unit)",
)


@contextlib.contextmanager
def running_nginx(conf: pathlib.Path, port: int) -> Iterator[int]:
    """Run nginx with a configuration until the block ends; gives the port, once something listens there."""
    assert NGINX
    nginx = subprocess.Popen([NGINX, "-c", conf, "-g", "daemon off;"], stderr=subprocess.PIPE)
    try:
        for _again in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port
    finally:
        nginx.terminate()
        nginx.wait(10)
