"""From a posed problem to what predictions need: factorised blocks, labels, and the flow's clock."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from haarflow import solvers
from haarflow.cost import outside
from haarflow.fitted import Fitted
from haarflow.groups import HaarAction
from haarflow.kernels import AnalyticKernel, Irrep, Kernel, StoreWarning
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.rule_error import rule_error
from haarflow.reduction import Problem, at_half_resolution
from haarflow.training import KRYLOV_TOLERANCE, Means, Trained, train, train_krylov

__all__ = ["Clock", "SolverWarning", "fit_problem", "with_covariance"]


# An eigendecomposition of this order takes two minutes on two cores, and 3 GB; the time grows with its cube.
_DENSE_ORDER = 10_000


class SolverWarning(UserWarning):
    """A block is too large for an eigendecomposition, and a Krylov space takes its place."""


@dataclass(frozen=True)
class Clock:
    """How the user measures time.

    Attributes
    ----------
    mean_loss : bool
        Whether the loss is divided by the number of targets.
    learning_rate : float
        Factor of time.
    ridge : float
        In units of the mean of Theta(x_i, x_i).
    """

    mean_loss: bool
    learning_rate: float
    ridge: float


def fit_problem(
    kernel: Kernel, problem: Problem, clock: Clock, means: Means, progress: Progress | None, covariance: bool
) -> Fitted:
    """Assemble and factorise; under a compact group at half the resolution too.

    Parameters
    ----------
    kernel, problem
        What is trained on what.
    clock : Clock
        How time is measured.
    means, progress
        As in `train`.
    covariance : bool
        Whether all irreps of both kernels are assembled.
    """
    if means.store is not None:
        means.store.make_again()
    fitted = _fit(kernel, problem, clock, means, progress, covariance)
    if not isinstance(problem.action, HaarAction):
        return fitted
    half = at_half_resolution(problem)
    coarse = None
    if half is not None:  # only compared with: what its own rule is off by is what the comparison tells
        coarse = _fit(kernel, half, clock, replace(means, told=True), progress, False, ruled=False)
    return _doubted(kernel, fitted, coarse)


def _doubted(kernel: Kernel, fitted: Fitted, coarse: Fitted | None) -> Fitted:
    """Hold a compact group's eigenvalues against those of half the nodes: of a block that vanishes they are the rule's.

    Where half of them does not serve, against the norm of what a few nodes less change.
    """
    spectra = [each for each in fitted.spectra if isinstance(each, solvers.Spectrum)]
    if len(spectra) < len(fitted.spectra):  # a Krylov block has it in its noise
        return replace(fitted, coarse=coarse)
    if coarse is not None:
        halves = [cast(solvers.Spectrum, each) for each in coarse.spectra]
        pairs = [one.beside(other) for one, other in zip(spectra, halves, strict=True)]
        coarse = replace(coarse, spectra=tuple(other for _, other in pairs))
        return replace(fitted, spectra=tuple(one for one, _ in pairs), coarse=coarse)
    assert isinstance(kernel, AnalyticKernel)
    assert isinstance(fitted.problem.action, HaarAction)
    errors = rule_error(kernel, fitted.problem.action, fitted.problem.x, [part.irrep for part in fitted.parts])
    doubted = (replace(s, doubt=np.full(len(s.eigenvalues), e)) for s, e in zip(spectra, errors, strict=True))
    return replace(fitted, spectra=tuple(doubted))


def with_covariance(kernel: Kernel, fitted: Fitted, means: Means, progress: Progress | None) -> Fitted:
    """Add the blocks of all irreps, in a pass of their own over the kernel."""
    every = fitted.problem.irreps()
    if means.store is not None and means.executor is None and not means.store.path.exists():
        warnings.warn(
            f"store {means.store.path} is gone: it was moved or removed, and the blocks of the covariance are computed "
            "without it, and not kept",
            StoreWarning,
            stacklevel=outside(),
        )
        means = replace(means, store=None)
    trained = train(kernel, fitted.problem, every, means, progress, nngp=True)
    return replace(fitted, blocks=_law_blocks(fitted.problem.order, every, trained))


def _fit(
    kernel: Kernel,
    problem: Problem,
    clock: Clock,
    means: Means,
    progress: Progress | None,
    covariance: bool,
    ruled: bool = True,
) -> Fitted:
    parts = tuple(problem.parts())
    wanted = problem.irreps() if covariance else [part.irrep for part in parts]
    means = _chosen(means, kernel.dtype, max(len(problem.x) * irrep.dim for irrep in wanted), covariance)
    if isinstance(means.solver, solvers.Krylov):
        trained = train_krylov(kernel, problem, wanted, means, progress, ruled)
    else:
        trained = train(kernel, problem, wanted, means, progress, nngp=covariance)
    of = {irrep.digest: spectrum for irrep, spectrum in zip(wanted, trained.spectra, strict=True)}
    spectra = tuple(of[part.irrep.digest] for part in parts)
    labels = tuple(
        part.split(problem.y).reshape(spectrum.rows, -1) for part, spectrum in zip(parts, spectra, strict=True)
    )
    rate = clock.learning_rate / (problem.size * problem.y.shape[1] if clock.mean_loss else 1)
    blocks = _law_blocks(problem.order, wanted, trained) if covariance else ()
    ridge = clock.ridge * trained.mean_diagonal
    return Fitted(problem, parts, labels, spectra, blocks, rate, ridge, problem.sample_shape)


def _chosen(means: Means, dtype: str, order: int, covariance: bool) -> Means:
    """Resolve solver="auto": eigendecompositions up to an order of 10,000, and wherever a covariance is asked for."""
    if means.solver != "auto":
        return means
    if order <= _DENSE_ORDER or covariance:
        return replace(means, solver="dense")
    krylov = solvers.Krylov(tolerance=KRYLOV_TOLERANCE[dtype])
    warnings.warn(
        f'solver="auto" takes a Krylov space for a block of order {order}, above {_DENSE_ORDER}: coefficients are '
        f'approximated to {krylov.tolerance:.0e}, and Law.error estimates how well; solver="dense" is exact up to '
        f"rounding and needs {4 * np.dtype(dtype).itemsize * order**2 / 1e9:.0f} GB",
        SolverWarning,
        stacklevel=5,
    )
    return replace(means, solver=krylov)


def _law_blocks(order: int, every: Sequence[Irrep], trained: Trained) -> tuple[tuple[Irrep, solvers.LawBlock], ...]:
    return tuple(
        (irrep, solvers.LawBlock(cast(solvers.Spectrum, spectrum), nngp, irrep.dim / (irrep.commutant_dim * order)))
        for irrep, spectrum, nngp in zip(every, trained.spectra, trained.nngp, strict=True)
    )
