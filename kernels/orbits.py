"""The assembler: the orbit Gram, streamed in tiles into one block per irrep, and the check that it applies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from haarflow.groups import Action, Representation, check_action
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.pair import KernelPair

__all__ = [
    "InvarianceReport",
    "Kernel",
    "OrbitGram",
    "Progress",
    "check_invariance",
    "orbit_gram",
    "orbit_rows",
]

Progress = Callable[[str, int, int], None]

# Numbers of kappa that one tile holds for all group elements together, as far as its sides stay above the second:
# small tiles waste less on the diagonal and stay in caches.
_TILE_NUMBERS = 2**18
_SMALLEST_SIDE = 32
# Numbers of theta_sigma that are handed over at a time.
_ROWS_NUMBERS = 2**25


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
class InvarianceReport:
    """How well the conditions of the reduction hold on random inputs.

    Attributes
    ----------
    failures : tuple of str
        One sentence for each condition that fails: which, by how much, for which element. Empty: all hold.
    residual : float
        The largest relative change of Theta or K under the joint action, 0 where it was not reached.
    tolerance : float
        What residuals are held to.
    """

    failures: tuple[str, ...]
    residual: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the reduction applies."""
        return not self.failures


def check_invariance(kernel: Kernel, action: Action, sample_shape: tuple[int, ...], seed: int = 0) -> InvarianceReport:
    """Check on random inputs that the orbit reduction applies: an orthogonal action, and invariant kernels.

    Parameters
    ----------
    kernel : Kernel
        Callable as `kernel(x1, x2)`.
    action : Action
        The group's action on samples.
    sample_shape : tuple of int
        Shape of one sample.
    seed : int
        Of the Gaussian inputs.

    Returns
    -------
    InvarianceReport

    Notes
    -----
    Invariance under generators implies invariance under the group, so only they are tried.
    Cost: 9 kernel entries for every generator. Analytic kernels are tried in float64.
    Source: Gerken & Kessel 2024, the kernel transformation theorem.
    """
    if isinstance(kernel, AnalyticKernel):  # its precision is ours to choose
        kernel = AnalyticKernel(kernel.architecture, "float64")
    tolerance = 1e-8 if kernel.dtype == "float64" else 1e-3
    rng = np.random.default_rng(seed)
    x, other = rng.standard_normal((2, 3, *sample_shape))
    if not action.exact:
        return InvarianceReport((f"{action.name} is not an exact group action: it interpolates",), 0.0, tolerance)
    failures = list(check_action(action, x, 1e-8).failures)
    before = kernel(x, other)
    worst, element = 0.0, ""
    label = ""
    for g in action.group.generators:
        after = kernel(action(g, x), action(g, other))
        for name, a, b in (("Theta", after.ntk, before.ntk), ("K", after.nngp, before.nngp)):
            change = _relative_change(a, b)
            if change > worst:
                worst, element, label = change, str(g), name
    if worst > tolerance:
        failures.append(
            f"the kernel is not invariant under {action.name}: {label}(gx, gx') differs from {label}(x, x') "
            f"by {worst:.1e} relative (at most {tolerance:.0e} would do) for element g = {element}"
        )
    return InvarianceReport(tuple(failures), worst, tolerance)


def _relative_change(after: np.ndarray, before: np.ndarray) -> float:
    # Relative to the spread of the values, since a bias adds the same constant to all of them; what is rounding
    # of the values themselves is no change.
    change, size = float(np.max(np.abs(after - before))), float(np.max(np.abs(before)))
    if change <= 64 * float(np.finfo(before.dtype).eps) * size:
        return 0.0
    return change / max(float(np.ptp(before)), 1e-3 * change)


@dataclass(frozen=True)
class OrbitGram:
    """The augmented Gram matrix of Theta in isotypic blocks.

    Attributes
    ----------
    blocks : tuple of array [n d, n d]
        sum_g kappa(g) (x) sigma(g) for each irrep asked for, samples outermost.
    bound : float
        An upper bound of the largest eigenvalue of the whole augmented Gram: its largest absolute row sum.
    mean_diagonal : float
        Mean of Theta(x_i, x_i), the unit of the ridge.
    """

    blocks: tuple[np.ndarray, ...]
    bound: float
    mean_diagonal: float


def orbit_gram(
    kernel: Kernel,
    action: Action,
    x: np.ndarray,
    irreps: Sequence[Representation],
    progress: Progress | None = None,
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

    Returns
    -------
    OrbitGram

    Notes
    -----
    Cost: about n^2 |G| / 2 kernel entries, since kappa_ij(g) = kappa_ji(g^-1); memory 8 (n d)^2 bytes for
    each block and a few tiles.
    Source: Gerken & Kessel 2024; docs/theory.md.
    """
    n, order = len(x), action.group.order
    sigmas = [irrep.matrices.astype(kernel.dtype) for irrep in irreps]
    blocks = [np.empty((n, sigma.shape[1], n, sigma.shape[1]), kernel.dtype) for sigma in sigmas]
    row_sums = np.zeros(n)
    diagonal = np.empty(n)
    side = _tile_side(n, order)
    corners = [(i, j) for i in range(0, n, side) for j in range(i, n, side)]
    for done, (i, j) in enumerate(corners):
        rows, columns = slice(i, i + side), slice(j, j + side)
        kappa = _kappa(kernel, action, x[rows], x[columns])
        absolute = np.abs(kappa).sum(axis=1, dtype=float)
        row_sums[rows] += absolute.sum(axis=1)
        if i == j:
            diagonal[rows] = kappa[:, action.group.identity].diagonal()
        else:
            row_sums[columns] += absolute.sum(axis=0)
        for block, sigma in zip(blocks, sigmas, strict=True):
            tile = np.einsum("igj,gab->iajb", kappa, sigma, optimize=True)
            if i == j:  # exactly symmetric, whatever the kernel's rounding
                tile = (tile + tile.transpose(2, 3, 0, 1)) / 2
            block[rows, :, columns] = tile
            block[columns, :, rows] = tile.transpose(2, 3, 0, 1)
        if progress is not None:
            progress("orbit Gram", done + 1, len(corners))
    square = tuple(block.reshape(n * block.shape[1], -1) for block in blocks)
    return OrbitGram(square, float(row_sums.max()), float(diagonal.mean()))


def orbit_rows(
    kernel: Kernel,
    action: Action,
    x_test: np.ndarray,
    x: np.ndarray,
    irreps: Sequence[Representation],
    progress: Progress | None = None,
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Stream theta_sigma(x) = sum_g Theta(x, rho_X(g) x_j) sigma(g), rows of test points at a time.

    Parameters
    ----------
    kernel, action, x, irreps, progress
        As in `orbit_gram`.
    x_test : array [m, ...]
        Test points.

    Yields
    ------
    rows : slice
        Which test points.
    thetas : list of array [rows, d, n, d]
        One for each irrep.

    Notes
    -----
    Cost: m n |G| kernel entries; memory a few tiles, and at most 256 MB of rows or one row.
    """
    n, m, order = len(x), len(x_test), action.group.order
    side = _tile_side(n, order)
    sigmas = [irrep.matrices.astype(kernel.dtype) for irrep in irreps]
    widest = max(sigma.shape[1] for sigma in sigmas)
    height = max(_SMALLEST_SIDE, _power_of_two_below(_TILE_NUMBERS / (order * side)))
    height = min(height, _power_of_two_below(_ROWS_NUMBERS / (n * widest**2)))
    starts = range(0, m, height)
    for done, i in enumerate(starts):
        rows = slice(i, min(i + height, m))
        count = rows.stop - rows.start
        thetas = [np.empty((count, s.shape[1], n, s.shape[1]), kernel.dtype) for s in sigmas]
        for j in range(0, n, side):
            columns = slice(j, j + side)
            kappa = _kappa(kernel, action, x_test[rows], x[columns])
            for theta, sigma in zip(thetas, sigmas, strict=True):
                theta[:, :, columns] = np.einsum("igj,gab->iajb", kappa, sigma, optimize=True)
        if progress is not None:
            progress("test kernel", done + 1, len(starts))
        yield rows, thetas


def _tile_side(n: int, order: int) -> int:
    return min(max(_SMALLEST_SIDE, _power_of_two_below((_TILE_NUMBERS / order) ** 0.5)), n)


def _power_of_two_below(number: float) -> int:
    # So that the kernel meets few shapes.
    return 1 << int(np.log2(max(1.0, number)))


def _kappa(kernel: Kernel, action: Action, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Theta(a_i, rho_X(g) b_j) as [len(a), |G|, len(b)]."""
    listed = action.orbit(b)
    return kernel(a, listed.reshape(-1, *b.shape[1:])).ntk.reshape(len(a), action.group.order, len(b))
