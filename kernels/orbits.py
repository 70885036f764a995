"""The assembler: the orbit Gram of both kernels, streamed in tiles into one block per irrep."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from haarflow.groups import Action, HaarAction
from haarflow.kernels.aligned import BlockTiles
from haarflow.kernels.orbit_tiles import Irrep, Kernel, orbit_tiles
from haarflow.kernels.pair import KernelPair

__all__ = ["Irrep", "Kernel", "OrbitGram", "OrbitRows", "Progress", "kernel_diagonal", "orbit_gram", "orbit_rows"]

Progress = Callable[[str, int, int], None]

# Numbers of theta_sigma that are handed over at a time.
_ROWS_NUMBERS = 2**25
# Samples whose K(x, x) are read off one small Gram matrix.
_DIAGONAL = 32


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
        Called as progress(label, done, total) between tiles.
    nngp : bool
        Whether the blocks of K are assembled too, in the same pass.

    Returns
    -------
    OrbitGram

    Notes
    -----
    Cost: about n^2 |G| / 2 kernel entries, since kappa_ij(g) = kappa_ji(g^-1); memory 8 (n d)^2 bytes for
    each block and a few tiles.
    Source: Gerken & Kessel 2024; docs/theory.md.
    """
    n = len(x)
    shapes = [(n, irrep.dim, n, irrep.dim) for irrep in irreps]
    blocks = [[np.empty(shape, kernel.dtype) for shape in shapes] for _ in range(2 if nngp else 1)]
    row_sums, diagonal = np.zeros(n), np.empty(n)
    count, tiles = orbit_tiles(kernel, action, x, None, irreps, nngp)
    for done, (rows, columns, sums) in enumerate(tiles):
        # The part above the columns' own square, which holds them on its diagonal.
        above = slice(rows.start, min(rows.stop, columns.start))
        if above.start < above.stop:
            part = _rows_of(sums, slice(0, above.stop - above.start))
            row_sums[above] += part.absolute.sum(axis=1)
            row_sums[columns] += part.absolute.sum(axis=0)
            _enter(blocks, part, above, columns)
        if rows.stop > columns.start:
            square = _rows_of(sums, slice(max(columns.start - rows.start, 0), None))
            row_sums[columns] += square.absolute.sum(axis=1)
            diagonal[columns] = (
                kernel_diagonal(kernel, x[columns]).ntk if square.plain is None else square.plain.diagonal()
            )
            _enter(blocks, square, columns, columns)
        if progress is not None:
            progress("orbit Gram", done + 1, count)
    ntk, *rest = (tuple(block.reshape(n * block.shape[1], -1) for block in family) for family in blocks)
    return OrbitGram(ntk, rest[0] if rest else (), float(row_sums.max()), float(diagonal.mean()))


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
    Cost: m n |G| kernel entries; memory a few tiles, and at most 256 MB of rows for each kernel, or one row.
    """
    n, m = len(x), len(x_test)
    numbers = n * sum(irrep.dim**2 for irrep in irreps)
    height = max(1, _ROWS_NUMBERS // numbers)
    starts = range(0, m, height)
    for i in starts:
        rows = slice(i, min(i + height, m))
        families = [
            [np.empty((rows.stop - i, irrep.dim, n, irrep.dim), kernel.dtype) for irrep in irreps]
            for _ in range(2 if nngp else 1)
        ]
        count, tiles = orbit_tiles(kernel, action, x_test[rows], x, irreps, nngp)
        for part, (some, columns, sums) in enumerate(tiles):
            for family, found in zip(families, (sums.ntk, sums.nngp), strict=False):
                for whole, tile in zip(family, found, strict=True):
                    whole[some, :, columns] = tile
            if progress is not None:
                progress("test kernel", i + (rows.stop - i) * (part + 1) // count, m)
        yield OrbitRows(rows, families[0], families[1] if nngp else [])


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


def kernel_diagonal(kernel: Kernel, x: np.ndarray) -> KernelPair:
    """Return K(x_i, x_i) and Theta(x_i, x_i) without the Gram matrix.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    x : array [m, ...]
        Samples.

    Returns
    -------
    KernelPair
        [m] each.

    Notes
    -----
    Cost: 32 kernel entries for each sample, as diagonals of small Gram matrices.
    """
    parts = [kernel(x[i : i + _DIAGONAL]) for i in range(0, len(x), _DIAGONAL)]
    return KernelPair(*(np.concatenate([np.diagonal(part[k]) for part in parts]) for k in range(2)))
