"""What is switched off is removed, and nothing that people gave to the archive is."""

from __future__ import annotations

import json

import pytest
from conftest import INVENTORY, address, run_playbook

testinfra_hosts = [address("spare")]
STORAGE = "/var/lib/lightbox/orthanc"
ROLES = ("docker_engine", "orthanc", "certificates", "ohif", "gateway")
OFF = json.dumps({f"{role}_enabled": False for role in ROLES} | {"pacs_hosts": "spare"})
OFF_IN_WORDS = " ".join(f"{role}_enabled=false" for role in ROLES) + " pacs_hosts=spare"  # text, no boolean


def site(*arguments: str) -> str:
    run = run_playbook("site.yml", "-i", INVENTORY, "--limit", "spare", *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


@pytest.fixture(scope="module")
def switched_off() -> list[str]:
    """The archive is there (see test_cut_off.py). The outputs of switching all off: checked, done, done again."""
    site("-e", "pacs_hosts=spare")
    return [site("-e", OFF, "--check"), site("-e", OFF), site("-e", OFF_IN_WORDS)]


def test_the_run_after_that_changes_nothing(switched_off):
    assert "changed=0" in switched_off[2].rsplit("PLAY RECAP", 1)[1]
    assert "changed=0" not in switched_off[1].rsplit("PLAY RECAP", 1)[1]


def test_images_and_index_stay(switched_off, host):
    with host.sudo():
        assert host.file(f"{STORAGE}/index").size > 0
        assert host.user("lightbox-orthanc").exists


def test_programs_and_secrets_are_gone(switched_off, host):
    with host.sudo():
        for path in ("/opt/lightbox/orthanc", "/etc/nginx/lightbox", "/etc/lightbox/certificates/privkey.pem"):
            assert not host.file(path).exists, path
        assert not host.file("/opt/lightbox/ohif/current").exists
        assert not host.package("docker.io").is_installed
        assert host.check_output("ss -Hltn '( sport = :443 or sport = :80 or sport = :8042 or sport = :14242 )'") == ""
        secret = (INVENTORY / ".secrets/archive_password").read_text().strip()
        assert host.run(f"grep -rlF {secret} /etc /opt /run").stdout == ""


def test_the_keys_on_the_controller_stay(switched_off):
    assert (INVENTORY / ".secrets/ca/ca.key").exists()
    assert (INVENTORY / ".secrets/web_password").exists()
