# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wide_networks
short_description: Find networks that are nearly everybody
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the networks with a shorter prefix than /8 (IPv4) or /16 (IPv6) that given ones are or add up to, so
    V(0.0.0.0/1) and V(128.0.0.0/1) together are V(0.0.0.0/0).
  - What is not a valid network is left out.
options:
  _input:
    description: Networks in CIDR notation, and addresses.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse everybody
  ansible.builtin.assert:
    that: networks | lightbox.pacs.wide_networks | length == 0
"""

RETURN = r"""
_value:
  description: The networks that are too wide.
  type: list
  elements: str
  sample: [0.0.0.0/0]
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterable

SHORTEST = {4: 8, 6: 16}


def wide_networks(networks: Iterable[str]) -> list[str]:
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for text in networks:
        with contextlib.suppress(ValueError):  # reported where it is set
            network = ipaddress.ip_network(str(text), strict=False)
            if isinstance(network, ipaddress.IPv4Network):
                v4.append(network)
            else:
                v6.append(network)
    together: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [
        *ipaddress.collapse_addresses(v4),
        *ipaddress.collapse_addresses(v6),
    ]
    return [str(network) for network in together if network.prefixlen < SHORTEST[network.version]]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[[Iterable[str]], list[str]]]:
        return {"wide_networks": wide_networks}
