#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_files_verify
short_description: Verify Orthanc's files against an earlier index
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Queries Orthanc for the MD5 of every instance in an old SQLite index and compares both.
  - Then lets Orthanc read each file from its storage and compute the MD5 again, which takes as long as reading all
    images.
  - Instances that were stored later are not compared. It changes nothing.
  - When Orthanc deletes an instance, it removes the file, too. So an instance that is gone with its file was deleted
    (or replaced by another one, under another file), which O(deleted) judges. One that is gone while its file is still
    in the storage is lost, and always fails; so does one whose file is missing or differs.
  - Files are searched beside the index. Where no file can be (no folder of a storage is there, as with all images in
    a bucket), or where the server cannot read it, an instance that is gone always fails.
  - It fails when the old index cannot be read to its end.
extends_documentation_fragment: lightbox.pacs.orthanc
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  index:
    description: Path of the old SQLite index. No running Orthanc may use it.
    type: path
    required: true
  files:
    description: Whether the files are read, too. V(false) compares only the indexes.
    type: bool
    default: true
  threads:
    description: How many instances are queried at the same time.
    type: int
    default: 4
  deleted:
    description:
      - What to do when instances are gone with their files. V(fail) right after the index was copied, when no
        client can have deleted any; V(report) later.
      - Files in a bucket are not searched. V(fail) where some images are in one.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: lightbox.pacs.orthanc_index_copy
"""

EXAMPLES = r"""
- name: Compare every image with the index that Orthanc had before
  lightbox.pacs.orthanc_files_verify:
    url: http://127.0.0.1:8042
    url_username: reverse_proxy
    url_password: "{{ password }}"
    index: /var/lib/lightbox/orthanc/index.before-postgresql
"""

RETURN = r"""
instances:
  description: How many instances were compared. Without those in RV(deleted_count) all of them are equal.
  returned: success
  type: int
  sample: 1000
deleted_count:
  description: How many instances were deleted or replaced since, their files with them.
  returned: when every instance was compared
  type: int
  sample: 0
deleted:
  description: Up to 20 of them, each with what happened to it.
  returned: when every instance was compared
  type: list
  elements: str
  sample: []
wrong:
  description: Up to 20 instances that differ or are missing, each with what is wrong.
  returned: when every instance was compared, and some are not what they were
  type: list
  elements: str
  sample: []
"""

import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)

INSTANCES = "FROM Resources r JOIN AttachedFiles a ON a.id = r.internalId WHERE r.resourceType = 4 AND a.fileType = 1"


class Work:
    """The instances of the old index, distributed to threads."""

    def __init__(self, params: dict[str, Any], rows: Iterator[tuple[str, str, str]]) -> None:
        self.params, self.rows = params, rows
        self.archive = Orthanc(params)
        self.lock = threading.Lock()
        self.checked = 0
        self.wrong: list[str] = []
        self.deleted: list[str] = []
        self.broken: Exception | None = None
        self.storage = os.path.dirname(os.path.abspath(params["index"]))
        with os.scandir(self.storage) as found:
            self.has_storage = any(re.fullmatch("[0-9a-f]{2}", one.name) and one.is_dir() for one in found)

    def take_row(self) -> tuple[str, str, str] | None:
        with self.lock:
            return None if self.broken else next(self.rows, None)

    def run(self) -> None:
        try:
            with contextlib.closing(self.archive.clone()) as archive:
                while row := self.take_row():
                    name, expected, file = row
                    wrong, deleted = self.compare(archive, name, expected, file)
                    with self.lock:
                        self.checked += 1
                        if wrong:
                            self.wrong.append(f"{name} {wrong}")
                        if deleted:
                            self.deleted.append(f"{name} {deleted}")
        except Exception as error:  # whatever ends a thread must end the comparison: the others would look complete
            with self.lock:
                self.broken = self.broken or error

    def find_kept_file(self, file: str) -> str:
        """Return why a missing instance was not deleted with its file: it is there, or cannot be searched; or ""."""
        if not self.has_storage:
            return f"has no storage beside the old index, in which its file {file} could be looked for"
        for place in (os.path.join(file[:2], file[2:4], file), os.path.join("orphaned", file)):
            try:
                os.stat(os.path.join(self.storage, place))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                return f"has the file {file}, which the server cannot read: {error.strerror}"
            return f"still has its file {file}"
        return ""

    def compare(self, archive: Orthanc, name: str, expected: str, file: str) -> tuple[str, str]:
        """Return what is wrong with one instance, and how it was deleted; each "" where it is not so."""
        path = build_path("instances", name, "attachments", "dicom")
        deleted = ""
        try:
            found = archive.get_text(path + "/md5")
            if found != expected:
                now = archive.find(path + "/info") or {}
                if now.get("Uuid", file) == file or self.find_kept_file(file):
                    return f"has the MD5 {found} in Orthanc, and {expected} in the old index", ""
                deleted = "was replaced by another file"
            if self.params["files"]:
                archive.request("POST", path + "/verify-md5")
        except OrthancError as error:
            if error.status not in (404, 500):
                raise
            # 404: not in the index; of verify-md5: the file's content is another. 500: the file cannot be read.
            if error.status == 404 and archive.find(build_path("instances", name)) is None:
                if kept := self.find_kept_file(file):
                    return f"is missing in Orthanc, which {kept}", ""
                return "", "is not in Orthanc any more, and neither is its file"
            return "is missing, or its file is not what it was", ""
        return "", deleted


def main() -> None:
    module = Module(
        argument_spec={
            **connection_spec(),
            "index": {"type": "path", "required": True},
            "files": {"type": "bool", "default": True},
            "threads": {"type": "int", "default": 4},
            "deleted": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        },
        supports_check_mode=True,
    )
    try:
        # immutable: no file is made beside it. One connection for all threads: `next` is called under a lock.
        index = sqlite3.connect(f"file:{module.params['index']}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        expected = index.execute(f"SELECT count(*) {INSTANCES}").fetchone()[0]
        rows = index.execute(f"SELECT r.publicId, a.uncompressedMD5, a.uuid {INSTANCES}")
        work = Work(module.params, rows)
        work.archive.get("/changes", {"last": ""})  # one clear message where Orthanc does not answer
        threads = [threading.Thread(target=work.run) for _unused in range(max(1, module.params["threads"]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if work.broken:
            raise work.broken
        if work.checked != expected:
            raise sqlite3.DatabaseError(f"it has {expected} instances, and {work.checked} could be read")
    except sqlite3.Error as error:
        module.fail_json(
            msg=f"orthanc_files_verify: the old index {module.params['index']} cannot be read to its end: {error}. "
            "So whether Orthanc has every image is unknown. The old index is kept."
        )
    except Exception as error:
        reason = str(error) if isinstance(error, OrthancError) else f"{type(error).__name__}: {error}"
        module.fail_json(msg=f"orthanc_files_verify: {reason}")
    counts = {
        "instances": work.checked,
        "deleted_count": len(work.deleted),
        "deleted": sorted(work.deleted)[:20],
    }
    wrong = sorted(work.wrong) + (sorted(work.deleted) if module.params["deleted"] == "fail" else [])
    if wrong:
        module.fail_json(
            msg=f"orthanc_files_verify: {len(wrong)} of {work.checked} instances are not what they were. "
            "The old index is kept.",
            wrong=wrong[:20],
            **counts,
        )
    module.exit_json(changed=False, **counts)


if __name__ == "__main__":
    main()
