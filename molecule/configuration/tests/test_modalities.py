"""The inventory's network changes while the archive runs: what a run tells, shows, removes; what outlives restarts."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import json
import pathlib
import re
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydicom import uid
from pynetdicom import build_context
from pynetdicom.sop_class import SecondaryCaptureImageStorage, Verification  # type: ignore[attr-defined] # made at import

from tests.support.dicom_nodes import ADDRESS, ARCHIVE, CA, MODALITIES, associated, dcmtk, entity, pynetdicom_listener
from tests.support.lab import INVENTORY, address, run_playbook, run_roles, secret, server

testinfra_hosts = [address("configuration")]
READER, SCANNER = MODALITIES["reader"], MODALITIES["scanner"]
LATE = {"name": "late", "aet": "LATE", "host": "172.28.77.1", "port": 11133, "allow": ["echo", "worklist"]}
VAULT = {"name": "vault", "aet": "VAULT", "host": "172.28.77.1", "port": 11134, "tls": True}
EXCLUSIVE = {f"orthanc_{what}_exclusive": True for what in ("modalities", "peers", "dicomweb_servers")}
SERVER_PAIR = INVENTORY / ".secrets/ca/configuration"
HAND = "by-hand"
WRONG = "wrong-one-Zebrina"
SYNTAXES = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian]
PASSWORD = secret("web_password")
REST = """
import base64, http.client, json, sys
name, password = json.load(open("/opt/lightbox/orthanc/configuration/users.json"))["RegisteredUsers"].popitem()
login = base64.b64encode((name + ":" + password).encode()).decode()
archive = http.client.HTTPConnection("127.0.0.1", 8042, timeout=30)
for method, path, body in json.loads(base64.b64decode(sys.argv[1])):
    archive.request(method, path, body and json.dumps(body), {"Authorization": "Basic " + login})
    answer = archive.getresponse()
    text = answer.read().decode()
    print(json.dumps([answer.status, json.loads(text) if text.strip() else None]))
"""
# As a run of an older collection left it: modalities in a file, and a container that was started with it.
OLD = """
import json, re
path = "/opt/lightbox/orthanc/configuration/orthanc.json"
known = json.load(open(path))
del known["DicomModalitiesInDatabase"], known["OrthancPeersInDatabase"], known["DicomWeb"]["ServersInDatabase"]
known["DicomModalities"] = {"scanner": ["SCANNER", "172.28.77.1", 11131]}
open(path, "w").write(json.dumps(known))
path = "/opt/lightbox/orthanc/compose.yml"
text = re.sub("lightbox.configuration: .*", "lightbox.configuration: old", open(path).read())
open(path, "w").write(text)
"""


def rest(*calls: tuple[str, str, Any]) -> list[tuple[int, Any]]:
    """Ask the archive itself, from its server: the reverse proxy lets nobody change modalities."""
    host = server("configuration")
    with host.sudo():
        said = host.check_output("python3 -c %s %s", REST, base64.b64encode(json.dumps(calls).encode()).decode())
    return [tuple(json.loads(line)) for line in said.splitlines()]


@dataclasses.dataclass
class State:
    """What the archive knows by name, and which container it is, since when."""

    modalities: dict[str, dict]
    peers: dict[str, dict]
    servers: dict[str, dict]
    syntaxes: list[str]
    started: str


def look() -> State:
    host = server("configuration")
    answers = rest(
        ("GET", "/modalities?expand", None),
        ("GET", "/peers?expand", None),
        ("GET", "/pacs/dicom-web/servers?expand", None),
        ("GET", "/tools/accepted-transfer-syntaxes", None),
    )
    assert [status for status, _body in answers] == [200] * 4
    with host.sudo():
        started = host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' lightbox-orthanc")
    return State(*(body for _status, body in answers), started)


def restart() -> None:
    host = server("configuration")
    with host.sudo():
        host.check_output("docker restart lightbox-orthanc")
        host.check_output(
            "timeout 60 sh -c \"until docker inspect --format '{{.State.Health.Status}}' lightbox-orthanc"
            ' | grep -qx healthy; do sleep 0.3; done"'
        )


def converge(modalities: list[dict], values: dict | None = None, *arguments: str, fails: bool = False) -> str:
    """Run the role with other modalities and variables."""
    extra = json.dumps({"pacs_modalities": modalities} | (values or {}))
    run = run_roles(["postgresql", "orthanc"], "-e", extra, *arguments)
    assert (run.returncode != 0) == fails, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


def site(modalities: list[dict]) -> str:
    """Run the whole playbook with other modalities."""
    run = run_playbook("playbooks/pacs.yml", "-i", INVENTORY, "-e", json.dumps({"pacs_modalities": modalities}))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


def changed(output: str) -> list[str]:
    """Names of the tasks that changed something."""
    return re.findall(r"^TASK \[(?:.* : )?(.*?)\] \*+\n(?:(?!^TASK|^PLAY).*\n)*?changed: ", output, re.MULTILINE)


def shown(output: str, task: str) -> str:
    """What a task printed, as one line."""
    found = re.search(rf"^TASK \[.*{re.escape(task)}\] \*+\n((?:(?!^TASK|^PLAY).*\n)*)", output, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def echoes(title: str) -> bool:
    return dcmtk("echoscu", "-aet", title, "-aec", ARCHIVE, ADDRESS, "4242").returncode == 0


def accepts(syntax: uid.UID) -> bool:
    with associated("SCANNER", [build_context(SecondaryCaptureImageStorage, syntax)]) as association:
        return bool(association.accepted_contexts)


def make_client_pair(directory: pathlib.Path) -> dict[str, str]:
    """A certificate by which the archive shows who it is, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=archive")
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    (directory / "archive.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "archive.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {
        "orthanc_client_certificate": str(directory / "archive.pem"),
        "orthanc_client_key": str(directory / "archive.key"),
        "orthanc_client_trusted": str(CA),
    }


@contextlib.contextmanager
def tls_listener(client: str) -> Iterator[None]:
    """A node that talks TLS only, wants to see this client's certificate, and answers echoes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client)
    context.load_cert_chain(SERVER_PAIR / "fullchain.pem", SERVER_PAIR / "privkey.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    node = entity(VAULT["aet"])
    node.add_supported_context(Verification)
    listener = node.start_server(("", VAULT["port"]), block=False, ssl_context=context)
    assert listener is not None
    try:
        yield
    finally:
        listener.shutdown()


@dataclasses.dataclass
class Story:
    states: dict[str, State] = dataclasses.field(default_factory=dict)
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    told = Story()
    host = server("configuration")
    both = [SCANNER, READER]

    # An archive of an older collection: nothing in its index, one modality in its file.
    before = look()
    names = [f"/modalities/{name}" for name in before.modalities] + [f"/peers/{name}" for name in before.peers]
    names += [f"/pacs/dicom-web/servers/{name}" for name in before.servers]
    rest(*(("DELETE", name, None) for name in names))
    with host.sudo():
        host.check_output("python3 -c %s", OLD)
        host.check_output("docker compose --project-directory /opt/lightbox/orthanc up --detach --wait")
    told.states["old"] = look()
    told.outputs["moved"] = site(both)
    told.states["moved"] = look()

    # Somebody adds by hand; the inventory gets one more and loses one.
    by_hand = {"Url": "https://192.0.2.1/"}
    rest(
        ("PUT", f"/modalities/{HAND}", {"AET": "HAND", "Host": "192.0.2.1", "Port": 104}),
        ("PUT", f"/peers/{HAND}", by_hand),
        ("PUT", f"/pacs/dicom-web/servers/{HAND}", by_hand),
    )
    told.outputs["checked"] = converge([READER, LATE], None, "--check", "--diff")
    told.states["checked"] = look()
    with pynetdicom_listener("reader"):
        told.outputs["changed"] = site([READER, LATE])
    told.states["changed"] = look()
    told.facts["late calls"] = echoes("LATE")
    restart()
    told.states["restarted"] = look()
    told.facts["late calls after a restart"] = echoes("LATE")

    # The inventory is the whole truth, and each must answer: nobody does.
    told.outputs["exclusive"] = converge([READER, LATE], EXCLUSIVE | {"orthanc_echo_required": True}, fails=True)
    told.states["exclusive"] = look()

    # What the archive calls others with.
    service = {"username": "admin", "password": PASSWORD}
    client = make_client_pair(tmp_path_factory.mktemp("client"))
    told.facts["key"] = pathlib.Path(client["orthanc_client_key"]).read_text().splitlines()[1]
    calling: dict[str, Any] = client | {
        "orthanc_peers": [
            {"name": "other", "url": f"https://{ADDRESS}/pacs", **service, "properties": {"RemoteSelf": "me"}}
        ],
        "orthanc_dicomweb_servers": [{"name": "web", "url": f"https://{ADDRESS}/pacs/dicom-web", **service}],
        "orthanc_accepted_transfer_syntaxes": SYNTAXES,
    }
    with tls_listener(client["orthanc_client_certificate"]):
        told.outputs["calling"] = converge([*both, VAULT], calling, "-vvv")
    told.states["calling"] = look()
    search = {"Uri": "/studies", "Arguments": {"limit": "1"}}
    told.facts["peer"], told.facts["server"] = rest(
        ("GET", "/peers/other/system", None), ("POST", "/pacs/dicom-web/servers/web/qido", search)
    )
    with host.sudo():
        told.facts["files"] = host.check_output("stat -c '%n %a %U %G' /opt/lightbox/orthanc/configuration/*.*")
    told.facts["takes"] = {one: accepts(one) for one in (uid.ExplicitVRLittleEndian, uid.RLELossless)}

    # A new password of a peer, one more transfer syntax: nothing that needs a restart.
    other = {
        "orthanc_peers": [calling["orthanc_peers"][0] | {"password": WRONG}],
        "orthanc_accepted_transfer_syntaxes": [*SYNTAXES, uid.RLELossless],
    }
    told.outputs["password"] = converge([*both, VAULT], calling | other, "-vvv")
    told.states["password"] = look()
    told.facts["peer with the new password"] = rest(("GET", "/peers/other/system", None))[0]
    told.facts["takes more"] = accepts(uid.RLELossless)
    restart()
    told.states["restarted again"] = look()

    # The way back: the inventory alone, and no line of it names a peer.
    told.outputs["back"] = converge(both, {"orthanc_modalities_exclusive": True})
    told.states["back"] = look()
    rest(("DELETE", "/peers/other", None), ("DELETE", "/pacs/dicom-web/servers/web", None))
    return told


def test_an_archive_with_modalities_in_its_file_moves_over(story):
    assert set(story.states["old"].modalities) == {"scanner"}
    assert set(story.states["moved"].modalities) == {"scanner", "reader", "verify"}
    assert story.states["moved"].modalities["scanner"]["AllowFind"] is False
    assert story.states["moved"].modalities["reader"]["AllowFind"] is True


def test_check_mode_tells_the_difference_and_changes_nothing(story):
    before, after = story.states["moved"], story.states["checked"]
    assert set(after.modalities) == set(before.modalities) | {HAND}
    assert after.started == before.started
    assert "modalities | Tell the archive its modalities" in changed(story.outputs["checked"])
    assert "LATE" in story.outputs["checked"]


def test_a_change_needs_no_restart(story):
    assert story.states["changed"].started == story.states["moved"].started
    assert story.facts["late calls"]
    assert changed(story.outputs["changed"]) == ["modalities | Tell the archive its modalities"]
    late = story.states["changed"].modalities["late"]
    assert (late["AllowEcho"], late["AllowStore"], late["AllowFind"], late["AllowFindWorklist"]) == (
        True,
        False,
        False,
        True,
    )


def test_a_change_outlives_a_restart(story):
    assert story.states["restarted"].started != story.states["changed"].started
    for what in ("modalities", "peers", "servers"):
        assert getattr(story.states["restarted"], what) == getattr(story.states["changed"], what)
    assert story.facts["late calls after a restart"]


def test_what_the_inventory_does_not_name_is_shown_and_stays(story):
    assert {"scanner", HAND} < set(story.states["changed"].modalities)
    said = shown(story.outputs["changed"], "Show what the archive knows and the inventory does not")
    assert f"knows the modality {HAND}, scanner, and orthanc_modalities" in said
    assert f"knows the peer {HAND}, and orthanc_peers does not" in said
    assert f"knows the DICOMweb server {HAND}, and orthanc_dicomweb_servers does not" in said
    assert HAND in story.states["changed"].peers
    assert HAND in story.states["changed"].servers


def test_it_is_removed_where_the_inventory_is_the_whole_truth(story):
    state = story.states["exclusive"]
    assert set(state.modalities) == {"reader", "late", "verify"}
    assert (state.peers, state.servers) == ({}, {})
    assert not shown(story.outputs["exclusive"], "Show what the archive knows and the inventory does not").count(HAND)


def test_a_table_shows_who_answers(story):
    table = shown(story.outputs["changed"], "Show which modalities answer")
    assert re.search(r"reader +yes", table)
    assert re.search(r"late +no .*Connection refused", table)
    assert "verify" not in table
    assert not shown(story.outputs["moved"], "Show which modalities answer").count("yes")


def test_one_that_does_not_answer_stops_the_run_only_where_asked(story):
    assert "failed=0" in story.outputs["changed"]
    said = shown(story.outputs["exclusive"], "Fail where a modality must answer and does not")
    assert "No answer from reader, late" in said
    assert "orthanc_echo_required" in said


def test_modalities_are_called_by_tls_with_a_certificate(story):
    assert re.search(r"vault +yes", shown(story.outputs["calling"], "Show which modalities answer"))


def test_peers_and_dicomweb_servers_are_reached_with_their_login(story):
    status, body = story.facts["peer"]
    assert (status, body["Name"]) == (200, "lightbox")
    assert story.facts["server"][0] == 200


def test_a_password_is_changed_although_the_archive_shows_none(story):
    assert story.states["calling"].peers["other"]["Password"] is None
    assert story.states["calling"].peers["other"]["RemoteSelf"] == "me"
    assert story.facts["peer with the new password"][0] != 200
    assert story.states["password"].started == story.states["calling"].started
    assert sorted(changed(story.outputs["password"])) == [
        "configure | Write the configuration",
        "modalities | Tell the archive its peers",
        "modalities | Tell the archive which transfer syntaxes to take",
    ]


def test_transfer_syntaxes_change_without_a_restart_and_outlive_one(story):
    assert story.facts["takes"] == {uid.ExplicitVRLittleEndian: True, uid.RLELossless: False}
    assert story.facts["takes more"]
    assert story.states["password"].syntaxes == sorted([*SYNTAXES, uid.RLELossless])
    assert story.states["restarted again"].syntaxes == story.states["password"].syntaxes
    assert story.states["restarted again"].started != story.states["password"].started
    assert len(story.states["back"].syntaxes) > 40


def test_peers_of_an_inventory_that_names_none_are_still_shown(story):
    said = shown(story.outputs["back"], "Show what the archive knows and the inventory does not")
    assert "knows the peer other, and orthanc_peers does not" in said
    assert "knows the DICOMweb server web" in said
    assert set(story.states["back"].modalities) == {"scanner", "reader", "verify"}


def test_no_password_is_told(story):
    hidden = (PASSWORD, secret("archive_password"), story.facts["key"], WRONG)
    for name, output in story.outputs.items():
        assert [one for one in hidden if one in output] == [], name


def test_the_key_is_readable_by_root_and_the_archive_alone_and_goes_when_it_is_not_needed(host, story):
    assert "/opt/lightbox/orthanc/configuration/calling.key 440 root lightbox-orthanc" in story.facts["files"]
    with host.sudo():
        assert not host.file("/opt/lightbox/orthanc/configuration/calling.key").exists


def test_the_archive_itself_checks_nothing(story):
    """Why the role does: the archive takes titles that no node can call, and takes a wrong transfer syntax for none."""
    wrong = {"AET": "SEVENTEEN-LETTERS", "Host": "192.0.2.1", "Port": 104, "Nonsense": True}
    put, none, everything, deleted = rest(
        ("PUT", "/modalities/wrong", wrong),
        ("PUT", "/tools/accepted-transfer-syntaxes", ["jpeg"]),
        ("PUT", "/tools/accepted-transfer-syntaxes", ["*"]),
        ("DELETE", "/modalities/wrong", None),
    )
    assert (put[0], none, deleted[0]) == (200, (200, []), 200)
    assert everything[1] == story.states["back"].syntaxes
