#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_worklist_info
short_description: Search Orthanc's modality worklist
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Lists the scheduled examinations that modalities find by a worklist query (C-FIND), all or those that match.
  - Finds them where M(lightbox.pacs.orthanc_worklist) puts them. That is the REST API of the newer worklist plugin, or
    the folder that the older one serves, which the host has on which the module runs.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc.search
  - lightbox.pacs.orthanc.worklist
  - lightbox.pacs.attributes.info_module
options:
  name:
    description: Only the entry that is called so.
    type: str
  query:
    description:
      - DICOM attributes by keyword, and what each must be.
      - C(*) stands for any characters, C(?) for one; dates and times may be ranges, such as C(20260101-20261231); a
        list means any of its values. An empty value is refused.
      - Attributes of the scheduled steps, such as C(Modality), C(ScheduledStationAETitle) and
        C(ScheduledProcedureStepStartDate), are given without their sequence. One step must have all that are given.
    type: dict
    default: {}
notes:
  - The module fails without either plugin; enable C(Worklists) in its configuration.
  - The result names patients. Set C(no_log=true) on the task to hide them.
seealso:
  - module: lightbox.pacs.orthanc_worklist
  - module: lightbox.pacs.orthanc_study_info
"""

EXAMPLES = r"""
- name: Find what is scheduled for a scanner in December
  lightbox.pacs.orthanc_worklist_info:
    url: http://127.0.0.1:8042
    folder: /var/lib/orthanc/worklists
    query:
      ScheduledStationAETitle: CT1
      ScheduledProcedureStepStartDate: "20261201-20261231"
  register: scheduled

- name: Find what is past
  lightbox.pacs.orthanc_worklist_info:
    url: http://127.0.0.1:8042
    folder: /var/lib/orthanc/worklists
    query:
      ScheduledProcedureStepStartDate: "-20251231"
    limit: 0
  register: past

- name: Take it off
  lightbox.pacs.orthanc_worklist:
    url: http://127.0.0.1:8042
    folder: /var/lib/orthanc/worklists
    name: "{{ item.name }}"
    state: absent
  loop: "{{ past.worklists }}"
  loop_control:
    label: "{{ item.name }}"
  diff: false
"""

RETURN = r"""
worklists:
  description: The entries, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: What it is called.
      type: str
      sample: "4711"
    path:
      description: The file, or the path of the API.
      type: str
      sample: /var/lib/orthanc/worklists/4711.wl
    study_instance_uid:
      description: The UID that modalities will give the study; empty where the entry has none.
      type: str
      sample: 2.25.247711209733755414644324829953404004406
    accession_number:
      description: Its accession number; empty where it has none.
      type: str
      sample: "4711"
    patient_id:
      description: The patient's ID.
      type: str
      sample: P-12
    patient_name:
      description: The patient's name.
      type: str
      sample: Müller^Änne
    tags:
      description:
        - The DICOM attributes by keyword, as C(tags) of M(lightbox.pacs.orthanc_worklist) takes them. Of files, those
          that a worklist usually has.
      type: dict
      sample: {PatientID: P-12, ScheduledProcedureStepSequence: [{Modality: CT}]}
truncated:
  description: Whether there are more than O(limit).
  returned: success
  type: bool
unreadable:
  description: Files in the folder that hold no entry or cannot be read, each with why.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/orthanc/worklists/half.wl is not a worklist entry or is damaged]
way:
  description: Where the entries are, V(rest) or V(folder).
  returned: success
  type: str
  sample: folder
"""

from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._worklist import (
    Entry,
    Query,
    WorklistError,
    list_entries,
    parse_api_tags,
    place_spec,
    read_folder,
)


def parse_api_entries(entries: list[dict[str, Any]]) -> list[Entry]:
    return [
        Entry(entry["ID"], build_path("worklists", entry["ID"]), parse_api_tags(entry["Tags"])) for entry in entries
    ]


def format_entry(entry: Entry) -> dict[str, Any]:
    def text(keyword: str) -> str:
        value = entry.tags.get(keyword, "")
        return "\\".join(value) if isinstance(value, list) else value

    return {
        "name": entry.name,
        "path": entry.path,
        "study_instance_uid": text("StudyInstanceUID"),
        "accession_number": text("AccessionNumber"),
        "patient_id": text("PatientID"),
        "patient_name": text("PatientName"),
        "tags": entry.tags,
    }


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            name={"type": "str"},
            query={"type": "dict", "default": {}},
            case_sensitive={"type": "bool", "default": False},
            limit={"type": "int", "default": 100},
            **place_spec(),
        ),
        required_if=[("way", "folder", ("folder",))],
        supports_check_mode=True,
    )
    name, limit = module.params["name"], module.params["limit"]
    if limit < 0:
        module.fail_json(msg=f"limit is {limit}. Set it to a number from 1 on, or to 0 for no limit.")
    unreadable: list[str] = []
    try:
        query = Query(module.params["query"], module.params["case_sensitive"])
        listed = list_entries(Orthanc(module.params), module.params)
        entries = (
            read_folder(module.params["folder"], name, unreadable) if listed is None else parse_api_entries(listed)
        )
    except WorklistError as error:
        module.fail_json(msg=f"{error}.")
    except OrthancError as error:
        module.fail_json(msg=str(error))
    found = [
        one
        for one in sorted(entries, key=lambda entry: (entry.name, entry.path))
        if name in (None, one.name) and query.is_match(one.tags)
    ]
    if unreadable:
        module.warn(f"{len(unreadable)} files of the worklist cannot be read. The first: {unreadable[0]}.")
    truncated = bool(limit) and len(found) > limit
    if truncated:
        module.warn(f"There are {len(found)} that match. Set limit to a larger number than {limit}, or to 0 for all.")
        found = found[:limit]
    module.exit_json(
        changed=False,
        worklists=[format_entry(one) for one in found],
        truncated=truncated,
        unreadable=unreadable,
        way="folder" if listed is None else "rest",
    )


if __name__ == "__main__":
    main()
