"""What a fault left between Orthanc's index and its storage is reported or reconciled, and nothing else is touched."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _dicom_file

from tests.samples.studies import SAMPLES, to_bytes
from tests.support.orthanc_server import archive, call

ROOT = Path(__file__).resolve().parents[2]
FILE = to_bytes(SAMPLES["mr"].instance(0))
UID = str(SAMPLES["mr"].instance_uid(0))
NAME = "9db77590-0920-4362-a7e3-129e6dbd9af1"
START = float(int(time.time()))


class Program:
    """The module, its storage and configuration, and what its process keeps between two runs."""

    def __init__(self, module: Any, directory: Path) -> None:
        self.module, self.storage, self.configuration = module, directory / "storage", directory
        self.storage.mkdir()
        self.outage = module.Outage()
        self.slow = 0.0
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Write Orthanc's settings; database: None for an index in SQLite."""
        database = settings.pop("database", {"PostgreSQL": {}})
        plain = {"HttpPort": 1, "StorageDirectory": str(self.storage), "Plugins": ["/usr/lib/libOrthancDicomWeb.so"]}
        for name, content in (
            ("users", {"RegisteredUsers": {"reverse_proxy": "a password of letters"}}),
            ("orthanc", plain | settings),
            ("database", database),
        ):
            if content is not None:
                (self.configuration / f"{name}.json").write_text(json.dumps(content))

    def put(self, content: bytes = FILE, written: float = START - 30, name: str = NAME) -> Path:
        """A file at Orthanc's place for it."""
        file = self.storage / name[:2] / name[2:4] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (written, written))
        return file

    def remember(self, **values: Any) -> None:
        """Save a state: by default of an Orthanc that had started long ago and was last seen 40 seconds ago."""
        self.module.State(**({"started": START - 1000, "seen": START - 40} | values)).save(self.storage)

    def state(self) -> Any:
        return self.module.State.load(self.storage)

    def run(self, at: float, *calls: Any, act: bool = False, watch: bool = True) -> str:
        """Run once, at so many seconds after START, against an Orthanc that gets these calls."""
        times = iter([START + at - self.slow, START + at])
        with archive(*calls) as server:
            parts = urlsplit(server.url)
            orthanc = self.module.Orthanc(parts.hostname, parts.port)
            compare, self.module.compare = self.module.compare, lambda *given: compare(*given, lambda: next(times))
            try:
                return self.module.run(orthanc, self.storage, self.outage, act, watch)
            except self.module.UnavailableError:
                self.outage.begin()
                raise
            finally:
                self.module.compare = compare

    def fail(self, at: float, *calls: Any) -> None:
        with pytest.raises(self.module.UnavailableError):
            self.run(at, *calls)

    def have_outage(self) -> None:
        """Orthanc was seen for four minutes, the last time at 0 with change 7, and then did not reach its database."""
        for at, change in ((-250, 3), (-180, 4), (-119, 5), (-60, 6), (0, 7)):
            self.run(at, *status(1000 + at, change))
        self.fail(30, call("GET", "/changes?last", "", status=500))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Program]:
    monkeypatch.setitem(sys.modules, "dicom_file", _dicom_file)
    monkeypatch.syspath_prepend(str(ROOT / "roles/orthanc/files"))
    monkeypatch.setattr(importlib.import_module("health"), "CONFIGURATION", str(tmp_path))
    module = importlib.import_module("reconcile")
    for name in ("HEARTBEAT", "LOCK", "METRICS"):
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    yield Program(module, tmp_path)
    for name in ("reconcile", "health"):
        sys.modules.pop(name)


def status(running: float, last: int = 1) -> list[Any]:
    """The calls of an Orthanc that reaches its index."""
    metrics = f"orthanc_count_studies 6 1\northanc_up_time_s {running:.0f} 1\n"
    return [
        call("GET", "/changes?last", {"Changes": [], "Done": True, "Last": last}),
        call("GET", "/tools/metrics-prometheus", metrics),
    ]


def attachments(*names: str) -> list[Any]:
    """The calls by which Orthanc lists the files of an instance."""
    calls = [call("GET", "/instances/an-id/attachments", [f"kind{number}" for number in range(len(names))])]
    for number, name in enumerate(names):
        calls.append(call("GET", f"/instances/an-id/attachments/kind{number}/info", {"Uuid": name}))
    return calls


def found(*names: str, status: int = 200) -> list[Any]:
    """The calls by which Orthanc lists the files in which it keeps the image; none: it does not have it."""
    query = {"Level": "Instance", "Query": {"SOPInstanceUID": UID}, "CaseSensitive": True}
    answer = "" if status != 200 else ["an-id"] if names else []
    return [call("POST", "/tools/find", answer, body=query, status=status), *(attachments(*names) if names else [])]


RESTARTED = status(20)


def metrics(program: Program) -> dict[str, float]:
    lines = program.module.METRICS.read_text().splitlines()
    return {name.removeprefix("lightbox_"): float(value) for name, value in map(str.split, lines)}


# ---------------------------------------------------------------- orphaned files


@pytest.mark.parametrize("kept", [[], ["another-file"]], ids=["unknown", "sent again"])
@pytest.mark.parametrize("content", [FILE, FILE[: len(FILE) // 2]], ids=["whole", "half"])
def test_a_file_that_the_index_does_not_list_is_reported_and_stays(program, content, kept):
    program.remember()
    file = program.put(content)
    said = program.run(0, *RESTARTED, *found(*kept) * 2)
    assert said.startswith(f"1 orphaned files ({len(content)} bytes), 0 index entries without a file")
    assert metrics(program) == {
        "orphaned_files": 1,
        "orphaned_bytes": len(content),
        "instances_without_file": 0,
        "orphaned_since_seconds": START - 40,
    }
    assert file.read_bytes() == content
    assert not (program.storage / "orphaned").exists()
    # Orthanc is not queried for it every few seconds, and another process reports the same.
    assert program.run(5, *status(25)) == said
    program.outage = program.module.Outage()
    assert program.run(10, *status(30)) == said


def test_the_report_lists_the_files_and_acting_moves_them(program, capsys):
    program.remember()
    files = [program.put(name=name) for name in (NAME, "ff" + NAME[2:])]
    program.run(0, *RESTARTED, *found() * 4)
    assert program.run(5, *status(25), *found() * 2, watch=False) == "Steps to take: 2"
    said = capsys.readouterr().out
    assert all(f"Move {file.relative_to(program.storage)} ({len(FILE)} bytes) to orphaned:" in said for file in files)
    assert all(file.exists() for file in files)
    assert program.run(10, *status(30), *found() * 2, act=True, watch=False) == "Steps taken: 2"
    assert {file.name for file in files} == {file.name for file in (program.storage / "orphaned").iterdir()}
    assert not any(file.exists() for file in files)
    assert metrics(program)["orphaned_files"] == metrics(program)["orphaned_since_seconds"] == 0
    assert program.run(15, *status(35), act=True, watch=False) == "Steps taken: 0"


def test_who_watches_acts_by_itself_where_told_to(program, capsys):
    program.remember()
    file = program.put()
    assert program.run(0, *RESTARTED, *found() * 3, act=True).startswith("0 orphaned files")
    assert (program.storage / "orphaned" / NAME).read_bytes() == FILE
    assert f"Move {file.relative_to(program.storage)}" in capsys.readouterr().out


@pytest.mark.parametrize("kept", [[NAME], ["the-whole-file", NAME]], ids=["the file", "its second attachment"])
def test_a_file_that_the_index_lists_is_not_orphaned(program, kept):
    program.remember()
    program.put()
    assert program.run(0, *RESTARTED, *found(*kept)).startswith("0 orphaned")


def test_a_file_that_the_index_comes_to_list_is_not_orphaned(program):
    program.remember()
    program.put()
    assert program.run(0, *RESTARTED, *found(), *found(NAME)).startswith("0 orphaned")


def test_a_file_that_the_index_lists_when_it_would_be_moved_stays(program):
    file = program.put()
    program.remember(seen=START, orphaned=[NAME])
    assert program.run(0, *status(1000), *found(NAME), act=True, watch=False) == "Steps taken: 0"
    assert file.exists()
    assert program.state().orphaned == []


def test_a_file_that_somebody_removed_is_not_reported_any_longer(program):
    file = program.put()
    program.remember(seen=START, orphaned=[NAME])
    file.unlink()
    assert program.run(0, *status(1000)).startswith("0 orphaned")
    assert metrics(program)["orphaned_since_seconds"] == 0


def test_a_file_that_another_index_lists_goes_back(program, capsys):
    """Files were moved while the index of a backup was in use, and then the right one is back."""
    file = program.put()
    program.remember(seen=START, orphaned=[NAME])
    program.run(0, *status(1000), *found(), act=True, watch=False)
    file.parent.rmdir()
    said = program.run(60, *status(20), *found(NAME), *attachments(NAME))
    assert said.startswith("0 orphaned files (0 bytes), 1 index entries without a file")
    assert not file.exists()
    assert program.run(65, *status(25), *attachments(NAME), act=True, watch=False) == "Steps taken: 1"
    assert file.read_bytes() == FILE
    assert f"Move orphaned/{NAME} to {file.relative_to(program.storage)}: the index lists it" in capsys.readouterr().out
    assert metrics(program)["instances_without_file"] == 0


@pytest.mark.parametrize("code", [401, 404, 500, 503])
def test_nothing_is_orphaned_when_orthanc_does_not_say_so(program, code):
    program.remember()
    file = program.put()
    with pytest.raises(program.module.ReconcileError):
        program.run(0, *RESTARTED, *found(status=code), act=True)
    assert file.exists()
    # The comparison is made again.
    assert program.run(10, *status(30), *found() * 2).startswith("1 orphaned")


def test_what_is_not_an_instance_is_not_orphaned(program):
    program.remember()
    program.put(b"\x1f\x8b a summary of a series")
    program.put(b"\0" * 4000, name="00000000-0000-0000-0000-000000000000")
    program.put(b"", name="11111111-0000-0000-0000-000000000000")
    assert program.run(0, *RESTARTED).startswith("0 orphaned")


def test_only_what_was_written_around_the_fault_is_compared(program):
    program.remember()
    for number, written in enumerate([START - 3600, START - 10]):
        file = program.put(written=written, name=f"{number}{NAME[1:]}")
        os.utime(file.parent, (START, START))
    old = program.put(name="ff" + NAME[2:])
    os.utime(old.parent, (START - 3600, START - 3600))
    (program.storage / "index").write_bytes(FILE)
    (program.storage / "orphaned").mkdir()
    assert program.run(0, *RESTARTED).startswith("0 orphaned")


def test_a_file_of_the_last_moment_before_a_quick_restart_is_compared(program):
    """Orthanc reports 20 seconds, because it counts whole ones, and may have started 19 seconds ago."""
    program.remember()
    program.put(written=START - 19.5)
    assert program.run(0, *RESTARTED, *found() * 2).startswith("1 orphaned")


def test_an_orthanc_that_goes_on_running_is_not_compared(program):
    program.put(written=START)
    for at in (0, 5):
        program.run(at, *status(100 + at))
    assert (program.state().started, program.state().seen) == (START - 100, START + 5)


def test_an_orthanc_that_just_started_gets_time_to_settle(program):
    program.remember()
    program.put()
    program.fail(0, *status(10))
    assert program.run(10, *status(20), *found() * 2).startswith("1 orphaned")


def test_a_moment_without_write_access_does_not_make_another_storage_of_it(program, monkeypatch):
    program.run(0, *status(1000))
    rename = Path.replace

    def refuse(*_arguments: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        program.run(5, *status(1005))
    monkeypatch.setattr(Path, "replace", rename)
    program.run(10, *status(1010))
    assert program.state().seen == START + 10


# ---------------------------------------------------------------- index entries without a file

INFO = "/instances/an-id/attachments/dicom/info"
VERIFY = "/instances/an-id/attachments/dicom/verify-md5"


def added(since: int, *changes: tuple[int, str, str], last: int, done: bool = True) -> Any:
    listed = [{"Seq": number, "ChangeType": kind, "ID": identifier} for number, kind, identifier in changes]
    return call("GET", f"/changes?since={since}&limit=1000", {"Changes": listed, "Done": done, "Last": last})


def back(at: float, last: int = 9) -> list[Any]:
    return status(1000 + at, last)


NEW = added(4, (8, "NewInstance", "an-id"), (9, "NewStudy", "a-study"), last=9)
LISTED = call("GET", INFO, {"Uuid": NAME})
GONE = call("GET", INFO, "", status=404)
MISSING = call("POST", VERIFY, {"OrthancStatus": 2006}, status=500)
UIDS = [
    call("GET", "/instances/an-id", {"MainDicomTags": {"SOPInstanceUID": "1.2"}}),
    call("GET", "/instances/an-id/study", {"MainDicomTags": {"StudyInstanceUID": "1.3", "StudyDate": "x"}}),
]
DELETE = call("DELETE", "/instances/an-id", {"RemainingAncestor": None})
FOUND = [LISTED, LISTED, MISSING, *attachments(NAME)]
REMOVED = [MISSING, *UIDS, LISTED, DELETE]


@pytest.mark.parametrize("code", [13, 2006])
def test_an_image_that_was_refused_and_stayed_in_the_index_is_reported_and_can_be_removed(program, capsys, code):
    missing = call("POST", VERIFY, {"OrthancStatus": code}, status=500)
    program.have_outage()
    said = program.run(60, *back(60), NEW, LISTED, LISTED, missing, *attachments(NAME))
    assert said.startswith("0 orphaned files (0 bytes), 1 index entries without a file")
    assert (metrics(program)["instances_without_file"], metrics(program)["orphaned_since_seconds"]) == (1, START)
    program.outage = program.module.Outage()
    once = [*attachments(NAME), missing, *UIDS, LISTED]
    assert program.run(300, *back(300), *once, watch=False) == "Steps to take: 1"
    described = "instance an-id, SOPInstanceUID 1.2, StudyInstanceUID 1.3"
    assert f"Remove {described} from the index" in capsys.readouterr().out
    assert program.run(305, *back(305), *once, DELETE, act=True, watch=False) == "Steps taken: 1"
    assert described in (program.storage / "orphaned/removed-from-index.txt").read_text()
    assert metrics(program)["instances_without_file"] == 0


def test_who_watches_removes_it_where_told_to(program):
    program.have_outage()
    program.run(60, *back(60), NEW, *FOUND, *REMOVED, act=True)
    program.run(65, *back(65), NEW, GONE, act=True)
    program.run(70, *back(70), NEW, act=True)


def test_an_orthanc_that_took_long_to_answer_had_an_outage_too(program):
    for at in (-5, 0):
        program.run(at, *status(1000 + at, 4))
    program.slow = 25
    assert " 1 index entries" in program.run(60, *back(60), NEW, *FOUND)


def test_a_file_that_is_removed_later_is_missed_later(program):
    """Another thread of Orthanc gives up a minute after the first one. An image is queried once."""
    file = program.put()
    program.have_outage()
    program.run(60, *back(60), NEW, LISTED)
    program.run(65, *back(65), NEW)
    file.unlink()
    assert " 1 index entries" in program.run(70, *back(70), NEW, *FOUND[1:])


@pytest.mark.parametrize(
    "answers",
    [
        [GONE],
        [LISTED, LISTED, call("POST", VERIFY, {})],
        [LISTED, LISTED, call("POST", VERIFY, {"OrthancStatus": 2037}, status=500)],
        [LISTED, LISTED, call("POST", VERIFY, "", status=500)],
        [LISTED, LISTED, call("POST", VERIFY, "null", status=500)],
        [LISTED, GONE],
        [*FOUND[:3], *attachments("another")],
    ],
    ids=["deleted", "readable", "another error", "no words", "null", "deleted now", "stored anew now"],
)
def test_an_image_that_may_have_its_file_is_not_reported(program, answers):
    program.have_outage()
    assert " 0 index entries" in program.run(60, *back(60), NEW, *answers)


@pytest.mark.parametrize(
    "answers",
    [[call("POST", VERIFY, {})], [MISSING, *UIDS, GONE], [MISSING, *UIDS, call("GET", INFO, {"Uuid": "another"})]],
    ids=["readable now", "deleted now", "stored anew now"],
)
def test_an_image_that_has_its_file_again_stays_in_the_index(program, answers):
    program.remember(seen=START, without_file={"an-id": NAME})
    run = program.run(0, *status(1000), *attachments(NAME), *answers, act=True, watch=False)
    assert run == "Steps taken: 0"


def test_a_file_that_is_back_is_not_reported_any_longer(program):
    program.put()
    program.remember(seen=START, without_file={"an-id": NAME})
    assert " 0 index entries" in program.run(0, *status(1000))


def test_an_image_whose_file_was_moved_aside_gets_it_back(program):
    (program.storage / "orphaned").mkdir()
    (program.storage / "orphaned" / NAME).write_bytes(FILE)
    program.have_outage()
    program.run(60, *back(60), NEW, *FOUND, act=True)
    assert (program.storage / NAME[:2] / NAME[2:4] / NAME).read_bytes() == FILE


def test_nothing_is_removed_where_many_images_have_no_file(program, monkeypatch):
    monkeypatch.setattr(program.module, "MAX_WITHOUT_FILE", 0)
    program.have_outage()
    assert " 1 index entries" in program.run(60, *back(60), NEW, *FOUND)
    for watch in (True, False):
        with pytest.raises(program.module.ReconcileError, match="Check that the storage directory is the right one"):
            program.run(300, *back(300), *attachments(NAME), act=True, watch=watch)
    assert program.state().without_file == {"an-id": NAME}


def test_what_is_removed_is_counted_over_an_outage(program, monkeypatch):
    monkeypatch.setattr(program.module, "MAX_WITHOUT_FILE", 1)
    program.have_outage()
    program.run(60, *back(60), NEW, *FOUND, *REMOVED, act=True)
    again = added(4, (10, "NewInstance", "an-id"), last=10)
    with pytest.raises(program.module.ReconcileError, match="More than 1 images"):
        program.run(65, *back(65, last=10), again, *FOUND, act=True)


@pytest.mark.parametrize("content", ['{"seen": 1}', None], ids=["a copy", "none"])
def test_another_storage_in_the_place_of_the_one_that_was_seen_is_not_compared(program, content):
    program.have_outage()
    (program.storage / ".reconcile.json").unlink()
    if content:
        (program.storage / ".reconcile.json").write_text(content)
        program.put()  # is not looked for either
    with pytest.raises(program.module.ReconcileError, match="is not the one of 5 seconds ago"):
        program.run(60, *back(60))
    program.run(65, *back(65))


def test_deletions_that_take_the_last_changes_with_them_do_not_end_the_comparison(program):
    program.have_outage()
    late = added(4, (5, "NewInstance", "an-id"), last=5)
    assert " 1 index entries" in program.run(60, *back(60, last=5), late, *FOUND)


def test_an_answer_that_waited_for_the_index_is_not_a_restart(program):
    program.have_outage()
    program.slow = 25
    program.run(60, *back(60 - 24), NEW, *FOUND)
    assert program.state().started == START - 1000


def test_an_orthanc_that_cannot_report_its_metrics_has_an_outage(program):
    program.run(0, *status(1000, 4))
    program.fail(5, status(1005)[0], call("GET", "/tools/metrics-prometheus", "", status=503))
    assert " 1 index entries" in program.run(60, *back(60), NEW, *FOUND)


def test_images_are_not_queried_without_an_outage(program):
    for at in (0, 5, 10):
        program.run(at, *status(1000 + at, 9))


@pytest.mark.parametrize(
    "answers",
    [status(1060, 3), status(1060, 5_000_000), status(30, 9)],
    ids=["another index", "another large index", "it was restarted"],
)
def test_images_are_not_queried_after_an_outage_with(program, answers):
    program.have_outage()
    program.run(60, *answers)
    program.run(65, *status(65, 10))


@pytest.mark.parametrize(
    ("settings", "is_compared"),
    [
        ({}, True),
        ({"OverwriteInstances": False, "database": {"PostgreSQL": {"Lock": True}}}, True),
        ({"database": None}, False),
        ({"database": {"PostgreSQL": {"Lock": False}}}, False),
        ({"OverwriteInstances": True}, False),
        ({"OverwriteInstances": "Always"}, False),
        ({"Plugins": ["/usr/share/orthanc/plugins/libOrthancAwsS3Storage.so"]}, False),
        ({"Plugins": ["/usr/share/orthanc/plugins/libAdvancedStorage.so"]}, False),
    ],
    ids=str,
)
def test_images_are_queried_where_the_index_is_in_postgresql_and_each_has_its_own_file(program, settings, is_compared):
    (program.configuration / "database.json").unlink()
    program.configure(**settings)
    program.have_outage()
    program.run(60, *back(60), *([NEW, GONE] if is_compared else []))


def test_an_outage_is_compared_for_two_minutes(program):
    program.put()
    program.have_outage()
    program.run(60, *back(60), NEW, LISTED)
    program.run(179, *back(179), NEW)
    program.run(181, *back(181))


def test_an_outage_in_the_middle_of_the_comparison_is_part_of_the_same(program):
    program.have_outage()
    program.fail(60, *back(60), NEW, call("GET", INFO, "", status=500))
    program.fail(100, call("GET", "/changes?last", "", status=500))
    assert " 1 index entries" in program.run(200, *back(200), NEW, *FOUND)


def test_changes_come_in_pages_and_late_ones_are_seen(program):
    """Change 7 was hidden in a slow transaction while 8 and 9 were seen."""
    program.put()
    program.have_outage()
    program.run(60, *back(60), NEW, LISTED)
    late = added(4, (7, "NewInstance", "an-id"), last=7, done=False)
    program.run(65, *back(65), late, LISTED, added(7, (8, "NewInstance", "an-id"), last=9))


# ---------------------------------------------------------------- the program


@pytest.fixture
def start(program, monkeypatch) -> Callable[..., int | None]:
    """Run the program with arguments against an Orthanc that gets these calls; its exit code, None where it repeats."""

    def run_main(arguments: str, *calls: Any) -> int | None:
        monkeypatch.setattr(program.module.sys, "argv", ["reconcile.py", *arguments.split()])

        def end(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(program.module.time, "sleep", end)
        with archive(*calls) as server:
            parts = urlsplit(server.url)
            program.configure(HttpPort=parts.port)
            monkeypatch.setattr(program.module, "HOST", parts.hostname)
            try:
                return program.module.main()
            except KeyboardInterrupt:
                return None

    return run_main


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        (status(1000), 0, "Steps to take: 0"),
        ([call("GET", "/changes?last", "", status=503)], 75, "Orthanc answers 503 to /changes?last"),
        ([call("GET", "/changes?last", "", status=401)], 1, "Orthanc answers 401 to /changes?last"),
        ([call("GET", "/changes?last", {})], 1, "Cannot compare index and storage: KeyError 'Last'"),
    ],
    ids=["compared", "unavailable", "refused", "strange"],
)
def test_the_program_says_what_is_wrong_and_is_healthy_while_it_works(program, start, capsys, answers, code, said):
    assert start("health") == 1
    program.remember(seen=0)
    assert start("report", *answers) == code
    assert capsys.readouterr().out == f"{said}\n"
    assert start("report --watch", *answers) is None
    assert capsys.readouterr().out == (f"{said}\n" if code == 1 else "")
    assert start("health") == (code == 1)
    program.module.METRICS.unlink()
    assert start("health") == 1


@pytest.mark.parametrize("arguments", ["", "act now", "report --watch again", "watch"])
def test_the_program_refuses_other_arguments(start, capsys, arguments):
    assert start(arguments) == 2
    assert "usage: reconcile.py" in capsys.readouterr().out


def test_an_orthanc_that_is_not_there_is_unavailable(program):
    with pytest.raises(program.module.UnavailableError):
        program.module.Orthanc("127.0.0.1", 1).status()


def test_the_reader_needs_nothing_but_python():
    assert _dicom_file.identify(io.BytesIO(FILE)).instance == UID
    source = (ROOT / "plugins/module_utils/_dicom_file.py").read_text(encoding="utf-8")
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= sys.stdlib_module_names
