"""The CA of the DICOM devices, run by Ansible on this machine: issue, renew, export, revoke, and refuse bad input."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar, trust_as_template
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.pki import make_pki
from tests.support.project import PROJECT
from tests.support.rendering import Role

DEVICES = [
    {"name": "ct1", "aet": "CT1", "host": "192.0.2.21"},
    {"name": "ct1-old", "aet": "CT_OLD", "host": "Old.example.org"},
]
VAULT = VaultSecret(b"vault password")
# Without what only root may do on a server. Each step is what a playbook includes.
PLAY = """
- name: Run parts of the role
  hosts: one
  gather_facts: false
  tasks:
    - name: Run one part
      ansible.builtin.include_role:
        name: lightbox.pacs.dicom_ca
        tasks_from: "{{ part }}"
        apply: {check_mode: "{{ part == 'configure' or ansible_check_mode }}"}
      loop: "{{ parts }}"
      loop_control: {loop_var: part}
      vars:
        __dicom_ca_export: plain
        __dicom_ca_servers: []
        __dicom_ca_revoked_name: "{{ revoked | default('plain') }}"
"""


class Controller:
    """An inventory with two servers that share the CA, in a directory of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.ca = directory / ".secrets/dicom-ca"
        self.output = ""
        (directory / "vault").write_text(VAULT.bytes.decode())
        common = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "pacs_dicom_client_certificates": "optional",
            "pacs_modalities": [{**device, "tls": True} for device in DEVICES]
            + [{"name": "plain", "aet": "PLAIN", "host": "192.0.2.30"}],
            "dicom_ca_server_directory": str(directory / "server/{{ inventory_hostname }}"),
            "dicom_ca_reload_services": [],
            # What the wiring sets for playbooks.
            "dicom_ca_directory": str(self.ca),
            "dicom_ca_devices": DEVICES,
        }
        hosts = {
            "one": common | {"pacs_name": "pacs.example.org", "pacs_alternative_names": ["192.0.2.10"]},
            "two": common
            | {"pacs_name": "second.example.org", "orthanc_aet": "SECOND", "reverse_proxy_dicom_tls_port": 2762},
        }
        (directory / "hosts.yml").write_text(yaml.safe_dump({"pacs": {"hosts": hosts}}))
        (directory / "role.yml").write_text(PLAY)

    def run(self, playbook: str, *options: str, fails: bool = False) -> str:
        """Run a playbook; return its output, which has no key."""
        path = self.directory / "role.yml" if playbook == "role" else PROJECT / f"playbooks/{playbook}.yml"
        done = subprocess.run(
            [
                "ansible-playbook",
                "-i",
                self.directory / "hosts.yml",
                path,
                "--vault-password-file",
                self.directory / "vault",
                *options,
            ],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"},
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, output[-4000:]
        assert "PRIVATE KEY" not in output
        return output

    def run_parts(self, *parts: str, fails: bool = False, **variables: Any) -> str:
        return self.run("role", "-e", json.dumps({"parts": parts, **variables}), fails=fails)

    def changed(self, output: str) -> int:
        return sum(map(int, re.findall(r"changed=(\d+)", output)))

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.ca / f"devices/{name}/fullchain.pem").read_bytes())

    def verify(self, certificate: pathlib.Path) -> str:
        """Return why openssl refuses a certificate by the CA and its revocation list; empty where it does not."""
        done = subprocess.run(
            [
                "openssl",
                "verify",
                "-crl_check",
                "-CAfile",
                self.ca / "ca.pem",
                "-CRLfile",
                self.ca / "crl.pem",
                certificate,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is done.stdout.endswith("OK\n")
        return "" if done.returncode == 0 else done.stderr

    def issued(self, name: str) -> list[pathlib.Path]:
        return [
            path for path in sorted((self.ca / "issued").iterdir()) if re.fullmatch(name + "-[0-9A-F]+.pem", path.name)
        ]

    def encrypt(self, path: pathlib.Path) -> None:
        path.write_bytes(VaultLib([("default", VAULT)]).encrypt(path.read_bytes(), secret=VAULT))


def test_check_mode_on_a_new_controller_writes_nothing(tmp_path):
    made = Controller(tmp_path)
    said = made.run("role", "--check", "-e", json.dumps({"parts": ["issue_once", "configure"]}))
    assert not made.ca.exists()
    assert made.changed(said) == 2


def check_issued(made: Controller) -> None:
    ca = x509.load_pem_x509_certificate((made.ca / "ca.pem").read_bytes())
    usages = {"ct1": 2, "ct1-old": 2, "archive": 1, "verify": 1}
    assert {path.name for path in (made.ca / "devices").iterdir()} == set(usages)
    for name, count in usages.items():
        certificate = made.certificate(name)
        certificate.verify_directly_issued_by(ca)
        assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
        usage = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert usage == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH][:count]
        assert made.verify(made.ca / f"devices/{name}/fullchain.pem") == ""
        assert len(made.issued(name)) == 1
    for name, host in {"ct1": "192.0.2.21", "ct1-old": "old.example.org"}.items():
        extensions = made.certificate(name).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(one.value) for one in found] == [host]
    crl = x509.load_pem_x509_crl((made.ca / "crl.pem").read_bytes())
    assert len(crl) == 0
    # nginx refuses every client once the list is past its date, or before its time.
    assert crl.next_update_utc == ca.not_valid_after_utc
    assert crl.last_update_utc < datetime.now(crl.last_update_utc.tzinfo) - timedelta(hours=23)
    # Keys are for their owner alone.
    keys = [made.ca / "ca.key", *(made.ca / "devices").glob("*/privkey.pem")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in keys] == [0o600] * 5
    directories = [made.ca, *(path for path in made.ca.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def flatten(text: str) -> str:
    return " ".join(text.split())


def test_certificates_are_issued_renewed_and_revoked(tmp_path):
    made = Controller(tmp_path)
    made.run_parts("issue_once", dicom_ca_days=30, dicom_ca_renew_days=10)
    check_issued(made)

    # Again: nothing changes. Names that have no certificate are refused.
    said = made.run_parts("issue_once", "export", dicom_ca_renew_days=10, fails=True)
    assert made.changed(said) == 0
    refusal = "export is 'plain', which is not a device with a certificate. Set it to ct1 or ct1-old."
    assert refusal in flatten(said)

    # Renewal keeps the key and the old certificate. The CA's key may be encrypted.
    made.encrypt(made.ca / "ca.key")
    old = made.certificate("ct1")
    keys = {path: path.read_bytes() for path in made.ca.rglob("*.key")}
    keys |= {path: path.read_bytes() for path in made.ca.rglob("privkey.pem")}
    said = made.run_parts("issue_once", "configure", "list", "revoke", __dicom_ca_only=["ct1"], fails=True)
    new = made.certificate("ct1")
    assert new.serial_number != old.serial_number
    assert round((new.not_valid_after_utc - new.not_valid_before_utc) / timedelta(days=1)) == 825 + 1
    assert {path: path.read_bytes() for path in keys} == keys
    assert [made.verify(path) for path in made.issued("ct1")] == ["", ""]
    end = f"{old.not_valid_after_utc:%Y-%m-%d}"
    assert f"Install the certificate on ct1 (the one before is valid until {end}), ct1-old (its first one)." in flatten(
        said
    )
    refusal = "revoke is 'plain', which never had a certificate. Set it to ct1 or ct1-old or archive or verify."
    assert refusal in flatten(said)
    lines = {line.split()[0]: line for line in said.splitlines() if re.search(" (valid|none|revoked|expired) +2", line)}
    assert set(lines) == {"ct1", "ct1-old", "archive", "verify"}
    assert re.search(r" CT1 +valid +\d{4}-\d\d-\d\d +[0-9A-F]{30,40} +not exported; the one before", lines["ct1"])
    assert lines["verify"].endswith("the next run of site.yml renews it")

    # Both are revoked, and no other. The next run makes a new key.
    empty = (made.ca / "crl.pem").read_bytes()
    revoked = made.issued("ct1")
    (made.directory / "vault").write_text("another password")
    said = made.run_parts("revoke", revoked="ct1", fails=True)
    assert "Decryption failed" in said
    assert "Revoked from now on" not in said
    (made.directory / "vault").write_text(VAULT.bytes.decode())
    key = (made.ca / "devices/ct1/privkey.pem").read_bytes()
    said = made.run_parts("revoke", revoked="ct1")
    crl = (made.ca / "crl.pem").read_bytes()
    assert ["certificate revoked" in made.verify(path) for path in made.issued("ct1")] == [True, True]
    for other in ("ct1-old", "verify"):
        assert made.verify(made.ca / f"devices/{other}/fullchain.pem") == ""
    assert list((made.ca / "devices/ct1").iterdir()) == []
    said = made.run_parts("revoke", "issue_once", revoked="ct1", __dicom_ca_only=["ct1"])
    assert "ct1 has no valid certificate, so there is nothing to revoke" in flatten(said)
    assert (made.ca / "crl.pem").read_bytes() == crl
    assert (made.ca / "devices/ct1/privkey.pem").read_bytes() != key

    # A list that was lost, or restored from before, gets what was revoked.
    (made.ca / "crl.pem").unlink()
    for _again in range(2):
        made.run_parts("issue_once", __dicom_ca_only=["ct1"])
        assert ["certificate revoked" in made.verify(path) for path in revoked] == [True, True]
        (made.ca / "crl.pem").write_bytes(empty)
    assert made.verify(made.ca / "devices/ct1/fullchain.pem") == ""


def check_export(made: Controller, password: str) -> None:
    exports = made.ca / "exports"
    assert (exports / "ct1.password").read_text().strip() == password
    assert {path.name for path in exports.iterdir()} == {"ct1.zip", "ct1.password", ".gitignore"}
    assert {stat.S_IMODE((exports / name).stat().st_mode) for name in ("ct1.zip", "ct1.password")} == {0o600}

    parts = made.directory / "parts"
    with zipfile.ZipFile(exports / "ct1.zip") as archive:
        archive.extractall(parts)
    found = {path.name: path.read_bytes() for path in (parts / "ct1").iterdir()}
    assert set(found) == {"README.txt", "archive-ca.pem", "ct1.key", "ct1.p12", "ct1.pem", "device-ca.pem"}
    assert not [name for name, content in found.items() if password.encode() in content]
    assert found["archive-ca.pem"] == (made.directory / ".secrets/ca/ca.pem").read_bytes()
    assert found["device-ca.pem"] == (made.ca / "ca.pem").read_bytes()
    assert x509.load_pem_x509_certificate(found["ct1.pem"]) == made.certificate("ct1")
    assert found["ct1.key"] == (made.ca / "devices/ct1/privkey.pem").read_bytes()
    open_it: list[str | pathlib.Path] = ["openssl", "pkcs12", "-in", parts / "ct1/ct1.p12", "-nodes", "-passin"]
    opened = [
        subprocess.run([*open_it, f"pass:{word}"], capture_output=True, text=True, check=False)
        for word in (password, "other")
    ]
    assert [one.returncode == 0 for one in opened] == [True, False]
    assert opened[0].stdout.count("BEGIN CERTIFICATE") == 2

    page = found["README.txt"].decode()
    assert max(map(len, page.splitlines())) < 80
    for words in (
        "Archive                    pacs.example.org",
        "also reached as          192.0.2.10",
        "Port (TLS)                 11112",
        "Port (TLS)                 2762",
        "AE title of the archive    LIGHTBOX",
        "AE title of the archive    SECOND",
        "AE title of the device     CT1",
        "1.2 or 1.3",
        f"The certificate ends on {made.certificate('ct1').not_valid_after_utc:%Y-%m-%d}",
    ):
        assert words in page


def test_the_playbook_exports_and_revokes_for_two_servers(tmp_path):
    made = Controller(tmp_path)
    authority = tmp_path / ".secrets/ca"
    authority.mkdir(parents=True, mode=0o700)
    subject = ("-x509", "-days", "3000", "-subj", "/CN=local", "-keyout", authority / "ca.key")
    subprocess.run(
        ["openssl", "req", "-newkey", "rsa:2048", "-nodes", *subject, "-out", authority / "ca.pem"],
        check=True,
        capture_output=True,
    )
    made.run("dicom_ca", "-e", "export=ct1", "--check")
    assert not made.ca.exists()
    said = made.run("dicom_ca", "-e", "export=ct1")
    (password,) = re.findall(r"Password of ct1\.p12 in it: (\w+)", said)
    check_export(made, password)

    (certificate,) = made.issued("ct1")
    assert made.verify(certificate) == ""
    # The server's files belong to root.
    is_root = os.geteuid() == 0
    said = made.run("dicom_ca", "-e", "revoke=ct1", *(() if is_root else ("-e", "reverse_proxy_enabled=false")))
    assert "Revoked from now on: ct1, serial number" in flatten(said)
    assert password not in said
    assert "certificate revoked" in made.verify(certificate)
    aside = {path.name for path in (made.ca / "revoked").rglob("*") if path.is_file()}
    assert aside == {"privkey.pem", "fullchain.pem", "exported", "ct1.zip", "ct1.password"}
    for server in ("one", "two") if is_root else ():
        installed = made.directory / "server" / server
        assert (installed / "crl.pem").read_bytes() == (made.ca / "crl.pem").read_bytes()
        assert not (installed / "devices/ct1.pem").exists()


def test_names_that_differ_in_case_on_two_servers_are_refused(tmp_path):
    made = Controller(tmp_path)
    hosts = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    hosts["pacs"]["hosts"]["two"]["pacs_modalities"] = [{**DEVICES[0], "name": "CT1", "tls": True}]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    assert "the same but for upper and lower case: ct1, CT1." in flatten(made.run("dicom_ca", fails=True))


ROLE = Role("dicom_ca", dicom_ca_directory="/nowhere/dicom-ca", inventory_hostname="one")


def devices(*given: dict[str, Any]) -> dict[str, Any]:
    return {"dicom_ca_devices": [{**DEVICES[0], **one} for one in given]}


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"dicom_ca_directory": "ca"}, "dicom_ca_directory is 'ca'"),
        ({"dicom_ca_server_directory": "/etc"}, "dicom_ca_server_directory is '/etc'"),
        ({"dicom_ca_server_directory": "/etc/a b"}, "dicom_ca_server_directory is '/etc/a b'"),
        (
            {"dicom_ca_directory": "/srv/devices/ca", "dicom_ca_server_directory": "/srv/devices"},
            "dicom_ca_directory (/srv/devices/ca) is inside dicom_ca_server_directory (/srv/devices)",
        ),
        ({"dicom_ca_name": "a\nb"}, "dicom_ca_name is"),
        ({"dicom_ca_days": 0}, "dicom_ca_days is 0. Set it to 1 to 3650"),
        ({"dicom_ca_days": 3651}, "dicom_ca_days is 3651"),
        (
            {"dicom_ca_renew_days": 825},
            "dicom_ca_renew_days is 825. Set it to 0 or more and less than dicom_ca_days (825)",
        ),
        ({"dicom_ca_renew_days": -1}, "dicom_ca_renew_days is -1"),
        (
            {"dicom_ca_reload_services": ["a b"]},
            "dicom_ca_reload_services contains a name that is not a systemd unit's",
        ),
        (devices({"name": "../x"}), "dicom_ca_devices contains the name ../x"),
        (devices({"name": "_x"}), "dicom_ca_devices contains the name _x"),
        (devices({"name": 123}), "dicom_ca_devices contains the name 123"),
        (devices({"host": "192.0.2.999"}), "the host of ct1 is '192.0.2.999'"),
        (devices({"host": ""}), "the host of ct1 is ''"),
        (
            devices({}, {"name": "CT1"}, {"name": "b"}),
            "names that are the same but for upper and lower case: ct1, CT1.",
        ),
        (devices({"name": "Verify"}), "Devices in dicom_ca_devices have a name that is reserved: Verify"),
        (devices({"name": "archive"}), "a name that is reserved: archive"),
        ({"dicom_ca_devices": [{"name": "ct1"}]}, "dicom_ca_devices, entry 1 (ct1) has no host, which is required"),
    ],
    ids=str,
)
def test_bad_values_are_refused(answers, error):
    found = ROLE.errors(**answers)
    assert error in " ".join(found)
    assert all(re.search(r"\b[Ss]et\b", one) for one in found)


def test_addresses_are_compared_as_certificates_write_them():
    given = devices({"host": "2001:DB8:0::21"}, {"name": "b", "host": "CT2.example.org"})
    assert [one["names"] for one in ROLE.value("__dicom_ca_states", **given)] == [
        *(["IP:2001:db8::21"], ["DNS:ct2.example.org"], [], [])
    ]


def test_all_errors_come_at_once():
    assert len(ROLE.errors(dicom_ca_days=0, dicom_ca_name="", **devices({"name": "verify", "host": "a b"}))) == 5
    assert ROLE.errors(**devices({}, {"name": "b"})) == []


def test_other_files_among_the_certificates_are_left_alone(tmp_path):
    make_pki(tmp_path, names=())
    issued = tmp_path / "issued"
    issued.mkdir()
    shutil.copy(tmp_path / "ca.pem", issued / "ct1-0A.pem")
    (issued / "ct1-0A (copy).pem").write_text("no certificate")
    (found,) = ROLE.value("__dicom_ca_certificates", dicom_ca_directory=str(tmp_path))
    assert (found["name"], found["serial"]) == ("ct1", "0A")


def test_a_ca_without_its_key_is_refused(tmp_path):
    make_pki(tmp_path, names=())
    key = (tmp_path / "ca.key").rename(tmp_path / "elsewhere")
    given = {"dicom_ca_directory": str(tmp_path), "__dicom_ca_renew_before": "20000101000000Z"}
    (error,) = ROLE.errors(**given)
    assert "contains ca.pem but not ca.key, so nothing can be issued or revoked" in error
    certificate = (tmp_path / "ca.pem").rename(tmp_path / "other")
    (tmp_path / "crl.pem").touch()
    (error,) = ROLE.errors(**given)
    assert "contains crl.pem but not ca.key" in error
    (tmp_path / "crl.pem").unlink()
    certificate.rename(tmp_path / "ca.pem")
    key.rename(tmp_path / "ca.key")
    assert ROLE.errors(**given) == []
    (error,) = ROLE.errors(dicom_ca_directory=str(tmp_path))
    assert "expires in fewer than dicom_ca_renew_days (90) days" in error


def wired(**answers: Any) -> dict[str, Any]:
    """What the wiring makes of an inventory's answers."""
    loader = DataLoader()
    variables: dict[str, Any] = {
        "inventory_dir": "/inventory",
        "reverse_proxy_enabled": True,
        "dicom_ca_server_directory": "/etc/ca",
    }
    for name in ("wiring", "wiring_certificates"):
        path = PROJECT / f"playbooks/group_vars/all/{name}.yml"
        variables |= loader.load_from_file(str(path), trusted_as_template=True)
    templar = Templar(loader, variables=variables | {"__pacs_verify_aet": "LBXTEST"} | answers)
    names = ["dicom_ca_enabled", "dicom_ca_devices", "orthanc_issued_client", "certificates_watched_devices"]
    names += [f"reverse_proxy_dicom_{part}" for part in ("client_certificates", "client_ca", "client_crl", "devices")]
    names += ["verify_dicom_client_certificate", "verify_dicom_client_key"]
    return {name: templar.template(trust_as_template("{{ " + name + " }}")) for name in names}


CHECKS = {"name": "verify", "aets": ["LBXTEST"], "hide_aet": True}


@pytest.mark.parametrize(
    "mode", [{}, {"pacs_dicom_client_certificates": False}, {"pacs_dicom_client_certificates": "off"}]
)
def test_off_is_the_default_and_yaml_reads_it_as_false(mode):
    found = wired(**mode, pacs_modalities=[{**DEVICES[0], "tls": True}])
    assert found["dicom_ca_enabled"] is False
    assert found["orthanc_issued_client"] == found["certificates_watched_devices"] == {}
    assert found["reverse_proxy_dicom_client_certificates"] == "off"
    assert found["reverse_proxy_dicom_devices"] == [CHECKS]
    assert not found["verify_dicom_client_certificate"]


def test_modalities_with_tls_are_the_devices():
    given = [{**DEVICES[0], "tls": "yes", "port": 104}, {**DEVICES[1], "tls": False}]
    found = wired(pacs_dicom_client_certificates="required", pacs_modalities=given)
    assert found["dicom_ca_enabled"] is True
    assert found["dicom_ca_devices"] == [DEVICES[0]]
    assert found["certificates_watched_devices"] == {
        f"dicom-{name}": f"/etc/ca/devices/{name}.pem" for name in ("ct1", "archive", "verify")
    }
    assert found["orthanc_issued_client"] == {
        "certificate": "/inventory/.secrets/dicom-ca/devices/archive/fullchain.pem",
        "key": "/inventory/.secrets/dicom-ca/devices/archive/privkey.pem",
        "trusted": "/inventory/.secrets/dicom-ca/ca.pem",
    }
    assert found["reverse_proxy_dicom_client_certificates"] == "required"
    assert found["reverse_proxy_dicom_client_ca"] == "/etc/ca/ca.pem"
    assert found["reverse_proxy_dicom_client_crl"] == "/etc/ca/crl.pem"
    assert found["reverse_proxy_dicom_devices"] == [{"name": "ct1", "aets": ["CT1"]}, CHECKS]
    assert found["verify_dicom_client_certificate"] == "/etc/ca/verify/fullchain.pem"
    assert found["verify_dicom_client_key"] == "/etc/ca/verify/privkey.pem"
    # Without nginx nobody checks a certificate.
    assert wired(pacs_dicom_client_certificates="required", reverse_proxy_enabled=False)["dicom_ca_enabled"] is False
