#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_files_verify
short_description: Compare every image of an archive with an index that it had before
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Asks the archive for the MD5 of every instance that stands in an old SQLite index and compares both.
  - Then lets the archive read each file from its storage and compute the MD5 anew. That takes as long as reading all
    images.
  - Instances that came later are not looked at. It changes nothing.
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
    description: Path of the old SQLite index. No archive may use it.
    type: path
    required: true
  files:
    description: Whether the files are read, too. V(false) compares what the indexes say.
    type: bool
    default: true
  threads:
    description: How many instances are asked for at the same time.
    type: int
    default: 4
seealso:
  - module: lightbox.pacs.orthanc_index_copy
"""

EXAMPLES = r"""
- name: Compare every image with the index that the archive had before
  lightbox.pacs.orthanc_files_verify:
    url: http://127.0.0.1:8042
    url_username: gateway
    url_password: "{{ password }}"
    index: /var/lib/lightbox/orthanc/index.before-postgresql
"""

RETURN = r"""
instances:
  description: How many instances were compared, all of them equal.
  returned: success
  type: int
  sample: 1000
wrong:
  description: Up to 20 instances that differ or are missing, each with what is wrong.
  returned: failure
  type: list
  elements: str
  sample: []
"""

import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    connection_spec,
    route,
)


class Work:
    """The instances of the old index, shared out to threads."""

    def __init__(self, params: dict[str, Any], rows: Iterator[tuple[str, str]]) -> None:
        self.params, self.rows = params, rows
        self.archive = Orthanc(params)
        self.lock = threading.Lock()
        self.checked = 0
        self.wrong: list[str] = []
        self.broken: OrthancError | None = None

    def next(self) -> tuple[str, str] | None:
        with self.lock:
            return None if self.broken else next(self.rows, None)

    def run(self) -> None:
        connection = self.archive.connection()
        try:
            while row := self.next():
                name, expected = row
                wrong = self.compare(connection, name, expected)
                with self.lock:
                    self.checked += 1
                    if wrong:
                        self.wrong.append(f"{name} {wrong}")
        except OrthancError as error:
            with self.lock:
                self.broken = error
        finally:
            connection.close()

    def compare(self, connection: Any, name: str, expected: str) -> str:
        """What is wrong with one instance; "" where nothing is."""
        path = route("instances", name, "attachments", "dicom")
        try:
            found = connection.send("GET", path + "/md5").decode().strip()
            if found != expected:
                return f"has the MD5 {found} in the archive, and {expected} in the old index"
            if self.params["files"]:
                connection.send("POST", path + "/verify-md5")
        except OrthancError as error:
            # 404: not in the index; of verify-md5: the file's content is another. 500: the file cannot be read.
            if error.status in (404, 500):
                return "is missing, or its file is not what it was"
            raise
        return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "index": {"type": "path", "required": True},
            "files": {"type": "bool", "default": True},
            "threads": {"type": "int", "default": 4},
        },
        supports_check_mode=True,
    )
    try:
        # immutable: no file is made beside it. One connection for all threads: `next` is called under a lock.
        index = sqlite3.connect(f"file:{module.params['index']}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        rows = index.execute(
            "SELECT r.publicId, a.uncompressedMD5 FROM Resources r JOIN AttachedFiles a ON a.id = r.internalId "
            "WHERE r.resourceType = 4 AND a.fileType = 1"
        )
        work = Work(module.params, rows)
        work.archive.get("/changes", {"last": ""})  # one clear message where the archive does not answer
        threads = [threading.Thread(target=work.run) for _unused in range(max(1, module.params["threads"]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if work.broken:
            raise work.broken
    except (OrthancError, sqlite3.Error) as error:
        module.fail_json(msg=f"orthanc_files_verify: {error}")
    if work.wrong:
        module.fail_json(
            msg=f"orthanc_files_verify: {len(work.wrong)} of {work.checked} instances are not what they were. "
            "The old index is kept.",
            instances=work.checked,
            wrong=sorted(work.wrong)[:20],
        )
    module.exit_json(changed=False, instances=work.checked)


if __name__ == "__main__":
    main()
