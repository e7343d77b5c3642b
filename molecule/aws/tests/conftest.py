"""Runs that wait more than they work, beside the first tests: one that is killed, and one that completes it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.aws_lab import Run, assert_unique, calls, complete, kill_at, new_account

# Calls that write: the encryption key exists then, and the VPC is being made.
KILLED_AFTER = 6


def interrupt(directory: pathlib.Path) -> tuple[list[dict[str, Any]], Run]:
    """Kill a run, and let another one complete its work; return the calls of the first, and the second."""
    account = new_account()
    # Not the file of the runs beside it.
    known_hosts = ("-e", f"aws_host_known_hosts={directory / 'known_hosts'}")
    kill_at(account, KILLED_AFTER, directory / "killed.log", *known_hosts)
    assert_unique(account)
    killed = calls(account)
    return killed, complete(account, *known_hosts)


@pytest.fixture(scope="session", autouse=True)
def interrupted(request, tmp_path_factory) -> Iterator[Future | None]:
    """Begins with the first test where a later one asks for the result."""
    if not any("completed" in item.fixturenames for item in request.session.items):
        yield None
        return
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(interrupt, tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="session")
def completed(interrupted) -> tuple[list[dict[str, Any]], Run]:
    return interrupted.result()
