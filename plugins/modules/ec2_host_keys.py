#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_host_keys
short_description: Gather the SSH host keys of an EC2 instance from its console
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the public SSH host keys that C(cloud-init) prints on the console of an instance at its first start, so that
    even the first connection to it is verified.
  - Waits until the console has them, which takes AWS some minutes where it is not an instance of the Nitro system.
options:
  instance_id:
    description: ID of the instance.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the keys.
    type: int
    default: 600
notes:
  - AWS keeps the console of the last start. Images that print the keys at the first start only, as those of Debian and
    Ubuntu, do not have them after a second one.
  - Needs the permission C(ec2:GetConsoleOutput).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - lightbox.pacs.attributes.info_module
"""

EXAMPLES = r"""
- name: Read the host keys of a new server
  lightbox.pacs.ec2_host_keys:
    instance_id: i-0abcdef1234567890
  register: console

- name: Trust them
  ansible.builtin.known_hosts:
    name: 192.0.2.10
    key: 192.0.2.10 {{ item }}
  loop: "{{ console.host_keys }}"
"""

RETURN = r"""
host_keys:
  description: The host keys, type and key as in C(known_hosts); empty where the console had none in time.
  returned: success
  type: list
  elements: str
  sample:
    - ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBK0G9yz6=
    - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIX8TYzVz7hOPTuJKfGtzp2EdU1xGL4L0dG0qJzZ9y7e
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

PAUSE = 5  # seconds between two queries
BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) AAAA[0-9A-Za-z+/]+={0,2}")


def parse_keys(console: str) -> list[str]:
    """Return the keys of the last complete list on a console, which may hold several starts."""
    blocks = BLOCK.findall(console)
    return sorted(set(KEY.findall(blocks[-1]))) if blocks else []


@AWSRetry.jittered_backoff()
def read_console(client: t.Any, instance_id: str) -> str:
    try:
        answer = client.get_console_output(InstanceId=instance_id, Latest=True)
    except is_boto3_error_code(["UnsupportedOperation", "InvalidParameterCombination"]):  # an instance without Nitro
        answer = client.get_console_output(InstanceId=instance_id)
    return answer.get("Output", "")


def wait_for_keys(client: t.Any, instance_id: str, timeout: int) -> list[str]:
    end = time.monotonic() + timeout
    while not (keys := parse_keys(read_console(client, instance_id))) and time.monotonic() < end:
        time.sleep(PAUSE)
    return keys


def main() -> None:
    module = AwsModule(
        argument_spec={
            "instance_id": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        keys = wait_for_keys(module.client("ec2"), module.params["instance_id"], module.params["timeout"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot read the console of {module.params['instance_id']}")
    module.exit_json(changed=False, host_keys=keys)


if __name__ == "__main__":
    main()
