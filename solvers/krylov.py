"""Filters of a matrix that is known by its products only: every training time from one block Krylov space."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from haarflow.solvers.error_estimates import Estimate, Ritz
from haarflow.solvers.filters import Filter, StepError, check_times
from haarflow.solvers.krylov_space import Keep, KrylovSpace, Product, Recall, advance, start_space
from haarflow.solvers.preconditioned import (
    Nystroem,
    PreconditionedSolve,
    conjugate_gradients,
    nystroem,
    nystroem_from_space,
    typical_rest,
)
from haarflow.solvers.resolution import ridged

__all__ = ["Krylov", "Solved", "solve"]

Columns = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[str, int, int], None]

# Dimensions at which the error is estimated grow by this factor: all small eigenproblems together cost 2.4 times
# the last one.
_GROWTH = 1.2

# Steps before conjugate gradients take over.
_NOISE_STEPS = 20

# Coefficients of so many times and outputs are lifted at once.
_COLUMNS = 1024


@dataclass(frozen=True)
class Krylov:
    """The choice of the Krylov solver.

    Parameters
    ----------
    tolerance : float
        Relative error of the coefficients phi_t(A) Y, of each column for each time, at which growing stops.
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
        if np.ndim(self.tolerance) != 0 or np.asarray(self.tolerance).dtype.kind not in "iuf":
            raise TypeError(f"tolerance must be a number 0 < tolerance < 1 such as 1e-6, found {self.tolerance!r}")
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
        Estimated relative error of each: of the worst column, relative to itself.
    cut : array [T] int
        Modes of the space that were left out.
    unresolved : int
        Modes of the space whose eigenvalue, without ridge, is not known from 0.
    left_out : array [N, k]
        What of the labels lies in modes that are not known with the ridge either: 0 unless some are cut.
    space : KrylovSpace
        The space: it serves other filters, and more dimensions.
    products : int
        Vectors that were multiplied by A.
    preconditioned : array [T] bool
        Which times were finished by preconditioned conjugate gradients.
    iterations : int
        Of those.
    inverse : PreconditionedSolve or None
        What finished them: it serves other times under the same ridge.
    """

    alpha: np.ndarray = field(repr=False)
    error: np.ndarray
    cut: np.ndarray
    unresolved: int
    left_out: np.ndarray = field(repr=False)
    space: KrylovSpace
    products: int
    preconditioned: np.ndarray
    iterations: int
    inverse: PreconditionedSolve | None = None


class _Checked(NamedTuple):
    """What a space says of all times, and which of them are solved by conjugate gradients where it does not do."""

    ritz: Ritz
    estimate: Estimate
    invertible: np.ndarray


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
    eps: float = float(np.finfo(float).eps),
    space: KrylovSpace | None = None,
    columns: Columns | None = None,
    inverse: PreconditionedSolve | None = None,
    recall: Recall | None = None,
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
    eps : float
        Of the precision that A was rounded to, default float64's: no product shows it.
    space : KrylovSpace, optional
        Where to go on: that of an earlier call, or one rebuilt by `space_from`, for the same A and labels.
    columns : callable, optional
        Indices -> A[:, indices], for the preconditioner; default what the space knows. With it, t = inf under a
        ridge does not wait for the space, unless the ridge is below what is known of small eigenvalues.
    inverse : PreconditionedSolve, optional
        `Solved.inverse` of an earlier call for the same A, labels and ridge: taken where it is better than the space,
        and gone on from where it was found for a larger tolerance than this and does not meet this one.
    recall : callable, optional
        Called with the space before each step; returns the new block and its column, as `keep` was given them, or
        None where they have to be made. Neither the bits nor where growing stops depend on it.
    keep : callable, optional
        Called with (space before the step, new block, its column) for each step that was made.
    progress : callable, optional
        Called as progress(label, done, total) after each step.

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
    elif labels.shape != (space.rows, space.coefficients.shape[1]):
        wanted = (space.rows, space.coefficients.shape[1])
        raise ValueError(f"labels must be {list(wanted)} to fit the space, found shape {labels.shape}")
    T, k = len(times), space.coefficients.shape[1]
    none = np.zeros(T, bool)
    if space.coefficients.shape[0] == 0:  # labels that vanish
        filter(np.zeros(1), times, rate)
        nothing = np.zeros((T, space.rows, k))
        return Solved(nothing, np.zeros(T), np.zeros(T, int), 0, np.zeros((space.rows, k)), space, 0, none, 0)
    aided = columns is not None and how.preconditioner > 0

    def check(space: KrylovSpace) -> _Checked:
        ritz = Ritz.of(space, scale, size, eps)
        return _Checked(ritz, ritz.estimate(filter, times, rate, ridge), _invertible(ritz, filter, times, rate, ridge))

    space, found, products = _grow_until(product, space, check, how, aided, recall, keep, progress)
    ritz, estimate, finishing = found
    alpha = _lift(ritz, ritz.phi(filter, times, rate, ridge))
    error, iterations = estimate.total, 0
    finishing = finishing & ~found.estimate.met(how.tolerance) & (not space.exhausted)
    if finishing.any():
        first = int(np.argmax(finishing))
        best = inverse if inverse is not None and inverse.error <= error[first] else None
        if best is None or (best.tolerance > how.tolerance and best.error > how.tolerance):
            found_now = conjugate_gradients(
                product,
                labels / space.units,
                ridge,
                _approximation(space, how, columns),
                alpha[first] if best is None else best.solution,
                tolerance=how.tolerance,
                floor=float(estimate.rounding[first].max()),
                steps=max(200, how.dimension // k),
                progress=None if progress is None else lambda done, total: progress("conjugate gradients", done, total),
            )
            products, iterations = products + found_now.products, found_now.steps
            if best is None or found_now.error <= best.error:
                best = found_now
            else:
                best = replace(best, tolerance=how.tolerance)
        alpha[finishing], error[finishing], inverse = best.solution, best.error, best
    cut, unresolved = ritz.cut(filter, times, rate, ridge), int(ritz.unresolved(0.0).sum())
    left_out = _lift(ritz, ritz.unresolved(ridge)[None].astype(float))[0] if cut.any() else np.zeros(labels.shape)
    if np.any(space.units != 1):
        alpha, left_out = alpha * space.units, left_out * space.units
    return Solved(alpha, error, cut, unresolved, left_out, space, products, finishing, iterations, inverse)


def _grow_until(
    product: Product,
    space: KrylovSpace,
    check: Callable[[KrylovSpace], _Checked],
    how: Krylov,
    aided: bool,
    recall: Recall | None,
    keep: Keep | None,
    progress: Progress | None,
) -> tuple[KrylovSpace, _Checked, int]:
    """Grow until the estimates of the times that wait for it are met, or growing does not help."""
    products = 0
    while True:
        full = space.exhausted or space.dimension + space.next.shape[1] > how.dimension
        if space.steps and (full or _due(space)):
            try:
                found = check(space)
            except StepError:  # by how much training diverges the largest eigenvalue tells, once it is known
                if full or space.steps >= _NOISE_STEPS:
                    raise
            else:
                # Of fewer steps the product's noise is hardly known, which conjugate gradients have to know.
                left = found.invertible & aided & (space.steps >= _NOISE_STEPS)
                if full or (found.estimate.met(how.tolerance) | left).all():
                    return space, found, products
        space, multiplied = advance(space, product, recall, keep)
        products += multiplied
        if progress is not None:
            progress("Krylov space", space.dimension, how.dimension)


def _due(space: KrylovSpace) -> bool:
    """Whether the last step passed a dimension of the schedule, the same for every way of getting there."""
    before = space.dimension - space.sizes[-1]
    return int(np.log(max(before, 1)) / np.log(_GROWTH)) < int(np.log(space.dimension) / np.log(_GROWTH))


def _invertible(ritz: Ritz, filter: Filter, times: np.ndarray, rate: float, ridge: float) -> np.ndarray:
    """Return [T]: whether the solution is (A + ridge)^-1 Y, and the ridge makes that well posed."""
    late = np.isinf(times)
    if not late.any() or ridge <= ritz.threshold:
        return np.zeros(len(times), bool)
    # A filter may be the inverse on some values and not between. On no larger ones, where steps may diverge.
    seen = ridged(ritz.values, ridge)
    values = np.concatenate([seen, np.geomspace(ridge, max(ridge, seen[-1]), 64)])
    values = np.minimum(values, max(ridge, seen[-1]))
    with np.errstate(all="ignore"):
        inverse = np.isclose(filter(values, np.array([np.inf]), rate) * values, 1.0, rtol=1e-12, atol=0)
    return late & bool(inverse.all())


def _approximation(space: KrylovSpace, how: Krylov, columns: Columns | None) -> Nystroem:
    if how.preconditioner and columns is not None:
        drawn = nystroem(columns, space.rows, how.preconditioner)
        # The space may have seen smaller eigenvalues than the drawn columns.
        return replace(drawn, rest=min(drawn.rest, typical_rest(space.projection(), space.sizes[-1])))
    known = nystroem_from_space(space)
    return known if how.preconditioner else Nystroem((), np.empty((0, 0)), np.empty(0), known.rest)


def _lift(ritz: Ritz, phi: np.ndarray) -> np.ndarray:
    """Return phi [T, d] of the Ritz values as phi_t(A) Y, [T, N, k], in the units of the space."""
    T, d = phi.shape
    N, k = ritz.space.rows, ritz.space.coefficients.shape[1]
    lifted = np.empty((T, N, k))
    step = max(1, _COLUMNS // max(k, 1))
    for start in range(0, T, step):
        some = ritz.coefficients(phi[start : start + step])
        flat = ritz.space.lift(some.reshape(d, some.shape[1] * k))
        lifted[start : start + step] = flat.reshape(N, some.shape[1], k).transpose(1, 0, 2)
    return lifted


def _check(ridge: float, scale: float | None, size: int | None) -> None:
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge must be finite and >= 0, found {ridge}")
    if scale is not None and not 0 <= scale < np.inf:
        raise ValueError(f"scale must be finite and >= 0, found {scale}")
    if size is not None and size < 1:
        raise ValueError(f"size must be >= 1, found {size}")
