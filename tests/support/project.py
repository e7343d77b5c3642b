"""The project's files as the tests read them."""

from __future__ import annotations

import pathlib
from typing import Any

import yaml

PROJECT = pathlib.Path(__file__).resolve().parents[2]
# What roles yield for the wiring, besides their arguments.
OUTPUTS = {
    "aws_database": {"aws_database", "aws_database_resources"},
    "aws_host": {"aws_host", "aws_host_resources"},
    "aws_network": {"aws_network", "aws_network_planned_subnets", "aws_network_resources"},
    "aws_security_groups": {"aws_security_groups", "aws_security_groups_declared", "aws_security_groups_resources"},
    "orthanc": {
        "orthanc_container_http",
        "orthanc_container_dicom",
        "orthanc_changed",
        "orthanc_reconcile_metrics",
        "orthanc_upload_mb",
    },
    "postgresql": {"postgresql_connection", "postgresql_audit"},
}
ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir() if (path / "tasks").is_dir())


def role_file(role: str, path: str) -> Any:
    """The parsed content of a YAML file of a role; {} where it is absent."""
    file = PROJECT / "roles" / role / path
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}


def flatten_tasks(tasks: list[dict] | None) -> list[dict]:
    """Every task of a list, those in blocks included."""
    found = []
    for task in tasks or []:
        found.append(task)
        for part in ("block", "rescue", "always"):
            found += flatten_tasks(task.get(part))
    return found


def tasks_in(file: pathlib.Path) -> list[dict]:
    """Every task of a YAML file, those in blocks included."""
    return flatten_tasks(yaml.safe_load(file.read_text()))
