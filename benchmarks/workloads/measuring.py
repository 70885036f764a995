"""How workloads are measured: networks and images that several share, medians of repeats, differences of results."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from haarflow import kernels

__all__ = ["DENSE", "HIDDEN", "difference", "timed"]

HIDDEN = 3
# The dense network of W1, W3, W5, W6 and W7: three hidden ReLU layers.
DENSE = kernels.Sequential(
    kernels.Flatten(), *[kernels.Dense(2**0.5, 0.1), kernels.Relu()] * HIDDEN, kernels.Dense(1.0, 0.1)
)


def timed(work: Callable[[], Any], repeats: int, warm_up: bool = False) -> tuple[float, Any]:
    """Return the median time in seconds of some repeats, and the last result.

    Parameters
    ----------
    work : callable
        Without arguments.
    repeats : int
        How often it is timed.
    warm_up : bool
        Whether it is run once before.
    """
    if warm_up:
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def difference(ours: np.ndarray, theirs: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the largest difference relative to the largest of `theirs`.

    Parameters
    ----------
    ours, theirs : array
        Of one shape.
    where : bool array, optional
        Which entries count; default all.
    """
    if where is not None:
        ours, theirs = ours[where], theirs[where]
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
