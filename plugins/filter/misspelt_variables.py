# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_variables
short_description: Variables that nothing reads and that are nearly called like one that this collection reads
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Ansible takes every variable, so a misspelt one is ignored without a word. This finds those that begin like the
    variables of this collection's roles and playbooks and are nearly called like one of them.
  - Variables of others that begin so, too, are left alone unless their names are that near.
options:
  _input:
    description: Names of variables, as of C(hostvars[inventory_hostname]).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse misspelt variables
  ansible.builtin.assert:
    that: findings == []
    fail_msg: "{{ findings }}"
  vars:
    findings: "{{ hostvars[inventory_hostname] | list | lightbox.pacs.misspelt_variables }}"
"""

RETURN = r"""
_value:
  description: The findings, each with the variable and what it may have meant.
  type: list
  elements: str
"""

import difflib
import functools
import glob
import os
import re
from collections.abc import Iterable

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


@functools.lru_cache(maxsize=1)
def known_variables() -> frozenset[str]:
    """What the roles document in their defaults, and the answers (pacs_…) that the playbooks read."""
    names: set[str] = set()
    for path in glob.glob(os.path.join(COLLECTION, "roles", "*", "defaults", "main.yml")):
        names.update(re.findall(r"(?m)^#? ?([a-z][a-z0-9_]*):", read(path)))
    for path in glob.glob(os.path.join(COLLECTION, "playbooks", "**", "*.yml"), recursive=True):
        names.update(re.findall(r"\bpacs_[a-z0-9_]+", read(path)))
    return frozenset(names)


def misspelt_variables(names: Iterable[str]) -> list[str]:
    known = known_variables()
    roles = [os.path.basename(path) for path in glob.glob(os.path.join(COLLECTION, "roles", "*"))]
    prefixes = tuple(f"{role}_" for role in [*roles, "pacs"])
    findings = []
    for name in sorted(names):
        if name in known or not name.startswith(prefixes):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if near:
            findings.append(
                f"{name} is set, but nothing reads it. Did you mean {near[0]}? Set that, or take {name} out."
            )
    return findings


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"misspelt_variables": misspelt_variables}
