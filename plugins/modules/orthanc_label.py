#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_label
short_description: Manage labels of Orthanc patients, studies, series and instances
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds labels to a patient, study, series or instance of Orthanc, removes them, or makes them exactly those given.
  - Needs Orthanc 1.12.0 or newer.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc_resource
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  level:
    description: What O(id) or O(uid) names.
    type: str
    choices: [patient, study, series, instance]
    default: study
  labels:
    description: The labels, each of 1 to 64 letters (without accents), digits, underscores or dashes.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) adds those that are missing, V(absent) removes those that exist, V(exact) does both and removes
        all others. An empty list with V(exact) removes all.
      - V(absent) of something that Orthanc does not have is not an error.
    type: str
    choices: [present, absent, exact]
    default: present
seealso:
  - module: lightbox.pacs.orthanc_study_info
"""

EXAMPLES = r"""
- name: Mark a study for teaching
  lightbox.pacs.orthanc_label:
    url: http://127.0.0.1:8042
    uid: 1.2.276.0.7230010.3.1.2.313263360.1.1596188549.895807
    labels: [teaching]

- name: Take all labels from a series
  lightbox.pacs.orthanc_label:
    url: http://127.0.0.1:8042
    level: series
    id: 01b094cc-75378915-41d4b7c9-bf746b5b-fb3e4630
    labels: []
    state: exact
"""

RETURN = r"""
labels:
  description: The labels that are there afterwards, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [research, teaching]
"""

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError, connection_spec
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_resources import (
    LEVELS,
    RESOURCE_RULES,
    build_missing_error,
    build_resource_path,
    check_labels,
    find_resource_id,
    require_labels,
    resource_spec,
)


def current(archive: Orthanc, level: str, identifier: str | None) -> set[str] | None:
    """Return the labels of the resource; None where it does not exist."""
    if identifier is None:
        return None
    labels = archive.find(build_resource_path(level, identifier, "labels"))
    if labels is None:
        require_labels(archive)  # Orthanc too old for labels answers the same as one without the resource
        return None
    return set(labels)


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            **resource_spec(),
            level={"type": "str", "choices": list(LEVELS), "default": "study"},
            labels={"type": "list", "elements": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
        ),
        supports_check_mode=True,
        **RESOURCE_RULES,
    )
    level, state = module.params["level"], module.params["state"]
    given = set(module.params["labels"])
    try:
        check_labels(module.params["labels"])
        archive = Orthanc(module.params)
        identifier = find_resource_id(archive, module.params, level)
        found = current(archive, level, identifier)
        if found is None and state != "absent":
            raise build_missing_error(archive, module.params, level)
        before = found or set()
        after = {"present": before | given, "absent": before - given, "exact": given}[state]
        if found is not None and identifier is not None and not module.check_mode:
            for label in sorted(after - before):
                archive.put(build_resource_path(level, identifier, "labels", label), "")
            for label in sorted(before - after):
                archive.delete(build_resource_path(level, identifier, "labels", label))
    except OrthancError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=after != before,
        labels=sorted(after),
        diff={"before": {"labels": sorted(before)}, "after": {"labels": sorted(after)}},
    )


if __name__ == "__main__":
    main()
