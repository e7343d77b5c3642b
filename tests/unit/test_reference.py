"""The committed reference names every variable, option and result that there is, and none that is gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.project import PROJECT, ROLES, role_file

REFERENCE = PROJECT / "docs/reference"
KINDS = ("modules", "lookup", "filter", "test")
PLUGINS = [path for kind in KINDS for path in sorted((PROJECT / "plugins" / kind).glob("[!_]*.py"))]


def named(page: str, what: str) -> set[str]:
    """What a page documents; what: parameter or return. A name inside another one follows it after a slash."""
    text = (REFERENCE / page).read_text()
    found = re.findall(rf'class="ansibleOptionAnchor" id="{what}-([^"]+)"', text)
    return {name.removeprefix("main--") for name in found}


def nested(options: dict | None, inner: str, above: str = "") -> Iterator[str]:
    for name, option in (options or {}).items():
        yield above + name
        yield from nested(option.get(inner), inner, f"{above}{name}/")


def constants(path: Path) -> dict[str, dict]:
    """The YAML constants of a file: DOCUMENTATION, RETURN, and those of a fragment's class."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if name.isupper():
                value = yaml.safe_load(text) if name != "EXAMPLES" else None
                found[name] = value if isinstance(value, dict) else {}
    return found


def fragments(documentation: dict) -> list[str]:
    named = documentation.get("extends_documentation_fragment", [])
    return [named] if isinstance(named, str) else named


def documentation(path: Path) -> list[dict]:
    """The documentation of a plugin, followed by the fragments of this collection that it builds on."""
    own = constants(path).get("DOCUMENTATION", {})
    parts = [own]
    for fragment in fragments(own):
        file, _unused, part = fragment.removeprefix("lightbox.pacs.").partition(".")
        source = PROJECT / f"plugins/doc_fragments/{file}.py"
        if fragment.startswith("lightbox.pacs.") and source.exists():
            parts.append(constants(source)[(part or "documentation").upper()])
    return parts


@pytest.mark.parametrize("role", ROLES)
def test_role(role):
    options = role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert named(f"{role}_role.rst", "parameter") == set(nested(options, "options")), "run make reference"


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugin(path):
    page = f"{path.stem}_{path.parent.name.removesuffix('s')}.rst"
    parts = documentation(path)
    options = {name for part in parts for name in nested(part.get("options"), "suboptions")}
    results = set(nested(constants(path).get("RETURN"), "contains"))
    # A fragment of another collection adds names that stand nowhere here.
    foreign = any(not fragment.startswith("lightbox.pacs.") for fragment in fragments(parts[0]))
    for what, wanted in (("parameter", options), ("return", results)):
        shown = named(page, what)
        assert wanted <= shown if foreign else wanted == shown, f"{what}: run make reference"


def test_no_page_is_about_what_is_gone():
    pages = {f"{role}_role" for role in ROLES}
    pages |= {f"{path.stem}_{path.parent.name.removesuffix('s')}" for path in PLUGINS}
    assert {page.stem for page in REFERENCE.glob("*.rst")} == pages | {"index"}


def test_the_action_group_has_each_module_that_asks_an_archive():
    modules = [path for path in PLUGINS if path.parent.name == "modules"]
    asking = {path.stem for path in modules if "lightbox.pacs.orthanc" in fragments(constants(path)["DOCUMENTATION"])}
    groups = yaml.safe_load((PROJECT / "meta/runtime.yml").read_text())["action_groups"]
    assert set(groups["orthanc"]) == asking
