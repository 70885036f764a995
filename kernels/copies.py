"""Images that are shifted, turned or mirrored copies of each other, which no pooling tells apart.

Convolutions commute with shifts under wrapped padding. A turn changes what a filter sees, unless it has but one offset.
"""

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np

from haarflow.kernels.architecture import AvgPool, Conv, Layer, Residual

__all__ = ["are_copies"]


def are_copies(layers: tuple[Layer, ...], x1: np.ndarray, x2: np.ndarray) -> bool:
    """Whether two images [*positions, C] are equal up to rounding and a map that all filters commute with.

    Notes
    -----
    Cost: a comparison for each turn or flip; under wrapped padding, for each position that may be the first one's
    largest.
    """
    convolutions = list(_convolutions(layers))
    wraps = all(layer.padding == "CIRCULAR" or set(layer.offsets) == {(0, 0)} for layer in convolutions)
    stride = int(np.prod([layer.size for layer in layers if isinstance(layer, AvgPool)]))
    rank = x1.ndim - 1
    largest = np.abs(x1).max(initial=0.0)
    tolerance = 8 * float(np.finfo(x1.dtype).eps) * float(largest)
    if not np.abs(np.sort(x1, axis=None) - np.sort(x2, axis=None)).max(initial=0.0) <= tolerance:
        return False
    anchor = np.unravel_index(np.argmax(np.abs(x1).max(axis=-1)), x1.shape[:-1])
    for order in permutations(range(rank)):
        for signs in product((1, -1), repeat=rank):
            if not all(_keeps(layer, order, signs) for layer in convolutions):
                continue
            turned = np.flip(
                np.transpose(x2, (*order, rank)), tuple(axis for axis, sign in enumerate(signs) if sign < 0)
            )
            if turned.shape != x1.shape:
                continue
            shifts = [(0,) * rank]
            if wraps:
                found = np.argwhere(np.abs(turned - x1[anchor]).max(axis=-1) <= tolerance)
                shifts = [tuple(int(a - b) for a, b in zip(anchor, at, strict=True)) for at in found]
            for shift in shifts:
                if any(step % stride for step in shift):  # windows would not be taken to windows
                    continue
                if np.abs(np.roll(turned, shift, tuple(range(rank))) - x1).max(initial=0.0) <= tolerance:
                    return True
    return False


def _convolutions(layers: tuple[Layer, ...]) -> Iterator[Conv]:
    for layer in layers:
        if isinstance(layer, Conv):
            yield layer
        elif isinstance(layer, Residual):
            yield from _convolutions(layer.branch)


def _keeps(layer: Conv, order: tuple[int, ...], signs: tuple[int, ...]) -> bool:
    return all(
        offset == tuple(sign * offset[axis] for axis, sign in zip(order, signs, strict=True))
        for offset in layer.offsets
    )
