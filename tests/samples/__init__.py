# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample studies: made by arithmetic, not taken from any person, and a loader that sends them to an archive.

python -m tests.samples generate --output DIR
python -m tests.samples load --url https://localhost:8443/pacs/dicom-web --ca ca.pem …
"""
