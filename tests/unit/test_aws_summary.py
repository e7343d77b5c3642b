"""What the last task of a run shows on AWS."""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.project import PROJECT


class Undefined:
    """In place of a variable that is not set."""


INSTANCE: dict[str, Any] = {"kind": "instance", "id": "i-0abc", "name": "pacs", "type": "t3.large", "state": "running"}
OLD = INSTANCE | {"id": "i-0old", "type": "m5.large", "state": "terminated"}
VOLUME: dict[str, Any] = {
    "kind": "volume",
    "id": "vol-1",
    "name": "pacs-data",
    "size_gb": 200,
    "type": "gp3",
    "state": "in-use",
}
DATABASE: dict[str, Any] = {
    "kind": "db_instance",
    "id": "pacs",
    "name": "pacs",
    "type": "db.t4g.medium",
    "size_gb": 50,
    "multi_az": False,
    "state": "available",
    "endpoint": "pacs.abc.eu-central-1.rds.amazonaws.com",
}
ADDRESS: dict[str, Any] = {
    "kind": "elastic_ip",
    "id": "eipalloc-1",
    "name": "pacs",
    "address": "203.0.113.7",
    "instance_id": "i-0abc",
    "state": "available",
}
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
        "aws_host_elastic_ip": True,
        "orthanc_object_storage": {},
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
    lines = show([OLD, INSTANCE, VOLUME, DATABASE])
    server = "Server: i-0abc at 203.0.113.7, in its network 10.77.0.10; log in by SSH as admin"
    database, heading, *costs = lines[lines.index(server) + 1 :]
    assert database == "Database: pacs.abc.eu-central-1.rds.amazonaws.com:5432"
    assert "aws_destroy.yml" in heading
    assert [cost.split()[0] for cost in costs] == ["server", "volume", "database"]
    assert "t3.large" in costs[0]
    assert "200 GiB" in costs[1]
    assert "50 GiB" in costs[2]
    assert "two zones" not in costs[2]


def test_a_standby_costs_twice():
    assert "both in two zones" in show([DATABASE | {"multi_az": True}])[-1]


def test_the_addresses_for_people_and_devices_are_shown():
    lines = show([INSTANCE], pacs_dicom_networks=["10.1.0.0/16"])
    assert lines[0].startswith("Viewer: https://pacs.example.org/ ")
    assert (
        "Send studies: to AE title LIGHTBOX at pacs.example.org, port 4242 from 10.1.0.0/16, or with TLS port 11112 "
        "from 10.1.0.0/16; or upload them in the viewer"
    ) in lines


def unused(resources: list[dict[str, Any]], **answers: Any) -> list[str]:
    """What the summary says is not used; each has its line among the costs, too."""
    lines = show(resources, **answers)
    assert [line for line in lines if "Elastic IP" in line and "each hour, also without a server" in line]
    return [line for line in lines if line.startswith("Not used")]


def test_an_address_that_is_not_used_is_shown():
    everything = [INSTANCE, VOLUME, ADDRESS, DATABASE]
    assert unused(everything) == []
    hint = " To release it, when no name leads to it: docs/aws.md, Release an address."
    (line,) = unused(everything, aws_host_elastic_ip=False)
    assert line == "Not used, but still there and charged: the Elastic IP 203.0.113.7 (eipalloc-1)." + hint
    second = ADDRESS | {"id": "eipalloc-2", "address": "203.0.113.8", "instance_id": ""}
    (line,) = unused([*everything, second])
    assert "the Elastic IP 203.0.113.8 (eipalloc-2)." in line


def test_a_database_that_is_not_used_is_shown():
    everything = [INSTANCE, ADDRESS, DATABASE]
    other = {
        "postgresql_connection": {"host": "elsewhere.example.org", "port": 5432},
        "postgresql_provider": "external",
    }
    (line,) = unused(everything, **other)
    assert line.startswith(
        "Not used, but still there and charged: the database pacs. To remove it: docs/aws.md, Remove"
    )
    assert unused([*everything[:2], DATABASE | {"state": "deleting"}], **other) == []
    # Renamed, to restore a snapshot under its name.
    old = DATABASE | {"id": "pacs-old", "name": "pacs-old", "endpoint": "pacs-old.rds"}
    (line,) = unused([*everything, old])
    assert "the database pacs-old." in line
    # The inventory may use it by its endpoint.
    assert unused(everything, aws_database_enabled=False) == []


def test_the_bucket_is_shown_where_images_are_in_one():
    assert not [line for line in show([INSTANCE]) if "Bucket" in line]
    lines = show([INSTANCE], orthanc_object_storage={"bucket": "pacs-images", "region": "eu-central-1"})
    assert "Bucket: pacs-images, with the images" in lines


def test_what_does_not_exist_is_not_shown():
    host = HOST | {"public_address": ""}
    lines = show([INSTANCE], aws_host=host, postgresql_provider="none", postgresql_connection={})
    assert "Server: i-0abc at 10.77.0.10; log in by SSH as admin" in lines
    assert not [line for line in lines if line.startswith("Database")]


def test_other_servers_have_the_same_lines_as_ever():
    nothing = {"aws_host": Undefined, "__aws_charged": Undefined, "postgresql_connection": {}}
    lines = show([], **nothing, postgresql_provider="none", __aws_is_used=False)
    assert [line.split(":")[0] for line in lines] == ["Viewer", "Log in", "Send studies", "Next"]
