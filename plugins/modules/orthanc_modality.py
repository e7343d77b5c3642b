#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: orthanc_modality
short_description: Manage Orthanc modalities
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Adds, changes and removes the modalities that are registered in Orthanc, without a restart. One by O(name), or a
    list of them by O(modalities) in one call.
  - Only what you give is compared and changed; the rest of a modality stays as it is.
  - A call that changes nothing sends one HTTP request. After a change Orthanc is queried again, because it reports
    success even where it did not store the value.
extends_documentation_fragment:
  - lightbox.pacs.orthanc
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  name:
    description:
      - Name of the modality; letters, digits, C(_) and C(-).
      - Mutually exclusive with O(modalities).
    type: str
  aet: &aet
    description:
      - AE title, 1 to 16 printable ASCII characters without a backslash. Orthanc would accept any text and fail
        later.
      - A new modality needs it or O(secret_aet).
    type: str
  secret_aet: &secret_aet
    description: AE title that nobody may see, in place of O(aet). Never shown, neither in results nor in diffs.
    type: str
  host: &host
    description: Name or address. Needed for a new modality.
    type: str
  port: &port
    description: Port, 1 to 65534. Needed for a new modality.
    type: int
  manufacturer: &manufacturer
    description: Manufacturer whose peculiarities Orthanc works around.
    type: str
    choices: [Generic, GenericNoWildcardInDates, GenericNoUniversalWildcard, Vitrea, GE]
  allow: &allow
    description:
      - What the modality may request from Orthanc. What is not in the list is refused, unless one of Orthanc's
        options C(DicomAlwaysAllow...) allows it to all.
      - A new modality for which this is not given may echo and store.
      - V(storage_commitment) is two rights in Orthanc, C(AllowNAction) and C(AllowEventReport).
    type: list
    elements: str
    choices: [echo, store, find, find_worklist, get, move, storage_commitment]
  transcoding: &transcoding
    description: Whether Orthanc may convert images that it sends to the modality to another transfer syntax.
    type: bool
  tls: &tls
    description: Whether Orthanc calls the modality by DICOM over TLS.
    type: bool
  local_aet: &local_aet
    description: AE title that Orthanc uses towards the modality. Empty means its own.
    type: str
  dicom_timeout: &dicom_timeout
    description: Seconds that Orthanc waits for the modality. V(0) means its option C(DicomScuTimeout).
    type: int
  retrieve_method: &retrieve_method
    description: How Orthanc retrieves from the modality. Needs Orthanc 1.12.6.
    type: str
    choices: [SystemDefault, C-MOVE, C-GET]
  state:
    description: Whether the modality O(name) exists.
    type: str
    choices: [present, absent]
    default: present
  modalities:
    description: List of modalities. Mutually exclusive with O(name) and the options of one modality.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the modality.
        type: str
        required: true
      aet: *aet
      secret_aet: *secret_aet
      host: *host
      port: *port
      manufacturer: *manufacturer
      allow: *allow
      transcoding: *transcoding
      tls: *tls
      local_aet: *local_aet
      dicom_timeout: *dicom_timeout
      retrieve_method: *retrieve_method
  exclusive:
    description:
      - Whether O(modalities) is authoritative. V(true) removes the modalities that are not listed.
      - V(false) keeps them and returns them as RV(unlisted).
    type: bool
    default: false
  persistent:
    description:
      - The value of Orthanc's option C(DicomModalitiesInDatabase). Where it is not V(true), Orthanc forgets
        at its next restart what this module changed, and reads its configuration's C(DicomModalities) again.
      - Orthanc does not report it, so a change comes with a warning until you set this.
    type: bool
notes:
  - Orthanc with C(DicomModalitiesInDatabase) does not read C(DicomModalities) of its configuration.
seealso:
  - module: lightbox.pacs.orthanc_echo
  - module: lightbox.pacs.orthanc_info
"""

EXAMPLES = r"""
- name: Register a scanner
  lightbox.pacs.orthanc_modality:
    url: http://127.0.0.1:8042
    url_username: admin
    url_password: "{{ archive_password }}"
    name: CT1
    aet: CT_ONE
    host: 192.0.2.10
    port: 104
    allow: [echo, store]
    persistent: true

- name: Let a workstation fetch studies, and leave the rest of it as it is
  lightbox.pacs.orthanc_modality:
    url: http://127.0.0.1:8042
    name: workstation
    allow: [echo, find, move]
    persistent: true

- name: Know these and no others
  lightbox.pacs.orthanc_modality:
    url: http://127.0.0.1:8042
    modalities: "{{ hospital_modalities }}"
    exclusive: true
    persistent: true

- name: Forget a scanner
  lightbox.pacs.orthanc_modality:
    url: http://127.0.0.1:8042
    name: CT0
    state: absent
    persistent: true
"""

RETURN = r"""
modalities:
  description:
    - All registered modalities afterwards, by name. In check mode, as they would be.
    - What an older release does not report is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: CT1, aet: CT_ONE, host: 192.0.2.10, port: 104, manufacturer: Generic, allow: [echo, store],
       transcoding: true, tls: false, local_aet: '', dicom_timeout: 0, retrieve_method: SystemDefault}
unlisted:
  description:
    - The modalities of Orthanc that are not among those given, as RV(modalities); none with O(exclusive=true).
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc_registry import Modalities, run

OPTIONS = {
    "aet": {"type": "str"},
    "secret_aet": {"type": "str", "no_log": True},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "manufacturer": {
        "type": "str",
        "choices": ["Generic", "GenericNoWildcardInDates", "GenericNoUniversalWildcard", "Vitrea", "GE"],
    },
    "allow": {
        "type": "list",
        "elements": "str",
        "choices": ["echo", "store", "find", "find_worklist", "get", "move", "storage_commitment"],
    },
    "transcoding": {"type": "bool"},
    "tls": {"type": "bool"},
    "local_aet": {"type": "str"},
    "dicom_timeout": {"type": "int"},
    "retrieve_method": {"type": "str", "choices": ["SystemDefault", "C-MOVE", "C-GET"]},
}


def main() -> None:
    run(Modalities, OPTIONS, {})


if __name__ == "__main__":
    main()
