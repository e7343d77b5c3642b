# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.lightbox.pacs.plugins.plugin_utils._validation import validate


class ActionModule(ActionBase):
    """Runs on the controller only; documented in plugins/modules/validate_input.py."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(
            {
                "roles": {"type": "list", "elements": "str", "required": True},
                "playbook": {"type": "bool", "default": False},
            }
        )
        errors = validate(self._templar, task_vars or {}, options["roles"], options["playbook"])
        return {**result, "changed": False, "failed": bool(errors), "msg": errors or "All variables are valid."}
