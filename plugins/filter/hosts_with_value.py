# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts_with_value
short_description: Return the hosts for which a variable has a value
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the hosts, in their order, for which a variable has a value.
  - A host without the variable, or whose template of it cannot be evaluated, is left out. So an error in the variables
    of one host is no error of another one.
positional: hostvars, name, value
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
  name:
    description: Name of the variable.
    type: str
    required: true
  value:
    description: Its value.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: List the hosts of an environment
  ansible.builtin.debug:
    msg: "{{ groups.all | lightbox.pacs.hosts_with_value(hostvars, 'aws_environment', 'radiology') }}"
"""

RETURN = r"""
_value:
  description: The hosts.
  type: list
  elements: str
  sample: [pacs.example.org]
"""

import contextlib
import typing as t


def hosts_with_value(
    hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Mapping[str, t.Any]], name: str, value: t.Any
) -> list[str]:
    """Return the hosts for which a variable has a value."""
    found = []
    for host in hosts:
        with contextlib.suppress(Exception):  # whatever a template of the inventory can raise
            if name in hostvars[host] and hostvars[host][name] == value:
                found.append(host)
    return found


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"hosts_with_value": hosts_with_value}
