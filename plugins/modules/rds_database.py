#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rds_database
short_description: Manage an Amazon RDS database with PostgreSQL
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Creates, changes or deletes one RDS instance with PostgreSQL, with its DB subnet group and its DB parameter group.
  - The instance is always encrypted, private and on gp3 storage, it copies its tags to its snapshots, and AWS Secrets
    Manager manages the password of its administrator. No password is an option of this module.
  - The parameter group always has C(rds.force_ssl=1), C(log_statement=none), C(log_min_duration_statement=-1) and
    C(shared_preload_libraries=pg_stat_statements), so that connections are encrypted and no statement is logged. Each
    is read back. A parameter that somebody else changed is set again, or reset to its default when it is not in
    O(parameters).
  - A new instance is not enrolled in Amazon RDS Extended Support, which costs extra after the end of the major
    version's standard support.
  - Nothing is changed when only something that cannot be changed differs; the module fails with the reasons.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Only calls that describe are made.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
options:
  name:
    description: Identifier of the instance and name of its subnet group. The parameter group is C(NAME-postgresMAJOR).
    type: str
    required: true
  state:
    description:
      - V(present) creates the instance or changes it.
      - V(absent) deletes it and, once it is gone, its subnet group and parameter groups.
    type: str
    choices: [absent, present]
    default: present
  subnet_ids:
    description:
      - IDs of subnets in at least two zones. Required to create the instance.
      - In check mode empty means subnets that do not exist yet.
    type: list
    elements: str
    default: []
  security_group_ids:
    description: IDs of the instance's security groups. Empty means the VPC's default group.
    type: list
    elements: str
    default: []
  kms_key_id:
    description:
      - ARN or ID of the KMS key that encrypts storage, snapshots and the administrator's secret; not an alias.
      - Empty means the account's keys C(aws/rds) and C(aws/secretsmanager).
    type: str
    default: ""
  engine_version:
    description:
      - Version of PostgreSQL. A major version such as V(17) means the newest one when the instance is created, and
        then any of it.
      - A newer minor version such as V(17.7) is installed; another major version is refused.
    type: str
    default: '17'
  instance_class:
    description: Class of the instance.
    type: str
    default: db.t4g.medium
  storage_gb:
    description: Storage in GiB. A larger instance is left as it is, because storage never shrinks.
    type: int
    default: 50
  max_storage_gb:
    description: GiB up to which RDS grows the storage by itself. The same as O(storage_gb) means never.
    type: int
    default: 200
  multi_az:
    description: Whether a standby instance runs in a second zone.
    type: bool
    default: false
  backup_days:
    description: Days for which automatic backups are kept, 1 to 35.
    type: int
    default: 14
  backup_window:
    description: When automatic backups begin, in UTC.
    type: str
    default: 02:00-03:00
  maintenance_window:
    description: When AWS maintains the instance, in UTC.
    type: str
    default: sun:03:30-sun:04:30
  minor_upgrades:
    description: Whether AWS installs minor versions of PostgreSQL in the maintenance window.
    type: bool
    default: true
  ca_identifier:
    description: Certificate authority of the instance's certificate.
    type: str
    default: rds-ca-rsa2048-g1
  deletion_protection:
    description:
      - Whether AWS refuses to delete the instance.
      - With O(state=absent), V(true) refuses to delete an instance that is protected, and V(false) removes the
        protection.
    type: bool
    default: true
  parameters:
    description:
      - Further parameters of PostgreSQL for the parameter group. All others have their defaults.
      - Refused are those that this module sets itself, those that may write statements into the log, those that may
        lose data that was committed, and those that decide about encryption.
    type: dict
    default: {}
  port:
    description: Port of the database. Another one restarts the database at once.
    type: int
    default: 5432
  administrator:
    description: Name of the master user.
    type: str
    default: lightbox_admin
  apply_immediately:
    description:
      - Whether changes that interrupt the database are made at once, including a restart for parameters that need one.
      - Otherwise RDS makes them in the maintenance window, and parameters that need a restart wait for one.
    type: bool
    default: false
  tags:
    description:
      - Tags of the instance and its groups. Other tags are removed, except those that begin with C(aws:).
      - With O(state=absent), those that they have. An instance without one of them is not deleted, which is an error,
        and neither is a group.
    type: dict
    default: {}
  final_snapshot:
    description: Name of the snapshot to make before the instance is deleted. Empty means none. Required with
      O(state=absent).
    type: str
  wait:
    description:
      - Whether to wait until the instance is available and its changes are made, or until it is gone.
      - Without it, changes to an instance that is busy are left to the next run.
    type: bool
    default: false
  wait_timeout:
    description: Seconds to wait.
    type: int
    default: 2400
"""

EXAMPLES = r"""
- name: Create the database
  lightbox.pacs.rds_database:
    region: eu-central-1
    name: hospital-prod
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-1a1b2c3d4e5f60718]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    kms_key_id: arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    multi_az: true
    parameters: {work_mem: 16384}
    tags: {Name: hospital-prod}
    wait: true
  register: created

- name: Show where it is
  ansible.builtin.debug:
    msg: "{{ created.database.endpoint }}:{{ created.database.port }}"

- name: Delete the database and keep a snapshot
  lightbox.pacs.rds_database:
    region: eu-central-1
    name: hospital-prod
    state: absent
    deletion_protection: false
    final_snapshot: hospital-prod-final
    wait: true
"""

RETURN = r"""
database:
  description: The instance. Empty where there is none, as in check mode before it is created.
  returned: success
  type: dict
  contains:
    name:
      description: Its identifier.
      type: str
      sample: hospital-prod
    arn:
      description: Its ARN.
      type: str
      sample: arn:aws:rds:eu-central-1:123456789012:db:hospital-prod
    endpoint:
      description: Its DNS name; empty until AWS has made it.
      type: str
      sample: hospital-prod.abcdefghijkl.eu-central-1.rds.amazonaws.com
    port:
      description: Its port; 0 until AWS has made it.
      type: int
      sample: 5432
    status:
      description: Its status.
      type: str
      sample: available
    secret_arn:
      description: ARN of the secret with the administrator's name and password; empty until AWS has made it.
      type: str
      sample: arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1234abcd-AbCdEf
    administrator:
      description: Name of the master user.
      type: str
      sample: lightbox_admin
    engine_version:
      description: Version of PostgreSQL that runs.
      type: str
      sample: '17.6'
    instance_class:
      description: Its class.
      type: str
      sample: db.t4g.medium
    storage_gb:
      description: Its storage in GiB.
      type: int
      sample: 50
    kms_key_id:
      description: ARN of the key that encrypts it.
      type: str
      sample: arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    parameter_group:
      description: Its parameter group.
      type: str
      sample: hospital-prod-postgres17
    pending:
      description: Changes that RDS makes in the maintenance window, in the API's names.
      type: dict
      sample: {DBInstanceClass: db.t4g.large}
    pending_reboot:
      description: Whether parameters wait for a restart.
      type: bool
      sample: false
parameters:
  description: The parameters that are set, as they were read back from the parameter group.
  returned: success, O(state=present)
  type: dict
  sample: {log_min_duration_statement: '-1', log_statement: none, rds.force_ssl: '1', work_mem: '16384'}
deferred:
  description:
    - Settings that were not changed because the instance is busy, in the API's names. Run again with O(wait=true).
  returned: success, O(state=present)
  type: list
  elements: str
  sample: [DBInstanceClass]
"""

import contextlib
import time
import typing as t

with contextlib.suppress(ImportError):  # AwsModule reports it
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule
from ansible_collections.lightbox.pacs.plugins.module_utils._rds_database import (
    BROKEN,
    MANAGED_PARAMETERS,
    MODIFIABLE,
    REACHABLE,
    RdsError,
    build_settings,
    choose_version,
    describe_instance,
    describe_option,
    find_changes,
    find_class_errors,
    find_parameter_errors,
    find_pending,
    find_refused_changes,
    find_value_errors,
    format_parameter,
    parameter_group_name,
    parse_version,
    read_settings,
)

Answer = dict[str, t.Any]
INTERVAL = 15  # seconds between two queries of the instance's status
GROUP_CHANGES = 20  # parameters that one call may change
# Seconds for which RDS may not see what was made a moment ago, or be at work on an earlier change.
RETRIED = {
    "DBParameterGroupNotFound": 120,
    "DBSubnetGroupNotFoundFault": 120,
    "InvalidDBInstanceState": 600,
    "KMSKeyNotAccessibleFault": 120,
}
RETRY_INTERVAL = 5
# From this size (GiB) on, RDS changes the size or type of gp3 storage of PostgreSQL only together with its IOPS, and
# refuses them below. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html
STRIPED_SIZE = 400
STRIPED_IOPS = 12000


class Rds:
    """One instance with its groups. Calls are repeated while AWS throttles them."""

    def __init__(self, module: AwsModule) -> None:
        self.module = module
        self.params = module.params
        self.name: str = module.params["name"]
        retry = AWSRetry.jittered_backoff(retries=10)
        self.client = module.client("rds", retry_decorator=retry)
        self.retry = retry
        self.changed = False
        self.before: Answer = {}
        self.after: Answer = {}
        self.deadline = time.monotonic() + self.params["wait_timeout"]

    def call(self, operation: str, **arguments: t.Any) -> Answer:
        return getattr(self.client, operation)(aws_retry=True, **arguments)

    def write(self, operation: str, **arguments: t.Any) -> Answer:
        """Make a call that changes something, unless in check mode."""
        self.changed = True
        return {} if self.module.check_mode else self.call(operation, **arguments)

    def write_with_retries(self, operation: str, **arguments: t.Any) -> None:
        """Make a call that changes the instance, again while RDS is not ready for it."""
        begin = time.monotonic()
        while True:
            try:
                self.write(operation, **arguments)
                return
            except ClientError as error:
                if time.monotonic() - begin >= RETRIED.get(error.response["Error"]["Code"], 0):
                    raise
                time.sleep(RETRY_INTERVAL)

    def find_all(self, operation: str, key: str, missing: str = "", **arguments: t.Any) -> list[Answer] | None:
        """Return all entries of an answer; None where the error `missing` is the answer."""
        found: list[Answer] = []
        marker: Answer = {}
        while True:
            try:
                answer = self.call(operation, **arguments, **marker)
            except ClientError as error:
                if missing and error.response["Error"]["Code"] == missing:
                    return None
                raise
            found += answer[key]
            if not answer.get("Marker"):
                return found
            marker = {"Marker": answer["Marker"]}

    def note(self, place: str, before: t.Any, after: t.Any) -> None:
        """Add to the diff."""
        self.before[place], self.after[place] = before, after

    @property
    def tags(self) -> list[Answer]:
        return ansible_dict_to_boto3_tag_list(self.params["tags"])

    # The instance.

    def find_instance(self) -> Answer | None:
        found = (
            self.find_all("describe_db_instances", "DBInstances", "DBInstanceNotFound", DBInstanceIdentifier=self.name)
            or []
        )
        return found[0] if found else None

    def get_instance(self) -> Answer:
        found = self.find_instance()
        if found is None:
            raise RdsError(f"The DB instance {self.name} was deleted while this run changed it.")
        return found

    def wait(self, is_done: t.Callable[[Answer | None], bool], goal: str) -> Answer | None:
        while True:
            instance = self.find_instance()
            if is_done(instance):
                return instance
            status = instance["DBInstanceStatus"] if instance else "gone"
            if status in BROKEN or instance is None:
                raise RdsError(
                    f"The DB instance {self.name} is {status}, and will not be {goal} by itself. The events of the "
                    "instance in the console of RDS have the reason."
                )
            if time.monotonic() > self.deadline:
                raise RdsError(
                    f"The DB instance {self.name} is {status}, and not {goal} after {self.params['wait_timeout']} "
                    "seconds. Run again to wait on, or set wait_timeout (aws_database_wait_minutes) to more."
                )
            time.sleep(INTERVAL)

    def wait_until_available(self, statuses: tuple[str, ...] = REACHABLE) -> Answer:
        def is_available(instance: Answer | None) -> bool:
            return (
                instance is not None
                and instance["DBInstanceStatus"] in statuses
                and not (self.params["apply_immediately"] and find_pending(instance))  # RDS needs a moment to begin
                and bool((instance.get("Endpoint") or {}).get("Address"))
                and (instance.get("MasterUserSecret") or {}).get("SecretStatus") != "creating"
            )

        return t.cast("Answer", self.wait(is_available, "available"))

    def choose_version(self, instance: Answer | None) -> str:
        """Return the version to run, after a check of what depends on it and changes."""
        changes = find_changes(self.params, instance) if instance else {}
        if instance and not {"CACertificateIdentifier", "DBInstanceClass", "EngineVersion", "MultiAZ"} & set(changes):
            return str(instance["EngineVersion"])
        current = instance["EngineVersion"] if instance else self.params["engine_version"]
        version = str(changes.get("EngineVersion", current))
        offered = self.find_all("describe_db_engine_versions", "DBEngineVersions", Engine="postgres") or []
        chosen = choose_version(version, offered)
        authorities = chosen.get("SupportedCACertificateIdentifiers") or [self.params["ca_identifier"]]
        if self.params["ca_identifier"] not in authorities:
            raise RdsError(
                f"{describe_option('ca_identifier')} is '{self.params['ca_identifier']}'. Set it to one of "
                f"{', '.join(sorted(authorities))}."
            )
        orderable = self.find_all(
            "describe_orderable_db_instance_options",
            "OrderableDBInstanceOptions",
            Engine="postgres",
            EngineVersion=chosen["EngineVersion"],
            DBInstanceClass=self.params["instance_class"],
        )
        if errors := find_class_errors(self.params, chosen["EngineVersion"], orderable or []):
            raise RdsError(" ".join(errors))
        return chosen["EngineVersion"]

    def create_instance(self, version: str) -> None:
        settings = build_settings(self.params, version)
        if settings["MaxAllocatedStorage"] == settings["AllocatedStorage"]:
            del settings["MaxAllocatedStorage"]
        self.note("instance", {}, settings)
        key = self.params["kms_key_id"]
        self.write_with_retries(
            "create_db_instance",
            DBInstanceIdentifier=self.name,
            DBSubnetGroupName=self.name,
            Engine="postgres",
            # Otherwise AWS charges for each hour after the end of the major version's standard support.
            EngineLifecycleSupport="open-source-rds-extended-support-disabled",
            MasterUsername=self.params["administrator"],
            StorageEncrypted=True,
            Tags=self.tags,
            **({"KmsKeyId": key, "MasterUserSecretKmsKeyId": key} if key else {}),
            **settings,
        )

    def change_instance(self, instance: Answer) -> list[str]:
        """Change what differs; return what has to wait because the instance is busy."""
        current = read_settings(instance)
        changes = find_changes(self.params, instance)
        # RDS makes all pending changes with one that is to be made immediately.
        forced = find_pending(instance) if self.params["apply_immediately"] else {}
        if not changes and not forced:
            return []
        if instance["DBInstanceStatus"] not in MODIFIABLE and not self.module.check_mode:
            if not self.params["wait"]:
                return sorted(changes | forced)
            return self.change_instance(self.wait_until_available(MODIFIABLE))
        self.note("instance", {name: current[name] for name in changes}, changes)
        arguments = forced | changes
        size = arguments.get("AllocatedStorage", current["AllocatedStorage"])
        if size >= STRIPED_SIZE and {"AllocatedStorage", "StorageType"} & set(arguments):
            arguments |= {"AllocatedStorage": size, "Iops": max(instance.get("Iops") or 0, STRIPED_IOPS)}
        if "Port" in arguments:
            arguments["DBPortNumber"] = arguments.pop("Port")
        if "ManageMasterUserPassword" in arguments and self.params["kms_key_id"]:
            arguments["MasterUserSecretKmsKeyId"] = self.params["kms_key_id"]
        self.write_with_retries(
            "modify_db_instance",
            DBInstanceIdentifier=self.name,
            ApplyImmediately=self.params["apply_immediately"],
            **arguments,
        )
        return []

    # The groups.

    def set_subnet_group(self) -> None:
        groups = self.find_all(
            "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupNotFoundFault", DBSubnetGroupName=self.name
        )
        wanted = sorted(self.params["subnet_ids"])
        current = sorted(one["SubnetIdentifier"] for one in groups[0]["Subnets"]) if groups else []
        if groups:
            self.set_tags("subnet group", groups[0]["DBSubnetGroupArn"])
        if groups and (current == wanted or not wanted):
            return
        if wanted:
            self.check_zones(wanted)
        elif not self.module.check_mode:
            raise RdsError(f"{describe_option('subnet_ids')} is empty. Set it to subnets in at least two zones.")
        self.note("subnets", current, wanted)
        arguments = {
            "DBSubnetGroupName": self.name,
            "DBSubnetGroupDescription": f"Private subnets of {self.name}",
            "SubnetIds": wanted,
        }
        if groups:
            self.write("modify_db_subnet_group", **arguments)
        else:
            self.write("create_db_subnet_group", Tags=self.tags, **arguments)

    def check_zones(self, subnets: list[str]) -> None:
        ec2 = self.module.client("ec2", retry_decorator=self.retry)
        found = ec2.describe_subnets(aws_retry=True, SubnetIds=subnets)["Subnets"]
        zones = sorted({one["AvailabilityZone"] for one in found})
        if len(zones) < 2:
            raise RdsError(
                f"{describe_option('subnet_ids')} lists subnets of {', '.join(zones)} alone. RDS needs subnets in "
                "at least two zones. Add one of another zone."
            )

    def find_parameters(self, group: str) -> list[Answer]:
        return self.find_all("describe_db_parameters", "Parameters", DBParameterGroupName=group) or []

    def set_parameters(self, version: str) -> dict[str, str | None]:
        """Set the parameter group; return the parameters as they were read back."""
        family = f"postgres{parse_version(version)[0]}"
        group = parameter_group_name(self.name, version)
        groups = self.find_all(
            "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupNotFound", DBParameterGroupName=group
        )
        wanted = {
            name: format_parameter(value) for name, value in self.params["parameters"].items()
        } | MANAGED_PARAMETERS
        if groups:
            self.set_tags("parameter group", groups[0]["DBParameterGroupArn"])
        listed = {one["ParameterName"]: one for one in self.find_parameters(group)} if groups else {}
        current = {name: one.get("ParameterValue") for name, one in listed.items()}
        changed = {name: value for name, value in wanted.items() if current.get(name) != value}
        self.check_values(
            {name: self.params["parameters"][name] for name in changed if name in self.params["parameters"]}, family
        )
        extra = sorted(
            name for name, one in listed.items() if name not in wanted and one.get("Source", "user") == "user"
        )
        if groups and not changed and not extra:
            return {name: current.get(name) for name in wanted}
        self.note(
            "parameters", {name: current.get(name) for name in [*changed, *extra]}, changed | dict.fromkeys(extra)
        )
        if not groups:
            self.write(
                "create_db_parameter_group",
                DBParameterGroupName=group,
                DBParameterGroupFamily=family,
                Description=f"Parameters of {self.name}",
                Tags=self.tags,
            )
        if self.module.check_mode:
            self.changed = True
            return dict(wanted)
        if not groups:
            listed = {one["ParameterName"]: one for one in self.find_parameters(group)}
        self.write_parameters("modify_db_parameter_group", group, changed, listed)
        self.write_parameters("reset_db_parameter_group", group, dict.fromkeys(extra, ""), listed)
        effective = {one["ParameterName"]: one.get("ParameterValue") for one in self.find_parameters(group)}
        if lost := [name for name, value in wanted.items() if effective.get(name) != value]:
            raise RdsError(
                f"The parameter group {group} does not keep "
                + ", ".join(f"{name} = {wanted[name]} (it has {effective.get(name)})" for name in lost)
                + "."
            )
        return {name: effective[name] for name in wanted}

    def write_parameters(self, operation: str, group: str, changes: dict[str, str], listed: dict[str, Answer]) -> None:
        entries = [
            {
                "ParameterName": name,
                # One that is read at the start only is refused with `immediate`.
                "ApplyMethod": "pending-reboot" if listed.get(name, {}).get("ApplyType") == "static" else "immediate",
                **({"ParameterValue": value} if operation.startswith("modify") else {}),
            }
            for name, value in sorted(changes.items())
        ]
        for start in range(0, len(entries), GROUP_CHANGES):
            # Without it RDS may reset all of them.
            only = {} if operation.startswith("modify") else {"ResetAllParameters": False}
            self.write(operation, DBParameterGroupName=group, Parameters=entries[start : start + GROUP_CHANGES], **only)

    def check_values(self, parameters: Answer, family: str) -> None:
        """Refuse what RDS would refuse, before the first of several changes."""
        if not parameters:
            return
        listed: dict[str, Answer] = {}
        marker: Answer = {}
        while True:
            answer = self.call("describe_engine_default_parameters", DBParameterGroupFamily=family, **marker)
            defaults = answer["EngineDefaults"]
            listed.update({one["ParameterName"]: one for one in defaults["Parameters"]})
            if not defaults.get("Marker"):
                break
            marker = {"Marker": defaults["Marker"]}
        if errors := find_value_errors(parameters, listed, family):
            raise RdsError(" ".join(errors))

    def set_tags(self, place: str, arn: str, current: list[Answer] | None = None) -> None:
        if current is None:
            current = self.call("list_tags_for_resource", ResourceName=arn)["TagList"]
        tags = boto3_tag_list_to_ansible_dict(current)
        added, removed = compare_aws_tags(tags, self.params["tags"])
        if added or removed:
            self.note(f"tags of the {place}", tags, self.params["tags"])
        if added:
            self.write("add_tags_to_resource", ResourceName=arn, Tags=ansible_dict_to_boto3_tag_list(added))
        if removed:
            self.write("remove_tags_from_resource", ResourceName=arn, TagKeys=removed)

    # The states.

    def set_present(self) -> Answer:
        instance = self.find_instance()
        errors = find_parameter_errors(self.params["parameters"])
        if instance and instance["DBInstanceStatus"] == "deleting":
            errors.append(f"The DB instance {self.name} is being deleted. Run again when it is gone.")
        elif instance:
            errors += find_refused_changes(self.params, instance)
        if errors:
            raise RdsError(" ".join(errors))
        version = self.choose_version(instance)
        self.set_subnet_group()
        parameters = self.set_parameters(version)
        deferred: list[str] = []
        if instance:
            deferred = self.change_instance(instance)
            self.set_tags("instance", instance["DBInstanceArn"], instance.get("TagList"))
        else:
            self.create_instance(version)
        if self.module.check_mode:
            return {
                "database": describe_instance(instance) if instance else {},
                "parameters": parameters,
                "deferred": [],
            }
        instance = self.wait_until_available() if self.params["wait"] else self.get_instance()
        if describe_instance(instance)["pending_reboot"] and self.params["apply_immediately"]:
            if self.params["wait"]:
                instance = self.wait_until_available(MODIFIABLE)
            if instance["DBInstanceStatus"] in MODIFIABLE:
                self.write("reboot_db_instance", DBInstanceIdentifier=self.name)
                instance = self.wait_until_available() if self.params["wait"] else self.get_instance()
            else:
                deferred.append("DBParameterGroupName")
        return {"database": describe_instance(instance), "parameters": parameters, "deferred": deferred}

    def lacks_tags(self, tags: list[Answer]) -> bool:
        return not boto3_tag_list_to_ansible_dict(tags).items() >= self.params["tags"].items()

    def is_group_of_others(self, arn: str) -> bool:
        return bool(self.params["tags"]) and self.lacks_tags(
            self.call("list_tags_for_resource", ResourceName=arn)["TagList"]
        )

    def set_absent(self) -> Answer:
        instance = self.find_instance()
        if instance and self.lacks_tags(instance.get("TagList", [])):
            wanted = ", ".join(f"{key}={value}" for key, value in self.params["tags"].items())
            raise RdsError(
                f"The DB instance {self.name} does not have the tag {wanted}, so it may be somebody else's, and is not "
                "deleted. Set the tag if it is to be deleted; or rename the instance, or remove it by hand."
            )
        if instance:
            self.note("instance", read_settings(instance), {})
        if instance and instance["DBInstanceStatus"] != "deleting":
            if instance.get("DeletionProtection"):
                if self.params["deletion_protection"]:
                    raise RdsError(
                        f"The DB instance {self.name} is protected against deletion. To delete it, set "
                        f"{describe_option('deletion_protection')} to false."
                    )
                self.write_with_retries(
                    "modify_db_instance",
                    DBInstanceIdentifier=self.name,
                    DeletionProtection=False,
                    ApplyImmediately=True,
                )
            snapshot = self.params["final_snapshot"]
            self.write_with_retries(
                "delete_db_instance",
                DBInstanceIdentifier=self.name,
                **({"FinalDBSnapshotIdentifier": snapshot} if snapshot else {}),
                SkipFinalSnapshot=not snapshot,
            )
        if self.module.check_mode:
            instance = None
        elif self.params["wait"]:
            instance = self.wait(lambda one: one is None, "deleted")
        else:
            instance = self.find_instance()
        if instance is None:
            self.delete_groups()
        return {"database": describe_instance(instance) if instance else {}}

    def delete_groups(self) -> None:
        """Delete the groups, which RDS keeps as long as an instance uses them."""
        for group in self.find_all("describe_db_parameter_groups", "DBParameterGroups") or []:
            name = group["DBParameterGroupName"]
            if name == f"{self.name}-{group['DBParameterGroupFamily']}" and not self.is_group_of_others(
                group["DBParameterGroupArn"]
            ):
                self.note(f"parameter group {name}", "present", "absent")
                self.write("delete_db_parameter_group", DBParameterGroupName=name)
        for group in (
            self.find_all(
                "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupNotFoundFault", DBSubnetGroupName=self.name
            )
            or []
        ):
            if not self.is_group_of_others(group["DBSubnetGroupArn"]):
                self.note("subnet group", "present", "absent")
                self.write("delete_db_subnet_group", DBSubnetGroupName=self.name)


def main() -> None:
    module = AwsModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "subnet_ids": {"type": "list", "elements": "str", "default": []},
            "security_group_ids": {"type": "list", "elements": "str", "default": []},
            "kms_key_id": {"type": "str", "default": ""},
            "engine_version": {"type": "str", "default": "17"},
            "instance_class": {"type": "str", "default": "db.t4g.medium"},
            "storage_gb": {"type": "int", "default": 50},
            "max_storage_gb": {"type": "int", "default": 200},
            "multi_az": {"type": "bool", "default": False},
            "backup_days": {"type": "int", "default": 14},
            "backup_window": {"type": "str", "default": "02:00-03:00"},
            "maintenance_window": {"type": "str", "default": "sun:03:30-sun:04:30"},
            "minor_upgrades": {"type": "bool", "default": True},
            "ca_identifier": {"type": "str", "default": "rds-ca-rsa2048-g1"},
            "deletion_protection": {"type": "bool", "default": True},
            "parameters": {"type": "dict", "default": {}},
            "port": {"type": "int", "default": 5432},
            "administrator": {"type": "str", "default": "lightbox_admin"},
            "apply_immediately": {"type": "bool", "default": False},
            "tags": {"type": "dict", "default": {}},
            "final_snapshot": {"type": "str"},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 2400},
        },
        required_if=[("state", "absent", ["final_snapshot"])],
        supports_check_mode=True,
    )
    try:
        rds = Rds(module)
        result = rds.set_present() if module.params["state"] == "present" else rds.set_absent()
    except RdsError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"The database {module.params['name']} could not be managed")
    if result.get("deferred"):
        status, names = result["database"]["status"], ", ".join(result["deferred"])
        module.warn(f"The DB instance {rds.name} is {status}. Not changed yet: {names}.")
    module.exit_json(changed=rds.changed, diff={"before": rds.before, "after": rds.after}, **result)


if __name__ == "__main__":
    main()
