"""All blocks of an orbit Gram factorised, one by one; what took long is kept as soon as it is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.background import await_background, in_background
from haarflow.durations import eigendecomposition_seconds, is_long
from haarflow.kernels import OrbitGram, Store
from haarflow.kernels.entry import Key, Shapes, canonical
from haarflow.kernels.orbit_tiles import Progress
from haarflow.progress import progress_bar

__all__ = ["Factorisation", "square_root"]

Arrays = dict[str, np.ndarray]

_WHOLE, _PART = "spectrum", "block"


@dataclass(frozen=True)
class Factorisation:
    """What is factorised, and where it is kept.

    Attributes
    ----------
    bases : sequence of csr_matrix [N, r] or None
        Of each block's distinct points.
    ranks : sequence of int
        Their r.
    size : int
        Order of the whole augmented Gram matrix.
    dtype : str
        Of the blocks.
    nngp : bool
        Whether the NNGP's blocks are taken into the eigenbases.
    store : Store or None
        Where all blocks together are kept, and long ones alone until then.
    key : dict
        What they are computed from.
    """

    bases: Sequence[csr_matrix | None]
    ranks: Sequence[int]
    size: int
    dtype: str
    nngp: bool
    store: Store | None
    key: Key = field(repr=False)

    def __call__(self, assembled: Callable[[], OrbitGram], progress: Progress | None) -> Arrays:
        """Return eigenvalues, eigenvectors, scales and the mean diagonal by name, kept or computed.

        Parameters
        ----------
        assembled : callable
            Gives the Gram, where it is needed.
        progress : callable, optional
            progress(label, done, total): blocks; and seconds, passed and estimated, where they are long.
        """
        done = self.find(progress)
        if len(done) < len(self.bases):
            self._compute(assembled(), done, progress)
        return self._joined(done)

    def find(self, progress: Progress | None = None) -> dict[int, Arrays]:
        """Return the blocks that are kept, after those that an interrupted call has left running."""
        if self.store is None:
            return {}

        def tick(passed: float) -> None:
            if progress is not None:
                progress("waiting for an interrupted fit, seconds", int(passed), int(passed) + 1)

        await_background(canonical(self.key), "an eigendecomposition of an interrupted fit", str(self.store.path), tick)
        whole = self.store.get(_WHOLE, self.key, self._shapes(range(len(self.bases))))
        if whole is not None:
            return {i: {name: whole[name] for name in self._shapes([i])} for i in range(len(self.bases))}
        long = [i for i, rank in enumerate(self.ranks) if is_long(rank)]
        parts = {i: self.store.get(_PART, self._key_of(i), self._shapes([i])) for i in long}
        return {i: part for i, part in parts.items() if part is not None}

    def _compute(self, gram: OrbitGram, done: dict[int, Arrays], progress: Progress | None) -> None:
        bound, mean_diagonal = gram.bound, np.asarray(gram.mean_diagonal)
        blocks, nngp = list(gram.blocks[::-1]), list(gram.nngp[::-1])
        del gram  # so that each block can go once it is factorised
        watch = _Watch(progress, [rank for i, rank in enumerate(self.ranks) if i not in done], self.nngp)
        for i, (basis, rank) in enumerate(zip(self.bases, self.ranks, strict=True)):
            block, of_nngp = blocks.pop(), nngp.pop() if self.nngp else None
            if progress is not None:
                progress("eigendecomposition", i, len(self.bases))
            if i in done:
                continue
            pieces = [block, of_nngp]  # emptied by the work, which alone holds them then
            seconds = watch.begin(block, rank) if is_long(rank) else 0.0
            del block, of_nngp

            def work(i: int = i, basis: csr_matrix | None = basis, pieces: list = pieces) -> None:
                arrays = {"mean_diagonal": mean_diagonal, **self._factorise(i, pieces, basis, bound)}
                self._enter(done, i, arrays)

            if is_long(rank):
                kept = None if self.store is None else str(self.store.path)
                what = f"the eigendecomposition of order {rank}"
                in_background(work, what, seconds, kept, watch.tick, canonical(self.key))
                watch.end()
            else:
                work()
        if progress is not None:
            progress("eigendecomposition", len(self.bases), len(self.bases))

    def _factorise(self, i: int, pieces: list, basis: csr_matrix | None, bound: float) -> Arrays:
        of_nngp, block = pieces.pop(), pieces.pop()
        spectrum = solvers.eigendecompose(block, basis, scale=bound, size=self.size)
        del block
        arrays = {f"eigenvalues_{i}": spectrum.eigenvalues, f"eigenvectors_{i}": spectrum.eigenvectors}
        arrays[f"scale_{i}"] = np.asarray(spectrum.scale)
        if of_nngp is not None:
            arrays[f"nngp_{i}"] = solvers.to_eigenbasis(spectrum, of_nngp)
        return arrays

    def _enter(self, done: dict[int, Arrays], i: int, arrays: Arrays) -> None:
        """Take a block in, and keep all of them with the last, or this one alone where it took long."""
        done[i] = arrays
        if self.store is None:
            return
        if len(done) == len(self.bases):
            self.store.put(_WHOLE, self.key, self._joined(done))
            for j, rank in enumerate(self.ranks):
                if is_long(rank):
                    self.store.remove(_PART, self._key_of(j))
        elif is_long(self.ranks[i]):
            self.store.put(_PART, self._key_of(i), arrays)

    def _key_of(self, i: int) -> Key:
        return {**self.key, "block": i}

    def _joined(self, done: dict[int, Arrays]) -> Arrays:
        # In one order, so that the same blocks are the same bytes.
        return {name: done[i][name] for i in sorted(done) for name in self._shapes([i])}

    def _shapes(self, some: Sequence[int]) -> Shapes:
        shapes: Shapes = {"mean_diagonal": ((), "float64")}
        for i in some:
            rank = self.ranks[i]
            shapes[f"eigenvalues_{i}"] = ((rank,), self.dtype)
            shapes[f"eigenvectors_{i}"] = ((rank, rank), self.dtype)
            shapes[f"scale_{i}"] = ((), "float64")
            if self.nngp:
                shapes[f"nngp_{i}"] = ((rank, rank), self.dtype)
        return shapes


class _Watch:
    """How many seconds long blocks have taken, and will take."""

    def __init__(
        self, progress: Progress | None, ranks: Sequence[int], nngp: bool, label: str = "eigendecomposition, seconds"
    ) -> None:
        self._progress, self._products, self._label = progress, 4.0 if nngp else 0.0, label
        self._cubes = sum(float(rank) ** 3 for rank in ranks if is_long(rank))
        self._before, self._now, self._cube = 0.0, 0.0, 0.0
        self._estimate, self._slower = 0.0, 1.0

    def begin(self, block: np.ndarray, rank: int) -> float:
        """Estimate a block, corrected by how long those before it took; return its seconds."""
        self._estimate, self._cube = eigendecomposition_seconds(block, rank, self._products), float(rank) ** 3
        self.tick(0.0)
        return self._estimate * self._slower

    def tick(self, passed: float) -> None:
        """Report the seconds that have passed, of all that are estimated."""
        self._now = passed
        if self._progress is not None:
            total = self._before + self._estimate * self._slower * self._cubes / self._cube
            done = self._before + passed
            self._progress(self._label, int(done), max(int(total), int(done) + 1))

    def end(self) -> None:
        """Learn from a block that is done."""
        self._slower = self._now / self._estimate if self._now > 1 and self._estimate > 0 else self._slower
        self._before, self._cubes, self._now = self._before + self._now, self._cubes - self._cube, 0.0


def square_root(covariance: np.ndarray, scale: float, eps: float, report: Progress | bool | None = None) -> np.ndarray:
    """Return `solvers.symmetric_root`, from which a caller that is interrupted may leave.

    Parameters
    ----------
    covariance, scale, eps
        As there.
    report : callable, bool or None
        As in `progress_bar`.
    """
    order = len(covariance)
    if not is_long(order):
        return solvers.symmetric_root(covariance, scale, eps)
    with progress_bar(report) as progress:
        watch = _Watch(progress, [order], nngp=False, label="members' covariance, seconds")
        seconds = watch.begin(covariance, order)
        what = f"the square root of a covariance of order {order}"
        return in_background(lambda: solvers.symmetric_root(covariance, scale, eps), what, seconds, tick=watch.tick)
