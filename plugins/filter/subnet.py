# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: subnet
short_description: Calculate the network of an address, or an address in it
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the network that contains an address, or with O(host) one of the network's addresses.
positional: prefix, host
options:
  _input:
    description: An IPv4 or IPv6 address.
    type: str
    required: true
  prefix:
    description: Length of the network's prefix, in bits.
    type: int
    required: true
  host:
    description: Number of the address to return instead of the network, counted from the network's own, which is 0.
    type: int
"""

EXAMPLES = r"""
- name: Show 172.30.255.248/29 and 172.30.255.254
  ansible.builtin.debug:
    msg: "{{ address | lightbox.pacs.subnet(29) }} and {{ address | lightbox.pacs.subnet(29, host=6) }}"
  vars:
    address: 172.30.255.250
"""

RETURN = r"""
_value:
  description: The network in CIDR notation, or the address.
  type: str
"""

import ipaddress
from collections.abc import Callable


def subnet(address: str, prefix: int, host: int | None = None) -> str:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    return str(network if host is None else network[host])


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"subnet": subnet}
