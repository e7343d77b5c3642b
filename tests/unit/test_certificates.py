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
import yaml
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
        ("certificates_fail_days", {"certificates_fail_days": 30}, "certificates_warn_days is 21"),
        ("certificates_fail_days", {"certificates_fail_days": -1}, "0 or more"),
        ("certificates_hooks_directory", {"certificates_hooks_directory": "reload.d"}, "reload.d"),
        ("certificates_metrics", {"certificates_metrics": "/x y"}, "/x y"),
        ("certificates_watched", {"certificates_watched": {"a b": "/x"}}, "a b"),
        ("certificates_watched", {"certificates_watched": {"a": "x"}}, "absolute path"),
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


# --- ACME

ACME = {
    "certificates_provider": "acme",
    "certificates_names": ["pacs.example.org"],
    "ansible_facts": {"distribution_release": "trixie"},
}
NOBLE = {"ansible_facts": {"distribution_release": "noble"}}
PIP = {"certificates_acme_source": "pip"}
ADDRESS = {"certificates_names": ["203.0.113.7"]}
SHORT = {"certificates_acme_profile": "shortlived"}
RFC2136 = {"server": "192.0.2.53", "key_name": "acme.", "key": "aGlkZGVuaGlkZGVu"}


@pytest.mark.parametrize(
    ("variable", "answers", "word"),
    [
        # What the client of this source cannot do.
        (
            "certificates_acme_profile",
            SHORT | {"ansible_facts": {"distribution_release": "noble"}},
            "needs certbot 4.0",
        ),
        ("certificates_acme_profile", SHORT | PIP | {"certificates_acme_version": "3.3.0"}, "4.0.0 or newer"),
        ("certificates_acme_ari_required", {"certificates_acme_ari_required": True}, "needs certbot 4.1"),
        ("certificates_names", ADDRESS | SHORT, "need certbot 5.4 or newer; this is certbot 4.0.0"),
        ("certificates_names", ADDRESS | SHORT | PIP | {"certificates_acme_version": "5.3.1"}, "5.4.0 or newer"),
        # What the CA does not do.
        ("certificates_names", ADDRESS | PIP, "with the profile shortlived only"),
        ("certificates_names", {"certificates_names": ["pacs"]}, "which no public CA certifies"),
        ("certificates_names", {"certificates_names": ["pacs.hospital.local"]}, "which no public CA certifies"),
        ("certificates_names", ADDRESS | SHORT | PIP | {"certificates_names": ["172.20.1.1"]}, "172.20.1.1"),
        ("certificates_names", ADDRESS | SHORT | PIP | {"certificates_names": ["fd00::1"]}, "no public CA"),
        ("certificates_acme_challenge", {"certificates_names": ["*.example.org"]}, "which a CA checks by the DNS only"),
        (
            "certificates_acme_challenge",
            ADDRESS | SHORT | PIP | {"certificates_acme_challenge": "route53"},
            "cannot be checked by the DNS",
        ),
        (
            "certificates_names",
            {"certificates_names": [f"n{number}.org" for number in range(101)]},
            "101 names",
        ),
        # Values that cannot be right.
        ("certificates_acme_server", {"certificates_acme_server": "http://ca.example.org/dir"}, "https://"),
        (
            "certificates_acme_staging",
            {"certificates_acme_server": "https://ca.example.org/dir", "certificates_acme_staging": True},
            "only one can count",
        ),
        ("certificates_acme_ca", {"certificates_acme_ca": "/nowhere/ca.pem"}, "not a file on the controller"),
        ("certificates_acme_ca", {"certificates_acme_ca": "/etc/hostname"}, "contains no certificate"),
        ("certificates_acme_email", {"certificates_acme_email": "admin"}, "e-mail"),
        ("certificates_acme_email", {"certificates_acme_email": "a@b\nserver = x"}, "e-mail"),
        ("certificates_acme_eab_hmac_key", {"certificates_acme_eab_key_id": "kid"}, "Set both"),
        (
            "certificates_acme_eab_hmac_key",
            {"certificates_acme_eab_key_id": "kid", "certificates_acme_eab_hmac_key": "hidden+"},
            "base64url",
        ),
        ("certificates_acme_profile", {"certificates_acme_profile": "a b"}, "a b"),
        ("certificates_acme_webroot", {"certificates_acme_webroot": "/var/lib/a b"}, "web server"),
        ("certificates_acme_dns_seconds", {"certificates_acme_dns_seconds": -1}, "0 to 3600"),
        ("certificates_acme_rfc2136", {"certificates_acme_challenge": "rfc2136"}, "lacks key, key_name, server"),
        (
            "certificates_acme_rfc2136.server",
            {"certificates_acme_challenge": "rfc2136", "certificates_acme_rfc2136": RFC2136 | {"server": "ns.example"}},
            "not an IP address",
        ),
        (
            "certificates_acme_rfc2136.key",
            {"certificates_acme_challenge": "rfc2136", "certificates_acme_rfc2136": RFC2136 | {"key": "hidden!"}},
            "not base64",
        ),
        ("certificates_acme_auth_hook", {"certificates_acme_challenge": "hooks"}, "publishes the DNS record"),
        ("certificates_acme_environment", {"certificates_acme_environment": {"A-B": "hidden"}}, "A-B"),
        ("certificates_acme_version", PIP | {"certificates_acme_version": "latest"}, "exact version"),
        ("certificates_acme_wheels", PIP | {"certificates_acme_wheels": "/nowhere"}, "wheels (*.whl)"),
        ("certificates_acme_wheels", {"certificates_acme_wheels": "/nowhere"}, "certificates_acme_source to pip"),
    ],
    ids=str,
)
def test_bad_values_for_acme_are_refused(variable, answers, word):
    found = role().errors(**ACME | answers)
    assert len(found) == 1, found
    assert variable in found[0]
    assert word in found[0]
    assert re.search(r"\b[Ss]et\b", found[0])
    assert "hidden" not in found[0]


@pytest.mark.parametrize(
    "answers",
    [
        {},
        ADDRESS | SHORT | PIP,
        # A CA of the own network certifies names of the own network.
        {"certificates_acme_server": "https://ca.lan/dir", "certificates_names": ["pacs", "pacs.lan"]},
        {
            "certificates_acme_challenge": "rfc2136",
            "certificates_acme_rfc2136": RFC2136,
            "certificates_names": ["*.a.de"],
        },
        {"certificates_acme_ari_required": True} | PIP,
    ],
    ids=str,
)
def test_good_values_for_acme(answers):
    assert role().errors(**ACME | answers) == []


def acme_value(variable: str, **answers: Any) -> Any:
    return value(variable, ACME | answers)


def test_what_the_acme_client_is_asked():
    request = acme_value("__certificates_acme_request", certificates_names=["PACS.example.org", "other.example.org"])
    assert request == [
        *("--server", "https://acme-v02.api.letsencrypt.org/directory", "--key-type", "ecdsa"),
        *("--webroot", "--webroot-path", "/var/lib/lightbox/acme"),
        *("--domain=pacs.example.org", "--domain=other.example.org"),
    ]
    request = acme_value("__certificates_acme_request", **ADDRESS, **SHORT, **PIP, certificates_acme_staging=True)
    assert request[1] == "https://acme-staging-v02.api.letsencrypt.org/directory"
    assert request[4:6] == ["--required-profile", "shortlived"]
    assert request[-1] == "--ip-address=203.0.113.7"
    by_challenge = {
        "route53": ["--dns-route53"],
        "rfc2136": ["--dns-rfc2136-propagation-seconds", "60"],
        "hooks": ["--manual-auth-hook", "/etc/lightbox/acme/auth-hook"],
    }
    for challenge, words in by_challenge.items():
        request = acme_value("__certificates_acme_request", certificates_acme_challenge=challenge)
        assert request[request.index(words[0]) :][: len(words)] == words
    # Another address of the account needs no other certificate.
    assert "admin@example.org" not in acme_value(
        "__certificates_acme_request", certificates_acme_email="admin@example.org"
    )


def test_secrets_of_acme_are_in_files_for_root_alone():
    files = acme_value(
        "__certificates_files",
        certificates_acme_email="admin@example.org",
        certificates_acme_eab_key_id="kid",
        certificates_acme_eab_hmac_key="Hidden1",
        certificates_acme_environment={"AWS_SECRET_ACCESS_KEY": "Hidden2"},
        certificates_acme_challenge="rfc2136",
        certificates_acme_rfc2136=RFC2136 | {"key": "Hidden3="},
    )
    holding = {
        secret: [file for file in files if secret in file.get("content", "") + file.get("secret", "")]
        for secret in ("Hidden1", "Hidden2", "Hidden3=")
    }
    for (file,) in holding.values():
        assert file["mode"] == "0400"
        assert "secret" in file
    options = next(file["secret"] for file in files if file["path"].endswith("certbot.ini"))
    assert "email = admin@example.org\n" in options
    assert "eab-kid = kid\neab-hmac-key = Hidden1\n" in options
    assert "register-unsafely" not in options
    assert "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_port = 53\n" in holding["Hidden3="][0]["secret"]


def test_packages_of_the_acme_client():
    assert acme_value("__certificates_packages") == ["openssl", "ca-certificates", "certbot"]
    packages = acme_value("__certificates_packages", certificates_acme_challenge="route53")
    assert packages[-1] == "python3-certbot-dns-route53"
    assert acme_value("__certificates_packages", **PIP) == [
        "openssl",
        "ca-certificates",
        "python3-packaging",
        "python3-venv",
    ]
    assert acme_value("__certificates_acme_pip_packages", **PIP, certificates_acme_challenge="rfc2136") == [
        "acme",
        "certbot",
        "certbot-dns-rfc2136",
    ]
    assert value("__certificates_packages", {}) == ["openssl"]


def test_for_which_clients_the_role_sets_the_time_of_the_renewal():
    versions = [PIP | {"certificates_acme_version": version} for version in ("4.0.0", "4.1.0")]
    sources: list[dict[str, Any]] = [{}, PIP, *versions]
    decides = [acme_value("__certificates_acme_settings", **source)["renews_by_lifetime"] for source in sources]
    assert decides == [False, True, False, True]


def test_the_playbook_requests_the_certificate_when_the_reverse_proxy_runs():
    (play,) = yaml.safe_load((PROJECT / "playbooks/pacs.yml").read_text())
    (tested,) = yaml.safe_load((PROJECT / "molecule/acme/converge.yml").read_text())
    imported = [task["ansible.builtin.import_role"] for task in play["tasks"] if "ansible.builtin.import_role" in task]
    roles = [role["name"] for role in imported]
    assert roles.index("lightbox.pacs.certificates") < roles.index("lightbox.pacs.reverse_proxy")
    # Whether there is a CA of devices is known only where the playbook runs, so that role is included.
    (devices,) = [task for task in play["tasks"] if task["name"] == "Issue the certificates of DICOM devices"]
    assert play["tasks"].index(devices) < [task.get("ansible.builtin.import_role") for task in play["tasks"]].index(
        {"name": "lightbox.pacs.certificates"}
    )
    assert tested["roles"] == [
        {"role": devices["ansible.builtin.include_role"]["name"], "when": devices["when"]},
        *({"role": name} for name in roles if name.endswith(("tificates", "proxy"))),
    ]
    # Handlers of the roles run before the first of these.
    assert play["post_tasks"][:2] == tested["post_tasks"]
