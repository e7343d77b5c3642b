# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""What is wrong with orthanc_plugins, orthanc_versions and what the inventory accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import (
    Orthanc,
    find_similar,
    format_value,
    normalize,
    suggest,
)

# Releases, what upstream calls its newest state, and the commits by which it names some.
VERSION = re.compile(r"\d+(\.\d+)*([-+.~].*)?|mainline\S*|[0-9a-f]{7,40}")
IMPLICIT = "1.2.840.10008.1.2"
# Variables of the role whose dangers are accepted by their own name.
VARIABLES = ("orthanc_dicomweb_servers", "orthanc_log_level", "orthanc_peers")


def check_plugins(orthanc: Orthanc) -> Iterator[str]:
    for plugin in sorted({one for one in orthanc.plugins if orthanc.plugins.count(one) > 1}):
        yield f"orthanc_plugins contains {plugin} more than once: Orthanc would not start. List it once."
    for plugin in dict.fromkeys(orthanc.plugins):
        product = orthanc.product_of.get(plugin)
        if not re.fullmatch(r"[A-Za-z0-9]+", plugin):
            yield f"orthanc_plugins contains '{plugin}', which is not a valid name of a library. Remove it."
        elif product in orthanc.version_of or plugin in orthanc.versions:
            continue
        elif product is None:
            libraries = list(orthanc.product_of)
            parts = [library for library in libraries if normalize(plugin) in normalize(library)]
            yield (
                f"orthanc_plugins contains {plugin}, which is not a plugin of orthanc_flavor {orthanc.flavor}."
                f"{suggest(plugin, libraries, 0.6) or suggest(plugin, parts, 0)} If it is in an image of your own, set "
                f"orthanc_versions: {{{plugin}: its version}}."
            )
        else:
            flavor = orthanc.find_flavor([product])
            yield (
                f"orthanc_plugins contains {plugin}, which orthanc_flavor {orthanc.flavor} does not have: Orthanc "
                f"would not start. Remove it{f', or set orthanc_flavor to {flavor}' if flavor else ''}."
            )


def check_versions(orthanc: Orthanc) -> Iterator[str]:
    for name, version in orthanc.versions.items():
        product = orthanc.product_of.get(name, name)
        if product not in orthanc.products and name not in orthanc.plugins:
            yield (
                f"orthanc_versions contains {name}, which is neither Orthanc nor listed in orthanc_plugins."
                f"{suggest(str(name), ['Orthanc', *orthanc.product_of], 0.75)} Correct the name, or remove it."
            )
        elif product in orthanc.products and not VERSION.fullmatch(str(version)):
            example = orthanc.data["flavors"]["debian"].get(product, "1.0")
            yield (
                f"orthanc_versions.{name} is {format_value(version)}, which is not a valid version. Set it to a number "
                f'in quotes, such as "{example}", or to mainline.'
            )


def accepts_implicit(syntax: str) -> bool:
    """Whether an accepted transfer syntax is or covers implicit VR little endian. Upstream's default covers all."""
    return IMPLICIT.startswith(syntax[:-1]) if syntax.endswith("*") else syntax == IMPLICIT


def check_transfer_syntaxes(orthanc: Orthanc, syntaxes: Any) -> Iterator[str]:
    """Yield accepted transfer syntaxes that Orthanc does not support: with one of these it refuses every image."""
    name = "orthanc_accepted_transfer_syntaxes"
    if not isinstance(syntaxes, (list, tuple)):
        yield f"{name} is {format_value(syntaxes)}, which is not a list. Set it to a list of UIDs."
        return
    uids = orthanc.transfer_syntaxes
    remedy = "Set it to UIDs such as 1.2.840.10008.1.2.1, or 1.2.840.10008.1.2.4.* for all that begin so"
    if syntaxes and not any(accepts_implicit(str(syntax)) for syntax in syntaxes):
        yield (
            f"{name} lacks {IMPLICIT} (implicit VR little endian), the one that every device supports. Set it with "
            "that one."
        )
    for syntax in map(str, syntaxes):
        if not re.fullmatch(r"1\.2\.840\.10008\.1\.2(\.[0-9]+)*(\.?\*)?", syntax) and not accepts_implicit(syntax):
            yield f"{name} contains {syntax}, which is not the UID of a transfer syntax. {remedy}."
        elif not any(uid.startswith(syntax[:-1]) if syntax.endswith("*") else uid == syntax for uid in uids):
            since = orthanc.data["syntaxes"].get(syntax, {}).get("since")
            similar = " or ".join([uid for uid in uids if uid.startswith(syntax)][:3])
            similar = similar or find_similar(syntax, uids, 0.9)
            version = f"Orthanc {orthanc.version_of.get('Orthanc', '')}".strip()
            yield (
                f"{name} contains {syntax}, which {version} does not support{f' ({since} does)' if since else ''}: it "
                f"would refuse every image.{f' Did you mean {similar}?' if similar and not since else ''} {remedy}, or "
                "remove it."
            )


def check_accepted_options(orthanc: Orthanc) -> Iterator[str]:
    """Yield entries of orthanc_accepted_options that accept nothing: they would hide what was meant."""
    for place in orthanc.accepted:
        variants = orthanc.variants(place)
        parent, _dot, name = place.rpartition(".")
        if place in VARIABLES or (variants and variants is orthanc.options.get("ServeFolders.*")):
            continue
        if variants and not any("danger" in variant for variant in variants):
            yield f"orthanc_accepted_options contains {place}, which is not dangerous. Remove it."
        elif variants:
            continue
        elif orthanc.is_listed_section(place):
            yield (
                f"orthanc_accepted_options contains {place}, a whole section: misspelt options in it would not be "
                f"reported. Set an option instead, such as {place}.{orthanc.names_below(place)[0]}, or remove it."
            )
        else:
            names = [one for one in [*orthanc.names_below(parent), *([] if parent else VARIABLES)] if one != name]
            if similar := find_similar(name, names, 0.85):
                meant = f"{parent}.{similar}" if parent else similar
                yield f"orthanc_accepted_options contains {place}. Did you mean {meant}? Set that, or remove {place}."
