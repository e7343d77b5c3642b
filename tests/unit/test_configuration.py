"""The check of Orthanc's configuration: options, versions, types, ignored keys, dangers, contradictions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import TYPES, is_type, load_data
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import configuration_errors

from tests.options import build, upstream
from tests.support.rendering import Role

USERS = [{"name": "reverse_proxy", "password": "Correct7Horse8Battery"}]
ROLE = Role("orthanc", orthanc_users=USERS, __orthanc_archive_file={"skipped": True})
DATA = load_data()
PLUGINS = ["OrthancDicomWeb", "OrthancGdcm"]


def check(configuration: dict[Any, Any], flavor: str = "debian", **answers: Any) -> list[str]:
    """Return the errors that the role reports for a configuration."""
    return ROLE.errors(orthanc_configuration=configuration, orthanc_flavor=flavor, **answers)


def check_one(configuration: dict[Any, Any], flavor: str = "debian", **answers: Any) -> str:
    """Return the only error that the role reports for a configuration."""
    errors = check(configuration, flavor, **answers)
    assert len(errors) == 1, errors
    return errors[0]


# ---------------------------------------------------------------- the data


@pytest.mark.parametrize("flavor", ["debian", "orthancteam"])
def test_what_the_role_writes_has_no_errors(flavor):
    written = ROLE.value("__orthanc_json", orthanc_flavor=flavor)
    written |= ROLE.value("__orthanc_users_json")
    assert configuration_errors(written, flavor, PLUGINS) == []


@pytest.mark.parametrize("flavor", ["debian", "orthancteam"])
def test_what_the_role_writes_for_a_database_and_a_bucket_has_no_errors(flavor):
    database = {"host": "db", "database": "orthanc", "user": "orthanc", "password": "x", "ca": "/ca.pem"}
    bucket = {"bucket": "images", "region": "eu-central-1", "endpoint": "https://s3.example.org", "path": "a"}
    written = ROLE.value("__orthanc_database_json", orthanc_flavor=flavor, orthanc_database=database)
    libraries = [*PLUGINS, "OrthancPostgreSQLIndex"]
    assert configuration_errors(written, flavor, libraries) == []
    if flavor == "orthancteam":
        written = ROLE.value("__orthanc_bucket_json", orthanc_flavor=flavor, orthanc_object_storage=bucket)
        assert configuration_errors(written, flavor, [*PLUGINS, "OrthancAwsS3Storage"]) == []


def test_data_name_products_and_types_that_exist():
    for place, variants in DATA["options"].items():
        for variant in variants:
            assert variant["of"] in DATA["products"], place
            kinds = variant["type"] if isinstance(variant["type"], list) else [variant["type"]]
            assert set(kinds) <= {*TYPES, "any"}, place
            if variant.get("default") is not None:
                assert any(is_type(variant["default"], kind) for kind in kinds), place
                assert variant["default"] in variant.get("choices", [variant["default"]]), place
            assert set(variant.get("danger", {"when": 0, "why": 0, "instead": 0})) == {"when", "why", "instead"}
    for carried in DATA["flavors"].values():
        assert set(carried) <= set(DATA["products"])
    assert DATA["flavors"]["debian"]["Orthanc"] == "1.12.7"
    assert DATA["flavors"]["orthancteam"]["Orthanc"] == "1.13.0"
    assert ROLE.value("__orthanc_flavors").keys() == DATA["flavors"].keys()


def test_relations_name_options_that_exist_and_are_no_secrets():
    for relation in DATA["relations"]:
        for place in set(relation["when"]) - {"orthanc_allow_deletion", "RegisteredUsers"}:
            assert not any(variant.get("secret") for variant in DATA["options"][place]), place


# Read by hand from upstream's release notes and book: the generated data must agree.
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


def test_the_data_contain_no_code_of_upstream():
    text = build.TARGET.read_text(encoding="utf-8")
    assert not any(word in text for word in ("OrthancPlugins::", "LOG(", "#include", "copyright"))


# ---------------------------------------------------------------- keys that nothing reads, as people set them

IGNORED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"HttpServer": {"CorsEnabled": True, "CorsOrigins": "https://a https://b"}},
        "does not support CORS",
        "one origin",
    ),
    ({"CorsOrigins": ["*"]}, "does not support CORS", "one origin"),
    ({"HttpHeaders": {"Access-Control-Allow-Origin": "*"}}, "only inside OrthancPeers", "one origin"),
    ({"HttpHeaders": {"Access-Control-Allow-Origin": "a b c"}}, "more than one origin", "one origin"),
    ({"Access-Control-Allow-Origin": "*"}, "does not send this header", "one origin"),
    ({"LoadPlugins": ["/usr/share/orthanc/plugins"]}, "does not read it", "orthanc_plugins"),
    (
        {"ORTHANC__POSTGRESQL__ENABLESSL": True},
        "name of an environment variable",
        "remove it: connections are encrypted",
    ),
    ({"ORTHANC__AUTHENTICATIONENABLED": True}, "name of an environment variable", "always asks for credentials"),
    ({"ORTHANC__REGISTEREDUSERS__admin": "x"}, "name of an environment variable", "set orthanc_users"),
    ({"ORTHANC__STABLE_AGE": 3}, "name of an environment variable", "set orthanc_configuration.StableAge"),
    ({"DICOM_WEB_PLUGIN_ENABLED": True}, "name of an environment variable", "orthanc_plugins"),
    ({"VERBOSE_ENABLED": True}, "name of an environment variable", "remove it."),
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
        "orthanc_flavor debian does not have",
        "Set orthanc_flavor to orthancteam",
    ),
    ({"PythonScript": "/scripts/sample.py"}, "which is not loaded", "Add OrthancPython to orthanc_plugins"),
]


@pytest.mark.parametrize(("configuration", "reason", "remedy"), IGNORED, ids=lambda value: str(value)[:50])
def test_an_ignored_key_is_refused_with_reason_and_remedy(configuration, reason, remedy):
    error = check_one(configuration)
    assert reason in error
    assert remedy in error
    top = next(iter(configuration))
    assert f"orthanc_configuration.{top}" in error


def test_values_for_browsers_may_be_larger_and_empty():
    options_of_ui = {"DefaultLanguage": None, "StudyListSearchAsYouTypeDelay": 5000000000}
    assert check({"OrthancExplorer2": {"UiOptions": options_of_ui}}, "orthancteam", **EXPLORER) == []


EXPLORER: dict[str, Any] = {"orthanc_plugins": [*PLUGINS, "OrthancExplorer2", "OrthancAuthorization"]}


def test_an_ignored_key_of_a_plugin_is_refused_with_the_key_that_works():
    ui = check_one({"OrthancExplorer2": {"IsDefaultUI": True}}, "orthancteam", **EXPLORER)
    assert "set orthanc_configuration.OrthancExplorer2.IsDefaultOrthancUI" in ui
    token = check_one({"Authorization": {"TokenGetParameters": ["token"]}}, "orthancteam", **EXPLORER)
    assert "set orthanc_configuration.Authorization.TokenGetArguments" in token
    assert (
        check(
            {"OrthancExplorer2": {"IsDefaultOrthancUI": True, "UiOptions": {"EnableShares": True}}},
            "orthancteam",
            **EXPLORER,
        )
        == []
    )


def test_the_python_plugin_without_a_script_is_refused():
    error = check_one({}, orthanc_plugins=[*PLUGINS, "OrthancPython"])
    assert "the plugin OrthancPython would do nothing. Set PythonScript" in error
    assert check({"PythonScript": "/srv/x.py"}, orthanc_plugins=[*PLUGINS, "OrthancPython"]) == []


# ---------------------------------------------------------------- the kinds of errors

CASES: list[tuple[dict[Any, Any], str]] = [
    # unknown
    ({"StableAgee": 3}, "Did you mean StableAge? Then set orthanc_configuration.StableAge instead."),
    ({"stable_age": 3}, "Did you mean StableAge?"),
    ({"Dicom_Aet": "X"}, "Then set orthanc_aet instead."),
    ({"DicomWeb": {"StudyMetadata": "Full"}}, "Did you mean StudiesMetadata?"),
    (
        {"StudiesMetadata": "Full"},
        "It belongs to DicomWeb; set orthanc_configuration.DicomWeb.StudiesMetadata instead.",
    ),
    ({"EnableStorage": True}, "It belongs to PostgreSQL"),
    ({"DicomWeb": {"StableAge": 3}}, "It belongs to the top level; set orthanc_configuration.StableAge instead."),
    ({"Quux": 3}, "set orthanc_accepted_options: [Quux]"),
    ({3: 4}, "a key that is not a string. Set it in quotes."),
    ({"Warnings": {"W001": True}}, "orthanc_configuration.Warnings.W001"),
    # types
    (
        {"StableAge": "3"},
        'orthanc_configuration.StableAge is "3", which has the wrong type. Set it to an integer of 0 or more',
    ),
    ({"StableAge": -3}, "is -3, which has the wrong type"),
    ({"StableAge": True}, "is true, which has the wrong type"),
    ({"StableAge": None}, "is null, which has the wrong type"),
    ({"WebDavEnabled": "false"}, "wrong type. Set it to true or false (without quotes)."),
    ({"AcceptedSopClasses": "1.2.3"}, "Set it to a list of strings."),
    ({"AcceptedSopClasses": [1]}, "Set it to a list of strings."),
    ({"DicomWeb": "on"}, "not a dictionary"),
    ({"Dictionary": []}, "Set it to a dictionary."),
    ({"Warnings": {"W001_TagsBeingReadFromStorage": 0}}, "Set it to true or false."),
    ({"OverwriteInstances": "Never"}, "orthanc_configuration.OverwriteInstances is"),
    # values
    ({"MaximumPduLength": 4095}, "Set it to a number from 4096 to 131072."),
    ({"DicomLossyTranscodingQuality": 101}, "from 1 to 100"),
    ({"StorageAccessOnFind": "never"}, "Set it to one of Always, Never, Answers. Did you mean Never?"),
    ({"DefaultEncoding": "UTF-8"}, "Did you mean Utf8?"),
    ({"DicomWeb": {"SeriesMetadata": "All"}}, "Full, MainDicomTags, Extrapolate"),
    ({"JobsHistorySize": 0}, "from 1 to"),
    ({"StableAge": 5000000000}, "5000000000, which is larger than Orthanc can read. Set it to 2147483647 or less."),
    ({"MaximumStorageSize": 10**13, "MaximumStorageMode": "Reject"}, "Set it to 2147483647 or less."),
    ({"MaximumStorageCacheSize": -5}, "Set it to an integer of 0 or more."),
    ({"Gdcm": {"Throttling": 0}}, "Set it to a number from 1 to"),
    ({"MediaArchiveSize": 0}, "Set it to a number from 1 to"),
    ({"QueryRetrieveSize": 0}, "Set it to a number from 1 to"),
    ({"HttpRequestTimeout": 0}, "Set it to a number from 1 to"),
    (
        {"IngestTranscoding": "jpeg"},
        'IngestTranscoding is "jpeg", which is not a transfer syntax that Orthanc supports',
    ),
    ({"IngestTranscoding": ""}, "it would not start. Set it to a UID such as 1.2.840.10008.1.2.1, or remove it."),
    ({"IngestTranscoding": "1.2.840.10008.1.2.4.9"}, "Did you mean 1.2.840.10008.1.2.4.9"),
    ({"IngestTranscoding": "1.2.840.10008.1.2.4.201"}, "not a transfer syntax that Orthanc supports"),
    ({"DicomScuPreferredTransferSyntax": "foo"}, 'is "foo", which is not a transfer syntax'),
    # content
    (
        {"Dictionary": {"4d4d,0001": "oops"}},
        "Dictionary['4d4d,0001'] is \"oops\": it is not a list of two to five elements",
    ),
    (
        {"Dictionary": {"zz": ["LO", "A", 1, 1]}},
        "its key is not the number of a tag, and Orthanc would not start. Set a tag",
    ),
    ({"Dictionary": {"PatientName": ["PN", "PatientName", 1, 1]}}, "its key is not the number of a tag"),
    ({"Dictionary": {"0009,1001": ["LO", "A"]}}, "needs the minimum number of values"),
    ({"Dictionary": {"0009,1001": ["LL", "A", 1, 1]}}, "LL is not a value representation"),
    ({"Dictionary": {"0009,1001": ["OV", "A", 1, 1]}}, "OV is not a value representation"),
    ({"Dictionary": {"0009,1001": ["LO", "A", "1", 1]}}, "two strings, two integers and a string"),
    ({"Dictionary": {"0009,1001": ["LO", "A", 2, 1]}}, "the maximum must not be less"),
    ({"Dictionary": {"0009,1001": ["LO", "A", 0, 1]}}, "the minimum number of values must be 1 or more"),
    ({"Dictionary": {"0010,1001": ["LO", "A", 1, 1, "ME"]}}, "a tag with an odd group"),
    (
        {"ExtraMainDicomTags": {"Instance": ["0028;0010"]}},
        'ExtraMainDicomTags.Instance contains "0028;0010", which is not a keyword',
    ),
    ({"ExtraMainDicomTags": {"Instances": ["Rows"]}}, "Did you mean Instance?"),
    (
        {"ExtraMainDicomTags": {"Instance": ["Row"]}},
        'Instance contains "Row", which is not a keyword in Orthanc\'s DICOM dictionary: Orthanc would not start. Set '
        "it to a keyword such as Rows, or a number such as 0028,0010. Did you mean Rows?",
    ),
    ({"ExtraMainDicomTags": {"Instance": ["rows"]}}, "Did you mean Rows?"),
    ({"ExtraMainDicomTags": {"Study": ["StudyPriorityID"]}}, "Did you mean RETIRED_StudyPriorityID?"),
    (
        {"DicomWeb": {"SeriesMetadata": "Extrapolate", "SeriesMetadataExtrapolatedTags": ["BitAllocated"]}},
        "DICOMweb would return no metadata. Set it to a keyword",
    ),
    ({"UserMetadata": {"a": 4000, "b": 4000}}, "UserMetadata.b is 4000, and so is a: Orthanc would not start"),
    ({"UserMetadata": {"ReceptionDate": 4000}}, "UserMetadata.ReceptionDate has a name that Orthanc itself uses"),
    ({"UserMetadata": {"17": 4000}}, "has a number as its name"),
    ({"UserContentType": {"x": "foo"}}, "Set it to a number from 1024 to 65535, or to [number, MIME type]."),
    ({"UserContentType": {"x": [4000]}}, "or to [number, MIME type]"),
    ({"UserContentType": {"x": [4000, "a/b"], "y": 4000}}, "UserContentType.y is 4000, and so is x"),
    # names with dots
    ({"DicomWeb.StudiesMetadata": "Full"}, "would ignore silently. Set DicomWeb: {StudiesMetadata: …} instead."),
    ({"Gdcm.Throttling": 2}, "orthanc_configuration.Gdcm.Throttling has a dot in its name 'Gdcm.Throttling'"),
    ({"DicomWeb.Servers.other": {}}, "Set DicomWeb: {Servers: {other: …}} instead."),
    ({"Warnings.W001_TagsBeingReadFromStorage": True}, "has a dot in its name"),
    ({"DicomWeb.Foo": 1}, "has a dot in its name"),
    ({"DicomWeb": {"Servers.a": {}}}, "has a dot in its name"),
    ({"Quux.a": 3}, "set orthanc_accepted_options: [Quux.a]"),
    # versions
    ({"HttpBindAddresses": ["::1"]}, "needs Orthanc 1.12.10; orthanc_flavor debian has 1.12.7."),
    ({"HttpBindAddresses": ["::1"]}, "or set orthanc_flavor to orthancteam"),
    ({"DicomWeb": {"WadoRsLoaderThreadsCount": 4}}, "needs the plugin OrthancDicomWeb 1.21;"),
    ({"RejectedSopClasses": ["1.2.3"]}, "needs Orthanc 1.12.8"),  # documented since 1.12.6, misspelt in the sources
    ({"AllowFindSopClassesInStudy": True}, "is not read since Orthanc 1.5.1"),
    # plugins
    ({"Housekeeper": {"Enable": True}}, "Add Housekeeper to orthanc_plugins"),
    ({"PostgreSQL": {"Lock": False}}, "Set orthanc_database"),
    ({"Transfers": {"Threads": 4}}, "orthanc_flavor debian does not have"),
    # managed by the role
    (
        {"DicomWeb": {"Root": "/x/"}},
        "orthanc_configuration.DicomWeb.Root is managed by the role. Set orthanc_dicomweb_root instead.",
    ),
    ({"RemoteAccessAllowed": True}, "is managed by the role. Remove it: the container's port"),
    # contradictions
    ({"MaximumPatientCount": 10, "MaximumStorageMode": "Recycle"}, "would delete the oldest patients"),
    ({"MaximumStorageSize": 10, "MaximumStorageMode": "Recycle"}, "set orthanc_allow_deletion to true"),
    ({"DicomTlsEnabled": True}, "DICOM with TLS is the reverse proxy's (pacs_dicom_tls_networks)"),
    ({"SslVerifyPeers": True}, "TLS is the reverse proxy's"),
    ({"JpegTransferSyntaxAccepted": False}, "Set orthanc_accepted_transfer_syntaxes instead"),
    ({"DicomTlsMinimumProtocolVersion": 5}, "DicomTlsCiphersAccepted"),
    ({"WebDavUploadAllowed": True}, "WebDavEnabled is false: WebDavUploadAllowed has no effect"),
    ({"KeepAlive": False, "KeepAliveTimeout": 5}, "KeepAlive is false"),
    (
        {"DicomWeb": {"SeriesMetadata": "Extrapolate"}},
        "Set SeriesMetadataExtrapolatedTags, or set SeriesMetadata to another mode.",
    ),
    ({"DicomWeb": {"StudiesMetadata": "Extrapolate"}}, "the same as with MainDicomTags"),
    ({"DicomCheckModalityHost": True}, "the reverse proxy hides the callers' addresses"),
    ({"IngestTranscodingOfCompressed": False}, "IngestTranscodingOfCompressed has no effect"),
    # substitutions
    ({"DefaultPrivateCreator": "${CREATOR}"}, "orthanc_configuration.DefaultPrivateCreator contains '${'"),
    ({"Locale": "a${B:-c}"}, "contains '${'"),
]


@pytest.mark.parametrize(("configuration", "message"), CASES, ids=lambda value: str(value)[:60])
def test_what_cannot_work_is_refused_with_place_and_remedy(configuration, message):
    error = check_one(configuration)
    assert message in error
    assert "orthanc_configuration." in error
    assert any(word in error for word in ("Set ", "set ", "emove ", "Add "))


# Valid neighbours of what is refused.
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
def test_valid_neighbours_are_accepted(configuration):
    assert check(configuration) == []


SERVER = {"AET": "TENANT", "Port": 4343, "Labels": ["a"]}
# Plugin, its section, part of the only error.
OF_PLUGINS: list[tuple[str, dict[str, Any], str]] = [
    ("Housekeeper", {"Housekeeper": {"Enable": True, "Schedule": {"Mondy": ["0-6"]}}}, "Did you mean Monday?"),
    (
        "Housekeeper",
        {"Housekeeper": {"Enable": True, "Schedule": {"Monday": ["nachts"]}}},
        "Set it to hours such as 0-6",
    ),
    ("Housekeeper", {"Housekeeper": {"Enable": True, "Schedule": {"Monday": ["20-6"]}}}, "Schedule.Monday contains"),
    (
        "MultitenantDicom",
        {"MultitenantDicom": {"Servers": [SERVER, {**SERVER, "AETT": 5}]}},
        "Servers[1].AETT is not an option of a tenant",
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
        "Set Worklists.Database to the directory",
    ),
    ("ServeFolders", {"ServeFolders": {"/x": "/etc"}}, "can read /etc/orthanc"),
    ("ServeFolders", {"ServeFolders": {"/x": "/etc/../etc/orthanc/"}}, "orthanc_accepted_options: [ServeFolders./x]"),
    ("ServeFolders", {"ServeFolders": {"Folders": {"/x": "/"}}}, "orthanc_accepted_options: [ServeFolders.Folders./x]"),
    ("ServeFolders", {"ServeFolders": {"/x": "/proc/1"}}, "can read /proc"),
]


@pytest.mark.parametrize(("plugin", "configuration", "message"), OF_PLUGINS, ids=lambda value: str(value)[:60])
def test_what_plugins_refuse_is_refused_before(plugin, configuration, message):
    error = check_one(configuration, orthanc_plugins=[*PLUGINS, plugin])
    assert message in error
    assert "orthanc_configuration." in error
    assert any(word in error for word in ("Set ", "set ", "Remove "))


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
def test_what_plugins_accept_is_accepted(plugin, configuration):
    assert check(configuration, orthanc_plugins=[*PLUGINS, plugin]) == []


def test_a_directory_with_passwords_needs_an_explicit_acknowledgement():
    served: dict[str, Any] = {"orthanc_plugins": [*PLUGINS, "ServeFolders"]}
    assert check({"ServeFolders": {"/x": "/etc"}}, **served, orthanc_accepted_options=["ServeFolders./x"]) == []


WORKLISTS: list[tuple[dict[str, Any], str]] = [
    ({}, "Set Worklists.Directory to the directory"),
    ({"Directory": "/srv/w", "SaveInOrthancDatabase": True}, "would not start. Remove one of them."),
    ({"Directory": "/srv/w", "DeleteWorklistsDelay": 3}, "the delay works with SaveInOrthancDatabase only"),
]


def test_worklists_of_the_newer_plugin():
    plugins = [*PLUGINS, "OrthancWorklists"]
    for more, message in WORKLISTS:
        assert message in check_one({"Worklists": {"Enable": True, **more}}, "orthancteam", orthanc_plugins=plugins)
    for more in ({"Directory": "/srv/w"}, {"SaveInOrthancDatabase": True, "DeleteWorklistsDelay": 3}):
        assert check({"Worklists": {"Enable": True, **more}}, "orthancteam", orthanc_plugins=plugins) == []


def test_unreachable_addresses_of_the_container_are_refused():
    for addresses in (["127.0.0.1"], ["::1", "127.0.0.1"]):
        assert "nobody could reach Orthanc" in check_one({"HttpBindAddresses": addresses}, "orthancteam")
    assert "health check" in check_one({"HttpBindAddresses": ["172.30.255.250"]}, "orthancteam")
    for addresses in (["0.0.0.0"], ["172.30.255.250", "127.0.0.1"], []):  # noqa: S104 - nothing listens
        assert check({"HttpBindAddresses": addresses}, "orthancteam") == []


def test_each_version_has_its_dictionary():
    older: dict[str, Any] = {"ExtraMainDicomTags": {"Instance": ["EthnicGroup"]}}
    newer: dict[str, Any] = {"ExtraMainDicomTags": {"Instance": ["WaveDimensionNumber"]}}
    assert "is not a keyword" in check_one(older, "orthancteam")
    assert "is not a keyword" in check_one(newer, "debian")
    assert check(older, "debian") == check(newer, "orthancteam") == []


def test_representations_of_newer_versions():
    entry = {"Dictionary": {"0009,1001": ["OV", "A", 1, 1]}}
    assert check(entry, "orthancteam") == []


NEWER: list[tuple[dict[str, Any], str]] = [
    ({"OverwriteInstances": "IfChanged", "StoreMD5ForAttachments": False}, "would not start"),
    ({"CheckRevisions": True, "StoreMD5ForAttachments": False}, "would not start"),
    ({"PatientLevelEnabled": False, "MaximumPatientCount": 3}, "would not start"),
    ({"DefaultRetrieveMethod": "C-GET"}, "Did you mean DicomDefaultRetrieveMethod?"),
]


@pytest.mark.parametrize(("configuration", "message"), NEWER, ids=str)
def test_newer_versions_have_rules_of_their_own(configuration, message):
    accepted = ["OverwriteInstances", "StoreMD5ForAttachments"]
    assert message in check_one(configuration, "orthancteam", orthanc_accepted_options=accepted)


def test_the_variants_of_an_option_are_distinguished():
    accepted: dict[str, Any] = {"orthanc_accepted_options": ["OverwriteInstances"]}
    assert check({"OverwriteInstances": True}, **accepted) == []
    assert "true or false" in check_one({"OverwriteInstances": "Always"}, **accepted)
    assert check({"OverwriteInstances": "IfChanged"}, "orthancteam", **accepted) == []
    assert check({"OverwriteInstances": False}, "orthancteam") == []
    assert "Never, Always, IfChanged" in check_one({"OverwriteInstances": "always"}, "orthancteam", **accepted)


DANGERS = sorted(
    (place, variant["of"], variant["danger"]["when"])
    for place, variants in DATA["options"].items()
    for variant in variants[-1:]
    if "danger" in variant
)


def test_known_dangers_are_in_the_data():
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
def test_a_danger_needs_an_explicit_acknowledgement(place, product, when):
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
    refused = configuration_errors(configuration, "orthancteam", libraries, merged=merged)
    assert len(refused) == 1
    assert "which is dangerous:" in refused[0]
    assert f"set orthanc_accepted_options: [{place}]" in refused[0]
    assert configuration_errors(configuration, "orthancteam", libraries, merged=merged, accepted=[place]) == []


def test_deletion_needs_an_explicit_acknowledgement():
    limits = {"MaximumPatientCount": 1000, "MaximumStorageMode": "Recycle"}
    assert "orthanc_allow_deletion" in check_one(limits)
    assert check(limits, orthanc_allow_deletion=True) == []
    # The role's own default refuses new images instead of deleting old ones.
    assert check({"MaximumPatientCount": 1000}) == []
    # Without the role's default Orthanc's own counts.
    assert "MaximumStorageMode is not set" in configuration_errors({"MaximumPatientCount": 1000}, "debian", PLUGINS)[0]


def test_remote_access_needs_a_login():
    # The role manages both; the filter alone must report them too.
    open_door = {"RemoteAccessAllowed": True, "AuthenticationEnabled": False}
    assert "can read and delete everything" in configuration_errors(open_door, "debian", PLUGINS)[0]
    known_door = {"RemoteAccessAllowed": True, "RegisteredUsers": {}}
    assert "has the user orthanc with the password orthanc" in configuration_errors(known_door, "debian", PLUGINS)[0]
    assert len(check(open_door)) == 2
    assert all("is managed by the role" in error for error in check(open_door))


def test_acknowledging_what_is_not_dangerous_is_refused():
    assert "is not dangerous" in check_one({}, orthanc_accepted_options=["StableAge"])
    assert "Did you mean ExecuteLuaEnabled?" in check_one({}, orthanc_accepted_options=["ExecuteLuaEnable"])


def test_accepting_a_whole_section_is_refused():
    """It would hide every misspelling in it."""
    misspelt, error = check({"DicomWeb": {"StudyMetadata": "x"}}, orthanc_accepted_options=["DicomWeb"])
    assert "Did you mean StudiesMetadata?" in misspelt
    assert "orthanc_accepted_options contains DicomWeb, a whole section" in error
    assert "Set an option instead" in error
    assert "Did you mean orthanc_log_level?" in check_one({}, orthanc_accepted_options=["orthanc_loglevel"])
    assert "contains Warnings, which is not dangerous" in check_one({}, orthanc_accepted_options=["Warnings"])
    assert check({"DicomWeb": {"Mine": "x"}}, orthanc_accepted_options=["DicomWeb.Mine"]) == []


VERSIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"Orthank": "1.10.0"},
        "orthanc_versions contains Orthank, which is neither Orthanc nor listed in orthanc_plugins",
    ),
    ({"Orthank": "1.10.0"}, "Did you mean Orthanc?"),
    ({"orthancdicomweb": "1.10"}, "Did you mean OrthancDicomWeb?"),
    ({"Mine": "1.10"}, "Correct the name, or remove it."),
    (
        {"Orthanc": "newest"},
        'orthanc_versions.Orthanc is "newest", which is not a valid version. Set it to a number in quotes',
    ),
    ({"Orthanc": ""}, "not a valid version"),
    ({"OrthancDicomWeb": "v1.20"}, "not a valid version"),
]


@pytest.mark.parametrize(("versions", "message"), VERSIONS, ids=str)
def test_invalid_versions_and_unknown_names_are_refused(versions, message):
    assert message in check_one({}, orthanc_versions=versions)


def test_versions_in_upstreams_notation_are_accepted():
    versions = {
        "Orthanc": "mainline-1234",
        "OrthancDicomWeb": "1.22",
        "OrthancGdcm": 1.8,
        "OrthancPython": "d4a8203b3390",
    }
    assert check({}, orthanc_versions=versions) == []
    assert check({}, orthanc_versions={"Orthanc": "1.12.10-2", "DicomWeb": "1.22"}) == []


def test_a_custom_plugin():
    plugins = [*PLUGINS, "MyPlugin"]
    assert "which is not a plugin of orthanc_flavor debian" in check_one({}, orthanc_plugins=plugins)
    mine: dict[str, Any] = {"orthanc_plugins": plugins, "orthanc_versions": {"MyPlugin": "1.0"}}
    assert check({}, **mine) == []
    assert "[MyPlugin]" in check_one({"MyPlugin": {"Key": 1}}, **mine)
    assert check({"MyPlugin": {"Key": 1}}, **mine, orthanc_accepted_options=["MyPlugin"]) == []


PLUGIN_CASES = [
    ("OrthancExplorer2", "Orthanc would not start. Remove it, or set orthanc_flavor to orthancteam."),
    ("DicomWeb", "Did you mean OrthancDicomWeb?"),
    ("../x", "not a valid name of a library"),
    ("OrthancGdcm", "orthanc_plugins contains OrthancGdcm more than once: Orthanc would not start. List it once."),
]


@pytest.mark.parametrize(("plugin", "message"), PLUGIN_CASES)
def test_unknown_plugins_are_refused(plugin, message):
    assert message in check_one({}, orthanc_plugins=[*PLUGINS, plugin])


STORES = [
    (
        {"orthanc_plugins": [*PLUGINS, "OrthancMySQLIndex"]},
        "orthanc_plugins contains OrthancMySQLIndex: an Orthanc with",
    ),
    (
        {"orthanc_plugins": [*PLUGINS, "OrthancOdbcStorage"]},
        "Remove it: the index is in SQLite or, with orthanc_database",
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
def test_unsupported_stores_are_refused(answers, message):
    # Any file serves as a certificate here: only the errors about plugins count.
    errors = check({}, "orthancteam", **answers)
    assert [one for one in errors if message in one], errors
    assert all("orthanc_plugins" in one or "orthanc_database.ca" in one for one in errors)


def test_stores_that_keep_old_images_readable_are_accepted():
    azure = {"AzureBlobStorage": {"HybridMode": "WriteToObjectStorage"}}
    assert check(azure, "orthancteam", orthanc_plugins=[*PLUGINS, "OrthancAzureBlobStorage"]) == []
    advanced = {"AdvancedStorage": {"Enable": True}}
    assert check(advanced, "orthancteam", orthanc_plugins=[*PLUGINS, "AdvancedStorage"]) == []


def test_ignored_keys_of_the_database_and_the_bucket():
    """Their plugins are loaded by variables of the role."""
    database = {"host": "db", "database": "orthanc", "user": "orthanc", "password": "x" * 20, "ca": "/ca.pem"}
    bucket = {"bucket": "images", "region": "eu-central-1"}
    answers: dict[str, Any] = {"orthanc_database": database, "orthanc_object_storage": bucket}
    dead = check_one({"PostgreSQL": {"PrepareIndex": False}}, "orthancteam", **answers)
    assert "orthanc_configuration.PostgreSQL.PrepareIndex does nothing: the plugin does not read it" in dead
    assert "prepares its database by itself" in dead
    dead = check_one({"AwsS3Storage": {"MigrationFromFileSystemEnabled": True}}, "orthancteam", **answers)
    assert "does too little: HybridMode replaced it" in dead
    assert "set orthanc_configuration.AwsS3Storage.HybridMode" in dead
    schema = check_one({"PostgreSQL": {"Schema": "pacs"}}, "orthancteam", **answers)
    assert "the schema check and the migration read the schema public" in schema


def test_the_versions_of_a_custom_image_count():
    newer: dict[str, Any] = {"orthanc_versions": {"Orthanc": "1.12.10", "OrthancDicomWeb": "1.21"}}
    assert (
        check(
            {"HttpBindAddresses": ["127.0.0.1", "172.30.255.250"], "DicomWeb": {"WadoRsLoaderThreadsCount": 2}}, **newer
        )
        == []
    )
    older = check_one({"ReadOnly": True}, "orthancteam", orthanc_versions={"Orthanc": "1.10.1"})
    assert "needs Orthanc 1.12.5; orthanc_versions has 1.10.1" in older


def test_all_errors_are_reported_at_once():
    wrong = {
        "StableAgee": 1,
        "KeepAlive": "yes",
        "LoadPlugins": [],
        "ExecuteLuaEnabled": True,
        "Name": "x",
        "Locale": "${X}",
    }
    assert len(check(wrong, orthanc_aet="")) == 7


def test_no_error_shows_a_secret():
    secret = "Hush7Hush7Hush7"
    peers = {
        "OrthancPeers": {"a": {"Url": 3, "Password": [secret], "HttpHeaders": secret}},
        "DicomWeb": {"Servers": {"b": {"Password": {"x": secret}, "Urrl": 1}}},
        "AwsS3Storage": {"SecretKey": [secret]},
        "PostgreSQL": {"ConnectionUri": [secret], "Password": [secret]},
        "Pkcs11": {"Pin": [secret]},
    }
    libraries = [*PLUGINS, "OrthancAwsS3Storage", "OrthancPostgreSQLIndex"]
    errors = configuration_errors(peers, "orthancteam", libraries)
    assert len(errors) == 9
    assert not any(secret in error for error in errors)
    assert any(
        "DicomWeb.Servers.b.Urrl is not an option of" in error and "Did you mean Url?" in error for error in errors
    )


def test_valid_configurations_have_no_errors():
    assert check({"StableAge": 10, "Warnings": {"W003_DecoderFailure": False}, "DicomWeb": {"EnableWado": False}}) == []
    assert check({"IngestTranscoding": "1.2.840.10008.1.2.4.90", "UserMetadata": {"mine": 4000}}) == []
    assert check({"ExtraMainDicomTags": {"Instance": ["Rows"]}, "Gdcm": {"Throttling": 2}}) == []
    assert (
        check(
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
    """All other errors are reported, whatever the value."""
    libraries = [*PLUGINS, "Housekeeper", "ModalityWorklists", "MultitenantDicom", "ServeFolders"]
    forms = [
        value,
        {"Schedule": {"Monday": value}, "Servers": [value], "Folders": value, "Enable": value, "x": [value]},
    ]
    for place in SHAPED:
        for form in forms:
            errors = configuration_errors({place: form, "Quux": 1}, "debian", libraries)
            assert any("orthanc_configuration.Quux" in error for error in errors)
    assert configuration_errors({"Quux": 1}, "debian", [value, value], versions={"Orthanc": value}, syntaxes=[value])
    assert configuration_errors({"Quux": 1}, "debian", PLUGINS, accepted=[value], syntaxes=value)


def test_the_check_takes_milliseconds():
    written = ROLE.value("__orthanc_json", orthanc_flavor="debian") | {
        f"StableAge{index}": index for index in range(50)
    }
    configuration_errors({}, "debian", PLUGINS)
    start = time.monotonic()
    assert len(configuration_errors(written, "debian", PLUGINS)) == 50
    assert time.monotonic() - start < 1


# ---------------------------------------------------------------- the generator

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
    read = upstream.read_calls(SOURCES, {"Name": "Sub.Name"})
    assert read == {
        "Fast": {"types": {"bool"}, "default": True},
        "ThreadsCount": {"types": {"uint"}, "default": 4},
        "Sub.Name": {"types": {"str"}},
        "Paths": {"types": {"strings"}},
    }


def test_documented_options_are_read_with_what_is_commented_out():
    read = upstream.read_document(DOCUMENT, None)
    assert read["Fast"] == {"type": "bool", "default": True, "since": "1.2.3"}
    assert read["Section.Deep"]["default"] == 3
    assert read["Paths"] == {"commented": True}
    assert "Nested" in read
    assert "Inner" not in read
    assert "since" not in read["Name"]


def test_words_are_found_in_binaries_even_in_pieces():
    assert build.is_in_binary("StableAge", b"..StableAge..")
    assert build.is_in_binary("MaximumPatientCount", b"MaximumP\x00\x48atientCo\x00unt")
    assert not build.is_in_binary("MaximumPatientCount", b"MaximumStorageSize")
