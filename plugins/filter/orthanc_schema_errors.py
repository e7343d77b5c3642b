# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_schema_errors
short_description: Find why an Orthanc image must not open an index
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares the tables that an image of Orthanc writes with those that the index has. An older image cannot read the
    index, and a newer one upgrades it irreversibly.
  - In PostgreSQL the revisions of the tables are compared. SQLite has no such number, so the columns are.
options:
  _input:
    description:
      - What the image writes. C(orthanc) and C(plugin) are the versions of Orthanc and of its PostgreSQL plugin, which
        is empty where the image has none. C(sqlite) lists the columns of an index in SQLite, as C(table.column).
    type: dict
    required: true
  index:
    description:
      - What the index has. Either C(revision) of the tables in PostgreSQL, which is null for an empty database, or the
        columns in C(sqlite).
    type: dict
    required: true
  image:
    description: Name of the image.
    type: str
    required: true
  revisions:
    description:
      - The revision of the tables that the PostgreSQL plugin writes, by the first version that writes it. Null is a
        revision that is not known.
    type: dict
    required: true
  confirmed:
    description: Name of the image that may upgrade the index.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Refuse an image that would upgrade the index
  ansible.builtin.assert:
    that: errors == []
    fail_msg: "{{ errors }}"
  vars:
    writes: {orthanc: 1.12.10, plugin: "10.3", sqlite: []}
    errors: "{{ writes | lightbox.pacs.orthanc_schema_errors(index={'revision': '1'}, image='example/orthanc:2',
      revisions={'0': 1, '10': 10}) }}"
"""

RETURN = r"""
_value:
  description: The errors, each with what to set. Empty where the image may open the index.
  type: list
  elements: str
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def parse_version(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def written_revision(plugin: str, revisions: Mapping[str, int | None]) -> int | None:
    """Return the revision that a version of the plugin writes; None where it is not known."""
    if not re.fullmatch(r"\d+(\.\d+)*", plugin):
        return None
    first = max((parse_version(one), one) for one in revisions if parse_version(one) <= parse_version(plugin))
    return revisions[first[1]]


def compare_revisions(found: int, written: int | None) -> tuple[str, str]:
    """Describe the downgrade and the upgrade that an image is for tables in PostgreSQL; empty where it is none."""
    if written is None:
        return "", f"from revision {found} to one that this collection does not know"
    return (
        f"it writes revision {written} of the tables, which have revision {found}" if found > written else "",
        f"from revision {found} to revision {written}" if found < written else "",
    )


def compare_columns(found: Sequence[str], written: Sequence[str]) -> tuple[str, str]:
    """Describe the downgrade and the upgrade that an image is for an index in SQLite; empty where it is none."""
    surplus = [column for column in found if column not in written]
    added = [column for column in written if column not in found]
    return (
        f"it does not write {', '.join(surplus)}, which the index has" if surplus else "",
        f"it adds {', '.join(added)}" if added else "",
    )


def orthanc_schema_errors(
    writes: Mapping[str, Any],
    index: Mapping[str, Any],
    image: str,
    revisions: Mapping[str, int | None],
    confirmed: str = "",
) -> list[str]:
    plugin, revision, columns = writes["plugin"], index.get("revision"), index.get("sqlite")
    is_database = "revision" in index
    with_plugin = f", PostgreSQL plugin {plugin}" if is_database and plugin else ""
    label = f"The image {image} (Orthanc {writes['orthanc']}{with_plugin})"
    if is_database and not plugin:
        return [
            f"{label} has no PostgreSQL plugin, which orthanc_database needs. Set orthanc_image to an image with this "
            "plugin."
        ]
    if not revision and not columns:
        return []
    if is_database and not re.fullmatch(r"\d+", str(revision)):
        return [
            f"The tables in orthanc_database have revision '{revision}', which is not a number. Set orthanc_database "
            "to a database of Orthanc, or to an empty one."
        ]
    downgrade, upgrade = (
        compare_revisions(int(str(revision)), written_revision(plugin, revisions))
        if is_database
        else compare_columns(columns or [], writes["sqlite"])
    )
    if downgrade:
        return [
            f"{label} is older than the index: {downgrade}. Set orthanc_image (or orthanc_flavor) to the image that "
            "ran before, or restore the backup from before the upgrade (docs/database.md)."
        ]
    if upgrade and confirmed != image:
        return [
            f"{label} would upgrade the index irreversibly: {upgrade}. Make a backup (docs/database.md), then set "
            f"orthanc_upgrade_confirmed to {image}"
        ]
    return []


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"orthanc_schema_errors": orthanc_schema_errors}
