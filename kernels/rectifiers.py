"""Dual activations of ReLU and its leaky relatives: functions of the angle alone.

Source: Cho & Saul 2009, eq. 5 and 6. A leaky rectifier of slope a is (1 + a)/2 u + (1 - a)/2 |u|, an odd and an even
part, of which E[u |v|] = 0: distances, kernels and slopes of the parts add, and nothing cancels whatever a is.
"""

import jax.numpy as jnp
from jax import Array

from haarflow.kernels.architecture import LeakyRelu, Relu
from haarflow.kernels.arcs import arc
from haarflow.kernels.pairs import Distances, Dual, Features, Image, Turn, turn

__all__ = ["LEAKY", "RELU"]


def _features(q: Array) -> Features:
    """Return q, sqrt(q) and 1 / sqrt(2 q) to the power 1/2, 0 for q = 0."""
    root, positive = jnp.sqrt(q), q > 0
    return q, root, jnp.where(positive, jnp.sqrt(2**-0.5 / jnp.where(positive, root, 1)), 0)


def _folded(apart: Distances, f1: Features, f2: Features) -> tuple[Turn, Array, Array, Array]:
    """Return the angle and, of theta folded to an acute one, 1 - cos(theta) and both parts of `arc`."""
    (q1, s1, r1), (q2, s2, r2) = f1, f2
    at = turn(apart, q1, q2, s1, s2, least=float(jnp.finfo(q1.dtype).tiny))
    w = jnp.sqrt(at.least) * (r1 * r2)
    return at, w * w, *arc(w)


def _relu_pair(_: Relu, apart: Distances, f1: Features, f2: Features) -> Image:
    at, z, angle, odd = _folded(apart, f1, f2)
    size = at.size
    entering, turned, share = at.select(1 - z, z - 1), at.select(z, jnp.ones_like(z)), at.select(1 - angle, angle)
    beyond = size * (turned - odd)
    D = None if apart.D is None else (f1[1] - f2[1]) ** 2 / 2 + beyond
    return Image(size * entering, Distances(D, near=beyond), size * (1 - turned + odd) / 2, share / 2)


def _leaky_pair(layer: LeakyRelu, apart: Distances, f1: Features, f2: Features) -> Image:
    at, z, angle, odd = _folded(apart, f1, f2)
    linear, even = ((1 + layer.slope) / 2) ** 2, ((1 - layer.slope) / 2) ** 2
    size, entering = at.size, at.select(1 - z, z - 1)
    beyond = 2 * size * (z - 2 * odd)  # of |u| and |v|, the same for u and -v
    near = linear * at.near + even * beyond
    # The absolute value alone leaves nothing negative.
    far = None if at.far is None or linear == 0 else linear * at.far + even * (4 * size - beyond)
    D, S = apart.D, None
    if D is not None:
        gap = (linear + even) * (f1[1] - f2[1]) ** 2
        D, S = gap + near, None if far is None else gap + far
    return Image(
        size * entering,
        Distances(D, S, near, far),
        size * (linear * entering + even * (1 - z + 2 * odd)),
        linear + even * at.select(1 - 2 * angle, 2 * angle - 1),
    )


RELU = Dual(_relu_pair, _features, lambda _, q: q / 2)
LEAKY = Dual(_leaky_pair, _features, lambda layer, q: (1 + layer.slope**2) / 2 * q)
