"""NT: our kernels beside neural-tangents, live."""

import numpy as np

from haarflow import kernels
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["against_neural_tangents"]


@theorem(
    "NT",
    "K and Theta agree with neural-tangents at distinct points",
    "Novak et al. 2020",
    bound=1e-12,
    floor=1e-3,
)
def against_neural_tangents(workload: Workload) -> Measurement | None:
    """Measure the largest relative difference; None where neural-tangents is not installed."""
    try:
        kernels.neural_tangents()
    except ImportError:
        return None
    _, _, kernel_fn = kernels.to_neural_tangents(workload.architecture)
    theirs = kernels.from_neural_tangents(kernel_fn, key="peer")(workload.x[:12], workload.outside)
    layers = workload.architecture.layers
    other = kernels.Sequential(*layers[:-1], kernels.Dense(1.1, 0.1))
    differences = [
        max(
            float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
            for a, b in zip(kernels.analytic(net)(workload.x[:12], workload.outside), theirs, strict=True)
        )
        for net in (workload.architecture, other)
    ]
    return Measurement(differences[0], differences[1], "W_std of the last layer 1.1 instead of 1")
