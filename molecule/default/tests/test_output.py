"""What molecule's own runs printed with -vvv --diff, the first one on the bare server among them."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.secrets import find_secrets, secrets_in_every_form


@pytest.fixture(scope="module")
def printed() -> str:
    return (pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log").read_text()


def test_the_first_run_is_in_it(printed):
    for wanted in ("ESTABLISH SSH CONNECTION", "+++ after", "configure | Write the configuration", "PLAY RECAP"):
        assert wanted in printed


def test_no_secret_is_in_it(printed):
    known = secrets_in_every_form()
    assert {"web_password", "archive_password"} <= set(known)
    assert any("key" in name for name in known)
    assert find_secrets(printed) == []
