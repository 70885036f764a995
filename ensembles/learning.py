"""What each block has learnt at given times, from its eigendecomposition or from a Krylov space."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.kernels.orbit_tiles import Progress
from haarflow.krylov_block import KrylovBlock
from haarflow.solvers.units import column_units

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

    def left_out(self) -> np.ndarray:
        """Return what of the labels lies in unresolved modes: array [N, k], asked for where some are left out."""
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

    def left_out(self) -> np.ndarray:
        return self.spectrum.left_out(self.labels, self.ridge)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        units = column_units(self.labels)
        if np.all(units == 1):
            return self.spectrum.predict(rows, self.filter, self.times, self.rate, self.labels, self.ridge)
        # What is out of range in the block's dtype need not be in the mean's.
        found = self.spectrum.predict(rows, self.filter, self.times, self.rate, self.labels / units, self.ridge)
        return found * units

    def coefficients(self) -> np.ndarray:
        return self.spectrum.apply(self.filter, self.times, self.rate, self.labels, self.ridge)


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
