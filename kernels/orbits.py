"""The assembler: the orbit Gram of both kernels, streamed in tiles into one block per irrep."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from haarflow.groups import Action, HaarAction, Harmonic, Representation
from haarflow.kernels.aligned import BlockTiles, aligned_tiles, evaluations
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.pair import KernelPair

__all__ = ["Irrep", "Kernel", "OrbitGram", "OrbitRows", "Progress", "kernel_diagonal", "orbit_gram", "orbit_rows"]

Progress = Callable[[str, int, int], None]
Irrep = Representation | Harmonic

# Numbers of kappa that one tile holds for all group elements together, as far as its sides stay above the second:
# small tiles waste less on the diagonal and stay in caches.
_TILE_NUMBERS = 2**18
_SMALLEST_SIDE = 32
# Numbers of theta_sigma that are handed over at a time.
_ROWS_NUMBERS = 2**25
# Samples whose K(x, x) are read off one small Gram matrix.
_DIAGONAL = 32


class Kernel(Protocol):
    """What a kernel must offer: NNGP and NTK between two batches, a dtype, and a key for the store."""

    @property
    def dtype(self) -> str:
        """Name of the dtype of all results."""
        ...

    @property
    def content_key(self) -> str:
        """A string that is equal for kernels with equal values."""
        ...

    def __call__(self, x1: np.ndarray, x2: np.ndarray | None = None) -> KernelPair:
        """Return both kernels [n1, n2]."""
        ...


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
    kernels = 2 if nngp else 1
    shapes = [(n, irrep.dim, n, irrep.dim) for irrep in irreps]
    blocks = [[np.empty(shape, kernel.dtype) for shape in shapes] for _ in range(kernels)]
    row_sums, diagonal = np.zeros(n), np.empty(n)
    side = _tile_side(n, _entries(action))
    corners = [(i, j) for i in range(0, n, side) for j in range(i, n, side)]
    for done, (i, j) in enumerate(corners):
        rows, columns = slice(i, i + side), slice(j, j + side)
        tiles = _tiles(kernel, action, x[rows], x[columns], irreps, nngp)
        row_sums[rows] += tiles.absolute.sum(axis=1)
        if i != j:
            row_sums[columns] += tiles.absolute.sum(axis=0)
        elif tiles.plain is not None:
            diagonal[rows] = tiles.plain.diagonal()
        else:
            diagonal[rows] = kernel_diagonal(kernel, x[rows]).ntk
        for family, found in zip(blocks, (tiles.ntk, tiles.nngp), strict=False):
            for block, tile in zip(family, found, strict=True):
                if i == j:  # exactly symmetric, whatever the kernel's rounding
                    tile = (tile + tile.transpose(2, 3, 0, 1)) / 2
                block[rows, :, columns] = tile
                block[columns, :, rows] = tile.transpose(2, 3, 0, 1)
        if progress is not None:
            progress("orbit Gram", done + 1, len(corners))
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
    n, m, order = len(x), len(x_test), _entries(action)
    side = _tile_side(n, order)
    numbers = n * sum(irrep.dim**2 for irrep in irreps)
    height = max(_SMALLEST_SIDE, _power_of_two_below(_TILE_NUMBERS / (order * side)))
    height = min(height, _power_of_two_below(_ROWS_NUMBERS / numbers))
    starts = range(0, m, height)
    for done, i in enumerate(starts):
        rows = slice(i, min(i + height, m))
        families = [
            [np.empty((rows.stop - i, irrep.dim, n, irrep.dim), kernel.dtype) for irrep in irreps]
            for _ in range(2 if nngp else 1)
        ]
        for j in range(0, n, side):
            columns = slice(j, j + side)
            tiles = _tiles(kernel, action, x_test[rows], x[columns], irreps, nngp)
            for family, found in zip(families, (tiles.ntk, tiles.nngp), strict=False):
                for whole, tile in zip(family, found, strict=True):
                    whole[:, :, columns] = tile
        if progress is not None:
            progress("test kernel", done + 1, len(starts))
        yield OrbitRows(rows, families[0], families[1] if nngp else [])


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


def _tile_side(n: int, order: int) -> int:
    return min(max(_SMALLEST_SIDE, _power_of_two_below((_TILE_NUMBERS / order) ** 0.5)), n)


def _power_of_two_below(number: float) -> int:
    # So that the kernel meets few shapes.
    return 1 << int(np.log2(max(1.0, number)))


def _entries(action: Action | HaarAction) -> int:
    """Return how many kernel entries one pair of samples takes."""
    return evaluations(action) if isinstance(action, HaarAction) else action.group.order


def _tiles(
    kernel: Kernel, action: Action | HaarAction, a: np.ndarray, b: np.ndarray, irreps: Sequence[Irrep], nngp: bool
) -> BlockTiles:
    """Return sum_g kappa(g) (x) sigma(g) as [i, d, j, d] for each irrep, the mean for a compact group."""
    if isinstance(action, HaarAction):
        assert isinstance(kernel, AnalyticKernel)
        return aligned_tiles(kernel, action, a, b, cast(Sequence[Harmonic], irreps))
    pair = kernel(a, action.orbit(b).reshape(-1, *b.shape[1:]))
    shape = (len(a), action.group.order, len(b))
    ntk = pair.ntk.reshape(shape)
    matrices = [cast(Representation, irrep).matrices.astype(kernel.dtype) for irrep in irreps]
    return BlockTiles(
        [_convolved(ntk, sigma) for sigma in matrices],
        [_convolved(pair.nngp.reshape(shape), sigma) for sigma in matrices] if nngp else [],
        np.abs(ntk).sum(axis=1, dtype=float),
        ntk[:, action.group.identity],
    )


def _convolved(kappa: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.einsum("igj,gab->iajb", kappa, sigma, optimize=True)
