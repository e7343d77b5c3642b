"""What security groups expose, against what is declared: a table of rule sets."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _exposure
from ansible_collections.lightbox.pacs.plugins.module_utils._exposure import (
    DeclarationError,
    Rule,
    describe_ports,
    evaluate,
    find_missing,
    find_reachable,
    find_undeclared,
    parse_declared,
    parse_protocol,
    parse_rule,
    port_range,
    rules_of_group,
)

GROUPS = {"sg-0a": "lab-archive", "sg-0d": "lab-database"}
PREFIX_LISTS = {
    "pl-1": ["10.1.0.0/16", "10.2.0.0/16"],
    "pl-2": ["198.51.100.0/24"],
    "pl-empty": [],
    "pl-unread": None,
}


def make_rule(text: str, group: str = "sg-0a", **more) -> Rule:
    """A rule such as `tcp 22-23 10.0.0.0/8`, as EC2 would have it; with `>` before the source for outgoing traffic."""
    protocol, ports, source = text.split()
    first, _dash, last = ports.partition("-") if ports != "all" else ("-1", "", "")
    if "/" in ports:
        first, last = ports.split("/")
    elif protocol.startswith("icmp"):
        last = last or "-1"
    name = parse_protocol(protocol)
    limits = port_range(name, int(first), int(last or first))
    return Rule(group, source.lstrip(">"), name, *limits, is_egress=">" in source, **more)


def make_declared(text: str) -> list[_exposure.Declaration]:
    protocol, ports, source = text.split()
    entry = {"protocol": protocol, "ports": ports.split(","), "from": source.lstrip(">").split(",")}
    return parse_declared(entry, {"lab-archive": "sg-0a", "other": "sg-0f"}, is_egress=">" in source)


def show(region: _exposure.Region) -> str:
    sources = ",".join([*sorted(region.sources.ids), *map(str, region.sources.networks)])
    return f"{describe_ports(region.protocol, region.first, region.last)} {sources}"


# name: (rules, declared, undeclared, missing)
TABLE: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "nothing at all": ([], [], [], []),
    "the same": (["tcp 443 10.0.0.0/8"], ["tcp 443 10.0.0.0/8"], [], []),
    "nothing is declared": (["tcp 22 0.0.0.0/0"], [], ["tcp 22 0.0.0.0/0"], []),
    "there is no rule": ([], ["tcp 443 10.0.0.0/8"], [], ["tcp 443 10.0.0.0/8"]),
    "another port": (
        ["tcp 444 10.0.0.0/8"],
        ["tcp 443 10.0.0.0/8"],
        ["tcp 444 10.0.0.0/8"],
        ["tcp 443 10.0.0.0/8"],
    ),
    "another protocol": (
        ["udp 443 10.0.0.0/8"],
        ["tcp 443 10.0.0.0/8"],
        ["udp 443 10.0.0.0/8"],
        ["tcp 443 10.0.0.0/8"],
    ),
    "a narrower network": (["tcp 443 10.1.0.0/16"], ["tcp 443 10.0.0.0/15"], [], ["tcp 443 10.0.0.0/16"]),
    "a wider network": (["tcp 443 10.0.0.0/15"], ["tcp 443 10.1.0.0/16"], ["tcp 443 10.0.0.0/16"], []),
    "everyone but the declared half": (["tcp 443 0.0.0.0/0"], ["tcp 443 0.0.0.0/1"], ["tcp 443 128.0.0.0/1"], []),
    "two halves are the whole": (
        ["tcp 22 0.0.0.0/1", "tcp 22 128.0.0.0/1"],
        ["tcp 22 0.0.0.0/0"],
        [],
        [],
    ),
    "the whole is declared as halves": (["tcp 22 10.0.0.0/8"], ["tcp 22 10.0.0.0/9,10.128.0.0/9"], [], []),
    "the hole of a network": (
        ["tcp 22 10.0.0.0/30"],
        ["tcp 22 10.0.0.1/32"],
        ["tcp 22 10.0.0.0/32,10.0.0.2/31"],
        [],
    ),
    "overlapping declarations": (["tcp 22 10.0.0.0/8"], ["tcp 22 10.0.0.0/8,10.1.0.0/16", "tcp all 10.0.0.0/8"], [], [
        "tcp 1-21 10.0.0.0/8, tcp 23-65535 10.0.0.0/8"
    ]),
    "IPv6 is not IPv4": (["tcp 443 ::/0"], ["tcp 443 0.0.0.0/0"], ["tcp 443 ::/0"], ["tcp 443 0.0.0.0/0"]),
    "a part of IPv6": (["tcp 443 2001:db8::/32"], ["tcp 443 2001:db8:1::/48,::/0"], [], [
        "tcp 443 ::/3,2000::/16,2001::/21,2001:800::/22,2001:c00::/24,2001:d00::/25,2001:d80::/27,2001:da0::/28,"
        "2001:db0::/29,2001:db9::/32,2001:dba::/31,2001:dbc::/30,2001:dc0::/26,2001:e00::/23,2001:1000::/20,"
        "2001:2000::/19,2001:4000::/18,2001:8000::/17,2002::/15,2004::/14,2008::/13,2010::/12,2020::/11,2040::/10,"
        "2080::/9,2100::/8,2200::/7,2400::/6,2800::/5,3000::/4,4000::/2,8000::/1"
    ]),
    "an address without a length": (["tcp 443 192.0.2.7/32"], ["tcp 443 192.0.2.7"], [], []),
    "a range of ports": (["tcp 440-450 10.0.0.0/8"], ["tcp 443 10.0.0.0/8"], [
        "tcp 440-442 10.0.0.0/8, tcp 444-450 10.0.0.0/8"
    ], []),
    "a range within the declared one": (["tcp 445-450 10.0.0.0/8"], ["tcp 440-450 10.0.0.0/8"], [], [
        "tcp 440-444 10.0.0.0/8"
    ]),
    "ranges that meet": (
        ["tcp 1-99 10.0.0.0/8", "tcp 100-200 10.0.0.0/8"],
        ["tcp 50-150 10.0.0.0/8", "tcp 1-60,140-200 10.0.0.0/8"],
        [],
        [],
    ),
    "ports with different networks": (
        ["tcp 1-10 10.0.0.0/8"],
        ["tcp 1-5 10.0.0.0/9", "tcp 6-10 10.128.0.0/9"],
        ["tcp 1-5 10.128.0.0/9, tcp 6-10 10.0.0.0/9"],
        [],
    ),
    "port 0 is none": (["tcp 0-65535 10.0.0.0/8"], ["tcp all 10.0.0.0/8"], [], []),
    "all protocols are more than all of TCP": (
        ["-1 all 10.0.0.0/8"],
        ["tcp all 10.0.0.0/8", "udp all 10.0.0.0/8"],
        ["all protocols 10.0.0.0/8"],
        [],
    ),
    "all protocols are declared": (["-1 all 10.0.0.0/8", "tcp 22 10.1.0.0/16"], ["all all 10.0.0.0/8"], [], []),
    "all protocols have a declared port": (["-1 all 10.0.0.0/8"], ["all all 10.0.0.0/8", "tcp 443 10.0.0.0/8"], [], []),
    "a protocol by number": (["6 443 10.0.0.0/8"], ["tcp 443 10.0.0.0/8"], [], []),
    "a protocol without ports": (["50 all 10.0.0.0/8", "51 all 10.0.0.0/8"], ["50 all 10.0.0.0/8"], [
        "all 51 10.0.0.0/8"
    ], []),
    "ICMP, all of it": (["icmp all 0.0.0.0/0"], ["icmp all 0.0.0.0/0"], [], []),
    "ICMP, one type": (["icmp 8 0.0.0.0/0"], ["icmp 8 0.0.0.0/0"], [], []),
    "ICMP, one code of a type": (["icmp 3 0.0.0.0/0"], ["icmp 3/4 0.0.0.0/0"], [
        "icmp 3/0-3/3 0.0.0.0/0, icmp 3/5-3/255 0.0.0.0/0"
    ], []),
    "ICMP, a type of all": (["icmp all 10.0.0.0/8"], ["icmp 8 10.0.0.0/8"], [
        "icmp 0-7 10.0.0.0/8, icmp 9-255 10.0.0.0/8"
    ], []),
    "ICMPv6 is not ICMP": (["icmpv6 all ::/0"], ["icmp all ::/0"], ["all icmpv6 ::/0"], ["all icmp ::/0"]),
    "a group": (["tcp 5432 sg-0b"], ["tcp 5432 sg-0b"], [], []),
    "a group by its name": (["tcp 5432 sg-0a"], ["tcp 5432 lab-archive"], [], []),
    "another group": (["tcp 5432 sg-0b"], ["tcp 5432 sg-0c"], ["tcp 5432 sg-0b"], ["tcp 5432 sg-0c"]),
    "the group itself": (["-1 all sg-0a"], ["all all self"], [], []),
    "the group itself, not declared": (["-1 all sg-0a"], [], ["all protocols sg-0a"], []),
    "a group is not a network": (["tcp 5432 sg-0b"], ["tcp 5432 10.0.0.0/8"], ["tcp 5432 sg-0b"], [
        "tcp 5432 10.0.0.0/8"
    ]),
    "a group is in everyone": (["tcp 443 sg-0b"], ["tcp 443 0.0.0.0/0,::/0"], [], [
        "tcp 443 0.0.0.0/0", "tcp 443 ::/0"
    ]),
    "a group is in everyone, with IPv6 only by declaration": (["tcp 443 sg-0b"], ["tcp 443 0.0.0.0/0"], [
        "tcp 443 sg-0b"
    ], ["tcp 443 0.0.0.0/0"]),
    "a prefix list by its ID": (["tcp 443 pl-1"], ["tcp 443 pl-1"], [], []),
    "a prefix list by its networks": (["tcp 443 pl-1"], ["tcp 443 10.1.0.0/16,10.2.0.0/16"], [], []),
    "a prefix list in a network": (["tcp 443 pl-1"], ["tcp 443 10.0.0.0/8,10.1.0.0/16"], [], [
        "tcp 443 10.0.0.0/16,10.3.0.0/16,10.4.0.0/14,10.8.0.0/13,10.16.0.0/12,10.32.0.0/11,10.64.0.0/10,10.128.0.0/9"
    ]),
    "a prefix list with more": (["tcp 443 pl-1"], ["tcp 443 10.1.0.0/16"], ["tcp 443 pl-1,10.2.0.0/16"], []),
    "a declared prefix list by networks": (["tcp 443 10.1.0.0/16", "tcp 443 10.2.0.0/16"], ["tcp 443 pl-1"], [], []),
    "an empty prefix list may be filled": (["tcp 443 pl-empty"], ["tcp 443 10.0.0.0/8"], ["tcp 443 pl-empty"], [
        "tcp 443 10.0.0.0/8"
    ]),
    "a prefix list that could not be read": (["tcp 443 pl-unread"], [], ["tcp 443 pl-unread"], []),
    "everyone is declared, whatever the prefix list has": (["tcp 443 pl-unread"], ["tcp 443 0.0.0.0/0,::/0"], [], [
        "tcp 443 0.0.0.0/0", "tcp 443 ::/0"
    ]),
    "a prefix list that could not be read is declared": (["tcp 443 pl-unread"], ["tcp 443 pl-unread"], [], []),
    "outgoing is not incoming": (["tcp 443 >0.0.0.0/0"], ["tcp 443 0.0.0.0/0"], ["tcp 443 0.0.0.0/0"], [
        "tcp 443 0.0.0.0/0"
    ]),
    "outgoing": (["tcp 443 >0.0.0.0/0", "50 all >10.0.0.0/8"], ["tcp 443 >0.0.0.0/0"], ["all 50 10.0.0.0/8"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    rules, declared, undeclared, missing = TABLE[name]
    given = [make_rule(rule) for rule in rules]
    declarations = [one for text in declared for one in make_declared(text)]
    found = find_undeclared(given, declarations, PREFIX_LISTS)
    assert [", ".join(map(show, left)) for _rule, left in found] == undeclared
    lacking = find_missing(given, declarations, PREFIX_LISTS, list(GROUPS))
    assert [", ".join(map(show, left)) for _declaration, _source, left in lacking] == missing


def test_the_table_is_long():
    assert len(TABLE) >= 30


@pytest.mark.parametrize("name", TABLE)
def test_what_a_rule_allows_is_either_declared_or_not(name):
    """Try single ports and addresses, in place of ranges and networks."""
    rules, declared, undeclared, _missing = TABLE[name]
    given = [make_rule(rule) for rule in rules]
    declarations = [one for text in declared for one in make_declared(text)]
    left = [region for _rule, regions in find_undeclared(given, declarations, PREFIX_LISTS) for region in regions]

    def within(first, last, sources, port, address):
        return first <= port <= last and any(address in network for network in sources)

    for protocol in ("tcp", "udp", "icmp"):
        for port in (1, 5, 6, 22, 443, 444, 450, 772, 773, 65535):
            for text in ("0.0.0.1", "10.0.0.1", "10.0.0.2", "10.1.2.3", "10.200.0.1", "192.0.2.7", "200.0.0.1", "::1"):
                address = ipaddress.ip_address(text)

                def has(entries, protocol=protocol, port=port, address=address):
                    return any(
                        one.protocol in (protocol, "all") and within(one.first, one.last, networks, port, address)
                        for one, networks in entries
                    )

                allowed = has(
                    (rule, _exposure.resolve(rule.source, PREFIX_LISTS).networks)
                    for rule in given
                    if not rule.is_egress
                )
                meant = has(
                    (one, [n for source in one.sources for n in _exposure.resolve(source, PREFIX_LISTS).networks])
                    for one in declarations
                    if not one.is_egress
                )
                more = has((region, region.sources.networks) for region in left)
                if allowed and not meant:
                    assert more, (protocol, port, text)
                elif not any(rule.is_egress for rule in given) and meant and "all protocols" not in str(undeclared):
                    assert not more, (protocol, port, text)


def test_declarations_of_another_group_do_not_count():
    rule = make_rule("tcp 5432 sg-0a", group="sg-0d")
    ids = {name: one for one, name in GROUPS.items()}
    for group, expected in (("lab-database", 0), ("", 0), ("lab-archive", 1)):
        declared = parse_declared({"ports": [5432], "from": ["lab-archive"], "group": group}, ids)
        assert len(find_undeclared([rule], declared, {})) == expected
        assert len(find_missing([rule], declared, {}, list(GROUPS))) == expected


def test_itself_is_the_group_of_the_rule():
    declared = parse_declared({"protocol": "all", "from": ["self"]}, {})
    assert find_undeclared([make_rule("-1 all sg-0d", group="sg-0d")], declared, {}) == []
    assert len(find_undeclared([make_rule("-1 all sg-0a", group="sg-0d")], declared, {})) == 1
    assert find_missing([make_rule("-1 all sg-0d", group="sg-0d")], declared, {}, list(GROUPS)) == []
    assert len(find_missing([make_rule("-1 all sg-0a", group="sg-0d")], declared, {}, list(GROUPS))) == 1


def test_rules_as_ec2_returns_them():
    group = {
        "GroupId": "sg-0a",
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "by hand"}, {"CidrIp": "10.0.0.0/8"}],
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
                "PrefixListIds": [{"PrefixListId": "pl-1"}],
                "UserIdGroupPairs": [{"GroupId": "sg-0b", "UserId": "123456789012"}],
            },
            {"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
        ],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    rules = rules_of_group(group)
    sources = ["0.0.0.0/0", "10.0.0.0/8", "::/0", "pl-1", "sg-0b"]
    assert [rule.source for rule in rules] == [*sources, "10.0.0.0/8", "0.0.0.0/0"]
    assert {(rule.protocol, rule.first, rule.last) for rule in rules[:5]} == {("tcp", 22, 22)}
    assert (rules[0].description, rules[0].is_egress, rules[-1].is_egress) == ("by hand", False, True)
    assert describe_ports(rules[5].protocol, rules[5].first, rules[5].last) == "icmp 3/4"
    assert describe_ports(rules[6].protocol, rules[6].first, rules[6].last) == "all protocols"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"CidrIpv4": "10.0.0.0/8"}, "10.0.0.0/8"),
        ({"CidrIpv6": "::/0"}, "::/0"),
        ({"PrefixListId": "pl-1"}, "pl-1"),
        ({"ReferencedGroupInfo": {"GroupId": "sg-0b", "UserId": "123456789012"}}, "sg-0b"),
    ],
)
def test_a_rule_with_its_id(source, expected):
    rule = {"SecurityGroupRuleId": "sgr-1", "GroupId": "sg-0a", "IsEgress": False, "IpProtocol": "tcp", "FromPort": 22}
    parsed = parse_rule(rule | source | {"ToPort": 23, "Description": "by hand"})
    assert parsed == Rule("sg-0a", expected, "tcp", 22, 23, "sgr-1", "by hand")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"ports": ["70000"]}, "`70000` is not valid for the protocol tcp. Use a port such as 443, a range such as"),
        ({"ports": ["20-10"]}, "`20-10` is not valid"),
        ({"ports": ["https"]}, "`https` is not valid"),
        ({"ports": ["-5"]}, "`-5` is not valid"),
        ({"ports": ["8/0/0"], "protocol": "icmp"}, "Use a type such as 8, a type with a code such as 3/4, or all."),
        ({"ports": ["256"], "protocol": "icmp"}, "`256` is not valid for the protocol icmp"),
        ({"ports": ["443"], "protocol": "all"}, "`443` is not valid for the protocol all. Use all."),
        ({"from": ["10.1.2.3/16"]}, "`10.1.2.3/16` is an address with the length of a network. Use 10.1.0.0/16."),
        ({"from": ["10.01.0.0/16"]}, "`10.01.0.0/16` is not a network such as 10.1.0.0/16"),
        ({"from": ["nobody"]}, "or the ID or the name of a security group."),
        ({"group": "nobody"}, "`nobody` is not the name or the ID of a security group."),
    ],
)
def test_declarations_that_are_not_valid(entry, message):
    with pytest.raises(DeclarationError) as error:
        parse_declared({"ports": ["443"], "from": ["10.0.0.0/8"]} | entry, {})
    assert message in str(error.value)


def test_findings():
    rules = [
        make_rule("tcp 443 0.0.0.0/0", id="sgr-1"),
        make_rule("tcp 22 0.0.0.0/0", id="sgr-2", description="by hand"),
        make_rule("tcp 5432 10.77.0.0/16", group="sg-0d", id="sgr-3"),
        make_rule("tcp 4242 pl-unread", id="sgr-4"),
        make_rule("tcp 80 sg-0f", id="sgr-5"),
        make_rule("tcp 81 pl-empty", id="sgr-8"),
        make_rule("tcp 443 0.0.0.0/0", group="sg-0e", id="sgr-6"),  # a group that is not checked
        make_rule("tcp 443 >0.0.0.0/0", id="sgr-7"),  # nothing is declared for this direction
    ]
    ids = {name: one for one, name in GROUPS.items()}
    declared = [
        *parse_declared({"ports": [443], "from": ["0.0.0.0/0"], "group": "lab-archive"}, ids),
        *parse_declared({"ports": [22], "from": ["192.0.2.0/24"], "group": "lab-archive"}, ids),
        *parse_declared({"ports": [5432], "from": ["lab-archive"], "group": "lab-database"}, ids),
    ]
    result = evaluate(GROUPS, rules, declared, PREFIX_LISTS, {"sg-0f": "balancer"})
    assert [
        (one["id"], one["severity"], one["rule_id"], one["group_name"], one["source"]) for one in result["findings"]
    ] == [
        ("undeclared", "high", "sgr-2", "lab-archive", "0.0.0.0/0"),
        ("unknown", "high", "sgr-4", "lab-archive", "pl-unread"),
        ("undeclared", "medium", "sgr-3", "lab-database", "10.77.0.0/16"),
        ("undeclared", "medium", "sgr-4", "lab-archive", "pl-unread"),
        ("undeclared", "medium", "sgr-5", "lab-archive", "sg-0f"),
        ("undeclared", "medium", "sgr-8", "lab-archive", "pl-empty"),
        ("missing", "medium", "", "lab-database", "sg-0a"),
    ]
    by_rule = {one["rule_id"]: one["actual"] for one in result["findings"] if one["id"] != "unknown"}
    assert by_rule == {
        "sgr-2": "lab-archive (sg-0a) allows tcp 22 from 0.0.0.0/0, of which only 192.0.2.0/24 is declared "
        "[rule sgr-2 'by hand']",
        "sgr-3": "lab-database (sg-0d) allows tcp 5432 from 10.77.0.0/16 [rule sgr-3]",
        "sgr-4": "lab-archive (sg-0a) allows tcp 4242 from pl-unread [rule sgr-4]",
        "sgr-5": "lab-archive (sg-0a) allows tcp 80 from balancer (sg-0f) [rule sgr-5]",
        "sgr-8": "lab-archive (sg-0a) allows tcp 81 from pl-empty [rule sgr-8]",
        "": "lab-database (sg-0d) does not allow tcp 5432 from lab-archive (sg-0a)",
    }
    assert [(one["rule_id"], one["is_declared"]) for one in result["exposure"]] == [
        ("sgr-1", True),
        ("sgr-2", False),
        ("sgr-3", False),
        ("sgr-4", False),
        ("sgr-5", False),
        ("sgr-8", False),
    ]


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (["0.0.0.0/0"], True),
        (["8.0.0.0/8"], True),
        (["8.0.0.0/9", "9.0.0.0/9"], True),
        (["8.0.0.0/9"], False),
        (["10.0.0.0/8"], False),
        (["::/0"], True),
        (["2600::/32"], True),
        (["2600::/48"], False),
        (["fd00::/8"], False),
        ([], False),
    ],
)
def test_the_internet_at_large(networks, expected):
    assert _exposure.is_wide(map(ipaddress.ip_network, networks)) is expected


def test_who_reaches_a_port():
    rules = [
        make_rule("tcp 5000-6000 10.0.0.0/8"),
        make_rule("-1 all sg-0b"),
        make_rule("tcp 5431 10.1.0.0/16"),
        make_rule("udp 5432 10.2.0.0/16"),
        make_rule("tcp 5432 >10.3.0.0/16"),
    ]
    assert [rule.source for rule in find_reachable(rules, "tcp", 5432)] == ["10.0.0.0/8", "sg-0b"]


@pytest.mark.parametrize(
    ("fail_on", "severities", "expected"),
    [
        ("high", ["high"], True),
        ("high", ["medium", "low"], False),
        ("medium", ["medium"], True),
        ("low", ["low"], True),
        ("never", ["high"], False),
        ("low", [], False),
    ],
)
def test_which_findings_are_a_failure(fail_on, severities, expected):
    assert _exposure.is_failure([{"severity": one} for one in severities], fail_on) is expected
