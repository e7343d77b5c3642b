"""What tests need that run without those before them, as the long ones do."""

from __future__ import annotations

import ssl

import pytest

from tests.support.acme import converge, served, start_ca


@pytest.fixture
def issued() -> None:
    """The CA runs, and the archive has a certificate from it."""
    start_ca()
    try:
        served()
    except ssl.SSLCertVerificationError:  # a placeholder, or the pair of another provider
        converge()
