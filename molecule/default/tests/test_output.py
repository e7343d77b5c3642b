"""What the first runs printed with -vvv --diff, from the check of the bare server on."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.secrets import find_secrets, secrets_in_every_form


@pytest.fixture(scope="module")
def printed() -> str:
    return (pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log").read_text()


def test_every_run_is_in_it(printed):
    assert printed.count("PLAY RECAP") >= 3
    assert "ESTABLISH SSH CONNECTION" in printed
    assert "+++ after" in printed


def test_no_secret_is_in_it(printed):
    known = secrets_in_every_form()
    assert {"web_password", "archive_password"} <= set(known)
    assert any("key" in name for name in known)
    assert find_secrets(printed) == []
