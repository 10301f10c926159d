"""Pictures of surfaces, drawn from a seed: ten materials in any colour, scale, slant and light.

Colour says nothing of the class, so raw pixels and random networks see little; a trained network sees the material.
Nothing is downloaded, nothing is copied: the pictures are this project's own.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

REVISION = 1  # of what is drawn; another one gives other deliveries
SIDE = 96  # pixels of an image
Array = np.ndarray
Generator = np.random.Generator
Surface = Callable[[Array, Array, Generator], Array]


def draw(material: str, number: int) -> Array:
    """Image ``number`` of a material, (SIDE, SIDE, 3) uint8; the same numbers give the same image.

    Args:
        material: one of `MATERIALS`.
        number: of the image, at least 0.
    """
    rng = np.random.default_rng([number, list(MATERIALS).index(material)])
    x, y = _plane(rng)
    height = np.clip(MATERIALS[material](x, y, rng), 0, 1)[..., None]
    dark, bright = _colours(rng)
    image = dark + (bright - dark) * height
    image += rng.uniform(0.02, 0.1) * _noise(rng)[..., None]  # stains
    image *= _light(rng)[..., None]
    image += rng.uniform(0.02, 0.08) * rng.standard_normal(image.shape)  # of the camera
    pixels: Array = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return pixels


def _plane(rng: Generator) -> tuple[Array, Array]:
    """Coordinates (SIDE, SIDE) on a surface seen at a slant, turned, and not quite even."""
    side = np.linspace(-0.5, 0.5, SIDE)
    x, y = np.meshgrid(side, side)
    depth = 1 + rng.uniform(-0.35, 0.35) * x + rng.uniform(-0.35, 0.35) * y
    scale, angle = rng.uniform(3, 7), rng.uniform(-0.5, 0.5)
    x, y = x / depth * scale, y / depth * scale
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    bumps = 0.007 * scale
    return x + bumps * _noise(rng, 2) + rng.uniform(0, 50), y + bumps * _noise(rng, 2) + rng.uniform(0, 50)


def _colours(rng: Generator) -> tuple[Array, Array]:
    """Two colours of any hue that differ in brightness."""
    while True:
        first, second = rng.uniform(size=3), rng.uniform(size=3)
        if abs(first.mean() - second.mean()) > 0.2:
            return first, second


def _light(rng: Generator) -> Array:
    """Brightness (SIDE, SIDE) of a lamp on one side."""
    slope = np.linspace(-1, 1, SIDE)
    return 1 + rng.uniform(-0.5, 0.5) * slope[:, None] + rng.uniform(-0.5, 0.5) * slope


def _noise(rng: Generator, slope: float = 1.0, band: tuple[float, float] = (0, 1), stretch: float = 1.0) -> Array:
    """A field (SIDE, SIDE) of deviation 1 whose amplitudes fall as frequency^-slope, between two frequencies.

    Args:
        rng: where the phases come from.
        slope: 0 is white, 2 is smooth as clouds are.
        band: cycles per pixel.
        stretch: below 1, the field is drawn out along the vertical.
    """
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * _amplitude(slope, band, stretch)).real
    return np.asarray(field / field.std())


@lru_cache(maxsize=8)
def _amplitude(slope: float, band: tuple[float, float], stretch: float) -> Array:
    """Of each frequency (SIDE, SIDE)."""
    frequencies = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequencies[None], frequencies[:, None] / stretch)
    radius[0, 0] = np.inf  # the mean
    return np.where((radius > band[0]) & (radius < band[1]), radius**-slope, 0.0)


def _grid(x: Array, y: Array, shift: float, rng: Generator) -> Array:
    """A wall of stones of several tones: rows shifted by a share of a stone, with joints."""
    row, depth = np.floor(y), y % 1
    column, width = np.floor(x + shift * (row % 2)), (x + shift * (row % 2)) % 1
    joint = np.minimum(np.minimum(width, 1 - width), np.minimum(depth, 1 - depth))
    tone = np.sin(12.9898 * row + 78.233 * column + rng.uniform(0, 6)) * 43758.5453 % 1
    return np.asarray(_step(joint, 0.06) * (0.55 + 0.45 * tone))


def _step(distance: Array, width: float) -> Array:
    """0 at an edge, 1 from ``width`` on."""
    return np.clip(distance / width, 0, 1)


def _cells(x: Array, y: Array, rng: Generator) -> tuple[Array, Array]:
    """Distance to the border between the cells of random points, and a tone for each cell."""
    low, high = (x.min() - 1, y.min() - 1), (x.max() + 1, y.max() + 1)
    points = rng.uniform(low, high, (int((high[0] - low[0]) * (high[1] - low[1])), 2))
    distances, cells = cKDTree(points).query(np.stack([x, y], -1), k=2)
    return distances[..., 1] - distances[..., 0], rng.uniform(size=len(points))[cells[..., 0]]


def _spacing(x: Array) -> tuple[float, float]:
    """Frequencies of a pattern as large as the others' at this scale."""
    scale = (x.max() - x.min()) / SIDE
    return 0.5 * scale, 0.9 * scale


def bricks(x: Array, y: Array, rng: Generator) -> Array:
    """A wall."""
    return _grid(x, y * rng.uniform(1.6, 2.6), 0.5, rng)


def tiles(x: Array, y: Array, rng: Generator) -> Array:
    """A floor of squares."""
    return _grid(x, y * rng.uniform(0.8, 1.25), 0, rng)


def wood(x: Array, y: Array, rng: Generator) -> Array:
    """Year rings with fibres."""
    rings = (rng.uniform(1.2, 2) * x + 0.12 * y + 0.35 * _noise(rng, 1.8)) % 1
    return 0.75 * rings + 0.25 * np.clip(0.5 + 0.25 * _noise(rng, 0.6, stretch=0.06), 0, 1)


def marble(x: Array, y: Array, rng: Generator) -> Array:
    """Veins."""
    return np.abs(np.sin(1.2 * x + 0.6 * y + 1.5 * _noise(rng, 1.6))) ** rng.uniform(0.4, 0.8)


def weave(x: Array, y: Array, _rng: Generator) -> Array:
    """Bands over and under each other."""
    over = (np.floor(x) + np.floor(y)) % 2 == 0
    return np.where(over, np.sin(np.pi * (y % 1)), np.sin(np.pi * (x % 1)))


def scales(x: Array, y: Array, _rng: Generator) -> Array:
    """Rows of discs, each above the next."""
    height = np.zeros_like(x)
    for row in (np.floor(2 * y), np.floor(2 * y) - 1):  # the upper one last: it covers the other
        centre = np.floor(x - row % 2 / 2) + (1 + row % 2) / 2
        distance = np.hypot(x - centre, y - row / 2)
        height = np.where(distance < 0.62, 1 - 0.85 * distance / 0.62, height)
    return height


def gravel(x: Array, y: Array, rng: Generator) -> Array:
    """Round stones."""
    border, tone = _cells(x, y, rng)
    return _step(border, 0.4) * (0.4 + 0.6 * tone)


def cracks(x: Array, y: Array, rng: Generator) -> Array:
    """Dry mud."""
    border, tone = _cells(x, y, rng)
    return _step(border, 0.08) * (0.8 + 0.2 * tone)


def spots(x: Array, _y: Array, rng: Generator) -> Array:
    """A fur with spots."""
    return _step(_noise(rng, 0, _spacing(x)) - rng.uniform(0.5, 0.8), 0.4)


def stripes(x: Array, _y: Array, rng: Generator) -> Array:
    """A fur with stripes."""
    return _step(_noise(rng, 0, _spacing(x), stretch=0.35) + 0.2, 0.5)


MATERIALS: dict[str, Surface] = {
    surface.__name__: surface
    for surface in (bricks, cracks, gravel, marble, scales, spots, stripes, tiles, weave, wood)
}
