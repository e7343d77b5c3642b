"""What is read back after a start: plugins, database, storage, values, versions, and what the log means."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_report import differences, log_findings

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


def told(what: dict[str, Any], plugins: list[str] | None = None, **more: Any) -> list[str]:
    return differences(what, "debian", plugins or PLUGINS, written=WRITTEN, **more)


def test_the_archive_that_was_asked_for_has_no_differences():
    assert told(info(DICOM_WEB, GDCM)) == []
    assert (
        told(info(DICOM_WEB, GDCM, INDEX, database_backend_plugin="/x.so"), [*PLUGINS, "OrthancPostgreSQLIndex"]) == []
    )
    # A plugin of one's own: whatever its name, it is there.
    own = {"id": "mine", "version": "1", "description": ""}
    assert told(info(DICOM_WEB, GDCM, own), [*PLUGINS, "MyPlugin"], versions={"MyPlugin": "1"}) == []


def test_a_plugin_that_did_not_load_is_told():
    (finding,) = told(info(DICOM_WEB))
    assert "orthanc_plugins asks for OrthancGdcm, but the archive did not load it" in finding
    assert "docker logs" in finding


@pytest.mark.parametrize("mine", [["MyPlugin"], ["StoneWebViewer", "OrthancWSI"]])
def test_plugins_whose_names_are_not_known_are_counted(mine):
    there = [{"id": f"name{number}", "version": "1", "description": ""} for number in range(len(mine) - 1)]
    explorer = {"id": "explorer.js", "version": "", "description": ""}
    (finding,) = told(info(DICOM_WEB, GDCM, explorer, *there), [*PLUGINS, *mine])
    assert f"asks for {', '.join(mine)}, but the archive loaded only {len(there)} of {len(mine)}" in finding


def test_what_the_log_says_is_a_difference_by_itself_unless_it_has_passed():
    lines = [line for line, _meaning in LINES]
    found = told(info(DICOM_WEB, GDCM), log=lines)
    assert any("OrthancExplorer2, which is not in the archive's image" in finding for finding in found)
    assert not any("does not reach its database" in finding for finding in found)
    assert any("does not reach its database" in finding for finding in log_findings(lines))


def test_an_index_that_fell_back_to_sqlite_is_told_with_the_reason_of_the_log():
    line = "W1121 04:10:56.3 MAIN PluginsManager.cpp:158] No available configuration for the PostgreSQL index plugin"
    found = told(info(DICOM_WEB, GDCM, INDEX), [*PLUGINS, "OrthancPostgreSQLIndex"], log=[line])
    assert "fell back to SQLite" in found[0]
    assert "Set orthanc_database" in found[1]


def test_images_that_go_to_the_disk_instead_of_the_bucket_are_told():
    bucket = {"id": "AWS S3 Storage", "version": "2.5.4", "description": ""}
    (finding,) = told(info(DICOM_WEB, GDCM, bucket), [*PLUGINS, "OrthancAwsS3Storage"])
    assert "keeps them on its disk" in finding


def test_another_value_than_the_written_one_is_told():
    (finding,) = told(info(DICOM_WEB, GDCM, maximum_storage_mode="Recycle"))
    assert 'MaximumStorageMode was written as "Reject", but the archive runs with "Recycle"' in finding
    (finding,) = told(info(DICOM_WEB, GDCM, dicom_aet="OTHER"))
    assert "Another one may answer" in finding


def test_another_version_is_told_where_an_option_depends_on_it():
    older = info(DICOM_WEB, GDCM, version="1.10.1")
    assert told(older, configuration={"StableAge": 30}) == []
    (finding,) = told(older, configuration={"ReadOnly": True})
    assert "orthanc_configuration.ReadOnly needs Orthanc 1.12.5; the archive that runs is 1.10.1" in finding


def test_an_archive_that_says_nothing_is_told():
    assert "docker logs" in told({"system": None, "plugins": None})[0]


# Lines that Orthanc 1.12.7 wrote when it was started so.
LINES = [
    (
        "E MAIN OrthancException.cpp:62] Error while using a shared library (plugin): Inexistent path to plugin: "
        "/usr/share/orthanc/plugins/libOrthancExplorer2.so",
        "orthanc_plugins asks for OrthancExplorer2, which is not in the archive's image",
    ),
    (
        'E UNSTABLE-MON OrthancException.cpp:62] Bad type for a parameter: The configuration option "StableAge" must '
        "be an integer",
        "orthanc_configuration.StableAge must be an integer",
    ),
    (
        "E MAIN PluginsManager.cpp:92] Error while initializing plugin /usr/share/orthanc/plugins/libOrthancPython.so "
        "(code -1)",
        "The plugin OrthancPython could not start",
    ),
    (
        "E MAIN main.cpp:2159] Uncaught exception, stopping now: [The database is currently not available (probably a "
        "transient situation)] (code 36)",
        "does not reach its database",
    ),
    (
        'E MAIN OrthancException.cpp:62] Bad file format: The configuration section "Name" is defined in 2 different '
        "configuration files",
        "Name stands in two files",
    ),
]


@pytest.mark.parametrize(("line", "meaning"), LINES, ids=lambda value: str(value)[:40])
def test_what_the_log_says_is_told_with_what_to_do(line, meaning):
    found = log_findings(["W MAIN main.cpp:2102] Orthanc version: 1.12.7", line, line])
    assert len(found) == 1
    assert meaning in found[0]


def test_a_log_without_errors_means_nothing():
    assert log_findings(["W MAIN main.cpp:946] Orthanc has started"]) == []
