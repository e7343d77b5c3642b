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
  - Writes an IP address as RFC 5952 does, which is how certificates and browsers write it.
  - The filters of C(ansible.utils) do the same with the Python library C(netaddr), which this one does without.
options:
  _input:
    description: An IPv4 or IPv6 address.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write an address
  ansible.builtin.debug:
    msg: "{{ '2001:DB8:0::1' | lightbox.pacs.canonical_address }}"  # 2001:db8::1
"""

RETURN = r"""
_value:
  description: The address.
  type: str
"""

import ipaddress
from collections.abc import Callable


def canonical_address(address: str) -> str:
    return str(ipaddress.ip_address(address))


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"canonical_address": canonical_address}
