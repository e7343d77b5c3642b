# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: given_network
short_description: Check that an existing VPC and its subnets are fit for an archive
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the network as the role aws_network describes one, and what is wrong with it.
  - Public subnets need a route to an internet gateway, private ones at least two zones. Each needs four free addresses.
options:
  _input:
    description: The VPCs that M(amazon.aws.ec2_vpc_net_info) found.
    type: list
    elements: dict
    required: true
  subnets:
    description: The subnets that M(amazon.aws.ec2_vpc_subnet_info) found.
    type: list
    elements: dict
    required: true
  route_tables:
    description: The VPC's route tables that M(amazon.aws.ec2_vpc_route_table_info) found.
    type: list
    elements: dict
    required: true
  vpc_id:
    description: Id of the VPC that is to be used.
    type: str
    required: true
  public:
    description: Ids of the public subnets that are to be used.
    type: list
    elements: str
    required: true
  private:
    description: Ids of the private subnets that are to be used.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a VPC that is not fit
  ansible.builtin.assert:
    that: (vpcs | lightbox.pacs.given_network(subnets, tables, 'vpc-0abcdef1234567890', public, private)).errors == []
"""

RETURN = r"""
_value:
  description:
    - C(network) with C(vpc_id), C(cidr), C(public_subnets) and C(private_subnets), of which each has C(id), C(zone) and
      C(cidr).
    - C(errors), a list of messages.
  type: dict
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]

# The server, or an instance of RDS with its standby, and what takes their place in an upgrade.
FREE_ADDRESSES = 4


def find_table(subnet_id: str, tables: Iterable[Facts]) -> Facts:
    """Return the route table of a subnet: the one that it is associated with, or the VPC's main one."""
    main: Facts = {}
    for table in tables:
        for association in table.get("associations") or []:
            if association.get("subnet_id") == subnet_id:
                return table
            if association.get("main"):
                main = table
    return main


def is_public(subnet_id: str, tables: Iterable[Facts]) -> bool:
    return any(
        route.get("destination_cidr_block") == "0.0.0.0/0"
        and str(route.get("gateway_id")).startswith("igw-")
        and route.get("state", "active") == "active"
        for route in find_table(subnet_id, tables).get("routes") or []
    )


def vpc_errors(vpc: Facts) -> Iterator[str]:
    if vpc.get("state", "available") != "available":
        yield f"aws_network_vpc_id is {vpc['vpc_id']}, which is {vpc['state']}. Run again when it is available."
    if vpc.get("enable_dns_support") is False:
        yield (
            f"aws_network_vpc_id is {vpc['vpc_id']}, whose DNS support is off, so that the server could not find the"
            " database. Enable DNS resolution in the VPC's settings, or set aws_network_vpc_id to another VPC."
        )


def subnet_errors(name: str, ids: Iterable[str], found: Mapping[str, Facts], vpc_id: str) -> Iterator[str]:
    for one in ids:
        if one not in found:
            yield f"{name} contains {one}, which does not exist in this region. Set it to ids of subnets of {vpc_id}."
            continue
        subnet = found[one]
        free = subnet.get("available_ip_address_count", FREE_ADDRESSES)
        if subnet["vpc_id"] != vpc_id:
            yield f"{name} contains {one}, which belongs to {subnet['vpc_id']}. Set it to ids of subnets of {vpc_id}."
        elif free < FREE_ADDRESSES:
            yield (
                f"{name} contains {one}, which has {free} free addresses, and {FREE_ADDRESSES} are needed. Set it to"
                " another subnet, or remove what is not used in it."
            )


def find_errors(
    vpc: Facts, found: Mapping[str, Facts], tables: Sequence[Facts], public: Sequence[str], private: Sequence[str]
) -> Iterator[str]:
    vpc_id = vpc["vpc_id"]
    yield from vpc_errors(vpc)
    yield from subnet_errors("aws_network_public_subnet_ids", public, found, vpc_id)
    yield from subnet_errors("aws_network_private_subnet_ids", private, found, vpc_id)
    for one in public:
        if one in found and found[one]["vpc_id"] == vpc_id and not is_public(one, tables):
            yield (
                f"aws_network_public_subnet_ids contains {one}, which has no route to an internet gateway. Add a route"
                " for 0.0.0.0/0 to its route table, or move it to aws_network_private_subnet_ids."
            )
    zones = sorted({found[one]["availability_zone"] for one in private if one in found})
    if len(zones) == 1:
        yield (
            f"aws_network_private_subnet_ids has subnets in the zone {zones[0]} only, and a database on RDS needs two."
            " Add a subnet of another zone."
        )


def given_network(
    vpcs: Iterable[Facts],
    subnets: Iterable[Facts],
    route_tables: Sequence[Facts],
    vpc_id: str,
    public: Sequence[str],
    private: Sequence[str],
) -> dict[str, Any]:
    vpc = next((one for one in vpcs if one["vpc_id"] == vpc_id), None)
    if not vpc:
        message = (
            f"aws_network_vpc_id is {vpc_id}, which does not exist in this region of the account. Set it to the id of a"
            " VPC, or to '' to make one."
        )
        return {"network": {}, "errors": [message]}
    found = {subnet["subnet_id"]: subnet for subnet in subnets}

    def describe(ids: Iterable[str]) -> list[dict[str, str]]:
        return [
            {"id": one, "zone": found[one]["availability_zone"], "cidr": found[one]["cidr_block"]}
            for one in ids
            if one in found
        ]

    network = {
        "vpc_id": vpc_id,
        "cidr": vpc["cidr_block"],
        "public_subnets": describe(public),
        "private_subnets": describe(private),
    }
    return {"network": network, "errors": list(find_errors(vpc, found, route_tables, public, private))}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"given_network": given_network}
