# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_differences
short_description: Whether an archive that runs is the one that was asked for
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares what an archive reports of itself with what was written into its configuration. Found are plugins that did
    not load, an index that fell back to SQLite, images that do not go where they should, other values than those
    written, and options that the running version does not read.
options:
  _input:
    description: What M(lightbox.pacs.orthanc_info) returned, with its subsets V(system) and V(plugins).
    type: dict
    required: true
  flavor:
    description: The flavour for which the configuration was checked.
    type: str
    required: true
  plugins:
    description: All plugins that are to be loaded, by the name of their library without C(lib) and C(.so).
    type: list
    elements: str
    required: true
  versions:
    description: Versions that differ from the flavour's, by C(Orthanc) or the name of a plugin's library.
    type: dict
    default: {}
  written:
    description: What stands in the archive's files, without secrets.
    type: dict
    default: {}
  configuration:
    description: What the user gave.
    type: dict
    default: {}
  log:
    description:
      - Lines of the archive's log since its start. What they tell of plugins and options that it does not take is a
        difference, too.
    type: list
    elements: str
    default: []
seealso:
  - plugin: lightbox.pacs.orthanc_findings
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask the archive
  lightbox.pacs.orthanc_info:
    url: http://127.0.0.1:8042
    url_username: reverse_proxy
    url_password: "{{ archive_password }}"
    gather_subset: [system, plugins]
  register: info

- name: Refuse an archive whose plugin did not load
  ansible.builtin.assert:
    that: differences == []
    fail_msg: "{{ differences }}"
  vars:
    differences: "{{ info | lightbox.pacs.orthanc_differences(flavor='debian', plugins=['OrthancDicomWeb']) }}"
"""

RETURN = r"""
_value:
  description: The findings, each with what to do. Empty where the archive is the one that was asked for.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_report import differences


def orthanc_differences(info: Any, **asked: Any) -> list[str]:
    return differences(info, **asked)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        return {"orthanc_differences": orthanc_differences}
