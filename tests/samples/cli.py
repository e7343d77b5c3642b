# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: ``generate`` writes files, ``load`` sends to an archive, ``list`` tells what there is."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .load import DicomNode, DicomWeb, LoadError, Tally, send_by_store, send_by_stow, show_nothing, show_progress
from .studies import SAMPLES, Sample, to_bytes


def _samples(text: str) -> list[Sample]:
    keys = [key for key in text.split(",") if key]
    unknown = [key for key in keys if key not in SAMPLES]
    if unknown or not keys:
        raise argparse.ArgumentTypeError(
            f"unknown sample {', '.join(unknown) or text!r}; there are {', '.join(SAMPLES)}"
        )
    return [SAMPLES[key] for key in dict.fromkeys(keys)]


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _ae_title(text: str) -> str:
    if not (0 < len(text.strip()) <= 16 and text.isascii() and text.isprintable() and "\\" not in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an AE title: 1 to 16 printable ASCII characters")
    return text.strip()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.samples", description="Sample studies without patients.", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    only = argparse.ArgumentParser(add_help=False)
    only.add_argument(
        "--only", type=_samples, default=list(SAMPLES.values()), metavar="KEY[,KEY]", help=f"from {', '.join(SAMPLES)}"
    )

    verbs.add_parser("list", parents=[only], allow_abbrev=False, help="print the samples as JSON")
    generate = verbs.add_parser("generate", parents=[only], allow_abbrev=False, help="write DICOM files")
    generate.add_argument("--output", type=Path, required=True, metavar="DIR", help="made when missing")

    load = verbs.add_parser("load", parents=[only], allow_abbrev=False, help="send to an archive")
    load.add_argument("--url", required=True, help="root of the DICOMweb service")
    load.add_argument("--ca", metavar="FILE", help="certificate of the CA to trust (default: the system's)")
    load.add_argument("--user", help="name for HTTP basic authentication")
    load.add_argument("--password-file", type=Path, metavar="FILE", help="file with the password in its first line")
    load.add_argument(
        "--dicom", type=_address, metavar="HOST:PORT", help="DICOM address; without it all goes by STOW-RS"
    )
    load.add_argument("--dicom-tls", action="store_true", help="speak TLS to the DICOM address")
    load.add_argument("--aet", type=_ae_title, default="LIGHTBOX", help="AE title of the archive (%(default)s)")
    load.add_argument("--calling-aet", type=_ae_title, default="DEMO", help="own AE title (%(default)s)")
    load.add_argument("--again", action="store_true", help="send also what the archive has already")
    load.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        if options.verb == "generate":
            return _generate(options)
        if options.verb == "load":
            return _load(options)
    except (LoadError, OSError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    print(json.dumps([_describe(sample) for sample in options.only], indent=2))
    return 0


def _describe(sample: Sample) -> dict[str, object]:
    names = ("key", "title", "patient_id", "patient_name", "study_description", "series_description", "modality")
    rest = ("sop_class", "transfer_syntax", "count", "way", "study_uid", "series_uid")
    return {name: getattr(sample, name) for name in names + rest}


def _generate(options: argparse.Namespace) -> int:
    start, count, size = time.monotonic(), 0, 0
    for sample in options.only:
        directory = options.output / sample.key
        directory.mkdir(parents=True, exist_ok=True)
        done = 0
        for index, dataset in enumerate(sample.instances()):
            content = to_bytes(dataset)
            (directory / f"{index + 1:04d}.dcm").write_bytes(content)
            done += len(content)
            count += 1
            show_progress(sample, index + 1, done)
        size += done
    print(f"{count} instances, {size / 1e6:.1f} MB in {time.monotonic() - start:.1f} s written to {options.output}")
    return 0


def _load(options: argparse.Namespace) -> int:
    password = None
    if options.user is not None:
        if options.password_file is None:
            raise LoadError(
                "--user needs --password-file (a password on the command line could be read by anyone here)"
            )
        password = options.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    if options.ca and not Path(options.ca).is_file():
        raise LoadError(f"--ca {options.ca}: no such file")
    web = DicomWeb(options.url, options.user, password, options.ca)

    progress = show_nothing if options.json else show_progress
    start = time.monotonic()
    by_store = [sample for sample in options.only if sample.way == "store" and options.dicom]
    by_stow = [sample for sample in options.only if sample not in by_store]
    tallies = []
    if by_stow:
        tallies.append(send_by_stow(by_stow, web, again=options.again, progress=progress))
    if by_store:
        host, port = options.dicom
        node = DicomNode(host, port, options.aet, options.calling_aet, options.ca, options.dicom_tls)
        tallies.append(send_by_store(by_store, node, known=None if options.again else web.known, progress=progress))
    _summary(tallies, time.monotonic() - start, options.json)
    refused = [text for tally in tallies for text in tally.refused]
    for text in refused[:10]:
        print(f"refused: {text}", file=sys.stderr)
    if refused:
        print(f"error: {len(refused)} refused; see the archive's log", file=sys.stderr)
    return 1 if refused else 0


def _summary(tallies: list[Tally], seconds: float, as_json: bool) -> None:
    if as_json:
        ways = {
            tally.way: {
                "instances": tally.sent,
                "present": tally.present,
                "refused": len(tally.refused),
                "megabytes": round(tally.size / 1e6, 1),
                "seconds": round(tally.seconds, 2),
                "megabytes_per_second": round(tally.rate, 1),
            }
            for tally in tallies
        }
        print(json.dumps({"seconds": round(seconds, 2), "ways": ways}, indent=2))
        return
    for tally in tallies:
        there = f", {tally.present} were there already" if tally.present else ""
        rate = f" in {tally.seconds:.1f} s, {tally.rate:.1f} MB/s" if tally.seconds else ""
        print(f"{tally.way}: {tally.sent} instances sent, {tally.size / 1e6:.1f} MB{rate}{there}")
    print(f"Everything took {seconds:.1f} s.")
