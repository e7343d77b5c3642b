# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""What is wrong with the keys and values of a configuration, one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import (
    DOT,
    TYPES,
    Orthanc,
    find_similar,
    format_value,
    is_met,
    is_type,
    normalize,
    parse_version,
    suggest,
)

ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_+[A-Za-z0-9]+)+")
# Orthanc reads integers as C++'s int and does not start with a larger one.
LARGEST = 2**31 - 1
# Orthanc only passes this plugin's values on to browsers.
FOR_BROWSERS = "OrthancExplorer2"


def check_options(orthanc: Orthanc, options: Mapping[Any, Any], parent: str = "") -> Iterator[str]:
    """Yield what is wrong in a configuration, or in a section of it."""
    for name, value in options.items():
        place = f"{parent}." * bool(parent) + str(name).replace(".", DOT)
        full = orthanc.format_place(place)
        if error := describe_key_error(orthanc, parent, name, place):
            yield f"{full} {error}"
            continue
        variants = list(filter(orthanc.has_variant, orthanc.loaded_variants(place)))
        is_section = place in orthanc.sections or orthanc.is_parent(place)
        if variants:
            yield from check_value(orthanc, place, value, variants[0])
        elif is_section and not isinstance(value, Mapping):
            yield f"{full} is {format_value(value)}, which is not a dictionary. Set it to a dictionary."
        if orthanc.is_parent(place) and isinstance(value, Mapping):
            yield from check_options(orthanc, value, place)


def describe_key_error(orthanc: Orthanc, parent: str, name: Any, place: str) -> str:
    """Return why Orthanc would not read a key, and what to do; empty where it reads it."""
    if not isinstance(name, str):
        return "is a key that is not a string. Set it in quotes."
    first, dot, rest = name.partition(".")
    if dot and first in orthanc.names_below(parent):
        nested = f"{first}: {{{rest.replace('.', ': {')}: …{'}' * (rest.count('.') + 1)}"
        return f"has a dot in its name '{name}', which Orthanc would ignore silently. Set {nested} instead."
    if place in orthanc.reserved:
        remedy = orthanc.explain_setting(place)
        return f"is managed by the role. {remedy[0].upper()}{remedy[1:]}."
    for entry in orthanc.data["ignored"]:
        pattern = entry["place"].lower()
        if place.lower() == pattern or (pattern.endswith("*") and place.lower().startswith(pattern[:-1])):
            return f"does {entry.get('does', 'nothing')}: {entry['why']}. Remove it; {entry['instead']}."
    if variants := orthanc.variants(place):
        if not (loaded := orthanc.loaded_variants(place)):
            return describe_unloaded(orthanc, [variant["of"] for variant in variants])
        return "" if orthanc.is_read(place) else describe_wrong_version(orthanc, loaded)
    if place in orthanc.sections:
        products = orthanc.sections[place]
        return "" if orthanc.loaded.intersection(products) else describe_unloaded(orthanc, products)
    if orthanc.is_parent(place) or orthanc.is_accepted(place):
        return ""
    if not parent and ENVIRONMENT_NAME.fullmatch(name):
        return describe_environment_variable(orthanc, name)
    scope = f"the section {parent.replace(DOT, '.')}" if parent else "Orthanc"
    return f"is not an option of {scope} and would be ignored silently. " + (
        suggest_option(orthanc, parent, name)
        or f"Remove it or, if a plugin of your own reads it, set orthanc_accepted_options: [{place.replace(DOT, '.')}]."
    )


def suggest_option(orthanc: Orthanc, parent: str, name: str) -> str:
    """Return which option an unknown key most likely means; empty where none is similar."""
    similar = find_similar(name, orthanc.names_below(parent), 0.82)
    elsewhere = [place for place in orthanc.options if place.rsplit(".", 1)[-1] == name and "*" not in place]
    if elsewhere and normalize(similar) != normalize(name):
        # First what is loaded, then what the image has.
        place = min(
            elsewhere,
            key=lambda one: (orthanc.options[one][0]["of"] not in orthanc.version_of, not orthanc.loaded_variants(one)),
        )
        return f"It belongs to {place.rpartition('.')[0] or 'the top level'}; {orthanc.explain_setting(place)}."
    place = f"{parent}.{similar}" if parent else similar
    return f"Did you mean {similar}? Then {orthanc.explain_setting(place)}." if similar else ""


def describe_environment_variable(orthanc: Orthanc, name: str) -> str:
    wanted = normalize(re.sub(r"_SECRET$", "", name).removeprefix("ORTHANC__"))
    places = {normalize(place): place for place in orthanc.options}
    meant = places.get(wanted) or next((places[key] for key in places if key and wanted.startswith(key)), None)
    if name.endswith("_ENABLED") and "PLUGIN" in name:
        remedy = "list the plugin in orthanc_plugins instead"
    else:
        remedy = orthanc.explain_setting(meant) if meant else "remove it"
    return (
        "is the name of an environment variable of the image's start script, which this role does not use, because "
        f"Orthanc reads its JSON files only; {remedy}."
    )


def describe_unloaded(orthanc: Orthanc, products: list[str]) -> str:
    included = [product for product in products if product in orthanc.version_of]
    if not included:
        flavor = orthanc.find_flavor(products)
        return (
            f"belongs to {orthanc.describe_product(products[0])}, which orthanc_flavor {orthanc.flavor} does not have. "
            + (f"Set orthanc_flavor to {flavor} and load the plugin, or remove it." if flavor else "Remove it.")
        )
    remedy = {
        "PostgreSQL": "Set orthanc_database (in the playbooks: postgresql_provider)",
        "AwsS3Storage": "Set orthanc_object_storage",
    }.get(included[0], f"Add {next(iter(orthanc.products[included[0]]['libraries']))} to orthanc_plugins")
    return f"belongs to {orthanc.describe_product(included[0])}, which is not loaded. {remedy}, or remove it."


def describe_wrong_version(orthanc: Orthanc, variants: list[dict[str, Any]]) -> str:
    product = variants[-1]["of"]
    name, version = orthanc.describe_product(product), parse_version(orthanc.version_of[product])
    newer = [one["since"] for one in variants if parse_version(one.get("since", "0")) > version]
    if newer:
        flavor = orthanc.find_flavor([product], newer[0])
        remedy = f", or set orthanc_flavor to {flavor}" if flavor else ""
        return f"needs {name} {newer[0]}; {orthanc.describe_version(product)}. Remove it{remedy}."
    return f"is not read since {name} {variants[-1]['before']}; {orthanc.describe_version(product)}. Remove it."


def check_value(orthanc: Orthanc, place: str, value: Any, variant: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the value of an option: type, choices, range, danger."""
    types = variant["type"] if isinstance(variant["type"], list) else [variant["type"]]
    subject = f"{orthanc.format_place(place)} is {'(not shown)' if variant.get('secret') else format_value(value)}"
    for_browsers = variant["of"] == FOR_BROWSERS
    if value is None and types == ["any"] and for_browsers:
        return  # upstream's own default of some
    if not any(is_type(value, kind) for kind in types):
        wanted = " or ".join(TYPES.get(kind, "a value") for kind in types)
        hint = " (without quotes)" if isinstance(value, str) and {"bool", "int", "uint"}.intersection(types) else ""
        yield f"{subject}, which has the wrong type. Set it to {wanted}{hint}."
        return
    if "choices" in variant and value not in variant["choices"]:
        choices = [one for one in variant["choices"] if not isinstance(one, bool)]
        yield f"{subject}. Set it to one of {', '.join(choices)}.{suggest(str(value), choices, 0.6)}"
    if "range" in variant:
        least, most = variant["range"]
        if not least <= value <= most:
            yield f"{subject}, which is out of range. Set it to a number from {least} to {most}."
    elif {"int", "uint"}.intersection(types) and abs(value) > LARGEST and not for_browsers:
        yield f"{subject}, which is larger than Orthanc can read. Set it to {LARGEST} or less."
    if variant.get("syntax") and value not in orthanc.transfer_syntaxes:
        # An empty one is upstream's default of one of them, and yet Orthanc does not start with it.
        yield (
            f"{subject}, which is not a transfer syntax that Orthanc supports: it would not start. Set it to a UID "
            f"such as 1.2.840.10008.1.2.1, or remove it.{suggest(str(value), orthanc.transfer_syntaxes, 0.85)}"
        )
    danger = variant.get("danger")
    if danger and is_met(danger["when"], value) and place not in orthanc.accepted:
        yield (
            f"{subject}, which is dangerous: {danger['why']}. Safe alternative: {danger['instead']}. To accept the "
            f"danger, set orthanc_accepted_options: [{place}]."
        )


def check_substitutions(value: Any, place: str) -> Iterator[str]:
    """Yield the places in which Orthanc would substitute an environment variable."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from check_substitutions(part, f"{place}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from check_substitutions(part, f"{place}[{index}]")
    elif isinstance(value, str) and "${" in value:
        yield (
            f"{place} contains '${{', which Orthanc would replace by an environment variable of its container, where "
            "none is set. Set the value itself; lookup('ansible.builtin.env', …) reads the controller's environment."
        )
