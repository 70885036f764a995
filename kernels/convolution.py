"""The average over a filter's offsets, on images [H, W, ...] whose second position is p displaced by d.

A joint shift of p and p' leaves their displacement d = p' - p alone, so that for each d the kernel is an
ordinary image over p, with p' = p + d modulo the sides. CIRCULAR padding is then a wrapped image; under SAME,
masks leave out the offsets that take p or p' across an edge.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from haarflow.kernels.architecture import Conv

__all__ = ["Neighbours", "neighbours", "padded", "total", "total_alone"]


class Neighbours(NamedTuple):
    """Which offsets count at which position, [offsets, H, W, 1, 1] of zeros and ones; None where all do."""

    both: Array | None = None  # neither p + s nor p' + s is outside
    first: Array | None = None  # p + s is inside, p' + s is not
    second: Array | None = None  # the reverse


def neighbours(layer: Conv, shape: tuple[int, ...], displacement: tuple[Array, ...] | None, like: Array) -> Neighbours:
    """Return the masks that SAME padding needs at one displacement, in the dtype of `like`."""
    if layer.padding == "CIRCULAR" or layer.size == 1 or displacement is None:
        return Neighbours()
    inside: list[tuple[list[Array], list[Array]]] = []
    for axis, (side, d) in enumerate(zip(shape, displacement, strict=True)):
        p = jnp.arange(side)
        q = (p + d) % side
        steps = [offset[axis] for offset in layer.offsets]
        inside.append(tuple([(r + s >= 0) & (r + s < side) for s in steps] for r in (p, q)))  # type: ignore[arg-type]

    def grid(which: int) -> Array:
        vertical, horizontal = (jnp.stack(axis[which]) for axis in inside)
        return vertical[:, :, None] & horizontal[:, None, :]

    first, second = grid(0), grid(1)
    masks = (first & second, first & ~second, second & ~first)
    return Neighbours(*(mask.astype(like.dtype)[..., None, None] for mask in masks))


def padded(layer: Conv, image: Array, zeros: bool) -> Array:
    """Return the image with a rim as wide as the filter's radius, of zeros or wrapped around."""
    radius = layer.size // 2
    if radius == 0:
        return image
    for axis in (0, 1):
        side = image.shape[axis]
        if zeros:
            rim = jnp.zeros((*image.shape[:axis], radius, *image.shape[axis + 1 :]), image.dtype)
            before = after = rim
        else:
            # A filter wider than the image wraps around more than once.
            reach = jnp.arange(radius)
            before = jnp.take(image, (reach - radius) % side, axis=axis)
            after = jnp.take(image, reach % side, axis=axis)
        image = jnp.concatenate([before, image, after], axis)
    return image


def total(layer: Conv, image: Array, masks: Array | None = None) -> Array:
    """Return the sum of displaced copies of a padded image [H + 2 r, W + 2 r, ...], masked: [H, W, ...]."""
    radius = layer.size // 2
    height, width = image.shape[0] - 2 * radius, image.shape[1] - 2 * radius
    result: Array | None = None
    for k, (dy, dx) in enumerate(layer.offsets):
        part = image[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        if masks is not None:
            part = part * masks[k]
        result = part if result is None else result + part
    assert result is not None
    return result


def total_alone(layer: Conv, masks: Neighbours, q1: Array, q2: Array) -> tuple[Array, Array] | None:
    """Return what E[(u -+ v)^2] gains where one of the two lies outside and counts as 0: the other's variance.

    q1, q2 are wrapped images of both variances; the parts of q1 and of q2 are returned, None where there are none.
    """
    if masks.first is None or masks.second is None:
        return None
    return total(layer, q1, masks.first), total(layer, q2, masks.second)
