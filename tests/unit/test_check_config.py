"""An inventory is checked without its servers: all errors at once, and nothing is written."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.project import PROJECT

HOSTS: dict[str, dict[str, Any]] = {
    "good": {"pacs_name": "good.example.org", "orthanc_configuration": {"StableAge": 30}},
    # As the command line gives them: -e postgresql_port=5432.
    "good_texts": {
        "pacs_name": "texts.example.org",
        "postgresql_provider": "local",
        "postgresql_port": "5432",
        "postgresql_local_connections": "100",
        "postgresql_local_memory_mb": "2048",
        "orthanc_http_port": "8043",
        "orthanc_memory_mb": "4096",
        "orthanc_allow_deletion": "no",
        "reverse_proxy_http_port": "81",
        "reverse_proxy_https_port": "443",
        "reverse_proxy_dicom_port": "4243",
        "reverse_proxy_workers": "2",
        "reverse_proxy_archive_connections": "16",
        "reverse_proxy_audit_log_days": "30",
        "pacs_web_password": 1234567890123,
        "pacs_web_users": [{"name": "jane"}, {"name": "joe", "password": "Joes7Password"}],
        "pacs_modalities": [{"name": "ct1", "aet": 123, "host": "192.0.2.7", "port": "104", "tls": "no"}],
    },
    "bad": {
        "pacs_name": "bad.example.org",
        "pacs_modalites": [],
        "orthanc_flavor": "debian",
        "orthanc_peers": [{"name": "other", "url": "ftp://other", "remote": True}],
        "orthanc_configuration": {
            "StableAgee": 30,
            "HttpServer": {"CorsEnabled": True},
            "HttpBindAddresses": ["::1"],
            "ExecuteLuaEnabled": True,
        },
        "reverse_proxy_https_port": 99999,
    },
    "types": {
        "pacs_name": "types.example.org",
        "orthanc_memory_mb": "much",
        "reverse_proxy_https_port": 80,
        "pacs_archive_password": "Hush7Hush7Hush7",
        "pacs_web_users": [{"name": "a b"}, {"name": "joe", "password": "Hush7\nHush7"}],
        "pacs_modalities": [
            {"name": "ct1", "aet": "CT1", "host": "192.0.2.7"},
            {"name": "ct2", "host": "192.0.2.8", "manufacturr": "GE"},
            {"aet": "CT3", "host": "192.0.2.9", "port": "high", "allow": ["stor"]},
            "ct4",
        ],
    },
    # Each of these once broke the whole list of errors.
    "shapes": {
        "pacs_name": "shapes.example.org",
        "pacs_modalities": {"ct1": {"aet": "CT1"}},
        "pacs_dicom_networks": "10.0.0.0/8",
        "orthanc_plugins": "OrthancDicomWeb",
        "orthanc_configuration": '{"StableAge": 30}',
        "orthanc_aet": "MUCH_TOO_LONG_A_TITLE",
        "reverse_proxy_workers": 0,
        "reverse_proxy_frame_ancestors": None,
        "certificates_days": 0,
        "pacs_web_password": ["Hush7Hush7Hush7"],
        "postgresql_provider": "locl",
    },
    "nothing": {"pacs_name": "nothing.example.org", "pacs_modalities": None, "reverse_proxy_https_port": 80},
    "template": {
        "pacs_name": "template.example.org",
        "orthanc_aet": "{{ nobody_knows }}",
        "pacs_web_password": "{{ nobody_knows_either }}",
        "reverse_proxy_https_port": 80,
    },
    "unread": {
        "pacs_name": "unread.example.org",
        "pacs_modalities_exclusive": True,
        "postgresql_server_tuning": 1,
        "orthanc_configuraton": {},
        "ORTHANC__STABLE_AGE": 3,
        "my_reverse_proxy": 1,
        "__orthanc_note": 1,
        "lab_publish": [],
        "postgresql_connection": {},
    },
    "network": {
        "pacs_name": "network.example.org",
        "pacs_dicom_networks": ["10.0.0.0/8", "300.1.1.1/8"],
        "pacs_modalities": [
            {"name": "ct1", "aet": "CT1", "host": "192.0.2.999"},
            {"name": "ct2", "aet": "CT2", "host": "192.0.2.8"},
            {"name": "ct2", "aet": "CT3", "host": "192.0.2.9"},
            {"name": "verify", "aet": "CT4", "host": "ct4.example.org"},
        ],
    },
    # As host variables, which win over the playbooks'.
    "overridden": {
        "pacs_name": "overridden.example.org",
        "orthanc_users": [{"name": "jane", "password": "Hush7Hush7Hush7"}],
        "orthanc_modalities": [{"name": "ct2", "aet": "CT2", "host": "192.0.2.7"}],
        "reverse_proxy_dicomweb_root": "/other/dicom-web",
    },
    "twice": {
        "pacs_name": "twice.example.org",
        "pacs_modalities": [{"name": "ct1", "aet": "CT1", "host": "192.0.2.7"}],
        "orthanc_modalities": [{"name": "ct2", "aet": "CT2", "host": "192.0.2.7"}],
        "postgresql_provider": "local",
        "orthanc_database": {"host": "a.example.org", "database": "o", "user": "o", "password": "Hush7", "ca": "/x"},
    },
    "names": {"pacs_name": "*.example.org", "pacs_secrets_directory": ""},
    "given": {
        "pacs_name": "given.example.org",
        "orthanc_database": {"host": "a", "database": "o", "user": "o", "password": "Hush7", "ca": "/nowhere.pem"},
    },
    "unused": {"pacs_name": "unused.example.org", "postgresql_host": "db.example.org"},
    # In place of what the wiring sets.
    "overrides": {
        "pacs_name": "overrides.example.org",
        "orthanc_modalities": [{"name": "ct1", "aet": "CT1", "host": "192.0.2.7", "prt": 5}],
        "orthanc_database": {"host": "a.example.org", "database": "o", "user": "o", "password": "Hush7", "sslmod": "x"},
        "reverse_proxy_users": "joe:Hush7Hush7",
    },
    "secrets": {
        "pacs_name": "secrets.example.org",
        "pacs_web_users": "joe:Hush7Hush7",
        "orthanc_peers": ["Hush7Hush7"],
        "docker_engine_repository_url": "http://joe:Hush7Hush7@example.org/",
        "orthanc_object_storage": "{{ Hush7Hush7 }}",
    },
    "numbers": {
        "pacs_name": "numbers.example.org",
        "reverse_proxy_workers": True,
        "reverse_proxy_http_port": "8e1",
        "reverse_proxy_max_upload": 1.5,
        "docker_engine_version": 28.2,
        "pacs_web_users": [{"name": "joe", "password": None}],
    },
    # Each error once: the database that the wiring makes of these is wrong, too.
    "database": {
        "pacs_name": "database.example.org",
        "pacs_database_password": "Hush7\nHush7",
        "postgresql_provider": "external",
        "postgresql_host": "1..2",
        "postgresql_ca": "/nowhere.pem",
    },
    "nameless": {"pacs_dicom_network": ["10.0.0.0/8"]},
    # YAML reads off as false. The names are of no certificates then.
    "good-off": {
        "pacs_name": "off.example.org",
        "pacs_dicom_client_certificates": False,
        "pacs_modalities": [{"name": "archive", "aet": "CT1", "host": "192.0.2.7"}],
    },
    "good-devices": {
        "pacs_name": "devices.example.org",
        "pacs_dicom_client_certificates": "required",
        "pacs_modalities": [{"name": "ct8", "aet": "CT8", "host": "192.0.2.9", "tls": True}],
    },
    "devices": {
        "pacs_name": "devices2.example.org",
        "pacs_dicom_client_certificates": "optional",
        "pacs_modalities": [
            {"name": "Archive", "aet": "CT1", "host": "192.0.2.1", "tls": True},
            {"name": "mr1", "aet": "CT2", "host": "192.0.2.2", "tls": True, "port": 70000},
            {"name": "MR1", "aet": "CT3", "host": "192.0.2.3", "tls": True},
        ],
        "dicom_ca_days": 0,
    },
    "closed": {"pacs_name": "closed.example.org", "pacs_dicom_client_certificates": "required"},
    "mode": {"pacs_name": "mode.example.org", "pacs_dicom_client_certificates": "optionl"},
    "mode-true": {"pacs_name": "mode.example.org", "pacs_dicom_client_certificates": True},
    "contradiction": {
        "pacs_name": "contradiction.example.org",
        "pacs_dicom_client_certificates": "optional",
        "pacs_modalities": [{"name": "ct9", "aet": "CT9", "host": "192.0.2.9", "tls": True}],
    },
    "contrary": {
        "pacs_name": "contrary.example.org",
        "pacs_dicom_client_certificates": "optional",
        "pacs_modalities": [{"name": "ct9", "aet": "CT9", "host": "192.0.2.99", "tls": True}],
    },
}


def check(inventory: pathlib.Path, playbook: str = "check_config") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", str(PROJECT / f"playbooks/{playbook}.yml"), "-i", str(inventory)],
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".collections"),
            "ANSIBLE_FORCE_COLOR": "false",
            "COLUMNS": "1000",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over servers that do not exist; what it said of each, and what lay beside the inventory after it."""
    directory = tmp_path_factory.mktemp("inventory")
    hosts = {name: {"ansible_host": "192.0.2.1", **answers} for name, answers in HOSTS.items()}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"pacs": {"hosts": hosts}}))
    done = check(directory)
    text = " ".join(done.stdout.split())
    bad = [name for name in HOSTS if not name.startswith("good")]
    # Of each server what it said, without what Ansible says of the next one before.
    parts = {name: re.split(r"fatal: \[|\[ERROR\]", text.split(f"fatal: [{name}]: FAILED!")[1])[0] for name in bad}
    said = {name: part.replace("''", "'") for name, part in parts.items()}
    return done, said, sorted(path.name for path in directory.iterdir())


def test_a_wrong_inventory_fails(run):
    done, _said, _files = run
    assert done.returncode != 0
    assert "fatal: [good" not in done.stdout
    assert "unreachable=0" in done.stdout


def test_all_errors_of_a_server_come_at_once(run):
    _done, said, _files = run
    for error in (
        "pacs_modalites is set, but nothing reads it. Did you mean pacs_modalities?",
        "orthanc_configuration.StableAgee is not an option of Orthanc",
        "orthanc_configuration.HttpServer does nothing",
        "orthanc_configuration.HttpBindAddresses needs Orthanc 1.12.10",
        "orthanc_configuration.ExecuteLuaEnabled is true, which is dangerous",
        "Set each to 1 to 65535",
    ):
        assert error in said["bad"]


def test_wrong_types_are_told_beside_the_errors_of_other_roles(run):
    _done, said, _files = run
    for error in (
        "orthanc_memory_mb is 'much'. Set orthanc_memory_mb to a whole number",
        "pacs_modalities, entry 2 (ct2) has no aet, which is required. Set aet: AE title with which it calls",
        "pacs_modalities, entry 2 (ct2): manufacturr is not an option. Did you mean manufacturer?",
        "pacs_modalities, entry 3 has no name, which is required. Set name:",
        "pacs_modalities, entry 3: port is 'high'. Set port to a whole number",
        "pacs_modalities, entry 3: allow, entry 1 is 'stor'. Did you mean store? Set it to one of echo, store, find,",
        "pacs_modalities, entry 4 is 'ct4', which is text. Set it to a dictionary of names and values.",
        "Set each to a port of its own",
        "pacs_web_users (with pacs_web_user and pacs_web_password) contains the name a b",
        "contains a password that cannot be used, for joe",
    ):
        assert error in said["types"]
    assert "entry 1 (ct1)" not in said["types"]
    assert "orthanc_modalities" not in said["types"]


def test_a_value_of_any_type_breaks_no_list(run):
    _done, said, _files = run
    for error in (
        "pacs_modalities is a dictionary. Set pacs_modalities to a list of entries, such as [{name: …, aet: …,",
        "pacs_dicom_networks is '10.0.0.0/8', which is text. Set pacs_dicom_networks to a list, such as [10.0.0.0/8]",
        "orthanc_plugins is 'OrthancDicomWeb', which is text. Set orthanc_plugins to a list",
        "which is text. Set orthanc_configuration to a dictionary of names and values. On the command line give it",
        "reverse_proxy_frame_ancestors is empty (null). Set reverse_proxy_frame_ancestors to a list",
        "pacs_web_password is a list. Set pacs_web_password to text.",
        "postgresql_provider is 'locl'. Did you mean local? Set postgresql_provider to one of none, local",
        # The assertions of a role whose types are right.
        "certificates_days is 0. Set it to 1 to 825",
        # And of one in which another type is wrong.
        "reverse_proxy_workers is 0. Set it to 1 to 128",
    ):
        assert error in said["shapes"]
    for noise in ("orthanc_modalities", "reverse_proxy_dicom_networks", "cannot be evaluated", "Error"):
        assert noise not in said["shapes"]
    assert "pacs_modalities is empty (null)" in said["nothing"]
    assert "Set each to a port of its own" in said["nothing"]


def test_a_template_that_cannot_be_worked_out_is_told_with_its_variable(run):
    _done, said, _files = run
    assert "orthanc_aet is a template that cannot be evaluated: 'nobody_knows' is undefined" in said["template"]
    assert "pacs_web_password is a template that cannot be evaluated. Set" in said["template"]
    assert "nobody_knows_either" not in said["template"]
    assert "Set each to a port of its own" in said["template"]


def test_what_nothing_reads_is_told_and_what_is_the_users_is_not(run):
    _done, said, _files = run
    for error in (
        "pacs_modalities_exclusive is set, but nothing reads it. Did you mean orthanc_modalities_exclusive?",
        "postgresql_server_tuning is set, but nothing reads it.",
        "orthanc_configuraton is set, but nothing reads it. Did you mean orthanc_configuration?",
        "ORTHANC__STABLE_AGE is the name of an environment variable",
        "set orthanc_configuration.StableAge",
    ):
        assert error in said["unread"]
    for name in ("my_reverse_proxy", "__orthanc_note", "lab_publish", "postgresql_connection"):
        assert name not in said["unread"]


def test_who_may_call_is_told_in_the_words_of_the_inventory(run):
    _done, said, _files = run
    for error in (
        'pacs_dicom_networks or pacs_dicom_tls_networks contains "300.1.1.1/8", which is not a valid network',
        "pacs_modalities: the host of ct1 is '192.0.2.999', which is neither an IP address nor a DNS name",
        "pacs_modalities contains the name ct2, verify more than once",
        "verify is the name of the checks after every run",
    ):
        assert error in said["network"]
    assert "reverse_proxy_dicom_networks" not in said["network"]


def test_an_unknown_option_hides_no_other_error(run):
    _done, said, _files = run
    assert "orthanc_peers, entry 1 (other): remote is not an option" in said["bad"]
    assert "orthanc_peers or orthanc_dicomweb_servers: the url of other is not valid" in said["bad"]


def test_what_others_depend_on_is_not_overridden(run):
    _done, said, _files = run
    for error in (
        "orthanc_users lacks the account with which the reverse proxy logs in",
        "Add {name: reverse_proxy, password: '{{ reverse_proxy_archive_password }}'} to orthanc_users",
        "orthanc_modalities lacks the modality of the checks after every run",
        "reverse_proxy_dicomweb_root: the archive answers at orthanc_dicomweb_root (/pacs/dicom-web)",
    ):
        assert error in said["overridden"]
    assert "Hush7" not in said["overridden"]


def test_what_is_said_twice_or_for_nothing_is_told(run):
    _done, said, _files = run
    assert "pacs_modalities and orthanc_modalities are both set" in said["twice"]
    assert "orthanc_database and postgresql_provider (local) are both set" in said["twice"]
    assert "postgresql_host is set, but postgresql_provider is none" in said["unused"]
    assert "orthanc_database.ca is '/nowhere.pem', which is not a file on the controller" in said["given"]


def test_no_error_shows_a_secret(run):
    done, _said, _files = run
    assert "Hush7" not in done.stdout + done.stderr


def test_what_an_inventory_sets_in_place_of_the_wiring_is_validated(run):
    _done, said, _files = run
    for error in (
        "orthanc_modalities, entry 1 (ct1): prt is not an option. Did you mean port?",
        "orthanc_database.sslmod is not an option. Did you mean sslmode?",
        "reverse_proxy_users is text",
    ):
        assert error in said["overrides"]


def test_a_value_that_may_contain_a_secret_is_not_shown(run):
    _done, said, _files = run
    for error in (
        "pacs_web_users is text. Set pacs_web_users to a list of entries",
        "orthanc_peers, entry 1 is text. Set it to a dictionary",
        "docker_engine_repository_url is 'http://…@example.org/'",
        "orthanc_object_storage is a template that cannot be evaluated. Set",
    ):
        assert error in said["secrets"]


def test_values_that_only_look_like_the_type_are_refused(run):
    _done, said, _files = run
    for error in (
        "reverse_proxy_workers is 'True'. Set reverse_proxy_workers to a whole number",
        "reverse_proxy_http_port is '8e1'",
        "reverse_proxy_max_upload is '1.5'. Set reverse_proxy_max_upload to text, in quotes",
        "docker_engine_version is '28.2'. Set docker_engine_version to text, in quotes",
        "pacs_web_users, entry 1 (joe): password is empty (null). Set password to text",
    ):
        assert error in said["numbers"]


def test_what_follows_from_an_error_is_not_told(run):
    _done, said, _files = run
    for error in (
        "pacs_database_password contains a line break",
        "postgresql_host is '1..2'",
        "postgresql_ca is '/nowhere",
    ):
        assert error in said["database"]
    assert "orthanc_database" not in said["database"]


def test_a_name_and_a_directory_that_cannot_be(run):
    _done, said, _files = run
    assert "pacs_name is '*.example.org', which is neither a DNS name nor an IP address" in said["names"]
    assert "Set it to an absolute path on the controller, outside" in said["names"]


def test_an_archive_without_a_name_is_refused(run):
    _done, said, _files = run
    assert "pacs_name is not set" in said["nameless"]
    assert "Did you mean pacs_dicom_networks?" in said["nameless"]


def test_devices_that_cannot_get_certificates_are_told(run):
    _done, said, _files = run
    for error in (
        "Devices in pacs_modalities have a name that is reserved: Archive. Set another name",
        "Devices in pacs_modalities have names that are the same but for upper and lower case: mr1, MR1. Set a name",
        "pacs_modalities contains a port out of range",
        "dicom_ca_days is 0. Set it to 1 to 3650",
    ):
        assert error in said["devices"]
    for error in (
        "pacs_dicom_client_certificates is required, but the port for DICOM over TLS is closed. Set pacs_dicom_tls",
        "pacs_dicom_client_certificates is required, but no device in pacs_modalities has tls: true",
    ):
        assert error in said["closed"]
    assert "Did you mean optional? Set pacs_dicom_client_certificates to one of off, optional, required" in said["mode"]
    assert (
        "pacs_dicom_client_certificates is 'True'. Set pacs_dicom_client_certificates to one of off"
        in said["mode-true"]
    )
    for one in ("contradiction", "contrary"):
        assert "pacs_modalities has other hosts for ct9 on other servers of this inventory" in said[one]


def test_nothing_is_written(run):
    _done, _said, files = run
    assert files == ["hosts.yml"]


def test_the_example_is_good():
    done = check(PROJECT / "inventories/onprem")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("playbook", sorted(path.stem for path in (PROJECT / "playbooks").glob("*.yml")))
def test_an_inventory_without_the_group_is_an_error(tmp_path, playbook):
    """Not "no hosts matched" and success, as after a misspelt -i."""
    done = check(tmp_path / "missing", playbook)
    assert done.returncode != 0
    assert "The inventory has no host in the group pacs. Correct -i, or add one" in done.stdout + done.stderr


@pytest.mark.parametrize("groups", ["pacs: {hosts: {}}", "web: {hosts: {a: }}"])
def test_a_group_without_a_host_is_an_error(tmp_path, groups):
    (tmp_path / "hosts.yml").write_text(groups)
    done = check(tmp_path, "site")
    assert done.returncode != 0
    assert "The inventory has no host in the group pacs" in done.stdout + done.stderr
