"""Filters of a matrix that is known by its products only: every training time from one block Krylov space."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from haarflow.solvers.error_estimates import Estimate, Ritz
from haarflow.solvers.filters import Filter, check_times
from haarflow.solvers.krylov_space import KrylovSpace, Product, grow, start_space
from haarflow.solvers.preconditioned import (
    Nystroem,
    conjugate_gradients,
    nystroem,
    nystroem_from_space,
)

__all__ = ["Krylov", "Solved", "solve"]

Columns = Callable[[np.ndarray], np.ndarray]
Keep = Callable[[int, np.ndarray, np.ndarray], None]
Progress = Callable[[str, int, int], None]

# Dimensions at which the error is estimated grow by this factor: all small eigenproblems together cost 2.4 times
# the last one.
_GROWTH = 1.2

# Coefficients of so many times and outputs are lifted at once.
_COLUMNS = 1024


@dataclass(frozen=True)
class Krylov:
    """The choice of the Krylov solver.

    Parameters
    ----------
    tolerance : float
        Relative error of the coefficients phi_t(A) Y, Frobenius norm, for each time, at which growing stops.
    dimension : int
        At most so many basis vectors, at least the labels' rank: 8 N dimension bytes.
    preconditioner : int
        Rank of the Nystroem preconditioner for t = inf under a ridge; 0 is none.
    """

    tolerance: float = 1e-6
    dimension: int = 4000
    preconditioner: int = 1000

    def __post_init__(self) -> None:
        for name in ("dimension", "preconditioner"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, found {value!r}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be 0 < tolerance < 1, found {self.tolerance}")
        if self.dimension < 1:
            raise ValueError(f"dimension must be >= 1, found {self.dimension}")
        if self.preconditioner < 0:
            raise ValueError(f"preconditioner must be >= 0, found {self.preconditioner}")


@dataclass(frozen=True, eq=False)
class Solved:
    """Coefficients at every time, and how well they are known.

    Attributes
    ----------
    alpha : array [T, N, k] float64
        phi_t(A + ridge) Y.
    error : array [T]
        Estimated relative error of each, Frobenius norm.
    cut : array [T] int
        Modes of the space that were left out.
    unresolved : int
        Modes of the space whose eigenvalue, without ridge, is not known from 0.
    space : KrylovSpace
        The space: it serves other filters, and more dimensions.
    products : int
        Vectors that were multiplied by A.
    preconditioned : array [T] bool
        Which times were finished by preconditioned conjugate gradients.
    iterations : int
        Of those.
    """

    alpha: np.ndarray = field(repr=False)
    error: np.ndarray
    cut: np.ndarray
    unresolved: int
    space: KrylovSpace
    products: int
    preconditioned: np.ndarray
    iterations: int


def solve(
    product: Product,
    labels: np.ndarray,
    filter: Filter,
    times: np.ndarray,
    rate: float,
    ridge: float = 0.0,
    *,
    how: Krylov = Krylov(),
    scale: float | None = None,
    size: int | None = None,
    space: KrylovSpace | None = None,
    columns: Columns | None = None,
    keep: Keep | None = None,
    progress: Progress | None = None,
) -> Solved:
    """Return phi_t(A + ridge) labels for every time, A symmetric positive semidefinite.

    Parameters
    ----------
    product : callable
        v [N, p] float64 -> A v [N, p], of any float dtype.
    labels : array [N, k]
        Right-hand sides.
    filter : Filter
        phi(lambda, t).
    times : array [T]
        In the user's clock.
    rate : float
        The flow's time in one unit of it.
    ridge : float
        Added to every eigenvalue.
    how : Krylov
        Tolerance, largest dimension, rank of the preconditioner.
    scale : float, optional
        Upper bound of the largest eigenvalue of the whole augmented Gram matrix; default the block's own.
    size : int, optional
        Order of the whole augmented Gram matrix; default N.
    space : KrylovSpace, optional
        Where to go on: that of an earlier call, or one rebuilt by `space_from`, for the same A and labels.
    columns : callable, optional
        Indices -> A[:, indices], for the preconditioner; default what the space knows. With it, t = inf under a
        ridge does not wait for the space.
    keep : callable, optional
        Called with (0, first block, labels' coefficients), then (step, new block, its column): see `space_from`.
    progress : callable, optional
        Called as progress(label, done, total) after each product.

    Returns
    -------
    Solved

    Raises
    ------
    ValueError
        For labels, times, a ridge or a product that do not fit, or a rate that the filter refuses.

    Notes
    -----
    t = inf without ridge is the pseudo-inverse on the resolved Ritz values. Cost for dimension d: d products of one
    vector, 4 N d^2 operations to orthogonalise, 22 d^3 for the estimates, N d k for each time. Memory: N d numbers
    and 4 d^2. Source: docs/krylov.md.
    """
    times, labels = check_times(times), np.asarray(labels)
    _check(ridge, scale, size)
    if space is None:
        space = start_space(labels)
        if keep is not None:
            keep(0, space.next, space.coefficients)
    elif labels.shape != (space.rows, space.coefficients.shape[1]):
        wanted = (space.rows, space.coefficients.shape[1])
        raise ValueError(f"labels must be {list(wanted)} to fit the space, found shape {labels.shape}")
    T, k = len(times), space.coefficients.shape[1]
    none = np.zeros(T, bool)
    if space.coefficients.shape[0] == 0:  # labels that vanish
        filter(np.zeros(1), times, rate)
        nothing = np.zeros((T, space.rows, k))
        return Solved(nothing, np.zeros(T), np.zeros(T, int), 0, space, 0, none, 0)
    finishing = _finishing(filter, times, rate, ridge)
    waiting = ~finishing if columns is not None and how.preconditioner else ~none

    def check(space: KrylovSpace) -> tuple[Ritz, Estimate]:
        ritz = Ritz.of(space, scale, size)
        return ritz, ritz.estimate(filter, times, rate, ridge)

    space, ritz, estimate, products = _grow_until(product, space, check, how, waiting, keep, progress)
    alpha = _lift(space, ritz.coefficients(ritz.phi(filter, times, rate, ridge)))
    error, iterations = estimate.total, 0
    finishing &= (error > how.tolerance) & (estimate.growing > 0.3 * estimate.rounding)
    finishing &= not space.exhausted and ridge > ritz.threshold
    if finishing.any():
        first = int(np.argmax(finishing))
        found = conjugate_gradients(
            product,
            labels.astype(float),
            ridge,
            _approximation(space, how, columns),
            alpha[first],
            tolerance=how.tolerance,
            floor=float(estimate.rounding[first]),
            steps=max(200, how.dimension // k),
            progress=None if progress is None else lambda done, total: progress("conjugate gradients", done, total),
        )
        alpha[finishing], error[finishing] = found.solution, found.error
        products, iterations = products + found.products, found.steps
    cut = ritz.cut(filter, times, rate, ridge)
    return Solved(alpha, error, cut, int(ritz.unresolved(0.0).sum()), space, products, finishing, iterations)


def _grow_until(
    product: Product,
    space: KrylovSpace,
    check: Callable[[KrylovSpace], tuple[Ritz, Estimate]],
    how: Krylov,
    waiting: np.ndarray,
    keep: Keep | None,
    progress: Progress | None,
) -> tuple[KrylovSpace, Ritz, Estimate, int]:
    """Grow until the estimates of the times that wait for it are met, or growing does not help."""
    products = 0
    while True:
        full = space.exhausted or space.dimension + space.next.shape[1] > how.dimension
        if space.steps and (full or _due(space)):
            ritz, estimate = check(space)
            met = (estimate.total <= how.tolerance) | (estimate.growing <= 0.3 * estimate.rounding)
            if full or met[waiting].all():
                return space, ritz, estimate, products
        products += space.next.shape[1]
        space = grow(space, product)
        if keep is not None:
            keep(space.steps, space.next, space.columns[-1])
        if progress is not None:
            progress("Krylov space", space.dimension, how.dimension)


def _due(space: KrylovSpace) -> bool:
    """Whether the last step passed a dimension of the schedule, the same for every way of getting there."""
    before = space.dimension - space.sizes[-1]
    return int(np.log(max(before, 1)) / np.log(_GROWTH)) < int(np.log(space.dimension) / np.log(_GROWTH))


def _finishing(filter: Filter, times: np.ndarray, rate: float, ridge: float) -> np.ndarray:
    """Return [T]: whether the solution is (A + ridge)^-1 Y, and the ridge makes that well posed."""
    values = ridge * np.array([1.0, 1.7])
    with np.errstate(all="ignore"):
        inverse = np.isclose(filter(values, times, rate) * values, 1.0, rtol=1e-12, atol=0).all(axis=1)
    return np.isinf(times) & inverse & (ridge > 0)


def _approximation(space: KrylovSpace, how: Krylov, columns: Columns | None) -> Nystroem:
    if how.preconditioner and columns is not None:
        return nystroem(columns, space.rows, how.preconditioner)
    known = nystroem_from_space(space)
    return known if how.preconditioner else Nystroem((), np.empty((0, 0)), np.empty(0), known.rest)


def _lift(space: KrylovSpace, coefficients: np.ndarray) -> np.ndarray:
    """Return [d, T, k] as [T, N, k]."""
    d, T, k = coefficients.shape
    lifted = np.empty((T, space.rows, k))
    step = max(1, _COLUMNS // max(k, 1))
    for start in range(0, T, step):
        some = coefficients[:, start : start + step]
        flat = space.lift(np.ascontiguousarray(some.reshape(d, some.shape[1] * k)))
        lifted[start : start + step] = flat.reshape(space.rows, some.shape[1], k).transpose(1, 0, 2)
    return lifted


def _check(ridge: float, scale: float | None, size: int | None) -> None:
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge must be finite and >= 0, found {ridge}")
    if scale is not None and not 0 <= scale < np.inf:
        raise ValueError(f"scale must be finite and >= 0, found {scale}")
    if size is not None and size < 1:
        raise ValueError(f"size must be >= 1, found {size}")
