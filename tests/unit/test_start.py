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

from tests.support.project import PROJECT
from tests.support.sqlite_index import OF_A_SERIES, OF_THE_CHILDREN, OF_THE_GRANDCHILDREN, ONE, TABLES, WHOLE_TABLE

FILE = PROJECT / "roles/orthanc/files/start.py"


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


def filled(path: pathlib.Path) -> None:
    """Two hundred studies of one series with a hundred instances each."""
    index = sqlite3.connect(path)
    with index:
        rows: list[tuple[int, int, str, int | None]] = [(1, 1, "patient", None)]
        metadata: list[tuple[int, int, str]] = []
        for study in range(200):
            one = len(rows) + 1
            rows += [(one, 2, f"study{study}", 1), (one + 1, 3, f"series{study}", one)]
            instances = range(one + 2, one + 102)
            rows += [(number, 4, f"instance{number}", one + 1) for number in instances]
            metadata += [(number, kind, "x") for number in instances for kind in range(10)]
        index.executemany("INSERT INTO Resources VALUES (?, ?, ?, ?)", rows)
        index.executemany("INSERT INTO Metadata VALUES (?, ?, ?)", metadata)
        index.execute("ANALYZE")
    index.close()


def test_true_statistics_let_whole_tables_be_read_and_are_replaced(start, tmp_path):
    path = old_index(tmp_path)
    filled(path)
    assert WHOLE_TABLE.search(plan(path, OF_THE_CHILDREN))
    assert WHOLE_TABLE.search(plan(path, OF_THE_GRANDCHILDREN))
    start.prepare("/nowhere")
    assert not WHOLE_TABLE.search(plan(path, OF_THE_CHILDREN))
    assert not WHOLE_TABLE.search(plan(path, OF_THE_GRANDCHILDREN))
    index = sqlite3.connect(path)
    there = index.execute("SELECT tbl, idx, stat FROM sqlite_stat1 WHERE tbl <> 'GlobalProperties'").fetchall()
    index.close()
    assert sorted(there) == sorted((*names, numbers) for names, numbers in start.STATISTICS.items())
    before = path.stat().st_mtime_ns
    start.prepare("/nowhere")
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("later", [False, True], ids=["1.12.7", "1.12.10"])
def test_each_index_has_some(start, tmp_path, later):
    path = old_index(tmp_path)
    index = sqlite3.connect(path)
    if later:  # one index in place of two
        index.executescript(
            "DROP INDEX DicomIdentifiersIndex2; DROP INDEX DicomIdentifiersIndexValues;"
            "CREATE INDEX DicomIdentifiersIndex3 ON DicomIdentifiers(tagGroup, tagElement, value)"
        )
    start.prepare("/nowhere")
    there = {name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert there <= {name for (name,) in index.execute("SELECT idx FROM sqlite_stat1")}
    index.close()


def test_a_new_index_has_them_from_the_first_start(start, tmp_path, program):
    start.prepare(str(program))
    assert "PublicIndex" in plan(tmp_path / "storage/index", ONE)


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
