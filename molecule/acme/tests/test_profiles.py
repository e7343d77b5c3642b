"""Profiles, renewal by lifetime and by what the CA says (ARI): `make acme-profiles`, with a newer CA than Debian's."""

from __future__ import annotations

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.acme import (
    ARCHIVE,
    NAME,
    PROGRAM,
    UNIT,
    converge,
    fetch_wheels,
    names_of,
    on_archive,
    read_management,
    served,
    start_ca,
    status,
    warnings_of,
)
from tests.support.lab import address

testinfra_hosts = [address("acme")]
pytestmark = pytest.mark.profiles
UNBOUND = {"certificates_acme_eab_key_id": "", "certificates_acme_eab_hmac_key": ""}


def lifetime(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / datetime.timedelta(days=1)


def renew_in(days: float) -> None:
    """What the timer does so many days from now."""
    on_archive(f"env FAKETIME_DONT_FAKE_MONOTONIC=1 faketime -f +{round(days * 86400)} {PROGRAM} renew")


def test_a_ca_that_binds_accounts_refuses_one_without():
    start_ca()
    (warning,) = warnings_of(converge(**UNBOUND))
    assert "external account binding" in warning
    assert status()["placeholder"]


def test_a_ca_that_does_not_bind_accounts():
    url = "https://acme-ca.lightbox.test:14002/dir"
    output = converge(certificates_alone=True, certificates_acme_server=url, **UNBOUND)
    assert warnings_of(output) == []
    assert names_of(served(ca=None)) == {NAME}


# At a third of the lifetime, below ten days at a half.
@pytest.mark.parametrize(("profile", "days", "due"), [("shortlived", 6, 3), ("tlsserver", 45, 30), ("classic", 90, 60)])
def test_the_distributions_client_renews_by_the_lifetime(profile, days, due):
    assert warnings_of(converge(certificates_alone=True, certificates_acme_profile=profile)) == []
    on_archive("apt-get install -y -q faketime")
    first = served()
    assert lifetime(first) == pytest.approx(days, abs=0.01)
    renew_in(due - 0.1)
    assert served() == first
    renew_in(due + 0.1)
    assert served() != first


def test_addresses_for_six_days_that_are_renewed_when_the_ca_says_so(tmp_path):
    output = converge(
        pacs_alternative_names=[ARCHIVE],
        certificates_acme_profile="shortlived",
        certificates_acme_ari_required=True,
        **fetch_wheels(tmp_path),
    )
    assert warnings_of(output) == []
    first = served()
    assert names_of(first) == {NAME, ARCHIVE}
    assert lifetime(first) == pytest.approx(6, abs=0.01)
    # As before a CA revokes certificates: it says that this one should have been renewed yesterday.
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (f"{now - datetime.timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (48, 24))
    answer = json.dumps({"suggestedWindow": {"start": begin, "end": end}})
    pem = first.public_bytes(Encoding.PEM).decode()
    read_management("set-renewal-info/", {"Certificate": pem, "ARIResponse": answer})
    on_archive(f"systemctl start {UNIT}")
    second = served()
    assert second != first
    # Of the new one it says nothing of that kind.
    on_archive(f"systemctl start {UNIT}")
    assert served() == second
