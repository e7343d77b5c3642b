"""What the archive's user sees inside the database, as verify.yml hands it to rds_check for an RDS instance."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.support.database_server import sql
from tests.support.lab import address, secret
from tests.support.rendering import Role

testinfra_hosts = [address("database")]
WORDS = (
    "host=database.lightbox.internal hostaddr=172.17.0.1 user=orthanc dbname=orthanc "
    "sslmode=verify-full sslrootcert=/etc/lightbox/postgresql/ca.pem"
)


def audit(host) -> dict[str, Any]:
    query = f"SELECT row_to_json(facts) FROM ({Role('postgresql').value('__postgresql_audit_query')}) AS facts"
    command = (
        f"PGPASSWORD={shlex.quote(secret('database_password'))} psql -XAt {shlex.quote(WORDS)} -c {shlex.quote(query)}"
    )
    with host.sudo():
        return json.loads(host.check_output(command))


def test_the_archives_own_database_is_as_it_should_be(host):
    facts = audit(host)
    assert (facts["user"], facts["encrypted"], facts["tls_version"]) == ("orthanc", True, "TLSv1.3")
    assert facts["tls_cipher"].startswith("TLS_")
    assert (facts["privileges"], facts["roles"]) == ([], [])
    assert "pg_trgm" in facts["extensions"]
    assert 1 <= facts["connections"] < facts["max_connections"] < 100
    assert facts["log_parameters"]["log_statement"] == "ddl"  # as this scenario's inventory sets it
    assert facts["schema_version"] == "6"
    assert facts["schema_revision"].isdecimal()
    assert facts["other_databases"] == []


@pytest.mark.parametrize(
    ("give", "take", "name", "value"),
    [
        ("ALTER ROLE orthanc CREATEDB", "ALTER ROLE orthanc NOCREATEDB", "privileges", ["CREATEDB"]),
        (
            "GRANT pg_monitor TO orthanc",
            "REVOKE pg_monitor FROM orthanc",
            "roles",
            ["pg_monitor", "pg_read_all_settings"],
        ),
        (
            "ALTER ROLE orthanc SET log_min_duration_statement = 0",
            "ALTER ROLE orthanc RESET log_min_duration_statement",
            "log_parameters",
            {"log_min_duration_statement": "0"},
        ),
    ],
)
def test_what_the_user_should_not_have_is_seen(host, give, take, name, value):
    sql(host, give)
    try:
        found = audit(host)[name]
    finally:
        sql(host, take)
    assert found | value == found if isinstance(found, dict) else set(value) <= set(found)
