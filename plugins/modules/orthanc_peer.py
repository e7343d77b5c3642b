#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_peer
short_description: Manage Orthanc peers
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds, changes and removes the peers that are registered in Orthanc, without a restart. One by O(name), or a list of
    them by O(peers) in one call.
  - Only what you give is compared and changed; the rest of a peer stays as it is.
  - A call that changes nothing sends one HTTP request. After a change Orthanc is queried again.
  - Orthanc never shows a password or the values of headers. See O(update_password).
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
    description:
      - Name of the peer; letters, digits, C(_) and C(-).
      - Mutually exclusive with O(peers).
    type: str
  peer_url: &peer_url
    description: Address of the peer's REST API as Orthanc sees it. Needed for a new peer.
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
  peer_timeout: &peer_timeout
    description: Seconds that Orthanc waits for the peer. V(0) means its option C(HttpTimeout).
    type: int
  state:
    description: Whether the peer O(name) exists.
    type: str
    choices: [present, absent]
    default: present
  peers:
    description: List of peers. Mutually exclusive with O(name) and the options of one peer.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the peer.
        type: str
        required: true
      peer_url: *peer_url
      username: *username
      password: *password
      certificate_file: *certificate_file
      certificate_key_file: *certificate_key_file
      certificate_key_password: *certificate_key_password
      pkcs11: *pkcs11
      http_headers: *http_headers
      properties: *properties
      peer_timeout: *peer_timeout
  exclusive:
    description:
      - Whether O(peers) is authoritative. V(true) removes the peers that are not listed.
      - V(false) keeps them and returns them as RV(unlisted).
    type: bool
    default: false
  persistent:
    description:
      - The value of Orthanc's option C(OrthancPeersInDatabase). Where it is not V(true), Orthanc forgets at
        its next restart what this module changed, and reads its configuration's C(OrthancPeers) again.
      - Orthanc does not report it, so a change comes with a warning until you set this.
    type: bool
notes:
  - Orthanc with C(OrthancPeersInDatabase) does not read C(OrthancPeers) of its configuration.
seealso:
  - module: lightbox.pacs.orthanc_info
"""

EXAMPLES = r"""
- name: Register the Orthanc of another site
  lightbox.pacs.orthanc_peer:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
    name: north
    peer_url: https://pacs.north.example.org/pacs
    username: south
    password: "{{ north_password }}"
    persistent: true

- name: Register these peers and remove all others
  lightbox.pacs.orthanc_peer:
    url: http://127.0.0.1:8042
    peers: "{{ hospital_peers }}"
    exclusive: true
    persistent: true
"""

RETURN = r"""
peers:
  description:
    - All registered peers afterwards, by name, without secrets. In check mode, as they would be.
    - C(http_headers) lists names of headers. What Orthanc does not report is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: north, peer_url: 'https://pacs.north.example.org/pacs/', username: south, pkcs11: false, peer_timeout: 0,
       http_headers: [], properties: {}}
unlisted:
  description: The peers of Orthanc that are not among those given, as RV(peers); none with O(exclusive=true).
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_registry import SERVICE_OPTIONS, UPDATE, Peers, run


def main() -> None:
    run(Peers, {"peer_url": {"type": "str"}, **SERVICE_OPTIONS, "peer_timeout": {"type": "int"}}, UPDATE)


if __name__ == "__main__":
    main()
