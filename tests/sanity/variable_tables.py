"""Write the tables of variables in the roles' READMEs and in docs/variables.md from the argument specs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.project import PROJECT, ROLES

BEGIN = "<!-- BEGIN VARIABLES: written by `make reference` from {} -->"
END = "<!-- END VARIABLES -->"
PLAYBOOKS_PAGE = PROJECT / "docs/variables.md"


def spec_of(page: Path) -> Path:
    owner = PROJECT / "playbooks" if page == PLAYBOOKS_PAGE else page.parent
    return owner / "meta/argument_specs.yml"


def code(text: str) -> str:
    """Format text as code in a table's cell. A bar would end the cell."""
    return f"`{text}`".replace("|", r"\|")


def convert_markup(text: str) -> str:
    """Turn Ansible's semantic markup into Markdown."""
    text = re.sub(r"\bO\(([^)=]+)=([^)]*)\)", lambda match: code(f"{match[1]}: {match[2]}"), text)
    return re.sub(r"\b[CMOV]\(([^)]*)\)", lambda match: code(match[1]), text)


def describe(option: dict[str, Any], in_full: bool) -> str:
    """Return an option's description, or its first sentence only."""
    text = option["description"]
    text = " ".join([text] if isinstance(text, str) else text)
    if not in_full:
        text = re.split(r"(?<=[.])\s+(?=[A-Z])", text, maxsplit=1)[0]
    return convert_markup(" ".join(text.split()))


def describe_type(option: dict[str, Any]) -> str:
    kind = f"list of {option['elements']}" if option["type"] == "list" else option["type"]
    choices = ", ".join(code(choice) for choice in option.get("choices", []))
    return f"{kind}: {choices}" if choices else kind


def format_default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    default = option["default"]
    return code(default if isinstance(default, str) and default else json.dumps(default))


def render_table(options: dict[str, Any], in_full: bool = False) -> Iterator[str]:
    yield "| Name | Type | Default | Description |"
    yield "|---|---|---|---|"
    for name, option in options.items():
        cells = (code(name), describe_type(option), format_default(option), describe(option, in_full))
        yield f"| {' | '.join(cells)} |"


def render(page: Path) -> str:
    """Return the generated part of a page: the variables, then the keys of each that has some."""
    options = yaml.safe_load(spec_of(page).read_text())["argument_specs"]["main"]["options"]
    lines = list(render_table(options, in_full=page == PLAYBOOKS_PAGE))
    for name, option in options.items():
        if "options" in option:
            lines += ["", f"### Keys of `{name}`", "", *render_table(option["options"])]
    return "\n".join(lines)


def update(page: Path) -> str:
    """Return a page's text with its generated part renewed."""
    marker = BEGIN.format(spec_of(page).relative_to(PROJECT))
    before, _begin, rest = page.read_text().partition(marker)
    _old, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page.relative_to(PROJECT)} lacks a marker. Add the lines {marker} and {END} to it.")
    return f"{before}{marker}\n{render(page)}\n{end}{after}"


def pages() -> list[Path]:
    return [*(PROJECT / "roles" / role / "README.md" for role in ROLES), PLAYBOOKS_PAGE]


if __name__ == "__main__":
    for path in pages():
        path.write_text(update(path))
