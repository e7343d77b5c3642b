"""The server as the playbook left it."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.support.lab import address, secret
from tests.support.sqlite_index import OF_THE_CHILDREN, OF_THE_GRANDCHILDREN, ONE, WHOLE_TABLE

testinfra_hosts = [address("full")]
pytestmark = pytest.mark.usefixtures("as_root")

STORAGE = "/var/lib/lightbox/orthanc"


@pytest.fixture
def as_root(host):
    with host.sudo():
        yield


@pytest.fixture
def archive(host) -> dict:
    return json.loads(host.check_output("docker inspect lightbox-orthanc"))[0]


@pytest.mark.parametrize("name", ["docker.service", "nginx.service"])
def test_services_run_and_start_at_boot(host, name):
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled


def test_nothing_failed(host):
    assert host.check_output("systemctl --failed --plain --no-legend") == ""


def test_engine_limits_logs_and_listens_on_no_port(host):
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["live-restore"] is True
    assert settings["log-opts"] == {"max-file": "5", "max-size": "10m"}
    assert not host.socket("tcp://2375").is_listening
    assert not host.socket("tcp://2376").is_listening
    assert host.check_output("docker info --format '{{.LiveRestoreEnabled}}'") == "true"


def test_archive_is_healthy_and_hardened(archive):
    assert archive["State"]["Health"]["Status"] == "healthy"
    assert archive["Config"]["User"] == "8042:8042"
    settings = archive["HostConfig"]
    assert settings["ReadonlyRootfs"] is True
    assert settings["CapDrop"] == ["ALL"]
    assert settings["CapAdd"] in (None, [])
    assert settings["Privileged"] is False
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    assert settings["Memory"] == 2048 * 1024 * 1024
    assert settings["RestartPolicy"]["Name"] == "always"
    assert settings["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}


def test_the_web_server_has_no_rights_that_it_does_not_need(host):
    # systemd's own measure, from 0 (nothing is allowed) to 10.
    with host.sudo():
        host.check_output("systemd-analyze security --no-pager --threshold=35 nginx.service")


def test_archive_is_published_on_loopback_only(host, archive):
    bindings = [binding for port in archive["HostConfig"]["PortBindings"].values() for binding in port]
    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    assert host.socket("tcp://127.0.0.1:8042").is_listening
    assert not host.socket("tcp://0.0.0.0:8042").is_listening
    assert not host.socket("tcp://0.0.0.0:14242").is_listening


def test_no_secret_stands_in_the_environment_or_on_a_command_line(host, archive):
    text = (
        json.dumps(archive) + host.check_output("cat /opt/lightbox/orthanc/compose.yml") + host.check_output("ps axww")
    )
    for name in ("web_password", "archive_password"):
        assert secret(name) not in text


@pytest.mark.parametrize(
    ("path", "user", "group", "mode"),
    [
        ("/opt/lightbox/orthanc/configuration", "root", "lightbox-orthanc", 0o750),
        ("/opt/lightbox/orthanc/configuration/orthanc.json", "root", "lightbox-orthanc", 0o440),
        ("/opt/lightbox/orthanc/configuration/users.json", "root", "lightbox-orthanc", 0o440),
        ("/opt/lightbox/orthanc/compose.yml", "root", "root", 0o600),
        (STORAGE, "lightbox-orthanc", "lightbox-orthanc", 0o750),
        ("/etc/lightbox/certificates/privkey.pem", "root", "root", 0o400),
        ("/etc/lightbox/certificates/fullchain.pem", "root", "root", 0o444),
        ("/etc/nginx/nginx.conf", "root", "root", 0o644),
        ("/etc/nginx/lightbox/login.json", "root", "root", 0o400),
    ],
)
def test_files_belong_to_whom_they_should(host, path, user, group, mode):
    file = host.file(host.check_output("readlink -f %s", path))
    assert (file.user, file.group, file.mode) == (user, group, mode)


@pytest.mark.parametrize("name", ["web_password", "archive_password"])
def test_no_secret_is_readable_for_everyone(host, name):
    places = "/etc /opt /var/lib/lightbox /var/log /run"
    for path in host.run(f"grep -rlF --exclude-dir=proc {secret(name)} {places} 2>/dev/null").stdout.split():
        assert host.file(path).mode & 0o007 == 0, f"{path} shows {name} to everyone"


def test_secrets_on_the_controller_are_private(secrets_directory):
    assert secrets_directory.stat().st_mode & 0o777 == 0o700
    private = [
        path for path in secrets_directory.rglob("*") if path.is_file() and path.suffix not in (".pem", ".gitignore")
    ]
    assert len(private) >= 3
    assert [path for path in private if path.name != ".gitignore" and path.stat().st_mode & 0o077] == []
    assert (secrets_directory / ".gitignore").read_text() == "*\n"


def test_configuration_that_runs_is_the_one_rendered(host):
    rendered = json.loads(host.file("/opt/lightbox/orthanc/configuration/orthanc.json").content_string)
    inside = json.loads(host.check_output("docker exec lightbox-orthanc cat /etc/orthanc/orthanc.json"))
    assert inside == rendered
    assert inside["DicomAet"] == "LIGHTBOX"
    assert inside["DicomAlwaysAllowStore"] is False
    assert host.check_output("docker exec lightbox-orthanc sh -c 'echo $TCP_NODELAY'") == "1"
    assert host.check_output("docker exec lightbox-orthanc sh -c 'wc -c </etc/hostid'") == "4"


def test_the_index_finds_one_among_many_without_reading_all(host):
    """From the first start on. A copy: the archive locks its index."""
    program = """
import json, sqlite3, sys
index = sqlite3.connect(sys.argv[1])
for question in json.loads(sys.argv[2]):
    print("; ".join(row[3] for row in index.execute("EXPLAIN QUERY PLAN " + question)))
"""
    questions = json.dumps([ONE, OF_THE_CHILDREN, OF_THE_GRANDCHILDREN])
    asks = f"cp {STORAGE}/index* $d/; python3 -c {shlex.quote(program)} $d/index {shlex.quote(questions)}"
    plans = host.check_output(f"sh -c {shlex.quote(f'd=$(mktemp -d); {asks}; rm -r $d')}").splitlines()
    assert len(plans) == 3
    assert "PublicIndex" in plans[0]
    assert not WHOLE_TABLE.search(plans[1])
    assert not WHOLE_TABLE.search(plans[2])


def test_liveness_and_readiness_are_told_apart(host):
    health = "docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py"
    assert host.run(f"{health} live").rc == 0
    assert host.run(f"{health} ready").rc == 0
    # The storage cannot be written: the process lives, but it is not ready.
    host.check_output(f"chmod 0500 {STORAGE}")
    try:
        assert host.run(f"{health} live").rc == 0
        broken = host.run(f"{health} ready")
        assert broken.rc == 1
        assert "not ready" in broken.stdout
    finally:
        host.check_output(f"chmod 0750 {STORAGE}")


def test_health_check_needs_the_right_password(host):
    users = "/opt/lightbox/orthanc/configuration/users.json"
    before = host.file(users).content_string
    host.check_output("sed -i 's/: \"/: \"x/' %s", users)
    try:
        broken = host.run("docker exec lightbox-orthanc python3 /usr/local/lib/lightbox/health.py ready")
        assert broken.rc == 1
        assert "refuses its own user" in broken.stdout
    finally:
        host.check_output("sed -i 's/: \"x/: \"/' %s", users)
    assert host.file(users).content_string == before


@pytest.mark.parametrize(
    ("protocol", "wanted"), [("tls1_3", "TLS_AES_128_GCM_SHA256"), ("tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256")]
)
@pytest.mark.parametrize("port", [443, 11112])
def test_images_travel_under_the_cheapest_strong_cipher(host, port, protocol, wanted):
    # openssl names AES-256 first; it is the server's order that counts.
    said = host.run(f"openssl s_client -connect 127.0.0.1:{port} -{protocol} </dev/null")
    assert f"Cipher is {wanted}" in said.stdout, said.stdout[-500:]


def test_viewer_has_one_release_that_is_current(host):
    current = host.check_output("readlink -f /opt/lightbox/ohif/current")
    assert current.startswith("/opt/lightbox/ohif/releases/")
    assert host.file(f"{current}/index.html").exists
    assert not host.file(f"{current}/app-config.js.gz").exists
    assert not host.file(f"{current}/app-config.js.br").exists


def test_logs_are_rotated(host):
    shown = host.run("logrotate --debug /etc/logrotate.d/lightbox-reverse-proxy")
    assert "/var/log/lightbox/reverse_proxy" in shown.stdout + shown.stderr
    assert "error:" not in shown.stdout + shown.stderr


def test_audit_log_says_who_saw_what_and_no_patient(host):
    log = host.check_output("cat /var/log/lightbox/reverse_proxy/audit.log")
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines
    assert any(line.get("user") == "admin" for line in lines)
    assert not any("PatientName" in json.dumps(line) or "?" in json.dumps(line.get("path", "")) for line in lines)
