"""Which augmented samples coincide, found without listing the augmented set."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from haarflow.groups.actions import Action

__all__ = ["Coincidences", "coincidences"]

_PROJECTIONS = 4


@dataclass(frozen=True)
class Coincidences:
    """The orbits' structure.

    Attributes
    ----------
    representative : int array [n]
        The first sample in whose orbit x_i lies.
    transporter : int array [n]
        An element u with x_i = rho(u) x_representative; the identity for representatives.
    stabilisers : tuple of int array
        For each sample the elements that leave it fixed, the identity among them.
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


def coincidences(action: Action, x: Any, tolerance: float | None = None) -> Coincidences:
    """Find coinciding points rho(g) x_i of the augmented set.

    Parameters
    ----------
    action : Action
        An exact action.
    x : array [n, ...]
        Base samples.
    tolerance : float, optional
        Points nearer than this coincide; default 64 eps times the largest norm of a sample.

    Returns
    -------
    Coincidences

    Notes
    -----
    Each augmented point is kept as 4 random projections only. Cost: n |G| transforms and sorting as many
    numbers 4 times; memory 80 n |G| bytes.
    """
    x = np.asarray(x, dtype=np.float64)
    n, order = len(x), action.group.order
    flat = x.reshape(n, -1)
    if tolerance is None:
        tolerance = 64 * np.finfo(float).eps * float(np.sqrt((flat**2).sum(axis=1).max()))
    directions = np.random.default_rng(0).standard_normal((flat.shape[1], _PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    projections = np.empty((order, n, _PROJECTIONS))
    for g in range(order):
        projections[g] = action(g, x).reshape(n, -1) @ directions
    labels = _clusters(projections.reshape(order * n, -1), tolerance).reshape(order, n)
    own = labels[action.group.identity]
    first = np.full(labels.max() + 1, order * n)
    np.minimum.at(first, labels, np.arange(n)[None, :])  # the first sample that has this point in its orbit
    representative = first[own]
    transporter = np.empty(n, int)
    stabilisers = []
    for i in range(n):
        hits = np.flatnonzero(labels[:, representative[i]] == own[i])
        transporter[i] = action.group.identity if representative[i] == i else hits[0]
        stabilisers.append(np.flatnonzero(labels[:, i] == own[i]))
    sizes = np.array([order // len(stabilisers[i]) for i in np.unique(representative)])
    return Coincidences(representative, transporter, tuple(stabilisers), int(sizes.sum()))


def _clusters(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Label points so that near ones share a label: split by gaps in one projection after the other."""
    labels = np.zeros(len(points), int)
    for values in points.T:
        order = np.lexsort((values, labels))
        split = (np.diff(values[order]) > tolerance) | (np.diff(labels[order]) > 0)
        labels[order] = np.concatenate([[0], np.cumsum(split)])
    return labels
