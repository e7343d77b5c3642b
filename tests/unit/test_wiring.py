"""What the wiring makes of an inventory's answers."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.project import PROJECT

WIRING = PROJECT / "playbooks/group_vars/all/wiring.yml"
CT: dict[str, Any] = {"name": "ct", "aet": "CT", "host": "192.0.2.21"}
SIX: dict[str, Any] = {"name": "six", "aet": "SIX", "host": "2001:db8::21", "allow": ["store"]}
NAMED = {"name": "named", "aet": "NAMED", "host": "ct2.example.org"}
CALLED = {"name": "called", "aet": "CALLED", "host": "192.0.2.22", "allow": []}
SAFE: dict[str, Any] = {"name": "safe", "aet": "SAFE", "host": "192.0.2.23", "tls": "yes"}


def test_people_log_in_with_passwords_of_theirs_or_generated_ones(tmp_path):
    loader = DataLoader()
    variables = loader.load_from_file(str(WIRING), trusted_as_template=True)
    users = [{"name": "jane"}, {"name": "joe", "password": "Joes7Password"}]
    answers = {"inventory_dir": None, "pacs_secrets_directory": str(tmp_path), "pacs_web_users": users}
    templar = Templar(loader, variables=variables | answers)
    first, joe, jane = templar.template(trust_as_template("{{ reverse_proxy_users }}"))
    assert (first["name"], joe, jane["name"]) == ("admin", users[1], "jane")
    assert jane["password"] == (tmp_path / "web_password_jane").read_text().strip()
    assert len({first["password"], joe["password"], jane["password"]}) == 3


def test_the_checks_get_what_is_set_for_the_certificate():
    loader = DataLoader()
    path = WIRING.with_name("wiring_certificates.yml")
    variables = loader.load_from_file(str(path), trusted_as_template=True)
    answers = {"certificates_fail_days": 5, "certificates_warn_days": 9, "certificates_directory": "/etc/pair"}
    answers |= {"certificates_provider": "acme", "certificates_provided_ca": ""}
    names = ("verify_certificate_days", "verify_certificate_warn_days", "verify_ca", "certificates_acme_webroot")
    template = trust_as_template("{{ [" + ", ".join(names) + "] }}")
    assert Templar(loader, variables=variables | answers).template(template) == [
        *(5, 9, "/etc/pair/ca.pem", "/var/lib/lightbox/acme")
    ]
    answers |= {"certificates_provider": "provided", "reverse_proxy_acme_directory": "/srv/acme"}
    assert Templar(loader, variables=variables | answers).template(template)[2:] == ["", "/srv/acme"]


def networks(**answers: Any) -> tuple[list[str], list[str]]:
    """Who reaches the plain DICOM port, and who the one with TLS."""
    loader = DataLoader()
    variables = loader.load_from_file(str(WIRING), trusted_as_template=True)
    templar = Templar(loader, variables=variables | answers)
    plain, tls = (
        templar.template(trust_as_template("{{ " + name + " | list }}"))
        for name in ("__pacs_dicom_networks", "__pacs_dicom_tls_networks")
    )
    return sorted(plain), sorted(tls)


CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "nothing": ({}, [], []),
    "networks": ({"pacs_dicom_networks": ["10.1.0.0/16"]}, ["10.1.0.0/16"], ["10.1.0.0/16"]),
    "addresses of modalities alone": (
        {"pacs_modalities": [CT, SIX]},
        [CT["host"], SIX["host"]],
        [CT["host"], SIX["host"]],
    ),
    "names are not resolved": ({"pacs_modalities": [NAMED]}, [], []),
    "who may ask for nothing does not call": ({"pacs_modalities": [CALLED, CT]}, [CT["host"]], [CT["host"]]),
    "networks and addresses": (
        {"pacs_dicom_networks": ["10.1.0.0/16"], "pacs_modalities": [CT]},
        ["10.1.0.0/16", CT["host"]],
        ["10.1.0.0/16", CT["host"]],
    ),
    "with TLS to the TLS port only": ({"pacs_modalities": [CT, SAFE]}, [CT["host"]], [CT["host"], SAFE["host"]]),
    "networks for TLS alone leave the plain port closed": (
        {"pacs_dicom_tls_networks": ["10.1.0.0/16"], "pacs_modalities": [CT]},
        [],
        ["10.1.0.0/16", CT["host"]],
    ),
    "an empty list closes the TLS port": (
        {"pacs_dicom_networks": ["10.1.0.0/16"], "pacs_dicom_tls_networks": [], "pacs_modalities": [CT]},
        ["10.1.0.0/16", CT["host"]],
        [],
    ),
    "but not to those that need it": (
        {"pacs_dicom_tls_networks": [], "pacs_modalities": [CT, SAFE]},
        [CT["host"]],
        [SAFE["host"]],
    ),
    "an address is named once": (
        {"pacs_dicom_networks": [CT["host"]], "pacs_modalities": [CT, {**CT, "name": "again"}]},
        [CT["host"]],
        [CT["host"]],
    ),
    "bad modalities are the role's to refuse": ({"pacs_modalities": [{"name": "ct"}, {"host": ""}]}, [], []),
}


@pytest.mark.parametrize("playbook", ["site", "migrate_to_postgresql", "check_config"])
def test_pacs_hosts_chooses_other_hosts(playbook, tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("{pacs: {hosts: {first: }}, others: {hosts: {second: , third: }}}")
    for chosen, hosts in ({}, {"first"}), ({"pacs_hosts": "others"}, {"second", "third"}):
        answers = ["-e", json.dumps(chosen)]
        listed = subprocess.run(
            ["ansible-playbook", f"playbooks/{playbook}.yml", "-i", inventory, "--list-hosts", *answers],
            cwd=PROJECT,
            env=os.environ | {"ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=True,
        )
        found = {line.strip() for line in listed.stdout.splitlines() if line.startswith("      ")}
        assert found - {"localhost"} == hosts


@pytest.mark.parametrize(
    ("answers", "enabled"),
    [
        ({"certificates_provider": "local_ca"}, False),
        ({"certificates_provider": "provided"}, True),
        ({"certificates_provider": "provided", "certificates_provided_ca": "/srv/ca.pem"}, False),
        ({"certificates_provider": "acme"}, True),
        ({"certificates_provider": "acme", "certificates_acme_staging": "yes"}, False),
        ({"certificates_provider": "acme", "certificates_acme_ca": "/srv/ca.pem"}, False),
    ],
)
def test_browsers_are_told_to_use_https_only_where_they_trust_the_ca(answers, enabled):
    loader = DataLoader()
    variables = loader.load_from_file(str(WIRING.with_name("wiring_certificates.yml")), trusted_as_template=True)
    variables |= {"certificates_provided_ca": "", "certificates_acme_ca": "", "certificates_acme_staging": False}
    templar = Templar(loader, variables=variables | answers)
    assert templar.template(trust_as_template("{{ reverse_proxy_hsts_enabled }}")) is enabled


@pytest.mark.parametrize(("answers", "plain", "tls"), CASES.values(), ids=CASES.keys())
def test_who_reaches_the_dicom_ports(answers, plain, tls):
    assert networks(**answers) == (sorted(plain), sorted(tls))


AWS = {"aws_environment": "site", "aws_region": "eu-central-1", "postgresql_provider": "rds"}
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1"
MASTER = {"secret_arn": SECRET, "region": "eu-central-1"}
OWN = {"user": "root", "password": "Rootpassword7"}


@pytest.mark.parametrize(
    ("answers", "administrator", "is_generated"),
    [
        ({"postgresql_provider": "local"}, {}, True),
        ({"postgresql_provider": "external"}, {}, False),
        ({"postgresql_provider": "external", "pacs_database_administrator": OWN}, OWN, True),
        ({"postgresql_provider": "rds"}, {}, False),
        (AWS, {}, True),
        (AWS | {"aws_database": {"secret_arn": SECRET}}, MASTER, True),
        (AWS | {"__aws_found_database": {"resources": [{"name": "site", "secret_arn": SECRET}]}}, MASTER, True),
        (AWS | {"aws_database": {"secret_arn": SECRET}, "pacs_database_administrator": OWN}, OWN, True),
        (AWS | {"aws_database": {"secret_arn": SECRET}, "aws_database_enabled": False}, {}, False),
        (AWS | {"aws_database": {"secret_arn": SECRET}, "postgresql_provider": "external"}, {}, False),
    ],
)
def test_who_makes_the_archives_user_and_its_password(tmp_path, answers, administrator, is_generated):
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for path in (WIRING, WIRING.with_name("wiring_aws.yml")):
        variables |= loader.load_from_file(str(path), trusted_as_template=True)
    given = {"inventory_dir": None, "pacs_secrets_directory": str(tmp_path)} | answers
    templar = Templar(loader, variables=variables | given)
    assert templar.template(trust_as_template("{{ postgresql_administrator }}")) == administrator
    password = templar.template(trust_as_template("{{ postgresql_password }}"))
    assert (tmp_path / "database_password").exists() is is_generated
    assert bool(password) is is_generated
