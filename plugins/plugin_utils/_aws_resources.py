# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run on AWS would do to each resource, what a removal would, and what costs money, as tables."""

from __future__ import annotations

import typing as t

Resource = t.Mapping[str, t.Any]

# What people call the kinds, in the order in which aws_resource_info returns them.
LABELS = {
    "kms_key": "encryption key",
    "vpc": "VPC",
    "subnet": "subnet",
    "internet_gateway": "internet gateway",
    "route_table": "route table",
    "vpc_endpoint": "VPC endpoint",
    "log_group": "log group",
    "flow_log": "flow log",
    "security_group": "security group",
    "iam_role": "IAM role",
    "instance_profile": "instance profile",
    "key_pair": "key pair",
    "instance": "server",
    "volume": "volume",
    "elastic_ip": "Elastic IP",
    "dns_record": "DNS record",
    "db_subnet_group": "database subnet group",
    "db_parameter_group": "database parameter group",
    "db_instance": "database",
    "db_snapshot": "database snapshot",
}
NOT_FOUND_BY_INFO = ("dns_record",)
# States that need no mention, and those of what is about to be gone.
USUAL_STATES = ("available", "active", "enabled", "in-use", "complete", "attached")
GOING = ("shutting-down", "deleting", "pendingdeletion")


def is_going(resource: Resource) -> bool:
    return str(resource.get("state", "")).lower() in GOING


def label(resource: Resource) -> str:
    return LABELS.get(resource["kind"], resource["kind"].replace("_", " "))


def format_table(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def aws_plan(wanted: t.Sequence[Resource], existing: t.Sequence[Resource]) -> dict[str, t.Any]:
    """Compare {kind, name} of what a run makes with what aws_resource_info found.

    Returns missing (what would be created), and table, a line for each resource.
    """
    found: dict[tuple[str, str], Resource] = {}
    for resource in existing:
        if not is_going(resource):
            found.setdefault((resource["kind"], resource["name"]), resource)
    rows, missing = [], []
    for resource in wanted:
        present = found.get((resource["kind"], resource["name"]))
        if resource["kind"] in NOT_FOUND_BY_INFO:
            action = "set"
        elif present:
            action = join("exists", present)
        else:
            action = "create"
            missing.append(dict(resource))
        rows.append((action, label(resource), resource["name"]))
    names = {(resource["kind"], resource["name"]) for resource in wanted}
    for resource in existing:
        if is_going(resource):
            rows.append(("is being deleted", label(resource), resource["name"]))
        elif (resource["kind"], resource["name"]) not in names and not resource.get("delete_on_termination"):
            rows.append((join("stays as it is", resource), label(resource), resource["name"]))
    order = list(LABELS.values())
    rows.sort(key=lambda row: (row[0].startswith("stays"), order.index(row[1]) if row[1] in order else len(order)))
    return {"missing": missing, "table": format_table(rows) if rows else []}


def describe(resource: Resource) -> str:
    """Return a resource's ID, size and state, where they are more than its name."""
    parts = [
        resource["id"] if resource["id"] != resource["name"] else "",
        f"{resource['size_gb']} GiB" if resource.get("size_gb") else "",
        resource.get("address", "") or resource.get("type", ""),
        resource["state"] if resource["state"].lower() not in USUAL_STATES else "",
    ]
    return ", ".join(filter(None, parts))


def join(text: str, resource: Resource) -> str:
    details = describe(resource)
    return f"{text} ({details})" if details else text


def aws_removal(existing: t.Sequence[Resource], kept: t.Sequence[str], snapshot: str) -> list[str]:
    """Return what a removal would do to each resource, a line for each. kept: IDs of those that stay."""
    rows = []
    for resource in existing:
        action = "keep" if resource["id"] in kept else "delete"
        last = resource["kind"] == "db_instance" and not is_going(resource)
        hint = f", after the snapshot {snapshot}" if last and action == "delete" else ""
        rows.append((action, label(resource), join(resource["name"], resource) + hint))
    return format_table(rows) if rows else []


def aws_costs(resources: t.Sequence[Resource]) -> list[str]:
    """Return what costs money as long as it exists, a line for each: what and how large."""
    rows = []
    for resource in resources:
        kind, size = resource["kind"], resource.get("size_gb")
        zones = ", both in two zones" if resource.get("multi_az") else ""
        cost = {
            "kms_key": "each month, also without use",
            "volume": f"each month, for {size} GiB of {resource.get('type', '')} storage, attached or not",
            "db_snapshot": f"each month, for what it holds of {size} GiB of storage",
            "elastic_ip": "each hour, also without a server",
            "instance": f"each hour while it runs, as {resource.get('type', '')}",
            "db_instance": f"each hour while it runs, as {resource.get('type', '')}, for {size} GiB of storage{zones},"
            " and for its secret",
            "log_group": "each month, for what it holds",
        }.get(kind, "nothing")
        rows.append((label(resource), join(resource["name"], resource), f"costs {cost}"))
    return format_table(rows) if rows else []
