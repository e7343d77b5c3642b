# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.


"""Options that contradict each other, as the table "relations" of the data lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import (
    Orthanc,
    format_value,
    is_met,
    lookup,
)


def check_relations(orthanc: Orthanc, merged: Mapping[str, Any], allow_deletion: bool) -> Iterator[str]:
    """Yield the contradictions in the configuration that Orthanc would read.

    An option that the loaded versions do not read counts as not set. What the role manages is not the user's to repair.
    """
    for relation in orthanc.data["relations"]:
        plugin, conditions = relation.get("plugin"), relation["when"]
        if (plugin and plugin not in orthanc.libraries) or set(conditions) & set(orthanc.reserved):
            continue
        facts = []
        for place, when in conditions.items():
            name, value = orthanc.format_place(place), lookup(merged, place) if orthanc.is_read(place) else None
            if place == "orthanc_allow_deletion":
                name, value = place, bool(allow_deletion)
            if not is_met(when, value):
                break
            facts.append(f"{name} is {'not set' if value is None else format_value(value)}")
        else:
            yield f"{', '.join(facts[:-1])}{' and ' if facts[1:] else ''}{facts[-1]}: {relation['error']}"
