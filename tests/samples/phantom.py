# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of bodies that do not exist.

Every shape is an ellipse (or a sum of cosines) with a soft edge, in millimetres, in the patient's directions of
DICOM: x grows to the patient's left, y to the back. The rows of an axial image therefore run from front to back.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.floating[Any]]  # float32 throughout: half the memory traffic


def _soft(signed_distance: Image, width: float = 1.2) -> Image:
    """Turn a distance in mm (positive inside) into a coverage of 0..1 with an edge ``width`` mm wide."""
    coverage: Image = np.clip(signed_distance / np.float32(width) + np.float32(0.5), 0, 1)
    return coverage


def _step(value: float, low: float, high: float) -> float:
    """Smooth 0..1 ramp between ``low`` and ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Canvas:
    """A square image with a millimetre grid.

    size: pixels per side; field: mm per side; shift: where the body's axis lies, in mm.
    """

    def __init__(self, size: int, field: float, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self.size = size
        self.spacing = field / size
        self.origin = -(field - self.spacing) / 2
        axis = self.origin + self.spacing * np.arange(size)
        self.x: Image = (axis - shift[0]).astype(np.float32)[np.newaxis, :]
        self.y: Image = (axis - shift[1]).astype(np.float32)[:, np.newaxis]

    def _window(self, cx: float, cy: float, reach_x: float, reach_y: float) -> tuple[slice, slice]:
        left, right = np.searchsorted(self.x[0], (cx - reach_x, cx + reach_x))
        top, bottom = np.searchsorted(self.y[:, 0], (cy - reach_y, cy + reach_y))
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def ellipse(
        self, cx: float, cy: float, a: float, b: float, angle: float = 0.0, power: float = 2.0, edge: float = 1.2
    ) -> tuple[tuple[slice, slice], Image]:
        """Coverage of an ellipse: the window of the image that it touches, and 0..1 in this window.

        a, b: half axes (mm); angle: degrees, turning the first axis towards the back; power: 2 is an ellipse,
        more is boxier; edge: width of the soft edge (mm).
        """
        reach = max(a, b) + edge if angle else 0.0
        window = self._window(cx, cy, reach or a + edge, reach or b + edge)
        x, y = self.x[:, window[1]] - np.float32(cx), self.y[window[0]] - np.float32(cy)
        if angle:
            cos, sin = np.float32(np.cos(np.radians(angle))), np.float32(np.sin(np.radians(angle)))
            x, y = x * cos + y * sin, y * cos - x * sin
        if power == 2.0:
            radius = np.sqrt((x / np.float32(a)) ** 2 + (y / np.float32(b)) ** 2)
        else:
            p = np.float32(power)
            radius = (np.abs(x / np.float32(a)) ** p + np.abs(y / np.float32(b)) ** p) ** (1 / p)
        return window, _soft((1 - radius) * np.float32(min(a, b)), edge)

    def paint(self, image: Image, value: float, *shape: float, within: Image | None = None, **options: float) -> None:
        """Blend an ellipse of one value into ``image``, only ``within`` another coverage when one is given."""
        if min(shape[2], shape[3]) <= 0.3:
            return
        window, coverage = self.ellipse(*shape, **options)
        if within is not None:
            coverage = coverage * within[window]
        part = image[window]
        part += coverage * (np.float32(value) - part)

    def mask(self, *shape: float, **options: float) -> Image:
        """Coverage of an ellipse over the whole image."""
        full = np.zeros((self.size, self.size), np.float32)
        window, coverage = self.ellipse(*shape, **options)
        full[window] = coverage
        return full


def _noise(generator: np.random.Generator, size: int, sigma: float) -> Image:
    """Noise with the fine grain of a reconstruction kernel (neighbours are a little alike)."""
    white = generator.standard_normal((size + 1, size + 1), dtype=np.float32)
    grain: Image = (white[:-1, :-1] + white[1:, :-1] + white[:-1, 1:] + white[1:, 1:]) * np.float32(sigma / 2)
    return grain


class Thorax:
    """A chest in Hounsfield units; ``h`` is the depth in mm below the apex of the lungs (0..300).

    Air outside the reconstruction circle is -1024.
    """

    def __init__(self, size: int = 512, field: float = 400.0, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self.canvas = Canvas(size, field, shift)
        self._field = field
        tubes = np.random.default_rng(1895)
        # Vessels run from the hilum outwards: end point, radius at the hilum, depth at the hilum and at the end.
        count = 90
        self._side = np.where(np.arange(count) % 2, 1.0, -1.0)
        turn = tubes.uniform(-1.9, 1.9, count)
        self._reach = np.stack([np.cos(turn) * tubes.uniform(35, 75, count), np.sin(turn) * 62], axis=1)
        self._radius = tubes.uniform(1.6, 4.2, count)
        self._start = tubes.uniform(95, 135, count)
        self._end = np.clip(self._start + tubes.normal(0, 75, count), 8, 285)

    @cached_property
    def _dome(self) -> Image:
        """Depth of the diaphragm below each point (mm)."""
        x, y = self.canvas.x, self.canvas.y
        right = 172 + ((x + 55) / 9.5) ** 2 + ((y + 8) / 9.0) ** 2
        left = 186 + ((x - 62) / 9.0) ** 2 + ((y + 4) / 9.0) ** 2
        dome: Image = np.minimum(np.minimum(right, left), 300).astype(np.float32)
        return dome

    @cached_property
    def _outside(self) -> npt.NDArray[np.bool_]:
        axis = np.arange(self.canvas.size) - (self.canvas.size - 1) / 2
        outside: npt.NDArray[np.bool_] = (
            axis[np.newaxis, :] ** 2 + axis[:, np.newaxis] ** 2 > (self.canvas.size / 2) ** 2
        )
        return outside

    @cached_property
    def _turn(self) -> Image:
        """0 at the spine, 1 at the breastbone."""
        turn: Image = np.arctan2(np.abs(self.canvas.x), self.canvas.y + 5) / np.float32(np.pi)
        return turn

    def _cavity(self, h: float) -> tuple[float, float]:
        return 38 + 79 * _step(h, -40, 120), 40 + 40 * _step(h, -30, 110)

    def slice(self, h: float, seed: int, sigma: float = 11.0) -> Image:
        """One axial image at depth ``h``; ``seed`` chooses its noise, ``sigma`` is the noise in HU."""
        canvas = self.canvas
        image = np.full((canvas.size, canvas.size), -1000, np.float32)
        self._couch(image)

        wide, deep = 150 + 10 * _step(h, 0, 120) - 5 * _step(h, 200, 300), 92 + 17 * _step(h, 0, 150)
        canvas.paint(image, 30, 0, 0, wide, deep, power=2.4)
        canvas.paint(image, -100, 0, 0, wide - 2, deep - 2, power=2.4)
        canvas.paint(image, 55, 0, -1, wide - 13 - 4 * _step(h, 150, 300), deep - 11, power=2.4, edge=3)
        for side in (-1, 1):  # fat between the muscles of the chest wall
            canvas.paint(image, -90, side * 72, -deep + 17, 42, 1.8, side * 14, edge=2)
            canvas.paint(image, -90, side * 84, deep - 25, 40, 2, side * -16, edge=2)

        cavity_x, cavity_y = self._cavity(h)
        cavity = canvas.mask(0, -5, cavity_x, cavity_y, power=2.2)
        image += cavity * (self._organs(h, cavity_x, cavity_y) - image)
        self._bones(image, h, cavity_x, cavity_y)

        image += _noise(np.random.default_rng(seed), canvas.size, sigma)
        image[self._outside] = -1024
        drawn: Image = np.clip(image, -1024, 3071)
        return drawn

    def _couch(self, image: Image) -> None:
        x, y = self.canvas.x, self.canvas.y
        top = 127 - 22 * (x / 200) ** 2
        inside = _soft(np.minimum(y - top, top + 16 - y))
        shell = inside - _soft(np.minimum(y - top - 2, top + 14 - y))
        image += inside * 60 + shell * 640

    def _organs(self, h: float, cavity_x: float, cavity_y: float) -> Image:
        """What fills the ribcage."""
        canvas = self.canvas
        paint = canvas.paint
        shape = (canvas.size, canvas.size)

        lungs = canvas.mask(0, -5, cavity_x - 3, cavity_y - 3, power=2.2)
        lungs *= 1 - canvas.mask(2, -4, 26 + 5 * _step(h, 60, 160), cavity_y * 1.35, power=2.0, edge=4)
        lungs *= _soft(self._dome - np.float32(h), 2.5) * np.float32(_step(h, 4, 16))

        # Mediastinum above the diaphragm: fat with soft tissue; below it: the upper abdomen.
        organs = np.full(shape, -45, np.float32)
        paint(organs, 40, 0, -4, 25, 0.55 * cavity_y, edge=12)
        below = _soft(np.float32(h) - self._dome, 2.5)
        if h > 165:
            organs += below * (self._abdomen(h, shape) - organs)
        if h < 25:
            organs += np.float32(1 - _step(h, 4, 24)) * (40 - organs)
        organs += lungs * (-868 - organs)
        self._lung_vessels(organs, lungs, h)

        if 104 < h < 222:
            self._heart(organs, h)
        self._great_vessels(organs, h)
        self._airways(organs, h)
        # A nodule in the right upper lobe, so that there is something to find.
        paint(organs, 45, -68, -28, *[float(np.sqrt(max(0.0, 8.0**2 - (h - 84) ** 2)))] * 2)
        return organs

    def _abdomen(self, h: float, shape: tuple[int, int]) -> Image:
        paint = self.canvas.paint
        organs = np.full(shape, -95, np.float32)
        grow = _step(h, 165, 230)
        paint(organs, 112, -48, -6, 70 + 12 * grow, 74, power=2.2, edge=2)  # liver
        paint(organs, 112, 15, -40, 48, 26 + 4 * grow, 12, edge=2)
        spleen = float(np.sqrt(max(0.0, 1 - ((h - 240) / 55) ** 2)))
        paint(organs, 128, 84, 30, 20 * spleen, 36 * spleen, -20, edge=2)
        stomach = float(np.sqrt(max(0.0, 1 - ((h - 245) / 60) ** 2)))
        if stomach > 0.05:
            cx, cy, a, b = 58.0, -22.0, 40 * stomach, 34 * stomach
            paint(organs, 55, cx, cy, a + 3, b + 3, 25)
            window, inside = self.canvas.ellipse(cx, cy, a, b, 25)
            level = self.canvas.y[window[0]] - np.float32(cy - 6)  # air above, fluid below
            content = np.where(level < 0, np.float32(-960), np.float32(12)) + 0 * self.canvas.x[:, window[1]]
            organs[window] += inside * (content - organs[window])
        for k, (x, y, drift) in enumerate(
            ((-70, -10, 0.35), (-45, 15, -0.3), (-30, -30, 0.25), (-88, 12, -0.2), (-58, -40, 0.2))
        ):
            paint(organs, 165, x + drift * (h - 230), y + 0.2 * (h - 230) * (-1) ** k, 3.4 - 0.3 * k, 5, 30 * k)
        for side in (-1, 1):
            kidney = float(np.sqrt(max(0.0, 1 - ((h - 300 - 6 * side) / 48) ** 2)))
            paint(organs, 185, side * 58, 44, 24 * kidney, 29 * kidney, side * 25, edge=2)
            paint(organs, 60, side * 53, 40, 10 * kidney, 14 * kidney, side * 25, edge=3)
        paint(organs, 60, -6, 2 + 0.02 * h, 26, 7, -8, edge=3)  # pancreas and crura
        paint(organs, 130, -24, 30, 12, 9)  # inferior vena cava
        return organs

    def _heart(self, organs: Image, h: float) -> None:
        paint = self.canvas.paint

        def size(centre: float, reach: float, r: float) -> float:
            return r * float(np.sqrt(max(0.0, 1 - ((h - centre) / reach) ** 2)))

        slide = 0.12 * (h - 160)
        paint(organs, -75, 22 + slide, -24, size(163, 58, 66), size(163, 58, 51), 28, edge=2)
        paint(organs, 85, 22 + slide, -24, size(163, 55, 61), size(163, 55, 46), 28, edge=2)
        paint(organs, 205, 46 + slide, -20, size(172, 34, 27), size(172, 34, 19), 45, edge=2)  # left ventricle
        paint(organs, 165, 8 + slide, -44, size(170, 38, 36), size(170, 38, 15), 18, edge=2)  # right ventricle
        paint(organs, 200, 8, 8, size(136, 26, 28), size(136, 26, 15), 4, edge=2)  # left atrium
        paint(organs, 160, -26, -18, size(150, 36, 17), size(150, 36, 22), 0, edge=2)  # right atrium

    def _great_vessels(self, organs: Image, h: float) -> None:
        paint = self.canvas.paint
        if 72 <= h < 138:  # ascending aorta
            paint(organs, 225, -8 - 0.06 * (h - 72), -22, 15, 15)
        if h >= 72:  # descending aorta comes to the middle on its way down
            drift = _step(h, 150, 290)
            paint(organs, 225, 25 - 13 * drift, 37 - 2 * drift, 12.5 - 2 * drift, 12.5 - 2 * drift)
        if 56 < h < 76:  # arch
            paint(organs, 225, 9, 8, 37, 13 * float(np.sqrt(1 - ((h - 66) / 10) ** 2)), 60)
        if h <= 62:  # branches of the arch
            for x, y, r in ((-16, -14, 6.5), (6, -12, 4.5), (19, 6, 5.0)):
                paint(organs, 220, x * (1 + 0.006 * (62 - h)), y, r, r)
        if 20 < h < 150:
            paint(organs, 240, -31, -16, 9, 8)  # superior vena cava
        if h <= 24:
            for side in (-1, 1):
                paint(organs, 235, side * 30, -18, 11, 7, side * -20)
        if 92 < h < 122:
            paint(organs, 215, 15, -26, 13, 14)  # pulmonary trunk
        if 98 < h < 116:
            flat = float(np.sqrt(1 - ((h - 107) / 9) ** 2))
            paint(organs, 215, -14, 0, 34, 9 * flat, -6)
            paint(organs, 215, 36, 2, 20, 8 * flat, 30)

    def _airways(self, organs: Image, h: float) -> None:
        paint = self.canvas.paint
        if h < 98:
            paint(organs, 50, 0, 10, 11, 10.5)
            paint(organs, -985, 0, 10, 9, 8.5)
        elif h < 138:
            for side, run in ((-1, 0.75), (1, 0.95)):
                x = side * (5 + run * (h - 98))
                paint(organs, 40, x, 12 + 0.1 * (h - 98), 8.5, 7.5)
                paint(organs, -985, x, 12 + 0.1 * (h - 98), 6.8, 5.8)
        if h < 215:
            paint(organs, 45, 9, 27, 7, 5.5)  # oesophagus
            paint(organs, -700, 9, 27, 1.6, 1.2)

    def _lung_vessels(self, image: Image, lungs: Image, h: float) -> None:
        run = (h - self._start) / (self._end - self._start)
        for k in np.flatnonzero((run > 0) & (run < 1)):
            t = float(run[k])
            x = self._side[k] * (32 + t * self._reach[k, 0])
            y = 4 + t * self._reach[k, 1]
            r = float(self._radius[k]) * (1 - 0.75 * t)
            # The flatter a vessel runs in the slice, the longer its cut.
            cut = r * (1 + 60 / (20 + abs(self._end[k] - self._start[k])))
            angle = float(np.degrees(np.arctan2(self._reach[k, 1], self._side[k] * self._reach[k, 0])))
            self.canvas.paint(image, 60, x, y, cut, r, angle, within=lungs, edge=1.4)

    def _bones(self, image: Image, h: float, cavity_x: float, cavity_y: float) -> None:
        paint = self.canvas.paint
        x, y = self.canvas.x, self.canvas.y + 5

        # Ribs: a band around the cavity, cut by surfaces that slope down from the spine to the breastbone.
        p = np.float32(2.2)
        radius = (np.abs(x / np.float32(cavity_x)) ** p + np.abs(y / np.float32(cavity_y)) ** p) ** (1 / p)
        out = (radius - 1) * np.float32(0.5 * (cavity_x + cavity_y)) - 7
        band = _soft(4.5 - np.abs(out), 1.5)
        phase = (np.float32(h + 12) - 78 * np.sin(self._turn * np.float32(np.pi / 2))) / 25
        rib = np.clip((np.cos(phase * np.float32(2 * np.pi)) - np.float32(0.15)) * 5, 0, 1)
        front = np.clip((self._turn - np.float32(0.80)) * 20, 0, 1)  # cartilage in front
        behind = np.clip((self._turn - np.float32(0.10)) * 30, 0, 1)
        bone = np.minimum(230 + 130 * np.abs(out), 900) * (1 - front) + 120 * front
        cover = band * rib * behind
        cover *= 1 - np.clip((self._turn - np.float32(0.92)) * 40, 0, 1)
        image += cover * (bone - image)

        # Breastbone, shoulder blades.
        chest = -5 - cavity_y - 7
        if 45 < h < 205:
            paint(image, 650, 0, chest, 19 - 6 * _step(h, 60, 110), 6.5)
            paint(image, 190, 0, chest, 17 - 6 * _step(h, 60, 110), 4.6)
        if h < 50:
            for side in (-1, 1):  # collar bones
                far = 26 + 1.5 * (50 - h)
                paint(image, 680, side * far, chest + 6 + 0.1 * (50 - h), 15, 6, side * -14)
                paint(image, 240, side * far, chest + 6 + 0.1 * (50 - h), 13, 4, side * -14)
        if h < 150:
            length = 40 * (1 - _step(h, 70, 150))
            for side in (-1, 1):
                paint(image, 620, side * 96, 55 + 0.02 * h, length, 3.6, side * -38)
                paint(image, 300, side * 96, 55 + 0.02 * h, length - 2.5, 1.6, side * -38)

        # Spine: bodies with thin discs between them, the canal, the arch behind it.
        beat = (h % 25.0) / 25.0
        disc = _step(abs(beat - 0.5), 0.34, 0.42)
        body_y = 60 + 4 * _step(h, 0, 120)
        grow = 15 + 6 * _step(h, 0, 260)
        if disc < 1:
            paint(image, 620, 0, body_y, grow + 3, grow - 1)
            paint(image, 210, 0, body_y, grow + 1.2, grow - 2.8, edge=2.5)
        if disc > 0:
            window, cover = self.canvas.ellipse(0, body_y, grow + 3, grow - 1)
            image[window] += np.float32(disc) * cover * (95 - image[window])
        arch = _step(abs(beat - 0.75), 0.45, 0.30)
        back = body_y + grow + 6
        if arch > 0.02:
            paint(image, 560, 0, back, 15, 13)
            for side in (-1, 1):
                paint(image, 540, side * 24, back + 2, 18 * arch, 4.5, side * 18)
                paint(image, 240, side * 24, back + 2, 16 * arch, 2.5, side * 18)
        paint(image, 560, 0, min(back + 14, 92), 3.2, 9 * max(arch, 0.55))
        paint(image, -20, 0, back, 11, 9.5)
        paint(image, 38, 0, back, 8, 7)


class Head:
    """A T1-weighted brain in arbitrary units (0..4095); ``z`` is the height in mm above the middle of the head."""

    def __init__(self, size: int = 256, field: float = 230.0) -> None:
        self.canvas = Canvas(size, field)

    @cached_property
    def _angle(self) -> Image:
        angle: Image = np.arctan2(self.canvas.y, self.canvas.x)
        return angle

    @cached_property
    def _bias(self) -> Image:
        """The receive coil sees the rim a little brighter than the middle."""
        bias: Image = 0.88 + 0.22 * ((self.canvas.x - 25) ** 2 + (self.canvas.y + 20) ** 2) / np.float32(115.0**2)
        return bias

    def slice(self, z: float, seed: int, sigma: float = 22.0) -> Image:
        """One axial image at height ``z`` (-60..60); ``seed`` chooses its noise."""
        canvas, paint = self.canvas, self.canvas.paint
        scale = float(np.sqrt(max(0.05, 1 - (z / 88 if z > 0 else z / 130) ** 2)))
        a, b = 76 * scale, 96 * scale
        image = np.zeros((canvas.size, canvas.size), np.float32)
        paint(image, 1350, 0, 0, a, b)  # skin and the fat under it
        paint(image, 700, 0, 0, a - 6, b - 6)
        paint(image, 110, 0, 0, a - 8, b - 8)  # skull: cortical, marrow, cortical
        paint(image, 520, 0, 0, a - 10, b - 10)
        paint(image, 110, 0, 0, a - 12.5, b - 12.5)
        ca, cb = a - 15, b - 15
        paint(image, 260, 0, 0, ca, cb)

        # Cortex: a rim folded by a few waves that wander from slice to slice.
        x, y, angle = canvas.x, canvas.y, self._angle
        radius = np.sqrt((x / np.float32(ca)) ** 2 + (y / np.float32(cb)) ** 2)
        fold = np.zeros_like(radius)
        for waves, depth, drift in ((9, 0.030, 0.07), (17, 0.034, -0.11), (26, 0.028, 0.16), (41, 0.014, -0.05)):
            fold += np.float32(depth) * np.cos(waves * angle + np.float32(drift * z + waves))
        surface = np.float32(0.97) + np.minimum(fold + np.float32(0.02), 0) * np.float32(1.9)
        inner = np.minimum(np.float32(0.83) + fold * np.float32(1.7), surface - np.float32(0.055))
        grey = _soft((surface - radius) * np.float32(ca))
        white = _soft((inner - radius) * np.float32(ca), 1.8)
        image += grey * (900 - image)
        image += white * (1330 - image)
        # The fissure between the halves, deeper in front and behind.
        fissure = _soft(1.3 - np.abs(x + 1.2 * np.sin(y / 17)), 1.4) * np.clip(
            (np.abs(y) - np.float32(cb * 0.38)) / 6, 0, 1
        )
        if z > 35:
            fissure = _soft(1.3 - np.abs(x + 1.2 * np.sin(y / 17)), 1.4) + 0 * y
        image += fissure * grey * (280 - image)

        self._deep(image, z)
        if z < -18:
            self._base(image, z, b)
        image *= self._bias
        generator = np.random.default_rng(seed)
        real = image + _noise(generator, canvas.size, sigma)
        drawn: Image = np.clip(np.hypot(real, _noise(generator, canvas.size, sigma)), 0, 4095)
        return drawn

    def _deep(self, image: Image, z: float) -> None:
        paint = self.canvas.paint
        if -22 < z < 38:
            size = float(np.sqrt(1 - ((z - 8) / 30.5) ** 2))
            for side in (-1, 1):
                paint(image, 960, side * 24, -6, 10 * size, 20 * size, side * 18, edge=2)  # lentiform nucleus
                paint(image, 940, side * 10, 8, 8 * size, 13 * size, side * -12, edge=2)  # thalamus
                paint(image, 270, side * 9, -24, 4.5 * size, 15 * size, side * -14)  # front horns
                paint(image, 980, side * 14.5, -24, 3.5 * size, 10 * size, side * -14)  # caudate head
                paint(image, 270, side * 17, 33, 5 * size, 15 * size, side * 22)  # back horns
            paint(image, 270, 0, 8, 1.6, 11 * size)
        if 18 < z < 44:
            size = float(np.sqrt(1 - ((z - 31) / 13) ** 2))
            for side in (-1, 1):
                paint(image, 270, side * 11, 4, 5.5 * size, 30 * size, side * 4)

    def _base(self, image: Image, z: float, b: float) -> None:
        """Back of the skull's base: cerebellum and brain stem; in front the eyes."""
        paint = self.canvas.paint
        depth = _step(-z, 18, 34)
        paint(image, 290, 0, 46, 50 * depth, 30 * depth, edge=2)
        window, cover = self.canvas.ellipse(0, 46, 47 * depth + 0.5, 27 * depth + 0.5)
        folia = 1010 + 190 * np.cos(
            (self.canvas.y[window[0]] + 0.25 * np.abs(self.canvas.x[:, window[1]])) * np.float32(1.5)
        )
        image[window] += cover * (folia - image[window])
        paint(image, 1250, 0, 14, 14 * depth, 13 * depth, edge=2)
        paint(image, 270, 0, 29, 6 * depth, 3.5 * depth)
        if z < -32:
            size = float(np.sqrt(max(0.0, 1 - ((z + 48) / 16) ** 2)))
            for side in (-1, 1):
                cy = -b + 23
                paint(image, 1500, side * 33, cy + 8, 17 * size, 24 * size, side * 10, edge=2)
                paint(image, 850, side * 28, cy + 22, 2.2 * size, 15 * size, side * 18)
                paint(image, 330, side * 34, cy, 12.5 * size, 12.5 * size)
                paint(image, 760, side * 34, cy - 9, 5 * size, 2.2 * size)
            paint(image, 60, 0, -b + 30, 9, 19)
