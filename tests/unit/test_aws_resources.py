"""The tables of a run on AWS: what it would do, what a removal would do, what costs money."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.modules.aws_resource_info import KINDS
from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_resources import (
    LABELS,
    aws_costs,
    aws_plan,
    aws_removal,
)


def resource(kind: str, name: str = "lab", state: str = "available", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "id": f"{kind}-1", "state": state, **more}


SERVER = resource("instance", state="running", type="t3.large")
ROOT = resource("volume", size_gb=30, type="gp3", state="in-use", delete_on_termination=True) | {"id": "vol-root"}
DATA = resource("volume", "lab-data", size_gb=200, type="gp3", state="in-use", delete_on_termination=False)
DATABASE = resource("db_instance", size_gb=50, type="db.t4g.medium") | {"id": "lab"}
WANTED = [
    {"kind": "instance", "name": "lab"},
    {"kind": "volume", "name": "lab-data"},
    {"kind": "dns_record", "name": "pacs.example.org"},
    {"kind": "vpc", "name": "lab"},
    {"kind": "kms_key", "name": "alias/lab"},
]


def cells(table: list[str]) -> list[list[str]]:
    return [re.split(" {2,}", line) for line in table]


def test_every_kind_has_a_name_for_people():
    assert set(KINDS) < set(LABELS)


def test_the_plan_of_an_empty_account():
    plan = aws_plan(WANTED, [])
    assert plan["table"] == [
        "create  encryption key  alias/lab",
        "create  VPC             lab",
        "create  server          lab",
        "create  volume          lab-data",
        "set     DNS record      pacs.example.org",
    ]
    assert plan["missing"] == [one for one in WANTED if one["kind"] != "dns_record"]


def test_the_plan_when_a_part_exists():
    stopped = SERVER | {"state": "stopped"}
    snapshot = resource("db_snapshot", "lab-final", size_gb=50, engine_version="17.4") | {"id": "lab-final"}
    plan = aws_plan(WANTED, [stopped, DATA, ROOT, snapshot])
    assert cells(plan["table"]) == [
        ["create", "encryption key", "alias/lab"],
        ["create", "VPC", "lab"],
        ["exists (instance-1, t3.large, stopped)", "server", "lab"],
        ["exists (volume-1, 200 GiB, gp3)", "volume", "lab-data"],
        ["set", "DNS record", "pacs.example.org"],
        ["stays as it is (50 GiB)", "database snapshot", "lab-final"],
    ]
    assert [one["kind"] for one in plan["missing"]] == ["vpc", "kms_key"]


@pytest.mark.parametrize(
    ("kind", "state"), [("instance", "shutting-down"), ("db_instance", "deleting"), ("kms_key", "PendingDeletion")]
)
def test_what_is_being_deleted_is_created_again(kind, state):
    wanted = [{"kind": kind, "name": "lab"}]
    plan = aws_plan(wanted, [resource(kind, state=state)])
    assert plan["missing"] == wanted
    assert sorted(line.split("  ")[0] for line in plan["table"]) == ["create", "is being deleted"]


def test_the_plan_of_nothing():
    assert aws_plan([], []) == {"missing": [], "table": []}


def test_a_removal():
    assert cells(aws_removal([SERVER, ROOT, DATA, DATABASE], [DATA["id"]], "lab-final")) == [
        ["delete", "server", "lab (instance-1, t3.large, running)"],
        ["delete", "volume", "lab (vol-root, 30 GiB, gp3)"],
        ["keep", "volume", "lab-data (volume-1, 200 GiB, gp3)"],
        ["delete", "database", "lab (50 GiB, db.t4g.medium), after the snapshot lab-final"],
    ]
    role = resource("iam_role") | {"id": "lab"}
    assert cells(aws_removal([role, DATABASE | {"state": "deleting"}], [], "lab-final")) == [
        ["delete", "IAM role", "lab"],
        ["delete", "database", "lab (50 GiB, db.t4g.medium, deleting)"],
    ]
    assert aws_removal([], [], "") == []


def test_costs():
    key = resource("kms_key", "alias/lab", state="Enabled")
    snapshot = resource("db_snapshot", "lab-final", size_gb=50) | {"id": "lab-final"}
    table = cells(aws_costs([key, DATA, snapshot, resource("vpc")]))
    assert table == [
        ["encryption key", "alias/lab (kms_key-1)", "costs each month, also without use"],
        [
            "volume",
            "lab-data (volume-1, 200 GiB, gp3)",
            "costs each month, for 200 GiB of gp3 storage, attached or not",
        ],
        ["database snapshot", "lab-final (50 GiB)", "costs each month, for what it holds of 50 GiB of storage"],
        ["VPC", "lab (vpc-1)", "costs nothing"],
    ]
