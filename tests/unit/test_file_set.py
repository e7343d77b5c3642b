"""The module files: do, do again, check, check again; on a real file system."""

from __future__ import annotations

import getpass
import grp
import json
import os
import stat
import subprocess
import sys

import pytest

from tests.support.project import PROJECT

ME = getpass.getuser()
GROUP = grp.getgrgid(os.getgid()).gr_name


def run(*files: dict, check: bool = False) -> dict:
    arguments = {
        "files": [{"owner": ME, "group": GROUP, **file} for file in files],
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        "_ansible_no_log": False,
        "_ansible_remote_tmp": "/tmp",  # noqa: S108 - what the module is told where it would run
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(PROJECT / "plugins/modules/file_set.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(PROJECT / ".collections")},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


# Arguments by standard input, as pipelining hands them over.
RUNNER = """
import runpy, sys
from ansible.module_utils.testing import patch_module_args
import json
arguments = json.load(sys.stdin)["ANSIBLE_MODULE_ARGS"]
with patch_module_args(arguments):
    runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def tree(tmp_path):
    return (
        {"path": str(tmp_path / "a/b"), "state": "directory", "mode": "0750"},
        {"path": str(tmp_path / "a/b/open"), "content": "two\nlines\n"},
        {"path": str(tmp_path / "a/b/hidden"), "secret": "Correct7Horse8Battery\n", "mode": "0440"},
    )


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_check_do_again_check_again(tree, tmp_path):
    paths = [file["path"] for file in tree]
    checked = run(*tree, check=True)
    assert (checked["changed"], checked["paths"]) == (True, paths)
    assert list(tmp_path.iterdir()) == []

    done = run(*tree)
    assert (done["changed"], done["paths"]) == (True, paths)
    assert (tmp_path / "a/b/open").read_text() == "two\nlines\n"
    assert (tmp_path / "a/b/hidden").read_text() == "Correct7Horse8Battery\n"
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/open", "a/b/hidden")] == [0o755, 0o750, 0o644, 0o440]

    for check in (False, True):
        again = run(*tree, check=check)
        assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])


def test_only_what_differs_is_written(tree, tmp_path):
    run(*tree)
    before = os.stat(tmp_path / "a/b/hidden").st_mtime_ns
    done = run(tree[0], {**tree[1], "content": "another\n"}, tree[2])
    assert done["paths"] == [tree[1]["path"]]
    assert os.stat(tmp_path / "a/b/hidden").st_mtime_ns == before
    assert done["diff"][0]["before"].endswith("two\nlines\n")
    assert done["diff"][0]["after"].endswith("another\n")


def test_attributes_alone_do_not_rewrite_the_content(tree, tmp_path):
    run(*tree)
    number = os.stat(tmp_path / "a/b/open").st_ino
    done = run({**tree[1], "mode": "0600"})
    assert done["changed"] is True
    assert mode(tmp_path / "a/b/open") == 0o600
    assert os.stat(tmp_path / "a/b/open").st_ino == number


def test_a_secret_shows_nowhere(tree):
    for check in (True, False):
        assert "Correct7Horse8Battery" not in json.dumps(run(*tree, check=check))
    assert "Correct7Horse8Battery" not in json.dumps(run({**tree[2], "secret": "Another7Horse8Battery\n"}))
    assert "Another7Horse8Battery" not in json.dumps(run({**tree[2], "secret": "Third7Horse8Battery\n"}))


def test_absent(tree, tmp_path):
    run(*tree)
    gone = {"path": tree[1]["path"], "state": "absent"}
    assert run(gone, check=True)["changed"] is True
    assert (tmp_path / "a/b/open").exists()
    assert run(gone)["changed"] is True
    assert not (tmp_path / "a/b/open").exists()
    assert run(gone)["changed"] is False
    assert run(gone, check=True)["changed"] is False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"path": "relative", "content": ""}, "is not an absolute path"),
        ({"path": "/x", "content": "", "mode": "644"}, "four octal digits"),
        ({"path": "/x"}, "needs `content` or `secret`"),
        ({"path": "/x", "state": "directory", "content": ""}, "neither as anything else"),
        ({"path": "/x", "state": "link"}, "needs `target` as a link"),
        ({"path": "/x", "content": "", "target": "y"}, "none as anything else"),
        ({"path": "/x", "content": "", "owner": "nobody-knows-me"}, "nobody-knows-me"),
        ({"path": "/x", "content": "", "secret": ""}, "mutually exclusive"),
    ],
)
def test_wrong_entries_are_refused_before_anything_is_written(tree, tmp_path, wrong, message):
    failed = run(*tree, wrong)
    assert failed["failed"] is True
    assert message in failed["msg"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_refused(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/file").touch()
    assert "is no file" in run({"path": str(tmp_path / "directory"), "content": ""})["msg"]
    assert "is no directory" in run({"path": str(tmp_path / "directory/file"), "state": "directory"})["msg"]
    assert "something in it" in run({"path": str(tmp_path / "directory"), "state": "absent"})["msg"]
    (tmp_path / "link").symlink_to(tmp_path / "directory/file")
    assert "is no file" in run({"path": str(tmp_path / "link"), "content": ""})["msg"]


def test_links(tmp_path):
    link = tmp_path / "a/current"

    def entry(target: str) -> dict:
        return {"path": str(link), "state": "link", "target": target}

    assert run(entry("one"), check=True)["changed"] is True
    assert not link.is_symlink()
    assert run(entry("one"))["changed"] is True
    assert link.readlink().name == "one"
    assert run(entry("one"))["changed"] is False
    done = run(entry("two"))
    assert (done["diff"][0]["before"], done["diff"][0]["after"]) == ("-> one\n", "-> two\n")
    assert link.readlink().name == "two"
    assert [path.name for path in link.parent.iterdir()] == ["current"]
    # A file gives way, a directory does not.
    (tmp_path / "file").write_text("old")
    assert run({**entry("one"), "path": str(tmp_path / "file")})["changed"] is True
    assert (tmp_path / "file").is_symlink()
    assert "is not a link" in run({**entry("one"), "path": str(tmp_path / "a")})["msg"]
    assert run({"path": str(link), "state": "absent"})["changed"] is True
    assert not link.is_symlink()


def test_an_unknown_owner_is_no_fault_in_check_mode(tmp_path):
    done = run({"path": str(tmp_path / "file"), "content": "", "owner": "made-later"}, check=True)
    assert done["changed"] is True
    assert "made-later" in done["diff"][0]["after"]
