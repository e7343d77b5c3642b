# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_verifier
short_description: Calculate what PostgreSQL keeps of a password
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the SCRAM-SHA-256 verifier of a password, with a new salt each time.
  - A statement that sets it has no password, whatever the server writes into its log.
options:
  _input:
    description: The password.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Set a password without writing it into a statement
  community.postgresql.postgresql_user:
    name: orthanc
    password: "{{ password | lightbox.pacs.postgresql_verifier }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: The verifier, to be used as password in C(CREATE ROLE) and C(ALTER ROLE).
  type: str
"""

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata
from collections.abc import Callable

ITERATIONS = 4096  # PostgreSQL's own


def normalize(password: str) -> str:
    """Return a password as SASLprep (RFC 4013) writes it, or as it is where that does not apply, as PostgreSQL does."""
    mapped = "".join(
        " " if stringprep.in_table_c12(one) else one for one in password if not stringprep.in_table_b1(one)
    )
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    if not text or any(is_forbidden(one) for one in text for is_forbidden in forbidden):
        return password
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text)) or not all(map(stringprep.in_table_d1, (text[0], text[-1])))
    ):
        return password
    return text


def postgresql_verifier(password: str) -> str:
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", normalize(password).encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"postgresql_verifier": postgresql_verifier}
