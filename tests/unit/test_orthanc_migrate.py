"""Moving an index: what is asked of the archive, how rows travel, what SQLite says. The copy: molecule/database."""

from __future__ import annotations

import errno
import importlib.util
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.modules import orthanc_files_verify
from ansible_collections.lightbox.pacs.plugins.modules import orthanc_index_copy as index_copy

from tests.support.orthanc_server import archive, call, error, run_module
from tests.support.project import PROJECT

MD5 = {"aaaa": "0" * 32, "bbbb": "1" * 32}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    file = tmp_path / "index"
    made = sqlite3.connect(file)
    made.executescript(
        "CREATE TABLE GlobalProperties(property INTEGER PRIMARY KEY, value TEXT);"
        "CREATE TABLE Resources(internalId INTEGER PRIMARY KEY, resourceType INTEGER, publicId TEXT, parentId INTEGER);"
        "CREATE TABLE AttachedFiles(id INTEGER, fileType INTEGER, uncompressedMD5 TEXT, uuid TEXT);"
    )
    for number, (name, md5) in enumerate(MD5.items()):
        made.execute("INSERT INTO Resources VALUES (?, 4, ?, NULL)", (number, name))
        made.execute("INSERT INTO AttachedFiles VALUES (?, 1, ?, ?)", (number, md5, name * 2))
        made.execute("INSERT INTO AttachedFiles VALUES (?, 3, 'of another file', 'x')", (number,))
    made.commit()
    made.close()
    return file


def verify(index: Path, *calls, check: bool = False, **more):
    with archive(call("GET", "/changes?last=", {"Last": 1}), *calls) as played:
        return run_module("orthanc_files_verify", {"url": played.url, "index": str(index), "threads": 1, **more}, check)


def compared(name: str, md5: str, files: bool = True):
    path = f"/instances/{name}/attachments/dicom"
    return [call("GET", f"{path}/md5", md5), *([call("POST", f"{path}/verify-md5", {})] if files else [])]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("files", [True, False])
def test_every_instance_is_compared_and_read(index, check, files):
    for _again in range(2):
        done = verify(
            index,
            *compared("aaaa", MD5["aaaa"], files),
            *compared("bbbb", MD5["bbbb"], files),
            check=check,
            files=files,
        )
        assert (done["changed"], done["instances"]) == (False, 2)


@pytest.mark.parametrize(
    ("calls", "word"),
    [
        (
            [
                call("GET", "/instances/bbbb/attachments/dicom/md5", "2" * 32),
                call("GET", "/instances/bbbb/attachments/dicom/info", {"Uuid": "bbbbbbbb"}),
            ],
            "has the MD5 2222",
        ),
        (
            [
                call("GET", "/instances/bbbb/attachments/dicom/md5", error(404, "Unknown resource"), status=404),
                call("GET", "/instances/bbbb", {"ID": "bbbb"}),
            ],
            "is missing",
        ),
        (
            [
                call("GET", "/instances/bbbb/attachments/dicom/md5", MD5["bbbb"]),
                call("POST", "/instances/bbbb/attachments/dicom/verify-md5", error(404, ""), status=404),
                call("GET", "/instances/bbbb", {"ID": "bbbb"}),
            ],
            "its file is not what it was",
        ),
    ],
)
def test_an_instance_that_differs_is_named(index, calls, word):
    done = verify(index, *compared("aaaa", MD5["aaaa"]), *calls)
    assert done["failed"] is True
    assert "1 of 2 instances" in done["msg"]
    assert "old index is kept" in done["msg"]
    assert done["wrong"][0].startswith("bbbb ")
    assert word in done["wrong"][0]


GONE = [
    call("GET", "/instances/bbbb/attachments/dicom/md5", error(404, "Unknown resource"), status=404),
    call("GET", "/instances/bbbb", error(404, "Unknown resource"), status=404),
]
REPLACED = [
    call("GET", "/instances/bbbb/attachments/dicom/md5", "2" * 32),
    call("GET", "/instances/bbbb/attachments/dicom/info", {"Uuid": "cccccccc"}),
]


@pytest.mark.parametrize(
    ("calls", "read", "word"),
    [
        (GONE, [], "is not in Orthanc any more, and neither is its file"),
        (REPLACED, [call("POST", "/instances/bbbb/attachments/dicom/verify-md5", {})], "was replaced by another file"),
    ],
)
def test_an_instance_that_was_deleted_is_told_from_one_that_is_lost(index, calls, read, word):
    first = compared("aaaa", MD5["aaaa"])
    (index.parent / "aa").mkdir()
    done = verify(index, *first, *calls, *read, deleted="report")
    assert (done["changed"], done["instances"], done["deleted_count"]) == (False, 2, 1)
    assert done["deleted"] == [f"bbbb {word}"]
    # In the run that made the copy nobody can have deleted it.
    done = verify(index, *first, *calls, *read)
    assert done["failed"] is True
    assert done["wrong"] == [f"bbbb {word}"]
    # Its file is there, at its place or set aside: the archive did not delete it.
    for place in ("bb/bb", "orphaned"):
        file = index.parent / place / "bbbbbbbb"
        file.parent.mkdir(parents=True)
        file.touch()
        done = verify(index, *first, *calls, deleted="report")
        assert done["failed"] is True
        assert done["deleted"] == []
        assert done["wrong"][0].startswith("bbbb ")
        file.unlink()


@pytest.mark.parametrize("calls", [GONE, REPLACED])
def test_without_a_storage_nobody_knows_what_was_deleted(index, calls):
    """All images in a bucket, or an index that lies elsewhere."""
    (index.parent / "orphaned").mkdir()
    done = verify(index, *compared("aaaa", MD5["aaaa"]), *calls, deleted="report")
    assert done["failed"] is True
    assert done["deleted_count"] == 0
    assert done["wrong"][0].startswith("bbbb ")


def test_a_file_at_which_the_server_cannot_look_is_not_gone(index, monkeypatch):
    (index.parent / "aa").mkdir()
    stat = os.stat

    def broken(path, *arguments, **more):
        if str(path).endswith("bb/bb/bbbbbbbb"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return stat(path, *arguments, **more)

    monkeypatch.setattr(os, "stat", broken)
    done = verify(index, *compared("aaaa", MD5["aaaa"]), *GONE, deleted="report")
    assert done["failed"] is True
    assert done["deleted_count"] == 0
    assert "bbbbbbbb, which the server cannot read: Input/output error" in done["wrong"][0]


@pytest.fixture
def damaged(index):
    """An index of 5000 instances, of whose table ten pages were overwritten after the first thousand rows."""
    made = sqlite3.connect(index)
    made.execute("CREATE INDEX ResourceOfFile ON AttachedFiles(id, fileType)")
    for number in range(2, 5000):
        made.execute("INSERT INTO Resources VALUES (?, 4, ?, NULL)", (number, f"{number:044}"))
        made.execute("INSERT INTO AttachedFiles VALUES (?, 1, ?, ?)", (number, "2" * 32, f"{number:036}"))
    made.commit()
    size = made.execute("PRAGMA page_size").fetchone()[0]
    made.close()
    content = bytearray(index.read_bytes())
    # Where the identifiers of attachments stand is in AttachedFiles: the count is taken from other pages.
    pages = [start for start in range(0, len(content), size) if b"2" * 32 in content[start : start + size]]
    for start in pages[len(pages) // 5 :][:10]:
        content[start : start + size] = b"\xee" * size
    index.write_bytes(content)
    return index


@pytest.mark.parametrize("threads", [1, 4])
def test_an_index_that_cannot_be_read_to_its_end_is_no_comparison(damaged, threads, monkeypatch):
    reader = sqlite3.connect(f"file:{damaged}?mode=ro&immutable=1", uri=True)
    query = f"SELECT {{}} {orthanc_files_verify.INSTANCES}"
    assert reader.execute(query.format("count(*)")).fetchone() == (5000,)
    with pytest.raises(sqlite3.DatabaseError):
        reader.execute(query.format("a.uuid, a.uncompressedMD5")).fetchall()
    reader.close()
    asked = []

    def equal(self, connection, name, expected, file):
        asked.append(name)
        return "", ""

    monkeypatch.setattr(orthanc_files_verify.Work, "compare", equal)
    done = verify(damaged, threads=threads)
    assert done["failed"] is True
    assert "cannot be read to its end: " in done["msg"]
    assert "malformed" in done["msg"]
    assert "old index is kept" in done["msg"]
    assert 0 < len(asked) < 5000


def test_fewer_instances_than_the_index_has_are_no_comparison(index, monkeypatch):
    monkeypatch.setattr(orthanc_files_verify.Work, "take_row", lambda self: None)
    done = verify(index)
    assert done["failed"] is True
    assert "it has 2 instances, and 0 could be read" in done["msg"]


def test_whatever_ends_a_thread_ends_the_comparison(index, monkeypatch):
    def odd(*_unused):
        raise RuntimeError("never thought of")

    monkeypatch.setattr(orthanc_files_verify.Work, "compare", odd)
    done = verify(index)
    assert done["failed"] is True
    assert "RuntimeError: never thought of" in done["msg"]


def test_an_archive_that_stops_answering_is_no_image_that_differs(index):
    unavailable = call("GET", "/instances/aaaa/attachments/dicom/md5", error(503, "The database is away"), status=503)
    done = verify(index, unavailable)
    assert done["failed"] is True
    assert "503" in done["msg"]
    assert "wrong" not in done


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, b"\\N"),
        (7, b"7"),
        (b"plain", b"plain"),
        ("Müller", "Müller".encode()),
        (b"a\tb\nc\rd\\e", b"a\\tb\\nc\\rd\\\\e"),
        (b"\\N", b"\\\\N"),
        (b"\\.", b"\\\\."),
        (b"\b\f\v", b"\\b\\f\\v"),
        (b"end\0", b"end"),
        (memoryview(b"\0\xff"), b"\\\\x00ff"),
    ],
)
def test_values_are_written_as_copy_reads_them(value, written):
    assert index_copy.field(value) == written


def test_rows_are_counted_and_compared_whatever_their_order():
    rows = [(number, b"text\n%d" % number) for number in range(1000)]
    source = index_copy.Source(rows)
    read = b""
    while part := source.read(100):
        assert len(part) <= 100
        read += part
    sink = index_copy.Sink()
    lines = read.splitlines(keepends=True)
    for line in reversed(lines):
        sink.write(line[:3])
        sink.write(memoryview(line[3:]))
    assert sink.digest == source.digest
    assert source.digest.count == 1000
    sink.write(lines[0])
    assert sink.digest != source.digest


def test_an_index_is_read_without_a_trace(index):
    before = {path.name: path.read_bytes() for path in index.parent.iterdir()}
    opened = index_copy.open_index(str(index))
    assert opened.execute("SELECT count(*) FROM Resources").fetchone() == (2,)
    opened.close()
    assert {path.name: path.read_bytes() for path in index.parent.iterdir()} == before


def test_an_index_of_a_killed_archive_is_completed(index):
    killed = sqlite3.connect(index)
    killed.execute("PRAGMA journal_mode=WAL")
    killed.execute("PRAGMA wal_autocheckpoint=0")
    killed.execute("INSERT INTO Resources VALUES (9, 4, 'cccc', NULL)")
    killed.commit()
    copy = index.parent / "killed"
    for end in ("", "-wal"):
        Path(f"{copy}{end}").write_bytes(Path(f"{index}{end}").read_bytes())
    opened = index_copy.open_index(str(copy))
    assert opened.execute("SELECT count(*) FROM Resources").fetchone() == (3,)
    killed.close()


def test_check_mode_completes_a_copy_only(index, tmp_path, monkeypatch):
    killed = sqlite3.connect(index)
    killed.execute("PRAGMA journal_mode=WAL")
    killed.execute("PRAGMA wal_autocheckpoint=0")
    killed.execute("INSERT INTO Resources VALUES (9, 4, 'cccc', NULL)")
    killed.commit()
    left = tmp_path / "killed"
    left.mkdir()
    for end in ("", "-wal"):
        (left / f"index{end}").write_bytes(Path(f"{index}{end}").read_bytes())
    killed.close()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in left.iterdir()}
    monkeypatch.setattr(
        index_copy,
        "copy_index",
        lambda _module, _connection, path: (
            index_copy.open_index(path).execute("SELECT count(*) FROM Resources").fetchone()
        ),
    )
    module = SimpleNamespace(check_mode=True, tmpdir=str(tmp_path), params={"index": str(left / "index")})
    assert index_copy.copy(module, None) == (3,)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in left.iterdir()} == before
    module.check_mode = False
    assert index_copy.copy(module, None) == (3,)
    assert not index_copy.has_log(str(left / "index"))


@pytest.fixture(scope="module")
def schema():
    spec = importlib.util.spec_from_file_location("schema", PROJECT / "roles/orthanc/files/schema.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_columns_of_an_index_in_use(schema, index):
    busy = sqlite3.connect(index)
    busy.execute("BEGIN EXCLUSIVE")
    found = schema.sqlite_index(str(index))["sqlite"]
    assert "resources.publicid" in found
    assert "attachedfiles.uncompressedmd5" in found
    busy.close()


def test_columns_of_an_index_that_is_all_log(schema, tmp_path):
    young = sqlite3.connect(tmp_path / "index")
    young.execute("PRAGMA journal_mode=WAL")
    young.execute("PRAGMA wal_autocheckpoint=0")
    young.execute("CREATE TABLE Labels(id INTEGER, label TEXT)")
    young.commit()
    assert schema.sqlite_index(str(tmp_path / "index")) == {"sqlite": ["labels.id", "labels.label"]}
    young.close()


def test_an_image_that_does_not_start_is_said(schema, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["schema.py", "image", "/bin/false", "/nowhere"])
    with pytest.raises(RuntimeError, match="does not start"):
        schema.main()


def put_aside(storage: Path, refused: str = "") -> subprocess.CompletedProcess[str]:
    """The script of the task, with a command that fails."""
    tasks = yaml.safe_load((PROJECT / "roles/orthanc/tasks/migrate.yml").read_text())
    block = next(task for task in tasks if task["name"] == "migrate | Bring the index over")["block"]
    task = next(task for task in block if task["name"] == "migrate | Put the old index aside")
    script = task["ansible.builtin.command"]["argv"][2]
    before = f"{refused}() {{ return 1; }}\n" if refused else ""
    return subprocess.run(["sh", "-euc", before + script, "move", str(storage), "note"], check=False, text=True)


def test_the_old_index_is_put_aside_in_one_step(tmp_path):
    for name in ("index", "index-wal", "index-shm", "index.before-postgresql.compared"):
        (tmp_path / name).touch()
    assert put_aside(tmp_path).returncode == 0
    # The note of an earlier comparison was about another copy.
    assert {path.name for path in tmp_path.iterdir()} == {"index.before-postgresql", ".index-in-postgresql"}


@pytest.mark.parametrize("refused", ["chmod", "mv"])
def test_no_note_stays_beside_an_index_that_could_not_be_put_aside(tmp_path, refused):
    (tmp_path / "index").touch()
    assert put_aside(tmp_path, refused).returncode != 0
    assert {path.name for path in tmp_path.iterdir()} == {"index"}


def test_a_network_of_a_stopped_container_stays(tmp_path):
    said = tmp_path / "said"
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "'network ls'*) printf 'now\\nunused\\nof-stopped\\n' ;;\n"
        "'ps -aq --filter network=of-stopped') echo 0123456789ab ;;\n"
        "'network rm '*) echo $3 ;;\n"
        "'container inspect '*) exit 1 ;;\n"
        "esac\n"
        f'echo "$*" >>{said}\n'
    )
    docker.chmod(0o755)
    left = tmp_path / "left"
    left.mkdir()
    script = (PROJECT / "roles/orthanc/files/cleanup.sh").read_text()
    run = subprocess.run(
        ["sh", "-c", script, "cleanup", "migrating", str(left), str(tmp_path / "none"), "now"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines() == ["unused", str(left)]
    assert [line for line in said.read_text().splitlines() if "network rm" in line] == ["network rm unused"]


def test_the_guard_stands_before_a_new_image_meets_the_database():
    (block,) = [
        task["block"]
        for task in yaml.safe_load((PROJECT / "roles/orthanc/tasks/migrate.yml").read_text())
        if "block" in task
    ]
    check = [
        number for number, task in enumerate(block) if task.get("ansible.builtin.include_tasks") == "check_schema.yml"
    ]
    starts = [number for number, task in enumerate(block) if task.get("community.docker.docker_container")]
    assert len(check) == 1
    assert check[0] < starts[0]
    assert "when" not in block[check[0]]
