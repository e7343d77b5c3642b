#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_study
short_description: Delete, anonymize or send a study in Orthanc
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Deletes a study, creates an anonymized copy of it, or sends it to a modality or a peer that is registered in
    Orthanc. There is no default.
  - What was copied or sent is recorded in the study's metadata 51907, which no export contains. So a second run neither
    copies nor sends again, unless the study has new images, the options are others, or the copy was deleted. A run
    that was interrupted finds its job again.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc_resource
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
    details: Whether O(modality) or O(peer) is registered and answers is not tested.
  diff_mode:
    support: full
options:
  state:
    description:
      - V(absent) removes the study with all its images from Orthanc. A study that does not exist is not an error.
      - V(anonymized) makes a copy without the patient's identity, with new UIDs. The study itself stays.
      - V(sent) sends it to O(modality) or O(peer).
    type: str
    choices: [absent, anonymized, sent]
    required: true
  replace:
    description:
      - With O(state=anonymized), DICOM tags of the copy and their values, in place of what the anonymization
        would set.
    type: dict
    default: {}
  keep:
    description: With O(state=anonymized), DICOM tags that stay as they are.
    type: list
    elements: str
    default: []
  remove:
    description: With O(state=anonymized), further DICOM tags to remove.
    type: list
    elements: str
    default: []
  keep_private_tags:
    description: With O(state=anonymized), whether private tags stay. They may identify the patient.
    type: bool
    default: false
  dicom_version:
    description:
      - With O(state=anonymized), the edition of the standard whose list of tags is followed, such as V(2023b). Where
        not given, Orthanc's own default.
    type: str
  modality:
    description: With O(state=sent), name of a modality of Orthanc; see M(lightbox.pacs.orthanc_modality).
    type: str
  peer:
    description: With O(state=sent), name of a peer of Orthanc; see M(lightbox.pacs.orthanc_peer).
    type: str
  again:
    description: Whether to copy or send even if that was done before.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until it is copied or sent. Otherwise only the next run, which tries again, and Orthanc's jobs
        show a failure.
    type: bool
    default: true
  wait_seconds:
    description: How long to wait before failing. Orthanc continues then, and a later run waits for the same job.
    type: int
    default: 600
notes:
  - Jobs belong to one process of Orthanc. Behind a load balancer all calls must reach the same one.
seealso:
  - module: lightbox.pacs.orthanc_study_info
"""

EXAMPLES = r"""
- name: Make an anonymised copy for teaching
  lightbox.pacs.orthanc_study:
    url: http://127.0.0.1:8042
    uid: 1.2.276.0.7230010.3.1.2.313263360.1.1596188549.895807
    state: anonymized
    replace:
      PatientName: Teaching^12
      PatientID: T12
    keep: [StudyDescription, SeriesDescription]
  register: teaching

- name: Send it to the workstation
  lightbox.pacs.orthanc_study:
    url: http://127.0.0.1:8042
    id: "{{ teaching.study.copy }}"
    state: sent
    modality: workstation

- name: Remove a study
  lightbox.pacs.orthanc_study:
    url: http://127.0.0.1:8042
    uid: 1.2.276.0.7230010.3.1.2.313263360.1.1596188549.895807
    state: absent
"""

RETURN = r"""
study:
  description: The study and what was done.
  returned: success
  type: dict
  contains:
    id:
      description: Orthanc's identifier of the study; empty where O(uid) names none that is there.
      type: str
      sample: 95157c93-1e751764-e278a968-bbcdf1d0-205e019c
    copy:
      description: Orthanc's identifier of the anonymised copy. Empty in check mode before there is one, and without
        O(wait).
      type: str
      sample: 3d90046a-e04c0246-74025a4e-e2914153-ab5086d0
    job:
      description: Orthanc's job that copies or sends; empty where there was nothing to do.
      type: str
      sample: 0fbf2a88-f92a-4723-90cb-4538e1010a9f
    instances:
      description: How many images this job copied or sent.
      type: int
      sample: 60
"""

import hashlib
import json
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_resources import (
    RESOURCE_RULES,
    build_missing_error,
    build_resource_path,
    find_resource_id,
    resource_spec,
    select_only,
)

NOTE = "51907"  # number of the metadata that contains the record; those from 1024 on are the users'
IDENTIFIERS = frozenset(("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
DICOM_UID = re.compile("[0-9.]{1,64}")
GONE = ("Failure", "Paused")


class Study:
    """A study, and the record of what was done, in its metadata."""

    def __init__(self, archive: Orthanc, identifier: str, metadata: dict[str, Any]) -> None:
        self.archive = archive
        self.id = identifier
        self.metadata = metadata

    @classmethod
    def find(cls, archive: Orthanc, params: dict[str, Any]) -> Study:
        """Find the study of `id` or `uid`, in one request from Orthanc 1.12.5 on; older ones take two for `uid`."""
        metadata: dict[str, Any] | None = None
        if params["id"] is None and DICOM_UID.fullmatch(params["uid"]):
            search = {
                "Level": "Study",
                "Query": {"StudyInstanceUID": params["uid"]},
                "Expand": True,
                "ResponseContent": ["Metadata"],  # which older releases ignore
            }
            found = {one["ID"]: one.get("Metadata") for one in archive.search("/tools/find", search)}
            identifier = select_only(list(found), params, "study")
            metadata = found.get(identifier)
        else:
            identifier = find_resource_id(archive, params, "study")
        if identifier is not None and metadata is None:
            metadata = archive.find(build_resource_path("study", identifier, "metadata"), {"expand": ""})
        if identifier is None or metadata is None:
            raise build_missing_error(archive, params, "study")
        return cls(archive, identifier, metadata)

    @property
    def changed_last(self) -> str:
        return str(self.metadata.get("LastUpdate", ""))

    def read_record(self, task: str) -> dict[str, str] | None:
        """Return the record of a task, if the study has the same images now."""
        record = parse_notes(self.metadata).get(task)
        return record if isinstance(record, dict) and record.get("of") == self.changed_last else None

    def write_record(self, task: str, **what: str) -> str | None:
        """Record a task beside the others; return why Orthanc refuses, or None."""
        metadata = self.archive.find(build_resource_path("study", self.id, "metadata"), {"expand": ""})
        if metadata is None:
            return None  # deleted meanwhile
        notes = {**parse_notes(metadata), task: {"of": self.changed_last, **what}}
        path = build_resource_path("study", self.id, "metadata", NOTE)
        content = json.dumps(notes, sort_keys=True)
        try:
            try:
                self.archive.put(path, content)
            except OrthancError as error:
                if error.status != 409:  # with CheckRevisions, Orthanc requires the revision that is replaced
                    raise
                self.archive.put(path, content, self.archive.get_etag(path))
        except OrthancError as error:
            return str(error)
        return None


def parse_notes(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        notes = json.loads(metadata.get(NOTE, "{}"))
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


def build_task(params: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the task's name in the record, the path of the API (empty: of the study), and the body."""
    if params["state"] == "sent":
        kind = "modalities" if params["modality"] else "peers"
        name = params["modality"] or params["peer"]
        return f"sent to {kind}/{name}", build_path(kind, name, "store"), {"Synchronous": False}
    body: dict[str, Any] = {"Asynchronous": True}
    for key, option in (("Replace", "replace"), ("Keep", "keep"), ("Remove", "remove")):
        if params[option]:
            value = params[option]
            body[key] = {tag: str(text) for tag, text in value.items()} if option == "replace" else value
    if params["keep_private_tags"]:
        body["KeepPrivateTags"] = True
    if params["dicom_version"]:
        body["DicomVersion"] = params["dicom_version"]
    if "SOPInstanceUID" in params["keep"]:
        raise OrthancError("keep contains SOPInstanceUID, but the copy needs its own UIDs. Remove it.")
    if IDENTIFIERS & {*params["keep"], *params["replace"]}:
        body["Force"] = True  # Orthanc requires this explicit acknowledgement for identifiers
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    return f"anonymized {digest}", "", body


def find_earlier(study: Study, task: str) -> dict[str, str] | None:
    """Return the record of the task where it is still valid: its job runs or succeeded, its copy exists."""
    record = study.read_record(task)
    if record is None:
        return None
    if "job" in record:
        job = study.archive.find(build_path("jobs", record["job"]))
        lost = job is None or job.get("State") in GONE or job.get("Content", {}).get("FailedInstancesCount")
        return None if lost else record
    if "copy" in record:
        copy = study.archive.find(build_resource_path("study", record["copy"], "metadata"), {"expand": ""})
        return None if copy is None or copy.get("AnonymizedFrom") != study.id else record
    return record


def start(study: Study, path: str, body: dict[str, Any]) -> str:
    if path:
        try:
            answer = study.archive.post(path, {**body, "Resources": [study.id]})
        except OrthancError as error:
            if error.status == 404:
                raise OrthancError(
                    f"{path.split('/')[2]} is not registered in Orthanc at {study.archive.url} ({error.details}). "
                    "Register it with lightbox.pacs.orthanc_modality or lightbox.pacs.orthanc_peer."
                ) from None
            raise
    else:
        answer = study.archive.post(build_resource_path("study", study.id, "anonymize"), body)
    return str(answer["ID"])


def copy_or_send(module: AnsibleModule, study: Study) -> dict[str, Any]:
    """Copy or send, unless that was done."""
    params = module.params
    task, path, body = build_task(params)
    result: dict[str, Any] = {"id": study.id, "copy": "", "job": "", "instances": 0}
    record = None if params["again"] else find_earlier(study, task)
    changed = record is None
    # Nothing in the diff names the patient.
    diff = {"before": {task: not changed}, "after": {task: True}}
    outcome = {"changed": changed, "study": result, "diff": diff}
    if record is not None and "job" not in record:
        result["copy"] = record.get("copy", "")
        return outcome
    if module.check_mode:
        return outcome
    problem = None
    if record is None:
        result["job"] = start(study, path, body)
        problem = study.write_record(task, job=result["job"])
    else:
        result["job"] = record["job"]
    if params["wait"]:
        job = study.archive.wait_for_job(result["job"], params["wait_seconds"])
        content = job.get("Content", {})
        result["instances"] = int(content.get("InstancesCount", 0))
        if content.get("FailedInstancesCount"):
            failed = content["FailedInstancesCount"]
            raise OrthancError(f"Job {result['job']} left out {failed} of {result['instances']} images.")
        if params["state"] == "anonymized":
            result["copy"] = str(content["ID"])
            problem = study.write_record(task, copy=result["copy"])
        else:
            problem = study.write_record(task, sent=str(result["instances"]))
    if problem:
        module.warn(f"What was done could not be recorded with the study, so the next run will do it again: {problem}")
    return outcome


def remove(module: AnsibleModule, archive: Orthanc, identifier: str | None) -> dict[str, Any]:
    path = "" if identifier is None else build_resource_path("study", identifier)
    is_there = identifier is not None and archive.find(path) is not None
    if is_there and not module.check_mode:
        archive.delete(path)
    return {
        "changed": is_there,
        "study": {"id": identifier or "", "copy": "", "job": "", "instances": 0},
        "diff": {"before": {"state": "present" if is_there else "absent"}, "after": {"state": "absent"}},
    }


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            **resource_spec(),
            state={"type": "str", "choices": ["absent", "anonymized", "sent"], "required": True},
            replace={"type": "dict", "default": {}},
            keep={"type": "list", "elements": "str", "default": []},
            remove={"type": "list", "elements": "str", "default": []},
            keep_private_tags={"type": "bool", "default": False},
            dicom_version={"type": "str"},
            modality={"type": "str"},
            peer={"type": "str"},
            again={"type": "bool", "default": False},
            wait={"type": "bool", "default": True},
            wait_seconds={"type": "int", "default": 600},
        ),
        required_if=[("state", "sent", ("modality", "peer"), True)],
        required_one_of=RESOURCE_RULES["required_one_of"],
        mutually_exclusive=[*RESOURCE_RULES["mutually_exclusive"], ("modality", "peer")],
        supports_check_mode=True,
    )
    try:
        archive = Orthanc(module.params)
        if module.params["state"] == "absent":
            outcome = remove(module, archive, find_resource_id(archive, module.params, "study"))
        else:
            outcome = copy_or_send(module, Study.find(archive, module.params))
    except OrthancError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
