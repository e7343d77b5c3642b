# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""What is wrong with an archive's configuration, told before it is written.

The known options stand in _orthanc_options.json beside this file, made by tests/options from upstream's own files:

carried    flavour → product → version
products   product → section of the configuration, libraries (name in orthanc_plugins → identifier in /plugins)
dead       keys that people set and nothing reads, with the reason and the way that works
options    place ("DicomWeb.Root") → variants {of, since, before, type, default, choices, range, secret, danger}
syntaxes   transfer syntaxes that the archive knows: UID → {since, before}

and in _orthanc_keywords.json the DICOM keywords that its dictionary has, in the same form.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES = {
    "bool": "true or false",
    "int": "a whole number",
    "uint": "a whole number from 0",
    "float": "a number",
    "str": "a text",
    "strings": "a list of texts",
    "list": "a list",
    "dict": "a dictionary",
}
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_+[A-Za-z0-9]+)+")
# Numbers of versions, what upstream calls its newest state, and the commits by which it names some.
VERSION = re.compile(r"\d+(\.\d+)*([-+.~].*)?|mainline\S*|[0-9a-f]{7,40}")
# The archive reads numbers as C++'s int; what is larger stops it.
LARGEST = 2**31 - 1
# The interface of one plugin only: the archive hands its values on to browsers.
FOR_BROWSERS = ("OrthancExplorer2",)
# Variables whose dangers are accepted by their own name.
VARIABLES = ("orthanc_dicomweb_servers", "orthanc_log_level", "orthanc_peers")
# Stands for a dot in a name that a user gave, so that it is not taken for the one between the parts of a place.
DOT = "\x1f"


def read(name: str) -> dict[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as stream:
        return json.load(stream)


@functools.lru_cache(maxsize=1)
def known() -> dict[str, Any]:
    return read("_orthanc_options.json")


@functools.lru_cache(maxsize=1)
def dictionary() -> dict[str, dict[str, str]]:
    """DICOM keyword → {since, before}. Read only where a configuration has one."""
    return read("_orthanc_keywords.json")["keywords"]


def number(version: str) -> tuple[int, ...]:
    """1.12.7 as (1, 12, 7); what is no number ("mainline") is newer than everything."""
    parts = re.findall(r"\d+", version) if re.match(r"\d+(\.\d+)*", version) else []
    return tuple(int(part) for part in parts) or (9999,)


def plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def is_a(value: Any, kind: str) -> bool:
    if kind == "any":
        return value is not None
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int", "uint", "float"):
        numbers = (int, float) if kind == "float" else int
        return isinstance(value, numbers) and not isinstance(value, bool) and (kind != "uint" or value >= 0)
    if kind == "str":
        return isinstance(value, str)
    if kind == "strings":
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return isinstance(value, list if kind == "list" else Mapping)


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def endangers(when: Mapping[str, Any], value: Any) -> bool:
    if "is" in when:
        return value is when["is"]
    if "not" in when:
        return value not in when["not"]
    if "in" in when:
        return value in when["in"]
    return bool(value)  # filled


def at(configuration: Any, place: str, default: Any = None) -> Any:
    for name in place.split("."):
        if not isinstance(configuration, Mapping) or name not in configuration:
            return default
        configuration = configuration[name]
    return configuration


def matches(pattern: str, place: str) -> bool:
    """Whether a place is one that a place with stars stands for."""
    names, wanted = place.split("."), pattern.split(".")
    return len(names) == len(wanted) and all(one in ("*", name) for one, name in zip(wanted, names, strict=True))


class Archive:
    """The archive that is to run: what it carries, what it loads, and who says what."""

    def __init__(
        self,
        flavor: str,
        plugins: list[str],
        versions: Mapping[str, str],
        reserved: Mapping[str, str],
        accepted: list[str],
        variable: str,
        implied: list[str] | None = None,
    ) -> None:
        self.data = known()
        self.flavor, self.plugins, self.reserved, self.accepted, self.variable = (
            flavor,
            plugins,
            reserved,
            accepted,
            variable,
        )
        self.options: dict[str, list[dict[str, Any]]] = self.data["options"]
        self.products: dict[str, dict[str, Any]] = self.data["products"]
        self.product_of = {
            library: name for name, product in self.products.items() for library in product.get("libraries", {})
        }
        self.said = {self.product_of.get(name, name): str(version) for name, version in versions.items()}
        self.versions: dict[str, str] = {**self.data["carried"].get(flavor, {}), **self.said}
        self.loaded = {"Orthanc"} | {
            self.product_of[plugin] for plugin in [*plugins, *(implied or [])] if plugin in self.product_of
        }
        self.sections: dict[str, list[str]] = {}
        for name, product in self.products.items():
            if "section" in product:
                self.sections.setdefault(product["section"], []).append(name)

    # How things are called in findings

    def named(self, product: str) -> str:
        if product == "Orthanc":
            return "Orthanc"
        return "the plugin " + " or ".join(self.products[product].get("libraries", {product: ""}))

    def carrier(self, product: str) -> str:
        """What the version comes from."""
        if product in self.said:
            return "orthanc_versions says that the archive carries"
        return f"orthanc_flavor {self.flavor} carries"

    def way(self, place: str) -> str:
        """How an option is to be set."""
        if place in self.reserved:
            says, _semicolon, reason = self.reserved[place].partition("; ")
            return f"nothing is needed: {reason}" if says == "none" else f"set {says}"
        return f"set {self.variable}.{place}"

    # What is known

    def variants(self, place: str) -> list[dict[str, Any]]:
        if place in self.options:
            return self.options[place]
        for pattern in self.wildcards:
            if matches(pattern, place):
                return self.options[pattern]
        return []

    @functools.cached_property
    def wildcards(self) -> list[str]:
        found = [place for place in self.options if "*" in place]
        found.sort(key=lambda place: -place.count("."))
        return found

    @functools.cached_property
    def parents(self) -> set[str]:
        """Places that have options below them."""
        return {place.rsplit(".", depth)[0] for place in self.options for depth in range(1, place.count(".") + 1)}

    @functools.cached_property
    def unknown(self) -> list[str]:
        """Accepted places that nobody here can know. A section that is known hides no misspelling."""
        return [place for place in self.accepted if not self.is_known_section(place)]

    def is_parent(self, place: str) -> bool:
        return place in self.parents or any(matches(parent, place) for parent in self.parents if "*" in parent)

    def is_known_section(self, place: str) -> bool:
        """Whether a place is a section of the configuration, or a part of one, whose options are known."""
        return bool(self.below(place)) and self.is_parent(place)

    def below(self, place: str) -> list[str]:
        """Names that may stand in a place; at the top without those of the plugins' sections."""
        parents = {place} | {parent for parent in self.parents if "*" in parent and matches(parent, place)}
        names = {
            option[len(f"{parent}." if parent else "") :].split(".")[0]
            for parent in parents
            for option in self.options
            if not parent or option.startswith(f"{parent}.")
        }
        return sorted((names | (set(self.sections) if not place else set())) - {"*"})

    def reads(self, place: str) -> bool:
        """Whether what is loaded reads an option, in the versions that the archive carries."""
        return any(
            one["of"] in self.loaded and (one["of"] not in self.versions or self.carries(one["of"], one))
            for one in self.variants(place)
        )

    def is_at_least(self, version: str) -> bool:
        """Whether the archive itself is of a version or a newer one."""
        return number(self.versions.get("Orthanc", "0")) >= number(version)

    def syntaxes(self) -> list[str]:
        """Transfer syntaxes that the archive knows."""
        return self.its_own(self.data["syntaxes"])

    def keywords(self) -> list[str]:
        """DICOM keywords that the archive knows."""
        return self.its_own(dictionary())

    def its_own(self, known_by_some: Mapping[str, Mapping[str, str]]) -> list[str]:
        if "Orthanc" not in self.versions:
            return list(known_by_some)
        return [name for name, variant in known_by_some.items() if self.carries("Orthanc", variant)]

    def carries(self, product: str, variant: Mapping[str, Any]) -> bool:
        version = number(self.versions[product])
        return number(variant.get("since", "0")) <= version < number(variant.get("before", "99999"))


def dead(archive: Archive, place: str) -> Mapping[str, str] | None:
    for entry in archive.data["dead"]:
        pattern = entry["place"].lower()
        if place.lower() == pattern or (pattern.endswith("*") and place.lower().startswith(pattern[:-1])):
            return entry
    return None


def suggestion(archive: Archive, parent: str, name: str) -> str:
    """What an unknown key may have meant, with a blank in front; empty where nothing is near."""
    prefix = f"{parent}." if parent else ""
    names = archive.below(parent)
    alike = [one for one in names if plain(one) == plain(name)]
    near = alike or [
        one
        for folded in difflib.get_close_matches(name.lower(), [one.lower() for one in names], n=1, cutoff=0.82)
        for one in names
        if one.lower() == folded
    ]
    elsewhere = [place for place in archive.options if place.rsplit(".", 1)[-1] == name and "*" not in place]
    # First what is loaded, then what could be.
    elsewhere.sort(key=lambda place: [one["of"] not in archive.loaded for one in archive.options[place]])
    elsewhere.sort(key=lambda place: archive.options[place][0]["of"] not in archive.versions)
    if alike or (near and not elsewhere):
        return f" Did you mean {near[0]}? Then {archive.way(prefix + near[0])}."
    if elsewhere:
        return f" It is an option of {elsewhere[0].rpartition('.')[0] or 'the top level'}: {archive.way(elsewhere[0])}."
    return f" Did you mean {near[0]}? Then {archive.way(prefix + near[0])}." if near else ""


def environment(archive: Archive, name: str) -> str:
    """What the name of an environment variable stands for."""
    wanted = plain(re.sub(r"_SECRET$", "", name).removeprefix("ORTHANC__"))
    places = {plain(place): place for place in archive.options}
    meant = places.get(wanted) or next((places[key] for key in places if key and wanted.startswith(key)), None)
    text = (
        "is the name of an environment variable of the image's own start script, which this role does not use: "
        "the archive reads its JSON files only."
    )
    if name.endswith("_ENABLED") and "PLUGIN" in name:
        return f"{text} Take it out and name the plugin in orthanc_plugins."
    return f"{text} Take it out; {archive.way(meant)}." if meant else f"{text} Take it out."


def not_loaded(archive: Archive, products: list[str]) -> str:
    """Why an option of plugins that are not loaded does nothing, and what to do."""
    carried = [product for product in products if product in archive.versions]
    if not carried:
        others = [
            flavor
            for flavor, versions in archive.data["carried"].items()
            if flavor != archive.flavor and any(product in versions for product in products)
        ]
        return (
            f"is read by {archive.named(products[0])} only, which orthanc_flavor {archive.flavor} does not carry. "
            + (f"Set orthanc_flavor to {others[0]} and load it, or take it out." if others else "Take it out.")
        )
    library = next(iter(archive.products[carried[0]]["libraries"]))
    if carried[0] == "PostgreSQL":
        way = "Set orthanc_database (from the playbooks: postgresql_provider)"
    elif carried[0] == "AwsS3Storage":
        way = "Set orthanc_object_storage"
    else:
        way = f"Add {library} to orthanc_plugins"
    return f"is read by {archive.named(carried[0])} only, which is not loaded. {way}, or take it out."


def wrong_version(archive: Archive, variants: list[dict[str, Any]]) -> str:
    variant = variants[-1]
    product = variant["of"]
    has = f"{archive.carrier(product)} {archive.versions[product]}"
    name = "Orthanc" if product == "Orthanc" else archive.named(product)
    newer = [one for one in variants if number(one.get("since", "0")) > number(archive.versions[product])]
    if newer:
        others = [
            flavor
            for flavor, versions in archive.data["carried"].items()
            if flavor != archive.flavor and number(versions.get(product, "0")) >= number(newer[0]["since"])
        ]
        return f"needs {name} {newer[0]['since']}; {has}. Take it out" + (
            f", or set orthanc_flavor to {others[0]}." if others else "."
        )
    return f"is no longer read by {name} since {variant['before']}; {has}. Take it out."


def value_findings(archive: Archive, place: str, value: Any, variant: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the value of an option that is there: type, value, range, danger."""
    full = f"{archive.variable}.{place.replace(DOT, '.')}"
    types = variant["type"] if isinstance(variant["type"], list) else [variant["type"]]
    secret = variant.get("secret", False)
    said = " a value" if secret else f" {shown(value)}"
    if value is None and types == ["any"] and variant["of"] in FOR_BROWSERS:
        return  # upstream's own default of some
    if not any(is_a(value, kind) for kind in types):
        wanted = " or ".join(TYPES.get(kind, "a value") for kind in types)
        hint = ""
        if isinstance(value, str) and not secret and {"bool", "int", "uint"} & set(types):
            hint = " (without quotes)"
        yield f"{full} is{said}, which is no {wanted.removeprefix('a ')}. Set it to {wanted}{hint}."
        return
    if "choices" in variant and value not in variant["choices"]:
        choices = [one for one in variant["choices"] if not isinstance(one, bool)]
        near = [one for one in choices if plain(str(one)) == plain(str(value))]
        near = near or difflib.get_close_matches(str(value), choices, n=1)
        yield f"{full} is{said}. Set it to one of {', '.join(choices)}." + (f" Did you mean {near[0]}?" if near else "")
    number_of = {"int", "uint"} & set(types) and is_a(value, "int")
    if "range" in variant and not variant["range"][0] <= value <= variant["range"][1]:
        yield f"{full} is{said}. Set it to a number from {variant['range'][0]} to {variant['range'][1]}."
    elif number_of and not -LARGEST <= value <= LARGEST and variant["of"] not in FOR_BROWSERS:
        yield f"{full} is{said}, larger than the archive can read. Set it to {LARGEST} or less."
    if variant.get("syntax") and value not in archive.syntaxes():
        # Upstream's default of one of them is empty, and yet an empty one stops the archive.
        near = difflib.get_close_matches(str(value), archive.syntaxes(), n=1, cutoff=0.85)
        yield (
            f"{full} is{said}, which is no transfer syntax that the archive knows: it would not start. Set it to a UID "
            f"such as 1.2.840.10008.1.2.1, or take it out.{f' Did you mean {near[0]}?' if near else ''}"
        )
    danger = variant.get("danger")
    if danger and endangers(danger["when"], value) and place not in archive.accepted:
        yield (
            f"{full} is{said}, which is dangerous: {danger['why']}. The safe way: {danger['instead']}. "
            f"If you know and want it, set orthanc_accepted_options: [{place}]."
        )


def walk(archive: Archive, configuration: Mapping[Any, Any], parent: str = "") -> Iterator[str]:
    for name, value in configuration.items():
        place = (f"{parent}." if parent else "") + str(name).replace(".", DOT)
        full = f"{archive.variable}.{place.replace(DOT, '.')}"
        if not isinstance(name, str):
            yield f"{full} has the key {shown(name)}, which is no text. Set it in quotes."
            continue
        first, dot, rest = name.partition(".")
        if dot and first in archive.below(parent):
            yield (
                f"{full} has a dot in its name '{name}', which the archive would ignore silently: places are written "
                f"nested. Set {first}: {{{rest.replace('.', ': {')}: …{'}' * (rest.count('.') + 1)} there."
            )
            continue
        if place in archive.reserved:
            yield f"{full} is not for {archive.variable}. Take it out; what says it: {archive.reserved[place]}."
            continue
        if entry := dead(archive, place):
            yield f"{full} does {entry.get('does', 'nothing')}: {entry['why']}. Take it out; {entry['instead']}."
            continue
        if not parent and name in archive.sections and not archive.variants(place):
            yield from section(archive, name, value)
            continue
        variants = archive.variants(place)
        if not variants:
            if archive.is_parent(place):
                if isinstance(value, Mapping):
                    yield from walk(archive, value, place)
                else:
                    yield f"{full} is {shown(value)}, which is no dictionary. Set it to a dictionary."
            elif not any(f"{full}.".startswith(f"{archive.variable}.{one}.") for one in archive.unknown):
                if not parent and ENVIRONMENT_NAME.fullmatch(name):
                    yield f"{full} {environment(archive, name)}"
                else:
                    where = f"the section {parent.replace(DOT, '.')}" if parent else "the archive"
                    near = suggestion(archive, parent, name)
                    yield (
                        f"{full} is not known: {where} has no such option and would ignore it silently.{near}"
                        + ("" if near else " Take it out, or, for a plugin of your own, set orthanc_accepted_options: ")
                        + ("" if near else f"[{place.replace(DOT, '.')}].")
                    )
            continue
        loaded = [variant for variant in variants if variant["of"] in archive.loaded]
        if not loaded:
            yield f"{full} {not_loaded(archive, [variant['of'] for variant in variants])}"
            continue
        fitting = [one for one in loaded if one["of"] not in archive.versions or archive.carries(one["of"], one)]
        if not fitting:
            yield f"{full} {wrong_version(archive, loaded)}"
            continue
        problems = list(value_findings(archive, place, value, fitting[0]))
        yield from problems
        if isinstance(value, Mapping) and archive.is_parent(place):
            yield from walk(archive, value, place)


def section(archive: Archive, name: str, value: Any) -> Iterator[str]:
    """What is wrong with the section of a plugin."""
    full = f"{archive.variable}.{name}"
    products = archive.sections[name]
    if not archive.loaded & set(products):
        yield f"{full} {not_loaded(archive, products)}"
    elif not isinstance(value, Mapping):
        yield f"{full} is {shown(value)}, which is no dictionary. Set it to a dictionary."
    elif any("read" in archive.products[product] for product in products):
        yield from walk(archive, value, name)


def plugins_findings(archive: Archive) -> Iterator[str]:
    for plugin in sorted({str(one) for one in archive.plugins if archive.plugins.count(one) > 1}):
        yield f"orthanc_plugins has {plugin} more than once: the archive would not start. Set it once."
    for index, plugin in enumerate(archive.plugins):
        if plugin in archive.plugins[:index]:
            continue
        if not isinstance(plugin, str) or not re.fullmatch(r"[A-Za-z0-9]+", plugin):
            yield f"orthanc_plugins has a name that is no name of a library ({plugin}). Take it out."
            continue
        product = archive.product_of.get(plugin)
        if product in archive.versions or plugin in archive.said:
            continue
        if product is None:
            near = difflib.get_close_matches(plugin, archive.product_of, n=1, cutoff=0.6)
            near = near or [library for library in archive.product_of if plain(plugin) in plain(library)][:1]
            yield (
                f"orthanc_plugins has {plugin}, which is no plugin that orthanc_flavor {archive.flavor} carries."
                + (f" Did you mean {near[0]}?" if near else "")
                + f" If it is in an image of your own, set orthanc_versions: {{{plugin}: its version}}."
            )
        else:
            others = [flavor for flavor, carried in archive.data["carried"].items() if product in carried]
            yield (
                f"orthanc_plugins has {plugin}, which orthanc_flavor {archive.flavor} does not carry: the archive "
                f"would not start. Take it out{f', or set orthanc_flavor to {others[0]}' if others else ''}."
            )


def versions_findings(archive: Archive, versions: Mapping[str, Any]) -> Iterator[str]:
    known_names = ["Orthanc", *archive.product_of]
    for name, version in versions.items():
        product = archive.product_of.get(name, name)
        if product not in archive.products and name not in archive.plugins:
            near = [one for one in known_names if plain(one) == plain(str(name))]
            near = near or difflib.get_close_matches(str(name), known_names, n=1, cutoff=0.75)
            yield (
                f"orthanc_versions has {name}, which is neither Orthanc nor a plugin that orthanc_plugins loads."
                + (f" Did you mean {near[0]}?" if near else "")
                + " Set a name that is, or take it out."
            )
        elif product in archive.products and not VERSION.fullmatch(str(version)):
            yield (
                f"orthanc_versions.{name} is {shown(version)}, which is no version. Set it to a number in quotes, such "
                f'as "{archive.data["carried"]["debian"].get(product, "1.0")}", or to mainline.'
            )


def syntaxes_findings(archive: Archive, syntaxes: Any) -> Iterator[str]:
    """Accepted transfer syntaxes: one that the archive does not know makes it refuse every image."""
    name = "orthanc_accepted_transfer_syntaxes"
    examples = (
        "Set it to UIDs of transfer syntaxes, such as 1.2.840.10008.1.2.1 or, with all that begin so, "
        "1.2.840.10008.1.2.4.*"
    )
    if not isinstance(syntaxes, list):
        yield f"{name} is {shown(syntaxes)}, which is no list. Set it to a list of UIDs."
        return
    uids = archive.syntaxes()
    for syntax in syntaxes:
        text = str(syntax)
        if not re.fullmatch(r"1\.2\.840\.10008\.1\.2(\.[0-9]+)*(\.?\*)?", text):
            yield f"{name} has {text}. {examples}"
        elif not any(uid.startswith(text[:-1]) if text.endswith("*") else uid == text for uid in uids):
            near = [uid for uid in uids if uid.startswith(text)][:3]
            near = near or difflib.get_close_matches(text.rstrip("*."), uids, n=1, cutoff=0.9)
            version = archive.versions.get("Orthanc", "")
            later = archive.data["syntaxes"].get(text, {}).get("since")
            yield (
                f"{name} has {text}, which is no transfer syntax that Orthanc {version} knows"
                + (f" ({later} does)" if later else "")
                + ": it would refuse every image. "
                + (f"Did you mean {' or '.join(near)}? " if near and not later else "")
                + f"{examples}, or take it out."
            )


def relations(archive: Archive, merged: Mapping[str, Any], allow_deletion: bool) -> Iterator[str]:
    """Options that contradict each other. `merged` is what the archive would read."""
    full = archive.variable
    stops = "the archive would not start. Take one of them out."
    remote = at(merged, "RemoteAccessAllowed") is True
    if remote and at(merged, "AuthenticationEnabled") is False:
        yield (
            f"{full}.RemoteAccessAllowed is true and {full}.AuthenticationEnabled is false: whoever reaches the port "
            f"may read and delete everything. Set {full}.AuthenticationEnabled to true."
        )
    if remote and at(merged, "RegisteredUsers") == {} and "RegisteredUsers" not in archive.reserved:
        yield (
            f"{full}.RegisteredUsers is empty: until 1.12.8 that lets the user orthanc in with the password orthanc, "
            f"and 1.13.0 does not start. Set {full}.RegisteredUsers to a name and a password."
        )
    limits = [name for name in ("MaximumPatientCount", "MaximumStorageSize") if at(merged, name, 0) not in (0, None)]
    if limits and at(merged, "MaximumStorageMode", "Recycle") == "Recycle" and not allow_deletion:
        yield (
            f"{full}.{limits[0]} is {shown(merged[limits[0]])} and {full}.MaximumStorageMode is Recycle: beyond that "
            f"the archive deletes the oldest patients. Set {full}.MaximumStorageMode to Reject, or, if images may be "
            "deleted, set orthanc_allow_deletion: true."
        )
    if limits and at(merged, "PatientLevelEnabled") is False:
        yield f"{full}.PatientLevelEnabled is false, but {full}.{limits[0]} counts patients: {stops}"
    if at(merged, "DicomTlsEnabled") is True and "DicomTlsEnabled" not in archive.reserved:
        needed = ["DicomTlsCertificate", "DicomTlsPrivateKey"]
        if at(merged, "DicomTlsRemoteCertificateRequired", True) is True:
            needed.append("DicomTlsTrustedCertificates")
        missing = [name for name in needed if not at(merged, name)]
        if missing:
            yield (
                f"{full}.DicomTlsEnabled is true without {', '.join(missing)}: the archive would not start. Take it "
                "out: DICOM with TLS is the reverse proxy's (pacs_dicom_tls_networks)."
            )
    addresses = at(merged, "HttpBindAddresses")
    if is_a(addresses, "strings") and addresses and archive.reads("HttpBindAddresses"):
        if all(re.match(r"127\.|localhost$|\[?::1\]?$", one) for one in addresses):
            yield (
                f"{full}.HttpBindAddresses is {shown(addresses)}, the loopback of the archive's own container: nobody "
                "would reach it. Take it out: orthanc_http_address says on which of the server's addresses it is "
                "published."
            )
        elif not {"0.0.0.0", "::", "[::]", "127.0.0.1"} & set(addresses):  # noqa: S104 - compared, not bound
            yield (
                f"{full}.HttpBindAddresses is {shown(addresses)} without 127.0.0.1, at which the container's "
                "health check asks. Set it with 127.0.0.1, or take it out."
            )
    for level in ("Series", "Studies"):
        place = f"DicomWeb.{level}Metadata"
        if at(merged, place) == "Extrapolate" and not at(merged, f"{place}ExtrapolatedTags"):
            yield (
                f"{full}.{place} is Extrapolate without {level}MetadataExtrapolatedTags: it would be the same as "
                f"MainDicomTags. Set {full}.{place}ExtrapolatedTags, or another mode."
            )
    oldest = at(merged, "DicomTlsMinimumProtocolVersion", 0)
    if oldest not in (0, None) and not at(merged, "DicomTlsCiphersAccepted"):
        yield (
            f"{full}.DicomTlsMinimumProtocolVersion is {shown(oldest)}, which leaves no cipher. "
            f"Set {full}.DicomTlsCiphersAccepted, too, or take it out."
        )
    if at(merged, "OverwriteInstances") == "IfChanged" and at(merged, "StoreMD5ForAttachments") is False:
        yield f"{full}.OverwriteInstances is IfChanged, but {full}.StoreMD5ForAttachments is false: {stops}"
    if at(merged, "WebDavEnabled") is False:
        for name in ("WebDavDeleteAllowed", "WebDavUploadAllowed"):
            if at(merged, name) is True:
                yield f"{full}.{name} is true, but {full}.WebDavEnabled is false: it does nothing. Take it out."
    linger = at(merged, "KeepAliveTimeout", 1)
    if at(merged, "KeepAlive") is False and linger != 1:
        yield f"{full}.KeepAliveTimeout is {shown(linger)}, but {full}.KeepAlive is false. Take one of them out."
    if at(merged, "IngestTranscoding") in (None, ""):
        for name in ("IngestTranscodingOfCompressed", "IngestTranscodingOfUncompressed"):
            if at(merged, name) is False:
                yield f"{full}.{name} is false without {full}.IngestTranscoding: it does nothing. Take it out."
    if at(merged, "DeidentifyLogs") is False and at(merged, "DeidentifyLogsDicomVersion"):
        yield f"{full}.DeidentifyLogsDicomVersion does nothing where {full}.DeidentifyLogs is false. Take it out."
    if at(merged, "PythonScript") and at(merged, "Python.Path"):
        yield f"{full}.PythonScript and {full}.Python.Path both name the script. Take one of them out."
    elif "Python" in archive.loaded and not (at(merged, "PythonScript") or at(merged, "Python.Path")):
        yield (
            f"orthanc_plugins has OrthancPython, but no script: the plugin would do nothing. Set "
            f"{full}.PythonScript to the script's path inside the container, or take OrthancPython out."
        )
    if at(merged, "Worklists.Enable") is True and archive.loaded & {"ModalityWorklists", "Worklists"}:
        yield from worklists(archive, merged)
    for product in sorted(archive.loaded & {"AdvancedStorage", "Housekeeper", "ModalityWorklists", "Worklists"}):
        name = archive.products[product]["section"]
        if at(merged, f"{name}.Enable") is not True:
            library = sorted(archive.products[product]["libraries"])[0]
            yield (
                f"orthanc_plugins has {library}, which does nothing by itself. Set {full}.{name}.Enable to true, or "
                f"take {library} out."
            )


def worklists(archive: Archive, merged: Mapping[str, Any]) -> Iterator[str]:
    section = f"{archive.variable}.Worklists"
    newer = "Worklists" in archive.loaded
    folders = [name for name in ("Database", "Directory") if at(merged, f"Worklists.{name}") is not None]
    own = newer and at(merged, "Worklists.SaveInOrthancDatabase") is True
    if not own and not [name for name in folders if newer or name == "Database"]:
        name = "Directory" if newer else "Database"
        yield (
            f"{section}.Enable is true without {name}: the archive would not start. Set {section}.{name} to the folder "
            f"of the worklists inside the container{f', or {section}.SaveInOrthancDatabase to true' if newer else ''}."
        )
    if own and folders:
        yield (
            f"{section}.SaveInOrthancDatabase is true and {section}.{folders[0]} is set: the archive would not start. "
            "Take one of them out."
        )
    if newer and folders and at(merged, "Worklists.DeleteWorklistsDelay", 0) not in (0, None):
        yield (
            f"{section}.DeleteWorklistsDelay works with SaveInOrthancDatabase only; with {folders[0]} the archive "
            "would not start. Take one of them out."
        )


REPRESENTATION = r"A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BDFLW]|PN|S[HLQST]|TM|U[CILNRST]"
NEWER_REPRESENTATION = rf"{REPRESENTATION}|OV|SV|UV"  # since 1.13.0
HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{4}[-,]?[0-9A-Fa-f]{4}")
LEVELS = ("Patient", "Study", "Series", "Instance")
LEVEL = re.compile("patients?|study|studies|series|instances?|images?", re.I)
# Names that the archive itself has given.
NAMES = {
    "UserMetadata": [
        *("AnonymizedFrom", "CalledAET", "ExpectedNumberOfInstances", "HttpUsername", "IndexInSeries", "LastUpdate"),
        *("MainDicomSequences", "MainDicomTagsSignature", "ModifiedFrom", "Origin", "PixelDataOffset", "PixelDataVR"),
        *("ReceptionDate", "RemoteAET", "RemoteIP", "SopClassUid", "TransferSyntax"),
    ],
    "UserContentType": ["dicom", "dicom-as-json", "dicom-until-pixel-data"],
}
NEWER_NAMES = {"UserMetadata": ["IsProtected", "PatientRecyclingOrder"], "UserContentType": []}  # since 1.13.0
STOPS = "the archive would not start"
# Lists of DICOM tags, and what one that the archive does not know does to it.
TAGS = {f"ExtraMainDicomTags.{level}": STOPS for level in LEVELS} | {
    f"DicomWeb.{level}MetadataExtrapolatedTags": "DICOMweb would answer no metadata" for level in ("Studies", "Series")
}


def contents(archive: Archive, configuration: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong inside options whose content the user shapes."""
    full = archive.variable

    def loaded(place: str, kind: str) -> Any:
        value = at(configuration, place)
        return value if is_a(value, kind) and place not in archive.accepted and archive.reads(place) else []

    for tag, entry in dict(loaded("Dictionary", "dict")).items():
        if problem := dictionary_problem(archive, str(tag), entry):
            yield (
                f"{full}.Dictionary['{tag}'] is {shown(entry)}: {problem}, and {STOPS}. Set a tag such as 0009,1001 to "
                '[VR, name, least, most number of values, private creator], such as [LO, MyTag, 1, 1, "MY CREATOR"].'
            )
    for place, effect in TAGS.items():
        yield from unknown_tags(archive, place, loaded(place, "strings"), effect, dict(loaded("Dictionary", "dict")))
    for place in ("UserMetadata", "UserContentType"):
        yield from numbered(archive, place, dict(loaded(place, "dict")))
    for day, periods in dict(loaded("Housekeeper.Schedule", "dict")).items():
        for period in periods if is_a(periods, "strings") else []:
            hours = re.fullmatch(r"(\d{1,2})-(\d{1,2})", period)
            if not hours or not int(hours[1]) < int(hours[2]) <= 24:
                yield (
                    f"{full}.Housekeeper.Schedule.{day} has {shown(period)}, which is no time of a day. Set it to "
                    "hours such as 0-6 or 20-24."
                )
    for index, server in enumerate(loaded("MultitenantDicom.Servers", "list")):
        yield from tenant(f"{full}.MultitenantDicom.Servers[{index}]", server)
    for place in ("ServeFolders", "ServeFolders.Folders"):
        yield from served(archive, place, at(configuration, place))


def dictionary_problem(archive: Archive, tag: str, entry: Any) -> str:
    """Why the archive refuses an entry of its dictionary; empty where it takes it."""
    if not isinstance(entry, list) or not 2 <= len(entry) <= 5:
        return "it is no list of two to five"
    if not all(is_a(part, kind) for part, kind in zip(entry, ("str", "str", "int", "int", "str"), strict=False)):
        return "its parts are not two texts, two numbers and a text"
    if len(entry) == 2:
        return "this archive needs the least number of values, too"
    newer = archive.is_at_least("1.13.0")
    if not re.fullmatch(NEWER_REPRESENTATION if newer else REPRESENTATION, entry[0]):
        return f"{entry[0]} is no value representation"
    least, most = entry[2], entry[3] if len(entry) > 3 else 0
    if least < 1 or (most != 0 and most < least) or max(least, most) > LARGEST:
        return "the least number of values is 1, and the most is not less (0 for any)"
    # A name stands for a tag that is there, and none can be there twice.
    if not HEXADECIMAL.fullmatch(tag):
        return "its name is no number of a tag"
    group = int(tag[:4], 16)
    if len(entry) == 5 and entry[4] and (group % 2 == 0 or group in (1, 3, 5, 7, 0xFFFF)):
        return "a private creator belongs to a tag with an odd group from 0009"
    return ""


def unknown_tags(archive: Archive, place: str, tags: list[str], effect: str, own: Mapping[str, Any]) -> Iterator[str]:
    """DICOM tags that the archive does not know by their name. own: the option Dictionary, which gives more names."""
    names = [tag for tag in tags if not HEXADECIMAL.fullmatch(tag)]
    if not names:
        return
    given = [entry[1] for entry in own.values() if is_a(entry, "list") and len(entry) > 1 and is_a(entry[1], "str")]
    # OtherPatientIDs: the archive's own name for what DCMTK calls retired.
    keywords = sorted({*archive.keywords(), *given, "OtherPatientIDs"})
    for name in names:
        if name in keywords:
            continue
        near = [one for one in keywords if plain(one).removeprefix("retired") == plain(name)]
        near = near or difflib.get_close_matches(name, keywords, n=1, cutoff=0.8)
        yield (
            f"{archive.variable}.{place} has {shown(name)}, which is no DICOM tag that the archive knows: {effect}. "
            "Set it to a keyword such as Rows, or a number such as 0028,0010."
            f"{f' Did you mean {near[0]}?' if near else ''}"
        )


def numbered(archive: Archive, place: str, names: Mapping[str, Any]) -> Iterator[str]:
    """Names that users give to numbers: no number twice, no number as a name."""
    full = f"{archive.variable}.{place}"
    taken: dict[int, str] = {}
    own = NAMES[place] + (NEWER_NAMES[place] if archive.is_at_least("1.13.0") else [])
    for name, entry in names.items():
        value = entry
        if place == "UserContentType" and isinstance(entry, list):
            value = entry[0] if len(entry) == 2 and isinstance(entry[1], str) else None
        if re.fullmatch(r"-?\d+", str(name)):
            yield f"{full}['{name}'] has a number for its name: {STOPS}. Set a name with letters."
        elif name in own:
            yield f"{full}.{name} has a name that the archive gives itself: {STOPS}. Set another name."
        if place == "UserContentType" and not (is_a(value, "int") and 1024 <= value <= 65535):
            yield (
                f"{full}.{name} is {shown(entry)}: {STOPS}. Set it to a number from 1024 to 65535, or to "
                "[number, MIME type]."
            )
        elif is_a(value, "int") and value in taken:
            yield f"{full}.{name} is {value}, as {taken[value]} is: {STOPS}. Set it to a number of its own."
        elif is_a(value, "int"):
            taken[value] = str(name)


def tenant(full: str, server: Any) -> Iterator[str]:
    """One entry of MultitenantDicom.Servers."""
    names = {
        "AET": "str",
        "Port": "uint",
        "Labels": "strings",
        "LabelsConstraint": "str",
        "LabelsStoreLevels": "strings",
    }
    if not isinstance(server, Mapping):
        yield f"{full} is {shown(server)}, which is no dictionary. Set it to a dictionary with AET, Port and Labels."
        return
    for name in server:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
            yield (
                f"{full}.{name} is not known: the plugin would ignore it silently."
                + (f" Did you mean {near[0]}?" if near else "")
                + f" Set one of {', '.join(names)}."
            )
    for name in ("AET", "Port", "Labels"):
        if name not in server:
            yield f"{full} has no {name}: {STOPS}. Set it to {TYPES[names[name]]}."
    right = {name for name, kind in names.items() if name in server and is_a(server[name], kind)}
    for name in names:
        if name in server and name not in right:
            yield f"{full}.{name} is {shown(server[name])}. Set it to {TYPES[names[name]]}."
    wrong = {
        "AET": ("AET" in right and not 1 <= len(server["AET"]) <= 16, "an AE title of 1 to 16 characters"),
        "Port": ("Port" in right and not 1 <= server["Port"] <= 65535, "a number from 1 to 65535"),
        "Labels": (
            "Labels" in right and not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one) for one in server["Labels"]),
            "labels of 1 to 64 letters, digits, '_' and '-'",
        ),
        "LabelsConstraint": (
            "LabelsConstraint" in right and server["LabelsConstraint"] not in ("All", "Any", "None"),
            "one of All, Any, None (in quotes)",
        ),
        "LabelsStoreLevels": (
            "LabelsStoreLevels" in right and not all(LEVEL.fullmatch(one) for one in server["LabelsStoreLevels"]),
            f"a list of {', '.join(LEVELS)}",
        ),
    }
    for name, (is_wrong, remedy) in wrong.items():
        if is_wrong:
            ends = "the server would listen on another port" if name == "Port" else STOPS
            yield f"{full}.{name} is {shown(server[name])}: {ends}. Set it to {remedy}."


def served(archive: Archive, place: str, folders: Any) -> Iterator[str]:
    """Folders of the container that every login could read, with passwords in them."""
    if not isinstance(folders, Mapping) or "ServeFolders" not in archive.loaded:
        return
    for name, folder in folders.items():
        if not isinstance(folder, str) or f"{place}.{name}" in archive.accepted:
            continue
        path = os.path.normpath(f"/{folder}").replace("//", "/")
        inside = [one for one in ("/etc/orthanc", "/proc") if f"{path}/".startswith(f"{one}/")]
        around = [
            one for one in ("/etc/orthanc", "/proc", "/srv/orthanc") if f"{one}/".startswith(f"{path.rstrip('/')}/")
        ]
        if inside or around:
            yield (
                f"{archive.variable}.{place}['{name}'] is {shown(folder)}, which is dangerous: whoever logs in "
                f"could read {(inside or around)[0]}, which holds passwords or the images' index. The safe way: a "
                "folder with nothing else in it. If you know and want it, set orthanc_accepted_options: "
                f"[{place}.{name}]."
            )


def substitutions(archive: Archive, value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from substitutions(archive, part, f"{place}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from substitutions(archive, part, f"{place}[{index}]")
    elif isinstance(value, str) and "${" in value:
        yield (
            f"{place} has a '${{': the archive would put an environment variable of its container there, which is "
            "empty. Set the value itself; lookup('ansible.builtin.env', …) takes it from the controller's environment."
        )


def acceptances(archive: Archive) -> Iterator[str]:
    """Accepted places that are known and not dangerous: a yes to nothing hides what was meant."""
    for place in archive.accepted:
        variants = archive.variants(place)
        if place in VARIABLES or (variants and variants is archive.options.get("ServeFolders.*")):
            continue
        if variants and not any("danger" in variant for variant in variants):
            yield f"orthanc_accepted_options has {place}, which is not dangerous. Take it out."
        elif not variants and archive.is_known_section(place):
            yield (
                f"orthanc_accepted_options has {place}, whose options are known: misspelt ones in it would no longer "
                f"be told. Take it out, or set the option that you mean, such as {place}.{archive.below(place)[0]}."
            )
        elif not variants:
            parent, _dot, name = place.rpartition(".")
            names = [one for one in [*archive.below(parent), *([] if parent else VARIABLES)] if one != name]
            near = difflib.get_close_matches(name.lower(), [one.lower() for one in names], n=1, cutoff=0.85)
            if near:
                meant = [one for one in names if one.lower() == near[0]][0]  # noqa: RUF015
                right = f"{parent}.{meant}" if parent else meant
                yield f"orthanc_accepted_options has {place}. Did you mean {right}? Take it out or set that."


def findings(
    configuration: Any,
    flavor: str,
    plugins: list[str],
    versions: Mapping[str, str] | None = None,
    reserved: Mapping[str, str] | None = None,
    merged: Mapping[str, Any] | None = None,
    accepted: list[str] | None = None,
    allow_deletion: bool = False,
    variable: str = "orthanc_configuration",
    implied: list[str] | None = None,
    syntaxes: Any = (),
) -> list[str]:
    """Every finding, each with the variable, the place in it and what to do. No finding shows a secret."""
    # What is no text is told by the check of the types; here it must only break nothing.
    texts = [[str(one) for one in many or []] for many in (plugins, accepted, implied)]
    archive = Archive(flavor, texts[0], versions or {}, reserved or {}, texts[1], variable, texts[2])
    if not isinstance(configuration, Mapping):
        return [f"{variable} is no dictionary. Set it to a dictionary of the archive's options."]
    return [
        *plugins_findings(archive),
        *versions_findings(archive, versions or {}),
        *syntaxes_findings(archive, list(syntaxes) if isinstance(syntaxes, (list, tuple)) else syntaxes),
        *walk(archive, configuration),
        *contents(archive, configuration),
        *relations(archive, configuration if merged is None else merged, allow_deletion),
        *substitutions(archive, configuration, variable),
        *acceptances(archive),
    ]
