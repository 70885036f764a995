"""What each block has learnt at given times, from its eigendecomposition or from a Krylov space."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.kernels.orbit_tiles import Progress
from haarflow.krylov_block import KrylovBlock

__all__ = ["Learnt", "learn"]


class Learnt(Protocol):
    """The filtered labels of one block."""

    @property
    def unresolved(self) -> int:
        """Modes below the block's rounding."""
        ...

    @property
    def cut(self) -> np.ndarray:
        """How many of them are left out at each time [T]."""
        ...

    @property
    def error(self) -> np.ndarray | None:
        """Estimated relative error of the coefficients [T]; None where they are exact up to rounding."""
        ...

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [m, N] times the coefficients: array [T, m, k]."""
        ...

    def coefficients(self) -> np.ndarray:
        """Return phi_t(block + ridge) labels: array [T, N, k]."""
        ...


@dataclass(frozen=True)
class _Exact:
    spectrum: solvers.Spectrum
    filter: solvers.Filter
    times: np.ndarray
    rate: float
    ridge: float
    labels: np.ndarray
    error: None = None

    @property
    def unresolved(self) -> int:
        return self.spectrum.unresolved

    @property
    def cut(self) -> np.ndarray:
        return self.spectrum.cut(self.times, self.rate, self.ridge, self.filter)

    @cached_property
    def _unit(self) -> np.ndarray:
        # Means are linear in the labels. A power of two for each column, in which float32 holds what they become.
        return np.ldexp(1.0, np.frexp(np.abs(self.labels).max(axis=0))[1])

    def predict(self, rows: np.ndarray) -> np.ndarray:
        labels = self.labels / self._unit
        return self.spectrum.predict(rows, self.filter, self.times, self.rate, labels, self.ridge) * self._unit

    def coefficients(self) -> np.ndarray:
        labels = self.labels / self._unit
        return self.spectrum.apply(self.filter, self.times, self.rate, labels, self.ridge) * self._unit


def learn(
    fitted: Fitted, filter: solvers.Filter, times: np.ndarray, progress: Progress | None = None
) -> tuple[Fitted, list[Learnt]]:
    """Filter the labels of every block.

    Parameters
    ----------
    fitted : Fitted
        The blocks.
    filter : Filter
        The dynamics.
    times : array [T]
        Checked times.
    progress : callable, optional
        progress(label, done, total).

    Returns
    -------
    Fitted, list of Learnt
        The former with Krylov spaces as they have grown, which the next times begin with.
    """
    learnt: list[Learnt] = []
    blocks: list[solvers.Spectrum | KrylovBlock] = []
    for block, labels in zip(fitted.spectra, fitted.labels, strict=True):
        if isinstance(block, KrylovBlock):
            block, solution = block.solve(labels, filter, times, fitted.rate, fitted.ridge, progress)
            learnt.append(solution)
        else:
            learnt.append(_Exact(block, filter, times, fitted.rate, fitted.ridge, labels))
        blocks.append(block)
    return replace(fitted, spectra=tuple(blocks)), learnt
