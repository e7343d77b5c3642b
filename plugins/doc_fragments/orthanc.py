# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How a module reaches Orthanc; the options are those of module_utils/_orthanc.py."""

    DOCUMENTATION = r"""
attributes:
  action_group:
    description: Use C(group/lightbox.pacs.orthanc) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [lightbox.pacs.orthanc]
options:
  url:
    description:
      - Address of Orthanc's REST API as the host on which the module runs sees it, such as
        V(http://127.0.0.1:8042) or V(https://pacs.example.org/pacs).
      - Redirects are not followed.
    type: str
    required: true
  url_username:
    description: User of Orthanc. Needs O(url_password).
    type: str
  url_password:
    description: Password of the user.
    type: str
  ca_path:
    description: PEM file of the CAs that may sign the server's certificate, in place of those of the system.
    type: path
  client_cert:
    description: PEM file of a client certificate, for a server that requires one. It may contain the key too.
    type: path
  client_key:
    description: PEM file of the key of O(client_cert).
    type: path
  validate_certs:
    description: Whether the server's certificate must be valid for its name.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for each answer.
    type: int
    default: 30
notes:
  - Options that are the same for all tasks can be set once, in C(module_defaults) of the group
    C(group/lightbox.pacs.orthanc).
  - Needs nothing but Python 3.9 on the host on which it runs.
"""

    # For what has passwords, which Orthanc never shows; see module_utils/_orthanc_registry.py.
    SECRETS = r"""
options:
  update_password:
    description:
      - When a password, key or header that you give is written, as Orthanc does not show what it has.
      - V(on_change) writes it when it differs from the one written last, and when another client wrote in the
        meantime. For this a salted fingerprint, made by scrypt, is kept as the property C(LightboxFingerprint).
      - V(always) writes it in each run, which then reports a change.
      - V(on_create) writes it with a new object, and when something else changes.
    type: str
    choices: [on_change, always, on_create]
    default: on_change
"""

    # For modules that search.
    SEARCH = r"""
options:
  case_sensitive:
    description: Whether capital letters matter.
    type: bool
    default: false
  limit:
    description: How many to return at most; V(0) for all. A warning reports when there are more.
    type: int
    default: 100
"""

    # For worklists: module_utils/_worklist.py has the same as place_spec.
    WORKLIST = r"""
options:
  way:
    description:
      - V(rest) uses the API, V(folder) uses the files in O(folder). V(auto) uses the API where Orthanc has it,
        else the folder.
    type: str
    choices: [auto, rest, folder]
    default: auto
  folder:
    description:
      - The folder that Orthanc's plugin serves (C(Worklists.Database), with the newer plugin
        C(Worklists.Directory)), as the host on which the module runs sees it.
      - Needed where Orthanc has no API.
    type: path
"""
