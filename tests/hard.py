"""The catalogue of hard Gram matrices, with known spectrum, that every solver is tested on.

HARD is small and holds its eigenvectors; LARGE makes a matrix of any order from fast orthogonal maps, so that what a
filter does with it is known in closed form at every order, without an eigensolver.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.fft


class Hard(NamedTuple):
    """A symmetric positive semidefinite matrix V diag(values) V^T."""

    values: np.ndarray
    vectors: np.ndarray

    @property
    def gram(self):
        gram = (self.vectors * self.values) @ self.vectors.T
        return (gram + gram.T) / 2


def _make(values, seed=0):
    values = np.asarray(values, float)
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return Hard(np.sort(values), vectors)


HARD = {
    "well conditioned": _make(np.linspace(1, 3, 12)),
    "geometric": _make(10.0 ** -np.arange(0, 6, 0.5)),
    "clustered": _make([1e-3] * 4 + [1.0] * 4 + [1e3] * 4),
    "one dominant": _make([1e4] + [1.0] * 11),
    "identity": _make(np.ones(8)),
    "one sample": _make([2.5]),
    "huge": _make(1e150 * np.linspace(1, 3, 6)),
    "tiny": _make(1e-150 * np.linspace(1, 3, 6)),
    "rank one": _make([3.0] + [0.0] * 7),
    "half singular": _make([1.0, 2.0, 3.0] + [0.0] * 3),
    "zero": Hard(np.zeros(5), np.eye(5)),
}
REGULAR = [name for name, hard in HARD.items() if hard.values[0] > 0]
# What float32 can represent, and does not lose below its rounding.
FLOAT32 = ["well conditioned", "one dominant", "identity", "one sample", "rank one", "half singular", "zero"]


class Large(NamedTuple):
    """A symmetric positive semidefinite matrix V diag(values) V^T of any order; V is `turn`, and V^T `back`."""

    values: np.ndarray
    turn: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    aligned: int = 0

    @property
    def gram(self):
        gram = self.turn(self.values[:, None] * self.back(np.eye(len(self.values))))
        return (gram + gram.T) / 2

    def labels(self, k, seed=3):
        """Gaussian; aligned to the smallest modes, up to a thousandth, where the case is about that."""
        rng, n = np.random.default_rng(seed), len(self.values)
        drawn = rng.standard_normal((n, k))
        if not self.aligned:
            return drawn
        inside = 1e-3 / np.sqrt(n) * drawn
        smallest = np.argsort(self.values)[: self.aligned]
        inside[smallest] += rng.standard_normal((len(smallest), k))
        return self.turn(inside)

    def solution(self, filter, times, rate, labels, ridge=0.0, size=None):
        """phi_t(Theta + ridge) labels, [T, n, k], by the rule of Spectrum on the values known exactly."""
        scale, eps = float(self.values.max()), np.finfo(float).eps
        values = self.values + ridge
        unresolved = values <= (size or len(values)) * eps * scale
        travelled = filter(np.zeros(1), times, rate)[:, 0]
        late = np.isinf(travelled) | (eps * scale * travelled > 1e-6)
        phi = filter(np.where(unresolved, 0.0, values), times, rate)
        phi = np.where(late[:, None] & unresolved, 0.0, phi)
        inside = self.back(labels)
        return np.stack([self.turn(row[:, None] * inside) for row in phi])


def _maps(n, seed):
    """A random orthogonal map and its transpose: signs, cosine transforms, permutations; n log n operations."""
    rng = np.random.default_rng(seed)
    signs = [rng.choice([-1.0, 1.0], n)[:, None] for _ in range(3)]
    orders = [rng.permutation(n) for _ in range(2)]
    places = [np.argsort(order) for order in orders]

    def turn(x):
        for sign, order in zip(signs, orders, strict=False):
            x = scipy.fft.dct(sign * x, axis=0, norm="ortho")[order]
        return scipy.fft.dct(signs[2] * x, axis=0, norm="ortho")

    def back(y):
        y = signs[2] * scipy.fft.idct(y, axis=0, norm="ortho")
        for sign, place in zip(signs[1::-1], places[::-1], strict=True):
            y = sign * scipy.fft.idct(y[place], axis=0, norm="ortho")
        return y

    return turn, back


def _twice(turn, back):
    """Eigenvectors of a matrix whose rows 2i and 2i + 1 are equal: the first half of the values is its range's."""

    def paired(x):
        both = turn(x[: len(x) // 2]), turn(x[len(x) // 2 :])
        out = np.empty_like(x)
        out[::2], out[1::2] = (both[0] + both[1]) / 2**0.5, (both[0] - both[1]) / 2**0.5
        return out

    def parted(y):
        return np.concatenate([back((y[::2] + y[1::2]) / 2**0.5), back((y[::2] - y[1::2]) / 2**0.5)])

    return paired, parted


def _clusters(n, levels, spread):
    parts = np.array_split(np.arange(n), len(levels))
    return np.concatenate([v * (1 + spread * np.linspace(0, 1, len(p))) for v, p in zip(levels, parts, strict=True)])


def _powers(n, power):
    return np.arange(1.0, n + 1) ** -power


LARGE = {
    "well conditioned": lambda n: np.linspace(1, 3, n),
    "geometric to 1e-12": lambda n: np.geomspace(1, 1e-12, n),
    "k^-1.5": lambda n: _powers(n, 1.5),
    "k^-3": lambda n: _powers(n, 3),
    "three clusters": lambda n: _clusters(n, [1e3, 1.0, 1e-3], 1e-3),
    "one dominant": lambda n: np.concatenate([[1e6], np.linspace(0.5, 1.5, n - 1)]),
    "half singular": lambda n: np.concatenate([np.linspace(1, 2, n - n // 2), np.zeros(n // 2)]),
    "rank ten": lambda n: np.concatenate([np.geomspace(1, 1e-3, 10), np.zeros(n - 10)]),
    "two far clusters": lambda n: _clusters(n, [1e4, 1.0], 1.0),
    "identity": lambda n: np.ones(n),
    "NTK-like": lambda n: _powers(n, 1.5) + 1e-4 / n,
    "smallest modes": lambda n: np.geomspace(1, 1e-6, n),
    "steps": lambda n: _clusters(n, [1.0, 1e-2, 1e-4, 1e-6, 1e-8], 0.1),
    "duplicated rows": lambda n: np.concatenate([2 * _powers(n // 2, 0.5), np.zeros(n // 2)]),
}


def large(name, n, seed=1):
    """The case of that name at order n, n even."""
    values = LARGE[name](n)
    if name == "duplicated rows":
        return Large(values, *_twice(*_maps(n // 2, seed)))
    return Large(values, *_maps(n, seed), aligned=20 if name == "smallest modes" else 0)
