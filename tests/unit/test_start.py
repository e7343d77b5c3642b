"""What runs before the archive: it gives an index in SQLite statistics, and never keeps the archive from starting."""

from __future__ import annotations

import importlib
import json
import pathlib
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest

from tests.unit.conftest import PROJECT

FILE = PROJECT / "roles/orthanc/files/start.py"
# The tables that matter and their indexes, as Orthanc 1.12.7 makes them.
TABLES = """
CREATE TABLE GlobalProperties(property INTEGER PRIMARY KEY, value TEXT);
CREATE TABLE Resources(internalId INTEGER PRIMARY KEY AUTOINCREMENT, resourceType INTEGER, publicId TEXT,
  parentId INTEGER);
CREATE TABLE DicomIdentifiers(id INTEGER, tagGroup INTEGER, tagElement INTEGER, value TEXT,
  PRIMARY KEY(id, tagGroup, tagElement));
CREATE INDEX ChildrenIndex ON Resources(parentId);
CREATE INDEX PublicIndex ON Resources(publicId);
CREATE INDEX ResourceTypeIndex ON Resources(resourceType);
CREATE INDEX DicomIdentifiersIndex1 ON DicomIdentifiers(id);
CREATE INDEX DicomIdentifiersIndex2 ON DicomIdentifiers(tagGroup, tagElement);
CREATE INDEX DicomIdentifiersIndexValues ON DicomIdentifiers(value COLLATE BINARY);
INSERT INTO GlobalProperties VALUES (1, '6');
"""
ONE = (
    "SELECT instances.internalId FROM Resources AS instances WHERE instances.resourceType = 4 "
    "AND instances.publicId = 'x'"
)
OF_A_SERIES = (
    "SELECT instances.internalId FROM Resources AS instances INNER JOIN Resources series "
    "ON series.internalId = instances.parentId WHERE instances.resourceType = 4 AND series.publicId = 'x'"
)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The module, with a configuration of its own and a program that makes an index and ends."""
    monkeypatch.syspath_prepend(str(FILE.parent))
    module = importlib.import_module("start")
    (tmp_path / "etc").mkdir()
    (tmp_path / "storage").mkdir()
    (tmp_path / "etc/orthanc.json").write_text(json.dumps({"StorageDirectory": str(tmp_path / "storage")}))
    monkeypatch.setattr(module, "CONFIGURATION", str(tmp_path / "etc"))
    yield module
    sys.modules.pop("start")


@pytest.fixture
def program(tmp_path) -> pathlib.Path:
    """Does what Orthanc does at its first start: makes the index, says so, and ends when it is told."""
    body = tmp_path / "body.py"
    body.write_text(
        textwrap.dedent(
            f"""
            import json, signal, sqlite3, sys
            settings = json.load(open(sys.argv[1]))
            assert not settings["HttpServerEnabled"] and not settings["DicomServerEnabled"]
            index = sqlite3.connect(settings["IndexDirectory"] + "/index")
            index.executescript({TABLES!r})
            print("W1121 Orthanc has started", file=sys.stderr, flush=True)
            signal.pause()
            """
        )
    )
    file = tmp_path / "Orthanc"
    file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(body))} "$@"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def plan(path: pathlib.Path, question: str) -> str:
    index = sqlite3.connect(path)
    try:
        return "; ".join(row[3] for row in index.execute(f"EXPLAIN QUERY PLAN {question}"))
    finally:
        index.close()


def old_index(tmp_path) -> pathlib.Path:
    path = tmp_path / "storage/index"
    path.parent.mkdir(exist_ok=True)
    index = sqlite3.connect(path)
    index.executescript(TABLES)
    index.close()
    return path


def test_without_statistics_all_instances_are_read(tmp_path):
    path = old_index(tmp_path)
    assert "ResourceTypeIndex" in plan(path, ONE)
    assert "ResourceTypeIndex" in plan(path, OF_A_SERIES)


def test_an_index_that_is_there_gets_them_once(start, tmp_path):
    path = old_index(tmp_path)
    start.prepare("/nowhere")
    assert "PublicIndex" in plan(path, ONE)
    assert "ResourceTypeIndex" not in plan(path, OF_A_SERIES)
    before = path.stat().st_mtime_ns
    start.prepare("/nowhere")
    assert path.stat().st_mtime_ns == before


def test_statistics_of_somebody_else_stay(start, tmp_path):
    path = old_index(tmp_path)
    index = sqlite3.connect(path)
    with index:
        index.execute("INSERT INTO Resources VALUES (1, 1, 'x', NULL)")
        index.execute("ANALYZE")
    theirs = index.execute("SELECT * FROM sqlite_stat1 ORDER BY 1, 2").fetchall()
    start.prepare("/nowhere")
    assert index.execute("SELECT * FROM sqlite_stat1 ORDER BY 1, 2").fetchall() == theirs
    index.close()


def test_a_new_index_has_them_from_the_first_start(start, tmp_path, program):
    start.prepare(str(program))
    assert "PublicIndex" in plan(tmp_path / "storage/index", ONE)


def test_with_postgresql_there_is_no_index_to_make(start, tmp_path, program):
    (tmp_path / "etc/database.json").write_text("{}")
    start.prepare(str(program))
    assert list((tmp_path / "storage").iterdir()) == []


@pytest.mark.parametrize("broken", ["no index of Orthanc's", "no database", "no configuration"])
def test_the_archive_starts_whatever_happens(start, tmp_path, broken):
    path = tmp_path / "storage/index"
    if broken == "no index of Orthanc's":
        sqlite3.connect(path).execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(b"damaged" * 1000)
    if broken == "no configuration":
        shutil.rmtree(tmp_path / "etc")
    content = path.read_bytes()
    text = FILE.read_text().replace('"/etc/orthanc"', repr(str(tmp_path / "etc")))
    done = subprocess.run(
        [sys.executable, "-c", text, "/bin/echo", "--verbose", "/etc/orthanc"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "--verbose /etc/orthanc\n"
    assert ("no statistics for the index" in done.stderr) is (broken != "no index of Orthanc's")
    assert path.read_bytes() == content


def test_statistics_name_each_index_once_and_are_numbers(start):
    for (table, name), numbers in start.STATISTICS.items():
        assert table
        assert name
        values = [int(number) for number in numbers.split()]
        assert values == sorted(values, reverse=True)
        assert values[-1] >= 1
