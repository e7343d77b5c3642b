# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_secret_sections
short_description: Return the sections of Orthanc's configuration that hold secrets
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the names at the top of a configuration whose values no output may show. They hold a password, a key, a
    token or an address with a login, or only a plugin whose options this collection does not list reads them.
options:
  _input:
    description: Content of C(orthanc.json).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the configuration without its secrets
  ansible.builtin.debug:
    msg: "{{ given | dict2items | rejectattr('key', 'in', given | lightbox.pacs.orthanc_secret_sections) }}"
"""

RETURN = r"""
_value:
  description: The names, sorted.
  type: list
  elements: str
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import load_data

# user:password@host, with or without a scheme; people do not always encode what is in a password.
LOGIN = re.compile(r":.*@", re.DOTALL)


def has_login(value: Any) -> bool:
    if isinstance(value, str):
        return bool(LOGIN.search(value))
    if isinstance(value, Mapping):
        return any(map(has_login, value.values()))
    return isinstance(value, Sequence) and any(map(has_login, value))


def is_set(value: Any, names: Sequence[str]) -> bool:
    """Return whether a place is set; a star among its names stands for any."""
    if not names:
        return value is not None
    if not isinstance(value, Mapping):
        return False
    first, rest = names[0], names[1:]
    return any(is_set(part, rest) for name, part in value.items() if first in ("*", name))


def secret_sections(configuration: Mapping[str, Any]) -> list[str]:
    options = load_data()["options"]
    known = {place.split(".")[0] for place in options}
    secret = [place.split(".") for place, variants in options.items() if any(one.get("secret") for one in variants)]
    return sorted(
        name
        for name, value in configuration.items()
        if name not in known or has_login(value) or any(is_set({name: value}, place) for place in secret)
    )


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"orthanc_secret_sections": secret_sections}
