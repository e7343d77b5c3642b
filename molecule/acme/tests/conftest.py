"""What tests need that run without those before them, as the long ones do."""

from __future__ import annotations

import pytest

from tests.support.acme import converge, start_ca, status


@pytest.fixture
def issued() -> None:
    """The CA runs, and the archive has a certificate from it."""
    start_ca()
    if status()["needed"]:
        converge()
