"""Nothing was called in this scenario that docs/aws-permissions.md does not allow.

test_runs.py and test_destroy.py compare its policies with what their runs called.
"""

from __future__ import annotations

import pytest

from tests.support.aws_lab import actions, calls
from tests.support.permissions import read_actions, read_sections

pytestmark = pytest.mark.last  # the calls of all other tests count


def test_everything_that_was_called_is_allowed_somewhere():
    """Repairs of what was changed by hand are among the changes for which other permissions are needed."""
    allowed = {action for heading in read_sections() for action in read_actions(heading)}
    assert sorted(actions(calls(None)) - allowed) == []
