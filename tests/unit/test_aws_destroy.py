"""What playbooks/aws_destroy.yml selects and confirms, without AWS."""

from __future__ import annotations

import re
from typing import Any

import boto3
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.modules.aws_resource_info import KINDS

from tests.support.aws_modules import REGION, aws_account, recorded_calls, run_module
from tests.support.project import PROJECT


def resource(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": "lab", "id": f"{kind}-1", "state": "available", **more}


DATA = resource("volume", id="vol-data", delete_on_termination=False, size_gb=200, type="gp3")
ROOT = resource("volume", id="vol-root", delete_on_termination=True, size_gb=30, type="gp3")
EXISTING = [
    resource("kms_key"),
    resource("vpc", id="vpc-1", vpc_id="vpc-1"),
    resource("subnet", vpc_id="vpc-1"),
    resource("flow_log", vpc_id="vpc-1"),
    resource("security_group", vpc_id="vpc-1"),
    resource("instance", vpc_id="vpc-1"),
    ROOT,
    DATA,
    resource("db_instance"),
    resource("db_snapshot"),
]


def template(expression: str, **facts: Any) -> Any:
    loader = DataLoader()
    (play,) = loader.load_from_file(str(PROJECT / "playbooks/aws_destroy.yml"), trusted_as_template=True)
    known = {"aws_environment": "lab", "__aws_existing": {"resources": EXISTING}, "ansible_check_mode": False}
    templar = Templar(loader, variables=play["vars"] | known | facts)
    return templar.template(trust_as_template("{{ " + expression + " }}"))


def tasks(name: str) -> dict[str, dict[str, Any]]:
    loaded = DataLoader().load_from_file(str(PROJECT / f"playbooks/tasks/{name}.yml"), trusted_as_template=True)
    return {task["name"]: task for task in loaded}


def removed(**facts: Any) -> list[str]:
    to_remove = tasks("aws_destroy_confirm")["Set what is removed"]["ansible.builtin.set_fact"]["__aws_to_remove"]
    return [one["id"] for one in template(to_remove.strip("{} "), **facts)]


def test_images_key_and_snapshots_stay():
    stays = {one["id"] for one in EXISTING} - set(removed())
    assert stays == {"vol-data", "kms_key-1", "db_snapshot-1"}


def test_the_data_volume_is_removed_when_told_so_in_words():
    assert set(removed(aws_destroy_data="delete the images of lab")) - set(removed()) == {"vol-data"}


def test_images_that_would_go_with_the_server_are_refused():
    task = tasks("aws_destroy_confirm")["Refuse to delete the images with the server"]
    lost = DATA | {"name": "lab-data", "delete_on_termination": True, "instance_id": "i-1", "device": "/dev/sdf"}
    facts = {"__aws_existing": {"resources": [*EXISTING, lost]}}
    assert template(task["when"], **facts) is True
    assert template(task["when"], **facts, aws_destroy_data="delete the images of lab") is False
    assert template(task["when"]) is False
    assert template("__aws_unprotected_volumes[0].id", **facts) == "vol-data"


def test_a_vpc_that_the_inventory_gave_is_not_touched():
    gone = removed(aws_network_vpc_id="vpc-1")
    assert set(removed()) - set(gone) == {"vpc-1", "subnet-1", "flow_log-1"}
    assert {"security_group-1", "instance-1"} <= set(gone)
    assert removed(aws_network_vpc_id="vpc-2") == removed(aws_network_vpc_id="") == removed()


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        ({"aws_destroy_environment": "lab"}, False),
        ({"aws_destroy_environment": "lab2"}, True),
        ({"aws_destroy_environment": "", "__aws_asked": {"user_input": "lab"}}, True),
        ({"__aws_asked": {"user_input": "lab"}}, False),
        ({"__aws_asked": {"user_input": ""}}, True),
        ({"__aws_asked": {"skipped": True}}, True),
        ({}, True),
    ],
)
def test_only_the_name_of_the_environment_confirms(facts, refused):
    task = tasks("aws_destroy_confirm")["Refuse to remove without the name"]
    assert template(task["when"], __aws_to_remove=EXISTING, **facts) is refused
    message = template(task["ansible.builtin.fail"]["msg"].split("'", 2)[1].strip("{} "), **facts)
    assert message == template("__aws_destroy_answer", **facts)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("", False),
        ("delete the images of lab", False),
        ("delete the images of lab2", True),
        ("true", True),
        ("yes", True),
    ],
)
def test_only_the_right_words_delete_images(words, refused):
    task = tasks("aws_destroy_confirm")["Refuse other words for the images"]
    assert template(task["when"], aws_destroy_data=words) is refused


def test_nothing_is_written_before_it_is_confirmed():
    readers = {
        "amazon.aws.aws_caller_info",
        "lightbox.pacs.aws_resource_info",
        "ansible.builtin.fail",
        "ansible.builtin.debug",
        "ansible.builtin.set_fact",
        "ansible.builtin.pause",
        "ansible.builtin.import_tasks",  # of the first one
    }
    for name in ("aws_account", "aws_destroy_confirm", "aws_destroy_summary"):
        for task in tasks(name).values():
            assert readers & set(task) or task["check_mode"] is True, task["name"]
            assert task.get("ansible.builtin.import_tasks", "aws_account.yml") == "aws_account.yml"
    # Whose account it is comes first.
    assert next(iter(tasks("aws_destroy_confirm").values()))["ansible.builtin.import_tasks"] == "aws_account.yml"
    text = (PROJECT / "playbooks/aws_destroy.yml").read_text()
    assert text.index("tasks/aws_destroy_confirm.yml") < text.index("tasks/aws_destroy.yml")
    assert "when: __aws_to_remove != [] and not ansible_check_mode" in text


def test_a_database_of_others_is_refused_before_anything_is_removed():
    """What would be refused behind the server: the same call, in check mode."""
    first, second = (
        next(task for task in tasks(name).values() if "lightbox.pacs.rds_database" in task)
        for name in ("aws_destroy_confirm", "aws_destroy")
    )
    asked, done = (task["lightbox.pacs.rds_database"] for task in (first, second))
    assert done == asked | {"wait": True}
    assert first["when"] == second["when"]
    assert first["check_mode"] is True
    with aws_account():
        rds = boto3.client("rds", REGION)
        rds.create_db_instance(
            DBInstanceIdentifier="lab",
            DBInstanceClass="db.t4g.medium",
            Engine="postgres",
            AllocatedStorage=20,
            Tags=[{"Key": "owner", "Value": "them"}],
        )
        arguments = asked | {
            "name": "lab",
            "final_snapshot": "lab-final",
            "tags": {"lightbox:environment": "lab"},
        }
        refused = run_module("rds_database", check=True, **arguments)
        assert "The DB instance lab does not have the tag lightbox:environment=lab" in refused["msg"]
        (database,) = rds.describe_db_instances()["DBInstances"]
        tag = [{"Key": "lightbox:environment", "Value": "lab"}]
        rds.add_tags_to_resource(ResourceName=database["DBInstanceArn"], Tags=tag)
        with recorded_calls() as calls:
            assert not run_module("rds_database", check=True, **arguments).get("failed")
        assert {call.partition(":")[2][:3] for call in calls} <= {"Des", "Lis"}
        assert rds.describe_db_instances()["DBInstances"]


def test_a_removal_handles_every_kind_but_what_it_keeps():
    steps = yaml.safe_load((PROJECT / "playbooks/tasks/aws_destroy.yml").read_text())
    handled = re.findall(r"'kind', '(?:eq|in)', (\[.*?\]|'\w+')", str(steps).replace('\\"', '"').replace("\\'", "'"))
    assert set(re.findall(r"\w+", " ".join(handled))) == set(KINDS) - {"kms_key", "db_snapshot"}


def test_what_uses_something_goes_before_it():
    order = list(tasks("aws_destroy"))
    wanted = [
        "Turn off the server's termination protection",
        "Terminate the server",
        "Release the Elastic IP",
        "Delete the database after a final snapshot",
        "Delete the security groups",
        "Delete the endpoint of S3",
        "Delete the subnets",
        "Delete the internet gateway",
        "Delete the VPC",
        "Delete the log group",
    ]
    assert [name for name in order if name in wanted] == wanted


def test_the_end_lists_what_stays():
    task = tasks("aws_destroy_summary")["Show what stays"]
    left = [resource("kms_key", name="alias/lab"), DATA, resource("db_snapshot", id="lab-final", size_gb=50)]
    expression = task["ansible.builtin.debug"]["msg"].strip("{} ")
    shown = template(expression, __aws_to_remove=EXISTING, __aws_left={"resources": left}, **task["vars"]).splitlines()
    assert shown[0] == "What stays of lab:"
    assert len(shown) == 6
    assert all("costs each month" in line for line in shown[1:4])
    assert shown[4].endswith("with aws_destroy_data set to: delete the images of lab")
    assert "Delete it last." in shown[5]
    assert (
        template(expression, __aws_to_remove=[], __aws_left={"resources": []}, **task["vars"])
        == "Nothing is left of lab."
    )
    planned = template(expression, __aws_to_remove=EXISTING[1:6], ansible_check_mode=True, **task["vars"])
    assert planned.startswith("What would stay of lab:\n")
    assert "vpc-1" not in planned
