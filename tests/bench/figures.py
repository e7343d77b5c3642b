# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make figures of runs: medians, ratios, a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]


def compare(runs: Mapping[str, Sequence[Run]], base: str) -> dict[str, Any]:
    """Median `per_second` of each target, and how it stands to ``base``.

    A ratio is the median of the ratios of the rounds, each of two runs that followed one another; `spread` is the
    smallest and the largest of them: a difference smaller than that says nothing.
    """
    result: dict[str, Any] = {"per_second": {}, "ratio": {}, "spread": {}}
    for name, of_target in runs.items():
        result["per_second"][name] = round(statistics.median(run["per_second"] for run in of_target), 1)
        if name != base:
            ratios = [one["per_second"] / other["per_second"] for one, other in zip(of_target, runs[base], strict=True)]
            result["ratio"][name] = round(statistics.median(ratios), 3)
            result["spread"][name] = [round(min(ratios), 3), round(max(ratios), 3)]
        for detail in ("p50_ms", "p99_ms"):
            if detail in of_target[0]:
                result.setdefault(detail, {})[name] = round(statistics.median(run[detail] for run in of_target), 2)
        if "cpu_ms" in of_target[0]:
            services = sorted({service for run in of_target for service in run["cpu_ms"]})
            result.setdefault("cpu_ms_per_request", {})[name] = {
                service: round(statistics.median(run["cpu_ms"].get(service, 0.0) for run in of_target), 3)
                for service in services
            }
    return result


def count_tasks(listing: str) -> int:
    """Tasks in what `ansible-playbook --list-tasks` printed: each line of one ends with its tags."""
    return sum(
        "TAGS: [" in line and not line.lstrip().startswith(("play #", "playbook:")) for line in listing.splitlines()
    )


def table(document: Mapping[str, Any]) -> str:
    """The document in lines for people; parts that were not measured are left out."""
    lines = []

    def row(what: str, base: object, other: object, ratio: object) -> None:
        lines.append(f"{what:<44}{base:>10}{other:>10}{ratio:>8}")

    units = {"frames": "WADO-RS frames/s", "stow": "STOW-RS MB/s"}
    sides = {"direct": (document, "reverse_proxy"), "without": (document.get("library", {}), "with")}
    for base, (parts, other) in sides.items():
        measured = [part for part in units if part in parts]
        if measured:
            row("Preloaded library" if other == "with" else "", base, other, "ratio")
        for part in measured:
            for count, figures in parts[part]["connections"].items():
                speed = figures["per_second"]
                what = f"{units[part]}, {count} connection{'s' if count != '1' else ''}"
                row(what, speed[base], speed[other], figures["ratio"][other])
    if "store" in document:
        figures = document["store"]
        names = [*figures["per_second"], ""]
        row("", names[0], names[1], "ratio" if figures["ratio"] else "")
        for what, unit in (("instances/s", "per_second"), ("MB/s", "megabytes_per_second")):
            speeds = [*figures[unit].values(), ""]
            row(f"C-STORE {what}", speeds[0], speeds[1], figures["ratio"].get("tls", ""))
    if "memory_mb" in document:
        row("Memory, MB", "idle", "loaded", "")
        before, after = document["memory_mb"]["before"], document["memory_mb"]["after"]
        for service in sorted(after):
            row(f"  {service}", before.get(service, {}).get("resident", ""), after[service]["resident"], "")
    if "browser" in document:
        browser = document["browser"]
        row("Browser", "cold", "warm", "")
        for what, name in (
            ("seconds to the first image", "median_seconds_to_first_image"),
            ("MB until the first image", "megabytes_until_first_image"),
        ):
            row(f"  {what}", browser[name]["cold"], browser[name]["warm"], "")
    if document.get("tasks") is not None:
        row("Tasks in site.yml", document["tasks"], "", "")
    return "\n".join(line.rstrip() for line in lines)
