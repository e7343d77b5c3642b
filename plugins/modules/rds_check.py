#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rds_check
short_description: Audit an RDS instance with PostgreSQL
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Reads how an RDS instance is set up and returns findings, each with what is, what should be and how to fix it.
  - A fact that could not be read, for example for want of a permission, is a finding with the severity of its kind and
    with an id that begins with V(unknown_).
  - Changes nothing. Calls C(rds:DescribeDBInstances), C(rds:DescribeDBParameters), C(rds:DescribeCertificates),
    C(rds:DescribePendingMaintenanceActions), C(rds:DescribeDBMajorEngineVersions), C(ec2:DescribeSecurityGroups) and
    C(cloudwatch:GetMetricStatistics).
  - Also calls C(ec2:GetManagedPrefixListEntries) where a rule names a prefix list, and C(kms:DescribeKey) where
    O(kms_key_id) is not an ARN.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Changes nothing.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  name:
    description: Identifier of the instance.
    type: str
    required: true
  kms_key_id:
    description:
      - KMS key with which the storage must be encrypted, as an ARN, an id or an alias such as V(alias/archive).
      - Empty accepts any key.
    type: str
    default: ""
  multi_az:
    description: Whether a standby in another zone is expected.
    type: bool
    default: false
  backup_days:
    description: Days for which backups must be kept at least.
    type: int
    default: 7
  allowed_sources:
    description:
      - Who may reach the instance's port. Networks, prefix lists by id, and security groups by id or, in the
        instance's VPC, by name. V(self) is the group that has the rule.
      - A network also allows the networks in it.
    type: list
    elements: str
    default: []
  database:
    description:
      - Facts that were queried inside the database, by the archive's user over a verified session from the
        archive's host.
      - Without it, the kinds of findings that depend on it are in RV(not_checked). A fact that is missing is a finding.
    type: dict
    suboptions:
      error:
        description: Why the database could not be queried.
        type: str
      user:
        description: Name of the archive's user, C(current_user).
        type: str
      encrypted:
        description: Whether the session is encrypted, from C(pg_stat_ssl).
        type: bool
      tls_version:
        description: Version of TLS, such as V(TLSv1.3).
        type: str
      tls_cipher:
        description: Cipher suite, such as V(TLS_AES_256_GCM_SHA384).
        type: str
      privileges:
        description: Privileges of the user beyond its own objects, such as V(SUPERUSER) and V(CREATEDB).
        type: list
        elements: str
      roles:
        description: Predefined roles of which it is a member, such as V(rds_superuser).
        type: list
        elements: str
      other_databases:
        description: Other databases to which it can connect.
        type: list
        elements: str
      extensions:
        description: Extensions of the database.
        type: list
        elements: str
      connections:
        description: Connections in use.
        type: int
      max_connections:
        description: Connections that users without privileges can have.
        type: int
      log_parameters:
        description: Parameters that decide about queries in the log, such as C(log_statement), in the user's session.
        type: dict
      schema_version:
        description: Version of Orthanc's tables; empty where there are none.
        type: str
      schema_revision:
        description: Revision of Orthanc's tables for PostgreSQL.
        type: str
  fail_on:
    description: Lowest severity of a finding with which the module fails.
    type: str
    choices: [high, medium, low, never]
    default: high
notes:
  - An instance that is less than 60 minutes old may have no metrics and no restorable time yet. These are then in
    RV(not_checked).
  - C(rdsadmin) and the other roles of RDS itself are not checked.
seealso:
  - module: lightbox.pacs.postgresql_tls_info
"""

EXAMPLES = r"""
- name: Check the instance
  lightbox.pacs.rds_check:
    name: archive
    region: eu-central-1
    multi_az: true
    allowed_sources: [sg-0a1b2c3d4e5f60718]
  delegate_to: localhost

- name: Gather the findings without failing
  lightbox.pacs.rds_check:
    name: archive
    region: eu-central-1
    fail_on: never
  delegate_to: localhost
  register: database

- name: Show one line for each finding
  ansible.builtin.debug:
    msg: "{{ database.table }}"
"""

RETURN = r"""
findings:
  description: What is not as it should be, or could not be read, by severity.
  returned: when the instance could be described
  type: list
  elements: dict
  contains:
    id:
      description:
        - Kind of the finding. Each can also be V(unknown_) and its id.
        - V(not_available) (high), the instance does not run.
        - V(storage_not_encrypted) (high), the storage is not encrypted.
        - V(other_kms_key) (medium), the storage is encrypted with another key than O(kms_key_id).
        - V(publicly_accessible) (high), the instance has a public address.
        - V(tls_not_forced) (high), C(rds.force_ssl) is not 1 or not in effect.
        - V(port_open_to_internet) (high), a security group admits every address.
        - V(port_open_to_others) (medium), a security group admits others than O(allowed_sources).
        - V(certificate_authority_expires) (high), the CA is valid for less than 90 days.
        - V(server_certificate_expires) (high), the server's certificate is valid for less than 14 days.
        - V(backups_off) (high), there are no automatic backups.
        - V(backups_short) (medium), backups are kept for less than O(backup_days).
        - V(restorable_time_old) (high), the latest restorable time is more than 60 minutes ago.
        - V(deletion_not_protected) (medium), deletion protection is off.
        - V(pending_reboot) (medium), parameters need a reboot or could not be applied.
        - V(pending_changes) (low), changes wait for the maintenance window.
        - V(pending_maintenance) (medium), maintenance of the operating system or the engine waits.
        - V(storage_not_autoscaled) (medium), the storage cannot grow by itself.
        - V(storage_low) (high), less than 10 % of the storage is free.
        - V(engine_unsupported) (high), RDS's standard support of the major version has ended.
        - V(engine_support_ends) (medium), it ends in less than 180 days.
        - V(minor_upgrades_off) (low), minor versions are not upgraded.
        - V(not_multi_az) (medium), there is no standby although O(multi_az) is set.
        - V(master_password_not_managed) (medium), RDS does not manage and rotate the master password.
        - V(tags_not_copied) (low), snapshots do not get the instance's tags.
        - V(statements_logged) (high), queries are logged, by the parameter group or for the archive's user.
        - V(master_user_in_use) (high), the archive logs in as the master user.
        - V(session_not_encrypted) (high), the archive's session is not encrypted.
        - V(tls_outdated) (medium), the session uses an old version of TLS or a cipher without forward secrecy.
        - V(user_privileged) (high), the archive's user has privileges or is a member of roles such as C(rds_superuser).
        - V(other_databases) (medium), the archive's user can connect to other databases.
        - V(trigrams_missing) (medium), the extension C(pg_trgm) is missing, without which searches are slow.
        - V(connections_low) (medium), more than 80 % of the connections are in use.
        - V(schema_unexpected) (high), the database has no tables of Orthanc, or tables of another schema version.
      type: str
      sample: publicly_accessible
    severity:
      description: V(high), V(medium) or V(low).
      type: str
      sample: high
    status:
      description: V(found), or V(unknown) where a fact could not be read.
      type: str
      sample: found
    actual:
      description: What is, or why it could not be read.
      type: str
      sample: the instance has a public address
    expected:
      description: What should be.
      type: str
      sample: no public address
    remedy:
      description: How to fix it.
      type: str
      sample: Set PubliclyAccessible to false.
checked:
  description: What was checked, with what was seen.
  returned: when the instance could be described
  type: list
  elements: dict
  sample: [{id: storage_not_encrypted, status: ok, actual: the storage is encrypted}]
  contains:
    id:
      description: Kind of finding.
      type: str
    status:
      description: V(ok), V(found) or V(unknown).
      type: str
    actual:
      description: What was seen.
      type: str
not_checked:
  description: What was not checked because it does not apply or was not requested.
  returned: when the instance could be described
  type: list
  elements: dict
  sample: [{id: not_multi_az, reason: multi_az does not ask for a standby}]
  contains:
    id:
      description: Kind of finding.
      type: str
    reason:
      description: Why it was not checked.
      type: str
table:
  description: One line for each finding.
  returned: when the instance could be described
  type: list
  elements: str
  sample:
    - >-
      HIGH    publicly_accessible: the instance has a public address. Expected: no public address.
      Set PubliclyAccessible to false.
summary:
  description: The numbers in one line.
  returned: when the instance could be described
  type: str
  sample: "RDS instance archive: 32 checked, 1 high, 0 medium, 0 low, 0 unknown"
"""

import dataclasses
import typing as t
from datetime import UTC, datetime, timedelta

try:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
except ImportError:
    pass  # AnsibleAWSModule reports it

from ansible_collections.amazon.aws.plugins.module_utils.botocore import (
    is_boto3_error_code,
    paginated_query_with_retries,
)
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule
from ansible_collections.lightbox.pacs.plugins.module_utils._exposure import (
    SEVERITIES,
    Declaration,
    DeclarationError,
    find_reachable,
    find_undeclared,
    is_failure,
    is_group,
    is_prefix_list,
    is_wide,
    parse_network,
    parse_source,
    rules_of_group,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._rds_check import Facts, UnknownError, describe, evaluate

DATABASE = {
    "error": {"type": "str"},
    "user": {"type": "str"},
    "encrypted": {"type": "bool"},
    "tls_version": {"type": "str"},
    "tls_cipher": {"type": "str"},
    "privileges": {"type": "list", "elements": "str"},
    "roles": {"type": "list", "elements": "str"},
    "other_databases": {"type": "list", "elements": "str"},
    "extensions": {"type": "list", "elements": "str"},
    "connections": {"type": "int"},
    "max_connections": {"type": "int"},
    "log_parameters": {"type": "dict"},
    "schema_version": {"type": "str"},
    "schema_revision": {"type": "str"},
}


class Account:
    """The AWS account: calls with retries, clients made once."""

    def __init__(self, module: AwsModule) -> None:
        self.module = module
        self.clients: dict[str, t.Any] = {}
        # An error that lasts is a finding, so this does not wait for minutes.
        self.retry = AWSRetry.jittered_backoff(retries=4, delay=1, max_delay=5)

    def call(self, service: str, operation: str, **arguments: t.Any) -> t.Any:
        """Return the whole answer, of all its pages. Raises botocore's errors."""
        if service not in self.clients:
            self.clients[service] = self.module.client(service)
        client = self.clients[service]
        if client.can_paginate(operation):
            return paginated_query_with_retries(client, operation, retry_decorator=self.retry, **arguments)
        return self.retry(getattr(client, operation))(**arguments)

    def read(self, service: str, operation: str, **arguments: t.Any) -> t.Any:
        """Like call. Raises UnknownError, with the action's name."""
        action = f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"
        action = action.replace(":DescribeDb", ":DescribeDB")
        try:
            return self.call(service, operation, **arguments)
        except AttributeError:
            raise UnknownError(f"this version of boto3 has no {action}") from None
        except ClientError as error:
            details = error.response.get("Error", {})
            code = str(details.get("Code", ""))
            is_denied = code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
            reason = f"{action} failed with {code}: {details.get('Message', '')}".strip(": .")
            raise UnknownError(reason, action if is_denied else "") from error
        except (BotoCoreError, ResponseParserError) as error:
            raise UnknownError(f"{action} failed: {error}".strip(" .")) from error


def find_instance(module: AwsModule, account: Account) -> dict[str, t.Any]:
    """Return the instance. Without it there is nothing to check, so every error ends the module."""
    name = module.params["name"]
    try:
        found = account.call("rds", "describe_db_instances", DBInstanceIdentifier=name).get("DBInstances", [])
    except is_boto3_error_code("DBInstanceNotFound"):
        found = []
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        module.fail_json_aws(error, msg=f"The RDS instance {name} could not be described")
    if not found:
        module.fail_json(
            msg=f"There is no RDS instance {name} in the region {module.region}. "
            "Set name and region to those of an existing one."
        )
    return found[0]


def find_parameters(account: Account, instance: dict[str, t.Any]) -> dict[str, t.Any]:
    groups = [group["DBParameterGroupName"] for group in instance.get("DBParameterGroups") or []]
    if not groups:
        raise UnknownError("DescribeDBInstances returned no DBParameterGroups")
    found = account.read("rds", "describe_db_parameters", DBParameterGroupName=groups[0])
    return {one["ParameterName"]: one for one in found.get("Parameters", [])}


def find_certificate(account: Account, instance: dict[str, t.Any]) -> dict[str, t.Any]:
    name = instance.get("CACertificateIdentifier")
    if not name:
        raise UnknownError("DescribeDBInstances returned no CACertificateIdentifier")
    found = account.read("rds", "describe_certificates", CertificateIdentifier=name).get("Certificates")
    if not found:
        raise UnknownError(f"DescribeCertificates returned nothing about {name}")
    return found[0]


def find_maintenance(account: Account, instance: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    arn = instance.get("DBInstanceArn")
    if not arn:
        raise UnknownError("DescribeDBInstances returned no DBInstanceArn")
    found = account.read("rds", "describe_pending_maintenance_actions", ResourceIdentifier=arn)
    resources = found.get("PendingMaintenanceActions", [])
    return [action for one in resources for action in one.get("PendingMaintenanceActionDetails", [])]


def find_lifecycle(account: Account, instance: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    major = str(instance.get("EngineVersion", "")).split(".", 1)[0]
    found = account.read("rds", "describe_db_major_engine_versions", Engine="postgres", MajorEngineVersion=major)
    versions = found.get("DBMajorEngineVersions", [])
    return [cycle for one in versions for cycle in one.get("SupportedEngineLifecycles", [])]


def find_free_storage(account: Account, instance: dict[str, t.Any], now: datetime) -> list[dict[str, t.Any]]:
    found = account.read(
        "cloudwatch",
        "get_metric_statistics",
        Namespace="AWS/RDS",
        MetricName="FreeStorageSpace",
        Dimensions=[{"Name": "DBInstanceIdentifier", "Value": instance["DBInstanceIdentifier"]}],
        StartTime=now - timedelta(minutes=30),
        EndTime=now,
        Period=300,
        Statistics=["Minimum"],
    )
    return found.get("Datapoints", [])


def find_key(account: Account, key: str) -> str:
    """Return the ARN of the expected key; empty where none is expected."""
    if not key or ":key/" in key:
        return key
    return account.read("kms", "describe_key", KeyId=key)["KeyMetadata"]["Arn"]


def find_callers(account: Account, instance: dict[str, t.Any], allowed: list[str]) -> dict[str, list[str]]:
    """Return who reaches the instance's port besides `allowed`: the internet at large, and others."""
    ids = {one["VpcSecurityGroupId"] for one in instance.get("VpcSecurityGroups") or []}
    port = (instance.get("Endpoint") or {}).get("Port")
    if not ids or not port:
        raise UnknownError(f"DescribeDBInstances returned no {'Endpoint' if ids else 'VpcSecurityGroups'}")
    groups = account.read("ec2", "describe_security_groups", GroupIds=sorted(ids)).get("SecurityGroups", [])
    if {one["GroupId"] for one in groups} != ids:
        raise UnknownError(f"DescribeSecurityGroups returned {len(groups)} of {len(ids)} groups")
    rules = [
        dataclasses.replace(rule, protocol="tcp", first=port, last=port)
        for rule in find_reachable([rule for group in groups for rule in rules_of_group(group)], "tcp", port)
    ]
    declared = Declaration("tcp", port, port, find_allowed(account, groups[0].get("VpcId", ""), allowed))
    prefix_lists = {
        source: find_networks(account, source)
        for source in {rule.source for rule in rules} - set(declared.sources)
        if is_prefix_list(source)
    }
    found = [
        (f"{rule.source} (by {rule.group})", [network for region in regions for network in region.sources.networks])
        for rule, regions in find_undeclared(rules, [declared], prefix_lists)
    ]
    # Also in parts: two halves are the internet, too.
    is_open = is_wide([network for _text, networks in found for network in networks])
    internet = [text for text, networks in found if is_open and not all(network.is_private for network in networks)]
    return {"internet": internet, "others": [text for text, _networks in found if text not in internet]}


def find_allowed(account: Account, vpc: str, allowed: list[str]) -> tuple[str, ...]:
    """Return the allowed sources with IDs in place of names."""
    names = [
        one for one in allowed if one != "self" and not (is_group(one) or is_prefix_list(one) or parse_network(one))
    ]
    ids: dict[str, str] = {}
    if names:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": names}]
        groups = account.read("ec2", "describe_security_groups", Filters=filters).get("SecurityGroups", [])
        ids = {one["GroupName"]: one["GroupId"] for one in groups}
    try:
        return tuple(parse_source(one, ids) for one in allowed)
    except DeclarationError as error:
        raise UnknownError(f"allowed_sources is not valid for the VPC {vpc}: {error}".rstrip(".")) from error


def find_networks(account: Account, prefix_list: str) -> list[str]:
    found = account.read("ec2", "get_managed_prefix_list_entries", PrefixListId=prefix_list)
    return [one["Cidr"] for one in found.get("Entries", [])]


def gather(module: AwsModule) -> Facts:
    account, params, now = Account(module), module.params, datetime.now(UTC)
    instance = find_instance(module, account)
    readers: dict[str, t.Callable[[], t.Any]] = {
        "parameters": lambda: find_parameters(account, instance),
        "certificate": lambda: find_certificate(account, instance),
        "maintenance": lambda: find_maintenance(account, instance),
        "lifecycle": lambda: find_lifecycle(account, instance),
        "free_storage": lambda: find_free_storage(account, instance, now),
        "callers": lambda: find_callers(account, instance, params["allowed_sources"]),
        "kms_key": lambda: find_key(account, params["kms_key_id"]),
    }
    sources: dict[str, t.Any] = {"instance": instance, "database": params["database"]}
    for name, read in readers.items():
        try:
            sources[name] = read()
        except UnknownError as error:
            sources[name] = error
    return Facts(sources, params, now)


def main() -> None:
    module = AwsModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "kms_key_id": {"type": "str", "default": "", "no_log": False},
            "multi_az": {"type": "bool", "default": False},
            "backup_days": {"type": "int", "default": 7},
            "allowed_sources": {"type": "list", "elements": "str", "default": []},
            "database": {"type": "dict", "options": DATABASE},
            "fail_on": {"type": "str", "choices": ["high", "medium", "low", "never"], "default": "high"},
        },
        supports_check_mode=True,
    )
    result = evaluate(gather(module))
    findings, name = result["findings"], module.params["name"]
    numbers = [f"{sum(one['severity'] == severity for one in findings)} {severity}" for severity in SEVERITIES]
    unknown = sum(one["status"] == "unknown" for one in findings)
    result |= {
        "table": describe(findings),
        "summary": f"RDS instance {name}: {len(result['checked'])} checked, {', '.join(numbers)}, {unknown} unknown",
    }
    if is_failure(findings, module.params["fail_on"]):
        shown = describe([one for one in findings if is_failure([one], module.params["fail_on"])])
        module.fail_json(msg="\n".join([f"The RDS instance {name} is not as it should be.", *shown]), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
