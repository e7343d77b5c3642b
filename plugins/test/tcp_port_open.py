# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tcp_port_open
short_description: Test whether the controller reaches a TCP port
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Connects from the controller to a TCP port and closes the connection again. Nothing is sent.
  - As a test it costs no task and no process, where C(ansible.builtin.wait_for) costs one of each for every port.
positional: address
options:
  _input:
    description: The port.
    type: int
    required: true
  address:
    description: Name or address of the host.
    type: str
    required: true
  timeout:
    description: Seconds to wait where nothing answers, neither yes nor no.
    type: float
    default: 2.0
"""

EXAMPLES = r"""
- name: Refuse ports that are open to the controller
  ansible.builtin.assert:
    that: ports | select('lightbox.pacs.tcp_port_open', ansible_host) | length == 0
"""

RETURN = r"""
_value:
  description: Whether a connection was made.
  type: bool
"""

import socket


def tcp_port_open(port: int, address: str, timeout: float = 2.0) -> bool:
    try:
        with socket.create_connection((address, int(port)), timeout):
            return True
    except (OSError, UnicodeError):
        return False


class TestModule:
    """The tests of this file."""

    __test__ = False  # for pytest

    def tests(self) -> dict[str, object]:
        return {"tcp_port_open": tcp_port_open}
