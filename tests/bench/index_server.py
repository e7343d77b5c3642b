# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of `tests.bench.index` that runs on the server, as root, with nothing but its Python, Docker and DCMTK.

It makes two empty archives beside the one that runs: the same image, the same configuration, one with an index in
SQLite and one with an index in a database of its own in the server's PostgreSQL. Both get the same images in turn, and
both are asked the same in turn. In the end nothing of them is left.

python3 index_server.py DIRECTORY    job.json, slice.dcm, small.dcm lie there, index_rows.py beside this;
                                     JSON to stdout, progress to stderr
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from index_rows import TABLES, Row, copies  # type: ignore[import-not-found]

CONFIGURATION = Path("/opt/lightbox/orthanc/configuration")
WORK = Path("/srv/lightbox-bench")
DATABASE = "lightbox_bench"
PORTS = {"sqlite": (18042, 14243), "postgresql": (18043, 14244)}
CLIENTS = 4
PER_SERIES = 100


class Failure(Exception):
    """What the person at the keyboard is told: one plain sentence."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: str, user: str = "") -> str:
    full = ["runuser", "-u", user, "--", *command] if user else list(command)
    done = subprocess.run(full, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise Failure(f"{command[0]} {command[1]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


class Archive:
    def __init__(self, name: str) -> None:
        self.name = name
        self.http, self.dicom = PORTS[name]
        users = json.loads((CONFIGURATION / "users.json").read_text())["RegisteredUsers"]
        user, password = next(iter(users.items()))
        self.headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        self.local = threading.local()

    def start(self, owner: str) -> None:
        """A container like the one that runs, with a configuration and a storage of its own."""
        running = json.loads(run("docker", "inspect", "lightbox-orthanc"))[0]
        configuration = WORK / self.name / "configuration"
        storage = WORK / self.name / "storage"
        shutil.copytree(CONFIGURATION, configuration)
        storage.mkdir()
        settings = json.loads((configuration / "orthanc.json").read_text())
        settings |= {"StableAge": 2, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False}
        if self.name == "sqlite":
            settings["Plugins"] = [plugin for plugin in settings["Plugins"] if "PostgreSQL" not in plugin]
            settings.pop("PostgreSQL", None)
            (configuration / "database.json").unlink()
        else:
            file = configuration / "database.json"
            changed, count = re.subn(r"(postgresql://[^/]*/)[^?\"]*", rf"\g<1>{DATABASE}", file.read_text())
            if not count:
                raise Failure("database.json has no URI of a database")
            file.chmod(0o640)
            file.write_text(changed)
        (configuration / "orthanc.json").chmod(0o640)
        (configuration / "orthanc.json").write_text(json.dumps(settings))
        run("chown", "-R", owner, str(WORK / self.name))
        inside = settings["StorageDirectory"]
        mounts = ["-v", f"{configuration}:/etc/orthanc:ro", "-v", f"{storage}:{inside}"]
        for one in running["Mounts"]:
            if one["Destination"].startswith("/usr/local/lib/lightbox/"):
                mounts += ["-v", f"{one['Source']}:{one['Destination']}:ro"]
        hosts = [part for host in running["HostConfig"]["ExtraHosts"] or [] for part in ("--add-host", host)]
        run(
            *("docker", "run", "--detach", "--name", f"lightbox-bench-{self.name}", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108
            *("--user", owner, "--env", "HOME=/tmp", "--env", "TCP_NODELAY=1", *mounts, *hosts),
            *("-p", f"127.0.0.1:{self.http}:8042", "-p", f"127.0.0.1:{self.dicom}:4242"),
            *("--entrypoint", running["Path"], running["Config"]["Image"], *running["Args"]),
        )
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        for _attempt in range(240):
            try:
                self.ask("GET", "/changes?last")
                return
            except (Failure, OSError, http.client.HTTPException):
                time.sleep(0.25)
        raise Failure(f"{self.name}: does not start: {run('docker', 'logs', f'lightbox-bench-{self.name}')[-300:]}")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        kept = getattr(self.local, "connection", None)
        connection = kept or http.client.HTTPConnection("127.0.0.1", self.http, timeout=120)
        self.local.connection = None
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            if kept:  # the archive closes a connection that was idle for a second
                return self.ask(method, path, body, headers)
            raise
        self.local.connection = connection
        if answer.status != 200:
            raise Failure(f"{self.name}: {method} {path} was answered with {answer.status}")
        return content


def numbered(template: bytes, tokens: dict[str, str], number: int) -> bytes:
    """The image with UIDs of its own: as long as the tokens, so that the file stays valid. 100 make a series."""
    series, index = divmod(number, PER_SERIES)
    for what, value in (("study", series), ("series", series), ("instance", index)):
        token = tokens[what]
        template = template.replace(token.encode(), f"1{value:0{len(token) - 1}d}".encode())
    return template


def fill(archive: Archive, template: bytes, tokens: dict[str, str], numbers: range) -> float:
    """Seconds to store images by POST /instances, from several clients."""
    failures: list[str] = []

    def send(first: int) -> None:
        try:
            for number in numbers[first::CLIENTS]:
                archive.ask("POST", "/instances", numbered(template, tokens, number))
        except (Failure, OSError, http.client.HTTPException) as error:
            failures.append(str(error))

    threads = [threading.Thread(target=send, args=(first,)) for first in range(CLIENTS)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failure(failures[0])
    return time.monotonic() - start


def stow(archive: Archive, files: list[bytes]) -> float:
    body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files) + b"--x--\r\n"
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
        "Accept": "application/dicom+json",
    }
    archive.ask("GET", "/changes?last")  # a connection that is open
    start = time.monotonic()
    archive.ask("POST", "/pacs/dicom-web/studies", body, headers)
    return time.monotonic() - start


def store(archive: Archive, files: list[bytes]) -> float:
    directory = WORK / "outgoing"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for index, file in enumerate(files):
        (directory / f"{index:04d}.dcm").write_bytes(file)
    command = ["storescu", "-aet", "BENCH", "-aec", "ANY", "+sd", "127.0.0.1", str(archive.dicom), str(directory)]
    start = time.monotonic()
    done = subprocess.run(command, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"storescu: {done.stderr.strip()[-300:]}")
    return time.monotonic() - start


def latency(archive: Archive, path: str, headers: dict[str, str]) -> float:
    start = time.monotonic()
    archive.ask("GET", path, headers=headers)
    return (time.monotonic() - start) * 1000


def ratio(values: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the median of the ratios of PostgreSQL to SQLite, round by round."""
    ratios = [two / one for one, two in zip(values["sqlite"], values["postgresql"], strict=True)]
    return {
        **{name: round(statistics.median(of_archive), 2) for name, of_archive in values.items()},
        "ratio": round(statistics.median(ratios), 2),
    }


def measure(archives: list[Archive], job: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    tokens, result, stored = job["tokens"], {}, 0
    serial = 50_000_000  # numbers of the large images, away from those of the small ones
    for count in job["counts"]:
        speeds: dict[str, list[float]] = {archive.name: [] for archive in archives}
        step = max((count - stored) // 10, PER_SERIES)
        while stored < count:
            numbers = range(stored, min(stored + step, count))
            for archive in archives:
                speeds[archive.name].append(len(numbers) / fill(archive, files["small"], tokens, numbers))
            archives.reverse()
            stored = numbers[-1] + 1
        say(f"{count} images stored in both")
        at: dict[str, Any] = {"small_instances_per_second": ratio(speeds)}
        for way, send in (("stow_megabytes_per_second", stow), ("store_megabytes_per_second", store)):
            speeds = {archive.name: [] for archive in archives}
            for _round in range(job["rounds"]):
                serial += PER_SERIES
                batch = [numbered(files["slice"], tokens, serial + index) for index in range(job["slices"])]
                for archive in archives:
                    speeds[archive.name].append(sum(map(len, batch)) / 1e6 / send(archive, batch))
                archives.reverse()
            at[way] = ratio(speeds)
        time.sleep(4)  # until what was stored is stable and its metadata are cached
        accept = {"Accept": "application/dicom+json"}
        study = numbered(tokens["study_uid"].encode(), tokens, count // 2).decode()
        tags = "00081030,00080060,00080061,00080090,00100010,00100020,00201206,00201208"
        questions = {
            "study_list_ms": f"/pacs/dicom-web/studies?limit=101&offset=0&includefield={tags}",
            "study_list_by_name_ms": "/pacs/dicom-web/studies?limit=101&PatientName=*BENCH*&fuzzymatching=false",
            "series_ms": f"/pacs/dicom-web/studies/{study}/series",
            "metadata_ms": f"/pacs/dicom-web/studies/{study}/metadata",
        }
        for name, path in questions.items():
            times: dict[str, list[float]] = {archive.name: [] for archive in archives}
            for archive in archives:
                latency(archive, path, accept)
            for _round in range(job["questions"]):
                for archive in archives:
                    times[archive.name].append(latency(archive, path, accept))
                archives.reverse()
            at[name] = ratio(times)
        result[str(count)] = at
        say(json.dumps(at))
    return result


COLUMNS = {
    "Resources": "internalId, resourceType, publicId, parentId",
    "MainDicomTags": "id, tagGroup, tagElement, value",
    "DicomIdentifiers": "id, tagGroup, tagElement, value",
    "Metadata": "id, type, value",
}
NUMBERS = {"internalId", "resourceType", "parentId", "id", "tagGroup", "tagElement", "type"}
PSQL = ("psql", "--quiet", "--no-align", "--tuples-only", "--dbname", DATABASE)


def fill_sqlite(count: int, today: date) -> None:
    index = sqlite3.connect(WORK / "sqlite" / "storage" / "index")
    index.execute("PRAGMA synchronous = OFF")
    template = {table: index.execute(f"SELECT {COLUMNS[table]} FROM {table}").fetchall() for table in TABLES}  # noqa: S608
    for table in TABLES:
        rows = (row for into, row in copies(template, count, today) if into == table)
        marks = ", ".join("?" * len(COLUMNS[table].split(",")))
        index.executemany(f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({marks})", rows)  # noqa: S608
    index.commit()
    index.close()


def fill_postgresql(count: int, today: date) -> None:
    template: dict[str, list[Row]] = {}
    for table in TABLES:
        names = COLUMNS[table].split(", ")
        text = run(*PSQL, "--command", f"COPY {table} ({COLUMNS[table]}) TO STDOUT", user="postgres")
        template[table] = [
            tuple(
                None if field == "\\N" else int(field) if name in NUMBERS else field
                for name, field in zip(names, line.split("\t"), strict=True)
            )
            for line in text.splitlines()
        ]
    # Without Orthanc's triggers, which count each row in one other row: in one transaction that takes hours.
    quick = "SET session_replication_role = replica"
    for table in TABLES:
        copying = subprocess.Popen(
            [
                *("runuser", "-u", "postgres", "--", *PSQL, "--command", quick),
                *("--command", f"COPY {table} ({COLUMNS[table]}) FROM STDIN"),
            ],
            stdin=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        if copying.stdin:
            for into, row in copies(template, count, today):
                if into == table:
                    fields = ("\\N" if value is None else str(value) for value in row)
                    copying.stdin.write("\t".join(fields) + "\n")
            copying.stdin.close()
        if copying.wait():
            raise Failure(f"postgresql: rows of {table} were refused")
    run(*PSQL, "--command", "ANALYZE", user="postgres")


def newest(archive: Archive, orders: bool, query: dict[str, str], since: int, limit: int) -> int:
    """Ask for a page as the reverse proxy's study_list.js does; return how many studies it has."""

    def post(path: str, **body: Any) -> Any:
        return json.loads(archive.ask("POST", path, json.dumps({"Level": "Study", **body}).encode()))

    def count(dates: str = "") -> int:
        return int(post("/tools/count-resources", Query={**query, **({"StudyDate": dates} if dates else {})})["Count"])

    def find(dates: str = "", **more: Any) -> list[Any]:
        computed = ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
        asked = {**query, **({"StudyDate": dates} if dates else {})}
        content = {"ResponseContent": ["MainDicomTags", "RequestedTags"], "RequestedTags": computed, "Expand": True}
        found: list[Any] = post("/tools/find", Query=asked, **content, **more)
        return found

    def day(back: int) -> str:
        return (datetime.now(UTC) - timedelta(days=back)).strftime("%Y%m%d")

    def bracket(place: int, near: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        begin, step = near[0] + 1, 0
        while (far := (begin + step, count(f"{day(begin + step)}-99999999")))[1] < place:
            near, step = far, step * 2 + 1
        while far[0] - near[0] > 1 and far[1] - near[1] > 100:
            middle = (near[0] + far[0]) // 2
            one = (middle, count(f"{day(middle)}-99999999"))
            near, far = (near, one) if one[1] >= place else (one, far)
        return near, far

    if count() <= 1000:
        return len(find())
    archive.ask("GET", "/system")
    if orders:
        keys = ("StudyDate", "StudyTime", "StudyInstanceUID")
        order = [{"Type": "DicomTag", "Key": key, "Direction": "DESC"} for key in keys]
        page = {"OrderBy": order, "Since": since, "Limit": limit}
        found = [] if since else find(f"{day(366)}-99999999", **page)
        return len(found) if len(found) == limit else len(find("00000000-99999999", **page))
    before = bracket(since + 1, (-1, 0))[0] if since else (-1, 0)
    until = day(before[0] + 1) if before[0] >= 0 else "99999999"
    return min(limit, len(find(f"{day(bracket(since + limit, before)[1][0])}-{until}")))


def measure_list(archives: list[Archive], job: dict[str, Any], small: bytes) -> dict[str, Any]:
    """The study list of an archive with many studies."""
    count = job["studies"]
    today = datetime.now(UTC).date()
    for archive, fill_index in zip(archives, (fill_sqlite, fill_postgresql), strict=True):
        container = f"lightbox-bench-{archive.name}"
        archive.ask("POST", "/instances", small)
        time.sleep(3)
        run("docker", "stop", container)
        fill_index(count, today)
        run("docker", "start", container)
        archive.wait()
        say(f"{count} studies in the index of {archive.name}")
    orders = {
        archive.name: json.loads(archive.ask("GET", "/system"))["Capabilities"]["HasExtendedFind"]
        for archive in archives
    }
    questions: dict[str, tuple[dict[str, str], int, int]] = {
        "first_1001_ms": ({}, 0, 1001),
        "first_101_ms": ({}, 0, 101),
        "middle_101_ms": ({}, count // 2, 101),
        "search_by_name_ms": ({"PatientName": "*FAMILY123*"}, 0, 1001),
    }
    result: dict[str, Any] = {"ordered_by_the_database": orders}
    for name, question in questions.items():
        times: dict[str, list[float]] = {archive.name: [] for archive in archives}
        for _round in range(5):
            for archive in archives:
                start = time.monotonic()
                shown = newest(archive, orders[archive.name], *question)
                times[archive.name].append((time.monotonic() - start) * 1000)
                if not shown:
                    raise Failure(f"{archive.name}: {name}: nothing found")
        result[name] = ratio(times)
    say(json.dumps(result))
    return result


def admit(user: str) -> None:
    """Let the database of this comparison in, until `remove`."""
    rules = next(Path("/etc/postgresql").glob("*/main/pg_hba.conf"))
    kept = rules.with_suffix(".bench")
    shutil.copy2(rules, kept)
    shutil.chown(kept, "root", "postgres")
    with rules.open("a") as stream:
        stream.write(f"hostssl {DATABASE} {user} 172.16.0.0/12 scram-sha-256\n")
    run("systemctl", "reload", "postgresql")


def remove() -> None:
    for kept in Path("/etc/postgresql").glob("*/main/pg_hba.bench"):
        os.replace(kept, kept.with_suffix(".conf"))
        run("systemctl", "reload", "postgresql")
    for name in PORTS:
        subprocess.run(["docker", "rm", "--force", f"lightbox-bench-{name}"], capture_output=True, check=False)
    drop = ["runuser", "-u", "postgres", "--", "dropdb", "--if-exists", "--force", DATABASE]
    subprocess.run(drop, capture_output=True, check=False, cwd="/")
    shutil.rmtree(WORK, ignore_errors=True)


def start(job: dict[str, Any]) -> list[Archive]:
    """Both archives, empty."""
    remove()
    WORK.mkdir(mode=0o755)
    run("createdb", "--owner", job["database_user"], DATABASE, user="postgres")
    run("psql", "--quiet", "--dbname", DATABASE, "--command", "CREATE EXTENSION pg_trgm", user="postgres")
    admit(job["database_user"])
    archives = [Archive(name) for name in PORTS]
    for archive in archives:
        archive.start(job["owner"])
    return archives


def main() -> int:
    directory = Path(sys.argv[1])
    job = json.loads((directory / "job.json").read_text())
    try:
        files = {name: (directory / f"{name}.dcm").read_bytes() for name in ("slice", "small")}
        result = measure(start(job), job, files) if job["counts"] else {}
        if job["studies"]:
            result["study_list"] = measure_list(start(job), job, files["small"])
    except (Failure, OSError, ValueError, http.client.HTTPException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        remove()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
