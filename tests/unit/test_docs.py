"""The pages: their links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.project import OUTPUTS, PROJECT, ROLES, role_file

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
ROLE_PAGES = [PROJECT / "roles" / role / "README.md" for role in ROLES]
NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]
ROLE_VARIABLE = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROLES)})_[a-z0-9_]+(?![\w/-])")
ANSWER = re.compile(
    r"(?<![\w./-])(?:pacs_[a-z0-9_]+|aws_(?:account_id|connect|environment|kms_key_id|region|tags))(?![\w/-])"
)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


@pytest.fixture(params=[*PAGES, *ROLE_PAGES], ids=[*NAMES, *ROLES])
def page(request) -> Path:
    return request.param


def arguments() -> set[str]:
    """Every argument of every role."""
    return {
        name
        for role in ROLES
        for name in role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    }


def answers() -> set[str]:
    """Return the names of the playbooks' own variables."""
    spec = yaml.safe_load((PROJECT / "playbooks/meta/argument_specs.yml").read_text())
    return set(spec["argument_specs"]["main"]["options"])


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings make: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unknown(page: Path, pattern: re.Pattern[str], known: set[str], not_variables: set[str]) -> set[str]:
    # A name that ends with "_" and dots stands for many, for example `pacs_…`.
    return {name for name in pattern.findall(page.read_text()) if not name.endswith("_")} - known - not_variables


@cache
def files_of_a_clone() -> set[Path]:
    """Return the files and directories that are in git or about to be, not those that `make` writes."""
    listing = ("git", "-C", PROJECT, "ls-files", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    files = {PROJECT / name for name in names}
    return {file for file in files if file.exists()} | {directory for file in files for directory in file.parents}


def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _hash, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if file not in files_of_a_clone() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def test_roles_variables_exist(page):
    modules = {file.stem for file in (PROJECT / "plugins").glob("*/*.py")}
    outputs = set().union(*OUTPUTS.values())
    assert unknown(page, ROLE_VARIABLE, arguments() | outputs, modules) == set()


def test_answers_exist(page):
    modules = {file.stem for file in (PROJECT / "plugins").glob("*/*.py")}
    assert unknown(page, ANSWER, answers(), modules) == set()


def test_no_page_names_an_internal_variable():
    """People set public variables. CONTRIBUTING.md is for those who change the collection."""
    pages = [path for path in [*PAGES, *ROLE_PAGES] if path.name != "CONTRIBUTING.md"]
    found = {f"{path.name}: {name}" for path in pages for name in re.findall(r"\b__[a-z]+_\w+", path.read_text())}
    assert found == set()


def test_answers_are_documented():
    """The argument spec has every variable that a play reads or an inventory sets, and no other."""
    files = {*PROJECT.glob("playbooks/**/*.yml"), *PROJECT.glob("inventories/*/**/*.yml")}
    files.remove(PROJECT / "playbooks/meta/argument_specs.yml")
    assert {name for file in files for name in ANSWER.findall(file.read_text())} == answers()


def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(), re.M))
    code = re.findall(r"`make ([a-z0-9-]+)", page.read_text())
    code += [
        target for block in FENCE.findall(page.read_text()) for target in re.findall(r"^make ([a-z0-9-]+)", block, re.M)
    ]
    assert set(code) - targets == set()


def test_files_of_the_project_exist(page):
    """A path in backquotes that begins with one of the project's directories exists."""
    directories = (
        r"(?:playbooks|roles|plugins|molecule|tests|docs|inventories/(?:aws|lab|onprem)|changelogs|\.config|\.ci)"
    )
    named = re.findall(rf"`({directories}/[\w./*-]+)`", page.read_text())
    generated = (".secrets", "docs/reference/")
    named = [path for path in named if not any(part in path for part in generated)]
    assert [path for path in named if not list(PROJECT.glob(path.rstrip("/")))] == []


def test_readme_lists_every_page():
    readme = (PROJECT / "README.md").read_text()
    assert [name for name in NAMES[1:] if f"({name})" not in readme] == []


def test_variables_page_lists_every_role():
    page = (PROJECT / "docs/variables.md").read_text()
    assert [role for role in ROLES if f"(../roles/{role}/README.md#variables)" not in page] == []


def test_readme_lists_every_make_target():
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (PROJECT / "Makefile").read_text(), re.M)) - {"help"}
    listed = set(re.findall(r"^\| `make ([a-z0-9-]+)` \|", (PROJECT / "README.md").read_text(), re.M))
    assert listed == targets


def test_examples_are_yaml(page):
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.M | re.S):
        assert yaml.safe_load(block)


def test_figures_are_filled_in(page):
    assert "MEASURE" not in page.read_text()


def test_every_generated_secret_has_a_command_for_a_new_one():
    wiring = (PROJECT / "playbooks/group_vars/all/wiring.yml").read_text()
    names = set(re.findall(r"'lightbox\.pacs\.secret', '(\w+)'", wiring))
    assert len(names) >= 4
    described = (PROJECT / "docs/security.md").read_text().split("### New keys and passwords", 1)[1]
    assert [name for name in names if f"rm -f .secrets/{name}" not in described] == []
