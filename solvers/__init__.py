"""What is learnt: filters phi(lambda, t), one eigendecomposition for every training time, the members' law."""

from haarflow.solvers.dense import eigendecompose
from haarflow.solvers.filters import (
    Filter,
    GradientDescent,
    GradientFlow,
    HeavyBall,
    check_times,
    make_filter,
)
from haarflow.solvers.krylov import Krylov
from haarflow.solvers.law import LawBlock, Projected, draw, symmetric_root, to_eigenbasis
from haarflow.solvers.spectrum import Spectrum, timescales

__all__ = [
    "Filter",
    "GradientDescent",
    "GradientFlow",
    "HeavyBall",
    "Krylov",
    "LawBlock",
    "Projected",
    "Spectrum",
    "check_times",
    "draw",
    "eigendecompose",
    "make_filter",
    "symmetric_root",
    "timescales",
    "to_eigenbasis",
]
