# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wildcard_differences
short_description: Compare names with wildcard patterns
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the names that no pattern matches, and the patterns that match no name.
options:
  _input:
    description: The names.
    type: list
    elements: str
    required: true
  patterns:
    description: The patterns, as those of file names. C(*) matches any characters.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Compare transfer syntaxes
  ansible.builtin.debug:
    msg: "{{ ['1.2', '1.3'] | lightbox.pacs.wildcard_differences(['1.2', '1.2.4.*']) }}"
    # {"names": ["1.3"], "patterns": ["1.2.4.*"]}
"""

RETURN = r"""
_value:
  description: The names and the patterns that match nothing.
  type: dict
  contains:
    names:
      description: The names that no pattern matches.
      type: list
      elements: str
    patterns:
      description: The patterns that match no name.
      type: list
      elements: str
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase


def wildcard_differences(names: Sequence[str], patterns: Sequence[str]) -> dict[str, list[str]]:
    return {
        "names": [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)],
        "patterns": [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)],
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, list[str]]]]:
        return {"wildcard_differences": wildcard_differences}
