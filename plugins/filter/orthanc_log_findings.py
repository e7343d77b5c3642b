# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_log_findings
short_description: What the lines of an archive's log mean
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Tells why an archive did not start, where its log says so, with what to do. Other lines are passed over.
options:
  _input:
    description: Lines of the log.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say why
  ansible.builtin.debug:
    msg: "{{ log.stderr_lines | lightbox.pacs.orthanc_log_findings }}"
"""

RETURN = r"""
_value:
  description: The findings, each once.
  type: list
  elements: str
"""

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_report import log_findings


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"orthanc_log_findings": log_findings}
