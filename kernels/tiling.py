"""Gram matrices in tiles of few shapes, several at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from haarflow.kernels.backend import in_threads
from haarflow.kernels.pair import KernelPair

__all__ = ["Report", "Tile", "few_sizes", "filled", "in_tiles", "power_of_two"]

# Called with how many entries were evaluated since the call before, by the thread that asked for them.
Report = Callable[[int], None]

# Rows that are transposed at a time: a column of them fits the ways of a cache.
_TRANSPOSED = 16


class Tile(NamedTuple):
    """A part of both Gram matrices.

    Attributes
    ----------
    values : tuple of array
        K and Theta, of at least the part's size, perhaps read-only.
    rows, columns : int array [pairs]
        Entries that are replaced.
    mended : sequence of array [pairs]
        By what.
    """

    values: tuple[np.ndarray, ...]
    rows: np.ndarray = np.empty(0, int)
    columns: np.ndarray = np.empty(0, int)
    mended: Sequence[np.ndarray] = ()


def power_of_two(n: float) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(int(np.ceil(n)) - 1, 0).bit_length()


def few_sizes(n: int, smallest: int = 1) -> int:
    """Return how many of n things to take at a time: of a few sizes, each of which would be compiled for.

    Powers of 8 times the smallest, at most four of which hold n, filled up to the next power of two at most.
    """
    return smallest * 8 ** ((power_of_two(n / smallest).bit_length() - 1) // 3)


def filled(x: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Repeat the last entry up to `size`: one compilation for each shape, and few shapes."""
    missing = size - x.shape[axis]
    if missing == 0:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, missing)
    return np.pad(x, widths, mode="edge")


def in_tiles(
    evaluate: Callable[[slice, slice], Tile],
    n1: int,
    n2: int,
    sides: tuple[int, int],
    symmetric: bool,
    dtype: str,
    report: Report | None = None,
) -> KernelPair:
    """Assemble both Gram matrices [n1, n2] from tiles.

    Parameters
    ----------
    evaluate : callable
        (rows, columns) -> Tile. Called from several threads.
    n1, n2 : int
        Sides of the matrices.
    sides : (int, int)
        Sides of a tile.
    symmetric : bool
        Whether only tiles on and above the diagonal are evaluated; sides are equal then.
    dtype : str
        Of the result.
    report : callable, optional
        Told how many entries of the result are new, n1 n2 in all.
    """
    matrices = tuple(np.empty((n1, n2), dtype) for _ in range(2))
    height, width = sides

    def place(corner: tuple[int, int]) -> int:
        i, j = corner
        rows, columns = slice(i, min(i + height, n1)), slice(j, min(j + width, n2))
        tile = evaluate(rows, columns)
        for k, (matrix, values) in enumerate(zip(matrices, tile.values, strict=True)):
            block = matrix[rows, columns]
            block[:] = values[: block.shape[0], : block.shape[1]]
            if len(tile.rows):
                block[tile.rows, tile.columns] = tile.mended[k]
            if symmetric and i == j:  # exactly symmetric, whatever the rounding
                lower = np.tril_indices(len(block), -1)
                block[lower] = block.T[lower]
            elif symmetric:
                _transpose(block, matrix[columns, rows])
        return block.size * (2 if symmetric and i != j else 1)

    corners = [(i, j) for i in range(0, n1, height) for j in range(0, n2, width) if not symmetric or j >= i]
    for entries in in_threads(place, corners):
        if report is not None:
            report(entries)
    return KernelPair(*matrices)


def _transpose(block: np.ndarray, target: np.ndarray) -> None:
    for k in range(0, len(block), _TRANSPOSED):
        target[:, k : k + _TRANSPOSED] = block[k : k + _TRANSPOSED].T
