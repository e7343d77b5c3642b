"""The connection to the database is encrypted and checked: by server, archive, and before both the role."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.support.database_server import CONFIGURATION, STORAGE, container, on_server, sql
from tests.support.lab import address, secret

testinfra_hosts = [address("database")]
CA = "/etc/lightbox/postgresql/ca.pem"
NAME = "database.lightbox.internal"
BRIDGE = "172.17.0.1"


def psql(host, words: str, password: str | None = None, question: str = "SELECT 'in'"):
    """What libpq says to these connection words, with the archive's user and password."""
    with host.sudo():
        return host.run(
            f"PGPASSWORD={shlex.quote(password or secret('database_password'))} "
            f"psql -XAt {shlex.quote(f'user=orthanc {words}')} -c {shlex.quote(question)}"
        )


GOOD = f"host={NAME} hostaddr={BRIDGE} dbname=orthanc sslmode=verify-full sslrootcert={CA}"


def test_every_connection_of_the_archive_is_encrypted(host):
    found = sql(
        host,
        "SELECT s.ssl, s.version, a.application_name FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) "
        "WHERE a.usename = 'orthanc'",
    )
    assert found
    assert {line.rsplit("|", 1)[0] for line in found} == {"t|TLSv1.3"}


def test_the_server_listens_on_dockers_bridge_alone(host):
    listening = on_server(host, "ss -Hltn 'sport = :5432'").split()
    assert [word for word in listening if word.endswith(":5432")] == [f"{BRIDGE}:5432"]


def test_the_archive_asks_for_everything(host):
    settings = json.loads(on_server(host, f"cat {CONFIGURATION}/database.json"))["PostgreSQL"]
    assert settings["EnableIndex"] is True
    assert settings["EnableStorage"] is False
    assert "sslmode=verify-full" in settings["ConnectionUri"]
    # A network that loses everything is noticed; test_faults.py tries it for more than these 30 seconds.
    assert "tcp_user_timeout=30000" in settings["ConnectionUri"]
    assert "sslrootcert=%2Fetc%2Forthanc%2Fdatabase-ca.pem" in settings["ConnectionUri"]
    for name, mode in (("database.json", 0o440), ("database-ca.pem", 0o440)):
        with host.sudo():
            file = host.file(f"{CONFIGURATION}/{name}")
            assert (file.mode, file.user, file.group) == (mode, "root", "lightbox-orthanc")
    assert "PostgreSQL" not in json.loads(on_server(host, f"cat {CONFIGURATION}/orthanc.json"))
    mounts = {mount["Destination"]: mount["RW"] for mount in container(host)["Mounts"]}
    assert mounts["/etc/orthanc"] is False


def test_pixels_are_files_and_not_in_the_database(host):
    assert sql(host, "SELECT count(*) FROM pg_largeobject_metadata", "orthanc") == ["0"]
    assert on_server(host, f"ls -A {STORAGE} | grep -x index || true") == ""


def test_passwords_are_kept_as_scram(host):
    assert sql(host, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'orthanc'") == ["t"]


def test_plain_connections_are_refused(host):
    assert psql(host, GOOD).stdout.strip() == "in"
    refused = psql(host, f"hostaddr={BRIDGE} dbname=orthanc sslmode=disable")
    assert refused.rc != 0
    assert "no encryption" in refused.stderr


@pytest.mark.parametrize("database", ["postgres", "template1", "patients"])
def test_the_archives_user_can_read_no_other_database(host, database):
    if database == "patients":
        sql(host, "DROP DATABASE IF EXISTS patients")
        sql(host, "CREATE DATABASE patients")
        sql(host, "CREATE TABLE names AS SELECT 'Doe^Jane' AS name; GRANT SELECT ON names TO PUBLIC", "patients")
    refused = psql(host, GOOD.replace("dbname=orthanc", f"dbname={database}"))
    assert refused.rc != 0
    assert "no pg_hba.conf entry" in refused.stderr
    if database == "patients":
        sql(host, "DROP DATABASE patients")
    else:  # and it would not even if pg_hba.conf let it
        assert sql(host, f"SELECT has_database_privilege('orthanc', '{database}', 'CONNECT')") == ["f"]


def test_the_archives_user_may_nothing_but_work_in_its_database(host):
    found = sql(
        host,
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles "
        "WHERE rolname = 'orthanc'",
    )
    assert found == ["f|f|f|f|f"]
    assert sql(
        host, "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE rolname = 'orthanc'"
    ) == ["0"]
    refused = psql(host, GOOD, question="COPY (SELECT 1) TO PROGRAM 'id'")
    assert "permission denied" in refused.stderr
    assert "permission denied" in psql(host, GOOD, question="SELECT pg_read_file('/etc/passwd')").stderr


def test_trigrams_are_there(host):
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'", "orthanc") == ["pg_trgm"]


# A second archive with the real configuration, one thing in it changed. It keeps off the first one's lock and storage.
TRY = """
import json, os, pathlib, re, shutil, subprocess, sys
change, copy = json.loads(sys.argv[1]), pathlib.Path("/srv/try")
real = pathlib.Path("/opt/lightbox/orthanc/configuration")
shutil.rmtree(copy, ignore_errors=True)
shutil.copytree(real, copy / "configuration")
(copy / "images").mkdir()
settings = json.loads((copy / "configuration/database.json").read_text())
section = settings["PostgreSQL"]
section |= {"Lock": False, "MaximumConnectionRetries": 1, "ConnectionRetryInterval": 1}
for old, new in change.get("uri", {}).items():
    assert old in section["ConnectionUri"]
    section["ConnectionUri"] = section["ConnectionUri"].replace(old, new)
(copy / "configuration/database.json").unlink()
(copy / "configuration/database.json").write_text(json.dumps(settings))
if "ca" in change:
    (copy / "configuration/database-ca.pem").unlink()
    (copy / "configuration/database-ca.pem").write_text(change["ca"])
subprocess.run(["chown", "-R", "8042:8042", copy], check=True)
image = subprocess.run(["docker", "inspect", "--format", "{{.Config.Image}}", "lightbox-orthanc"],
                       check=True, text=True, capture_output=True).stdout.strip()
subprocess.run(["docker", "rm", "--force", "try"], capture_output=True)
subprocess.run(["docker", "run", "--detach", "--name", "try", "--user", "8042:8042", "--env", "HOME=/tmp",
                "--tmpfs", "/tmp", "-v", f"{copy}/configuration:/etc/orthanc:ro", "-v", f"{copy}/images:/srv/orthanc",
                "--entrypoint", "/usr/sbin/Orthanc", image, "/etc/orthanc"], check=True, capture_output=True)
import time
for _ in range(60):
    log = subprocess.run(["docker", "logs", "try"], capture_output=True, text=True)
    log = log.stdout + log.stderr
    running = subprocess.run(["docker", "inspect", "--format", "{{.State.Running}}", "try"],
                             capture_output=True, text=True).stdout
    if "Orthanc has started" in log or running.strip() == "false":
        break
    time.sleep(0.5)
subprocess.run(["docker", "rm", "--force", "try"], capture_output=True)
shutil.rmtree(copy)
print(log)
"""


def second_archive(host, **change) -> str:
    """The log of an archive that was started with a changed connection."""
    return on_server(host, f"python3 -c {shlex.quote(TRY)} {shlex.quote(json.dumps(change))}")


def test_the_archive_starts_with_the_real_connection(host):
    assert "Orthanc has started" in second_archive(host)


def test_the_archive_refuses_a_wrong_ca(host):
    other = on_server(
        host,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=other' "
        "-keyout /dev/null 2>/dev/null",
    )
    log = second_archive(host, ca=other + "\n")
    assert "certificate verify failed" in log
    assert "Orthanc has started" not in log


def test_the_archive_refuses_a_wrong_name(host):
    log = second_archive(host, uri={NAME: "other.lightbox.internal"})
    assert "does not match host name" in log
    assert "Orthanc has started" not in log


def test_the_archive_refuses_a_server_without_encryption(host):
    # As a server that takes all comers without TLS: with its own rules it would refuse before the archive does.
    rules = "/etc/postgresql/17/main/pg_hba.conf"
    before = on_server(host, f"cat {rules}")
    open_line = "host orthanc orthanc 172.16.0.0/12 scram-sha-256"
    try:
        on_server(host, f"cp -a {rules} /srv/pg_hba.conf && echo '{open_line}' >>{rules}")
        sql(host, "ALTER SYSTEM SET ssl = off")
        sql(host, "SELECT pg_reload_conf()")
        assert psql(host, f"hostaddr={BRIDGE} dbname=orthanc sslmode=disable").stdout.strip() == "in"
        log = second_archive(host)
        assert "server does not support SSL" in log
        assert "Orthanc has started" not in log
    finally:
        on_server(host, f"cp -a /srv/pg_hba.conf {rules} && rm /srv/pg_hba.conf")
        sql(host, "ALTER SYSTEM RESET ssl")
        sql(host, "SELECT pg_reload_conf()")
    assert on_server(host, f"cat {rules}") == before
    assert "Orthanc has started" in second_archive(host)
