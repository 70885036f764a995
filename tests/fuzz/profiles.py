"""Kernels in plain NumPy, at any precision: a user's own, invariant under an action, with nothing to compile.

What they are made of is known to a few roundings at every pair of points, near ones too: distances come from
differences, angles from both distances.
"""

from dataclasses import dataclass

import numpy as np

from haarflow import kernels

__all__ = ["PROFILES", "Mixed"]


@dataclass
class Pair:
    """What profiles are functions of, between points [n1, D] and [n2, D]."""

    x1: np.ndarray
    x2: np.ndarray

    @property
    def product(self):
        return self.x1 @ self.x2.T

    @property
    def square(self):
        """The distance's."""
        gaps = self.x1[:, None] - self.x2[None]
        return np.einsum("ijd,ijd->ij", gaps, gaps)

    @property
    def sizes(self):
        return np.sqrt((self.x1**2).sum(axis=1))[:, None], np.sqrt((self.x2**2).sum(axis=1))[None]

    @property
    def angle(self):
        """Kahan's, exact at every angle; a right one with points that vanish."""
        a, b = (part.ravel()[:, None] for part in self.sizes)
        u, v = (x / np.where(size > 0, size, 1) for x, size in ((self.x1, a), (self.x2, b)))
        minus, plus = Pair(u, v).square, Pair(u, -v).square
        found = 2 * np.arctan2(np.sqrt(minus), np.sqrt(plus))
        return np.where((a > 0) & (b.T > 0), found, np.arctan2(minus.dtype.type(1), 0))


def _relu(pair, width):
    r, angle = np.multiply(*pair.sizes), pair.angle
    pi = 4 * np.arctan(r.dtype.type(1))
    return r * (np.sin(angle) + (pi - angle) * np.cos(angle)) / pi


def _step(pair, width):
    """Of a network that trains its first layer."""
    pi = 4 * np.arctan(pair.x1.dtype.type(1))
    return pair.product * (pi - pair.angle) / pi


# name -> (function of a pair and a length, whether it scales as the points' sizes do).
PROFILES = {
    "relu": (_relu, True),
    "step": (_step, True),
    "linear": (lambda pair, width: pair.product, True),
    "constant": (lambda pair, width: np.ones((len(pair.x1), len(pair.x2)), pair.x1.dtype), False),
    "cubic": (lambda pair, width: (1 + pair.product / width**2) ** 3, False),
    "laplace": (lambda pair, width: np.exp(-np.sqrt(pair.square) / width), False),
    "gauss": (lambda pair, width: np.exp(-pair.square / (2 * width**2)), False),
    "rational": (lambda pair, width: 1 / (1 + pair.square / width**2), False),
}


class Mixed:
    """Two mixtures of profiles of `metric` x, as kernels; `metric` [D, D] commutes with the action.

    NNGP and NTK are unlike each other: {name: weight} each.
    """

    def __init__(self, nngp, ntk, metric, width, dtype="float64"):
        self.parts, self.metric, self.width, self.dtype = (nngp, ntk), metric, width, dtype
        self.content_key = f"mixed {nngp} {ntk} {width!r} {metric.tolist()}"

    def __call__(self, x1, x2=None):
        x1 = np.asarray(x1, float)
        pair = self.exactly(x1, x1 if x2 is None else np.asarray(x2, float))
        return kernels.KernelPair(*(part.astype(self.dtype) for part in pair))

    def exactly(self, x1, x2):
        """Both kernels in the precision of the points."""
        metric = self.metric.astype(x1.dtype)
        pair = Pair(*(x.reshape(len(x), -1) @ metric.T for x in (x1, x2)))
        width = x1.dtype.type(self.width)
        values = {name: PROFILES[name][0](pair, width) for name in {**self.parts[0], **self.parts[1]}}
        return kernels.KernelPair(*(sum(w * values[name] for name, w in part.items()) for part in self.parts))
