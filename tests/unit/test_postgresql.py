"""What the role postgresql renders and refuses, what it yields, and what the role orthanc makes of that."""

from __future__ import annotations

import hashlib
import json
import pathlib
import secrets
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.project import PROJECT, role_file
from tests.support.rendering import Role

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
BRIDGE = {"network": "172.17.0.0/16", "device": "docker0", "source": "172.17.0.1", "gateway": None}
HOST = {"memory_mb": 8000, "routes": [BRIDGE]}
MARK = "/etc/postgresql-common/createcluster.d/lightbox.conf"
CLUSTERS = {"/etc/postgresql/*/*/postgresql.conf": ["/etc/postgresql/17/main/postgresql.conf"]}
DEBIAN = {"distribution": "Debian", "distribution_major_version": "13"}
PASSWORD = secrets.token_hex(12)


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_text(PEM)
    return file


@pytest.fixture(scope="module")
def role(ca) -> Role:
    return Role(
        "postgresql",
        ansible_facts=DEBIAN,
        __postgresql_host=HOST,
        postgresql_password=PASSWORD,
        postgresql_local_certificate="/ca/fullchain.pem",
        postgresql_local_key="/ca/privkey.pem",
        postgresql_local_ca=str(ca),
    )


@pytest.fixture(scope="module")
def archive() -> Role:
    return Role(
        "orthanc",
        orthanc_users=[{"name": "reverse_proxy", "password": PASSWORD}],
        __orthanc_archive_file={"skipped": True},
    )


def external(ca: pathlib.Path, **more: Any) -> dict[str, Any]:
    given = {"postgresql_provider": "external", "postgresql_host": "db.example.org", "postgresql_ca": str(ca)}
    if more.get("postgresql_provider") == "local":
        given = {}
    return given | more


def database(ca: pathlib.Path, **more: Any) -> dict[str, Any]:
    given = {"host": "db.example.org", "database": "orthanc", "user": "orthanc", "password": PASSWORD, "ca": str(ca)}
    return {"orthanc_database": given | more}


def test_none_is_the_default_and_yields_nothing(role):
    assert role.value("postgresql_provider") == "none"
    assert role.value("postgresql_connection") == {}
    assert role.value("postgresql_connection", postgresql_provider="local", postgresql_enabled=False) == {}


@pytest.mark.parametrize("provider", ["local", "rds", "external"])
def test_every_provider_yields_the_same_description(role, ca, provider):
    answers = external(ca, postgresql_provider=provider)
    assert role.errors(**answers) == []
    found = role.value("postgresql_connection", **answers)
    assert set(found) == {"host", "address", "port", "database", "user", "password", "sslmode", "ca"}
    assert found["sslmode"] == "verify-full"
    assert found["ca"] == str(ca)
    assert (found["host"], found["address"]) == (
        ("database.lightbox.internal", "172.17.0.1") if provider == "local" else ("db.example.org", "")
    )


def test_the_archive_takes_what_the_role_yields(role, archive, ca):
    options = role_file("orthanc", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    found = role.value("postgresql_connection", **external(ca))
    assert set(found) == set(options["orthanc_database"]["options"])
    assert archive.errors(orthanc_database=found) == []


def test_a_fetched_ca_is_named_after_its_checksum(role, ca, tmp_path):
    answers = external(
        ca,
        postgresql_ca="",
        postgresql_ca_url="https://example.org/bundle.pem",
        postgresql_ca_sha256="AB" * 32,
        postgresql_ca_directory=str(tmp_path),
    )
    assert role.errors(**answers) == []
    assert role.value("postgresql_connection", **answers)["ca"] == f"{tmp_path}/database-ca-{'ab' * 32}.pem"


def parameters(role: Role, **answers: Any) -> dict[str, str]:
    lines = role.render("lightbox.conf", postgresql_provider="local", **answers).splitlines()
    return {
        name: value[1:-1].replace("''", "'")
        for name, value in (line.split(" = ", 1) for line in lines if line and not line.startswith("#"))
    }


def test_the_server_asks_for_encryption_and_listens_on_one_address(role):
    found = parameters(role)
    assert found["ssl"] == "on"
    assert found["listen_addresses"] == "172.17.0.1"
    assert found["password_encryption"] == "scram-sha-256"
    rules = [line.split() for line in role.render("pg_hba.conf").splitlines() if line and not line.startswith("#")]
    assert rules[0] == ["local", "all", "postgres", "peer", "map=lightbox"]
    assert all(rule[0] == "hostssl" and rule[-1] == "scram-sha-256" and "all" not in rule for rule in rules[1:])
    assert len(rules) == 3


def test_the_archives_own_address_is_let_in(role):
    clients = {"postgresql_local_clients": ["10.9.0.2/32", "172.16.0.0/12"]}
    rules = [line.split() for line in role.render("pg_hba.conf", **clients).splitlines() if line.startswith("hostssl")]
    assert [rule[3] for rule in rules] == ["172.16.0.0/12", "192.168.0.0/16", "10.9.0.2/32"]


SHOWN: dict[str, Any] = {
    "certificate": {
        "names": ["a.example.org", "192.0.2.9"],
        "issuer": "commonName=A CA",
        "not_after": "2027-01-01T00:00:00Z",
        "days_left": 21,
    },
    "verified": True,
    "unencrypted": {"accepted": False},
}
EXTERNAL = {"postgresql_provider": "external", "postgresql_host": "a.example.org"}
LOCAL = {"postgresql_provider": "local"}
ANSWER = {"may_create_tables": True, "has_trigrams": True, "is_privileged": False, "other_databases": []}


@pytest.mark.parametrize(
    ("shown", "answer", "words"),
    [
        ({}, {}, []),
        ({"certificate": SHOWN["certificate"] | {"days_left": 20}}, {}, ["expires in 20 days (2027-01-01T00:00:00Z)"]),
        ({"certificate": SHOWN["certificate"] | {"days_left": -1}}, {}, ["expires in -1 days"]),
        ({"certificate": None, "unencrypted": {"accepted": None}}, {}, []),
        ({"unencrypted": {"accepted": True}}, {}, ["also accepts unencrypted connections"]),
        (
            {"unencrypted": None},
            {"is_privileged": True, "other_databases": ["hr", "sales"]},
            ["may create databases or users", "databases, too: hr, sales"],
        ),
    ],
)
def test_what_works_and_needs_attention_is_reported(role, shown, answer, words):
    registered = {"__postgresql_tls": SHOWN | shown, "__postgresql_queried": {"query_result": [ANSWER | answer]}}
    found = role.value("__postgresql_warnings | select", **EXTERNAL, **registered)
    assert len(found) == len(words), found
    assert all(word in line for word, line in zip(words, found, strict=True)), found


def test_a_database_that_was_not_queried_has_no_warnings(role):
    found = role.value(
        "__postgresql_warnings | select", __postgresql_tls={"skipped": True}, __postgresql_queried={"skipped": True}
    )
    assert found == []


@pytest.mark.parametrize(
    ("provider", "answer", "is_provisioned", "error"),
    [
        (LOCAL, {}, True, ""),
        (EXTERNAL, {}, True, ""),
        (LOCAL, {"other_databases": ["postgres"]}, True, ""),
        # Which an administrator of RDS may not be able to close, and one of a server with others must not.
        (EXTERNAL, {"other_databases": ["postgres", "hr"]}, True, ""),
        (LOCAL, {"has_trigrams": False}, False, "still is not as it must be: {"),
        (EXTERNAL, {"has_trigrams": False}, False, ""),
        (LOCAL, {"is_privileged": True}, False, "still is not as it must be: {"),
        (LOCAL, {"may_create_tables": False}, False, "ALTER DATABASE orthanc OWNER TO orthanc"),
        (EXTERNAL, {"may_create_tables": False}, False, "ALTER DATABASE orthanc OWNER TO orthanc"),
    ],
)
def test_the_answer_of_the_database_is_judged(role, provider, answer, is_provisioned, error):
    queried = {"query_result": [ANSWER | answer]}
    assert role.value("__postgresql_is_provisioned", **provider, __postgresql_queried=queried) is is_provisioned
    found = role.value("__postgresql_error", **provider, __postgresql_queried=queried)
    assert error in found
    assert bool(found) is bool(error)


SECRET = {"secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1", "region": "eu-central-1"}
ADMINISTRATOR = {"user": "root", "password": PASSWORD}


@pytest.mark.parametrize(
    ("provider", "given", "shown", "is_used"),
    [
        (EXTERNAL, {}, SHOWN, False),
        (EXTERNAL, ADMINISTRATOR, SHOWN, True),
        (EXTERNAL | {"postgresql_provider": "rds"}, SECRET, SHOWN, True),
        (EXTERNAL, ADMINISTRATOR, SHOWN | {"verified": False}, False),
        (EXTERNAL, ADMINISTRATOR, {"msg": "cannot be reached"}, False),
        (EXTERNAL, ADMINISTRATOR, {"skipped": True}, False),
        (LOCAL, ADMINISTRATOR, SHOWN, False),
    ],
)
def test_an_administrator_logs_in_over_a_verified_connection_only(role, provider, given, shown, is_used):
    found = role.value(
        "__postgresql_has_administrator", **provider, postgresql_administrator=given, __postgresql_tls=shown
    )
    assert found is is_used


def test_an_administrator_sends_no_password_of_others_and_names_no_setting_of_superusers(role):
    given = EXTERNAL | {"postgresql_administrator": ADMINISTRATOR}
    login = role.value("__postgresql_login", **given)
    assert (login["login_user"], login["login_password"], login["ssl_mode"]) == ("root", PASSWORD, "verify-full")
    assert "log_statement" not in json.dumps(login)
    secret = {"username": "master", "password": "of-the-secret"}
    login = role.value("__postgresql_login", **EXTERNAL, postgresql_administrator=SECRET, __postgresql_secret=secret)
    assert (login["login_user"], login["login_password"]) == ("master", "of-the-secret")
    assert role.value("__postgresql_flags", **given) == "LOGIN,NOCREATEDB,NOCREATEROLE"
    assert "log_statement=none" in role.value("__postgresql_login", **LOCAL)["connect_params"]["options"]
    assert "NOSUPERUSER" in role.value("__postgresql_flags", **LOCAL)


@pytest.mark.parametrize(
    ("provider", "closed"), [("local", "{postgres,template1}"), ("rds", "{postgres,template1}"), ("external", "{}")]
)
def test_databases_of_others_stay_open_for_them(role, provider, closed):
    statements = role.value("__postgresql_statements", postgresql_provider=provider)
    assert f"ARRAY '{closed}'::text[]" in statements[1]
    assert statements[0] == 'REVOKE ALL ON DATABASE "orthanc" FROM PUBLIC'


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"postgresql_administrator": {"user": "root"}}, "postgresql_administrator is incomplete"),
        ({"postgresql_administrator": {"secret_arn": "x"}}, "Set its user and password, or its secret_arn and region"),
        (
            {"postgresql_administrator": {"user": "orthanc", "password": PASSWORD}},
            "postgresql_administrator.user and postgresql_user are both 'orthanc'",
        ),
        (
            {"postgresql_administrator": ADMINISTRATOR, "postgresql_sslmode": "verify-ca"},
            "Set postgresql_sslmode to verify-full",
        ),
        ({"postgresql_administrator": ADMINISTRATOR, "postgresql_provider": "local"}, "Remove it."),
        ({"postgresql_administrator": {"name": "root"}}, "postgresql_administrator.name"),
    ],
)
def test_an_administrator_who_cannot_log_in_is_refused(role, ca, answers, message):
    found = role.errors(**external(ca, **answers))
    assert any(message in one for one in found), found
    assert PASSWORD not in "".join(found)


def test_a_database_that_does_not_answer_is_an_error_with_its_reason(role):
    queried = {"msg": "unable to connect to database: certificate verify failed\n", "failed": False}
    assert role.value("__postgresql_is_provisioned", **LOCAL, __postgresql_queried=queried) is False
    assert role.value("__postgresql_error", **LOCAL, __postgresql_queried=queried) == queried["msg"]


def test_a_refusal_shows_the_certificate_that_was_met(role):
    assert role.value("__postgresql_shows", **EXTERNAL, __postgresql_tls=SHOWN) == (
        "Its certificate is made out to a.example.org, 192.0.2.9, signed by commonName=A CA, "
        "and valid until 2027-01-01T00:00:00Z."
    )
    # A server that does not answer at all.
    assert role.value("__postgresql_shows", **EXTERNAL, __postgresql_tls={"msg": "cannot be reached"}) == ""


@pytest.mark.parametrize(
    ("total", "given", "shared"),
    [(2000, 0, 250), (8000, 0, 1000), (64000, 0, 8000), (256000, 0, 16384), (8000, 4000, 2000)],
)
def test_memory_is_tuned_for(role, total, given, shared):
    found = parameters(role, __postgresql_host={"memory_mb": total}, postgresql_local_memory_mb=given)
    assert found["shared_buffers"] == f"{shared}MB"
    assert 4 <= int(found["work_mem"].removesuffix("MB")) <= 64
    assert int(found["work_mem"].removesuffix("MB")) * 100 <= max(total, 400)


def test_further_parameters_win_over_the_tuning_and_are_quoted(role):
    answers = {"postgresql_local_configuration": {"work_mem": "8MB", "log_line_prefix": "it's \\ %m"}}
    assert role.errors(postgresql_provider="local", **answers) == []
    assert parameters(role, **answers)["work_mem"] == "8MB"
    assert "log_line_prefix = 'it''s \\\\ %m'" in role.render("lightbox.conf", **answers)


def configured(**parameters: Any) -> dict[str, Any]:
    return {"postgresql_provider": "local", "postgresql_local_configuration": parameters}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"postgresql_password": ""}, "postgresql_password is empty"),
    ({"postgresql_password": "two\nlines"}, "postgresql_password contains a line break"),
    ({"postgresql_database": "Archive"}, "postgresql_database is 'Archive'"),
    ({"postgresql_user": "a b"}, "postgresql_user is 'a b'"),
    ({"postgresql_provider": "local", "postgresql_user": "postgres"}, "PostgreSQL uses that one itself"),
    ({"postgresql_port": 0}, "postgresql_port is 0"),
    ({"postgresql_host": ""}, "postgresql_host is ''"),
    ({"postgresql_host": "db.example.org:5432"}, "postgresql_host is 'db.example.org:5432'"),
    ({"postgresql_host": "db.example.org?sslmode=disable"}, "postgresql_host is"),
    ({"postgresql_ca": ""}, "postgresql_ca is empty"),
    ({"postgresql_provider": "rds", "postgresql_ca": ""}, "truststore.pki.rds.amazonaws.com"),
    ({"postgresql_ca": "/missing.pem"}, "which is not a file on the controller"),
    ({"postgresql_ca": str(PROJECT / "galaxy.yml")}, "contains no certificate"),
    (
        {"postgresql_ca": "", "postgresql_ca_url": "https://example.org/b", "postgresql_ca_directory": "/c"},
        "postgresql_ca_sha256 is ''",
    ),
    (
        {
            "postgresql_ca": "",
            "postgresql_ca_url": "http://example.org/b",
            "postgresql_ca_sha256": "0" * 64,
            "postgresql_ca_directory": "/c",
        },
        "Set it to a URL that begins with https://",
    ),
    (
        {
            "postgresql_ca": "",
            "postgresql_ca_url": "https://me:secret@example.org/b",
            "postgresql_ca_sha256": "0" * 64,
            "postgresql_ca_directory": "/c",
        },
        "postgresql_ca_url contains a login",
    ),
    (
        {"postgresql_ca": "", "postgresql_ca_url": "https://example.org/b", "postgresql_ca_sha256": "0" * 64},
        "postgresql_ca_directory is ''",
    ),
    (
        {
            "postgresql_ca_url": "https://example.org/b",
            "postgresql_ca_sha256": "0" * 64,
            "postgresql_ca_directory": "/c",
        },
        "Set one of them",
    ),
    (
        {
            "postgresql_provider": "local",
            "ansible_facts": {"distribution": "Fedora", "distribution_major_version": "42"},
        },
        "not supported on Fedora 42",
    ),
    (
        {"postgresql_provider": "local", "__postgresql_host": HOST | {"globs": CLUSTERS}},
        "the server has another PostgreSQL (17/main)",
    ),
    ({"postgresql_provider": "local", "postgresql_local_key": ""}, "postgresql_local_key is ''"),
    ({"postgresql_provider": "local", "postgresql_local_name": "a b"}, "postgresql_local_name is 'a b'"),
    ({"postgresql_provider": "local", "postgresql_local_address": "*"}, "postgresql_local_address is '*'"),
    (
        {"postgresql_provider": "local", "postgresql_local_networks": ["all"]},
        'postgresql_local_networks (with postgresql_local_clients) contains "all"',
    ),
    ({"postgresql_provider": "local", "postgresql_local_memory_mb": 9000}, "postgresql_local_memory_mb is 9000"),
    ({"postgresql_provider": "local", "postgresql_local_connections": 1}, "postgresql_local_connections is 1"),
    (
        {"postgresql_provider": "local", "postgresql_local_configuration": {"ssl": "off"}},
        "postgresql_local_configuration sets ssl",
    ),
    (
        {"postgresql_provider": "local", "postgresql_local_configuration": {"fsync": "off"}},
        "a power cut could lose images",
    ),
    (
        {"postgresql_provider": "local", "postgresql_local_configuration": {"work_mem": "1\nssl = off"}},
        "cannot be a line of postgresql.conf",
    ),
    (
        configured(shared_bufers="1GB"),
        "postgresql_local_configuration.shared_bufers is not a known name. Did you mean shared_b",
    ),
    (configured(xyzzy=1), "add it to postgresql_local_accepted"),
    (configured(data_directory="/x", include="/y"), "sets data_directory, include: this role decides"),
    (configured(ssl_ciphers="NULL"), "sets ssl_ciphers"),
    (configured(ssl_max_protocol_version="TLSv1.2"), "sets ssl_max_protocol_version"),
    (configured(Fsync="off"), "Set names in lower case"),
    (configured(log_statement="all"), "log_statement = all, which may write patients' data into PostgreSQL's log"),
    (configured(log_min_duration_statement=0), "log_min_duration_statement = 0"),
    (configured(log_parameter_max_length_on_error=-1), "log_parameter_max_length_on_error = -1"),
    (configured(debug_print_parse=True), "debug_print_parse = True"),
    (
        configured(log_statement="mod", log_transaction_sample_rate=0.1),
        "sets log_statement = mod, log_transaction_sample_rate = 0.1",
    ),
    ({"postgresql_provider": "local", "postgresql_local_networks": ["0.0.0.0/0"]}, "0.0.0.0/0: nearly everybody"),
    ({"postgresql_provider": "local", "postgresql_local_networks": ["::/0"]}, "::/0: nearly everybody"),
    ({"postgresql_provider": "local", "postgresql_local_networks": ["999.1.1.1/8"]}, 'contains "999.1.1.1/8"'),
    (
        {"postgresql_provider": "local", "postgresql_local_address": "300.1.1.1"},
        "postgresql_local_address is '300.1.1.1'",
    ),
    ({"postgresql_provider": "local", "postgresql_local_connections": "9"}, "postgresql_local_connections is 9"),
    ({"postgresql_port": "99999"}, "postgresql_port is 99999"),
    ({"postgresql_ca_sha256": "0" * 64}, "and postgresql_ca_sha256 is"),
]


@pytest.mark.parametrize(("answers", "message"), BAD, ids=lambda value: str(value)[:60])
def test_bad_values_are_refused_with_the_variable_and_the_remedy(role, ca, answers, message):
    found = role.errors(**external(ca, **answers))
    assert len(found) == 1, found
    assert message in found[0]
    assert PASSWORD not in found[0]


def test_a_ca_with_its_key_is_refused(role, ca, tmp_path):
    both = tmp_path / "both.pem"
    both.write_text(pathlib.Path(ca).read_text() + "-----BEGIN PRIVATE KEY-----\n")
    (found,) = role.errors(**external(ca, postgresql_ca=str(both)))
    assert "contains a private key" in found


@pytest.mark.parametrize("provider", ["none", "local"])
@pytest.mark.parametrize("name", ["postgresql_host", "postgresql_ca", "postgresql_ca_url"])
def test_a_database_that_would_not_be_used_is_told(role, provider, name):
    found = role.errors(postgresql_provider=provider, **{name: "file:///db"})
    assert len(found) == 1, found
    assert f"{name} is set, but postgresql_provider is {provider}" in found[0]
    assert role.errors(postgresql_provider=provider, postgresql_enabled=False, **{name: "file:///db"}) == []


def test_a_file_of_cas_that_was_cut_off_is_told(role, ca, tmp_path):
    half = tmp_path / "half.pem"
    half.write_text(PEM + PEM[:40])
    found = role.errors(**external(ca, postgresql_ca=str(half)))
    assert len(found) == 1, found
    assert "contains 2 certificates, of which 1 are complete" in found[0]
    half.write_text("# A comment\n" + PEM.replace("\n", "\r\n") + PEM + "\n")
    assert role.errors(**external(ca, postgresql_ca=str(half))) == []


def test_a_checksum_holds_for_a_file_too(role, ca):
    checksum = hashlib.sha256(ca.read_bytes()).hexdigest()
    assert role.errors(**external(ca, postgresql_ca_sha256=checksum.upper())) == []


def test_numbers_may_come_as_text(role, ca):
    texts = {"postgresql_local_connections": "100", "postgresql_local_memory_mb": "2048"}
    assert role.errors(postgresql_provider="local", **texts) == []
    assert parameters(role, **texts) == parameters(
        role, postgresql_local_connections=100, postgresql_local_memory_mb=2048
    )
    assert parameters(role, postgresql_local_memory_mb="0") == parameters(role)
    assert role.errors(**external(ca, postgresql_port="5432")) == []


def test_parameters_that_keep_statements_out_of_the_log_pass_and_others_when_meant(role):
    quiet = {"log_statement": "ddl", "log_min_duration_statement": -1, "debug_print_plan": "off", "log_duration": "on"}
    assert role.errors(**configured(**quiet)) == []
    loud = configured(log_min_duration_statement=1000, brand_new=1, **{"pg_stat_statements.max": 100})
    accepted = ["log_min_duration_statement", "brand_new"]
    assert role.errors(**loud, postgresql_local_accepted=accepted) == []


def test_parameters_that_postgresql_shows_in_mixed_case_are_known(role):
    assert role.errors(**configured(timezone="Europe/Berlin", datestyle="iso, dmy", intervalstyle="iso_8601")) == []


def test_a_cluster_that_this_role_made_is_its_own(role):
    own = HOST | {"globs": CLUSTERS, "paths": {MARK: {"kind": "file"}}}
    assert role.errors(postgresql_provider="local", __postgresql_host=own) == []


def test_the_database_listens_on_the_address_of_docker(role):
    assert role.value("__postgresql_bridge", __postgresql_host={"routes": []}) == ""
    again = {"routes": [BRIDGE | {"source": "172.31.0.1"}, {"device": "eth0", "source": "192.0.2.7"}]}
    known = {"__postgresql_host": {"routes": []}, "__postgresql_host_again": again}
    assert role.value("__postgresql_address", **known) == "172.31.0.1"
    assert role.value("__postgresql_address", **known, postgresql_local_address="192.0.2.7") == "192.0.2.7"


def section(archive: Role, ca: pathlib.Path, **more: Any) -> dict[str, Any]:
    return json.loads(archive.value("__orthanc_database_json.PostgreSQL | to_json", **database(ca, **more)))


def test_the_uri_verifies_with_the_ca_and_gives_a_connection_up(archive, ca):
    uri = section(archive, ca, password="p@ss/w:rd", address="192.0.2.7", port=5433)["ConnectionUri"]
    assert uri == (
        "postgresql://orthanc:p%40ss%2Fw%3Ard@db.example.org:5433/orthanc?hostaddr=192.0.2.7&sslmode=verify-full"
        "&sslrootcert=%2Fetc%2Forthanc%2Fdatabase-ca.pem&connect_timeout=10&application_name=lightbox"
        "&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=30000"
    )


def test_the_plugin_keeps_the_index_and_never_the_images(archive, ca):
    found = section(archive, ca)
    assert (found["EnableIndex"], found["EnableStorage"], found["Lock"]) == (True, False, True)
    assert found["MaximumConnectionRetries"] >= 10
    plugins = archive.value("__orthanc_json.Plugins", **database(ca))
    assert plugins[-1].endswith("/libOrthancPostgreSQLIndex.so")
    assert "PostgreSQL" not in archive.value("__orthanc_json", **database(ca))
    without = archive.value("__orthanc_json.Plugins")
    assert not any("PostgreSQL" in plugin for plugin in without)


def test_flavours_differ_in_their_connections(archive, ca):
    assert section(archive, ca)["IndexConnectionsCount"] == 20
    old = archive.value("__orthanc_database_json.PostgreSQL", orthanc_flavor="debian", **database(ca))
    assert old["IndexConnectionsCount"] == 1


def test_further_options_of_the_plugin_are_merged(archive, ca):
    answers = database(ca) | {"orthanc_configuration": {"PostgreSQL": {"IndexConnectionsCount": 7, "Lock": False}}}
    assert archive.errors(**answers) == []
    found = archive.value("__orthanc_database_json.PostgreSQL", **answers)
    assert (found["IndexConnectionsCount"], found["Lock"], found["EnableStorage"]) == (7, False, False)


@pytest.mark.parametrize("option", ["ConnectionUri", "Password", "EnableStorage", "EnableSsl", "Host"])
def test_options_that_the_role_says_are_refused(archive, ca, option):
    found = archive.errors(**database(ca), orthanc_configuration={"PostgreSQL": {option: "x"}})
    assert found
    assert any(f"PostgreSQL.{option} is managed by the role" in one for one in found)


def test_a_database_or_bucket_makes_a_new_container_and_none_leaves_it(archive, ca):
    def label(**answers: Any) -> str:
        return yaml.safe_load(archive.render("compose.yml", **answers))["services"]["orthanc"]["labels"][
            "lightbox.configuration"
        ]

    labels = [label(), label(**database(ca)), label(**database(ca, password="Another7Horse8"))]
    assert len(set(labels)) == 3
    assert label(orthanc_database={}, orthanc_object_storage={}) == labels[0]


@pytest.mark.parametrize(
    ("file", "with_database", "word"),
    [
        ("index", True, "migrate_to_postgresql.yml"),
        (".index-in-postgresql", False, "would start empty"),
        (".index-in-postgresql", True, ""),
        ("index", False, ""),
        ("other", True, ""),
    ],
)
def test_an_archive_never_starts_on_another_index_than_it_has(archive, ca, file, with_database, word):
    names = ("index", ".index-in-postgresql")
    paths = {f"/var/lib/lightbox/orthanc/{name}": {"kind": "file" if name == file else None} for name in names}
    found = archive.errors(__orthanc_host={"paths": paths}, **(database(ca) if with_database else {}))
    assert len(found) == (1 if word else 0), found
    assert not word or word in found[0]


def test_an_unfinished_description_is_refused(archive, ca):
    found = archive.errors(orthanc_database={"host": "db.example.org", "user": "orthanc"})
    assert len(found) == 1
    assert "orthanc_database.database and orthanc_database.password and orthanc_database.ca is missing" in found[0]


BUCKET = {"bucket": "images", "region": "eu-central-1"}


def test_object_storage(archive, ca):
    answers = database(ca) | {
        "orthanc_object_storage": {**BUCKET, "access_key": "AK", "secret_key": "SK", "endpoint": ""}
    }
    assert archive.errors(**answers) == []
    assert archive.value("__orthanc_bucket_json", **answers) == {
        "AwsS3Storage": {
            "HybridMode": "WriteToObjectStorage",
            "StorageStructure": "flat",
            "BucketName": "images",
            "Region": "eu-central-1",
            "AccessKey": "AK",
            "SecretKey": "SK",
        }
    }
    assert archive.value("__orthanc_json.Plugins", **answers)[-1].endswith("/libOrthancAwsS3Storage.so")
    assert "SK" not in archive.value("__orthanc_json | to_json", **answers)


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ({"orthanc_flavor": "debian", "orthanc_object_storage": BUCKET}, "Set orthanc_flavor to orthancteam"),
        ({"orthanc_object_storage": {**BUCKET, "access_key": "AK"}}, "only one of access_key and secret_key"),
        ({"orthanc_object_storage": {"bucket": "images"}}, "orthanc_object_storage.region is missing"),
    ],
)
def test_object_storage_that_cannot_work_is_refused(archive, ca, answers, word):
    found = archive.errors(**database(ca), **answers)
    assert len(found) == 1, found
    assert word in found[0]


def schema_errors(archive: Role, **answers: Any) -> list[str]:
    written = {"orthanc": "1.13.0", "plugin": "10.3", "sqlite": ["a.b", "a.c"]}
    return archive.value("__orthanc_schema_errors", __orthanc_image_writes={"stdout": json.dumps(written)}, **answers)


@pytest.mark.parametrize(
    ("queried", "message"),
    [
        ({"query_result": [{"revision": "10"}]}, ""),
        ({"query_result": [{"revision": "1"}]}, "from revision 1 to revision 10"),
        ({"query_result": [{"revision": None}]}, ""),
        ({"skipped": True}, ""),  # no tables
    ],
)
def test_the_tables_in_the_database_are_compared_with_those_of_the_image(archive, ca, queried, message):
    answers = {"__orthanc_queried_revision": queried, "__orthanc_index_has": {"skipped": True}, **database(ca)}
    found = schema_errors(archive, **answers)
    assert len(found) == bool(message), found
    assert all(message in error for error in found), found
    assert schema_errors(archive, orthanc_upgrade_confirmed=archive.value("__orthanc_image"), **answers) == []


def test_the_columns_of_sqlite_are_compared_with_those_of_the_image(archive):
    answers = {"__orthanc_queried_revision": {"skipped": True}}
    found = schema_errors(archive, __orthanc_index_has={"stdout": json.dumps({"sqlite": ["a.b"]})}, **answers)
    assert len(found) == 1
    assert "it adds a.c" in found[0]


def test_the_shell_scripts_are_sound():
    for script in sorted((PROJECT / "roles/postgresql/files").glob("*.sh")):
        subprocess.run(["sh", "-n", script], check=True)
