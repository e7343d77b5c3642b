# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_subnets
short_description: Divide a VPC's network into public and private subnets
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Splits a network into eight parts. Public subnets get the first three, one in each zone; private ones the fifth to
    the seventh.
  - A subnet that exists keeps its zone, because AWS cannot move it; zones without subnets get the parts that are left.
options:
  _input:
    description: Network of the VPC in CIDR notation.
    type: str
    required: true
  name:
    description: Prefix of the subnets' names.
    type: str
    required: true
  zones:
    description: Availability zones in order of preference, of which up to three are used.
    type: list
    elements: str
    required: true
  existing:
    description: Subnets of the VPC, as lightbox.pacs.aws_resource_info returns them.
    type: list
    elements: dict
    default: []
  tags:
    description: Tags of each subnet, besides C(Name).
    type: dict
    default: {}
  made:
    description: Subnets that M(amazon.aws.ec2_vpc_subnet) made or changed, for their ids.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: List the subnets of two zones
  ansible.builtin.debug:
    msg: "{{ '10.77.0.0/16' | lightbox.pacs.aws_subnets('radiology', ['eu-central-1a', 'eu-central-1b']) }}"
"""

RETURN = r"""
_value:
  description:
    - The subnets, public ones first, with C(name), C(cidr), C(zone) and C(public).
    - C(id) is that of an existing one, or empty. C(complete) is whether that one is as described here, with its tags.
  type: list
  elements: dict
  sample:
    - name: radiology-public-a
      cidr: 10.77.0.0/19
      zone: eu-central-1a
      public: true
      id: subnet-0abcdef1234567890
      complete: true
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MAX_ZONES = 3
PARTS = 8


def assign_zones(parts: Sequence[str], zones: Iterable[str], found: Mapping[str, Mapping[str, Any]]) -> dict[int, str]:
    """Return the zone of each part that a public subnet takes."""
    assigned = {}
    for number in range(MAX_ZONES):
        subnet = found.get(parts[number]) or found.get(parts[number + PARTS // 2])
        if subnet:
            assigned[number] = subnet["zone"]
    left = [zone for zone in zones if zone not in assigned.values()]
    for number in range(MAX_ZONES):
        if number not in assigned and left:
            assigned[number] = left.pop(0)
    return dict(sorted(assigned.items()))


def aws_subnets(
    cidr: str,
    name: str,
    zones: Iterable[str],
    existing: Iterable[Mapping[str, Any]] = (),
    tags: Mapping[str, str] | None = None,
    made: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    try:
        network = ipaddress.IPv4Network(cidr)
        parts = [str(part) for part in network.subnets(prefixlen_diff=PARTS.bit_length() - 1)]
    except ValueError:  # reported where it is set
        return []
    found = {subnet["cidr"]: subnet for subnet in existing if subnet.get("cidr") in parts}
    ids = {cidr: subnet["id"] for cidr, subnet in found.items()} | {one["cidr_block"]: one["id"] for one in made}
    subnets = []
    for public, offset in ((True, 0), (False, PARTS // 2)):
        for number, zone in assign_zones(parts, zones, found).items():
            own_name = f"{name}-{'public' if public else 'private'}-{zone[-1]}"
            wanted = {
                "cidr": parts[number + offset],
                "zone": zone,
                "state": "available",
                "tags": {**(tags or {}), "Name": own_name},
                # The server requests its public address itself.
                "map_public": False,
            }
            one = found.get(wanted["cidr"], {})
            subnets.append(
                {
                    "name": own_name,
                    "cidr": wanted["cidr"],
                    "zone": zone,
                    "public": public,
                    "id": ids.get(wanted["cidr"], ""),
                    "complete": all(one.get(key) == value for key, value in wanted.items()),
                }
            )
    return subnets


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"aws_subnets": aws_subnets}
