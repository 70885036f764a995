"""The law of the ensemble at test points: the mean, the covariance, and members drawn from it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.groups import HaarAction, Harmonic
from haarflow.kernels import Irrep, Kernel, OrbitRows, kernel_diagonal, orbit_rows
from haarflow.kernels.orbit_tiles import Progress
from haarflow.learning import Learnt, learn

__all__ = [
    "COVARIANCES",
    "ConvergenceWarning",
    "Law",
    "ResolutionWarning",
    "evaluate",
    "warn_of_cuts",
    "warn_of_error",
    "warn_of_truncation",
]

# Share of a variance above which missing degrees are worth a warning.
_VISIBLE = 1e-2

COVARIANCES = (None, "diagonal", "full", "joint")


class ResolutionWarning(UserWarning):
    """What was asked for is finer than the Gram matrix's rounding, or a compact group's rule, resolves."""


class ConvergenceWarning(UserWarning):
    """A Krylov space reached its largest dimension, or rounding, before its tolerance."""


@dataclass(frozen=True)
class Law:
    """The Gaussian law of an infinitely wide member at each time; outputs are independent, with one covariance.

    Attributes
    ----------
    times : array [T]
        In the order asked for.
    mean : array [T, m, k]
        mu_t at the test points.
    unresolved : int
        Modes of the Gram matrix's blocks whose eigenvalue lies below its rounding, each counted once.
    cut : array [T]
        How many of them were left out at each time; where it is 0, nothing was. Of a Krylov space, its Ritz values.
    variance : array [T, m] or None
        Sigma_t(x, x) of every output, where it was asked for.
    covariance : array [T, m, m] or None
        Sigma_t(x, x') of every output, where it was asked for.
    refinement : array [T] or None
        Under a compact group, the largest change of the mean from half the resolution to this one, relative to
        that time's largest mean: an estimate of what more nodes would change. None where half of it does not serve.
    truncation : array [T] or None
        Under a compact group, the largest part of the two highest degrees in a variance, relative to K(x, x); the
        nodes' own error is not in it.
    error : array [T] or None
        From a Krylov space, the estimated relative error of the coefficients phi_t(block) y in Frobenius norm, the
        largest over the blocks; means are mostly known better. None where eigendecompositions make it rounding.
    """

    times: np.ndarray
    mean: np.ndarray
    unresolved: int
    cut: np.ndarray
    variance: np.ndarray | None = None
    covariance: np.ndarray | None = None
    refinement: np.ndarray | None = None
    truncation: np.ndarray | None = None
    error: np.ndarray | None = None


class Evaluated(NamedTuple):
    """The law, what members are drawn from where it was asked for, and the blocks with their Krylov spaces grown."""

    law: Law
    drawn: "Drawn | None"
    fitted: Fitted


class Drawn(NamedTuple):
    """What members are drawn from: [T, m, m] or over times too [T m, T m], and the trace of K beside it."""

    covariance: np.ndarray
    scale: float


def evaluate(
    kernel: Kernel,
    fitted: Fitted,
    filter: solvers.Filter,
    x_test: np.ndarray,
    times: np.ndarray,
    covariance: str | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Return the law at test points, all times from one pass over the test kernel.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    fitted : Fitted
        With `blocks` where a covariance is asked for.
    filter : Filter
        The dynamics.
    x_test : array [m, ...]
        Test points.
    times : array [T]
        Checked times.
    covariance : {None, "diagonal", "full", "joint"}
        "joint" is the covariance between all times too.
    progress : callable, optional
        progress(label, done, total).

    Returns
    -------
    Evaluated
        With `drawn` for "full" and "joint".
    """
    problem = fitted.problem
    fitted, learnt = learn(fitted, filter, times, progress)
    mean = np.zeros((len(times), len(x_test), problem.y.shape[1]))
    how = (filter, times, fitted.rate)
    irreps = _needed(fitted, covariance)
    blocks = fitted.blocks if covariance else ()
    changes = np.zeros((len(times), len(x_test)))
    projected: list[list[solvers.Projected]] = [[] for _ in blocks]
    highest = max((irrep.degree for irrep in irreps if isinstance(irrep, Harmonic)), default=0)
    last = np.zeros_like(changes)
    for part in orbit_rows(kernel, problem.action, x_test, problem.x, irreps, progress, nngp=bool(covariance)):
        _add_mean(mean, fitted, learnt, irreps, part)
        for seen, (irrep, block), ntk, nngp in zip(projected, blocks, part.ntk, part.nngp, strict=False):
            at = block.project(_flat(ntk), _flat(nngp))
            of_the_highest = isinstance(irrep, Harmonic) and irrep.degree >= highest - 1
            if covariance == "diagonal" or of_the_highest:
                change = block.variance(at, *how, fitted.ridge)
                changes[:, part.rows] += change
                last[:, part.rows] += change if of_the_highest else 0
            if covariance != "diagonal":
                seen.append(at)
        del part
    variance, whole, drawn, truncation, refinement = None, None, None, None, None
    if fitted.coarse is not None:
        again = evaluate(kernel, fitted.coarse, filter, x_test, times, None, progress)
        rough, fitted = again.law, replace(fitted, coarse=again.fitted)
        size = np.maximum(np.abs(mean).max(axis=(1, 2)), np.finfo(float).tiny)
        refinement = np.abs(mean - rough.mean).max(axis=(1, 2)) / size
    if covariance == "diagonal":
        own = kernel_diagonal(kernel, x_test).nngp.astype(float)
        variance = _without_rounding(own + changes, own, kernel.dtype)
    elif covariance is not None:
        prior = kernel(x_test).nngp.astype(float)
        own = np.diagonal(prior).copy()
        # Made and let go one by one: the rows of all irreps are large.
        shares = ((block, _joined(projected.pop(0))) for _, block in blocks)
        if covariance == "full":
            whole = np.repeat(prior[None], len(times), axis=0)
            for block, at in shares:
                whole += block.covariance(at, *how, fitted.ridge)
            diagonal = np.einsum("tmm->tm", whole)
            diagonal[:] = _without_rounding(diagonal, own, kernel.dtype)
            drawn = Drawn(whole, float(own.sum()))
        else:
            joint = np.tile(prior[:, None, :], (len(times), 1, len(times), 1))
            for block, at in shares:
                joint += block.joint_covariance(at, *how, fitted.ridge)
            size = len(times) * len(x_test)
            drawn = Drawn(joint.reshape(size, size), float(own.sum()) * len(times))
    if covariance and isinstance(problem.action, HaarAction):
        # A point without variance has no share of it either.
        usual = float(kernel_diagonal(kernel, problem.x).nngp.max())
        some = np.where(own > 1e-24 * usual, own, np.inf)
        truncation = (np.abs(last) / some).max(axis=1)
    if blocks:
        unresolved = sum(block.spectrum.unresolved for _, block in blocks)
        cut = np.sum([block.spectrum.cut(times, fitted.rate, fitted.ridge, filter) for _, block in blocks], axis=0)
    else:
        unresolved, cut = sum(each.unresolved for each in learnt), np.sum([each.cut for each in learnt], axis=0)
    errors = [each.error for each in learnt if each.error is not None]
    error = np.max(errors, axis=0) if errors else None
    return Evaluated(Law(times, mean, unresolved, cut, variance, whole, refinement, truncation, error), drawn, fitted)


def warn_of_cuts(times: np.ndarray, cut: np.ndarray, dtype: str, stacklevel: int = 3) -> None:
    """Say from which time on modes are left out; by default the warning points at the caller of the caller."""
    if cut.any():
        finer = 'dtype="float64" resolves modes 1e-9 as large; ' if dtype == "float32" else ""
        warnings.warn(
            f"{cut.max()} modes of the Gram matrix lie below the rounding of {dtype}, or the error of a compact "
            f"group's rule, and are left out from t = {times[cut > 0].min():.1e} on: what they would add is unknown; "
            f"{finer}an earlier time resolves it, a ridge over finite groups, a higher resolution over compact ones",
            ResolutionWarning,
            stacklevel=stacklevel,
        )


def warn_of_truncation(law: Law, stacklevel: int = 3) -> None:
    """Say that irreps are missing in a covariance under a compact group."""
    if law.truncation is not None and law.truncation.max() > _VISIBLE:
        warnings.warn(
            f"the highest degrees make up {law.truncation.max():.0e} of a variance, so that degrees above are missing "
            "in the covariance: a higher resolution of the group's rule sums more of them",
            ResolutionWarning,
            stacklevel=stacklevel,
        )


def warn_of_error(
    times: np.ndarray, error: np.ndarray | None, tolerance: float, dtype: str, stacklevel: int = 3
) -> None:
    """Say at which times a Krylov space has not converged."""
    if error is not None and not (error <= tolerance).all():
        late = ~(error <= tolerance)
        finer = ", float64 has less rounding" if dtype == "float32" else ""
        warnings.warn(
            f"the Krylov space has not converged to {tolerance:.0e} at {late.sum()} of {len(times)} times, the first "
            f"t = {times[late].min():.1e}: the estimated relative error of the coefficients is up to {error.max():.0e} "
            f"(Law.error); a ridge or earlier times need less{finer}, and where solvers.Krylov(dimension=...) was "
            "reached, a larger one lets it grow",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )


def _without_rounding(variance: np.ndarray, own: np.ndarray, dtype: str) -> np.ndarray:
    """Raise negative variances [T, m] to 0, and say so where they are more than rounding."""
    # Where training leaves no variance, rounding may leave less than none.
    lost = variance < -(1e-6 if dtype == "float64" else 1e-3) * own
    if lost.any():
        share = float((-variance / np.where(own > 0, own, np.inf))[lost].max())
        finer = ', dtype="float64"' if dtype == "float32" else ""
        warnings.warn(
            f"{lost.sum()} of {variance.size} variances came out negative beyond rounding, by up to {share:.0e} of "
            "K(x, x), and are given as 0: they are unknown; an earlier time resolves them, a ridge over finite groups, "
            f"a higher resolution over compact ones{finer}",
            ResolutionWarning,
            stacklevel=5,  # whoever called predict or sample
        )
    return np.maximum(variance, 0.0)


def _needed(fitted: Fitted, covariance: str | None) -> list[Irrep]:
    """Return all irreps for a covariance, those of the outputs for the mean."""
    return [irrep for irrep, _ in fitted.blocks] if covariance else [part.irrep for part in fitted.parts]


def _add_mean(
    mean: np.ndarray, fitted: Fitted, learnt: Sequence[Learnt], irreps: Sequence[Irrep], at: OrbitRows
) -> None:
    by_irrep = {irrep.digest: ntk for irrep, ntk in zip(irreps, at.ntk, strict=True)}
    for part, block, each in zip(fitted.parts, fitted.spectra, learnt, strict=True):
        values = each.predict(by_irrep[part.irrep.digest].reshape(-1, block.rows))
        values = values.reshape(len(mean), -1, part.irrep.dim, values.shape[2])
        mean[:, at.rows] += np.einsum("tmda,akd->tmk", values, part.isometries, optimize=True)


def _joined(parts: Sequence[solvers.Projected]) -> solvers.Projected:
    if len(parts) == 1:
        return parts[0]
    return solvers.Projected(
        np.concatenate([part.ntk for part in parts]), np.concatenate([part.nngp for part in parts])
    )


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(*rows.shape[:2], -1)
