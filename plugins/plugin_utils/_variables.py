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
WIRING = "playbooks/group_vars/all/wiring.yml"


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


def role_variables(role: str) -> list[str]:
    """The files of a role's internal variables, from the role's directory."""
    return sorted(f"vars/main/{name}" for name in os.listdir(os.path.join(COLLECTION, "roles", role, "vars", "main")))


@functools.lru_cache(maxsize=1)
def known_variables() -> frozenset[str]:
    """What the roles document in their defaults or yield, and the answers (pacs_…) that the playbooks read."""
    names: set[str] = set()
    for role in roles():
        for part in ["defaults/main.yml", *role_variables(role)]:
            names.update(re.findall(r"(?m)^#? ?([a-z][a-z0-9_]*):", read(f"roles/{role}/{part}")))
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
    reserved = load("roles/orthanc/vars/main/assertions.yml")["__orthanc_reserved"]
    place = f"orthanc_configuration.{name}"
    for error in configuration_errors({name: True}, plugins=["OrthancDicomWeb"], reserved=reserved):
        if error.startswith(place) and "environment variable" in error:
            return error.replace(place, name, 1)
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
