"""Which augmented samples coincide, found without listing the augmented set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from haarflow.groups.actions import Action
from haarflow.groups.finite import FiniteGroup, spread
from haarflow.groups.representations import Representation

__all__ = ["Coincidences", "coincidences"]

_PROJECTIONS = 4
# Numbers of x that are converted to float64 at a time.
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Coincidences:
    """The orbits' structure.

    Attributes
    ----------
    representative : int array [n]
        The first sample in whose orbit x_i lies.
    transporter : int array [n]
        An element u with x_i = rho(u) x_representative; the identity for representatives.
    stabilisers : tuple of int array
        For each sample the elements that leave it fixed, ascending: always a subgroup.
    distinct_points : int
        Number of different points in the augmented set.
    """

    representative: np.ndarray
    transporter: np.ndarray
    stabilisers: tuple[np.ndarray, ...]
    distinct_points: int

    @property
    def trivial(self) -> bool:
        """Whether all augmented samples differ."""
        alone = np.array_equal(self.representative, np.arange(len(self.representative)))
        return alone and all(len(stabiliser) == 1 for stabiliser in self.stabilisers)

    def projector(self, i: int, irrep: Representation) -> np.ndarray:
        """Return the mean of an irrep over the stabiliser of sample i: [d, d], a projection."""
        return np.asarray(irrep.matrices[self.stabilisers[i]].mean(axis=0))

    def carry(self, j: int, irrep: Representation) -> np.ndarray:
        """Return the irrep at the transporter of sample j: [d, d]."""
        return np.asarray(irrep.matrices[self.transporter[j]])


def coincidences(action: Action, x: Any, tolerance: float | None = None) -> Coincidences:
    """Find coinciding points rho(g) x_i of the augmented set.

    Parameters
    ----------
    action : Action
        An exact action: linear and orthogonal, as `check_action` reports.
    x : array [n, ...]
        Base samples.
    tolerance : float, optional
        Points nearer than this coincide; default 64 eps times the largest norm of a sample, eps that of x.

    Returns
    -------
    Coincidences

    Raises
    ------
    ValueError
        For an action that interpolates, no samples, NaN or inf, or a shape that the action does not fit.
    TypeError
        For samples that are not real numbers.

    Notes
    -----
    Each augmented point is known by 4 random projections only, <rho(g) x, v> = <x, rho(g^-1) v>; points
    that agree in all of them are compared in full.
    Cost: 8 n |G| D flops for samples of D numbers, |G| transforms, and sorting n |G| numbers 4 times;
    memory 80 n |G| bytes.
    """
    x = np.asarray(x)
    if not action.exact:
        raise ValueError(f"coincidences needs an exact action, found {action.name}, which interpolates")
    if x.dtype.kind not in "biuf":
        raise TypeError(f"x must hold real numbers, found dtype {x.dtype}")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must hold at least one sample, found shape {x.shape}")
    action.check_shape(x.shape[1:])
    group = action.group
    projections, scale = _projections(action, x)
    # Dot products of D terms round by about sqrt(D) eps: the full comparison decides.
    rounding = 8 * np.finfo(float).eps * scale * np.sqrt(x[0].size)
    if tolerance is None:
        eps = float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else float(np.finfo(float).eps)
        tolerance = 64 * eps * scale
    labels = _clusters(projections.reshape(-1, _PROJECTIONS), tolerance + rounding)
    if labels.max() + 1 == len(labels):
        return _all_distinct(group, len(x))
    return _resolve(action, x, labels.reshape(len(x), group.order), tolerance)


def _projections(action: Action, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return <rho(g) x_i, v_r> as [n, |G|, r] and the largest norm of a sample."""
    n, size, order = len(x), x[0].size, action.group.order
    v = np.random.default_rng(0).standard_normal((_PROJECTIONS, *x.shape[1:]))
    v /= np.linalg.norm(v.reshape(_PROJECTIONS, -1), axis=1).reshape(-1, *[1] * (x.ndim - 1))
    projections = np.empty((n, order, _PROJECTIONS))
    scale = 0.0
    width = max(1, _CHUNK // (size * _PROJECTIONS))
    height = max(1, _CHUNK // size)
    for first in range(0, order, width):
        elements = range(first, min(first + width, order))
        moved = np.stack([action(int(action.group.inverse[g]), v).reshape(_PROJECTIONS, size) for g in elements])
        for start in range(0, n, height):
            flat = x[start : start + height].reshape(-1, size).astype(np.float64, copy=False)
            if first == 0:
                scale = max(scale, _largest_norm(flat, start))
            dots = flat @ moved.reshape(-1, size).T
            projections[start : start + height, first : first + width] = dots.reshape(len(flat), -1, _PROJECTIONS)
    return projections, scale


def _largest_norm(flat: np.ndarray, start: int) -> float:
    norms = np.linalg.norm(flat, axis=1)
    if not np.isfinite(norms).all():
        raise ValueError(f"x must be finite: sample {start + int(np.argmin(np.isfinite(norms)))} is not")
    return float(norms.max())


def _clusters(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Label points so that near ones share a label: split by gaps in one projection after the other."""
    labels = np.zeros(len(points), np.int64)
    for values in points.T:
        order = np.lexsort((values, labels))
        split = (np.diff(values[order]) > tolerance) | (np.diff(labels[order]) > 0)
        labels[order[0]] = 0
        labels[order[1:]] = np.cumsum(split)
    return labels


def _all_distinct(group: FiniteGroup, n: int) -> Coincidences:
    alone = tuple(np.array([group.identity]) for _ in range(n))
    return Coincidences(np.arange(n), np.full(n, group.identity), alone, n * group.order)


def _resolve(action: Action, x: np.ndarray, labels: np.ndarray, tolerance: float) -> Coincidences:
    """Compare in full what shares a label [n, |G|], samples in order, so that structure is exact."""
    group, n = action.group, len(x)
    own = labels[:, group.identity]
    wanted, place = np.unique(own, return_inverse=True)
    # For every sample's own label, the (sample, element) pairs that carry it, ascending.
    carriers = np.flatnonzero(np.isin(labels, wanted))
    where = np.searchsorted(wanted, labels.ravel()[carriers])
    carriers = carriers[np.argsort(where, kind="stable")]
    counts = np.bincount(where, minlength=len(wanted))
    ends = np.cumsum(counts)
    representative, transporter = np.arange(n), np.full(n, group.identity)
    stabilisers: list[np.ndarray] = []
    distinct = 0

    def near(j: int, i: int, g: int) -> bool:
        gap = action(g, x[j : j + 1].astype(np.float64, copy=False))[0] - x[i]
        return float(np.linalg.norm(gap)) <= tolerance

    def earlier(i: int, sharing: np.ndarray) -> tuple[int, int] | None:
        """The first representative j < i in whose orbit x_i lies, and an element that takes it there."""
        position = 0
        while (j := int(sharing[position]) // group.order) < i:
            end = int(np.searchsorted(sharing, (j + 1) * group.order))
            if representative[j] == j:
                for g in sharing[position:end] % group.order:
                    if near(j, i, int(g)):
                        return j, int(g)
            position = end
        return None

    for i in range(n):
        sharing = carriers[ends[place[i]] - counts[place[i]] : ends[place[i]]]
        found = earlier(i, sharing)
        if found is None:
            first, last = np.searchsorted(sharing, (i * group.order, (i + 1) * group.order))
            candidates = sharing[first:last] % group.order
            stabilisers.append(_subgroup(group, candidates, partial(near, i, i)))
            distinct += group.order // len(stabilisers[i])
        else:
            j, u = representative[i], transporter[i] = found
            # u S u^-1 rather than a second measurement: the two cannot contradict each other.
            conjugates = group.table[group.table[u, stabilisers[j]], group.inverse[u]]
            stabilisers.append(np.sort(conjugates).astype(np.int64))
    return Coincidences(representative, transporter, tuple(stabilisers), distinct)


def _subgroup(group: FiniteGroup, candidates: np.ndarray, fixes: Callable[[int], bool]) -> np.ndarray:
    """Return the subgroup generated by the candidates that fix a sample."""
    inside = np.zeros(group.order, bool)
    inside[group.identity] = True
    generators: list[int] = []
    for g in candidates:
        # Each element outside at least doubles the subgroup, so few are compared.
        if not inside[g] and fixes(int(g)):
            generators.append(int(g))
            spread(group.table, inside, generators)
    return np.flatnonzero(inside)
