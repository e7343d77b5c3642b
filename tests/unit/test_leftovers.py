"""What a fault left between an archive's index and its storage is tidied, and nothing else is touched."""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _dicom_file

from tests.samples.studies import SAMPLES, to_bytes
from tests.unit.orthanc_server import archive, call

ROOT = Path(__file__).resolve().parents[2]
FILE = to_bytes(SAMPLES["mr"].instance(0))
UID = str(SAMPLES["mr"].instance_uid(0))
FIND = {"Level": "Instance", "Query": {"SOPInstanceUID": UID}, "CaseSensitive": True}
NAME = "9db77590-0920-4362-a7e3-129e6dbd9af1"
START = float(int(time.time()))


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    monkeypatch.setitem(sys.modules, "dicom_file", _dicom_file)
    monkeypatch.syspath_prepend(str(ROOT / "roles" / "orthanc" / "files"))
    configuration = tmp_path_factory.mktemp("configuration")
    (configuration / "users.json").write_text('{"RegisteredUsers": {"gateway": "a password of letters"}}')
    health = importlib.import_module("health")
    monkeypatch.setattr(health, "CONFIGURATION", str(configuration))
    module = importlib.import_module("leftovers")
    monkeypatch.setattr(module, "SETTLED", 0)
    monkeypatch.setattr(module, "HEARTBEAT", tmp_path_factory.mktemp("heart") / "alive")
    yield module
    for name in ("leftovers", "health"):
        sys.modules.pop(name, None)


def client(leftovers: ModuleType, url: str) -> Any:
    parts = urlsplit(url)
    return leftovers.Archive(parts.hostname, parts.port)


def put(storage: Path, content: bytes, written: float = START - 1, name: str = NAME) -> Path:
    file = storage / name[:2] / name[2:4] / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (written, written))
    return file


def kept_as(*names: str) -> list[Any]:
    """The calls by which the archive tells that it keeps the instance in these files."""
    answers = [call("POST", "/tools/find", ["an-id"], body=FIND)]
    answers.append(call("GET", "/instances/an-id/attachments", [f"kind{number}" for number in range(len(names))]))
    for number, name in enumerate(names):
        answers.append(call("GET", f"/instances/an-id/attachments/kind{number}/info", {"Uuid": name}))
    return answers


def unknown() -> list[Any]:
    return [call("POST", "/tools/find", [], body=FIND)]


def test_a_file_that_the_index_does_not_know_is_set_aside(leftovers, tmp_path, capsys):
    file = put(tmp_path, FILE)
    with archive(*unknown() * 3) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 1
    assert not file.exists()
    assert (tmp_path / "leftovers" / NAME).read_bytes() == FILE
    assert NAME in capsys.readouterr().out


def test_half_a_file_is_set_aside(leftovers, tmp_path):
    put(tmp_path, FILE[: len(FILE) // 2])
    with archive(*unknown() * 3) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 1
    assert len(list((tmp_path / "leftovers").iterdir())) == 1


def test_a_file_that_another_index_knows_goes_back(leftovers, tmp_path, capsys):
    """An older index ran for a while, and then the right one again."""
    file = put(tmp_path, FILE)
    with archive(*unknown() * 3, *kept_as(NAME)) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 1
        file.parent.rmdir()
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START + 60, START + 120) == 0
    assert file.read_bytes() == FILE
    assert "took back" in capsys.readouterr().out


def test_the_copy_of_an_image_that_was_sent_again_is_set_aside(leftovers, tmp_path):
    put(tmp_path, FILE)
    with archive(*kept_as("another-file") * 3) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 1


@pytest.mark.parametrize("kept", [[NAME], ["the-whole-file", NAME]], ids=["the file", "its second attachment"])
def test_a_file_that_the_archive_keeps_stays(leftovers, tmp_path, kept):
    file = put(tmp_path, FILE)
    with archive(*kept_as(*kept)) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 0
    assert file.read_bytes() == FILE


def test_a_file_that_the_archive_comes_to_know_stays(leftovers, tmp_path):
    file = put(tmp_path, FILE)
    with archive(*unknown(), *kept_as(NAME)) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 0
    assert file.exists()


def test_a_file_that_the_archive_knows_at_the_last_moment_comes_back(leftovers, tmp_path):
    file = put(tmp_path, FILE)
    with archive(*unknown() * 2, *kept_as(NAME)) as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 0
    assert file.read_bytes() == FILE


@pytest.mark.parametrize("status", [401, 500, 503])
def test_nothing_moves_when_the_archive_cannot_tell(leftovers, tmp_path, status):
    file = put(tmp_path, FILE)
    with archive(call("POST", "/tools/find", "", body=FIND, status=status)) as server, pytest.raises(leftovers.Away):
        leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START)
    assert file.exists()


def test_what_is_no_instance_stays(leftovers, tmp_path):
    put(tmp_path, b"\x1f\x8b a summary of a series")
    put(tmp_path, b"\0" * 4000, name="00000000-0000-0000-0000-000000000000")
    put(tmp_path, b"", name="11111111-0000-0000-0000-000000000000")
    with archive() as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 0


def test_only_what_was_written_around_the_fault_is_looked_at(leftovers, tmp_path):
    for number, written in enumerate([START - 3600, START + 1]):
        file = put(tmp_path, FILE, written, name=f"{number}{NAME[1:]}")
        os.utime(file.parent, (START, START))
    old = put(tmp_path, FILE, name="ff" + NAME[2:])
    os.utime(old.parent, (START - 3600, START - 3600))
    (tmp_path / "index").write_bytes(FILE)
    (tmp_path / "leftovers").mkdir()
    with archive() as server:
        assert leftovers.tidy(client(leftovers, server.url), tmp_path, START - 60, START) == 0


def metrics(seconds: float, last: int = 1, removed: float = 0) -> list[Any]:
    lines = ["orthanc_count_studies 6 1", f"orthanc_up_time_s {seconds:.0f} 1"]
    if removed:
        lines.append(f"orthanc_storage_remove_duration_ms 2 {removed * 1000:.0f}")
    return [
        call("GET", "/changes?last", {"Changes": [], "Done": True, "Last": last}),
        call("GET", "/tools/metrics-prometheus", "\n".join([*lines, ""])),
    ]


def test_an_archive_that_goes_on_running_is_left_alone(leftovers, tmp_path):
    put(tmp_path, FILE, time.time())
    memory = leftovers.Memory(tmp_path / ".seen")
    with archive(*metrics(100), *metrics(105)) as server:
        for now in (START, START + 5):
            leftovers.look(client(leftovers, server.url), tmp_path, memory, now)
    again = leftovers.Memory(tmp_path / ".seen")
    assert (again.started, again.seen) == (START - 100, START + 5)


def test_an_archive_that_started_anew_is_tidied_once(leftovers, tmp_path, monkeypatch):
    file = put(tmp_path, FILE, START - 30)
    leftovers.Memory(tmp_path / ".seen").keep(START - 1000, START - 40, 1)
    memory = leftovers.Memory(tmp_path / ".seen")
    monkeypatch.setattr(leftovers, "SETTLED", 15)
    monkeypatch.setattr(leftovers.time, "sleep", lambda seconds: None)
    with archive(*metrics(10), *metrics(20), *unknown() * 3, *metrics(25)) as server:
        leftovers.look(client(leftovers, server.url), tmp_path, memory, START)
        assert file.exists(), "the archive gets time to settle"
        leftovers.look(client(leftovers, server.url), tmp_path, memory, START + 10)
        assert not file.exists()
        leftovers.look(client(leftovers, server.url), tmp_path, memory, START + 15)


def test_a_look_that_failed_is_taken_again(leftovers, tmp_path):
    file = put(tmp_path, FILE, START - 30)
    memory = leftovers.Memory(tmp_path / ".seen")
    memory.keep(START - 1000, START - 40, 1)
    failing = call("POST", "/tools/find", "", body=FIND, status=503)
    with archive(*metrics(20), failing, *metrics(30), *unknown() * 3) as server:
        with pytest.raises(leftovers.Away):
            leftovers.look(client(leftovers, server.url), tmp_path, memory, START)
        leftovers.look(client(leftovers, server.url), tmp_path, memory, START + 10)
    assert not file.exists()


def test_an_archive_that_is_away_or_has_no_database_is_waited_for(leftovers, tmp_path):
    with archive(call("GET", "/changes?last", "", status=503)) as server:
        with pytest.raises(leftovers.Away):
            leftovers.look(client(leftovers, server.url), tmp_path, leftovers.Memory(tmp_path / ".seen"), START)
        url = server.url
    with pytest.raises(leftovers.Away):
        leftovers.look(client(leftovers, url), tmp_path, leftovers.Memory(tmp_path / ".seen"), START)


@pytest.mark.parametrize(("status", "healthy"), [(503, True), (401, False)])
def test_who_is_refused_for_good_says_so_and_is_not_healthy(leftovers, tmp_path, monkeypatch, capsys, status, healthy):
    settings = {"HttpPort": 1, "StorageDirectory": str(tmp_path), "Plugins": []}
    monkeypatch.setattr(leftovers, "read", lambda _name: settings)

    def end(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(leftovers.time, "sleep", end)
    with archive(call("GET", "/changes?last", "", status=status)) as server:
        made = client(leftovers, server.url)
        monkeypatch.setattr(leftovers, "Archive", lambda *_arguments: made)
        with pytest.raises(KeyboardInterrupt):
            leftovers.watch()
    monkeypatch.setattr(leftovers.sys, "argv", ["leftovers.py", "health"])
    assert (leftovers.main() == 0) is healthy
    assert ("cannot ask the archive" in capsys.readouterr().out) is not healthy


# ---------------------------------------------------------------- entries without a file

INFO = "/instances/an-id/attachments/dicom/info"
VERIFY = "/instances/an-id/attachments/dicom/verify-md5"
NO_FILE = {"OrthancStatus": 2006}


def came(since: int, *changes: tuple[int, str, str], last: int, done: bool = True) -> Any:
    told = [{"Seq": number, "ChangeType": kind, "ID": identifier} for number, kind, identifier in changes]
    return call("GET", f"/changes?since={since}&limit=1000", {"Changes": told, "Done": done, "Last": last})


def without_file(answer: Any = NO_FILE, status: int = 500) -> list[Any]:
    return [call("GET", INFO, {"Uuid": NAME}), call("POST", VERIFY, answer, status=status)]


def taken_out() -> list[Any]:
    return [
        *without_file(),
        *without_file(),
        call("GET", "/instances/an-id", {"MainDicomTags": {"SOPInstanceUID": "1.2"}}),
        call("GET", "/instances/an-id/study", {"MainDicomTags": {"StudyInstanceUID": "1.3", "StudyDate": "x"}}),
        call("DELETE", "/instances/an-id", {"RemainingAncestor": None}),
    ]


@pytest.fixture
def remembered(leftovers, tmp_path, monkeypatch):
    """An archive that was seen a minute ago with change 5, and removed a file since then."""
    monkeypatch.setattr(leftovers.time, "sleep", lambda seconds: None)
    memory = leftovers.Memory(tmp_path / ".seen")
    memory.keep(START - 1000, START - 60, 5)
    return memory


REMOVED = metrics(1000, last=9, removed=START - 3)
NEW = came(5, (8, "NewInstance", "an-id"), (9, "NewStudy", "a-study"), last=9)


def test_an_image_that_was_refused_and_stayed_in_the_index_is_taken_out(leftovers, tmp_path, remembered, capsys):
    with archive(*REMOVED, NEW, *taken_out()) as server:
        leftovers.look(client(leftovers, server.url), tmp_path, remembered, START)
    said = "took instance an-id (SOPInstanceUID 1.2, StudyInstanceUID 1.3) out of the index: its file is not there."
    assert said in capsys.readouterr().out


def test_an_image_with_its_file_is_looked_at_once(leftovers, tmp_path, remembered):
    put(tmp_path, FILE)
    with archive(*REMOVED, NEW, call("GET", INFO, {"Uuid": NAME}), *REMOVED, NEW) as server:
        for now in (START, START + 5):
            leftovers.look(client(leftovers, server.url), tmp_path, remembered, now)


@pytest.mark.parametrize(
    "answers",
    [
        [call("GET", INFO, "", status=404)],
        without_file({}, 200),
        without_file({"OrthancStatus": 2037}),
        without_file("", 500),
        [*without_file(), call("GET", INFO, "", status=404)],
        [*without_file(), *without_file({}, 200)],
    ],
    ids=["deleted", "readable", "another error", "an error without words", "deleted now", "readable now"],
)
def test_an_image_that_may_have_its_file_stays_in_the_index(leftovers, tmp_path, remembered, answers):
    with archive(*REMOVED, NEW, *answers) as server:
        leftovers.look(client(leftovers, server.url), tmp_path, remembered, START)


@pytest.mark.parametrize(
    ("answers", "in_files"),
    [
        (metrics(1000, last=9), True),
        (metrics(1000, last=9, removed=START - 95), True),
        (metrics(1000, last=5, removed=START - 3), True),
        (metrics(1000, last=4, removed=START - 3), True),
        (metrics(1000, last=5_000_000, removed=START - 3), True),
        (REMOVED, False),
    ],
    ids=["no removal", "an old removal", "nothing new", "another index", "another large index", "a bucket"],
)
def test_nothing_is_asked_of_the_images_when(leftovers, tmp_path, remembered, answers, in_files):
    with archive(*answers) as server:
        made = client(leftovers, server.url)
        made.in_files = in_files
        leftovers.look(made, tmp_path, remembered, START)


def test_an_archive_without_its_database_is_asked_again_afterwards(leftovers, tmp_path, remembered):
    away = [call("GET", INFO, "", status=500)]
    with archive(*REMOVED, NEW, *away, *REMOVED, NEW, *taken_out()) as server:
        with pytest.raises(leftovers.Away):
            leftovers.look(client(leftovers, server.url), tmp_path, remembered, START)
        leftovers.look(client(leftovers, server.url), tmp_path, remembered, START + 5)


def test_changes_come_in_pages_and_late_ones_are_seen(leftovers, tmp_path, remembered):
    """Change 7 was hidden in a slow transaction while 8 and 9 were seen."""
    put(tmp_path, FILE)
    there = call("GET", INFO, {"Uuid": NAME})
    late = came(5, (7, "NewInstance", "an-id"), last=7, done=False)
    with archive(*REMOVED, NEW, there, *REMOVED, late, there, came(7, (8, "NewInstance", "an-id"), last=9)) as server:
        for now in (START, START + 5):
            leftovers.look(client(leftovers, server.url), tmp_path, remembered, now)


def test_what_was_seen_outlives_the_process_and_grows_old(leftovers, tmp_path):
    memory = leftovers.Memory(tmp_path / ".seen")
    assert memory.change == -1
    for now, change in ((0, 5), (60, 6), (119, 7), (121, 8)):
        memory.keep(START - 1000, START + now, change)
    assert leftovers.Memory(tmp_path / ".seen").change == 5
    memory.keep(START - 1000, START + 180, 9)
    assert memory.change == leftovers.Memory(tmp_path / ".seen").change == 6
    memory.keep(START - 1000, START + 185, 2)
    assert memory.change == 2, "another index"


def test_a_memory_of_before_there_were_changes_is_read(leftovers, tmp_path):
    (tmp_path / ".seen").write_text("1000 2000\n")
    memory = leftovers.Memory(tmp_path / ".seen")
    assert (memory.started, memory.seen, memory.change) == (1000, 2000, -1)


def test_the_reader_needs_nothing_but_python():
    assert _dicom_file.identify(io.BytesIO(FILE)).instance == UID
    source = (ROOT / "plugins" / "module_utils" / "_dicom_file.py").read_text(encoding="utf-8")
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= sys.stdlib_module_names
