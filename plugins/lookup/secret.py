# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: secret
short_description: Read a secret from the inventory's secrets directory, or generate it once
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns the first line of the file O(directory)/O(_terms), up to a line feed (or carriage return and line feed). The
    file may be encrypted with C(ansible-vault).
  - A missing file is created with a new random secret, so that the next run returns the same.
  - A secret has letters and digits only and starts with a letter, so that no parser on its way
    (URI, shell, JSON, YAML) can bend it.
  - The directory is made with mode C(0700) and a C(.gitignore) that keeps all of it out of git, a file with C(0600).
  - A file that others can read is refused, and so is a directory that is open to others. Only a directory that the same
    user let this plugin make (its C(.gitignore) is there) is given mode C(0700) again without a word.
options:
  _terms:
    description: Names of the secrets. Letters, digits, V(.), V(_) and V(-).
    type: list
    elements: str
    required: true
  directory:
    description: The directory on the controller.
    type: path
    required: true
  length:
    description: Length of a new secret, in characters.
    type: int
    default: 32
seealso:
  - plugin: ansible.builtin.password
    plugin_type: lookup
    description: Cannot read files that are encrypted with C(ansible-vault).
"""

EXAMPLES = r"""
- name: Use a secret that is made on the first run
  ansible.builtin.set_fact:
    my_password: "{{ lookup('lightbox.pacs.secret', 'web_password', directory=inventory_dir ~ '/secrets') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of O(_terms).
  type: list
  elements: str
"""

import contextlib
import os
import re
import secrets
import stat
import string
import tempfile

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase


def make_secret(length: int) -> str:
    """Return a random secret of letters and digits that starts with a letter (so that it is never read as a number)."""
    rest = "".join(secrets.choice(string.ascii_letters + string.digits) for _unused in range(length - 1))
    return secrets.choice(string.ascii_letters) + rest


def close_directory(directory: str) -> None:
    """Make the directory for nobody else. Mend the mode of one that was made here; any other may serve others, too."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = os.stat(directory)
    if stat.S_IMODE(found.st_mode) & 0o077:
        if found.st_uid != os.geteuid() or not os.path.isfile(os.path.join(directory, ".gitignore")):
            raise AnsibleError(f"secret: the directory {directory} is open to others. Run: chmod 700 '{directory}'")
        os.chmod(directory, 0o700)


def create_once(path: str, content: str) -> None:
    """Write a file that is there whole or not at all; when another run was faster, its file stays."""
    directory = os.path.dirname(path)
    with (
        contextlib.suppress(FileExistsError),
        open(os.path.join(directory, ".gitignore"), "x", encoding="ascii") as stream,
    ):
        stream.write("*\n")
    handle, draft = tempfile.mkstemp(dir=directory)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(content + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        os.unlink(draft)


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        directory, length = self.get_option("directory"), self.get_option("length")
        if length < 16:
            raise AnsibleError(f"secret: length is {length}: a secret needs at least 16 characters.")
        return [self._secret(term, directory, length) for term in terms]

    def _secret(self, name: str, directory: str, length: int) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]*", name):
            raise AnsibleError(f"secret: '{name}' is not a name of letters, digits, '.', '_', '@' and '-'.")
        path = os.path.join(directory, name)
        close_directory(directory)
        if os.path.islink(path) and not os.path.exists(path):
            raise AnsibleError(
                f"secret: {path} is a link to {os.readlink(path)}, which does not exist. "
                "Put the secret there, or delete the link for a new one."
            )
        if not os.path.exists(path):
            create_once(path, make_secret(length))
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise AnsibleError(f"secret: {path} can be read by others. Run: chmod 600 '{path}'")
        secret = self._loader.get_text_file_contents(path).split("\n", 1)[0].removesuffix("\r")
        if not secret:
            raise AnsibleError(
                f"secret: {path} is empty. Put the secret into its first line, or delete the file for a new one."
            )
        return secret
