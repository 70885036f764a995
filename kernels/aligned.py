"""Haar averages of inner-product kernels, the nodes aligned for each pair of samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from haarflow.groups import HaarAction, Harmonic
from haarflow.groups.alignment import AlignedRule, Alignment, align, aligned_rule
from haarflow.kernels.analytic import AnalyticKernel

__all__ = ["BlockTiles", "aligned_tiles", "evaluations"]

# Numbers of one array over pairs and nodes.
_NUMBERS = 2**19


@dataclass(frozen=True)
class BlockTiles:
    """Sums over a finite group, or means over a compact one, for every pair of two batches.

    Attributes
    ----------
    ntk, nngp : list of array [i, d, j, d]
        Of Theta(x_i, g x_j) sigma(g) for each irrep, and of K.
    absolute : array [i, j]
        Of |Theta(x_i, g x_j)|.
    plain : array [i, j] or None
        Theta(x_i, x_j), where it was among what was evaluated.
    """

    ntk: list[np.ndarray]
    nngp: list[np.ndarray]
    absolute: np.ndarray
    plain: np.ndarray | None = None


def evaluations(action: HaarAction) -> int:
    """Return how many kernel entries one pair of samples takes."""
    rule = aligned_rule(action.group.dim, action.group.resolution)
    return len(rule.weights) * len(action.group.components)


def aligned_tiles(
    kernel: AnalyticKernel, action: HaarAction, a: np.ndarray, b: np.ndarray, irreps: Sequence[Harmonic]
) -> BlockTiles:
    """Average both kernels times each irrep over a compact group.

    Parameters
    ----------
    kernel : AnalyticKernel
        Of inner products.
    action : HaarAction
        The group on vectors.
    a, b : array [i, ..., d], [j, ..., d]
        Samples.
    irreps : sequence of Harmonic
        Which averages are asked for.

    Returns
    -------
    BlockTiles

    Notes
    -----
    <x, U Q V^T x'> depends on the diagonal of Q only, so that one table of nodes serves all pairs, and
    sigma(U Q V^T) = sigma(U) sigma(Q) sigma(V)^T. Cost: `evaluations` kernel entries for each pair.
    Source: docs/law.md, compact groups.
    """
    rule = aligned_rule(action.group.dim, action.group.resolution)
    folded = [irrep.at(rule.rotations).mean(axis=1) * rule.weights[:, None, None] for irrep in irreps]
    shape = (len(a), len(b))
    sums = [[np.zeros((*shape, irrep.dim, irrep.dim)) for irrep in irreps] for _ in range(2)]
    absolute = np.zeros(shape)
    share = 1 / len(action.group.components)
    # Directions are aligned, so that samples of unequal size lose nothing of their angle.
    u, v = _directions(a), _directions(b)
    for component in action.group.components:
        found = align(u, v @ component.T)
        pair_values = _averages(kernel, found, rule, a, b, folded)
        absolute += share * pair_values[2]
        for k, irrep in enumerate(irreps):
            left, right = irrep.at(found.left), irrep.at(found.right)
            closing = np.swapaxes(right, -1, -2) @ irrep.at(component)
            for family, values in zip(sums, pair_values[:2], strict=True):
                family[k] += share * (left @ values[k] @ closing)
    tiles = [[total.transpose(0, 2, 1, 3).astype(kernel.dtype) for total in family] for family in sums]
    return BlockTiles(tiles[0], tiles[1], absolute)


def _directions(x: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.square(x.reshape(len(x), -1)).sum(axis=1))
    return x / np.where(norms > 0, norms, 1).reshape(-1, *(1,) * (x.ndim - 1))


def _averages(
    kernel: AnalyticKernel,
    found: Alignment,
    rule: AlignedRule,
    a: np.ndarray,
    b: np.ndarray,
    folded: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return sum_Q w kernel sigma(Q) [i, j, d, d] of Theta and of K, and sum_Q w |Theta| [i, j]."""
    numbers = a[0].size
    q1, q2 = (np.square(x.reshape(len(x), -1)).sum(axis=1) / numbers for x in (a, b))
    pairs = len(a) * len(b)
    sizes = (np.sqrt(q1)[:, None] * np.sqrt(q2)).reshape(pairs, 1)
    stretch, gap = 2 * found.stretch.reshape(pairs, -1), found.gap.reshape(pairs, 1)
    first, second = (np.broadcast_to(q, (len(a), len(b))).ravel() for q in (q1[:, None], q2[None, :]))
    out = [[np.empty((pairs, *sigma.shape[1:])) for sigma in folded] for _ in range(2)]
    absolute = np.empty(pairs)
    # A power of two, to which the kernel would fill up anyway.
    step = 1 << max(0, (_NUMBERS // len(rule.weights)).bit_length() - 1)
    for start in range(0, pairs, step):
        some = slice(start, start + step)
        # The third singular value may be negative: rounding must not take a distance below 0.
        near, far = (sizes[some] * np.maximum(gap[some] + stretch[some] @ part.T, 0) for part in (rule.near, rule.far))
        pair = kernel.of_angles(near, far, first[some], second[some])
        absolute[some] = np.abs(pair.ntk) @ rule.weights
        for family, values in zip(out, (pair.ntk, pair.nngp), strict=True):
            for total, sigma in zip(family, folded, strict=True):
                total[some] = (values @ sigma.reshape(len(sigma), -1)).reshape(-1, *sigma.shape[1:])
    shape = (len(a), len(b))
    ntk, nngp = ([total.reshape(*shape, *total.shape[1:]) for total in family] for family in out)
    return ntk, nngp, absolute.reshape(shape)
