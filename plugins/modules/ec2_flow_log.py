#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_flow_log
short_description: Manage the flow log of a VPC in CloudWatch Logs
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Creates or deletes the flow log of a VPC that writes to a log group of CloudWatch Logs.
  - A flow log belongs to this module when it is of O(vpc_id) and writes to O(log_group). There is one at the end;
    flow logs of the VPC that write elsewhere stay.
  - AWS cannot change a flow log. Where the traffic or the role differs, it is deleted and another is created, which
    takes seconds.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
options:
  vpc_id:
    description: VPC whose traffic is recorded.
    type: str
    required: true
  log_group:
    description: Log group of CloudWatch Logs that it is written to. It must exist, as must O(role_arn).
    type: str
    required: true
  state:
    description: Whether there is a flow log.
    type: str
    choices: [present, absent]
    default: present
  traffic:
    description: Traffic that is recorded.
    type: str
    choices: [ACCEPT, ALL, REJECT]
    default: REJECT
  role_arn:
    description: ARN of the IAM role by which AWS writes to the log group. Required with O(state=present).
    type: str
  tags:
    description: Tags. Others are removed, except those that begin with C(aws:). By default tags stay as they are.
    type: dict
notes:
  - Needs the permission C(ec2:DescribeFlowLogs), C(ec2:CreateFlowLogs), C(ec2:CreateTags), C(ec2:DeleteTags) and
    C(ec2:DeleteFlowLogs) where they apply, and C(iam:PassRole) for O(role_arn).
  - A role that was just made cannot be used for some seconds. The module waits for it, up to two minutes.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: amazon.aws.cloudwatchlogs_log_group
  - module: amazon.aws.iam_role
"""

EXAMPLES = r"""
- name: Record refused traffic
  lightbox.pacs.ec2_flow_log:
    region: eu-central-1
    vpc_id: vpc-0a1b2c3d4e5f60718
    log_group: radiology-flow-logs
    role_arn: arn:aws:iam::123456789012:role/radiology-flow-logs
    tags: {Name: radiology-flow-logs}

- name: Stop it
  lightbox.pacs.ec2_flow_log:
    region: eu-central-1
    vpc_id: vpc-0a1b2c3d4e5f60718
    log_group: radiology-flow-logs
    state: absent
"""

RETURN = r"""
flow_log:
  description: The flow log; empty where there is none, as in check mode before it is created.
  returned: success
  type: dict
  contains:
    id:
      description: Its ID.
      type: str
      sample: fl-0a1b2c3d4e5f60718
    vpc_id:
      description: VPC whose traffic it records.
      type: str
      sample: vpc-0a1b2c3d4e5f60718
    log_group:
      description: Log group that it writes to.
      type: str
      sample: radiology-flow-logs
    traffic:
      description: Traffic that it records.
      type: str
      sample: REJECT
    role_arn:
      description: Role by which AWS writes to the log group.
      type: str
      sample: arn:aws:iam::123456789012:role/radiology-flow-logs
    delivery_error:
      description: Why AWS cannot write to the log group; empty when it can.
      type: str
      sample: Access error
    tags:
      description: Its tags.
      type: dict
      sample: {Name: radiology-flow-logs}
"""

import contextlib
import time
import typing as t

with contextlib.suppress(ImportError):  # which AwsModule reports
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule

ROLE_TIMEOUT = 120
ROLE_INTERVAL = 5


class FlowLogError(Exception):
    """AWS did not do a part of the request. The text is AWS's."""


def describe(found: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "id": found["FlowLogId"],
        "vpc_id": found["ResourceId"],
        "log_group": found["LogGroupName"],
        "traffic": found["TrafficType"],
        "role_arn": found.get("DeliverLogsPermissionArn", ""),
        "delivery_error": found.get("DeliverLogsErrorMessage", ""),
        "tags": boto3_tag_list_to_ansible_dict(found.get("Tags", [])),
    }


@AWSRetry.jittered_backoff()
def find(client: t.Any, vpc_id: str, log_group: str) -> list[dict[str, t.Any]]:
    """Return the VPC's flow logs that write to the log group, as the module returns them."""
    filters = [{"Name": "resource-id", "Values": [vpc_id]}, {"Name": "log-group-name", "Values": [log_group]}]
    pages = client.get_paginator("describe_flow_logs").paginate(Filter=filters)
    return [describe(one) for one in pages.search("FlowLogs")]


def check_answer(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    for failure in answer.get("Unsuccessful", []):
        raise FlowLogError(f"{failure['Error']['Message']} ({failure['Error']['Code']})")
    return answer


def create(client: t.Any, params: dict[str, t.Any], tags: dict[str, str]) -> str:
    """Create a flow log and return its ID."""
    arguments = {
        "ResourceIds": [params["vpc_id"]],
        "ResourceType": "VPC",
        "TrafficType": params["traffic"],
        "LogGroupName": params["log_group"],
        "DeliverLogsPermissionArn": params["role_arn"],
    }
    if tags:
        specification = {"ResourceType": "vpc-flow-log", "Tags": ansible_dict_to_boto3_tag_list(tags)}
        arguments["TagSpecifications"] = [specification]
    until = time.monotonic() + ROLE_TIMEOUT
    while True:
        try:
            return check_answer(client.create_flow_logs(aws_retry=True, **arguments))["FlowLogIds"][0]
        except ClientError as error:
            # What EC2 answers while it cannot see a new role yet.
            if "Unable to assume given IAM role" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(ROLE_INTERVAL)


def update_tags(client: t.Any, flow_log: dict[str, t.Any], tags: dict[str, str]) -> None:
    added, removed = compare_aws_tags(flow_log["tags"], tags)
    if removed:
        client.delete_tags(Resources=[flow_log["id"]], Tags=[{"Key": key} for key in removed], aws_retry=True)
    if added:
        client.create_tags(Resources=[flow_log["id"]], Tags=ansible_dict_to_boto3_tag_list(added), aws_retry=True)


def ensure(module: AwsModule, client: t.Any) -> dict[str, t.Any]:
    """Create, change or delete the flow log, except in check mode. Return the module's result."""
    params, is_present = module.params, module.params["state"] == "present"
    existing = find(client, params["vpc_id"], params["log_group"])
    wanted = {name: params[name] for name in ("vpc_id", "log_group", "traffic", "role_arn")}
    current = next((one for one in existing if is_present and one.items() >= wanted.items()), None)
    superfluous = [one for one in existing if one is not current]
    flow_log: dict[str, t.Any] = {}
    if is_present:
        flow_log = current or {"id": "", **wanted, "delivery_error": "", "tags": {}}
        if params["tags"] is not None:
            kept = {key: value for key, value in flow_log["tags"].items() if key.startswith("aws:")}
            flow_log = flow_log | {"tags": kept | {key: str(value) for key, value in params["tags"].items()}}
    is_changed = bool(superfluous) or flow_log != (current or {})
    if is_changed and not module.check_mode:
        if superfluous:
            check_answer(client.delete_flow_logs(FlowLogIds=[one["id"] for one in superfluous], aws_retry=True))
        if current:
            update_tags(client, current, flow_log["tags"])
        elif is_present:
            flow_log["id"] = create(client, params, flow_log["tags"])
    return {
        "changed": is_changed,
        "flow_log": flow_log if current or not module.check_mode else {},
        "diff": {"before": {"flow_logs": existing}, "after": {"flow_logs": [flow_log] if is_present else []}},
    }


def main() -> None:
    module = AwsModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "log_group": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "traffic": {"type": "str", "choices": ["ACCEPT", "ALL", "REJECT"], "default": "REJECT"},
            "role_arn": {"type": "str"},
            "tags": {"type": "dict"},
        },
        required_if=[("state", "present", ["role_arn"])],
        supports_check_mode=True,
    )
    where = f"the flow log of {module.params['vpc_id']}"
    try:
        client = module.client("ec2", retry_decorator=AWSRetry.jittered_backoff())
        result = ensure(module, client)
    except FlowLogError as error:
        module.fail_json(msg=f"Cannot manage {where}: {error}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"Cannot manage {where}")
    if result["flow_log"].get("delivery_error"):
        module.warn(
            f"AWS cannot write {where} to {module.params['log_group']}: {result['flow_log']['delivery_error']}. "
            "Check role_arn."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
