# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rds_database_errors
short_description: Check parameters and windows of an RDS database
version_added: 0.2.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns what the role aws_database and the module M(lightbox.pacs.rds_database) would refuse in the parameters of a
    database, and what RDS would refuse in its windows.
positional: backup_window, maintenance_window
options:
  _input:
    description: Parameters of PostgreSQL and their values.
    type: dict
    required: true
  backup_window:
    description: When backups begin, in UTC.
    type: str
    required: true
  maintenance_window:
    description: When AWS maintains the instance, in UTC.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show why log_statement and the windows are refused
  ansible.builtin.debug:
    msg: "{{ {'log_statement': 'all'} | lightbox.pacs.rds_database_errors('03:00-04:00', 'sun:03:30-sun:04:30') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each error, with the role's variable and what to set; empty where all is well.
  type: list
  elements: str
"""

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._rds_database import (
    find_parameter_errors,
    find_window_errors,
)


def rds_database_errors(parameters: dict[str, Any], backup_window: str, maintenance_window: str) -> list[str]:
    found = find_window_errors(backup_window, maintenance_window) + find_parameter_errors(parameters)
    return [re.sub(r"\w+ \((aws_database_\w+)\)", r"\1", line) for line in found]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"rds_database_errors": rds_database_errors}
