#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_tls_info
short_description: Gather information about the encryption of a PostgreSQL server
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Returns whether a PostgreSQL server supports TLS, with which version, cipher and certificate, whether that
    certificate would pass C(sslmode=verify-full), and whether the server accepts an unencrypted session too.
  - Needs no password and no driver. Each session ends when the server asks for the password.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details: Changes nothing.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  host:
    description: Name or address of the server.
    type: str
    required: true
  port:
    description: Port of the server.
    type: int
    default: 5432
  server_name:
    description: Name for which the certificate must be valid. By default O(host).
    type: str
  ca_path:
    description: PEM file of the CAs that may sign the server's certificate, in place of those of the system.
    type: path
  user:
    description: User of the session, which decides the line of C(pg_hba.conf) that applies.
    type: str
    default: postgres
  database:
    description: Database of the session, which decides the line of C(pg_hba.conf) that applies.
    type: str
    default: postgres
  unencrypted:
    description: Whether to try an unencrypted session.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for each answer.
    type: int
    default: 10
notes:
  - A server writes a line into its log for each session that ends like this.
  - C(libpq) also accepts the common name of a certificate without alternative names; this module does not.
  - Needs nothing but Python 3.9 on the host on which it runs.
"""

EXAMPLES = r"""
- name: Gather how the database encrypts
  lightbox.pacs.postgresql_tls_info:
    host: archive.abcdefghijkl.eu-central-1.rds.amazonaws.com
    ca_path: /etc/lightbox/rds-ca.pem
    user: orthanc
    database: orthanc
  register: database

- name: Require encryption and a valid certificate
  ansible.builtin.assert:
    that:
      - database.verified
      - database.certificate.days_left > 30
      - not database.unencrypted.accepted
"""

RETURN = r"""
tls:
  description: Whether the server supports TLS.
  returned: success
  type: bool
version:
  description: Version of the protocol that was agreed on; null without TLS.
  returned: success
  type: str
  sample: TLSv1.3
cipher:
  description: Cipher suite that was agreed on; null without TLS.
  returned: success
  type: str
  sample: TLS_AES_256_GCM_SHA384
verified:
  description: Whether a CA of O(ca_path) signed the certificate, it is valid now and for O(server_name).
  returned: success
  type: bool
verification_error:
  description: Why it is not verified; else empty.
  returned: success
  type: str
  sample: self-signed certificate in certificate chain
certificate:
  description: Content of the server's certificate, verified or not; null without TLS.
  returned: success
  type: dict
  contains:
    subject:
      description: Its subject.
      type: str
      sample: commonName=archive
    issuer:
      description: Its issuer.
      type: str
      sample: commonName=lightbox.pacs local CA
    names:
      description: Names and addresses for which it is valid.
      type: list
      elements: str
      sample: [archive.example.org]
    not_before:
      description: Begin of its validity, in UTC.
      type: str
      sample: '2026-11-21T03:24:59Z'
    not_after:
      description: End of its validity, in UTC.
      type: str
      sample: '2027-11-21T03:24:59Z'
    days_left:
      description: Whole days until then; negative when it is over.
      type: int
      sample: 365
    sha256:
      description: Fingerprint, SHA-256 in hexadecimal.
      type: str
encrypted:
  description: The server's answer to an encrypted session of O(user) in O(database); null without TLS.
  returned: success
  type: dict
  contains: &session
    accepted:
      description:
        - Whether it accepts the session, with or without a password. V(false) when it refuses it.
        - Null for another answer, such as that it is starting up.
      type: bool
    method:
      description: Method of authentication, such as V(scram-sha-256), V(md5), V(password) or V(none).
      type: str
      sample: scram-sha-256
    message:
      description: Its message where it does not accept the session.
      type: str
      sample: no pg_hba.conf entry for host "192.0.2.1", user "postgres", database "postgres", no encryption
unencrypted:
  description: The server's answer to an unencrypted session; null with O(unencrypted=false).
  returned: success
  type: dict
  contains: *session
"""

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._postgresql_tls import (
    PostgresError,
    Server,
    create_context,
    query_server,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import TlsError


def main() -> None:
    module = Module(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 5432},
            "server_name": {"type": "str"},
            "ca_path": {"type": "path"},
            "user": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "default": "postgres"},
            "unencrypted": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    params = module.params
    server = Server(params["host"], params["port"], params["user"], params["database"], params["timeout"])
    try:
        context = create_context(params["ca_path"])
    except TlsError as error:
        module.fail_json(msg=f"{error}.")
    try:
        found = query_server(server, context, params["server_name"] or params["host"], params["unencrypted"])
    except PostgresError as error:
        module.fail_json(msg=f"The PostgreSQL server at {server.host}:{server.port} {error}.")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
