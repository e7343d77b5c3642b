"""The module rds_database against moto and against scripted answers; what it refuses, by tables."""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import moto
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.amazon.aws.plugins.module_utils.modules import RetryingBotoClientWrapper
from ansible_collections.lightbox.pacs.plugins.module_utils import _rds_database as rds
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule
from ansible_collections.lightbox.pacs.plugins.modules import rds_database
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader
from botocore.stub import ANY, Stubber
from moto.rds.models import rds_backends

REGION = "eu-central-1"
SECRET_KEY = secrets.token_hex(20)  # a short one would be hidden in every message
NAME = "hospital-prod"
MANAGED = {"log_min_duration_statement": "-1", "log_statement": "none", "rds.force_ssl": "1"}
PRELOADED = {"shared_preload_libraries": "pg_stat_statements"}
VERSIONS = [
    {"EngineVersion": version, "Status": "available", "SupportedCACertificateIdentifiers": ["rds-ca-rsa2048-g1"]}
    for version in ("16.10", "17.6", "17.10", "17.9", "18.1")
]
ORDERABLE = {"StorageType": "gp3", "SupportsStorageEncryption": True, "MultiAZCapable": True, "MinStorageSize": 20}
DEFAULTS = [
    {"ParameterName": "work_mem", "AllowedValues": "64-2147483647", "ApplyType": "dynamic", "IsModifiable": True},
    {"ParameterName": "max_connections", "AllowedValues": "6-8388607", "ApplyType": "static", "IsModifiable": True},
    {"ParameterName": "jit", "AllowedValues": "0,1", "ApplyType": "dynamic", "IsModifiable": True},
    {"ParameterName": "ssl_library", "IsModifiable": False},
]


def refuse(operation: str, code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


Account = tuple[list[str], str, str]


def fill_account() -> Account:
    """Subnets of two zones, a security group and a key."""
    ec2 = boto3.client("ec2", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("aab")
    ]
    group = ec2.create_security_group(VpcId=vpc, GroupName="database", Description="d")["GroupId"]
    key = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["Arn"]
    return [one["Subnet"]["SubnetId"] for one in subnets], group, key


API_CALL = "_make_api_call"  # the only place of botocore that sees each call


class Cloud:
    """moto with what it lacks; each call is recorded, and the next ones may be refused."""

    def __init__(self, account: Account) -> None:
        self.calls: list[str] = []
        self.arguments_of: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, list[ClientError]] = collections.defaultdict(list)
        self.changed_instances: list[Callable[[dict[str, Any]], None]] = []
        self.original = getattr(BaseClient, API_CALL)
        self.backend: Any = rds_backends["123456789012"][REGION]
        self.backend.reset()
        self.client = boto3.client("rds", region_name=REGION)
        self.subnets, self.group, self.key = account
        self.arguments = {
            "name": NAME,
            "subnet_ids": [self.subnets[0], self.subnets[2]],
            "security_group_ids": [self.group],
            "kms_key_id": self.key,
            "tags": {"Name": NAME},
        }

    def call(self, client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        self.calls.append(operation)
        self.arguments_of[operation] = arguments
        if self.faults[operation]:
            raise self.faults[operation].pop(0)
        if operation == "DescribeDBEngineVersions":
            return {"DBEngineVersions": VERSIONS}
        if operation == "DescribeOrderableDBInstanceOptions":
            is_offered = arguments["DBInstanceClass"].startswith("db.t4g")
            return {"OrderableDBInstanceOptions": [ORDERABLE] if is_offered else []}
        if operation == "DescribeEngineDefaultParameters":
            if "Marker" not in arguments:
                return {"EngineDefaults": {"Parameters": DEFAULTS[:2], "Marker": "more"}}
            return {"EngineDefaults": {"Parameters": DEFAULTS[2:]}}
        if operation == "ResetDBParameterGroup":
            for one in arguments["Parameters"]:
                del self.backend.db_parameter_groups[arguments["DBParameterGroupName"]].parameters[one["ParameterName"]]
            return {"DBParameterGroupName": arguments["DBParameterGroupName"]}
        groups = self.backend.subnet_groups.copy()
        answer = self.original(client, operation, arguments)
        if operation == "ModifyDBSubnetGroup":  # moto loses the group
            self.backend.subnet_groups.update(groups)
        if operation == "DescribeDBInstances" and self.changed_instances:
            for instance in answer["DBInstances"]:
                self.changed_instances[0](instance)
            if len(self.changed_instances) > 1:
                self.changed_instances.pop(0)
        return answer

    def writes(self) -> list[str]:
        return [one for one in self.calls if not one.startswith(("Describe", "List"))]

    def run(self, **arguments: Any) -> dict[str, Any]:
        self.calls.clear()
        return run({**self.arguments, **arguments})

    def instance(self) -> dict[str, Any]:
        return self.client.describe_db_instances(DBInstanceIdentifier=NAME)["DBInstances"][0]

    def parameters(self) -> dict[str, str]:
        found = self.client.describe_db_parameters(DBParameterGroupName=f"{NAME}-postgres17")["Parameters"]
        return {one["ParameterName"]: one["ParameterValue"] for one in found}


def run(arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """The module's result."""
    check = arguments.pop("check", check)
    printed = io.StringIO()
    given = {"region": REGION, "access_key": "x", "secret_key": SECRET_KEY, **arguments}
    with (
        patch_module_args(
            {**given, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/nowhere"}
        ),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        rds_database.main()
    return json.loads(printed.getvalue().strip().splitlines()[-1])


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    load = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        # The descriptions of AWS's services are read once, not in each run; nobody needs moto's images.
        patch.setattr(JSONFileLoader, "load_file", lambda _unused, path: load(path))
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        with moto.mock_aws():
            yield fill_account()


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> list[float]:
    """No test waits. How long each pause would have been."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.fixture
def cloud(account, monkeypatch) -> Cloud:
    made = Cloud(account)

    def call(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        return made.call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, API_CALL, call)
    return made


CREATED = ["CreateDBSubnetGroup", "CreateDBParameterGroup", "ModifyDBParameterGroup", "CreateDBInstance"]


def test_check_do_and_do_again(cloud):
    checked = cloud.run(check=True)
    assert (checked["changed"], checked["database"], cloud.writes()) == (True, {}, [])
    done = cloud.run()
    assert done["changed"]
    assert cloud.writes() == CREATED
    assert done["diff"] == checked["diff"]
    assert done["parameters"] == {**MANAGED, **PRELOADED}
    for check in (False, True):
        again = cloud.run(check=check)
        assert (again["changed"], cloud.writes()) == (False, []), again
        assert again["diff"] == {"before": {}, "after": {}}
        assert again["database"] == done["database"]
        assert len(cloud.calls) < 8


def test_what_is_created(cloud):
    done = cloud.run(wait=True)["database"]
    lifecycle = cloud.arguments_of["CreateDBInstance"]["EngineLifecycleSupport"]  # which moto does not keep
    assert lifecycle == "open-source-rds-extended-support-disabled"
    assert cloud.arguments_of["CreateDBInstance"]["MasterUserSecretKmsKeyId"] == cloud.key
    instance = cloud.instance()
    assert instance["EngineVersion"] == "17.10"  # the newest by number, not by text
    assert done["endpoint"] == f"{NAME}.aaaaaaaaaa.{REGION}.rds.amazonaws.com"
    assert done["secret_arn"].startswith("arn:aws:secretsmanager:")
    assert (done["port"], done["status"], done["pending"], done["pending_reboot"]) == (5432, "available", {}, False)
    expected = {
        "StorageEncrypted": True,
        "KmsKeyId": cloud.key,
        "PubliclyAccessible": False,
        "StorageType": "gp3",
        "AllocatedStorage": 50,
        "MaxAllocatedStorage": 200,
        "BackupRetentionPeriod": 14,
        "PreferredBackupWindow": "02:00-03:00",
        "PreferredMaintenanceWindow": "sun:03:30-sun:04:30",
        "DeletionProtection": True,
        "MultiAZ": False,
        "AutoMinorVersionUpgrade": True,
        "CopyTagsToSnapshot": True,
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        "MasterUsername": "lightbox_admin",
        "TagList": [{"Key": "Name", "Value": NAME}],
    }
    assert {name: instance.get(name) for name in expected} == expected
    assert [one["VpcSecurityGroupId"] for one in instance["VpcSecurityGroups"]] == [cloud.group]
    assert cloud.parameters() == {**MANAGED, **PRELOADED}


@pytest.mark.parametrize(
    ("option", "value", "fact", "found"),
    [
        ("instance_class", "db.t4g.large", "DBInstanceClass", "db.t4g.large"),
        ("storage_gb", 80, "AllocatedStorage", 80),
        ("max_storage_gb", 500, "MaxAllocatedStorage", 500),
        ("multi_az", True, "MultiAZ", True),
        ("backup_days", 30, "BackupRetentionPeriod", 30),
        ("backup_window", "05:00-06:00", "PreferredBackupWindow", "05:00-06:00"),
        ("maintenance_window", "Mon:22:00-Mon:23:00", "PreferredMaintenanceWindow", "mon:22:00-mon:23:00"),
        ("minor_upgrades", False, "AutoMinorVersionUpgrade", False),
        ("deletion_protection", False, "DeletionProtection", False),
        ("engine_version", "17.10", "EngineVersion", "17.10"),
        ("tags", {"team": "radiology"}, "TagList", [{"Key": "team", "Value": "radiology"}]),
    ],
)
def test_each_setting_is_changed_once(cloud, option, value, fact, found):
    cloud.run(engine_version="17.6")
    checked = cloud.run(**{"check": True, option: value})
    assert (checked["changed"], cloud.writes()) == (True, [])
    done = cloud.run(**{option: value})
    assert done["changed"]
    assert done["diff"] == checked["diff"]
    assert cloud.instance()[fact] == found
    again = cloud.run(**{option: value})
    assert (again["changed"], cloud.writes()) == (False, [])


def test_subnets_are_added(cloud):
    cloud.run()
    assert cloud.run(subnet_ids=cloud.subnets)["changed"]
    assert cloud.writes() == ["ModifyDBSubnetGroup"]
    assert not cloud.run(subnet_ids=cloud.subnets)["changed"]


def test_what_is_public_or_changed_by_hand_is_repaired(cloud):
    cloud.run()
    cloud.client.modify_db_instance(
        DBInstanceIdentifier=NAME, PubliclyAccessible=True, DeletionProtection=False, CopyTagsToSnapshot=False
    )
    done = cloud.run()
    assert cloud.writes() == ["ModifyDBInstance"]
    assert done["diff"]["before"]["instance"] == {
        "PubliclyAccessible": True,
        "DeletionProtection": False,
        "CopyTagsToSnapshot": False,
    }
    instance = cloud.instance()
    assert (instance["PubliclyAccessible"], instance["DeletionProtection"]) == (False, True)


@pytest.mark.parametrize(
    ("by_hand", "writes", "before"),
    [
        ({"rds.force_ssl": "0"}, ["ModifyDBParameterGroup"], {"rds.force_ssl": "0"}),
        ({"log_statement": "all"}, ["ModifyDBParameterGroup"], {"log_statement": "all"}),
        ({"log_connections": "1"}, ["ResetDBParameterGroup"], {"log_connections": "1"}),
        (
            {"work_mem": "64", "pgaudit.log": "all"},
            ["ModifyDBParameterGroup", "ResetDBParameterGroup"],
            {"work_mem": "64", "pgaudit.log": "all"},
        ),
    ],
)
def test_a_parameter_changed_by_hand_is_found_and_repaired(cloud, by_hand, writes, before):
    cloud.run(parameters={"work_mem": 16384, "jit": False})
    cloud.client.modify_db_parameter_group(
        DBParameterGroupName=f"{NAME}-postgres17",
        Parameters=[
            {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate"}
            for name, value in by_hand.items()
        ],
    )
    arguments = {"parameters": {"work_mem": 16384, "jit": False}}
    checked = cloud.run(check=True, **arguments)
    assert (checked["changed"], cloud.writes()) == (True, [])
    done = cloud.run(**arguments)
    assert cloud.writes() == writes
    assert done["diff"]["before"]["parameters"] == checked["diff"]["before"]["parameters"] == before
    assert cloud.parameters() == {**MANAGED, **PRELOADED, "work_mem": "16384", "jit": "0"}
    assert not cloud.run(**arguments)["changed"]


def test_a_parameter_that_is_not_kept_is_an_error(cloud, monkeypatch):
    monkeypatch.setattr(rds_database.Rds, "write_parameters", lambda *_unused: None)
    found = cloud.run()
    assert found["failed"]
    assert "does not keep log_min_duration_statement = -1 (it has None)" in found["msg"]
    assert "CreateDBInstance" not in cloud.calls


def test_many_parameters_are_set_in_steps(cloud, monkeypatch):
    monkeypatch.setattr(rds_database, "GROUP_CHANGES", 3)
    cloud.run(parameters={"work_mem": 16384})
    assert cloud.writes().count("ModifyDBParameterGroup") == 2
    assert len(cloud.parameters()) == 5


@pytest.mark.parametrize(
    "operation", [*CREATED, "DescribeDBInstances", "DescribeDBParameters", "DescribeDBEngineVersions"]
)
def test_throttled_calls_are_made_again(cloud, quick, operation):
    cloud.faults[operation] = [refuse(operation, "Throttling", "Rate exceeded")] * 3
    assert cloud.run()["changed"]
    assert cloud.calls.count(operation) > 3
    assert len(quick) == 3
    assert not cloud.run()["changed"]


def test_a_missing_permission_names_the_action(cloud):
    cloud.faults["CreateDBInstance"] = [refuse("CreateDBInstance", "AccessDenied", "not authorized")]
    found = cloud.run()
    assert found["failed"]
    assert "calling the CreateDBInstance operation: not authorized" in found["msg"]
    assert found["error"]["code"] == "AccessDenied"


@pytest.mark.parametrize("last", CREATED)
def test_a_run_that_was_interrupted_is_continued(cloud, last):
    cloud.faults[last] = [refuse(last, "AccessDenied")]
    assert cloud.run()["failed"]
    assert cloud.run()["changed"]
    assert not cloud.run()["changed"]
    assert len(cloud.client.describe_db_instances()["DBInstances"]) == 1


def pending(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda instance: instance.update(PendingModifiedValues=changes)


def test_a_pending_change_is_not_made_twice(cloud):
    cloud.run()
    cloud.changed_instances = [pending(DBInstanceClass="db.t4g.large", EngineVersion="17.11")]
    found = cloud.run(instance_class="db.t4g.large")
    assert (found["changed"], cloud.writes()) == (False, [])
    assert found["database"]["pending"] == {"DBInstanceClass": "db.t4g.large", "EngineVersion": "17.11"}


def test_a_pending_change_is_made_at_once_where_that_is_asked_for(cloud):
    cloud.run()
    cloud.changed_instances = [pending(DBInstanceClass="db.t4g.large")] * 2 + [lambda _unused: None]
    cloud.run(instance_class="db.t4g.large", apply_immediately=True, wait=True)
    assert cloud.writes() == ["ModifyDBInstance"]
    assert cloud.instance()["DBInstanceClass"] == "db.t4g.large"


def test_a_change_that_somebody_else_planned_is_taken_back(cloud):
    cloud.run()
    cloud.changed_instances = [pending(MultiAZ=True)]
    found = cloud.run()
    assert cloud.writes() == ["ModifyDBInstance"]
    assert found["diff"] == {"before": {"instance": {"MultiAZ": True}}, "after": {"instance": {"MultiAZ": False}}}


def status(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda instance: instance.update(DBInstanceStatus=name)


def test_a_busy_instance_is_changed_when_it_is_available(cloud, quick):
    cloud.run()
    cloud.changed_instances = [status("creating")]
    found = cloud.run(backup_days=20)
    assert (found["changed"], found["deferred"], cloud.writes()) == (False, ["BackupRetentionPeriod"], [])
    assert found["warnings"] == [f"The DB instance {NAME} is creating. Not changed yet: BackupRetentionPeriod."]
    cloud.changed_instances = [status("creating"), status("backing-up"), status("available")]
    found = cloud.run(backup_days=20, wait=True)
    assert (found["changed"], found["deferred"], cloud.writes()) == (True, [], ["ModifyDBInstance"])
    assert quick == [15]


@pytest.mark.parametrize("name", ["storage-full", "storage-initialization", "storage-optimization"])
def test_a_busy_storage_prevents_no_change(cloud, quick, name):
    cloud.run()
    cloud.changed_instances = [status(name)]
    found = cloud.run(backup_days=20, wait=True)
    assert (found["changed"], found["deferred"], cloud.writes(), quick) == (True, [], ["ModifyDBInstance"], [])


@pytest.mark.parametrize("name", ["backing-up", "configuring-log-exports"])
def test_nobody_waits_for_an_instance_that_is_reachable(cloud, quick, name):
    cloud.run()
    cloud.changed_instances = [status(name)]
    found = cloud.run(wait=True)
    assert (found["database"]["status"], quick) == (name, [])


@pytest.mark.parametrize("name", ["maintenance", "modifying", "storage-config-upgrade"])
def test_other_statuses_are_awaited(cloud, quick, name):
    cloud.run()
    cloud.changed_instances = [status("available"), status(name), status(name), status("backing-up")]
    assert cloud.run(wait=True)["database"]["status"] == "backing-up"
    assert quick == [15, 15]


NOT_YET = ["KMSKeyNotAccessibleFault", "DBSubnetGroupNotFoundFault", "DBParameterGroupNotFound"]


@pytest.mark.parametrize("code", NOT_YET)
def test_what_was_just_made_may_not_be_visible_yet(cloud, quick, code):
    cloud.faults["CreateDBInstance"] = [refuse("CreateDBInstance", code)] * 2
    assert cloud.run()["changed"]
    assert cloud.writes() == [*CREATED, "CreateDBInstance", "CreateDBInstance"]
    assert quick == [5, 5]


def test_a_key_that_does_not_become_accessible_is_an_error(cloud, monkeypatch):
    monkeypatch.setitem(rds_database.RETRIED, "KMSKeyNotAccessibleFault", 0)
    cloud.faults["CreateDBInstance"] = [refuse("CreateDBInstance", "KMSKeyNotAccessibleFault")]
    assert "KMSKeyNotAccessibleFault" in cloud.run()["msg"]
    assert cloud.writes() == CREATED


def test_a_change_waits_for_an_earlier_one(cloud, quick):
    cloud.run()
    cloud.faults["ModifyDBInstance"] = [refuse("ModifyDBInstance", "InvalidDBInstanceState")]
    assert cloud.run(backup_days=20)["changed"]
    assert (cloud.writes(), quick) == (["ModifyDBInstance"] * 2, [5])


def begin(instance: dict[str, Any]) -> None:
    instance.update(DBInstanceStatus="creating")
    for name in ("Endpoint", "CACertificateIdentifier", "VpcSecurityGroups", "MasterUserSecret"):
        instance.pop(name)


def test_an_instance_without_an_endpoint_is_described(cloud):
    cloud.run()
    cloud.changed_instances = [begin]
    found = cloud.run()["database"]
    assert (found["endpoint"], found["port"], found["secret_arn"]) == ("", 0, "")


@pytest.mark.parametrize("name", ["failed", "incompatible-network", "stopped"])
def test_an_instance_that_will_never_be_available_is_an_error(cloud, name):
    cloud.run()
    cloud.changed_instances = [status("modifying"), status("modifying"), status(name)]
    assert f"is {name}, and will not be available by itself" in cloud.run(wait=True)["msg"]


def test_waiting_ends(cloud):
    cloud.run()
    cloud.changed_instances = [status("creating")]
    assert "is creating, and not available after 0 seconds" in cloud.run(wait=True, wait_timeout=0)["msg"]


def reboots(instance: dict[str, Any]) -> None:
    instance["DBParameterGroups"][0]["ParameterApplyStatus"] = "pending-reboot"


def test_parameters_that_need_a_restart(cloud):
    cloud.run()
    cloud.changed_instances = [reboots]
    found = cloud.run()
    assert (found["database"]["pending_reboot"], cloud.writes()) == (True, [])
    assert cloud.run(apply_immediately=True)["changed"]
    assert cloud.writes() == ["RebootDBInstance"]


REFUSED = [
    ({"engine_version": "99"}, "engine_version (aws_database_engine_version) is '99', which RDS does not offer"),
    ({"engine_version": "17.77"}, "majors, or to a full version of one: 16, 17, 18"),
    ({"engine_version": "newest"}, "is 'newest'"),
    ({"instance_class": "db.huge"}, "instance_class (aws_database_instance_class) is 'db.huge'"),
    ({"storage_gb": 10}, "Set it to at least 20"),
    ({"ca_identifier": "rds-ca-2019"}, "Set it to one of rds-ca-rsa2048-g1"),
    ({"subnet_ids": []}, "subnet_ids (aws_database_subnet_ids) is empty"),
    ({"parameters": {"log_statement": "all"}}, "sets log_statement, which is always none"),
    ({"parameters": {"pgaudit.log": "all"}}, "may write patients' data"),
    ({"parameters": {"wrk_mem": 1}}, "is not a parameter of postgres17. Did you mean work_mem?"),
    ({"parameters": {"work_mem": 1}}, "sets work_mem to '1'. Set it to one of 64-2147483647"),
    ({"parameters": {"ssl_library": "x"}}, "decides how connections are encrypted"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_made(cloud, arguments, message):
    found = cloud.run(**arguments)
    assert found["failed"]
    assert message in found["msg"]
    assert "CreateDBInstance" not in cloud.writes()
    if arguments.keys() & {"engine_version", "instance_class", "storage_gb", "ca_identifier"}:
        assert cloud.writes() == []
    if arguments != {"subnet_ids": []}:
        assert cloud.run(check=True, **{**arguments, "subnet_ids": []})["failed"]


def test_what_cannot_be_changed_is_refused_before_the_rest_is_known(cloud):
    """The preflight of the role asks before the subnets, groups and keys exist."""
    cloud.run()
    unknown = {"check": True, "subnet_ids": [], "security_group_ids": [], "kms_key_id": ""}
    assert not cloud.run(**unknown).get("failed")
    for arguments in ({"administrator": "other"}, {"engine_version": "18"}, {"max_storage_gb": 20}):
        refused = cloud.run(**unknown, **arguments)
        assert refused["failed"], arguments
        assert f"aws_database_{next(iter(arguments))}" in refused["msg"]
    assert cloud.writes() == []


def test_subnets_of_one_zone_are_refused(cloud):
    found = cloud.run(subnet_ids=cloud.subnets[:2])
    assert f"lists subnets of {REGION}a alone" in found["msg"]
    assert cloud.writes() == []


def test_before_there_are_subnets_check_mode_plans(cloud):
    found = cloud.run(check=True, subnet_ids=[], security_group_ids=[], kms_key_id="")
    assert found["changed"]
    assert found["diff"]["after"]["instance"]["EngineVersion"] == "17.10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine_version": "18"}, "runs PostgreSQL 17.10, and engine_version (aws_database_engine_version) is '18'"),
        ({"engine_version": "16"}, "Another major version is not installed by this module"),
        ({"kms_key_id": "1234abcd-12ab-34cd-56ef-1234567890ab"}, "RDS cannot change the key"),
        ({"administrator": "other"}, "RDS cannot change the name. Set administrator to 'lightbox_admin'"),
        ({"storage_gb": 20, "max_storage_gb": 30}, "has 50 GB, which never shrinks"),
    ],
)
def test_what_rds_cannot_change_is_refused(cloud, arguments, message):
    cloud.run()
    found = cloud.run(**arguments)
    assert found["failed"]
    assert message in found["msg"]
    assert cloud.writes() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"StorageEncrypted": False}, "is not encrypted, which RDS cannot change"),
        ({"Engine": "mysql"}, "runs mysql, not PostgreSQL"),
        ({"DBSubnetGroup": {"DBSubnetGroupName": "other"}}, "is in the DB subnet group other"),
        ({"DBInstanceStatus": "deleting"}, "is being deleted"),
        ({"PendingModifiedValues": {"EngineVersion": "18.1"}}, "runs PostgreSQL 18.1"),
    ],
)
def test_an_instance_that_does_not_fit_is_refused(cloud, change, message):
    cloud.run()
    cloud.changed_instances = [lambda instance: instance.update(change)]
    assert message in cloud.run()["msg"]
    assert cloud.writes() == []


def test_two_reasons_are_one_message(cloud):
    cloud.run()
    message = cloud.run(engine_version="18", administrator="other")["msg"]
    assert "runs PostgreSQL 17.10" in message
    assert "RDS cannot change the name" in message


@pytest.mark.parametrize("version", ["17", "17.6", "17.10"])
def test_a_minor_version_that_will_do_is_left(cloud, version):
    cloud.run()
    found = cloud.run(engine_version=version)
    assert (found["changed"], "DescribeDBEngineVersions" in cloud.calls) == (False, False)


def test_storage_never_shrinks(cloud):
    cloud.run(storage_gb=100)
    assert not cloud.run(storage_gb=50)["changed"]
    assert cloud.instance()["AllocatedStorage"] == 100


def test_no_limit_and_the_same_limit(cloud):
    cloud.run(max_storage_gb=50)
    assert "MaxAllocatedStorage" not in cloud.instance()
    assert not cloud.run(max_storage_gb=50)["changed"]


def test_delete_with_a_snapshot_and_again(cloud):
    cloud.run()
    arguments = {"state": "absent", "final_snapshot": f"{NAME}-final", "wait": True}
    assert "is protected against deletion" in cloud.run(**arguments)["msg"]
    arguments["deletion_protection"] = False
    checked = cloud.run(check=True, **arguments)
    assert (checked["changed"], cloud.writes()) == (True, [])
    cloud.faults["DeleteDBInstance"] = [refuse("DeleteDBInstance", "InvalidDBInstanceState", "is modifying")]
    assert cloud.run(**arguments)["changed"]
    deleted = ["DeleteDBInstance", "DeleteDBInstance", "DeleteDBParameterGroup", "DeleteDBSubnetGroup"]
    assert cloud.writes() == ["ModifyDBInstance", *deleted]
    snapshots = cloud.client.describe_db_snapshots()["DBSnapshots"]
    assert [one["DBSnapshotIdentifier"] for one in snapshots] == [f"{NAME}-final"]
    assert cloud.client.describe_db_subnet_groups()["DBSubnetGroups"] == []
    for check in (False, True):
        assert not cloud.run(check=check, **arguments)["changed"]
        assert cloud.writes() == []


def test_delete_needs_an_answer_about_the_snapshot(cloud):
    assert "final_snapshot" in cloud.run(state="absent")["msg"]
    cloud.run()
    assert cloud.run(state="absent", final_snapshot="", deletion_protection=False)["changed"]
    assert cloud.client.describe_db_snapshots()["DBSnapshots"] == []


def test_what_lacks_the_tags_is_not_deleted(cloud):
    cloud.run(deletion_protection=False)
    arguments = {"state": "absent", "final_snapshot": "", "deletion_protection": False}
    found = cloud.run(**arguments, tags={"lightbox:environment": "cardiology"})
    assert "does not have the tag lightbox:environment=cardiology" in found["msg"]
    assert cloud.writes() == []
    cloud.client.delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)
    assert not cloud.run(**arguments, tags={"lightbox:environment": "cardiology"})["changed"]
    assert cloud.writes() == []
    assert cloud.run(**arguments)["changed"]
    assert cloud.writes() == ["DeleteDBParameterGroup", "DeleteDBSubnetGroup"]


def test_groups_stay_while_the_instance_is_there(cloud):
    cloud.run(deletion_protection=False)
    cloud.changed_instances = [status("deleting")]
    found = cloud.run(state="absent", final_snapshot="", deletion_protection=False)
    assert (found["changed"], found["database"]["status"], cloud.writes()) == (False, "deleting", [])


def test_no_password_is_in_a_result(cloud):
    found = cloud.run(wait=True)
    assert "GetSecretValue" not in cloud.calls
    client = boto3.client("secretsmanager", region_name=REGION)
    secret = client.get_secret_value(SecretId=found["database"]["secret_arn"])["SecretString"]
    assert json.loads(secret)["password"] not in json.dumps(found)


class Script:
    """Answers of RDS in the order in which they are asked for; another call, or one with other arguments, fails."""

    def __init__(self, monkeypatch) -> None:
        self.client = boto3.client("rds", region_name=REGION, aws_access_key_id="x", aws_secret_access_key=SECRET_KEY)
        self.stubber = Stubber(self.client)
        monkeypatch.setattr(
            AwsModule,
            "client",
            lambda _unused, _service, retry_decorator: RetryingBotoClientWrapper(self.client, retry_decorator),
        )

    def run(self, **arguments: Any) -> dict[str, Any]:
        with self.stubber:
            found = run({"name": NAME, "subnet_ids": ["subnet-1", "subnet-2"], "tags": {"Name": NAME}, **arguments})
        self.stubber.assert_no_pending_responses()
        return found


INSTANCE: dict[str, Any] = {
    "DBInstanceIdentifier": NAME,
    "DBInstanceArn": f"arn:aws:rds:{REGION}:123456789012:db:{NAME}",
    "DBInstanceStatus": "available",
    "DBInstanceClass": "db.t4g.medium",
    "Engine": "postgres",
    "EngineVersion": "17.6",
    "MasterUsername": "lightbox_admin",
    "AllocatedStorage": 50,
    "MaxAllocatedStorage": 200,
    "StorageType": "gp3",
    "StorageEncrypted": True,
    "KmsKeyId": f"arn:aws:kms:{REGION}:123456789012:key/1",
    "AutoMinorVersionUpgrade": True,
    "BackupRetentionPeriod": 14,
    "CACertificateIdentifier": "rds-ca-rsa2048-g1",
    "CopyTagsToSnapshot": True,
    "DeletionProtection": True,
    "MultiAZ": False,
    "PreferredBackupWindow": "02:00-03:00",
    "PreferredMaintenanceWindow": "sun:03:30-sun:04:30",
    "PubliclyAccessible": False,
    "Endpoint": {"Address": f"{NAME}.abc.{REGION}.rds.amazonaws.com", "Port": 5432},
    "DBParameterGroups": [{"DBParameterGroupName": f"{NAME}-postgres17", "ParameterApplyStatus": "in-sync"}],
    "DBSubnetGroup": {"DBSubnetGroupName": NAME},
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
    "MasterUserSecret": {"SecretArn": "arn:aws:secretsmanager:x", "SecretStatus": "active"},
    "TagList": [{"Key": "Name", "Value": NAME}],
}


def settled(script: Script, instance: dict[str, Any], parameters: list[dict[str, Any]]) -> None:
    """The questions of a run about groups that are as they must be, with parameters on two pages."""
    stubber, by_name = script.stubber, {"DBInstanceIdentifier": NAME}
    stubber.add_response("describe_db_instances", {"DBInstances": [instance]}, by_name)
    stubber.add_response(
        "describe_db_subnet_groups",
        {
            "DBSubnetGroups": [
                {
                    "DBSubnetGroupArn": f"arn:aws:rds:{REGION}:123456789012:subgrp:{NAME}",
                    "Subnets": [{"SubnetIdentifier": "subnet-2"}, {"SubnetIdentifier": "subnet-1"}],
                }
            ]
        },
        {"DBSubnetGroupName": NAME},
    )
    tags = {"TagList": [{"Key": "Name", "Value": NAME}, {"Key": "aws:system", "Value": "x"}]}
    stubber.add_response("list_tags_for_resource", tags, {"ResourceName": ANY})
    group = {"DBParameterGroupName": f"{NAME}-postgres17"}
    stubber.add_response(
        "describe_db_parameter_groups",
        {
            "DBParameterGroups": [
                {**group, "DBParameterGroupArn": f"arn:aws:rds:{REGION}:123456789012:pg:{NAME}-postgres17"}
            ]
        },
        group,
    )
    stubber.add_response("list_tags_for_resource", tags, {"ResourceName": ANY})
    list_parameters(script, parameters)


def list_parameters(script: Script, parameters: list[dict[str, Any]]) -> None:
    group = {"DBParameterGroupName": f"{NAME}-postgres17"}
    script.stubber.add_response("describe_db_parameters", {"Parameters": parameters[:2], "Marker": "2"}, group)
    script.stubber.add_response("describe_db_parameters", {"Parameters": parameters[2:]}, {**group, "Marker": "2"})


def as_rds_lists(**values: str) -> list[dict[str, Any]]:
    """A whole group as RDS lists it: with defaults, which are not the user's, and with how each is applied."""
    given = {**MANAGED, **PRELOADED, **values}
    static = ("shared_preload_libraries", "max_connections")
    return [
        {"ParameterName": "jit", "Source": "engine-default"},
        {"ParameterName": "max_wal_size", "ParameterValue": "2048", "Source": "system"},
        *(
            {
                "ParameterName": name,
                "ParameterValue": value,
                "Source": "user",
                "ApplyType": "static" if name in static else "dynamic",
            }
            for name, value in given.items()
        ),
    ]


def test_scripted_a_settled_instance_is_only_described(monkeypatch):
    script = Script(monkeypatch)
    settled(script, INSTANCE, as_rds_lists())
    script.stubber.add_response("describe_db_instances", {"DBInstances": [INSTANCE]}, {"DBInstanceIdentifier": NAME})
    found = script.run()
    assert not found["changed"], found
    assert found["database"]["endpoint"] == INSTANCE["Endpoint"]["Address"]


def test_scripted_a_parameter_that_is_read_at_the_start_waits_for_it(monkeypatch):
    script = Script(monkeypatch)
    settled(
        script, INSTANCE, as_rds_lists(shared_preload_libraries="pgaudit", log_statement="ddl", max_connections="9")
    )
    group = {"DBParameterGroupName": f"{NAME}-postgres17"}
    expected = [
        {"ParameterName": "log_statement", "ParameterValue": "none", "ApplyMethod": "immediate"},
        {
            "ParameterName": "shared_preload_libraries",
            "ParameterValue": "pg_stat_statements",
            "ApplyMethod": "pending-reboot",
        },
    ]
    script.stubber.add_response("modify_db_parameter_group", group, {**group, "Parameters": expected})
    reset = [{"ParameterName": "max_connections", "ApplyMethod": "pending-reboot"}]
    script.stubber.add_response(
        "reset_db_parameter_group", group, {**group, "Parameters": reset, "ResetAllParameters": False}
    )
    list_parameters(script, as_rds_lists())
    rebooting = {
        **INSTANCE,
        "DBParameterGroups": [{**INSTANCE["DBParameterGroups"][0], "ParameterApplyStatus": "pending-reboot"}],
    }
    script.stubber.add_response("describe_db_instances", {"DBInstances": [rebooting]}, {"DBInstanceIdentifier": NAME})
    found = script.run()
    assert found["changed"], found
    assert found["database"]["pending_reboot"]


def test_scripted_all_differences_are_one_call(monkeypatch):
    script = Script(monkeypatch)
    other = {
        **INSTANCE,
        "Endpoint": {**INSTANCE["Endpoint"], "Port": 5433},
        "DBParameterGroups": [{"DBParameterGroupName": "default.postgres17", "ParameterApplyStatus": "in-sync"}],
        "StorageType": "gp2",
        "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-2"}, {"VpcSecurityGroupId": "sg-1", "Status": "removing"}],
    }
    del other["MasterUserSecret"]
    settled(script, other, as_rds_lists())
    script.stubber.add_response(
        "modify_db_instance",
        {"DBInstance": other},
        {
            "DBInstanceIdentifier": NAME,
            "ApplyImmediately": False,
            "DBPortNumber": 5432,
            "DBParameterGroupName": f"{NAME}-postgres17",
            "ManageMasterUserPassword": True,
            "MasterUserSecretKmsKeyId": INSTANCE["KmsKeyId"],
            "StorageType": "gp3",
            "VpcSecurityGroupIds": ["sg-1"],
        },
    )
    script.stubber.add_response("describe_db_instances", {"DBInstances": [INSTANCE]}, {"DBInstanceIdentifier": NAME})
    assert script.run(security_group_ids=["sg-1"], kms_key_id=INSTANCE["KmsKeyId"])["changed"]


@pytest.mark.parametrize(
    ("has", "change"),
    [
        ({"AllocatedStorage": 100}, {"AllocatedStorage": 399}),
        ({"AllocatedStorage": 100}, {"AllocatedStorage": 400, "Iops": 12000}),
        ({"AllocatedStorage": 400, "Iops": 14000}, {"AllocatedStorage": 500, "Iops": 14000}),
        (
            {"AllocatedStorage": 500, "StorageType": "gp2"},
            {"AllocatedStorage": 500, "StorageType": "gp3", "Iops": 12000},
        ),
    ],
)
def test_scripted_large_storage_is_changed_with_its_iops(monkeypatch, has, change):
    script = Script(monkeypatch)
    other = {**INSTANCE, "MaxAllocatedStorage": 1000, **has}
    settled(script, other, as_rds_lists())
    script.stubber.add_response(
        "modify_db_instance",
        {"DBInstance": other},
        {"DBInstanceIdentifier": NAME, "ApplyImmediately": False, **change},
    )
    script.stubber.add_response("describe_db_instances", {"DBInstances": [INSTANCE]}, {"DBInstanceIdentifier": NAME})
    assert script.run(storage_gb=change["AllocatedStorage"], max_storage_gb=1000)["changed"]


@pytest.mark.parametrize(
    ("backup", "maintenance", "words"),
    [
        ("02:00-03:00", "sun:03:00-sun:03:30", []),
        ("23:30-00:30", "sat:22:00-sat:23:30", []),
        ("23:30-00:30", "sun:23:45-mon:00:15", ["overlaps"]),
        ("23:30-00:30", "mon:00:00-mon:00:45", ["overlaps"]),
        ("00:00-00:30", "sun:23:00-mon:00:01", ["overlaps"]),
        ("02:00-03:00", "mon:02:59-mon:03:59", ["overlaps"]),
        ("02:00-03:00", "mon:12:00-tue:11:00", ["overlaps"]),
        ("2:00-3:00", "sun:03:30-sun:04:30", ["backup_window (aws_database_backup_window) is '2:00-3:00'"]),
        ("02:00-02:20", "sun:03:30-sun:04:30", ["at least 30 minutes"]),
        ("02:00", "sun:03:30", ["backup_window", "maintenance_window"]),
        ("24:00-25:00", "son:03:30-son:04:30", ["is '24:00-25:00'", "is 'son:03:30-son:04:30'"]),
        ("02:00-03:00", "sun:03:30-tue:04:30", ["30 minutes to 24 hours"]),
        ("02:00-03:00", "sun:03:30-sun:03:40", ["30 minutes to 24 hours"]),
        ("", "", ["backup_window", "maintenance_window"]),
        ("02:00-03:00-04:00", "sun:03:30-sun:04:30", ["backup_window"]),
        ("\u06602:00-03:00", "sun:03:30-sun:04:30", ["backup_window"]),
    ],
)
def test_windows(backup, maintenance, words):
    found = rds.find_window_errors(backup, maintenance)
    assert len(found) == len(words), found
    assert all(word in line for word, line in zip(words, found, strict=True)), found


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("work_mem", 16384, ""),
        ("log_min_duration_sample", -1, ""),
        ("log_transaction_sample_rate", "0.0", ""),
        ("debug_print_plan", False, ""),
        ("effective_cache_size", "{DBInstanceClassMemory/16384}", ""),
        ("rds.force_ssl", 1, "which is always 1"),
        ("log_min_duration_statement", 1000, "which is always -1"),
        ("shared_preload_libraries", "pgaudit", "which is always pg_stat_statements"),
        ("log_min_duration_sample", 0, "may write patients' data"),
        ("log_transaction_sample_rate", 0.1, "may write patients' data"),
        ("debug_print_parse", True, "may write patients' data"),
        ("auto_explain.log_min_duration", 0, "may write patients' data"),
        ("synchronous_commit", "off", "could lose images"),
        ("ssl_min_protocol_version", "TLSv1", "decides how connections are encrypted"),
        ("rds.accepted_password_auth_method", "md5+scram", "decides how connections are encrypted"),
        ("Work_Mem", 1, "Set names in lower case"),
        ("work_mem", [1], "each to one text or number"),
        ("search_path", "a\nb", "each to one text or number"),
    ],
)
def test_parameters(name, value, word):
    found = rds.find_parameter_errors({name: value})
    assert len(found) == bool(word), found
    assert all(word in one for one in found), found


@pytest.mark.parametrize(
    ("value", "allowed", "is_allowed"),
    [
        ("1", "0,1", True),
        ("2", "0,1", False),
        ("16384", "64-2147483647", True),
        ("63", "64-2147483647", False),
        ("-1", "-1-2147483647", True),
        ("-2", "-1-2147483647", False),
        ("0.5", "0-1", True),
        ("text", "0-1", False),
        ("off", "on, off", True),
        ("anything", "", True),
        ("{DBInstanceClassMemory/1024}", "1-9", True),
    ],
)
def test_allowed_values(value, allowed, is_allowed):
    assert rds.is_allowed(value, allowed) is is_allowed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("arn:aws:kms:r:1:key/a", "arn:aws:kms:r:1:key/a", True),
        ("a", "arn:aws:kms:r:1:key/a", True),
        ("arn:aws:kms:r:1:key/b", "arn:aws:kms:r:1:key/a", False),
        ("a", "", False),
    ],
)
def test_keys_are_compared(one, other, same):
    assert rds.is_same_key(one, other) is same
