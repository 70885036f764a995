"""The orbit Gram in square tiles: each is computed alone, kept alone, and lost alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from haarflow.groups import Action, HaarAction
from haarflow.kernels.aligned import BlockTiles
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.orbit_tiles import Irrep, Kernel, Progress, copies, orbit_tiles
from haarflow.kernels.prior import kernel_diagonal
from haarflow.kernels.work import entry_work

__all__ = ["LABEL", "Corner", "GramProblem", "GramSums", "GramTile", "one_by_one"]

# What progress on an orbit Gram is called; its items are kernel entries.
LABEL = "orbit Gram"

# (i, j), i <= j: the row and the column of a tile.
Corner = tuple[int, int]

# Bytes of one tile's blocks, and samples along its side: what is lost when a run is killed, and held at a time.
_TILE_BYTES = 2**25
# Kernel entries of a tile: some seconds, for kernels of inner products and for others.
_CHEAP_ENTRIES, _ENTRIES = 2**28, 2**16
_SMALLEST_SIDE, _LARGEST_SIDE = 64, 2048
# Duals of pairs of positions in a tile of images, eight seconds at most on two cores; fewer samples along its side
# would leave much to evaluate for each sample alone.
_IMAGE_WORK, _SMALLEST_IMAGE_SIDE = 2**31, 4


@dataclass(frozen=True)
class GramTile:
    """The orbit Gram between two spans of samples, for each irrep.

    Attributes
    ----------
    ntk, nngp : tuple of array [i d, j d]
        sum_g Theta(x_i, g x_j) (x) sigma(g), samples outermost; of K where it was asked for.
    row_sums, column_sums : array [i], [j]
        sum |Theta(x_i, g x_j)| over g and the other span.
    diagonal : array [i]
        Theta(x_i, x_i); empty off the diagonal.
    """

    ntk: tuple[np.ndarray, ...]
    nngp: tuple[np.ndarray, ...]
    row_sums: np.ndarray
    column_sums: np.ndarray
    diagonal: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a store keeps, by name."""
        named = {f"block_{i}": block for i, block in enumerate(self.ntk)}
        named.update({f"nngp_{i}": block for i, block in enumerate(self.nngp)})
        return {**named, "row_sums": self.row_sums, "column_sums": self.column_sums, "diagonal": self.diagonal}


@dataclass(frozen=True)
class GramProblem:
    """Which orbit Gram is computed: both kernels on the samples' orbits, in the blocks of some irreps.

    Attributes
    ----------
    kernel : Kernel
        An invariant kernel.
    action : Action or HaarAction
        The group's action.
    x : array [n, ...]
        Base samples.
    irreps : tuple of Representation or Harmonic
        Blocks asked for.
    nngp : bool
        Whether the blocks of K are computed too.
    """

    kernel: Kernel
    action: Action | HaarAction
    x: np.ndarray
    irreps: tuple[Irrep, ...]
    nngp: bool = False

    def __getstate__(self) -> dict[str, object]:
        # A worker finds the side by its own version's rules, which are compared with those here.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def side(self) -> int:
        """Samples along the side of a tile, the same whatever their number."""
        numbers = sum(irrep.dim**2 for irrep in self.irreps) * (2 if self.nngp else 1)
        entries, smallest = (_CHEAP_ENTRIES if self._of_inner_product else _ENTRIES), _SMALLEST_SIDE
        if isinstance(self.kernel, AnalyticKernel) and not self._of_inner_product:
            work = entry_work(self.kernel.architecture.layers, self.x.shape[1:])
            entries, smallest = min(entries, _IMAGE_WORK // work), _SMALLEST_IMAGE_SIDE
        if isinstance(self.action, Action):
            entries //= self.action.group.order
        side = min(_TILE_BYTES / np.dtype(self.kernel.dtype).itemsize / numbers, max(entries, 1)) ** 0.5
        return int(min(_LARGEST_SIDE, max(smallest, 1 << int(np.log2(side)))))

    @property
    def _of_inner_product(self) -> bool:
        return isinstance(self.kernel, AnalyticKernel) and self.kernel.of_inner_product(self.x.shape[1:])

    @cached_property
    def entries(self) -> int:
        """Kernel entries of all tiles together."""
        return sum(map(self.entries_of, self.corners()))

    def entries_of(self, corner: Corner) -> int:
        """Return how many kernel entries one tile takes, about half of them on the diagonal of inner products."""
        rows, columns = (self.span(i).stop - self.span(i).start for i in corner)
        halved = corner[0] == corner[1] and self._of_inner_product
        return (rows * (rows + 1) // 2 if halved else rows * columns) * copies(self.action)

    def corners(self) -> list[Corner]:
        """Return the tiles (i, j), i <= j, that cover all pairs."""
        return [corner for column in self.columns() for corner in column]

    def columns(self) -> list[list[Corner]]:
        """Return the tiles of each column."""
        return [[(i, j) for i in range(j + 1)] for j in range(-(-len(self.x) // self.side))]

    def span(self, i: int) -> slice:
        """Return the samples of the i-th row or column of tiles."""
        return slice(i * self.side, min((i + 1) * self.side, len(self.x)))

    def shapes(self, corner: Corner) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and dtype of what a tile holds, by name."""
        rows, columns = (self.span(i).stop - self.span(i).start for i in corner)
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for family in ("block", "nngp") if self.nngp else ("block",):
            for i, irrep in enumerate(self.irreps):
                found[f"{family}_{i}"] = (rows * irrep.dim, columns * irrep.dim), self.kernel.dtype
        vectors = {"row_sums": rows, "column_sums": columns, "diagonal": rows if corner[0] == corner[1] else 0}
        return {**found, **{name: ((size,), "float64") for name, size in vectors.items()}}

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> GramTile:
        """Return a kept tile."""
        ntk, nngp = (
            tuple(arrays[f"{family}_{i}"] for i in range(len(self.irreps))) if some else ()
            for family, some in (("block", True), ("nngp", self.nngp))
        )
        return GramTile(ntk, nngp, *(arrays[name] for name in ("row_sums", "column_sums", "diagonal")))

    def compute(self, corner: Corner, progress: Progress | None = None) -> GramTile:
        """Evaluate one tile.

        Parameters
        ----------
        corner : (int, int)
            (i, j), i <= j.
        progress : callable, optional
            progress(label, done, total) between its parts, in kernel entries as `entries_of` counts them.

        Notes
        -----
        Cost: side^2 |G| kernel entries, half of them on the diagonal of inner products; memory the tile and a few
        small ones.
        """
        rows, columns = (self.span(i) for i in corner)
        square = corner[0] == corner[1]
        sizes = rows.stop - rows.start, columns.stop - columns.start
        blocks = [
            [np.empty((sizes[0], s.dim, sizes[1], s.dim), self.kernel.dtype) for s in self.irreps]
            for _ in range(2 if self.nngp else 1)
        ]
        sums = np.zeros(sizes[0]), np.zeros(sizes[1])
        diagonal = np.zeros(sizes[0] if square else 0)
        x1, x2 = self.x[rows], None if square else self.x[columns]
        done, whole = 0, self.entries_of(corner)

        def told(some: int) -> None:
            nonlocal done
            done += some
            if progress is not None:
                progress(LABEL, whole * done // count, whole)

        count, tiles = orbit_tiles(self.kernel, self.action, x1, x2, self.irreps, self.nngp, told)
        for some, others, found in tiles:
            if square:
                self._enter_half(blocks, sums[0], diagonal, found, some, others)
            else:
                sums[0][some] += found.absolute.sum(axis=1)
                sums[1][others] += found.absolute.sum(axis=0)
                for family, parts in zip(blocks, (found.ntk, found.nngp), strict=False):
                    for block, part in zip(family, parts, strict=True):
                        block[some, :, others] = part
        ntk, *rest = (tuple(b.reshape(sizes[0] * b.shape[1], -1) for b in family) for family in blocks)
        return GramTile(ntk, rest[0] if rest else (), sums[0], sums[0] if square else sums[1], diagonal)

    def _enter_half(
        self,
        blocks: list[list[np.ndarray]],
        sums: np.ndarray,
        diagonal: np.ndarray,
        found: BlockTiles,
        rows: slice,
        columns: slice,
    ) -> None:
        """Enter a part of a symmetric tile, and its transpose."""
        # What lies above the columns' own square, which holds them on its diagonal.
        above = slice(rows.start, min(rows.stop, columns.start))
        if above.start < above.stop:
            part = _rows_of(found, slice(0, above.stop - above.start))
            sums[above] += part.absolute.sum(axis=1)
            sums[columns] += part.absolute.sum(axis=0)
            _enter(blocks, part, above, columns)
        if rows.stop > columns.start:
            square = _rows_of(found, slice(max(columns.start - rows.start, 0), None))
            sums[columns] += square.absolute.sum(axis=1)
            own = kernel_diagonal(self.kernel, self.x[columns]).ntk if square.plain is None else square.plain.diagonal()
            diagonal[columns] = own
            _enter(blocks, square, columns, columns)


def one_by_one(
    problem: GramProblem,
    corners: Sequence[Corner],
    make: Callable[[Corner, Progress | None], GramTile],
    progress: Progress | None,
    done: int = 0,
) -> Iterator[tuple[Corner, GramTile]]:
    """Yield tiles as they are made, and report how many of the problem's entries are done, within tiles too.

    Parameters
    ----------
    problem : GramProblem
        Whose tiles they are.
    corners : sequence of (int, int)
        Which, in this order.
    make : callable
        (corner, progress) -> tile.
    progress : callable or None
        progress(label, done, total).
    done : int
        Entries of tiles that there are already.
    """
    for corner in corners:

        def within(label: str, some: int, _: int, before: int = done) -> None:
            assert progress is not None
            progress(label, before + some, problem.entries)

        yield corner, make(corner, None if progress is None else within)
        done += problem.entries_of(corner)
        if progress is not None:
            progress(LABEL, done, problem.entries)


class GramSums:
    """What is summed over all tiles, in the same order in whichever order they come."""

    def __init__(self, problem: GramProblem) -> None:
        self._problem = problem
        self._parts: dict[Corner, tuple[np.ndarray, ...]] = {}

    def add(self, corner: Corner, tile: GramTile) -> None:
        """Enter a tile."""
        self._parts[corner] = tile.row_sums, tile.column_sums, tile.diagonal

    @property
    def bound(self) -> float:
        """The largest absolute row sum of Theta's whole augmented Gram."""
        sums = np.zeros(len(self._problem.x))
        for i, j in self._problem.corners():
            rows, columns, _ = self._parts[i, j]
            sums[self._problem.span(i)] += rows
            if i < j:
                sums[self._problem.span(j)] += columns
        return float(sums.max())

    @property
    def mean_diagonal(self) -> float:
        """Mean of Theta(x_i, x_i)."""
        return float(np.concatenate([d for (i, j), (*_, d) in sorted(self._parts.items()) if i == j]).mean())


def _rows_of(sums: BlockTiles, some: slice) -> BlockTiles:
    plain = None if sums.plain is None else sums.plain[some]
    return BlockTiles([part[some] for part in sums.ntk], [part[some] for part in sums.nngp], sums.absolute[some], plain)


def _enter(blocks: list[list[np.ndarray]], sums: BlockTiles, rows: slice, columns: slice) -> None:
    """Write a tile and its transpose into the blocks."""
    for family, found in zip(blocks, (sums.ntk, sums.nngp), strict=False):
        for block, tile in zip(family, found, strict=True):
            if rows == columns:  # exactly symmetric, whatever the kernel's rounding
                tile = (tile + tile.transpose(2, 3, 0, 1)) / 2
            block[rows, :, columns] = tile
            block[columns, :, rows] = tile.transpose(2, 3, 0, 1)
