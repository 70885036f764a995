"""What fitting leaves, and what predictions begin with."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from haarflow import solvers
from haarflow.given import refuse_traced
from haarflow.groups import Isotypic
from haarflow.inputs import check_room, seen_by
from haarflow.kernels import Irrep, Kernel
from haarflow.krylov_block import KrylovBlock
from haarflow.reduction import Problem

__all__ = ["Fitted", "check_call"]


@dataclass(frozen=True)
class Fitted:
    """What fitting leaves.

    Attributes
    ----------
    problem : Problem
        Training set and action.
    parts : tuple of Isotypic
        The output representation in irreps.
    labels : tuple of array [n d, multiplicity]
        Labels in each part.
    spectra : tuple of Spectrum or KrylovBlock
        Of each part's block.
    blocks : tuple of (irrep, LawBlock)
        All irreps' blocks for the covariance; empty until it is asked for.
    rate, ridge : float
        The flow's time in one unit of the user's clock; what is added to every eigenvalue.
    sample_shape : tuple of int
        Of one sample.
    coarse : Fitted or None
        The same at half the resolution of a compact group's rule.
    """

    problem: Problem
    parts: tuple[Isotypic, ...]
    labels: tuple[np.ndarray, ...]
    spectra: tuple[solvers.Spectrum | KrylovBlock, ...]
    blocks: tuple[tuple[Irrep, solvers.LawBlock], ...]
    rate: float
    ridge: float
    sample_shape: tuple[int, ...]
    coarse: "Fitted | None" = None

    @property
    def solver(self) -> str:
        """How blocks are solved: "dense" or "krylov"."""
        return "krylov" if isinstance(self.spectra[0], KrylovBlock) else "dense"

    def begun(self) -> "Fitted":
        """Return this with a few steps of each Krylov space taken: their extreme modes are known then."""
        blocks = tuple(
            block.begun(labels) if isinstance(block, KrylovBlock) else block
            for block, labels in zip(self.spectra, self.labels, strict=True)
        )
        return replace(self, spectra=blocks)

    def joined(self, other: "Fitted") -> "Fitted":
        """Return what two calls have found out of one fit: Krylov spaces as far as either has grown, and blocks."""
        spectra = tuple(_further(*pair) for pair in zip(self.spectra, other.spectra, strict=True))
        coarse = self.coarse and other.coarse and self.coarse.joined(other.coarse)
        return replace(other, spectra=spectra, blocks=other.blocks or self.blocks, coarse=coarse)


def _further(
    one: solvers.Spectrum | KrylovBlock, other: solvers.Spectrum | KrylovBlock
) -> solvers.Spectrum | KrylovBlock:
    if not isinstance(one, KrylovBlock) or one.space is None or not isinstance(other, KrylovBlock):
        return other
    return one if other.space is None or one.space.dimension > other.space.dimension else other


def check_call(
    fitted: Fitted,
    kernel: Kernel,
    name: str,
    x_test: Any,
    times: Any,
    covariance: str | None = None,
    argument: str = "x_test",
) -> tuple[np.ndarray, np.ndarray]:
    """Return test points and times, checked, where what is made of them fits the memory.

    Parameters
    ----------
    fitted : Fitted
        What is asked.
    kernel : Kernel
        Of the network.
    name : str
        The method that is called.
    x_test : array [m, ...]
        Test points.
    times : float or array [T]
        Training times.
    covariance : {None, "diagonal", "full", "joint"}
        Which is asked for.
    argument : str
        What the method calls the points.
    """
    refuse_traced(name, x_test, times)
    x_test, times = seen_by(kernel, x_test, argument, fitted.sample_shape), solvers.check_times(times)
    T, m = len(times), len(x_test)
    check_room("times", (T, m, fitted.problem.y.shape[1]), "[times, test points, outputs]")
    if covariance == "joint":
        check_room("times", (T * m, T * m), "[times x test points, times x test points]")
    elif covariance == "full":
        check_room("times", (T, m, m), "[times, test points, test points]")
    if fitted.solver == "krylov":
        turned = name == "jacobian"
        order = sum(
            labels.shape[1] * (block.rows if turned or block.basis is None else block.basis.shape[1])
            for block, labels in zip(fitted.spectra, fitted.labels, strict=True)
        )
        # Coefficients, those of the call before, and for derivatives both as a whole and turned by an element.
        check_room("times", (4 if turned else 2, len(times), order), "[arrays, times, coefficients]")
    return x_test, times
