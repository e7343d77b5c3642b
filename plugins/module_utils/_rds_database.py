# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Current and desired settings of an RDS PostgreSQL instance, in the API's terms. No call is made here."""

from __future__ import annotations

import difflib
import re
import typing as t

# Connections are encrypted, and no statement reaches a log: statements hold patients' data.
MANAGED_PARAMETERS = {
    "log_min_duration_statement": "-1",
    "log_statement": "none",
    "rds.force_ssl": "1",
    "shared_preload_libraries": "pg_stat_statements",
}
# Parameters that write statements into the log; with each the values that do not.
_QUIET_VALUES = {
    "debug_print_parse": "0|off|false",
    "debug_print_plan": "0|off|false",
    "debug_print_rewritten": "0|off|false",
    "log_min_duration_sample": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_transaction_sample_rate": r"0(\.0*)?",
}
_LOGGING_EXTENSIONS = ("auto_explain.", "pgaudit.")
_LOSSY = ("fsync", "full_page_writes", "synchronous_commit")
_ENCRYPTION = re.compile(r"ssl(_|\Z)|password_encryption\Z|rds\.accepted_password_auth_method\Z")
_NAME = re.compile(r"[a-z][a-z0-9_.]*\Z")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY, _WEEK = 24 * 60, 7 * 24 * 60

# Settings of this module whose change RDS may defer to the maintenance window.
_PENDING = (
    "AllocatedStorage",
    "BackupRetentionPeriod",
    "CACertificateIdentifier",
    "DBInstanceClass",
    "EngineVersion",
    "MultiAZ",
    "Port",
    "StorageType",
)

# Statuses in which RDS accepts changes, those in which clients can connect, too, and those that need somebody's help.
# In each other one RDS is at work. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
MODIFIABLE = ("available", "storage-full", "storage-initialization", "storage-optimization")
REACHABLE = (
    *MODIFIABLE,
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
)
BROKEN = (
    "failed",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "stopped",
)


class RdsError(Exception):
    """RDS does not offer the requested settings. The message has what to set instead."""


def describe_option(name: str) -> str:
    """Return an option's name with the variable of the role that sets it."""
    return f"{name} (aws_database_{name})"


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as '17.6'; () for anything else."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) else ()


def format_parameter(value: t.Any) -> str:
    """Return the value of a parameter as RDS writes it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def find_parameter_errors(parameters: dict[str, t.Any]) -> list[str]:
    """Return what must not be set in a parameter group, with the reason."""
    option = describe_option("parameters")
    found = []
    for name, value in sorted(parameters.items()):
        text = format_parameter(value)
        if name in MANAGED_PARAMETERS:
            found.append(f"{option} sets {name}, which is always {MANAGED_PARAMETERS[name]}. Remove it.")
        elif _ENCRYPTION.match(name):
            found.append(f"{option} sets {name}, which decides how connections are encrypted. Remove it.")
        elif name in _LOSSY:
            found.append(f"{option} sets {name}: an outage could lose images that were acknowledged. Remove it.")
        elif name.startswith(_LOGGING_EXTENSIONS) or (
            name in _QUIET_VALUES and not re.fullmatch(_QUIET_VALUES[name], text, re.IGNORECASE)
        ):
            found.append(
                f"{option} sets {name} = {text}, which may write patients' data into the database's log. Remove it."
            )
        elif not _NAME.match(name) or not isinstance(value, (str, int, float)) or re.search(r"[\x00-\x1f]", text):
            found.append(
                f"{option} contains {name!r}. Set names in lower case such as work_mem, and each to one text or number."
            )
    return found


def _parse_time(text: str) -> int | None:
    """Return the minutes of '23:30', or None."""
    return (
        int(text[:2]) * 60 + int(text[3:]) if re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text, re.ASCII) else None
    )


def _parse_backup_window(text: str) -> range | None:
    """Return the minutes of each day as a range, which may go beyond midnight."""
    begin, end = (_parse_time(part) for part in [*text.split("-"), "", ""][:2])
    if begin is None or end is None or text.count("-") != 1:
        return None
    return range(begin, begin + (end - begin) % _DAY)


def _parse_maintenance_window(text: str) -> range | None:
    """Return the minutes of the week as a range, which may go beyond Sunday."""
    match = re.fullmatch(r"([a-z]{3}):([0-9:]{5})-([a-z]{3}):([0-9:]{5})", text.lower())
    if not match or match[1] not in _DAYS or match[3] not in _DAYS:
        return None
    begin, end = _parse_time(match[2]), _parse_time(match[4])
    if begin is None or end is None:
        return None
    first = _DAYS.index(match[1]) * _DAY + begin
    return range(first, first + (_DAYS.index(match[3]) * _DAY + end - first) % _WEEK)


def find_window_errors(backup: str, maintenance: str) -> list[str]:
    """Return what RDS would refuse in the windows for backups and for maintenance, both in UTC."""
    found = []
    backup_option, maintenance_option = map(describe_option, ("backup_window", "maintenance_window"))
    daily, weekly = _parse_backup_window(backup), _parse_maintenance_window(maintenance)
    if daily is None or len(daily) < 30:
        found.append(
            f"{backup_option} is '{backup}'. Set it to at least 30 minutes of the day in UTC, such as 02:00-03:00."
        )
    if weekly is None or not 30 <= len(weekly) < _DAY:
        found.append(
            f"{maintenance_option} is '{maintenance}'. Set it to 30 minutes to 24 hours in UTC, such as "
            "sun:03:30-sun:04:30."
        )
    if not found and daily is not None and weekly is not None:
        nights = {(minute + day * _DAY) % _WEEK for day in range(7) for minute in daily}
        if any(minute % _WEEK in nights for minute in weekly):
            found.append(
                f"{maintenance_option} is '{maintenance}', and {backup_option} '{backup}' overlaps it. Set one of them "
                "to another time."
            )
    return found


def choose_version(wanted: str, versions: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the newest available engine version of the wanted major, or the wanted one itself.

    versions: DBEngineVersions of DescribeDBEngineVersions.
    """
    option, numbers = describe_option("engine_version"), parse_version(wanted)
    offered = {
        parse_version(one["EngineVersion"]): one for one in versions if one.get("Status", "available") != "deprecated"
    }
    fit = [version for version in offered if numbers and version[: len(numbers)] == numbers]
    if not fit:
        majors = sorted({version[0] for version in offered if version})
        raise RdsError(
            f"{option} is '{wanted}', which RDS does not offer in this region. Set it to one of these majors, or to a "
            f"full version of one: {', '.join(map(str, majors))}."
        )
    return offered[max(fit)]


def find_class_errors(params: dict[str, t.Any], version: str, options: list[dict[str, t.Any]]) -> list[str]:
    """Return why RDS does not offer the instance class.

    options: OrderableDBInstanceOptions of DescribeOrderableDBInstanceOptions for this class and version.
    """
    option = describe_option("instance_class")
    if not options:
        return [
            f"{option} is '{params['instance_class']}', which RDS does not offer with PostgreSQL {version} in this "
            "region. Set it to another class, such as db.t4g.medium."
        ]
    fit = [one for one in options if one.get("StorageType") == "gp3" and one.get("SupportsStorageEncryption")]
    if not fit:
        return [
            f"{option} is '{params['instance_class']}', which has no encrypted gp3 storage. Set it to another class."
        ]
    if params["multi_az"] and not any(one.get("MultiAZCapable") for one in fit):
        return [
            f"{option} is '{params['instance_class']}', which has no standby. Set multi_az to false or another class."
        ]
    least = min(one.get("MinStorageSize", 0) for one in fit)
    if params["storage_gb"] < least:
        return [f"{describe_option('storage_gb')} is {params['storage_gb']}. Set it to at least {least}."]
    return []


def find_refused_changes(params: dict[str, t.Any], instance: dict[str, t.Any]) -> list[str]:
    """Return which differences RDS cannot change, or this module does not."""
    place = f"The DB instance {params['name']}"
    if instance["Engine"] != "postgres":
        return [f"{place} runs {instance['Engine']}, not PostgreSQL. Set {describe_option('name')} to another name."]
    found = []
    pending = instance.get("PendingModifiedValues") or {}
    running = pending.get("EngineVersion") or instance["EngineVersion"]
    if parse_version(running)[:1] != parse_version(params["engine_version"])[:1]:
        found.append(
            f"{place} runs PostgreSQL {running}, and {describe_option('engine_version')} is "
            f"'{params['engine_version']}'. Another major version is not installed by this module. Upgrade by hand, or "
            f"set engine_version to {running.split('.')[0]}."
        )
    if not instance.get("StorageEncrypted"):
        found.append(
            f"{place} is not encrypted, which RDS cannot change. Restore an encrypted copy of a snapshot under another "
            "name."
        )
    elif params["kms_key_id"] and not is_same_key(params["kms_key_id"], instance.get("KmsKeyId") or ""):
        found.append(
            f"{place} is encrypted with {instance.get('KmsKeyId')}, and {describe_option('kms_key_id')} is "
            f"'{params['kms_key_id']}'. RDS cannot change the key. Set kms_key_id to the former."
        )
    if instance["MasterUsername"] != params["administrator"]:
        found.append(
            f"The administrator of {params['name']} is '{instance['MasterUsername']}', and "
            f"{describe_option('administrator')} is '{params['administrator']}'. RDS cannot change the name. Set "
            f"administrator to '{instance['MasterUsername']}'."
        )
    group = (instance.get("DBSubnetGroup") or {}).get("DBSubnetGroupName", params["name"])
    if group != params["name"]:
        found.append(
            f"{place} is in the DB subnet group {group}, not in {params['name']}. RDS cannot change that within a VPC. "
            f"Set {describe_option('name')} to another name."
        )
    stored = pending.get("AllocatedStorage") or instance["AllocatedStorage"]
    if params["max_storage_gb"] < stored:
        found.append(
            f"{describe_option('max_storage_gb')} is {params['max_storage_gb']}, and {params['name']} has {stored} GB, "
            f"which never shrinks. Set it to at least {stored}."
        )
    return found


def is_same_key(one: str, other: str) -> bool:
    """Whether two KMS keys, each an ARN or an identifier, are the same."""
    return one == other or (bool(one) and one.rpartition("/")[2] == other.rpartition("/")[2])


def parameter_group_name(name: str, version: str) -> str:
    """Return the name of the parameter group, which belongs to one major version."""
    return f"{name}-postgres{parse_version(version)[0]}"


def build_settings(params: dict[str, t.Any], version: str) -> dict[str, t.Any]:
    """Return the desired settings, in the names of CreateDBInstance, without those that can never change."""
    settings = {
        "AllocatedStorage": params["storage_gb"],
        "AutoMinorVersionUpgrade": params["minor_upgrades"],
        "BackupRetentionPeriod": params["backup_days"],
        "CACertificateIdentifier": params["ca_identifier"],
        "CopyTagsToSnapshot": True,
        "DBInstanceClass": params["instance_class"],
        "DBParameterGroupName": parameter_group_name(params["name"], version),
        "DeletionProtection": params["deletion_protection"],
        "EngineVersion": version,
        "ManageMasterUserPassword": True,
        "MaxAllocatedStorage": params["max_storage_gb"],
        "MultiAZ": params["multi_az"],
        "Port": params["port"],
        "PreferredBackupWindow": params["backup_window"],
        "PreferredMaintenanceWindow": params["maintenance_window"].lower(),
        "PubliclyAccessible": False,
        "StorageType": "gp3",
    }
    if params["security_group_ids"]:
        settings["VpcSecurityGroupIds"] = sorted(params["security_group_ids"])
    return settings


def find_pending(instance: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the settings that wait for the maintenance window, in the names of CreateDBInstance."""
    pending = instance.get("PendingModifiedValues") or {}
    return {name: pending[name] for name in sorted(pending) if name in _PENDING}


def read_settings(instance: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what an instance has, in the names of CreateDBInstance, as if everything pending were applied.

    Without a port or a CA while RDS does not show them yet.
    """
    found = {
        "AllocatedStorage": instance["AllocatedStorage"],
        "AutoMinorVersionUpgrade": instance.get("AutoMinorVersionUpgrade", False),
        "BackupRetentionPeriod": instance.get("BackupRetentionPeriod", 0),
        "CACertificateIdentifier": instance.get("CACertificateIdentifier"),
        "CopyTagsToSnapshot": instance.get("CopyTagsToSnapshot", False),
        "DBInstanceClass": instance["DBInstanceClass"],
        "DBParameterGroupName": next(
            (one["DBParameterGroupName"] for one in instance.get("DBParameterGroups") or []), None
        ),
        "DeletionProtection": instance.get("DeletionProtection", False),
        "EngineVersion": instance["EngineVersion"],
        "ManageMasterUserPassword": bool(instance.get("MasterUserSecret")),
        "MultiAZ": instance.get("MultiAZ", False),
        "Port": (instance.get("Endpoint") or {}).get("Port"),
        "PreferredBackupWindow": instance.get("PreferredBackupWindow"),
        "PreferredMaintenanceWindow": (instance.get("PreferredMaintenanceWindow") or "").lower(),
        "PubliclyAccessible": instance.get("PubliclyAccessible", False),
        "StorageType": instance.get("StorageType"),
        "VpcSecurityGroupIds": sorted(
            one["VpcSecurityGroupId"]
            for one in instance.get("VpcSecurityGroups") or []
            if one.get("Status") not in ("removing", "removed")
        ),
    }
    found.update(find_pending(instance))
    # RDS shows no limit where storage does not grow by itself.
    found["MaxAllocatedStorage"] = instance.get("MaxAllocatedStorage") or found["AllocatedStorage"]
    return {
        name: value
        for name, value in found.items()
        if value is not None or name not in ("CACertificateIdentifier", "Port")
    }


def find_changes(params: dict[str, t.Any], instance: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the settings to change, in the names of CreateDBInstance."""
    current = read_settings(instance)
    running, wanted = current["EngineVersion"], params["engine_version"]
    # A minor version that is newer than the wanted one came with an upgrade, and none goes back.
    version = running if parse_version(running) >= parse_version(wanted) else wanted
    desired = build_settings(params, version)
    desired["AllocatedStorage"] = max(desired["AllocatedStorage"], current["AllocatedStorage"])
    return {name: value for name, value in desired.items() if name in current and current[name] != value}


def is_allowed(value: str, allowed: str) -> bool:
    """Whether a value is one of AllowedValues, such as '0,1', '64-8388607' or 'on,off'. RDS validates formulas."""
    if not allowed or "{" in value:
        return True
    for part in map(str.strip, allowed.split(",")):
        match = re.fullmatch(r"(-?[0-9.]+)\s*-\s*(-?[0-9.]+)", part)
        if value == part or (
            match and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) and float(match[1]) <= float(value) <= float(match[2])
        ):
            return True
    return False


def find_value_errors(parameters: dict[str, t.Any], listed: dict[str, dict[str, t.Any]], family: str) -> list[str]:
    """Return which parameters RDS would refuse. listed: by name, those of DescribeEngineDefaultParameters."""
    option, found = describe_option("parameters"), []
    for name, value in sorted(parameters.items()):
        if name not in listed:
            similar = difflib.get_close_matches(name, listed, 1)
            hint = f" Did you mean {similar[0]}?" if similar else ""
            found.append(f"{option} sets {name}, which is not a parameter of {family}.{hint}")
        elif not listed[name].get("IsModifiable", True):
            found.append(f"{option} sets {name}, which RDS does not let anybody change. Remove it.")
        elif listed[name].get("DataType") != "list" and not is_allowed(
            format_parameter(value), listed[name].get("AllowedValues") or ""
        ):
            found.append(
                f"{option} sets {name} to '{format_parameter(value)}'. Set it to one of "
                f"{listed[name]['AllowedValues']}."
            )
    return found


def describe_instance(instance: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what others need of an instance."""
    endpoint = instance.get("Endpoint") or {}
    groups = instance.get("DBParameterGroups") or []
    return {
        "name": instance["DBInstanceIdentifier"],
        "arn": instance["DBInstanceArn"],
        "endpoint": endpoint.get("Address") or "",
        "port": endpoint.get("Port") or 0,
        "status": instance["DBInstanceStatus"],
        "secret_arn": (instance.get("MasterUserSecret") or {}).get("SecretArn") or "",
        "administrator": instance["MasterUsername"],
        "engine_version": instance["EngineVersion"],
        "instance_class": instance["DBInstanceClass"],
        "storage_gb": instance["AllocatedStorage"],
        "kms_key_id": instance.get("KmsKeyId") or "",
        "parameter_group": groups[0]["DBParameterGroupName"] if groups else "",
        "pending": instance.get("PendingModifiedValues") or {},
        "pending_reboot": any(one.get("ParameterApplyStatus") == "pending-reboot" for one in groups),
    }
