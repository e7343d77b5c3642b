# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: security_group_rules
short_description: Write openings as rules of amazon.aws.ec2_security_group
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Makes one rule for each address family, or for the group, of each opening. One without either makes none.
  - An address becomes V(/32) or V(/128); the bits behind a prefix are set to zero, as AWS does; V(127.0.0.0/8) and
    V(::1) are left out, because nobody comes from there.
  - Networks that two openings of the same port have in common are in the first one's rule only, since AWS has one
    description for each.
options:
  _input:
    description:
      - The openings, with C(port), C(description), and C(networks), C(host) or C(group_name) with C(group_description).
      - C(proto) is V(tcp) by default. A C(host) that is a name makes no rule.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show two rules, one for IPv4 and one for IPv6
  ansible.builtin.debug:
    msg: "{{ [{'port': 443, 'networks': ['198.51.100.7', '2001:db8::/32'], 'description': 'HTTPS'}]
      | lightbox.pacs.security_group_rules }}"
"""

RETURN = r"""
_value:
  description: The rules.
  type: list
  elements: dict
  sample:
    - proto: tcp
      ports: ['443']
      cidr_ip: [198.51.100.7/32]
      rule_desc: HTTPS
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

FAMILIES = {4: "cidr_ip", 6: "cidr_ipv6"}


def canonical_networks(networks: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for text in networks:
        with contextlib.suppress(ValueError):  # reported where it is set
            network = ipaddress.ip_network(str(text), strict=False)
            if not network.is_loopback:
                found.append(network)
    return list(dict.fromkeys(found))


def security_group_rules(openings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for opening in openings:
        port, proto = str(opening["port"]), opening.get("proto", "tcp")
        common = {"proto": proto, "ports": [port], "rule_desc": opening["description"]}
        if opening.get("group_name"):
            # With a description, because a group that does not exist yet is made by its name.
            rules.append({**common, "group_name": [opening["group_name"]], "group_desc": opening["group_description"]})
        targets: dict[str, list[str]] = {}
        for network in canonical_networks(opening.get("networks") or [opening.get("host")]):
            if (proto, port, network) not in seen:
                seen.add((proto, port, network))
                targets.setdefault(FAMILIES[network.version], []).append(str(network))
        rules += [{**common, family: targets[family]} for family in FAMILIES.values() if family in targets]
    return rules


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"security_group_rules": security_group_rules}
