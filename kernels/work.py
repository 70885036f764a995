"""How much work a kernel entry is: one inner product for flat samples, a walk over pairs of positions for images."""

from functools import lru_cache

import numpy as np

from haarflow.kernels.architecture import Layer
from haarflow.kernels.displacements import grids_of
from haarflow.kernels.schedule import Unit, layout, schedule

__all__ = ["entry_work", "position_pairs"]


@lru_cache(maxsize=256)
def position_pairs(layers: tuple[Layer, ...], sample_shape: tuple[int, ...]) -> int:
    """Return over how many pairs of positions one kernel entry is walked, where they are most.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    sample_shape : tuple of int
        (d,) or (*positions, C).

    Returns
    -------
    int
        1 for flat samples, P for P positions in front of Flatten, P^2 in front of GlobalAvgPool.
    """
    return max(pairs for pairs, _ in _segments(layers, sample_shape))


@lru_cache(maxsize=256)
def entry_work(layers: tuple[Layer, ...], sample_shape: tuple[int, ...]) -> int:
    """Return how many duals of pairs of positions one kernel entry takes; a pooling counts as one of each pair.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    sample_shape : tuple of int
        (d,) or (*positions, C).
    """
    return max(1, sum(pairs * steps for pairs, steps in _segments(layers, sample_shape)))


def _segments(layers: tuple[Layer, ...], sample_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return pairs of positions, and what is done with each, of every segment."""
    rank = len(sample_shape) - 1
    segments = schedule(layers, rank)
    if layout(layers, rank) == "flat":
        return [(1, sum(_duals(segment.units) for segment in segments))]
    found = []
    for segment, grid in zip(segments, grids_of(segments, sample_shape[:-1]), strict=True):
        pairs = int(np.prod(grid.shape)) * (int(np.prod([len(steps) for steps in grid.needed])) if grid.shape else 1)
        # What a pooling adds up is one pass more, several where it looks ahead to a pooling behind it.
        found.append((pairs, _duals(segment.units) + (0 if grid.alone else 1)))
    return found


def _duals(units: tuple[Unit, ...]) -> int:
    return sum(_duals(unit.branch) if unit.branch else unit.nonlinear is not None for unit in units)
