#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_peer
short_description: Tell an archive which other archives there are
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds, changes and removes the peers that an Orthanc archive knows, without a restart. One by O(name), or a list of
    them by O(peers) in one call.
  - Only what you give is compared and changed; the rest of a peer stays as it is.
  - A call that changes nothing sends one HTTP request. After a change the archive is read again.
  - An archive never shows a password or the values of headers. See O(update_password).
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
      - Name by which the archive calls the peer; letters, digits, C(_) and C(-).
      - Mutually exclusive with O(peers).
    type: str
  peer_url: &peer_url
    description: Address of the peer's REST API as the archive sees it. Needed for a new peer.
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
  peer_timeout: &peer_timeout
    description: Seconds that the archive waits for the peer. V(0) means its option C(HttpTimeout).
    type: int
  state:
    description: Whether the peer O(name) is there.
    type: str
    choices: [present, absent]
    default: present
  peers:
    description: Peers that are there. Mutually exclusive with O(name) and what describes one.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name by which the archive calls the peer.
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
      - Whether O(peers) is the whole truth. V(true) removes the peers that are not in it.
      - V(false) keeps them and returns them as RV(unlisted).
    type: bool
    default: false
  persistent:
    description:
      - What you know of the archive's option C(OrthancPeersInDatabase). Where it is not V(true), the archive forgets at
        its next restart what this module changed, and reads its configuration's C(OrthancPeers) again.
      - The archive reports this nowhere, so a change comes with a warning until you set this.
    type: bool
notes:
  - An archive with C(OrthancPeersInDatabase) does not read C(OrthancPeers) of its configuration.
seealso:
  - module: lightbox.pacs.orthanc_info
"""

EXAMPLES = r"""
- name: Know the archive of another site
  lightbox.pacs.orthanc_peer:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
    name: north
    peer_url: https://pacs.north.example.org/pacs
    username: south
    password: "{{ north_password }}"
    persistent: true

- name: Know these and no others
  lightbox.pacs.orthanc_peer:
    url: http://127.0.0.1:8042
    peers: "{{ hospital_peers }}"
    exclusive: true
    persistent: true
"""

RETURN = r"""
peers:
  description:
    - All peers that the archive knows afterwards, by name, without secrets. In check mode those that it would know.
    - C(http_headers) lists names of headers. What the archive does not report is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: north, peer_url: 'https://pacs.north.example.org/pacs/', username: south, pkcs11: false, peer_timeout: 0,
       http_headers: [], properties: {}}
unlisted:
  description: The peers of the archive that are not among those given, as RV(peers); none with O(exclusive=true).
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
