# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""What a sound RDS instance looks like: one function for each kind of finding, on facts that were read before."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ansible_collections.lightbox.pacs.plugins.module_utils._exposure import SEVERITIES

Dict = dict[str, t.Any]

BACKUP_DAYS = 7
CA_DAYS = 90
# RDS renews the certificates of its servers long before, and by itself.
CERTIFICATE_DAYS = 14
SUPPORT_DAYS = 180
# RDS stores the write-ahead log every five minutes.
RESTORABLE_AGE = timedelta(minutes=60)
FREE_PERCENT = 10
CONNECTIONS_PERCENT = 80
# So long an instance may have no metric and nothing to restore.
NEW_AGE = timedelta(minutes=60)

SOUND_STATES = {
    "available",
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "maintenance",
    "modifying",
    "resetting-master-credentials",
    "storage-config-upgrade",
    "storage-initialization",
    "storage-optimization",
}
# The end of RDS's standard support, for accounts that may not call DescribeDBMajorEngineVersions. Source: AWS's release
# calendar of RDS for PostgreSQL, as of 2026-11.
SUPPORT_ENDS = {
    "11": "2024-02-29",
    "12": "2025-02-28",
    "13": "2026-02-28",
    "14": "2027-02-28",
    "15": "2028-02-29",
    "16": "2029-02-28",
    "17": "2030-02-28",
    "18": "2031-02-28",
}
# Parameters that write queries, and with them patients' data, into the log. The pattern matches values that write none.
LOG_PARAMETERS = {
    "log_statement": r"|none|ddl",
    "log_min_duration_statement": r"|-1",
    "log_min_duration_sample": r"|-1",
    "log_transaction_sample_rate": r"|0(\.0*)?",
    "auto_explain.log_min_duration": r"|-1",
    "pgaudit.log": r"|none",
}
REQUIRED_LOG_PARAMETERS = ("log_statement", "log_min_duration_statement")


class UnknownError(Exception):
    """A fact could not be read. The text is the reason; `action` is the service:Action that was refused, or empty."""

    def __init__(self, reason: str, action: str = "") -> None:
        super().__init__(reason)
        self.action = action


class NotApplicable(Exception):
    """The check does not apply to this instance, or was not requested. The text is the reason."""


class Facts:
    """What was read of one instance.

    sources: name of a source to its content, or to the UnknownError with which reading it ended:
    instance (dict of DescribeDBInstances), parameters (name to Parameter), certificate (Certificate),
    maintenance (list of PendingMaintenanceAction), lifecycle (list of SupportedEngineLifecycle),
    callers (internet and others: lists of who reaches the port besides those who may), kms_key (ARN of the
    expected key; empty for any), free_storage (list of Datapoint), database (dict of what was queried inside;
    None when it was not).
    """

    def __init__(self, sources: Dict, options: Dict, now: datetime) -> None:
        self.sources = sources
        self.options = options
        self.now = now

    def source(self, name: str) -> t.Any:
        content = self.sources[name]
        if isinstance(content, Exception):
            raise content
        return content

    def instance(self, key: str) -> t.Any:
        try:
            return self.source("instance")[key]
        except KeyError:
            raise UnknownError(f"DescribeDBInstances returned no {key}") from None

    def attribute(self, key: str, default: t.Any) -> t.Any:
        """Return a value that RDS leaves out where it has nothing to report."""
        value = self.source("instance").get(key)
        return default if value is None else value

    def is_new(self) -> bool:
        created = self.attribute("InstanceCreateTime", None)
        return created is not None and self.now - in_utc(created) < NEW_AGE

    def database(self, key: str) -> t.Any:
        """Return a fact from inside the database. A fact may be false or empty, never null."""
        content = self.source("database")
        if content is None:
            raise NotApplicable("the database was not queried")
        if content.get(key) is None:
            raise UnknownError(content.get("error") or f"the query returned no {key}")
        return content[key]

    def group(self) -> Dict:
        groups = self.attribute("DBParameterGroups", [])
        if not groups:
            raise UnknownError("DescribeDBInstances returned no DBParameterGroups")
        return groups[0]

    def parameter(self, name: str) -> Dict:
        try:
            return self.source("parameters")[name]
        except KeyError:
            raise UnknownError(f"DescribeDBParameters returned no {name}") from None

    def major_version(self) -> str:
        return str(self.instance("EngineVersion")).split(".", 1)[0]

    def support_end(self) -> tuple[datetime, str]:
        """Return when standard support of the engine ends, and where the date comes from."""
        version = self.major_version()
        try:
            for cycle in self.source("lifecycle"):
                if cycle.get("LifecycleSupportName") == "open-source-rds-standard-support":
                    return in_utc(cycle["LifecycleSupportEndDate"]), "RDS"
            unread = UnknownError(f"DescribeDBMajorEngineVersions returned no date for version {version}")
        except UnknownError as error:
            unread = error
        except KeyError:
            unread = UnknownError("DescribeDBMajorEngineVersions returned no LifecycleSupportEndDate")
        if version not in SUPPORT_ENDS:
            raise unread
        return in_utc(datetime.fromisoformat(SUPPORT_ENDS[version])), "this module's table"


# (is as it should be, what is)
Seen = tuple[bool, str]


@dataclass(frozen=True)
class Kind:
    """One kind of finding."""

    id: str
    severity: str
    expected: str
    remedy: str
    check: t.Callable[[Facts], Seen]


KINDS: list[Kind] = []


def kind(severity: str, expected: str, remedy: str) -> t.Callable[[t.Callable[[Facts], Seen]], None]:
    """Register a check. Its name is the finding's id."""

    def register(check: t.Callable[[Facts], Seen]) -> None:
        KINDS.append(Kind(check.__name__, severity, expected, remedy, check))

    return register


def in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def show(time: datetime) -> str:
    return in_utc(time).strftime("%Y-%m-%d %H:%M UTC")


def evaluate(facts: Facts) -> Dict:
    """Return findings (by severity), what was checked, and what was not with its reason."""
    findings, checked, not_checked = [], [], []
    for one in KINDS:
        name, status, remedy = one.id, "found", one.remedy
        try:
            is_sound, actual = one.check(facts)
        except NotApplicable as error:
            not_checked.append({"id": one.id, "reason": str(error)})
            continue
        except UnknownError as error:
            is_sound, actual = False, f"could not be read: {str(error).partition(chr(10))[0].rstrip(' .:')}"
            name, status = f"unknown_{one.id}", "unknown"
            remedy = (
                f"Allow {error.action} and run it again."
                if error.action
                else "Run it again; where it remains, check it by hand."
            )
        checked.append({"id": one.id, "status": "ok" if is_sound else status, "actual": actual})
        if not is_sound:
            findings.append(
                {
                    "id": name,
                    "severity": one.severity,
                    "status": status,
                    "actual": actual,
                    "expected": one.expected,
                    "remedy": remedy,
                }
            )
    findings.sort(key=lambda finding: SEVERITIES.index(finding["severity"]))  # else the order of this file
    return {"findings": findings, "checked": checked, "not_checked": not_checked}


def describe(findings: list[Dict]) -> list[str]:
    """Return one line for each finding."""
    return [
        f"{one['severity'].upper():<6}  {one['id']}: {one['actual']}. Expected: {one['expected']}. {one['remedy']}"
        for one in findings
    ]


@kind("high", "available", "See the instance's events in the RDS console (aws rds describe-events) for the reason.")
def not_available(facts: Facts) -> Seen:
    state = facts.instance("DBInstanceStatus")
    return state in SOUND_STATES, f"the instance is {state}"


@kind(
    "high",
    "encrypted storage",
    "It cannot be changed in place: copy a snapshot with a KMS key and restore the copy.",
)
def storage_not_encrypted(facts: Facts) -> Seen:
    encrypted = facts.instance("StorageEncrypted")
    return encrypted, "the storage is encrypted" if encrypted else "the storage is not encrypted"


@kind(
    "medium",
    "the key in kms_key_id",
    "Copy a snapshot with the expected key and restore the copy, or change kms_key_id.",
)
def other_kms_key(facts: Facts) -> Seen:
    expected = facts.source("kms_key")
    if not expected:
        raise NotApplicable("kms_key_id is not set")
    actual = facts.instance("KmsKeyId") if facts.instance("StorageEncrypted") else "none"
    return actual == expected, f"the storage's key is {actual}"


@kind("high", "no public address", "Set PubliclyAccessible to false.")
def publicly_accessible(facts: Facts) -> Seen:
    public = facts.instance("PubliclyAccessible")
    return not public, "the instance has a public address" if public else "the instance has no public address"


@kind(
    "high",
    "rds.force_ssl = 1, in effect",
    "Set rds.force_ssl to 1 in the instance's parameter group, and reboot when its status is pending-reboot.",
)
def tls_not_forced(facts: Facts) -> Seen:
    parameter, group = facts.parameter("rds.force_ssl"), facts.group()
    value, state = parameter.get("ParameterValue"), group.get("ParameterApplyStatus")
    if value is None:
        raise UnknownError("DescribeDBParameters returned no value of rds.force_ssl")
    if not state:
        raise UnknownError("DescribeDBInstances returned no ParameterApplyStatus")
    applied = state == "in-sync" or (state == "pending-reboot" and parameter.get("ApplyType") == "dynamic")
    return (
        value == "1" and applied,
        f"rds.force_ssl is {value} in the group {group.get('DBParameterGroupName')}, which is {state}",
    )


@kind("high", "no access from the internet", "Remove the rule from the security group.")
def port_open_to_internet(facts: Facts) -> Seen:
    found = facts.source("callers")["internet"]
    return not found, f"the port is reachable by {', '.join(found)}" if found else "the port is closed for the internet"


@kind("medium", "only the sources in allowed_sources", "Remove the rule, or add the source to allowed_sources.")
def port_open_to_others(facts: Facts) -> Seen:
    found = facts.source("callers")["others"]
    return not found, f"the port is also reachable by {', '.join(found)}" if found else "the port is closed for others"


@kind(
    "high",
    "a CA that is valid for 90 days or more",
    "Choose another CA (CACertificateIdentifier) and give clients its certificate first.",
)
def certificate_authority_expires(facts: Facts) -> Seen:
    certificate = facts.source("certificate")
    if certificate.get("ValidTill") is None:
        raise UnknownError("DescribeCertificates returned no ValidTill")
    end = in_utc(certificate["ValidTill"])
    name = certificate.get("CertificateIdentifier")
    return end - facts.now >= timedelta(days=CA_DAYS), f"the CA {name} is valid until {show(end)}"


@kind(
    "high",
    "a certificate that is valid for 14 days or more",
    "Renew it: set CACertificateIdentifier to the same CA with CertificateRotationRestart.",
)
def server_certificate_expires(facts: Facts) -> Seen:
    end = facts.attribute("CertificateDetails", {}).get("ValidTill")
    if end is None:
        raise UnknownError("DescribeDBInstances returned no CertificateDetails.ValidTill")
    return in_utc(end) - facts.now >= timedelta(
        days=CERTIFICATE_DAYS
    ), f"the server's certificate is valid until {show(end)}"


@kind("high", "automatic backups", "Set BackupRetentionPeriod to 1 day or more.")
def backups_off(facts: Facts) -> Seen:
    days = facts.instance("BackupRetentionPeriod")
    return days > 0, f"backups are kept for {days} days"


@kind("medium", "backups for as long as backup_days", "Raise BackupRetentionPeriod.")
def backups_short(facts: Facts) -> Seen:
    days, expected = facts.instance("BackupRetentionPeriod"), facts.options["backup_days"]
    if not days:
        raise NotApplicable("backups are off")
    return days >= expected, f"backups are kept for {days} days, backup_days is {expected}"


@kind(
    "high",
    "a latest restorable time of the last 60 minutes",
    "See the instance's events (aws rds describe-events): RDS does not store its write-ahead log.",
)
def restorable_time_old(facts: Facts) -> Seen:
    if facts.instance("BackupRetentionPeriod") == 0:
        raise NotApplicable("backups are off")
    latest = facts.attribute("LatestRestorableTime", None)
    if latest is None:
        if facts.is_new():
            raise NotApplicable("the instance is less than 60 minutes old")
        raise UnknownError("DescribeDBInstances returned no LatestRestorableTime")
    # A database that was just created has its first backup only.
    age = facts.now - in_utc(latest)
    return (
        age <= RESTORABLE_AGE,
        f"the latest restorable time is {show(latest)}, {max(0, int(age.total_seconds() // 60))} minutes ago",
    )


@kind("medium", "deletion protection", "Set DeletionProtection to true.")
def deletion_not_protected(facts: Facts) -> Seen:
    protected = facts.instance("DeletionProtection")
    return protected, f"deletion protection is {'on' if protected else 'off'}"


@kind("medium", "parameters that are in-sync", "Reboot the instance at a quiet time (aws rds reboot-db-instance).")
def pending_reboot(facts: Facts) -> Seen:
    state = facts.group().get("ParameterApplyStatus")
    if not state:
        raise UnknownError("DescribeDBInstances returned no ParameterApplyStatus")
    return state in ("in-sync", "applying"), f"the parameters are {state}"


@kind(
    "low", "no change that waits", "Wait for the maintenance window, or apply the changes at once (ApplyImmediately)."
)
def pending_changes(facts: Facts) -> Seen:
    waiting = sorted(facts.attribute("PendingModifiedValues", {}))
    return not waiting, f"{', '.join(waiting)} will change in the maintenance window" if waiting else "no change waits"


@kind(
    "medium",
    "no maintenance that waits",
    "Apply it at a quiet time (aws rds apply-pending-maintenance-action), before RDS does.",
)
def pending_maintenance(facts: Facts) -> Seen:
    waiting = []
    for action in facts.source("maintenance"):
        date = action.get("ForcedApplyDate") or action.get("AutoAppliedAfterDate") or action.get("CurrentApplyDate")
        waiting.append(f"{action.get('Action')} ({f'by {show(date)}' if date else 'optional'})")
    return not waiting, f"{', '.join(waiting)} waits" if waiting else "no maintenance waits"


@kind("medium", "storage that grows by itself", "Set MaxAllocatedStorage to a size above the present one.")
def storage_not_autoscaled(facts: Facts) -> Seen:
    size, limit = facts.instance("AllocatedStorage"), facts.attribute("MaxAllocatedStorage", 0)
    return limit > size, f"storage of {size} GB " + (f"grows up to {limit} GB" if limit > size else "cannot grow")


@kind("high", "10 % free storage or more", "Raise AllocatedStorage. RDS stops a database whose storage is full.")
def storage_low(facts: Facts) -> Seen:
    points = [point for point in facts.source("free_storage") if "Timestamp" in point and "Minimum" in point]
    if not points:
        if facts.is_new():
            raise NotApplicable("the instance is less than 60 minutes old")
        raise UnknownError("CloudWatch returned no FreeStorageSpace of the last 30 minutes")
    free = max(points, key=lambda point: in_utc(point["Timestamp"]))["Minimum"] / 2**30
    size = facts.instance("AllocatedStorage")
    if not size:
        raise UnknownError("DescribeDBInstances returned no AllocatedStorage")
    return free / size * 100 >= FREE_PERCENT, f"{free:.1f} of {size} GB are free"


@kind("high", "an engine that RDS supports", "Upgrade to a newer major version, after a snapshot.")
def engine_unsupported(facts: Facts) -> Seen:
    end, source = facts.support_end()
    return end >= facts.now, f"standard support of version {facts.major_version()} ends on {end:%Y-%m-%d} ({source})"


@kind("medium", "an engine that RDS supports for 180 days or more", "Plan the upgrade to a newer major version.")
def engine_support_ends(facts: Facts) -> Seen:
    end, source = facts.support_end()
    if end < facts.now:
        raise NotApplicable("support has ended")
    return end - facts.now >= timedelta(days=SUPPORT_DAYS), (
        f"standard support of version {facts.major_version()} ends on {end:%Y-%m-%d} ({source})"
    )


@kind("low", "minor upgrades in the maintenance window", "Set AutoMinorVersionUpgrade to true.")
def minor_upgrades_off(facts: Facts) -> Seen:
    on = facts.instance("AutoMinorVersionUpgrade")
    return on, f"minor upgrades are {'on' if on else 'off'}"


@kind("medium", "a standby, as multi_az is set", "Set MultiAZ to true.")
def not_multi_az(facts: Facts) -> Seen:
    if not facts.options["multi_az"]:
        raise NotApplicable("multi_az does not ask for a standby")
    on = facts.instance("MultiAZ")
    return on, f"multi-AZ is {'on' if on else 'off'}"


@kind(
    "medium",
    "a master password that RDS manages",
    "Set ManageMasterUserPassword to true; RDS then rotates it in Secrets Manager.",
)
def master_password_not_managed(facts: Facts) -> Seen:
    state = facts.attribute("MasterUserSecret", {}).get("SecretStatus", "")
    # In other states RDS cannot rotate it, for example for want of its KMS key.
    return state in ("active", "creating", "rotating"), (
        f"its secret in Secrets Manager is {state}" if state else "the master password is not in Secrets Manager"
    )


@kind("low", "snapshots with the instance's tags", "Set CopyTagsToSnapshot to true.")
def tags_not_copied(facts: Facts) -> Seen:
    on = facts.instance("CopyTagsToSnapshot")
    return on, f"tags are {'copied' if on else 'not copied'} to snapshots"


@kind(
    "high",
    "no queries in the log, which have patients' data in them",
    "Reset the parameters in the parameter group, or for the role (ALTER ROLE … RESET).",
)
def statements_logged(facts: Facts) -> Seen:
    for name in REQUIRED_LOG_PARAMETERS:
        facts.parameter(name)
    group = {name: parameter.get("ParameterValue") for name, parameter in facts.source("parameters").items()}
    # A role has settings of its own.
    session = (facts.source("database") or {}).get("log_parameters") or {}
    found = [
        f"{name} = {value} in {place}"
        for place, values in (("the parameter group", group), ("the archive's session", session))
        for name, value in values.items()
        if name in LOG_PARAMETERS and value is not None and not re.fullmatch(LOG_PARAMETERS[name], str(value))
    ]
    return not found, f"the log gets queries: {', '.join(found)}" if found else "the log gets no queries"


@kind(
    "high",
    "a user of the archive's own",
    "Create a user without privileges for the archive and set postgresql_user to it.",
)
def master_user_in_use(facts: Facts) -> Seen:
    user, master = facts.database("user"), facts.instance("MasterUsername")
    return user != master, f"the archive's user is {user}, the master user is {master}"


@kind("high", "an encrypted session", "Set sslmode to verify-full.")
def session_not_encrypted(facts: Facts) -> Seen:
    encrypted = facts.database("encrypted")
    return encrypted, f"the archive's session is {'' if encrypted else 'not '}encrypted"


@kind(
    "medium",
    "TLS 1.2 or newer with forward secrecy",
    "Set ssl_min_protocol_version to TLSv1.2 and reset ssl_ciphers in the parameter group.",
)
def tls_outdated(facts: Facts) -> Seen:
    if not facts.database("encrypted"):
        raise NotApplicable("the session is not encrypted")
    version, cipher = facts.database("tls_version"), facts.database("tls_cipher")
    modern = version == "TLSv1.3" or (
        version == "TLSv1.2" and re.match(r"(ECDHE|DHE)-.*(GCM|CHACHA20)", cipher) is not None
    )
    return modern, f"the session uses {version} with {cipher}"


@kind(
    "high",
    "a user without privileges",
    "Revoke them: ALTER ROLE … NOSUPERUSER NOCREATEDB NOCREATEROLE, and REVOKE for roles.",
)
def user_privileged(facts: Facts) -> Seen:
    found = facts.database("privileges") + facts.database("roles")
    return not found, f"the archive's user has {', '.join(found)}" if found else "the archive's user has no privileges"


@kind("medium", "access to its own database only", "REVOKE CONNECT ON DATABASE … FROM PUBLIC.")
def other_databases(facts: Facts) -> Seen:
    found = facts.database("other_databases")
    return (
        not found,
        f"the archive's user can also connect to {', '.join(found)}"
        if found
        else "the archive's user reaches no other database",
    )


@kind("medium", "the extension pg_trgm", "As the master user, in the archive's database: CREATE EXTENSION pg_trgm.")
def trigrams_missing(facts: Facts) -> Seen:
    found = facts.database("extensions")
    return "pg_trgm" in found, f"its extensions are {', '.join(found) or 'none'}"


@kind(
    "medium",
    "20 % of the connections free or more",
    "Find who holds them (pg_stat_activity), or choose a larger instance class.",
)
def connections_low(facts: Facts) -> Seen:
    used, limit = facts.database("connections"), facts.database("max_connections")
    if limit <= 0:
        raise UnknownError(f"the query returned max_connections = {limit}")
    return used * 100 <= limit * CONNECTIONS_PERCENT, f"{used} of {limit} connections are in use"


@kind(
    "high",
    "Orthanc's tables of schema version 6",
    "Check that postgresql_database names Orthanc's database, and Orthanc's log.",
)
def schema_unexpected(facts: Facts) -> Seen:
    version = facts.database("schema_version")
    if not version:
        return False, "the user finds no tables of Orthanc"
    return (
        version == "6",
        f"Orthanc's tables have schema version {version}, revision {facts.database('schema_revision') or 'none'}",
    )
