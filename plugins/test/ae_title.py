# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ae_title
short_description: Test whether a text is a DICOM AE title
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - An AE title has 1 to 16 printable ASCII characters, no backslash, and no space at its beginning or end.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the AE title of a modality
  ansible.builtin.assert:
    that: modality.aet is lightbox.pacs.ae_title
"""

RETURN = r"""
_value:
  description: Whether it is an AE title.
  type: bool
"""

from collections.abc import Callable

from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_ae_title


class TestModule:
    """The test of this file."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        return {"ae_title": is_ae_title}
