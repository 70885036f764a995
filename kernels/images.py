"""Kernels of samples with spatial axes, tile by tile: positions of one sample paired with positions of the other."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import Array

from haarflow.kernels import displacements
from haarflow.kernels.architecture import AvgPool, Layer
from haarflow.kernels.backend import compiled, fence, on_cpu, precision
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.schedule import homogeneous, layout, schedule
from haarflow.kernels.spreads import spreads_of
from haarflow.kernels.tiling import Report, Tile, filled, in_tiles
from haarflow.kernels.unresolved import evaluated, unresolved

__all__ = ["Images", "image_gram", "prepare_images", "root_mean_squares", "tile_side"]

# Numbers of one array over positions and pairs that stay in a core's cache.
_CACHED = 2**15
# Numbers of one array over pooled displacements, positions and pairs.
_POOLED = 2**21
# A GPU takes as many pairs at a time as fill it.
_GPU_PAIRS = 2**12


@dataclass(frozen=True)
class Images:
    """Samples in the engine's layout.

    Attributes
    ----------
    x : array [*positions, C, n]
        Samples, batch last; of root mean square 1 where the network is homogeneous.
    spread : tuple of array [*windows, n]
        As `displacements.spreads`.
    size : float64 array [n]
        Their root mean squares.
    """

    x: np.ndarray
    spread: tuple[np.ndarray, ...]
    size: np.ndarray

    def __len__(self) -> int:
        return self.x.shape[-1]

    def __getitem__(self, some: slice | np.ndarray) -> "Images":
        return Images(self.x[..., some], tuple(part[..., some] for part in self.spread), self.size[some])

    def filled(self, size: int) -> "Images":
        """Repeat the last sample up to `size`."""
        spread = tuple(filled(part, size, -1) for part in self.spread)
        return Images(filled(self.x, size, -1), spread, filled(self.size, size))


@compiled
def _tile(layers: tuple[Layer, ...], x1: Array, x2: Array, spread1: tuple, spread2: tuple, go: Array) -> tuple:
    first = jax.tree.map(lambda part: part[..., :, None], (x1, spread1))
    second = jax.tree.map(lambda part: part[..., None, :], (x2, spread2))
    segments = schedule(layers, x1.ndim - 2)
    return displacements.run(segments, first[0], second[0], (first[1], second[1]), partial(fence, go))


def prepare_images(layers: tuple[Layer, ...], x: np.ndarray) -> Images:
    """Bring samples [n, *positions, C] into the engine's layout, with what is evaluated once for each."""
    size = root_mean_squares(x)
    if homogeneous(layers):
        unit = np.where(size > 0, size, 1).reshape(-1, *(1,) * (x.ndim - 1))
        x = (x / unit).astype(x.dtype)
    last = np.ascontiguousarray(np.moveaxis(x, 0, -1))
    return Images(last, spreads_of(layers, last), size)


def root_mean_squares(x: np.ndarray) -> np.ndarray:
    """Return the sizes of samples [n, ...], float64 [n]."""
    x = x.reshape(len(x), -1)
    largest = np.abs(x).max(axis=1, initial=0)
    # Squares of very small or large samples would leave the range of numbers.
    x = x / np.where(largest > 0, largest, 1)[:, None]
    return np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64) / x.shape[1]) * largest


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

    def evaluate(rows: slice, columns: slice) -> Tile:
        a, b = first[rows], second[columns]
        full_a, full_b = a.filled(sides[0]), b.filled(sides[1])
        with precision(dtype):
            *values, doubt = _tile(layers, full_a.x, full_b.x, full_a.spread, full_b.spread, np.bool_(True))
            values = [np.asarray(part) for part in values]
            doubt = jax.tree.map(lambda part: np.asarray(part)[: len(a), : len(b)], doubt)
        i, j = unresolved(layers, a.x, b.x, (a.size[:, None], b.size), doubt)
        if symmetric and rows == columns:
            i, j = i[i <= j], j[i <= j]
        if len(i) == 0:
            return Tile(tuple(values))
        return Tile(tuple(values), i, j, list(evaluated(layers, a.x, b.x, (a.size, b.size), i, j)))

    found = in_tiles(evaluate, len(first), len(second), sides, symmetric, dtype.name, report)
    if homogeneous(layers):
        for i, size in enumerate(first.size):
            for part in found:
                part[i] *= size * second.size
    return found


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
