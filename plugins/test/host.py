# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host
short_description: Test whether a text names a host
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - A host is named by a DNS name, in which underscores are allowed, or by an IP address without brackets and zone.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the host of a modality
  ansible.builtin.assert:
    that: modality.host is lightbox.pacs.host
"""

RETURN = r"""
_value:
  description: Whether it is a DNS name or an IP address.
  type: bool
"""

from collections.abc import Callable

from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_host


class TestModule:
    """The test of this file."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        return {"host": is_host}
