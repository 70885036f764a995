"""Rotations that bring one sample nearest to another, and averaging rules centred there."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from haarflow.groups.rotations import euler_grid, plane_rotations

__all__ = ["AlignedRule", "Alignment", "align", "aligned_rule"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How pairs of samples are best aligned: <x, U Q V^T x'> = sum_i s_i Q_ii for every rotation Q.

    Attributes
    ----------
    left, right : array [n, m, d, d]
        U and V, rotations.
    stretch : array [n, m, r]
        s, descending; in the plane only s_1 + s_2, which multiplies the cosine.
    gap : array [n, m]
        |x - U V^T x'|^2, from the difference.
    """

    left: np.ndarray
    right: np.ndarray
    stretch: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True, eq=False)
class AlignedRule:
    """Nodes Q of SO(d), clustered where x and x' meet and where they are farthest apart.

    Attributes
    ----------
    rotations : array [N, images, d, d]
        Images of a node share its inner products.
    weights : array [N]
        Of a node and all its images together; they sum to 1.
    near, far : array [N, r]
        1 - Q_ii and 1 + Q_ii, without cancellation.
    """

    rotations: np.ndarray
    weights: np.ndarray
    near: np.ndarray
    far: np.ndarray


def align(x: np.ndarray, other: np.ndarray) -> Alignment:
    """Align every pair of samples under SO(2) or SO(3).

    Parameters
    ----------
    x, other : array [n, ..., d], [m, ..., d]
        Samples made of vectors; d is 2 or 3.

    Returns
    -------
    Alignment

    Notes
    -----
    From the singular vectors of sum_b x_b x'_b^T. Equivariant: x -> g x turns U to g U.
    Cost: one d x d singular value decomposition for each pair.
    Source: the orthogonal Procrustes problem (Schoenemann 1966).
    """
    d = x.shape[-1]
    a, b = x.reshape(len(x), -1, d), other.reshape(len(other), -1, d)
    products = np.einsum("nbi,mbj->nmij", a, b)
    if d == 2:
        cos = products[..., 0, 0] + products[..., 1, 1]
        sin = products[..., 1, 0] - products[..., 0, 1]
        left = plane_rotations(np.arctan2(sin, cos))
        right = np.broadcast_to(np.eye(2), left.shape)
        stretch = np.hypot(cos, sin)[..., None]
    else:
        left, stretch, transposed = np.linalg.svd(products)
        right = np.swapaxes(transposed, -1, -2).copy()
        stretch = stretch.copy()
        for factor in (left, right):
            improper = np.linalg.det(factor) < 0
            factor[..., 2] *= np.where(improper, -1.0, 1.0)[..., None]
            stretch[..., 2] *= np.where(improper, -1.0, 1.0)
    best = left @ np.swapaxes(right, -1, -2)
    moved = np.einsum("nmij,mbj->nmbi", best, b)
    gap = np.square(a[:, None] - moved).sum(axis=(-1, -2))
    return Alignment(left, right, stretch, gap)


@lru_cache(maxsize=16)
def aligned_rule(dim: int, resolution: int) -> AlignedRule:
    """Return the rule that averages over SO(dim) around an alignment.

    Parameters
    ----------
    dim : int
        2 or 3.
    resolution : int
        Nodes on the half circle for SO(2); L for SO(3), with about (L + 1)^3 evaluations.

    Returns
    -------
    AlignedRule

    Notes
    -----
    SO(2): Gauss-Legendre in s on [0, 1] with angle pi s^2 (3 - 2 s), both ways. The angle's cubic clusters the
    nodes at 0 and pi, where a kernel has cusps, or nearly so. SO(3): Euler angles about the first singular
    axis, Gauss-Legendre for the middle one, the outer ones equispaced between the half turns that leave all
    inner products alone, which halve the evaluations twice.
    """
    if dim == 2:
        angles, weights = _half_circle(resolution)
        rotations = np.stack([plane_rotations(angles), plane_rotations(-angles)], axis=1)
        near, far = 2 * np.sin(angles / 2) ** 2, 2 * np.cos(angles / 2) ** 2
        return AlignedRule(rotations, weights / np.pi, near[:, None], far[:, None])
    # No clustering here: in space cusps are cones, and what is smooth converges faster without.
    heights, weights = np.polynomial.legendre.leggauss(resolution + 1)
    beta = np.pi * (heights + 1) / 2
    quarter = resolution // 2 + 1
    count = 4 * quarter
    # Half a step off, so that no angle is its own mirror image.
    around = 2 * np.pi * (np.arange(count) + 0.5) / count
    alpha = around[:quarter]
    total = (alpha[:, None] + around)[:, None, :] / 2
    tilt = 2 * np.sin(beta / 2)[:, None] ** 2
    twist_near, twist_far = 2 * np.sin(total) ** 2, 2 * np.cos(total) ** 2
    cosines = (np.cos(alpha)[:, None] * np.cos(around))[:, None, :] * tilt
    sines = (np.sin(alpha)[:, None] * np.sin(around))[:, None, :] * tilt
    shape = (quarter, len(beta), count)
    near = np.stack([np.broadcast_to(tilt, shape), twist_near + cosines, twist_near - sines], axis=-1)
    level = np.broadcast_to(2 * np.cos(beta / 2)[:, None] ** 2, shape)
    far = np.stack([level, twist_far - cosines, twist_far + sines], axis=-1)
    images = [
        euler_grid(sign * alpha + shift, beta, sign * around - shift) for sign in (1, -1) for shift in (0.0, np.pi)
    ]
    rotations = np.stack(images, axis=3).reshape(-1, 4, 3, 3)
    share = weights * np.sin(beta)
    spread = np.broadcast_to(share[:, None] / (share.sum() * quarter * count), shape).ravel()
    return AlignedRule(rotations, spread, near.reshape(-1, 3), far.reshape(-1, 3))


def _half_circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    s, weights = np.polynomial.legendre.leggauss(count)
    s, weights = (s + 1) / 2, weights / 2
    return np.pi * s * s * (3 - 2 * s), weights * np.pi * 6 * s * (1 - s)
