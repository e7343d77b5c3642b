from __future__ import annotations

import pathlib

import pytest
import yaml

from tests.unit import loader

PROJECT = pathlib.Path(__file__).resolve().parents[2]
loader.ready()
# What roles yield for the wiring, besides what they are told.
OUTPUTS = {
    "orthanc": {"orthanc_container_http", "orthanc_container_dicom", "orthanc_changed"},
    "postgresql": {"postgresql_connection"},
}
ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir() if (path / "tasks").is_dir())


@pytest.fixture
def project() -> pathlib.Path:
    return PROJECT


def role_file(role: str, path: str):
    """The parsed content of a YAML file of a role; {} where it is absent."""
    file = PROJECT / "roles" / role / path
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}
