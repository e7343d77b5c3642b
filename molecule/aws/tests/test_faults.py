"""Runs on an account that is empty at first: refused for want of a permission or of capacity, killed, throttled."""

from __future__ import annotations

import pathlib
import random
import re
import time

import pytest

from tests.support.aws_lab import Run, answers, calls, credentials, fault, names, new_account, writes
from tests.support.lab import INVENTORY, KillablePlaybook, recap

# In the order in which a run makes these calls, so that each run gets farther than the one before.
DENIED = [
    "ec2:DescribeVpcs",
    "kms:CreateKey",
    *(
        pytest.param(action, marks=pytest.mark.long)
        for action in ("ec2:CreateVpc", "ec2:CreateSecurityGroup", "rds:CreateDBInstance", "ec2:RunInstances")
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


def kill_at(account: str, call: int, log: pathlib.Path) -> None:
    """Kill a run once it made so many calls that write, or at its end."""
    before = len(calls(account))
    arguments = ["playbooks/aws.yml", "-i", INVENTORY, *answers(account)]
    run = KillablePlaybook(log, *arguments, **credentials(account))
    try:
        until = time.monotonic() + 300
        while run.process.poll() is None and len(writes(calls(account)[before:])) < call:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        run.kill()


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


def assert_throttled(run: Run) -> None:
    """Each action that was called was refused at first, and answered then."""
    actions = {one["call"] for one in run.calls}
    assert len(actions) > 20
    for action in actions:
        errors = [one["error"] for one in run.calls if one["call"] == action]
        assert re.search("Throttling|RequestLimitExceeded", errors[0] or ""), action
        assert None in errors[1:] or errors[1] not in ("Throttling", "RequestLimitExceeded"), action


def test_killed_runs_and_a_throttled_one_complete_the_work(tmp_path):
    account = new_account()
    for number, call in enumerate((4, 12)):
        kill_at(account, call, tmp_path / f"{number}.log")
        assert_unique(account)
    assert_throttled(complete(account))


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
    assert_throttled(complete(new_account()))
