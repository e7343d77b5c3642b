# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Who may reach which ports by the rules of security groups, and how that differs from what is declared.

Both sides become regions: a protocol, a range of ports, and sources. What one side has beyond the other is what is left
when the other's regions are subtracted. So two declared halves cover a rule for the whole, and a rule for a wider
network than the declared one is found, whatever the text.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

if t.TYPE_CHECKING:
    Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 - evaluated, and pylint knows Python 3.9
    # The networks of a prefix list, by its ID; None where they could not be read.
    PrefixLists = t.Mapping[str, t.Optional[t.Sequence[str]]]  # noqa: UP045

ALL = "all"
LAST = 65535
PROTOCOLS = {"-1": ALL, "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
WITH_PORTS = ("tcp", "udp")
WITH_TYPES = ("icmp", "icmpv6")
EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
SEVERITIES = ("high", "medium", "low")
# So many public IPv4 addresses, or such a part of IPv6, are the internet at large.
MANY_ADDRESSES = 2**24
WIDE_IPV6_PREFIX = 32


class DeclarationError(ValueError):
    """An entry of what is declared is not valid. The text names the value and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Networks, and the IDs of groups and prefix lists. The networks of a prefix list are among the networks, too."""

    networks: tuple[Network, ...] = ()
    ids: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.networks or self.ids)


@dataclasses.dataclass(frozen=True)
class Region:
    """What is reachable: ports from first to last. ICMP counts 256 for each type, plus the code."""

    protocol: str
    first: int
    last: int
    sources: Sources


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule of a group with one source: a network, the ID of a group or that of a prefix list."""

    group: str
    source: str
    protocol: str
    first: int
    last: int
    id: str = ""
    description: str = ""
    is_egress: bool = False


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What is meant to be reachable in a group, or in whichever group where that is empty."""

    protocol: str
    first: int
    last: int
    sources: tuple[str, ...]  # also `self`, for the group itself
    group: str = ""
    is_egress: bool = False


def is_group(source: str) -> bool:
    return re.fullmatch(r"sg-[0-9a-zA-Z]+", source) is not None


def is_prefix_list(source: str) -> bool:
    return re.fullmatch(r"pl-[0-9a-zA-Z]+", source) is not None


def parse_network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def port_range(protocol: str, first: int | None, last: int | None) -> tuple[int, int]:
    """Return the range of a rule, as EC2 writes it: -1 for all; type and code for ICMP."""
    first = -1 if first is None else first
    last = -1 if last is None else last
    if protocol in WITH_TYPES and first != -1:
        return (first * 256, first * 256 + 255) if last == -1 else (first * 256 + last,) * 2
    if protocol in WITH_PORTS and first != -1:
        return (1 if first == 0 < last else first), last  # there is no port 0
    return (1 if protocol in WITH_PORTS else 0), LAST


def parse_protocol(text: str) -> str:
    return PROTOCOLS.get(text.lower(), text.lower())


def rules_of_group(group: t.Mapping[str, t.Any]) -> list[Rule]:
    """Return the rules of a SecurityGroup of DescribeSecurityGroups, which have no IDs."""
    rules = []
    for permissions, is_egress in (("IpPermissions", False), ("IpPermissionsEgress", True)):
        for permission in group.get(permissions, []):
            protocol = parse_protocol(permission["IpProtocol"])
            ports = port_range(protocol, permission.get("FromPort"), permission.get("ToPort"))
            for sources, key in (
                ("IpRanges", "CidrIp"),
                ("Ipv6Ranges", "CidrIpv6"),
                ("PrefixListIds", "PrefixListId"),
                ("UserIdGroupPairs", "GroupId"),
            ):
                for source in permission.get(sources, []):
                    description = source.get("Description", "")
                    rules.append(
                        Rule(group["GroupId"], source[key], protocol, *ports, "", description, is_egress=is_egress)
                    )
    return rules


def parse_rule(rule: t.Mapping[str, t.Any]) -> Rule:
    """Return a SecurityGroupRule of DescribeSecurityGroupRules."""
    source = next((rule[key] for key in ("CidrIpv4", "CidrIpv6", "PrefixListId") if rule.get(key)), "")
    protocol = parse_protocol(rule["IpProtocol"])
    return Rule(
        rule["GroupId"],
        source or rule["ReferencedGroupInfo"]["GroupId"],
        protocol,
        *port_range(protocol, rule.get("FromPort"), rule.get("ToPort")),
        id=rule["SecurityGroupRuleId"],
        description=rule.get("Description", ""),
        is_egress=rule["IsEgress"],
    )


def parse_ports(protocol: str, text: str) -> tuple[int, int]:
    """Return the range of a declared port, range of ports or `all`; for ICMP of a type or type/code."""
    everything = port_range(protocol, None, None)
    if text in ("", ALL, "-1"):
        return everything
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text) if protocol in WITH_PORTS else None
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last <= LAST:
            return port_range(protocol, first, last)
    found = re.fullmatch(r"([0-9]{1,3})(?:/([0-9]{1,3}))?", text) if protocol in WITH_TYPES else None
    if found and max(int(found[1]), int(found[2] or 0)) < 256:
        return port_range(protocol, int(found[1]), int(found[2] or -1))
    allowed = {
        **dict.fromkeys(WITH_PORTS, "a port such as 443, a range such as 8000-8010, or all"),
        **dict.fromkeys(WITH_TYPES, "a type such as 8, a type with a code such as 3/4, or all"),
    }.get(protocol, "all")
    raise DeclarationError(f"`{text}` is not valid for the protocol {protocol}. Use {allowed}.")


def parse_source(source: str, ids: t.Mapping[str, str]) -> str:
    """Return a declared source as a network, `self` or the ID of a group or a prefix list."""
    if source == "self" or is_group(source) or is_prefix_list(source):
        return source
    network = parse_network(source)
    if network is None:
        if source not in ids:
            raise DeclarationError(
                f"`{source}` is not a network such as 10.1.0.0/16, `self`, the ID of a prefix list, or the ID or the "
                "name of a security group."
            )
        return ids[source]
    if ipaddress.ip_interface(source).ip != network.network_address:
        raise DeclarationError(f"`{source}` is an address with the length of a network. Use {network}.")
    return str(network)


def parse_declared(
    entry: t.Mapping[str, t.Any], ids: t.Mapping[str, str], is_egress: bool = False
) -> list[Declaration]:
    """Return an entry {ports, protocol, from, group} as declarations. ids: names of groups to their IDs."""
    protocol = parse_protocol(str(entry.get("protocol") or "tcp"))
    sources = tuple(parse_source(str(source), ids) for source in entry["from"])
    group = str(entry.get("group") or "")
    if group and not is_group(group):
        if group not in ids:
            raise DeclarationError(f"`{group}` is not the name or the ID of a security group.")
        group = ids[group]
    return [
        Declaration(protocol, *parse_ports(protocol, str(ports)), sources, group, is_egress)
        for ports in entry.get("ports") or [ALL]
    ]


def resolve(source: str, prefix_lists: PrefixLists, group: str = "") -> Sources:
    """Return what a source is. group: the one that `self` is."""
    if is_prefix_list(source):
        return Sources(tuple(map(ipaddress.ip_network, prefix_lists.get(source) or [])), frozenset({source}))
    if source == "self":
        return Sources(ids=frozenset({group}))
    if is_group(source):
        return Sources(ids=frozenset({source}))
    return Sources((ipaddress.ip_network(source, strict=False),))


def region_of(rule: Rule, prefix_lists: PrefixLists) -> Region:
    return Region(rule.protocol, rule.first, rule.last, resolve(rule.source, prefix_lists))


def subtract_networks(networks: t.Iterable[Network], others: t.Iterable[Network]) -> list[Network]:
    left = list(networks)
    for other in others:
        kept: list[Network] = []
        for network in left:
            if network.version != other.version or not network.overlaps(other):
                kept.append(network)
            elif not network.subnet_of(other):  # type: ignore[arg-type] # both have the same version
                kept.extend(network.address_exclude(other))  # type: ignore[arg-type]
        left = kept
    return collapse(left)


def collapse(networks: t.Iterable[Network]) -> list[Network]:
    networks = list(networks)
    return [
        network
        for version in (4, 6)
        for network in ipaddress.collapse_addresses(one for one in networks if one.version == version)  # type: ignore[type-var]
    ]


def subtract_sources(sources: Sources, others: t.Sequence[Sources]) -> Sources:
    """Return what of the sources no other has. A prefix list is covered by its ID or by all of its networks."""
    ids = sources.ids - {one for other in others for one in other.ids}
    networks = [network for other in others for network in other.networks]
    left = subtract_networks(sources.networks, networks)
    if sources.networks:
        return Sources(tuple(left), ids) if left else Sources()
    # The addresses of a group's members are not looked up: only everywhere is sure to have them.
    if not subtract_networks(EVERYWHERE, networks):
        return Sources()
    return Sources((), ids)


def subtract(region: Region, others: t.Iterable[Region]) -> list[Region]:
    """Return what of a region no other has, as regions with ascending ports."""
    covering = [other for other in others if other.protocol in (region.protocol, ALL)]
    limits = {limit for other in covering for limit in (other.first, other.last + 1)}
    starts = [region.first, *sorted(limit for limit in limits if region.first < limit <= region.last)]
    left: list[Region] = []
    for first, last in zip(starts, [*(start - 1 for start in starts[1:]), region.last], strict=True):
        sources = subtract_sources(
            region.sources, [other.sources for other in covering if other.first <= first and last <= other.last]
        )
        if left and left[-1].last == first - 1 and left[-1].sources == sources:
            left[-1] = dataclasses.replace(left[-1], last=last)
        elif sources:
            left.append(Region(region.protocol, first, last, sources))
    return left


def find_undeclared(
    rules: t.Iterable[Rule], declarations: t.Sequence[Declaration], prefix_lists: PrefixLists
) -> list[tuple[Rule, list[Region]]]:
    """Return each rule by which more is reachable than declared, with what is."""
    found = []
    for rule in rules:
        declared = [
            Region(one.protocol, one.first, one.last, resolve(source, prefix_lists, rule.group))
            for one in declarations
            if one.is_egress == rule.is_egress and one.group in ("", rule.group)
            for source in one.sources
        ]
        left = subtract(region_of(rule, prefix_lists), declared)
        if left:
            found.append((rule, left))
    return found


def find_missing(
    rules: t.Sequence[Rule], declarations: t.Iterable[Declaration], prefix_lists: PrefixLists, groups: t.Sequence[str]
) -> list[tuple[Declaration, str, list[Region]]]:
    """Return each declared source of a declaration that is not reachable in whole, with what is not."""
    found = []
    for one in declarations:
        in_direction = [rule for rule in rules if rule.is_egress == one.is_egress]
        for source in one.sources:
            # In whichever group: for `self` that is a rule of a group for that group.
            places = [[one.group]] if one.group else [[group] for group in groups] if source == "self" else [groups]
            left = [
                subtract(
                    Region(one.protocol, one.first, one.last, resolve(source, prefix_lists, place[0])),
                    [region_of(rule, prefix_lists) for rule in in_direction if rule.group in place],
                )
                for place in places
            ]
            if all(left):
                found.append((one, source, left[0]))
    return found


def find_reachable(rules: t.Iterable[Rule], protocol: str, port: int) -> list[Rule]:
    """Return the rules for incoming traffic by which a port is reachable."""
    return [
        rule
        for rule in rules
        if not rule.is_egress and rule.protocol in (protocol, ALL) and rule.first <= port <= rule.last
    ]


def is_wide(networks: t.Iterable[Network]) -> bool:
    """Return whether networks are the internet at large: many public addresses, also in parts."""
    public = [network for network in collapse(networks) if not network.is_private]
    addresses = sum(network.num_addresses for network in public if network.version == 4)
    return addresses >= MANY_ADDRESSES or any(
        network.version == 6 and network.prefixlen <= WIDE_IPV6_PREFIX for network in public
    )


def format_ports(protocol: str, first: int, last: int) -> str:
    """Return a range as parse_ports() takes it."""
    if (first, last) == port_range(protocol, None, None):
        return ALL
    if protocol not in WITH_TYPES:
        return str(first) if first == last else f"{first}-{last}"
    (first_type, first_code), (last_type, last_code) = divmod(first, 256), divmod(last, 256)
    if first == last:
        return f"{first_type}/{first_code}"
    if (first_code, last_code) == (0, 255):
        return str(first_type) if first_type == last_type else f"{first_type}-{last_type}"
    return f"{first_type}/{first_code}-{last_type}/{last_code}"


def describe_ports(protocol: str, first: int, last: int) -> str:
    """Return a range as people read it, such as tcp 443, udp 1-100, all icmp, all protocols."""
    ports = format_ports(protocol, first, last)
    if protocol == ALL:
        return "all protocols"
    return f"all {protocol}" if ports == ALL else f"{protocol} {ports}"


def evaluate(
    groups: t.Mapping[str, str],
    rules: t.Sequence[Rule],
    declarations: t.Sequence[Declaration],
    prefix_lists: PrefixLists,
    names: t.Mapping[str, str] | None = None,
    with_egress: bool = False,
) -> dict[str, t.Any]:
    """Compare groups with what is declared.

    groups: names of the groups by their IDs; names: those of other groups that may be sources. Returns findings, by
    severity, and exposure, an entry for each rule. Rules for outgoing traffic count only on demand.
    """
    names = {**(names or {}), **groups}
    rules = [rule for rule in rules if rule.group in groups and (with_egress or not rule.is_egress)]
    undeclared = dict(find_undeclared(rules, declarations, prefix_lists))
    findings = [describe_undeclared(rule, left, names) for rule, left in undeclared.items()]
    findings += [
        describe_missing(*missing, names) for missing in find_missing(rules, declarations, prefix_lists, list(groups))
    ]
    findings += [
        describe_unknown(rule, names)
        for rule in undeclared
        if is_prefix_list(rule.source) and prefix_lists.get(rule.source) is None
    ]
    exposure = [
        {
            **describe_rule(rule, names),
            "networks": list(map(str, resolve(rule.source, prefix_lists).networks)),
            "is_declared": rule not in undeclared,
        }
        for rule in rules
    ]
    return {"findings": sorted(findings, key=lambda one: SEVERITIES.index(one["severity"])), "exposure": exposure}


def describe_rule(rule: Rule, names: t.Mapping[str, str]) -> dict[str, t.Any]:
    return {
        "group_id": rule.group,
        "group_name": names.get(rule.group, ""),
        "direction": "egress" if rule.is_egress else "ingress",
        "protocol": rule.protocol,
        "ports": format_ports(rule.protocol, rule.first, rule.last),
        "source": rule.source,
        "source_name": names.get(rule.source, ""),
        "rule_id": rule.id,
        "description": rule.description,
    }


def name_of(one: str, names: t.Mapping[str, str]) -> str:
    return f"{names[one]} ({one})" if names.get(one) else one


def enumerate_some(items: t.Sequence[t.Any], most: int = 4) -> str:
    shown = ", ".join(map(str, items[:most]))
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown


def describe_undeclared(rule: Rule, left: t.Sequence[Region], names: t.Mapping[str, str]) -> dict[str, t.Any]:
    networks = collapse(network for region in left for network in region.sources.networks)
    ports = ", ".join(describe_ports(region.protocol, region.first, region.last) for region in left)
    source, way = name_of(rule.source, names), "to" if rule.is_egress else "from"
    whole = parse_network(rule.source)
    declared = subtract_networks([whole], networks) if whole else []
    if declared and len(left) == 1:
        source += f", of which only {enumerate_some(declared)} is declared"
    elif networks and networks != [whole]:
        source = f"{enumerate_some(networks)} (of {source})"
    label = " ".join(filter(None, ["rule", rule.id, f"'{rule.description}'" if rule.description else ""]))
    return {
        "id": "undeclared",
        "severity": "high" if is_wide(networks) else "medium",
        "status": "found",
        **describe_rule(rule, names),
        "networks": list(map(str, networks)),
        "actual": f"{name_of(rule.group, names)} allows {ports} {way} {source} [{label}]",
        "expected": "only what is declared",
        "remedy": "Remove the rule, or declare it.",
    }


def describe_missing(
    declaration: Declaration, source: str, left: t.Sequence[Region], names: t.Mapping[str, str]
) -> dict[str, t.Any]:
    networks = collapse(network for region in left for network in region.sources.networks)
    ports = ", ".join(describe_ports(region.protocol, region.first, region.last) for region in left)
    way = "to" if declaration.is_egress else "from"
    where = enumerate_some(networks) if networks and not is_prefix_list(source) else name_of(source, names)
    who = f"{name_of(declaration.group, names)} does not allow" if declaration.group else "no group allows"
    rule = Rule(
        declaration.group,
        source,
        declaration.protocol,
        declaration.first,
        declaration.last,
        is_egress=declaration.is_egress,
    )
    return {
        "id": "missing",
        "severity": "medium",
        "status": "found",
        **describe_rule(rule, names),
        "networks": list(map(str, networks)),
        "actual": f"{who} {ports} {way} {where}",
        "expected": "a rule for it, because it is declared",
        "remedy": "Add the rule, or remove it from what is declared.",
    }


def describe_unknown(rule: Rule, names: t.Mapping[str, str]) -> dict[str, t.Any]:
    return {
        "id": "unknown",
        "severity": "high",
        "status": "unknown",
        **describe_rule(rule, names),
        "networks": [],
        "actual": f"the networks of {rule.source}, which {name_of(rule.group, names)} allows, could not be read",
        "expected": "a prefix list that can be read",
        "remedy": "Allow ec2:GetManagedPrefixListEntries and run it again, or declare the prefix list by its ID.",
    }


def describe(findings: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Return one line for each finding."""
    return [
        f"{one['severity'].upper():<6}  {one['id']}: {one['actual']}. Expected: {one['expected']}. {one['remedy']}"
        for one in findings
    ]


def is_failure(findings: t.Iterable[t.Mapping[str, t.Any]], fail_on: str) -> bool:
    """Return whether a finding has the severity `fail_on` or a higher one."""
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on in SEVERITIES else ()
    return any(one["severity"] in failing for one in findings)
