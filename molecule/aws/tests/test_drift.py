"""What somebody changed by hand on AWS is shown and set right; rules of groups are only shown where that is asked."""

from __future__ import annotations

import pytest

from tests.support.aws_lab import ENVIRONMENT, NETWORK, Run, client, writes
from tests.support.lab import recap

# Opened by hand: SSH to everybody on the archive's group, PostgreSQL to the whole VPC on the database's.
OPENED = {f"{ENVIRONMENT}-archive": (22, "0.0.0.0/0"), f"{ENVIRONMENT}-database": (5432, NETWORK)}


def group(name: str) -> dict:
    (found,) = client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])[
        "SecurityGroups"
    ]
    return found


def is_open(name: str) -> bool:
    port, network = OPENED[name]
    return any(
        rule.get("FromPort") == port and network in [one["CidrIp"] for one in rule["IpRanges"]]
        for rule in group(name)["IpPermissions"]
    )


def change(action: str, name: str) -> None:
    port, network = OPENED[name]
    getattr(client("ec2"), f"{action}_security_group_ingress")(
        GroupId=group(name)["GroupId"],
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": network}]}],
    )


def parameter(name: str) -> str | None:
    (database,) = client("rds").describe_db_instances(DBInstanceIdentifier=ENVIRONMENT)["DBInstances"]
    pages = (
        client("rds")
        .get_paginator("describe_db_parameters")
        .paginate(DBParameterGroupName=database["DBParameterGroups"][0]["DBParameterGroupName"])
    )
    return next(
        (one.get("ParameterValue") for page in pages for one in page["Parameters"] if one["ParameterName"] == name),
        None,
    )


def set_parameter(name: str, value: str) -> None:
    (database,) = client("rds").describe_db_instances(DBInstanceIdentifier=ENVIRONMENT)["DBInstances"]
    client("rds").modify_db_parameter_group(
        DBParameterGroupName=database["DBParameterGroups"][0]["DBParameterGroupName"],
        Parameters=[{"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate"}],
    )


@pytest.fixture
def changed():
    """Open the rules, let statements be logged, and allow connections without TLS."""
    for name in OPENED:
        assert not is_open(name)
        change("authorize", name)
    set_parameter("log_statement", "all")
    set_parameter("rds.force_ssl", "0")
    yield
    for name in OPENED:
        if is_open(name):
            change("revoke", name)


def test_what_was_changed_by_hand_is_shown_and_set_right(changed):
    run = Run("--diff")
    assert run.result.returncode == 0, run.output[-3000:]
    assert recap(run.output)["changed"] >= 1
    for name, (_port, network) in OPENED.items():
        assert not is_open(name)
        assert network in run.message
        assert name in run.message
    for name in ("log_statement", "rds.force_ssl"):
        assert name in run.message
    assert parameter("log_statement") != "all"
    assert parameter("rds.force_ssl") == "1"
    # Nothing else was touched.
    assert {call for call in writes(run.calls) if "SecurityGroup" not in call} <= {
        "rds:ModifyDBParameterGroup",
        "rds:ResetDBParameterGroup",
    }


@pytest.mark.long
def test_rules_opened_by_hand_are_reported_and_kept_where_that_is_asked(changed):
    run = Run("--diff", "-e", "aws_security_groups_unmanaged=report")
    assert run.result.returncode == 0, run.output[-3000:]
    for name, (port, network) in OPENED.items():
        assert is_open(name)
        assert name in run.message
        assert str(port) in run.message
        assert network in run.message
