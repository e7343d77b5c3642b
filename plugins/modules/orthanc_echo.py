#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_echo
short_description: Test the DICOM connections of Orthanc to its modalities
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Orthanc sends C-ECHO to its modalities, several at once. The module reports which answered, how fast, and why the
    others did not.
  - One HTTP request for each modality, and one more where O(modalities) is not given.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
    details: Changes nothing at all, and so echoes in check mode too.
  diff_mode:
    support: none
options:
  modalities:
    description:
      - Names of modalities that are registered in Orthanc. By default all, or none where O(nodes) is given.
    type: list
    elements: str
  nodes:
    description: DICOM nodes that need not be registered in Orthanc.
    type: list
    elements: dict
    suboptions:
      name:
        description: What to call the node in the results. By default its AE title.
        type: str
      aet:
        description: AE title of the node.
        type: str
        required: true
      host:
        description: Name or address.
        type: str
        required: true
      port:
        description: Port, 1 to 65534.
        type: int
        required: true
  check_find:
    description:
      - Whether each must answer a query (C-FIND) too. By default as Orthanc's option C(DicomEchoChecksFind) is set.
    type: bool
  echo_timeout:
    description: Seconds that Orthanc waits for each.
    type: int
    default: 10
  parallel:
    description: How many are called at once.
    type: int
    default: 8
  fail:
    description: Whether the module fails when one does not answer.
    type: bool
    default: false
notes:
  - Orthanc in a container uses the container's network. So this tests what M(lightbox.pacs.dicom_echo) on the host
    cannot.
seealso:
  - module: lightbox.pacs.dicom_echo
  - module: lightbox.pacs.orthanc_modality
"""

EXAMPLES = r"""
- name: See which modalities answer
  lightbox.pacs.orthanc_echo:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
  register: echo

- name: Show it
  ansible.builtin.debug:
    msg: "{{ echo.table }}"

- name: Insist that a workstation answers queries
  lightbox.pacs.orthanc_echo:
    url: http://127.0.0.1:8042
    modalities: [workstation]
    check_find: true
    fail: true
"""

RETURN = r"""
echoes:
  description: The result of each, in the order given, or by name.
  returned: success and failure
  type: list
  elements: dict
  contains:
    name:
      description: Name of the modality or node.
      type: str
      sample: CT1
    reachable:
      description: Whether it answered.
      type: bool
    seconds:
      description: How long it took.
      type: float
      sample: 0.012
    details:
      description: Why it did not answer, as Orthanc reports it; else empty.
      type: str
      sample: "Error in the network protocol: DicomAssociation - connecting to AET ..."
unreachable_names:
  description: Names of those that did not answer.
  returned: success and failure
  type: list
  elements: str
  sample: []
table:
  description: The same as lines of text.
  returned: success and failure
  type: list
  elements: str
  sample:
    - "NAME  ANSWERS  SECONDS  DETAILS"
    - "CT1   yes      0.012"
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_ae_title
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)

# What Orthanc answers where the node is at fault: a network that fails, a refusal, a node that is not registered.
FAULTS_OF_THE_NODE = (400, 404, 500, 504)


class Echo:
    """One C-ECHO: its name in the results, and the request to Orthanc."""

    def __init__(self, name: str, path: str, body: dict[str, Any]) -> None:
        self.name, self.path, self.body = name, path, body

    def run(self, params: dict[str, Any]) -> dict[str, Any]:
        # Orthanc waits that long for the connection, and again for each answer.
        timeout = 3 * params["echo_timeout"] + 5
        archive = Orthanc({**params, "timeout": max(params["timeout"], timeout)})
        begin = time.monotonic()
        details = ""
        try:
            archive.post(self.path, self.body)
        except OrthancError as error:
            if error.status not in FAULTS_OF_THE_NODE:
                raise
            details = "It is not registered in Orthanc." if error.status == 404 else error.details or str(error)
        return {
            "name": self.name,
            "reachable": not details,
            "seconds": round(time.monotonic() - begin, 3),
            "details": details,
        }


def list_echoes(params: dict[str, Any]) -> list[Echo]:
    """List the requests to send."""
    options: dict[str, Any] = {"Timeout": params["echo_timeout"]}
    if params["check_find"] is not None:
        options["CheckFind"] = params["check_find"]
    names = params["modalities"]
    if names is None:
        names = sorted(Orthanc(params).get("/modalities")) if params["nodes"] is None else []
    found = [Echo(name, build_path("modalities", name, "echo"), options) for name in names]
    for node in params["nodes"] or []:
        body = {"AET": node["aet"], "Host": node["host"], "Port": node["port"], **options}
        found.append(Echo(node["name"] or node["aet"], "/tools/dicom-echo", body))
    return found


def format_table(results: list[dict[str, Any]]) -> list[str]:
    """Format the results as aligned lines."""
    rows = [("NAME", "ANSWERS", "SECONDS", "DETAILS")]
    rows += [
        (one["name"], "yes" if one["reachable"] else "no", f"{one['seconds']:.3f}", one["details"]) for one in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3]]).rstrip() for row in rows]


def main() -> None:
    module = Module(
        argument_spec={
            **connection_spec(),
            "modalities": {"type": "list", "elements": "str"},
            "nodes": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str"},
                    "aet": {"type": "str", "required": True},
                    "host": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                },
            },
            "check_find": {"type": "bool"},
            "echo_timeout": {"type": "int", "default": 10},
            "parallel": {"type": "int", "default": 8},
            "fail": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["echo_timeout"] < 1 or params["parallel"] < 1:
        module.fail_json(msg="echo_timeout and parallel must be 1 or more.")
    wrong = [node["aet"] for node in params["nodes"] or [] if not is_ae_title(node["aet"])]
    if wrong:
        module.fail_json(msg=f"nodes: '{wrong[0]}' is not an AE title. Set it to 1 to 16 printable ASCII characters.")
    try:
        calls = list_echoes(params)
        with ThreadPoolExecutor(params["parallel"]) as pool:
            results = list(pool.map(lambda call: call.run(params), calls))
    except OrthancError as error:
        module.fail_json(msg=str(error))
    silent = [one["name"] for one in results if not one["reachable"]]
    answer = {"echoes": results, "unreachable_names": silent, "table": format_table(results)}
    if silent and params["fail"]:
        module.fail_json(msg=f"No answer from {', '.join(silent)}.", **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
