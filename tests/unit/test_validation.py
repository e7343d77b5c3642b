"""Variables are validated by argument specs and assertions: all errors at once, none that follows from another."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.plugin_utils import _validation, _variables
from ansible_collections.lightbox.pacs.plugins.plugin_utils._validation import type_errors, validate

from tests.support.project import PROJECT, ROLES, role_file
from tests.support.rendering import Role

VERIFY = {
    "verify_url": "https://pacs.example.org",
    "verify_web_user": "admin",
    "verify_web_password": "a password",
    "verify_archive_user": "reverse_proxy",
    "verify_archive_password": "another",
    "ansible_host": "192.0.2.1",
}


def errors_of(value: Any, **option: Any) -> list[str]:
    return list(type_errors("x", value, option))


@pytest.mark.parametrize(
    ("value", "option"),
    [
        (5, {"type": "int"}),
        ("5", {"type": "int"}),
        ("no", {"type": "bool"}),
        (12, {"type": "str"}),
        (["a", 1], {"type": "list", "elements": "str"}),
        ([], {"type": "list", "elements": "dict", "options": {"a": {"type": "str", "required": True}}}),
        ({"any": [1]}, {"type": "dict"}),
        (["store"], {"type": "list", "elements": "str", "choices": ["store", "echo"]}),
        ([["a", "b"]], {"type": "list", "elements": "list"}),
    ],
    ids=str,
)
def test_values_that_roles_can_read(value, option):
    assert errors_of(value, **option) == []


@pytest.mark.parametrize(
    ("value", "option", "message"),
    [
        ("high", {"type": "int"}, "x is 'high'. Set x to a whole number (int)."),
        (1.5, {"type": "int"}, "x is '1.5'. Set x to a whole number (int)."),
        ("maybe", {"type": "bool"}, "x is 'maybe'. Set x to true or false."),
        (None, {"type": "str"}, "x is empty (null). Set x to text."),
        (["a"], {"type": "str"}, "x is a list. Set x to text."),
        (
            "a,b",
            {"type": "list", "elements": "str"},
            "x is 'a,b', which is text. Set x to a list, such as [a,b]; [] for",
        ),
        (
            '{"a": 1}',
            {"type": "dict"},
            "Set x to a dictionary of names and values. On the command line give it as JSON.",
        ),
        (
            "locl",
            {"type": "str", "choices": ["local", "none"]},
            "x is 'locl'. Did you mean local? Set x to one of local,",
        ),
        ("hidden", {"type": "int", "no_log": True}, "x is text. Set x to a whole number (int)."),
        ([1, "b"], {"type": "list", "elements": "int"}, "x, entry 2 is 'b'. Set it to a whole number (int)."),
        (
            ["stor"],
            {"type": "list", "elements": "str", "choices": ["store"]},
            "x, entry 1 is 'stor'. Did you mean store?",
        ),
    ],
    ids=str,
)
def test_values_that_roles_cannot_read(value, option, message):
    (error,) = errors_of(value, **option)
    assert error.startswith(message) or error.endswith(message)


def test_entries_are_named_by_number_and_name():
    option = {"type": "list", "elements": "dict"}
    options = {"name": {"type": "str", "required": True, "description": ["What it is. More."]}, "port": {"type": "int"}}
    assert errors_of([{"name": "a", "prt": 1}, {"port": "p"}, 3], **option, options=options) == [
        "x, entry 1 (a): prt is not an option. Did you mean port?",
        "x, entry 2 has no name, which is required. Set name: What it is.",
        "x, entry 2: port is 'p'. Set port to a whole number (int).",
        "x, entry 3 is '3'. Set it to a dictionary of names and values.",
    ]


def verify(**variables: Any) -> list[str]:
    return Role("verify", **VERIFY).errors(**variables)


def test_types_and_assertions_come_together():
    assert verify() == []
    assert len(verify(verify_timeout=0, verify_ca="ca.pem", verify_url="http://x")) == 3
    # What an assertion would say of the wrong type is not reported.
    mistyped, other = verify(verify_timeout="soon", verify_ca="ca.pem")
    assert mistyped == "verify_timeout is 'soon'. Set verify_timeout to a whole number (int)."
    assert other.startswith("verify_ca is 'ca.pem'.")


def test_a_role_that_is_disabled_asserts_nothing():
    assert verify(verify_enabled=False, verify_timeout=0) == []


def test_an_assertion_that_cannot_be_evaluated_is_an_error_of_its_own():
    (error,) = verify(__verify_assertions=[{"that": trust_as_template("nobody_knows == 1"), "fail_msg": "x"}])
    assert error == "Assertion 1 of verify cannot be evaluated: 'nobody_knows' is undefined."


def playbook(roles: list[str], **variables: Any) -> list[str]:
    """Errors as the playbooks find them, of roles with their defaults and the playbooks' own variables."""
    loader = DataLoader()
    everything: dict[str, Any] = {"inventory_dir": "/nowhere", "inventory_hostname": "one", **VERIFY}
    for role in ROLES:
        templar = Role(role).templar()
        everything |= {k: v for k, v in templar.available_variables.items() if k.startswith((f"{role}_", f"__{role}_"))}
    for name in ("assertions", "wiring", "wiring_certificates"):
        path = PROJECT / f"playbooks/group_vars/all/{name}.yml"
        everything |= loader.load_from_file(str(path), trusted_as_template=True)
    everything |= {"pacs_name": "pacs.example.org"} | variables
    everything["hostvars"] = {"one": dict(variables)}
    return validate(Templar(loader, variables=everything), everything, roles, playbook=True)


def test_the_first_role_reports_a_variable_in_the_inventorys_words():
    found = playbook(
        ["certificates", "reverse_proxy"],
        pacs_alternative_names=["a b"],
        pacs_archive_password="x",
        pacs_web_password="x",
    )
    (error,) = [one for one in found if "a b" in one]
    assert error.startswith("pacs_name or pacs_alternative_names contains a b, which is neither a DNS name nor an IP")


def test_what_the_playbooks_validated_is_judged_again_with_the_servers_facts_only():
    assert verify(verify_timeout=0, __pacs_validated={}) == []
    (error,) = verify(verify_timeout=0, __pacs_validated={}, __verify_host={"packages": {}})
    assert error.startswith("verify_timeout is 0")


def test_a_role_is_named_once():
    """In the wiring, over which the input check and check_config loop; in the plays; in roles/*."""
    wiring = yaml.safe_load((PROJECT / "playbooks/group_vars/all/wiring.yml").read_text())
    plays = [
        play for name in ("pacs", "verify") for play in yaml.safe_load((PROJECT / f"playbooks/{name}.yml").read_text())
    ]
    in_plays = [
        (entry.get("role") or entry["ansible.builtin.import_role"]["name"]).removeprefix("lightbox.pacs.")
        for play in plays
        for entry in play.get("roles", []) + play.get("tasks", [])
        if "ansible.builtin.include_tasks" not in entry
    ]
    assert wiring["__pacs_roles"] == in_plays
    aws = yaml.safe_load((PROJECT / "playbooks/group_vars/all/wiring_aws.yml").read_text())["__aws_roles"]
    build = (PROJECT / "playbooks/tasks/aws_build.yml").read_text()
    assert list(dict.fromkeys(re.findall(r"name: lightbox\.pacs\.(\w+)\n(?! *tasks_from)", build))) == aws
    assert sorted(in_plays + aws) == ROLES
    for name in ("check_config", "tasks/check_input"):
        text = (PROJECT / f"playbooks/{name}.yml").read_text()
        assert "tasks/validate.yml" in text or "import_tasks: validate.yml" in text
        assert not [role for role in ROLES if f"lightbox.pacs.{role}" in text]


@pytest.mark.parametrize("role", ROLES)
def test_assertions_have_the_words_of_assert(role):
    assertions = role_file(role, "vars/main/assertions.yml")[f"__{role}_assertions"]
    assert [one for one in assertions if not {"that", "fail_msg"} <= set(one) <= {"that", "fail_msg", "when"}] == []
    assert (PROJECT / f"roles/{role}/tasks/variables.yml").read_text().count("\n- ") == 0


def test_names_of_the_inventory_are_of_variables():
    table = yaml.safe_load((PROJECT / "playbooks/group_vars/all/assertions.yml").read_text())[
        _validation.INVENTORY_NAMES
    ]
    wired = _variables.wiring()
    assert [name for name in table if name not in wired] == []


def test_what_a_role_yields_may_be_set_before_the_validation():
    """The playbook verify.yml alone sets how the server on AWS is reached, and validates then."""
    assert _variables.unknown_variables(["aws_host", "aws_network", "aws_database"]) == []
    assert len(_variables.unknown_variables(["aws_host_typ"])) == 1
