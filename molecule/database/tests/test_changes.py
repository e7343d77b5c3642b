"""A changed password, an odd one, a database that others run, a certificate that ends: each by one run, and back."""

from __future__ import annotations

import hashlib
import json
import shlex
import string
import urllib.parse

from ansible_collections.lightbox.pacs.plugins.filter.postgresql_verifier import postgresql_verifier

from tests.support.database_server import (
    ADDRESS,
    CONFIGURATION,
    ROLES,
    container,
    instance,
    new_uid,
    on_server,
    session,
    sql,
    upload,
    wait_until_ready,
)
from tests.support.lab import INVENTORY, address, recap, run_playbook, run_roles, secret
from tests.support.secrets import find_secrets

testinfra_hosts = [address("database")]
CA = INVENTORY / ".secrets/ca/ca.pem"
ODD = string.printable[:95] + "é東"


def play(**answers: object):
    return run_playbook("playbooks/pacs.yml", "-i", INVENTORY, "-e", json.dumps(answers))


def test_a_password_of_every_character_works_and_is_never_shown(host):
    old = secret("database_password")
    run = run_roles(ROLES, "-vvv", "--diff", "-e", json.dumps({"pacs_database_password": ODD}))
    assert run.returncode == 0, run.stdout[-3000:]
    web = session()
    wait_until_ready(web)
    assert upload(web, instance(new_uid(), new_uid(), 1)[1])["Status"] == "Success"
    shown = [one for one in (ODD, json.dumps(ODD)[1:-1], urllib.parse.quote(ODD, safe=""), old) if one in run.stdout]
    assert shown == []
    again = run_roles(ROLES, "-e", json.dumps({"pacs_database_password": ODD}))
    assert recap(again.stdout)["changed"] == 0, again.stdout[-3000:]
    # The old one is out.
    with host.sudo():
        refused = host.run(
            f"PGPASSWORD={old} psql 'host=database.lightbox.internal hostaddr=172.17.0.1 user=orthanc dbname=orthanc "
            "sslmode=verify-full sslrootcert=/etc/lightbox/postgresql/ca.pem' -c 'SELECT 1'"
        )
    assert "password authentication failed" in refused.stderr


def test_a_database_that_others_run(host, tmp_path):
    """The same server, reached as any other: by its DNS name, its CA fetched from a URL, with its checksum."""
    answers = {
        "postgresql_local_address": ADDRESS,
        "postgresql_local_name": "database.lightbox.test",
        "postgresql_local_networks": ["172.16.0.0/12"],
    }
    run = play(**answers)
    assert run.returncode == 0, run.stdout[-3000:]
    remote = {
        "postgresql_provider": "external",
        "postgresql_host": "database.lightbox.test",
        "postgresql_ca_url": f"file://{CA}",
        "postgresql_ca_sha256": hashlib.sha256(CA.read_bytes()).hexdigest(),
        "pacs_database_password": secret("database_password"),
    }
    others = {"orthanc_container_address": "172.30.255.250"}  # the one variable of another role that it is given
    before = container(host)["Id"]
    # What cannot be trusted is refused by the role that returns the connection; below, before the archive is touched.
    strange = tmp_path / "strange.pem"
    strange.write_text(
        on_server(
            host,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=x' "
            "-keyout /dev/null 2>/dev/null",
        )
    )
    for changed, word in (
        ({"postgresql_ca_sha256": "0" * 64}, "did not match"),
        ({"postgresql_ca": str(strange), "postgresql_ca_url": ""}, "and postgresql_ca_sha256 is"),
        (
            {"postgresql_ca": str(strange), "postgresql_ca_url": "", "postgresql_ca_sha256": ""},
            "certificate verify failed",
        ),
        ({"postgresql_host": "nowhere.lightbox.test"}, "could not translate host name"),
        ({"postgresql_host": "database"}, "does not match host name"),
        ({"postgresql_host": "database"}, "made out to database.lightbox.test"),
    ):
        wrong = run_roles(["postgresql"], "-e", json.dumps(remote | others | changed))
        assert wrong.returncode == 2, changed
        assert word in wrong.stdout, wrong.stdout[-2000:]
        assert secret("database_password") not in wrong.stdout
    wrong = run_roles(ROLES, "-e", json.dumps(remote | {"pacs_database_password": "wrong-password-1"}))
    assert wrong.returncode == 2
    assert "password authentication failed" in wrong.stdout
    assert container(host)["Id"] == before

    run = run_roles(ROLES, "-e", json.dumps(remote))
    assert run.returncode == 0, run.stdout[-3000:]
    wait_until_ready(session())
    assert "hostaddr" not in on_server(host, f"cat {CONFIGURATION}/database.json")
    found = sql(
        host,
        "SELECT DISTINCT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) "
        "WHERE application_name = 'lightbox'",
    )
    assert found == ["t"]


# As on Amazon RDS: the administrator may make roles and databases and is not a superuser; one database is AWS's.
MASTER = """
CREATE ROLE rds_superuser;
CREATE ROLE master LOGIN CREATEDB CREATEROLE IN ROLE rds_superuser PASSWORD '{verifier}';
CREATE DATABASE rdsadmin;
REVOKE ALL ON DATABASE rdsadmin FROM PUBLIC;
ALTER DATABASE postgres OWNER TO master;
GRANT ALL ON DATABASE template1 TO PUBLIC;
"""
RULES = """
hostssl rdsadmin all all reject
hostssl all master,viewer all scram-sha-256
"""


def test_an_administrator_makes_what_the_archive_needs(host):
    """On the server of the test before, which logs every statement."""
    password, own = "Ma'ster 7 Numbat", "Vie'wer 8 Kakapo é"
    for statement in MASTER.format(verifier=postgresql_verifier(password)).strip().splitlines():
        sql(host, statement)
    hba = sql(host, "SHOW hba_file")[0]
    on_server(host, f"printf %s {shlex.quote(RULES)} >> {hba}")
    sql(host, "ALTER SYSTEM SET log_statement = 'all'")
    sql(host, "SELECT pg_reload_conf()")
    answers: dict[str, object] = {
        "postgresql_provider": "rds",
        "postgresql_host": "database.lightbox.test",
        "postgresql_ca": str(CA),
        "postgresql_user": "viewer",
        "postgresql_database": "pictures",
        "pacs_database_password": own,
        "orthanc_container_address": "172.30.255.250",  # the one variable of another role that it is given
        "pacs_database_administrator": {"user": "master", "password": password},
    }
    begun = on_server(host, "date '+%F %T'")

    def run(**changed: object):
        return run_roles(["postgresql"], "-vvv", "--diff", "-e", json.dumps(answers | changed))

    refused = run(pacs_database_administrator={"user": "master", "password": "wrong"})
    assert refused.returncode == 2
    assert 'password authentication failed for user "master"' in refused.stdout
    made = run()
    assert made.returncode == 0, made.stdout[-3000:]
    again = run()
    assert recap(again.stdout)["changed"] == 0, again.stdout[-3000:]
    # This one it cannot close, and does not try again.
    assert "viewer can connect to other databases, too: template1" in again.stdout
    # The administrator is not asked where nothing is missing.
    answers["pacs_database_administrator"] = {"user": "master", "password": "wrong"}
    assert run().returncode == 0
    facts = "rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'viewer'"
    assert sql(host, f"SELECT {facts}") == ["f"]
    owner = "pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'pictures'"
    assert sql(host, f"SELECT {owner}") == ["viewer"]
    assert sql(host, "SELECT has_database_privilege('viewer', 'postgres', 'CONNECT')") == ["f"]
    assert "pg_trgm" in sql(host, "SELECT extname FROM pg_extension", "pictures")
    # What is missing later, or is another's, is made again.
    sql(host, "DROP EXTENSION pg_trgm", "pictures")
    sql(host, "ALTER ROLE viewer CREATEDB")
    answers["pacs_database_administrator"] = {"user": "master", "password": password}
    repaired = run(pacs_database_password="Other-Viewer-9")
    assert repaired.returncode == 0, repaired.stdout[-3000:]
    assert sql(host, f"SELECT {facts}") == ["f"]
    assert "pg_trgm" in sql(host, "SELECT extname FROM pg_extension", "pictures")
    written = on_server(host, f"journalctl --no-pager --since {shlex.quote(begun)}; cat /var/log/postgresql/*.log")
    assert "PASSWORD 'SCRAM-SHA-256$4096:" in written
    for text in (written, *(one.stdout for one in (refused, made, again, repaired))):
        shown = find_secrets(text, {"master": password, "own": own, "other": "Other-Viewer-9"})
        assert shown == []
    sql(host, "ALTER SYSTEM RESET log_statement")
    for statement in (
        "DROP DATABASE pictures",
        "DROP DATABASE rdsadmin",
        "REASSIGN OWNED BY master TO postgres",
        "DROP OWNED BY master",
        "DROP ROLE viewer",
        "DROP ROLE master",
        "DROP ROLE rds_superuser",
        "REVOKE ALL ON DATABASE template1 FROM PUBLIC",
    ):
        sql(host, statement)


def test_the_way_back(host):
    run = play()
    assert run.returncode == 0, run.stdout[-3000:]
    wait_until_ready(session())
