"""What molecule's own runs printed with -vvv --diff, and what they handed to AWS and left on the server."""

from __future__ import annotations

import json

import pytest

from tests.support.aws_lab import client, control, log_of_runs, secret_key
from tests.support.lab import address
from tests.support.secrets import find_secrets, scenario_secrets, server_records, server_secrets

testinfra_hosts = [address("aws")]
pytestmark = pytest.mark.first


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Secrets that exist on AWS alone."""
    vault = client("secretsmanager")
    found = {"secret of the credentials": secret_key()}
    for secret in vault.list_secrets()["SecretList"]:
        value = vault.get_secret_value(SecretId=secret["ARN"])["SecretString"]
        found[f"password in {secret['Name']}"] = json.loads(value)["password"]
    assert len(found) == 2, found.keys()
    return found


def test_no_secret_was_printed(host, known):
    printed = log_of_runs()
    for wanted in ("Create or change the database", "ESTABLISH SSH CONNECTION", "+++ after", "PLAY RECAP"):
        assert wanted in printed
    assert {"database_password", "web_password", "archive_password"} <= set(scenario_secrets())
    assert find_secrets(printed, {**known, **server_secrets(host)}) == []


def test_no_secret_was_sent_to_aws(known):
    """Neither in a tag nor in user data nor in anything else."""
    sent = control("GET", "calls").text
    assert '"call": "ec2:RunInstances"' in sent
    assert find_secrets(sent, known) == []


def test_no_secret_is_in_the_logs_of_the_server(host, known):
    records = server_records(host)
    assert "ansible-lightbox.pacs.file_set" in records["journal"]
    assert {place: find_secrets(text, known) for place, text in records.items()} == {place: [] for place in records}


def test_the_server_does_not_know_the_administrator_of_the_database(host, known):
    (password,) = [value for name, value in known.items() if name.startswith("password in ")]
    with host.sudo():
        found = host.run(
            f"grep --recursive --files-with-matches --fixed-strings -e '{password}' /etc /opt /var/lib /root /home"
        )
    assert found.stdout == ""
