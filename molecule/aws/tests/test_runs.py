"""Molecule's own runs: --check on the empty account, the first run, and the second one."""

from __future__ import annotations

import dataclasses
import datetime
import re

import pytest

from tests.support.aws_lab import (
    ACCOUNT,
    ENDPOINT,
    ENVIRONMENT,
    Run,
    actions,
    calls,
    log_of_runs,
    names,
    writes,
)
from tests.support.lab import INVENTORY, address, recap, run_playbook
from tests.support.permissions import read_actions

testinfra_hosts = [address("aws")]
pytestmark = pytest.mark.first
PLAY = "PLAY [Build the infrastructure on AWS]"
RECORD = re.compile(r"^(?P<time>[\d-]{10} [\d:,]{12}) p=\d+ u=\S+ n=\S+ \w+\| ?(?P<text>.*)$", re.MULTILINE)


@dataclasses.dataclass
class Play:
    """The play that builds on AWS, of one run: how long it took, the tasks that were executed, what it printed."""

    seconds: float
    tasks: list[str]
    text: str


def read_plays(log: str) -> list[Play]:
    records = [
        (datetime.datetime.strptime(found["time"], "%Y-%m-%d %H:%M:%S,%f"), found) for found in RECORD.finditer(log)
    ]
    plays = []
    for index, (begin, found) in enumerate(records):
        if not found["text"].startswith(PLAY):
            continue
        tasks: list[str] = []
        heading = ""
        for end, record in records[index + 1 :]:  # noqa: B007 - the last one is used
            text = record["text"]
            if text.startswith("PLAY"):
                break
            if text.startswith("TASK ["):
                heading = text
            elif re.match(r"(ok|changed|fatal|failed): \[aws\]", text) and heading:
                tasks.append(heading.split("]", maxsplit=1)[0].removeprefix("TASK ["))
                heading = ""
        plays.append(Play((end - begin).total_seconds(), tasks, log[found.start() : record.start()]))
    return plays


@pytest.fixture(scope="module")
def plays() -> list[Play]:
    found = read_plays(log_of_runs())
    assert len(found) >= 3, "the log has not the three runs"
    for name, play in zip(("check", "first", "second"), found, strict=False):
        print(f"{name}: {play.seconds:.0f} s, {len(play.tasks)} tasks")
    return found


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[dict]]:
    """The calls of each run: each begins by asking for its account and that account's name."""
    runs: list[list[dict]] = []
    for call in calls():
        if call["call"] == "iam:ListAccountAliases":
            runs.append([])
        if runs:
            runs[-1].append(call)
    found = dict(zip(("check", "first", "second"), runs, strict=False))
    for name, run in found.items():
        print(f"{name}: {len(run)} calls of {len({one['call'] for one in run})} actions")
    return found


def test_check_mode_only_reads(recorded):
    assert recorded["check"]
    assert writes(recorded["check"]) == []


def test_check_mode_shows_every_resource_by_name(plays):
    for kind, name in names(ACCOUNT):
        if kind not in ("endpoint", "flow log") and name.startswith(ENVIRONMENT):
            assert name in plays[0].text, f"the plan lacks the {kind} {name}"


def test_the_first_run_makes_everything_once():
    found = names(ACCOUNT)
    assert set(found.values()) == {1}, found
    assert {kind for kind, _name in found} >= {
        "vpc",
        "subnet",
        "group",
        "instance",
        "volume",
        "database",
        "role",
        "alias",
    }


def test_the_database_is_created_before_the_server_runs(recorded):
    order = [one["call"] for one in recorded["first"]]
    assert order.index("rds:CreateDBInstance") < order.index("ec2:RunInstances")
    # The server is asked for before anything waits until the database is there.
    assert max(place for place, call in enumerate(order) if call == "rds:DescribeDBInstances") > order.index(
        "ec2:RunInstances"
    )


def test_the_second_run_writes_nothing(recorded, plays):
    assert recorded["second"]
    assert writes(recorded["second"]) == []
    assert "changed: [aws]" not in plays[2].text


def test_the_play_has_few_tasks(plays):
    for play in plays[1:3]:
        assert len(play.tasks) <= 40, play.tasks


def test_the_policy_on_the_page_is_what_was_called(recorded):
    called = actions([call for run in recorded.values() for call in run])
    assert sorted(called ^ set(read_actions("Build and change"))) == []


@pytest.mark.long
def test_the_play_takes_little_time(plays):
    """Twice as long as on a machine with nothing else to do."""
    for play, budget in zip(plays[1:3], (90, 45), strict=True):
        assert play.seconds <= 2 * budget


def test_the_run_ends_with_what_costs_money():
    text = " ".join(log_of_runs().split())
    for wanted in (
        f"Database: {ENDPOINT}:5432",
        "What costs money until playbooks/aws_destroy.yml removes it",
        "costs each hour while it runs, as t3.large",
        "costs each hour while it runs, as db.t4g.medium",
    ):
        assert wanted in text


def test_the_server_verifies_what_it_reaches():
    """The host keys are those that the instance printed, and the first connection was verified by them."""
    assert "StrictHostKeyChecking=yes" in log_of_runs()
    assert ", 0 failed, 0 skipped" in log_of_runs()


def test_images_are_on_the_volume_that_survives_the_server(host):
    with host.sudo():
        source = host.check_output("findmnt --noheadings --output SOURCE --target /var/lib/lightbox/orthanc")
        assert ("volume", f"{ENVIRONMENT}-data") in names(ACCOUNT)
        assert source == host.check_output("readlink -f /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*")


@pytest.mark.long
def test_verify_alone_asks_aws_for_the_address():
    before = len(calls())
    run = run_playbook("playbooks/verify.yml", "-i", INVENTORY)
    assert run.returncode == 0, run.stdout[-3000:]
    assert recap(run.stdout)["changed"] == 0
    asked = [one["call"] for one in calls()[before:]]
    assert writes(calls()[before:]) == []
    assert sorted(set(asked) ^ set(read_actions("Verify only"))) == []


@pytest.mark.long
def test_check_mode_of_what_is_built_only_reads():
    run = Run("--check", "--diff")
    assert run.result.returncode == 0, run.output[-3000:]
    assert recap(run.output)["changed"] == 0
    assert run.calls
    assert writes(run.calls) == []
