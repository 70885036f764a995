"""Independent oracles: the kernel recursion in mpmath, and regression on the listed augmented set."""

import itertools

import mpmath
import numpy as np
from scipy.linalg import eigh

from haarflow import kernels

DIGITS = 50


def _mp(array):
    return np.vectorize(lambda value: mpmath.mpf(float(value)), otypes=[object])(array)


def _relu(q1, q2, K):
    if q1 == 0 or q2 == 0:
        return mpmath.mpf(0), mpmath.mpf(1) / 2
    r = mpmath.sqrt(q1 * q2)
    c = max(min(K / r, mpmath.mpf(1)), mpmath.mpf(-1))
    angle = mpmath.acos(c)
    return r * (mpmath.sin(angle) + (mpmath.pi - angle) * c) / (2 * mpmath.pi), (1 - angle / mpmath.pi) / 2


def _dual(layer, q1, q2, K):
    """E[s(u)s(v)] and E[s'(u)s'(v)] from the textbook formulas, which are safe at 50 digits."""
    if type(layer) is kernels.Relu:
        return _relu(q1, q2, K)
    if type(layer) is kernels.LeakyRelu:
        a = mpmath.mpf(layer.slope)
        J, slope = _relu(q1, q2, K)
        return (1 - a) ** 2 * J + a * K, (1 - a) ** 2 * slope + a
    if type(layer) is kernels.Erf:
        P = (1 + 2 * q1) * (1 + 2 * q2)
        return 2 / mpmath.pi * mpmath.asin(2 * K / mpmath.sqrt(P)), 4 / mpmath.pi / mpmath.sqrt(P - 4 * K * K)
    if type(layer) is kernels.Sin:
        near, far = mpmath.exp(-(q1 + q2 - 2 * K) / 2), mpmath.exp(-(q1 + q2 + 2 * K) / 2)
        return (near - far) / 2, (near + far) / 2
    if type(layer) is not kernels.Gelu:
        raise TypeError(f"no textbook formula for {layer}")
    P, R = q1 * q2, (1 + q1) * (1 + q2)
    d = mpmath.sqrt(R - K * K)
    f = mpmath.atan2(K, d)
    value = K / 4 + ((K * K + P * d * d) / (R * d) + K * f) / (2 * mpmath.pi)
    slope = mpmath.mpf(1) / 4 + f / (2 * mpmath.pi) + K / (2 * mpmath.pi * d) * (1 / d**2 + (1 - P) / R + 1)
    return value, slope


def _box(layer, K):
    """K [H, W, H, W] -> mean over the filter's offsets of the jointly displaced K."""
    H, W = K.shape[:2]
    out = np.full(K.shape, mpmath.mpf(0), dtype=object)
    for (a, b, c, d), (dy, dx) in itertools.product(np.ndindex(K.shape), layer.offsets):
        i = [a + dy, b + dx, c + dy, d + dx]
        if layer.padding == "CIRCULAR":
            i = [i[0] % H, i[1] % W, i[2] % H, i[3] % W]
        elif not (0 <= i[0] < H and 0 <= i[1] < W and 0 <= i[2] < H and 0 <= i[3] < W):
            continue
        out[a, b, c, d] += K[tuple(i)]
    return out / len(layer.offsets)


def _pool(K, size):
    H, W = K.shape[:2]
    return K.reshape(H // size, size, W // size, size, H // size, size, W // size, size).mean(axis=(1, 3, 5, 7))


def _variances(K):
    shape = K.shape[: K.ndim // 2]
    return np.array([K[p + p] for p in np.ndindex(shape)], dtype=object).reshape(shape)


def _walk(layers, K, T):
    """Advance the kernels of (x, x), (x, x') and (x', x') through the layers."""
    for layer in layers:
        K, T = ([np.asarray(values, dtype=object) for values in part] for part in (K, T))  # 0-d ones decay to numbers
        if isinstance(layer, (kernels.Dense, kernels.Conv)):
            if isinstance(layer, kernels.Conv):
                K, T = [_box(layer, k) for k in K], [_box(layer, t) for t in T]
            w, b = mpmath.mpf(layer.W_std) ** 2, mpmath.mpf(layer.b_std) ** 2
            K = [w * k + b for k in K]
            T = [w * t + k for k, t in zip(K, T, strict=True)]
        elif isinstance(layer, kernels.Residual):
            K2, T2 = _walk(layer.branch, K, T)
            K = [a + b for a, b in zip(K, K2, strict=True)]
            T = [a + b for a, b in zip(T, T2, strict=True)]
        elif isinstance(layer, kernels.AvgPool):
            K, T = [_pool(k, layer.size) for k in K], [_pool(t, layer.size) for t in T]
        elif isinstance(layer, kernels.GlobalAvgPool):
            K, T = (
                [np.array(k.mean(), dtype=object) for k in K],
                [np.array(t.mean(), dtype=object) for t in T],
            )
        elif isinstance(layer, kernels.Flatten):
            K = [np.array(_variances(k).mean(), dtype=object) for k in K]
            T = [np.array(_variances(t).mean(), dtype=object) for t in T]
        else:
            q = [_variances(K[0]), _variances(K[2])]
            K, T = map(
                list,
                zip(
                    *(_activate(layer, q[i], q[j], K[m], T[m]) for m, i, j in ((0, 0, 0), (1, 0, 1), (2, 1, 1))),
                    strict=True,
                ),
            )
    return K, T


def _activate(layer, q1, q2, K, T):
    new_K, new_T = np.empty_like(K), np.empty_like(T)
    for index in np.ndindex(K.shape):
        half = K.ndim // 2
        value, slope = _dual(layer, q1[index[:half]], q2[index[half:]], K[index])
        new_K[index], new_T[index] = value, T[index] * slope
    return new_K, new_T


def mp_kernel(arch, x1, x2):
    """K and Theta of two samples by the recursion in 50-digit arithmetic; all position pairs are listed."""
    with mpmath.workdps(DIGITS):
        x = [_mp(x1), _mp(x2)]
        channels = x1.shape[-1]
        K = [
            np.array(np.tensordot(x[i], x[j], axes=(-1, -1)) / channels, dtype=object)
            for i, j in ((0, 0), (0, 1), (1, 1))
        ]
        K, T = _walk(arch.layers, K, [k * 0 for k in K])
        return np.asarray(K[1]).item(), np.asarray(T[1]).item()


def mp_flat(layers, x1, x2, digits=DIGITS):
    """K and Theta, each at (x, x), (x, x'), (x', x'), of two flat samples in 50-digit arithmetic."""
    with mpmath.workdps(digits):
        x = [_mp(x1), _mp(x2)]
        K = [np.array(np.dot(x[i], x[j]) / len(x1), dtype=object) for i, j in ((0, 0), (0, 1), (1, 1))]
        K, T = _walk(layers, K, [k * 0 for k in K])
        return [[np.asarray(value).item() for value in part] for part in (K, T)]


def gradient_flow_mean(train, rows, y, times):
    """mu_t on a listed set by eigendecomposition of the whole Gram: Theta(x, X) phi_t(Theta) Y."""
    values, vectors = eigh(train)
    projected = vectors.T @ y
    means = []
    for t in times:
        phi = 1 / values if np.isinf(t) else -np.expm1(-values * t) / values
        means.append(rows @ (vectors @ (phi[:, None] * projected)))
    return np.array(means)


def listed(action, output, x, y):
    """The augmented set, written out element by element."""
    points = [action(g, x) for g in range(action.group.order)]
    labels = [y if output is None else y @ output.matrices[g].T for g in range(action.group.order)]
    return np.concatenate(points), np.concatenate(labels)


def merged(points, labels, decimals=9):
    """Coinciding points of a listed set as one point with weight and mean label."""
    _, first, inverse, counts = np.unique(
        points.reshape(len(points), -1).round(decimals) + 0.0,
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    means = np.zeros((len(first), labels.shape[1]))
    np.add.at(means, inverse.ravel(), labels)
    return points[first], means / counts[:, None], counts


def weighted_flow_mean(train, rows, y, counts, times):
    """Gradient flow on sum_i w_i |f(x_i) - y_i|^2 / 2: the flow of the merged set, with W^(1/2) Theta W^(1/2)."""
    root = np.sqrt(counts)
    return gradient_flow_mean(train * np.outer(root, root), rows * root, y * root[:, None], times)


def flow_operators(train, rows, times, counts=None, ridge=0.0):
    """B_t(x) [T, m, N] of a listed set whose points stand `counts` times: what the flow makes of Y and of f_0(X)."""
    root = np.ones(len(train)) if counts is None else np.sqrt(counts)
    weighted = train * np.outer(root, root) + ridge * np.eye(len(train))
    values, vectors = eigh(weighted)
    trained = []
    for t in times:
        phi = 1 / values if np.isinf(t) else -np.expm1(-values * t) / values
        trained.append((rows * root) @ (vectors * phi) @ vectors.T * root)
    return np.array(trained)


def flow_covariance(operators, inside, rows, prior):
    """Cov[f_t(x), f_s(x')] [T, m, T, m] of f_t(x) = mu_t(x) + f_0(x) - B_t(x) f_0(X), with f_0 ~ GP(0, K).

    `inside` is K(X, X) [N, N], `rows` K(x, X) [m, N], `prior` K(x, x') [m, m].
    """
    both = np.einsum("txi,ij,syj->txsy", operators, inside, operators, optimize=True)
    crossed = np.einsum("txi,yi->txy", operators, rows)
    return prior[:, None, :] + both - crossed[:, :, None, :] - crossed.transpose(2, 0, 1)[None]
