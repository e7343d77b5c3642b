# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How a module names one resource of Orthanc; the options are those of module_utils/_orthanc_resources.py."""

    DOCUMENTATION = r"""
options:
  id:
    description:
      - Orthanc's identifier of the resource.
      - Saves the request that finds it by O(uid). One of both is needed.
    type: str
  uid:
    description:
      - The resource's DICOM identifier, which is the UID of a study, series or instance, or the ID of a patient.
      - Refused where it means several, as one StudyInstanceUID with two patient IDs does.
    type: str
"""
