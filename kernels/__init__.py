"""What is seen: architectures, their NNGP and NTK, and the orbit Gram."""

from haarflow.kernels.analytic import AnalyticKernel, analytic
from haarflow.kernels.architecture import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    LeakyRelu,
    Relu,
    Residual,
    Sequential,
    Sin,
)
from haarflow.kernels.pair import KernelPair

__all__ = [
    "AnalyticKernel",
    "AvgPool",
    "Conv",
    "Dense",
    "Erf",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "KernelPair",
    "LeakyRelu",
    "Relu",
    "Residual",
    "Sequential",
    "Sin",
    "analytic",
]
