"""Tiles of an orbit Gram on the workers of a Dask cluster that share the store."""

import os
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from haarflow.kernels.analytic import KERNEL_VERSION
from haarflow.kernels.backend import one_thread
from haarflow.kernels.gram_tiles import Corner, GramTile
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.store import StoreError
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

__all__ = ["Cluster", "ClusterWarning", "check_executor", "check_workers"]

# Seconds that a cluster without workers is given to find some.
_PATIENCE = 60
# Dask sets the first of these, upon which glibc maps and unmaps every large array anew, unless the second is set too:
# tiles take twice as long.
_THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
_LEAST, _WELL = 2**25, 2**30


class ClusterWarning(UserWarning):
    """Workers are set up so that they are slow."""


def check_executor(executor: Any) -> None:
    """Refuse what is no running Dask client.

    Parameters
    ----------
    executor : distributed.Client
        What was given.

    Raises
    ------
    TypeError, ValueError
        For something else, or a client that is closed or asynchronous.
    """
    if not all(hasattr(executor, name) for name in ("scatter", "submit", "gather", "scheduler_info", "status")):
        raise TypeError(
            f"executor must be a dask.distributed.Client (pip install haarflow[distributed]), found {executor!r}"
        )
    if executor.status != "running":
        raise ValueError(f"executor must be a running client, found one that is {executor.status}")
    if getattr(executor, "asynchronous", False):
        raise ValueError("executor must be a client that is not asynchronous")


def check_workers(executor: Any) -> None:
    """Refuse a client without workers, and warn of slow ones: at the beginning, since later ones may die and come back.

    Parameters
    ----------
    executor : distributed.Client
        A running client.

    Raises
    ------
    ValueError
        Where it has none.
    """
    if not executor.nthreads():
        raise ValueError("executor must have at least one worker, found none")
    slow = [each for each in executor.run(_thresholds, on_error="ignore").values() if _is_slow(*each)]
    if slow:
        trim, mmap = _THRESHOLDS
        warnings.warn(
            f"workers run with {trim}={slow[0][0]} and {mmap}={slow[0][1]}, which makes tiles take twice as long: "
            f"start them with {trim}={_WELL} and {mmap}={_WELL}, or before a LocalCluster call "
            f'dask.config.set({{"distributed.nanny.pre-spawn-environ.{trim}": {_WELL}, '
            f'"distributed.nanny.pre-spawn-environ.{mmap}": {_WELL}}})',
            ClusterWarning,
            stacklevel=3,
        )


def _thresholds() -> tuple[str | None, str | None]:
    trim, mmap = (os.environ.get(name) for name in _THRESHOLDS)
    return trim, mmap


def _is_slow(trim: str | None, mmap: str | None) -> bool:
    """Whether large arrays are given back to the system one by one: glibc adapts itself while neither is set."""
    return trim is not None and not all(v is not None and v.isdigit() and int(v) >= _LEAST for v in (trim, mmap))


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

        missing = list(self.tiles.problem.corners())
        total, done = len(missing), 0
        while missing:
            check_executor(self.executor)
            sent = self._everywhere()
            futures = {self.executor.submit(_make, sent, _version(self.tiles), c, pure=False): c for c in missing}
            for future in as_completed(futures):
                corner, tile = futures[future], _result(future)
                if tile is None:
                    continue
                if done == 0 and self.tiles.find(corner) is None:
                    raise StoreError(
                        "store must be a folder that all workers see: a worker has made a tile, and "
                        f"{self.tiles.store.path} does not hold it"
                    )
                missing.remove(corner)
                done += 1
                yield corner, tile
                if progress is not None:
                    progress("orbit Gram", done, total)
            self._forget(missing)

    def product(self, irrep: int, v: np.ndarray) -> np.ndarray:
        """Multiply vectors [n d, p] with one block: `TiledBlock.product`, a column of tiles a task."""
        columns = self.tiles.problem.columns()
        parts: dict[int, np.ndarray] = {}
        while len(parts) < len(columns):
            check_executor(self.executor)
            sent = self._everywhere()
            vectors = self._send(np.ascontiguousarray(v))
            workers = sorted(self.executor.nthreads())  # none, where the last has just died
            futures = {
                j: self.executor.submit(
                    _multiply,
                    sent,
                    _version(self.tiles),
                    irrep,
                    columns[j],
                    vectors,
                    pure=False,
                    # The same columns in every product, whose files the worker's machine then has in memory.
                    workers=[workers[j % len(workers)]] if workers else None,
                    allow_other_workers=True,
                )
                # The longest first.
                for j in reversed(range(len(columns)))
                if j not in parts
            }
            found = {j: _result(future) for j, future in futures.items()}
            parts.update({j: part for j, part in found.items() if part is not None})
            self._forget([j for j in futures if j not in parts])
        out = np.zeros(v.shape)
        for j in range(len(columns)):  # in one order, so that bits do not depend on who was first
            out[: len(parts[j])] += parts[j]
        return out

    def _everywhere(self) -> Any:
        """Return the tiles' description as the workers hold it, sent once."""
        if not self._sent:
            self._sent.append(self._send(self.tiles))
        return self._sent[0]

    def _send(self, what: Any) -> Any:
        """Send to one worker, of which others take it: a broadcast stalls on one that dies meanwhile.

        Workers that all died are waited for.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with suppress(OSError):  # the worker that was to take it has died; TimeoutError, where none is there
                self.executor.wait_for_workers(1, timeout=_PATIENCE)
                return self.executor.scatter(what, hash=False)
        raise RuntimeError(f"executor has lost all its workers, and none came within {_PATIENCE} s")

    def _forget(self, undone: list[Any]) -> None:
        """Where all workers that held the description have died, send it anew to those that took their place."""
        if undone:
            self._sent.clear()


def _result(future: Any) -> Any:
    """Return what a task found, or None where that, or what it needs, went with a worker."""
    try:
        return future.result()
    except CancelledError:
        return None


def _version(tiles: TileStore) -> tuple[int, int]:
    return KERNEL_VERSION, tiles.problem.side


def _check_version(tiles: TileStore, wanted: tuple[int, int]) -> None:
    if _version(tiles) != wanted:
        raise ValueError(
            f"workers must run the haarflow of this process, which has kernels of version {wanted[0]} and tiles of "
            f"{wanted[1]} samples, found {_version(tiles)}"
        )


def _make(tiles: TileStore, version: tuple[int, int], corner: Corner) -> GramTile:
    _check_version(tiles, version)
    with one_thread():
        tile = tiles.make(corner)
    return GramTile((), (), tile.row_sums, tile.column_sums, tile.diagonal)


def _multiply(
    tiles: TileStore, version: tuple[int, int], irrep: int, corners: list[Corner], v: np.ndarray
) -> np.ndarray:
    _check_version(tiles, version)
    block = TiledBlock(tiles.problem, irrep, lambda corner, buffer: tiles.block(corner, irrep, buffer))
    with one_thread():
        return block.multiply(corners, np.ascontiguousarray(v, tiles.problem.kernel.dtype))
