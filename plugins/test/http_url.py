# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: http_url
short_description: Test whether a text is the URL of a web service
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Such a URL has C(http) or C(https), a DNS name or an IP address (IPv6 in brackets), and optionally a port and a
    path.
  - A URL with a user name, a query or a fragment is not one.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the address of a peer
  ansible.builtin.assert:
    that: peer.url is lightbox.pacs.http_url
"""

RETURN = r"""
_value:
  description: Whether it is such a URL.
  type: bool
"""

from collections.abc import Callable

from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_http_url


class TestModule:
    """The test of this file."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        return {"http_url": is_http_url}
