"""Dual activations in terms of squared distances, exact at coincident and antipodal points.

For a centred Gaussian pair (u, v) with variances q1, q2 the state is
    D = E[(u - v)^2],  S = E[(u + v)^2],  so that K = E[u v] = (S - D) / 4,
and a nonlinearity s maps it to the D and S of (s(u), s(v)). Where u and v nearly coincide, D is small and
every formula below keeps its relative accuracy, while K alone would lose half the digits: differences of
the marginals enter in second order only, so that their rounding does no harm. Where K >= 0 is known, S is
2 (q1 + q2) - D without cancellation and is not carried: it is None.

Rectifiers need the angle alone, from what D and S exceed (sqrt q1 - sqrt q2)^2 by: `near` = 2 sqrt(q1 q2) (1 - cos)
and `far` = 2 sqrt(q1 q2) (1 + cos). Dense layers carry them from one rectifier to the next, which is cheaper than
D and exact for parallel u and v; they are None elsewhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels.architecture import Erf, Gelu, Layer, LeakyRelu, Relu, Sin
from haarflow.kernels.arcs import arc, twice_arcsin

__all__ = ["DUALS", "Distances", "Dual", "Image"]

Features = tuple[Array, ...]


class Distances(NamedTuple):
    """How far apart a pair (u, v) is."""

    D: Any  # arrays of JAX or NumPy
    S: Any = None
    near: Any = None
    far: Any = None


class Image(NamedTuple):
    """What a nonlinearity makes of a pair (u, v)."""

    entering: Array  # E[u v], in the form that costs least
    apart: Distances
    K: Array  # E[s(u) s(v)]
    slope: Array  # E[s'(u) s'(v)]


class Dual(NamedTuple):
    """A nonlinearity s under the Gaussian expectation.

    `marginal(layer, q)` returns E[s(u)^2]; `features(q)` what the pair needs of each variance, evaluated once
    for each sample rather than each pair; `pair(layer, distances, f1, f2)` an Image.
    """

    pair: Callable[[Any, Distances, Features, Features], Image]
    features: Callable[[Array], Features]
    marginal: Callable[[Any, Array], Array]


def _other(apart: Distances, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Return S and K, where K >= 0 if S is not carried."""
    D, S = apart.D, apart.S
    return (2 * (q1 + q2) - D, (q1 + q2 - D) / 2) if S is None else (S, (S - D) / 4)


def _alike(apart: Distances, D: Array, S: Array) -> Distances:
    """Carry S on where it was."""
    return Distances(D, None if apart.S is None else S)


def _rectifier_features(q: Array) -> Features:
    """Return q, sqrt(q) and 1 / sqrt(2 q) to the power 1/2, 0 for q = 0."""
    root, positive = jnp.sqrt(q), q > 0
    return q, root, jnp.where(positive, jnp.sqrt(2**-0.5 / jnp.where(positive, root, 1)), 0)


def _leaky_pair(layer: LeakyRelu, apart: Distances, f1: Features, f2: Features) -> Image:
    # leaky = slope * identity + (1 - slope) * relu, and E[u relu(v)] = K/2.
    part = _relu_pair(Relu(), apart, f1, f2)
    relu, a = (1 - layer.slope) ** 2, layer.slope
    # Behind a rectifier, S of the rectified pair is 2 (q1 + q2) - D; a linear part brings the small ones back.
    rectified = f1[0] + f2[0] - part.apart.D
    return Image(
        part.entering,
        Distances(relu * part.apart.D + a * apart.D, None if apart.S is None else relu * rectified + a * apart.S),
        relu * part.K + a * part.entering,
        relu * part.slope + a,
    )


def _relu_pair(_: Relu, apart: Distances, f1: Features, f2: Features) -> Image:
    (q1, s1, r1), (q2, s2, r2) = f1, f2
    D, S, near, far = apart
    gap, size = (s1 - s2) ** 2, s1 * s2
    # What rounding leaves of D - gap where u and v are parallel counts as 0: the square root would amplify it.
    noise = 16 * jnp.finfo(D.dtype).eps * jnp.abs(q1 - q2)

    # In place of 0, so that the square root has a derivative, which the selection then leaves out.
    least = float(jnp.finfo(D.dtype).tiny)

    def excess(total: Array) -> Array:
        return jnp.where(total - gap > noise, total - gap, least)

    near = excess(D) if near is None else jnp.maximum(near, least)
    far = None if S is None else excess(S) if far is None else jnp.maximum(far, least)
    # Everything else is a function of w, of which side is the nearer, and of the marginals.
    w = jnp.sqrt(near if far is None else jnp.minimum(near, far)) * (r1 * r2)
    z = w * w
    angle, odd = arc(w)
    entering, turned, share = 1 - z, z, 1 - angle
    if far is not None:
        acute = near <= far
        entering, turned, share = (
            jnp.where(acute, part, other) for part, other in ((entering, z - 1), (z, jnp.ones_like(z)), (share, angle))
        )
    beyond = size * (turned - odd)
    return Image(size * entering, Distances(gap / 2 + beyond, near=beyond), size * (1 - turned + odd) / 2, share / 2)


def _arcsine_features(q: Array) -> Features:
    """Return q, sqrt(p), A, sin(A/2), cos(A/2) with p = 1 + q and sin A = 1 / sqrt(2 p): A is at most pi/4."""
    p = 1 + q
    sine = jnp.sqrt(0.5 / p)
    half_cosine = jnp.sqrt((1 + jnp.sqrt(1 - 0.5 / p)) / 2)
    return q, jnp.sqrt(p), twice_arcsin(sine) / 2, sine / (2 * half_cosine), half_cosine


class _Angles(NamedTuple):
    """Half complements of the arcsines in the kernels of erf and GELU.

    sin(pi/2 - 2 A_i) = 1 - 1/p_i and sin(pi/2 - 2 B) = K / sqrt(p1 p2).
    """

    minus: Array  # 2 B - A1 - A2, without cancellation where u = v
    plus: Array  # the same for u = -v
    B: Array
    product: Array  # sin B cos B
    root: Array  # sqrt(p1 p2)


def _angles(D: Array, S: Array, f1: Features, f2: Features) -> _Angles:
    (_, root1, _, sin1, cos1), (_, root2, _, sin2, cos2) = f1, f2
    root = root1 * root2
    gap = (root1 - root2) ** 2
    excess_minus = (D - gap) / (2 * root)  # 2 (sin^2 B - sin A1 sin A2)
    excess_plus = (S - gap) / (2 * root)
    sin_sin = 1 / (2 * root)
    sin_B = jnp.sqrt(jnp.maximum(sin_sin + excess_minus / 2, 0))
    cos_B = jnp.sqrt(jnp.maximum(sin_sin + excess_plus / 2, 0))
    small = sin_B <= cos_B
    B = jnp.where(small, 0, np.pi / 2) + jnp.where(small, 1, -1) * twice_arcsin(jnp.minimum(sin_B, cos_B)) / 2
    # cos(A1 + A2) - cos(2 B), turned into a product of sines of half angles.
    shift = 2 * (sin1 * cos2 - cos1 * sin2) ** 2
    sin_half, cos_half = sin1 * cos2 + cos1 * sin2, cos1 * cos2 - sin1 * sin2

    def gap_of(excess: Array, sine: Array) -> Array:
        return twice_arcsin(jnp.clip((excess - shift) / (2 * sine), -1, 1))

    minus = gap_of(excess_minus, sin_half * cos_B + cos_half * sin_B)
    plus = gap_of(excess_plus, sin_half * sin_B + cos_half * cos_B)
    return _Angles(minus, plus, B, sin_B * cos_B, root)


def _erf_features(q: Array) -> Features:
    return _arcsine_features(2 * q)


def _erf_pair(_: Erf, apart: Distances, f1: Features, f2: Features) -> Image:
    full, K = _other(apart, f1[0] / 2, f2[0] / 2)
    a = _angles(2 * apart.D, 2 * full, f1, f2)
    near, far = 4 / np.pi * a.minus, 4 / np.pi * a.plus
    return Image(K, _alike(apart, near, far), (far - near) / 4, 2 / np.pi / (a.root * a.product))


def _arcsine(q: Array) -> Array:
    """Return arcsin(q / (1 + q)), from its complement where that is small."""
    sine = q / (1 + q)
    return jnp.where(sine < 0.7, twice_arcsin(sine) / 2, np.pi / 2 - twice_arcsin(jnp.sqrt(0.5 / (1 + q))))


def _erf_marginal(_: Erf, q: Array) -> Array:
    return 2 / np.pi * _arcsine(2 * q)


def _sin_features(q: Array) -> Features:
    return q, jnp.exp(-q)


def _sin_pair(_: Sin, apart: Distances, f1: Features, f2: Features) -> Image:
    full, K = _other(apart, f1[0], f2[0])
    D = apart.D
    shift = (f1[1] - f2[1]) ** 2 / 2
    near, far = jnp.exp(-D / 2), jnp.exp(-full / 2)
    return Image(
        K,
        _alike(apart, -jnp.expm1(-D / 2) * (1 + far) - shift, -jnp.expm1(-full / 2) * (1 + near) - shift),
        # (near - far) / 2 without cancellation where K is small
        (far * jnp.expm1(2 * jnp.minimum(K, 0)) - near * jnp.expm1(-2 * jnp.maximum(K, 0))) / 2,
        (near + far) / 2,
    )


def _sin_marginal(_: Sin, q: Array) -> Array:
    return -jnp.expm1(-2 * q) / 2


def _gelu_even(q: Array) -> Array:
    # E[h(u)^2] of the even part h(u) = u erf(u / sqrt 2) / 2.
    return (2 * q**2 / ((1 + q) * jnp.sqrt(1 + 2 * q)) + q * _arcsine(q)) / (2 * np.pi)


def _gelu_features(q: Array) -> Features:
    return *_arcsine_features(q), jnp.sqrt(1 + 2 * q), _gelu_even(q)


def _gelu_pair(_: Gelu, apart: Distances, f1: Features, f2: Features) -> Image:
    # GELU = u/2 + h(u) with h even, so E[u h(v)] = 0 and the two parts add. Writing K[h] as
    # (1/d - d w + K f) / (2 pi), each of the three terms' second difference is taken without cancellation.
    (*angles1, d1, even1), (*angles2, d2, even2) = f1, f2
    (q1, root1, A1), (q2, root2, A2) = angles1[:3], angles2[:3]
    full, K = _other(apart, q1, q2)
    D = apart.D
    a = _angles(D, full, tuple(angles1), tuple(angles2))
    mean, delta = (q1 + q2) / 2, q1 - q2
    R = (root1 * root2) ** 2
    d = 2 * a.root * a.product
    c = jnp.sqrt(1 + 2 * mean)
    f = np.pi / 2 - 2 * a.B
    w = (1 - q1 * q2) / R
    slope = 2 * delta / (d1 + d2)  # d1 - d2
    centre = (mean * D - D**2 / 4 - delta**2 / 4) / (d + c)  # d - c
    bow = -2 * delta**2 / ((d1 + d2) * (d1 + c) * (d2 + c))  # d1 + d2 - 2 c
    inverse_bow = delta / c * (2 * delta + c * slope) / (d1 * d2 * (d1 + c) * (d2 + c))
    angles = 2 * mean * a.minus + delta * (A2 - A1) + D * f
    inverses = inverse_bow + 2 * centre / (c * d)
    products = w * (bow - 2 * centre) - delta * slope / R
    even = (angles + inverses - products) / (2 * np.pi)  # E[(h(u) - h(v))^2]
    slope_dual = 1 / 4 + f / (2 * np.pi) + K / (2 * np.pi * d) * (1 / d**2 + w + 1)
    evens = 2 * (even1 + even2)
    near, far = D / 4 + even, full / 4 + evens - even
    return Image(K, _alike(apart, near, far), K / 4 + (evens / 2 - even) / 2, slope_dual)


def _gelu_marginal(_: Gelu, q: Array) -> Array:
    return q / 4 + _gelu_even(q)


DUALS: dict[type[Layer], Dual] = {
    Relu: Dual(_relu_pair, _rectifier_features, lambda _, q: q / 2),
    LeakyRelu: Dual(_leaky_pair, _rectifier_features, lambda layer, q: ((1 - layer.slope) ** 2 / 2 + layer.slope) * q),
    Erf: Dual(_erf_pair, _erf_features, _erf_marginal),
    Gelu: Dual(_gelu_pair, _gelu_features, _gelu_marginal),
    Sin: Dual(_sin_pair, _sin_features, _sin_marginal),
}
