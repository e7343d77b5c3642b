# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_removal
short_description: List what a removal on AWS would do to each resource
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns a table of resources with what would happen to each of them.
positional: kept, snapshot
options:
  _input:
    description: The resources that M(lightbox.pacs.aws_resource_info) returned.
    type: list
    elements: dict
    required: true
  kept:
    description: IDs of the resources that stay.
    type: list
    elements: str
    required: true
  snapshot:
    description: Name of the snapshot that is made before a database is deleted.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what would be removed
  ansible.builtin.debug:
    msg: "{{ found.resources | lightbox.pacs.aws_removal(['vol-0a1b2c3d'], 'radiology-final') }}"
"""

RETURN = r"""
_value:
  description: A line for each resource.
  type: list
  elements: str
  sample:
    - delete  server  radiology (i-0a1b2c3d, t3.large, running)
    - keep    volume  radiology-data (vol-0a1b2c3d, 200 GiB, gp3)
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_resources import aws_removal


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"aws_removal": aws_removal}
