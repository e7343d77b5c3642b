"""The filter postgresql_uri: libpq and urllib read its URI as it was meant, whatever the characters."""

from __future__ import annotations

import string
import urllib.parse
from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.filter.postgresql_uri import postgresql_uri

CONNECTION = {"host": "db.example.org", "database": "orthanc", "user": "orthanc", "password": "secret"}
CHARACTERS = "".join([*string.printable[:95], "é", "東", "\N{GRINNING FACE}"])


def uri(parameters: dict[str, Any] | None = None, **changes: Any) -> str:
    return postgresql_uri(CONNECTION | changes, **({"parameters": parameters} if parameters else {}))


def parse(text: str) -> dict[str, str]:
    """Let libpq read a URI."""
    return pytest.importorskip("psycopg2.extensions").parse_dsn(text)


def test_the_certificate_and_the_name_are_verified_by_default():
    assert uri() == "postgresql://orthanc:secret@db.example.org:5432/orthanc?sslmode=verify-full"


def test_parameters_follow_what_the_connection_sets():
    text = uri(
        {"sslrootcert": "/etc/ca.pem", "connect_timeout": 10}, address="192.0.2.7", port="5433", sslmode="verify-ca"
    )
    assert text == (
        "postgresql://orthanc:secret@db.example.org:5433/orthanc"
        "?hostaddr=192.0.2.7&sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=10"
    )


def test_an_empty_address_is_left_out():
    assert "hostaddr" not in uri(address="")


@pytest.mark.parametrize("name", ["user", "password", "database"])
@pytest.mark.parametrize("value", [*CHARACTERS, CHARACTERS, "%41", "${HOME}", "a:b@c/d?e#f", "[::1]", " "])
def test_every_character_is_kept(name, value):
    text = uri(**{name: value})
    # No character that a URI, JSON, or Orthanc's own ${…} would read as something else.
    assert set(text) <= set(string.ascii_letters + string.digits + "-._~%:/@?&=")
    assert parse(text)[{"database": "dbname"}.get(name, name)] == value
    parsed = urllib.parse.urlsplit(text)
    assert (parsed.hostname, parsed.port) == ("db.example.org", 5432)


@pytest.mark.parametrize("value", [CHARACTERS, "a&b=c", "C:\\ca.pem", "100 %"])
def test_every_character_of_a_parameter_is_kept(value):
    assert parse(uri({"application_name": value}))["application_name"] == value


@pytest.mark.parametrize(
    "host", ["::1", "fd00::7", "fe80::1%eth0", "192.0.2.7", "data_base", "a/b?c", "müller.example.org"]
)
def test_a_host_is_a_name_or_an_address(host):
    assert parse(uri(host=host))["host"] == host


def test_an_address_of_ipv6_is_put_in_brackets():
    assert "@[fd00::7]:5432/" in uri(host="fd00::7")
    assert parse(uri(address="fd00::7"))["hostaddr"] == "fd00::7"
