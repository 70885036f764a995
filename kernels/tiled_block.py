"""One irrep's block of the orbit Gram, never whole: products with it, and some of its columns, tile by tile."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from haarflow.kernels.gram_tiles import Corner, GramProblem

__all__ = ["TiledBlock"]

# (tile, bytes to read it into) -> the block's part.
Source = Callable[[Corner, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TiledBlock:
    """A block [n d, n d] of Theta in tiles on and above its diagonal.

    Attributes
    ----------
    problem : GramProblem
        Whose block it is.
    irrep : int
        Which of its irreps.
    source : callable
        source(corner, buffer) -> the tile [i d, j d], perhaps a view of the buffer.
    """

    problem: GramProblem
    irrep: int
    source: Source

    @property
    def order(self) -> int:
        """Rows of the block."""
        return len(self.problem.x) * self.problem.irreps[self.irrep].dim

    def product(self, v: np.ndarray) -> np.ndarray:
        """Multiply vectors with the block.

        Parameters
        ----------
        v : array [n d, p]
            Rounded to the block's dtype.

        Returns
        -------
        array [n d, p] float64
            Products within a tile are in the block's dtype, their sums over tiles in float64.

        Notes
        -----
        Cost: 2 (n d)^2 p operations and one pass over the tiles, of which the next is read meanwhile. Memory: two.
        """
        v = np.ascontiguousarray(v, self.problem.kernel.dtype)
        out = np.zeros(v.shape)
        for some in self.problem.columns():
            part = self.multiply(some, v)
            out[: len(part)] += part
        return out

    def multiply(self, corners: list[Corner], v: np.ndarray) -> np.ndarray:
        """Return what some tiles add to a product: array [rows up to the last of them, p] float64.

        Sums over a column of tiles are made apart, here and on other machines, so that both give the same bits.
        """
        out = np.zeros((self._span(max(j for _, j in corners)).stop, v.shape[1]))
        for (i, j), tile in self._tiles(corners):
            rows, columns = self._span(i), self._span(j)
            out[rows] += tile @ v[columns]
            if i < j:
                out[columns] += tile.T @ v[rows]
        return out

    def columns(self, indices: np.ndarray) -> np.ndarray:
        """Return some columns [n d, c] of the block, in its dtype; one pass over the tiles."""
        out = np.empty((self.order, len(indices)), self.problem.kernel.dtype)
        for (i, j), tile in self._tiles(self.problem.corners()):
            for a, b, part in ((i, j, tile), (j, i, tile.T)):
                rows, columns = self._span(a), self._span(b)
                inside = np.flatnonzero((indices >= columns.start) & (indices < columns.stop))
                out[rows, inside] = part[:, indices[inside] - columns.start]
        return out

    def _span(self, i: int) -> slice:
        span, dim = self.problem.span(i), self.problem.irreps[self.irrep].dim
        return slice(span.start * dim, span.stop * dim)

    def _tiles(self, corners: list[Corner]) -> Iterator[tuple[Corner, np.ndarray]]:
        side = min(self.problem.side, len(self.problem.x)) * self.problem.irreps[self.irrep].dim
        size = side * side * np.dtype(self.problem.kernel.dtype).itemsize
        buffers = [np.empty(size, np.uint8) for _ in range(2)]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.source, corners[0], buffers[0])
            for k, corner in enumerate(corners):
                tile = coming.result()
                if k + 1 < len(corners):
                    coming = reader.submit(self.source, corners[k + 1], buffers[(k + 1) % 2])
                yield corner, tile
