"""T1: the kernels of wide networks do not notice a joint transformation."""

from collections.abc import Callable

import numpy as np

from haarflow import kernels
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["kernel_invariance"]


@theorem(
    "T1",
    "Theta(gx, gx') = Theta(x, x') and K(gx, gx') = K(x, x') for every g",
    "Gerken & Kessel 2024, kernel transformation theorem",
    bound=1e-11,
    floor=1e-3,
)
def kernel_invariance(workload: Workload) -> Measurement:
    """Measure the largest relative change of K and Theta over the whole group, on N(0, 1) inputs."""
    residual = _largest_change(workload, workload.architecture, lambda x: x)
    control = _largest_change(workload, workload.broken_architecture, workload.broken_map)
    curves = {"element": np.arange(len(residual)), "residual": residual, "control": control}
    return Measurement(float(residual.max()), float(control.max()), workload.broken, curves)


def _largest_change(
    workload: Workload, architecture: kernels.Sequential, behind: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    kernel = kernels.analytic(architecture)
    a, b = workload.outside[::2], workload.outside[1::2]
    before = kernel(a, b)
    changes = []
    for g in range(workload.action.group.order):
        after = kernel(behind(workload.action(g, a)), behind(workload.action(g, b)))
        changes.append(
            max(np.max(np.abs(new - old)) / np.max(np.abs(old)) for new, old in zip(after, before, strict=True))
        )
    return np.array(changes)
