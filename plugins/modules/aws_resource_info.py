#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: aws_resource_info
short_description: Gather information about the AWS resources of an environment
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns what exists in an AWS account and region of one environment of this collection.
  - Most kinds are found by their tag C(lightbox:environment), the others by the environment's name.
    It is the alias of the key of KMS, and the name of the subnet group of RDS and of the parameter group of RDS, which
    ends with the version as in C(-postgres17). The log group has C(-flow-logs) appended. The names of the server's role
    and of its instance profile end with the region, as in C(-eu-central-1), that of the role which writes to the log
    group as in C(-eu-central-1-flow-logs), since IAM has them once for all regions. What has such a name without
    the tag is left out, but for the key, whose RV(resources[].tags) show whose it is.
  - Needs one or a few calls for each kind, however many resources there are. All are Describe, Get or List calls. Only
    without that alias, the tags of all keys of KMS are read.
  - What is terminated or deleted is left out. What is being deleted has such a RV(resources[].state).
  - When a call is denied, the module fails with that call's error; it never returns an incomplete list.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Never changes anything.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  kinds:
    description: Kinds of resources to return. By default all.
    type: list
    elements: str
    choices:
      - kms_key
      - vpc
      - subnet
      - internet_gateway
      - route_table
      - vpc_endpoint
      - log_group
      - flow_log
      - security_group
      - iam_role
      - instance_profile
      - key_pair
      - instance
      - volume
      - elastic_ip
      - db_subnet_group
      - db_parameter_group
      - db_instance
      - db_snapshot
notes:
  - Needs the permissions C(ec2:DescribeVpcs), C(ec2:DescribeSubnets), C(ec2:DescribeInternetGateways),
    C(ec2:DescribeRouteTables), C(ec2:DescribeVpcEndpoints), C(ec2:DescribeFlowLogs), C(ec2:DescribeSecurityGroups),
    C(ec2:DescribeKeyPairs), C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeAddresses),
    C(iam:GetRole), C(iam:GetInstanceProfile), C(kms:DescribeKey), C(kms:ListResourceTags), C(logs:DescribeLogGroups),
    C(logs:ListTagsLogGroup),
    C(rds:DescribeDBInstances), C(rds:DescribeDBSnapshots), C(rds:DescribeDBSubnetGroups),
    C(rds:DescribeDBParameterGroups) and C(rds:ListTagsForResource). With O(kinds), only those of the given kinds.
  - Without the alias of the key, it also needs V(kms:ListKeys).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: List the resources of the environment radiology
  lightbox.pacs.aws_resource_info:
    environment: radiology
    region: eu-central-1
  register: radiology

- name: Print what exists
  ansible.builtin.debug:
    msg: "{{ radiology.resources | map(attribute='name') }}"

- name: Find the address of the server
  lightbox.pacs.aws_resource_info:
    environment: radiology
    kinds: [instance]
    region: eu-central-1
  register: servers
"""

RETURN = r"""
resources:
  description: The resources that exist, in the order of O(kinds)' choices, then by name.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the resource.
      type: str
      sample: instance
    name:
      description: Its name; of resources that only have identifiers, the value of their tag C(Name).
      type: str
      sample: radiology
    id:
      description: Identifier by which AWS takes it, such as the instance ID, allocation ID, name of a role or database.
      type: str
      sample: i-0abcdef1234567890
    state:
      description: State as AWS returns it; V(available) for kinds without one.
      type: str
      sample: running
    arn:
      description: Its ARN.
      returned: for kms_key, log_group, iam_role, instance_profile and the kinds of RDS
      type: str
    tags:
      description: Its tags.
      returned: for the kinds with which AWS returns them
      type: dict
      sample: {Name: radiology, 'lightbox:environment': radiology}
    vpc_id:
      description: VPC in which it is; of a V(flow_log), the one it records.
      returned: >-
        for vpc, subnet, internet_gateway, route_table, vpc_endpoint, flow_log, security_group, instance and
        db_subnet_group
      type: str
    cidr:
      description: Its IPv4 network.
      returned: for vpc and subnet
      type: str
      sample: 10.77.0.0/16
    zone:
      description: Availability zone.
      returned: for subnet, instance, volume and db_instance
      type: str
      sample: eu-central-1a
    map_public:
      description: Whether instances in it get a public address unless they ask for none.
      returned: for subnet
      type: bool
    service:
      description: Service that the endpoint reaches.
      returned: for vpc_endpoint
      type: str
      sample: com.amazonaws.eu-central-1.s3
    traffic:
      description: Traffic that is recorded.
      returned: for flow_log
      type: str
      sample: REJECT
    log_group:
      description: Log group that it writes to.
      returned: for flow_log
      type: str
    retention_days:
      description: Days after which entries are deleted; null for never.
      returned: for log_group
      type: int
      sample: 90
    bytes:
      description: Size of what it stores.
      returned: for log_group
      type: int
    description:
      description: Its description.
      returned: for security_group
      type: str
    fingerprint:
      description: Fingerprint of the key.
      returned: for key_pair
      type: str
    type:
      description: Instance type, instance class or volume type.
      returned: for instance, db_instance and volume
      type: str
      sample: t3.large
    image_id:
      description: Image from which it was made.
      returned: for instance
      type: str
    subnet_id:
      description: Subnet of its first network interface.
      returned: for instance
      type: str
    key_name:
      description: Name of its key pair.
      returned: for instance
      type: str
    security_group_ids:
      description: Its security groups.
      returned: for instance and db_instance
      type: list
      elements: str
    private_address:
      description: Its private IPv4 address; empty without one.
      returned: for instance
      type: str
      sample: 10.77.0.10
    public_address:
      description: Its public IPv4 address; empty without one.
      returned: for instance
      type: str
      sample: 192.0.2.10
    user:
      description: User to log in as, from the tag C(lightbox:user); empty without that.
      returned: for instance
      type: str
      sample: admin
    volume_ids:
      description: Volumes that are attached to it, by device.
      returned: for instance
      type: dict
      sample: {/dev/xvda: vol-0abcdef1234567890}
    instance_id:
      description: Instance to which it is attached; empty without one.
      returned: for volume and elastic_ip
      type: str
    device:
      description: Device as which it is attached; empty when it is not.
      returned: for volume
      type: str
      sample: /dev/sdf
    delete_on_termination:
      description: Whether it is deleted with the instance to which it is attached.
      returned: for volume
      type: bool
    address:
      description: Its public IPv4 address.
      returned: for elastic_ip
      type: str
      sample: 192.0.2.10
    association_id:
      description: Its association with an instance; empty without one.
      returned: for elastic_ip
      type: str
    size_gb:
      description: Its size, or its storage, in GiB.
      returned: for volume, db_instance and db_snapshot
      type: int
      sample: 200
    encrypted:
      description: Whether it is encrypted.
      returned: for volume, db_instance and db_snapshot
      type: bool
    kms_key_id:
      description: Key of KMS that encrypts it; empty when it is not encrypted.
      returned: for volume, db_instance and db_snapshot
      type: str
    engine_version:
      description: Version of PostgreSQL.
      returned: for db_instance and db_snapshot
      type: str
      sample: '17.4'
    endpoint:
      description: Name at which clients reach it; empty until it has one.
      returned: for db_instance
      type: str
      sample: radiology.abcdefghijkl.eu-central-1.rds.amazonaws.com
    port:
      description: Port at which clients reach it; null until it has one.
      returned: for db_instance
      type: int
      sample: 5432
    secret_arn:
      description: Secret that holds the password of its administrator; empty without one.
      returned: for db_instance
      type: str
    multi_az:
      description: Whether it has a standby in another zone.
      returned: for db_instance
      type: bool
    public:
      description: Whether it has a public address.
      returned: for db_instance
      type: bool
    deletion_protection:
      description: Whether it is protected against deletion.
      returned: for db_instance
      type: bool
    database:
      description: Database instance of which it is a snapshot.
      returned: for db_snapshot
      type: str
    created:
      description: When it was made, in UTC; empty until it is complete.
      returned: for db_snapshot
      type: str
      sample: '2026-11-30T07:51:28Z'
"""

import contextlib
import re
import time
import typing as t

with contextlib.suppress(ImportError):  # which AwsModule reports
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule

Resource = dict[str, t.Any]

TAG = "lightbox:environment"
# Names of the log groups that this collection makes, after the environment's name.
LOG_GROUP_SUFFIXES = ("-flow-logs",)


def read_tags(found: Resource, key: str = "Tags") -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in found.get(key) or []}


def format_time(when: t.Any) -> str:
    """Return a datetime of boto3, which is aware, as UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", when.utctimetuple()) if when else ""


class Account:
    """The resources of one environment, with one method for each kind."""

    def __init__(self, module: AwsModule, environment: str) -> None:
        self.module = module
        self.environment = environment
        self.clients: dict[str, t.Any] = {}

    def client(self, service: str) -> t.Any:
        if service not in self.clients:
            self.clients[service] = self.module.client(service)
        return self.clients[service]

    @AWSRetry.jittered_backoff()
    def call(self, service: str, operation: str, **arguments: t.Any) -> Resource:
        """Call an operation; where it has pages, return all of them as one answer."""
        client = self.client(service)
        if client.can_paginate(operation):
            return client.get_paginator(operation).paginate(**arguments).build_full_result()
        return getattr(client, operation)(**arguments)

    def tagged(self, operation: str, key: str, filters: str = "Filters") -> t.Iterator[tuple[Resource, Resource]]:
        """Yield what an operation of EC2 returns for the tag, with what all such resources have in common."""
        answer = self.call("ec2", operation, **{filters: [{"Name": f"tag:{TAG}", "Values": [self.environment]}]})
        for found in answer.get(key, []):
            tags = read_tags(found)
            yield found, {"name": tags.get("Name", ""), "state": "available", "tags": tags}

    def named(self, service: str, operation: str, key: str, missing: str, **arguments: str) -> t.Any:
        """Return what an operation has under a name, or nothing."""
        try:
            return self.call(service, operation, **arguments)[key]
        except is_boto3_error_code(missing):
            return None

    def is_own(self, tags: dict[str, str]) -> bool:
        """Whether what has the name that the collection gives is not somebody else's."""
        return tags.get(TAG) == self.environment

    def is_own_database_group(self, arn: str) -> bool:
        return self.is_own(read_tags(self.call("rds", "list_tags_for_resource", ResourceName=arn), "TagList"))

    def kms_key(self) -> t.Iterator[Resource]:
        name = f"alias/{self.environment}"
        found = self.named("kms", "describe_key", "KeyMetadata", "NotFoundException", KeyId=name)
        # One that a run left without an alias, because it ended in between, has the tag already.
        keys = [(found, self.key_tags(found["KeyId"]))] if found else self.tagged_keys()
        for key, tags in keys:
            yield {"name": name, "id": key["KeyId"], "arn": key["Arn"], "state": key["KeyState"], "tags": tags}

    def key_tags(self, key: str) -> dict[str, str]:
        answer = self.call("kms", "list_resource_tags", KeyId=key)
        return {tag["TagKey"]: tag["TagValue"] for tag in answer["Tags"]}

    def tagged_keys(self) -> t.Iterator[tuple[Resource, dict[str, str]]]:
        for key in self.call("kms", "list_keys")["Keys"]:
            # This collection's keys have the policy that leaves permissions to IAM; keys of others may refuse.
            try:
                tags = self.key_tags(key["KeyId"])
            except is_boto3_error_code("AccessDeniedException"):
                continue
            if self.is_own(tags):
                found = self.call("kms", "describe_key", KeyId=key["KeyId"])["KeyMetadata"]
                if found["KeyState"] != "PendingDeletion":
                    yield found, tags

    def vpc(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_vpcs", "Vpcs"):
            yield common | {
                "id": found["VpcId"],
                "vpc_id": found["VpcId"],
                "state": found["State"],
                "cidr": found["CidrBlock"],
            }

    def subnet(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_subnets", "Subnets"):
            yield common | {
                "id": found["SubnetId"],
                "vpc_id": found["VpcId"],
                "state": found["State"],
                "cidr": found["CidrBlock"],
                "zone": found["AvailabilityZone"],
                "map_public": found["MapPublicIpOnLaunch"],
            }

    def internet_gateway(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_internet_gateways", "InternetGateways"):
            attachment: Resource = next(iter(found.get("Attachments", [])), {})
            yield common | {
                "id": found["InternetGatewayId"],
                "vpc_id": attachment.get("VpcId", ""),
                "state": attachment.get("State", "detached"),
            }

    def route_table(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_route_tables", "RouteTables"):
            yield common | {"id": found["RouteTableId"], "vpc_id": found["VpcId"]}

    def vpc_endpoint(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_vpc_endpoints", "VpcEndpoints"):
            yield common | {
                "id": found["VpcEndpointId"],
                "vpc_id": found["VpcId"],
                "state": found["State"],
                "service": found["ServiceName"],
            }

    def log_group(self) -> t.Iterator[Resource]:
        answer = self.call("logs", "describe_log_groups", logGroupNamePrefix=self.environment)
        names = {self.environment + suffix for suffix in LOG_GROUP_SUFFIXES}
        for found in answer["logGroups"]:
            name = found["logGroupName"]
            if name in names and self.is_own(self.call("logs", "list_tags_log_group", logGroupName=name)["tags"]):
                yield {
                    "name": found["logGroupName"],
                    "id": found["logGroupName"],
                    "arn": found["arn"],
                    "state": "available",
                    "retention_days": found.get("retentionInDays"),
                    "bytes": found.get("storedBytes", 0),
                }

    def flow_log(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_flow_logs", "FlowLogs", "Filter"):
            yield common | {
                "id": found["FlowLogId"],
                "vpc_id": found["ResourceId"],
                "state": found["FlowLogStatus"],
                "traffic": found["TrafficType"],
                "log_group": found.get("LogGroupName", ""),
            }

    def security_group(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_security_groups", "SecurityGroups"):
            yield common | {
                "name": found["GroupName"],
                "id": found["GroupId"],
                "vpc_id": found.get("VpcId", ""),
                "description": found["Description"],
            }

    @property
    def regional_name(self) -> str:
        """The name of what an account has once for all regions."""
        region = self.client("ec2").meta.region_name  # that of the profile, too; IAM itself has none
        return f"{self.environment}-{region}"

    def iam_role(self) -> t.Iterator[Resource]:
        for name in (self.regional_name, f"{self.regional_name}-flow-logs"):
            found = self.named("iam", "get_role", "Role", "NoSuchEntity", RoleName=name)
            yield from self.identity(name, found)

    def instance_profile(self) -> t.Iterator[Resource]:
        name = self.regional_name
        found = self.named("iam", "get_instance_profile", "InstanceProfile", "NoSuchEntity", InstanceProfileName=name)
        yield from self.identity(name, found)

    def identity(self, name: str, found: Resource | None) -> t.Iterator[Resource]:
        tags = read_tags(found or {})
        if found and self.is_own(tags):
            yield {"name": name, "id": name, "arn": found["Arn"], "state": "available", "tags": tags}

    def key_pair(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_key_pairs", "KeyPairs"):
            yield common | {
                "name": found["KeyName"],
                "id": found["KeyPairId"],
                "fingerprint": found["KeyFingerprint"],
            }

    def instance(self) -> t.Iterator[Resource]:
        reservations = self.call(
            "ec2", "describe_instances", Filters=[{"Name": f"tag:{TAG}", "Values": [self.environment]}]
        )["Reservations"]
        for found in (instance for reservation in reservations for instance in reservation["Instances"]):
            tags = read_tags(found)
            yield {
                "name": tags.get("Name", ""),
                "id": found["InstanceId"],
                "state": found["State"]["Name"],
                "tags": tags,
                "vpc_id": found.get("VpcId", ""),
                "zone": found["Placement"]["AvailabilityZone"],
                "type": found["InstanceType"],
                "image_id": found["ImageId"],
                "subnet_id": found.get("SubnetId", ""),
                "key_name": found.get("KeyName", ""),
                "security_group_ids": [group["GroupId"] for group in found.get("SecurityGroups", [])],
                "private_address": found.get("PrivateIpAddress") or "",
                "public_address": found.get("PublicIpAddress") or "",
                "user": tags.get("lightbox:user", ""),
                "volume_ids": {
                    device["DeviceName"]: device["Ebs"]["VolumeId"] for device in found.get("BlockDeviceMappings", [])
                },
            }

    def volume(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_volumes", "Volumes"):
            attachment: Resource = next(iter(found.get("Attachments", [])), {})
            yield common | {
                "id": found["VolumeId"],
                "state": found["State"],
                "zone": found["AvailabilityZone"],
                "type": found["VolumeType"],
                "size_gb": found["Size"],
                "encrypted": found["Encrypted"],
                "kms_key_id": found.get("KmsKeyId", ""),
                "instance_id": attachment.get("InstanceId", ""),
                "device": attachment.get("Device", ""),
                "delete_on_termination": attachment.get("DeleteOnTermination", False),
            }

    def elastic_ip(self) -> t.Iterator[Resource]:
        for found, common in self.tagged("describe_addresses", "Addresses"):
            yield common | {
                "id": found["AllocationId"],
                "address": found["PublicIp"],
                "instance_id": found.get("InstanceId", ""),
                "association_id": found.get("AssociationId", ""),
            }

    def db_subnet_group(self) -> t.Iterator[Resource]:
        name = self.environment
        groups = self.named(
            "rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupNotFoundFault", DBSubnetGroupName=name
        )
        for found in groups or []:
            if self.is_own_database_group(found["DBSubnetGroupArn"]):
                yield {
                    "name": name,
                    "id": name,
                    "arn": found["DBSubnetGroupArn"],
                    "state": found["SubnetGroupStatus"],
                    "vpc_id": found["VpcId"],
                }

    def db_parameter_group(self) -> t.Iterator[Resource]:
        # With the major version of PostgreSQL, which a parameter group cannot change.
        names = re.compile(re.escape(self.environment) + r"(-postgres[0-9]+)?")
        for found in self.call("rds", "describe_db_parameter_groups")["DBParameterGroups"]:
            if names.fullmatch(found["DBParameterGroupName"]) and self.is_own_database_group(
                found["DBParameterGroupArn"]
            ):
                yield {
                    "name": found["DBParameterGroupName"],
                    "id": found["DBParameterGroupName"],
                    "arn": found["DBParameterGroupArn"],
                    "state": "available",
                }

    def db_instance(self) -> t.Iterator[Resource]:
        for found in self.call("rds", "describe_db_instances")["DBInstances"]:
            tags = read_tags(found, "TagList")
            if self.is_own(tags):
                yield {
                    "name": found["DBInstanceIdentifier"],
                    "id": found["DBInstanceIdentifier"],
                    "arn": found["DBInstanceArn"],
                    "state": found["DBInstanceStatus"],
                    "tags": tags,
                    "zone": found.get("AvailabilityZone") or "",
                    "type": found["DBInstanceClass"],
                    "security_group_ids": [group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", [])],
                    "size_gb": found["AllocatedStorage"],
                    "encrypted": found["StorageEncrypted"],
                    "kms_key_id": found.get("KmsKeyId") or "",
                    "engine_version": found["EngineVersion"],
                    "endpoint": found.get("Endpoint", {}).get("Address", ""),
                    "port": found.get("Endpoint", {}).get("Port"),
                    "secret_arn": found.get("MasterUserSecret", {}).get("SecretArn", ""),
                    "multi_az": found["MultiAZ"],
                    "public": found.get("PubliclyAccessible"),
                    "deletion_protection": found["DeletionProtection"],
                }

    def db_snapshot(self) -> t.Iterator[Resource]:
        for found in self.call("rds", "describe_db_snapshots", SnapshotType="manual")["DBSnapshots"]:
            tags = read_tags(found, "TagList")
            # A snapshot has the tags of its database only with CopyTagsToSnapshot.
            if self.environment in (tags.get(TAG), found["DBInstanceIdentifier"]):
                yield {
                    "name": found["DBSnapshotIdentifier"],
                    "id": found["DBSnapshotIdentifier"],
                    "arn": found["DBSnapshotArn"],
                    "state": found["Status"],
                    "tags": tags,
                    "size_gb": found["AllocatedStorage"],
                    "encrypted": found["Encrypted"],
                    "kms_key_id": found.get("KmsKeyId") or "",
                    "engine_version": found["EngineVersion"],
                    "database": found["DBInstanceIdentifier"],
                    "created": format_time(found.get("SnapshotCreateTime")),
                }


KINDS = (
    "kms_key",
    "vpc",
    "subnet",
    "internet_gateway",
    "route_table",
    "vpc_endpoint",
    "log_group",
    "flow_log",
    "security_group",
    "iam_role",
    "instance_profile",
    "key_pair",
    "instance",
    "volume",
    "elastic_ip",
    "db_subnet_group",
    "db_parameter_group",
    "db_instance",
    "db_snapshot",
)


def list_resources(account: Account, kinds: t.Collection[str]) -> list[Resource]:
    resources: list[Resource] = []
    for kind in KINDS:
        if kind in kinds:
            found = [{"kind": kind, **resource} for resource in getattr(account, kind)()]
            # AWS returns these for an hour.
            left = [resource for resource in found if resource["state"].lower() not in ("terminated", "deleted")]
            resources += sorted(left, key=lambda resource: (resource["name"], resource["id"]))
    return resources


def main() -> None:
    module = AwsModule(
        argument_spec={
            "environment": {"type": "str", "required": True},
            "kinds": {"type": "list", "elements": "str", "choices": list(KINDS)},
        },
        supports_check_mode=True,
    )
    environment, kinds = module.params["environment"], module.params["kinds"]
    try:
        resources = list_resources(Account(module, environment), KINDS if kinds is None else kinds)
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"Cannot list the AWS resources of {environment}")
    module.exit_json(changed=False, resources=resources)


if __name__ == "__main__":
    main()
