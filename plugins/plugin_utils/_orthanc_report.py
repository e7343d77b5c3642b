# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.

"""Whether an archive that runs is the one that was asked for: what it reports and what its log says, as findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import (
    Archive,
    findings,
    is_a,
    known,
    shown,
)

# What an archive that serves may have overcome.
PASSING = ("The database is currently not available", "locked by another instance")

# What the archive writes into its log (1.12.7), and what to do.
LOG: tuple[tuple[str, str], ...] = (
    (
        r"Inexistent path to plugin: \S*/lib(?P<what>\w+)\.so",
        "orthanc_plugins asks for {what}, which is not in the archive's image. Take it out, or use another image.",
    ),
    (
        r"Error while initializing plugin \S*/lib(?P<what>\w+)\.so",
        "The plugin {what} could not start; the lines above this one in the log say why. Mend its options in "
        "orthanc_configuration, or take it out of orthanc_plugins.",
    ),
    (
        r'The configuration option "(?P<what>[\w.]+)" must be (?P<more>.+)',
        "orthanc_configuration.{what} must be {more}. Set it so.",
    ),
    (
        r'configuration section "(?P<what>\w+)" is defined in 2 different',
        "{what} stands in two files of the archive's configuration directory. Remove the one that is not this role's.",
    ),
    (
        r"No available configuration for the (?P<what>\w+) index plugin",
        "The plugin for {what} has no configuration, so that the archive would keep its index in SQLite. Set "
        "orthanc_database (from the playbooks: postgresql_provider).",
    ),
    (
        PASSING[0],
        "The archive does not reach its database. Look whether it runs and lets the archive in (docs/database.md).",
    ),
    (
        PASSING[1],
        "Another archive uses the same database. Stop that one, or give this one a database of its own.",
    ),
)


def log_findings(lines: Iterable[str], serves: bool = False) -> list[str]:
    """What the lines of an archive's log mean, each once. Lines that are not known are passed over.

    serves: the archive answers, so that what may pass has passed.
    """
    found: list[str] = []
    for line in lines:
        for pattern, say in LOG:
            if serves and pattern in PASSING:
                continue
            if match := re.search(pattern, line):
                finding = say.format(**{"what": "", "more": ""} | match.groupdict())
                if finding not in found:
                    found.append(finding)
    return found


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def reported_versions(system: Mapping[str, Any], plugins: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Library, or Orthanc → version, as far as the archive tells one."""
    libraries = {
        identifier: library
        for product in known()["products"].values()
        for library, identifier in product.get("libraries", {}).items()
    }
    versions = {"Orthanc": str(system["version"])}
    for plugin in plugins:
        if plugin["id"] in libraries and re.match(r"\d", plugin["version"]):
            versions[libraries[plugin["id"]]] = plugin["version"]
    return versions


def unloaded(archive: Archive, loaded: set[str]) -> Iterator[str]:
    """Each library tells one name. Of some that name is known; the others can only be counted."""
    why = f"it tells of {', '.join(sorted(loaded)) or 'none'}. Its log says why (docker logs lightbox-orthanc)."
    names, nameless = set(), []
    for plugin in archive.plugins:
        product = archive.products.get(archive.product_of.get(plugin, ""), {})
        if "read" not in product:
            nameless.append(plugin)
            continue
        names.add(product["libraries"][plugin])
        if product["libraries"][plugin] not in loaded:
            yield f"orthanc_plugins asks for {plugin}, but the archive did not load it: {why}"
    there = len(loaded - names - {"explorer.js"})
    if there < len(nameless):
        yield (
            f"orthanc_plugins asks for {', '.join(nameless)}, but the archive loaded only {there} of "
            f"{len(nameless)}: {why}"
        )


def differences(
    info: Mapping[str, Any],
    flavor: str,
    plugins: list[str],
    versions: Mapping[str, str] | None = None,
    written: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    log: Iterable[str] = (),
) -> list[str]:
    """What an archive reports that is not what was asked for.

    info is the result of the module orthanc_info with system and plugins; plugins all that are to be loaded; written
    what stands in the archive's files; configuration what the user gave.
    """
    system = info.get("system")
    if not system:
        return ["The archive does not tell anything of itself. Look on: docker logs lightbox-orthanc"]
    archive = Archive(flavor, list(plugins), versions or {}, {}, [], "orthanc_configuration")
    reported = reported_versions(system, info.get("plugins") or [])
    found = list(unloaded(archive, {plugin["id"] for plugin in info.get("plugins") or []}))

    for libraries, said, what, way in (
        (
            ("PostgreSQLIndex", "MySQLIndex", "OdbcIndex"),
            "database_backend_plugin",
            "index in a database, but it fell back to SQLite",
            "the database's options",
        ),
        (
            ("AwsS3Storage", "AzureBlobStorage", "GoogleCloudStorage", "PostgreSQLStorage", "AdvancedStorage"),
            "storage_area_plugin",
            "images in another storage, but it keeps them on its disk",
            "the storage's options",
        ),
    ):
        asked = [plugin for plugin in plugins if plugin.endswith(libraries)]
        if asked and not system.get(said):
            found.append(f"The archive was asked to keep its {what}. Its log says why; then mend {way} ({asked[0]}).")

    for name, value in (written or {}).items():
        is_said = system.get(snake(name))
        same_kind = (
            is_said is not None and (is_a(is_said, "bool") == is_a(value, "bool")) and type(is_said) is type(value)
        )
        if same_kind and is_said != value:
            found.append(
                f"{name} was written as {shown(value)}, but the archive runs with {shown(is_said)}. Another one may "
                "answer at that address, or the container is older than its files: docker restart lightbox-orthanc"
            )

    # Other versions than those for which the options were checked matter only where an option depends on it.
    def checked(versions: Mapping[str, str]) -> list[str]:
        return findings(configuration or {}, flavor, plugins, versions=versions, merged={})

    before = checked(versions or {})
    for finding in checked({**(versions or {}), **reported}):
        if finding not in before and "orthanc_versions says" in finding:
            found.append(finding.replace("orthanc_versions says that the archive carries", "the archive that runs is"))
    return [*found, *(finding for finding in log_findings(log, serves=True) if finding not in found)]
