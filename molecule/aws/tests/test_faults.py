"""Runs on an account that is empty at first: refused for want of a permission or of capacity, killed, throttled."""

from __future__ import annotations

import random

import pytest

from tests.support.aws_lab import Run, assert_throttled, assert_unique, complete, fault, kill_at, new_account, writes
from tests.support.lab import recap

# In the order in which a run makes these calls, so that each run gets farther than the one before.
DENIED = [
    "ec2:DescribeVpcs",
    *(
        pytest.param(action, marks=pytest.mark.long)
        for action in (
            "kms:CreateKey",
            "ec2:CreateVpc",
            "ec2:CreateSecurityGroup",
            "rds:CreateDBInstance",
            "ec2:RunInstances",
        )
    ),
]


@pytest.fixture(scope="module")
def account() -> str:
    return new_account()


@pytest.mark.parametrize("action", DENIED)
def test_a_missing_permission_is_named_with_the_page_that_lists_them(account, action):
    with fault(action, "deny", account, times=100):
        run = Run(account=account)
    assert run.result.returncode != 0
    assert action in run.message
    assert "docs/aws-permissions.md" in run.message
    assert "Traceback" not in run.output
    assert [one["call"] for one in run.calls if one["error"]][-1] == action


@pytest.mark.long
def test_missing_capacity_is_explained(account):
    with fault("ec2:RunInstances", "capacity", account, times=100):
        run = Run(account=account)
    assert run.result.returncode != 0
    assert "InsufficientInstanceCapacity" in run.message
    assert "aws_host_instance_type" in run.message
    assert "Traceback" not in run.output


def test_a_killed_run_and_a_throttled_one_complete_the_work(completed):
    """conftest.py began with them."""
    killed, run = completed
    made = [one["call"] for one in killed]
    assert "ec2:CreateVpc" in made
    assert "ec2:RunInstances" not in made
    assert "ec2:CreateVpc" not in writes(run.calls)
    assert_throttled(run.calls)


@pytest.mark.long
def test_ten_killed_runs_leave_unique_names(tmp_path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    account = new_account()
    for number in range(10):
        kill_at(account, moments.randrange(1, 12), tmp_path / f"{number}.log")
        assert_unique(account)
    complete(account)
    again = Run(account=account)
    assert again.result.returncode == 0, again.output[-3000:]
    assert recap(again.output)["changed"] == 0


@pytest.mark.long
def test_every_first_call_of_a_fresh_run_is_throttled() -> None:
    assert_throttled(complete(new_account()).calls)
