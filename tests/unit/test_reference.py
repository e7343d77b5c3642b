"""The pages that are written from the documentation of roles and modules are up to date."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from tests.sanity import variable_tables
from tests.support.project import PROJECT


@pytest.mark.parametrize("page", variable_tables.pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_table_of_variables_is_up_to_date(page):
    assert page.read_text() == variable_tables.update(page), "run make reference"


@pytest.mark.parametrize(
    ("description", "first_sentence"),
    [
        ("Whether it runs. V(false) stops it.", "Whether it runs."),
        (["Size, in MB.", "At least 512."], "Size, in MB."),
        ("Needs O(postgresql_provider=local).", "Needs `postgresql_provider: local`."),
        (
            "Set by M(lightbox.pacs.orthanc_info) or\n  C(a|b) of V(1.12.10).",
            "Set by `lightbox.pacs.orthanc_info` or `a\\|b` of `1.12.10`.",
        ),
    ],
)
def test_a_description_becomes_one_line_of_markdown(description, first_sentence):
    assert variable_tables.describe({"description": description}, in_full=False) == first_sentence


def documentation(module: Path) -> dict:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(node.value))
    return {}


def test_the_action_group_has_each_module_that_connects_to_orthanc():
    modules = (PROJECT / "plugins/modules").glob("[!_]*.py")
    connecting = {
        module.stem
        for module in modules
        if "lightbox.pacs.orthanc" in documentation(module).get("extends_documentation_fragment", [])
    }
    groups = yaml.safe_load((PROJECT / "meta/runtime.yml").read_text())["action_groups"]
    assert set(groups["orthanc"]) == connecting
