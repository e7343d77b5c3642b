# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""What is wrong with a play's variables: their types, by the roles' argument specs, and what the roles' rules say."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_int
from ansible_collections.lightbox.pacs.plugins.plugin_utils._variables import WIRING, load, role_variables, roles
from jinja2.utils import missing

KINDS = {
    "bool": "true or false",
    "dict": "a dictionary of names and values",
    "int": "a whole number (int)",
    "list": "a list",
    "path": "a path",
    "str": "text",
}


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
        for path in role_variables(role):
            values |= load(f"roles/{role}/{path}")
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


def findings(context: Any, parts: Iterable[Mapping[str, Any]]) -> list[str]:
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
