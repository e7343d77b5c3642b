#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_dicomweb_server
short_description: Manage DICOMweb servers of Orthanc
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds, changes and removes the DICOMweb servers that are registered in Orthanc, without a restart. One by O(name),
    or a list of them by O(servers) in one call.
  - Only what you give is compared and changed; the rest of a server stays as it is.
  - A call that changes nothing sends one HTTP request. After a change Orthanc is queried again.
  - Orthanc never shows a password or the values of headers. See O(update_password).
  - Needs Orthanc's DICOMweb plugin.
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
    description: Name of the server. Mutually exclusive with O(servers).
    type: str
  server_url: &server_url
    description: Address of the server's DICOMweb API as Orthanc sees it. Needed for a new server.
    type: str
  username: &username
    description: Name by which Orthanc logs in there. Empty means without a login.
    type: str
  password: &password
    description: Password of O(username). Needed whenever what has a login is changed.
    type: str
  certificate_file: &certificate_file
    description: Path, as Orthanc sees it, of the PEM file of its client certificate. Empty means none.
    type: str
  certificate_key_file: &certificate_key_file
    description: Path, as Orthanc sees it, of the key of O(certificate_file).
    type: str
  certificate_key_password: &certificate_key_password
    description: Password of the key.
    type: str
  pkcs11: &pkcs11
    description: Whether the client certificate comes from a hardware security module.
    type: bool
  http_headers: &http_headers
    description: Headers that Orthanc sends along, all of them; their values are secret.
    type: dict
  properties: &properties
    description: Further properties that plugins look for, all of them. Orthanc keeps text of every value.
    type: dict
  server_timeout: &server_timeout
    description: Seconds that Orthanc waits for the server. V(0) means its option C(HttpTimeout).
    type: int
  has_delete: &has_delete
    description: Whether Orthanc may request the server to delete; not every server can.
    type: bool
  chunked_transfers: &chunked_transfers
    description:
      - Whether Orthanc may send without the length of the body. Set V(false) for servers that refuse that.
    type: bool
  universal_transfer_syntax: &universal_transfer_syntax
    description: Whether the server understands C(transfer-syntax=*). Set V(false) for older ones.
    type: bool
  state:
    description: Whether the server O(name) exists.
    type: str
    choices: [present, absent]
    default: present
  servers:
    description: List of servers. Mutually exclusive with O(name) and the options of one server.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the server.
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
      - Whether O(servers) is authoritative. V(true) removes the servers that are not listed.
      - V(false) keeps them and returns them as RV(unlisted).
    type: bool
    default: false
  dicomweb_root:
    description: Orthanc's option C(DicomWeb.Root).
    type: str
    default: /dicom-web
  persistent:
    description:
      - The value of Orthanc's option C(DicomWeb.ServersInDatabase). Where it is not V(true), Orthanc
        forgets at its next restart what this module changed, and reads its configuration's C(DicomWeb.Servers) again.
      - Orthanc does not report it, so a change comes with a warning until you set this.
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
    - All registered servers afterwards, by name, without secrets. In check mode, as they would be.
    - C(http_headers) lists names of headers. What Orthanc does not report is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: research, server_url: 'https://research.example.org/dicom-web/', pkcs11: false, server_timeout: 0,
       has_delete: false, http_headers: [Authorization], properties: {}}
unlisted:
  description: The servers of Orthanc that are not among those given, as RV(servers); none with O(exclusive=true).
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
