"""(A + ridge) X = Y by conjugate gradients, preconditioned by a Nystroem approximation of A."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from haarflow.solvers import lapack
from haarflow.solvers.error_estimates import WORST
from haarflow.solvers.krylov_space import KrylovSpace, Product

__all__ = ["Nystroem", "PreconditionedSolve", "conjugate_gradients", "nystroem", "nystroem_from_space", "typical_rest"]

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Nystroem:
    """A low-rank approximation Q S diag(values) S^T Q^T of A, and the size of what it leaves.

    Attributes
    ----------
    basis : tuple of arrays [N, c]
        Q, orthonormal columns side by side.
    turn : array [sum of c, r]
        S, orthonormal columns.
    values : array [r]
        Positive.
    rest : float
        A typical eigenvalue of A on the complement.
    """

    basis: tuple[np.ndarray, ...] = field(repr=False)
    turn: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    rest: float

    def solve(self, vectors: np.ndarray, ridge: float, rest: float) -> np.ndarray:
        """Return (approximation + rest on the complement + ridge)^-1 vectors, [N, p]; 4 N r p operations."""
        scaled = vectors / (rest + ridge)
        if self.values.size == 0:
            return scaled
        inside = self.turn.T @ np.concatenate([part.T @ vectors for part in self.basis])
        change = self.turn @ ((1 / (self.values + ridge) - 1 / (rest + ridge))[:, None] * inside)
        start = 0
        for part in self.basis:
            scaled += part @ change[start : start + part.shape[1]]
            start += part.shape[1]
        return scaled


@dataclass(frozen=True, eq=False)
class PreconditionedSolve:
    """What conjugate gradients found.

    Attributes
    ----------
    solution : array [N, k]
        Of the labels in the units of the space.
    error : float
        Estimated relative error of the worst column.
    tolerance : float
        What was asked for.
    products : int
        Vectors that were multiplied by A.
    steps : int
        Iterations.
    """

    solution: np.ndarray = field(repr=False)
    error: float
    tolerance: float
    products: int
    steps: int


def nystroem(columns: Callable[[np.ndarray], np.ndarray], rows: int, rank: int, seed: int = 0) -> Nystroem:
    """Approximate A from columns drawn at random.

    Parameters
    ----------
    columns : callable
        Indices [r] -> A[:, indices], [N, r].
    rows : int
        Order N.
    rank : int
        How many.
    seed : int
        Of the draw.

    Returns
    -------
    Nystroem

    Raises
    ------
    ValueError
        For columns of another shape or not finite.

    Notes
    -----
    C (C_S)^-1 C^T with C = A[:, S]; eigenvalues within rounding of 0 are dropped. Cost: 4 N r^2 operations and 2
    arrays [N, r]. Source: Frangella, Tropp & Udell 2021, with a sample of columns in place of a random matrix.
    """
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(rank, rows), replace=False))
    drawn = np.asarray(columns(chosen))
    if drawn.shape != (rows, len(chosen)) or not np.isfinite(drawn).all():
        raise ValueError(f"columns must return finite [{rows}, {len(chosen)}], found shape {drawn.shape}")
    eps = float(np.finfo(drawn.dtype).eps) if drawn.dtype.kind == "f" else _EPS
    drawn = drawn.astype(float, copy=False)
    values, vectors = scipy.linalg.eigh((drawn[chosen] + drawn[chosen].T) / 2)
    kept = values > len(chosen) * eps * max(float(values[-1]), 0.0)
    root = ((vectors[:, kept] / np.sqrt(values[kept])).T @ drawn.T).T  # in the order that LAPACK overwrites
    del drawn
    basis, triangle = scipy.linalg.qr(root, mode="economic", overwrite_a=True, check_finite=False)
    turn, roots, _ = lapack.svd(triangle)
    return Nystroem((basis,), turn, roots**2, float(roots[-1] ** 2) if roots.size else 0.0)


def nystroem_from_space(space: KrylovSpace) -> Nystroem:
    """Approximate A by what a Krylov space has seen of it: A V (V^T A V)^-1 (A V)^T.

    Parameters
    ----------
    space : KrylovSpace
        After at least one step.

    Returns
    -------
    Nystroem

    Notes
    -----
    No product and no new array of N rows: 20 d^3 operations for dimension d.
    """
    projected = space.projection()
    values, vectors = lapack.eigh(projected)
    kept = values > space.rows * _EPS * max(space.norm, float(values[-1])) + 2 * space.noise
    below = space.coupling @ vectors[-space.sizes[-1] :, kept]
    root = np.concatenate([vectors[:, kept] * values[kept], below]) / np.sqrt(values[kept])
    turn, roots, _ = lapack.svd(root)
    basis = space.basis if space.exhausted else (*space.basis, space.next)
    return Nystroem(basis, turn, roots**2, typical_rest(projected, space.sizes[-1]))


def typical_rest(projected: np.ndarray, last: int) -> float:
    """Return the mean of A on the last step's columns: what the steps before have left of it.

    Parameters
    ----------
    projected : array [d, d]
        V^T A V of the space.
    last : int
        Columns of its last step.
    """
    return max(float(np.trace(projected[-last:, -last:])) / last, 0.0)


def conjugate_gradients(
    product: Product,
    labels: np.ndarray,
    ridge: float,
    approximation: Nystroem,
    start: np.ndarray,
    *,
    tolerance: float,
    floor: float = 0.0,
    steps: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> PreconditionedSolve:
    """Solve (A + ridge) X = Y for all columns at once.

    Parameters
    ----------
    product : callable
        v [N, p] -> A v, one for all columns in each iteration.
    labels : array [N, k]
        Y.
    ridge : float
        Positive.
    approximation : Nystroem
        The preconditioner.
    start : array [N, k]
        Where to start.
    tolerance : float
        Estimated relative error of the worst column at which to stop.
    floor : float
        Relative error that noise and rounding leave: part of the estimate, and not fought.
    steps : int
        At most so many iterations.
    progress : callable, optional
        Called as progress(done, total).

    Returns
    -------
    PreconditionedSolve

    Notes
    -----
    The error is (A + ridge)^-1 R for the residual R; A is known on the approximation's range and lies between
    0 and a typical `rest` on its complement. The estimate lies between the two answers as in the Krylov space.
    Columns keep their own step lengths. The residual is computed anew before an answer is believed.
    """
    spent = done = 0
    solution, enough = np.array(start, float), max(tolerance - floor, 0.3 * floor)
    best, found = solution, np.inf
    while True:
        residual = labels - np.asarray(product(solution), float) - ridge * solution
        spent += labels.shape[1]
        previous, error = found, _error(approximation, ridge, residual, solution)
        if error < found:
            best, found = solution, error
        if error <= enough or done >= steps or error > 0.5 * previous:
            return PreconditionedSolve(best, found + floor, tolerance, spent, done)
        solution, used = _run(product, ridge, approximation, solution, residual, enough, steps - done, done, progress)
        spent, done = spent + used * labels.shape[1], done + used


def _run(
    product: Product,
    ridge: float,
    approximation: Nystroem,
    solution: np.ndarray,
    residual: np.ndarray,
    enough: float,
    steps: int,
    before: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, int]:
    """Iterate until the residual that is carried along says enough."""
    weighted = approximation.solve(residual, ridge, approximation.rest)
    direction, energy = weighted, np.sum(residual * weighted, axis=0)
    for step in range(1, steps + 1):
        image = np.asarray(product(np.ascontiguousarray(direction)), float) + ridge * direction
        curvature = np.sum(direction * image, axis=0)
        length = np.where(curvature > 0, energy / np.where(curvature > 0, curvature, 1.0), 0.0)
        solution, residual = solution + length * direction, residual - length * image
        weighted = approximation.solve(residual, ridge, approximation.rest)
        if progress is not None:
            progress(before + step, before + steps)
        if _error(approximation, ridge, residual, solution, weighted) <= enough or not np.any(length):
            return solution, step
        after = np.sum(residual * weighted, axis=0)
        direction = weighted + np.where(energy > 0, after / np.where(energy > 0, energy, 1.0), 0.0) * direction
        energy = after
    return solution, steps


def _error(
    approximation: Nystroem,
    ridge: float,
    residual: np.ndarray,
    solution: np.ndarray,
    likely: np.ndarray | None = None,
) -> float:
    likely = approximation.solve(residual, ridge, approximation.rest) if likely is None else likely
    worst = approximation.solve(residual, ridge, 0.0)
    sizes = [np.linalg.norm(part, axis=0) for part in (likely, worst, solution)]
    reached = np.maximum(sizes[0], sizes[2])
    return float(np.max(5 * sizes[0] ** (1 - WORST) * sizes[1] ** WORST / np.where(reached > 0, reached, 1.0)))
