#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_dicomweb_server
short_description: Tell an archive which DICOMweb servers there are
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds, changes and removes the DICOMweb servers that an Orthanc archive knows, without a restart. One by O(name),
    or a list of them by O(servers) in one call.
  - Only what you give is compared and changed; the rest of a server stays as it is.
  - A call that changes nothing sends one HTTP request. After a change the archive is read again.
  - An archive never shows a password or the values of headers. See O(update_password).
  - Needs the archive's DICOMweb plugin.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.orthanc.secrets
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Passwords and values of headers are left out.
options:
  name:
    description: Name by which the archive calls the server. Mutually exclusive with O(servers).
    type: str
  server_url: &server_url
    description: Address of the server's DICOMweb API as the archive sees it. Needed for a new server.
    type: str
  username: &username
    description: Name by which the archive logs in there. Empty means without a login.
    type: str
  password: &password
    description: Password of O(username). Needed whenever what has a login is changed.
    type: str
  certificate_file: &certificate_file
    description: Path, as the archive sees it, of the PEM file of its client certificate. Empty means none.
    type: str
  certificate_key_file: &certificate_key_file
    description: Path, as the archive sees it, of the key of O(certificate_file).
    type: str
  certificate_key_password: &certificate_key_password
    description: Password of the key.
    type: str
  pkcs11: &pkcs11
    description: Whether the client certificate comes from a hardware security module.
    type: bool
  http_headers: &http_headers
    description: Headers that the archive sends along, all of them; their values are secret.
    type: dict
  properties: &properties
    description: Further properties that plugins look for, all of them. The archive keeps text of every value.
    type: dict
  server_timeout: &server_timeout
    description: Seconds that the archive waits for the server. V(0) means its option C(HttpTimeout).
    type: int
  has_delete: &has_delete
    description: Whether the archive may ask the server to delete; not every server can.
    type: bool
  chunked_transfers: &chunked_transfers
    description:
      - Whether the archive may send without saying how long it will be. Set V(false) for servers that refuse that.
    type: bool
  universal_transfer_syntax: &universal_transfer_syntax
    description: Whether the server understands C(transfer-syntax=*). Set V(false) for older ones.
    type: bool
  state:
    description: Whether the server O(name) is there.
    type: str
    choices: [present, absent]
    default: present
  servers:
    description: Servers that are there. Mutually exclusive with O(name) and what describes one.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name by which the archive calls the server.
        type: str
        required: true
      server_url: *server_url
      username: *username
      password: *password
      certificate_file: *certificate_file
      certificate_key_file: *certificate_key_file
      certificate_key_password: *certificate_key_password
      pkcs11: *pkcs11
      http_headers: *http_headers
      properties: *properties
      server_timeout: *server_timeout
      has_delete: *has_delete
      chunked_transfers: *chunked_transfers
      universal_transfer_syntax: *universal_transfer_syntax
  exclusive:
    description:
      - Whether O(servers) is the whole truth. V(true) removes the servers that are not in it.
      - V(false) keeps them and returns them as RV(unlisted).
    type: bool
    default: false
  dicomweb_root:
    description: The archive's option C(DicomWeb.Root).
    type: str
    default: /dicom-web
  persistent:
    description:
      - What you know of the archive's option C(DicomWeb.ServersInDatabase). Where it is not V(true), the archive
        forgets at its next restart what this module changed, and reads its configuration's C(DicomWeb.Servers) again.
      - The archive reports this nowhere, so a change comes with a warning until you set this.
    type: bool
seealso:
  - module: lightbox.pacs.orthanc_info
"""

EXAMPLES = r"""
- name: Know a DICOMweb server
  lightbox.pacs.orthanc_dicomweb_server:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
    name: research
    server_url: https://research.example.org/dicom-web
    http_headers:
      Authorization: "Bearer {{ research_token }}"
    persistent: true

- name: Know these and no others
  lightbox.pacs.orthanc_dicomweb_server:
    url: http://127.0.0.1:8042
    servers: "{{ hospital_dicomweb_servers }}"
    exclusive: true
    persistent: true
"""

RETURN = r"""
servers:
  description:
    - All servers that the archive knows afterwards, by name, without secrets. In check mode those that it would know.
    - C(http_headers) lists names of headers. What the archive does not report is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: research, server_url: 'https://research.example.org/dicom-web/', pkcs11: false, server_timeout: 0,
       has_delete: false, http_headers: [Authorization], properties: {}}
unlisted:
  description: The servers of the archive that are not among those given, as RV(servers); none with O(exclusive=true).
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_registry import (
    SERVICE_OPTIONS,
    UPDATE,
    DicomWebServers,
    run,
)

OPTIONS = {
    "server_url": {"type": "str"},
    **SERVICE_OPTIONS,
    "server_timeout": {"type": "int"},
    "has_delete": {"type": "bool"},
    "chunked_transfers": {"type": "bool"},
    "universal_transfer_syntax": {"type": "bool"},
}


def main() -> None:
    run(DicomWebServers, OPTIONS, {**UPDATE, "dicomweb_root": {"type": "str", "default": "/dicom-web"}})


if __name__ == "__main__":
    main()
