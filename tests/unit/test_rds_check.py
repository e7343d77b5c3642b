"""The module rds_check: each kind of finding on facts, what cannot be read, and the calls to AWS (Stubber, moto)."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest import mock

import boto3
import botocore.client
import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.module_utils import _aws, _rds_check
from ansible_collections.lightbox.pacs.plugins.module_utils._rds_check import KINDS, Facts, UnknownError, evaluate
from ansible_collections.lightbox.pacs.plugins.modules import rds_check
from botocore.stub import ANY, Stubber

from tests.support.aws import REGION, aws_account, failing, recorded_calls, run_module
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
        source, _, key = path.partition("__")
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
    created = {"instance__InstanceCreateTime": NOW - timedelta(minutes=minutes)}
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
