# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_configuration_errors
short_description: Validate an Orthanc configuration
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares a configuration with the options that Orthanc and its plugins read, in the versions that a flavour of the
    role C(orthanc) includes, and returns every error with its place and what to set.
  - Orthanc ignores unknown keys silently, and does not start with a value of the wrong type.
  - Errors are unknown keys (with a suggestion), wrong types, values out of range, options of another version or of a
    plugin that is not loaded, contradictions, dangerous options, and options that a variable of the role sets.
  - Errors do not show passwords.
options:
  _input:
    description: The configuration, as in C(orthanc.json).
    type: dict
    required: true
  flavor:
    description: The flavour, which sets the versions.
    type: str
    choices: [debian, orthancteam]
    default: orthancteam
  plugins:
    description: The plugins that are loaded, by the name of their library without C(lib) and C(.so).
    type: list
    elements: str
    default: []
  implied:
    description: Plugins that other variables of the role load.
    type: list
    elements: str
    default: []
  versions:
    description: Versions that differ from the flavour's, by C(Orthanc) or the name of a plugin's library.
    type: dict
    default: {}
  reserved:
    description:
      - Places that the configuration must not contain. Each value is the variable to set instead, or C(none; reason).
    type: dict
    default: {}
  merged:
    description: The whole configuration that Orthanc would read, to find contradictions. Defaults to the input.
    type: dict
  accepted:
    description: Places that may be dangerous or unknown.
    type: list
    elements: str
    default: []
  allow_deletion:
    description: Whether Orthanc may delete patients to make room.
    type: bool
    default: false
  syntaxes:
    description: Transfer syntaxes that Orthanc is to accept, each with or without a C(*) at its end.
    type: list
    elements: str
    default: []
  variable:
    description: Name of the variable in error messages.
    type: str
    default: orthanc_configuration
"""

EXAMPLES = r"""
- name: Refuse options that Orthanc would ignore
  ansible.builtin.assert:
    that: errors == []
    fail_msg: "{{ errors }}"
  vars:
    errors: "{{ {'StableAg': 30} | lightbox.pacs.orthanc_configuration_errors(flavor='debian') }}"
# orthanc_configuration.StableAg is not an option of Orthanc: Orthanc would ignore it silently. Did you mean StableAge?
# Then set orthanc_configuration.StableAge.
"""

RETURN = r"""
_value:
  description: The errors, one or two sentences each. Empty for a valid configuration.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import configuration_errors


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        return {"orthanc_configuration_errors": configuration_errors}
