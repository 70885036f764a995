"""What is learnt: filters phi(lambda, t), one eigendecomposition for every training time, the members' law."""

from haarflow.solvers.decay import timescales
from haarflow.solvers.dense import eigendecompose
from haarflow.solvers.filters import (
    Filter,
    GradientDescent,
    GradientFlow,
    HeavyBall,
    StepError,
    check_times,
    make_filter,
)
from haarflow.solvers.krylov import Krylov, Solved, solve
from haarflow.solvers.krylov_space import KrylovSpace, grow, space_from, start_space
from haarflow.solvers.law import LawBlock, Projected, draw, symmetric_root, to_eigenbasis
from haarflow.solvers.spectrum import Spectrum

__all__ = [
    "Filter",
    "GradientDescent",
    "GradientFlow",
    "HeavyBall",
    "Krylov",
    "KrylovSpace",
    "LawBlock",
    "Projected",
    "Solved",
    "Spectrum",
    "StepError",
    "check_times",
    "draw",
    "eigendecompose",
    "grow",
    "make_filter",
    "solve",
    "space_from",
    "start_space",
    "symmetric_root",
    "timescales",
    "to_eigenbasis",
]
