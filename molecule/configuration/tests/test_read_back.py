"""An archive that runs, but not as it was asked for, fails the play with the reason and what to do."""

from __future__ import annotations

import json

import pytest

from tests.support.lab import address, run_roles

testinfra_hosts = [address("configuration")]


def play(**answers):
    """Run the role with other answers, and return what it said as one line."""
    run = run_roles(["postgresql", "orthanc"], "-e", json.dumps(answers))
    return run.returncode, " ".join((run.stdout + run.stderr).split())


@pytest.fixture(scope="module", autouse=True)
def _right_again():
    """Whatever a test left, the inventory's own answers bring the archive back."""
    yield
    code, said = play()
    assert code == 0, said[-3000:]


def test_the_archive_runs_with_what_was_written(host):
    with host.sudo():
        written = json.loads(host.file("/opt/lightbox/orthanc/configuration/orthanc.json").content_string)
        assert written["StableAge"] == 20
        assert written["DicomWeb"]["MetadataWorkerThreadsCount"] == 2


def test_a_run_that_changes_nothing_compares_too():
    code, said = play()
    assert code == 0
    assert "Read what the archive says of itself" in said
    assert "changed=0" in said


def test_a_disk_that_is_not_mounted_stops_the_run(host):
    storage = "/var/lib/lightbox/orthanc"
    with host.sudo():
        host.check_output(f"docker stop lightbox-orthanc && mv {storage} {storage}.elsewhere && install -d {storage}")
        try:
            code, said = play()
            assert host.check_output(f"ls -A {storage}") == ""
        finally:
            host.check_output(f"rmdir {storage} && mv {storage}.elsewhere {storage} && docker start lightbox-orthanc")
    assert code != 0
    assert f"orthanc_storage_directory ({storage}) is empty, but this archive has run before" in said
    assert "changed=0" in said


def test_an_option_that_the_archive_would_ignore_is_refused_before_anything_changes(host):
    code, said = play(orthanc_configuration={"StableAgee": 20, "HttpBindAddresses": ["127.0.0.1"]})
    assert code != 0
    assert "Did you mean StableAge?" in said
    assert "needs Orthanc 1.12.10" in said
    assert "changed=0" in said


def test_a_plugin_that_the_image_does_not_have_is_told():
    plugins = ["OrthancDicomWeb", "OrthancGdcm", "OrthancExplorer2"]
    versions = {"OrthancExplorer2": "1.14.1"}
    code, said = play(orthanc_plugins=plugins, orthanc_versions=versions, orthanc_start_seconds=20)
    assert code != 0
    assert "orthanc_plugins contains OrthancExplorer2, which is not in Orthanc's image" in said


def test_an_index_that_fell_back_to_sqlite_fails_the_play():
    # As if the plugin were loaded and its section did not reach it: no variable of the role can say that.
    code, said = play(__orthanc_plugins=["OrthancDicomWeb", "OrthancGdcm", "OrthancPostgreSQLIndex"])
    assert code != 0
    assert "fell back to SQLite" in said
    assert "Set orthanc_database" in said
    assert "Refuse an archive that is not the one that was asked for" in said
