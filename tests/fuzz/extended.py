"""Extended precision in NumPy: eigenvectors to the last bits of an 80-bit float, and filters by their definitions."""

from itertools import pairwise

import numpy as np

from haarflow import solvers

LONG = np.longdouble
EPS = float(np.finfo(LONG).eps)
# On some machines an extended float is none.
EXTENDED = EPS < 1e-18

# Eigenvalues nearer than this, relative to the largest, are told apart inside the space that they span.
_NEAR = 1e-8
# Steps of momentum that are taken one by one; more are doubled.
_LITERAL = 40


def eigh(matrix):
    """Eigenvalues, ascending, and orthonormal eigenvectors of a symmetric matrix of extended floats.

    Those of float64, turned to first order twice. Near ones are turned by the eigenvectors of what they differ by,
    which is small, so that float64 knows it to as many digits as are missing.
    """
    scale = np.abs(matrix).max(initial=0) or LONG(1)
    matrix = matrix / scale
    vectors = np.linalg.eigh(matrix.astype(float))[1].astype(LONG)
    for _ in range(2):
        vectors = _orthonormal(vectors)
        inside = vectors.T @ matrix @ vectors
        values = np.diagonal(inside)
        order = np.argsort(values)
        vectors, values, inside = vectors[:, order], values[order], inside[np.ix_(order, order)]
        far = np.diff(values) > _NEAR
        edges = np.concatenate([[0], np.flatnonzero(far) + 1, [len(values)]])
        cluster = np.cumsum(np.concatenate([[0], far]))
        apart = cluster[:, None] != cluster
        gaps = np.where(apart, values - values[:, None], 1)
        vectors = _orthonormal(vectors + vectors @ np.where(apart, inside / gaps, 0))
        for start, stop in pairwise(edges):
            if stop - start > 1:
                some = slice(start, stop)
                left = vectors[:, some].T @ matrix @ vectors[:, some]
                left = left - np.eye(stop - start) * values[start]
                size = np.abs(left).max() or LONG(1)
                vectors[:, some] = vectors[:, some] @ np.linalg.eigh((left / size).astype(float))[1]
    vectors = _orthonormal(vectors)
    values = np.einsum("ia,ij,ja->a", vectors, matrix, vectors, optimize=["einsum_path", (0, 1), (0, 1)])
    order = np.argsort(values)
    return values[order] * scale, vectors[:, order]


def _orthonormal(vectors):
    """Two steps of Newton towards the nearest orthonormal columns."""
    for _ in range(2):
        vectors = vectors + vectors @ (np.eye(len(vectors)) - vectors.T @ vectors) / 2
    return vectors


# --- filters ---------------------------------------------------------------------------------------------------


def phi(dynamics, values, times, rate):
    """phi_t of each dynamics [T, m] for eigenvalues >= 0, of which those that are 0 follow their limit."""
    values, rate = np.asarray(values, LONG), LONG(rate)
    return np.stack([_ONE[type(dynamics)](dynamics, values, t, rate) for t in times])


def _inverse(values):
    with np.errstate(divide="ignore"):
        return np.where(values > 0, 1 / np.where(values > 0, values, 1), np.inf)


def _flow(_, values, t, rate):
    if np.isinf(t):
        return _inverse(values)
    x = values * (rate * LONG(t))
    return np.where(x > 1e-25, -np.expm1(-x) / np.where(x > 1e-25, values, 1), rate * LONG(t))


def _descent(_, values, t, rate):
    """1 + q + q^2 + .., doubled: no term cancels another."""
    if np.isinf(t):
        return _inverse(values)
    q = 1 - rate * values
    total, power = np.zeros_like(q), np.ones_like(q)
    for bit in f"{int(t):b}":
        total, power = total * (1 + power), power * power
        if bit == "1":
            total, power = 1 + q * total, power * q
    return rate * total


def _momentum(ball, values, t, rate):
    if np.isinf(t):
        return _inverse(values)
    b, x, t = LONG(ball.momentum), rate * values, int(t)
    before, now = np.zeros_like(x), np.zeros_like(x)
    if t <= _LITERAL:
        for step in range(t):
            before, now = now, now + 1 - x * now + (b * (now - before) if step else 0)
        return rate * now
    # phi, its last step, and 1.
    advance = np.zeros((len(x), 3, 3), LONG)
    advance[:, :2] = np.stack([-x, np.full_like(x, b), np.ones_like(x)], axis=1)[:, None]
    advance[:, 0, 0] += 1
    advance[:, 2, 2] = 1
    state = np.zeros((len(x), 3, 1), LONG)
    state[:, 2] = 1
    while t:
        if t & 1:
            state = advance @ state
        advance, t = advance @ advance, t >> 1
    return rate * state[:, 0, 0]


class Tikhonov:
    """A user's own filter: ridge regression whose penalty is 1 / (rate t)."""

    def __call__(self, eigenvalues, times, rate):
        return _tikhonov(self, np.asarray(eigenvalues, float), np.asarray(times, float)[:, None], rate)


class Swinging:
    """A user's own filter that changes its sign: sin(lambda rate t) / lambda."""

    def __call__(self, eigenvalues, times, rate):
        values, t = np.asarray(eigenvalues, float), rate * np.asarray(times, float)[:, None]
        return t * np.sinc(values * t / np.pi)


def _tikhonov(_, values, t, rate):
    with np.errstate(divide="ignore"):
        return 1 / (values + 1 / (rate * t))


def _swinging(_, values, t, rate):
    x = values * (rate * LONG(t))
    return np.where(x > 1e-25, np.sin(x) / np.where(x > 1e-25, values, 1), rate * LONG(t))


_ONE = {
    solvers.GradientFlow: _flow,
    solvers.GradientDescent: _descent,
    solvers.HeavyBall: _momentum,
    Tikhonov: _tikhonov,
    Swinging: _swinging,
}
