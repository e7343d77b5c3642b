#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_info
short_description: Gather information about Orthanc
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns Orthanc's version, plugins, counts and health, and the nodes that are registered.
  - One HTTP request for each subset; for V(plugins) one more for each plugin, as Orthanc reports their versions one
    by one.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.attributes.info_module
options:
  gather_subset:
    description:
      - What to read.
      - With V(health), an Orthanc that does not answer is a result and not a failure.
    type: list
    elements: str
    choices: [system, plugins, statistics, health, modalities, peers, dicomweb_servers]
    default: [system, plugins, statistics, health]
  dicomweb_root:
    description: Orthanc's option C(DicomWeb.Root).
    type: str
    default: /dicom-web
seealso:
  - module: lightbox.pacs.orthanc_modality
  - module: lightbox.pacs.orthanc_peer
  - module: lightbox.pacs.orthanc_dicomweb_server
"""

EXAMPLES = r"""
- name: Gather version and health
  lightbox.pacs.orthanc_info:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
  register: archive

- name: Wait until it can serve, database and all
  lightbox.pacs.orthanc_info:
    url: http://127.0.0.1:8042
    gather_subset: [health]
  register: archive
  until: archive.health.ready
  retries: 30
  delay: 2
"""

RETURN = r"""
health:
  description: Whether Orthanc is healthy. Null where not requested.
  returned: success
  type: dict
  contains:
    alive:
      description: Whether the process answers. Only where this is false a restart helps.
      type: bool
    ready:
      description: Whether it can serve - it reaches its database. Orthanc's C(/system) does not report it.
      type: bool
    details:
      description: What is wrong; else empty.
      type: str
      sample: ''
    last_change:
      description: Sequence number of the last change in Orthanc; null where it is not ready.
      type: int
      sample: 1234
system:
  description:
    - Orthanc's own description, with its names in snake case. Null where not requested or not alive.
    - Newer releases return more. These are always there.
  returned: success
  type: dict
  contains:
    version:
      description: Version of Orthanc.
      type: str
      sample: 1.12.7
    api_version:
      description: Version of the REST API.
      type: int
      sample: 27
    name:
      description: Orthanc's name.
      type: str
    dicom_aet:
      description: Its AE title.
      type: str
    database_backend_plugin:
      description: Path of the plugin that keeps the index; null for the built-in SQLite.
      type: str
    capabilities:
      description: What the database can do, by name; empty before Orthanc 1.12.5.
      type: dict
      sample: {has_extended_find: true}
plugins:
  description: The plugins that are loaded, and their descriptions. Null where not requested or not alive.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the plugin.
      type: str
      sample: dicom-web
    version:
      description: Its version.
      type: str
      sample: '1.20'
    description:
      description: What it is for.
      type: str
statistics:
  description: What Orthanc holds. Null where not requested, not alive, or not ready.
  returned: success
  type: dict
  contains:
    patients:
      description: Number of patients.
      type: int
    studies:
      description: Number of studies.
      type: int
    series:
      description: Number of series.
      type: int
    instances:
      description: Number of instances.
      type: int
    disk_bytes:
      description: Bytes on the disk.
      type: int
    uncompressed_bytes:
      description: Bytes before compression.
      type: int
modalities:
  description: As returned by M(lightbox.pacs.orthanc_modality). Null where not requested or not alive.
  returned: success
  type: list
  elements: dict
peers:
  description: As returned by M(lightbox.pacs.orthanc_peer). Null where not requested or not alive.
  returned: success
  type: list
  elements: dict
dicomweb_servers:
  description: As C(servers) of M(lightbox.pacs.orthanc_dicomweb_server). Null where not requested or not alive.
  returned: success
  type: list
  elements: dict
"""

import re
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_registry import (
    DicomWebServers,
    Modalities,
    Peers,
    Registry,
)

SUBSETS = ("system", "plugins", "statistics", "health", "modalities", "peers", "dicomweb_servers")
REGISTRIES: dict[str, type[Registry]] = {"modalities": Modalities, "peers": Peers, "dicomweb_servers": DicomWebServers}


def to_snake_case(name: str) -> str:
    """DatabaseServerIdentifier as database_server_identifier, IsHttpServerSecure as is_http_server_secure."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def read_system(archive: Orthanc) -> dict[str, Any]:
    answer = archive.system
    found = {to_snake_case(name): value for name, value in answer.items()}
    found["capabilities"] = {to_snake_case(name): value for name, value in answer.get("Capabilities", {}).items()}
    return found


def read_plugins(archive: Orthanc) -> list[dict[str, Any]]:
    found = []
    for name in archive.get("/plugins"):
        if name != "explorer.js":  # which is listed first, and no plugin
            answer = archive.get(build_path("plugins", name))
            found.append(
                {"id": name, "version": answer.get("Version", ""), "description": answer.get("Description", "").strip()}
            )
    return sorted(found, key=lambda plugin: plugin["id"])


def read_statistics(archive: Orthanc) -> dict[str, int] | None:
    try:
        answer = archive.get("/statistics")
    except OrthancError as error:
        if error.status == 503:
            return None
        raise
    return {
        "patients": answer["CountPatients"],
        "studies": answer["CountStudies"],
        "series": answer["CountSeries"],
        "instances": answer["CountInstances"],
        "disk_bytes": int(answer["TotalDiskSize"]),
        "uncompressed_bytes": int(answer["TotalUncompressedSize"]),
    }


def read_health(archive: Orthanc) -> dict[str, Any]:
    """Query the last change, for which Orthanc queries its database. Raises OrthancError where the login is wrong."""
    found: dict[str, Any] = {"alive": True, "ready": True, "details": "", "last_change": None}
    try:
        found["last_change"] = archive.get("/changes?last")["Last"]
    except OrthancError as error:
        if error.status is not None and error.status < 500:
            raise
        # Orthanc reports details; a reverse proxy that does not reach it does not.
        found.update(alive=bool(error.details), ready=False, details=str(error))
    return found


def gather(params: dict[str, Any]) -> dict[str, Any]:
    wanted = params["gather_subset"]
    found: dict[str, Any] = dict.fromkeys(SUBSETS)
    archive = Orthanc(params)
    if "health" in wanted:
        found["health"] = read_health(archive)
        if not found["health"]["alive"]:
            return found
    for subset, read in (("system", read_system), ("plugins", read_plugins), ("statistics", read_statistics)):
        if subset in wanted:
            found[subset] = read(archive)
    for subset, kind in REGISTRIES.items():
        if subset in wanted:
            registry = kind(archive, params)
            found[subset] = registry.describe_all(registry.list_objects())
    return found


def main() -> None:
    module = Module(
        argument_spec={
            **connection_spec(),
            "gather_subset": {
                "type": "list",
                "elements": "str",
                "choices": list(SUBSETS),
                "default": ["system", "plugins", "statistics", "health"],
            },
            "dicomweb_root": {"type": "str", "default": "/dicom-web"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **gather(module.params))
    except OrthancError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
