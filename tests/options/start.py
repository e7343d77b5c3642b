"""Start Orthanc inside its image with every option right, then with each of a wrong type.

Needs only Python. Reads the options from standard input as JSON: place → {type, default}. Prints a line for each start
that was not as expected, and a summary.
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
# Set in BASE, or naming files that do not exist.
LEFT_OUT = ("StorageDirectory", "IndexDirectory", "Plugins", "TemporaryDirectory", "IngestTranscoding")
WRONG = {"bool": "true", "uint": "5", "int": "5", "str": 5, "strings": 5, "dict": [1], "list": 5}


def try_start(configuration: dict, seconds: float) -> tuple[bool, list[str]]:
    """Return whether Orthanc starts and keeps running, and the errors in its log."""
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


def set_option(configuration: dict, place: str, value: object) -> dict:
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
            right = set_option(right, place, default)
    up, errors = try_start(right, 20)
    if not up or errors:
        print("With all defaults Orthanc does not start without errors:", *errors, sep="\n  ")
    late = []
    for place, option in options.items():
        kind = option["type"] if isinstance(option["type"], str) else option["type"][0]
        if kind in WRONG and try_start(set_option(BASE, place, WRONG[kind]), 4)[0]:
            late.append(place)
    result = "ok" if up and not errors else "not ok"
    print("Started although the type was wrong:", ", ".join(late))
    print(f"{len(options)} options; with all defaults {result}; {len(late)} not checked at the start")
    return 0 if up and not errors else 1


if __name__ == "__main__":
    sys.exit(main())
