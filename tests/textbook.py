"""An ensemble from textbook formulas: kernels in NumPy, and gradient flow on the listed augmented set."""

import math
from functools import cached_property

import numpy as np
from oracles import flow_covariance
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from haarflow import kernels

EPS = np.finfo(float).eps


def _relu(q1, q2, K):
    r = np.sqrt(q1 * q2)
    c = np.divide(K, r, out=np.zeros_like(K), where=r > 0)
    # arccos makes 1e-8 of a rounded 1. Points that nearly agree otherwise than by rounding are not drawn.
    c = np.where(1 - np.abs(c) < 1e-12, np.sign(c), c)
    angle = np.arccos(c)
    return r * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi), (1 - angle / np.pi) / 2


def _dual(layer, q1, q2, K):
    """E[s(u)s(v)] and E[s'(u)s'(v)] under variances q1, q2 and covariance K."""
    if type(layer) is kernels.Relu:
        return _relu(q1, q2, K)
    if type(layer) is kernels.LeakyRelu:
        a = layer.slope
        J, slope = _relu(q1, q2, K)
        return (1 - a) ** 2 * J + a * K, (1 - a) ** 2 * slope + a
    if type(layer) is kernels.Erf:
        P = (1 + 2 * q1) * (1 + 2 * q2)
        return 2 / np.pi * np.arcsin(2 * K / np.sqrt(P)), 4 / np.pi / np.sqrt(P - 4 * K * K)
    if type(layer) is kernels.Sin:
        near, far = np.exp(-(q1 + q2) / 2 + K), np.exp(-(q1 + q2) / 2 - K)
        return (near - far) / 2, (near + far) / 2
    if type(layer) is not kernels.Gelu:
        raise TypeError(f"no textbook formula for {layer}")
    P, R = q1 * q2, (1 + q1) * (1 + q2)
    d = np.sqrt(R - K * K)
    f = np.arctan2(K, d)
    value = K / 4 + ((K * K + P * d * d) / (R * d) + K * f) / (2 * np.pi)
    return value, 1 / 4 + f / (2 * np.pi) + K / (2 * np.pi * d) * (1 / d**2 + (1 - P) / R + 1)


def _walk(layers, K, T, q1, q2):
    for layer in layers:
        if isinstance(layer, kernels.Dense):
            w, b = layer.W_std**2, layer.b_std**2
            K, q1, q2 = w * K + b, w * q1 + b, w * q2 + b
            T = w * T + K
        elif isinstance(layer, kernels.Residual):
            state = (K, T, q1, q2)
            K, T, q1, q2 = (a + b for a, b in zip(state, _walk(layer.branch, *state), strict=True))
        elif not isinstance(layer, kernels.Flatten):
            K, slope = _dual(layer, q1[:, None], q2, K)
            T = T * slope
            q1, q2 = (_dual(layer, q, q, q)[0] for q in (q1, q2))
    return K, T, q1, q2


class Textbook:
    """A dense network's kernels, usable in place of the network."""

    dtype = "float64"

    def __init__(self, network):
        self.network = network
        self.content_key = f"textbook {network.key}"

    def __call__(self, x1, x2=None):
        x1, x2 = (x.reshape(len(x), -1) for x in (x1, x1 if x2 is None else x2))
        size = x1.shape[1]
        K = x1 @ x2.T / size
        state = K, np.zeros_like(K), np.sum(x1 * x1, axis=1) / size, np.sum(x2 * x2, axis=1) / size
        return kernels.KernelPair(*_walk(self.network.layers, *state)[:2])


class Padded:
    """A convolutional network's kernels, usable in its place, in batches of few sizes since each is compiled."""

    dtype = "float64"

    def __init__(self, network):
        self.kernel = kernels.analytic(network)
        self.content_key = f"padded {network.key}"

    def __call__(self, x1, x2=None):
        padded = (None if x is None else x[np.arange(-(-len(x) // 32) * 32) % len(x)] for x in (x1, x2))
        found = self.kernel(*padded)
        return kernels.KernelPair(*(part[: len(x1), : len(x1 if x2 is None else x2)] for part in found))


class ListedFlow:
    """Gradient flow on listed points [N, ...] with labels [N, k], in the sum loss's clock.

    Coinciding points are found by distance and become one, with weight and mean label.
    """

    def __init__(self, kernel, points, labels, ridge=0.0):
        flat = points.reshape(len(points), -1)
        # Points coincide up to rounding, or differ visibly.
        near = cdist(flat, flat) < 1e-7 * max(1.0, float(np.abs(flat).max()))
        first, inverse, counts = np.unique(near.argmax(axis=1), return_inverse=True, return_counts=True)
        self.kernel, self.points, self.size = kernel, points[first], len(points)
        self.root, self.norm = np.sqrt(counts), float(np.linalg.norm(labels))
        self.labels = np.zeros((len(first), labels.shape[1]))
        np.add.at(self.labels, inverse, labels / counts[inverse][:, None])
        self.labels_listed = self.labels[inverse]
        self.inside = kernel(self.points)
        self.ridge = ridge * float(np.mean(np.diag(self.inside.ntk)[inverse]))
        self.values, self.vectors = eigh(self.inside.ntk * np.outer(self.root, self.root))

    @cached_property
    def largest(self):
        return float(self.values[-1])

    @cached_property
    def _null(self):
        """Modes whose eigenvalue is rounding."""
        return self.values <= 30 * self.size * EPS * self.largest

    @property
    def singular(self):
        return bool(self._null.any())

    def _phi(self, t):
        """phi_t of every mode."""
        values = np.where(self._null, 0.0, self.values) + self.ridge
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = 0.0 if math.isinf(t) else t  # nothing moves along a null mode: no kernel row sees it
            return np.where(values > 0, -np.expm1(-values * t) / values, limit)

    def operators(self, x, times):
        """B_t(x) [T, m, N]."""
        rows = self.kernel(x, self.points).ntk * self.root
        return np.array([(rows @ (self.vectors * self._phi(t))) @ self.vectors.T * self.root for t in times])

    def mean(self, x, times):
        return self.operators(x, times) @ self.labels

    def covariance(self, x, times):
        """Cov[f_t(x), f_s(x')] [T, m, T, m]."""
        rows = self.kernel(x, self.points).nngp
        return flow_covariance(self.operators(x, times), self.inside.nngp, rows, self.kernel(x).nngp)

    def tolerances(self, x, times):
        """What rounding may change in mean and variances at each time: arrays [T], [T].

        A relative error of N eps in the Gram matrix changes phi by the condition number at that time,
        lambda_max phi_t(lambda_min), times as much; |Theta(x, X) phi_t^(1/2)|^2 is at most Theta(x, x), so that the
        mean is at most (Theta(x, x) phi_t)^(1/2) times the labels' norm. Along null modes, where phi_t = t, rows
        are not 0 but rounding.
        """
        own = self.kernel(x)
        phi = np.array([self._phi(t) for t in times])
        slowest, null = (phi[:, part].max(axis=1, initial=0.0) for part in (~self._null, self._null))
        noise, prior = self.size * EPS, max(float(np.diag(k).max()) for k in (own.nngp, self.inside.nngp))
        largest = float(np.diag(own.ntk).max())
        reach = np.sqrt(largest * slowest)
        stray = noise * np.sqrt(largest * self.largest) * null
        rounding = noise * (1 + (self.largest + self.ridge) * slowest)
        of_operators = rounding * (1 + reach) + stray
        return (rounding * reach + stray) * self.norm, of_operators * (1 + reach) * prior
