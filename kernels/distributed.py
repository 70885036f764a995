"""Tiles of an orbit Gram on the workers of a Dask cluster that share the store."""

import math
import os
import sys
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
from haarflow.kernels.gram_key import check_key
from haarflow.kernels.gram_tiles import LABEL, Corner, GramTile
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.store import StoreError
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

__all__ = ["Cluster", "ClusterWarning", "check_executor", "check_workers"]

# Seconds that a cluster without workers is given to find some.
_PATIENCE = 60
# Dask sets the first of these, upon which glibc maps and unmaps every large array anew, unless the second is set too.
_THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
# The largest that glibc before 2.35 does not ignore; few of a tile's arrays are as large.
_WELL = 2**25
# Rounds in which workers died and not one task was finished, after which it is the task that kills them.
_ROUNDS = 3


class ClusterWarning(UserWarning):
    """Workers are slow: for how they are set up, or since they die over more tasks at a time."""


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
    """Warn of slow workers, and refuse a client to which none comes: at the beginning, since later ones may come back.

    Parameters
    ----------
    executor : distributed.Client
        A running client.

    Raises
    ------
    ValueError
        Where it has none after a minute.
    """
    try:
        _await_worker(executor)
    except TimeoutError as error:
        raise ValueError(f"executor must have at least one worker, found none within {_PATIENCE} s") from error
    slow = [each for each in executor.run(_thresholds, on_error="ignore").values() if _is_slow(*each)]
    if slow:
        trim, mmap = _THRESHOLDS
        warnings.warn(
            f"workers run with {trim}={slow[0][0]} and {mmap}={slow[0][1]}, which makes Gram matrices take 1.6 times "
            f"as long: start them with {trim}={_WELL} and {mmap}={_WELL}, or before a LocalCluster call "
            f'dask.config.set({{"distributed.nanny.pre-spawn-environ.{trim}": {_WELL}, '
            f'"distributed.nanny.pre-spawn-environ.{mmap}": {_WELL}}})',
            ClusterWarning,
            stacklevel=3,
        )


def _await_worker(executor: Any) -> None:
    """Wait for a worker, or raise TimeoutError."""
    if not executor.nthreads():
        task = executor.submit(_thresholds, pure=False)  # an adaptive cluster starts workers for tasks alone
        executor.wait_for_workers(1, timeout=_PATIENCE)
        task.release()


def _thresholds() -> tuple[str | None, str | None]:
    """Return what a worker's glibc was told; nothing elsewhere than on Linux, where these variables have no meaning."""
    trim, mmap = (os.environ.get(name) if sys.platform == "linux" else None for name in _THRESHOLDS)
    return trim, mmap


def _is_slow(trim: str | None, mmap: str | None) -> bool:
    """Whether large arrays are given back to the system one by one: glibc adapts itself while neither is set."""
    return trim is not None and not all(v is not None and v.isdigit() and int(v) >= _WELL for v in (trim, mmap))


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
    # How many tasks were lost together and not lived through since, and how many are given at most, if that is known.
    _lost: list[int] = field(default_factory=list, repr=False, compare=False)
    _most: list[int] = field(default_factory=list, repr=False, compare=False)

    def make_all(self, progress: Progress | None = None) -> Iterator[tuple[Corner, GramTile]]:
        """Have all tiles made, and yield them without their blocks, which stay in the store."""
        from distributed import as_completed

        missing = self.tiles.problem.corners()
        done = 0
        for some in self._rounds(missing, "tile"):
            sent = self._everywhere()
            futures = {self.executor.submit(_make, sent, _version(self.tiles), c, pure=False): c for c in some}
            for future in as_completed(futures):
                corner = futures[future]
                tile = self._result(future, f"tile {corner}" if len(some) == 1 else None)
                if tile is None:
                    continue
                if done == 0 and self.tiles.find(corner) is None:
                    raise StoreError(
                        "store must be a folder that all workers see: a worker has made a tile, and "
                        f"{self.tiles.store.path} does not hold it"
                    )
                missing.remove(corner)
                done += self.tiles.problem.entries_of(corner)
                yield corner, tile
                if progress is not None:
                    progress(LABEL, done, self.tiles.problem.entries)

    def product(self, irrep: int, v: np.ndarray) -> np.ndarray:
        """Multiply vectors [n d, p] with one block: `TiledBlock.product`, a column of tiles a task."""
        columns = self.tiles.problem.columns()
        parts: dict[int, np.ndarray] = {}
        undone = list(reversed(range(len(columns))))  # the longest first
        for some in self._rounds(undone, "column of tiles"):
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
                for j in some
            }
            alone = len(some) == 1
            found = {j: self._result(f, f"column of tiles {j}" if alone else None) for j, f in futures.items()}
            parts.update({j: part for j, part in found.items() if part is not None})
            undone[:] = [j for j in undone if j not in parts]
        out = np.zeros(v.shape)
        for j in range(len(columns)):  # in one order, so that bits do not depend on who was first
            out[: len(parts[j])] += parts[j]
        return out

    def _everywhere(self) -> Any:
        """Return the tiles' description as the workers hold it, sent once."""
        sent = self._sent[:1] or [self._send(self.tiles)]  # another thread may clear it in between
        self._sent[:] = sent
        return sent[0]

    def _send(self, what: Any) -> Any:
        """Send to one worker, of which others take it: a broadcast stalls on one that dies meanwhile.

        Workers that all died are waited for.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with suppress(OSError):  # the worker that was to take it has died; TimeoutError, where none is there
                _await_worker(self.executor)
                return self.executor.scatter(what, hash=False)
        raise RuntimeError(f"executor has lost all its workers, and none came within {_PATIENCE} s")

    def _rounds(self, undone: list[Any], name: str) -> Iterator[list[Any]]:
        """Yield what to try, until the caller has removed all of it from what is undone.

        Where workers that held what tasks need have died, the tasks are sent anew, to those that took their place.
        """
        fruitless, several = 0, len(undone)
        while undone:
            check_executor(self.executor)
            some, before = undone[: min([several, *self._most])], len(undone)
            yield some
            if len(undone) < before:
                fruitless, several = 0, 2 * len(some)
                self._lost[:] = [size for size in self._lost if size > len(some)]
            else:
                # Alone, after a round of nothing but deaths, so that the one that kills is known.
                fruitless, several = fruitless + 1, 1
                if fruitless == _ROUNDS:
                    raise self._deadly(f"{name} {undone[0]}")
                if len(some) > 1:
                    self._lose(len(some), name)
            if undone:
                self._sent.clear()

    def _lose(self, several: int, name: str) -> None:
        """Give fewer tasks where so many at a time, or fewer, were lost before and not lived through since."""
        if any(before <= several for before in self._lost):
            self._most[:] = [several // 2]
            warnings.warn(
                f"workers die over {several} tasks at a time, each a {name}, and are given {several // 2} from now on, "
                f"which may leave some idle: {self._why()}",
                ClusterWarning,
                stacklevel=2,
            )
        self._lost.append(several)

    def _result(self, future: Any, alone: str | None) -> Any:
        """Return what a task found, or None where that, or what it needs, went with a worker.

        Dask gives up a task over whose workers several have died, though another may have killed them that waited
        beside it: one that ran alone is named, others are tried again.
        """
        from distributed import KilledWorker

        try:
            return future.result()
        except CancelledError:
            return None
        except KilledWorker as error:
            if alone is None:
                return None
            raise self._deadly(alone) from error

    def _deadly(self, name: str) -> RuntimeError:
        return RuntimeError(f"workers die over {name} of the orbit Gram each time: {self._why()}")

    def _why(self) -> str:
        problem = self.tiles.problem
        block = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in problem.shapes((0, 0)).values())
        return (
            f"most likely their memory is too small for the samples of {problem.x.nbytes / 1e6:.0f} MB and several "
            f"arrays like a tile of {block / 1e6:.0f} MB, and their logs tell"
        )


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
        check_key(tiles.problem, tiles.key)
        tile = tiles.make(corner)
    return GramTile((), (), tile.row_sums, tile.column_sums, tile.diagonal)


def _multiply(
    tiles: TileStore, version: tuple[int, int], irrep: int, corners: list[Corner], v: np.ndarray
) -> np.ndarray:
    _check_version(tiles, version)
    block = TiledBlock(tiles.problem, irrep, lambda corner, buffer: tiles.block(corner, irrep, buffer))
    with one_thread():
        return block.multiply(corners, np.ascontiguousarray(v, tiles.problem.kernel.dtype))
