# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_names
short_description: Find unknown names and suggest the known ones
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns an error for each name that is not among the known ones, with what it may have meant.
options:
  _input:
    description: The names, such as the keys of a dictionary.
    type: list
    elements: str
    required: true
  known:
    description: The known names.
    type: list
    elements: str
    required: true
  place:
    description: The variable that contains the names.
    type: str
    required: true
  hint:
    description: What else may be done about a name that is not known.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Refuse misspelled parameters
  ansible.builtin.assert:
    that: errors == []
    fail_msg: "{{ errors }}"
  vars:
    errors: "{{ parameters | lightbox.pacs.unknown_names(known=['work_mem'], place='parameters') }}"
"""

RETURN = r"""
_value:
  description: The errors, each with the name and what it may have meant.
  type: list
  elements: str
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._variables import unknown_names


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"unknown_names": unknown_names}
