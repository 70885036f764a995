"""What pooled distances need of each sample alone: the spread inside every window, evaluated once for all pairs."""

from functools import partial

import numpy as np
from jax import Array

from haarflow.kernels import displacements
from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import compiled, fence, in_threads, precision, to_numpy
from haarflow.kernels.schedule import schedule
from haarflow.kernels.tiling import filled

__all__ = ["spreads_of"]

# Samples that are evaluated at a time: always so many, filled up.
_SAMPLES = 8


@compiled
def _spreads(layers: tuple[Layer, ...], x: Array, go: Array) -> list[Array]:
    found = displacements.spreads(schedule(layers, x.ndim - 2), x[..., None, :], partial(fence, go))
    return [part[..., 0, :] for part in found]


def spreads_of(layers: tuple[Layer, ...], x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return `displacements.spreads` of samples [*positions, C, n]: arrays [*windows, n], if any are needed."""
    if not any(segment.distances for segment in schedule(layers, x.ndim - 2)):
        return ()

    def evaluate(start: int) -> list[np.ndarray]:
        some = x[..., start : start + _SAMPLES]
        with precision(x.dtype):
            found = _spreads(layers, filled(some, _SAMPLES, -1), np.bool_(True))
            return [to_numpy(part)[..., : some.shape[-1]] for part in found]

    parts = list(in_threads(evaluate, range(0, x.shape[-1], _SAMPLES)))
    return tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
