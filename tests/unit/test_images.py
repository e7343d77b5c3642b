"""The lab's images are built again when what they are made from changes, and only then. Docker is a script here."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from tests.support.project import PROJECT

DOCKER = """#!/bin/sh
echo "$*" >>"$CALLS"
[ "$1" != save ] || echo image
"""
SOURCES = ["molecule/shared/images", "roles/orthanc/files/debian"]
ARCHIVE = "roles/orthanc/files/debian"


@pytest.fixture
def build(tmp_path: pathlib.Path):
    """Run the script in a copy; return the name of the archive's file and what Docker built."""
    for source in SOURCES:
        shutil.copytree(PROJECT / source, tmp_path / source)
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    calls = tmp_path / "calls"
    environment = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}", "CALLS": str(calls)}

    def run() -> tuple[str, int]:
        calls.write_text("")
        subprocess.run([tmp_path / SOURCES[0] / "build"], env=environment, check=True, capture_output=True)
        (name,) = [one.name for one in (tmp_path / ".cache").glob("orthanc-debian13-*.tar.gz")]
        assert f"{name}\n" in (tmp_path / ".cache/images.env").read_text()
        return name, len([line for line in calls.read_text().splitlines() if line.startswith("build ")])

    return run


@pytest.mark.parametrize("source", sorted(one.name for one in (PROJECT / ARCHIVE).iterdir()))
def test_orthancs_image_is_built_again_when_a_source_changes(build, tmp_path, source):
    first, built = build()
    assert built == 1
    assert build() == (first, 0)
    with (tmp_path / ARCHIVE / source).open("a") as file:
        file.write("\n")
    changed, built = build()
    assert (changed != first, built) == (True, 1)


def test_what_the_image_preloads_is_what_it_builds():
    lines = (PROJECT / ARCHIVE / "Dockerfile").read_text()
    assert "-o /orthanc-fixes.so /fixes.cc" in lines
    assert "COPY --from=fixes /orthanc-fixes.so /usr/local/lib/\n" in lines
    assert "LD_PRELOAD=/usr/local/lib/orthanc-fixes.so" in lines
