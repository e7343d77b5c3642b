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


@pytest.fixture(scope="module")
def opened():
    for name in OPENED:
        assert not is_open(name)
        change("authorize", name)
    yield
    for name in OPENED:
        if is_open(name):
            change("revoke", name)


@pytest.fixture(scope="module")
def reported(opened) -> Run:
    """A run that only reports rules which it did not make; before it, statements were made to be logged."""
    set_parameter("log_statement", "all")
    set_parameter("rds.force_ssl", "0")
    run = Run("--diff", "-e", "aws_security_groups_unmanaged=report")
    assert run.result.returncode == 0, run.output[-3000:]
    return run


def test_rules_opened_by_hand_are_reported_and_kept(reported):
    for name, (port, network) in OPENED.items():
        assert is_open(name)
        assert name in reported.message
        assert str(port) in reported.message
        assert network in reported.message


def test_parameters_changed_by_hand_are_shown_and_set_right(reported):
    for name in ("log_statement", "rds.force_ssl"):
        assert name in reported.message
    assert parameter("log_statement") != "all"
    assert parameter("rds.force_ssl") == "1"


def test_rules_opened_by_hand_are_shown_and_closed(reported):
    run = Run("--diff")
    assert run.result.returncode == 0, run.output[-3000:]
    assert recap(run.output)["changed"] >= 1
    for name, (_port, network) in OPENED.items():
        assert not is_open(name)
        assert network in run.message
        assert name in run.message
    # Nothing else was touched.
    assert {call for call in writes(run.calls) if "SecurityGroup" not in call} == set()
