"""What molecule's own runs printed with -vvv --diff, the first one on the bare server among them, and what they left
in the server's logs."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support import lab
from tests.support.secrets import find_secrets, scenario_secrets, server_records, server_secrets

testinfra_hosts = [lab.address("full")]
pytestmark = pytest.mark.first


@pytest.fixture(scope="module")
def printed() -> str:
    return (pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log").read_text()


@pytest.fixture(scope="module")
def hashes(host) -> dict[str, str]:
    return server_secrets(host)


def test_the_first_run_is_in_it(printed):
    for wanted in ("ESTABLISH SSH CONNECTION", "+++ after", "configure | Write the configuration", "PLAY RECAP"):
        assert wanted in printed


def test_no_secret_is_in_it(printed, hashes):
    known = scenario_secrets()
    assert {"web_password", "archive_password", "AE title of the checks", "odd_password.txt"} <= set(known)
    assert any("key" in name for name in known)
    assert {"hash of admin's password", "hash of odd's password"} <= set(hashes)
    assert find_secrets(printed, hashes) == []


def test_no_secret_is_in_the_logs_of_the_server(host, hashes):
    records = server_records(host)
    for place, sign in {
        "journal": "ansible-lightbox.pacs.file_set",
        "/var/log": '"status"',  # the reverse proxy's audit log
        "logs of containers": '"stream"',
        "containers": "lightbox.configuration",
    }.items():
        assert sign in records[place], place
    assert {place: find_secrets(text, hashes) for place, text in records.items()} == {place: [] for place in records}
