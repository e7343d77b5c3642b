"""What the role aws_database refuses, plans and hands to its module."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule
from ansible_collections.lightbox.pacs.plugins.modules import rds_database

from tests.support.project import role_file
from tests.support.rendering import Role


@pytest.fixture(scope="module")
def role() -> Role:
    return Role("aws_database")


GOOD: list[dict[str, Any]] = [
    {},
    {"aws_database_name": "a1-b2", "aws_database_engine_version": "17.6"},
    {"aws_database_storage_gb": 100, "aws_database_max_storage_gb": 100},
    {"aws_database_storage_gb": 100, "aws_database_max_storage_gb": 110},
    {"aws_database_backup_days": 35, "aws_database_parameters": {"work_mem": 16384, "jit": False}},
    {"aws_database_instance_class": "db.r7g.16xlarge", "aws_database_maintenance_window": "Sun:23:00-Mon:01:00"},
    {"aws_database_subnet_ids": ["subnet-1", "subnet-2"]},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"aws_database_name": "a" * 64}, "Set it to at most 63"),
    ({"aws_database_name": "a--b"}, "aws_database_name is 'a--b'"),
    ({"aws_database_name": "a-"}, "aws_database_name is 'a-'"),
    ({"aws_database_name": "1a"}, "aws_database_name is '1a'"),
    ({"aws_database_engine_version": "latest"}, "aws_database_engine_version is 'latest'"),
    ({"aws_database_engine_version": "17.6.1"}, "aws_database_engine_version is '17.6.1'"),
    ({"aws_database_instance_class": "t4g.medium"}, "aws_database_instance_class is 't4g.medium'"),
    ({"aws_database_storage_gb": 10, "aws_database_max_storage_gb": 10}, "aws_database_storage_gb is 10"),
    ({"aws_database_max_storage_gb": 40}, "aws_database_max_storage_gb is 40, and aws_database_storage_gb is 50"),
    ({"aws_database_max_storage_gb": 54}, "at least a tenth more"),
    ({"aws_database_backup_days": 0}, "aws_database_backup_days is 0"),
    ({"aws_database_backup_days": 36}, "Set it to 1 to 35"),
    ({"aws_database_backup_window": "3am"}, "aws_database_backup_window is '3am'"),
    (
        {"aws_database_backup_window": "04:00-05:00"},
        "and aws_database_backup_window '04:00-05:00' overlaps it",
    ),
    ({"aws_database_maintenance_window": "sun:03:30"}, "aws_database_maintenance_window is 'sun:03:30'"),
    (
        {"aws_database_parameters": {"rds.force_ssl": 0}},
        "aws_database_parameters sets rds.force_ssl, which is always 1",
    ),
    ({"aws_database_parameters": {"log_min_duration_sample": 5}}, "which may write patients' data"),
    ({"aws_database_parameters": {"fsync": "off"}}, "could lose images"),
    ({"aws_database_port": 80}, "aws_database_port is 80"),
    ({"aws_database_administrator": "rdsadmin"}, "aws_database_administrator is 'rdsadmin'"),
    ({"aws_database_administrator": "a" * 17}, "Set it to 1 to 16 lower-case letters"),
    ({"aws_database_administrator": "pg_admin"}, "aws_database_administrator is 'pg_admin'"),
    ({"aws_database_administrator": "Admin"}, "aws_database_administrator is 'Admin'"),
    ({"aws_database_subnet_ids": ["subnet-1"]}, "aws_database_subnet_ids contains only subnet-1"),
    ({"aws_database_kms_key_id": "arn:aws:kms:eu-central-1:123456789012:alias/x"}, "an alias"),
    ({"aws_database_tags": {"aws:team": "x"}}, "aws_database_tags contains aws:team"),
]


@pytest.mark.parametrize("answers", GOOD)
def test_what_is_accepted(role, answers):
    assert role.errors(**answers) == []


@pytest.mark.parametrize(("answers", "message"), BAD)
def test_what_is_refused(role, answers, message):
    found = role.errors(**answers)
    assert len(found) == 1, found
    assert message in found[0]
    assert "(aws_database" not in found[0]


def test_nothing_is_planned_where_it_is_switched_off(role):
    planned = role.value("aws_database_resources", aws_database_name="site", aws_database_engine_version="16.10")
    assert [(one["kind"], one["name"]) for one in planned] == [
        ("db_subnet_group", "site"),
        ("db_parameter_group", "site-postgres16"),
        ("db_instance", "site"),
    ]
    assert role.value("aws_database_resources", aws_database_enabled=False) == []


@pytest.mark.parametrize(
    ("state", "deferred", "is_awaited"),
    [
        ({}, [], False),
        ({"status": "backing-up"}, [], False),
        ({"status": "storage-optimization"}, [], False),
        ({"status": "backing-up"}, ["DBInstanceClass"], True),
        ({"status": "creating", "endpoint": "", "secret_arn": ""}, [], True),
        ({"status": "rebooting"}, [], True),
        ({"status": "backing-up", "endpoint": ""}, [], True),
        ({"secret_arn": ""}, [], True),
    ],
)
def test_the_run_waits_only_for_what_it_needs(role, state, deferred, is_awaited):
    database = {"status": "available", "endpoint": "site.abc.rds.amazonaws.com", "secret_arn": "arn"} | state
    result = {"deferred": deferred}
    assert role.value("__aws_database_is_awaited", aws_database=database, __aws_database_result=result) is is_awaited


def test_a_preflight_neither_changes_nor_shows_anything(role):
    (task,) = role_file("aws_database", "tasks/instance.yml")
    (preflight,) = role_file("aws_database", "tasks/preflight.yml")
    result = {"__aws_database_result": {"changed": True}, "ansible_check_mode": False, "ansible_diff_mode": True}
    for facts, states in (({}, [False, True, True]), (preflight["vars"], [True, False, False])):
        conditions = [task["check_mode"].strip("{ }"), task["diff"].strip("{ }"), task["changed_when"]]
        assert [role.value(f"({one})", **result, **facts) for one in conditions] == states


def test_the_module_gets_every_variable_and_no_other_default(role, monkeypatch):
    """What the role hands over has a variable, and where the module has a default, it is the same."""
    specs: dict[str, Any] = {}

    def read(_unused: AwsModule, **given: Any) -> None:
        specs.update(given["argument_spec"])
        raise SystemExit

    monkeypatch.setattr(AwsModule, "__init__", read)
    with pytest.raises(SystemExit):
        rds_database.main()
    handed = role_file("aws_database", "tasks/instance.yml")[0]["lightbox.pacs.rds_database"]
    absent = {"state", "final_snapshot"}
    assert set(handed) == set(specs) - absent
    options = role_file("aws_database", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    for name in set(handed) - {"wait", "wait_timeout", "name", "tags"}:
        assert handed[name] == f"{{{{ aws_database_{name} }}}}"
        assert specs[name]["default"] == options[f"aws_database_{name}"]["default"], name
