"""The module rds_check: each kind of finding on facts, what cannot be read, and the calls to AWS (Stubber, moto)."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest import mock

import boto3
import botocore.client
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.module_utils import _aws, _rds_check
from ansible_collections.lightbox.pacs.plugins.module_utils._rds_check import KINDS, Facts, UnknownError, evaluate
from ansible_collections.lightbox.pacs.plugins.modules import rds_check
from botocore import xform_name
from botocore.stub import ANY, Stubber

from tests.support.aws_modules import REGION, aws_account, failing, recorded_calls
from tests.support.orthanc_server import run_module
from tests.support.project import PROJECT
from tests.support.rendering import Role

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
IDS = [kind.id for kind in KINDS]
SEVERITY = {kind.id: kind.severity for kind in KINDS}

INSTANCE: dict[str, Any] = {
    "DBInstanceIdentifier": "archive",
    "DBInstanceArn": "arn:aws:rds:eu-central-1:123456789012:db:archive",
    "DBInstanceStatus": "available",
    "Engine": "postgres",
    "EngineVersion": "17.4",
    "MasterUsername": "lightbox",
    "Endpoint": {"Address": "archive.abc.eu-central-1.rds.amazonaws.com", "Port": 5432},
    "AllocatedStorage": 50,
    "MaxAllocatedStorage": 200,
    "InstanceCreateTime": NOW - timedelta(days=100),
    "LatestRestorableTime": NOW - timedelta(minutes=5),
    "BackupRetentionPeriod": 14,
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
    "DBParameterGroups": [{"DBParameterGroupName": "archive", "ParameterApplyStatus": "in-sync"}],
    "StorageEncrypted": True,
    "KmsKeyId": KEY,
    "PubliclyAccessible": False,
    "MultiAZ": True,
    "AutoMinorVersionUpgrade": True,
    "DeletionProtection": True,
    "CopyTagsToSnapshot": True,
    "CACertificateIdentifier": "rds-ca-rsa2048-g1",
    "CertificateDetails": {"CAIdentifier": "rds-ca-rsa2048-g1", "ValidTill": NOW + timedelta(days=300)},
    "MasterUserSecret": {
        "SecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:s",
        "SecretStatus": "active",
    },
    "PendingModifiedValues": {},
}
PARAMETERS: dict[str, dict[str, str]] = {
    "rds.force_ssl": {"ParameterValue": "1", "ApplyType": "dynamic"},
    "log_statement": {},
    "log_min_duration_statement": {"ParameterValue": "-1"},
    "shared_buffers": {"ParameterValue": "{DBInstanceClassMemory/32768}"},
}
DATABASE: dict[str, Any] = {
    "error": "",
    "user": "orthanc",
    "encrypted": True,
    "tls_version": "TLSv1.3",
    "tls_cipher": "TLS_AES_256_GCM_SHA384",
    "privileges": [],
    "roles": [],
    "other_databases": [],
    "extensions": ["pg_trgm", "plpgsql"],
    "connections": 12,
    "max_connections": 405,
    "log_parameters": {"log_statement": "none", "log_min_duration_statement": "-1", "log_transaction_sample_rate": "0"},
    "schema_version": "6",
    "schema_revision": "10",
}
STANDARD, EXTENDED = "open-source-rds-standard-support", "open-source-rds-extended-support"
SOUND: dict[str, Any] = {
    "instance": INSTANCE,
    "parameters": PARAMETERS,
    "certificate": {"CertificateIdentifier": "rds-ca-rsa2048-g1", "ValidTill": NOW + timedelta(days=9000)},
    "maintenance": [],
    "lifecycle": [
        {"LifecycleSupportName": EXTENDED, "LifecycleSupportEndDate": NOW - timedelta(days=1)},
        {"LifecycleSupportName": STANDARD, "LifecycleSupportEndDate": NOW + timedelta(days=900)},
    ],
    "callers": {"internet": [], "others": []},
    "kms_key": KEY,
    "free_storage": [
        {"Timestamp": NOW - timedelta(minutes=10), "Minimum": 0.0},
        {"Timestamp": NOW - timedelta(minutes=5), "Minimum": 40.0 * 2**30},
    ],
    "database": DATABASE,
}
OPTIONS = {"backup_days": 7, "multi_az": True}


def change(sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Change facts: source__key=value, or source=value; None removes the key."""
    changed = copy.deepcopy(sources)
    for path, value in changes.items():
        source, _separator, key = path.partition("__")
        if not key:
            changed[source] = value
        elif value is None:
            del changed[source][key]
        else:
            changed[source][key] = value
    return changed


def judge(options: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return evaluate(Facts(change(SOUND, **changes), OPTIONS | (options or {}), NOW))


def ids(result: dict[str, Any]) -> list[str]:
    return [finding["id"] for finding in result["findings"]]


def parameter(name: str, value: str, **more: str) -> dict[str, Any]:
    return {"parameters": PARAMETERS | {name: {"ParameterValue": value} | more}}


def group(state: str) -> dict[str, Any]:
    return {"instance__DBParameterGroups": [{"DBParameterGroupName": "archive", "ParameterApplyStatus": state}]}


def until(days: float) -> dict[str, Any]:
    return {"CertificateIdentifier": "a", "ValidTill": NOW + timedelta(days=days)}


def support(days: float) -> list[dict[str, Any]]:
    return [{"LifecycleSupportName": STANDARD, "LifecycleSupportEndDate": NOW + timedelta(days=days)}]


def free(gigabytes: float) -> list[dict[str, Any]]:
    return [{"Timestamp": NOW, "Minimum": gigabytes * 2**30}]


STATIC = PARAMETERS | {"rds.force_ssl": {"ParameterValue": "1", "ApplyType": "static"}}
# Kind, with what it appears, with what else it does not.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("not_available", {"instance__DBInstanceStatus": "storage-full"}, {"instance__DBInstanceStatus": "backing-up"}),
    ("storage_not_encrypted", {"instance__StorageEncrypted": False}, {"instance__KmsKeyId": "another"}),
    ("other_kms_key", {"instance__KmsKeyId": "another"}, {"instance__KmsKeyId": "another", "kms_key": ""}),
    ("publicly_accessible", {"instance__PubliclyAccessible": True}, {}),
    ("tls_not_forced", parameter("rds.force_ssl", "0", ApplyType="dynamic"), {}),
    ("tls_not_forced", {"parameters": STATIC} | group("pending-reboot"), group("pending-reboot")),
    ("tls_not_forced", group("failed-to-apply"), {}),
    ("port_open_to_internet", {"callers__internet": ["0.0.0.0/0 (by sg-1)"]}, {"callers__others": ["sg-9 (by sg-1)"]}),
    ("port_open_to_others", {"callers__others": ["sg-9 (by sg-1)"]}, {"callers__internet": ["::/0 (by sg-1)"]}),
    ("certificate_authority_expires", {"certificate": until(89.9)}, {"certificate": until(90)}),
    (
        "server_certificate_expires",
        {"instance__CertificateDetails": until(13)},
        {"instance__CertificateDetails": until(14)},
    ),
    ("backups_off", {"instance__BackupRetentionPeriod": 0}, {"instance__BackupRetentionPeriod": 1}),
    ("backups_short", {"instance__BackupRetentionPeriod": 6}, {"instance__BackupRetentionPeriod": 7}),
    ("backups_short", {"instance__BackupRetentionPeriod": 1}, {"instance__BackupRetentionPeriod": 0}),
    (
        "restorable_time_old",
        {"instance__LatestRestorableTime": NOW - timedelta(minutes=61)},
        {"instance__LatestRestorableTime": NOW - timedelta(minutes=60)},
    ),
    (
        "restorable_time_old",
        {"instance__LatestRestorableTime": NOW - timedelta(days=3)},
        {"instance__LatestRestorableTime": NOW - timedelta(days=3), "instance__BackupRetentionPeriod": 0},
    ),
    ("deletion_not_protected", {"instance__DeletionProtection": False}, {}),
    ("pending_reboot", group("pending-reboot"), group("applying")),
    (
        "pending_changes",
        {"instance__PendingModifiedValues": {"MultiAZ": True}},
        {"instance__PendingModifiedValues": None},
    ),
    ("pending_maintenance", {"maintenance": [{"Action": "system-update", "ForcedApplyDate": NOW}]}, {}),
    ("pending_maintenance", {"maintenance": [{"Action": "db-upgrade"}]}, {}),
    ("storage_not_autoscaled", {"instance__MaxAllocatedStorage": None}, {"instance__MaxAllocatedStorage": 51}),
    ("storage_not_autoscaled", {"instance__MaxAllocatedStorage": 50}, {}),
    ("storage_low", {"free_storage": free(4.9)}, {"free_storage": free(5)}),
    ("engine_unsupported", {"lifecycle": support(-1)}, {"lifecycle": support(1)}),
    ("engine_unsupported", {"lifecycle": UnknownError("x"), "instance__EngineVersion": "13.20"}, {"lifecycle": []}),
    ("engine_support_ends", {"lifecycle": support(179)}, {"lifecycle": support(180)}),
    ("engine_support_ends", {"lifecycle": [], "instance__EngineVersion": "14.9"}, {"lifecycle": support(-1)}),
    ("minor_upgrades_off", {"instance__AutoMinorVersionUpgrade": False}, {}),
    ("not_multi_az", {"instance__MultiAZ": False}, {}),
    ("master_password_not_managed", {"instance__MasterUserSecret": None}, {}),
    (
        "master_password_not_managed",
        {"instance__MasterUserSecret": {"SecretStatus": "impaired"}},
        {"instance__MasterUserSecret": {"SecretStatus": "rotating"}},
    ),
    ("tags_not_copied", {"instance__CopyTagsToSnapshot": False}, {}),
    ("statements_logged", parameter("log_statement", "all"), parameter("log_statement", "ddl")),
    ("statements_logged", parameter("log_statement", "mod"), parameter("log_statement", "none")),
    ("statements_logged", parameter("log_min_duration_statement", "0"), {}),
    ("statements_logged", parameter("log_min_duration_sample", "100"), parameter("log_min_duration_sample", "-1")),
    (
        "statements_logged",
        parameter("log_transaction_sample_rate", "0.5"),
        parameter("log_transaction_sample_rate", "0.0"),
    ),
    ("statements_logged", parameter("pgaudit.log", "read,write"), parameter("pgaudit.log", "none")),
    ("statements_logged", parameter("auto_explain.log_min_duration", "0"), {}),
    ("statements_logged", {"database__log_parameters": {"log_statement": "all"}}, {"database": None}),
    ("master_user_in_use", {"database__user": "lightbox"}, {"database__user": "lightbox2"}),
    ("session_not_encrypted", {"database__encrypted": False}, {}),
    ("tls_outdated", {"database__tls_version": "TLSv1.1"}, {"database__encrypted": False, "database__tls_version": ""}),
    (
        "tls_outdated",
        {"database__tls_version": "TLSv1.2", "database__tls_cipher": "AES256-GCM-SHA384"},
        {"database__tls_version": "TLSv1.2", "database__tls_cipher": "ECDHE-RSA-AES256-GCM-SHA384"},
    ),
    ("user_privileged", {"database__privileges": ["CREATEDB"]}, {}),
    ("user_privileged", {"database__roles": ["rds_superuser"]}, {}),
    ("other_databases", {"database__other_databases": ["postgres"]}, {}),
    ("trigrams_missing", {"database__extensions": ["plpgsql"]}, {}),
    ("trigrams_missing", {"database__extensions": []}, {}),
    ("connections_low", {"database__connections": 81, "database__max_connections": 100}, {}),
    (
        "connections_low",
        {"database__connections": 100, "database__max_connections": 100},
        {"database__connections": 324},
    ),
    ("schema_unexpected", {"database__schema_version": ""}, {"database__schema_revision": ""}),
    ("schema_unexpected", {"database__schema_version": "5"}, {}),
]


def test_a_sound_instance_has_no_findings():
    result = judge()
    assert result["findings"] == []
    assert result["not_checked"] == []
    assert [one["id"] for one in result["checked"]] == IDS
    assert {one["status"] for one in result["checked"]} == {"ok"}


@pytest.mark.parametrize(
    ("name", "with_it", "without_it"), CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)]
)
def test_each_kind_appears_and_disappears(name, with_it, without_it):
    result = judge(**with_it)
    found = [one for one in result["findings"] if one["id"] == name]
    assert [(one["severity"], one["status"]) for one in found] == [(SEVERITY[name], "found")]
    assert all(found[0][key] for key in ("actual", "expected", "remedy"))
    assert {"id": name, "status": "found", "actual": found[0]["actual"]} in result["checked"]
    assert [one for one in ids(judge(**without_it)) if name in one] == []


def test_every_kind_has_a_case():
    assert {case[0] for case in CASES} == set(IDS)
    assert len(IDS) == len(set(IDS)) >= 16


def test_documentation_lists_every_kind_with_its_severity():
    lines = yaml.safe_load(rds_check.RETURN)["findings"]["contains"]["id"]["description"]
    documented = [re.match(r"V\((\w+)\) \((\w+)\), .+\.\Z", line) for line in lines[1:]]
    assert [found.groups() for found in documented if found] == [(kind.id, kind.severity) for kind in KINDS]
    assert len(documented) == len(KINDS)


def test_documentation_lists_every_fact_of_the_database():
    suboptions = yaml.safe_load(rds_check.DOCUMENTATION)["options"]["database"]["suboptions"]
    assert {name: one["type"] for name, one in suboptions.items()} == {
        name: one["type"] for name, one in rds_check.DATABASE.items()
    }


def test_findings_are_sorted_by_severity():
    result = judge(
        instance__CopyTagsToSnapshot=False, instance__DeletionProtection=False, instance__PubliclyAccessible=True
    )
    assert ids(result) == ["publicly_accessible", "deletion_not_protected", "tags_not_copied"]
    lines = _rds_check.describe(result["findings"])
    assert lines[0] == (
        "HIGH    publicly_accessible: the instance has a public address. Expected: no public address. "
        "Set PubliclyAccessible to false."
    )
    assert [line.split()[0] for line in lines] == ["HIGH", "MEDIUM", "LOW"]


def test_the_date_by_which_maintenance_is_forced_is_shown():
    dates = [{"ForcedApplyDate": NOW, "CurrentApplyDate": NOW - timedelta(days=1)}, {"AutoAppliedAfterDate": NOW}, {}]
    result = judge(maintenance=[{"Action": "system-update"} | one for one in dates])
    by_then = "system-update (by 2026-11-30 12:00 UTC)"
    assert result["findings"][0]["actual"] == f"{by_then}, {by_then}, system-update (optional) waits"


def test_a_standby_that_nobody_asked_for_is_not_missed():
    result = judge({"multi_az": False}, instance__MultiAZ=False)
    assert ids(result) == []
    assert [one["id"] for one in result["not_checked"]] == ["not_multi_az"]


# Keys that RDS always returns, and what cannot be judged without them.
MISSING = {
    "instance__DBInstanceStatus": ["not_available"],
    "instance__StorageEncrypted": ["storage_not_encrypted", "other_kms_key"],
    "instance__KmsKeyId": ["other_kms_key"],
    "instance__PubliclyAccessible": ["publicly_accessible"],
    "instance__DBParameterGroups": ["tls_not_forced", "pending_reboot"],
    "instance__CertificateDetails": ["server_certificate_expires"],
    "instance__BackupRetentionPeriod": ["backups_off", "restorable_time_old", "backups_short"],
    "instance__LatestRestorableTime": ["restorable_time_old"],
    "instance__DeletionProtection": ["deletion_not_protected"],
    "instance__AllocatedStorage": ["storage_low", "storage_not_autoscaled"],
    "instance__AutoMinorVersionUpgrade": ["minor_upgrades_off"],
    "instance__MultiAZ": ["not_multi_az"],
    "instance__CopyTagsToSnapshot": ["tags_not_copied"],
    "instance__MasterUsername": ["master_user_in_use"],
    "instance__EngineVersion": ["engine_unsupported", "engine_support_ends"],
    "parameters__rds.force_ssl": ["tls_not_forced"],
    "parameters__log_statement": ["statements_logged"],
    "parameters__log_min_duration_statement": ["statements_logged"],
    "certificate__ValidTill": ["certificate_authority_expires"],
    "database__user": ["master_user_in_use"],
    "database__encrypted": ["session_not_encrypted", "tls_outdated"],
    "database__tls_version": ["tls_outdated"],
    "database__tls_cipher": ["tls_outdated"],
    "database__privileges": ["user_privileged"],
    "database__roles": ["user_privileged"],
    "database__other_databases": ["other_databases"],
    "database__extensions": ["trigrams_missing"],
    "database__connections": ["connections_low"],
    "database__max_connections": ["connections_low"],
    "database__schema_version": ["schema_unexpected"],
}


@pytest.mark.parametrize("path", MISSING)
def test_a_missing_fact_is_a_finding(path):
    result = judge(**{path: None})
    assert ids(result) == [f"unknown_{name}" for name in MISSING[path]]
    for finding, name in zip(result["findings"], MISSING[path], strict=True):
        assert (finding["status"], finding["severity"]) == ("unknown", SEVERITY[name])
        assert finding["actual"].startswith("could not be read: ")
        assert {"id": name, "status": "unknown", "actual": finding["actual"]} in result["checked"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"free_storage": []}, ["unknown_storage_low"]),
        ({"free_storage": [{"Timestamp": NOW}]}, ["unknown_storage_low"]),
        ({"database__max_connections": 0}, ["unknown_connections_low"]),
        (
            parameter("rds.force_ssl", "1") | {"instance__DBParameterGroups": [{}]},
            ["unknown_tls_not_forced", "unknown_pending_reboot"],
        ),
        ({"parameters": PARAMETERS | {"rds.force_ssl": {}}}, ["unknown_tls_not_forced"]),
        (
            {"lifecycle": [], "instance__EngineVersion": "99.1"},
            ["unknown_engine_unsupported", "unknown_engine_support_ends"],
        ),
        (
            {"lifecycle": [{"LifecycleSupportName": STANDARD}], "instance__EngineVersion": "99.1"},
            ["unknown_engine_unsupported", "unknown_engine_support_ends"],
        ),
    ],
)
def test_an_empty_answer_is_a_finding(changes, found):
    assert ids(judge(**changes)) == found


def test_a_database_that_does_not_answer_is_a_finding_for_each_kind():
    result = judge(database={"error": "connection refused\nmore"})
    inside = ["master_user_in_use", "session_not_encrypted", "user_privileged", "schema_unexpected"]
    inside += ["tls_outdated", "other_databases", "trigrams_missing", "connections_low"]
    assert ids(result) == [f"unknown_{name}" for name in inside]
    assert {finding["actual"] for finding in result["findings"]} == {"could not be read: connection refused"}


def test_a_database_that_was_not_queried_is_not_checked():
    result = judge(database=None)
    assert ids(result) == []
    assert len(result["not_checked"]) == 8
    assert {one["reason"] for one in result["not_checked"]} == {"the database was not queried"}


@pytest.mark.parametrize("minutes", [59, 61])
def test_a_new_instance_has_no_metrics_and_backups_yet(minutes):
    created: dict[str, Any] = {"instance__InstanceCreateTime": NOW - timedelta(minutes=minutes)}
    result = judge(free_storage=[], instance__LatestRestorableTime=None, **created)
    names = ["restorable_time_old", "storage_low"]
    assert ids(result) == ([] if minutes < 60 else [f"unknown_{name}" for name in names])
    assert [one["id"] for one in result["not_checked"]] == (names if minutes < 60 else [])


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=9)), timezone(timedelta(hours=-5))])
def test_times_of_every_zone_are_compared(zone):
    def convert(time: datetime) -> datetime:
        return time.replace(tzinfo=None) if zone is None else time.astimezone(zone)

    latest = convert(NOW - timedelta(minutes=59))
    point = {"Timestamp": convert(NOW), "Minimum": 1.0 * 2**30}
    result = judge(
        instance__LatestRestorableTime=latest,
        certificate=until(90) | {"ValidTill": convert(NOW + timedelta(days=90))},
        lifecycle=[{"LifecycleSupportName": STANDARD, "LifecycleSupportEndDate": convert(NOW + timedelta(days=180))}],
        free_storage=[*SOUND["free_storage"], point],
    )
    assert ids(result) == ["storage_low"]
    late = judge(instance__LatestRestorableTime=convert(NOW - timedelta(minutes=61)))
    assert ids(late) == ["restorable_time_old"]
    assert "2026-11-30 10:59 UTC, 61 minutes ago" in late["findings"][0]["actual"]


GROUP = {
    "GroupId": "sg-1",
    "VpcId": "vpc-1",
    "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": "sg-2"}]},
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 6000, "PrefixListIds": [{"PrefixListId": "pl-1"}]},
    ],
    "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
}


def now(content: Any) -> Any:
    """Move every time from NOW to the present."""
    if isinstance(content, dict):
        return {key: now(value) for key, value in content.items()}
    if isinstance(content, list):
        return [now(value) for value in content]
    return content + (datetime.now(UTC) - NOW) if isinstance(content, datetime) else content


def answers(**changes: Any) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """The calls for a sound instance: service, operation, its arguments, its answer."""
    sound = now(change(SOUND, **changes))
    arn = INSTANCE["DBInstanceArn"]
    parameters = [{"ParameterName": name} | value for name, value in sound["parameters"].items()]
    cycles = [one | {"LifecycleSupportStartDate": NOW} for one in sound["lifecycle"]]
    named = {"Filters": [{"Name": "vpc-id", "Values": ["vpc-1"]}, {"Name": "group-name", "Values": ["archive"]}]}
    return [
        ("rds", "describe_db_instances", {"DBInstanceIdentifier": "archive"}, {"DBInstances": [sound["instance"]]}),
        (
            "rds",
            "describe_db_parameters",
            {"DBParameterGroupName": "archive"},
            {"Parameters": parameters[:2], "Marker": "2"},
        ),
        (
            "rds",
            "describe_db_parameters",
            {"DBParameterGroupName": "archive", "Marker": "2"},
            {"Parameters": parameters[2:]},
        ),
        (
            "rds",
            "describe_certificates",
            {"CertificateIdentifier": "rds-ca-rsa2048-g1"},
            {"Certificates": [sound["certificate"]]},
        ),
        (
            "rds",
            "describe_pending_maintenance_actions",
            {"ResourceIdentifier": arn},
            {"PendingMaintenanceActions": [{"PendingMaintenanceActionDetails": sound["maintenance"]}]},
        ),
        (
            "rds",
            "describe_db_major_engine_versions",
            {"Engine": "postgres", "MajorEngineVersion": "17"},
            {"DBMajorEngineVersions": [{"SupportedEngineLifecycles": cycles}]},
        ),
        (
            "cloudwatch",
            "get_metric_statistics",
            {
                "Namespace": "AWS/RDS",
                "MetricName": "FreeStorageSpace",
                "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": "archive"}],
                "StartTime": ANY,
                "EndTime": ANY,
                "Period": 300,
                "Statistics": ["Minimum"],
            },
            {"Datapoints": sound["free_storage"]},
        ),
        ("ec2", "describe_security_groups", {"GroupIds": ["sg-1"]}, {"SecurityGroups": [GROUP]}),
        ("ec2", "describe_security_groups", named, {"SecurityGroups": [{"GroupName": "archive", "GroupId": "sg-2"}]}),
        (
            "ec2",
            "get_managed_prefix_list_entries",
            {"PrefixListId": "pl-1"},
            {"Entries": [{"Cidr": "10.1.0.0/16"}, {"Cidr": "10.2.3.0/24"}]},
        ),
        ("kms", "describe_key", {"KeyId": "alias/archive"}, {"KeyMetadata": {"KeyId": "1", "Arn": KEY}}),
    ]


ARGUMENTS: dict[str, Any] = {
    "name": "archive",
    "region": REGION,
    "kms_key_id": "alias/archive",
    "multi_az": True,
    "allowed_sources": ["archive", "10.1.0.0/16", "10.2.0.0/16"],
    "database": DATABASE,
}


@functools.cache
def client(service: str) -> Any:
    create: Any = boto3.client  # it has a type for each service by name
    return create(service, REGION, aws_access_key_id="example", aws_secret_access_key="example")


def run_stubbed(replaced: dict[str, Any] | None = None, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run the module on answers that botocore compares with its model. replaced: operation to its answer or error."""
    replaced = replaced or {}
    stubs = {service: Stubber(client(service)) for service in ("rds", "ec2", "kms", "cloudwatch")}
    failed: set[str] = set()
    for service, operation, expected, answer in answers():
        content = replaced.get(operation, answer)
        if not isinstance(content, str):
            stubs[service].add_response(operation, content, expected)
        elif operation not in failed:
            failed.add(operation)
            stubs[service].add_client_error(operation, content, f"{content} (test)", expected_params=expected)
    with contextlib.ExitStack() as stack:
        for stub in stubs.values():
            stack.enter_context(stub)
        stack.enter_context(mock.patch.object(_aws.AwsModule, "client", lambda _self, service: client(service)))
        return run_module("rds_check", ARGUMENTS | arguments, check=check)


@pytest.mark.parametrize("check", [False, True])
def test_what_aws_answers_is_judged(check):
    result = run_stubbed(check=check)
    assert result["findings"] == []
    assert result["not_checked"] == []
    assert result["table"] == []
    assert result["summary"] == f"RDS instance archive: {len(IDS)} checked, 0 high, 0 medium, 0 low, 0 unknown"
    assert result["changed"] is False


# What an API's failure leaves unknown. The engine's dates are in a table as well.
UNREADABLE = {
    "describe_db_parameters": ["tls_not_forced", "statements_logged"],
    "describe_certificates": ["certificate_authority_expires"],
    "describe_pending_maintenance_actions": ["pending_maintenance"],
    "describe_db_major_engine_versions": [],
    "get_metric_statistics": ["storage_low"],
    "describe_security_groups": ["port_open_to_internet", "port_open_to_others"],
    "get_managed_prefix_list_entries": ["port_open_to_internet", "port_open_to_others"],
    "describe_key": ["other_kms_key"],
}


@pytest.mark.parametrize("code", ["AccessDenied", "UnauthorizedOperation", "InvalidParameterValue"])
@pytest.mark.parametrize("operation", UNREADABLE)
def test_an_api_that_fails_is_a_finding(operation, code):
    result = run_stubbed({operation: code}, fail_on="never")
    assert ids(result) == [f"unknown_{name}" for name in UNREADABLE[operation]]
    action = next(f"{service}:{action}" for service, action in ACTIONS if xform_name(action) == operation)
    for finding in result["findings"]:
        assert f"{action} failed with {code}: {code} (test)" in finding["actual"]
        assert (f"Allow {action} " in finding["remedy"]) is (code != "InvalidParameterValue")


EMPTY: dict[str, dict[str, Any]] = {
    "describe_certificates": {"Certificates": []},
    "get_metric_statistics": {"Datapoints": []},
    "describe_security_groups": {"SecurityGroups": []},
}


@pytest.mark.parametrize("operation", EMPTY)
def test_an_empty_answer_of_an_api_is_a_finding(operation):
    result = run_stubbed({operation: EMPTY[operation]}, fail_on="never")
    assert ids(result) == [f"unknown_{name}" for name in UNREADABLE[operation]]


ACTIONS = [
    ("rds", "DescribeDBInstances"),
    ("rds", "DescribeDBParameters"),
    ("rds", "DescribeCertificates"),
    ("rds", "DescribePendingMaintenanceActions"),
    ("rds", "DescribeDBMajorEngineVersions"),
    ("cloudwatch", "GetMetricStatistics"),
    ("ec2", "DescribeSecurityGroups"),
    ("ec2", "GetManagedPrefixListEntries"),
    ("kms", "DescribeKey"),
]


def test_documentation_lists_every_action():
    documented = re.findall(r"C\((\w+):(\w+)\)", rds_check.DOCUMENTATION)
    assert sorted(documented) == sorted(ACTIONS)
    assert {(service, xform_name(action)) for service, action in ACTIONS} == {call[:2] for call in answers()}


@pytest.mark.parametrize(
    ("changes", "fails_on"),
    [
        ({}, []),
        ({"CopyTagsToSnapshot": False}, ["low"]),
        ({"DeletionProtection": False}, ["medium", "low"]),
        ({"PubliclyAccessible": True}, ["high", "medium", "low"]),
        ({"CertificateDetails": {}}, ["high", "medium", "low"]),  # unknown
    ],
)
def test_the_severity_decides_about_failure(changes, fails_on):
    instance = {"describe_db_instances": {"DBInstances": [now(INSTANCE) | changes]}}
    for fail_on in ("high", "medium", "low", "never"):
        result = run_stubbed(instance, fail_on=fail_on)
        assert result.get("failed", False) is (fail_on in fails_on)
        assert len(result["findings"]) == len(result["table"]) == (1 if changes else 0)
        assert ("msg" in result) is (fail_on in fails_on)
    assert run_stubbed(instance).get("failed", False) is ("high" in fails_on)


def test_the_message_has_the_findings_that_fail():
    changes = {"PubliclyAccessible": True, "DeletionProtection": False, "CopyTagsToSnapshot": False}
    result = run_stubbed({"describe_db_instances": {"DBInstances": [now(INSTANCE) | changes]}}, fail_on="medium")
    assert result["msg"].splitlines() == ["The RDS instance archive is not as it should be.", *result["table"][:2]]
    assert len(result["table"]) == 3


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ("DBInstanceNotFound", "There is no RDS instance archive in the region eu-central-1. Set name and region"),
        ({"DBInstances": []}, "There is no RDS instance archive in the region eu-central-1."),
        ("AccessDenied", "The RDS instance archive could not be described: An error occurred (AccessDenied)"),
        ("ExpiredToken", "The RDS instance archive could not be described: An error occurred (ExpiredToken)"),
    ],
)
def test_an_instance_that_cannot_be_described_is_an_error(replaced, message):
    result = run_stubbed({"describe_db_instances": replaced}, fail_on="never")
    assert result["failed"] is True
    assert message in result["msg"]


# moto has no answer to these calls.
LACKING = {
    "DescribeCertificates": {"Certificates": [{"CertificateIdentifier": "a", "ValidTill": datetime(2061, 5, 1)}]},
    "DescribePendingMaintenanceActions": {"PendingMaintenanceActions": []},
    "DescribeDBMajorEngineVersions": {"DBMajorEngineVersions": []},
}


@contextlib.contextmanager
def cloud() -> Iterator[Cloud]:
    """An account of moto for instances."""
    call = botocore.client.BaseClient._make_api_call

    def answer(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        return LACKING[operation] if operation in LACKING else call(client, operation, arguments)

    answering = mock.patch.object(botocore.client.BaseClient, "_make_api_call", answer)
    with aws_account(), answering, mock.patch("time.sleep"):
        yield Cloud()


@pytest.fixture
def account():
    with cloud() as made:
        yield made


@pytest.fixture(scope="class")
def account_of_the_class():
    with cloud() as made:
        made.create(**HARDENED)
        yield made


class Cloud:
    def __init__(self) -> None:
        self.rds, self.ec2, self.kms = client("rds"), client("ec2"), client("kms")
        vpc = self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for number, zone in enumerate("ab")
        ]
        self.archive, self.database = (
            self.ec2.create_security_group(GroupName=f"hospital-{name}", Description=name, VpcId=vpc)["GroupId"]
            for name in ("archive", "database")
        )
        self.key = self.kms.create_key()["KeyMetadata"]
        self.kms.create_alias(AliasName="alias/hospital", TargetKeyId=self.key["KeyId"])
        self.rds.create_db_subnet_group(
            DBSubnetGroupName="hospital",
            DBSubnetGroupDescription="hospital",
            SubnetIds=[subnet["Subnet"]["SubnetId"] for subnet in subnets],
        )
        self.rds.create_db_parameter_group(
            DBParameterGroupName="hospital", DBParameterGroupFamily="postgres17", Description="hospital"
        )
        self.set_parameters({"rds.force_ssl": "1", "log_statement": "none", "log_min_duration_statement": "-1"})

    def set_parameters(self, values: dict[str, str]) -> None:
        self.rds.modify_db_parameter_group(
            DBParameterGroupName="hospital",
            Parameters=[
                {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate"}
                for name, value in values.items()
            ],
        )

    def create(self, **more: Any) -> None:
        given = {
            "DBInstanceIdentifier": "hospital",
            "DBInstanceClass": "db.t4g.medium",
            "Engine": "postgres",
            "EngineVersion": "17.4",
            "AllocatedStorage": 50,
            "MasterUsername": "lightbox",
            "DBSubnetGroupName": "hospital",
            "DBParameterGroupName": "hospital",
            "VpcSecurityGroupIds": [self.database],
        }
        self.rds.create_db_instance(**(given | more))

    def allow(self, source: str, first: int = 5432, last: int = 5432, protocol: str = "tcp") -> None:
        rule: dict[str, Any] = {"IpProtocol": protocol}
        if protocol != "-1":
            rule |= {"FromPort": first, "ToPort": last}
        if source.startswith("sg-"):
            rule["UserIdGroupPairs"] = [{"GroupId": source}]
        elif source.startswith("pl-"):
            rule["PrefixListIds"] = [{"PrefixListId": source}]
        elif ":" in source:
            rule["Ipv6Ranges"] = [{"CidrIpv6": source}]
        else:
            rule["IpRanges"] = [{"CidrIp": source}]
        self.ec2.authorize_security_group_ingress(GroupId=self.database, IpPermissions=[rule])

    def close(self) -> None:
        groups = self.ec2.describe_security_groups(GroupIds=[self.database])["SecurityGroups"]
        if groups[0]["IpPermissions"]:
            self.ec2.revoke_security_group_ingress(GroupId=self.database, IpPermissions=groups[0]["IpPermissions"])

    def list_prefixes(self, *networks: str) -> str:
        found = self.ec2.create_managed_prefix_list(
            PrefixListName="list",
            Entries=[{"Cidr": network} for network in networks],
            MaxEntries=5,
            AddressFamily="IPv4",
        )
        return found["PrefixList"]["PrefixListId"]

    def check(self, **more: Any) -> dict[str, Any]:
        given = {"name": "hospital", "region": REGION, "allowed_sources": ["hospital-archive"], "fail_on": "never"}
        # The clients that a module makes read botocore's models anew, which takes most of the time.
        with mock.patch.object(_aws.AwsModule, "client", lambda _self, service: client(service)):
            return run_module("rds_check", given | more)


HARDENED: dict[str, Any] = {
    "StorageEncrypted": True,
    "PubliclyAccessible": False,
    "MultiAZ": True,
    "BackupRetentionPeriod": 14,
    "DeletionProtection": True,
    "CopyTagsToSnapshot": True,
    "MaxAllocatedStorage": 200,
    "ManageMasterUserPassword": True,
}
# moto's instances have no certificate.
ALWAYS = ["unknown_server_certificate_expires"]


def test_a_hardened_instance_of_moto(account):
    account.create(**HARDENED, KmsKeyId=account.key["Arn"])
    account.allow(account.archive)
    with recorded_calls() as calls:
        result = account.check(kms_key_id="alias/hospital", multi_az=True, backup_days=14, database=DATABASE)
    assert ids(result) == ALWAYS
    assert [one["id"] for one in result["not_checked"]] == ["storage_low"]  # it is new
    assert set(calls) == {f"{service}:{action}" for service, action in ACTIONS} - {"ec2:GetManagedPrefixListEntries"}
    other = account.check(kms_key_id=account.kms.create_key()["KeyMetadata"]["KeyId"])
    assert [*ALWAYS, "other_kms_key"] == ids(other)


def test_a_careless_instance_of_moto(account):
    account.create(
        MasterUserPassword="a-password-2026",
        PubliclyAccessible=True,
        BackupRetentionPeriod=0,
        AutoMinorVersionUpgrade=False,
    )
    account.set_parameters({"rds.force_ssl": "0", "log_statement": "all"})
    account.allow("0.0.0.0/0")
    account.allow("10.9.0.0/16")
    result = account.check(multi_az=True, kms_key_id="alias/hospital", fail_on="high")
    assert result["failed"] is True
    assert set(ids(result)) == {
        *ALWAYS,
        "storage_not_encrypted",
        "other_kms_key",
        "publicly_accessible",
        "tls_not_forced",
        "port_open_to_internet",
        "port_open_to_others",
        "backups_off",
        "deletion_not_protected",
        "storage_not_autoscaled",
        "minor_upgrades_off",
        "not_multi_az",
        "master_password_not_managed",
        "tags_not_copied",
        "statements_logged",
    }
    assert "a-password-2026" not in str(result)


INTERNET, OTHERS = "port_open_to_internet", "port_open_to_others"


class TestPort:
    @pytest.mark.parametrize(
        ("rules", "found"),
        [
            ([("10.0.0.0/16",)], [OTHERS]),
            ([("10.0.0.7/32",)], [OTHERS]),
            ([("10.77.3.0/24",)], []),  # in an allowed network
            ([("10.77.0.0/15",)], [OTHERS]),  # and more than that
            ([("203.0.113.0/24",)], [OTHERS]),
            ([("0.0.0.0/0",)], [INTERNET]),
            ([("::/0",)], [INTERNET]),
            ([("0.0.0.0/1",), ("128.0.0.0/1",)], [INTERNET]),
            ([("fd00::/8",)], [OTHERS]),
            ([("0.0.0.0/0", 443, 443)], []),
            ([("0.0.0.0/0", 5433, 6000)], []),
            ([("0.0.0.0/0", 0, 65535)], [INTERNET]),
            ([("0.0.0.0/0", 5000, 5432)], [INTERNET]),
            ([("0.0.0.0/0", 0, 0, "-1")], [INTERNET]),
            ([("0.0.0.0/0", 5432, 5432, "udp")], []),
            ([("0.0.0.0/0",), ("10.1.0.0/16",)], [INTERNET, OTHERS]),
            ([("archive",)], []),
            ([("database",)], [OTHERS]),
            ([("prefix list",)], [OTHERS]),
            ([("allowed prefix list",)], []),
        ],
    )
    def test_who_reaches_it(self, account_of_the_class, rules, found):
        account = account_of_the_class
        account.close()
        sources = {"archive": account.archive, "database": account.database}
        for name in {"prefix list", "allowed prefix list"} & {source for source, *_more in rules}:
            sources[name] = account.list_prefixes("198.51.100.0/24")
        for source, *more in rules:
            account.allow(sources.get(source, source), *more)
        allowed = ["hospital-archive", "10.77.0.0/16", sources.get("allowed prefix list", "pl-1")]
        result = account.check(allowed_sources=allowed)
        assert [name for name in ids(result) if "port_open" in name] == found
        for finding in result["findings"]:
            if finding["id"] in found[-1:]:
                assert sources.get(rules[-1][0], rules[-1][0]) in finding["actual"]


@pytest.mark.parametrize("allowed", ["hospital-archiv", "10.0.0.1/16", "10.0.0.0/33"])
def test_an_allowed_source_that_does_not_exist_is_a_finding(account, allowed):
    account.create(**HARDENED)
    result = account.check(allowed_sources=[allowed])
    assert ids(result) == ["unknown_port_open_to_internet", *ALWAYS, "unknown_port_open_to_others"]
    assert f"`{allowed}` is" in result["findings"][0]["actual"]


def test_errors_of_a_server_are_retried_and_then_a_finding(account):
    account.create(**HARDENED)
    with failing("DescribeDBParameters", "InternalFailure", times=2):
        assert ids(account.check()) == ALWAYS
    with failing("DescribeDBParameters", "InternalFailure"):
        result = account.check()
    assert ids(result) == ["unknown_tls_not_forced", *ALWAYS, "unknown_statements_logged"]
    assert "rds:DescribeDBParameters failed with InternalFailure" in result["findings"][0]["actual"]


@pytest.mark.parametrize(
    "error",
    [
        botocore.parsers.ResponseParserError("Unable to parse response (syntax error), invalid XML received.\n<html>"),
        botocore.exceptions.ConnectTimeoutError(endpoint_url="https://rds.example.org"),
        AttributeError("'RDS' object has no attribute 'describe_certificates'"),
    ],
    ids=["no answer", "no connection", "old boto3"],
)
def test_a_call_without_an_answer_is_a_finding(account, error):
    account.create(**HARDENED)
    call = rds_check.Account.call

    def fail(self: Any, service: str, operation: str, **arguments: Any) -> Any:
        if operation == "describe_certificates":
            raise error
        return call(self, service, operation, **arguments)

    with mock.patch.object(rds_check.Account, "call", fail):
        result = account.check()
    assert ids(result) == ["unknown_certificate_authority_expires", *ALWAYS]
    actual = result["findings"][0]["actual"]
    assert "rds:DescribeCertificates" in actual
    assert "\n" not in actual


def test_another_instance_does_not_exist_in_moto(account):
    result = run_module("rds_check", {"name": "hospital"})  # with clients of its own, in the environment's region
    assert "There is no RDS instance hospital in the region eu-central-1" in result["msg"]


FOUND = {"table": ["LOW     tags_not_copied: …"], "summary": "RDS instance archive: …", "findings": [{}], "checked": []}


@pytest.mark.parametrize(
    ("rds", "lines", "errors"),
    [
        (None, [], []),
        ({"skipped": True}, [], []),
        (FOUND, ["LOW     tags_not_copied: …", "RDS instance archive: …"], []),
        (
            FOUND | {"msg": "not as it should be"},
            [*FOUND["table"], FOUND["summary"]],
            ["not as it should be", "verify_rds_fail_on is high."],
        ),
        (
            {"msg": "There is no RDS instance"},
            [],
            ['The task "rds | Check the instance of the database" failed: There is no RDS instance'],
        ),
    ],
)
def test_the_role_verify_reports_findings_and_fails_by_their_severity(rds, lines, errors):
    verified = {"passed": True, "summary": "", "version": "", "checks": []}
    given = {"__verify_result": verified, "inventory_hostname": "a", "verify_url": "https://a", "verify_modules": False}
    role = Role("verify", ansible_check_mode=False, **given)
    answers = {} if rds is None else {"__verify_rds": rds}
    assert role.value("__verify_rds_lines", **answers) == lines
    assert role.value("__verify_rds_errors", **answers) == errors
    report = role.value("__verify_report", **answers)
    assert report["passed"] is (errors == [])
    assert report["database"] == {"findings": (rds or {}).get("findings", []), "checked": []}


SHOWN = {"table": ["HIGH    undeclared: …"], "summary": "2 security groups: 1 high", "findings": [{"id": "undeclared"}]}


@pytest.mark.parametrize(
    ("groups", "lines", "errors"),
    [
        (None, [], []),
        ({"skipped": True}, [], []),
        (SHOWN, [*SHOWN["table"], SHOWN["summary"]], []),
        (
            SHOWN | {"msg": "more is open"},
            [*SHOWN["table"], SHOWN["summary"]],
            ["more is open", "verify_security_groups_fail_on is high."],
        ),
        (
            {"msg": "There is no security group archive"},
            [],
            ['The task "security_groups | Check who reaches the server" failed: There is no security group archive'],
        ),
    ],
)
def test_the_role_verify_reports_what_is_open_beyond_what_is_declared(groups, lines, errors):
    verified = {"passed": True, "summary": "", "version": "", "checks": []}
    given = {"__verify_result": verified, "inventory_hostname": "a", "verify_url": "https://a", "verify_modules": False}
    role = Role("verify", ansible_check_mode=False, **given)
    answers = {} if groups is None else {"__verify_security_groups": groups}
    assert role.value("__verify_security_groups_lines", **answers) == lines
    assert role.value("__verify_security_groups_errors", **answers) == errors
    report = role.value("__verify_report", **answers)
    assert report["passed"] is (errors == [])
    assert report["security_groups"] == {"findings": (groups or {}).get("findings", [])}


def test_the_role_verify_names_the_action_that_aws_refuses():
    refused = run_stubbed({"describe_db_instances": "AccessDenied"})
    errors = Role("verify").value("__verify_rds_errors", __verify_rds=refused)
    assert len(errors) == 1
    assert "AWS refused rds:DescribeDBInstances" in errors[0]


ROW = {key: value for key, value in DATABASE.items() if key != "error"}


@pytest.mark.parametrize(
    ("queried", "audit"),
    [
        (None, {"error": ""}),
        ({"query_result": [ROW]}, DATABASE),
        (
            {"msg": "unable to connect to database: refused\n", "failed": False},
            {"error": "unable to connect to database: refused"},
        ),
        (
            {"msg": "Cannot execute SQL 'SELECT '' AS x' None: permission denied\nCONTEXT: q, query list: []"},
            {"error": "permission denied"},
        ),
    ],
)
def test_the_role_postgresql_yields_what_the_module_takes(queried, audit):
    answers = {} if queried is None else {"__postgresql_queried": queried}
    assert Role("postgresql").value("postgresql_audit", **answers) == audit


def test_the_query_has_every_fact_that_the_module_takes():
    query = Role("postgresql").value("__postgresql_audit_query")
    columns = re.findall(r' AS "?(\w+)"?(?:,| +FROM pg_roles, )', query)
    assert [*columns, "error"] == [*(name for name in rds_check.DATABASE if name != "error"), "error"]


AWS = {
    "aws_environment": "hospital",
    "aws_region": REGION,
    "aws_database_enabled": True,
    "aws_database_name": "hospital",
}
AWS |= {"aws_database_multi_az": True, "aws_database_backup_days": 21, "aws_security_groups_name": "hospital"}
OWN = {"aws_database_enabled": True, "pacs_rds_name": "archive-1", "pacs_rds_allowed_sources": ["sg-1"]}
NOTHING = {"name": "", "region": "", "kms_key_id": "", "multi_az": False, "backup_days": 7, "allowed_sources": []}


@pytest.mark.parametrize(
    ("answers", "wired"),
    [
        ({}, {}),
        ({"aws_database_enabled": True}, {}),
        (OWN, {"name": "archive-1", "allowed_sources": ["sg-1"]}),
        (OWN | {"aws_region": REGION}, {"name": "archive-1", "region": REGION, "allowed_sources": ["sg-1"]}),
        (AWS | {"aws_database_enabled": False}, {"region": REGION}),
        (
            AWS,
            {
                "name": "hospital",
                "region": REGION,
                "kms_key_id": "alias/hospital",
                "multi_az": True,
                "backup_days": 21,
                "allowed_sources": ["hospital-archive"],
            },
        ),
    ],
)
def test_the_wiring_names_the_instance_and_what_was_asked_for(answers, wired):
    loader = DataLoader()
    variables = loader.load_from_file(
        str(PROJECT / "playbooks/group_vars/all/wiring_aws.yml"), trusted_as_template=True
    )
    templar = Templar(loader, variables=variables | answers)
    found = {name: templar.template(trust_as_template("{{ verify_rds_" + name + " }}")) for name in NOTHING}
    assert found == NOTHING | wired
    key = Templar(loader, variables=variables | answers | {"aws_kms_key_id": KEY})
    expected = KEY if wired.get("name") == "hospital" else ""
    assert key.template(trust_as_template("{{ verify_rds_kms_key_id }}")) == expected
