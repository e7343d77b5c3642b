"""Runs inside an image of the archive: starts it with every option as it should be, then with each of a wrong type.

Needs nothing but Python. Reads the options from the standard input, as JSON: place → {type, default}. Prints one line
for each start that was not as expected, and a last one with what it counted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

PLUGINS = "/usr/share/orthanc/plugins"
DIRECTORY = "/tmp/archive"  # noqa: S108 (the container's own)
BASE = {
    "StorageDirectory": DIRECTORY,
    "IndexDirectory": DIRECTORY,
    "Plugins": [f"{PLUGINS}/libOrthancDicomWeb.so", f"{PLUGINS}/libOrthancGdcm.so"],
}
# Files that the defaults name and that are not there, and what the base says.
LEFT_OUT = ("StorageDirectory", "IndexDirectory", "Plugins", "TemporaryDirectory", "IngestTranscoding")
WRONG = {"bool": "true", "uint": "5", "int": "5", "str": 5, "strings": 5, "dict": [1], "list": 5}


def starts(configuration: dict, seconds: float) -> tuple[bool, list[str]]:
    """Whether the archive comes up and stays up, and what its log calls errors."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.makedirs(DIRECTORY)
    file, log = f"{DIRECTORY}.json", f"{DIRECTORY}.log"
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(configuration, stream)
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(["/usr/sbin/Orthanc", file], stdout=subprocess.DEVNULL, stderr=stream)
    until = time.monotonic() + seconds
    text = ""
    while time.monotonic() < until and process.poll() is None and "Orthanc has started" not in text:
        time.sleep(0.03)
        with open(log, encoding="utf-8") as stream:
            text = stream.read()
    time.sleep(0.15)
    up = process.poll() is None and "Orthanc has started" in text
    process.kill()
    process.wait()
    with open(log, encoding="utf-8") as stream:
        return up, [line for line in stream.read().splitlines() if line.startswith("E")]


def put(configuration: dict, place: str, value: object) -> dict:
    whole = json.loads(json.dumps(configuration))
    where = whole
    *sections, name = place.split(".")
    for section in sections:
        where = where.setdefault(section, {})
    where[name] = value
    return whole


def main() -> int:
    options = json.load(sys.stdin)
    right = BASE
    for place, option in options.items():
        default = option.get("default")
        if default is not None and place not in LEFT_OUT and not str(default).endswith(".pem"):
            right = put(right, place, default)
    up, errors = starts(right, 20)
    if not up or errors:
        print("With all defaults it does not start well:", *errors, sep="\n  ")
    late = []
    for place, option in options.items():
        kind = option["type"] if isinstance(option["type"], str) else option["type"][0]
        if kind in WRONG and starts(put(BASE, place, WRONG[kind]), 4)[0]:
            late.append(place)
    print("Started although the type was wrong:", ", ".join(late))
    print(f"{len(options)} options; with all defaults {'ok' if up and not errors else 'not ok'}; {len(late)} read late")
    return 0 if up and not errors else 1


if __name__ == "__main__":
    sys.exit(main())
