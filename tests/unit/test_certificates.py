"""The role certificates, run by Ansible on this machine: what the local CA issues and which pairs are refused."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.project import PROJECT
from tests.support.rendering import Role

ANSIBLE = shutil.which("ansible-playbook", path=str(pathlib.Path(sys.executable).parent)) or shutil.which(
    "ansible-playbook"
)
NAMES = ["pacs.example.org", "192.0.2.7", "2001:db8::7"]
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)  # noqa: UP017

pytestmark = pytest.mark.skipif(not ANSIBLE, reason="needs ansible-playbook")

PLAY = """
- name: Run one file of the role for every case
  hosts: all
  gather_facts: false
  tasks:
    - name: Run it
      block:
        - name: Run it
          ansible.builtin.include_role: {name: lightbox.pacs.certificates, tasks_from: "{{ tasks_from }}", public: true}
        - name: Say that it worked
          ansible.builtin.set_fact:
            result: "{{ ['not current'] if tasks_from == 'issue' and not __certificates_current else [] }}"
      rescue:
        - name: Say what it said
          ansible.builtin.set_fact: {result: "{{ ansible_failed_result.msg }}"}
      always:
        - name: Keep what it said
          ansible.builtin.copy:
            content: "{{ result | to_json }}"
            dest: "{{ results }}/{{ inventory_hostname }}.json"
            mode: "0644"
          check_mode: false
"""


def run(
    tmp_path: pathlib.Path, cases: dict[str, dict[str, Any]], *options: str, tasks_from: str = "preflight"
) -> dict[str, Any]:
    """Runs the role's file for all cases at once, each a host of its own; the errors of each ([] where it passed)."""
    results = tmp_path / "results"
    results.mkdir(exist_ok=True)
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "certificates_names": NAMES,
        "certificates_local_ca_directory": str(tmp_path / "ca"),
        "results": str(results),
        "tasks_from": tasks_from,
    }
    inventory = {"all": {"hosts": {name: common | variables for name, variables in cases.items()}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    (tmp_path / "play.yml").write_text(PLAY)
    assert ANSIBLE
    outcome = subprocess.run(
        [ANSIBLE, "-i", tmp_path / "inventory.json", tmp_path / "play.yml", *options],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORKS": "4"},
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    assert "PRIVATE KEY" not in outcome.stdout
    return {name: json.loads((results / f"{name}.json").read_text()) for name in cases}


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA of the test, with certificates to order."""

    def __init__(self, common_name: str, issuer: Authority | None = None):
        self.name, self.key, self.issuer = name(common_name), ec.generate_private_key(ec.SECP256R1()), issuer
        self.certificate = (issuer or self).sign(self.name, self.key.public_key(), ca=True)

    def sign(
        self,
        subject: x509.Name,
        public_key: Any,
        names: list[str] | None = None,
        ca: bool = False,
        begins: int = -2,
        ends: int = 90,
    ) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(days=begins))
            .not_valid_after(NOW + datetime.timedelta(days=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            sans: list[x509.GeneralName] = [
                x509.IPAddress(ipaddress.ip_address(one)) if re.match(r"[0-9.]+$|.*:", one) else x509.DNSName(one)
                for one in names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def pem(*certificates: Any) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def key_pem(key: Any, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def test_provided_pairs(tmp_path: pathlib.Path):
    root = Authority("root")
    middle = Authority("middle", root)
    stranger = Authority("stranger")
    key = ec.generate_private_key(ec.SECP256R1())

    def signed(names: list[str], **times: Any) -> Any:
        return middle.sign(name("server"), key.public_key(), names, **times)

    good = signed(NAMES)
    files = {
        "good.pem": pem(good, middle.certificate),
        "wildcard.pem": pem(signed(["*.example.org", *NAMES[1:]]), middle.certificate),
        "too_wide.pem": pem(signed(["*.org", *NAMES[1:]]), middle.certificate),
        "soon.pem": pem(signed(NAMES, ends=5), middle.certificate),
        "expired.pem": pem(signed(NAMES, ends=-1), middle.certificate),
        "future.pem": pem(signed(NAMES, begins=2), middle.certificate),
        "no_chain.pem": pem(good),
        "wrong_order.pem": pem(middle.certificate, good),
        "garbage.pem": "hidden\n",
        "both.pem": pem(good, middle.certificate) + key_pem(key),
        "root_and_key.pem": pem(root.certificate) + key_pem(key),
        "key.pem": key_pem(key),
        "other_key.pem": key_pem(ec.generate_private_key(ec.SECP256R1())),
        "locked_key.pem": key_pem(key, b"hidden"),
        "root.pem": pem(root.certificate),
        "stranger.pem": pem(stranger.certificate),
    }
    for file, content in files.items():
        (tmp_path / file).write_text(content)

    def case(
        certificate: str = "good.pem", private: str = "key.pem", ca: str = "root.pem", **more: Any
    ) -> dict[str, Any]:
        given = {"certificate": certificate, "key": private, "ca": ca}
        return (
            {f"certificates_provided_{part}": str(tmp_path / file) for part, file in given.items()}
            | {"certificates_provider": "provided"}
            | more
        )

    key_of_it, certificate, ca = (f"certificates_provided_{part}" for part in ("key", "certificate", "ca"))
    # case: its variables, the variable that the error must name, a word of the error
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "good": (case(), "", ""),
        "wildcard": (case("wildcard.pem"), "", ""),
        "soon": (case("soon.pem"), "", ""),
        "too_wide": (case("too_wide.pem"), certificate, "cover pacs.example.org"),
        "fewer_names": (case(certificates_names=["other.example.org"]), certificate, "cover other.example.org"),
        "expired": (case("expired.pem"), certificate, "expired"),
        "future": (case("future.pem"), certificate, "not valid before"),
        "no_chain": (case("no_chain.pem"), certificate, "intermediate"),
        "wrong_order": (case("wrong_order.pem"), certificate, "pair"),
        "wrong_root": (case(ca="stranger.pem"), ca, "root"),
        "wrong_key": (case(private="other_key.pem"), key_of_it, "pair"),
        "locked_key": (case(private="locked_key.pem"), key_of_it, "passphrase"),
        "both": (case("both.pem"), certificate, "contains a private key"),
        "root_and_key": (case(ca="root_and_key.pem"), ca, "contains a private key"),
        "garbage": (case("garbage.pem"), certificate, "read"),
        "garbage_key": (case(private="garbage.pem"), key_of_it, "read"),
        "no_file": (case("none.pem"), certificate, "not a file on the controller"),
        "no_key": (case(private="none.pem"), key_of_it, "not a file on the controller"),
        "no_ca": (case(ca="none.pem"), ca, "not a file on the controller"),
    }
    found = run(tmp_path, {one: its_case[0] for one, its_case in cases.items()})
    for one, (_given, variable, word) in cases.items():
        text = " ".join(found[one])
        assert bool(found[one]) is bool(variable), (one, found[one])
        assert variable in text, (one, found[one])
        assert word in text, (one, found[one])
        assert not found[one] or re.search(r"\b[Ss]et\b", text), (one, found[one])
        assert "hidden" not in text


@pytest.mark.parametrize(
    ("variable", "answers", "word"),
    [
        ("certificates_provider", {"certificates_provider": "acme"}, "not supported yet"),
        ("certificates_names", {"certificates_names": []}, "empty"),
        ("certificates_names", {"certificates_names": ["https://pacs"]}, "https://pacs"),
        ("certificates_names", {"certificates_names": ["192.0.2.256"]}, "192.0.2.256"),
        ("certificates_names", {"certificates_names": ["192.0.2.07"]}, "192.0.2.07"),
        ("certificates_names", {"certificates_names": ["2001:db8"]}, "neither a DNS name nor an IP address"),
        ("certificates_names", {"certificates_names": ["1::2::3"]}, "neither a DNS name nor an IP address"),
        ("certificates_names", {"certificates_names": ["1:2:3:4:5:6:7:8:9"]}, "neither a DNS name nor an IP address"),
        (
            "certificates_names",
            {"certificates_names": ["2001:DB8:0::7", "::1"]},
            "Set 2001:db8::7 there",
        ),
        ("certificates_names", {"certificates_names": ["2001:db8::7", "2001:db8:0::7"]}, "2001:db8:0::7"),
        ("certificates_names", {"certificates_names": ["a", "A"]}, "twice"),
        ("certificates_directory", {"certificates_directory": "/etc"}, "/etc"),
        ("certificates_local_ca_directory", {"certificates_local_ca_directory": "ca"}, "absolute"),
        ("certificates_days", {"certificates_days": 900}, "825"),
        ("certificates_renew_days", {"certificates_renew_days": 400}, "less"),
        ("certificates_reload_services", {"certificates_reload_services": ["a b"]}, "unit"),
        ("certificates_names", {"certificates_names": ["a;b"]}, "a;b"),
    ],
    ids=str,
)
def test_bad_values_are_refused(variable, answers, word):
    found = role().errors(**answers)
    assert len(found) == 1
    assert variable in found[0]
    assert word in found[0]
    assert re.search(r"\b[Ss]et\b", found[0])


def test_an_ipv6_address_is_asked_for_as_certificates_write_it():
    (error,) = role().errors(certificates_names=["a", "2001:0DB8:0::7"])
    assert "contains 2001:0DB8:0::7, which certificates and browsers write in another way. Set 2001:db8::7" in error


def role() -> Role:
    return Role(
        "certificates",
        inventory_hostname="one",
        certificates_names=NAMES,
        certificates_local_ca_directory="/nowhere/ca",
    )


def value(variable: str, answers: dict[str, Any]) -> Any:
    """An internal variable of the role, with these answers."""
    return role().value(variable, **answers)


def test_local_ca_issues_and_renews(tmp_path: pathlib.Path):
    ca = tmp_path / "ca"
    assert run(tmp_path, {"one": {}}, "--check", tasks_from="issue") == {"one": ["not current"]}
    assert not ca.exists()

    assert run(tmp_path, {"one": {}, "two": {"certificates_names": ["two.example.org"]}}, tasks_from="issue") == {
        "one": [],
        "two": [],
    }
    secret = [ca / "ca.key", ca / "one/privkey.pem", ca / "two/privkey.pem"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in secret] == [0o600] * 3
    assert [stat.S_IMODE(directory.stat().st_mode) for directory in (ca, ca / "one")] == [0o700] * 2

    root = x509.load_pem_x509_certificate((ca / "ca.pem").read_bytes())
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    first = x509.load_pem_x509_certificate((ca / "one/fullchain.pem").read_bytes())
    first.verify_directly_issued_by(root)
    sans = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.DNSName) == NAMES[:1]
    assert [str(address) for address in sans.get_values_for_type(x509.IPAddress)] == NAMES[1:]
    assert not first.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert 396 <= (first.not_valid_after_utc - NOW).days <= 397

    # Other names: another certificate for the same key, by the same CA.
    before = {file: file.read_bytes() for file in [*secret, ca / "ca.pem"]}
    assert run(tmp_path, {"one": {"certificates_names": ["new.example.org"]}}, tasks_from="issue") == {"one": []}
    second = x509.load_pem_x509_certificate((ca / "one/fullchain.pem").read_bytes())
    assert second.serial_number != first.serial_number
    assert second.public_key() == first.public_key()
    assert {file: file.read_bytes() for file in before} == before


def test_local_ca_without_its_key_is_refused(tmp_path: pathlib.Path):
    assert run(tmp_path, {"one": {}}, tasks_from="issue") == {"one": []}
    (tmp_path / "ca/ca.key").unlink()
    found = " ".join(run(tmp_path, {"one": {}})["one"])
    assert "certificates_local_ca_directory" in found
    assert "ca.key" in found
