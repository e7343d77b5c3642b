"""Who answers: archives that call each other, jobs that come of it, health, and a database server."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import time

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom import synthetic_image
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import OrthancError

from tests.support.archives import BOTH, HOST, NEW, OLD, SECRET
from tests.support.lab import PROJECT, address, run_playbook
from tests.support.orthanc_server import run_module
from tests.support.pki import make_pki

testinfra_hosts = [address("modules")]
OTHER = {NEW: OLD, OLD: NEW}


@pytest.fixture(params=BOTH, ids=str)
def archive(request):
    return request.param


@pytest.fixture
def neighbours(archive):
    """What the archive knows: the other one, one by a wrong title, a port that is closed, and an address of nobody."""
    other = OTHER[archive]
    known = {
        "trial": {"aet": other.aet, "host": HOST, "port": other.dicom_port},
        "trial-closed": {"aet": other.aet, "host": HOST, "port": 1},
        "trial-nobody": {"aet": other.aet, "host": "192.0.2.9", "port": 104},
        "trial-title": {"aet": "WRONG", "host": HOST, "port": other.dicom_port},
    }
    entries = [{"name": name, **entry} for name, entry in known.items()]
    assert archive.run("orthanc_modality", modalities=entries, persistent=True)["changed"] is True
    yield known
    for name in known:
        archive.rest.delete(f"/modalities/{name}")


def test_echo(archive, neighbours):
    names = list(neighbours)
    begin = time.monotonic()
    done = archive.run("orthanc_echo", modalities=[*names, "trial-unknown"], echo_timeout=2)
    assert time.monotonic() - begin < 8, "they are called at once"
    assert done["changed"] is False
    assert done["requests"] == 5
    assert done["unreachable_names"] == [*names[1:], "trial-unknown"]
    details = {one["name"]: one["details"] for one in done["echoes"]}
    assert details["trial"] == ""
    assert details["trial-unknown"] == "It is not registered in Orthanc."
    for name in names[1:]:
        assert "network protocol" in details[name]
    assert len(done["table"]) == 6
    failed = archive.run("orthanc_echo", modalities=["trial-closed"], echo_timeout=2, fail=True)
    assert failed["msg"] == "No answer from trial-closed."
    every = archive.run("orthanc_echo", check=True, echo_timeout=2)
    assert every["requests"] == 1 + len(every["echoes"])
    assert set(names) <= {one["name"] for one in every["echoes"]}


def test_echo_with_query(archive, neighbours):
    assert archive.run("orthanc_echo", modalities=["trial"], check_find=True)["unreachable_names"] == []


def test_echo_of_what_it_does_not_know_yet(archive):
    other = OTHER[archive]
    nodes = [
        {"name": "open", "aet": other.aet, "host": HOST, "port": other.dicom_port},
        {"aet": "CLOSED", "host": HOST, "port": 1},
    ]
    done = archive.run("orthanc_echo", nodes=nodes, echo_timeout=2)
    assert [(one["name"], one["reachable"]) for one in done["echoes"]] == [("open", True), ("CLOSED", False)]


def test_echo_from_here(archive):
    call = {"host": HOST, "port": archive.dicom_port, "aet": archive.aet, "calling_aet": OTHER[archive].aet}
    done = run_module("dicom_echo", call)
    assert (done["changed"], done["reachable"], done["encryption"]) == (False, True, None)
    assert done["implementation"].startswith("OFFIS_DCMTK")
    failed = run_module("dicom_echo", {**call, "aet": "WRONG"})
    assert "because the called AE title is not its own" in failed["msg"]
    assert "or no TLS?" in run_module("dicom_echo", {**call, "tls": True})["msg"]
    assert "which is not DICOM" in run_module("dicom_echo", {**call, "port": int(archive.url.rsplit(":", 1)[1])})["msg"]


def test_echo_from_a_stranger():
    """Only the archive of the role knows whom it lets in."""
    call = {"host": HOST, "port": NEW.dicom_port, "aet": NEW.aet, "calling_aet": "STRANGER"}
    failed = run_module("dicom_echo", call)
    assert failed["reachable"] is False
    assert "does not know the calling AE title" in failed["msg"] or "status" in failed["msg"]


def test_jobs(archive, neighbours):
    image = archive.rest.post("/instances", synthetic_image("LBX-JOBS").file)
    try:
        jobs = {}
        for name in ("trial", "trial-closed"):
            order = {"Resources": [image["ParentStudy"]], "Synchronous": False, "Timeout": 2}
            jobs[name] = archive.rest.post(f"/modalities/{name}/store", order)["ID"]
        assert archive.rest.wait_for_job(jobs["trial"], 20)["State"] == "Success"
        with pytest.raises(OrthancError, match=r"failed: .*network protocol"):
            archive.rest.wait_for_job(jobs["trial-closed"], 20)
        done = archive.run("orthanc_job_info")
        assert (done["changed"], done["requests"]) == (False, 1)
        assert [job["created"] for job in done["jobs"]] == sorted(job["created"] for job in done["jobs"])
        (good,) = archive.run("orthanc_job_info", job=jobs["trial"])["jobs"]
        assert (good["type"], good["state"], good["progress"]) == ("DicomModalityStore", "success", 100)
        assert (good["error"], good["error_code"]) == ("", 0)
        # In UTC, as is said.
        age = time.time() - time.mktime(time.strptime(good["completed"], "%Y-%m-%dT%H:%M:%SZ")) + time.timezone
        assert -5 < age < 60
        (bad,) = archive.run("orthanc_job_info", job=jobs["trial-closed"])["jobs"]
        assert bad["state"] == "failure"
        assert "network protocol" in bad["error"]
        failed = archive.run("orthanc_job_info", states=["failure"], types=["DicomModalityStore"])["jobs"]
        assert jobs["trial-closed"] in [job["id"] for job in failed]
        assert jobs["trial"] not in [job["id"] for job in failed]
        assert archive.run("orthanc_job_info", job="of-nobody")["jobs"] == []
    finally:
        for one in BOTH:
            with contextlib.suppress(OrthancError):
                one.rest.delete(f"/studies/{image['ParentStudy']}")


def test_info(archive, neighbours):
    done = archive.run("orthanc_info")
    assert done["health"]["ready"] is True
    assert done["health"]["last_change"] >= 0
    assert done["system"]["version"] == archive.version
    assert done["system"]["dicom_aet"] == archive.aet
    assert done["system"]["capabilities"] == (
        {"has_extended_changes": True, "has_extended_find": True} if archive is NEW else {}
    )
    versions = {plugin["id"]: plugin["version"] for plugin in done["plugins"]}
    assert versions["dicom-web"] == ("1.20" if archive is NEW else "1.7")
    assert done["requests"] == 4 + len(versions)
    assert done["statistics"]["instances"] >= 0
    for subset in ("system", "statistics", "health", "modalities", "peers", "dicomweb_servers"):
        one = archive.run("orthanc_info", gather_subset=[subset])
        assert one["requests"] == 1
        assert one[subset] is not None
    knows = {one["name"]: one for one in archive.run("orthanc_info", gather_subset=["modalities"])["modalities"]}
    assert {name: {key: knows[name][key] for key in entry} for name, entry in neighbours.items()} == neighbours


def test_wrong_login(archive):
    for module in ("orthanc_info", "orthanc_modality", "orthanc_job_info", "orthanc_echo"):
        more = {"modalities": []} if module == "orthanc_modality" else {}
        failed = archive.run(module, url_password="wrong", **more)
        assert "answers 401" in failed["msg"]
        assert "Set url_username and url_password" in failed["msg"]


def test_an_archive_that_is_down_or_hangs(host):
    with host.sudo():
        host.check_output("systemctl stop archive-1.10")
        try:
            done = OLD.run("orthanc_info")
            assert (done["health"]["alive"], done["health"]["ready"], done["requests"]) == (False, False, 1)
            assert "cannot be reached" in done["health"]["details"]
            assert "cannot be reached" in OLD.run("orthanc_modality", modalities=[])["msg"]
        finally:
            host.check_output("systemctl start archive-1.10")
        host.check_output("docker pause lightbox-orthanc")
        try:
            done = NEW.run("orthanc_info", gather_subset=["health"], timeout=1)
            assert (done["health"]["alive"], done["health"]["ready"]) == (False, False)
            assert "no answer within 1 seconds" in done["health"]["details"]
        finally:
            host.check_output("docker unpause lightbox-orthanc")
    end = time.monotonic() + 20
    while not all(one.run("orthanc_info", gather_subset=["health"])["health"]["ready"] for one in BOTH):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_database_server(host, tmp_path):
    """A real PostgreSQL with Debian's self-signed certificate, which takes encrypted sessions only."""
    ca = tmp_path / "ca.pem"
    ca.write_text(host.file("/etc/ssl/certs/ssl-cert-snakeoil.pem").content_string)
    call = {"host": HOST, "user": "archive", "database": "archive"}
    found = run_module("postgresql_tls_info", {**call, "ca_path": str(ca), "server_name": "modules"})
    assert (found["changed"], found["tls"], found["version"]) == (False, True, "TLSv1.3")
    assert (found["verified"], found["verification_error"]) == (True, "")
    assert found["encrypted"] == {"accepted": True, "method": "scram-sha-256", "message": ""}
    assert found["unencrypted"]["accepted"] is False
    assert "no encryption" in found["unencrypted"]["message"]
    assert found["certificate"]["subject"] == "commonName=modules"
    assert found["certificate"]["days_left"] > 1000
    assert "modules" in found["certificate"]["names"]
    wrong_name = run_module("postgresql_tls_info", {**call, "ca_path": str(ca)})
    assert (wrong_name["verified"], wrong_name["certificate"]) == (False, found["certificate"])
    assert "mismatch" in wrong_name["verification_error"]
    unknown_ca = run_module("postgresql_tls_info", call)
    assert "self-signed certificate" in unknown_ca["verification_error"]
    elsewhere = run_module("postgresql_tls_info", {**call, "port": OLD.dicom_port})
    assert elsewhere["failed"] is True


WITH_DATABASE = {
    "Name": "with-database",
    "StorageDirectory": "/srv/storage",
    "HttpPort": 8120,
    "DicomServerEnabled": False,
    "RemoteAccessAllowed": True,
    "AuthenticationEnabled": True,
    "RegisteredUsers": {"admin": SECRET},
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so"],
    "PostgreSQL": {
        "EnableIndex": True,
        "EnableStorage": False,
        # require: the cluster's certificate is one of Debian's own making, which no CA signed.
        "ConnectionUri": f"postgresql://trial:{SECRET}@127.0.0.1:5432/trial?sslmode=require",
        "MaximumConnectionRetries": 1,
    },
}
PREPARE = (
    f"secret={SECRET}"
    """
psql() { runuser -u postgres -- psql --quiet "$@"; }
psql -c "CREATE ROLE trial LOGIN PASSWORD '$secret'" -c 'CREATE DATABASE trial OWNER trial'
psql -d trial -c 'CREATE EXTENSION IF NOT EXISTS pg_trgm'
install -d /srv/with-database && cat >/srv/with-database/orthanc.json
image=$(docker inspect --format '{{.Config.Image}}' lightbox-orthanc)
docker run --detach --rm --name with-database --network host --tmpfs /srv --volume /srv/with-database:/etc/orthanc:ro \
  --entrypoint /usr/sbin/Orthanc "$image" /etc/orthanc
"""
)
REMOVE = """
systemctl start postgresql@17-main
docker rm --force with-database >/dev/null 2>&1
runuser -u postgres -- psql --quiet -c 'DROP DATABASE IF EXISTS trial WITH (FORCE)' -c 'DROP ROLE IF EXISTS trial'
"""


@pytest.fixture
def with_database(host):
    """An archive that keeps its index in the scenario's PostgreSQL."""
    with host.sudo():
        host.run(f"sh -c {shlex.quote(REMOVE)}")
        configuration = shlex.quote(json.dumps(WITH_DATABASE))
        host.check_output(f"echo {configuration} | sh -euc {shlex.quote(PREPARE)}")
        yield {"url": f"http://{HOST}:8120", "url_username": "admin", "url_password": SECRET}
        host.run(f"sh -c {shlex.quote(REMOVE)}")


def wait_for_health(archive, ready: bool) -> dict:
    end = time.monotonic() + 60
    while True:
        done = run_module("orthanc_info", {**archive, "gather_subset": ["health", "system", "statistics"]})
        if done["health"]["ready"] is ready:
            return done
        assert time.monotonic() < end, done
        time.sleep(0.5)


def test_an_archive_whose_database_is_away(with_database, host):
    """It lives and says so; /system is answered all the while, which is why readiness asks for something else."""
    assert wait_for_health(with_database, True)["statistics"]["studies"] == 0
    with host.sudo():
        host.check_output("systemctl stop postgresql@17-main")
    away = wait_for_health(with_database, False)
    assert away["health"]["alive"] is True
    assert "503" in away["health"]["details"]
    assert away["system"]["version"] == NEW.version
    assert away["statistics"] is None
    with host.sudo():
        host.check_output("systemctl start postgresql@17-main")
    assert wait_for_health(with_database, True)["statistics"]["studies"] == 0


PLAYBOOK = """
- hosts: modules
  gather_facts: false
  vars:
    secrets: "{{{{ inventory_dir }}}}/.secrets"
  module_defaults:
    group/lightbox.pacs.orthanc:
      url: "{url}"
      url_username: admin
      url_password: "{{{{ lookup('lightbox.pacs.secret', 'archive_password', directory=secrets) }}}}"
  tasks:
    - lightbox.pacs.orthanc_info:
    - lightbox.pacs.orthanc_modality: {{name: trial, aet: TRIAL, host: "192.0.2.9", port: 104, persistent: true}}
    - lightbox.pacs.orthanc_peer:
        name: trial
        peer_url: http://192.0.2.9
        username: me
        password: {secret}
        http_headers: {{X-Key: {secret}}}
        persistent: true
    - lightbox.pacs.orthanc_dicomweb_server:
        servers:
          - name: trial
            server_url: http://192.0.2.9
            username: me
            password: {secret}
        persistent: true
    - lightbox.pacs.orthanc_echo: {{modalities: []}}
    - lightbox.pacs.orthanc_job_info:
    - lightbox.pacs.dicom_echo: {{host: "{host}", port: {dicom}, aet: "{aet}", calling_aet: "{calling}"}}
    - lightbox.pacs.postgresql_tls_info: {{host: "{host}"}}
"""


def test_in_a_playbook_with_defaults_for_the_group(tmp_path):
    """Over SSH with the server's own Python: check, do, do again, check again; and no secret in any of the output."""
    archive = NEW
    play = tmp_path / "play.yml"
    play.write_text(
        PLAYBOOK.format(
            url=archive.url,
            host=HOST,
            dicom=archive.dicom_port,
            aet=archive.aet,
            calling=OTHER[archive].aet,
            secret=SECRET,
        )
    )
    inventory = PROJECT / "molecule/modules/inventory"
    try:
        for arguments, changed in ((["--check"], 3), ([], 3), ([], 0), (["--check"], 0)):
            ran = run_playbook(play, "--inventory", inventory, "--diff", "-vvv", *arguments)
            assert ran.returncode == 0, ran.stdout[-3000:]
            assert f"changed={changed} " in ran.stdout
            assert "failed=0" in ran.stdout
            for secret in (SECRET, archive.login["url_password"]):
                assert secret not in ran.stdout + ran.stderr
            # All that is warned of is known: nothing here is.
            assert "forgets" not in ran.stdout + ran.stderr
    finally:
        for path in ("/modalities", "/peers", "/dicom-web/servers"):
            with contextlib.suppress(OrthancError):
                archive.rest.delete(f"{path}/trial")


@pytest.fixture
def scp_with_tls(host, tmp_path):
    """DCMTK's own SCP on the server, over TLS; give it how it treats clients' certificates."""
    pki = make_pki(tmp_path)
    with host.sudo():
        host.check_output("install -d -m 0755 /srv/tls")
        for name in ("ca.pem", "localhost.pem", "localhost.key"):
            content = base64.b64encode((pki / name).read_bytes()).decode()
            host.check_output(f"echo {content} | base64 -d >/srv/tls/{name}")

        def start(clients: str) -> int:
            host.run("systemctl stop scp-tls")
            unit = "systemd-run --collect --unit scp-tls --working-directory /srv/tls"
            tls = f"+tls localhost.key localhost.pem +cf ca.pem {clients}"
            host.check_output(f"{unit} storescp {tls} --aetitle NODE 4121")
            listens = "ss -Hltn sport = :4121 | grep -q ."
            host.check_output(f"until {listens}; do systemctl is-active -q scp-tls || exit 1; sleep 0.1; done")
            return 4121

        yield start, pki
        host.run("systemctl stop scp-tls")


def test_echo_over_tls(scp_with_tls):
    start, pki = scp_with_tls
    call = {"host": HOST, "aet": "NODE", "tls": True, "server_name": "localhost", "ca_path": str(pki / "ca.pem")}
    client = {"client_cert": str(pki / "client.pem"), "client_key": str(pki / "client.key")}
    call["port"] = start("--ignore-peer-cert")
    done = run_module("dicom_echo", call)
    assert done["reachable"] is True, done
    assert done["encryption"]["version"].startswith("TLSv1.")
    assert done["encryption"]["common_name"] == "localhost"
    assert "does not verify" in run_module("dicom_echo", {**call, "ca_path": str(pki / "other.pem")})["msg"]
    assert "mismatch" in run_module("dicom_echo", {**call, "server_name": None})["msg"]
    assert "TLS" in run_module("dicom_echo", {**call, "tls": False})["msg"]
    call["port"] = start("--require-peer-cert")
    assert run_module("dicom_echo", {**call, **client})["reachable"] is True
    assert "client certificate" in run_module("dicom_echo", call)["msg"]
    stranger = {"client_cert": str(pki / "other.pem"), "client_key": str(pki / "other.key")}
    assert "client certificate" in run_module("dicom_echo", {**call, **stranger})["msg"]
