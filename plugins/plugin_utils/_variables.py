# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""The variables that the collection's roles and playbooks read, and names that are none of them."""

from __future__ import annotations

import difflib
import functools
import glob
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import configuration_errors

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WIRING = tuple(f"playbooks/group_vars/all/wiring{part}.yml" for part in ("", "_aws", "_certificates"))


@functools.cache
def read(path: str) -> str:
    with open(os.path.join(COLLECTION, path), encoding="utf-8") as stream:
        return stream.read()


@functools.cache
def load(path: str) -> Any:
    return yaml_load(read(path))


def wiring() -> dict[str, Any]:
    """Return the variables that the playbooks set from others, unevaluated."""
    return {name: value for path in WIRING for name, value in load(path).items()}


@functools.lru_cache(maxsize=1)
def roles() -> tuple[str, ...]:
    return tuple(sorted(os.path.basename(path) for path in glob.glob(os.path.join(COLLECTION, "roles", "*"))))


def role_variables(role: str) -> list[str]:
    """The files of a role's internal variables, from the role's directory."""
    return sorted(f"vars/main/{name}" for name in os.listdir(os.path.join(COLLECTION, "roles", role, "vars", "main")))


@functools.lru_cache(maxsize=1)
def known_variables() -> frozenset[str]:
    """Return what the roles document in their defaults or yield, and the variables (pacs_…) that the playbooks read."""
    names: set[str] = set()
    for role in roles():
        for part in ["defaults/main.yml", *role_variables(role)]:
            names.update(re.findall(r"(?m)^#? ?([a-z][a-z0-9_]*):", read(f"roles/{role}/{part}")))
    for path in glob.glob(os.path.join(COLLECTION, "playbooks", "**", "*.yml"), recursive=True):
        names.update(re.findall(r"\bpacs_[a-z0-9_]+", read(os.path.relpath(path, COLLECTION))))
    names.update(load("playbooks/meta/argument_specs.yml")["argument_specs"]["main"]["options"])
    return frozenset(names)


def suggest_name(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return what a name may have meant; empty where nothing is close."""
    names = sorted(known)
    rest = name[len(prefix) :]
    same = [one for one in names if prefix and rest and one.endswith("_" + rest)]
    return next(iter(same or difflib.get_close_matches(name, names, n=1, cutoff=0.75)), "")


def describe_environment_name(name: str) -> str:
    """Say what to do about a variable named like an environment variable of an image's start script."""
    reserved = load("roles/orthanc/vars/main/reserved.yml")["__orthanc_reserved"]
    place = f"orthanc_configuration.{name}"
    for error in configuration_errors({name: True}, plugins=["OrthancDicomWeb"], reserved=reserved):
        if error.startswith(place) and "environment variable" in error:
            return error.replace(place, name, 1)
    return f"{name} is the name of an environment variable, and nothing reads it. Set it in orthanc_configuration."


def unknown_names(names: Iterable[str], known: Sequence[str], place: str, hint: str = "") -> list[str]:
    """Return errors for keys of a variable (place) that are not among the known ones."""
    errors = []
    for name in sorted(set(names).difference(known)):
        meant = suggest_name(name, known)
        way = f"Did you mean {meant}? Set that, or remove {name}" if meant else "Remove it"
        errors.append(f"{place}.{name} is not a known name. {way}{f'; {hint}' if hint else ''}.")
    return errors


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return errors for variables that begin like the collection's and are none of them."""
    known = known_variables()
    prefixes = tuple(f"{role}_" for role in [*roles(), "pacs"])
    errors = []
    # What a role yields for others has the role's own name (aws_host); the playbooks may have set it before.
    for name in sorted(set(map(str, names)).difference(roles())):
        if name.startswith("ORTHANC__"):
            errors.append(describe_environment_name(name))
        elif name.startswith(prefixes) and name not in known:
            prefix = next(prefix for prefix in prefixes if name.startswith(prefix))
            meant = suggest_name(name, known, prefix)
            errors.append(
                f"{name} is set, but nothing reads it."
                + (
                    f" Did you mean {meant}? Set that, or remove {name}."
                    if meant
                    else f" Remove it; if it is yours, rename it: names with {prefix} belong to this collection."
                )
            )
        # Others begin with aws_, too (aws_profile): only what is close to a name of the collection is refused.
        elif name.startswith("aws_") and name not in known and (meant := suggest_name(name, known)):
            errors.append(f"{name} is set, but nothing reads it. Did you mean {meant}? Set that, or remove {name}.")
    return errors
