"""Runs on an account that is empty at first: refused for want of a permission or of capacity, killed, throttled.

test_runs.py has the run after one that was killed, and the throttled one, of `make test`.
"""

from __future__ import annotations

import random

import pytest

from tests.support.aws_lab import Run, assert_throttled, fault, kill_at, names, new_account
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


def assert_unique(account: str) -> None:
    found = names(account)
    assert {name: count for name, count in found.items() if count > 1} == {}


def complete(account: str) -> Run:
    """A run to the end, in which the first call of each action is throttled."""
    with fault("*", "throttle", account, each=True):
        run = Run(account=account)
    assert run.result.returncode == 0, run.output[-3000:]
    assert_unique(account)
    return run


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
