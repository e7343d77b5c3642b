# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_costs
short_description: List what resources on AWS cost
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns a table of resources with how each of them is charged. It has no prices; these depend on the region.
options:
  _input:
    description: The resources that M(lightbox.pacs.aws_resource_info) returned.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what costs money
  ansible.builtin.debug:
    msg: "{{ found.resources | lightbox.pacs.aws_costs }}"
"""

RETURN = r"""
_value:
  description: A line for each resource.
  type: list
  elements: str
  sample:
    - volume  radiology-data (vol-0a1b2c3d, 200 GiB, gp3)  costs each month, for 200 GiB of gp3 storage, attached or not
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_resources import aws_costs


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"aws_costs": aws_costs}
