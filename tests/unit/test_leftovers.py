"""What a fault left between an archive's index and its storage is tidied, and nothing else is touched."""

from __future__ import annotations

import importlib
import io
import json
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
from tests.support.orthanc_server import archive, call

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
    (configuration / "users.json").write_text('{"RegisteredUsers": {"reverse_proxy": "a password of letters"}}')
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


def look(leftovers: ModuleType, of: Any, storage: Path, memory: Any, now: float, fault: Any = None) -> None:
    leftovers.look(of, storage, memory, fault or leftovers.Fault(), lambda: True, lambda: now)


def test_an_archive_that_goes_on_running_is_left_alone(leftovers, tmp_path):
    put(tmp_path, FILE, time.time())
    memory = leftovers.Memory(tmp_path / ".seen")
    with archive(*metrics(100), *metrics(105)) as server:
        for now in (START, START + 5):
            look(leftovers, client(leftovers, server.url), tmp_path, memory, now)
    again = leftovers.Memory(tmp_path / ".seen")
    assert (again.started, again.seen) == (START - 100, START + 5)


def test_an_archive_that_started_anew_is_tidied_once(leftovers, tmp_path, monkeypatch):
    file = put(tmp_path, FILE, START - 30)
    leftovers.Memory(tmp_path / ".seen").keep(START - 1000, START - 40)
    memory = leftovers.Memory(tmp_path / ".seen")
    monkeypatch.setattr(leftovers, "SETTLED", 15)
    monkeypatch.setattr(leftovers.time, "sleep", lambda seconds: None)
    with archive(*metrics(10), *metrics(20), *unknown() * 3, *metrics(25)) as server:
        look(leftovers, client(leftovers, server.url), tmp_path, memory, START)
        assert file.exists(), "the archive gets time to settle"
        look(leftovers, client(leftovers, server.url), tmp_path, memory, START + 10)
        assert not file.exists()
        look(leftovers, client(leftovers, server.url), tmp_path, memory, START + 15)


def test_a_look_that_failed_is_taken_again(leftovers, tmp_path):
    file = put(tmp_path, FILE, START - 30)
    memory = leftovers.Memory(tmp_path / ".seen")
    memory.keep(START - 1000, START - 40)
    failing = call("POST", "/tools/find", "", body=FIND, status=503)
    with archive(*metrics(20), failing, *metrics(30), *unknown() * 3) as server:
        with pytest.raises(leftovers.Away):
            look(leftovers, client(leftovers, server.url), tmp_path, memory, START)
        look(leftovers, client(leftovers, server.url), tmp_path, memory, START + 10)
    assert not file.exists()


def test_an_archive_that_is_away_or_has_no_database_is_waited_for(leftovers, tmp_path):
    with archive(call("GET", "/changes?last", "", status=503)) as server:
        with pytest.raises(leftovers.Away):
            look(leftovers, client(leftovers, server.url), tmp_path, leftovers.Memory(tmp_path / ".seen"), START)
        url = server.url
    with pytest.raises(leftovers.Away):
        look(leftovers, client(leftovers, url), tmp_path, leftovers.Memory(tmp_path / ".seen"), START)


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


def came(since: int, *changes: tuple[int, str, str], last: int, done: bool = True) -> Any:
    told = [{"Seq": number, "ChangeType": kind, "ID": identifier} for number, kind, identifier in changes]
    return call("GET", f"/changes?since={since}&limit=1000", {"Changes": told, "Done": done, "Last": last})


class Watched:
    """What the program knows of an archive between its looks. Times are seconds after START."""

    def __init__(self, module: ModuleType, storage: Path) -> None:
        self.module, self.storage = module, storage
        self.memory, self.fault, self.allowed, self.slow = module.Memory(storage / ".seen"), module.Fault(), True, 0.0

    def look(self, at: float, *calls: Any) -> None:
        times = iter([START + at - self.slow, START + at])
        with archive(*calls) as server:
            made = client(self.module, server.url)
            try:
                self.module.look(made, self.storage, self.memory, self.fault, lambda: self.allowed, lambda: next(times))
            except self.module.Refused:
                raise
            except self.module.Away:
                self.fault.begin()

    def outage(self) -> None:
        """Seen for four minutes, the last time at 0 with change 7, and then away until shortly before 60."""
        for at, change in ((-250, 3), (-180, 4), (-119, 5), (-60, 6), (0, 7)):
            self.look(at, *metrics(1000 + at, last=change))
        self.look(30, call("GET", "/changes?last", "", status=500))


@pytest.fixture
def watched(leftovers, tmp_path, monkeypatch) -> Watched:
    monkeypatch.setattr(leftovers.time, "sleep", lambda seconds: None)
    return Watched(leftovers, tmp_path)


def back(at: float, last: int = 9) -> list[Any]:
    return metrics(1000 + at, last=last, removed=START + 40)


NEW = came(4, (8, "NewInstance", "an-id"), (9, "NewStudy", "a-study"), last=9)
SAYS = call("GET", INFO, {"Uuid": NAME})
MISSES = call("POST", VERIFY, {"OrthancStatus": 2006}, status=500)
UIDS = [
    call("GET", "/instances/an-id", {"MainDicomTags": {"SOPInstanceUID": "1.2"}}),
    call("GET", "/instances/an-id/study", {"MainDicomTags": {"StudyInstanceUID": "1.3", "StudyDate": "x"}}),
]
DELETE = call("DELETE", "/instances/an-id", {"RemainingAncestor": None})
TAKEN_OUT = [SAYS, SAYS, MISSES, *UIDS, SAYS, DELETE]


@pytest.mark.parametrize("status", [13, 2006])
def test_an_image_that_was_refused_and_stayed_in_the_index_is_taken_out(watched, tmp_path, capsys, status):
    misses = call("POST", VERIFY, {"OrthancStatus": status}, status=500)
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS, SAYS, misses, *UIDS, SAYS, DELETE)
    called = "instance an-id (SOPInstanceUID 1.2, StudyInstanceUID 1.3)"
    assert f"takes {called} out of the index: its file is not there." in capsys.readouterr().out
    assert called in (tmp_path / "leftovers" / "taken-out.txt").read_text()
    watched.look(65, *back(65), NEW)


def test_an_archive_that_took_long_to_answer_was_away_too(watched):
    for at in (-5, 0):
        watched.look(at, *metrics(1000 + at, last=4))
    watched.slow = 25
    watched.look(60, *back(60), NEW, *TAKEN_OUT)


def test_a_file_that_is_removed_later_is_missed_later(watched, tmp_path):
    """Another thread of the archive gives up a minute after the first one. An image is asked about once."""
    file = put(tmp_path, FILE)
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS)
    watched.look(65, *back(65), NEW)
    file.unlink()
    watched.look(70, *back(70), NEW, *TAKEN_OUT[1:])


@pytest.mark.parametrize(
    "answers",
    [
        [call("GET", INFO, "", status=404)],
        [SAYS, SAYS, call("POST", VERIFY, {})],
        [SAYS, SAYS, call("POST", VERIFY, {"OrthancStatus": 2037}, status=500)],
        [SAYS, SAYS, call("POST", VERIFY, "", status=500)],
        [SAYS, SAYS, call("POST", VERIFY, "null", status=500)],
        [SAYS, call("GET", INFO, "", status=404)],
        [SAYS, SAYS, MISSES, *UIDS, call("GET", INFO, {"Uuid": "another"})],
    ],
    ids=["deleted", "readable", "another error", "no words", "null", "deleted now", "stored anew now"],
)
def test_an_image_that_may_have_its_file_stays_in_the_index(watched, answers):
    watched.outage()
    watched.look(60, *back(60), NEW, *answers)


def test_a_file_that_comes_back_meanwhile_stays(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(watched.module.time, "sleep", lambda seconds: put(tmp_path, FILE))
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS, SAYS)


def test_many_images_without_a_file_are_the_storage_s_fault(watched, monkeypatch):
    monkeypatch.setattr(watched.module, "MOST_WITHOUT_FILE", 0)
    watched.outage()
    with pytest.raises(watched.module.Refused, match="1 images that just came have no file"):
        watched.look(60, *back(60), NEW, SAYS, SAYS, MISSES)


@pytest.mark.parametrize("content", ["1 2\n", None], ids=["a copy", "none"])
def test_another_storage_in_the_place_of_the_one_that_was_seen_is_told_and_nothing_is_taken_out(
    watched, tmp_path, content
):
    watched.outage()
    (tmp_path / ".seen").unlink()
    if content:
        (tmp_path / ".seen").write_text(content)
    with pytest.raises(watched.module.Refused, match="is another one than 5 seconds ago"):
        watched.look(60, *back(60))
    watched.look(65, *back(65))


def test_those_that_are_taken_out_are_counted_over_all_looks(watched, monkeypatch):
    monkeypatch.setattr(watched.module, "MOST_WITHOUT_FILE", 1)
    watched.outage()
    watched.look(60, *back(60), NEW, *TAKEN_OUT)
    again = came(4, (8, "NewInstance", "an-id"), (10, "NewInstance", "an-id"), last=10)
    with pytest.raises(watched.module.Refused, match="1 images that just came have no file"):
        watched.look(65, *back(65, last=10), again, SAYS, SAYS, MISSES)
    watched.look(70, *back(70, last=10))


def test_an_image_that_was_set_aside_has_its_file(watched, tmp_path):
    (tmp_path / "leftovers").mkdir()
    (tmp_path / "leftovers" / NAME).write_bytes(FILE)
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS)


def test_deletions_that_take_the_last_changes_with_them_do_not_end_the_look(watched):
    watched.outage()
    watched.look(60, *back(60, last=5), came(4, (5, "NewInstance", "an-id"), last=5), *TAKEN_OUT)


def test_an_answer_that_waited_for_the_index_is_no_restart(watched):
    watched.outage()
    watched.slow = 25
    watched.look(60, *back(60 - 24), NEW, *TAKEN_OUT)
    watched.slow = 0
    assert watched.memory.started == START - 1000


def test_an_archive_that_cannot_tell_its_metrics_is_away(watched):
    watched.look(0, *metrics(1000, last=4))
    watched.look(5, metrics(1005)[0], call("GET", "/tools/metrics-prometheus", "", status=503))
    watched.look(60, *back(60), NEW, *TAKEN_OUT)


def test_nothing_is_asked_of_the_images_without_an_outage(watched):
    for at in (0, 5, 10):
        watched.look(at, *metrics(1000 + at, last=9, removed=START + at - 1))


@pytest.mark.parametrize(
    "answers",
    [
        metrics(1060, last=9),
        metrics(1060, last=9, removed=START - 16),
        metrics(1060, last=3, removed=START + 40),
        metrics(1060, last=5_000_000, removed=START + 40),
        metrics(30, last=9, removed=START + 40),
    ],
    ids=["no removal", "an old removal", "another index", "another large index", "it started anew"],
)
def test_nothing_is_asked_of_the_images_after_an_outage_with(watched, answers):
    watched.outage()
    watched.look(60, *answers)
    watched.look(65, *metrics(65, last=10, removed=START + 40))


def test_nothing_is_asked_of_the_images_where_the_settings_do_not_allow_it(watched):
    watched.allowed = False
    watched.outage()
    watched.look(60, *back(60))


def test_an_outage_is_looked_into_for_two_minutes(watched, tmp_path):
    put(tmp_path, FILE)
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS)
    watched.look(179, *back(179), NEW)
    watched.look(181, *back(181))


def test_an_outage_in_the_middle_of_the_look_is_part_of_the_same(watched):
    watched.outage()
    watched.look(60, *back(60), NEW, call("GET", INFO, "", status=500))
    watched.look(100, call("GET", "/changes?last", "", status=500))
    younger = came(6, (8, "NewInstance", "an-id"), last=9)
    watched.look(200, *back(200), younger, *TAKEN_OUT)


def test_changes_come_in_pages_and_late_ones_are_seen(watched, tmp_path):
    """Change 7 was hidden in a slow transaction while 8 and 9 were seen."""
    put(tmp_path, FILE)
    watched.outage()
    watched.look(60, *back(60), NEW, SAYS)
    late = came(4, (7, "NewInstance", "an-id"), last=7, done=False)
    watched.look(65, *back(65), late, SAYS, came(7, (8, "NewInstance", "an-id"), last=9))


@pytest.mark.parametrize(
    ("settings", "database", "allowed"),
    [
        ({}, {}, True),
        ({"OverwriteInstances": False}, {"Lock": True}, True),
        ({}, None, False),
        ({}, {"Lock": False}, False),
        ({"OverwriteInstances": True}, {}, False),
        ({"OverwriteInstances": "Always"}, {}, False),
        ({"Plugins": ["/usr/share/orthanc/plugins/libOrthancAwsS3Storage.so"]}, {}, False),
        ({"Plugins": ["/usr/share/orthanc/plugins/libAdvancedStorage.so"]}, {}, False),
    ],
    ids=str,
)
def test_only_an_index_in_postgresql_with_files_of_its_own_is_tidied(leftovers, settings, database, allowed):
    if database is not None:
        path = Path(sys.modules["health"].CONFIGURATION) / "database.json"
        path.write_text(json.dumps({"PostgreSQL": database}))
    assert leftovers.settings_allow({"Plugins": ["/usr/lib/libOrthancDicomWeb.so"]} | settings) is allowed


def test_an_archive_that_talks_strangely_does_not_end_the_program(leftovers, tmp_path, monkeypatch, capsys):
    settings = {"HttpPort": 1, "StorageDirectory": str(tmp_path), "Plugins": []}
    monkeypatch.setattr(leftovers, "read", lambda _name: settings)
    sleeps: Iterator[None] = iter([])
    monkeypatch.setattr(leftovers.time, "sleep", lambda _seconds: next(sleeps))
    with archive(
        call("GET", "/changes?last", {}), call("GET", "/tools/metrics-prometheus", "orthanc_up_time_s 1 1\n")
    ) as server:
        made = client(leftovers, server.url)
        monkeypatch.setattr(leftovers, "Archive", lambda *_arguments: made)
        with pytest.raises(StopIteration):
            leftovers.watch()
    assert "does not understand the archive: KeyError 'Last'" in capsys.readouterr().out


def test_the_reader_needs_nothing_but_python():
    assert _dicom_file.identify(io.BytesIO(FILE)).instance == UID
    source = (ROOT / "plugins" / "module_utils" / "_dicom_file.py").read_text(encoding="utf-8")
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= sys.stdlib_module_names
