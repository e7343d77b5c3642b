# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare an index in SQLite with one in PostgreSQL as the archive grows: `python -m tests.bench.index`.

It runs on a server of the molecule scenario `database`, which is made first where it does not stand:
`molecule converge -s database`. Up to 10,000 images it takes two minutes, up to 100,000 ten.
Then both get an index of 100,000 studies, without files, and answer as for the study list, newest first: two minutes.

A JSON document goes to stdout. Each figure is the median, the ratio is that of PostgreSQL to SQLite in the same run:
below 1 PostgreSQL is slower in what is counted per second, above 1 it is slower in what is measured in ms.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pydicom import uid

from tests.bench.__main__ import HERE, ROOT, BenchError, pack, say
from tests.samples.studies import SAMPLES, Sample, to_bytes

STUDY, SERIES, INSTANCE = "900000001", "900000002", "900000003"
REMOTE = """umask 077
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
tar -x -C "$directory" && python3 "$directory/index_server.py" "$directory"
"""


def template(sample: Sample, side: int) -> bytes:
    """An image whose UIDs are made of tokens, which the server replaces by numbers as long as they are."""
    image = sample.instance(0)
    if image.Rows != side:
        pixels = image.pixel_array[:side, :side].copy()
        image.Rows, image.Columns, image.PixelData = side, side, pixels.tobytes()
    image.PatientID, image.AccessionNumber = f"BENCH{STUDY}", f"B{STUDY}"
    image.PatientName = f"BENCH^{STUDY}"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"2.25.{STUDY}1", f"2.25.{STUDY}{SERIES}2"
    image.SOPInstanceUID = uid.UID(f"2.25.{STUDY}{INSTANCE}3")
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return to_bytes(image)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.index", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--host", default="172.28.77.50", help="the server (%(default)s)")
    parser.add_argument("--ssh-config", type=Path, default=ROOT / ".lab" / "ssh_config")
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10000], help="sizes, ascending (1000 10000)")
    parser.add_argument(
        "--studies", type=int, default=100_000, help="in the index for the study list; 0 for none (%(default)s)"
    )
    options = parser.parse_args()
    sample = replace(SAMPLES["ct"], seed="bench/index")
    job = {
        "counts": options.counts,
        "studies": options.studies,
        "rounds": 3,
        "questions": 15,
        "slices": 40,
        "owner": "8042:8042",
        "database_user": "orthanc",
        "tokens": {"study": STUDY, "series": SERIES, "instance": INSTANCE, "study_uid": f"2.25.{STUDY}1"},
    }
    files = {
        "job.json": json.dumps(job).encode(),
        "slice.dcm": template(sample, sample.instance(0).Rows),
        "small.dcm": template(sample, 32),
        "index_server.py": (HERE / "index_server.py").read_bytes(),
        "index_rows.py": (HERE / "index_rows.py").read_bytes(),
    }
    command = ["ssh", "-F", str(options.ssh_config), "-o", "BatchMode=yes", options.host]
    try:
        run = subprocess.run(
            [*command, "sudo -n sh -c " + shlex.quote(REMOTE)],
            input=pack(files),
            stdout=subprocess.PIPE,
            timeout=7200,
            check=False,
        )
        if run.returncode:
            raise BenchError("the comparison did not come to its end (see above)")
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        say(f"error: {error}")
        return 1
    print(json.dumps(json.loads(run.stdout), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
