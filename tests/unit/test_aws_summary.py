"""What the last task of a run shows on AWS."""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.project import PROJECT


class Undefined:
    """In place of a variable that is not set."""


INSTANCE = {"kind": "instance", "id": "i-0abc", "name": "pacs", "type": "t3.large", "state": "running"}
OLD = INSTANCE | {"id": "i-0old", "type": "m5.large", "state": "terminated"}
VOLUMES = [{"kind": "volume", "size_gb": size, "state": "in-use"} for size in (30, 200)]
DATABASE = {"kind": "db_instance", "type": "db.t4g.medium", "size_gb": 50, "multi_az": False, "state": "available"}
KEY = {"kind": "kms_key", "name": "alias/pacs", "state": "Enabled"}
LOGS = {"kind": "log_group", "name": "pacs-flow-log", "state": "available"}
HOST = {"instance_id": "i-0abc", "public_address": "203.0.113.7", "private_address": "10.77.0.10"}


def show(resources: list[dict[str, Any]], **answers: Any) -> list[str]:
    """Return the lines of the summary."""
    loader = DataLoader()
    wiring = PROJECT / "playbooks/group_vars/all"
    variables: dict[str, Any] = {}
    for name in ("wiring.yml", "wiring_aws.yml"):
        variables |= loader.load_from_file(str(wiring / name), trusted_as_template=True)
    task = loader.load_from_file(str(PROJECT / "playbooks/tasks/summary.yml"), trusted_as_template=True)[-1]
    roles = {
        "ohif_base_path": "/",
        "reverse_proxy_https_port": 443,
        "orthanc_aet": "LIGHTBOX",
        "certificates_provider": "acme",
        "reverse_proxy_dicom_port": 4242,
        "reverse_proxy_dicom_tls_port": 11112,
    }
    facts = {
        "aws_environment": "pacs",
        "ansible_user": "admin",
        "aws_host": HOST,
        "__aws_charged": {"resources": resources},
        "postgresql_provider": "rds",
        "postgresql_connection": {"host": "pacs.abc.eu-central-1.rds.amazonaws.com", "port": 5432},
    }
    inventory = {"pacs_name": "pacs.example.org", "pacs_web_password": "x", "inventory_dir": "/nowhere"}
    everything = variables | task["vars"] | roles | facts | inventory | answers
    templar = Templar(loader, variables={name: value for name, value in everything.items() if value is not Undefined})
    return templar.template(trust_as_template(task["ansible.builtin.debug"]["msg"]))


def test_the_server_the_database_and_the_costs_are_shown():
    lines = show([OLD, INSTANCE, *VOLUMES, DATABASE, KEY, LOGS])
    assert "Server: i-0abc at 203.0.113.7, in its network 10.77.0.10; log in by SSH as admin" in lines
    assert "Database: pacs.abc.eu-central-1.rds.amazonaws.com:5432" in lines
    assert (
        "Costs money until playbooks/aws_destroy.yml removes it: the server (t3.large), its disks of 30 and 200 GiB, its"
        " public address, the database (db.t4g.medium, 50 GiB, in one zone) and the secret of its administrator, the key"
        " alias/pacs, the log of rejected traffic. Data sent to the internet, too; see docs/aws.md"
    ) in lines


def test_what_does_not_exist_is_not_shown():
    host = HOST | {"public_address": ""}
    lines = show([INSTANCE, VOLUMES[0]], aws_host=host, postgresql_provider="none", postgresql_connection={})
    assert "Server: i-0abc at 10.77.0.10; log in by SSH as admin" in lines
    assert not [line for line in lines if line.startswith("Database")]
    assert [line for line in lines if "the server (t3.large), its disks of 30 GiB. Data" in line]


def test_a_standby_and_snapshots_cost_more():
    snapshots = [{"kind": "db_snapshot", "size_gb": 50, "state": "available"}] * 2
    (costs,) = [
        line for line in show([INSTANCE, *VOLUMES, DATABASE | {"multi_az": True}, *snapshots]) if "Costs" in line
    ]
    assert "(db.t4g.medium, 50 GiB, in two zones)" in costs
    assert "snapshots of the database (2)" in costs


def test_other_servers_have_the_same_lines_as_ever():
    nothing = {"aws_host": Undefined, "__aws_charged": Undefined, "postgresql_connection": {}}
    lines = show([], **nothing, postgresql_provider="none", __aws_is_used=False)
    assert [line.split(":")[0] for line in lines] == ["Viewer", "Log in", "Send studies", "Next"]
