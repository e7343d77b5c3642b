# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of every module of this collection: no secret reaches a log, whatever its characters."""

from __future__ import annotations

import base64
import json
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule


class Module(AnsibleModule):
    """AnsibleModule that hides secrets also where they are escaped or encoded.

    Ansible logs the options of each call on the server as Python's repr() of their values, and replaces secrets in that
    text by comparing characters. In a list or a dictionary, a secret with a line break, a quote or a backslash is
    written differently there and stays readable.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.hide(*self.no_log_values)

    def hide(self, *secrets: str) -> None:
        """Have secrets replaced in the result, in the forms that an error message may give them."""
        for secret in filter(None, secrets):
            self.no_log_values.update(encode(str(secret)))

    def _log_invocation(self) -> None:
        """Log which options were given, without values."""
        given = sorted(name for name, value in self.params.items() if value is not None)
        self.log(f"Invoked with values for {', '.join(given)}" if given else "Invoked")


def encode(secret: str) -> set[str]:
    """Return a secret as it is and as Python, JSON, HTTP and URLs write it."""
    data = secret.encode(errors="surrogateescape")
    quoted = repr(secret + "'\"")[1:-4], repr(data + b"'\"")[2:-4]  # with both quotes in it, the single one is escaped
    return {
        secret,
        *quoted,
        *(form.replace("\\'", "'") for form in quoted),
        *(json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)),
        *(encoder(data).decode() for encoder in (base64.b64encode, base64.urlsafe_b64encode)),
        *(urllib.parse.quote(data, safe=safe) for safe in ("", "/")),
        urllib.parse.quote_plus(data),
    }
