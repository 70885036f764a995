"""Dual activations in terms of squared distances, exact at coincident and antipodal points.

For a centred Gaussian pair (u, v) with variances q1, q2 the state is
    D = E[(u - v)^2],  S = E[(u + v)^2],  so that K = E[u v] = (S - D) / 4,
and a nonlinearity s maps it to the D and S of (s(u), s(v)). Where u and v nearly coincide, D is small and
every formula below keeps its relative accuracy, while K alone would lose half the digits: differences of
the marginals enter in second order only, so that their rounding does no harm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels.architecture import Erf, Gelu, Layer, LeakyRelu, Relu, Sin

__all__ = ["DUALS", "Dual"]


class Dual(NamedTuple):
    """A nonlinearity s under the Gaussian expectation.

    `pair(layer, D, S, q1, q2)` returns D, S of (s(u), s(v)) and E[s'(u) s'(v)];
    `marginal(layer, q)` returns E[s(u)^2].
    """

    pair: Callable[[Any, Array, Array, Array, Array], tuple[Array, Array, Array]]
    marginal: Callable[[Any, Array], Array]


def _rectifier(D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    # (sqrt(E_minus E_plus) - theta K)/pi, the odd part of the arc-cosine kernel, and 1 - theta/pi.
    gap = (jnp.sqrt(q1) - jnp.sqrt(q2)) ** 2
    # What rounding leaves of D - gap where u and v are parallel counts as 0: the square root would amplify it.
    noise = 16 * jnp.finfo(D.dtype).eps * jnp.abs(q1 - q2)
    e_minus = jnp.where(D - gap > noise, D - gap, 0) / 2  # sqrt(q1 q2) (1 - cos theta)
    e_plus = jnp.where(S - gap > noise, S - gap, 0) / 2  # sqrt(q1 q2) (1 + cos theta)
    theta = 2 * jnp.arctan2(jnp.sqrt(e_minus), jnp.sqrt(e_plus))
    return (jnp.sqrt(e_minus) * jnp.sqrt(e_plus) - theta * (S - D) / 4) / np.pi, 1 - theta / np.pi


def _leaky_pair(layer: LeakyRelu, D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    # leaky = slope * identity + (1 - slope) * relu, and E[u relu(v)] = K/2.
    odd, share = _rectifier(D, S, q1, q2)
    relu = (1 - layer.slope) ** 2
    return (
        relu * (D / 2 - odd) + layer.slope * D,
        relu * (S / 2 + odd) + layer.slope * S,
        relu * share / 2 + layer.slope,
    )


def _relu_pair(_: Relu, D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    odd, share = _rectifier(D, S, q1, q2)
    return D / 2 - odd, S / 2 + odd, share / 2


class _Angles(NamedTuple):
    """Half complements of the arcsines in the kernels of erf and GELU, with p = 1 + q.

    sin(pi/2 - 2 A_i) = 1 - 1/p_i and sin(pi/2 - 2 B) = K / sqrt(p1 p2).
    """

    minus: Array  # 2 B - A1 - A2, without cancellation where u = v
    plus: Array  # the same for u = -v
    B: Array
    product: Array  # sin B cos B
    root: Array  # sqrt(p1 p2)
    A1: Array
    A2: Array


def _angles(D: Array, S: Array, q1: Array, q2: Array) -> _Angles:
    p1, p2 = 1 + q1, 1 + q2
    root = jnp.sqrt(p1) * jnp.sqrt(p2)
    A1, A2 = jnp.arcsin(1 / jnp.sqrt(2 * p1)), jnp.arcsin(1 / jnp.sqrt(2 * p2))
    gap = (jnp.sqrt(p1) - jnp.sqrt(p2)) ** 2
    excess_minus = (D - gap) / (2 * root)  # 2 (sin^2 B - sin A1 sin A2)
    excess_plus = (S - gap) / (2 * root)
    sin_sin = 1 / (2 * root)
    sin_B = jnp.sqrt(jnp.maximum(sin_sin + excess_minus / 2, 0))
    cos_B = jnp.sqrt(jnp.maximum(sin_sin + excess_plus / 2, 0))
    B = jnp.arctan2(sin_B, cos_B)
    # cos(A1 + A2) - cos(2 B), turned into a product of sines.
    shift = 2 * jnp.sin((A1 - A2) / 2) ** 2
    half = (A1 + A2) / 2

    def gap_of(excess: Array, angle: Array) -> Array:
        return 2 * jnp.arcsin(jnp.clip((excess - shift) / (2 * jnp.sin(half + angle)), -1, 1))

    return _Angles(gap_of(excess_minus, B), gap_of(excess_plus, np.pi / 2 - B), B, sin_B * cos_B, root, A1, A2)


def _erf_pair(_: Erf, D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    a = _angles(2 * D, 2 * S, 2 * q1, 2 * q2)
    return 4 / np.pi * a.minus, 4 / np.pi * a.plus, 2 / np.pi / (a.root * a.product)


def _erf_marginal(_: Erf, q: Array) -> Array:
    return 2 / np.pi * jnp.arcsin(2 * q / (1 + 2 * q))


def _sin_pair(_: Sin, D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    shift = (jnp.exp(-q1) - jnp.exp(-q2)) ** 2 / 2
    near, far = jnp.exp(-D / 2), jnp.exp(-S / 2)
    return (
        -jnp.expm1(-D / 2) * (1 + far) - shift,
        -jnp.expm1(-S / 2) * (1 + near) - shift,
        (near + far) / 2,
    )


def _sin_marginal(_: Sin, q: Array) -> Array:
    return -jnp.expm1(-2 * q) / 2


def _gelu_even(q: Array) -> Array:
    # E[h(u)^2] of the even part h(u) = u erf(u / sqrt 2) / 2.
    return (2 * q**2 / ((1 + q) * jnp.sqrt(1 + 2 * q)) + q * jnp.arcsin(q / (1 + q))) / (2 * np.pi)


def _gelu_pair(_: Gelu, D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    # GELU = u/2 + h(u) with h even, so E[u h(v)] = 0 and the two parts add. Writing K[h] as
    # (1/d - d w + K f) / (2 pi), each of the three terms' second difference is taken without cancellation.
    a = _angles(D, S, q1, q2)
    K, mean, delta = (S - D) / 4, (q1 + q2) / 2, q1 - q2
    R = (1 + q1) * (1 + q2)
    d, d1, d2 = 2 * a.root * a.product, jnp.sqrt(1 + 2 * q1), jnp.sqrt(1 + 2 * q2)
    c = jnp.sqrt(1 + 2 * mean)
    f = np.pi / 2 - 2 * a.B
    w = (1 - q1 * q2) / R
    slope = 2 * delta / (d1 + d2)  # d1 - d2
    centre = (mean * D - D**2 / 4 - delta**2 / 4) / (d + c)  # d - c
    bow = -2 * delta**2 / ((d1 + d2) * (d1 + c) * (d2 + c))  # d1 + d2 - 2 c
    inverse_bow = delta / c * (2 * delta + c * slope) / (d1 * d2 * (d1 + c) * (d2 + c))
    angles = 2 * mean * a.minus + delta * (a.A2 - a.A1) + D * f
    inverses = inverse_bow + 2 * centre / (c * d)
    products = w * (bow - 2 * centre) - delta * slope / R
    even = (angles + inverses - products) / (2 * np.pi)  # E[(h(u) - h(v))^2]
    slope_dual = 1 / 4 + f / (2 * np.pi) + K / (2 * np.pi * d) * (1 / d**2 + w + 1)
    return D / 4 + even, S / 4 + 2 * (_gelu_even(q1) + _gelu_even(q2)) - even, slope_dual


def _gelu_marginal(_: Gelu, q: Array) -> Array:
    return q / 4 + _gelu_even(q)


DUALS: dict[type[Layer], Dual] = {
    Relu: Dual(_relu_pair, lambda _, q: q / 2),
    LeakyRelu: Dual(_leaky_pair, lambda layer, q: ((1 - layer.slope) ** 2 / 2 + layer.slope) * q),
    Erf: Dual(_erf_pair, _erf_marginal),
    Gelu: Dual(_gelu_pair, _gelu_marginal),
    Sin: Dual(_sin_pair, _sin_marginal),
}
