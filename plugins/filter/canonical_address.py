# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: canonical_address
short_description: Write an IP address in its canonical form
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Certificates and browsers write an IPv6 address in lower case and as short as possible (RFC 5952), and compare names
    as text.
options:
  _input:
    description: An IPv4 or IPv6 address, without brackets and without a zone.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show 2001:db8::7
  ansible.builtin.debug:
    msg: "{{ '2001:0DB8:0:0:0:0:0:7' | lightbox.pacs.canonical_address }}"
"""

RETURN = r"""
_value:
  description: The address in its canonical form, or an empty string when the input is not a valid address.
  type: str
"""

import ipaddress


def canonical_address(address: str) -> str:
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return ""


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"canonical_address": canonical_address}
