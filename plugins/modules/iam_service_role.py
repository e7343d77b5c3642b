#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_role
short_description: Manage an IAM role that an AWS service uses
version_added: 0.2.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Creates, changes or deletes an IAM role that one AWS service assumes.
  - The role has no more rights than O(statements) and O(managed_policies). Other inline policies are deleted, and other
    managed policies detached.
  - Unlike M(amazon.aws.iam_role) it never makes an instance profile, in every release of amazon.aws.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Only calls that get or list are made.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
options:
  name:
    description: Name of the role, and of its inline policy.
    type: str
    required: true
  state:
    description: Whether the role exists.
    type: str
    choices: [absent, present]
    default: present
  service:
    description:
      - Service that may assume the role, such as V(vpc-flow-logs.amazonaws.com). Required with O(state=present).
    type: str
  account_id:
    description: Account for which the service may assume the role. Empty means any.
    type: str
    default: ""
  statements:
    description:
      - Statements of the role's inline policy. Empty means none.
      - This or O(managed_policies) is required with O(state=present).
    type: list
    elements: dict
    default: []
  managed_policies:
    description: ARNs of the managed policies that are attached to the role.
    type: list
    elements: str
    default: []
  description:
    description: Description of the role.
    type: str
    default: ""
  tags:
    description: Tags of the role. Others are removed.
    type: dict
    default: {}
notes:
  - Needs the permissions C(iam:GetRole), C(iam:ListRolePolicies), C(iam:GetRolePolicy) and
    C(iam:ListAttachedRolePolicies); to change the role also C(iam:CreateRole), C(iam:UpdateAssumeRolePolicy),
    C(iam:UpdateRole), C(iam:TagRole), C(iam:UntagRole), C(iam:PutRolePolicy), C(iam:DeleteRolePolicy),
    C(iam:AttachRolePolicy) and C(iam:DetachRolePolicy); to delete it C(iam:DeleteRole).
"""

EXAMPLES = r"""
- name: Let flow logs write to one log group
  lightbox.pacs.iam_service_role:
    name: radiology-flow-logs
    service: vpc-flow-logs.amazonaws.com
    account_id: "123456789012"
    statements:
      - Effect: Allow
        Action: [logs:CreateLogStream, logs:PutLogEvents]
        Resource: arn:aws:logs:eu-central-1:123456789012:log-group:radiology-flow-logs:*
    tags:
      Name: radiology-flow-logs

- name: Let Session Manager administer instances
  lightbox.pacs.iam_service_role:
    name: radiology
    service: ec2.amazonaws.com
    managed_policies: [arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore]

- name: Delete the role
  lightbox.pacs.iam_service_role:
    name: radiology-flow-logs
    state: absent
"""

RETURN = r"""
arn:
  description: ARN of the role; empty where it does not exist.
  returned: success
  type: str
  sample: arn:aws:iam::123456789012:role/radiology-flow-logs
"""

import contextlib
import typing as t

with contextlib.suppress(ImportError):  # which AwsModule reports
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule

Answer = dict[str, t.Any]
VERSION = "2012-10-17"


class Role:
    """One role with its policies."""

    def __init__(self, module: AwsModule) -> None:
        self.module = module
        self.params = module.params
        self.name: str = module.params["name"]
        self.client = module.client("iam", retry_decorator=AWSRetry.jittered_backoff())
        self.changed = False

    def call(self, operation: str, **arguments: t.Any) -> Answer:
        return getattr(self.client, operation)(aws_retry=True, RoleName=self.name, **arguments)

    def write(self, operation: str, **arguments: t.Any) -> Answer:
        """Make a call that changes something, unless in check mode."""
        self.changed = True
        return {} if self.module.check_mode else self.call(operation, **arguments)

    @property
    def trust(self) -> Answer:
        statement: Answer = {
            "Effect": "Allow",
            "Principal": {"Service": self.params["service"]},
            "Action": "sts:AssumeRole",
        }
        if self.params["account_id"]:
            # Else the service might use the role for somebody else's resources.
            statement["Condition"] = {"StringEquals": {"aws:SourceAccount": self.params["account_id"]}}
        return {"Version": VERSION, "Statement": [statement]}

    @property
    def policy(self) -> Answer:
        return {"Version": VERSION, "Statement": self.params["statements"]}

    def read(self) -> Answer:
        """Return the role as it is, {} where it does not exist."""
        try:
            role = self.call("get_role")["Role"]
        except is_boto3_error_code("NoSuchEntity"):
            return {}
        policies = {
            name: self.call("get_role_policy", PolicyName=name)["PolicyDocument"]
            for name in self.call("list_role_policies")["PolicyNames"]
        }
        attached = self.call("list_attached_role_policies")["AttachedPolicies"]
        return {
            "arn": role["Arn"],
            "description": role.get("Description", ""),
            "tags": boto3_tag_list_to_ansible_dict(role.get("Tags", [])),
            "trust": role["AssumeRolePolicyDocument"],
            "policies": policies,
            "attached": sorted(policy["PolicyArn"] for policy in attached),
        }

    def create(self) -> Answer:
        answer = self.write(
            "create_role",
            AssumeRolePolicyDocument=self.module.jsonify(self.trust),
            Description=self.params["description"],
            # With it, so that what an interrupted run left can be found.
            Tags=ansible_dict_to_boto3_tag_list(self.params["tags"]),
        )
        return {
            "arn": answer.get("Role", {}).get("Arn", ""),
            "description": self.params["description"],
            "tags": self.params["tags"],
            "trust": self.trust,
            "policies": {},
            "attached": [],
        }

    def ensure_present(self, found: Answer) -> Answer:
        current = found or self.create()
        if compare_policies(current["trust"], self.trust):
            self.write("update_assume_role_policy", PolicyDocument=self.module.jsonify(self.trust))
        if current["description"] != self.params["description"]:
            self.write("update_role", Description=self.params["description"])
        self.ensure_tags(current["tags"])
        inline = {self.name: self.policy} if self.params["statements"] else {}
        managed = sorted(set(self.params["managed_policies"]))
        self.remove_policies(current, keep={*inline, *managed})
        policy = current["policies"].get(self.name)
        if inline and (policy is None or compare_policies(policy, self.policy)):
            self.write("put_role_policy", PolicyName=self.name, PolicyDocument=self.module.jsonify(self.policy))
        for arn in managed:
            if arn not in current["attached"]:
                self.write("attach_role_policy", PolicyArn=arn)
        return {
            "arn": current["arn"],
            "description": self.params["description"],
            "tags": self.params["tags"],
            "trust": self.trust,
            "policies": inline,
            "attached": managed,
        }

    def ensure_tags(self, current: dict[str, str]) -> None:
        wanted = {key: str(value) for key, value in self.params["tags"].items()}
        others = [key for key in current if key not in wanted]
        if others:
            self.write("untag_role", TagKeys=others)
        changed = {key: value for key, value in wanted.items() if current.get(key) != value}
        if changed:
            self.write("tag_role", Tags=ansible_dict_to_boto3_tag_list(changed))

    def remove_policies(self, current: Answer, keep: set[str]) -> None:
        for name in current["policies"]:
            if name not in keep:
                self.write("delete_role_policy", PolicyName=name)
        for arn in current["attached"]:
            if arn not in keep:
                self.write("detach_role_policy", PolicyArn=arn)

    def ensure_absent(self, found: Answer) -> Answer:
        if found:
            self.remove_policies(found, keep=set())
            self.write("delete_role")
        return {}


def main() -> None:
    module = AwsModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "service": {"type": "str"},
            "account_id": {"type": "str", "default": ""},
            "statements": {"type": "list", "elements": "dict", "default": []},
            "managed_policies": {"type": "list", "elements": "str", "default": []},
            "description": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
        },
        required_if=[("state", "present", ["service"])],
        supports_check_mode=True,
    )
    if module.params["state"] == "present" and not (module.params["statements"] or module.params["managed_policies"]):
        module.fail_json(msg="Neither statements nor managed_policies is set. Set one of them to what the role may do.")
    role = Role(module)
    try:
        before = role.read()
        after = role.ensure_present(before) if module.params["state"] == "present" else role.ensure_absent(before)
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"Cannot manage the IAM role {role.name}")
    module.exit_json(changed=role.changed, arn=after.get("arn", ""), diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
