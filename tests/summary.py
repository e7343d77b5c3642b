# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how long the phases of the last `make test` took, and its slowest tests.

tests/phase leaves NAME.result and NAME.xml (JUnit) in artifacts/test. CONTRIBUTING.md has the budget of each phase in
seconds; a phase that took more than 1.5 times as long is marked and fails nothing. Only Python's own library is used,
as the virtual environment may be what failed.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REPORTS = PROJECT / "artifacts/test"
SLOWEST = 10
BUDGET = re.compile(r"^\| `(?P<phase>[a-z-]+)` \|.*\| (?P<seconds>\d+) s \|$", re.MULTILINE)
EXCESS = 1.5


@dataclasses.dataclass(frozen=True)
class Phase:
    name: str
    seconds: int
    has_failed: bool = False
    budget: int | None = None
    """In seconds; None where CONTRIBUTING.md has no row of that name."""

    @property
    def is_over(self) -> bool:
        return self.budget is not None and self.seconds > self.budget * EXCESS


def read_budgets(page: str) -> dict[str, int]:
    """Budgets in seconds by phase, from the table in the text of CONTRIBUTING.md."""
    return {row["phase"]: int(row["seconds"]) for row in BUDGET.finditer(page)}


def read_phases(directory: Path, budgets: dict[str, int]) -> list[Phase]:
    """The phases that ran, in the order in which they ended."""
    found = []
    for file in sorted(directory.glob("*.result"), key=lambda file: file.stat().st_mtime):
        seconds, code = map(int, file.read_text().split())
        found.append(Phase(file.stem, seconds, code != 0, budgets.get(file.stem)))
    return found


def read_tests(directory: Path) -> list[tuple[float, str]]:
    """Every test that ran as (seconds, "phase: file::test"), the slowest first."""
    found = []
    for file in directory.glob("*.xml"):
        try:
            report = ET.parse(file)  # noqa: S314 - pytest wrote it
        except ET.ParseError:  # and was killed while it did
            continue
        for case in report.iter("testcase"):
            place = case.get("classname", "").rsplit(".", 1)[-1]
            found.append((float(case.get("time", 0)), f"{file.stem}: {place}::{case.get('name')}"))
    return sorted(found, reverse=True)


def format_summary(phases: list[Phase], tests: list[tuple[float, str]], color: bool) -> str:
    """The text to print; color: mark in yellow what took too long."""
    width = max((len(phase.name) for phase in phases), default=0)
    lines = ["", "Seconds of each phase"]
    for phase in phases:
        line = f"  {phase.name:<{width}}  {phase.seconds:>5}{'  failed' if phase.has_failed else ''}"
        if phase.is_over:
            line += f"  more than 1.5 times its budget of {phase.budget} s (CONTRIBUTING.md)"
            line = f"\033[33m{line}\033[0m" if color else line
        lines.append(line)
    if tests:
        lines += ["", "Slowest tests, in seconds with their fixtures"]
        lines += [f"  {seconds:7.1f}  {name}" for seconds, name in tests[:SLOWEST]]
    return "\n".join(lines)


def main() -> None:
    color = sys.stdout.isatty() or os.environ.get("CI") == "true"
    phases = read_phases(REPORTS, read_budgets((PROJECT / "CONTRIBUTING.md").read_text()))
    print(format_summary(phases, read_tests(REPORTS), color))


if __name__ == "__main__":
    main()
