#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_job_info
short_description: Gather information about Orthanc jobs
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the jobs of Orthanc, such as sending a study or zipping it - those that wait and run, and the last of
    those that ended.
  - One HTTP request.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.attributes.info_module
options:
  job:
    description: Identifier of one job. RV(jobs) is empty where Orthanc does not have it.
    type: str
  states:
    description: Only jobs in one of these states.
    type: list
    elements: str
    choices: [pending, running, success, failure, paused, retry]
  types:
    description: Only jobs of one of these types, by Orthanc's names, such as V(DicomModalityStore).
    type: list
    elements: str
notes:
  - Orthanc keeps as many jobs that ended as its option C(JobsHistorySize) allows, 10 by default.
  - Jobs belong to one process. Where several share a database, each has only its own.
seealso:
  - module: lightbox.pacs.orthanc_info
"""

EXAMPLES = r"""
- name: See what failed
  lightbox.pacs.orthanc_job_info:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
    states: [failure]
  register: failed

- name: Wait until nothing is being sent any more
  lightbox.pacs.orthanc_job_info:
    url: http://127.0.0.1:8042
    states: [pending, running, retry]
    types: [DicomModalityStore]
  register: sending
  until: sending.jobs | length == 0
  retries: 60
  delay: 5
"""

RETURN = r"""
jobs:
  description: The jobs, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the job.
      type: str
    type:
      description: What Orthanc calls it.
      type: str
      sample: DicomModalityStore
    state:
      description: One of V(pending), V(running), V(success), V(failure), V(paused), V(retry).
      type: str
    progress:
      description: Per cent of it that is done.
      type: int
    priority:
      description: Those with a higher number come first.
      type: int
    created:
      description: When it was ordered, in UTC.
      type: str
      sample: '2026-11-21T03:24:59Z'
    completed:
      description: When it ended, in UTC; null while it did not.
      type: str
    estimated_completion:
      description: When Orthanc expects it to end, in UTC; null where it does not know.
      type: str
    runtime_seconds:
      description: How long it has run.
      type: float
    error_code:
      description: Number of the error; 0 where there is none.
      type: int
    error:
      description: The error in words; empty where there is none.
      type: str
    content:
      description: What the job reports, depending on its type, by Orthanc's names.
      type: dict
"""

import re
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)

STATES = ["pending", "running", "success", "failure", "paused", "retry"]


def format_time(text: str | None) -> str | None:
    """20261121T032459.123456 as 2026-11-21T03:24:59Z. Orthanc's clock is UTC."""
    found = re.match(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", text or "")
    return "{}-{}-{}T{}:{}:{}Z".format(*found.groups()) if found else None


def format_job(job: dict[str, Any]) -> dict[str, Any]:
    failed = job.get("ErrorCode", 0) != 0
    words = [job.get("ErrorDescription"), job.get("ErrorDetails")]
    return {
        "id": job["ID"],
        "type": job["Type"],
        "state": job["State"].lower(),
        "progress": job["Progress"],
        "priority": job["Priority"],
        "created": format_time(job["CreationTime"]),
        "completed": format_time(job.get("CompletionTime")),
        "estimated_completion": format_time(job.get("EstimatedTimeOfArrival")),
        "runtime_seconds": job["EffectiveRuntime"],
        "error_code": job.get("ErrorCode", 0),
        "error": ": ".join(word for word in words if word) if failed else "",
        "content": job.get("Content") or {},
    }


def main() -> None:
    module = Module(
        argument_spec={
            **connection_spec(),
            "job": {"type": "str"},
            "states": {"type": "list", "elements": "str", "choices": STATES},
            "types": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        archive = Orthanc(params)
        if params["job"]:
            job = archive.find(build_path("jobs", params["job"]))
            found = [job] if job is not None else []
        else:
            found = archive.get("/jobs?expand")
    except OrthancError as error:
        module.fail_json(msg=str(error))
    jobs = [
        job
        for job in map(format_job, sorted(found, key=lambda job: (job["CreationTime"], job["ID"])))
        if (params["states"] is None or job["state"] in params["states"])
        and (params["types"] is None or job["type"] in params["types"])
    ]
    module.exit_json(changed=False, jobs=jobs)


if __name__ == "__main__":
    main()
