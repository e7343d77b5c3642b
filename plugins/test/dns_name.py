# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dns_name
short_description: Test whether a text is a DNS name
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - A DNS name has labels of 1 to 63 letters, digits and hyphens, joined by dots, and at most 253 characters.
  - A name whose last label consists of digits is not one, because such a text can only be a mistyped address.
positional: wildcard, underscore
options:
  _input:
    description: The text.
    type: str
    required: true
  wildcard:
    description: Whether C(*.) may precede the name.
    type: bool
    default: false
  underscore:
    description: Whether labels may contain underscores, as the names of Windows machines do.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check the name of a server
  ansible.builtin.assert:
    that: pacs_name is lightbox.pacs.dns_name
"""

RETURN = r"""
_value:
  description: Whether it is a DNS name.
  type: bool
"""

from collections.abc import Callable

from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_dns_name


class TestModule:
    """The test of this file."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        return {"dns_name": is_dns_name}
