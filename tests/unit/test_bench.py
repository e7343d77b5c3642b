# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of the benchmark: what makes its figures of its runs, and what it sends."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from typing import Any

import pytest
from pydicom import dcmread

from tests.bench import __main__ as bench
from tests.bench import figures, server
from tests.samples.studies import SAMPLES


def test_sides_take_turns():
    assert list(server.in_turn(["a", "b"], 3)) == ["a", "b", "b", "a", "a", "b"]


def test_ratio_is_of_each_round():
    direct = [{"per_second": value} for value in (100, 50, 10)]
    proxied = [{"per_second": value} for value in (90, 45, 12)]
    got = figures.compare({"direct": direct, "reverse_proxy": proxied}, "direct")
    assert got["per_second"] == {"direct": 50, "reverse_proxy": 45}
    assert got["ratio"] == {"reverse_proxy": 0.9}
    assert got["spread"] == {"reverse_proxy": [0.9, 1.2]}


def test_rounds_must_be_complete():
    with pytest.raises(ValueError, match="zip"):
        figures.compare({"direct": [{"per_second": 1}] * 2, "reverse_proxy": [{"per_second": 1}]}, "direct")


def test_details_follow():
    run = {"per_second": 1, "p50_ms": 2, "p99_ms": 3, "cpu_ms": {"nginx": 0.5}}
    got = figures.compare({"reverse_proxy": [run, {**run, "cpu_ms": {}}]}, "reverse_proxy")
    assert got["p99_ms"] == {"reverse_proxy": 3}
    assert got["cpu_ms_per_request"] == {"reverse_proxy": {"nginx": 0.25}}


def test_tasks_are_counted():
    listing = """
playbook: site.yml

  play #1 (pacs): Bring up	TAGS: []
    tasks:
      docker_engine : Check the input	TAGS: [docker_engine]
      Say what comes	TAGS: []
"""
    assert figures.count_tasks(listing) == 2


def test_table_shows_what_was_measured():
    part = {
        "connections": {
            "1": {"per_second": {"direct": 400.0, "reverse_proxy": 380.0}, "ratio": {"reverse_proxy": 0.95}}
        }
    }
    lines = figures.table({"frames": part, "tasks": 72}).splitlines()
    assert len(lines) == 3
    assert re.search(r"frames/s, 1 connection +400\.0 +380\.0 +0\.95$", lines[1])
    assert lines[2].split()[-1] == "72"


def test_table_shows_the_library_beside_the_reverse_proxy():
    part = {"connections": {"8": {"per_second": {"without": 400.0, "with": 396.0}, "ratio": {"with": 0.99}}}}
    lines = figures.table({"library": {"stow": part}}).splitlines()
    assert lines[0].split() == ["Preloaded", "library", "without", "with", "ratio"]
    assert re.search(r"STOW-RS MB/s, 8 connections +400\.0 +396\.0 +0\.99$", lines[1])


def test_upload_gets_new_uids_without_growing():
    body, job = bench.upload(SAMPLES["ct"], 2)
    changed = body.replace(bench.TOKEN.encode(), b"123456789012")
    assert len(changed) == len(body)
    files = [part.split(b"\r\n\r\n", 1)[1][:-2] for part in changed.split(f"--{job['boundary']}".encode())[1:-1]]
    first, second = (dcmread(io.BytesIO(content)) for content in files)
    assert first.StudyInstanceUID == second.StudyInstanceUID == "2.25.1234567890120"
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert bench.TOKEN.encode() not in changed
    assert len(first.PatientID) <= 64
    assert len(first.AccessionNumber) <= 16


def test_files_for_the_server_are_private():
    with tarfile.open(fileobj=io.BytesIO(bench.pack({"direct.authorization": b"x"}))) as archive:
        assert [(entry.name, entry.mode) for entry in archive] == [("direct.authorization", 0o600)]


def test_no_password_on_a_command_line(monkeypatch, tmp_path):
    seen: dict[str, Any] = {}

    def run(arguments, **options):
        seen.update(arguments=arguments, stdin=options["input"])
        return subprocess.CompletedProcess(arguments, 0, b"{}", b"")

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "ca.pem").write_text("ca")
    login = bench.basic("reverse_proxy", "from the file")
    at = bench.Server("lab", tmp_path, {"direct": "http://127.0.0.1"}, {"direct": login}, tmp_path / "ca.pem")
    assert at.run({"memory": True}) == {}
    assert login.encode() in seen["stdin"]
    assert not any(login in argument or login.split()[1] in argument for argument in seen["arguments"])


def test_series_is_fetched_slice_by_slice():
    paths = bench.frame_paths(SAMPLES["ct"])
    assert len(set(paths)) == SAMPLES["ct"].count
    assert all(path.startswith("/pacs/dicom-web/studies/2.25.") and path.endswith("/frames/1") for path in paths)
