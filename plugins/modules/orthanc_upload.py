#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_upload
short_description: Upload DICOM files to Orthanc
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Sends a DICOM file, a directory of them or a zip file to Orthanc's REST API, several files at a time, except what is
    stored already.
  - What is stored is listed once for each study. An instance is identified by its patient ID and UIDs, its content by
    its hash.
  - Files are read in blocks. The memory needed (less than 100 MB) depends neither on their number nor on their size.
  - A run that was interrupted can be started again; it sends what is missing.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
    details: Which files Orthanc would refuse is unknown then.
  diff_mode:
    support: full
    details: Of each study how many of the instances given are in Orthanc.
options:
  src:
    description:
      - A DICOM file, a zip file, or a directory of both, on the host on which the module runs. Use
        C(delegate_to=localhost) for files on the controller.
      - A zip file is recognized by its content. One within another is not opened.
    type: path
    required: true
  recursive:
    description: Whether subdirectories are searched, too. Links to directories are never followed.
    type: bool
    default: true
  compare:
    description:
      - When an instance counts as stored. V(uid) needs the same patient ID and UIDs, V(size) the same size as well,
        V(hash) the same MD5 checksum.
      - V(hash) reads every file that is stored. From 1.12.5 on, Orthanc lists all checksums of a study in one
        answer; an older one is queried for each instance.
      - Use V(uid) where Orthanc changes what it stores (C(IngestTranscoding), a Lua script), because its content
        differs from the file's.
    type: str
    choices: [hash, size, uid]
    default: hash
  different:
    description:
      - What to do where Orthanc has another content under the same UIDs. V(keep) leaves it and warns. V(replace)
        replaces it by the file. V(fail) leaves it and fails when everything else was sent.
      - With V(replace) the old instance is deleted only when Orthanc has read the new file, and a backup is kept until
        that is stored. Where it is not, the old one is restored.
      - The backup is in a directory C(orthanc_upload-…) in C(TMPDIR), or in C(/var/tmp) where that is not set. It stays
        only where the restore fails, where Orthanc has another content by then, where Orthanc did not answer a
        deletion or an upload that it may yet carry out, or where the module is killed. RV(upload.kept) and the module's
        message name it, except after a kill, and the upload ends unless only labels could not be restored.
      - With C(OverwriteInstances), Orthanc stores every file that it is sent, and does not report that it had another.
        Then the upload overwrites, also with V(keep) and V(fail), what another client stores after the module has
        listed what is stored, the first of two files of one instance in O(src), and an instance whose patient ID only
        Orthanc can read.
      - A series, study or patient whose only instance is replaced is a new one for Orthanc. Labels, metadata of
        users and the protection of the patient are restored. Other attachments would be lost, so such an
        instance is not replaced, and the module fails in the end. What Orthanc sets itself, such as
        C(ReceptionDate) or C(AnonymizedFrom), is that of the new file.
    type: str
    choices: [keep, replace, fail]
    default: keep
  junk:
    description:
      - What to do with files that are not DICOM files or that Orthanc cannot read. V(report) lists them in the
        result and continues. V(fail) does the same, and fails in the end.
      - A C(DICOMDIR) is ignored.
    type: str
    choices: [report, fail]
    default: report
  threads:
    description: How many files are sent at the same time.
    type: int
    default: 4
  progress_file:
    description:
      - A file on the host on which the module runs for the progress as a JSON object, rewritten every second. It has
        only numbers, and C(state), which is V(running), V(done) or V(failed).
      - Ansible itself shows nothing before a module ends. See the examples.
    type: path
notes:
  - Every minute the progress is written to the system's log.
  - More O(threads) may be slower where Orthanc has few threads (C(HttpThreadsCount)) or idle connections of another
    client.
seealso:
  - module: lightbox.pacs.orthanc_study_info
"""

EXAMPLES = r"""
- name: Upload a directory of the controller
  lightbox.pacs.orthanc_upload:
    url: https://pacs.example.org/pacs
    url_username: admin
    url_password: "{{ pacs_password }}"
    src: /data/old-archive
  delegate_to: localhost

- name: Upload a zip file, and fail when anything else is in it
  lightbox.pacs.orthanc_upload:
    url: http://127.0.0.1:8042
    src: /srv/import/study.zip
    junk: fail
    different: fail

# A large upload that shows where it is.
- name: Start the upload
  lightbox.pacs.orthanc_upload:
    url: http://127.0.0.1:8042
    src: /mnt/old-archive
    progress_file: /run/upload.json
  async: 86400
  poll: 0
  register: upload_job

- name: Show how far the upload is, and wait for it
  ansible.builtin.command: cat /run/upload.json
  register: upload_progress
  changed_when: false
  until: (upload_progress.stdout | from_json).state != 'running'
  retries: 8640
  delay: 10

- name: Take its result
  ansible.builtin.async_status:
    jid: "{{ upload_job.ansible_job_id }}"
  register: upload
  until: upload is finished
"""

RETURN = r"""
upload:
  description: What was done, or would be in check mode.
  returned: always
  type: dict
  contains:
    found:
      description: Number of instances in O(src).
      type: int
      sample: 300
    sent:
      description: Number of instances that Orthanc did not have and that were stored.
      type: int
      sample: 12
    replaced:
      description: Number of instances of which Orthanc had another content, and that were replaced.
      type: int
      sample: 0
    present:
      description: Number of instances that were there.
      type: int
      sample: 288
    different:
      description: The first hundred files of which Orthanc has another content.
      type: list
      elements: str
      sample: []
    different_count:
      description: Number of these.
      type: int
      sample: 0
    junk:
      description: The first hundred files that are not DICOM files or that Orthanc cannot read, each with why.
      type: list
      elements: str
      sample: [/data/old-archive/readme.txt is not a DICOM file]
    junk_count:
      description: Number of these.
      type: int
      sample: 1
    failed:
      description: The first hundred files that could not be read or that Orthanc did not store, each with why.
      type: list
      elements: str
      sample: []
    failed_count:
      description: Number of these. Where it is not V(0) the module fails.
      type: int
      sample: 0
    kept:
      description:
        - With O(different=replace), each directory with what could not be restored or may not stay in Orthanc, as a
          sentence with the file, the reason and what to do. The message of the failure contains all of them, too.
      type: list
      elements: str
      sample: []
    studies:
      description: Orthanc's identifiers of the studies to which the instances belong, the first thousand of them.
      type: list
      elements: str
      sample: [95157c93-1e751764-e278a968-bbcdf1d0-205e019c]
    studies_count:
      description: Number of these.
      type: int
      sample: 1
    bytes_sent:
      description: Bytes of the instances that were stored.
      type: int
      sample: 6310968
    seconds:
      description: How long it took.
      type: float
      sample: 0.8
    megabytes_per_second:
      description: Rate of what was sent.
      type: float
      sample: 7.9
    requests:
      description: Number of HTTP requests.
      type: int
      sample: 14
"""

import os
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Orthanc, OrthancError, connection_spec
from ansible_collections.lightbox.pacs.plugins.module_utils._upload import MEGABYTE, Options, Progress, Upload

SHOWN = 1000  # studies in a result


def build_result(upload: Upload, progress: Progress) -> dict[str, Any]:
    tally = upload.tally
    return {
        "found": tally.found,
        "sent": tally.sent,
        "replaced": tally.replaced,
        "present": tally.present,
        "different": sorted(tally.different.first),
        "different_count": tally.different.count,
        "junk": sorted(tally.junk.first),
        "junk_count": tally.junk.count,
        "failed": sorted(tally.failed.first),
        "failed_count": tally.failed.count,
        "kept": sorted(tally.kept),
        "studies": sorted(upload.study_ids)[:SHOWN],
        "studies_count": len(tally.studies),
        "bytes_sent": tally.bytes_sent,
        "seconds": round(progress.seconds, 2),
        "megabytes_per_second": round(tally.bytes_sent / MEGABYTE / max(progress.seconds, 0.001), 1),
        "requests": upload.requests,
    }


def build_diff(upload: Upload) -> dict[str, str]:
    studies = sorted(upload.tally.studies.items())[:SHOWN]

    def format_lines(which: int) -> str:
        return "".join(f"study {uid}: {counts[which]} of {counts[1]} instances\n" for uid, counts in studies)

    return {"before": format_lines(0), "after": format_lines(1)}


def describe_failure(upload: Upload, options: dict[str, Any]) -> str | None:
    """Why the module fails, and all that is not in Orthanc because of that; None where it does not fail."""
    first = describe_cause(upload, options) or ""
    return " ".join(filter(None, [first, *(text for text in upload.tally.kept if text not in first)])) or None


def describe_cause(upload: Upload, options: dict[str, Any]) -> str | None:
    tally = upload.tally
    if upload.stopped_by is not None:
        return f"{upload.stopped_by} Before that {tally.sent} instances were sent, which stay."
    if tally.failed.count:
        return f"{tally.failed.count} files did not get into Orthanc. The first: {tally.failed.first[0]}."
    if tally.junk.count and options["junk"] == "fail":
        return f"{tally.junk.count} files are not DICOM files. The first: {tally.junk.first[0]}."
    if tally.different.count and options["different"] == "fail":
        first = tally.different.first[0]
        return f"Orthanc has another content of {tally.different.count} instances. The first: {first}."
    return None


def main() -> None:
    module = Module(
        argument_spec=dict(
            connection_spec(),
            src={"type": "path", "required": True},
            recursive={"type": "bool", "default": True},
            compare={"type": "str", "choices": ["hash", "size", "uid"], "default": "hash"},
            different={"type": "str", "choices": ["keep", "replace", "fail"], "default": "keep"},
            junk={"type": "str", "choices": ["report", "fail"], "default": "report"},
            threads={"type": "int", "default": 4},
            progress_file={"type": "path"},
        ),
        supports_check_mode=True,
    )
    src = module.params["src"]
    if not os.path.exists(src):
        module.fail_json(msg=f"src is '{src}', which is not there. Is it a path of the host on which the module runs?")
    if not 1 <= module.params["threads"] <= 64:
        module.fail_json(msg=f"threads is {module.params['threads']}. Set it to a number from 1 to 64.")
    progress = Progress(module.params["progress_file"], module.log)
    options = Options(
        compare=module.params["compare"],
        different=module.params["different"],
        threads=module.params["threads"],
        recursive=module.params["recursive"],
        check_mode=module.check_mode,
    )
    try:
        upload = Upload(Orthanc(module.params), options, progress)
    except OrthancError as error:
        module.fail_json(msg=str(error))
    upload.run(src)
    tally = upload.tally
    if tally.different.count and options.different == "keep":
        module.warn(
            f"Orthanc has another content of {tally.different.count} instances, which was kept; see different in "
            "the result, and the option different."
        )
    outcome = {
        "changed": bool(tally.sent or tally.replaced),
        "upload": build_result(upload, progress),
        "diff": build_diff(upload),
    }
    failure = describe_failure(upload, module.params)
    if failure:
        module.fail_json(msg=failure, **outcome)
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
