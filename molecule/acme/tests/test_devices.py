"""Devices with certificates on the port for DICOM over TLS: who is accepted, and what dicom.log has of the others.

Independent of the CA that the other tests are about: the devices have a CA of their own, and the server has whatever
certificate it has.
"""

from __future__ import annotations

import base64
import json
import pathlib
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from tests.support.device_ca import Device, DeviceCa
from tests.support.dicom_nodes import program_of_dcmtk
from tests.support.lab import INVENTORY, address, lab_hosts, run_playbook, server, write_role_playbook
from tests.support.project import PROJECT

testinfra_hosts = [address("acme")]
ADDRESS = lab_hosts()["acme"]["ansible_host"]
ARCHIVE_PORT = int(lab_hosts()["acme"]["reverse_proxy_archive_dicom_address"].rsplit(":", 1)[1])
PLAIN, TLS = 4242, 11112
LOG = "/var/log/lightbox/reverse_proxy/dicom.log"
DIRECTORY = "/etc/lightbox/test-devices"
SECRET = "LBX" + "5" * 13


def on_server(command: str, *arguments: str) -> str:
    host = server("acme")
    with host.sudo():
        return host.check_output(command, *arguments)


def install(*files: pathlib.Path) -> None:
    for file in files:
        text = base64.b64encode(file.read_bytes()).decode()
        on_server(f"install -d {DIRECTORY} && echo %s | base64 -d >{DIRECTORY}/{file.name}", text)


def configure(*arguments: str) -> str:
    """The output of a run of the reverse proxy's role alone, the inputs from the inventory and the arguments."""
    directory = PROJECT / ".cache/playbooks"
    directory.mkdir(parents=True, exist_ok=True)
    playbook = write_role_playbook(directory / "acme-devices.yml", "reverse_proxy")
    (play,) = yaml.safe_load(playbook.read_text())
    play["pre_tasks"] = [{"ansible.builtin.import_tasks": str(PROJECT / "playbooks/tasks/validate.yml")}]
    playbook.write_text(yaml.safe_dump([play]))
    done = run_playbook(playbook, "-i", INVENTORY, *arguments)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """The devices by what is wrong with their certificates, and the server's own certificate, whatever CA it has."""
    directory = tmp_path_factory.mktemp("devices")
    authority = DeviceCa(directory)
    (directory / "other").mkdir()
    devices = {
        "valid": authority.issue("ct1"),
        "revoked": authority.issue("ct1"),
        "expired": authority.issue("ct1", days=-2),
        "of another CA": DeviceCa(directory / "other", "others").issue("ct1"),
    }
    authority.revoke(devices["revoked"])
    install(authority.path, authority.crl)
    inputs = {
        "reverse_proxy_dicom_client_certificates": "required",
        "reverse_proxy_dicom_client_ca": f"{DIRECTORY}/{authority.path.name}",
        "reverse_proxy_dicom_client_crl": f"{DIRECTORY}/{authority.crl.name}",
        "reverse_proxy_dicom_devices": [
            {"name": "ct1", "aets": ["CT1"]},
            {"name": "verify", "aets": [SECRET], "hide_aet": True},
        ],
    }
    output = configure("--diff", "-e", json.dumps(inputs))
    served = directory / "server.pem"
    served.write_text(ssl.get_server_certificate((ADDRESS, 443)))
    yield {"devices": devices, "server": served, "output": output}
    configure()
    on_server(f"rm -r {DIRECTORY}")


def echo_by_dcmtk(title: str, port: int, encrypted: bool, device: Device | None, served: pathlib.Path) -> str:
    tls: list[str] = []
    if encrypted:
        tls = ["+tls", str(device.key), str(device.pem)] if device else ["+tla"]
        tls += ["+cf", str(served), "-ic"]
    command = [program_of_dcmtk("echoscu"), *tls, "-to", "10", "-ta", "10", "-aet", title, "-aec", "LIGHTBOX", ADDRESS]
    done = subprocess.run([*command, str(port)], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0:
        return "accepted"
    return "rejected" if "Calling AE Title Not Recognized" in done.stdout + done.stderr else "aborted"


def echo_by_pynetdicom(title: str, port: int, encrypted: bool, device: Device | None, served: pathlib.Path) -> str:
    tls = None
    if encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the name is the other tests' business
        context.verify_flags |= 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: the server's own certificate is enough
        context.load_verify_locations(served)
        if device:
            context.load_cert_chain(device.pem, device.key)
        tls = (context, ADDRESS)
    entity = AE(title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    got: list[bytes] = []
    association = entity.associate(
        ADDRESS, port, [build_context(Verification)],
        ae_title="LIGHTBOX", tls_args=tls, evt_handlers=[(evt.EVT_DATA_RECV, lambda event: got.append(event.data))],
    )  # fmt: skip
    if not association.is_established:
        # By the type of the answer: pynetdicom itself sometimes takes a rejection for an abort.
        return "rejected" if got and got[0][0] == 3 else "aborted"
    assert association.send_c_echo().Status == 0x0000
    association.release()
    return "accepted"


# What is wrong with the certificate, calling AE title, port; the answer; the log's `certificate` and `refused`.
NOT_ACCEPTED = "the client certificate is not accepted: "
UNKNOWN_CA = "unable to verify the first certificate"
NO_TLS = "calling AE title CT1 is one of device ct1, which must use TLS and its certificate"
CALLS = [
    ("valid", "ct1", TLS, "accepted", "SUCCESS", ""),
    ("revoked", "CT1", TLS, "aborted", "FAILED:certificate revoked", f"{NOT_ACCEPTED}certificate revoked"),
    ("expired", "CT1", TLS, "aborted", "FAILED:certificate has expired", f"{NOT_ACCEPTED}certificate has expired"),
    ("of another CA", "CT1", TLS, "aborted", f"FAILED:{UNKNOWN_CA}", f"{NOT_ACCEPTED}{UNKNOWN_CA}"),
    ("none", "CT1", TLS, "rejected", "NONE", "the client has sent no certificate"),
    ("valid", "MR1", TLS, "rejected", "SUCCESS", "calling AE title MR1 is not one of device ct1"),
    ("valid", SECRET, TLS, "rejected", "SUCCESS", "calling AE title ******** is not one of device ct1"),
    ("none", "CT1", PLAIN, "rejected", "", NO_TLS),
    ("none", "OTHER", PLAIN, "accepted", "", ""),
    ("no TLS", "CT1", TLS, "aborted", "NONE", "no TLS handshake: the client uses no TLS"),
]
CLIENTS = {"dcmtk": echo_by_dcmtk, "pynetdicom": echo_by_pynetdicom}


@pytest.fixture(scope="module")
def calls(pki) -> dict[tuple[str, int], tuple[str, dict[str, Any]]]:
    """The answer to each call, and its line in the log, which is read once: one line each, in the same order."""
    node = AE("LIGHTBOX")
    node.supported_contexts = [build_context(Verification)]
    listener = node.start_server(("0.0.0.0", ARCHIVE_PORT), block=False)  # noqa: S104 - the lab server calls it
    assert listener
    before = int(on_server(f"wc -l <{LOG}"))
    answers = {}
    for name, client in CLIENTS.items():
        for number, (which, title, port, *_expected) in enumerate(CALLS):
            tls = port == TLS and which != "no TLS"
            answers[name, number] = client(title, port, tls, pki["devices"].get(which), pki["server"])
    listener.shutdown()
    lines = on_server(f"sleep 0.5; tail -n +{before + 1} {LOG}").splitlines()
    return dict(zip(answers, zip(answers.values(), map(json.loads, lines), strict=True), strict=True))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("number", range(len(CALLS)), ids=[f"{one[0]} {one[1]} {one[2]}" for one in CALLS])
def test_who_is_accepted_and_what_the_log_has(pki, calls, client, number):
    which, title, port, found, certificate, refused = CALLS[number]
    answer, line = calls[client, number]
    assert (answer, line["certificate"], line["refused"], line["port"]) == (found, certificate, refused, port)
    assert line["device"] == ("ct1" if pki["devices"].get(which) else "")
    assert line["status"] == (400 if which == "no TLS" else 403 if refused else 200)
    # Of what fails before the first message, nobody knows the AE title.
    assert line["calling_aet"] == ("" if found == "aborted" else "********" if title == SECRET else title)


def test_the_list_of_devices_is_a_secret(pki):
    """One of the AE titles may be that of the checks."""
    assert on_server("stat -c '%a %U' /etc/nginx/lightbox/dicom.json") == "400 root"
    assert SECRET in on_server("cat /etc/nginx/lightbox/dicom.json")
    assert "ssl_verify_client optional;" in pki["output"], "the run shows differences"
    assert SECRET not in pki["output"]
    assert SECRET not in on_server(f"cat {LOG}")
