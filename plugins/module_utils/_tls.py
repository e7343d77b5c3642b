# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""The TLS context of every client in the collection: HTTPS, DICOM over TLS, PostgreSQL."""

from __future__ import annotations

import ssl

# By number, because Python 3.9 has no name for it.
PARTIAL_CHAIN = 0x80000
# What to do, by OpenSSL's number of what does not verify: expired, another name, another address.
REMEDIES = {10: "Renew it on the server", 62: "Use a name that it contains", 64: "Use an address that it contains"}


class TlsError(Exception):
    """A file cannot be used; the message is a sentence without its full stop that names the option."""


def tls_context(
    ca_path: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
    validate_certs: bool = True,
) -> ssl.SSLContext:
    """Create a client's context: TLS 1.2 or newer, and the server's certificate and name are verified.

    ca_path: PEM file of the CAs to trust, intermediate ones too, in place of the system's. validate_certs: false where
    the module's option of this name says so, and where a handshake is examined and nothing secret is sent.
    Raises TlsError.

    Not `ssl.create_default_context`: from Python 3.13 on it refuses a CA without the key usage extension, which many
    hospitals' CAs lack.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= PARTIAL_CHAIN
    used = f"ca_path {ca_path}"
    try:
        if not validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif ca_path:
            context.load_verify_locations(ca_path)
        else:
            context.load_default_certs()
        if client_cert:
            used = f"client_cert {client_cert}" + (f" with client_key {client_key}" if client_key else "")
            context.post_handshake_auth = True  # some servers ask for the certificate after the handshake
            context.load_cert_chain(client_cert, client_key)
    except (OSError, ValueError) as error:
        raise TlsError(f"{used} cannot be used ({describe_error(error)})") from None
    return context


def describe_error(error: Exception) -> str:
    """Return the system's words for an error, without its number."""
    return str(getattr(error, "strerror", None) or error)


def describe_verification_error(error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a server's certificate, without subject and full stop: "has a certificate …"."""
    remedy = REMEDIES.get(error.verify_code, "Set ca_path to the CA that signed it")
    return f"has a certificate that does not verify ({error.verify_message.rstrip('.')}). {remedy}"
