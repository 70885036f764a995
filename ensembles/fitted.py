"""What fitting leaves, and what predictions begin with."""

from dataclasses import dataclass

import numpy as np

from haarflow import solvers
from haarflow.groups import Isotypic
from haarflow.kernels import Irrep
from haarflow.krylov_block import KrylovBlock
from haarflow.reduction import Problem

__all__ = ["Fitted"]


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
