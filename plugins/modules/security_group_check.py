#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: security_group_check
short_description: Compare what EC2 security groups allow with what is declared
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns which ports are reachable from where by the rules of security groups, and how that differs from what is
    declared. More than declared is V(undeclared), less is V(missing).
  - Networks are compared by what they contain. Two declared halves cover a rule for the whole; a rule for a wider
    network than the declared one is a finding.
  - A rule with a prefix list counts as the networks of that list. A rule with a group is declared by that group, or by
    V(0.0.0.0/0) together with V(::/0); the addresses of its members are not looked up.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Never changes anything.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  groups:
    description: Names or IDs of the security groups to check.
    type: list
    elements: str
    required: true
  vpc_id:
    description: VPC of the groups. Needed where groups of other VPCs have the same names.
    type: str
  declared:
    description: What is meant to be reachable.
    type: list
    elements: dict
    default: []
    suboptions:
      ports:
        description:
          - Ports such as V(443), ranges such as V(8000-8010), or V(all). By default all.
          - For ICMP types such as V(8), or types with codes such as V(3/4).
        type: list
        elements: str
        default: [all]
      protocol:
        description: V(tcp), V(udp), V(icmp), V(icmpv6), V(all), or the number of another protocol.
        type: str
        default: tcp
      from:
        description:
          - Networks, names or IDs of security groups, IDs of prefix lists, and V(self) for the group itself.
        type: list
        elements: str
        required: true
      group:
        description: Name or ID of the group of O(groups) that is meant. By default any of them.
        type: str
  declared_egress:
    description:
      - What the groups are meant to allow to be reached, by outgoing traffic.
      - By default, rules for outgoing traffic are not checked. An empty list declares that there is none.
    type: list
    elements: dict
    suboptions:
      ports:
        description: As in O(declared[].ports).
        type: list
        elements: str
        default: [all]
      protocol:
        description: As in O(declared[].protocol).
        type: str
        default: tcp
      to:
        description: As in O(declared[].from).
        type: list
        elements: str
        required: true
      group:
        description: As in O(declared[].group).
        type: str
  fail_on:
    description: Lowest severity of a finding with which the module fails.
    type: str
    choices: [high, medium, low, never]
    default: high
notes:
  - Needs the permissions C(ec2:DescribeSecurityGroups) and C(ec2:DescribeSecurityGroupRules), and
    C(ec2:GetManagedPrefixListEntries) where a rule or what is declared names a prefix list.
  - Only security groups are checked. Network ACLs, routes and firewalls may allow less.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: lightbox.pacs.rds_check
"""

EXAMPLES = r"""
- name: Check the groups of the archive
  lightbox.pacs.security_group_check:
    region: eu-central-1
    groups: [radiology-archive, radiology-database]
    declared:
      - {ports: [443], from: [198.51.100.0/24], group: radiology-archive}
      - {ports: [11112], from: [10.20.0.0/16], group: radiology-archive}
      - {ports: [5432], from: [radiology-archive], group: radiology-database}
    fail_on: medium

- name: List who may reach a group's ports
  lightbox.pacs.security_group_check:
    region: eu-central-1
    groups: [sg-0a1b2c3d4e5f60718]
    fail_on: never
  register: group

- name: Show one line for each rule
  ansible.builtin.debug:
    msg: "{{ group.exposure | map(attribute='ports') | zip(group.exposure | map(attribute='source')) }}"
"""

RETURN = r"""
findings:
  description: How the rules differ from what is declared, by severity.
  returned: when the groups could be described
  type: list
  elements: dict
  contains:
    id:
      description:
        - V(undeclared) when a rule allows more than is declared. Its severity is V(high) when that is the internet at
          large (16 million public IPv4 addresses or more), else V(medium).
        - V(missing) (medium) when no rule allows what is declared.
        - V(unknown) (high) when the networks of an undeclared prefix list could not be read.
      type: str
      sample: undeclared
    severity:
      description: V(high), V(medium) or V(low).
      type: str
      sample: high
    status:
      description: V(found), or V(unknown) where a fact could not be read.
      type: str
      sample: found
    group_id:
      description: ID of the security group; empty when something is missing in all.
      type: str
      sample: sg-0a1b2c3d4e5f60718
    group_name:
      description: Its name.
      type: str
      sample: radiology-archive
    direction:
      description: V(ingress) or V(egress).
      type: str
      sample: ingress
    protocol:
      description: Protocol of the rule.
      type: str
      sample: tcp
    ports:
      description: Ports of the rule.
      type: str
      sample: '22'
    source:
      description: Source of the rule, for V(egress) its destination. A network, or the ID of a group or a prefix list.
      type: str
      sample: 0.0.0.0/0
    source_name:
      description: Name of the source when it is a group of this account, else empty.
      type: str
      sample: ''
    rule_id:
      description: ID of the rule; empty when it is missing.
      type: str
      sample: sgr-0a1b2c3d4e5f60718
    description:
      description: Description of the rule.
      type: str
      sample: opened by hand
    networks:
      description: Networks that are reachable and not declared, or declared and not reachable.
      type: list
      elements: str
      sample: [0.0.0.0/0]
    actual:
      description: What is.
      type: str
      sample: "radiology-archive (sg-0a1b2c3d4e5f60718) allows tcp 22 from 0.0.0.0/0 [rule sgr-0a1b2c3d4e5f60718]"
    expected:
      description: What should be.
      type: str
      sample: only what is declared
    remedy:
      description: How to fix it.
      type: str
      sample: Remove the rule, or declare it.
exposure:
  description: What is reachable, an entry for each rule. Outgoing traffic only with O(declared_egress).
  returned: when the groups could be described
  type: list
  elements: dict
  sample:
    - group_id: sg-0a1b2c3d4e5f60718
      group_name: radiology-archive
      direction: ingress
      protocol: tcp
      ports: '443'
      source: 198.51.100.0/24
      source_name: ''
      rule_id: sgr-0a1b2c3d4e5f60718
      description: Viewer
      networks: [198.51.100.0/24]
      is_declared: true
table:
  description: One line for each finding.
  returned: when the groups could be described
  type: list
  elements: str
summary:
  description: The findings in one line.
  returned: when the groups could be described
  type: str
  sample: '2 security groups with 5 rules: 1 high, 0 medium, 0 low'
"""

import contextlib
import typing as t

with contextlib.suppress(ImportError):  # which AwsModule reports
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule
from ansible_collections.lightbox.pacs.plugins.module_utils._exposure import (
    SEVERITIES,
    Declaration,
    DeclarationError,
    describe,
    evaluate,
    is_failure,
    is_prefix_list,
    parse_declared,
    parse_rule,
)

DECLARED = {
    "ports": {"type": "list", "elements": "str", "default": ["all"]},
    "protocol": {"type": "str", "default": "tcp"},
    "group": {"type": "str"},
}
SOURCES = {"type": "list", "elements": "str", "required": True}


class GroupError(Exception):
    """A group does not exist, or its name is not unique. The text has which."""


@AWSRetry.jittered_backoff()
def read_pages(client: t.Any, operation: str, key: str, **arguments: t.Any) -> list[dict[str, t.Any]]:
    return client.get_paginator(operation).paginate(**arguments).build_full_result().get(key, [])


def select_groups(wanted: list[str], groups: list[dict[str, t.Any]], vpc_id: str | None) -> dict[str, str]:
    """Return the names of the wanted groups by their IDs."""
    if not wanted:
        raise GroupError("groups is empty. Set it to the names or IDs of the security groups to check.")
    selected = {}
    for one in wanted:
        found = [group for group in groups if one in (group["GroupId"], group["GroupName"])]
        found = [group for group in found if vpc_id in (None, group["VpcId"])]
        if len(found) != 1:
            where = f" in {vpc_id}" if vpc_id else ""
            raise GroupError(
                f"groups: there is no security group {one}{where}. Use names or IDs of existing ones."
                if not found
                else f"groups: several VPCs have a security group {one}: "
                f"{', '.join(sorted(group['VpcId'] for group in found))}. Set vpc_id to one of them."
            )
        selected[found[0]["GroupId"]] = found[0]["GroupName"]
    return selected


def parse_declarations(params: dict[str, t.Any], ids: dict[str, str], groups: t.Collection[str]) -> list[Declaration]:
    declarations = []
    for option, sources in (("declared", "from"), ("declared_egress", "to")):
        for number, entry in enumerate(params[option] or []):
            try:
                parsed = parse_declared(entry | {"from": entry[sources]}, ids, option == "declared_egress")
            except DeclarationError as error:
                raise DeclarationError(f"{option}[{number}]: {error}") from None
            if parsed[0].group and parsed[0].group not in groups:
                raise DeclarationError(f"{option}[{number}]: `{entry['group']}` is not in groups. Add it there.")
            declarations += parsed
    return declarations


def read_prefix_lists(client: t.Any, sources: t.Iterable[str]) -> dict[str, list[str] | None]:
    """Return the networks of the prefix lists among the sources; None where they could not be read."""
    found: dict[str, list[str] | None] = {}
    for source in filter(is_prefix_list, dict.fromkeys(sources)):
        try:
            entries = read_pages(client, "get_managed_prefix_list_entries", "Entries", PrefixListId=source)
            found[source] = [entry["Cidr"] for entry in entries]
        except ClientError:
            found[source] = None
    return found


def check(client: t.Any, params: dict[str, t.Any]) -> dict[str, t.Any]:
    # All of them, because groups of other VPCs may be sources.
    everything = read_pages(client, "describe_security_groups", "SecurityGroups")
    groups = select_groups(params["groups"], everything, params["vpc_id"])
    vpcs = {group["VpcId"] for group in everything if group["GroupId"] in groups}
    ids = {group["GroupName"]: group["GroupId"] for group in everything if group["VpcId"] in vpcs}
    ids |= {name: one for one, name in groups.items()}
    declarations = parse_declarations(params, ids, groups)
    found = read_pages(
        client,
        "describe_security_group_rules",
        "SecurityGroupRules",
        Filters=[{"Name": "group-id", "Values": list(groups)}],
    )
    rules = [parse_rule(rule) for rule in found]
    sources = [rule.source for rule in rules] + [source for one in declarations for source in one.sources]
    names = {group["GroupId"]: group["GroupName"] for group in everything}
    result = evaluate(
        groups,
        rules,
        declarations,
        read_prefix_lists(client, sources),
        names,
        with_egress=params["declared_egress"] is not None,
    )
    severities = [one["severity"] for one in result["findings"]]
    numbers = ", ".join(f"{severities.count(severity)} {severity}" for severity in SEVERITIES)
    subject = f"{len(groups)} security group{'s' if len(groups) > 1 else ''} with {len(result['exposure'])} rules"
    return result | {"table": describe(result["findings"]), "summary": f"{subject}: {numbers}"}


def main() -> None:
    module = AwsModule(
        argument_spec={
            "groups": {"type": "list", "elements": "str", "required": True},
            "vpc_id": {"type": "str"},
            "declared": {"type": "list", "elements": "dict", "default": [], "options": DECLARED | {"from": SOURCES}},
            "declared_egress": {"type": "list", "elements": "dict", "options": DECLARED | {"to": SOURCES}},
            "fail_on": {"type": "str", "choices": ["high", "medium", "low", "never"], "default": "high"},
        },
        supports_check_mode=True,
    )
    try:
        result = check(module.client("ec2"), module.params)
    except (DeclarationError, GroupError) as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg="Cannot read the security groups")
    if is_failure(result["findings"], module.params["fail_on"]):
        module.fail_json(msg="\n".join([result["summary"], *result["table"]]), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
