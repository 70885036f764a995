"""The tiles of an orbit Gram in a store: computed once, by whoever comes first, and read many times."""

import os
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from haarflow.kernels.entry import DamageError, Key, UnreadableError, stem
from haarflow.kernels.gram_tiles import LABEL, Corner, GramProblem, GramTile, one_by_one
from haarflow.kernels.kept import Kept, TouchedError
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.store import Store, StoreWarning

__all__ = ["TileStore"]

_KIND = "gram"


class TileStore:
    """Tiles of one orbit Gram, each an entry of a store.

    Parameters
    ----------
    problem : GramProblem
        What the tiles are of.
    store : Store
        Where they are kept.
    key : dict
        What they are computed from.
    """

    def __init__(self, problem: GramProblem, store: Store, key: Key) -> None:
        self.problem, self.store, self.key = problem, store, key
        # Which files were verified in this process.
        self._open: dict[Corner, Kept] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process, which verifies files itself."""
        return {**self.__dict__, "_open": {}}

    def key_of(self, corner: Corner) -> Key:
        """Return the key of one tile's entry."""
        return {**self.key, "side": self.problem.side, "row": corner[0], "column": corner[1]}

    def find(self, corner: Corner) -> GramTile | None:
        """Return a kept tile, or None."""
        arrays = self.store.get(_KIND, self.key_of(corner), self.problem.shapes(corner))
        return None if arrays is None else self.problem.from_arrays(arrays)

    def make(self, corner: Corner, progress: Progress | None = None) -> GramTile:
        """Return a tile, computed and kept where it was not."""
        return self.find(corner) or self._make_anew(corner, progress)

    def _make_anew(self, corner: Corner, progress: Progress | None = None) -> GramTile:
        tile = self.problem.compute(corner, progress)
        self.store.put(_KIND, self.key_of(corner), tile.arrays())
        return tile

    def tiles(self, progress: Progress | None = None) -> Iterator[tuple[Corner, GramTile]]:
        """Yield all tiles: first those that are kept, then the others as they are computed.

        Processes that share a store take them in orders of their own, and so meet what the others have done.
        """
        corners = self.problem.corners()
        order = random.Random(os.urandom(8)).sample(corners, len(corners))
        stems = {stem(_KIND, self.key_of(corner)): corner for corner in order}
        there = set(map(stems.__getitem__, self.store.found(stems)))
        damaged: set[Corner] = set()
        for looked, corner in enumerate(there, start=1):
            tile = self.find(corner)
            if tile is None:
                damaged.add(corner)
                continue
            yield corner, tile
            if progress is not None:
                progress("kept tiles", looked, len(there))
        missing = [corner for corner in order if corner in damaged or corner not in there]
        done = sum(map(self.problem.entries_of, there - damaged))
        if progress is not None and done:  # where the pace of what is computed begins
            progress(LABEL, done, self.problem.entries)

        def made(corner: Corner, progress: Progress | None) -> GramTile:
            # Which warned of its damage already.
            return self._make_anew(corner, progress) if corner in damaged else self.make(corner, progress)

        yield from one_by_one(self.problem, missing, made, progress, done)

    def block(self, corner: Corner, i: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return the i-th irrep's block of Theta in one tile, verified where the file is new or was changed.

        Parameters
        ----------
        corner : (int, int)
            Which tile.
        i : int
            Which irrep.
        buffer : array of bytes, optional
            At least as large as the block, which may become a view of it.
        """
        name = f"block_{i}"
        for _ in range(2):
            # Other threads of this process add and remove tiles meanwhile.
            kept = self._open.get(corner)
            if kept is None:
                kept = self.store.keep_open(_KIND, self.key_of(corner), self.problem.shapes(corner))
                if kept is None:
                    return self._make_anew(corner).ntk[i]
                self._open[corner] = kept
            try:
                return kept.read(name, buffer)
            except TouchedError:  # verified again, which warns of what is found
                self._open.pop(corner, None)
            except (DamageError, UnreadableError) as problem:
                self._open.pop(corner, None)
                warnings.warn(f"{kept.path} is verified again: {problem}", StoreWarning, stacklevel=2)
        return self.make(corner).ntk[i]
