# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_utils is private to the collection: its interface may change without notice.


"""The check of Orthanc's configuration before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lightbox.pacs.plugins.plugin_utils import (
    _orthanc_content,
    _orthanc_relations,
    _orthanc_values,
    _orthanc_variables,
)
from ansible_collections.lightbox.pacs.plugins.plugin_utils._orthanc_model import Orthanc


def configuration_errors(
    configuration: Any,
    flavor: str = "orthancteam",
    plugins: Any = (),
    *,
    merged: Mapping[str, Any] | None = None,
    allow_deletion: bool = False,
    syntaxes: Any = (),
    **server: Any,
) -> list[str]:
    """Return every error, each with the place and what to do. No error shows a secret.

    The parameters are those of the filter orthanc_configuration_errors. The class Orthanc takes the rest of them.
    """
    orthanc = Orthanc(flavor, plugins, **server)
    if not isinstance(configuration, Mapping):
        return [f"{orthanc.variable} is not a dictionary. Set it to a dictionary of Orthanc's options."]
    return [
        *_orthanc_variables.check_plugins(orthanc),
        *_orthanc_variables.check_versions(orthanc),
        *_orthanc_variables.check_transfer_syntaxes(orthanc, syntaxes),
        *_orthanc_values.check_options(orthanc, configuration),
        *_orthanc_content.check_content(orthanc, configuration),
        *_orthanc_relations.check_relations(orthanc, configuration if merged is None else merged, allow_deletion),
        *_orthanc_values.check_substitutions(configuration, orthanc.variable),
        *_orthanc_variables.check_accepted_options(orthanc),
    ]
