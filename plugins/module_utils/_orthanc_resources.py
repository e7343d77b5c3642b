# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Patients, studies, series and instances of Orthanc, as modules name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError, build_path

# The level of a resource, and how the API calls all of that level.
LEVELS = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}
ORTHANC_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{8}){4}")
LABEL = re.compile("[A-Za-z0-9_-]{1,64}")


def resource_spec() -> dict[str, dict[str, Any]]:
    """Return the options of an argument_spec that select one resource; use it with `RESOURCE_RULES`."""
    return {"id": {"type": "str"}, "uid": {"type": "str"}}


RESOURCE_RULES: dict[str, Any] = {"required_one_of": [("id", "uid")], "mutually_exclusive": [("id", "uid")]}


def find_resource_id(archive: Orthanc, params: Mapping[str, Any], level: str) -> str | None:
    """Return Orthanc's identifier of the resource that `id` or `uid` selects; None where there is none with that `uid`.

    No request for `id`, one for `uid`. Raises OrthancError where `uid` means several.
    """
    given = params["id"]
    if given is not None:
        if not ORTHANC_ID.fullmatch(given):
            raise OrthancError(
                f"id is '{given}', which is not an identifier of Orthanc (five times eight hexadecimal digits). "
                "Give a DICOM UID or a patient ID as uid."
            )
        return str(given)
    if not params["uid"].strip():
        raise OrthancError("uid is empty. Set it to a DICOM UID, or to a patient ID.")
    answer = archive.search("/tools/lookup", params["uid"])
    return select_only([one["ID"] for one in answer if one["Type"].lower() == level], params, level)


def select_only(found: list[str], params: Mapping[str, Any], level: str) -> str | None:
    """Return the one identifier that was found, or None. Raises OrthancError for several."""
    if len(found) > 1:
        one_of = ", ".join(sorted(found))
        raise OrthancError(
            f"uid {params['uid']} is the {level} of {len(found)} patients. Give one of these as id: {one_of}."
        )
    return found[0] if found else None


def describe_resource(params: Mapping[str, Any], level: str) -> str:
    """Return the resource's name in messages."""
    return f"{level} {params['id'] or params['uid']}"


def build_missing_error(archive: Orthanc, params: Mapping[str, Any], level: str) -> OrthancError:
    return OrthancError(f"Orthanc at {archive.url} has no {describe_resource(params, level)}.")


def build_resource_path(level: str, identifier: str, *more: str) -> str:
    return build_path(LEVELS[level], identifier, *more)


def require_labels(archive: Orthanc) -> None:
    """Refuse an Orthanc without labels: one before 1.12.0 ignores them in a search and returns everything.

    Costs one request, once.
    """
    archive.require((1, 12, 0), "Labels")
    if not archive.system.get("HasLabels", True):
        raise OrthancError(f"The database of Orthanc at {archive.url} does not support labels.")


def check_labels(labels: list[str]) -> None:
    for label in labels:
        if not LABEL.fullmatch(label):
            raise OrthancError(
                f"'{label}' is not a label. Use 1 to 64 letters (without accents), digits, underscores and dashes."
            )
