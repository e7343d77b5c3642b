#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: dicom_echo
short_description: Send C-ECHO to a DICOM node, with or without TLS
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Sends C-ECHO to a DICOM node from the host on which the module runs, as C(echoscu) does, and returns whether it
    answers, and if not, why - refused titles, a certificate that does not verify, a port with another protocol.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Changes nothing, and so sends C-ECHO in check mode too.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  host:
    description: Name or address of the node.
    type: str
    required: true
  port:
    description: Port of the node.
    type: int
    default: 104
  aet:
    description: AE title of the node.
    type: str
    required: true
  calling_aet:
    description: AE title of the caller. Never shown, because it may be all that a DICOM node asks for.
    type: str
    default: ECHOSCU
  tls:
    description: Whether to use DICOM over TLS.
    type: bool
    default: false
  ca_path:
    description: PEM file of the CAs that may sign the node's certificate, in place of those of the system.
    type: path
  server_name:
    description: Name for which the node's certificate must be valid. By default O(host).
    type: str
  client_cert:
    description: PEM file of a client certificate, for a node that requires one. It may contain the key too.
    type: path
  client_key:
    description: PEM file of the key of O(client_cert).
    type: path
  validate_certs:
    description: Whether the node's certificate must be valid for its name.
    type: bool
    default: true
  timeout:
    description: Seconds until the answer.
    type: int
    default: 10
  fail:
    description: Whether the module fails when the node does not answer.
    type: bool
    default: true
notes:
  - Needs nothing but Python 3.9 on the host on which it runs.
seealso:
  - module: lightbox.pacs.orthanc_echo
"""

EXAMPLES = r"""
- name: Test the DICOM port from the controller, over TLS
  lightbox.pacs.dicom_echo:
    host: pacs.example.org
    port: 11112
    aet: LIGHTBOX
    calling_aet: CT1
    tls: true
    ca_path: "{{ inventory_dir }}/.secrets/ca/ca.pem"
  delegate_to: localhost

- name: Test whether a scanner is on
  lightbox.pacs.dicom_echo:
    host: 192.0.2.10
    aet: CT_ONE
    fail: false
  register: scanner
"""

RETURN = r"""
reachable:
  description: Whether the node answered C-ECHO.
  returned: success and failure
  type: bool
seconds:
  description: How long it took, from connecting to the answer; null where none came.
  returned: success and failure
  type: float
  sample: 0.004
details:
  description: Why there is no answer; else empty.
  returned: success and failure
  type: str
  sample: ''
implementation:
  description: Name of the node's software; null where no answer came.
  returned: success and failure
  type: str
  sample: OFFIS_DCMTK_369
encryption:
  description: What the TLS handshake agreed on; null for plain DICOM and where no answer came.
  returned: success and failure
  type: dict
  contains:
    version:
      description: Version of the protocol.
      type: str
      sample: TLSv1.3
    cipher:
      description: Name of the cipher suite.
      type: str
      sample: TLS_AES_256_GCM_SHA384
    common_name:
      description: Common name in the node's certificate; null without one, and with O(validate_certs=false).
      type: str
      sample: pacs.example.org
    not_after:
      description: Until when the node's certificate is valid; null with O(validate_certs=false).
      type: str
      sample: Nov 21 03:24:59 2027 GMT
"""

from typing import Any

from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_association import EchoError, send_echo
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_ae_title
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import TlsError, tls_context


def main() -> None:
    module = Module(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 104},
            "aet": {"type": "str", "required": True},
            "calling_aet": {"type": "str", "default": "ECHOSCU", "no_log": True},
            "tls": {"type": "bool", "default": False},
            "ca_path": {"type": "path"},
            "server_name": {"type": "str"},
            "client_cert": {"type": "path"},
            "client_key": {"type": "path", "no_log": False},
            "validate_certs": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 10},
            "fail": {"type": "bool", "default": True},
        },
        required_by={"client_key": "client_cert"},
        supports_check_mode=True,
    )
    params = module.params
    for option in ("aet", "calling_aet"):
        if not is_ae_title(params[option]):
            module.fail_json(
                msg=f"{option} is '{params[option]}', which is not an AE title. Set it to 1 to 16 printable ASCII "
                "characters without a backslash and without spaces at its ends."
            )
    if not 1 <= params["port"] <= 65535 or params["timeout"] < 1:
        module.fail_json(msg="Set port to 1 to 65535, and timeout to 1 or more.")
    result: dict[str, Any] = {
        "reachable": False,
        "seconds": None,
        "details": "",
        "implementation": None,
        "encryption": None,
    }
    where = f"{params['host']}:{params['port']}"
    try:
        options = {name: params[name] for name in ("ca_path", "client_cert", "client_key", "validate_certs")}
        answer = send_echo(
            params["host"],
            params["port"],
            params["aet"],
            params["calling_aet"],
            params["timeout"],
            tls_context(**options) if params["tls"] else None,
            params["server_name"] or params["host"],
        )
        result.update(
            reachable=True, seconds=answer.seconds, implementation=answer.implementation, encryption=answer.tls
        )
    except (EchoError, TlsError) as error:
        text = str(error) if isinstance(error, TlsError) else f"{params['aet']} at {where} {error}"
        result["details"] = text if text.endswith("?") else f"{text}."
        if params["fail"]:
            module.fail_json(msg=result["details"], **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
