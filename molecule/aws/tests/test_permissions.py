<<<<<<< HEAD
"""Nothing was called in this scenario that docs/aws-permissions.md does not allow."""

from __future__ import annotations

import re

import pytest

from tests.support.aws_lab import actions, calls
from tests.support.permissions import read_actions, read_sections

pytestmark = pytest.mark.last  # the calls of all other tests count


def test_everything_that_was_called_is_allowed_somewhere():
    allowed = {action for heading in read_sections() for action in read_actions(heading)}
    assert sorted(actions(calls(None)) - allowed) == []


def test_no_action_has_a_wildcard():
    for heading in read_sections():
        assert [action for action in read_actions(heading) if not re.fullmatch(r"[a-z0-9-]+:\w+", action)] == []
=======
"""The policies on docs/aws-permissions.md have exactly the actions that the playbooks need; their form: tests/unit."""

from __future__ import annotations

import pytest

from tests.support.aws_lab import calls
from tests.support.permissions import read_actions

pytestmark = pytest.mark.last  # the calls of all other tests count
# What needs no permission. https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity"}


def test_the_policies_are_what_the_playbooks_call():
    """Repairs of what was changed by hand are among the changes for which other permissions are needed."""
    called = {one["call"] for one in calls(None)} - FREE
    always = {action for heading in ("Build and change", "Verify only", "Remove") for action in read_actions(heading)}
    assert sorted(called - always - set(read_actions("Changes later"))) == [], "the policies lack what was called"
    assert sorted(always - called) == [], "the policies allow what nothing calls"
>>>>>>> main
