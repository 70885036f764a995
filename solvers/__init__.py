"""What is learnt: filters phi(lambda, t) and one eigendecomposition for every training time."""

from haarflow.solvers.dense import Spectrum, eigendecompose, timescales
from haarflow.solvers.filters import (
    Filter,
    GradientDescent,
    GradientFlow,
    HeavyBall,
    check_times,
    make_filter,
)

__all__ = [
    "Filter",
    "GradientDescent",
    "GradientFlow",
    "HeavyBall",
    "Spectrum",
    "check_times",
    "eigendecompose",
    "make_filter",
    "timescales",
]
