# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unmanaged_rules
short_description: List the rules of a security group that nobody declared
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares a group with the rules that M(amazon.aws.ec2_security_group) was given, and returns the others in words.
  - A rule is declared by its protocol, ports, and networks or group.
options:
  _input:
    description: The group, as M(amazon.aws.ec2_security_group) returns it.
    type: dict
    required: true
  ingress:
    description: The declared incoming rules.
    type: list
    elements: dict
    required: true
  egress:
    description: The declared outgoing rules.
    type: list
    elements: dict
    required: true
  groups:
    description: IDs of the groups that the declared rules name.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the rules that were added by hand
  ansible.builtin.debug:
    msg: "{{ group | lightbox.pacs.unmanaged_rules(rules, rules_egress, groups={'radiology-database': 'sg-0abcdef1234567890'}) }}"
"""

RETURN = r"""
_value:
  description: The rules that were not declared, in words.
  type: list
  elements: str
  sample: ["incoming tcp 22 from 0.0.0.0/0 (added by hand)"]
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

TARGETS = {
    "ip_ranges": "cidr_ip",
    "ipv6_ranges": "cidr_ipv6",
    "prefix_list_ids": "prefix_list_id",
    "user_id_group_pairs": "group_id",
}
ANY_PORT = (None, -1)


def describe_ports(permission: Mapping[str, Any]) -> str:
    if permission["ip_protocol"] == "-1":
        return "all traffic"
    first, last = permission.get("from_port"), permission.get("to_port")
    ports = "" if first in ANY_PORT else f" {first}" if first == last else f" {first}-{last}"
    return f"{permission['ip_protocol']}{ports}"


def declared_targets(
    rules: Iterable[Mapping[str, Any]], groups: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield protocol and ports with each network, or with the ID of each group, that rules declare."""
    for rule in rules:
        ids = [groups.get(name) for name in rule.get("group_name", [])]
        for port in rule["ports"]:
            for target in [*rule.get("cidr_ip", []), *rule.get("cidr_ipv6", []), *ids]:
                yield f"{rule['proto']} {port}", target


def unmanaged_rules(
    group: Mapping[str, Any],
    ingress: Iterable[Mapping[str, Any]],
    egress: Iterable[Mapping[str, Any]],
    groups: Mapping[str, str] | None = None,
) -> list[str]:
    found = []
    for permissions, rules, way, side in (
        (group.get("ip_permissions"), ingress, "incoming", "from"),
        (group.get("ip_permissions_egress"), egress, "outgoing", "to"),
    ):
        declared = set(declared_targets(rules, groups or {}))
        for permission in permissions or []:
            ports = describe_ports(permission)
            for key, name in TARGETS.items():
                for target in permission.get(key) or []:
                    if (ports, target[name]) in declared:
                        continue
                    comment = f" ({target['description']})" if target.get("description") else ""
                    found.append(f"{way} {ports} {side} {target[name]}{comment}")
    return found


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"unmanaged_rules": unmanaged_rules}
