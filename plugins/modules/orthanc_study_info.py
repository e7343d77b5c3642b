#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_study_info
short_description: Search Orthanc for studies, patients, series or instances
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Searches Orthanc by DICOM tags and labels.
  - Finds everything that matches, up to O(limit), even where Orthanc's C(LimitFindResults) limits its answers. Before
    1.12.5, Orthanc neither returns the rest then nor reports that there is more; its answer is one longer than its
    limit.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc.search
  - lightbox.pacs.attributes.info_module
options:
  level:
    description: What to search for.
    type: str
    choices: [patient, study, series, instance]
    default: study
  query:
    description:
      - DICOM tags, by keyword or as C(gggg,eeee), and what each must be.
      - C(*) stands for any characters, C(?) for one; dates and times may be ranges, such as C(20260101-20261231); a
        list means any of its values.
    type: dict
    default: {}
  labels:
    description:
      - Labels that the resource must have. Needs Orthanc 1.12.0 or newer; an older one would ignore them and return
        everything, and is refused.
      - An empty list is refused.
    type: list
    elements: str
  labels_constraint:
    description: Whether a resource must have V(all) of O(labels), V(any) of them, or V(none).
    type: str
    choices: [all, any, none]
    default: all
  requested_tags:
    description:
      - DICOM tags to return beyond those that Orthanc keeps in its database. Needs Orthanc 1.11.0 or newer.
      - May be slow, as Orthanc reads files for them.
    type: list
    elements: str
    default: []
seealso:
  - module: lightbox.pacs.orthanc_study
  - module: lightbox.pacs.orthanc_label
"""

EXAMPLES = r"""
- name: Find the CT studies of a year
  lightbox.pacs.orthanc_study_info:
    url: http://127.0.0.1:8042
    query:
      StudyDate: 20260101-20261231
      ModalitiesInStudy: CT
    limit: 0
  register: found

- name: Remove the studies that are labelled so
  lightbox.pacs.orthanc_study_info:
    url: http://127.0.0.1:8042
    labels: [expired]
  register: expired

- name: Remove them
  lightbox.pacs.orthanc_study:
    url: http://127.0.0.1:8042
    id: "{{ item.id }}"
    state: absent
  loop: "{{ expired.resources }}"
  loop_control:
    label: "{{ item.id }}"
"""

RETURN = r"""
resources:
  description: What was found.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Orthanc's identifier.
      type: str
      sample: 95157c93-1e751764-e278a968-bbcdf1d0-205e019c
    main_dicom_tags:
      description: The tags of this level that Orthanc keeps in its database.
      type: dict
      sample: {StudyInstanceUID: "2.25.51127574447001616594818181097768386370", StudyDate: "20260112"}
    patient_main_dicom_tags:
      description: The patient's tags, for studies.
      type: dict
      sample: {PatientID: LIGHTBOX-DEMO-1, PatientName: Sample^Phantom}
    requested_tags:
      description: The tags of O(requested_tags).
      type: dict
    labels:
      description: Labels, where Orthanc supports them.
      type: list
      elements: str
    parent_patient:
      description: Identifier of the patient, for studies. Series have C(parent_study), instances C(parent_series).
      type: str
    series:
      description: Identifiers of the series, for studies. Patients have C(studies), series C(instances).
      type: list
      elements: str
    is_stable:
      description: Whether nothing came in for a while (C(StableAge)).
      type: bool
    last_update:
      description: When something came in last, in UTC.
      type: str
      sample: 20261121T033226
truncated:
  description: Whether there are more than O(limit).
  returned: success
  type: bool
"""

import re
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError, connection_spec
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_resources import (
    LEVELS,
    check_labels,
    require_labels,
)


def format_value(tag: str, value: Any) -> str:
    """Format a value for the API; several are separated as in DICOM."""
    if isinstance(value, list):
        return "\\".join(format_value(tag, one) for one in value)
    if value is None:
        return ""
    if isinstance(value, (dict, bool)):
        raise OrthancError(f"query.{tag} is not text. Put it in quotes.")
    return str(value)


def build_search(params: dict[str, Any]) -> dict[str, Any]:
    search: dict[str, Any] = {
        "Level": params["level"].capitalize(),
        "Query": {tag: format_value(tag, value) for tag, value in params["query"].items()},
        "CaseSensitive": params["case_sensitive"],
        "Expand": True,
    }
    if params["labels"] is not None:
        search["Labels"] = params["labels"]
        search["LabelsConstraint"] = params["labels_constraint"].capitalize()
    if params["requested_tags"]:
        search["RequestedTags"] = params["requested_tags"]
    return search


def find_all(archive: Orthanc, search: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Find everything that matches, at most `limit` + 1 (0: no limit).

    A second request follows an answer that seems complete: with LimitFindResults, Orthanc cuts it without reporting so,
    but from 1.12.5 on returns the rest on request.
    """
    wanted = limit + 1 if limit else 0
    found: dict[str, dict[str, Any]] = {}
    since = 0
    while not wanted or len(found) < wanted:
        page = archive.search("/tools/find", {**search, "Since": since, "Limit": wanted and wanted - since})
        new = {one["ID"]: one for one in page if one["ID"] not in found}
        if not new:
            break
        found.update(new)
        since += len(page)
    return list(found.values())


def check_found(found: list[dict[str, Any]], labels: list[str], constraint: str) -> None:
    """Check the labels of what was found, which the caller may delete next; Orthanc may have ignored them."""
    wanted = set(labels)
    for one in found:
        has = wanted & set(one.get("Labels", ()))
        if not {"all": has == wanted, "any": bool(has), "none": not has}[constraint]:
            raise OrthancError(f"Orthanc ignored the labels: it returned {one['ID']}, which does not match them.")


def to_snake_case(name: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            level={"type": "str", "choices": list(LEVELS), "default": "study"},
            query={"type": "dict", "default": {}},
            case_sensitive={"type": "bool", "default": False},
            labels={"type": "list", "elements": "str"},
            labels_constraint={"type": "str", "choices": ["all", "any", "none"], "default": "all"},
            requested_tags={"type": "list", "elements": "str", "default": []},
            limit={"type": "int", "default": 100},
        ),
        supports_check_mode=True,
    )
    params = module.params
    if params["limit"] < 0:
        module.fail_json(msg=f"limit is {params['limit']}. Set it to a number from 1 on, or to 0 for no limit.")
    try:
        archive = Orthanc(params)
        if params["labels"] is not None:
            if not params["labels"]:
                raise OrthancError("labels is empty. Leave it out to search for what has any labels or none.")
            check_labels(params["labels"])
            require_labels(archive)
        if params["requested_tags"]:
            archive.require((1, 11, 0), "Requested tags")
        found = find_all(archive, build_search(params), params["limit"])
        if params["labels"] is not None:
            check_found(found, params["labels"], params["labels_constraint"])
    except OrthancError as error:
        if "Unknown DICOM tag" in error.details:
            module.fail_json(msg=f"query or requested_tags contains a tag that is unknown to Orthanc: {error}")
        module.fail_json(msg=str(error))
    truncated = bool(params["limit"]) and len(found) > params["limit"]
    if truncated:
        module.warn(f"There are more than {params['limit']} that match. Set limit to a larger number, or to 0 for all.")
        found = found[: params["limit"]]
    module.exit_json(
        changed=False,
        resources=[{to_snake_case(key): value for key, value in one.items()} for one in found],
        truncated=truncated,
    )


if __name__ == "__main__":
    main()
