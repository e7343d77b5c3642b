"""What molecule's own runs printed with -vvv --diff, and what they left in the server's logs and in PostgreSQL's."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.lab import address
from tests.support.secrets import find_secrets, scenario_secrets, server_records

testinfra_hosts = [address("database")]
pytestmark = pytest.mark.first


def test_no_secret_is_in_what_was_printed():
    printed = (pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log").read_text()
    assert "database | Make the archive's user" in printed
    assert {"database_password", "archive_password"} <= set(scenario_secrets())
    assert find_secrets(printed) == []


def test_no_secret_is_in_the_logs_of_the_server(host):
    records = server_records(host)
    assert "ansible-lightbox.pacs.file_set" in records["journal"]
    assert "statement: CREATE TABLE" in records["/var/log"]  # Orthanc's: the role's own statements are not logged
    assert {place: find_secrets(text) for place, text in records.items()} == {place: [] for place in records}
