# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Read, check, write and search worklist entries, in files and in Orthanc's API.

Without pydicom and DCMTK's dump2dcm: a host needs neither, no value can break out of a dump's syntax, and the same
entry is the same file to the last byte with any version. Attributes: DICOM PS3.4,
table K.6-1.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import struct
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_file import (
    BIG_ENDIAN,
    CODECS,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Elements,
    NotDicomError,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError

# What DCMTK and Orthanc write into worklist files as their SOP class: DICOM has none for them.
SOP_CLASS = "1.2.276.0.7230010.3.1.0.1"
EXPLICIT = "1.2.840.10008.1.2.1"
UTF8 = "ISO_IR 192"
# {2.25.<UUID as a decimal>}, made once for the collection.
IMPLEMENTATION_CLASS = "2.25.172968571862354217653287469126497538241"

# Keyword: group, element, type of value. What scheduling systems put into worklists.
DICTIONARY: dict[str, tuple[int, int, str]] = {
    "SpecificCharacterSet": (0x0008, 0x0005, "CS"),
    "InstanceCreationDate": (0x0008, 0x0012, "DA"),
    "InstanceCreationTime": (0x0008, 0x0013, "TM"),
    "StudyDate": (0x0008, 0x0020, "DA"),
    "StudyTime": (0x0008, 0x0030, "TM"),
    "AccessionNumber": (0x0008, 0x0050, "SH"),
    "IssuerOfAccessionNumberSequence": (0x0008, 0x0051, "SQ"),
    "Modality": (0x0008, 0x0060, "CS"),
    "InstitutionName": (0x0008, 0x0080, "LO"),
    "InstitutionAddress": (0x0008, 0x0081, "ST"),
    "ReferringPhysicianName": (0x0008, 0x0090, "PN"),
    "CodeValue": (0x0008, 0x0100, "SH"),
    "CodingSchemeDesignator": (0x0008, 0x0102, "SH"),
    "CodingSchemeVersion": (0x0008, 0x0103, "SH"),
    "CodeMeaning": (0x0008, 0x0104, "LO"),
    "StudyDescription": (0x0008, 0x1030, "LO"),
    "InstitutionalDepartmentName": (0x0008, 0x1040, "LO"),
    "ReferencedStudySequence": (0x0008, 0x1110, "SQ"),
    "ReferencedPatientSequence": (0x0008, 0x1120, "SQ"),
    "ReferencedSOPClassUID": (0x0008, 0x1150, "UI"),
    "ReferencedSOPInstanceUID": (0x0008, 0x1155, "UI"),
    "PatientName": (0x0010, 0x0010, "PN"),
    "PatientID": (0x0010, 0x0020, "LO"),
    "IssuerOfPatientID": (0x0010, 0x0021, "LO"),
    "PatientBirthDate": (0x0010, 0x0030, "DA"),
    "PatientBirthTime": (0x0010, 0x0032, "TM"),
    "PatientSex": (0x0010, 0x0040, "CS"),
    "OtherPatientIDs": (0x0010, 0x1000, "LO"),
    "OtherPatientNames": (0x0010, 0x1001, "PN"),
    "PatientAge": (0x0010, 0x1010, "AS"),
    "PatientSize": (0x0010, 0x1020, "DS"),
    "PatientWeight": (0x0010, 0x1030, "DS"),
    "PatientAddress": (0x0010, 0x1040, "LO"),
    "MilitaryRank": (0x0010, 0x1080, "LO"),
    "MedicalAlerts": (0x0010, 0x2000, "LO"),
    "Allergies": (0x0010, 0x2110, "LO"),
    "PatientTelephoneNumbers": (0x0010, 0x2154, "SH"),
    "EthnicGroup": (0x0010, 0x2160, "SH"),
    "Occupation": (0x0010, 0x2180, "SH"),
    "SmokingStatus": (0x0010, 0x21A0, "CS"),
    "AdditionalPatientHistory": (0x0010, 0x21B0, "LT"),
    "PregnancyStatus": (0x0010, 0x21C0, "US"),
    "LastMenstrualDate": (0x0010, 0x21D0, "DA"),
    "PatientReligiousPreference": (0x0010, 0x21F0, "LO"),
    "PatientComments": (0x0010, 0x4000, "LT"),
    "StudyInstanceUID": (0x0020, 0x000D, "UI"),
    "StudyID": (0x0020, 0x0010, "SH"),
    "RequestingPhysician": (0x0032, 0x1032, "PN"),
    "RequestingService": (0x0032, 0x1033, "LO"),
    "RequestedProcedureDescription": (0x0032, 0x1060, "LO"),
    "RequestedProcedureCodeSequence": (0x0032, 0x1064, "SQ"),
    "RequestedContrastAgent": (0x0032, 0x1070, "LO"),
    "StudyComments": (0x0032, 0x4000, "LT"),
    "AdmissionID": (0x0038, 0x0010, "LO"),
    "AdmittingDate": (0x0038, 0x0020, "DA"),
    "AdmittingTime": (0x0038, 0x0021, "TM"),
    "SpecialNeeds": (0x0038, 0x0050, "LO"),
    "ServiceEpisodeID": (0x0038, 0x0060, "LO"),
    "CurrentPatientLocation": (0x0038, 0x0300, "LO"),
    "PatientInstitutionResidence": (0x0038, 0x0400, "LO"),
    "PatientState": (0x0038, 0x0500, "LO"),
    "VisitComments": (0x0038, 0x4000, "LT"),
    "ScheduledStationAETitle": (0x0040, 0x0001, "AE"),
    "ScheduledProcedureStepStartDate": (0x0040, 0x0002, "DA"),
    "ScheduledProcedureStepStartTime": (0x0040, 0x0003, "TM"),
    "ScheduledProcedureStepEndDate": (0x0040, 0x0004, "DA"),
    "ScheduledProcedureStepEndTime": (0x0040, 0x0005, "TM"),
    "ScheduledPerformingPhysicianName": (0x0040, 0x0006, "PN"),
    "ScheduledProcedureStepDescription": (0x0040, 0x0007, "LO"),
    "ScheduledProtocolCodeSequence": (0x0040, 0x0008, "SQ"),
    "ScheduledProcedureStepID": (0x0040, 0x0009, "SH"),
    "ScheduledStationName": (0x0040, 0x0010, "SH"),
    "ScheduledProcedureStepLocation": (0x0040, 0x0011, "SH"),
    "PreMedication": (0x0040, 0x0012, "LO"),
    "ScheduledProcedureStepStatus": (0x0040, 0x0020, "CS"),
    "ScheduledProcedureStepSequence": (0x0040, 0x0100, "SQ"),
    "CommentsOnTheScheduledProcedureStep": (0x0040, 0x0400, "LT"),
    "RequestedProcedureID": (0x0040, 0x1001, "SH"),
    "ReasonForTheRequestedProcedure": (0x0040, 0x1002, "LO"),
    "RequestedProcedurePriority": (0x0040, 0x1003, "SH"),
    "PatientTransportArrangements": (0x0040, 0x1004, "LO"),
    "RequestedProcedureLocation": (0x0040, 0x1005, "LO"),
    "ReasonForRequestedProcedureCodeSequence": (0x0040, 0x100A, "SQ"),
    "NamesOfIntendedRecipientsOfResults": (0x0040, 0x1010, "PN"),
    "RequestedProcedureComments": (0x0040, 0x1400, "LT"),
    "ReasonForTheImagingServiceRequest": (0x0040, 0x2001, "LO"),
    "IssueDateOfImagingServiceRequest": (0x0040, 0x2004, "DA"),
    "IssueTimeOfImagingServiceRequest": (0x0040, 0x2005, "TM"),
    "PlacerOrderNumberImagingServiceRequest": (0x0040, 0x2016, "LO"),
    "FillerOrderNumberImagingServiceRequest": (0x0040, 0x2017, "LO"),
    "OrderEnteredBy": (0x0040, 0x2008, "PN"),
    "OrderEntererLocation": (0x0040, 0x2009, "SH"),
    "OrderCallbackPhoneNumber": (0x0040, 0x2010, "SH"),
    "ImagingServiceRequestComments": (0x0040, 0x2400, "LT"),
    "ConfidentialityConstraintOnPatientDataDescription": (0x0040, 0x3001, "LO"),
    "LocalNamespaceEntityID": (0x0040, 0x0031, "UT"),
    "UniversalEntityID": (0x0040, 0x0032, "UT"),
    "UniversalEntityIDType": (0x0040, 0x0033, "CS"),
}
KEYWORDS = {(group, element): keyword for keyword, (group, element, _kind) in DICTIONARY.items()}

# How many characters a value may have, and what it must look like (PS3.5 6.2).
LONGEST = {"AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "LO": 64, "LT": 10240, "PN": 194, "SH": 16, "ST": 1024}
LONGEST |= {"TM": 16, "UI": 64, "US": 5, "UT": 2**20}
PATTERNS = {
    "AE": ("[ -\\[\\]-~]*", "printable ASCII without backslash"),
    "AS": ("[0-9]{3}[DWMY]", "as 045Y"),
    "CS": ("[A-Z0-9 _]*", "capital letters, digits, spaces and underscores"),
    "DA": ("[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])", "a date as 20261231"),
    "DS": ("[-+]?[0-9.]+([eE][-+]?[0-9]+)?", "a number"),
    "TM": ("([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\\.[0-9]{1,6})?)?)?", "a time as 093000"),
    "UI": ("[0-9]+(\\.[0-9]+)*", "digits and dots"),
    "US": ("[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}", "a number up to 64999"),
}
ONE_VALUE = frozenset(("LT", "ST", "UT", "SQ"))  # in these a backslash is a letter like any other
Tags = dict[str, Any]


class WorklistError(Exception):
    """The entry is wrong; the message says where and what to set."""


# Where the entries are


class Entry(NamedTuple):
    name: str
    path: str
    tags: Tags


def place_spec() -> dict[str, dict[str, Any]]:
    """Return the options of a module's argument_spec for the place of the entries."""
    return {
        "way": {"type": "str", "choices": ["auto", "rest", "folder"], "default": "auto"},
        "folder": {"type": "path"},
    }


def list_entries(archive: Orthanc, params: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """List the entries of Orthanc's API; None where they are files in `folder`, which exists then.

    One request with an API, two without, one where the user says `folder`.
    """
    if params["way"] != "folder":
        entries = archive.find("/worklists", {"format": "Simplify"})
        if entries is not None:
            if not isinstance(entries, list):
                raise OrthancError(f"GET {archive.url}/worklists does not answer as Orthanc does. Is url right?")
            return entries
        if params["way"] == "rest":
            raise OrthancError(
                f"Orthanc at {archive.url} has no API for worklists. Set way to folder, or use Orthanc with the "
                "newer worklist plugin."
            )
    if "worklists" not in archive.get("/plugins"):
        raise OrthancError(
            f"Orthanc at {archive.url} has no worklist plugin. Load it, and set Worklists.Enable to true."
        )
    folder = params["folder"]
    if not folder:
        raise OrthancError(
            f"Orthanc at {archive.url} serves worklists from a folder. Set folder to it (Worklists.Database)."
        )
    try:
        os.listdir(folder)
    except OSError as error:
        raise OrthancError(
            f"folder is '{folder}', which cannot be used ({error.strerror}). Is it Orthanc's folder of "
            "worklists, on the host on which the module runs?"
        ) from None
    return None


def normalize(tags: Mapping[str, Any], where: str = "tags") -> Tags:
    """Return the tags with each value as text, a list of texts, or a list of items, in the order of DICOM.

    Raises WorklistError with everything that is wrong.
    """
    wrong: list[str] = []
    result = _normalize(tags, where, wrong)
    if wrong:
        raise WorklistError("; ".join(wrong))
    return result


def _normalize(tags: Mapping[str, Any], where: str, wrong: list[str]) -> Tags:
    result: Tags = {}
    for keyword, value in tags.items():
        place = f"{where}.{keyword}"
        if keyword not in DICTIONARY:
            wrong.append(f"{place} is not a worklist attribute that this module supports{_suggest(keyword)}")
            continue
        kind = DICTIONARY[keyword][2]
        if kind == "SQ":
            result[keyword] = _normalize_items(value, place, wrong)
            continue
        values = value if isinstance(value, list) else [value]
        texts = [_normalize_text(one, kind, place, wrong) for one in values]
        if len(texts) > 1 and kind in ONE_VALUE:
            wrong.append(f"{place} is a list, and may have one value only")
        result[keyword] = texts if len(texts) > 1 else texts[0] if texts else ""
    return dict(sorted(result.items(), key=lambda one: DICTIONARY[one[0]][:2]))


def _normalize_items(value: Any, place: str, wrong: list[str]) -> list[Tags]:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        wrong.append(f"{place} is a sequence: write it as a list of mappings")
        return []
    return [_normalize(one, f"{place}[{index}]", wrong) for index, one in enumerate(value)]


def _normalize_text(value: Any, kind: str, place: str, wrong: list[str]) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, list, Mapping)):
        wrong.append(f"{place} is not text. Put it in quotes")
        return ""
    text = str(value).strip()
    if not text:
        return ""
    pattern, described = PATTERNS.get(kind, ("", ""))
    if pattern and not re.fullmatch(pattern, text):
        wrong.append(f"{place} is '{text}'. Write it as {described}")
    elif len(text) > LONGEST[kind]:
        wrong.append(f"{place} has {len(text)} characters, and may have {LONGEST[kind]}")
    elif kind not in ONE_VALUE and "\\" in text:
        wrong.append(f"{place} has a backslash, which separates values. Write several values as a list")
    elif any(ord(letter) < 32 and (letter not in "\t\r\n\f" or kind not in ONE_VALUE) for letter in text):
        wrong.append(f"{place} has a control character")
    return text


def check_complete(tags: Tags) -> None:
    """Check the attributes that Orthanc's worklist plugin requires."""
    steps = tags.get("ScheduledProcedureStepSequence") or []
    if not steps:
        raise WorklistError("tags has no ScheduledProcedureStepSequence with at least one step")
    lacking = [
        f"tags.ScheduledProcedureStepSequence[{index}].{keyword}"
        for index, step in enumerate(steps)
        for keyword in ("Modality", "ScheduledProcedureStepStartDate")
        if not step.get(keyword)
    ]
    if lacking:
        raise WorklistError(f"{' and '.join(lacking)} is missing, without which no modality finds the entry")


def create_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def read_folder(folder: str, name: str | None, unreadable: list[str]) -> list[Entry]:
    """Read the entries in a folder, or the one called `name`; add other files to `unreadable`, with the reason.

    The plugin reads files whose names end with .wl, in upper or lower case, and no subdirectories.
    """
    entries = []
    for file in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(file)
        path = os.path.join(folder, file)
        if ending.lower() != ".wl" or name not in (None, stem):
            continue
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        try:
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as stream:
                tags = parse_file(stream.read())
            tags.pop("SpecificCharacterSet", None)
            if not tags:
                raise NotDicomError("has no attribute of a worklist")
        except FileNotFoundError:
            continue  # removed meanwhile
        except NotDicomError:
            unreadable.append(f"{shown} is not a worklist entry or is damaged")
        except OSError as error:
            unreadable.append(f"{shown} cannot be read ({error.strerror})")
        else:
            entries.append(Entry(stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), shown, tags))
    return entries


# Writing


def build_file(name: str, tags: Tags) -> bytes:
    """Build the entry's DICOM file; the same bytes for the same name and tags."""
    instance = f"2.25.{uuid.uuid5(uuid.UUID(int=0), name).int}"
    meta = b"".join(
        (
            _build_element(0x0002, 0x0001, "OB", b"\0\1"),
            _build_element(0x0002, 0x0002, "UI", _encode(SOP_CLASS, "UI")),
            _build_element(0x0002, 0x0003, "UI", _encode(instance, "UI")),
            _build_element(0x0002, 0x0010, "UI", _encode(EXPLICIT, "UI")),
            _build_element(0x0002, 0x0012, "UI", _encode(IMPLEMENTATION_CLASS, "UI")),
        )
    )
    head = bytes(128) + b"DICM" + _build_element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
    return head + meta + _build_dataset({"SpecificCharacterSet": UTF8, **tags})


def _build_dataset(tags: Tags) -> bytes:
    written = []
    for keyword, value in sorted(tags.items(), key=lambda one: DICTIONARY[one[0]][:2]):
        group, element, kind = DICTIONARY[keyword]
        if kind == "SQ":
            content = b"".join(struct.pack("<HHI", *ITEM, len(item)) + item for item in map(_build_dataset, value))
        elif kind == "US":
            texts = value if isinstance(value, list) else [value]
            content = b"".join(struct.pack("<H", int(text)) for text in texts if text)
        else:
            content = _encode("\\".join(value) if isinstance(value, list) else value, kind)
        written.append(_build_element(group, element, kind, content))
    return b"".join(written)


def _encode(text: str, kind: str) -> bytes:
    content = text.encode()
    return content + (b"\0" if kind == "UI" else b" ") * (len(content) % 2)


def _build_element(group: int, element: int, kind: str, content: bytes) -> bytes:
    if kind in ("OB", "SQ", "UT"):
        return struct.pack("<HH2sHI", group, element, kind.encode(), 0, len(content)) + content
    return struct.pack("<HH2sH", group, element, kind.encode(), len(content)) + content


# Reading


def parse_file(content: bytes) -> Tags:
    """Parse a worklist file of any origin into the supported attributes. Raises NotDicomError."""
    stream = io.BytesIO(content)
    explicit, big = True, False
    if content[128:132] == b"DICM":
        stream.seek(132)
        syntax = EXPLICIT
        elements = Elements(stream, explicit=True, big=False)
        while content[stream.tell() : stream.tell() + 2] == b"\2\0":
            tag, length = elements.read_tag()
            value = elements.read_exactly(length)
            if tag == (0x0002, 0x0010):
                syntax = value.decode("ascii", "replace").strip("\0 ")
        explicit, big = syntax != IMPLICIT, syntax == BIG_ENDIAN
    elements = Elements(stream, explicit, big)
    return dict(_read(elements, stream, len(content)))


def _read(elements: Elements, stream: io.BytesIO, end: int, codec: str = "utf_8") -> Iterator[tuple[str, Any]]:
    while stream.tell() < end:
        tag, length = elements.read_tag()
        if tag == ITEM_END:
            return
        keyword = KEYWORDS.get(tag, "")
        kind = DICTIONARY[keyword][2] if keyword else ""
        if kind == "SQ" or length == UNDEFINED:
            inside = end if length == UNDEFINED else stream.tell() + length
            items = list(_read_items(elements, stream, inside, codec))
            if keyword:
                yield keyword, items
            continue
        value = elements.read_exactly(length)
        if not keyword:
            continue
        if kind == "US":
            texts = [str(elements.short.unpack_from(value, start)[0]) for start in range(0, length - 1, 2)]
        else:
            text = value.decode(codec, "replace").strip("\0 ")
            texts = [text] if kind in ONE_VALUE else [one.strip() for one in text.split("\\")]
        if keyword == "SpecificCharacterSet":
            codec = CODECS.get(texts[0], codec)
        yield keyword, texts if len(texts) > 1 else texts[0] if texts else ""


def _read_items(elements: Elements, stream: io.BytesIO, end: int, codec: str) -> Iterator[Tags]:
    while stream.tell() < end:
        tag, length = elements.read_tag()
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise NotDicomError("is damaged")
        inside = end if length == UNDEFINED else stream.tell() + length
        yield dict(_read(elements, stream, inside, codec))


# Orthanc's API (format=Simplify)

ADDED = frozenset(("SpecificCharacterSet", "MediaStorageSOPClassUID", "SOPClassUID", "SOPInstanceUID"))


def parse_api_tags(tags: Mapping[str, Any]) -> Tags:
    """Parse an entry of the REST API into what `normalize` returns, without what the plugin adds."""
    result: Tags = {}
    for keyword, value in tags.items():
        if keyword in ADDED:
            continue
        if isinstance(value, list):
            result[keyword] = [parse_api_tags(item) for item in value]
        else:
            texts = [one.strip() for one in str(value or "").split("\\")]
            result[keyword] = texts if len(texts) > 1 else texts[0]
    return dict(sorted(result.items(), key=lambda one: DICTIONARY.get(one[0], (0xFFFF, 0, ""))[:2]))


def build_api_tags(tags: Tags) -> Tags:
    """Build the tags for the REST API."""
    return {
        keyword: [build_api_tags(item) for item in value]
        if DICTIONARY[keyword][2] == "SQ"
        else "\\".join(value)
        if isinstance(value, list)
        else value
        for keyword, value in tags.items()
    }


# Searching


MOMENTS = {"DA": ("20261121", r"\d{8}"), "TM": ("1430", r"\d\d(\d\d(\d\d(\.\d{1,6})?)?)?")}
"""By VR an example of what stands in an entry, and its form; a query may have a range of it."""


class Query:
    """A search: attributes by keyword, and the value that each must have.

    As in a search for studies: `*` stands for any characters, `?` for one, dates and times may be ranges, a list means
    any of its values. Attributes of scheduled steps are given without their sequence; all that are given must be those
    of one and the same step. Raises WorklistError.
    """

    def __init__(self, query: Mapping[str, Any], case_sensitive: bool) -> None:
        wrong: list[str] = []
        self.wanted: dict[str, list[str]] = {}
        self.flags = re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE
        for keyword, value in query.items():
            if DICTIONARY.get(keyword, (0, 0, "SQ"))[2] == "SQ":
                wrong.append(_describe_unknown(keyword))
                continue
            values = value if isinstance(value, list) else [value]
            if any(isinstance(one, (bool, list, Mapping)) for one in values):
                wrong.append(f"query.{keyword} is not text. Put it in quotes")
                continue
            texts = ["" if one is None else str(one).strip() for one in values]
            wrong += [found for found in (_find_value_error(keyword, text) for text in texts or [""]) if found]
            self.wanted[keyword] = texts
        if wrong:
            raise WorklistError("; ".join(wrong))

    def is_match(self, tags: Tags) -> bool:
        steps = tags.get("ScheduledProcedureStepSequence")
        places = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
        return any(self._is_met(tags, step) for step in places or [{}])

    def _is_met(self, tags: Tags, step: Tags) -> bool:
        return all(self._is_value_match(keyword, step.get(keyword, tags.get(keyword))) for keyword in self.wanted)

    def _is_value_match(self, keyword: str, value: Any) -> bool:
        kind = DICTIONARY[keyword][2]
        values = value if isinstance(value, list) else [value]
        return any(self._is_equal(kind, wanted, str(one or "")) for wanted in self.wanted[keyword] for one in values)

    def _is_equal(self, kind: str, wanted: str, value: str) -> bool:
        if kind in ("DA", "TM") and "-" in wanted:
            first, _dash, last = wanted.partition("-")
            return bool(value) and value[: len(first)] >= first and (not last or value[: len(last)] <= last)
        pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)
        return re.fullmatch(pattern, value, self.flags) is not None


def _find_value_error(keyword: str, text: str) -> str:
    """Return what is wrong with a value of a search; empty where nothing is."""
    if not text:
        return f"query.{keyword} is empty, and would match everything. Remove it, or set it to a value"
    example, form = MOMENTS.get(DICTIONARY[keyword][2], ("", ""))
    if not form or re.fullmatch(rf"[\d.*?]*[*?][\d.*?]*|{form}|{form}-|-{form}|{form}-{form}", text):
        return ""
    return f"query.{keyword} is '{text}'. Set it to a value such as {example}, or a range such as {example}-{example}"


def _describe_unknown(keyword: str) -> str:
    if DICTIONARY.get(keyword):
        return f"query.{keyword} is a sequence. Give the attributes in its steps without it"
    return f"query.{keyword} is not a worklist attribute that this module supports{_suggest(keyword)}"


def _suggest(keyword: str) -> str:
    close = difflib.get_close_matches(str(keyword), DICTIONARY, 1, 0.7)
    return f"; did you mean {close[0]}?" if close else ""
