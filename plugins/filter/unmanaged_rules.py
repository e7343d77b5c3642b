# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unmanaged_rules
short_description: List the rules of security groups that nobody declared
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares groups with the rules that M(amazon.aws.ec2_security_group) is given for them, and returns the others in
    words.
  - A rule is declared by its protocol, ports, and networks or group. Groups that are not declared are left out.
options:
  _input:
    description: The groups, as M(amazon.aws.ec2_security_group_info) returns them.
    type: list
    elements: dict
    required: true
  declared:
    description: The declared groups, each with C(name), C(rules) and C(rules_egress).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the rules that were added by hand
  ansible.builtin.debug:
    msg: "{{ found.security_groups | lightbox.pacs.unmanaged_rules(groups) }}"
"""

RETURN = r"""
_value:
  description: The rules that were not declared, in words.
  type: list
  elements: str
  sample: ["radiology-archive: incoming tcp 22 from 0.0.0.0/0 (added by hand)"]
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]

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


def declared_targets(rules: Iterable[Mapping[str, Any]], groups: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield protocol and ports with each network, or with the ID of each group, that rules declare."""
    for rule in rules:
        ids = [groups.get(name) for name in rule.get("group_name", [])]
        for port in rule["ports"]:
            for target in [*rule.get("cidr_ip", []), *rule.get("cidr_ipv6", []), *ids]:
                yield f"{rule['proto']} {port}", target


def group_rules(group: Facts, declared: Facts, groups: Mapping[str, str]) -> Iterator[str]:
    """Yield the rules of one group that were not declared."""
    for permissions, rules, way, side in (
        (group["ip_permissions"], declared["rules"], "incoming", "from"),
        (group["ip_permissions_egress"], declared["rules_egress"], "outgoing", "to"),
    ):
        targets = set(declared_targets(rules, groups))
        for permission in permissions:
            ports = describe_ports(permission)
            for key, name in TARGETS.items():
                for target in permission.get(key) or []:
                    if (ports, target[name]) not in targets:
                        comment = f" ({target['description']})" if target.get("description") else ""
                        yield f"{group['group_name']}: {way} {ports} {side} {target[name]}{comment}"


def unmanaged_rules(found: Sequence[Facts], declared: Iterable[Facts]) -> list[str]:
    groups = {group["group_name"]: group["group_id"] for group in found}
    by_name = {group["name"]: group for group in declared}
    return [
        rule
        for group in found
        if group["group_name"] in by_name
        for rule in group_rules(group, by_name[group["group_name"]], groups)
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"unmanaged_rules": unmanaged_rules}
