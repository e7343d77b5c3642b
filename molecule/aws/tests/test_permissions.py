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
