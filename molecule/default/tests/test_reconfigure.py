"""A server in use gets other answers: what a run changes, what it leaves alone, and the way back."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import http.client
import ipaddress
import json
import os
import pathlib
import re
import socket
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.lab import INVENTORY, address, killable_playbook, lab_hosts, recap, run_playbook, secret, server
from tests.support.secrets import find_secrets

FULL = lab_hosts()["full"]
testinfra_hosts = [address("full")]
VIEWER = "/opt/lightbox/ohif"
OLD_BUNDLE = "1234.bundle.0123456789abcdef.js"
FORGOTTEN = ["0.0.1-forgotten", "0.0.2-forgotten", "0.0.3-forgotten"]
PAGES = ["/", "/app-config.js"]
# As long as the defaults: a server that told files apart by their size alone would answer 304.
TITLE, SOURCE = "OHIF Review", "Orthang"
NEW = {
    "docker_engine_users": ["admin"],
    "ohif_title": TITLE,
    "ohif_data_source_title": SOURCE,
    "orthanc_configuration": {"StableAge": 7},
    "pacs_modalities": [
        *FULL["pacs_modalities"],
        {"name": "late", "aet": "LATE", "host": "192.0.2.9", "port": 11112},
    ],
}
SITE = ["site.yml", "-i", INVENTORY, "--limit", "full"]


def site(values: dict, *arguments: str | os.PathLike[str]) -> str:
    run = run_playbook(*SITE, "-e", json.dumps(values), *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def connect(ca: str | os.PathLike[str]) -> ssl.SSLSocket:
    """A connection to the server's address that asks for its name and trusts one CA only."""
    return ssl.create_default_context(cafile=str(ca)).wrap_socket(
        socket.create_connection((FULL["ansible_host"], 443), 10), server_hostname=FULL["pacs_name"]
    )


def get(path: str, ca: str | os.PathLike[str], **headers: str) -> Answer:
    connection = http.client.HTTPSConnection(FULL["pacs_name"], timeout=30)
    connection.sock = connect(ca)
    login = base64.b64encode(f"admin:{secret('web_password')}".encode()).decode()
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Basic {login}"} | headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


@dataclasses.dataclass
class State:
    """What the server is, seen from inside and outside."""

    current: str
    previous: str
    releases: list[str]
    container: str
    nginx: str
    files: list[str]
    serial: int
    issuer: str
    days: int
    pages: list[Answer]
    old_bundle: Answer


def read_state(ca: str | os.PathLike[str]) -> State:
    host = server("full")
    with host.sudo():
        inside = host.check_output(
            f"readlink {VIEWER}/current; readlink {VIEWER}/previous || echo -; ls -xA -w 0 {VIEWER}/releases;"
            "docker inspect --format '{{.Id}} {{.State.StartedAt}}' lightbox-orthanc;"
            "systemctl show --value --property MainPID,ActiveEnterTimestampMonotonic nginx.service | xargs;"
            # Whatever a run could write: sizes, owners, modes and times.
            "id -nG admin; find /etc /opt/lightbox /usr/local -printf '%p %y %m %u %g %s %T@ %l\\n' | sort"
        ).splitlines()
    with connect(ca) as tls:
        leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    return State(
        current=inside[0],
        previous=inside[1],
        releases=inside[2].split(),
        container=inside[3],
        nginx=inside[4],
        files=inside[5:],
        serial=leaf.serial_number,
        issuer=leaf.issuer.rfc4514_string(),
        days=(leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days,
        pages=[get(path, ca) for path in PAGES],
        old_bundle=get(f"/{OLD_BUNDLE}", ca),
    )


def make_pair(directory: pathlib.Path) -> dict[str, str]:
    """A root, an intermediate and a pair for the server's names, as an organisation's own CA would hand them out."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(subject, issuer, subject_key, issuer_key, *extensions):
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(f"CN={subject}"))
            .issuer_name(x509.Name.from_rfc4514_string(f"CN={issuer}"))
            .public_key(subject_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage))
        return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    keys = [ec.generate_private_key(ec.SECP256R1()) for _unused in range(3)]
    signs = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    names = x509.SubjectAlternativeName(
        [x509.DNSName(FULL["pacs_name"]), x509.DNSName("localhost")]
        + [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", FULL["ansible_host"])]
    )
    root = certificate("Hospital root", "Hospital root", keys[0], keys[0], x509.BasicConstraints(True, 1), signs)
    between = certificate("Hospital web", "Hospital root", keys[1], keys[0], x509.BasicConstraints(True, 0), signs)
    leaf = certificate("pacs", "Hospital web", keys[2], keys[1], x509.BasicConstraints(False, None), names)
    (directory / "root.pem").write_bytes(root)
    (directory / "chain.pem").write_bytes(leaf + between)
    (directory / "leaf.key").write_bytes(
        keys[2].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {
        "certificates_provider": "provided",
        "certificates_provided_certificate": str(directory / "chain.pem"),
        "certificates_provided_key": str(directory / "leaf.key"),
        "certificates_provided_ca": str(directory / "root.pem"),
    }


@dataclasses.dataclass
class Story:
    """The server's state after each run, and what the run said."""

    states: dict[str, State] = dataclasses.field(default_factory=dict)
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    report: str = ""
    asked_again: list[Answer] = dataclasses.field(default_factory=list)
    modalities: list[str] = dataclasses.field(default_factory=list)
    configuration: dict = dataclasses.field(default_factory=dict)
    groups: str = ""
    left: list[str] = dataclasses.field(default_factory=list)
    key: str = ""


@pytest.fixture(scope="module")
def restored():
    """Whatever happens, the server is as its inventory describes it afterwards."""
    yield
    run = run_playbook("playbooks/pacs.yml", *SITE[1:], "-e", '{"orthanc_modalities_exclusive": true}')
    host = server("full")
    with host.sudo():
        host.run(f"rm -f {VIEWER}/releases/*/{OLD_BUNDLE}; gpasswd --delete admin docker")
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.fixture(scope="module")
def story(restored, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pair")
    own = INVENTORY / ".secrets/ca/ca.pem"
    new = NEW | make_pair(directory)
    report = directory / "report.json"
    told = Story(key=(directory / "leaf.key").read_text().splitlines()[1])
    host = server("full")
    with host.sudo():
        host.check_output(f"echo 'old bundle' >$(readlink -f {VIEWER}/current)/{OLD_BUNDLE}")
        host.check_output(
            f"cd {VIEWER}/releases && mkdir -p {' '.join(FORGOTTEN)} && touch -d '2 years ago' {' '.join(FORGOTTEN)}"
        )
    told.states["before"] = read_state(own)

    told.outputs["checked"] = site(new, "--check", "--diff")
    told.states["checked"] = read_state(own)

    # The controller is lost when half of it is done.
    with killable_playbook(directory / "killed.log", *SITE, "-e", json.dumps(new), "-vvv", "--diff") as run:
        run.wait_for("configure | Write the configuration]")
        time.sleep(0.2)
        assert run.process.poll() is None
    told.outputs["killed"] = run.log.read_text()
    told.states["killed"] = read_state(own)

    told.outputs["changed"] = site(new | {"verify_report": str(report)}, "-vvv", "--diff")
    root = directory / "root.pem"
    told.states["changed"] = read_state(root)
    told.report = report.read_text()
    for path, page in zip(PAGES, told.states["before"].pages, strict=True):
        for name, asked in (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")):
            if page.headers[name]:
                told.asked_again.append(get(path, root, **{asked: page.headers[name]}))
    told.modalities = json.loads(get("/pacs/modalities", root).body)
    with host.sudo():
        told.configuration = json.loads(host.check_output("docker exec lightbox-orthanc cat /etc/orthanc/orthanc.json"))
        told.groups = host.check_output("id -nG admin")
        told.left = host.check_output("ls /var/tmp | grep lightbox || true").split()

    told.outputs["again"] = site(new)
    told.states["again"] = read_state(root)

    # The way back, at the time when the certificate of the local CA is due; the archive's values stay.
    back = {name: new[name] for name in ("orthanc_configuration", "pacs_modalities")}
    days = told.states["before"].days
    told.outputs["back"] = site(
        back | {"certificates_days": days + 2, "certificates_renew_days": days + 1, "ohif_keep_releases": 2}
    )
    told.states["back"] = read_state(own)
    return told


def test_a_check_tells_what_would_change_and_changes_nothing(story):
    for task in ("Let the named users", "Write the configuration", "Install the pair", "Switch to the release"):
        assert re.search(rf"TASK \[.*{task}.*\] \*+\n(?:(?!TASK).*\n)*?changed: ", story.outputs["checked"]), task
    assert '"StableAge": 7' in story.outputs["checked"]
    assert "PRIVATE KEY" not in story.outputs["checked"]
    before, after = story.states["before"], story.states["checked"]
    assert after.files == before.files
    assert (after.container, after.nginx, after.serial) == (before.container, before.nginx, before.serial)


def test_a_killed_run_leaves_the_server_in_service_and_the_next_one_completes_it(story):
    """test_interrupted_run.py kills at more points, and on a bare server."""
    before, after = story.states["before"], story.states["killed"]
    assert (after.current, after.container, after.nginx, after.serial) == (
        before.current,
        before.container,
        before.nginx,
        before.serial,
    )
    assert after.files != before.files, "the run was killed before it had changed anything"
    assert [page.status for page in after.pages] == [200] * len(PAGES)
    assert "PLAY RECAP" not in story.outputs["killed"]
    assert recap(story.outputs["changed"])["failed"] == 0
    assert story.left == []


def test_the_same_answers_again_change_nothing(story):
    assert recap(story.outputs["changed"])["changed"] > 0
    assert recap(story.outputs["again"])["changed"] == 0
    assert story.states["again"].files == story.states["changed"].files
    assert story.states["again"].container == story.states["changed"].container


def test_another_title_is_another_release(story):
    before, after = story.states["before"], story.states["changed"]
    assert after.current != before.current
    assert after.previous == before.current
    assert TITLE.encode() in after.pages[0].body
    assert SOURCE.encode() in after.pages[1].body
    assert TITLE.encode() not in before.pages[0].body
    assert SOURCE.encode() not in before.pages[1].body


def test_browsers_that_ask_for_what_is_newer_get_the_new_release(story):
    assert len(story.asked_again) >= len(PAGES)
    assert {answer.status for answer in story.asked_again} == {200}
    known = [page.body for page in story.states["changed"].pages]
    assert all(answer.body in known for answer in story.asked_again)


def test_open_browsers_still_get_the_files_of_the_release_before(story):
    for state in ("before", "changed", "again", "back"):
        answer = story.states[state].old_bundle
        assert (answer.status, answer.body) == (200, b"old bundle\n"), state
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_old_title_brings_the_old_release_back(story):
    before, changed_, after = (story.states[name] for name in ("before", "changed", "back"))
    assert after.current == before.current
    assert after.previous == changed_.current
    assert [page.body for page in after.pages] == [page.body for page in before.pages]


def test_no_more_releases_are_kept_than_asked_for(story):
    assert len(story.states["before"].releases) >= 4
    assert len(story.states["changed"].releases) == 3
    kept = [f"releases/{name}" for name in story.states["back"].releases]
    assert sorted(kept) == sorted([story.states["back"].current, story.states["back"].previous])


def test_a_provided_pair_is_served_with_its_chain(story):
    # read_state() trusted the root alone, so the intermediate came from the server.
    assert story.states["changed"].issuer == "CN=Hospital web"
    assert ", 0 failed, 0 skipped" in story.outputs["changed"]


def test_a_certificate_that_is_due_is_issued_again_and_served(story):
    before, again, after = (story.states[name] for name in ("before", "again", "back"))
    assert len({before.serial, again.serial, after.serial}) == 3
    assert after.issuer == before.issuer
    assert after.container == again.container, "the archive was restarted for a certificate"
    assert after.nginx == again.nginx, "nginx was restarted, not reloaded: uploads were cut off"


def test_the_archive_runs_with_its_new_values(story):
    assert story.states["changed"].container.split()[0] != story.states["before"].container.split()[0]
    assert story.configuration["StableAge"] == 7
    assert set(story.modalities) == {one["name"] for one in NEW["pacs_modalities"]} | {"verify"}


def test_named_users_may_use_docker(story):
    assert "docker" in story.groups.split()


def test_the_run_ends_with_what_to_do_next(story):
    output = story.outputs["changed"]
    summary = output.rsplit("TASK [Tell what to do next]", 1)[1].split("PLAY RECAP", 1)[0]
    for wanted in (
        f"Viewer: https://{FULL['pacs_name']}/",
        f"Log in: admin, with the password in {INVENTORY}/.secrets/web_password",
        "AE title LIGHTBOX",
        f"at {FULL['pacs_name']}, port 4242",
        "Next: ",
    ):
        assert wanted in " ".join(summary.split()), wanted
    assert "TASK [" not in summary


def test_no_secret_is_told_or_reported(story):
    assert find_secrets(story.report) == []
    for name, output in story.outputs.items():
        assert find_secrets(output) == [], name
        assert story.key not in output, name


def test_the_report_says_that_every_check_passed(story):
    report = json.loads(story.report)
    assert report["passed"] is True
    assert len(report["checks"]) >= 20
    assert {check["state"] for check in report["checks"]} == {"ok"}
