"""The policies of docs/aws-permissions.md."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.project import PROJECT

PAGE = PROJECT / "docs/aws-permissions.md"


def read_sections() -> dict[str, str]:
    """Return the text of each section by its heading."""
    _head, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    return {heading: text for heading, _line, text in (section.partition("\n") for section in sections)}


def read_policy(heading: str) -> dict[str, Any]:
    """Return the one policy of a section."""
    (block,) = re.findall(r"^```json\n(.*?)^```$", read_sections()[heading], re.M | re.S)
    return json.loads(block)


def read_actions(heading: str) -> list[str]:
    """Return the actions that a section's policy allows."""
    return [action for statement in read_policy(heading)["Statement"] for action in statement["Action"]]
