#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_worklist
short_description: Manage entries of Orthanc's modality worklist
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Manages one scheduled examination that modalities find by a worklist query (C-FIND).
  - Orthanc has two worklist plugins. The one of its own distribution, also in Debian 12 and 13, serves a folder of
    files; this module writes them, and must run on the host that has the folder. The newer one
    (C(orthanc-worklists), in the image C(orthancteam/orthanc)) has a REST API, which this module uses.
  - Attributes and values are checked before anything is written.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc.worklist
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the patient's data. Set C(diff=false) on the task to hide it.
options:
  name:
    description:
      - Unique name of the entry, which is the name of the file or the identifier in the API; no modality sees it. The
        accession number is a good choice.
      - Letters (without accents), digits, dots, dashes and underscores, up to 64, beginning with a letter or digit.
    type: str
    required: true
  state:
    description: Whether the entry exists.
    type: str
    choices: [present, absent]
    default: present
  tags:
    description:
      - The DICOM attributes by keyword. A sequence is a list of mappings. Several values of one attribute are a list.
      - Needed with O(state=present) is C(ScheduledProcedureStepSequence), each step with C(Modality) and
        C(ScheduledProcedureStepStartDate).
      - Where there is no C(StudyInstanceUID), the entry gets one, which it keeps.
      - The character set is always UTF-8 (C(ISO_IR 192)).
      - Attributes of the entry that are not given here are removed.
    type: dict
    default: {}
  mode:
    description:
      - Mode of the file, four octal digits in quotes. The file gets the folder's owner and group where the module runs
        as root. It names a patient, so it should not be open to all.
    type: str
    default: "0640"
notes:
  - The module fails without either plugin; enable C(Worklists) in its configuration.
  - The plugins match the query themselves. Orthanc's option C(DicomAlwaysAllowFindWorklist) and the rights of each
    modality decide who may query.
seealso:
  - module: lightbox.pacs.orthanc_worklist_info
  - name: Worklists in the Orthanc Book
    description: The two plugins and their options.
    link: https://orthanc.uclouvain.be/book/faq/worklist.html
"""

EXAMPLES = r"""
- name: Schedule a CT
  lightbox.pacs.orthanc_worklist:
    url: http://127.0.0.1:8042
    folder: /var/lib/orthanc/worklists
    name: "4711"
    tags:
      AccessionNumber: "4711"
      PatientID: P-12
      PatientName: Müller^Änne
      PatientBirthDate: "19701231"
      PatientSex: F
      RequestedProcedureDescription: CT chest
      ScheduledProcedureStepSequence:
        - ScheduledStationAETitle: CT1
          Modality: CT
          ScheduledProcedureStepStartDate: "20261231"
          ScheduledProcedureStepStartTime: "0930"
          ScheduledProcedureStepDescription: CT chest
  diff: false

- name: Take it off
  lightbox.pacs.orthanc_worklist:
    url: http://127.0.0.1:8042
    folder: /var/lib/orthanc/worklists
    name: "4711"
    state: absent
"""

RETURN = r"""
worklist:
  description: The entry.
  returned: success
  type: dict
  contains:
    name:
      description: What it is called.
      type: str
      sample: "4711"
    way:
      description: How it was written, V(rest) or V(folder).
      type: str
      sample: folder
    path:
      description: The file, or the path of the API.
      type: str
      sample: /var/lib/orthanc/worklists/4711.wl
    study_instance_uid:
      description: The UID that modalities will give the study; empty with O(state=absent).
      type: str
      sample: 2.25.247711209733755414644324829953404004406
"""

import os
import re
import stat
import tempfile
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_file import NotDicomError
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._worklist import (
    Tags,
    WorklistError,
    build_api_tags,
    build_file,
    check_complete,
    create_uid,
    list_entries,
    normalize,
    parse_api_tags,
    parse_file,
    place_spec,
)


class Rest:
    """Entries behind the API of the newer plugin."""

    way = "rest"

    def __init__(self, archive: Orthanc, entries: list[dict[str, Any]], name: str) -> None:
        self.archive = archive
        self.path = build_path("worklists", name)
        self.before: Tags | None = next(
            (parse_api_tags(entry["Tags"]) for entry in entries if entry["ID"] == name), None
        )

    def is_equal(self, _name: str, tags: Tags) -> bool:
        return self.before == tags

    def write(self, _name: str, tags: Tags) -> None:
        self.archive.put(self.path, {"Tags": build_api_tags(tags)})

    def remove(self) -> None:
        self.archive.delete(self.path)


class Folder:
    """Entries as files."""

    way = "folder"

    def __init__(self, folder: str, mode: int, name: str) -> None:
        self.path = os.path.join(folder, f"{name}.wl")
        self.mode = mode
        self.folder = os.stat(folder)
        self.content: bytes | None = None
        self.before: Tags | None = None
        if os.path.lexists(self.path):
            with open(self.path, "rb") as stream:
                self.content = stream.read()
            try:
                self.before = parse_file(self.content)
            except NotDicomError:
                self.before = {}
            self.before.pop("SpecificCharacterSet", None)

    def is_equal(self, name: str, tags: Tags) -> bool:
        """Compare every byte and the mode, so that an entry of another writer is written again."""
        if self.content != build_file(name, tags):
            return False
        known = os.lstat(self.path)
        return stat.S_IMODE(known.st_mode) == self.mode and (known.st_uid, known.st_gid) == self._owner(known)

    def _owner(self, otherwise: os.stat_result) -> tuple[int, int]:
        owner = self.folder if os.geteuid() == 0 else otherwise
        return owner.st_uid, owner.st_gid

    def write(self, name: str, tags: Tags) -> None:
        """Write in one step; the plugin ignores the temporary name."""
        handle, draft = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix=".ansible-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(build_file(name, tags))
                if os.geteuid() == 0:
                    os.fchown(handle, *self._owner(self.folder))
                os.fchmod(handle, self.mode)
                stream.flush()
                os.fsync(handle)
            os.rename(draft, self.path)
        except BaseException:
            os.unlink(draft)
            raise

    def remove(self) -> None:
        os.unlink(self.path)


def select_store(params: dict[str, Any]) -> Rest | Folder:
    """Return where the entry is stored."""
    archive = Orthanc(params)
    entries = list_entries(archive, params)
    if entries is not None:
        return Rest(archive, entries, params["name"])
    return Folder(params["folder"], int(params["mode"], 8), params["name"])


def check_tags(params: dict[str, Any]) -> Tags:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", params["name"]):
        raise WorklistError(
            f"name is '{params['name']}'. Write it with letters (without accents), digits, dots, dashes and "
            "underscores, up to 64, beginning with a letter or digit"
        )
    if not re.fullmatch("[0-7]{4}", params["mode"]):
        raise WorklistError(f"mode is '{params['mode']}', which is not four octal digits in quotes")
    tags = normalize(params["tags"])
    tags.pop("SpecificCharacterSet", None)
    if params["state"] == "present":
        check_complete(tags)
    return tags


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            name={"type": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            tags={"type": "dict", "default": {}},
            **place_spec(),
            mode={"type": "str", "default": "0640"},
        ),
        required_if=[("way", "folder", ("folder",))],
        supports_check_mode=True,
    )
    name, state = module.params["name"], module.params["state"]
    try:
        tags = check_tags(module.params)
        store = select_store(module.params)
        before = store.before
        if state == "present":
            if not tags.get("StudyInstanceUID"):
                tags["StudyInstanceUID"] = (before or {}).get("StudyInstanceUID") or create_uid()
                tags = normalize(tags)
            changed = before is None or not store.is_equal(name, tags)
            if changed and not module.check_mode:
                store.write(name, tags)
        else:
            changed = before is not None
            if changed and not module.check_mode:
                store.remove()
    except WorklistError as error:
        module.fail_json(msg=f"{error}.")
    except OrthancError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['folder']} cannot be used ({error.strerror}).")
    module.exit_json(
        changed=changed,
        worklist={
            "name": name,
            "way": store.way,
            "path": store.path,
            "study_instance_uid": tags["StudyInstanceUID"] if state == "present" else "",
        },
        diff={"before": before or {}, "after": tags if state == "present" else {}},
    )


if __name__ == "__main__":
    main()
