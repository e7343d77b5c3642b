# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells what an image writes and what an index has, so that both can be compared before one meets the other.

image PROGRAM PLUGINS  Inside a container of the image: starts the archive on an empty SQLite index, with the PostgreSQL
                       plugin loaded and switched off. Prints {"orthanc": version, "plugin": version, "sqlite": [...]}.
sqlite PATH            On the server: {"sqlite": [...]} of an index, which may be in use.

"sqlite" lists each table's columns as table.column, in lower case.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

PORT = 8042
PATIENCE = 60  # seconds


def columns(path: str) -> list[str]:
    """The columns of an index's tables. immutable: the archive locks it while it runs; tables stay as they are then."""
    index = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        tables = [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sorted(
            f"{table}.{column[1]}".lower()
            for table in tables
            if not table.startswith("sqlite_")
            for column in index.execute(f"PRAGMA table_info({table})")
        )
    finally:
        index.close()


def sqlite_index(path: str) -> dict[str, object]:
    log = path + "-wal"
    if not os.path.exists(log) or not os.path.getsize(log):
        found = columns(path)
    else:
        # Something, in a young index all of it, is still in the log. A copy may be opened with it; /tmp may be small.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as directory:
            for end in ("", "-wal"):
                shutil.copy(path + end, os.path.join(directory, "index" + end))
            copy = os.path.join(directory, "index")
            whole = sqlite3.connect(copy)
            whole.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            whole.close()
            found = columns(copy)
    return {"sqlite": found}


def ask(path: str) -> dict[str, str] | None:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        return json.loads(content) if answer.status == 200 else {}
    except OSError:
        return None
    finally:
        connection.close()


def image(program: str, plugins: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as directory:
        library = os.path.join(plugins, "libOrthancPostgreSQLIndex.so")
        settings = {
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "HttpPort": PORT,
            "IndexDirectory": directory,
            "Plugins": [library] if os.path.exists(library) else [],
            "PostgreSQL": {"EnableIndex": False, "EnableStorage": False},
            "RemoteAccessAllowed": False,
            "StorageDirectory": directory,
        }
        file = os.path.join(directory, "orthanc.json")
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(settings, stream)
        log = os.path.join(directory, "log")
        with open(log, "wb") as output:
            process = subprocess.Popen([program, file], stdout=output, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + PATIENCE
            while (system := ask("/system")) is None:
                if process.poll() is not None or time.monotonic() > until:
                    with open(log, encoding="utf-8", errors="replace") as stream:
                        raise RuntimeError(f"the image's archive does not start: {stream.read()[-500:]}")
                time.sleep(0.1)
            plugin = ask("/plugins/postgresql-index") or {}
        finally:
            process.terminate()
            process.wait()
        versions = {"orthanc": system["Version"], "plugin": plugin.get("Version", "")}
        return {**versions, **sqlite_index(os.path.join(directory, "index"))}


def main() -> int:
    modes = {"image": (image, 2), "sqlite": (sqlite_index, 1)}
    if len(sys.argv) < 2 or sys.argv[1] not in modes or len(sys.argv) != 2 + modes[sys.argv[1]][1]:
        print("usage: schema.py image PROGRAM PLUGINS | sqlite PATH")
        return 2
    print(json.dumps(modes[sys.argv[1]][0](*sys.argv[2:])))  # type: ignore[operator]
    return 0


if __name__ == "__main__":
    sys.exit(main())
