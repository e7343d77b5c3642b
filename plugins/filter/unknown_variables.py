# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_variables
short_description: Names of variables that nothing reads
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Ansible takes every variable, so one that nothing reads is ignored without a word. This finds those that begin like
    the variables of this collection's roles and playbooks (C(pacs_), C(orthanc_), ...) and are none of them, with what
    they may have meant.
  - Names that begin with C(ORTHANC__) are found, too. They are environment variables of an image's start script.
  - Variables that begin otherwise, or with C(__), are left alone.
options:
  _input:
    description: Names of variables, as of C(hostvars[inventory_hostname]).
    type: list
    elements: str
    required: true
  known:
    description: Names that something reads. By default the variables of this collection.
    type: list
    elements: str
  place:
    description: With O(known), the variable in which the names stand.
    type: str
    default: ""
  hint:
    description: With O(known), what else may be done about a name that is not known.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Refuse misspelt variables
  ansible.builtin.assert:
    that: findings == []
    fail_msg: "{{ findings }}"
  vars:
    findings: "{{ hostvars[inventory_hostname] | list | lightbox.pacs.unknown_variables }}"
"""

RETURN = r"""
_value:
  description: The findings, each with the variable and what it may have meant.
  type: list
  elements: str
"""

from collections.abc import Iterable

from ansible_collections.lightbox.pacs.plugins.plugin_utils._variables import unknown_names, unread_variables


def unknown_variables(
    names: Iterable[str], known: Iterable[str] | None = None, place: str = "", hint: str = ""
) -> list[str]:
    return unread_variables(names) if known is None else unknown_names(names, list(known), place, hint)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"unknown_variables": unknown_variables}
