# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_uri
short_description: Write a connection to PostgreSQL as a URI
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Writes the connection URI that C(libpq) reads. User, password, host, database and parameters may contain any
    characters.
options:
  _input:
    description:
      - The connection, as the role C(postgresql) describes it. C(host), C(database), C(user) and C(password) are
        required.
      - C(port) is 5432 by default, and C(sslmode) is C(verify-full). C(address) is the IP address to connect to where
        DNS does not resolve C(host). Other keys are ignored.
    type: dict
    required: true
  parameters:
    description: Further parameters of C(libpq).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the URI of a connection
  ansible.builtin.debug:
    msg: "{{ connection | lightbox.pacs.postgresql_uri(parameters={'connect_timeout': 10}) }}"
    # postgresql://orthanc:p%40ss@db.example.org:5432/orthanc?sslmode=verify-full&connect_timeout=10
  vars:
    connection: {host: db.example.org, database: orthanc, user: orthanc, password: p@ss}
"""

RETURN = r"""
_value:
  description: The URI, with the password.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode


def postgresql_uri(connection: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> str:
    user, password, database = (quote(str(connection[name]), safe="") for name in ("user", "password", "database"))
    host = quote(connection["host"], safe=":")
    host = f"[{host}]" if ":" in host else host
    query = {
        **({"hostaddr": connection["address"]} if connection.get("address") else {}),
        "sslmode": connection.get("sslmode", "verify-full"),
        **(parameters or {}),
    }
    words = urlencode(query, safe="", quote_via=quote)
    return f"postgresql://{user}:{password}@{host}:{connection.get('port', 5432)}/{database}?{words}"


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"postgresql_uri": postgresql_uri}
