# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_plan
short_description: Compare the resources that a run on AWS makes with those that exist
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns what would be created, and a table of all resources with what would happen to each.
  - Resources that exist but are not among the wanted ones stay, and are listed last.
positional: existing
options:
  _input:
    description: The resources that a run makes, each with C(kind) and C(name).
    type: list
    elements: dict
    required: true
  existing:
    description: The resources that M(lightbox.pacs.aws_resource_info) returned.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ (wanted | lightbox.pacs.aws_plan(found.resources)).table }}"
  vars:
    wanted: [{kind: vpc, name: radiology}, {kind: instance, name: radiology}]
"""

RETURN = r"""
_value:
  description: The key C(missing) has the resources that would be created, C(table) a line for each resource.
  type: dict
  sample:
    missing: [{kind: instance, name: radiology}]
    table:
      - exists (vpc-0a1b2c3d)  VPC     radiology
      - create                 server  radiology
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_resources import aws_plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"aws_plan": aws_plan}
