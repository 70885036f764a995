"""Tiles of an orbit Gram on the workers of a Dask cluster that share the store."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from haarflow.kernels.backend import one_thread
from haarflow.kernels.gram_tiles import Corner, GramTile
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

__all__ = ["Cluster", "check_executor"]


def check_executor(executor: Any) -> None:
    """Refuse what is no running Dask client.

    Parameters
    ----------
    executor : distributed.Client
        What was given.

    Raises
    ------
    TypeError, ValueError
        For something else, or a client that is closed or has no workers.
    """
    if not all(hasattr(executor, name) for name in ("scatter", "submit", "gather", "scheduler_info", "status")):
        raise TypeError(
            f"executor must be a dask.distributed.Client (pip install haarflow[distributed]), found {executor!r}"
        )
    if executor.status != "running":
        raise ValueError(f"executor must be a running client, found one that is {executor.status}")
    if getattr(executor, "asynchronous", False):
        raise ValueError("executor must be a client that is not asynchronous")


@dataclass(frozen=True)
class Cluster:
    """What workers do for one orbit Gram; tasks of a worker that dies are done again by another.

    What a worker has to say of damaged tiles stands in its log.

    Attributes
    ----------
    executor : distributed.Client
        The cluster.
    tiles : TileStore
        The Gram's tiles, in a folder that all workers see.
    """

    executor: Any
    tiles: TileStore
    _sent: list[Any] = field(default_factory=list, repr=False, compare=False)

    def make_all(self, progress: Progress | None = None) -> Iterator[tuple[Corner, GramTile]]:
        """Have all tiles made, and yield them without their blocks, which stay in the store."""
        from distributed import as_completed

        check_executor(self.executor)
        corners = self.tiles.problem.corners()
        futures = {self.executor.submit(_make, self._everywhere(), c, pure=False): c for c in corners}
        for done, (future, tile) in enumerate(as_completed(futures, with_results=True)):
            yield futures[future], tile
            if progress is not None:
                progress("orbit Gram", done + 1, len(corners))

    def product(self, irrep: int, v: np.ndarray) -> np.ndarray:
        """Multiply vectors [n d, p] with one block: `TiledBlock.product`, a column of tiles a task."""
        check_executor(self.executor)
        columns = self.tiles.problem.columns()
        vectors = self.executor.scatter(np.ascontiguousarray(v), broadcast=True, hash=False)
        futures = [
            self.executor.submit(_multiply, self._everywhere(), irrep, some, vectors, pure=False)
            # The longest first; sums are made in order of the columns.
            for some in reversed(columns)
        ]
        out = np.zeros(v.shape)
        for future in reversed(futures):
            part = future.result()
            out[: len(part)] += part
        return out

    def _everywhere(self) -> Any:
        """Return the tiles' description as the workers hold it, sent once."""
        if not self._sent:
            self._sent.append(self.executor.scatter(self.tiles, broadcast=True, hash=False))
        return self._sent[0]


def _make(tiles: TileStore, corner: Corner) -> GramTile:
    with one_thread():
        tile = tiles.make(corner)
    return GramTile((), (), tile.row_sums, tile.column_sums, tile.diagonal)


def _multiply(tiles: TileStore, irrep: int, corners: list[Corner], v: np.ndarray) -> np.ndarray:
    block = TiledBlock(tiles.problem, irrep, lambda corner, buffer: tiles.block(corner, irrep, buffer))
    with one_thread():
        return block.multiply(corners, np.ascontiguousarray(v, tiles.problem.kernel.dtype))
