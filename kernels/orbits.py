"""The assembler: the orbit Gram of both kernels, streamed in tiles into one block per irrep."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from haarflow.groups import Action, HaarAction
from haarflow.kernels.gram_tiles import Corner, GramProblem, GramSums, GramTile, one_by_one
from haarflow.kernels.orbit_tiles import Irrep, Kernel, Progress, copies, orbit_tiles
from haarflow.kernels.own import as_own

__all__ = ["OrbitGram", "OrbitRows", "assemble", "computed_tiles", "orbit_gram", "orbit_rows"]

# Numbers of theta_sigma that are handed over at a time.
_ROWS_NUMBERS = 2**25


@dataclass(frozen=True, eq=False)
class OrbitGram:
    """The augmented Gram matrices in isotypic blocks.

    Attributes
    ----------
    blocks : tuple of array [n d, n d]
        sum_g Theta(x_i, g x_j) (x) sigma(g) for each irrep asked for, samples outermost.
    nngp : tuple of array [n d, n d]
        The same of K; empty where it was not asked for.
    bound : float
        An upper bound of the largest eigenvalue of Theta's whole augmented Gram: its largest absolute row sum.
    mean_diagonal : float
        Mean of Theta(x_i, x_i), the unit of the ridge.
    """

    blocks: tuple[np.ndarray, ...]
    nngp: tuple[np.ndarray, ...]
    bound: float
    mean_diagonal: float


@dataclass(frozen=True, eq=False)
class OrbitRows:
    """Kernels between some test points and the orbits of the training set.

    Attributes
    ----------
    rows : slice
        Which test points.
    ntk : list of array [rows, d, n, d]
        theta_sigma(x) = sum_g Theta(x, g x_j) sigma(g) for each irrep.
    nngp : list of array [rows, d, n, d]
        The same of K; empty where it was not asked for.
    """

    rows: slice
    ntk: list[np.ndarray]
    nngp: list[np.ndarray]


def orbit_gram(
    kernel: Kernel,
    action: Action | HaarAction,
    x: np.ndarray,
    irreps: Sequence[Irrep],
    progress: Progress | None = None,
    nngp: bool = False,
) -> OrbitGram:
    """Stream kappa_ij(g) = Theta(x_i, rho_X(g) x_j) into one block per irrep, never listing the augmented set.

    Parameters
    ----------
    kernel : Kernel
        An invariant kernel.
    action : Action
        The group's action.
    x : array [n, ...]
        Base samples.
    irreps : sequence of Representation
        Blocks asked for.
    progress : callable, optional
        Called as progress(label, done, total) between tiles and within them, in kernel entries.
    nngp : bool
        Whether the blocks of K are assembled too, in the same pass.

    Returns
    -------
    OrbitGram

    Notes
    -----
    Cost: about n^2 |G| / 2 kernel entries, since kappa_ij(g) = kappa_ji(g^-1), each of them one inner product for
    flat samples, P walks for P positions under Flatten, P^2 under GlobalAvgPool (`AnalyticKernel.__call__`); memory
    8 (n d)^2 bytes for each block and a few tiles.
    Source: Gerken & Kessel 2024; docs/theory.md.
    """
    problem = GramProblem(as_own(kernel), action, x, tuple(irreps), nngp)
    return assemble(problem, computed_tiles(problem, progress))


def computed_tiles(problem: GramProblem, progress: Progress | None = None) -> Iterator[tuple[Corner, GramTile]]:
    """Yield all tiles as they are computed."""
    return one_by_one(problem, problem.corners(), problem.compute, progress)


def assemble(problem: GramProblem, tiles: Iterable[tuple[Corner, GramTile]]) -> OrbitGram:
    """Enter all tiles, in any order, into whole blocks; a single tile's are handed over as they are."""
    n, alone = len(problem.x), len(problem.corners()) == 1
    sums, families = GramSums(problem), []
    for corner, tile in tiles:
        sums.add(corner, tile)
        parts = [tile.ntk, tile.nngp] if problem.nngp else [tile.ntk]
        if alone:
            families = [list(family) for family in parts]
            continue
        if not families:
            families = [[np.empty((n * s.dim,) * 2, problem.kernel.dtype) for s in problem.irreps] for _ in parts]
        rows, columns = (problem.span(i) for i in corner)
        for family, some in zip(families, parts, strict=True):
            for block, part, irrep in zip(family, some, problem.irreps, strict=True):
                at, to = (slice(span.start * irrep.dim, span.stop * irrep.dim) for span in (rows, columns))
                block[at, to] = part
                if at != to:
                    block[to, at] = part.T
    ntk, *rest = (tuple(family) for family in families)
    return OrbitGram(ntk, rest[0] if rest else (), sums.bound, sums.mean_diagonal)


def orbit_rows(
    kernel: Kernel,
    action: Action | HaarAction,
    x_test: np.ndarray,
    x: np.ndarray,
    irreps: Sequence[Irrep],
    progress: Progress | None = None,
    nngp: bool = False,
) -> Iterator[OrbitRows]:
    """Stream theta_sigma(x) = sum_g Theta(x, rho_X(g) x_j) sigma(g), rows of test points at a time.

    Parameters
    ----------
    kernel, action, x, irreps, progress, nngp
        As in `orbit_gram`.
    x_test : array [m, ...]
        Test points.

    Yields
    ------
    OrbitRows

    Notes
    -----
    Cost: m n |G| kernel entries, which cost what those of `orbit_gram` do; memory a few tiles, and at most 256 MB of
    rows for each kernel, or one row.
    """
    kernel = as_own(kernel)
    n, m = len(x), len(x_test)
    done, total = 0, m * n * copies(action)

    def told(some: int) -> None:
        nonlocal done
        done += some
        if progress is not None:
            progress("test kernel", done, total)

    numbers = n * sum(irrep.dim**2 for irrep in irreps)
    height = max(1, _ROWS_NUMBERS // numbers)
    starts = range(0, m, height)
    for i in starts:
        rows = slice(i, min(i + height, m))
        families = [
            [np.empty((rows.stop - i, irrep.dim, n, irrep.dim), kernel.dtype) for irrep in irreps]
            for _ in range(2 if nngp else 1)
        ]
        _, tiles = orbit_tiles(kernel, action, x_test[rows], x, irreps, nngp, told)
        for some, columns, sums in tiles:
            for family, found in zip(families, (sums.ntk, sums.nngp), strict=False):
                for whole, tile in zip(family, found, strict=True):
                    whole[some, :, columns] = tile
        yield OrbitRows(rows, families[0], families[1] if nngp else [])
