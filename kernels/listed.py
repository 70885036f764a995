"""The textbook recursion over all pairs of positions, in twice float64's digits: slow, plain, and exact everywhere.

It carries E[u v] itself. Where u and v nearly coincide, that loses half the digits of an angle, and half of 31 is what
float64 holds: neither squared distances nor cases are needed. Other walks are held against it, and pairs that they
cannot resolve are evaluated here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from haarflow.kernels.architecture import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Layer,
    LeakyRelu,
    Relu,
    Residual,
    Sin,
)
from haarflow.kernels.extended import PI, Extended, atan2, exp, expm1, sqrt

__all__ = ["Variances", "of_listed", "variances"]

# Pairs of positions that a nonlinearity takes at a time: its arrays stay in a cache.
_BLOCK = 2**13

Variances = list[Extended]
Dual = tuple[Extended, np.ndarray]


def variances(layers: tuple[Layer, ...], x: np.ndarray) -> Variances:
    """Return E[u^2] [*positions] of one sample [*positions, C] in front of every nonlinearity."""
    tape: Variances = []
    _walk(layers, _products(x, x), None, tape, None)
    return tape


def of_listed(
    layers: tuple[Layer, ...], x1: np.ndarray, x2: np.ndarray, tape1: Variances, tape2: Variances
) -> tuple[float, float]:
    """Return K and Theta of two samples.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    x1, x2 : float64 array [*positions, C]
        The samples.
    tape1, tape2 : list of Extended
        Of both, as `variances` returns them.

    Returns
    -------
    float, float

    Notes
    -----
    Cost: about a microsecond for each pair of positions and layer.
    """
    K = _products(x1, x2)
    K, theta = _walk(layers, K, np.zeros(K.shape), None, zip(tape1, tape2, strict=True))
    return float(K.high), float(theta)


def _products(x1: np.ndarray, x2: np.ndarray) -> Extended:
    """Return E[u v] of the input at all pairs of positions, [*positions, *positions]."""
    first = x1.reshape(*x1.shape[:-1], *(1,) * (x2.ndim - 1), x1.shape[-1])
    total = Extended(np.zeros(x1.shape[:-1] + x2.shape[:-1]))
    for c in range(x1.shape[-1]):
        total = total + Extended(first[..., c]) * x2[..., c]
    return total / float(x1.shape[-1])


def _walk(
    layers: tuple[Layer, ...],
    K: Extended,
    theta: Any,
    found: Variances | None,
    tapes: Iterator[tuple[Extended, Extended]] | None,
) -> tuple[Extended, Any]:
    """Advance K and Theta; either of one sample with itself, whose variances are added to `found`, or from `tapes`."""
    for layer in layers:
        if isinstance(layer, Residual):
            more, more_theta = _walk(layer.branch, K, theta, found, tapes)
            K, theta = K + more, None if theta is None else theta + more_theta
        elif isinstance(layer, (Dense, Conv)):
            if isinstance(layer, Conv):
                K, theta = _filtered(layer, K), None if theta is None else _filtered(layer, theta)
            K = K * layer.W_std**2 + layer.b_std**2
            theta = None if theta is None else layer.W_std**2 * theta + K.high
        elif isinstance(layer, (AvgPool, GlobalAvgPool)):
            K, theta = _pooled(layer, K), None if theta is None else _pooled(layer, theta)
        elif isinstance(layer, Flatten):
            K, theta = _flattened(K), None if theta is None else _flattened(theta)
        else:
            if tapes is not None:
                q1, q2 = next(tapes)
            else:
                q1 = q2 = _diagonal(K)
                assert found is not None
                found.append(q1)
            K, slope = _activated(layer, K, q1, q2)
            theta = None if theta is None else theta * slope
    return K, theta


def _each(f: Callable[[np.ndarray], np.ndarray], values: Any) -> Any:
    return Extended(f(values.high), f(values.low)) if isinstance(values, Extended) else f(values)


def _filtered(layer: Conv, values: Any) -> Any:
    """Return the mean over the filter's offsets, of both positions at once."""
    shape = values.shape
    rank = len(shape) // 2
    reach = [max(abs(offset[axis]) for offset in layer.offsets) for axis in range(rank)] * 2
    mode: Literal["wrap", "constant"] = "wrap" if layer.padding == "CIRCULAR" else "constant"
    rim = _each(lambda part: np.pad(part, [(r, r) for r in reach], mode=mode), values)
    total: Any = 0.0
    for offset in layer.offsets:
        starts = [r + step for r, step in zip(reach, (*offset, *offset), strict=True)]
        total = total + rim[tuple(slice(s, s + side) for s, side in zip(starts, shape, strict=True))]
    return total / float(len(layer.offsets))


def _pooled(layer: AvgPool | GlobalAvgPool, values: Any) -> Any:
    for axis in reversed(range(len(values.shape))):
        if isinstance(layer, AvgPool):
            shape = values.shape
            values = values.reshape(*shape[:axis], -1, layer.size, *shape[axis + 1 :]).mean(axis + 1)
        else:
            values = values.mean(axis)
    return values


def _diagonal(K: Extended) -> Extended:
    shape = K.shape[: len(K.shape) // 2]
    count = int(np.prod(shape))
    return _each(lambda part: part.reshape(count, count).diagonal().reshape(shape), K)


def _flattened(values: Any) -> Any:
    count = int(np.prod(values.shape[: len(values.shape) // 2]))
    return _each(lambda part: part.reshape(count, count).diagonal(), values).mean(0)


def _activated(layer: Layer, K: Extended, q1: Extended, q2: Extended) -> tuple[Extended, np.ndarray]:
    shape = K.shape
    rows, columns = q1.reshape(-1, 1), q2.reshape(1, -1)
    flat = K.reshape(rows.shape[0], columns.shape[1])
    features = _FEATURES.get(type(layer), lambda q: (q,))
    first, second = features(rows), features(columns)
    step = max(1, _BLOCK // columns.shape[1])
    high, low, slopes = (np.empty(flat.shape) for _ in range(3))
    for start in range(0, len(high), step):
        some = slice(start, start + step)
        value, slopes[some] = _DUALS[type(layer)](layer, flat[some], tuple(part[some] for part in first), second)
        high[some], low[some] = value.high, value.low
    return Extended(high, low).reshape(*shape), slopes.reshape(shape)


Features = tuple[Extended, ...]


def _roots(q: Extended) -> Features:
    """Return sqrt(q) and 1 / sqrt(q), 0 for q = 0."""
    root = sqrt(q)
    return root, (1.0 / root.where(root.high > 0, 1.0)).where(root.high > 0, 0.0)


def _relu(_: Layer, K: Extended, first: Features, second: Features) -> Dual:
    (s1, r1), (s2, r2) = first, second
    c = K * (r1 * r2)
    sine = sqrt((1.0 - c) * (1.0 + c))
    share = 1.0 - atan2(sine, c) / PI
    return s1 * s2 * (sine / PI + share * c) * 0.5, share.high / 2


def _leaky(layer: LeakyRelu, K: Extended, first: Features, second: Features) -> Dual:
    J, slope = _relu(layer, K, first, second)
    a = layer.slope
    return J * (1 - a) ** 2 + K * a, (1 - a) ** 2 * slope + a


def _erf(_: Layer, K: Extended, first: Features, second: Features) -> Dual:
    (q1,), (q2,) = first, second
    whole = (q1 * 2.0 + 1.0) * (q2 * 2.0 + 1.0)
    root, rest = sqrt(whole), sqrt(whole - K * K * 4.0)
    return atan2(K * 2.0 / root, rest / root) * 2.0 / PI, 4 / np.pi / rest.high


def _gelu(_: Layer, K: Extended, first: Features, second: Features) -> Dual:
    (q1,), (q2,) = first, second
    whole, product = (q1 + 1.0) * (q2 + 1.0), q1 * q2
    square = whole - K * K
    d, root = sqrt(square), sqrt(whole)
    f = atan2(K / root, d / root)
    value = K * 0.25 + ((K * K + product * square) / (whole * d) + K * f) * 0.5 / PI
    slope = 0.25 + (f.high + K.high / d.high * (1 / square.high + ((1.0 - product) / whole).high + 1)) / (2 * np.pi)
    return value, slope


def _sin(_: Layer, K: Extended, first: Features, second: Features) -> Dual:
    (q1,), (q2,) = first, second
    sign = np.where(K.high < 0, -1.0, 1.0)
    size = K * sign
    near, drop = exp(size - (q1 + q2) * 0.5), expm1(size * -2.0)
    return near * drop * (-0.5 * sign), near.high * (1 + drop.high / 2)


_FEATURES: dict[type[Layer], Callable[[Extended], Features]] = {Relu: _roots, LeakyRelu: _roots}
_DUALS: dict[type[Layer], Callable[..., Dual]] = {
    Relu: _relu,
    LeakyRelu: _leaky,
    Erf: _erf,
    Gelu: _gelu,
    Sin: _sin,
}
