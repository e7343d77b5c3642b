"""Before another image meets the index: what it would do is compared with what is there."""

from __future__ import annotations

import json

import pytest

from tests.support.database_server import ROLES, container, on_server, session, sql, wait_until_ready
from tests.support.lab import address, recap, run_roles

testinfra_hosts = [address("database")]
OTHER = "lightbox/orthanc-other:1"


def image_of(host) -> str:
    return container(host)["Config"]["Image"]


@pytest.fixture(scope="module")
def other(host) -> str:
    """Another image with the same content: only its name and one line of its history differ."""
    recipe = f"FROM {image_of(host)}\\nENV LIGHTBOX_OTHER=1\\n"
    on_server(host, f"printf '{recipe}' | docker build -q --network none -t {OTHER} -")
    return OTHER


def play(image: str, **more: object):
    # The lab's image comes from a file; here it is one that the server has.
    answers = {"orthanc_image_archive": "", "orthanc_image": image, **more}
    return run_roles(ROLES, "-e", json.dumps(answers))


def revision(host, number: int) -> None:
    sql(host, f"UPDATE globalproperties SET value = '{number}' WHERE property = 4", "orthanc")


def files(host) -> str:
    """What the archive would start with the next time."""
    return on_server(host, "cd /opt/lightbox/orthanc && find . -type f | sort | xargs sha256sum")


def test_a_step_back_is_refused_and_the_archive_runs_on(host, other):
    before, written = container(host), files(host)
    revision(host, 10)  # as a newer plugin leaves it
    try:
        # Even who confirms it is refused.
        run = play(other, orthanc_upgrade_confirmed=other)
        assert run.returncode == 2
        message = " ".join(run.stdout.split())
        assert "is older than the index: it writes revision 1 of the tables, which have revision 10" in message
        assert "docs/database.md" in message
        assert container(host)["Id"] == before["Id"]
        assert files(host) == written, "refused before anything was written"
    finally:
        revision(host, 1)


# There is no newer plugin here: the table of revisions is told that this one writes the next.
NEWER = {"__orthanc_revisions": {"0": 2}}


def test_a_step_of_no_return_asks_for_the_exact_image(host, other):
    before = container(host)
    run = play(other, orthanc_upgrade_confirmed="lightbox/orthanc-other:2", **NEWER)
    assert run.returncode == 2
    message = " ".join(run.stdout.split())
    assert "would upgrade the index irreversibly: from revision 1 to revision 2" in message
    assert f"set orthanc_upgrade_confirmed to {other}" in message
    assert container(host)["Id"] == before["Id"]
    run = play(other, orthanc_upgrade_confirmed=other, **NEWER)
    assert run.returncode == 0, run.stdout[-3000:]
    assert image_of(host) == other
    wait_until_ready(session())


def test_an_image_that_changes_nothing_needs_no_word(host, other):
    run = run_roles(ROLES)
    assert run.returncode == 0, run.stdout[-3000:]
    assert image_of(host) != other
    assert "Read which tables the image writes" in run.stdout
    run = run_roles(ROLES)
    assert "Read which tables the image writes" not in run.stdout
    assert recap(run.stdout)["changed"] == 0
