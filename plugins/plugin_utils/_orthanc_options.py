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


@functools.lru_cache(maxsize=1)
def known() -> dict[str, Any]:
    path = os.path.join(os.path.dirname(__file__), "_orthanc_options.json")
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


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

    def is_parent(self, place: str) -> bool:
        return place in self.parents or any(matches(parent, place) for parent in self.parents if "*" in parent)

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
    full = f"{archive.variable}.{place}"
    types = variant["type"] if isinstance(variant["type"], list) else [variant["type"]]
    secret = variant.get("secret", False)
    said = " a value" if secret else f" {shown(value)}"
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
    if "range" in variant and not variant["range"][0] <= value <= variant["range"][1]:
        yield f"{full} is{said}. Set it to a number from {variant['range'][0]} to {variant['range'][1]}."
    danger = variant.get("danger")
    if danger and endangers(danger["when"], value) and place not in archive.accepted:
        yield (
            f"{full} is{said}, which is dangerous: {danger['why']}. The safe way: {danger['instead']}. "
            f"If you know and want it, set orthanc_accepted_options: [{place}]."
        )


def walk(archive: Archive, configuration: Mapping[Any, Any], parent: str = "") -> Iterator[str]:
    for name, value in configuration.items():
        place = f"{parent}.{name}" if parent else str(name)
        full = f"{archive.variable}.{place}"
        if not isinstance(name, str):
            yield f"{full} has the key {shown(name)}, which is no text. Set it in quotes."
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
            elif not any(place == one or place.startswith(f"{one}.") for one in archive.accepted):
                if not parent and ENVIRONMENT_NAME.fullmatch(name):
                    yield f"{full} {environment(archive, name)}"
                else:
                    where = f"the section {parent}" if parent else "the archive"
                    near = suggestion(archive, parent, name)
                    yield (
                        f"{full} is not known: {where} has no such option and would ignore it silently.{near}"
                        + ("" if near else " Take it out, or, for a plugin of your own, set orthanc_accepted_options: ")
                        + ("" if near else f"[{place}].")
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
    for plugin in archive.plugins:
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
    if at(merged, "DicomTlsEnabled") is True:
        needed = ["DicomTlsCertificate", "DicomTlsPrivateKey"]
        if at(merged, "DicomTlsRemoteCertificateRequired", True) is True:
            needed.append("DicomTlsTrustedCertificates")
        missing = [name for name in needed if not at(merged, name)]
        if missing:
            yield (
                f"{full}.DicomTlsEnabled is true without {', '.join(missing)}: the archive would not start. Take it "
                "out: DICOM with TLS is the gateway's (pacs_dicom_tls_networks)."
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
    for product in sorted(archive.loaded & {"AdvancedStorage", "Housekeeper", "ModalityWorklists", "Worklists"}):
        name = archive.products[product]["section"]
        if at(merged, f"{name}.Enable") is not True:
            library = sorted(archive.products[product]["libraries"])[0]
            yield (
                f"orthanc_plugins has {library}, which does nothing by itself. Set {full}.{name}.Enable to true, or "
                f"take {library} out."
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
        if variants and not any("danger" in variant for variant in variants):
            yield f"orthanc_accepted_options has {place}, which is not dangerous. Take it out."
        elif not variants:
            parent, _dot, name = place.rpartition(".")
            names = [one for one in archive.below(parent) if one != name]
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
) -> list[str]:
    """Every finding, each with the variable, the place in it and what to do. No finding shows a secret."""
    archive = Archive(
        flavor, list(plugins), versions or {}, reserved or {}, list(accepted or []), variable, list(implied or [])
    )
    if not isinstance(configuration, Mapping):
        return [f"{variable} is no dictionary. Set it to a dictionary of the archive's options."]
    return [
        *plugins_findings(archive),
        *walk(archive, configuration),
        *relations(archive, configuration if merged is None else merged, allow_deletion),
        *substitutions(archive, configuration, variable),
        *acceptances(archive),
    ]
