# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.


"""Whether the Orthanc that runs is the one that was configured: what it reports, and what its log means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import (
    Orthanc,
    format_value,
    load_data,
)
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_options import configuration_errors

# What Orthanc may log while it starts and recover from.
TEMPORARY = ("The database is currently not available", "locked by another instance")

# What Orthanc 1.12.7 logs, and what to do.
LOG: tuple[tuple[str, str], ...] = (
    (
        r"Inexistent path to plugin: \S*/lib(?P<what>\w+)\.so",
        "orthanc_plugins contains {what}, which is not in Orthanc's image. Remove it, or use another image.",
    ),
    (
        r"Error while initializing plugin \S*/lib(?P<what>\w+)\.so",
        "The plugin {what} could not start; the previous lines of the log give the reason. Correct its options in "
        "orthanc_configuration, or remove it from orthanc_plugins.",
    ),
    (
        r'The configuration option "(?P<what>[\w.]+)" must be (?P<more>.+)',
        "orthanc_configuration.{what} has the wrong type. Set it to {more}.",
    ),
    (
        r'configuration section "(?P<what>\w+)" is defined in 2 different',
        "{what} is set in two files of Orthanc's configuration directory. Remove the file that the role did not write.",
    ),
    (
        r"No available configuration for the (?P<what>\w+) index plugin",
        "The {what} plugin has no configuration, so that Orthanc would keep its index in SQLite. Set orthanc_database "
        "(in the playbooks: postgresql_provider).",
    ),
    (
        TEMPORARY[0],
        "Orthanc cannot connect to its database. Check that the database runs and accepts Orthanc's connections "
        "(docs/database.md).",
    ),
    (
        TEMPORARY[1],
        "Another Orthanc uses the same database. Stop that one, or give this one a database of its own.",
    ),
)
# Plugins that take over the index or the images, the field of /system with their path, and what happened without it.
BACKENDS = (
    (
        ("PostgreSQLIndex", "MySQLIndex", "OdbcIndex"),
        "database_backend_plugin",
        "the index fell back to SQLite. Correct the database's options",
    ),
    (
        ("AwsS3Storage", "AzureBlobStorage", "GoogleCloudStorage", "PostgreSQLStorage", "AdvancedStorage"),
        "storage_area_plugin",
        "Orthanc keeps the images on its disk. Correct the storage's options",
    ),
)


def log_errors(lines: Iterable[str], is_running: bool = False) -> list[str]:
    """Return what the lines of Orthanc's log mean, each once. Other lines are ignored.

    is_running: Orthanc answers, so that temporary errors are over.
    """
    errors = [
        remedy.format_map({"what": "", "more": ""} | match.groupdict())
        for line in lines
        for pattern, remedy in LOG
        if not (is_running and pattern in TEMPORARY) and (match := re.search(pattern, line))
    ]
    return list(dict.fromkeys(errors))


def to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def read_versions(system: Mapping[str, Any], plugins: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return Orthanc or library → version, as far as Orthanc reports one."""
    libraries = {
        identifier: library
        for product in load_data()["products"].values()
        for library, identifier in product.get("libraries", {}).items()
    }
    versions = {"Orthanc": str(system["version"])}
    for plugin in plugins:
        if plugin["id"] in libraries and re.match(r"\d", plugin["version"]):
            versions[libraries[plugin["id"]]] = plugin["version"]
    return versions


def contains(actual: Any, written: Any) -> bool:
    """Whether a value is the written one. Of an object, Orthanc may report more: UserMetadata by number, too."""
    if isinstance(actual, Mapping) and isinstance(written, Mapping):
        return all(name in actual and contains(actual[name], value) for name, value in written.items())
    return bool(actual == written)


def find_unloaded_plugins(orthanc: Orthanc, loaded: set[str]) -> Iterator[str]:
    """Yield libraries that did not load. Those whose identifier in /plugins is not in the data are only counted."""
    reason = f"It loaded {', '.join(sorted(loaded)) or 'none'}. The reason is in its log: docker logs lightbox-orthanc"
    identifiers, unlisted = set(), []
    for plugin in orthanc.plugins:
        product = orthanc.products.get(orthanc.product_of.get(plugin, ""), {})
        if "read" not in product:
            unlisted.append(plugin)
            continue
        identifiers.add(product["libraries"][plugin])
        if product["libraries"][plugin] not in loaded:
            yield f"orthanc_plugins contains {plugin}, but Orthanc did not load it. {reason}"
    others = len(loaded - identifiers - {"explorer.js"})
    if others < len(unlisted):
        yield (
            f"orthanc_plugins contains {', '.join(unlisted)}, but Orthanc loaded only {others} of {len(unlisted)}. "
            f"{reason}"
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
    """Return how the running Orthanc differs from its configuration.

    info is the result of the module orthanc_info with system and plugins; plugins all that are to be loaded; written
    the content of Orthanc's files; configuration the user's part of it.
    """
    system, loaded = info.get("system"), info.get("plugins") or []
    if not system:
        return ["Orthanc returned no system information. Check its log: docker logs lightbox-orthanc"]
    orthanc = Orthanc(flavor=flavor, plugins=plugins, versions=versions)
    errors = list(find_unloaded_plugins(orthanc, {plugin["id"] for plugin in loaded}))

    for libraries, field, effect in BACKENDS:
        wanted = [plugin for plugin in plugins if plugin.endswith(libraries)]
        if wanted and not system.get(field):
            errors.append(f"{wanted[0]} is to be loaded, but {effect}; the reason is in Orthanc's log.")

    for name, value in (written or {}).items():
        actual = system.get(to_snake_case(name))
        if type(actual) is type(value) and not contains(actual, value):
            errors.append(
                f"{name} was written as {format_value(value)}, but Orthanc runs with {format_value(actual)}. Another "
                "server may answer at that address, or the container is older than its files: docker restart "
                "lightbox-orthanc"
            )

    # Other versions than those of the check before the start matter only where an option depends on them.
    def check(versions: Mapping[str, str]) -> list[str]:
        return configuration_errors(
            configuration or {}, flavor, plugins, versions=versions, merged={}, versions_from="the server"
        )

    before = check(versions or {})
    after = check({**(versions or {}), **read_versions(system, loaded)})
    errors += [error for error in after if error not in before and "the server has" in error]
    return list(dict.fromkeys([*errors, *log_errors(log, is_running=True)]))
