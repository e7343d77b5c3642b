# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_variables
short_description: Variables that nothing reads, and values that cannot work
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Ansible takes every variable, so one that nothing reads is ignored without a word. This finds those that begin like
    the variables of this collection's roles and playbooks (C(pacs_), C(orthanc_), ...) and are none of them, with what
    they may have meant.
  - Names that begin with C(ORTHANC__) are found, too. They are environment variables of an image's start script.
  - Variables that begin otherwise, or with C(__), are left alone.
  - With O(parts) it also tells what is wrong with the values of the play's variables. As many findings are told as can
    be, though none that only follows from another one, and none shows a secret.
options:
  _input:
    description: Names of variables, as of C(hostvars[inventory_hostname]).
    type: list
    elements: str
    required: true
  known:
    description: Names that something reads. By default the variables of this collection.
    type: list
    elements: str
  place:
    description: With O(known), the variable in which the names stand.
    type: str
    default: ""
  hint:
    description: With O(known), what else may be done about a name that is not known.
    type: str
    default: ""
  parts:
    description: Groups of variables of the play to look at, too.
    type: list
    elements: dict
    suboptions:
      role:
        description: A role of this collection, whose argument spec the variables must meet.
        type: str
      options:
        description: Options as in an argument spec, in place of O(parts[].role). C(as) names the role's option that one
          is like.
        type: dict
      wired:
        description: Whether variables that the playbooks' wiring says are looked at.
        type: bool
        default: true
      used:
        description: Whether O(parts[].findings) and O(parts[].pieces) count.
        type: bool
        default: true
      findings:
        description: Name of a variable with a list of findings.
        type: str
      pieces:
        description: Names of the variables of which O(parts[].findings) is made, for where a wrong value breaks it.
          They are lists of findings, or of rules, each a condition and what to say.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: Refuse misspelt variables
  ansible.builtin.assert:
    that: findings == []
    fail_msg: "{{ findings }}"
  vars:
    findings: "{{ hostvars[inventory_hostname] | list | lightbox.pacs.misspelt_variables }}"
"""

RETURN = r"""
_value:
  description: The findings, each with the variable and what it may have meant.
  type: list
  elements: str
"""

import difflib
import functools
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_int
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import findings as option_findings
from jinja2 import pass_context
from jinja2.utils import missing

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WIRING = "playbooks/group_vars/all/wiring.yml"
KINDS = {
    "bool": "true or false",
    "dict": "a dictionary of names and values",
    "int": "a whole number (int)",
    "list": "a list",
    "path": "a path",
    "str": "text",
}


@functools.cache
def read(path: str) -> str:
    with open(os.path.join(COLLECTION, path), encoding="utf-8") as stream:
        return stream.read()


@functools.cache
def load(path: str) -> Any:
    return yaml_load(read(path))


@functools.lru_cache(maxsize=1)
def roles() -> tuple[str, ...]:
    return tuple(sorted(os.path.basename(path) for path in glob.glob(os.path.join(COLLECTION, "roles", "*"))))


@functools.lru_cache(maxsize=1)
def known_variables() -> frozenset[str]:
    """What the roles document in their defaults or yield, and the answers (pacs_…) that the playbooks read."""
    names: set[str] = set()
    for role in roles():
        for part in ("defaults", "vars"):
            names.update(re.findall(r"(?m)^#? ?([a-z][a-z0-9_]*):", read(f"roles/{role}/{part}/main.yml")))
    for path in glob.glob(os.path.join(COLLECTION, "playbooks", "**", "*.yml"), recursive=True):
        names.update(re.findall(r"\bpacs_[a-z0-9_]+", read(os.path.relpath(path, COLLECTION))))
    return frozenset(names)


def near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """What a name may have meant; empty where nothing is near."""
    names = sorted(known)
    rest = name[len(prefix) :]
    same = [one for one in names if prefix and rest and one.endswith("_" + rest)]
    return next(iter(same or difflib.get_close_matches(name, names, n=1, cutoff=0.75)), "")


def environment(name: str) -> str:
    """What is to be done about a variable that is called like one of the environment of an image's start script."""
    reserved = load("roles/orthanc/vars/main.yml")["__orthanc_reserved"]
    place = f"orthanc_configuration.{name}"
    for said in option_findings({name: True}, "orthancteam", ["OrthancDicomWeb"], reserved=reserved):
        if said.startswith(place) and "environment variable" in said:
            return said.replace(place, name, 1)
    return f"{name} is the name of an environment variable, and nothing reads it. Say it in orthanc_configuration."


def unknown_names(names: Iterable[str], known: Sequence[str], place: str, hint: str) -> list[str]:
    found = []
    for name in sorted(set(names).difference(known)):
        meant = near(name, known)
        way = f"Did you mean {meant}? Set that, or take {name} out" if meant else "Take it out"
        found.append(f"{place}.{name} is not known. {way}{f'; {hint}' if hint else ''}.")
    return found


def unread_variables(names: Iterable[str]) -> list[str]:
    known = known_variables()
    prefixes = tuple(f"{role}_" for role in [*roles(), "pacs"])
    findings = []
    for name in sorted(map(str, names)):
        if name.startswith("ORTHANC__"):
            findings.append(environment(name))
        elif name.startswith(prefixes) and name not in known:
            prefix = next(prefix for prefix in prefixes if name.startswith(prefix))
            meant = near(name, known, prefix)
            findings.append(
                f"{name} is set, but nothing reads it."
                + (
                    f" Did you mean {meant}? Set that, or take {name} out."
                    if meant
                    else f" Take it out; if it is yours, call it otherwise: names with {prefix} are this collection's."
                )
            )
    return findings


def what(value: Any) -> str:
    """A value's type in words."""
    for kind, words in ((bool, "true or false"), (Mapping, "a dictionary"), (str, "text"), ((int, float), "a number")):
        if isinstance(value, kind):
            return words
    return "empty (null)" if value is None else "a list" if isinstance(value, Sequence) else "of another type"


def shown(value: Any, option: Mapping[str, Any]) -> str:
    """A value in a finding; never a secret."""
    if option.get("no_log") or not isinstance(value, (str, int, float)):
        return f"is {what(value)}"
    text = str(value)
    return f"is '{text[:40]}{'…' if len(text) > 40 else ''}'"


def first_sentence(option: Mapping[str, Any]) -> str:
    """What an option is, as its documentation says, without markup."""
    told = option.get("description", "")
    told = told if isinstance(told, str) else told[0]
    return re.sub(r"\b[OVC]\(([^)=]*)(=[^)]*)?\)", r"\1", told).split(". ")[0].rstrip(".")


def wanted(name: str, option: Mapping[str, Any], value: Any = None) -> str:
    """The remedy for a value of a wrong type."""
    name = name.rpartition(": ")[2]
    if option.get("choices") and option["type"] == "list":
        return f"Set {name} to a list of some of {', '.join(map(str, option['choices']))}, in brackets."
    if option.get("choices"):
        return f"Set {name} to one of {', '.join(map(str, option['choices']))}."
    if option["type"] == "list" and option.get("elements") == "dict":
        entry = ", ".join(f"{key}: …" for key, inner in option.get("options", {}).items() if inner.get("required"))
        return f"Set {name} to a list of entries, such as [{{{entry}}}]; [] for none."
    if option["type"] == "list":
        example = "1, 2" if option.get("elements") == "int" else "a, b"
        if isinstance(value, str) and value and not option.get("no_log"):
            example = value[:40]
        return f"Set {name} to a list, such as [{example}]; [] for none."
    return f"Set {name} to {KINDS[option['type']]}."


def has_type(value: Any, kind: str) -> bool:
    """Whether a value will do where the type is asked for: numbers and yes or no may come as text, others not."""
    if kind in ("list", "dict"):
        return isinstance(value, dict if kind == "dict" else (list, tuple))
    if isinstance(value, (dict, list, tuple)) or value is None:
        return False
    try:
        if kind == "int":
            check_type_int(value)
            return not isinstance(value, bool)
        if kind == "bool":
            check_type_bool(value)
    except (TypeError, ValueError):
        return False
    return True


def wrong_types(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the type of a value and of what is in it, by its option in an argument spec."""
    kind = option.get("type", "str")
    if not has_type(value, kind):
        as_text = kind in ("list", "dict") and isinstance(value, str)
        yield (
            f"{name} {shown(value, option)}{', which is text' if as_text and not option.get('no_log') else ''}. "
            f"{wanted(name, option, value)}{' On the command line give it as JSON.' if as_text else ''}"
        )
    elif option.get("choices") and kind != "list" and str(value) not in map(str, option["choices"]):
        meant = difflib.get_close_matches(str(value), map(str, option["choices"]), n=1)
        yield f"{name} {shown(value, option)}. {f'Did you mean {meant[0]}? ' if meant else ''}{wanted(name, option)}"
    elif kind == "dict" and option.get("options"):
        yield from wrong_entry(name, f"{name}.", value, option["options"])
    elif kind == "list":
        inner = dict(option, type=option.get("elements", "str"))
        for number, entry in enumerate(value, 1):
            called = entry.get("name") if isinstance(entry, dict) else None
            where = f"{name}, entry {number}{f' ({called})' if isinstance(called, str) else ''}"
            if inner["type"] == "dict" and isinstance(entry, dict):
                yield from wrong_entry(where, f"{where}: ", entry, option.get("options", {}))
            elif not has_type(entry, inner["type"]):
                yield f"{where}, is {what(entry)}. Set it to {KINDS[inner['type']]}."
            elif option.get("choices") and str(entry) not in map(str, option["choices"]):
                yield f"{where}, {shown(entry, option)}. Set it to one of {', '.join(map(str, option['choices']))}."


def wrong_entry(where: str, inside: str, entry: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    """The same for a dictionary of which the names are known."""
    for key in entry:
        if key not in options:
            meant = difflib.get_close_matches(str(key), options, n=1)
            yield f"{inside}{key} is not known. " + (
                f"Did you mean {meant[0]}? Set that instead."
                if meant
                else f"Take it out; there are {', '.join(options)}."
            )
    for key, option in options.items():
        if entry.get(key) is not None:
            yield from wrong_types(f"{inside}{key}", entry[key], option)
        elif option.get("required"):
            yield f"{where} has no {key}, which is required. Set {key}: {first_sentence(option)}."


@functools.lru_cache(maxsize=1)
def handed_on() -> Mapping[str, frozenset[str]]:
    """The variables that the wiring and the roles make, each with the names of which it is made, however far off."""
    values = dict(load(WIRING))
    for role in roles():
        values |= load(f"roles/{role}/vars/main.yml")
    direct = {name: set(re.findall(r"\w+", str(value))) for name, value in values.items()}
    made = dict(direct)
    while True:
        further = {one: seen.union(*(direct.get(other, ()) for other in seen)) for one, seen in made.items()}
        if further == made:
            return {one: frozenset(seen) for one, seen in made.items()}
        made = further


def options_of(role: str) -> dict[str, Any]:
    return load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def reason(error: BaseException) -> str:
    """The innermost cause of an error in a template, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200].rstrip(".")


class Findings:
    """What is wrong with the variables of a play, gathered."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.said: list[str] = []
        # What is wrong already, and what is made of that: more about these would be noise.
        self.wrong: set[str] = set()
        self.told_elsewhere: set[str] = set()
        # What the wiring could not hand on: mostly for want of an answer, which is told then.
        self.held: list[str] = []

    def mentions_wrong(self, text: str) -> bool:
        return not (self.wrong | self.told_elsewhere).isdisjoint(re.findall(r"\w+", text))

    def spoil(self, name: str) -> None:
        self.wrong.add(name)
        self.wrong.update(one for one, seen in handed_on().items() if name in seen)

    def types(self, options: Mapping[str, Any]) -> None:
        for name, option in options.items():
            if name in self.wrong:
                continue
            if "as" in option:
                role = next(role for role in roles() if option["as"].startswith(f"{role}_"))
                option = options_of(role)[option["as"]] | {"default": []}
            found = []
            try:
                value = self.context.resolve_or_missing(name)
                if value is missing:
                    found = [f"{name} is not set. Set it: {first_sentence(option)}."] if option.get("required") else []
                elif value is not None or "default" in option or option.get("required"):
                    found = list(wrong_types(name, value, option))
            except Exception as error:  # whatever a template of the inventory's can raise
                told = "" if option.get("no_log") else f": {reason(error)}"
                found = [f"{name} is set to a template that cannot be worked out{told}. {wanted(name, option)}"]
                if name in load(WIRING):
                    self.held += found
                    self.wrong.add(name)
                    continue
            if found:
                self.said += found
                self.spoil(name)

    def tell(self, found: Iterable[str]) -> None:
        self.said += [said for said in map(str, found) if not self.mentions_wrong(said)]

    def cannot(self, name: str, error: BaseException) -> None:
        """A rule that breaks over a wrong value has nothing to say; over anything else it must not go unseen."""
        if not self.wrong:
            self.said.append(f"{name} cannot be judged: {reason(error)}.")

    def piece(self, name: str) -> None:
        """A list of findings, or of rules: a condition `bad` (or `holds`) and the text `say` (or `message`)."""
        try:
            entries = self.context.resolve_or_missing(name)
            count = len(entries)
        except Exception as error:  # whatever a template can raise over a wrong value
            return self.cannot(name, error)
        for index in range(count):
            try:
                entry = entries[index]
                if not isinstance(entry, dict):
                    self.tell([entry])
                elif entry["bad"] if "bad" in entry else not entry["holds"]:
                    self.tell([entry["say" if "say" in entry else "message"]])
                    # Told in the words of the answer; the role would say the same in its own.
                    self.told_elsewhere.update(entry.get("tells", []))
            except Exception as error:  # the same; the other rules still count
                self.cannot(f"{name}, number {index + 1},", error)
        return None

    def role(self, part: Mapping[str, Any]) -> None:
        """All findings of a part; those that can be had where its list as a whole breaks over a wrong value."""
        try:
            pieces = list(part.get("pieces", [])) if part.get("used", True) else []
        except Exception:  # whatever a template can raise
            return  # whether it is used hangs on a wrong value
        try:
            if pieces and "findings" in part:
                self.tell(list(self.context.resolve_or_missing(part["findings"])))
                return
        except Exception as error:  # one wrong value breaks the whole list: its pieces are looked at one by one
            self.cannot(part["findings"], error)
        for name in pieces:
            self.piece(name)


def input_findings(context: Any, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the values of a play's variables. Of each part all types are looked at before any rule."""
    gathered = Findings(context)
    parts = list(parts)
    for part in parts:
        hidden = () if part.get("wired", True) else load(WIRING)
        options = part["options"] if "options" in part else options_of(part["role"])
        gathered.types({name: option for name, option in options.items() if name not in hidden})
    for part in parts:
        gathered.role(part)
    return gathered.said or gathered.held


@pass_context
def misspelt_variables(
    context: Any,
    names: Iterable[str],
    known: Iterable[str] | None = None,
    place: str = "",
    hint: str = "",
    parts: Iterable[Mapping[str, Any]] = (),
) -> list[str]:
    found = unread_variables(names) if known is None else unknown_names(names, list(known), place, hint)
    return found + input_findings(context, parts)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"misspelt_variables": misspelt_variables}
