# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A one-page PDF, written by hand."""

from __future__ import annotations

from collections.abc import Sequence

BANNER = (26, 64, 115)  # red, green, blue of the heading's ground


def one_page(title: str, lines: Sequence[str]) -> bytes:
    """Return an A4 page with a heading, a rule and lines of text (ASCII), padded to an even length."""
    if not all(text.isascii() for text in (title, *lines)):
        raise ValueError("only ASCII text can be set in the standard fonts without an encoding table")

    def literal(text: str) -> str:
        return "(" + text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") + ")"

    drawing = [
        " ".join(f"{value / 255:.3f}" for value in BANNER) + " rg 56 752 483 40 re f",
        "1 1 1 rg BT /B 20 Tf 68 765 Td " + literal(title) + " Tj ET",
        "0 0 0 rg BT /R 12 Tf 16 TL 68 716 Td",
        *(literal(line) + " Tj T*" for line in lines),
        "ET",
        "0.6 G 0.5 w 56 60 m 539 60 l S",
    ]
    content = "\n".join(drawing).encode("ascii")
    fonts = b"<< /Font << /B 5 0 R /R 6 0 R >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources %s >>" % fonts,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    document = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(document)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    document += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    if len(document) % 2:
        document += b"\n"
    return bytes(document)
