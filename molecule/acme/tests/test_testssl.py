"""testssl.sh on both ports with TLS, from the lab's other server."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.support.lab import INVENTORY, SCENARIO, address, server

testinfra_hosts = [address("acme-ca")]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("issued")]
ACCEPTED = yaml.safe_load((SCENARIO / "testssl.yml").read_text())


@pytest.mark.parametrize("port", ACCEPTED)
def test_what_testssl_reports_is_accepted_with_a_reason(port):
    host = server("acme-ca")
    with host.sudo():
        host.check_output("apt-get install -y -q --no-install-recommends testssl.sh")
        host.check_output("printf %%s %s >/var/tmp/ca.pem", (INVENTORY / ".secrets/acme-ca.pem").read_text())
        options = (
            f"--quiet --warnings batch --color 0 --add-ca /var/tmp/ca.pem --overwrite --jsonfile /var/tmp/{port}.json"
        )
        host.run(f"testssl {options} acme.lightbox.test:{port}")
        found = json.loads(host.check_output(f"cat /var/tmp/{port}.json"))
    # WARN is about testssl.sh itself.
    reported = {one["id"]: one["finding"] for one in found if one["severity"] not in ("OK", "INFO", "DEBUG", "WARN")}
    assert {name: text for name, text in reported.items() if name not in ACCEPTED[port]} == {}
    assert set(ACCEPTED[port]) - set(reported) == set(), "no longer reported: remove it from testssl.yml"
    assert any(one["id"] == "TLS1_3" and "offered" in one["finding"] for one in found), "it has scanned nothing"
