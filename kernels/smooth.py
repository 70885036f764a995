"""Dual activations of erf, GELU and sin, without cancellation at any ratio of the variances.

Each returns 2 sqrt(q1 q2) (1 - c) behind the nonlinearity as a sum of two parts that are not negative: what parallel
variables of these variances have, a function of the variances alone, and what the angle adds. Where the nonlinearity
is nearly homogeneous the first part is a second difference of small differences; it is taken in closed form.
Sources: Williams 1997 (erf); docs of `duals` for what is carried.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels.architecture import Erf, Gelu, Sin
from haarflow.kernels.arcs import twice_arcsin
from haarflow.kernels.pairs import Distances, Dual, Features, Image, Turn, inverse, moved, root, turn

__all__ = ["ERF", "GELU", "SIN"]

# Below it series in the variance replace second differences.
_SMALL = 1 / 16


class _Sample(NamedTuple):
    """What erf and GELU need of one variance q: 1 - kappa = 1 / (1 + q), kappa = q / (1 + q) = sin(phi)."""

    q: Array
    root: Array  # sqrt(q)
    scale: Array  # 1 / sqrt(2 q), 0 for q = 0
    rest: Array  # 1 - kappa
    kappa: Array
    root_kappa: Array
    cosine: Array  # cos(phi)
    phi: Array
    sin_half: Array  # sin(phi / 2)
    cos_half: Array
    d: Array  # sqrt(1 + 2 q)


def _sample(q: Array) -> _Sample:
    rest, kappa = 1 / (1 + q), q / (1 + q)
    s = root(q)
    cosine = jnp.sqrt(rest * (1 + kappa))
    cos_half = jnp.sqrt((1 + cosine) / 2)
    phi = jnp.where(kappa < 0.7, twice_arcsin(kappa) / 2, np.pi / 2 - twice_arcsin(jnp.sqrt(rest / 2)))
    return _Sample(
        q, s, inverse(s) * 2**-0.5, rest, kappa, root(kappa), cosine, phi, kappa / (2 * cos_half), cos_half,
        jnp.sqrt(1 + 2 * q),
    )  # fmt: skip


class _Pair(NamedTuple):
    """A pair in the angles of the arcsine kernel: rho c = sin(f), rho = sqrt(kappa1 kappa2), c >= 0 folded."""

    at: Turn
    z: Array  # 1 - c
    rho: Array
    k: Array  # rho c
    rests: Array  # of both samples, multiplied
    parallel: Array  # cos f at c = 1
    cosine: Array  # cos f
    f: Array
    complement: Array  # pi/2 - f
    step: Array  # f at c = 1, less f
    mean: Array  # (phi1 + phi2) / 2, less f at c = 1
    delta: Array  # kappa2 - kappa1


def _arcsines(apart: Distances, a: _Sample, b: _Sample) -> _Pair:
    tiny = float(jnp.finfo(a.q.dtype).tiny)
    at = turn(apart, a.q, b.q, a.root, b.root)
    z = at.least * a.scale * b.scale
    rho = a.root_kappa * b.root_kappa
    k = rho * (1 - z)
    # 1 - rho^2
    square = jnp.maximum(a.rest * b.kappa + b.rest, tiny)
    parallel = jnp.sqrt(square)
    cosine = jnp.sqrt(square + rho * rho * z * (2 - z))
    # Half of the complement of f, and of f at c = 1.
    first, shift = square / (1 + rho), rho * z
    sine, half_cosine = jnp.sqrt((first + shift) / 2), jnp.sqrt((1 + k) / 2)
    step = twice_arcsin(shift / 2 / (sine * jnp.sqrt((1 + rho) / 2) + half_cosine * jnp.sqrt(first / 2)))
    small = k < 0.7
    double = twice_arcsin(jnp.where(small, k, sine))
    f = jnp.where(small, double / 2, np.pi / 2 - double)
    complement = jnp.where(small, np.pi / 2 - double / 2, double)
    # With A = (pi/2 - phi) / 2: sin(2 A1 - 2 A2), and cos(A1 + A2)^2 - rho^2 = sin(A1 - A2)^2.
    delta = (b.q - a.q) * a.rest * b.rest
    twice = delta * ((1 + a.d * b.d) / (a.d + b.d))
    half = (a.cos_half * b.cos_half + a.sin_half * b.sin_half) * 2
    apart_square = (twice / half) ** 2
    sine1, sine2 = jnp.sqrt(a.rest / 2), jnp.sqrt(b.rest / 2)
    sum_cosine = a.sin_half * b.cos_half + a.cos_half * b.sin_half
    sum_sine = sine1 * (b.cos_half + b.sin_half) * 2**-0.5 + sine2 * (a.cos_half + a.sin_half) * 2**-0.5
    mean = twice_arcsin(apart_square / jnp.maximum(parallel * sum_cosine + rho * sum_sine, tiny)) / 2
    return _Pair(at, z, rho, k, a.rest * b.rest, parallel, cosine, f, complement, step, mean, delta)


def _erf_features(q: Array) -> Features:
    return *_sample(2 * q), q


def _erf_pair(_: Erf, apart: Distances, f1: Features, f2: Features) -> Image:
    (*first, q1), (*second, q2) = f1, f2
    a, b = _Sample(*first), _Sample(*second)
    p = _arcsines(Distances(*(None if part is None else 2 * part for part in apart)), a, b)
    at = p.at
    parallel = jnp.maximum(_erf_parallel(a.phi, b.phi, p), 0)
    less, more = parallel + p.step, parallel + p.step + 2 * p.f
    near, far = 4 / np.pi * at.select(less, more), 4 / np.pi * at.select(more, less)
    slope = 4 / np.pi * jnp.sqrt(a.rest * b.rest) / p.cosine
    entering = at.size / 2 * at.select(1 - p.z, p.z - 1)
    K = 2 / np.pi * at.select(p.f, -p.f)
    after = (2 / np.pi * a.phi, 2 / np.pi * b.phi)
    return moved(apart, entering, (near, far, K, slope), (q1, q2), after)


def _erf_parallel(phi1: Array, phi2: Array, p: _Pair) -> Array:
    """Return sqrt(phi1 phi2) less f at c = 1."""
    root1, root2 = root(phi1), root(phi2)
    g = root1 * root2
    least, most = jnp.minimum(phi1, phi2), jnp.maximum(phi1, phi2)
    # log sin(phi) / phi = -phi^2/6 - phi^4/180 - ..., of which this is the second difference in log phi.
    total, square = phi1 + phi2, g * g
    series = 1 / 6 + total**2 / 180 + (total**2 - square) ** 2 / 2835 + (total * (total**2 - 2 * square)) ** 2 / 37800
    share = -jnp.expm1(-((phi1 - phi2) ** 2) * series / 2)
    tangent = jnp.tan(jnp.where(most < _SMALL, g, 0))
    small = tangent * share * (1 - tangent**2 * share / 2)
    close = p.mean - (root1 - root2) ** 2 / 2
    return jnp.where(most < _SMALL, small, jnp.where(4 * least > most, close, g - (p.f + p.step)))


def _erf_marginal(_: Erf, q: Array) -> Array:
    return 2 / np.pi * _sample(2 * q).phi


def _gelu_share(a: _Sample) -> Array:
    # E[h(u)^2] / q of the even part h(u) = u erf(u / sqrt 2) / 2.
    return (2 * a.kappa * (a.rest / a.cosine) + a.phi) / (2 * np.pi)


def _gelu_features(q: Array) -> Features:
    a = _sample(q)
    share = _gelu_share(a)
    return *a, share, jnp.sqrt(1 / 4 + share)


def _gelu_pair(_: Gelu, apart: Distances, f1: Features, f2: Features) -> Image:
    # GELU = u/2 + h(u) with h even, so E[u h(v)] = 0 and the two parts add:
    # E[h(u) h(v)] = sqrt(q1 q2) m(c) with 2 pi m = rho (c^2 rests / cos f + cos f) + c f.
    (*first, share1, root1), (*second, share2, root2) = f1, f2
    a, b = _Sample(*first), _Sample(*second)
    p = _arcsines(apart, a, b)
    at, c, rho, rests = p.at, 1 - p.z, p.rho, p.rests
    m = (rho * (c * c * (rests / p.cosine) + p.cosine) + c * p.f) / (2 * np.pi)
    # m(1) - m(c); 1 - c^2 = y
    y = p.z * (2 - p.z)
    both = p.cosine + p.parallel
    turned = rests / p.cosine * (rho * rho / both / p.parallel + 1) - rho * rho / both
    rise = (rho * y * turned + p.step + p.z * p.f) / (2 * np.pi)
    # The mean of both samples' shares less m(1), in the difference of the kappas.
    sides = a.kappa**2 * (a.rest / a.cosine) / (p.parallel + a.cosine) - b.kappa**2 * (b.rest / b.cosine) / (
        p.parallel + b.cosine
    )
    roots = p.delta * inverse(a.root_kappa + b.root_kappa)
    bracket = roots**2 * (1 - a.kappa - rho - b.kappa) - p.delta * sides
    mean = (p.mean + bracket / p.parallel) / (2 * np.pi)
    product, whole = root1 * root2, m + rise + 1 / 4
    parallel = jnp.maximum(mean * (mean + 2 * whole) - (share1 - share2) ** 2 / 4, 0) / (product + whole)
    above = ((share1 + share2) / 4 + share1 * share2) / (product + 1 / 4)  # product - 1/4
    near = at.near / 4 + 2 * at.size * (parallel + rise)
    far = at.whole / 4 + 2 * at.size * (above + m)
    tilt = p.k / p.cosine * ((a.rest / p.cosine) * (b.rest / p.cosine) + rests + p.parallel**2)
    # 1/4 +- (f + tilt) / (2 pi)
    slope = at.select(1 / 4 + (p.f + tilt) / (2 * np.pi), (p.complement - tilt) / (2 * np.pi))
    image = near, far, at.size * (at.select(c, -c) / 4 + m), slope
    after = (a.q * root1**2, b.q * root2**2)
    return moved(apart, at.size * at.select(c, -c), image, (a.q, b.q), after)


def _gelu_marginal(_: Gelu, q: Array) -> Array:
    return q * (1 / 4 + _gelu_share(_sample(q)))


def _sin_features(q: Array) -> Features:
    s, after = root(q), -jnp.expm1(-2 * q) / 2
    return q, s, inverse(s) * 2**-0.5, jnp.exp(-q), after, root(after)


def _sin_pair(_: Sin, apart: Distances, f1: Features, f2: Features) -> Image:
    (q1, s1, scale1, _, after1, _), (q2, s2, scale2, _, after2, _) = f1, f2
    at = turn(apart, q1, q2, s1, s2)
    half_gap = ((q1 - q2) * inverse(s1 + s2)) ** 2 / 2
    damped = jnp.exp(-half_gap)
    near, far = jnp.exp(-at.near / 2), jnp.exp(-at.whole / 2)
    c = 1 - at.least * scale1 * scale2
    parallel = 2 * jnp.maximum(_sin_parallel(f1, f2, at.size, half_gap), 0)
    image = (
        parallel - damped * (1 + far) * jnp.expm1(-at.near / 2),
        parallel - damped * (1 + near) * jnp.expm1(-at.whole / 2),
        # damped (near - far) / 2
        -damped * jnp.exp(-at.least / 2) * jnp.expm1(-2 * at.size * c) / 2 * at.select(1.0, -1.0),
        damped * (near + far) / 2,
    )
    return moved(apart, at.size * at.select(c, -c), image, (q1, q2), (after1, after2))


def _sin_parallel(f1: Features, f2: Features, size: Array, half_gap: Array) -> Array:
    """Return the roots of both variances behind sin, multiplied, less E[sin u sin v] at c = 1."""
    (q1, s1, _, decay1, _, root1), (q2, s2, _, decay2, _, root2) = f1, f2
    product, K = root1 * root2, -jnp.exp(-half_gap) * jnp.expm1(-2 * size) / 2
    least, most = jnp.minimum(q1, q2), jnp.maximum(q1, q2)
    # sinh A sinh B - sinh(sqrt(A B))^2 with A = (s1 + s2)^2 / 2, B = half_gap; its first factor is A B (A - B)^2.
    total, square = (jnp.where(most < _SMALL, part, 0) for part in (q1 + q2, (q1 - q2) ** 2 / 4))
    series = 1 / 6 + total**2 / 120 + (total**2 - square) ** 2 / 5040 + square**2 / 720
    series += (total * (total**2 - 2 * square)) ** 2 / 362880
    whole = product + K
    small = square * (4 * size * inverse(whole)) * size * series * jnp.exp(-total)
    far = -jnp.expm1(-((s1 + s2) ** 2)) * -jnp.expm1(-2 * half_gap)
    close = (far - (decay1 - decay2) ** 2) / 4 * inverse(whole)
    return jnp.where(most < _SMALL, small, jnp.where(4 * least > most, close, product - K))


def _sin_marginal(_: Sin, q: Array) -> Array:
    return -jnp.expm1(-2 * q) / 2


ERF = Dual(_erf_pair, _erf_features, _erf_marginal)
GELU = Dual(_gelu_pair, _gelu_features, _gelu_marginal)
SIN = Dual(_sin_pair, _sin_features, _sin_marginal)
