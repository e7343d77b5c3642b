"""A part that is disabled is removed; images, index and keys stay."""

from __future__ import annotations

import json

import pytest

from tests.support.lab import INVENTORY, address, recap, run_playbook, secret

pytestmark = pytest.mark.last  # the archive is gone afterwards; `molecule converge` brings it back
testinfra_hosts = [address("full")]
STORAGE = "/var/lib/lightbox/orthanc"
ROLES = ("docker_engine", "orthanc", "certificates", "ohif", "reverse_proxy")
OFF = json.dumps({f"{role}_enabled": False for role in ROLES})
OFF_AS_TEXT = " ".join(f"{role}_enabled=false" for role in ROLES)


def site(*arguments: str) -> str:
    run = run_playbook("site.yml", "-i", INVENTORY, "--limit", "full", *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


@pytest.fixture(scope="module")
def disabled() -> list[str]:
    """The outputs of disabling everything: checked, done, done again."""
    return [site("-e", OFF, "--check"), site("-e", OFF), site("-e", OFF_AS_TEXT)]


def test_the_run_after_that_changes_nothing(disabled):
    assert recap(disabled[2])["changed"] == 0
    assert recap(disabled[1])["changed"] > 0


def test_images_and_index_stay(disabled, host):
    with host.sudo():
        assert host.file(f"{STORAGE}/index").size > 0
        assert host.user("lightbox-orthanc").exists


def test_programs_and_secrets_are_gone(disabled, host):
    with host.sudo():
        for path in ("/opt/lightbox/orthanc", "/etc/nginx/lightbox", "/etc/lightbox/dicom-ca"):
            assert not host.file(path).exists, path
        assert not host.file("/etc/lightbox/certificates/privkey.pem").exists
        assert not host.file("/opt/lightbox/ohif/current").exists
        assert not host.package("docker.io").is_installed
        assert host.check_output("ss -Hltn '( sport = :443 or sport = :80 or sport = :8042 or sport = :14242 )'") == ""
        assert host.run(f"grep -rlF {secret('archive_password')} /etc /opt /run").stdout == ""


def test_the_keys_on_the_controller_stay(disabled):
    assert (INVENTORY / ".secrets/ca/ca.key").exists()
    assert (INVENTORY / ".secrets/dicom-ca/ca.key").exists()
    assert (INVENTORY / ".secrets/web_password").exists()
