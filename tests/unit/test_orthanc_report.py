"""The check after a start: plugins, database, storage, values, versions, and errors in the log."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_report import differences, log_errors

PLUGINS = ["OrthancDicomWeb", "OrthancGdcm"]
SYSTEM = {
    "version": "1.12.7",
    "api_version": 27,
    "name": "lightbox",
    "dicom_aet": "LIGHTBOX",
    "http_port": 8042,
    "database_backend_plugin": None,
    "storage_area_plugin": None,
    "maximum_storage_mode": "Reject",
    "overwrite_instances": False,
}
DICOM_WEB = {"id": "dicom-web", "version": "1.20", "description": ""}
GDCM = {"id": "gdcm", "version": "1.8", "description": ""}
INDEX = {"id": "postgresql-index", "version": "5.0", "description": ""}
WRITTEN = {"Name": "lightbox", "DicomAet": "LIGHTBOX", "MaximumStorageMode": "Reject", "StableAge": 60}


def info(*plugins: dict[str, str], **system: Any) -> dict[str, Any]:
    return {"system": SYSTEM | system, "plugins": list(plugins)}


def compare(information: dict[str, Any], plugins: list[str] | None = None, **more: Any) -> list[str]:
    return differences(information, "debian", plugins or PLUGINS, **{"written": WRITTEN} | more)


def test_a_matching_server_has_no_differences():
    assert compare(info(DICOM_WEB, GDCM)) == []
    assert (
        compare(info(DICOM_WEB, GDCM, INDEX, database_backend_plugin="/x.so"), [*PLUGINS, "OrthancPostgreSQLIndex"])
        == []
    )
    # A custom plugin may have any name.
    own = {"id": "mine", "version": "1", "description": ""}
    assert compare(info(DICOM_WEB, GDCM, own), [*PLUGINS, "MyPlugin"], versions={"MyPlugin": "1"}) == []


def test_a_plugin_that_did_not_load_is_reported():
    (error,) = compare(info(DICOM_WEB))
    assert "orthanc_plugins contains OrthancGdcm, but Orthanc did not load it" in error
    assert "docker logs" in error


@pytest.mark.parametrize("mine", [["MyPlugin"], ["StoneWebViewer", "OrthancWSI"]])
def test_plugins_without_a_listed_identifier_are_counted(mine):
    there = [{"id": f"name{number}", "version": "1", "description": ""} for number in range(len(mine) - 1)]
    explorer = {"id": "explorer.js", "version": "", "description": ""}
    (error,) = compare(info(DICOM_WEB, GDCM, explorer, *there), [*PLUGINS, *mine])
    assert f"contains {', '.join(mine)}, but Orthanc loaded only {len(there)} of {len(mine)}" in error


def test_errors_in_the_log_are_differences_unless_they_are_over():
    lines = [line for line, _meaning in LINES]
    found = compare(info(DICOM_WEB, GDCM), log=lines)
    assert any("OrthancExplorer2, which is not in Orthanc's image" in error for error in found)
    assert not any("cannot connect to its database" in error for error in found)
    assert any("cannot connect to its database" in error for error in log_errors(lines))


def test_an_index_that_fell_back_to_sqlite_is_reported_with_the_reason_of_the_log():
    line = "W1121 04:10:56.3 MAIN PluginsManager.cpp:158] No available configuration for the PostgreSQL index plugin"
    found = compare(info(DICOM_WEB, GDCM, INDEX), [*PLUGINS, "OrthancPostgreSQLIndex"], log=[line])
    assert "fell back to SQLite" in found[0]
    assert "Set orthanc_database" in found[1]


def test_images_on_the_disk_instead_of_the_bucket_are_reported():
    bucket = {"id": "AWS S3 Storage", "version": "2.5.4", "description": ""}
    (error,) = compare(info(DICOM_WEB, GDCM, bucket), [*PLUGINS, "OrthancAwsS3Storage"])
    assert "keeps the images on its disk" in error


def test_a_value_other_than_written_is_reported():
    (error,) = compare(info(DICOM_WEB, GDCM, maximum_storage_mode="Recycle"))
    assert 'MaximumStorageMode was written as "Reject", but Orthanc runs with "Recycle"' in error
    (error,) = compare(info(DICOM_WEB, GDCM, dicom_aet="OTHER"))
    assert "Another server may answer" in error


def test_of_an_object_orthanc_may_report_more():
    # Orthanc 1.12.7 lists each entry of UserMetadata under its number, too.
    actual = {"my-metadata": 1098, "1098": 1098}
    server = info(DICOM_WEB, GDCM, user_metadata=actual)
    assert compare(server, written={"UserMetadata": {"my-metadata": 1098}}) == []
    assert compare(server, written={"UserMetadata": {}}) == []
    for other in ({"my-metadata": 1099}, {"other": 1098}, {"my-metadata": 1098, "other": 1100}):
        (error,) = compare(server, written={"UserMetadata": other})
        assert "UserMetadata was written as" in error


def test_another_version_is_reported_where_an_option_depends_on_it():
    older = info(DICOM_WEB, GDCM, version="1.10.1")
    assert compare(older, configuration={"StableAge": 30}) == []
    (error,) = compare(older, configuration={"ReadOnly": True})
    assert "orthanc_configuration.ReadOnly needs Orthanc 1.12.5; the server has 1.10.1" in error


def test_missing_information_is_reported():
    assert "docker logs" in compare({"system": None, "plugins": None})[0]


# Lines that Orthanc 1.12.7 logged.
LINES = [
    (
        "E MAIN OrthancException.cpp:62] Error while using a shared library (plugin): Inexistent path to plugin: "
        "/usr/share/orthanc/plugins/libOrthancExplorer2.so",
        "orthanc_plugins contains OrthancExplorer2, which is not in Orthanc's image",
    ),
    (
        'E UNSTABLE-MON OrthancException.cpp:62] Bad type for a parameter: The configuration option "StableAge" must '
        "be an integer",
        "orthanc_configuration.StableAge has the wrong type. Set it to an integer",
    ),
    (
        "E MAIN PluginsManager.cpp:92] Error while initializing plugin /usr/share/orthanc/plugins/libOrthancPython.so "
        "(code -1)",
        "The plugin OrthancPython could not start",
    ),
    (
        "E MAIN main.cpp:2159] Uncaught exception, stopping now: [The database is currently not available (probably a "
        "transient situation)] (code 36)",
        "cannot connect to its database",
    ),
    (
        'E MAIN OrthancException.cpp:62] Bad file format: The configuration section "Name" is defined in 2 different '
        "configuration files",
        "Name is set in two files",
    ),
]


@pytest.mark.parametrize(("line", "meaning"), LINES, ids=lambda value: str(value)[:40])
def test_errors_in_the_log_are_reported_with_what_to_do(line, meaning):
    found = log_errors(["W MAIN main.cpp:2102] Orthanc version: 1.12.7", line, line])
    assert len(found) == 1
    assert meaning in found[0]


def test_a_log_without_errors_has_none():
    assert log_errors(["W MAIN main.cpp:946] Orthanc has started"]) == []
