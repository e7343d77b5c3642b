"""The filter wildcard_differences: names that no pattern matches, and patterns that match no name."""

from __future__ import annotations

import pytest
from ansible_collections.lightbox.pacs.plugins.filter.wildcard_differences import wildcard_differences


@pytest.mark.parametrize(
    ("patterns", "names", "unmatched_patterns", "unmatched_names"),
    [
        ([], [], [], []),
        (["2", "2.4.*"], ["2", "2.4.50", "2.4.51"], [], []),
        (["2*"], ["2", "2.1"], [], []),
        (["2", "2.9"], ["2"], ["2.9"], []),
        (["2", "2.4.*"], [], ["2", "2.4.*"], []),
        (["2"], ["2", "2.1"], [], ["2.1"]),
        # A dot is a dot, and a name is matched from its beginning to its end.
        (["2.1"], ["2x1"], ["2.1"], ["2x1"]),
        (["2.1"], ["12.1", "2.12"], ["2.1"], ["12.1", "2.12"]),
        (["A*"], ["a1"], ["A*"], ["a1"]),
    ],
)
def test_both_sides_are_compared(patterns, names, unmatched_patterns, unmatched_names):
    assert wildcard_differences(names, patterns) == {"names": unmatched_names, "patterns": unmatched_patterns}
