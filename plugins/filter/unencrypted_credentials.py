# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unencrypted_credentials
short_description: Find peers that would get a password without encryption
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Finds the peers and DICOMweb servers that Orthanc calls by C(http://) with a password, or with HTTP headers, which
    may hold a token.
  - Ignores addresses of the host itself (C(localhost), C(127.0.0.0/8), C(::1)), which do not leave it.
options:
  _input:
    description: By the name of a variable, its entries with C(name), C(url) and optionally C(password) and
      C(http_headers).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse passwords that anyone could read
  ansible.builtin.assert:
    that: "{'orthanc_peers': orthanc_peers} | lightbox.pacs.unencrypted_credentials | length == 0"
"""

RETURN = r"""
_value:
  description: The entries that were found, each with the name of its C(variable) and its own C(name).
  type: list
  elements: dict
  sample: [{variable: orthanc_peers, name: research}]
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit


def unencrypted_credentials(variables: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[dict[str, str]]:
    return [
        {"variable": variable, "name": node["name"]}
        for variable, nodes in variables.items()
        for node in nodes
        if (node.get("password") or node.get("http_headers"))
        and str(node["url"]).startswith("http://")
        and not is_loopback(str(node["url"]))
    ]


def is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or not a URL
        return False


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"unencrypted_credentials": unencrypted_credentials}
