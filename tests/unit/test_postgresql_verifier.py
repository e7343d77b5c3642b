"""What PostgreSQL keeps of a password, calculated before it is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from ansible_collections.lightbox.pacs.plugins.filter import postgresql_verifier


@pytest.mark.parametrize(
    ("password", "normalized"),
    [
        ("plain", "plain"),
        ("a\u00a0b", "a b"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\ufb01n\u00aal \u2163", "final IV"),
        ("e\u0301", "\u00e9"),
        ("tab\there", "tab\there"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u00ad", "\u00ad"),
    ],
)
def test_passwords_are_normalized_as_postgresql_does(password, normalized):
    assert postgresql_verifier.normalize(password) == normalized


def test_a_verifier_has_its_own_salt_and_fits_one_password():
    found = postgresql_verifier.postgresql_verifier("Gr\u00fc\u00dfe")
    scheme, parameters, keys = found.split("$")
    iterations, salt = parameters.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", "Gr\u00fc\u00dfe".encode(), base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert (scheme, len(base64.b64decode(salt))) == ("SCRAM-SHA-256", 16)
    assert keys.split(":")[0] == base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    assert keys.split(":")[1] == base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    assert postgresql_verifier.postgresql_verifier("Gr\u00fc\u00dfe") != found
