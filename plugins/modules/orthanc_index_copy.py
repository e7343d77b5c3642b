#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names of tables are constants
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_index_copy
short_description: Copy Orthanc's index from SQLite to PostgreSQL
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Copies every row of a stopped Orthanc's SQLite index into the tables that its PostgreSQL plugin has created. The
    images stay where they are.
  - All of it is one transaction, with a record of what was copied. A copy that is interrupted anywhere leaves nothing
    behind, and the next call starts again. A finished copy is found by that record, and is not repeated.
  - Before the transaction ends every row is read back from PostgreSQL and compared with what SQLite has (count
    and sum of hashes for each table), and the counts and sizes with those of SQLite's own tables.
  - The SQLite index is only read. Where Orthanc was killed, SQLite first completes the file from its log, as
    Orthanc would; in check mode it completes a copy, which is removed again.
requirements:
  - psycopg2 on the server (Debian's python3-psycopg2)
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  index:
    description: Path of the SQLite index, the file C(index) in Orthanc's directory. Orthanc must not run.
    type: path
    required: true
  server:
    description:
      - Orthanc's C(DatabaseServerIdentifier), under which PostgreSQL keeps what belongs to this Orthanc, such as
        modalities.
    type: str
    required: true
  host:
    description: Name of the database's server, as its certificate says it.
    type: str
    required: true
  address:
    description: IP address to reach it at. Empty asks DNS for O(host).
    type: str
    default: ""
  port:
    description: Its port.
    type: int
    default: 5432
  database:
    description: Name of the database.
    type: str
    required: true
  user:
    description: Name of the user that owns the tables.
    type: str
    required: true
  password:
    description: The user's password.
    type: str
    required: true
  sslmode:
    description: How the database's certificate is checked.
    type: str
    choices: [verify-full, verify-ca]
    default: verify-full
  ca:
    description: Path, on the server, of the file with the CAs that may have signed it.
    type: path
    required: true
notes:
  - Knows the tables of schema revision 1 (plugin 5.0 of Debian 13) and 10 (plugin 10.x of the image
    orthancteam/orthanc). Others are refused.
seealso:
  - module: lightbox.pacs.orthanc_files_verify
"""

EXAMPLES = r"""
- name: Copy the index
  lightbox.pacs.orthanc_index_copy:
    index: /var/lib/lightbox/orthanc/index
    server: lightbox
    host: database.example.org
    database: orthanc
    user: orthanc
    password: "{{ database_password }}"
    ca: /etc/lightbox/postgresql/ca.pem
"""

RETURN = r"""
rows:
  description: How many rows each table has.
  returned: success
  type: dict
  sample: {resources: 1234, attachedfiles: 2345}
instances:
  description: How many instances the index has.
  returned: success
  type: int
  sample: 1000
digest:
  description: Sum of the hashes of all instances (identifier, file, MD5 of its content), the same on both sides.
  returned: success
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b
seconds:
  description: How long the copy took.
  returned: success
  type: float
  sample: 12.5
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module

try:
    import psycopg2
except ImportError:
    PSYCOPG2_ERROR: str | None = traceback.format_exc()
else:
    PSYCOPG2_ERROR = None

REVISIONS = (1, 10)
TABLES = (
    *("Labels", "Changes", "ExportedResources", "AttachedFiles", "Metadata", "DicomIdentifiers", "MainDicomTags"),
    *("PatientRecyclingOrder", "InvalidChildCounts", "GlobalIntegersChanges", "KeyValueStores", "Queues", "Resources"),
)
LOCK = 0x6C62_7063  # one copy at a time
# SQLite numbers the levels 1 to 4, the plugins 0 to 3.
LEVEL = "resourceType - 1"
INSTANCE = 4
# Properties of the index itself, which each database says for itself; the sequence of anonymisations is shared by all.
OWN_PROPERTIES = (1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
SHARED_PROPERTIES = (3,)


class CopyError(Exception):
    """Why nothing was copied, in words for the operator."""


def field(value: Any) -> bytes:
    r"""A value as PostgreSQL's COPY writes it: \N for null, \x… for bytes, and its escapes in text."""
    if value is None:
        return b"\\N"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, memoryview):
        return b"\\\\x" + bytes(value).hex().encode()
    text = value if isinstance(value, bytes) else str(value).encode()
    if b"\\" in text:
        text = text.replace(b"\\", b"\\\\")
    for plain, escaped in (
        (b"\b", b"\\b"),
        (b"\f", b"\\f"),
        (b"\n", b"\\n"),
        (b"\r", b"\\r"),
        (b"\t", b"\\t"),
        (b"\v", b"\\v"),
    ):
        if plain in text:
            text = text.replace(plain, escaped)
    return text.replace(b"\0", b"")  # PostgreSQL has no such character


class Digest:
    """Count and sum of hashes of lines, whatever their order."""

    def __init__(self) -> None:
        self.count = self.sum = 0

    def add(self, line: bytes) -> None:
        self.count += 1
        self.sum = (self.sum + int.from_bytes(hashlib.md5(line, usedforsecurity=False).digest(), "big")) % (1 << 128)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and (self.count, self.sum) == (other.count, other.sum)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.sum:032x}"


class Source:
    """Rows of SQLite as a file that COPY reads; counts and hashes them on their way."""

    def __init__(self, rows: Iterable[tuple]) -> None:
        self.rows: Iterator[tuple] = iter(rows)
        self.digest = Digest()
        self.left = b""

    def read(self, size: int = -1) -> bytes:
        parts, length = [self.left], len(self.left)
        while size < 0 or length < size:
            row = next(self.rows, None)
            if row is None:
                break
            line = b"\t".join(map(field, row)) + b"\n"
            self.digest.add(line)
            parts.append(line)
            length += len(line)
        whole = b"".join(parts)
        if size < 0:
            self.left = b""
            return whole
        self.left = whole[size:]
        return whole[:size]


class Sink:
    """A file that COPY writes; counts and hashes the lines."""

    def __init__(self) -> None:
        self.digest = Digest()
        self.left = b""

    def write(self, data: bytes | memoryview) -> None:
        lines = (self.left + bytes(data)).split(b"\n")
        self.left = lines.pop()
        for line in lines:
            self.digest.add(line + b"\n")


def fingerprint(path: str) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            total.update(block)
    return total.hexdigest()


def has_log(path: str) -> bool:
    return os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0


@contextlib.contextmanager
def copied(path: str, directory: str) -> Iterator[str]:
    """A copy of the index, for check mode, which must not complete the real one from its log."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        copy = os.path.join(place, "index")
        for end in ("", "-wal"):
            if os.path.exists(path + end):
                shutil.copy(path + end, copy + end)
        yield copy


def open_index(path: str) -> sqlite3.Connection:
    """The index, completed from its log where Orthanc was killed, and never written otherwise."""
    if has_log(path):
        owner = os.stat(path)
        with_log = sqlite3.connect(path, isolation_level=None, timeout=5)
        with_log.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with_log.close()
        for name in (path, path + "-wal", path + "-shm"):
            if os.path.exists(name):
                os.chown(name, owner.st_uid, owner.st_gid)
    # immutable: no file is made beside it, and it is known that nobody writes.
    index = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    index.text_factory = bytes
    return index


class Copy:
    def __init__(self, index: sqlite3.Connection, cursor: Any, server: str) -> None:
        self.index, self.cursor, self.server = index, cursor, server
        self.rows: dict[str, int] = {}

    def ask(self, question: str, *values: Any) -> Any:
        """The first value of the first row of PostgreSQL's answer; None where there is none."""
        self.cursor.execute(question, values)
        row = self.cursor.fetchone()
        return row[0] if row else None

    def ask_index(self, question: str) -> Any:
        row = self.index.execute(question).fetchone()
        return row[0] if row else None

    def columns(self, table: str) -> set[str]:
        self.cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s",
            (table,),
        )
        return {row[0] for row in self.cursor.fetchall()}

    def index_columns(self, table: str) -> set[str]:
        return {row[1].decode().lower() for row in self.index.execute(f"PRAGMA table_info({table})")}

    def check(self) -> None:
        """Refuse what this module does not know, before it writes anything."""
        if not self.columns("globalproperties"):
            raise CopyError("the database has no tables yet: Orthanc's plugin makes them at its first start there")
        version = self.ask("SELECT value FROM GlobalProperties WHERE property = 1")
        revision = int(self.ask("SELECT value FROM GlobalProperties WHERE property = 4") or 0)
        if version != "6" or revision not in REVISIONS:
            raise CopyError(
                f"the tables in the database have version {version}, revision {revision}, unknown to this module"
            )
        if self.ask_index("SELECT value FROM GlobalProperties WHERE property = 1") != b"6":
            raise CopyError("the index is of another version than 6; start Orthanc once with a current image")
        for table in ("KeyValueStores", "Queues"):
            if (
                self.index_columns(table)
                and self.ask_index(f"SELECT count(*) FROM {table}")
                and not self.columns(table.lower())
            ):
                raise CopyError(
                    f"the index keeps data of plugins ({table}), for which this plugin's database has no place"
                )

    def clear(self) -> None:
        """Take out what an earlier copy of another state of the index brought."""
        tables = [table for table in TABLES if self.columns(table.lower())]
        self.cursor.execute(f"TRUNCATE {', '.join(tables)}")

    def table(self, name: str, source: str, target: list[str], condition: str = "true") -> None:
        """Copy what `source` selects from SQLite, and compare with what is there afterwards."""
        words = ", ".join(target)
        stream = Source(self.index.execute(source))
        self.cursor.copy_expert(f"COPY {name} ({words}) FROM STDIN", stream)
        back = Sink()
        self.cursor.copy_expert(f"COPY (SELECT {words} FROM {name} WHERE {condition}) TO STDOUT", back)
        if stream.digest != back.digest:
            raise CopyError(
                f"table {name}: {stream.digest.count} rows were read and {back.digest.count} are there, "
                "or their content differs"
            )
        self.rows[name.lower()] = self.rows.get(name.lower(), 0) + back.digest.count

    def run(self) -> None:
        triggered = ("resources", "attachedfiles", "changes")
        for table in triggered:  # they would count each row alone; the sums follow below
            self.cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        has = {
            name: self.columns(name)
            for name in ("resources", "metadata", "attachedfiles", "patientrecyclingorder", "queues")
        }
        children = ["childCount"] if "childcount" in has["resources"] else []
        self.table(
            "Resources",
            f"SELECT internalId, {LEVEL}, publicId, parentId"
            + (", (SELECT count(*) FROM Resources c WHERE c.parentId = r.internalId)" if children else "")
            + " FROM Resources r ORDER BY resourceType, internalId",
            ["internalId", "resourceType", "publicId", "parentId", *children],
        )
        for table in ("MainDicomTags", "DicomIdentifiers"):
            self.table(
                table, f"SELECT id, tagGroup, tagElement, value FROM {table}", ["id", "tagGroup", "tagElement", "value"]
            )
        revision = "coalesce(revision, 0)" if "revision" in self.index_columns("Metadata") else "0"
        self.table("Metadata", f"SELECT id, type, value, {revision} FROM Metadata", ["id", "type", "value", "revision"])
        self._files(has["attachedfiles"])
        self.table(
            "Changes",
            f"SELECT seq, changeType, internalId, {LEVEL}, date FROM Changes",
            ["seq", "changeType", "internalId", "resourceType", "date"],
        )
        words = [
            "publicId",
            "remoteModality",
            "patientId",
            "studyInstanceUid",
            "seriesInstanceUid",
            "sopInstanceUid",
            "date",
        ]
        self.table(
            "ExportedResources",
            f"SELECT seq, {LEVEL}, {', '.join(words)} FROM ExportedResources",
            ["seq", "resourceType", *words],
        )
        if self.index_columns("Labels"):
            self.table("Labels", "SELECT id, label FROM Labels", ["id", "label"])
        self._order(bool(has["patientrecyclingorder"]))
        for table, words in (("KeyValueStores", ["storeId", "key", "value"]), ("Queues", ["id", "queueId", "value"])):
            if self.columns(table.lower()) and self.index_columns(table):
                rows = self.index.execute(f"SELECT {', '.join(words)} FROM {table}")
                self._blobs(table, ((*row[:-1], memoryview(row[-1])) for row in rows), words)
        self._properties()
        self._sums()
        self._sequences()
        for table in triggered:
            self.cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    def _blobs(self, table: str, rows: Iterable[tuple], words: list[str]) -> None:
        stream = Source(rows)
        self.cursor.copy_expert(f"COPY {table} ({', '.join(words)}) FROM STDIN", stream)
        if self.ask(f"SELECT count(*) FROM {table}") != stream.digest.count:
            raise CopyError(f"table {table}: not every row arrived")
        self.rows[table.lower()] = stream.digest.count

    def _files(self, has: set[str]) -> None:
        found = self.index_columns("AttachedFiles")
        target = [
            "id",
            "fileType",
            "uuid",
            "compressedSize",
            "uncompressedSize",
            "compressionType",
            "uncompressedHash",
            "compressedHash",
            "revision",
        ]
        revision = "coalesce(revision, 0)" if "revision" in found else "0"
        source = (
            "id, fileType, uuid, compressedSize, uncompressedSize, compressionType, uncompressedMD5, compressedMD5, "
        )
        source += revision
        if "customdata" in found and self.ask_index("SELECT count(*) FROM AttachedFiles WHERE length(customData) > 0"):
            if "customdata" not in has:
                raise CopyError(
                    "the index keeps data of a storage plugin, for which this plugin's database has no place"
                )
            target.append("customData")
            source += ", CASE WHEN length(customData) > 0 THEN '\\x' || lower(hex(customData)) END"
        self.table("AttachedFiles", f"SELECT {source} FROM AttachedFiles", target)

    def _order(self, as_table: bool) -> None:
        """In which order patients would be recycled; who is not in it is protected. Metadata since revision 6."""
        if as_table:
            self.table(
                "PatientRecyclingOrder", "SELECT seq, patientId FROM PatientRecyclingOrder", ["seq", "patientId"]
            )
            return
        patients = (
            "FROM Resources p LEFT JOIN PatientRecyclingOrder o ON o.patientId = p.internalId WHERE p.resourceType = 1"
        )
        kept = self.ask_index("SELECT count(*) FROM Metadata WHERE type IN (18, 19)")
        if kept == 0:
            stream = Source(self.index.execute(
                "SELECT p.internalId, 18, 'true', 0 " + patients + " AND o.seq IS NULL UNION ALL "
                "SELECT p.internalId, 19, coalesce(o.seq, 0), 0 " + patients
            ))  # fmt: skip
            self.cursor.copy_expert("COPY Metadata (id, type, value, revision) FROM STDIN", stream)
        self.cursor.execute(
            "SELECT setval('PatientRecyclingOrderSequence', %s)",
            (max(1, self.ask_index("SELECT max(seq) FROM PatientRecyclingOrder") or 1),),
        )

    def _properties(self) -> None:
        values = {row[0]: row[1].decode() for row in self.index.execute("SELECT property, value FROM GlobalProperties")}
        if self.index_columns("ServerProperties"):
            values |= {
                row[0]: row[1].decode() for row in self.index.execute("SELECT property, value FROM ServerProperties")
            }
        for number, value in values.items():
            if number in SHARED_PROPERTIES:
                self.cursor.execute("DELETE FROM GlobalProperties WHERE property = %s", (number,))
                self.cursor.execute("INSERT INTO GlobalProperties VALUES (%s, %s)", (number, value))
            elif number not in OWN_PROPERTIES:
                self.cursor.execute(
                    "DELETE FROM ServerProperties WHERE server = %s AND property = %s", (self.server, number)
                )
                self.cursor.execute("INSERT INTO ServerProperties VALUES (%s, %s, %s)", (self.server, number, value))

    def _sums(self) -> None:
        """What the triggers would have counted.

        0, 1: sizes; 2 to 5: resources of each level; 6: the last change; 7: the last in the order of patients.
        """
        self.cursor.execute("SELECT key FROM GlobalIntegers")
        keys = {row[0] for row in self.cursor.fetchall()}
        values = {
            0: self.ask_index("SELECT coalesce(sum(compressedSize), 0) FROM AttachedFiles"),
            1: self.ask_index("SELECT coalesce(sum(uncompressedSize), 0) FROM AttachedFiles"),
            6: self._last("Changes"),
            7: self._last("PatientRecyclingOrder"),
        }
        for level in range(4):
            values[2 + level] = self.ask_index(f"SELECT count(*) FROM Resources WHERE resourceType = {level + 1}")
        for key, value in values.items():
            if key in keys:
                self.cursor.execute("UPDATE GlobalIntegers SET value = %s WHERE key = %s", (value, key))

    def _last(self, table: str) -> int:
        """The last number that SQLite gave in a table, also where its row is gone."""
        given = self.ask_index(f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'")
        return max(int(given or 0), self.ask_index(f"SELECT coalesce(max(seq), 0) FROM {table}"))

    def _sequences(self) -> None:
        last = {
            ("resources", "internalid"): self.ask_index(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'Resources'"
            ),
            ("changes", "seq"): self._last("Changes"),
            ("exportedresources", "seq"): self._last("ExportedResources"),
            ("patientrecyclingorder", "seq"): self._last("PatientRecyclingOrder"),
        }
        for (table, column), value in last.items():
            if self.columns(table):
                self.cursor.execute(
                    "SELECT setval(pg_get_serial_sequence(%s, %s), %s, %s)", (table, column, max(value, 1), value > 0)
                )
        if self.rows.get("queues"):
            self.cursor.execute("SELECT setval(pg_get_serial_sequence('queues', 'id'), (SELECT max(id) FROM Queues))")

    def stored(self) -> Digest:
        """Every instance of the database, with its file and hash."""
        back = Sink()
        self.cursor.copy_expert(
            "COPY (SELECT r.publicId, a.uuid, a.uncompressedSize, a.uncompressedHash FROM Resources r "
            "JOIN AttachedFiles a ON a.id = r.internalId AND a.fileType = 1 WHERE r.resourceType = 3) TO STDOUT",
            back,
        )
        return back.digest

    def instances(self) -> Digest:
        """Every instance with its file and hash, compared on both sides."""
        stream = Source(
            self.index.execute(
                "SELECT r.publicId, a.uuid, a.uncompressedSize, a.uncompressedMD5 FROM Resources r "
                f"JOIN AttachedFiles a ON a.id = r.internalId AND a.fileType = 1 WHERE r.resourceType = {INSTANCE}"
            )
        )
        while stream.read(1 << 20):
            pass
        stored = self.stored()
        if stream.digest != stored:
            raise CopyError(
                f"SQLite has {stream.digest.count} instances, the database {stored.count}, or their hashes differ"
            )
        return stored


def copy(module: AnsibleModule, connection: Any) -> dict[str, Any]:
    path = module.params["index"]
    if module.check_mode and has_log(path):
        with copied(path, module.tmpdir) as whole:
            return copy_index(module, connection, whole)
    return copy_index(module, connection, path)


def copy_index(module: AnsibleModule, connection: Any, path: str) -> dict[str, Any]:
    begun = time.monotonic()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        index = open_index(path)
        try:
            work = Copy(index, cursor, module.params["server"])
            work.check()
            mark = fingerprint(path)
            if not module.check_mode:
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS lightbox_migrated "
                    "(fingerprint TEXT, instances BIGINT, digest TEXT, finished TIMESTAMPTZ)"
                )
            known = work.ask("SELECT fingerprint FROM lightbox_migrated") if work.columns("lightbox_migrated") else None
            if known is None and work.ask("SELECT EXISTS (SELECT 1 FROM Resources)"):
                raise CopyError("the database has images of Orthanc already; take an empty one")
            changed = known != mark
            if changed and known is not None and work.ask("SELECT digest FROM lightbox_migrated") != str(work.stored()):
                raise CopyError(
                    "the database was used since an index was copied into it, and would lose what came since; "
                    "look which of the two is the right one before you empty the other by hand"
                )
            if changed and not module.check_mode:
                work.clear()
                work.run()
            if changed and module.check_mode:
                count = work.ask_index(f"SELECT count(*) FROM Resources WHERE resourceType = {INSTANCE}")
                return {"changed": True, "rows": {}, "instances": count, "digest": "", "seconds": 0.0}
            digest = work.instances()
            if changed:
                cursor.execute("DELETE FROM lightbox_migrated")
                cursor.execute(
                    "INSERT INTO lightbox_migrated VALUES (%s, %s, %s, now())", (mark, digest.count, str(digest))
                )
        finally:
            index.close()
    if changed:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    return {
        "changed": changed,
        "rows": work.rows,
        "instances": digest.count,
        "digest": str(digest),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    module = Module(
        argument_spec={
            "index": {"type": "path", "required": True},
            "server": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 5432},
            "database": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "sslmode": {"type": "str", "choices": ["verify-full", "verify-ca"], "default": "verify-full"},
            "ca": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    if PSYCOPG2_ERROR:
        module.fail_json(msg=missing_required_lib("psycopg2"), exception=PSYCOPG2_ERROR)
    given = module.params
    try:
        if not os.path.isfile(given["index"]):
            raise CopyError(f"there is no file {given['index']}")
        words = {
            "host": given["host"],
            "hostaddr": given["address"] or None,
            "port": given["port"],
            "dbname": given["database"],
            "user": given["user"],
            "password": given["password"],
            "sslmode": given["sslmode"],
            "sslrootcert": given["ca"],
            "connect_timeout": 10,
            "application_name": "lightbox-index-copy",
        }
        connection = psycopg2.connect(**{name: value for name, value in words.items() if value is not None})
        try:
            result = copy(module, connection)
        finally:
            connection.close()
    except CopyError as error:
        module.fail_json(msg=f"orthanc_index_copy: nothing was copied: {error}.")
    except (OSError, sqlite3.Error, psycopg2.Error) as error:
        module.fail_json(msg=f"orthanc_index_copy: nothing was copied: {str(error).strip()}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
