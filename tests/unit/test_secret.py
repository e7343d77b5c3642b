"""The lookup that makes secrets: once, for nobody else, and never another one in the place of one that is there."""

from __future__ import annotations

import concurrent.futures
import os
import stat
import string
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar, trust_as_template

from tests.support.project import PROJECT

init_plugin_loader([str(PROJECT / ".collections")])
VAULT = [("default", VaultSecret(b"the vault's own password"))]


@pytest.fixture
def directory(tmp_path) -> Path:
    return tmp_path / "an inventory" / ".secrets"


def look_up(directory: Path, *names: str, vault: list | None = None, **options) -> list[str]:
    loader = DataLoader()
    loader.set_vault_secrets(vault or [])
    return lookup_loader.get("lightbox.pacs.secret", loader=loader).run(
        list(names), directory=str(directory), **options
    )


def put(directory: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_once_and_the_same_again(directory):
    first = look_up(directory, "web_password", "archive_password")
    assert look_up(directory, "web_password", "archive_password") == first
    assert look_up(directory, "archive_password") == first[1:]
    assert first[0] != first[1]
    assert (directory / "web_password").read_text() == first[0] + "\n"


def test_length_of_a_new_one_only(directory):
    made = look_up(directory, "long", length=64)
    assert len(made[0]) == 64
    assert look_up(directory, "long", length=16) == made
    with pytest.raises(AnsibleError, match="length is 15"):
        look_up(directory, "short", length=15)
    assert not (directory / "short").exists()


def test_characters_that_no_parser_bends(directory):
    made = look_up(directory, *(f"secret{number}" for number in range(200)))
    assert {len(secret) for secret in made} == {32}
    assert set("".join(made)) == set(string.ascii_letters + string.digits)
    assert all(secret[0].isalpha() for secret in made)
    assert len(set(made)) == 200


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read(directory, umask):
    before = os.umask(umask)
    try:
        look_up(directory, "web_password")
    finally:
        os.umask(before)
    assert mode(directory) == 0o700
    assert mode(directory / "web_password") == 0o600


def test_a_directory_made_here_is_closed_again(directory):
    first = look_up(directory, "web_password")
    directory.chmod(0o755)
    assert look_up(directory, "web_password") == first
    assert mode(directory) == 0o700


@pytest.mark.parametrize("open_to", [0o755, 0o750, 0o770, 0o711])
def test_any_other_open_directory_is_refused(directory, open_to):
    directory.mkdir(parents=True)
    directory.chmod(open_to)
    with pytest.raises(AnsibleError, match="is open to others") as refusal:
        look_up(directory, "web_password")
    assert f"chmod 700 '{directory}'" in str(refusal.value)
    assert mode(directory) == open_to
    assert list(directory.iterdir()) == []


def test_an_open_directory_of_another_user_is_refused(directory, monkeypatch):
    look_up(directory, "web_password")
    directory.chmod(0o755)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    with pytest.raises(AnsibleError, match="is open to others"):
        look_up(directory, "web_password")
    assert mode(directory) == 0o755


def test_git_does_not_see_it(directory):
    look_up(directory, "web_password")
    repository = directory.parent
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    status = subprocess.run(
        ["git", "-C", repository, "status", "--porcelain", "--untracked-files=all"], capture_output=True, check=True
    )
    assert status.stdout == b""


def test_nothing_but_the_secret_stays(directory):
    look_up(directory, "web_password")
    assert sorted(path.name for path in directory.iterdir()) == [".gitignore", "web_password"]


@pytest.mark.parametrize(
    "content", [b"of your own\n", b"of your own", b"of your own\r\n", b"of your own\nsecond line\n"]
)
def test_first_line_of_your_own_file(directory, content):
    path = put(directory, "web_password", content, 0o400)
    assert look_up(directory, "web_password") == ["of your own"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("inside", ["\f", "\v", "\x1c", "\x85", "\u2028", "\r", " "])
def test_a_line_ends_at_a_line_feed_only(directory, inside):
    put(directory, "web_password", f"of{inside}your own\r\nsecond line\n".encode())
    assert look_up(directory, "web_password") == [f"of{inside}your own"]


def test_a_link(directory):
    put(directory, "elsewhere", b"of your own\n")
    (directory / "web_password").symlink_to("elsewhere")
    assert look_up(directory, "web_password") == ["of your own"]
    (directory / "elsewhere").unlink()
    with pytest.raises(AnsibleError, match="is a link to elsewhere, which does not exist"):
        look_up(directory, "web_password")
    assert not (directory / "elsewhere").exists()


def test_encrypted_by_vault(directory):
    encrypted = VaultLib(VAULT).encrypt(b"of your own\n")
    path = put(directory, "web_password", encrypted)
    assert look_up(directory, "web_password", vault=VAULT) == ["of your own"]
    with pytest.raises(AnsibleError, match=r"(?i)vault|decrypt"):
        look_up(directory, "web_password")
    assert path.read_bytes() == encrypted


def test_your_own_is_not_taken_for_a_template(directory):
    put(directory, "web_password", b"{{ 6 * 7 }}\n")
    template = "{{ lookup('lightbox.pacs.secret', 'web_password', directory=here) }}"
    templar = Templar(loader=DataLoader(), variables={"here": str(directory)})
    assert templar.template(trust_as_template(template)) == "{{ 6 * 7 }}"


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o666])
def test_readable_by_others(directory, open_to):
    path = put(directory, "web_password", b"of your own\n", open_to)
    with pytest.raises(AnsibleError, match="can be read by others") as refusal:
        look_up(directory, "web_password")
    assert f"chmod 600 '{path}'" in str(refusal.value)
    assert "of your own" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\nsecond line\n"])
def test_empty(directory, content):
    path = put(directory, "web_password", content)
    with pytest.raises(AnsibleError, match="is empty"):
        look_up(directory, "web_password")
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/etc/passwd", ".hidden", "-x", "a b", "a\n", "ä"])
def test_names(directory, name):
    with pytest.raises(AnsibleError, match="is not a name of letters"):
        look_up(directory, name)
    assert not directory.exists()


def test_two_at_once_agree(directory):
    program = (
        "import sys; from tests.support import loader; loader.ready(); "
        "from ansible.parsing.dataloader import DataLoader; from ansible.plugins.loader import lookup_loader; "
        "lookup = lookup_loader.get('lightbox.pacs.secret', loader=DataLoader()); "
        "print(lookup.run(['web_password'], directory=sys.argv[1])[0])"
    )

    def other_run(_number: int) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", program, directory], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = set(pool.map(other_run, range(6)))
    assert found == {(directory / "web_password").read_text().strip()}


def test_two_at_once_agree_in_the_narrowest_moment(directory, monkeypatch):
    """Another run puts its secret there between this one's look and its own writing."""
    link = os.link

    def late(source, target):
        put(directory, "web_password", b"of the other run\n")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert look_up(directory, "web_password") == ["of the other run"]
    assert sorted(path.name for path in directory.iterdir()) == [".gitignore", "web_password"]
