"""Bad input is refused before anything changes: each case is a host of one run, with one wrong value."""

from __future__ import annotations

import datetime
import json
import pathlib
import re

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.lab import INVENTORY, lab_hosts, run_playbook, server

NAME = "bare.lightbox.test"
MODALITY = {"name": "ct1", "aet": "CT1", "host": "192.0.2.7"}
PROVIDED = {
    "certificates_provider": "provided",
    "certificates_provided_certificate": "{certificates}/good.pem",
    "certificates_provided_key": "{certificates}/good.key",
}

# name of the case: (host of the run, what the inventory says, what the refusal must name, a part of the remedy)
CASES: dict[str, tuple[str, dict, str, str]] = {
    "unknown-flavor": ("archive-types", {"orthanc_flavor": "alpine"}, "orthanc_flavor", "debian, orthancteam"),
    "wrong-type": ("archive-types", {"orthanc_memory_mb": "much"}, "orthanc_memory_mb", "int"),
    "http-port-out-of-range": ("archive-1", {"orthanc_http_port": 70000}, "orthanc_http_port", "from 1 to 65535"),
    "dicom-port-negative": ("archive-4", {"orthanc_dicom_port": -1}, "orthanc_dicom_port", "from 1 to 65535"),
    "ports-equal": ("archive-2", {"orthanc_dicom_port": 8042}, "orthanc_dicom_port", "two different ports"),
    "archive-port-in-use": ("server-archive", {"orthanc_http_port": 9042}, "orthanc_http_port", "to a free port"),
    "reverse-proxy-port-in-use": (
        "server-reverse-proxy",
        {"reverse_proxy_https_port": 9042},
        "reverse_proxy_https_port",
        "to a free port",
    ),
    "reverse-proxy-port-out-of-range": (
        "reverse-proxy-2",
        {"reverse_proxy_https_port": 99999},
        "reverse_proxy_https_port",
        "Set",
    ),
    "reverse-proxy-upload": (
        "reverse-proxy-2",
        {"reverse_proxy_max_upload": "8g"},
        "reverse_proxy_max_upload",
        "to 204m or less, or raise orthanc_memory_mb",
    ),
    "reverse-proxy-ports-equal": (
        "reverse-proxy-3",
        {"reverse_proxy_https_port": 80},
        "reverse_proxy_https_port",
        "Set each to a port of its own",
    ),
    "memory-negative": ("archive-1", {"orthanc_memory_mb": -5}, "orthanc_memory_mb", "512 or more"),
    "aet-too-long": ("archive-1", {"orthanc_aet": "SEVENTEEN_LETTERS"}, "orthanc_aet", "1 to 16 printable ASCII"),
    "aet-not-ascii": ("archive-2", {"orthanc_aet": "RÖNTGEN"}, "orthanc_aet", "1 to 16 printable ASCII"),
    "storage-inside-program": (
        "archive-1",
        {"orthanc_storage_directory": "/opt/lightbox/orthanc/images"},
        "orthanc_storage_directory",
        "outside orthanc_directory",
    ),
    "storage-is-the-system": (
        "archive-2",
        {"orthanc_storage_directory": "/etc"},
        "orthanc_storage_directory",
        "directory of its own",
    ),
    "storage-relative": ("archive-4", {"orthanc_storage_directory": "images"}, "orthanc_storage_directory", "absolute"),
    "no-space-left": (
        "server-archive",
        {"orthanc_storage_free_min_gb": 1000000},
        "orthanc_storage_directory",
        "larger disk",
    ),
    "uid-taken": ("server-archive", {"orthanc_uid": 33}, "orthanc_uid", "to a free number"),
    "uid-root": ("archive-2", {"orthanc_uid": 0}, "orthanc_uid", "never runs as root"),
    "image-unpinned": (
        "archive-1",
        {"orthanc_image": "orthancteam/orthanc:latest"},
        "orthanc_image",
        "fixed tag or digest",
    ),
    "image-file-missing": (
        "archive-2",
        {"orthanc_image_archive": "/missing.tar.gz"},
        "orthanc_image_archive",
        "docker",
    ),
    "password-with-line-break": (
        "archive-1",
        {"pacs_archive_password": "first line\nsecond line"},
        "pacs_archive_password",
        "Set it to one line",
    ),
    "web-password-with-line-break": (
        "reverse-proxy-1",
        {"pacs_web_password": "first line\nsecond line"},
        "pacs_web_password",
        "line break",
    ),
    "web-password-short": (
        "archive-2",
        {"pacs_web_users": [{"name": "jane", "password": "second line"}]},
        "pacs_web_users",
        "Set it to 12 characters or more",
    ),
    "password-known": (
        "archive-2",
        {"pacs_archive_password": "change-this-now"},
        "pacs_archive_password",
        "Set a longer one",
    ),
    "no-login-to-the-archive": (
        "archive-1",
        {"orthanc_configuration": {"AuthenticationEnabled": False}},
        "AuthenticationEnabled",
        "Remove it",
    ),
    "option-unknown": (
        "archive-2",
        {"orthanc_configuration": {"StableAgee": 30}},
        "orthanc_configuration.StableAgee",
        "Did you mean StableAge",
    ),
    "option-dangerous": (
        "archive-3",
        {"orthanc_configuration": {"ExecuteLuaEnabled": True}},
        "orthanc_configuration.ExecuteLuaEnabled",
        "orthanc_accepted_options",
    ),
    "deletion-without-a-yes": (
        "archive-4",
        {"orthanc_configuration": {"MaximumPatientCount": 1000, "MaximumStorageMode": "Recycle"}},
        "MaximumPatientCount",
        "orthanc_allow_deletion",
    ),
    "variable-misspelt": ("answers", {"pacs_modalites": []}, "pacs_modalites", "Did you mean pacs_modalities"),
    "modality-twice": ("archive-1", {"pacs_modalities": [MODALITY, MODALITY]}, "pacs_modalities", "each name once"),
    "modality-without-aet": (
        "archive-types",
        {"pacs_modalities": [{"name": "ct1", "host": "192.0.2.7"}]},
        "aet",
        "required",
    ),
    "key-missing": (
        "key-missing",
        {**PROVIDED, "certificates_provided_key": "/missing.key"},
        "certificates_provided_key",
        "Set",
    ),
    "key-of-another": (
        "key-of-another",
        {**PROVIDED, "certificates_provided_key": "{certificates}/other.key"},
        "certificates_provided_key",
        "Set",
    ),
    "certificate-expired": (
        "certificate-expired",
        {**PROVIDED, "certificates_provided_certificate": "{certificates}/expired.pem"},
        "certificates_provided_certificate",
        "expired",
    ),
    "certificate-of-another-name": (
        "certificate-of-another-name",
        {**PROVIDED, "certificates_provided_certificate": "{certificates}/other-name.pem"},
        "certificates_provided_certificate",
        NAME,
    ),
    "certificate-is-no-certificate": (
        "certificate-is-no-certificate",
        {**PROVIDED, "certificates_provided_certificate": "{certificates}/good.key"},
        "certificates_provided_certificate",
        "Set",
    ),
    "provider-unknown": (
        "provider-unknown",
        {"certificates_provider": "letsencrypt"},
        "certificates_provider",
        "local_ca",
    ),
    "viewer-source-unknown": ("viewer-source-unknown", {"ohif_source": "docker"}, "ohif_source", "npm, archive, git"),
    "viewer-wrong-sha512": (
        "viewer-wrong-sha512",
        {"ohif_npm_sha512": "sha512-" + "A" * 86 + "=="},
        "ohif_npm_sha512",
        "before you set it",
    ),
    "viewer-archive-missing": (
        "viewer-archive-missing",
        {"ohif_source": "archive", "ohif_archive": "/missing.tar.gz"},
        "ohif_archive",
        "Set",
    ),
    "viewer-unknown-layout": (
        "viewer-unknown-layout",
        {"ohif_source": "archive", "ohif_archive": "{certificates}/layout.tar.gz", "ohif_archive_sha256": "{layout}"},
        "ohif_archive",
        "",
    ),
    "viewer-path-without-slash": ("answers", {"ohif_base_path": "/ohif"}, "ohif_base_path", "Remove it"),
    "dicom-network-malformed": (
        "reverse-proxy-1",
        {"pacs_dicom_networks": ["10.0.0.0/33"]},
        "pacs_dicom_networks",
        "Set",
    ),
    "dicom-open-to-the-world": (
        "reverse-proxy-3",
        {"pacs_dicom_networks": ["0.0.0.0/0"]},
        "reverse_proxy_dicom_open_to_world",
        "Set",
    ),
    "engine-on-a-tcp-socket": (
        "engine-on-a-tcp-socket",
        {"docker_engine_configuration": {"hosts": ["tcp://0.0.0.0:2375"]}},
        "docker_engine_configuration",
        "Remove it",
    ),
    "engine-source-unknown": (
        "engine-source-unknown",
        {"docker_engine_source": "snap"},
        "docker_engine_source",
        "distribution, docker",
    ),
}
UNSUPPORTED = "unsupported-distribution"


def make_certificates(directory: pathlib.Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)

    def pair(name: str, dns: str, start: datetime.datetime, end: datetime.datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, dns)])
        addresses = [x509.DNSName(dns), x509.DNSName("localhost")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(key, hashes.SHA256())
        )
        (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    pair("good", NAME, now - day, now + 90 * day)
    pair("other", NAME, now - day, now + 90 * day)
    pair("expired", NAME, now - 90 * day, now - day)
    pair("other-name", "elsewhere.example.org", now - day, now + 90 * day)


def filled(value, words: dict[str, str]):
    if isinstance(value, dict):
        return {name: filled(part, words) for name, part in value.items()}
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace("{" + word + "}", meaning)
    return value


def state(host) -> str:
    """Everything on the server that a role could have touched: path, mode, owner, size and time of change."""
    with host.sudo():
        return host.check_output(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /var/tmp "
            "-o -path /var/log -o -path /root/.ansible -o -path /home/admin -o -path /var/lib/systemd "
            "-o -path '*/__pycache__' \\) "
            "-prune -o -printf '%p %m %u %g %s %C@\\n' | sort"
        )


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> dict:
    """Run the playbook once, every case a host; return host → its failed task, and the servers before and after."""
    import hashlib
    import io
    import tarfile

    directory = tmp_path_factory.mktemp("refused")
    make_certificates(directory)
    with tarfile.open(directory / "layout.tar.gz", "w:gz") as archive:
        page = b"<!doctype html><title>Not the viewer</title>"
        entry = tarfile.TarInfo("dist/index.html")
        entry.size = len(page)
        archive.addfile(entry, io.BytesIO(page))
    words = {
        "certificates": str(directory),
        "layout": hashlib.sha256((directory / "layout.tar.gz").read_bytes()).hexdigest(),
    }
    servers = lab_hosts()
    hosts: dict[str, dict] = {}
    for host, answers, _variable, _remedy in CASES.values():
        one = hosts.setdefault(f"case-{host}", {**servers["bare"], "pacs_alternative_names": ["localhost"]})
        assert not set(answers) & (set(one) - set(servers["bare"])), f"two cases of {host} set the same variable"
        one.update(filled(answers, words))
    hosts[f"case-{UNSUPPORTED}"] = servers["unsupported"]
    inventory = directory / "inventory"
    inventory.mkdir()
    (inventory / "cases.yml").write_text(
        yaml.safe_dump({"lab": {"hosts": hosts}, "pacs": {"hosts": dict.fromkeys(hosts)}})
    )

    bare, unsupported = server("bare"), server("unsupported")
    with unsupported.sudo():
        unsupported.check_output(
            "sed -i 's/^VERSION_ID=.*/VERSION_ID=\"11\"/; s/(trixie)/(bullseye)/; s/trixie/bullseye/' /etc/os-release"
        )
        unsupported.check_output("echo 11.9 >/etc/debian_version")
    with bare.sudo():
        bare.check_output("systemd-run --unit=occupant python3 -m http.server 9042")
    before = {host: state(server(host)) for host in ("bare", "unsupported")}
    run = run_playbook(
        "playbooks/pacs.yml",
        *("-i", INVENTORY, "-i", inventory, "--limit", "case-*", "--forks", "8"),
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ANSIBLE_CALLBACK_RESULT_FORMAT="json",
        ANSIBLE_STRATEGY="ansible.builtin.free",
    )
    after = {host: state(server(host)) for host in ("bare", "unsupported")}
    with bare.sudo():
        bare.check_output("systemctl stop occupant")
    answer = json.loads(run.stdout[run.stdout.index("{") :])
    failed: dict[str, dict] = {}
    changed = []
    for play in answer["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed"):
                    failed.setdefault(host, {"task": task["task"]["name"], **result})
                if result.get("changed") and not result.get("skipped"):
                    changed.append((host, task["task"]["name"]))
    return {
        "code": run.returncode,
        "failed": failed,
        "changed": changed,
        "before": before,
        "after": after,
        "text": run.stdout,
    }


@pytest.mark.parametrize("case", [*CASES, UNSUPPORTED])
def test_bad_input_is_refused_with_the_variable_and_the_remedy(refusals, case):
    host, _answers, variable, remedy = CASES.get(
        case, (UNSUPPORTED, {}, "docker_engine_source", "Debian 13 or Ubuntu 24.04")
    )
    failure = refusals["failed"].get(f"case-{host}")
    assert failure, f"{case} was not refused"
    message = json.dumps([failure.get("msg"), failure.get("argument_errors")], ensure_ascii=False)
    assert re.search(r"preflight|prepare|^Validate the variables", failure["task"])
    assert variable in message
    assert remedy in message
    assert "second line" not in message


def test_nothing_changed_on_the_server(refusals):
    assert refusals["code"] != 0
    assert refusals["changed"] == []
    for host, before in refusals["before"].items():
        assert refusals["after"][host].splitlines() == before.splitlines()


def test_no_refusal_shows_a_password(refusals):
    assert "first line" not in refusals["text"]
    assert "change-this-now" not in refusals["text"]
