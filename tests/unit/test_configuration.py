"""What the check of the archive's configuration knows and says: options, versions, types, dead keys, dangers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.plugin_utils import _orthanc_options as options

from tests.options import build, upstream
from tests.support.rendering import Role

USERS = [{"name": "reverse_proxy", "password": "Correct7Horse8Battery"}]
ROLE = Role("orthanc", orthanc_users=USERS, __orthanc_archive_file={"skipped": True})
DATA = options.known()
PLUGINS = ["OrthancDicomWeb", "OrthancGdcm"]


def found(configuration: dict[Any, Any], flavor: str = "debian", **answers: Any) -> list[str]:
    """What the role says about a configuration."""
    return ROLE.findings(orthanc_configuration=configuration, orthanc_flavor=flavor, **answers)


def said(configuration: dict[Any, Any], flavor: str = "debian", **answers: Any) -> str:
    """The one thing that the role says about a configuration."""
    findings = found(configuration, flavor, **answers)
    assert len(findings) == 1, findings
    return findings[0]


# ---------------------------------------------------------------- what stands in the data


@pytest.mark.parametrize("flavor", ["debian", "orthancteam"])
def test_all_that_the_role_writes_is_known_and_harmless(flavor):
    written = ROLE.value("__orthanc_json", orthanc_flavor=flavor)
    written |= ROLE.value("__orthanc_users_json")
    assert options.findings(written, flavor, PLUGINS) == []


@pytest.mark.parametrize("flavor", ["debian", "orthancteam"])
def test_all_that_the_role_writes_for_a_database_and_a_bucket_is_known(flavor):
    database = {"host": "db", "database": "orthanc", "user": "orthanc", "password": "x", "ca": "/ca.pem"}
    bucket = {"bucket": "images", "region": "eu-central-1", "endpoint": "https://s3.example.org", "path": "a"}
    written = ROLE.value("__orthanc_database_json", orthanc_flavor=flavor, orthanc_database=database)
    libraries = [*PLUGINS, "OrthancPostgreSQLIndex"]
    assert options.findings(written, flavor, libraries) == []
    if flavor == "orthancteam":
        written = ROLE.value("__orthanc_bucket_json", orthanc_flavor=flavor, orthanc_object_storage=bucket)
        assert options.findings(written, flavor, [*PLUGINS, "OrthancAwsS3Storage"]) == []


def test_data_name_products_and_types_that_exist():
    for place, variants in DATA["options"].items():
        for variant in variants:
            assert variant["of"] in DATA["products"], place
            kinds = variant["type"] if isinstance(variant["type"], list) else [variant["type"]]
            assert set(kinds) <= {*options.TYPES, "any"}, place
            if variant.get("default") is not None:
                assert any(options.is_a(variant["default"], kind) for kind in kinds), place
                assert variant["default"] in variant.get("choices", [variant["default"]]), place
            assert set(variant.get("danger", {"when": 0, "why": 0, "instead": 0})) == {"when", "why", "instead"}
    for carried in DATA["carried"].values():
        assert set(carried) <= set(DATA["products"])
    assert DATA["carried"]["debian"]["Orthanc"] == "1.12.7"
    assert DATA["carried"]["orthancteam"]["Orthanc"] == "1.13.0"
    assert ROLE.value("__orthanc_flavors").keys() == DATA["carried"].keys()


# From upstream's release notes and book, read by people: what the script makes of the sources must agree.
NEWS = {
    "DicomAlwaysAllowFindWorklist": "1.10.0",
    "DicomTlsMinimumProtocolVersion": "1.12.4",
    "DicomThreadsCount": "1.10.0",
    "ExtraMainDicomTags": "1.11.0",
    "HttpBindAddresses": "1.12.10",
    "KeepAliveTimeout": "1.11.3",
    "MaximumRequestBodySizeMB": "1.12.11",
    "MaximumStorageMode": "1.11.2",
    "ReadOnly": "1.12.5",
    "RestApiWriteToFileSystemEnabled": "1.12.0",
    "StorageLoaderThreadsCount": "1.13.0",
    "DicomWeb.EnableMetadataCache": "1.15",
    "DicomWeb.MetadataWorkerThreadsCount": "1.14",
    "DicomWeb.OtherBinaryMode": "1.24",
    "DicomWeb.PublicRoot": "1.8",
    "DicomWeb.WadoRsLoaderThreadsCount": "1.21",
    "PostgreSQL.AllowInconsistentChildCounts": "7.2",
    "PostgreSQL.HousekeepingInterval": "7.0",
    "PostgreSQL.Schema": "10.0",
    "PostgreSQL.TransactionMode": "6.0",
    "PostgreSQL.UseDynamicConnectionPool": "9.0",
    "Python.AllowThreads": "4.3",
}


@pytest.mark.parametrize("place", NEWS)
def test_first_versions_agree_with_the_release_notes(place):
    assert DATA["options"][place][-1]["since"] == NEWS[place]


def test_changed_defaults_are_kept():
    assert DATA["options"]["HttpCompressionEnabled"][0]["defaults"] == {"": True, "1.12.2": False}
    assert DATA["options"]["PostgreSQL.IndexConnectionsCount"][0]["defaults"] == {"": 1, "7.0": 50}


def test_no_code_of_upstream_is_carried():
    text = build.TARGET.read_text(encoding="utf-8")
    assert not any(word in text for word in ("OrthancPlugins::", "LOG(", "#include", "copyright"))


# ---------------------------------------------------------------- keys that do nothing, as people have them

DEAD: list[tuple[dict[str, Any], str, str]] = [
    ({"HttpServer": {"CorsEnabled": True, "CorsOrigins": "https://a https://b"}}, "no CORS", "one origin"),
    ({"CorsOrigins": ["*"]}, "no CORS", "one origin"),
    ({"HttpHeaders": {"Access-Control-Allow-Origin": "*"}}, "only inside OrthancPeers", "one origin"),
    ({"HttpHeaders": {"Access-Control-Allow-Origin": "a b c"}}, "more than one origin", "one origin"),
    ({"Access-Control-Allow-Origin": "*"}, "no such header", "one origin"),
    ({"LoadPlugins": ["/usr/share/orthanc/plugins"]}, "does not read it", "orthanc_plugins"),
    (
        {"ORTHANC__POSTGRESQL__ENABLESSL": True},
        "name of an environment variable",
        "nothing is needed: connections are encrypted",
    ),
    ({"ORTHANC__AUTHENTICATIONENABLED": True}, "name of an environment variable", "always asks for credentials"),
    ({"ORTHANC__REGISTEREDUSERS__admin": "x"}, "name of an environment variable", "set orthanc_users"),
    ({"ORTHANC__STABLE_AGE": 3}, "name of an environment variable", "set orthanc_configuration.StableAge"),
    ({"DICOM_WEB_PLUGIN_ENABLED": True}, "name of an environment variable", "orthanc_plugins"),
    ({"VERBOSE_ENABLED": True}, "name of an environment variable", "Take it out"),
    ({"RemoteAccessEnabled": True}, "does not read it", "orthanc_http_address"),
    ({"LimitJobs": 10}, "does not read it", "orthanc_configuration.JobsHistorySize"),
    ({"PrepareIndex": True}, "does not read it", "by themselves"),
    ({"LogLevel": "verbose"}, "command line only", "orthanc_log_level"),
    ({"LogFile": "/var/log/orthanc.log"}, "command line only", "docker logs"),
    ({"DicomVerbose": True}, "does not read it", "orthanc_log_level"),
    ({"Verbose": True}, "command line only", "set orthanc_log_level to verbose"),
    ({"DicomWeb": {"StowMaxInstances": 10}}, "does not read it", "reverse_proxy_max_upload"),
    ({"DicomWeb": {"StowMaxSize": 10}}, "does not read it", "reverse_proxy_max_upload"),
    ({"DicomWeb": {"Host": "10.0.10.72"}}, "links are wrong", "Forwarded"),
    ({"DicomWeb": {"Ssl": False}}, "does harm", "Forwarded"),
    (
        {"OrthancExplorer2": {"Enable": True}},
        "orthanc_flavor debian does not carry",
        "Set orthanc_flavor to orthancteam",
    ),
    ({"PythonScript": "/scripts/sample.py"}, "which is not loaded", "Add OrthancPython to orthanc_plugins"),
]


@pytest.mark.parametrize(("configuration", "reason", "way"), DEAD, ids=lambda value: str(value)[:50])
def test_a_dead_key_is_refused_with_the_reason_and_the_way_that_works(configuration, reason, way):
    finding = said(configuration)
    assert reason in finding
    assert way in finding
    top = next(iter(configuration))
    assert f"orthanc_configuration.{top}" in finding


def test_values_for_browsers_may_be_larger_and_empty():
    options_of_ui = {"DefaultLanguage": None, "StudyListSearchAsYouTypeDelay": 5000000000}
    assert found({"OrthancExplorer2": {"UiOptions": options_of_ui}}, "orthancteam", **EXPLORER) == []


EXPLORER: dict[str, Any] = {"orthanc_plugins": [*PLUGINS, "OrthancExplorer2", "OrthancAuthorization"]}


def test_a_dead_key_of_a_plugin_is_refused_with_the_key_that_works():
    ui = said({"OrthancExplorer2": {"IsDefaultUI": True}}, "orthancteam", **EXPLORER)
    assert "set orthanc_configuration.OrthancExplorer2.IsDefaultOrthancUI" in ui
    token = said({"Authorization": {"TokenGetParameters": ["token"]}}, "orthancteam", **EXPLORER)
    assert "set orthanc_configuration.Authorization.TokenGetArguments" in token
    assert (
        found(
            {"OrthancExplorer2": {"IsDefaultOrthancUI": True, "UiOptions": {"EnableShares": True}}},
            "orthancteam",
            **EXPLORER,
        )
        == []
    )


def test_the_python_plugin_without_a_script_is_refused():
    finding = said({}, orthanc_plugins=[*PLUGINS, "OrthancPython"])
    assert "orthanc_plugins has OrthancPython, but no script" in finding
    assert found({"PythonScript": "/srv/x.py"}, orthanc_plugins=[*PLUGINS, "OrthancPython"]) == []


# ---------------------------------------------------------------- the kinds of findings

CASES: list[tuple[dict[Any, Any], str]] = [
    # unknown
    ({"StableAgee": 3}, "Did you mean StableAge? Then set orthanc_configuration.StableAge."),
    ({"stable_age": 3}, "Did you mean StableAge?"),
    ({"Dicom_Aet": "X"}, "Then set orthanc_aet."),
    ({"DicomWeb": {"StudyMetadata": "Full"}}, "Did you mean StudiesMetadata?"),
    ({"StudiesMetadata": "Full"}, "It is an option of DicomWeb: set orthanc_configuration.DicomWeb.StudiesMetadata."),
    ({"EnableStorage": True}, "It is an option of PostgreSQL"),
    ({"DicomWeb": {"StableAge": 3}}, "It is an option of the top level: set orthanc_configuration.StableAge."),
    ({"Quux": 3}, "set orthanc_accepted_options: [Quux]"),
    ({3: 4}, "no text. Set it in quotes."),
    ({"Warnings": {"W001": True}}, "orthanc_configuration.Warnings.W001"),
    # types
    ({"StableAge": "3"}, 'orthanc_configuration.StableAge is "3", which is no whole number from 0. Set it to a whole'),
    ({"StableAge": -3}, "is -3, which is no whole number from 0"),
    ({"StableAge": True}, "is true, which is no whole number"),
    ({"StableAge": None}, "is null, which is no whole number"),
    ({"WebDavEnabled": "false"}, "no true or false. Set it to true or false (without quotes)."),
    ({"AcceptedSopClasses": "1.2.3"}, "no list of texts"),
    ({"AcceptedSopClasses": [1]}, "no list of texts"),
    ({"DicomWeb": "on"}, "no dictionary"),
    ({"Dictionary": []}, "no dictionary"),
    ({"Warnings": {"W001_TagsBeingReadFromStorage": 0}}, "no true or false"),
    ({"OverwriteInstances": "Never"}, "orthanc_configuration.OverwriteInstances is"),
    # values
    ({"MaximumPduLength": 4095}, "Set it to a number from 4096 to 131072."),
    ({"DicomLossyTranscodingQuality": 101}, "from 1 to 100"),
    ({"StorageAccessOnFind": "never"}, "Set it to one of Always, Never, Answers. Did you mean Never?"),
    ({"DefaultEncoding": "UTF-8"}, "Did you mean Utf8?"),
    ({"DicomWeb": {"SeriesMetadata": "All"}}, "Full, MainDicomTags, Extrapolate"),
    ({"JobsHistorySize": 0}, "from 1 to"),
    ({"StableAge": 5000000000}, "5000000000, larger than the archive can read. Set it to 2147483647 or less."),
    ({"MaximumStorageSize": 10**13, "MaximumStorageMode": "Reject"}, "Set it to 2147483647 or less."),
    ({"MaximumStorageCacheSize": -5}, "no whole number from 0"),
    ({"Gdcm": {"Throttling": 0}}, "Set it to a number from 1 to"),
    ({"MediaArchiveSize": 0}, "Set it to a number from 1 to"),
    ({"QueryRetrieveSize": 0}, "Set it to a number from 1 to"),
    ({"HttpRequestTimeout": 0}, "Set it to a number from 1 to"),
    ({"IngestTranscoding": "jpeg"}, 'IngestTranscoding is "jpeg", which is no transfer syntax that the archive knows'),
    ({"IngestTranscoding": ""}, "it would not start. Set it to a UID such as 1.2.840.10008.1.2.1, or take it out."),
    ({"IngestTranscoding": "1.2.840.10008.1.2.4.9"}, "Did you mean 1.2.840.10008.1.2.4.9"),
    ({"IngestTranscoding": "1.2.840.10008.1.2.4.201"}, "no transfer syntax that the archive knows"),
    ({"DicomScuPreferredTransferSyntax": "foo"}, 'is "foo", which is no transfer syntax'),
    # what users shape
    ({"Dictionary": {"4d4d,0001": "oops"}}, "Dictionary['4d4d,0001'] is \"oops\": it is no list of two to five"),
    (
        {"Dictionary": {"zz": ["LO", "A", 1, 1]}},
        "its name is no number of a tag, and the archive would not start. Set a tag",
    ),
    ({"Dictionary": {"PatientName": ["PN", "PatientName", 1, 1]}}, "its name is no number of a tag"),
    ({"Dictionary": {"0009,1001": ["LO", "A"]}}, "needs the least number of values"),
    ({"Dictionary": {"0009,1001": ["LL", "A", 1, 1]}}, "LL is no value representation"),
    ({"Dictionary": {"0009,1001": ["OV", "A", 1, 1]}}, "OV is no value representation"),
    ({"Dictionary": {"0009,1001": ["LO", "A", "1", 1]}}, "two texts, two numbers and a text"),
    ({"Dictionary": {"0009,1001": ["LO", "A", 2, 1]}}, "the most is not less"),
    ({"Dictionary": {"0009,1001": ["LO", "A", 0, 1]}}, "the least number of values is 1"),
    ({"Dictionary": {"0010,1001": ["LO", "A", 1, 1, "ME"]}}, "a tag with an odd group"),
    (
        {"ExtraMainDicomTags": {"Instance": ["0028;0010"]}},
        'ExtraMainDicomTags.Instance has "0028;0010", which is no DICOM',
    ),
    ({"ExtraMainDicomTags": {"Instances": ["Rows"]}}, "Did you mean Instance?"),
    (
        {"ExtraMainDicomTags": {"Instance": ["Row"]}},
        'Instance has "Row", which is no DICOM tag that the archive knows: the archive would not start. Set it to a '
        "keyword such as Rows, or a number such as 0028,0010. Did you mean Rows?",
    ),
    ({"ExtraMainDicomTags": {"Instance": ["rows"]}}, "Did you mean Rows?"),
    ({"ExtraMainDicomTags": {"Study": ["StudyPriorityID"]}}, "Did you mean RETIRED_StudyPriorityID?"),
    (
        {"DicomWeb": {"SeriesMetadata": "Extrapolate", "SeriesMetadataExtrapolatedTags": ["BitAllocated"]}},
        "DICOMweb would answer no metadata. Set it to a keyword",
    ),
    ({"UserMetadata": {"a": 4000, "b": 4000}}, "UserMetadata.b is 4000, as a is: the archive would not start"),
    ({"UserMetadata": {"ReceptionDate": 4000}}, "UserMetadata.ReceptionDate has a name that the archive gives itself"),
    ({"UserMetadata": {"17": 4000}}, "has a number for its name"),
    ({"UserContentType": {"x": "foo"}}, "Set it to a number from 1024 to 65535, or to [number, MIME type]."),
    ({"UserContentType": {"x": [4000]}}, "or to [number, MIME type]"),
    ({"UserContentType": {"x": [4000, "a/b"], "y": 4000}}, "UserContentType.y is 4000, as x is"),
    # names with dots
    ({"DicomWeb.StudiesMetadata": "Full"}, "places are written nested. Set DicomWeb: {StudiesMetadata: …} there."),
    ({"Gdcm.Throttling": 2}, "orthanc_configuration.Gdcm.Throttling has a dot in its name 'Gdcm.Throttling'"),
    ({"DicomWeb.Servers.other": {}}, "Set DicomWeb: {Servers: {other: …}} there."),
    ({"Warnings.W001_TagsBeingReadFromStorage": True}, "has a dot in its name"),
    ({"DicomWeb.Foo": 1}, "has a dot in its name"),
    ({"DicomWeb": {"Servers.a": {}}}, "has a dot in its name"),
    ({"Quux.a": 3}, "set orthanc_accepted_options: [Quux.a]"),
    # versions
    ({"HttpBindAddresses": ["::1"]}, "needs Orthanc 1.12.10; orthanc_flavor debian carries 1.12.7."),
    ({"HttpBindAddresses": ["::1"]}, "or set orthanc_flavor to orthancteam"),
    ({"DicomWeb": {"WadoRsLoaderThreadsCount": 4}}, "needs the plugin OrthancDicomWeb 1.21;"),
    ({"RejectedSopClasses": ["1.2.3"]}, "needs Orthanc 1.12.8"),  # documented since 1.12.6, misspelt in the sources
    ({"AllowFindSopClassesInStudy": True}, "no longer read by Orthanc since 1.5.1"),
    # plugins
    ({"Housekeeper": {"Enable": True}}, "Add Housekeeper to orthanc_plugins"),
    ({"PostgreSQL": {"Lock": False}}, "Set orthanc_database"),
    ({"Transfers": {"Threads": 4}}, "orthanc_flavor debian does not carry"),
    # what a variable says
    (
        {"DicomWeb": {"Root": "/x/"}},
        "orthanc_configuration.DicomWeb.Root is not for orthanc_configuration. Take it out; what",
    ),
    ({"RemoteAccessAllowed": True}, "what says it: none"),
    # contradictions
    ({"MaximumPatientCount": 10, "MaximumStorageMode": "Recycle"}, "deletes the oldest patients"),
    ({"MaximumStorageSize": 10, "MaximumStorageMode": "Recycle"}, "orthanc_allow_deletion: true"),
    ({"DicomTlsEnabled": True}, "DICOM with TLS is the reverse proxy's (pacs_dicom_tls_networks)"),
    ({"SslVerifyPeers": True}, "TLS is the reverse proxy's"),
    ({"JpegTransferSyntaxAccepted": False}, "what says it: orthanc_accepted_transfer_syntaxes"),
    ({"DicomTlsMinimumProtocolVersion": 5}, "DicomTlsCiphersAccepted"),
    ({"WebDavUploadAllowed": True}, "WebDavEnabled is false: it does nothing"),
    ({"KeepAlive": False, "KeepAliveTimeout": 5}, "KeepAlive is false"),
    (
        {"DicomWeb": {"SeriesMetadata": "Extrapolate"}},
        "Set orthanc_configuration.DicomWeb.SeriesMetadataExtrapolatedTags",
    ),
    ({"DicomWeb": {"StudiesMetadata": "Extrapolate"}}, "the same as MainDicomTags"),
    ({"DicomCheckModalityHost": True}, "the reverse proxy hides the callers' addresses"),
    ({"IngestTranscodingOfCompressed": False}, "it does nothing"),
    # what the archive would put in
    ({"DefaultPrivateCreator": "${CREATOR}"}, "orthanc_configuration.DefaultPrivateCreator has a '${'"),
    ({"Locale": "a${B:-c}"}, "has a '${'"),
]


@pytest.mark.parametrize(("configuration", "message"), CASES, ids=lambda value: str(value)[:60])
def test_what_cannot_work_is_refused_with_place_and_remedy(configuration, message):
    finding = said(configuration)
    assert message in finding
    assert "orthanc_configuration." in finding
    assert any(word in finding for word in ("Set ", "set ", "Take ", "Add ", "nothing is needed"))


# Neighbours of what is refused, that work.
RIGHT: list[dict[str, Any]] = [
    {"StableAge": 2147483647, "MaximumStorageCacheSize": 0},
    {"Gdcm": {"Throttling": 1}, "MediaArchiveSize": 1, "HttpRequestTimeout": 1},
    {"IngestTranscoding": "1.2.840.10008.1.2.1"},
    {"DicomScuPreferredTransferSyntax": "1.2.840.10008.1.2.4.108"},
    {"Dictionary": {"0009,1001": ["LO", "A", 1, 1, "ME"], "00091002": ["UN", "B", 1], "7053-1000": ["DS", "C", 1, 0]}},
    {"Dictionary": {"4d4d,0001": ["SQ", "A b", 1, 1, ""]}},
    {"ExtraMainDicomTags": {"Instance": ["Rows", "0028,0011", "00280100"], "Patient": []}},
    {"ExtraMainDicomTags": {"Patient": ["OtherPatientIDs", "EthnicGroup"]}},
    {"Dictionary": {"0009,1001": ["LO", "MyTag", 1, 1, "ME"]}, "ExtraMainDicomTags": {"Instance": ["MyTag"]}},
    {"UserMetadata": {"a": 4000, "b": 4001, "with.dot": 4002, "IsProtected": 4003}},
    {"UserContentType": {"x": 4000, "y": [4001, "application/pdf"]}},
    {"DicomWeb": {"SeriesMetadata": "Extrapolate", "SeriesMetadataExtrapolatedTags": ["BitsAllocated"]}},
    {"DicomCheckModalityHost": False},
]


@pytest.mark.parametrize("configuration", RIGHT, ids=lambda value: str(value)[:60])
def test_what_lies_beside_it_and_works_is_taken(configuration):
    assert found(configuration) == []


SERVER = {"AET": "TENANT", "Port": 4343, "Labels": ["a"]}
# Plugins, their section, what the one finding says.
OF_PLUGINS: list[tuple[str, dict[str, Any], str]] = [
    ("Housekeeper", {"Housekeeper": {"Enable": True, "Schedule": {"Mondy": ["0-6"]}}}, "Did you mean Monday?"),
    (
        "Housekeeper",
        {"Housekeeper": {"Enable": True, "Schedule": {"Monday": ["nachts"]}}},
        "Set it to hours such as 0-6",
    ),
    ("Housekeeper", {"Housekeeper": {"Enable": True, "Schedule": {"Monday": ["20-6"]}}}, "Schedule.Monday has"),
    (
        "MultitenantDicom",
        {"MultitenantDicom": {"Servers": [SERVER, {**SERVER, "AETT": 5}]}},
        "Servers[1].AETT is not known",
    ),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{"AET": "A", "Port": 1}]}}, "Servers[0] has no Labels"),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{**SERVER, "Port": 70000}]}}, "a number from 1 to 65535"),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{**SERVER, "Labels": ["a b"]}]}}, "labels of 1 to 64"),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{**SERVER, "LabelsConstraint": "all"}]}}, "one of All, Any"),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{**SERVER, "LabelsStoreLevels": ["x"]}]}}, "Patient, Study"),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [{**SERVER, "Port": "4343"}]}}, 'Servers[0].Port is "4343"'),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": ["TENANT"]}}, "Set it to a dictionary with AET"),
    (
        "ModalityWorklists",
        {"Worklists": {"Enable": True}},
        "Set orthanc_configuration.Worklists.Database to the folder",
    ),
    ("ServeFolders", {"ServeFolders": {"/x": "/etc"}}, "could read /etc/orthanc"),
    ("ServeFolders", {"ServeFolders": {"/x": "/etc/../etc/orthanc/"}}, "orthanc_accepted_options: [ServeFolders./x]"),
    ("ServeFolders", {"ServeFolders": {"Folders": {"/x": "/"}}}, "orthanc_accepted_options: [ServeFolders.Folders./x]"),
    ("ServeFolders", {"ServeFolders": {"/x": "/proc/1"}}, "could read /proc"),
]


@pytest.mark.parametrize(("plugin", "configuration", "message"), OF_PLUGINS, ids=lambda value: str(value)[:60])
def test_what_plugins_refuse_is_refused_before(plugin, configuration, message):
    finding = said(configuration, orthanc_plugins=[*PLUGINS, plugin])
    assert message in finding
    assert "orthanc_configuration." in finding
    assert any(word in finding for word in ("Set ", "set ", "Take "))


OF_PLUGINS_RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("Housekeeper", {"Housekeeper": {"Enable": True, "Schedule": {"Sunday": ["0-24"], "Friday": ["06-7", "20-24"]}}}),
    ("MultitenantDicom", {"MultitenantDicom": {"Servers": [SERVER]}}),
    (
        "MultitenantDicom",
        {
            "MultitenantDicom": {
                "Servers": [{**SERVER, "LabelsConstraint": "Any", "LabelsStoreLevels": ["Study", "series"]}]
            }
        },
    ),
    ("ModalityWorklists", {"Worklists": {"Enable": True, "Database": "/srv/worklists"}}),
    ("ServeFolders", {"ServeFolders": {"/x.y": "/srv/public", "/etc": "/etc2"}}),
    ("ServeFolders", {"ServeFolders": {"Folders": {"/x": "/srv/orthanc/public"}, "Extensions": {".x": "text/x"}}}),
]


@pytest.mark.parametrize(("plugin", "configuration"), OF_PLUGINS_RIGHT, ids=lambda value: str(value)[:60])
def test_what_plugins_take_is_taken(plugin, configuration):
    assert found(configuration, orthanc_plugins=[*PLUGINS, plugin]) == []


def test_a_folder_with_passwords_is_served_after_a_named_yes_only():
    served: dict[str, Any] = {"orthanc_plugins": [*PLUGINS, "ServeFolders"]}
    assert found({"ServeFolders": {"/x": "/etc"}}, **served, orthanc_accepted_options=["ServeFolders./x"]) == []


WORKLISTS: list[tuple[dict[str, Any], str]] = [
    ({}, "Set orthanc_configuration.Worklists.Directory to the folder"),
    ({"Directory": "/srv/w", "SaveInOrthancDatabase": True}, "would not start. Take one of them out."),
    ({"Directory": "/srv/w", "DeleteWorklistsDelay": 3}, "DeleteWorklistsDelay works with SaveInOrthancDatabase only"),
]


def test_worklists_of_the_newer_plugin():
    plugins = [*PLUGINS, "OrthancWorklists"]
    for more, message in WORKLISTS:
        assert message in said({"Worklists": {"Enable": True, **more}}, "orthancteam", orthanc_plugins=plugins)
    for more in ({"Directory": "/srv/w"}, {"SaveInOrthancDatabase": True, "DeleteWorklistsDelay": 3}):
        assert found({"Worklists": {"Enable": True, **more}}, "orthancteam", orthanc_plugins=plugins) == []


def test_addresses_of_the_container_that_nobody_reaches_are_refused():
    for addresses in (["127.0.0.1"], ["::1", "127.0.0.1"]):
        assert "nobody would reach it" in said({"HttpBindAddresses": addresses}, "orthancteam")
    assert "health check" in said({"HttpBindAddresses": ["172.30.255.250"]}, "orthancteam")
    for addresses in (["0.0.0.0"], ["172.30.255.250", "127.0.0.1"], []):  # noqa: S104 - nothing listens
        assert found({"HttpBindAddresses": addresses}, "orthancteam") == []


def test_representations_of_newer_versions():
    entry = {"Dictionary": {"0009,1001": ["OV", "A", 1, 1]}}
    assert found(entry, "orthancteam") == []


NEWER: list[tuple[dict[str, Any], str]] = [
    ({"OverwriteInstances": "IfChanged", "StoreMD5ForAttachments": False}, "would not start"),
    ({"PatientLevelEnabled": False, "MaximumPatientCount": 3}, "would not start"),
    ({"DefaultRetrieveMethod": "C-GET"}, "Did you mean DicomDefaultRetrieveMethod?"),
]


@pytest.mark.parametrize(("configuration", "message"), NEWER, ids=str)
def test_newer_versions_have_rules_of_their_own(configuration, message):
    accepted = ["OverwriteInstances", "StoreMD5ForAttachments"]
    assert message in said(configuration, "orthancteam", orthanc_accepted_options=accepted)


def test_the_older_and_the_newer_form_of_an_option_are_told_apart():
    accepted: dict[str, Any] = {"orthanc_accepted_options": ["OverwriteInstances"]}
    assert found({"OverwriteInstances": True}, **accepted) == []
    assert "true or false" in said({"OverwriteInstances": "Always"}, **accepted)
    assert found({"OverwriteInstances": "IfChanged"}, "orthancteam", **accepted) == []
    assert found({"OverwriteInstances": False}, "orthancteam") == []
    assert "Never, Always, IfChanged" in said({"OverwriteInstances": "always"}, "orthancteam", **accepted)


DANGERS = sorted(
    (place, variant["of"], variant["danger"]["when"])
    for place, variants in DATA["options"].items()
    for variant in variants[-1:]
    if "danger" in variant
)


def test_the_dangers_that_must_be_there():
    assert {
        "DicomAlwaysAllowStore",
        "DicomCheckCalledAet",
        "ExecuteLuaEnabled",
        "HttpsVerifyPeers",
        "LuaScripts",
        "OverwriteInstances",
        "PostgreSQL.EnableStorage",
        "RestApiWriteToFileSystemEnabled",
        "SyncStorageArea",
        "WebDavEnabled",
    } <= {place for place, _of, _when in DANGERS}


@pytest.mark.parametrize(("place", "product", "when"), DANGERS, ids=str)
def test_a_danger_needs_a_named_yes(place, product, when):
    kind = DATA["options"][place][-1]["type"]
    value = when.get("is", (when.get("in") or [None])[0])
    if "filled" in when:
        value = ["x.lua"] if kind == "strings" else True
    if "not" in when:
        value = "Always"
    configuration: dict[str, Any] = {}
    where = configuration
    *sections, name = place.split(".")
    for section in sections:
        where = where.setdefault(section, {})
    where[name] = value
    libraries = [*PLUGINS, *list(DATA["products"][product].get("libraries", {}))[:1]]
    merged: dict[str, Any] = {
        "DicomTlsCiphersAccepted": ["x"],
        "AdvancedStorage": {"Enable": True},
        "WebDavEnabled": True,
    }
    refused = options.findings(configuration, "orthancteam", libraries, merged=merged)
    assert len(refused) == 1
    assert "which is dangerous:" in refused[0]
    assert f"set orthanc_accepted_options: [{place}]" in refused[0]
    assert options.findings(configuration, "orthancteam", libraries, merged=merged, accepted=[place]) == []


def test_deletion_needs_a_named_yes():
    limits = {"MaximumPatientCount": 1000, "MaximumStorageMode": "Recycle"}
    assert "orthanc_allow_deletion" in said(limits)
    assert found(limits, orthanc_allow_deletion=True) == []
    # The role's own default refuses new images instead of deleting old ones.
    assert found({"MaximumPatientCount": 1000}) == []
    # Without the role's default the archive's own counts.
    assert "Recycle" in options.findings({"MaximumPatientCount": 1000}, "debian", PLUGINS)[0]


def test_remote_access_needs_a_login():
    # In the role, variables of its own say both; the filter alone must tell, too.
    open_door = {"RemoteAccessAllowed": True, "AuthenticationEnabled": False}
    assert "may read and delete everything" in options.findings(open_door, "debian", PLUGINS)[0]
    known_door = {"RemoteAccessAllowed": True, "RegisteredUsers": {}}
    assert "lets the user orthanc in" in options.findings(known_door, "debian", PLUGINS)[0]
    assert len(found(open_door)) == 2
    assert all("is not for orthanc_configuration" in finding for finding in found(open_door))


def test_a_yes_to_what_is_not_dangerous_is_refused():
    assert "is not dangerous" in said({}, orthanc_accepted_options=["StableAge"])
    assert "Did you mean ExecuteLuaEnabled?" in said({}, orthanc_accepted_options=["ExecuteLuaEnable"])


def test_a_yes_to_a_whole_section_is_refused():
    """It would silence every misspelling in there."""
    misspelt, finding = found({"DicomWeb": {"StudyMetadata": "x"}}, orthanc_accepted_options=["DicomWeb"])
    assert "Did you mean StudiesMetadata?" in misspelt
    assert "orthanc_accepted_options has DicomWeb, whose options are known" in finding
    assert "Take it out, or set the option that you mean" in finding
    assert "Did you mean orthanc_log_level?" in said({}, orthanc_accepted_options=["orthanc_loglevel"])
    assert "has Warnings, which is not dangerous" in said({}, orthanc_accepted_options=["Warnings"])
    assert found({"DicomWeb": {"Mine": "x"}}, orthanc_accepted_options=["DicomWeb.Mine"]) == []


VERSIONS: list[tuple[dict[str, Any], str]] = [
    ({"Orthank": "1.10.0"}, "orthanc_versions has Orthank, which is neither Orthanc nor a plugin"),
    ({"Orthank": "1.10.0"}, "Did you mean Orthanc?"),
    ({"orthancdicomweb": "1.10"}, "Did you mean OrthancDicomWeb?"),
    ({"Mine": "1.10"}, "Set a name that is, or take it out."),
    ({"Orthanc": "newest"}, 'orthanc_versions.Orthanc is "newest", which is no version. Set it to a number in quotes'),
    ({"Orthanc": ""}, "no version"),
    ({"OrthancDicomWeb": "v1.20"}, "no version"),
]


@pytest.mark.parametrize(("versions", "message"), VERSIONS, ids=str)
def test_versions_of_what_is_not_there_and_that_are_none_are_refused(versions, message):
    assert message in said({}, orthanc_versions=versions)


def test_versions_as_upstream_names_them_are_taken():
    versions = {
        "Orthanc": "mainline-1234",
        "OrthancDicomWeb": "1.22",
        "OrthancGdcm": 1.8,
        "OrthancPython": "d4a8203b3390",
    }
    assert found({}, orthanc_versions=versions) == []
    assert found({}, orthanc_versions={"Orthanc": "1.12.10-2", "DicomWeb": "1.22"}) == []


def test_a_plugin_of_ones_own():
    plugins = [*PLUGINS, "MyPlugin"]
    assert "which is no plugin that orthanc_flavor debian carries" in said({}, orthanc_plugins=plugins)
    mine: dict[str, Any] = {"orthanc_plugins": plugins, "orthanc_versions": {"MyPlugin": "1.0"}}
    assert found({}, **mine) == []
    assert "[MyPlugin]" in said({"MyPlugin": {"Key": 1}}, **mine)
    assert found({"MyPlugin": {"Key": 1}}, **mine, orthanc_accepted_options=["MyPlugin"]) == []


PLUGIN_CASES = [
    ("OrthancExplorer2", "the archive would not start. Take it out, or set orthanc_flavor to orthancteam."),
    ("DicomWeb", "Did you mean OrthancDicomWeb?"),
    ("../x", "no name of a library"),
    ("OrthancGdcm", "orthanc_plugins has OrthancGdcm more than once: the archive would not start. Set it once."),
]


@pytest.mark.parametrize(("plugin", "message"), PLUGIN_CASES)
def test_plugins_that_are_not_there_are_refused(plugin, message):
    assert message in said({}, orthanc_plugins=[*PLUGINS, plugin])


STORES = [
    (
        {"orthanc_plugins": [*PLUGINS, "OrthancMySQLIndex"]},
        "orthanc_plugins has OrthancMySQLIndex: an archive that has",
    ),
    (
        {"orthanc_plugins": [*PLUGINS, "OrthancOdbcStorage"]},
        "Take it out: the index is in SQLite or, with orthanc_database",
    ),
    ({"orthanc_plugins": [*PLUGINS, "OrthancAzureBlobStorage"]}, "AzureBlobStorage.HybridMode to WriteToObjectStorage"),
    (
        {
            "orthanc_plugins": [*PLUGINS, "OrthancGoogleCloudStorage"],
            "orthanc_object_storage": {"bucket": "images", "region": "eu"},
            "orthanc_database": {"host": "db", "database": "o", "user": "o", "password": "x", "ca": __file__},
        },
        "and orthanc_object_storage is set: only one plugin can keep the images",
    ),
]


@pytest.mark.parametrize(("answers", "message"), STORES, ids=lambda value: str(value)[:60])
def test_stores_that_the_role_does_not_know_are_refused(answers, message):
    # Any file is a certificate here: only what is said of the plugins counts.
    findings = found({}, "orthancteam", **answers)
    assert [one for one in findings if message in one], findings
    assert all("orthanc_plugins" in one or "orthanc_database.ca" in one for one in findings)


def test_stores_that_leave_what_is_there_readable_are_taken():
    azure = {"AzureBlobStorage": {"HybridMode": "WriteToObjectStorage"}}
    assert found(azure, "orthancteam", orthanc_plugins=[*PLUGINS, "OrthancAzureBlobStorage"]) == []
    advanced = {"AdvancedStorage": {"Enable": True}}
    assert found(advanced, "orthancteam", orthanc_plugins=[*PLUGINS, "AdvancedStorage"]) == []


def test_dead_keys_of_the_database_and_the_bucket():
    """Their plugins are loaded by variables of the role."""
    database = {"host": "db", "database": "orthanc", "user": "orthanc", "password": "x" * 20, "ca": "/ca.pem"}
    bucket = {"bucket": "images", "region": "eu-central-1"}
    answers: dict[str, Any] = {"orthanc_database": database, "orthanc_object_storage": bucket}
    dead = said({"PostgreSQL": {"PrepareIndex": False}}, "orthancteam", **answers)
    assert "orthanc_configuration.PostgreSQL.PrepareIndex does nothing: the plugin does not read it" in dead
    assert "prepares its database by itself" in dead
    dead = said({"AwsS3Storage": {"MigrationFromFileSystemEnabled": True}}, "orthancteam", **answers)
    assert "does too little: HybridMode took its place" in dead
    assert "set orthanc_configuration.AwsS3Storage.HybridMode" in dead
    schema = said({"PostgreSQL": {"Schema": "pacs"}}, "orthancteam", **answers)
    assert "the upgrade guard and the migration read the schema public" in schema


def test_other_versions_of_an_image_of_ones_own_count():
    newer: dict[str, Any] = {"orthanc_versions": {"Orthanc": "1.12.10", "OrthancDicomWeb": "1.21"}}
    assert (
        found(
            {"HttpBindAddresses": ["127.0.0.1", "172.30.255.250"], "DicomWeb": {"WadoRsLoaderThreadsCount": 2}}, **newer
        )
        == []
    )
    older = said({"ReadOnly": True}, "orthancteam", orthanc_versions={"Orthanc": "1.10.1"})
    assert "needs Orthanc 1.12.5; orthanc_versions says that the archive carries 1.10.1" in older


def test_all_findings_come_at_once():
    wrong = {
        "StableAgee": 1,
        "KeepAlive": "yes",
        "LoadPlugins": [],
        "ExecuteLuaEnabled": True,
        "Name": "x",
        "Locale": "${X}",
    }
    assert len(found(wrong, orthanc_aet="")) == 7


def test_no_finding_shows_a_secret():
    secret = "Hush7Hush7Hush7"
    peers = {
        "OrthancPeers": {"a": {"Url": 3, "Password": [secret], "HttpHeaders": secret}},
        "DicomWeb": {"Servers": {"b": {"Password": {"x": secret}, "Urrl": 1}}},
        "AwsS3Storage": {"SecretKey": [secret]},
        "PostgreSQL": {"ConnectionUri": [secret], "Password": [secret]},
        "Pkcs11": {"Pin": [secret]},
    }
    libraries = [*PLUGINS, "OrthancAwsS3Storage", "OrthancPostgreSQLIndex"]
    findings = options.findings(peers, "orthancteam", libraries)
    assert len(findings) == 9
    assert not any(secret in finding for finding in findings)
    assert any(
        "DicomWeb.Servers.b.Urrl is not known" in finding and "Did you mean Url?" in finding for finding in findings
    )


def test_good_configurations_have_no_findings():
    assert found({"StableAge": 10, "Warnings": {"W003_DecoderFailure": False}, "DicomWeb": {"EnableWado": False}}) == []
    assert found({"IngestTranscoding": "1.2.840.10008.1.2.4.90", "UserMetadata": {"mine": 4000}}) == []
    assert found({"ExtraMainDicomTags": {"Instance": ["Rows"]}, "Gdcm": {"Throttling": 2}}) == []
    assert (
        found(
            {"Housekeeper": {"Enable": True, "Schedule": {"Monday": ["0-6"]}}},
            orthanc_plugins=[*PLUGINS, "Housekeeper"],
        )
        == []
    )


ODD: list[Any] = [None, 5, "x", [1, None, {"a": 1}], {"a": None}, {"a.b": [[]]}, True, 2.5]
SHAPED = {
    *("Dictionary", "DicomWeb", "ExtraMainDicomTags", "Gdcm", "Housekeeper", "HttpBindAddresses", "IngestTranscoding"),
    *("MultitenantDicom", "ServeFolders", "UserContentType", "UserMetadata", "Worklists"),
}


@pytest.mark.parametrize("value", ODD, ids=str)
def test_no_value_breaks_the_check(value):
    """Whatever stands there, all other findings are told."""
    libraries = [*PLUGINS, "Housekeeper", "ModalityWorklists", "MultitenantDicom", "ServeFolders"]
    forms = [
        value,
        {"Schedule": {"Monday": value}, "Servers": [value], "Folders": value, "Enable": value, "x": [value]},
    ]
    for place in SHAPED:
        for form in forms:
            findings = options.findings({place: form, "Quux": 1}, "debian", libraries)
            assert any("orthanc_configuration.Quux" in finding for finding in findings)
    assert options.findings({"Quux": 1}, "debian", [value, value], versions={"Orthanc": value}, syntaxes=[value])
    assert options.findings({"Quux": 1}, "debian", PLUGINS, accepted=[value], syntaxes=value)


def test_the_check_takes_milliseconds():
    written = ROLE.value("__orthanc_json") | {f"StableAge{index}": index for index in range(50)}
    options.findings({}, "debian", PLUGINS)
    start = time.monotonic()
    assert len(options.findings(written, "debian", PLUGINS)) == 50
    assert time.monotonic() - start < 1


# ---------------------------------------------------------------- how the data are made

SOURCES = {
    "Sources/a.cpp": """
        static const char* const THREADS = "ThreadsCount";
        bool ok = lock.GetConfiguration().GetBooleanParameter("Fast", true);
        unsigned int n = configuration.GetUnsignedIntegerValue(THREADS, 4 /* by default */);
        configuration.LookupStringValue(name, "Name");
        lock.GetConfiguration().GetListOfStringsParameter(paths, "Paths");
        GetStringValue(key, FALLBACK);
        request["Level"] = "Study";
    """,
    "Sources/b.cpp": 'static const char* const THREADS = "Other"; #define FALLBACK "Full"',
}
DOCUMENT = """{
  // The name. Allowed values: "A" : nothing
  "Name" : "x",
  /**
     "Paths" : [ "a" ],
     "Nested" : { "Inner" : 1 }
  **/
  // How fast (new in Orthanc 1.2.3)
  "Fast" : true,
  // "Paths2" : {}
  "Section" : { "Deep" : 3 } // new in Orthanc 1.4.0
}"""


def test_calls_are_read_with_types_defaults_and_constants_of_their_own_file():
    read = upstream.called(SOURCES, {"Name": "Sub.Name"})
    assert read == {
        "Fast": {"types": {"bool"}, "default": True},
        "ThreadsCount": {"types": {"uint"}, "default": 4},
        "Sub.Name": {"types": {"str"}},
        "Paths": {"types": {"strings"}},
    }


def test_documented_options_are_read_with_what_is_commented_out():
    read = upstream.documented(DOCUMENT, None)
    assert read["Fast"] == {"type": "bool", "default": True, "since": "1.2.3"}
    assert read["Section.Deep"]["default"] == 3
    assert read["Paths"] == {"commented": True}
    assert "Nested" in read
    assert "Inner" not in read
    assert "since" not in read["Name"]


def test_words_are_found_in_programs_even_in_pieces():
    assert build.stands_in("StableAge", b"..StableAge..")
    assert build.stands_in("MaximumPatientCount", b"MaximumP\x00\x48atientCo\x00unt")
    assert not build.stands_in("MaximumPatientCount", b"MaximumStorageSize")
