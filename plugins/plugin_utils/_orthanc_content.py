# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""What is wrong inside options whose content the user shapes: tags, metadata, schedules, tenants, served folders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import (
    Orthanc,
    format_value,
    is_type,
    lookup,
    suggest,
)

REPRESENTATION = r"A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BDFLW]|PN|S[HLQST]|TM|U[CILNRST]"
NEWER_REPRESENTATION = rf"{REPRESENTATION}|OV|SV|UV"  # since 1.13.0
HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{4}[-,]?[0-9A-Fa-f]{4}")
LEVELS = ("Patient", "Study", "Series", "Instance")
LEVEL = re.compile("patients?|study|studies|series|instances?|images?", re.I)
LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
STOPS = "Orthanc would not start"
# Names that Orthanc itself has given.
NAMES = {
    "UserMetadata": [
        *("AnonymizedFrom", "CalledAET", "ExpectedNumberOfInstances", "HttpUsername", "IndexInSeries", "LastUpdate"),
        *("MainDicomSequences", "MainDicomTagsSignature", "ModifiedFrom", "Origin", "PixelDataOffset", "PixelDataVR"),
        *("ReceptionDate", "RemoteAET", "RemoteIP", "SopClassUid", "TransferSyntax"),
    ],
    "UserContentType": ["dicom", "dicom-as-json", "dicom-until-pixel-data"],
}
NEWER_NAMES = {"UserMetadata": ["IsProtected", "PatientRecyclingOrder"], "UserContentType": []}  # since 1.13.0
# Lists of DICOM tags, and what an unknown one does.
TAGS = {f"ExtraMainDicomTags.{level}": STOPS for level in LEVELS} | {
    f"DicomWeb.{level}MetadataExtrapolatedTags": "DICOMweb would return no metadata" for level in ("Studies", "Series")
}
# Entries of MultitenantDicom.Servers: name → type, condition, what to set.
TENANT: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "AET": ("str", lambda title: 1 <= len(title) <= 16, "an AE title of 1 to 16 characters"),
    "Port": ("uint", lambda port: 1 <= port <= 65535, "a number from 1 to 65535"),
    "Labels": (
        "strings",
        lambda labels: all(map(LABEL.fullmatch, labels)),
        "a list of labels of 1 to 64 letters, digits, '_' and '-'",
    ),
    "LabelsConstraint": ("str", lambda name: name in ("All", "Any", "None"), "one of All, Any, None (in quotes)"),
    "LabelsStoreLevels": (
        "strings",
        lambda levels: all(map(LEVEL.fullmatch, levels)),
        f"a list of {', '.join(LEVELS)}",
    ),
}
REQUIRED = ("AET", "Port", "Labels")
PRIVATE_DIRECTORIES = ("/etc/orthanc", "/proc", "/srv/orthanc")


def check_content(orthanc: Orthanc, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong inside options whose types are right, that are read, and that nobody accepted as they are."""

    def read(place: str, kind: str) -> Any:
        value = lookup(configuration, place)
        is_checked = is_type(value, kind) and place not in orthanc.accepted and orthanc.is_read(place)
        return value if is_checked else {} if kind == "dict" else []

    dictionary = read("Dictionary", "dict")
    for tag, entry in dictionary.items():
        if problem := describe_dictionary_error(orthanc, str(tag), entry):
            yield (
                f"{orthanc.variable}.Dictionary['{tag}'] is {format_value(entry)}: {problem}, and {STOPS}. Set a tag "
                "such as 0009,1001 to [VR, name, minimum and maximum number of values, private creator], such as "
                '[LO, MyTag, 1, 1, "MY CREATOR"].'
            )
    for place, effect in TAGS.items():
        yield from check_tags(orthanc, place, read(place, "strings"), effect, dictionary)
    for place in NAMES:
        yield from check_numbers(orthanc, place, read(place, "dict"))
    for day, periods in read("Housekeeper.Schedule", "dict").items():
        for period in periods if is_type(periods, "strings") else []:
            hours = re.fullmatch(r"(\d{1,2})-(\d{1,2})", period)
            if not hours or not int(hours[1]) < int(hours[2]) <= 24:
                yield (
                    f"{orthanc.variable}.Housekeeper.Schedule.{day} contains {format_value(period)}, which is not a "
                    "valid period. Set it to hours such as 0-6 or 20-24."
                )
    for index, server in enumerate(read("MultitenantDicom.Servers", "list")):
        yield from check_tenant(f"{orthanc.variable}.MultitenantDicom.Servers[{index}]", server)
    for place in ("ServeFolders", "ServeFolders.Folders"):
        yield from check_folders(orthanc, place, lookup(configuration, place))


def describe_dictionary_error(orthanc: Orthanc, tag: str, entry: Any) -> str:
    """Return why Orthanc would refuse an entry of its dictionary; empty where it takes it."""
    if not isinstance(entry, list) or not 2 <= len(entry) <= 5:
        return "it is not a list of two to five elements"
    if not all(is_type(part, kind) for part, kind in zip(entry, ("str", "str", "int", "int", "str"), strict=False)):
        return "its elements are not two strings, two integers and a string"
    if len(entry) == 2:
        return "this version also needs the minimum number of values"
    if not re.fullmatch(NEWER_REPRESENTATION if orthanc.is_at_least("1.13.0") else REPRESENTATION, entry[0]):
        return f"{entry[0]} is not a value representation of this version"
    least, most = entry[2], entry[3] if len(entry) > 3 else 0
    if least < 1 or 0 != most < least or max(least, most) > 2**31 - 1:
        return "the minimum number of values must be 1 or more, and the maximum must not be less (0 for any)"
    if not HEXADECIMAL.fullmatch(tag):
        return "its key is not the number of a tag"
    group = int(tag[:4], 16)
    if len(entry) == 5 and entry[4] and (group % 2 == 0 or group in (1, 3, 5, 7, 0xFFFF)):
        return "a private creator needs a tag with an odd group from 0009"
    return ""


def check_tags(
    orthanc: Orthanc, place: str, tags: list[str], effect: str, dictionary: Mapping[str, Any]
) -> Iterator[str]:
    """Yield tags whose keyword is neither in Orthanc's dictionary nor in the user's."""
    names = [tag for tag in tags if not HEXADECIMAL.fullmatch(tag)]
    if not names:
        return
    own = {entry[1] for entry in dictionary.values() if is_type(entry, "list") and is_type([*entry, 0, 0][1], "str")}
    keywords = orthanc.keywords | own
    for name in names:
        if name not in keywords:
            yield (
                f"{orthanc.variable}.{place} contains {format_value(name)}, which is not a keyword in Orthanc's DICOM "
                f"dictionary: {effect}. Set it to a keyword such as Rows, or a number such as 0028,0010."
                f"{suggest(name, sorted(keywords))}"
            )


def check_numbers(orthanc: Orthanc, place: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    """Yield wrong names and wrong or repeated numbers in UserMetadata and UserContentType."""
    taken: dict[int, str] = {}
    reserved = NAMES[place] + (NEWER_NAMES[place] if orthanc.is_at_least("1.13.0") else [])
    for name, entry in numbers.items():
        full = f"{orthanc.variable}.{place}.{name}"
        value = entry
        if place == "UserContentType" and isinstance(entry, list):
            value = entry[0] if len(entry) == 2 and isinstance(entry[1], str) else None
        if re.fullmatch(r"-?\d+", str(name)):
            yield f"{full} has a number as its name: {STOPS}. Set a name with letters."
        elif name in reserved:
            yield f"{full} has a name that Orthanc itself uses: {STOPS}. Set another name."
        if place == "UserContentType" and not (is_type(value, "int") and 1024 <= value <= 65535):
            expected = "a number from 1024 to 65535, or to [number, MIME type]"
            yield f"{full} is {format_value(entry)}: {STOPS}. Set it to {expected}."
        elif is_type(value, "int"):
            if value in taken:
                yield f"{full} is {value}, and so is {taken[value]}: {STOPS}. Set each to a number of its own."
            taken.setdefault(value, str(name))


def check_tenant(full: str, server: Any) -> Iterator[str]:
    """Yield what is wrong in an entry of MultitenantDicom.Servers."""
    if not isinstance(server, Mapping):
        yield f"{full} is {format_value(server)}. Set it to a dictionary with AET, Port and Labels."
        return
    for name in server:
        if name not in TENANT:
            yield (
                f"{full}.{name} is not an option of a tenant: the plugin would ignore it silently."
                f"{suggest(str(name), TENANT)} Set one of {', '.join(TENANT)}."
            )
    for name, (kind, is_right, expected) in TENANT.items():
        effect = "the server would listen on another port" if name == "Port" else STOPS
        if name not in server:
            if name in REQUIRED:
                yield f"{full} has no {name}: {STOPS}. Set it to {expected}."
        elif not is_type(server[name], kind) or not is_right(server[name]):
            yield f"{full}.{name} is {format_value(server[name])}: {effect}. Set it to {expected}."


def check_folders(orthanc: Orthanc, place: str, folders: Any) -> Iterator[str]:
    """Yield folders that every login could read and that hold passwords or the index."""
    if not isinstance(folders, Mapping) or "ServeFolders" not in orthanc.loaded:
        return
    for name, folder in folders.items():
        if not isinstance(folder, str) or f"{place}.{name}" in orthanc.accepted:
            continue
        path = os.path.normpath(f"/{folder}").replace("//", "/")
        exposed = [
            one
            for one in PRIVATE_DIRECTORIES
            # Below /srv/orthanc there may be a folder made to be served.
            if f"{one}/".startswith(f"{path.rstrip('/')}/")
            or (one != "/srv/orthanc" and f"{path}/".startswith(f"{one}/"))
        ]
        if exposed:
            yield (
                f"{orthanc.variable}.{place}['{name}'] is {format_value(folder)}, which is dangerous: every login can "
                f"read {exposed[0]}, which holds passwords or the index. Safe alternative: a separate "
                f"directory. To accept the danger, set orthanc_accepted_options: [{place}.{name}]."
            )
