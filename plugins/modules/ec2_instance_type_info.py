#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_instance_type_info
short_description: Gather information about EC2 instance types in a region
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns which of some instance types a region offers, in which zones, and for images of which architecture.
options:
  instance_types:
    description: Names of the instance types.
    type: list
    elements: str
    required: true
notes:
  - Needs the permissions C(ec2:DescribeInstanceTypes) and C(ec2:DescribeInstanceTypeOfferings).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - lightbox.pacs.attributes.info_module
"""

EXAMPLES = r"""
- name: Query an instance type
  lightbox.pacs.ec2_instance_type_info:
    instance_types: [t4g.large]
    region: eu-central-1
  register: types

- name: Require that the region offers it
  ansible.builtin.assert:
    that: types.instance_types | length == 1
"""

RETURN = r"""
instance_types:
  description: Those of the instance types that the region offers, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the instance type.
      type: str
      sample: t4g.large
    architectures:
      description: Architectures of the images that it runs, in AWS's words.
      type: list
      elements: str
      sample: [arm64]
    zones:
      description: Availability zones that offer it.
      type: list
      elements: str
      sample: [eu-central-1a, eu-central-1b]
"""

import contextlib
import typing as t

with contextlib.suppress(ImportError):  # which AwsModule reports
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.lightbox.pacs.plugins.module_utils._aws import AwsModule


@AWSRetry.jittered_backoff()
def describe(client: t.Any, operation: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Call an operation and return all its pages as one answer."""
    return client.get_paginator(operation).paginate(**arguments).build_full_result()


def find_types(client: t.Any, names: list[str]) -> list[dict[str, t.Any]]:
    # By a filter: by their names AWS would answer with an error where one does not exist.
    filters = [{"Name": "instance-type", "Values": names}]
    offers = describe(
        client, "describe_instance_type_offerings", LocationType="availability-zone", Filters=filters
    ).get("InstanceTypeOfferings", [])
    found = describe(client, "describe_instance_types", Filters=filters).get("InstanceTypes", [])
    types = [
        {
            "name": one["InstanceType"],
            "architectures": sorted(one["ProcessorInfo"]["SupportedArchitectures"]),
            "zones": sorted(offer["Location"] for offer in offers if offer["InstanceType"] == one["InstanceType"]),
        }
        for one in found
    ]
    return sorted((one for one in types if one["zones"]), key=lambda one: one["name"])


def main() -> None:
    module = AwsModule(
        argument_spec={"instance_types": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        types = find_types(module.client("ec2"), module.params["instance_types"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot query the instance types of the region")
    module.exit_json(changed=False, instance_types=types)


if __name__ == "__main__":
    main()
