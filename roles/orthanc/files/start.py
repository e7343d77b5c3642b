# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write statistics into Orthanc's index in SQLite, then become Orthanc: `start.py PROGRAM ARGUMENT…`.

Orthanc never makes SQLite collect any. Without them SQLite plans "an instance with this identifier" as "all instances,
one of which has this identifier", since both have an index and nothing says which is the better one: it reads all rows,
at each request, for each image that is stored. While Orthanc runs nobody else can write into its index, and a new one
must have them before it is first opened. So a new index is made here, by an Orthanc that serves nobody.

Whatever goes wrong here, Orthanc starts. Measured with Orthanc 1.12.7 of Debian 13.
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

# Rows, then how many have the same first column of the index, the same first two, … The proportions are those that
# ANALYZE finds in an archive. The rows are those of 400 million images, however few there are: SQLite expects a million
# rows from the subquery in which Orthanc looks a resource up, and where no table has more, it rather reads whole tables
# than to look up each (in a scan, or to make a Bloom filter). Names that a version of Orthanc does not have are passed
# over by SQLite.
STATISTICS = {
    ("AttachedFiles", "sqlite_autoindex_AttachedFiles_1"): "400000000 1 1",
    ("Changes", "ChangesIndex"): "440000000 1",
    ("DicomIdentifiers", "DicomIdentifiersIndex1"): "440000000 1",
    ("DicomIdentifiers", "DicomIdentifiersIndex2"): "440000000 148000000 48000000",
    ("DicomIdentifiers", "DicomIdentifiersIndex3"): "440000000 148000000 48000000 1",
    ("DicomIdentifiers", "DicomIdentifiersIndexValues"): "440000000 1",
    ("DicomIdentifiers", "sqlite_autoindex_DicomIdentifiers_1"): "440000000 1 1 1",
    ("Labels", "LabelsIndex1"): "4000000 1",
    ("Labels", "LabelsIndex2"): "4000000 400000",
    ("MainDicomTags", "MainDicomTagsIndex1"): "2080000000 6",
    ("MainDicomTags", "sqlite_autoindex_MainDicomTags_1"): "2080000000 6 3 1",
    ("Metadata", "sqlite_autoindex_Metadata_1"): "4000000000 10 1",
    ("PatientRecyclingOrder", "PatientRecyclingIndex"): "4000000 1",
    ("Resources", "ChildrenIndex"): "412000000 35",
    ("Resources", "PublicIndex"): "412000000 1",
    ("Resources", "ResourceTypeIndex"): "412000000 104000000",
}


def make_index(program: str, storage: str, directory: str) -> None:
    """Make a new index, by the program itself."""
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
    """Replace others than these: those of ANALYZE are true, and lead SQLite to read whole tables."""
    index = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        known = index.execute("SELECT name FROM sqlite_master WHERE name IN ('Resources', 'sqlite_stat1')").fetchall()
        if ("Resources",) not in known:
            return  # no index of Orthanc's
        rows = sorted((*names, numbers) for names, numbers in STATISTICS.items())
        if ("sqlite_stat1",) in known:
            there = index.execute("SELECT tbl, idx, stat FROM sqlite_stat1 WHERE tbl <> 'GlobalProperties'").fetchall()
            if sorted(there, key=str) == rows:
                return
        index.execute("BEGIN IMMEDIATE")
        index.execute("ANALYZE GlobalProperties")  # makes the table
        index.execute("DELETE FROM sqlite_stat1 WHERE tbl <> 'GlobalProperties'")
        index.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows)
        index.execute("COMMIT")
    finally:
        index.close()


def prepare(program: str) -> None:
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
    except Exception as error:  # an index without statistics is slow, an Orthanc that does not start is worse
        print(f"start.py: no statistics for the index: {error}", file=sys.stderr, flush=True)
    os.execv(program, sys.argv[1:])


if __name__ == "__main__":
    main()
