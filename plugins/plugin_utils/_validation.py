# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""Errors in the variables of roles: types by their argument specs, relations by their assertions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import trust_as_template
from ansible_collections.lightbox.pacs.plugins.plugin_utils._variables import load, roles, unknown_variables, wiring

PLAYBOOK = "pacs"
# The playbooks' table of role variables that an inventory sets by another name.
INVENTORY_NAMES = "__pacs_inventory_names"
# What the playbooks register when they have validated all roles.
VALIDATED = "__pacs_validated"
# What preflights register. Without one of them a role has learnt nothing since the playbooks validated it.
FACTS = ("host", "provided_key", "region")
# Of all errors in types the one that leaves a value as assertions expect it.
NOT_AN_OPTION = " is not an option. "
CONTAINERS: dict[str, Any] = {"dict": Mapping, "list": (list, tuple)}
KINDS = {
    "bool": "true or false",
    "dict": "a dictionary of names and values",
    "int": "a whole number (int)",
    "list": "a list",
    "path": "a path",
    "str": "text",
}


def describe_kind(value: Any) -> str:
    for kind, words in ((bool, "true or false"), (Mapping, "a dictionary"), (str, "text"), ((int, float), "a number")):
        if isinstance(value, kind):
            return words
    return "empty (null)" if value is None else "a list" if isinstance(value, Sequence) else "of another type"


def is_secret(option: Mapping[str, Any]) -> bool:
    """Return whether an option, or one inside it, is a secret."""
    return bool(option.get("no_log")) or any(map(is_secret, (option.get("options") or {}).values()))


def describe_value(value: Any, option: Mapping[str, Any]) -> str:
    """Describe a value for an error; never a secret."""
    if is_secret(option) or not isinstance(value, (str, int, float)):
        return f"is {describe_kind(value)}"
    text = str(value)
    return f"is '{text[:40]}{'…' if len(text) > 40 else ''}'"


def first_sentence(option: Mapping[str, Any]) -> str:
    """Return what an option is, by its documentation, without markup."""
    description = option.get("description", "")
    text = description if isinstance(description, str) else description[0]
    return re.sub(r"\b[OVC]\(([^)=]*)(=[^)]*)?\)", r"\1", text).split(". ")[0].rstrip(".")


def suggest(name: str, option: Mapping[str, Any], value: Any = None) -> str:
    """Say what to set instead of a value of a wrong type."""
    name = name.rpartition(": ")[2]
    name = "it" if ", entry " in name else name
    if option.get("choices") and option["type"] == "list":
        return f"Set {name} to a list of some of {', '.join(map(str, option['choices']))}, in brackets."
    if option.get("choices"):
        meant = difflib.get_close_matches(str(value), map(str, option["choices"]), n=1)
        question = f"Did you mean {meant[0]}? " if meant else ""
        return f"{question}Set {name} to one of {', '.join(map(str, option['choices']))}."
    if option["type"] == "list" and option.get("elements") == "dict":
        entry = ", ".join(f"{key}: …" for key, inner in option.get("options", {}).items() if inner.get("required"))
        return f"Set {name} to a list of entries, such as [{{{entry}}}]; [] for none."
    if option["type"] == "list":
        example = "1, 2" if option.get("elements") == "int" else "a, b"
        if isinstance(value, str) and value and not is_secret(option):
            example = value[:40]
        return f"Set {name} to a list, such as [{example}]; [] for none."
    quotes = ", in quotes" if option["type"] in ("str", "path") and isinstance(value, (bool, float)) else ""
    return f"Set {name} to {KINDS[option['type']]}{quotes}."


def type_errors(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    """Yield the errors in a value's type, by its option in an argument spec, down to the entries of lists.

    Ansible would split a text to a list, parse one to a dictionary, and print a list as a text; but roles read the
    value as it was given, so these are errors.
    """
    kind = option["type"]
    container = CONTAINERS.get(kind)
    if value is None or (not isinstance(value, container) if container else isinstance(value, (Mapping, list, tuple))):
        is_text = isinstance(value, str)
        kind_of_text = ", which is text" if is_text and not is_secret(option) else ""
        json = " On the command line give it as JSON." if is_text and ", entry " not in name else ""
        yield f"{name} {describe_value(value, option)}{kind_of_text}. {suggest(name, option, value)}{json}"
    elif kind == "dict":
        yield from entry_errors(name, f"{name}.", value, option)
    elif kind == "list":
        inner = {**option, "type": option.get("elements") or "str", "elements": None}
        for number, entry in enumerate(value, 1):
            label = entry.get("name") if isinstance(entry, Mapping) else None
            place = f"{name}, entry {number}{f' ({label})' if isinstance(label, str) else ''}"
            if inner["type"] == "dict" and isinstance(entry, Mapping):
                yield from entry_errors(place, f"{place}: ", entry, inner)
            else:
                yield from type_errors(place, entry, inner)
    elif has_errors(value, option):
        yield f"{name} {describe_value(value, option)}. {suggest(name, option, value)}"


def has_errors(value: Any, option: Mapping[str, Any]) -> bool:
    """Return whether a value that is neither a list nor a dictionary is not of its type, by Ansible's validator.

    It would take true for the number 1 and the text of anything for a text, which is not what a template makes of them.
    """
    if option["type"] == "int" and not re.fullmatch("-?[0-9]+", str(value)):
        return True
    # YAML reads off without quotes as false. Ansible's validator takes that for the choice off.
    is_off = value is False and "off" in option.get("choices", [])
    if option["type"] in ("str", "path") and isinstance(value, (bool, float)) and not is_off:
        return True
    return bool(ArgumentSpecValidator({"value": option}).validate({"value": value}).error_messages)


def entry_errors(place: str, prefix: str, entry: Mapping[str, Any], option: Mapping[str, Any]) -> Iterator[str]:
    """Yield the same for a dictionary; place names it, and prefix its keys."""
    options = option.get("options")
    if not options:
        return
    for key in entry:
        if key not in options:
            meant = difflib.get_close_matches(str(key), options, n=1)
            way = f"Did you mean {meant[0]}?" if meant else f"Remove it; the options are {', '.join(options)}."
            yield f"{prefix}{key}{NOT_AN_OPTION}{way}"
    for key, inner in options.items():
        if key in entry:
            yield from type_errors(f"{prefix}{key}", entry[key], inner)
        elif inner.get("required"):
            yield f"{place} has no {key}, which is required. Set {key}: {first_sentence(inner)}."


def innermost_reason(error: BaseException) -> str:
    """Return the cause of an error in a template, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200].rstrip(".")


class Validation:
    """The errors in one host's variables. templar: Ansible's, with these variables."""

    def __init__(self, templar: Any, variables: Mapping[str, Any]) -> None:
        self.templar = templar
        self.variables = variables
        self.errors: list[str] = []
        # Reported only where there is no error that may have caused them.
        self.consequences: list[str] = []
        # Variables of a wrong type. What an assertion says of them is a consequence, and is not reported.
        self.mistyped: set[str] = set()
        # Which role reported a variable first: through the wiring another one meets the same value.
        self.reporters: dict[str, str] = {}
        self.inventory_names: Mapping[str, str] = variables.get(INVENTORY_NAMES, {})
        self.wired = wiring() if self.inventory_names else {}

    def in_inventory_names(self, message: str) -> str:
        """Name the variables that people set in place of those that the wiring sets from them."""
        return re.sub(r"\w+", lambda found: self.inventory_names.get(found[0], found[0]), message)

    def options(self, role: str) -> dict[str, dict[str, Any]]:
        path = "playbooks" if role == PLAYBOOK else f"roles/{role}"
        options = load(f"{path}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        if role == PLAYBOOK:
            # The entries of a list that takes the place of a role's are those of the role's.
            for variable, name in self.inventory_names.items():
                if options.get(name, {}).get("elements") == "dict":
                    owner = next(one for one in roles() if variable.startswith(f"{one}_"))
                    entries = self.options(owner)[variable]["options"]
                    options = {**options, name: {**options[name], "options": entries}}
        return options

    def is_wired(self, name: str) -> bool:
        """Return whether a variable has the wiring's value, and not one that an inventory set in its place."""
        return name in self.wired and self.variables.get(name) == self.wired[name]

    def check_types(self, role: str) -> None:
        """Add the errors in the types of a role's variables."""
        for name, option in self.options(role).items():
            if self.is_wired(name):
                continue
            errors: list[str] = []
            try:
                if name in self.variables:
                    errors = list(type_errors(name, self.templar.template(self.variables[name]), option))
                elif option.get("required"):
                    errors = [f"{name} is not set. Set it: {first_sentence(option)}."]
            except Exception as error:  # whatever a template of the inventory can raise
                reason = innermost_reason(error)
                if "decrypt" in reason.lower():
                    errors = [f"{name} is encrypted by ansible-vault. Give its password, as by --ask-vault-pass."]
                else:
                    reason = "" if is_secret(option) else f": {reason}"
                    errors = [f"{name} is a template that cannot be evaluated{reason}. {suggest(name, option)}"]
            if any(NOT_AN_OPTION not in error for error in errors):
                self.mistyped.add(name)
            for message in errors:
                self.add(role, message)

    def is_true(self, condition: Any) -> bool:
        conditions = condition if isinstance(condition, list) else [condition]
        return all(self.templar.evaluate_conditional(one) for one in conditions)

    def check_assertions(self, role: str) -> None:
        """Add the messages of a role's assertions that do not hold."""
        for number, assertion in enumerate(self.variables.get(f"__{role}_assertions", []), 1):
            try:
                if not self.is_true(assertion.get("when", True)) or self.is_true(assertion["that"]):
                    continue
                messages = self.templar.template(assertion["fail_msg"])
            except AnsibleError as error:  # a wrong value of another variable, or an error in the assertion
                reason = innermost_reason(error)
                self.consequences.append(f"Assertion {number} of {role} cannot be evaluated: {reason}.")
                continue
            for message in map(str, [messages] if isinstance(messages, str) else messages):
                if self.mistyped.intersection(re.findall(r"\w+", f"{message} {self.in_inventory_names(message)}")):
                    continue
                name = re.split(r"\W", message, maxsplit=1)[0]
                if self.is_wired(name) and name not in self.inventory_names:
                    self.consequences.append(message)
                else:
                    self.add(role, message if role == PLAYBOOK else self.in_inventory_names(message))

    def add(self, role: str, error: str) -> None:
        """Add an error, unless another role reported the same variable, which is its first word."""
        variable = error.split()[0].strip(".,:")
        if "_" not in variable or self.reporters.setdefault(variable, role) == role:
            self.errors.append(re.sub(r"(?<=://)[^/@\s]*@", "…@", error))  # a login in a URL

    def is_enabled(self, role: str) -> bool:
        try:
            return role == PLAYBOOK or self.is_true(trust_as_template(f"{role}_enabled | default(true) | bool"))
        except AnsibleError:
            return False


def validate(templar: Any, variables: Mapping[str, Any], roles: Sequence[str], playbook: bool = False) -> list[str]:
    """Return all errors in the variables of roles.

    playbook: also those in the playbooks' own variables, and names that nothing reads.
    """
    validation = Validation(templar, variables)
    if playbook:
        validation.errors += unknown_variables(variables["hostvars"][variables["inventory_hostname"]])
    judged = [PLAYBOOK, *roles] if playbook else list(roles)
    # All types first: through the wiring a wrong value reaches the assertions of other roles.
    if VALIDATED in variables:
        judged = [role for role in roles if any(f"__{role}_{name}" in variables for name in FACTS)]
    else:
        for role in judged:
            validation.check_types(role)
    for role in judged:
        if validation.is_enabled(role):
            validation.check_assertions(role)
    return validation.errors or validation.consequences
