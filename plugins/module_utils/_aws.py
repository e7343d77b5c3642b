# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the modules for AWS: amazon.aws's own, without values in the journal."""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module


class AwsModule(AnsibleAWSModule):
    """AnsibleAWSModule upon this collection's Module, which hides secrets and logs no values."""

    def __init__(self, **kwargs: t.Any) -> None:
        # amazon.aws reads the class from these settings only, and offers no argument for it.
        AnsibleAWSModule.default_settings = {**AnsibleAWSModule.default_settings, "module_class": Module}
        super().__init__(**kwargs)

    def hide(self, *secrets: str) -> None:
        """Have secrets replaced in the result."""
        self._module.hide(*secrets)
