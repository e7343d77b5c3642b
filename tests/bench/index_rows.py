# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of an index with many studies, made from those of one: an archive takes hours to store 100,000 files.

Runs on the server, beside `index_server.py`. The copies have no files, which a search does not read.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

TABLES = ("Resources", "MainDicomTags", "DicomIdentifiers", "Metadata")
DAYS = 3650
TODAY = 20  # studies of today, spread over the archive

Row = tuple[Any, ...]


def public_id(number: int, level: int) -> str:
    digest = hashlib.sha1(f"{number} {level}".encode()).hexdigest()  # noqa: S324 - as Orthanc's identifiers
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def values(number: int, count: int, today: date) -> dict[tuple[int, int], str]:
    """What differs from study to study, by tag."""
    chance = random.Random(number)
    every = max(1, count // TODAY)
    day = today if number % every == 0 else today - timedelta(days=1 + chance.randrange(DAYS))
    return {
        (0x0010, 0x0010): f"FAMILY{number % 667:03d}^GIVEN{number}",
        (0x0010, 0x0020): f"LIST{number:09d}",
        (0x0020, 0x000D): f"2.25.9{number:09d}1",
        (0x0020, 0x000E): f"2.25.9{number:09d}2",
        (0x0008, 0x0018): f"2.25.9{number:09d}3",
        (0x0008, 0x0020): day.strftime("%Y%m%d"),
        (0x0008, 0x0030): f"{chance.randrange(24):02d}{chance.randrange(60):02d}{chance.randrange(60):02d}",
        (0x0008, 0x0050): f"A{number:09d}",
    }


def copies(template: dict[str, list[Row]], count: int, today: date) -> Iterator[tuple[str, Row]]:
    """Each copy's rows with their table. A row of Resources is (id, level, public id, parent)."""
    order = sorted(row[0] for row in template["Resources"])
    place = {internal: index for index, internal in enumerate(order)}
    base = max(order) + 1
    for number in range(count):
        changed = values(number, count, today)
        first = base + number * len(order)
        for internal, level, _public, parent in template["Resources"]:
            above = None if parent is None else first + place[parent]
            yield "Resources", (first + place[internal], level, public_id(number, int(level)), above)
        for table in ("MainDicomTags", "DicomIdentifiers"):
            for internal, group, element, value in template[table]:
                yield table, (first + place[internal], group, element, changed.get((int(group), int(element)), value))
        for internal, kind, value in template["Metadata"]:
            yield "Metadata", (first + place[internal], kind, value)
