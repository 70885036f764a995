"""Kernels of samples with spatial axes, tile by tile: positions of one sample paired with positions of the other."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import Array

from haarflow.kernels import displacements
from haarflow.kernels.architecture import AvgPool, Layer
from haarflow.kernels.backend import compiled, fence, in_threads, on_cpu, precision, to_numpy
from haarflow.kernels.nearby import close_pairs, interpolate
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.schedule import layout, schedule
from haarflow.kernels.tiling import Report, Tile, filled, in_tiles

__all__ = ["Images", "image_gram", "of_pairs", "prepare_images", "tile_side"]

# Numbers of one array over positions and pairs that stay in a core's cache.
_CACHED = 2**15
# Numbers of one array over pooled displacements, positions and pairs.
_POOLED = 2**21
# A GPU takes as many pairs at a time as fill it.
_GPU_PAIRS = 2**12
# Samples whose spreads are evaluated at a time, and close pairs: always so many, filled up.
_SPREADS = _CLOSE = 8


@dataclass(frozen=True)
class Images:
    """Samples in the engine's layout.

    Attributes
    ----------
    x : array [*positions, C, n]
        Samples, batch last.
    spread : tuple of array [*windows, n]
        As `displacements.spreads`.
    """

    x: np.ndarray
    spread: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return self.x.shape[-1]

    def __getitem__(self, some: slice | np.ndarray) -> "Images":
        return Images(self.x[..., some], tuple(part[..., some] for part in self.spread))

    def filled(self, size: int) -> "Images":
        """Repeat the last sample up to `size`."""
        return Images(filled(self.x, size, -1), tuple(filled(part, size, -1) for part in self.spread))


@compiled
def _tile(layers: tuple[Layer, ...], x1: Array, x2: Array, spread1: tuple, spread2: tuple, go: Array) -> tuple:
    first = jax.tree.map(lambda part: part[..., :, None], (x1, spread1))
    second = jax.tree.map(lambda part: part[..., None, :], (x2, spread2))
    segments = schedule(layers, x1.ndim - 2)
    return displacements.run(segments, first[0], second[0], (first[1], second[1]), partial(fence, go))


def of_pairs(layers: tuple[Layer, ...], x1: Array, x2: Array, go: Array) -> tuple[Array, Array]:
    """Return K, Theta [B] of aligned samples [*positions, C, B], or of one [*positions, C, 1] with B others."""
    x1, x2 = x1[..., None, :], x2[..., None, :]
    segments = schedule(layers, x1.ndim - 3)
    apart = partial(fence, go)
    spread = (displacements.spreads(segments, x1, apart), displacements.spreads(segments, x2, apart))
    K, theta = displacements.run(segments, x1, x2, spread, apart)
    return K[0], theta[0]


_pairs = compiled(of_pairs)


@compiled
def _spreads(layers: tuple[Layer, ...], x: Array, go: Array) -> list[Array]:
    found = displacements.spreads(schedule(layers, x.ndim - 2), x[..., None, :], partial(fence, go))
    return [part[..., 0, :] for part in found]


def prepare_images(layers: tuple[Layer, ...], x: np.ndarray) -> Images:
    """Bring samples [n, *positions, C] into the engine's layout, with what is evaluated once for each."""
    last = np.ascontiguousarray(np.moveaxis(x, 0, -1))
    if not any(segment.distances for segment in schedule(layers, x.ndim - 2)):
        return Images(last, ())

    def evaluate(start: int) -> list[np.ndarray]:
        some = last[..., start : start + _SPREADS]
        with precision(x.dtype):
            found = _spreads(layers, filled(some, _SPREADS, -1), np.bool_(True))
            return [to_numpy(part)[..., : some.shape[-1]] for part in found]

    parts = list(in_threads(evaluate, range(0, len(x), _SPREADS)))
    return Images(last, tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))


def image_gram(
    layers: tuple[Layer, ...], first: Images, second: Images, symmetric: bool, report: Report | None = None
) -> KernelPair:
    """Return K and Theta [n1, n2] of samples with spatial axes.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    first, second : Images
        Prepared samples.
    symmetric : bool
        Whether they are the same, so that half is evaluated.
    report : callable, optional
        As in `in_tiles`.
    """
    dtype = first.x.dtype
    side = tile_side(layers, first.x.shape[:-2])
    # Few samples, as test points are, side by side with many: one at a time, not filled up to a square.
    few = not symmetric and len(first) <= side // 2
    sides = (1, side * side) if few else (side, side)
    mends = any(segment.distances for segment in schedule(layers, first.x.ndim - 2))

    def evaluate(rows: slice, columns: slice) -> Tile:
        a, b = first[rows], second[columns]
        full_a, full_b = a.filled(sides[0]), b.filled(sides[1])
        with precision(dtype):
            found = _tile(layers, full_a.x, full_b.x, full_a.spread, full_b.spread, np.bool_(True))
            tile = Tile(tuple(np.asarray(part) for part in found))
            return _mended(layers, a.x, b.x, tile) if mends else tile

    return in_tiles(evaluate, len(first), len(second), sides, symmetric, dtype.name, report)


def _mended(layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, tile: Tile) -> Tile:
    """Interpolate pairs of nearly equal images, where pooled distances cancel."""
    D, q1, q2 = _plain_distances(a, b)
    rows, columns, ratio = close_pairs(D, q1, q2)
    if len(rows) == 0:
        return tile

    def evaluate(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        found = _pairs(layers, *(filled(np.moveaxis(x, 0, -1), _CLOSE, -1) for x in (x1, x2)), np.bool_(True))
        return np.stack([to_numpy(part)[: len(x1)] for part in found])

    parts = []
    for k in range(0, len(rows), _CLOSE):
        i, j = rows[k : k + _CLOSE], columns[k : k + _CLOSE]
        left, right = (np.moveaxis(x[..., some], -1, 0) for x, some in ((a, i), (b, j)))
        parts.append(interpolate(evaluate, left, right, ratio[k : k + _CLOSE]))
    return Tile(tile.values, rows, columns, list(np.concatenate(parts, axis=1)))


def _plain_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    numbers = len(first)
    D = np.stack([np.square(first[:, i, None] - second).sum(axis=0) for i in range(first.shape[1])]) / numbers
    return D, np.square(first).sum(axis=0) / numbers, np.square(second).sum(axis=0) / numbers


def tile_side(layers: tuple[Layer, ...], shape: tuple[int, ...]) -> int:
    """Return the side of a square tile: a power of two, and the same for all numbers of samples."""
    positions = int(np.prod(shape))
    pairs: float = _CACHED / positions
    if not on_cpu():
        pairs = _GPU_PAIRS
    pool = next((layer for layer in layers if isinstance(layer, AvgPool)), None)
    if layout(layers, len(shape)) == "displaced" and pool is not None:
        pairs = min(pairs, _POOLED * pool.size**4 / positions**2)
    return 1 << max(0, int(np.ceil(np.log2(pairs) / 2 - 0.5)))
