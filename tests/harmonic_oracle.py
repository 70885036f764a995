"""Means under SO(2), O(2), SO(3) and O(3) from textbook kernels of one hidden layer, integrated in 30 digits."""

from functools import lru_cache

import mpmath
import numpy as np

from haarflow.groups.rotations import plane_rotations

DIGITS = 30
DEGREES = 8


@lru_cache
def _nodes():
    """Double-exponential nodes on [0, pi] as (angle, weight): all digits for kernels that bend at the ends only."""
    step, found = mpmath.mpf(1) / 20, []
    for k in range(-76, 77):
        u = mpmath.pi / 2 * mpmath.sinh(k * step)
        weight = mpmath.pi**2 / 4 * step * mpmath.cosh(k * step) / mpmath.cosh(u) ** 2
        found.append((mpmath.pi / (1 + mpmath.exp(-2 * u)), weight))
    return found


def _theta(act, weight, bias, q1, q2, K):
    """Theta of Dense(weight, bias), act, Dense(weight, bias) from the first layer's variances and covariance."""
    if act == "relu":
        r = mpmath.sqrt(q1 * q2)
        angle = mpmath.acos(max(min(K / r, mpmath.mpf(1)), mpmath.mpf(-1)))
        value = r * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) / (2 * mpmath.pi)
        slope = (mpmath.pi - angle) / (2 * mpmath.pi)
    else:
        P = (1 + 2 * q1) * (1 + 2 * q2)
        value = 2 / mpmath.pi * mpmath.asin(2 * K / mpmath.sqrt(P))
        slope = 4 / mpmath.pi / mpmath.sqrt(P - 4 * K * K)
    return weight**2 * (value + slope * K) + bias**2


@lru_cache(maxsize=4096)
def _coefficients(act, weight, bias, size, p1, p2, rho, space):
    """Integrals of Theta at <x, x'> = rho cos(angle) with cos(l angle) or P_l, degrees 0 .. 7; rho None: |x| |x'|."""
    with mpmath.workdps(DIGITS):
        w, b = mpmath.mpf(weight), mpmath.mpf(bias)
        q1, q2 = (w**2 * mpmath.mpf(p) / size + b**2 for p in (p1, p2))
        longest = mpmath.sqrt(mpmath.mpf(p1) * mpmath.mpf(p2)) if rho is None else mpmath.mpf(rho)
        totals = [mpmath.mpf(0)] * DEGREES
        for angle, share in _nodes():
            c = mpmath.cos(angle)
            value = share * _theta(act, w, b, q1, q2, w**2 * longest * c / size + b**2)
            before, now = (c, mpmath.mpf(1)) if not space else (mpmath.mpf(0), mpmath.mpf(1))
            if space:
                value *= mpmath.sin(angle) * mpmath.pi / 2
            for degree in range(DEGREES):
                totals[degree] += value * now / mpmath.pi
                after = (2 * degree + 1) * c * now - degree * before
                before, now = now, after / (degree + 1) if space else 2 * c * now - before
        return totals


def _parts(act, weight, bias, group, irrep, x, other):
    """Blocks of Theta in the irrep between two batches of vectors [n, v, d]: object array [n, m, dim, dim]."""
    size = x[0].size
    out = np.empty((len(x), len(other), irrep.dim, irrep.dim), object)
    for i, j in np.ndindex(len(x), len(other)):
        p1, p2 = float(np.sum(x[i] ** 2)), float(np.sum(other[j] ** 2))
        if group.dim == 2:
            images = [(other[j], np.eye(2))]
            if len(group.components) == 2:
                images.append((other[j] * [1, -1], np.diag([1.0, -1.0])))
            total = 0
            for moved, element in images:
                z = (x[i, :, 0] - 1j * x[i, :, 1]) * (moved[:, 0] + 1j * moved[:, 1])
                longest = None if len(z) == 1 else float(abs(z.sum()))
                c = _coefficients(act, weight, bias, size, p1, p2, longest, False)[irrep.degree]
                turn = irrep.at(plane_rotations(np.array(-np.angle(z.sum())))) @ irrep.at(element)
                total = total + c * turn.astype(object) / len(images)
            out[i, j] = total
        else:  # single vectors: what leaves one alone leaves a vector of the irrep alone
            natural = len(group.components) == 1 or irrep.odd == bool(irrep.degree % 2)
            c = _coefficients(act, weight, bias, size, p1, p2, None, True)[irrep.degree]
            sides = [direction(irrep, vectors[0]) for vectors in (x[i], other[j])]
            out[i, j] = (c if natural else 0 * c) * np.multiply.outer(*sides).astype(object)
    return out


def direction(irrep, vector):
    """The unit vector of the irrep that turns about a vector leave alone, carried from the z axis."""
    z = np.array([0.0, 0.0, 1.0])
    about = np.zeros((2 * irrep.degree + 1, 3, 3))
    about[:, :2, :2] = plane_rotations(2 * np.pi * np.arange(len(about)) / len(about))
    about[:, 2, 2] = 1
    fixed = irrep.at(about).mean(axis=0)
    column = fixed[:, np.argmax(np.diagonal(fixed))]
    towards = vector / np.linalg.norm(vector)
    # Two reflections, of z to minus z and of that to the vector, are a rotation.
    first, second = np.diag([1.0, 1, -1]), np.eye(3)
    mirror = -z - towards
    if np.linalg.norm(mirror) > 1e-9:
        second = np.eye(3) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
    else:
        first = np.eye(3)
    return irrep.at(second @ first) @ column / np.linalg.norm(column)


def harmonic_mean(act, weight, bias, group, irrep, x, y, points, times, rate):
    """Gradient flow's mean [T, m, dim], the block's eigenvalues, exact zeros as such, and n Theta(x, x) at most."""
    with mpmath.workdps(DIGITS):
        blocks = _parts(act, weight, bias, group, irrep, x, x).transpose(0, 2, 1, 3)
        order = len(x) * irrep.dim
        gram = mpmath.matrix(blocks.reshape(order, order).tolist())
        values, vectors = mpmath.eigsy((gram + gram.T) / 2)
        rows = _parts(act, weight, bias, group, irrep, points, x).transpose(0, 2, 1, 3)
        rows = mpmath.matrix(rows.reshape(-1, order).tolist()) * vectors
        labels = vectors.T * mpmath.matrix(y.ravel().tolist())
        # Directions are float64: what their rounding leaves beside large eigenvalues is no eigenvalue.
        cut = max(1e-14 * max(abs(value) for value in values), mpmath.mpf(10) ** -22)
        known = [value if value > cut else mpmath.mpf(0) for value in values]
        means = []
        for t in times:
            mean = mpmath.matrix(rows.rows, 1)
            for k, value in enumerate(known):
                if value > 0:
                    phi = 1 / value if t == np.inf else -mpmath.expm1(-value * t * rate) / value
                    mean += rows[:, k] * (phi * labels[k])
            means.append(np.array([float(m) for m in mean]).reshape(len(points), irrep.dim))
        q = weight**2 * np.square(x.reshape(len(x), -1)).mean(axis=1).max() + bias**2
        largest = float(_theta(act, weight, bias, mpmath.mpf(q), mpmath.mpf(q), mpmath.mpf(q)))
        return np.stack(means), np.array([float(value) for value in known]), len(x) * largest
