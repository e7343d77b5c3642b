# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: input_findings
short_description: What is wrong with the values of a play's variables
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Looks at the play's own variables, by the argument specs of this collection's roles and by the rules that are named.
  - As many findings are told as can be, though none that only follows from another one, and none shows a secret.
options:
  _input:
    description: Groups of variables of the play to look at. The types of all come before the rules of any.
    type: list
    elements: dict
    required: true
    suboptions:
      role:
        description: A role of this collection, whose argument spec the variables must meet.
        type: str
      options:
        description: Options as in an argument spec, in place of O(_input[].role). C(as) names the role's option that
          one is like.
        type: dict
      wired:
        description: Whether variables that the playbooks' wiring says are looked at.
        type: bool
        default: true
      used:
        description: Whether O(_input[].findings) and O(_input[].pieces) count.
        type: bool
        default: true
      findings:
        description: Name of a variable with a list of findings.
        type: str
      pieces:
        description: Names of the variables of which O(_input[].findings) is made, for where a wrong value breaks it.
          They are lists of findings, or of rules, each a condition and what to say.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: findings == []
    fail_msg: "{{ findings }}"
  vars:
    findings: "{{ [{'role': 'ohif'}, {'role': 'reverse_proxy'}] | lightbox.pacs.input_findings }}"
"""

RETURN = r"""
_value:
  description: The findings, each with the variable, the place in its value and what to set instead.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._values import findings
from jinja2 import pass_context


@pass_context
def input_findings(context: Any, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    return findings(context, parts)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"input_findings": input_findings}
