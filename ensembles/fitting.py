"""From a posed problem to what predictions need: factorised blocks, labels, and the flow's clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from haarflow import solvers
from haarflow.kernels import Irrep, Kernel, Store
from haarflow.kernels.orbits import Progress
from haarflow.law import Fitted
from haarflow.reduction import Problem, at_half_resolution
from haarflow.training import Trained, train

__all__ = ["Clock", "fit_problem", "with_covariance"]


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
    kernel: Kernel, problem: Problem, clock: Clock, store: Store | None, progress: Progress | None, covariance: bool
) -> Fitted:
    """Assemble and factorise; under a compact group at half the resolution too.

    Parameters
    ----------
    kernel, problem
        What is trained on what.
    clock : Clock
        How time is measured.
    store, progress
        As in `train`.
    covariance : bool
        Whether all irreps of both kernels are assembled.
    """
    fitted = _fit(kernel, problem, clock, store, progress, covariance)
    coarse = at_half_resolution(problem)
    if coarse is None:
        return fitted
    return replace(fitted, coarse=_fit(kernel, coarse, clock, store, progress, False))


def with_covariance(kernel: Kernel, fitted: Fitted, store: Store | None, progress: Progress | None) -> Fitted:
    """Add the blocks of all irreps, in a pass of their own over the kernel."""
    every = fitted.problem.irreps()
    trained = train(kernel, fitted.problem, every, store, progress, nngp=True)
    return replace(fitted, blocks=_law_blocks(fitted.problem.order, every, trained))


def _fit(
    kernel: Kernel, problem: Problem, clock: Clock, store: Store | None, progress: Progress | None, covariance: bool
) -> Fitted:
    parts = tuple(problem.parts())
    wanted = problem.irreps() if covariance else [part.irrep for part in parts]
    trained = train(kernel, problem, wanted, store, progress, nngp=covariance)
    of = {irrep.digest: spectrum for irrep, spectrum in zip(wanted, trained.spectra, strict=True)}
    spectra = tuple(of[part.irrep.digest] for part in parts)
    labels = tuple(
        np.einsum("nk,akd->nda", problem.y, part.isometries).reshape(spectrum.rows, -1)
        for part, spectrum in zip(parts, spectra, strict=True)
    )
    rate = clock.learning_rate / (problem.size * problem.y.shape[1] if clock.mean_loss else 1)
    blocks = _law_blocks(problem.order, wanted, trained) if covariance else ()
    ridge = clock.ridge * trained.mean_diagonal
    return Fitted(problem, parts, labels, spectra, blocks, rate, ridge, problem.sample_shape)


def _law_blocks(order: int, every: Sequence[Irrep], trained: Trained) -> tuple[tuple[Irrep, solvers.LawBlock], ...]:
    return tuple(
        (irrep, solvers.LawBlock(spectrum, nngp, irrep.dim / (irrep.commutant_dim * order)))
        for irrep, spectrum, nngp in zip(every, trained.spectra, trained.nngp, strict=True)
    )
