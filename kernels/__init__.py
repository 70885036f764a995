"""What is seen: architectures, their NNGP and NTK, the orbit Gram, and the store that keeps it."""

import sys
from typing import TYPE_CHECKING, NoReturn

from haarflow.kernels.analytic import KERNEL_VERSION, AnalyticKernel, analytic
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
from haarflow.kernels.invariance import InvarianceReport, check_invariance
from haarflow.kernels.misread import InputWarning
from haarflow.kernels.orbit_tiles import Irrep, Kernel
from haarflow.kernels.orbits import OrbitGram, OrbitRows, orbit_gram, orbit_rows
from haarflow.kernels.own import OwnKernel, from_function
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.prior import kernel_diagonal
from haarflow.kernels.store import Store, StoreError, StoreWarning, digest_array
from haarflow.kernels.tangents import (
    TangentKernel,
    from_neural_tangents,
    neural_tangents,
    to_neural_tangents,
)

__all__ = [
    "KERNEL_VERSION",
    "AnalyticKernel",
    "AvgPool",
    "Conv",
    "Dense",
    "Erf",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "InputWarning",
    "InvarianceReport",
    "Irrep",
    "Kernel",
    "KernelPair",
    "LeakyRelu",
    "OrbitGram",
    "OrbitRows",
    "OwnKernel",
    "Relu",
    "Residual",
    "Sequential",
    "Sin",
    "Store",
    "StoreError",
    "StoreWarning",
    "TangentKernel",
    "analytic",
    "check_invariance",
    "digest_array",
    "from_function",
    "from_neural_tangents",
    "kernel_diagonal",
    "neural_tangents",
    "orbit_gram",
    "orbit_rows",
    "to_neural_tangents",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        """Say how a layer is called here, or what there is in its place."""
        from haarflow.kernels.elsewhere import told

        raise AttributeError(told(name, __all__), name=name, obj=sys.modules[__name__])
