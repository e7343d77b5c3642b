"""Devices with certificates on the port for DICOM over TLS: who is accepted, and what dicom.log has of the others.

The devices' certificates are what the playbooks issue, export and revoke. Those that they would not issue are made by
the tests.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import shutil
import ssl
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from tests.support.acme import ARCHIVE, NAME, converge, delay_reload, metrics, on_archive, start_ca
from tests.support.device_ca import Device, DeviceCa
from tests.support.dicom_nodes import program_of_dcmtk
from tests.support.lab import INVENTORY, address, lab_hosts, run_playbook, secret
from tests.support.project import PROJECT

testinfra_hosts = [address("acme")]
ARCHIVE_PORT = int(lab_hosts()["acme"]["reverse_proxy_archive_dicom_address"].rsplit(":", 1)[1])
PLAIN, TLS = 4242, 11112
LOG = "/var/log/lightbox/reverse_proxy/dicom.log"
AUTHORITY = INVENTORY / ".secrets/dicom-ca"
ON_SERVER = "/etc/lightbox/dicom-ca"
MODALITIES = [
    {"name": "ct1", "aet": "CT1", "host": "172.28.77.1", "port": 2762, "tls": True},
    {"name": "mr1", "aet": "MR1", "host": "172.28.77.1", "port": 2763, "tls": True},
]
INPUTS: dict[str, Any] = {"pacs_dicom_client_certificates": "required", "pacs_modalities": MODALITIES}
DAYS = 825


def secret_title() -> str:
    """The AE title of the checks."""
    return f"LBX{secret('verify_aet')[:13].upper()}"


def manage(request: str) -> str:
    """The output of the playbook that exports and revokes."""
    playbook = PROJECT / "playbooks/dicom_ca.yml"
    done = run_playbook(playbook, "-i", INVENTORY, "-e", json.dumps(INPUTS), "-e", request)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert secret_title() not in done.stdout
    return done.stdout


@dataclasses.dataclass
class Pki:
    """The devices by what is wrong with their certificates, with the file by which they trust the server."""

    devices: dict[str, Device]
    trusted: pathlib.Path
    output: str
    metrics: dict[str, float]


def export(name: str, directory: pathlib.Path) -> pathlib.Path:
    """What an engineer gets, unpacked."""
    manage(f"export={name}")
    with zipfile.ZipFile(AUTHORITY / f"exports/{name}.zip") as archive:
        archive.extractall(directory)
    return directory / name


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Iterator[Pki]:
    directory = tmp_path_factory.mktemp("devices")
    start_ca()
    output = converge(**INPUTS)
    days = metrics()
    parts = export("ct1", directory)
    for name in ("mr1", "verify"):
        shutil.copytree(AUTHORITY / "devices" / name, directory / name)
    devices = {
        "valid": Device.load(parts / "ct1.pem", parts / "ct1.key"),
        "revoked": Device.load(directory / "mr1/fullchain.pem", directory / "mr1/privkey.pem"),
        "of the checks": Device.load(directory / "verify/fullchain.pem", directory / "verify/privkey.pem"),
        "expired": DeviceCa.load(directory, AUTHORITY / "ca.pem", AUTHORITY / "ca.key").issue("ct1", days=-2),
        "of another CA": DeviceCa(directory, "others").issue("ct1"),
    }
    made = Pki(devices, parts / "archive-ca.pem", output, days)
    listener = answer_as_archive()
    try:
        assert echo_by_dcmtk("MR1", TLS, True, devices["revoked"], made.trusted) == "accepted", "it is not revoked yet"
    finally:
        listener.shutdown()
    delay_reload()
    manage("revoke=mr1")
    yield made
    converge()
    assert on_archive(f"ls {ON_SERVER}", None) == "", "the server keeps nothing of it"
    assert (AUTHORITY / "ca.key").exists(), "the controller keeps the CA"


def answer_as_archive() -> Any:
    node = AE("LIGHTBOX")
    node.supported_contexts = [build_context(Verification)]
    listener = node.start_server(("0.0.0.0", ARCHIVE_PORT), block=False)  # noqa: S104 - the lab server calls it
    assert listener
    return listener


def echo_by_dcmtk(title: str, port: int, encrypted: bool, device: Device | None, trusted: pathlib.Path) -> str:
    tls: list[str] = []
    if encrypted:
        tls = ["+tls", str(device.key), str(device.pem)] if device else ["+tla"]
        tls += ["+cf", str(trusted)]
    command = [program_of_dcmtk("echoscu"), *tls, "-to", "10", "-ta", "10", "-aet", title, "-aec", "LIGHTBOX", ARCHIVE]
    done = subprocess.run([*command, str(port)], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0:
        return "accepted"
    return "rejected" if "Calling AE Title Not Recognized" in done.stdout + done.stderr else "aborted"


def echo_by_pynetdicom(title: str, port: int, encrypted: bool, device: Device | None, trusted: pathlib.Path) -> str:
    tls = None
    if encrypted:
        context = ssl.create_default_context(cafile=str(trusted))
        if device:
            context.load_cert_chain(device.pem, device.key)
        tls = (context, NAME)
    entity = AE(title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    got: list[bytes] = []
    association = entity.associate(
        ARCHIVE, port, [build_context(Verification)],
        ae_title="LIGHTBOX", tls_args=tls, evt_handlers=[(evt.EVT_DATA_RECV, lambda event: got.append(event.data))],
    )  # fmt: skip
    if not association.is_established:
        # By the type of the answer: pynetdicom itself sometimes takes a rejection for an abort.
        return "rejected" if got and got[0][0] == 3 else "aborted"
    assert association.send_c_echo().Status == 0x0000
    association.release()
    return "accepted"


# What is wrong with the certificate, whose it is, calling AE title, port; the answer; the log's `certificate` and
# `refused`. HIDDEN stands for the AE title of the checks.
HIDDEN = "********"
NOT_ACCEPTED = "the client certificate is not accepted: "
UNKNOWN_CA = "unable to verify the first certificate"
NO_TLS = "calling AE title CT1 is one of device ct1, which must use TLS and its certificate"
CALLS = [
    ("valid", "ct1", "ct1", TLS, "accepted", "SUCCESS", ""),
    ("of the checks", "verify", HIDDEN, TLS, "accepted", "SUCCESS", ""),
    ("revoked", "mr1", "MR1", TLS, "aborted", "FAILED:certificate revoked", f"{NOT_ACCEPTED}certificate revoked"),
    (
        "expired",
        "ct1",
        "CT1",
        TLS,
        "aborted",
        "FAILED:certificate has expired",
        f"{NOT_ACCEPTED}certificate has expired",
    ),
    ("of another CA", "ct1", "CT1", TLS, "aborted", f"FAILED:{UNKNOWN_CA}", f"{NOT_ACCEPTED}{UNKNOWN_CA}"),
    ("none", "", "CT1", TLS, "rejected", "NONE", "the client has sent no certificate"),
    ("valid", "ct1", "MR1", TLS, "rejected", "SUCCESS", "calling AE title MR1 is not one of device ct1"),
    ("valid", "ct1", HIDDEN, TLS, "rejected", "SUCCESS", f"calling AE title {HIDDEN} is not one of device ct1"),
    ("none", "", "CT1", PLAIN, "rejected", "", NO_TLS),
    ("none", "", "OTHER", PLAIN, "accepted", "", ""),
    ("no TLS", "", "CT1", TLS, "aborted", "NONE", "no TLS handshake: the client uses no TLS"),
]
CLIENTS = {"dcmtk": echo_by_dcmtk, "pynetdicom": echo_by_pynetdicom}


@pytest.fixture(scope="module")
def calls(pki) -> dict[tuple[str, int], tuple[str, dict[str, Any]]]:
    """The answer to each call, and its line in the log, which is read once: one line each, in the same order."""
    listener = answer_as_archive()
    before = int(on_archive(f"wc -l <{LOG}"))
    answers = {}
    for name, client in CLIENTS.items():
        for number, (which, _device, title, port, *_expected) in enumerate(CALLS):
            called_by = secret_title() if title == HIDDEN else title
            tls = port == TLS and which != "no TLS"
            answers[name, number] = client(called_by, port, tls, pki.devices.get(which), pki.trusted)
    listener.shutdown()
    lines = on_archive(f"sleep 0.5; tail -n +{before + 1} {LOG}").splitlines()
    return dict(zip(answers, zip(answers.values(), map(json.loads, lines), strict=True), strict=True))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("number", range(len(CALLS)), ids=[f"{one[0]} {one[2]} {one[3]}" for one in CALLS])
def test_who_is_accepted_and_what_the_log_has(pki, calls, client, number):
    which, device, title, port, found, certificate, refused = CALLS[number]
    answer, line = calls[client, number]
    assert (answer, line["certificate"], line["refused"], line["port"]) == (found, certificate, refused, port)
    assert line["device"] == device
    assert line["status"] == (400 if which == "no TLS" else 403 if refused else 200)
    # Of what fails before the first message, nobody knows the AE title.
    assert line["calling_aet"] == ("" if found == "aborted" else title)
    if device:
        shown = pki.devices[which].certificate
        left = (shown.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days
        assert (int(line["certificate_serial"], 16), line["certificate_days"]) == (shown.serial_number, max(left, 0))
    else:
        assert line["certificate_days"] is None


def test_the_metrics_tell_when_the_certificates_of_devices_end(pki):
    names = [
        f'lightbox_certificate_days_left{{certificate="dicom-{one}"}}' for one in ("ct1", "mr1", "archive", "verify")
    ]
    assert {name: pki.metrics.get(name) for name in names} == dict.fromkeys(names, pytest.approx(DAYS, abs=0.1))


def test_the_list_of_devices_is_a_secret(pki):
    """One of the AE titles is that of the checks."""
    assert on_archive("stat -c '%a %U' /etc/nginx/lightbox/dicom.json") == "400 root"
    assert secret_title() in on_archive("cat /etc/nginx/lightbox/dicom.json")
    assert "ssl_verify_client optional;" in pki.output, "the run shows differences"
    assert secret_title() not in pki.output
    assert secret_title() not in on_archive(f"cat {LOG}")
