#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_input
short_description: Validate the variables of roles
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Validates the variables of the play against the argument specs of roles of this collection, then evaluates the
    roles' assertions about how values relate, and fails with all errors at once.
  - Assertions are the list C(__ROLE_assertions) in a role's C(vars/main/assertions.yml). Each has C(that) and
    C(fail_msg), as in M(ansible.builtin.assert), and optionally C(when), a condition under which it counts.
  - A role's assertions are evaluated only where the role is enabled and its types are right.
  - No error shows a secret.
extends_documentation_fragment:
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  roles:
    description: Names of roles of this collection, whose defaults and variables are in scope.
    type: list
    elements: str
    required: true
  playbook:
    description:
      - Whether the variables of the collection's playbooks (C(pacs_*)) are validated, too, and variables that nothing
        reads are errors.
    type: bool
    default: false
seealso:
  - module: ansible.builtin.validate_argument_spec
  - module: ansible.builtin.assert
"""

EXAMPLES = r"""
- name: Validate the variables of two roles
  lightbox.pacs.validate_input:
    roles: [certificates, reverse_proxy]
"""

RETURN = r"""
msg:
  description: All errors, each with the variable, the place in its value and what to set instead.
  returned: when something is wrong
  type: list
  elements: str
"""
