"""Every role keeps the rules of the project: arguments documented once, defaults that agree, tasks named, prefixed."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.project import OUTPUTS, PROJECT, ROLES, role_file, tasks_in


def commented_defaults(role: str) -> set[str]:
    text = (PROJECT / "roles" / role / "defaults/main.yml").read_text()
    return set(re.findall(r"(?m)^# ?([a-z0-9_]+):", text))


def task_files(role: str):
    return sorted((PROJECT / "roles" / role / "tasks").glob("*.yml")) + sorted(
        (PROJECT / "roles" / role).glob("handlers/*.yml")
    )


@pytest.mark.parametrize("role", ROLES)
def test_arguments_and_defaults_are_the_same(role):
    options = role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = role_file(role, "defaults/main.yml")
    with_default = {name: option["default"] for name, option in options.items() if "default" in option}
    assert with_default == defaults
    assert {name for name in options if name not in with_default} == commented_defaults(role)


@pytest.mark.parametrize("role", ROLES)
def test_public_names_start_with_the_role(role):
    options = role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert [name for name in options if not name.startswith(f"{role}_")] == []
    files = (PROJECT / "roles" / role).glob("vars/main/*.yml")
    internal = [name for file in files for name in yaml.safe_load(file.read_text())]
    outputs = OUTPUTS.get(role, set())
    assert [name for name in internal if not name.startswith(f"__{role}_") and name not in outputs] == []


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_another_roles_variable(role):
    others = "|".join(other for other in ROLES if other != role)
    pattern = re.compile(
        rf"(?<!lightbox[.]pacs[.])(?<!community[.]postgresql[.])\b(?:__)?(?:{others})_(?=[a-z])[a-z_]+"
    )
    own = role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    files = [
        file
        for part in ("tasks", "handlers", "vars/main", "templates", "defaults")
        for file in (PROJECT / "roles" / role / part).rglob("*")
        if file.is_file()
    ]
    found = {match for file in files for match in pattern.findall(re.sub(r"(?m)#.*$", "", file.read_text()))}
    allowed = {"verify_full", "verify_host"}  # values of libpq and of ansible.posix.synchronize
    assert {name for name in found if name not in own} - allowed == set()


@pytest.mark.parametrize(
    "file", sorted((PROJECT / "playbooks/group_vars/all").glob("*.yml")), ids=lambda file: file.stem
)
def test_the_wiring_reads_only_what_roles_document(file):
    """Arguments and outputs, not the variables that a role may rename."""
    internal = re.compile(rf"\b__(?:{'|'.join(ROLES)})_\w+")
    assert internal.findall(re.sub(r"(?m)#.*$", "", file.read_text())) == []


@pytest.mark.parametrize("role", ROLES)
def test_outputs_are_documented(role):
    text = (PROJECT / "roles" / role / "README.md").read_text() + str(role_file(role, "meta/argument_specs.yml"))
    assert {name for name in OUTPUTS.get(role, set()) if name.startswith("aws_") and name not in text} == set()


@pytest.mark.parametrize("role", ROLES)
def test_tasks_have_names_and_their_file_in_front(role):
    wrong = []
    for file in task_files(role):
        for task in tasks_in(file):
            name = task.get("name", "")
            if not name or (file.name not in ("main.yml",) and not name.startswith(f"{file.stem} | ")):
                wrong.append(f"{file.name}: {name or task}")
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_no_import_is_skipped_because_of_what_it_registers(role):
    """Ansible skips each task of an import by itself, and a skipped task replaces what it registered before."""
    forgotten = [
        f"{file.name}: {task['name']}"
        for file in task_files(role)
        for task in tasks_in(file)
        if (imported := task.get("ansible.builtin.import_tasks"))
        for other in tasks_in(file.parent / imported)
        if f"{other.get('register')} is" in str(task.get("when", ""))
    ]
    assert forgotten == []


@pytest.mark.parametrize("role", ROLES)
def test_every_argument_is_read(role):
    directory = PROJECT / "roles" / role
    files = [file for part in ("tasks", "handlers", "vars", "templates") for file in (directory / part).rglob("*.*")]
    read = set(re.findall(rf"\b{role}_\w+", "\n".join(file.read_text() for file in files)))
    assert set(role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]) - read == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_argument_is_described(role):
    options = role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert [name for name, option in options.items() if not option.get("description")] == []


def test_wiring_is_short():
    for name in "wiring.yml", "wiring_aws.yml", "wiring_certificates.yml":
        assert len((PROJECT / "playbooks/group_vars/all" / name).read_text().splitlines()) < 110


def test_no_list_loses_its_order():
    """Ansible's filters for sets answer in another order in each run: a file made of that would change in each run."""
    unordered = re.compile(
        r"\| *(union|symmetric_difference)\("
        r"|\| *(difference|intersect)\([^()]*(\([^()]*\)[^()]*)*\) *\| *(map|join|first|last)"
    )
    files = [*(PROJECT / "roles").glob("*/*/*"), *(PROJECT / "playbooks").glob("**/*.yml")]
    found = [
        f"{file.relative_to(PROJECT)}: {match[0]}"
        for file in files
        if file.suffix in (".yml", ".j2")
        for match in unordered.finditer(" ".join(file.read_text(encoding="utf-8").split()))
    ]
    assert found == []
