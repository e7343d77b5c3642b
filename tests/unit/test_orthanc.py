"""What the role orthanc renders, and what its preflight refuses."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import urllib.parse
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template

from tests.support.project import PROJECT, role_file, tasks_in
from tests.support.rendering import Role

USERS = [{"name": "reverse_proxy", "password": "Correct7Horse8Battery"}]
ROLE = Role("orthanc", orthanc_users=USERS, __orthanc_archive_file={"skipped": True})
STORAGE = "/var/lib/lightbox/orthanc"
CT1 = {"name": "ct1", "aet": "CT1", "host": "192.0.2.7"}
PEER = {"name": "other", "url": "https://other.example.org/orthanc/"}
# Any file will do: what is in them is not looked at here.
CLIENT = dict.fromkeys(("orthanc_client_certificate", "orthanc_client_key", "orthanc_client_trusted"), __file__)


def host(**facts: Any) -> dict[str, Any]:
    """What preflight.yml registers."""
    return {"__orthanc_host": facts}


def route(network: str, device: str, gateway: str | None = None) -> dict[str, Any]:
    return {"network": network, "device": device, "source": None, "gateway": gateway}


def configuration(**answers: Any) -> dict[str, Any]:
    return json.loads(ROLE.value("__orthanc_json | to_json", **answers))


def test_defaults_have_no_errors():
    assert ROLE.errors() == []


USED = {"/opt/lightbox/orthanc/in-use": {"kind": "file"}, f"{STORAGE}/.in-use": {"kind": None}}


@pytest.mark.parametrize("there", [[], [f"{STORAGE}/lost+found"]])
def test_an_archive_that_has_run_does_not_start_without_its_images(there):
    facts = host(paths=USED, globs={f"{STORAGE}/*": there})
    (error,) = ROLE.errors(**facts)
    assert error.startswith(f"orthanc_storage_directory ({STORAGE}) is empty, but this archive has run before")
    assert "-e orthanc_start_empty=true" in error
    assert ROLE.errors(orthanc_start_empty=True, **facts) == []


@pytest.mark.parametrize(
    "facts",
    [
        host(paths=USED, globs={f"{STORAGE}/*": [f"{STORAGE}/a7"]}),  # restored, without the note
        host(paths=USED | {f"{STORAGE}/.in-use": {"kind": "file"}}, globs={f"{STORAGE}/*": []}),  # no image yet
        host(paths={path: {"kind": None} for path in USED}, globs={f"{STORAGE}/*": []}),  # new
    ],
    ids=["restored", "no image", "new"],
)
def test_an_archive_with_its_images_or_without_a_past_starts(facts):
    assert ROLE.errors(**facts) == []
    assert ROLE.value("__orthanc_use_noted", **facts) == [
        path
        for path in (f"{STORAGE}/.in-use", "/opt/lightbox/orthanc/in-use")
        if facts["__orthanc_host"]["paths"][path]["kind"]
    ]


ODD: list[dict[str, Any]] = [
    {"orthanc_aet": "A"},
    {"orthanc_aet": "SIXTEEN-LETTERS_"},
    {"orthanc_aet": "WITH SPACE"},
    {"orthanc_flavor": "debian"},
    {"orthanc_http_address": "[::1]"},
    {"orthanc_storage_directory": "/srv/images.1/a-b"},
    {"orthanc_image": "registry.example.org:5000/orthanc@sha256:" + "0" * 64},
    {"orthanc_image": "registry.example.org:5000/orthanc/orthanc:26.8.1-full"},
    {"orthanc_modalities": [CT1, {**CT1, "name": "ct2", "aet": "CT2", "port": "11112", "allow": ["echo", "find"]}]},
    {"orthanc_modalities": [CT1, {**CT1, "name": "ct2", "aet": "ct1", "host": "fd00::7", "allow": ["store", "echo"]}]},
    {"orthanc_modalities": [{**CT1, "tls": True}], **CLIENT},
    {"orthanc_modalities": [{**CT1, "tls": "no"}]},
    {"orthanc_client_trusted": __file__},
    {"orthanc_peers": [PEER, {**PEER, "name": "two", "username": "me", "password": "x"}]},
    {"orthanc_dicomweb_servers": [PEER], "orthanc_peers": [PEER]},
    {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1*", "1.2.840.10008.1.2.4.*"]},
    {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2*"]},
    {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.*"]},  # upstream's default
    {"orthanc_accepted_transfer_syntaxes": ["*"]},
    {"orthanc_users": [{"name": "a.b@c-d_e", "password": "twelve chars'\"\\{{ é $"}]},
    {"orthanc_configuration": {"StableAge": 10, "DicomWeb": {"EnableWado": False}}},
    {"orthanc_plugins": ["OrthancDicomWeb"]},
    {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.201"]},
    {"orthanc_configuration": {"HttpsCACertificates": "/etc/ssl/certs/ca-certificates.crt"}},
    {"orthanc_log_level": "verbose", "orthanc_accepted_options": ["orthanc_log_level"]},
    {"orthanc_peers": [{**PEER, "url": "http://other.example.org/"}]},
    {"orthanc_peers": [{**PEER, "url": "http://127.0.0.1:8042/", "username": "me", "password": "x"}]},
    {
        "orthanc_peers": [{**PEER, "url": "http://other.example.org/", "username": "me", "password": "x"}],
        "orthanc_accepted_options": ["orthanc_peers"],
    },
]


@pytest.mark.parametrize("answers", ODD, ids=str)
def test_odd_but_good_values_have_no_errors(answers):
    assert ROLE.errors(**answers) == []
    compose = yaml.safe_load(ROLE.render("compose.yml", **answers))
    assert compose["services"]["orthanc"]["read_only"] is True
    assert configuration(**answers)["RemoteAccessAllowed"] is True


BAD: list[tuple[dict[str, Any], str]] = [
    ({"orthanc_http_port": 0}, "orthanc_http_port is 0"),
    ({"orthanc_container_address": "172.30.255.248"}, "orthanc_container_address is '172.30.255.248'"),
    ({"orthanc_container_address": "172.30.255.254"}, "leaves 2 to 5"),
    ({"orthanc_container_address": "172.30.256.250"}, "Set it to an IPv4 address"),
    (
        host(routes=[route("172.30.0.0/16", "tun0")]),
        "its network 172.30.255.248/29 overlaps 172.30.0.0/16 (tun0)",
    ),
    (
        host(routes=[route("172.30.255.0/24", "eth1", "192.0.2.1")]),
        "overlaps 172.30.255.0/24 (eth1)",
    ),
    (
        host(routes=[route("172.30.255.251", "eth1")]),
        "overlaps 172.30.255.251 (eth1) of the server. Set it",
    ),
    ({"orthanc_container_address": "archive.example.org"}, "Set it to an IPv4 address"),
    ({"orthanc_http_port": 65536}, "orthanc_http_port is 65536"),
    ({"orthanc_dicom_port": -1}, "orthanc_dicom_port is -1"),
    ({"orthanc_dicom_port": 8042}, "orthanc_http_port and orthanc_dicom_port are both 8042"),
    (host(listeners=[{"port": 8042, "process": "tomcat"}]), "Set orthanc_http_port to a free port"),
    (host(listeners=[{"port": 14242, "process": "unknown"}]), "Set orthanc_dicom_port to a free port"),
    (host(users={"8042": "www-data"}), "Set orthanc_uid to a free number"),
    (host(paths={STORAGE: {"free_bytes": 4999999999}}), "Set orthanc_storage_directory to a larger disk"),
    ({"orthanc_http_address": "localhost"}, "orthanc_http_address is 'localhost'"),
    ({"orthanc_http_address": "300.1.1.1"}, "orthanc_http_address is '300.1.1.1'"),
    ({"orthanc_http_address": "[::::]"}, "orthanc_http_address is '[::::]'"),
    ({"orthanc_http_address": "::1"}, "orthanc_http_address is '::1'"),
    ({"orthanc_dicom_address": "[192.0.2.1]"}, "orthanc_dicom_address is '[192.0.2.1]'"),
    ({"orthanc_aet": "SEVENTEEN_LETTERS"}, "orthanc_aet is 'SEVENTEEN_LETTERS' (17 characters)"),
    ({"orthanc_aet": ""}, "orthanc_aet is ''"),
    ({"orthanc_aet": "RÖNTGEN"}, "orthanc_aet is 'RÖNTGEN'"),
    ({"orthanc_aet": "BACK\\SLASH"}, "orthanc_aet is 'BACK\\SLASH'"),
    ({"orthanc_aet": "LINE\nBREAK"}, "orthanc_aet is"),
    ({"orthanc_aet": "BREAK\n"}, "orthanc_aet is"),
    ({"orthanc_aet": " LEADING"}, "orthanc_aet is ' LEADING'"),
    ({"orthanc_name": "../name"}, "orthanc_name is '../name'"),
    ({"orthanc_directory": "relative"}, "orthanc_directory is 'relative'"),
    ({"orthanc_storage_directory": "/srv/with space"}, "orthanc_storage_directory is '/srv/with space'"),
    ({"orthanc_storage_directory": "/srv/../etc"}, "without '..'"),
    ({"orthanc_storage_directory": "/var/lib/"}, "a directory of the system would change its owner"),
    (
        {"orthanc_storage_directory": "/opt/lightbox/orthanc/images"},
        "Set orthanc_storage_directory to a path outside orthanc_directory",
    ),
    (
        {"orthanc_directory": "/var/lib/lightbox/orthanc/x"},
        "Set orthanc_storage_directory to a path outside orthanc_directory",
    ),
    ({"orthanc_uid": 0}, "orthanc_uid is 0"),
    ({"orthanc_memory_mb": -1}, "orthanc_memory_mb is -1"),
    ({"orthanc_start_seconds": 0}, "orthanc_start_seconds is 0"),
    ({"orthanc_users": []}, "orthanc_users is empty"),
    ({"orthanc_users": USERS * 2}, "orthanc_users contains a name twice"),
    ({"orthanc_users": [{"name": "a:b", "password": "x" * 20}]}, "orthanc_users contains a name with characters"),
    ({"orthanc_users": [{"name": "ab", "password": "first line\nsecond line"}]}, "with a line break"),
    ({"orthanc_users": [{"name": "ab", "password": "short"}]}, "shorter than 12 characters"),
    ({"orthanc_users": [{"name": "ab", "password": "change-this-now"}]}, "printed in Orthanc's documentation"),
    ({"orthanc_modalities": [CT1, CT1]}, "orthanc_modalities contains the name ct1 more than once"),
    ({"orthanc_modalities": [{**CT1, "name": "c t"}]}, "orthanc_modalities contains a name with characters other than"),
    ({"orthanc_modalities": [{**CT1, "aet": "X" * 17}]}, "the aet of ct1 is not an AE title"),
    ({"orthanc_modalities": [{**CT1, "port": 65535}]}, "orthanc_modalities contains a port out of range"),
    ({"orthanc_modalities": [{**CT1, "host": "ct1:104"}]}, "which is neither an IP address nor a DNS name"),
    ({"orthanc_modalities": [{**CT1, "host": "300.1.1.1"}]}, "which is neither an IP address nor a DNS name"),
    ({"orthanc_modalities": [{**CT1, "host": "1..2"}]}, "which is neither an IP address nor a DNS name"),
    ({"orthanc_modalities": [{**CT1, "host": "::::::"}]}, "which is neither an IP address nor a DNS name"),
    ({"orthanc_modalities": [{**CT1, "host": ""}]}, "which is neither an IP address nor a DNS name"),
    (
        {"orthanc_modalities": [CT1, {**CT1, "name": "ct2", "aet": "ct1", "allow": ["echo"]}]},
        "the aet CT1 more than once with different rights",
    ),
    (
        {"orthanc_modalities": [CT1, {**CT1, "name": "ct2", "hide_aet": True, "allow": ["echo"]}]},
        "the aet (hidden) more than once with different rights",
    ),
    ({"orthanc_modalities": [{**CT1, "tls": True}]}, "orthanc_modalities calls ct1 by TLS"),
    ({"orthanc_client_certificate": __file__}, "Set all three, or none"),
    ({"orthanc_client_trusted": "/missing/ca.pem"}, "not a file on the controller: /missing/ca.pem"),
    ({"orthanc_peers": [{**PEER, "name": "b c"}]}, "contains a name twice, or one with characters other than"),
    ({"orthanc_peers": [PEER, PEER]}, "contains a name twice"),
    ({"orthanc_dicomweb_servers": [PEER, PEER]}, "contains a name twice"),
    ({"orthanc_dicomweb_servers": [{**PEER, "url": "pacs.example.org"}]}, "the url of other is not valid"),
    ({"orthanc_peers": [{**PEER, "url": "https://me:secret@pacs.example.org/"}]}, "the url of other is not valid"),
    ({"orthanc_peers": [{**PEER, "username": "me"}]}, "contains a username without a password"),
    (
        {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "jpeg"]},
        "orthanc_accepted_transfer_syntaxes contains jpeg, which",
    ),
    (
        {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.5"]},
        "Orthanc 1.13.0 does not support: it would refuse every image. Did you mean 1.2.840.10008.1.2.4.5",
    ),
    (
        {"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.7.*"]},
        "orthanc_accepted_transfer_syntaxes contains 1.2.840.10008.1.2.7.*, which",
    ),
    (
        {
            "orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.201"],
            "orthanc_flavor": "debian",
        },
        "which Orthanc 1.12.7 does not support (1.12.11 does)",
    ),
    ({"orthanc_accepted_transfer_syntaxes": ["1.2.840.10008.1.2.4.*"]}, "the one that every device supports"),
    (
        {"orthanc_client_trusted": __file__, "orthanc_configuration": {"HttpsCACertificates": "/x.pem"}},
        "orthanc_client_trusted and orthanc_configuration.HttpsCACertificates are both set",
    ),
    (
        {"orthanc_log_level": "trace"},
        "orthanc_log_level is trace, which is dangerous: the log may contain patients' data",
    ),
    ({"orthanc_log_level": "verbose"}, "set orthanc_accepted_options: [orthanc_log_level]"),
    (
        {"orthanc_peers": [{**PEER, "url": "http://other/", "username": "me", "password": "x"}]},
        "the password or the headers of other would be sent unencrypted",
    ),
    (
        {"orthanc_dicomweb_servers": [{**PEER, "url": "http://localhost.example.org/", "http_headers": {"A": "x"}}]},
        "set orthanc_accepted_options: [orthanc_dicomweb_servers]",
    ),
    ({"orthanc_dicom_threads": 0}, "orthanc_dicom_threads is 0"),
    ({"orthanc_dicom_idle_seconds": 0}, "orthanc_dicom_idle_seconds is 0"),
    ({"orthanc_configuration": {"DicomWeb": {"Servers": {}}}}, "Set orthanc_dicomweb_servers instead"),
    ({"orthanc_configuration": {"OrthancPeersInDatabase": False}}, "orthanc_configuration.OrthancPeersInDatabase"),
    ({"orthanc_plugins": ["OrthancGdcm"]}, "orthanc_plugins lacks OrthancDicomWeb"),
    (
        {"orthanc_plugins": ["OrthancDicomWeb", "../x"]},
        "orthanc_plugins contains '../x', which is not a valid name of a library",
    ),
    ({"orthanc_dicomweb_root": "dicom-web"}, "orthanc_dicomweb_root is 'dicom-web'"),
    ({"orthanc_dicomweb_root": "/dicom-web/"}, "orthanc_dicomweb_root is '/dicom-web/'"),
    ({"orthanc_wado_root": "/dicom-web"}, "two different"),
    ({"orthanc_configuration": {"RegisteredUsers": {}}}, "orthanc_configuration.RegisteredUsers"),
    ({"orthanc_configuration": {"AuthenticationEnabled": False}}, "orthanc_configuration.AuthenticationEnabled"),
    (
        {"orthanc_users": [{"name": "ab", "password": "a${HOME}bcdefghijk"}]},
        "orthanc_users contains a password with '${'",
    ),
    ({"orthanc_image": "orthancteam/orthanc"}, "orthanc_image is 'orthancteam/orthanc'"),
    ({"orthanc_image": "orthancteam/orthanc:latest"}, "never latest"),
    (
        {"orthanc_image_archive": "/missing", "__orthanc_archive_file": {"stat": {"exists": False}}},
        "is not a file on the controller",
    ),
]


@pytest.mark.parametrize(("answers", "message"), BAD, ids=lambda value: str(value)[:60])
def test_bad_values_are_refused_with_the_variable_and_the_remedy(answers, message):
    found = ROLE.errors(**answers)
    assert len(found) == 1
    assert message in found[0]
    assert any(word in found[0] for word in ("Set ", "set ", "Remove it"))


DATABASE = {"host": "db.example.org", "database": "orthanc", "user": "orthanc", "password": "x" * 20, "ca": "/ca.pem"}
BUCKETS = [
    ("Bad_Bucket/..", "", False),
    ("Bad_Bucket", "", False),
    ("a..b", "", False),
    ("ab", "", False),
    ("a" * 64, "", False),
    ("-ab", "", False),
    ("images.pacs-1", "", True),
    ("abc", "", True),
    ("Images_1", "https://s3.example.org", True),
    ("a/b", "https://s3.example.org", False),
]


@pytest.mark.parametrize(("bucket", "endpoint", "good"), BUCKETS, ids=str)
def test_names_of_buckets(bucket, endpoint, good):
    storage = {"bucket": bucket, "region": "eu-central-1", "endpoint": endpoint}
    found = ROLE.errors(orthanc_object_storage=storage, orthanc_database=DATABASE)
    assert len(found) == (0 if good else 1)
    assert good or f"orthanc_object_storage.bucket is '{bucket}'" in found[0]


def test_a_bucket_needs_the_index_in_postgresql():
    found = ROLE.errors(orthanc_object_storage={"bucket": "images", "region": "eu-central-1"})
    assert len(found) == 1
    assert "Set orthanc_database (with the role postgresql: its provider)" in found[0]


def test_no_error_shows_a_password():
    for password in ("shorty7", "line\nbreak in it", "changeme"):
        found = ROLE.errors(orthanc_users=[{"name": "ab", "password": password}])
        assert found
        assert not any(password in error for error in found)


@pytest.mark.parametrize("variable", ["orthanc_client_certificate", "orthanc_client_trusted", "orthanc_database"])
def test_a_certificate_with_its_key_is_refused(tmp_path, variable):
    path = tmp_path / "both.pem"
    # In two parts, because other tests take this file for a certificate.
    path.write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE" + " KEY-----\n")
    given = {**DATABASE, "ca": str(path)} if variable == "orthanc_database" else str(path)
    assert any("contains a private key" in error for error in ROLE.errors(**{**CLIENT, variable: given}))


def test_all_errors_come_at_once():
    assert len(ROLE.errors(orthanc_aet="", orthanc_memory_mb=1, orthanc_uid=0)) == 3


@pytest.mark.parametrize("flavor", ["debian", "orthancteam"])
def test_safe_defaults(flavor):
    rendered = configuration(orthanc_flavor=flavor)
    expected = {
        "AuthenticationEnabled": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckCalledAet": True,
        "ExecuteLuaEnabled": False,
        "HttpCompressionEnabled": False,
        "MaximumPatientCount": 0,
        "MaximumStorageMode": "Reject",
        "MaximumStorageSize": 0,
        "RestApiWriteToFileSystemEnabled": False,
        "WebDavEnabled": False,
    }
    assert {name: rendered[name] for name in expected} == expected
    assert (
        rendered["DicomWeb"] | {"StudiesMetadata": "Full", "EnableMetadataCache": True, "Enable": True}
        == rendered["DicomWeb"]
    )
    assert "Host" not in rendered["DicomWeb"]
    assert "RegisteredUsers" not in rendered
    assert all(
        plugin.startswith("/usr/share/orthanc/plugins") and plugin.endswith(".so") for plugin in rendered["Plugins"]
    )


def test_users_stand_in_a_file_of_their_own():
    assert ROLE.value("__orthanc_users_json") == {"RegisteredUsers": {"reverse_proxy": USERS[0]["password"]}}


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ({}, []),
        ({"HttpProxy": "http://proxy.example.org:3128"}, []),
        ({"HttpProxy": "http://me:Sec@ret@proxy.example.org:3128"}, ["HttpProxy"]),
        ({"HttpProxy": "me:secret@proxy.example.org:3128"}, ["HttpProxy"]),
        ({"HttpProxy": 'http://me:a"b\\c/d e@proxy.example.org:3128'}, ["HttpProxy"]),
        ({"Pkcs11": {"Pin": "1234", "Module": "/x"}}, ["Pkcs11"]),
        ({"Authorization": {"WebServicePassword": "secret"}}, ["Authorization"]),
        ({"Authorization": {"WebServiceRootUrl": "http://127.0.0.1:8000"}}, []),
        ({"DicomWeb": {"Servers": {"a.b": {"Url": "https://x/", "Password": "secret"}}}}, ["DicomWeb"]),
        ({"MyPlugin": {"Anything": 1}, "StableAge": 7}, ["MyPlugin"]),
    ],
)
def test_sections_with_secrets_stand_in_a_file_that_is_never_shown(options, hidden):
    assert ROLE.value("__orthanc_secret_sections", orthanc_configuration=options) == hidden
    files = {
        one["path"].rsplit("/")[-1]: one
        for one in ROLE.value("__orthanc_configuration_files", orthanc_configuration=options)
    }
    shown, rest = json.loads(files["orthanc.json"]["content"]), json.loads(files["secrets.json"].get("secret", "{}"))
    assert sorted(rest) == hidden
    assert {**shown, **rest} == configuration(orthanc_configuration=options)
    assert len(shown) + len(rest) == len({**shown, **rest})
    assert files["secrets.json"]["state"] == ("file" if hidden else "absent")


def test_the_users_extras_win_over_defaults_but_never_over_what_the_role_says():
    rendered = configuration(
        orthanc_configuration={"StableAge": 7, "DicomWeb": {"SeriesMetadata": "MainDicomTags", "Root": "/other/"}}
    )
    assert rendered["StableAge"] == 7
    assert rendered["DicomWeb"]["SeriesMetadata"] == "MainDicomTags"
    assert rendered["DicomWeb"]["StudiesMetadata"] == "Full"
    assert rendered["DicomWeb"]["Root"] == "/dicom-web/"


def test_modalities():
    ct1, reader = ROLE.value(
        "__orthanc_modalities",
        orthanc_modalities=[CT1, {**CT1, "name": "ws", "allow": ["find"], "port": "4242", "tls": True, "timeout": 7}],
    )
    assert ct1 == {
        "name": "ct1",
        "aet": "CT1",
        "host": "192.0.2.7",
        "port": 104,
        "manufacturer": "Generic",
        "allow": ["echo", "storage_commitment", "store"],
        "tls": False,
        "dicom_timeout": 0,
        "local_aet": "",
        "transcoding": True,
    }
    assert (reader["port"], reader["tls"], reader["dicom_timeout"]) == (4242, True, 7)
    assert reader["allow"] == ["find", "find_worklist"]
    only = ROLE.value("__orthanc_modalities[0].allow", orthanc_modalities=[{**CT1, "allow": ["worklist"]}])
    assert only == ["find_worklist"]
    assert ROLE.value("__orthanc_modalities") == []
    (hidden,) = ROLE.value("__orthanc_modalities", orthanc_modalities=[{**CT1, "hide_aet": "yes"}])
    assert hidden["secret_aet"] == "CT1"
    assert "aet" not in hidden


def test_who_does_not_listen_is_not_asked_for_an_echo():
    several = [CT1, {**CT1, "name": "a", "echo": False}, {**CT1, "name": "b", "echo": "no"}]
    several.append({**CT1, "name": "c", "echo": True})
    assert ROLE.value("__orthanc_silent", orthanc_modalities=several) == ["a", "b"]


def test_peers_and_dicomweb_servers_are_called_as_their_modules_call_them():
    full = {**PEER, "username": "me", "password": "a {{ b }} 'c'", "http_headers": {"X-Token": "t"}, "timeout": 5}
    full["properties"] = {"RemoteSelf": "me"}
    told = ROLE.value("__orthanc_peers", orthanc_peers=[PEER, full])
    assert told[0] == {"name": "other", "peer_url": PEER["url"]}
    assert told[1] == {
        "name": "other",
        "peer_url": PEER["url"],
        "username": "me",
        "password": "a {{ b }} 'c'",
        "http_headers": {"X-Token": "t"},
        "peer_timeout": 5,
        "properties": {"RemoteSelf": "me"},
    }
    assert ROLE.value("__orthanc_dicomweb_servers", orthanc_dicomweb_servers=[{**PEER, "timeout": 5}]) == [
        {"name": "other", "server_url": PEER["url"], "server_timeout": 5}
    ]


@pytest.mark.parametrize("kind", ["peers", "dicomweb_servers"])
def test_peers_and_servers_are_asked_for_only_where_there_can_be_any(kind):
    info: dict[str, Any] = {"__orthanc_known": {"peers": [], "dicomweb_servers": []}}
    assert ROLE.value(f"__orthanc_has_{kind}", **info) is False
    assert ROLE.value(f"__orthanc_has_{kind}", **info, **{f"orthanc_{kind}": [PEER]}) is True
    info["__orthanc_known"][kind] = [{"name": "by-hand"}]
    assert ROLE.value(f"__orthanc_has_{kind}", **info) is True


def test_what_the_archive_knows_by_name_stands_in_its_index():
    rendered = configuration(orthanc_modalities=[CT1], orthanc_peers=[PEER], orthanc_dicomweb_servers=[PEER])
    assert rendered["DicomModalitiesInDatabase"] is True
    assert rendered["OrthancPeersInDatabase"] is True
    assert rendered["DicomWeb"]["ServersInDatabase"] is True
    assert "DicomModalities" not in rendered
    assert "OrthancPeers" not in rendered
    assert "Servers" not in rendered["DicomWeb"]
    assert "example.org" not in json.dumps(rendered)


def test_what_the_archive_calls_others_with():
    told = ("DicomTlsCertificate", "DicomTlsPrivateKey", "DicomTlsTrustedCertificates", "AcceptedTransferSyntaxes")
    assert not [name for name in told if name in configuration()]
    assert configuration()["HttpsCACertificates"] == "/etc/ssl/certs/ca-certificates.crt"
    trusting = configuration(orthanc_client_trusted=__file__)
    assert trusting["HttpsCACertificates"] == trusting["DicomTlsTrustedCertificates"] == "/etc/orthanc/trusted.pem"
    assert "DicomTlsCertificate" not in trusting
    calling = configuration(**CLIENT)
    assert calling["DicomTlsCertificate"] == "/etc/orthanc/calling.pem"
    assert calling["DicomTlsPrivateKey"] == "/etc/orthanc/calling.key"


def write_client(directory: pathlib.Path, prefix: str, names: tuple[str, ...]) -> dict[str, str]:
    """Files for a client certificate, each with its own name as text."""
    for name in names:
        (directory / f"{prefix}-{name}").write_text(f"{prefix}-{name}\n")
    return {name: str(directory / f"{prefix}-{name}") for name in names}


def test_an_issued_client_certificate_counts_where_the_operator_gave_none(tmp_path):
    issued = write_client(tmp_path, "issued", ("certificate", "key", "trusted"))
    own = write_client(tmp_path, "own", ("orthanc_client_certificate", "orthanc_client_key", "orthanc_client_trusted"))

    def files(**answers: Any) -> dict[str, str]:
        found = ROLE.value("__orthanc_configuration_files", **answers)
        return {
            pathlib.Path(one["path"]).name: one.get("content", one.get("secret"))
            for one in found
            if one.get("state") == "file"
        }

    safe = {**CT1, "tls": True}
    answers: dict[str, Any] = {"orthanc_modalities": [safe], "orthanc_issued_client": issued}
    assert ROLE.errors(**answers) == []
    found, rendered = files(**answers), configuration(**answers)
    assert found["calling.pem"] == "issued-certificate\n"
    assert found["calling.key"] == "issued-key\n"
    assert found["trusted-devices.pem"] == "issued-trusted\n"
    assert rendered["DicomTlsCertificate"] == "/etc/orthanc/calling.pem"
    assert rendered["DicomTlsTrustedCertificates"] == "/etc/orthanc/trusted-devices.pem"
    # A device must not pose as a peer.
    assert rendered["HttpsCACertificates"] == "/etc/ssl/certs/ca-certificates.crt"

    assert ROLE.errors(**answers, **own) == []
    found, rendered = files(**answers, **own), configuration(**answers, **own)
    assert found["calling.pem"] == "own-orthanc_client_certificate\n"
    assert found["calling.key"] == "own-orthanc_client_key\n"
    assert found["trusted-devices.pem"].split() == ["issued-trusted", "own-orthanc_client_trusted"]
    assert rendered["HttpsCACertificates"] == "/etc/orthanc/trusted.pem"

    # In check mode on a new controller the files are not there yet.
    missing = {"orthanc_issued_client": dict.fromkeys(issued, str(tmp_path / "missing"))}
    assert ROLE.errors(orthanc_modalities=[safe], **missing) == []
    assert files(**missing)["calling.key"] == ""
    (error,) = ROLE.errors(orthanc_issued_client={"key": "/x"})
    assert error == "orthanc_issued_client lacks certificate and trusted. Set all three, or {} for none."


def test_container_is_hardened():
    service = yaml.safe_load(ROLE.render("compose.yml"))["services"]["orthanc"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "8042:8042"
    assert service["mem_limit"] == "2048m"
    assert service["ulimits"] == {"core": 0, "data": (2048 - 512 + 8 * (50 + 4 + 4 + 15)) << 20}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["environment"]["TCP_NODELAY"] == "1"
    assert service["ports"] == ["127.0.0.1:8042:8042", "127.0.0.1:14242:4242"]
    assert service["image"] == "orthancteam/orthanc:26.8.1"
    assert service["entrypoint"] == ["/usr/local/bin/Orthanc"]


@pytest.mark.parametrize("memory", [512, 1024, 2048, 8192, 65536])
@pytest.mark.parametrize(
    ("answers", "threads"),
    [
        ({}, 50 + 4 + 4),
        ({"orthanc_configuration": {"HttpThreadsCount": 1000}}, 1000 + 4 + 4),
        ({"orthanc_configuration": {"HttpThreadsCount": 5}, "orthanc_dicom_threads": 30}, 5 + 30 + 4),
        (
            {
                "orthanc_configuration": {
                    "ConcurrentJobs": 9,
                    "ZipLoaderThreads": 8,
                    "DicomWeb": {"MetadataWorkerThreadsCount": 7},
                }
            },
            50 + 4 + 9 + 8 + 7,
        ),
        ({"orthanc_configuration": {"JobsEngineThreadsCount": {"ResourceModification": 2}}}, 50 + 4 + 4),
    ],
    ids=str,
)
def test_memory_is_refused_before_the_container_has_used_it_up(memory, answers, threads):
    """Data and temporary files fit. A stack of 8 MB for each thread counts as data, and little of it is used."""
    service = yaml.safe_load(ROLE.render("compose.yml", orthanc_memory_mb=memory, **answers))["services"]["orthanc"]
    temporary = int(re.findall(r"size=([0-9]+)m", service["tmpfs"][0])[0])
    assert (service["ulimits"]["data"] >> 20) + temporary == memory + 8 * (threads + 15)
    assert temporary >= 2 * int(ROLE.value("orthanc_upload_mb", orthanc_memory_mb=memory))


@pytest.mark.parametrize(("flavor", "limits"), [("debian", set()), ("orthancteam", {409})])
def test_orthanc_gets_the_limits_that_its_version_has(flavor, limits):
    answers = {"orthanc_flavor": flavor, "orthanc_memory_mb": 4096}
    written = ROLE.value("__orthanc_json", **answers)
    names = {"MaximumRequestBodySizeMB", "MaximumFileSizeInArchiveMB"} & set(written)
    assert {written[name] for name in names} == limits
    assert len(names) == 2 * len(limits)
    own = ROLE.value("__orthanc_json", **answers, orthanc_configuration={"MaximumFileSizeInArchiveMB": 7})
    assert own["MaximumFileSizeInArchiveMB"] == 7


@pytest.mark.parametrize(
    ("answers", "has_statistics"),
    [
        ({"orthanc_flavor": "debian"}, True),
        ({"orthanc_sqlite_statistics": "yes"}, True),
        ({"orthanc_flavor": "debian", "orthanc_sqlite_statistics": False}, False),
        (
            {"orthanc_flavor": "debian", "orthanc_database": {"host": "db.example.org"}, "__orthanc_data_label": ""},
            False,
        ),
    ],
    ids=str,
)
def test_statistics_for_sqlite_are_written_where_they_were_measured_or_asked_for(answers, has_statistics):
    service = yaml.safe_load(ROLE.render("compose.yml", **answers))["services"]["orthanc"]
    program = "/usr/local/lib/lightbox/start.py"
    assert (service["entrypoint"][:2] == ["python3", program]) is has_statistics
    assert (program in [volume["target"] for volume in service["volumes"] if "target" in volume]) is has_statistics


@pytest.mark.parametrize(("automatically", "mode"), [(False, "report"), ("true", "act")])
def test_the_container_beside_orthanc_reports_and_acts_only_where_told_to(automatically, mode):
    service = yaml.safe_load(ROLE.render("compose.yml", orthanc_reconcile_automatically=automatically))["services"]
    assert service["reconcile"]["command"] == ["/usr/local/lib/lightbox/reconcile.py", mode, "--watch"]
    assert "/opt/lightbox/orthanc/metrics:/srv/metrics" in service["reconcile"]["volumes"]


def test_a_new_container_is_made_when_anything_that_it_reads_changed():
    def label(**answers: Any) -> str:
        return yaml.safe_load(ROLE.render("compose.yml", **answers))["services"]["orthanc"]["labels"][
            "lightbox.configuration"
        ]

    labels = [
        label(),
        label(orthanc_configuration={"StableAge": 7}),
        label(orthanc_users=[{"name": "reverse_proxy", "password": "Another7Horse8Battery"}]),
        label(orthanc_accepted_transfer_syntaxes=["1.2.840.10008.1.2"]),
        label(**CLIENT),
    ]
    assert all(one != other for one, other in itertools.combinations(labels, 2))
    assert label() == labels[0]
    # What an archive that runs can be told needs no new container.
    assert label(orthanc_modalities=[CT1], orthanc_peers=[PEER], orthanc_dicomweb_servers=[PEER]) == labels[0]
    assert label(orthanc_accepted_transfer_syntaxes=["1.2.840.10008.1.2*"]) == labels[3]


def test_numbers_may_come_as_text():
    """As from `-e orthanc_http_port=8042`: the check of the arguments turns text into numbers for itself only."""
    options = role_file("orthanc", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    numbers = {name: str(option["default"]) for name, option in options.items() if option["type"] == "int"}
    assert "orthanc_http_port" in numbers
    assert ROLE.errors(**numbers) == []
    assert configuration(**numbers) == configuration()
    assert ROLE.render("compose.yml", **numbers) == ROLE.render("compose.yml")
    taken = host(listeners=[{"port": 8042, "process": "tomcat"}])
    assert "Set orthanc_http_port to a free port" in ROLE.errors(**numbers, **taken)[0]
    owned = host(users={numbers["orthanc_uid"]: "www-data"})
    assert "Set orthanc_uid to a free number" in ROLE.errors(**numbers, **owned)[0]


def task(file: str, name: str) -> dict[str, Any]:
    found = [one for one in tasks_in(PROJECT / "roles/orthanc/tasks" / file) if one.get("name") == name]
    assert len(found) == 1
    return found[0]


WRITERS = [
    ("configure.yml", "configure | Write the configuration", "configuration"),
    ("migrate.yml", "migrate | Write the configuration for an archive on the empty database", "migrating"),
]


@pytest.mark.parametrize(("file", "name", "directory"), WRITERS)
def test_every_file_that_an_archive_is_told_of_is_written(file, name, directory):
    """Also for the archive that makes the tables before a migration: without one of them it would not start."""
    writer = task(file, name)
    data = {"host": "db.example.org", "database": "orthanc", "user": "orthanc", "password": "x" * 20, "ca": __file__}
    answers = CLIENT | {"orthanc_database": data, "orthanc_object_storage": {"bucket": "b", "region": "r"}}
    answers["orthanc_issued_client"] = dict.fromkeys(("certificate", "key", "trusted"), __file__)
    answers["orthanc_configuration"] = {"HttpProxy": "me:secret@proxy.example.org:3128"}
    variables = {key: trust_as_template(value) for key, value in writer.get("vars", {}).items()}
    expression = writer["lightbox.pacs.file_set"]["files"].removeprefix("{{ ").removesuffix(" }}")
    files = {
        one["path"].removeprefix(f"/opt/lightbox/orthanc/{directory}/"): one
        for one in ROLE.value(expression, **answers, **variables)
        if one["path"].startswith(f"/opt/lightbox/orthanc/{directory}/")
    }
    told = json.dumps([one.get("content", one.get("secret")) for one in files.values()])
    named = {urllib.parse.unquote(path) for path in re.findall(r"(?:/|%2F)etc(?:/|%2F)orthanc(?:/|%2F)[a-z.-]+", told)}
    assert len(named) == 5
    assert {path.removeprefix("/etc/orthanc/") for path in named} <= set(files)
    assert {"orthanc.json", "users.json", "database.json", "bucket.json"} <= set(files)
    assert all(one["state"] == "file" for one in files.values() if "state" in one)
    assert {name for name, one in files.items() if "secret" in one} == {
        *("users.json", "database.json", "bucket.json", "calling.key", "secrets.json")
    }


MIGRATING = "/opt/lightbox/orthanc/migrating"


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        ({"networks": {"lightbox-orthanc-172-30-255-248-29": "br-0"}}, []),
        ({"networks": {"lightbox-orthanc-172-30-1-0-29": "br-1"}}, ["lightbox-orthanc-172-30-1-0-29"]),
        ({"paths": {MIGRATING: {"kind": "directory"}, STORAGE: {"kind": "directory"}}}, [MIGRATING]),
        ({"paths": {MIGRATING: {"kind": None}}}, []),
    ],
)
def test_what_an_interrupted_run_left_is_seen(facts, found):
    assert ROLE.value("__orthanc_left_over", **host(**facts)) == found


def test_ports_of_the_container_are_not_taken():
    facts: dict[str, Any] = {"listeners": [{"port": port, "process": "docker-proxy"} for port in (8042, 14242)]}
    facts["containers"] = {"lightbox-orthanc": {"image": "sha256:1", "ports": [14242]}}
    assert ROLE.value("__orthanc_taken", **host(**facts)) == [8042]
    facts["containers"]["lightbox-orthanc"]["ports"] = [8042, 14242]
    assert ROLE.errors(**host(**facts)) == []


@pytest.mark.parametrize(
    ("there", "runs", "expected"),
    [("sha256:1", "sha256:1", True), ("sha256:2", "sha256:1", False), ("sha256:1", "", False), ("", "sha256:1", False)],
)
def test_a_new_image_is_seen(there, runs, expected):
    images = {ROLE.value("__orthanc_image"): there} if there else {}
    containers = {"lightbox-orthanc": {"image": runs, "ports": []}} if runs else {}
    facts = host(images=images, containers=containers)
    assert ROLE.value("__orthanc_has_image", **facts) is bool(there)
    assert ROLE.value("__orthanc_runs_image", **facts) is expected
    assert ROLE.value("__orthanc_runs_image") is False


def test_the_answer_of_orthanc_is_compared_with_the_transfer_syntaxes_to_accept():
    answers = {
        "orthanc_accepted_transfer_syntaxes": ["2.4.*", "3"],
        "__orthanc_syntaxes_told": {"json": ["2", "2.4.5"]},
    }
    assert ROLE.value("__orthanc_syntaxes_differences", **answers) == {"patterns": ["3"], "names": ["2"]}


def test_the_guard_stands_before_the_first_change():
    order = [one["name"] for one in tasks_in(PROJECT / "roles/orthanc/tasks/main.yml")]
    assert order.index("Compare a new image with the index") < order.index("Configure the archive")


@pytest.mark.parametrize(
    "routes",
    [
        [route("0.0.0.0/0", "eth0", "192.0.2.1")],
        [route("0.0.0.0/1", "tun0"), route("128.0.0.0/1", "tun0")],
        [route("172.17.0.0/16", "docker0")],
        [route("172.30.255.240/29", "x")],
        # A hospital's or a tunnel's summary routes.
        [route("172.16.0.0/12", "eth1", "192.0.2.1"), route("172.30.0.0/16", "eth1", "192.0.2.1")],
        [route("172.16.0.0/12", "wg0")],
        # Docker is stopped: it does not tell whose bridge this is.
        [route("172.30.255.248/29", "br-0123456789ab")],
    ],
    ids=lambda routes: f"{routes[0]['network']} {routes[0]['device']}",
)
def test_routes_that_are_no_collision(routes):
    assert ROLE.errors(**host(routes=routes)) == []


def test_a_network_that_exists_is_not_a_collision():
    routes = [route("172.30.255.0/24", "br-0"), route("172.30.255.248/30", "eth1")]
    assert ROLE.errors(**host(networks={"lightbox-orthanc-172-30-1-0-29": "br-0"}, routes=routes[:1])) == []
    assert ROLE.errors(**host(networks={"lightbox-orthanc-172-30-255-248-29": "br-1"}, routes=routes)) == []
    assert len(ROLE.errors(**host(networks={}, routes=routes))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"host": "db/x?sslmode=disable&a="}, "orthanc_database.host is 'db/x?sslmode=disable&a='"),
        ({"host": ""}, "orthanc_database.host is missing or empty"),
        ({"user": "", "password": ""}, "orthanc_database.user and orthanc_database.password is missing or empty"),
        ({"address": ":::::"}, "orthanc_database.address is ':::::'"),
        ({"address": "not an address"}, "orthanc_database.address is 'not an address'"),
        ({"port": 99999}, "orthanc_database.port is 99999. Set it to a port from 1 to 65535"),
        ({"password": "one\ntwo"}, "orthanc_database.password contains a line break"),
    ],
    ids=str,
)
def test_a_database_that_cannot_be_is_refused(change, message):
    found = ROLE.errors(orthanc_database=DATABASE | change)
    assert [error for error in found if message in error], found
    assert not any("two" in error for error in found)


@pytest.mark.parametrize(
    "change", [{}, {"port": "5433"}, {"address": "10.0.0.7"}, {"address": "fd00::7"}, {"address": ""}], ids=str
)
def test_a_database_that_can_be_is_taken(change):
    assert ROLE.errors(orthanc_database=DATABASE | change) == []


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ({"url": "http://a.example.org/", "password": "x"}, True),
        ({"url": "http://a.example.org/", "http_headers": {"Authorization": "Bearer x"}}, True),
        ({"url": "http://127.0.0.1.example.org/", "password": "x"}, True),
        ({"url": "http://192.0.2.7:8042", "password": "x"}, True),
        ({"url": "http://a.example.org/"}, False),
        ({"url": "http://a.example.org/", "password": "", "http_headers": {}}, False),
        ({"url": "https://a.example.org/", "password": "x"}, False),
        ({"url": "http://localhost:8042/", "password": "x"}, False),
        ({"url": "http://127.8.0.1", "password": "x"}, False),
        ({"url": "http://[::1]:8042/x", "password": "x"}, False),
        ({"url": "http://[::1", "password": "x"}, True),
    ],
)
def test_credentials_that_would_go_unencrypted(node, found):
    named = ROLE.value("__orthanc_unencrypted", orthanc_peers=[{"name": "a", **node}])
    assert [(one["variable"], one["name"]) for one in named] == ([("orthanc_peers", "a")] if found else [])
