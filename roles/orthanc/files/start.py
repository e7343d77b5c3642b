# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Becomes the archive: `start.py PROGRAM ARGUMENT…`. Before, an index in SQLite gets statistics, where it has none.

Orthanc never asks SQLite for any. Without them SQLite takes "an instance with this identifier" for "all instances, one
of which has this identifier", as both have an index and it cannot know which is the better one: it reads all rows, at
each request, for each image that comes. While the archive runs nobody else can write into its index, and a new one must
have them before it is first opened, so that a new index is made here, by an archive that serves nobody.

Whatever goes wrong here, the archive starts.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading

CONFIGURATION = "/etc/orthanc"
PATIENCE = 60  # seconds for a new index

# What ANALYZE finds in an archive, scaled to a million instances: rows, then how many have the same first column of the
# index, the same first two, … Names that a version of Orthanc does not have are passed over by SQLite.
STATISTICS = {
    ("AttachedFiles", "sqlite_autoindex_AttachedFiles_1"): "1000000 1 1",
    ("Changes", "ChangesIndex"): "1100000 1",
    ("DicomIdentifiers", "DicomIdentifiersIndex1"): "1100000 1",
    ("DicomIdentifiers", "DicomIdentifiersIndex2"): "1100000 370000 120000",
    ("DicomIdentifiers", "DicomIdentifiersIndexValues"): "1100000 1",
    ("DicomIdentifiers", "sqlite_autoindex_DicomIdentifiers_1"): "1100000 1 1 1",
    ("Labels", "LabelsIndex1"): "10000 1",
    ("Labels", "LabelsIndex2"): "10000 1000",
    ("MainDicomTags", "MainDicomTagsIndex1"): "5200000 6",
    ("MainDicomTags", "sqlite_autoindex_MainDicomTags_1"): "5200000 6 3 1",
    ("Metadata", "sqlite_autoindex_Metadata_1"): "10000000 10 1",
    ("PatientRecyclingOrder", "PatientRecyclingIndex"): "10000 1",
    ("Resources", "ChildrenIndex"): "1030000 35",
    ("Resources", "PublicIndex"): "1030000 1",
    ("Resources", "ResourceTypeIndex"): "1030000 260000",
}


def make_index(program: str, storage: str, directory: str) -> None:
    """A new index, as this program makes it."""
    settings = {
        "DicomServerEnabled": False,
        "HttpServerEnabled": False,
        "IndexDirectory": directory,
        "StorageDirectory": storage,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(settings, file)
        file.flush()
        with subprocess.Popen([program, file.name], stderr=subprocess.PIPE, text=True, errors="replace") as archive:
            limit = threading.Timer(PATIENCE, archive.kill)
            limit.start()
            for line in archive.stderr or ():
                if "Orthanc has started" in line:
                    archive.terminate()
            limit.cancel()


def add_statistics(path: str) -> None:
    """Statistics that are there stay."""
    index = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        known = index.execute("SELECT name FROM sqlite_master WHERE name IN ('Resources', 'sqlite_stat1')").fetchall()
        if ("Resources",) not in known:
            return  # no index of Orthanc's
        if ("sqlite_stat1",) in known and index.execute(
            "SELECT 1 FROM sqlite_stat1 WHERE tbl = 'Resources'"
        ).fetchone():
            return
        index.execute("BEGIN IMMEDIATE")
        index.execute("ANALYZE GlobalProperties")  # makes the table
        rows = [(*names, numbers) for names, numbers in STATISTICS.items()]
        index.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows)
        index.execute("COMMIT")
    finally:
        index.close()


def prepare(program: str) -> None:
    if os.path.exists(os.path.join(CONFIGURATION, "database.json")):
        return  # PostgreSQL makes its own
    with open(os.path.join(CONFIGURATION, "orthanc.json"), encoding="utf-8") as stream:
        settings = json.load(stream)
    storage = settings["StorageDirectory"]
    directory = settings.get("IndexDirectory", storage)
    path = os.path.join(directory, "index")
    if not os.path.exists(path):
        make_index(program, storage, directory)
    if os.path.exists(path):
        add_statistics(path)


def main() -> None:
    program = sys.argv[1]
    try:
        prepare(program)
    except Exception as error:  # an index without statistics is slow, an archive that does not start is worse
        print(f"start.py: no statistics for the index: {error}", file=sys.stderr, flush=True)
    os.execv(program, sys.argv[1:])


if __name__ == "__main__":
    main()
