# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send sample studies to an archive: by STOW-RS or by C-STORE, one instance in memory at a time (STOW: one batch)."""

from __future__ import annotations

import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context

from .studies import Sample, to_bytes

BATCH_BYTES = 16 * 1024 * 1024
TIMEOUT = (10.0, 120.0)
FAILURE_REASONS = {  # PS3.18 table I.2.2-1 and PS3.4 table GG.4-1
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0xA700: "out of resources",
    0xA900: "data set does not match the SOP class",
    0xC000: "cannot understand",
}


class LoadError(Exception):
    """What the person at the keyboard is told: one plain sentence."""


@dataclass
class Tally:
    """What one way (STOW-RS or C-STORE) did; seconds count the sending, not the drawing of the images."""

    way: str
    sent: int = 0
    present: int = 0
    size: int = 0
    seconds: float = 0.0
    refused: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.size / 1e6 / self.seconds if self.seconds else 0.0


def show_progress(sample: Sample, done: int, sent_bytes: int) -> None:
    """One line per sample, rewritten in place on a terminal, printed once elsewhere."""
    terminal, last = sys.stdout.isatty(), done >= sample.count
    if terminal or last:
        line = f"{sample.title}: {done} of {sample.count}, {sent_bytes / 1e6:.1f} MB"
        print(f"\r{line:<72}" if terminal else line, end="\n" if last or not terminal else "", flush=True)


def show_nothing(sample: Sample, done: int, sent_bytes: int) -> None:
    """Progress for programs."""


Progress = Callable[[Sample, int, int], None]


class _Body:
    """A multipart/related body of known length, handed over part by part without being joined in memory."""

    def __init__(self, files: Iterable[bytes]) -> None:
        self.boundary = uuid.uuid4().hex
        self._pieces: list[bytes] = []
        for content in files:
            self._pieces += [f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), content, b"\r\n"]
        self._pieces.append(f"--{self.boundary}--\r\n".encode())

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


class DicomWeb:
    """A DICOMweb archive behind HTTP basic authentication.

    url: root of the service; ca: file with the certificate of the CA to trust (None: the system's). Proxies and
    credentials of the environment are not used: requests would also let REQUESTS_CA_BUNDLE override ``ca``.
    """

    def __init__(self, url: str, user: str | None, password: str | None, ca: str | None) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = ca if ca else True
        if user is not None:
            self.session.auth = (user, password or "")

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = self.session.request(method, self.url + path, timeout=TIMEOUT, allow_redirects=False, **options)
        except requests.exceptions.SSLError as error:
            raise LoadError(f"{self.url}: the certificate is not trusted ({error}). Give the right --ca.") from error
        except requests.exceptions.RequestException as error:
            raise LoadError(f"{self.url}: no answer ({error})") from error
        if answer.status_code in (401, 403):
            raise LoadError(f"{self.url}: {answer.status_code}, user or password refused")
        return answer

    def known(self, sample: Sample) -> set[str]:
        """SOP instance UIDs of the sample's series that the archive holds already."""
        answer = self._request(
            "GET",
            f"/studies/{sample.study_uid}/series/{sample.series_uid}/instances",
            headers={"Accept": "application/dicom+json"},
        )
        if answer.status_code in (204, 404):
            return set()
        if answer.status_code != 200:
            raise LoadError(f"{self.url}: status {answer.status_code} for a query: is it a DICOMweb service?")
        try:
            return {item["00080018"]["Value"][0] for item in answer.json()}
        except (ValueError, LookupError, TypeError) as error:
            raise LoadError(
                f"{self.url}: the answer to a query is not DICOM JSON: is it a DICOMweb service?"
            ) from error

    def store(self, files: dict[str, bytes]) -> list[str]:
        """Send one batch (SOP instance UID -> DICOM file); return one sentence for each refused instance."""
        body = _Body(files.values())
        answer = self._request(
            "POST",
            "/studies",
            data=body,
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
                "Accept": "application/dicom+json",
            },
        )
        if answer.status_code not in (200, 202, 409):
            raise LoadError(
                f"{self.url}/studies: refused with status {answer.status_code}: {answer.text[:200].strip()}"
            )
        try:
            report = answer.json()
            stored = {_value(item, "00081155") for item in report.get("00081199", {}).get("Value", [])}
            failed = {
                _value(item, "00081155"): _value(item, "00081197")
                for item in report.get("00081198", {}).get("Value", [])
            }
        except (ValueError, AttributeError) as error:
            raise LoadError(f"{self.url}/studies: the answer is not DICOM JSON: {answer.text[:200].strip()}") from error
        refused = []
        for instance in files:
            if instance in failed:
                refused.append(f"instance {instance}: {describe(failed[instance])}")
            elif instance not in stored:
                refused.append(f"instance {instance}: not mentioned in the answer, so not stored")
        return refused


def _value(item: dict[str, Any], tag: str) -> Any:
    return (item.get(tag, {}).get("Value") or [None])[0]


def describe(status: object) -> str:
    """A DIMSE status or failure reason in words."""
    if not isinstance(status, int):
        return "refused without a reason"
    known = FAILURE_REASONS.get(status) or FAILURE_REASONS.get(status & 0xFF00) or FAILURE_REASONS.get(status & 0xF000)
    return f"refused with status 0x{status:04X}" + (f" ({known})" if known else "")


def send_by_stow(
    samples: Iterable[Sample],
    web: DicomWeb,
    *,
    again: bool = False,
    batch_bytes: int = BATCH_BYTES,
    progress: Progress = show_progress,
) -> Tally:
    """Send by STOW-RS in batches of about ``batch_bytes``; what the archive has is skipped unless ``again``."""
    tally = Tally("STOW-RS")
    for sample in samples:
        known = set() if again else web.known(sample)
        done = size = 0
        batch: dict[str, bytes] = {}
        for index in range(sample.count):
            instance = sample.instance_uid(index)
            if instance in known:
                tally.present += 1
                done += 1
            else:
                batch[instance] = to_bytes(sample.instance(index))
            last = index == sample.count - 1
            if batch and (last or sum(map(len, batch.values())) >= batch_bytes):
                start = time.monotonic()
                refused = web.store(batch)
                tally.seconds += time.monotonic() - start
                tally.refused += [f"{sample.key}, {text}" for text in refused]
                tally.sent += len(batch) - len(refused)
                size += sum(map(len, batch.values()))
                done += len(batch)
                batch = {}
                progress(sample, done, size)
            elif last:
                progress(sample, done, size)
        tally.size += size
    return tally


@dataclass(frozen=True)
class DicomNode:
    """Address and names of a C-STORE provider."""

    host: str
    port: int
    aet: str
    calling_aet: str
    tls_ca: str | None = None  # None: the system's
    tls: bool = False


def _no_delay(event: evt.Event) -> None:
    """Send small packets at once: Nagle's algorithm with delayed acknowledgements costs 40 ms an instance."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def contexts(samples: Iterable[Sample]) -> list[PresentationContext]:
    """One presentation context per SOP class and transfer syntax; uncompressed images in both plain syntaxes."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        compressed = uid.UID(sample.transfer_syntax).is_compressed
        syntaxes = [sample.transfer_syntax] if compressed else [sample.transfer_syntax, uid.ImplicitVRLittleEndian]
        wanted[sample.sop_class, sample.transfer_syntax] = syntaxes
    return [build_context(sop_class, syntaxes) for (sop_class, _unused), syntaxes in wanted.items()]


def send_by_store(
    samples: Iterable[Sample],
    node: DicomNode,
    *,
    known: Callable[[Sample], set[str]] | None = None,
    progress: Progress = show_progress,
) -> Tally:
    """Send by C-STORE over one association; ``known`` tells what the archive has already."""
    samples = list(samples)
    tally = Tally("C-STORE")
    todo: list[tuple[Sample, set[str]]] = []
    for sample in samples:
        present = known(sample) if known else set()
        present &= {sample.instance_uid(index) for index in range(sample.count)}
        tally.present += len(present)
        if len(present) == sample.count:
            progress(sample, sample.count, 0)
        else:
            todo.append((sample, present))
    if not todo:
        return tally

    entity = AE(ae_title=node.calling_aet)
    entity.connection_timeout = 10
    entity.acse_timeout = 15
    entity.dimse_timeout = entity.network_timeout = 60
    tls_args = None
    if node.tls:
        tls_args = (ssl.create_default_context(cafile=node.tls_ca), node.host)
    association = entity.associate(
        node.host,
        node.port,
        ae_title=node.aet,
        contexts=contexts(sample for sample, _unused in todo),
        evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
        tls_args=tls_args,
    )
    where = f"{node.aet} at {node.host}:{node.port}"
    if not association.is_established:
        if association.is_rejected:
            raise LoadError(f"{where} rejects the association from {node.calling_aet}: is this name known there?")
        if association.rejected_contexts:
            raise LoadError(f"{where} accepts none of the SOP classes and transfer syntaxes of these samples")
        raise LoadError(f"{where}: no DICOM connection (refused, aborted, or the certificate is not trusted)")
    try:
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
        for sample, present in todo:
            usable = {sample.transfer_syntax}
            if not uid.UID(sample.transfer_syntax).is_compressed:
                usable.add(uid.ImplicitVRLittleEndian)
            if not any((sample.sop_class, syntax) in accepted for syntax in usable):
                name = uid.UID(sample.transfer_syntax).name
                tally.refused.append(f"{sample.key}: {where} does not accept {sample.modality} in {name}")
                continue
            size = 0
            done = len(present)
            for index in range(sample.count):
                if sample.instance_uid(index) in present:
                    continue
                dataset = sample.instance(index)
                start = time.monotonic()
                status = _store(association, dataset, where)
                tally.seconds += time.monotonic() - start
                done += 1
                size += len(dataset.PixelData if "PixelData" in dataset else dataset.EncapsulatedDocument)
                if status == 0x0000 or status & 0xF000 == 0xB000:  # success, or stored with a remark
                    tally.sent += 1
                else:
                    tally.refused.append(f"{sample.key}, instance {dataset.SOPInstanceUID}: {describe(status)}")
                progress(sample, done, size)
            tally.size += size
    finally:
        if association.is_established:
            association.release()
    return tally


def _store(association: Any, dataset: Dataset, where: str) -> int:
    try:
        answer = association.send_c_store(dataset)
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"{where}: {error}") from error
    if "Status" not in answer:
        raise LoadError(f"{where}: the connection was lost or timed out while sending")
    return int(answer.Status)
