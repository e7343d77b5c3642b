# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orthanc_findings
short_description: What is wrong with an Orthanc configuration
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Compares a configuration with the options that Orthanc and its plugins are known to read, for the versions that a
    flavour of the role C(orthanc) carries, and returns everything that is wrong with it, each with the place and what
    to do.
  - Orthanc ignores a key that it does not know without a word, and refuses to start on a value of the wrong type.
  - Found are unknown keys (with what they may have meant), wrong types, values out of range, options that need another
    version or a plugin that is not loaded, options that contradict each other, dangerous ones, and those that a
    variable of the role says.
  - No finding shows a password.
options:
  _input:
    description: The configuration, as in C(orthanc.json).
    type: dict
    required: true
  flavor:
    description: The flavour, whose versions count.
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
    description: Places that the configuration must not carry, and what says them instead.
    type: dict
    default: {}
  merged:
    description:
      - The whole configuration that the archive would read. Contradictions are looked for here. Defaults to the input.
    type: dict
  accepted:
    description: Places that may be dangerous or unknown.
    type: list
    elements: str
    default: []
  allow_deletion:
    description: Whether the archive may delete patients to make room.
    type: bool
    default: false
  syntaxes:
    description: Transfer syntaxes that the archive is to accept, each with or without a C(*) at its end.
    type: list
    elements: str
    default: []
  variable:
    description: Name of the variable that findings name.
    type: str
    default: orthanc_configuration
"""

EXAMPLES = r"""
- name: Refuse what the archive would ignore
  ansible.builtin.assert:
    that: findings == []
    fail_msg: "{{ findings }}"
  vars:
    findings: "{{ {'StableAg': 30} | lightbox.pacs.orthanc_findings(flavor='debian') }}"
# orthanc_configuration.StableAg is not known: the archive has no such option and would ignore it silently.
# Did you mean StableAge? Then set orthanc_configuration.StableAge.
"""

RETURN = r"""
_value:
  description: The findings, one sentence or two each. Empty where nothing is wrong.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import findings


def orthanc_findings(configuration: Any, flavor: str = "orthancteam", plugins: Any = (), **more: Any) -> list[str]:
    return findings(configuration, flavor, list(plugins), **more)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        return {"orthanc_findings": orthanc_findings}
