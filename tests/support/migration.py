"""The migration of Orthanc's index from SQLite to PostgreSQL, as the tests of the scenario `migration` run it."""

from __future__ import annotations

import hashlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.database_server import (
    ARCHIVE,
    STORAGE,
    instance,
    new_uid,
    on_server,
    session,
    sql,
    upload,
    wait_until_ready,
)
from tests.support.lab import INVENTORY, run_playbook

MIGRATE = ["playbooks/migrate_to_postgresql.yml", "-i", str(INVENTORY), "-vv"]
PATIENTS, SERIES, IMAGES = 12, 2, 6


def play(*more: str) -> subprocess.CompletedProcess[str]:
    return run_playbook("playbooks/pacs.yml", "-i", INVENTORY, *more)


def wait_until_stable(web, seconds: float = 60) -> None:
    """Until every series is stable, and the DICOMweb plugin has written what it keeps of it."""
    until = time.monotonic() + seconds
    series = web.get(f"{ARCHIVE}/series", timeout=60).json()
    while not all(web.get(f"{ARCHIVE}/series/{one}", timeout=30).json()["IsStable"] for one in series):
        assert time.monotonic() < until, "the series do not become stable"
        time.sleep(0.5)
    time.sleep(2)


def everything(web) -> dict:
    """All that the archive says of what it has: the same before and after."""
    found: dict = {"statistics": web.get(f"{ARCHIVE}/statistics", timeout=60).json()}
    for level in ("patients", "studies", "series", "instances"):
        found[level] = {}
        for one in sorted(web.get(f"{ARCHIVE}/{level}", timeout=60).json()):
            path = f"{ARCHIVE}/{level}/{one}"
            about = web.get(path, timeout=60).json()
            about.pop("IsStable", None)
            found[level][one] = {
                "about": {**about, **{key: sorted(value) for key, value in about.items() if isinstance(value, list)}},
                "metadata": web.get(f"{path}/metadata?expand", timeout=60).json(),
                "labels": sorted(web.get(f"{path}/labels", timeout=60).json()),
                "attachments": sorted(web.get(f"{path}/attachments", timeout=60).json()),
            }
    for one in found["instances"]:
        file = web.get(f"{ARCHIVE}/instances/{one}/file", timeout=60).content
        found["instances"][one]["hash"] = hashlib.sha256(file).hexdigest()
    for one in found["patients"]:
        found["patients"][one]["protected"] = web.get(f"{ARCHIVE}/patients/{one}/protected", timeout=60).text
    changes, last, done = [], 0, False
    while not done:
        part = web.get(f"{ARCHIVE}/changes?limit=500&since={last}", timeout=60).json()
        changes += [
            (one["Seq"], one["ChangeType"], one["ID"], one["Date"])
            for one in part["Changes"]
            if one["ChangeType"] not in ("StableSeries", "StableStudy", "StablePatient")
        ]
        last, done = part["Last"], part["Done"]
    found["changes"] = changes
    found["modalities"] = web.get(f"{ARCHIVE}/modalities?expand", timeout=60).json()
    return found


def start_again_on_sqlite(host) -> None:
    """Undo a migration: an empty archive on SQLite."""
    assert play("-e", '{"orthanc_enabled": false}').returncode == 0
    on_server(host, f"find {STORAGE} -mindepth 1 -delete")
    sql(host, "DROP DATABASE IF EXISTS orthanc WITH (FORCE)")
    run = play("-e", "postgresql_provider=none")
    assert run.returncode == 0, run.stdout[-3000:]


def fill_archive_on_sqlite(host) -> dict:
    """An archive on SQLite with all that one can hold; what it reports."""
    if indexes(host) != ["index"]:
        start_again_on_sqlite(host)
    web = session()
    wait_until_ready(web)
    files = []
    for number in range(PATIENTS):
        study = new_uid()
        for _unused in range(SERIES):
            series = new_uid()
            files += [(number, *instance(study, series, image)) for image in range(IMAGES)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: upload(session(), renamed(one[2], one[0])), files))
    assert all(answers)
    for number, one in enumerate(web.get(f"{ARCHIVE}/studies", timeout=30).json()):
        assert web.put(f"{ARCHIVE}/studies/{one}/labels/label-{number % 3}", timeout=30).status_code == 200
        odd = "Tab\there, back\\slash, line\nbreak, \\N, \\., Müller^Jürgen 東京"
        assert web.put(f"{ARCHIVE}/studies/{one}/metadata/4000", data=odd.encode(), timeout=30).status_code == 200
    patients = web.get(f"{ARCHIVE}/patients", timeout=30).json()
    assert web.put(f"{ARCHIVE}/patients/{patients[0]}/protected", data="1", timeout=30).status_code == 200
    assert (
        web.put(f"{ARCHIVE}/patients/{patients[1]}/attachments/4001", data=b"\0\1 report", timeout=30).status_code
        == 200
    )
    removed = web.get(f"{ARCHIVE}/instances", timeout=30).json()[0]
    assert web.delete(f"{ARCHIVE}/instances/{removed}", timeout=30).status_code == 200
    wait_until_stable(web)
    return everything(web)


def renamed(file: bytes, number: int) -> bytes:
    return file.replace(b"LIGHTBOX-DATABASE ", f"LIGHTBOX-MOVE-{number:02} ".ljust(18).encode())


def indexes(host) -> list[str]:
    return on_server(host, f"cd {STORAGE} && ls -d index index.before-postgresql 2>/dev/null || true").split()


def migrate_to_the_end(host, before: dict) -> None:
    """Run the migration; every image that was there before is there afterwards, and the old index is kept."""
    run = run_playbook(*MIGRATE)
    assert run.returncode == 0, run.stdout[-3000:]
    expected = len(before["instances"])
    assert f"{expected} images are in the archive with the MD5 that they had" in run.stdout
    assert indexes(host) == ["index.before-postgresql"]
    # The same files, where they were: nothing was stored twice.
    with_pixels = int(on_server(host, f"find {STORAGE} -mindepth 3 -type f | wc -l"))
    assert with_pixels == sum(
        len(one["attachments"])
        for level in ("patients", "studies", "series", "instances")
        for one in before[level].values()
    )
