# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: overlapping_routes
short_description: Find the routes that share addresses with a Docker network
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Finds the routes of a server that a new Docker network would hide.
  - Ignores large networks, which are summary routes. What is in them cannot be seen from here, and the more specific
    route to the Docker network precedes them.
options:
  _input:
    description: Routes as M(lightbox.pacs.host_info) returns them.
    type: list
    elements: dict
    required: true
  network:
    description: The Docker network, in CIDR notation. Nothing overlaps one that is not valid.
    type: str
    required: true
  devices:
    description: Interfaces whose routes are ignored, such as those of earlier versions of this network.
    type: list
    elements: str
    default: []
  min_prefix:
    description: Number of bits below which a network to which the server is connected is a summary route.
    type: int
    default: 16
  min_gateway_prefix:
    description: Number of bits below which a network behind a router is a summary route.
    type: int
    default: 24
notes:
  - A route to exactly O(network) over an interface of Docker (C(br-...)) is that of the network itself. It stays while
    Docker is stopped.
seealso:
  - module: lightbox.pacs.host_info
"""

EXAMPLES = r"""
- name: Gather facts about the server
  lightbox.pacs.host_info:
    routes: true
  register: server

- name: Refuse addresses that are in use
  ansible.builtin.assert:
    that: server.routes | lightbox.pacs.overlapping_routes('172.30.255.248/29') | length == 0
"""

RETURN = r"""
_value:
  description: Network and interface of each route that was found, such as V(172.30.255.0/24 (eth1\)).
  type: list
  elements: str
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def overlapping_routes(
    routes: Iterable[Mapping[str, Any]],
    network: str,
    devices: Collection[str] = (),
    min_prefix: int = 16,
    min_gateway_prefix: int = 24,
) -> list[str]:
    try:
        wanted = ipaddress.ip_network(network)
    except ValueError:  # reported where it is set
        return []
    found = []
    for route in routes:
        other = ipaddress.ip_network(route["network"])
        is_own = route["device"] in devices or (other == wanted and route["device"].startswith("br-"))
        is_summary = other.prefixlen < (min_gateway_prefix if route["gateway"] else min_prefix)
        if other.overlaps(wanted) and not is_own and not is_summary:
            found.append(f"{route['network']} ({route['device']})")
    return list(dict.fromkeys(found))


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"overlapping_routes": overlapping_routes}
