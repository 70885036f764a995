"""Rotations that bring one sample nearest to another, and averaging rules centred there."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from haarflow.groups.rotations import euler_products, plane_rotations

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
        Nodes on the half circle for SO(2); L for SO(3), with about 3/16 (L + 4)^3 evaluations.

    Returns
    -------
    AlignedRule

    Notes
    -----
    SO(2): Gauss-Legendre in s on [0, 1] with angle pi s^2 (3 - 2 s), both ways. The angle's cubic clusters the
    nodes at 0 and pi, where a kernel has cusps, or nearly so. SO(3): Euler angles about the first singular
    axis, Gauss-Legendre for the middle one, the outer ones equispaced. Half turns and the transpose leave all
    inner products alone, so that an eighth of the nodes is evaluated.
    """
    if dim == 2:
        angles, weights = _half_circle(resolution)
        rotations = np.stack([plane_rotations(angles), plane_rotations(-angles)], axis=1)
        angles = angles[:, None] / 2
        return AlignedRule(rotations, weights, 2 * np.sin(angles) ** 2, 2 * np.cos(angles) ** 2)
    # No clustering here: in space cusps are cones, and what is smooth converges faster without.
    heights, weights = np.polynomial.legendre.leggauss(3 * resolution // 2 + 1)
    beta, share = np.pi * (heights + 1) / 2, weights * np.sin(np.pi * (heights + 1) / 2)
    # Equispaced angles converge faster than the middle one's rule, which has the more nodes for its range.
    # Half a step off, so that no angle is its own mirror image.
    count = 2 * (resolution // 2) + 4
    around = 2 * np.pi * (np.arange(count) + 0.5) / count
    alpha, gamma, size = _pairs_of_angles(count)
    a, c, b = around[alpha[:, 0]][:, None], around[gamma[:, 0]][:, None], beta
    # Q_22 = cos a cos c cos b - sin a sin c and so on, written as differences from 1 and -1.
    tilt, level = 2 * np.sin(b / 2) ** 2, 2 * np.cos(b / 2) ** 2
    twist, untwist = 2 * np.sin((a + c) / 2) ** 2, 2 * np.cos((a + c) / 2) ** 2
    cosines, sines = np.cos(a) * np.cos(c) * tilt, np.sin(a) * np.sin(c) * tilt
    near = np.stack([np.broadcast_to(tilt, cosines.shape), twist + cosines, twist - sines], axis=-1)
    far = np.stack([np.broadcast_to(level, cosines.shape), untwist - cosines, untwist + sines], axis=-1)
    rotations = euler_products(around[alpha][:, None], beta[:, None], around[gamma][:, None])
    spread = np.outer(size, share) / (size.sum() * share.sum())
    return AlignedRule(rotations.reshape(-1, 8, 3, 3), spread.ravel(), near.reshape(-1, 3), far.reshape(-1, 3))


def _pairs_of_angles(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices [P, 8] of pairs of equispaced angles that share their inner products, and how many differ."""
    i, j = np.indices((count, count)).reshape(2, -1)
    images = [(i, j), (j, i)]  # Q and its transpose have one diagonal
    images += [(count - 1 - a, count - 1 - b) for a, b in images]  # Q and its conjugates by half turns too
    images += [((a + count // 2) % count, (b + count // 2) % count) for a, b in images]
    codes = np.stack([a * count + b for a, b in images], axis=1)
    first = codes.min(axis=1) == codes[:, 0]
    size = 8 // np.sum(codes[first] == codes[first][:, :1], axis=1)
    alpha, gamma = np.divmod(codes[first], count)
    return alpha, gamma, size


def _half_circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return angles in [0, pi] and weights that sum to 1, for a single node too."""
    s, weights = np.polynomial.legendre.leggauss(count)
    s = (s + 1) / 2
    weights = weights * s * (1 - s)
    return np.pi * s * s * (3 - 2 * s), weights / weights.sum()
