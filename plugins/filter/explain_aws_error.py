# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: explain_aws_error
short_description: Explain why AWS refused a request
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns one message for a failed task that called AWS, with what was refused (C(service:Action)), why, and what to
    set or to do.
  - Messages that are not AWS's, such as those of M(ansible.builtin.fail), are returned as they are.
positional: task, module
options:
  _input:
    description: What the failed task returned. In a C(rescue) it is C(ansible_failed_result).
    type: dict
    required: true
  task:
    description: The name of the failed task.
    type: str
    required: true
  module:
    description: The name of its module, which shows the service where AWS's answer does not.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Build
  block:
    - name: Make the network
      amazon.aws.ec2_vpc_net:
        name: hospital-prod
        cidr_block: 10.77.0.0/16
  rescue:
    - name: Explain what AWS refused
      ansible.builtin.fail:
        msg: >-
          {{ ansible_failed_result
          | lightbox.pacs.explain_aws_error(ansible_failed_task.name, ansible_failed_task.action) }}
"""

RETURN = r"""
_value:
  description: The message.
  type: str
  sample: >-
    The task "Make the network" failed: AWS refused ec2:CreateVpc: the account has reached a quota: VPCs per Region,
    of Amazon VPC. Request an increase in the console of Service Quotas, in the region aws_region, or remove what is
    not used. AWS's answer: VpcLimitExceeded: The maximum number of VPCs has been reached.
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_errors import explain_aws_error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"explain_aws_error": explain_aws_error}
