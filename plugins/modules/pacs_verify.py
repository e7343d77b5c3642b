#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pacs_verify
short_description: Run end-to-end checks against a PACS server
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Runs on the server and checks what a user of the archive relies on, as the web, the viewer and a modality would
    see it.
  - Containers run and are healthy. Orthanc's storage matches its index. Every route refuses a request without login.
    The certificate is valid. The viewer is served with the right types, headers and compression. A tiny synthetic study
    goes in by STOW-RS and by C-STORE and comes back the same, byte for byte. The archive's own ports are closed to the
    network.
  - Nothing that it does stays. The synthetic studies are deleted in the same run, also when a check fails in between;
    what a killed run left is deleted by the next one. It only ever deletes studies of patients whose ID begins with
    C(LIGHTBOX-VERIFY-).
  - A failed check does not fail the module. Use RV(ignore:passed), or the role
    P(lightbox.pacs.verify#role).
requirements:
  - On the server C(storescu) of DCMTK for the checks that send images by DICOM; without it these are skipped.
attributes:
  check_mode:
    description: Can run in check mode, and then runs only the checks that store nothing.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: N/A
    details:
      - The module changes nothing.
options:
  url:
    description: Public origin of the reverse proxy, in the form V(https://name[:port]).
    type: str
    required: true
  connect_address:
    description:
      - Address to connect to instead of looking up the name in O(url). The name is still the one that the certificate
        must carry.
    type: str
    default: 127.0.0.1
  ca_path:
    description:
      - File on the server with the CA that signed the certificate, in PEM form. Empty means the CAs that the system
        trusts.
    type: str
    default: ""
  username:
    description: User of the web login.
    type: str
    required: true
  password:
    description: Password of O(username).
    type: str
    required: true
  archive_url:
    description: Origin of the archive's own REST API as the server reaches it.
    type: str
    default: http://127.0.0.1:8042
  archive_username:
    description: User of the archive's REST API.
    type: str
    required: true
  archive_password:
    description: Password of O(archive_username).
    type: str
    required: true
  dicomweb_root:
    description: Path of DICOMweb at the reverse proxy, without a slash at its end.
    type: str
    default: /pacs/dicom-web
  archive_path:
    description: Path of the archive's REST API at the reverse proxy, with a slash at its end.
    type: str
    default: /pacs/
  viewer_path:
    description: Path of the viewer at the reverse proxy, with a slash at its end.
    type: str
    default: /
  http_port:
    description: Port that redirects plain HTTP to O(url). V(0) skips the check.
    type: int
    default: 80
  dicom_host:
    description: Address of the archive's DICOM listener as the server reaches it.
    type: str
    default: 127.0.0.1
  dicom_port:
    description: Port of the archive's DICOM listener. V(0) skips the checks of DICOM.
    type: int
    default: 14242
  dicom_aet:
    description: AE title of the archive.
    type: str
    default: LIGHTBOX
  dicom_calling_aet:
    description: AE title of the checks; it must be registered in Orthanc with echo and store. Never shown.
    type: str
    default: LBXVERIFY
  dicom_tls_port:
    description: Port at O(connect_address) for DICOM over TLS. V(0) skips the check.
    type: int
    default: 0
  dicom_client_certificate:
    description:
      - File on the server with the certificate, in PEM form, that the check of O(dicom_tls_port) shows. Empty means
        that it shows none.
    type: path
    default: ""
  dicom_client_key:
    description: File on the server with the private key of O(dicom_client_certificate).
    type: path
    default: ""
  accepted_options:
    description: Dangerous options of Orthanc that were accepted. What they open is reported as accepted, not as failed.
    type: list
    elements: str
    default: []
  containers:
    description: Names of the containers that must run and be healthy.
    type: list
    elements: str
    default: []
  reconcile_metrics:
    description:
      - File on the server in which the container C(lightbox-orthanc-reconcile) reports orphaned files and index entries
        without a file, as Prometheus metrics. Empty skips the check.
    type: str
    default: ""
  certificate_days:
    description:
      - Days that the certificate must still be valid.
      - Of a certificate with a lifetime of less than eight times as many days, an eighth of the lifetime counts.
    type: int
    default: 14
  certificate_warn_days:
    description:
      - Days before the certificate's end from which the module warns.
      - Of a certificate with a lifetime of less than four times as many days, a quarter of the lifetime counts.
    type: int
    default: 21
  closed_ports:
    description: Ports that must listen on the loopback address only.
    type: list
    elements: int
    default: []
  outside_probe:
    description:
      - What another machine found when it tried O(closed_ports) over the network. Without it that check is skipped.
    type: dict
    suboptions:
      address:
        description: The address that was tried.
        type: str
        required: true
      reached:
        description: Those of O(closed_ports) that answered.
        type: list
        elements: int
        default: []
      reference:
        description:
          - Whether a port that is meant to be open answered. Otherwise closed ports show nothing and the check is
            skipped.
        type: bool
        required: true
  image_file:
    description:
      - File on the server into which a synthetic image is written, for whoever wants to try more with it, readable for
        its owner alone. It is a study of its own, which the next run deletes where it was left in the archive. Empty
        writes none.
    type: path
    default: ""
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Check the archive
  lightbox.pacs.pacs_verify:
    url: https://pacs.example.org
    ca_path: /etc/lightbox/certificates/ca.pem
    username: admin
    password: "{{ pacs_web_password }}"
    archive_username: reverse_proxy
    archive_password: "{{ pacs_archive_password }}"
    containers: [orthanc]
    closed_ports: [8042, 14242]
  register: verified

- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ verified.table }}"

- name: Stop when something falls short
  ansible.builtin.assert:
    that: verified.passed
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
checks:
  description: Every check in the order in which it was made.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What was checked.
      type: str
      sample: WADO-RS frames
    group:
      description: The part that it belongs to.
      type: str
      sample: images
    state:
      description: V(ok), V(failed) or V(skipped).
      type: str
      sample: ok
    passed:
      description: Whether the state is V(ok).
      type: bool
      sample: true
    detail:
      description: What was found, or why the check was not made.
      type: str
      sample: 512 bytes, each the same
    remedy:
      description: What to do; empty unless the check failed.
      type: str
      sample: ""
    seconds:
      description: How long the check took.
      type: float
      sample: 0.012
table:
  description: The checks as aligned lines for people.
  returned: always
  type: list
  elements: str
  sample: ["ok       archive  answers  Orthanc 1.12.7, AE title LIGHTBOX"]
remedies:
  description: For every check that failed what was found and what to do.
  returned: always
  type: list
  elements: str
  sample: ["archive, no scripts - POST /tools/execute-script answers 200. Set ExecuteLuaEnabled to false."]
image:
  description: The image in O(image_file); null where there is none, as in check mode.
  returned: always
  type: dict
  contains:
    study_uid:
      description: Its Study Instance UID.
      type: str
      sample: 2.25.329800735698586629295641978511506172918
    patient_id:
      description: Its Patient ID.
      type: str
      sample: LIGHTBOX-VERIFY-2a97516c-1795247856-2388d857
summary:
  description: The result in one line.
  returned: always
  type: str
  sample: 44 checks in 1.9 s, 43 ok, 0 failed, 1 skipped, Orthanc 1.12.7
version:
  description: Version of the archive; empty when it did not answer.
  returned: always
  type: str
  sample: 1.12.7
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._verify import Checks, Settings, secrets_of
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_host import (
    check_containers,
    check_ports,
    check_restarts,
    check_storage,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_images import check_images, synthetic
from ansible_collections.lightbox.pacs.plugins.module_utils._verify_web import check_reverse_proxy

OUTSIDE_PROBE = {
    "address": {"type": "str", "required": True},
    "reached": {"type": "list", "elements": "int", "default": []},
    "reference": {"type": "bool", "required": True},
}
ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "connect_address": {"type": "str", "default": "127.0.0.1"},
    "ca_path": {"type": "str", "default": ""},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "archive_url": {"type": "str", "default": "http://127.0.0.1:8042"},
    "archive_username": {"type": "str", "required": True},
    "archive_password": {"type": "str", "required": True, "no_log": True},
    "dicomweb_root": {"type": "str", "default": "/pacs/dicom-web"},
    "archive_path": {"type": "str", "default": "/pacs/"},
    "viewer_path": {"type": "str", "default": "/"},
    "http_port": {"type": "int", "default": 80},
    "dicom_host": {"type": "str", "default": "127.0.0.1"},
    "dicom_port": {"type": "int", "default": 14242},
    "dicom_aet": {"type": "str", "default": "LIGHTBOX"},
    "dicom_calling_aet": {"type": "str", "default": "LBXVERIFY", "no_log": True},
    "dicom_tls_port": {"type": "int", "default": 0},
    "dicom_client_certificate": {"type": "path", "default": ""},
    "dicom_client_key": {"type": "path", "default": "", "no_log": False},
    "accepted_options": {"type": "list", "elements": "str", "default": []},
    "containers": {"type": "list", "elements": "str", "default": []},
    "reconcile_metrics": {"type": "str", "default": ""},
    "certificate_days": {"type": "int", "default": 14},
    "certificate_warn_days": {"type": "int", "default": 21},
    "closed_ports": {"type": "list", "elements": "int", "default": []},
    "outside_probe": {"type": "dict", "options": OUTSIDE_PROBE},
    "image_file": {"type": "path", "default": ""},
    "timeout": {"type": "int", "default": 10},
}


def read_settings(module: AnsibleModule) -> Settings:
    def run(arguments: list[str]) -> tuple[int, str]:
        # The system's programs first: python environments bring a storescu of their own that takes other arguments.
        program = module.get_bin_path(arguments[0], opt_dirs=["/usr/bin"])
        if not program:
            raise FileNotFoundError(f"{arguments[0]} is not installed")
        code, output, errors = module.run_command([program, *arguments[1:]])
        return code, output + errors

    options = dict(module.params)
    for path in ("viewer_path", "archive_path"):
        options[path] = options[path].rstrip("/") + "/"
    del options["image_file"]
    options["dicomweb_root"] = options["dicomweb_root"].rstrip("/")
    return Settings(writes=not module.check_mode, temporary=module.tmpdir, run=run, **options)


def write_image(path: str) -> dict[str, str]:
    """Write a new synthetic image and return its identifiers."""
    image = synthetic()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(image.file)
    return {"study_uid": image.study_uid, "patient_id": image.patient_id}


def main() -> None:
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    started = time.monotonic()
    settings = read_settings(module)
    checks = Checks(
        [
            *secrets_of(
                (settings.username, settings.password),
                (settings.archive_username, settings.archive_password),
            ),
            settings.dicom_calling_aet,
        ],
        settings.accepted_options,
    )
    containers = check_containers(settings, checks)
    check_storage(settings, checks)
    check_reverse_proxy(settings, checks)
    version = check_images(settings, checks)
    check_restarts(settings, checks, containers)
    check_ports(settings, checks)
    for text in checks.warnings:
        module.warn(text)
    image = write_image(module.params["image_file"]) if module.params["image_file"] and settings.writes else None

    count = {state: sum(result["state"] == state for result in checks.results) for state in ("ok", "failed", "skipped")}
    module.exit_json(
        changed=False,
        passed=checks.passed,
        checks=checks.results,
        table=checks.table(),
        remedies=checks.remedies(),
        summary=f"{len(checks.results)} checks in {time.monotonic() - started:.1f} s, "
        + ", ".join(f"{number} {state}" for state, number in count.items())
        + (f", Orthanc {version}" if version else ""),
        version=version,
        image=image,
    )


if __name__ == "__main__":
    main()
