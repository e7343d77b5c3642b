# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Rules for AE titles, names of hosts and URLs, the same for roles and modules."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from urllib.parse import urlsplit

AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# Not in DNS, but Windows hands such names to devices.
LABEL_WITH_UNDERSCORE = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def is_ae_title(value: t.Any) -> bool:
    """Return whether a value is an AE title (DICOM PS3.5, 6.2): 1 to 16 printable ASCII characters.

    A backslash, and spaces at its ends, are excluded: nodes differ in what they make of them.
    """
    return AE_TITLE.fullmatch(str(value)) is not None


def is_dns_name(value: t.Any, wildcard: bool = False, underscore: bool = False) -> bool:
    """Return whether a value is a DNS name (RFC 1123) of at most 253 characters without a dot at its end.

    wildcard allows "*." in front, underscore allows "_" in labels. A last label of digits only is part of an address.
    """
    name = str(value)
    label = LABEL_WITH_UNDERSCORE if underscore else LABEL
    labels = (name[2:] if wildcard and name.startswith("*.") else name).split(".")
    return len(name) <= 253 and all(map(label.fullmatch, labels)) and not re.fullmatch("[0-9]+", labels[-1])


def is_host(value: t.Any) -> bool:
    """Return whether a value is a DNS name, underscores included, or an IP address without brackets and zone."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return is_dns_name(value, underscore=True)
    return "%" not in str(value)


def is_http_url(value: t.Any) -> bool:
    """Return whether a value is a URL with http or https, a host, and optionally a port and a path.

    A user name, a query and a fragment are excluded: they are set elsewhere, or not at all.
    """
    try:
        url = urlsplit(str(value))
        port = 443 if url.port is None else url.port
    except ValueError:
        return False
    return (
        re.fullmatch(r"https?://[^\s/?#@\\]+(/[^\s?#]*)?", str(value)) is not None
        and not url.netloc.endswith(":")
        and is_host(url.hostname)
        and 0 < port < 65536
    )
