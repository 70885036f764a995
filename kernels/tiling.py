"""Gram matrices in tiles of few shapes, several at a time."""

from collections.abc import Callable

import numpy as np

from haarflow.kernels.backend import in_threads
from haarflow.kernels.pair import KernelPair

__all__ = ["filled", "in_tiles", "power_of_two"]

Tiles = tuple[np.ndarray, ...]


def power_of_two(n: float) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(int(np.ceil(n)) - 1, 0).bit_length()


def filled(x: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Repeat the last entry up to `size`: one compilation for each shape, and few shapes."""
    missing = size - x.shape[axis]
    if missing == 0:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, missing)
    return np.pad(x, widths, mode="edge")


def in_tiles(
    evaluate: Callable[[slice, slice], Tiles], n1: int, n2: int, sides: tuple[int, int], symmetric: bool, dtype: str
) -> KernelPair:
    """Assemble both Gram matrices [n1, n2] from tiles.

    Parameters
    ----------
    evaluate : callable
        (rows, columns) -> K, Theta of at least their size. Called from several threads.
    n1, n2 : int
        Sides of the matrices.
    sides : (int, int)
        Sides of a tile.
    symmetric : bool
        Whether only tiles on and above the diagonal are evaluated; sides are equal then.
    dtype : str
        Of the result.
    """
    nngp, ntk = (np.empty((n1, n2), dtype) for _ in range(2))
    height, width = sides
    corners = [(i, j) for i in range(0, n1, height) for j in range(0, n2, width) if not symmetric or j >= i]

    def place(corner: tuple[int, int]) -> None:
        i, j = corner
        rows, columns = slice(i, min(i + height, n1)), slice(j, min(j + width, n2))
        for matrix, tile in zip((nngp, ntk), evaluate(rows, columns), strict=True):
            tile = tile[: rows.stop - i, : columns.stop - j]
            if symmetric and i == j:
                tile = np.triu(tile) + np.triu(tile, 1).T
            matrix[rows, columns] = tile
            if symmetric and i != j:
                matrix[columns, rows] = tile.T

    for _ in in_threads(place, corners):
        continue
    return KernelPair(nngp, ntk)
