"""Which samples lie in one another's orbit under a compact group, and what leaves them fixed."""

from dataclasses import dataclass

import numpy as np

from haarflow.groups.alignment import align
from haarflow.groups.continuous import Harmonic
from haarflow.groups.haar import HaarAction

__all__ = ["HaarCoincidences", "haar_coincidences"]


@dataclass(frozen=True, eq=False)
class HaarCoincidences:
    """The orbits' structure.

    Attributes
    ----------
    action : HaarAction
        The group on vectors.
    x : array [n, ..., d]
        Samples.
    representative : int array [n]
        The first sample in whose orbit x_i lies.
    transporter : array [n, d, d]
        An element u with x_i = u x_representative; the identity for representatives.
    tolerance : float
        Points nearer than this coincide.
    """

    action: HaarAction
    x: np.ndarray
    representative: np.ndarray
    transporter: np.ndarray
    tolerance: float

    @property
    def trivial(self) -> bool:
        """Whether no two samples share an orbit and none is fixed by more than the identity."""
        alone = np.array_equal(self.representative, np.arange(len(self.x)))
        return alone and all(len(self.action.stabiliser(x, 1, self.tolerance)) == 1 for x in self.x)

    def projector(self, i: int, irrep: Harmonic) -> np.ndarray:
        """Return the mean of an irrep over the stabiliser of sample i: [d, d], a projection."""
        elements = self.action.stabiliser(self.x[i], irrep.degree, self.tolerance)
        if len(elements) == 0:  # the whole group: only the trivial irrep has a mean
            return np.full((irrep.dim, irrep.dim), float(irrep.degree == 0 and not irrep.odd))
        return irrep.at(elements).mean(axis=0)

    def carry(self, j: int, irrep: Harmonic) -> np.ndarray:
        """Return the irrep at the transporter of sample j: [d, d]."""
        return irrep.at(self.transporter[j])


def haar_coincidences(action: HaarAction, x: np.ndarray) -> HaarCoincidences:
    """Find samples in one another's orbit by aligning every pair.

    Parameters
    ----------
    action : HaarAction
        The group on vectors.
    x : array [n, ..., d]
        Base samples.

    Returns
    -------
    HaarCoincidences

    Notes
    -----
    Cost: n^2 / 2 alignments for each component of the group, a row at a time.
    """
    n, d = len(x), action.group.dim
    scale = float(np.sqrt(np.square(x.reshape(n, -1)).sum(axis=1).max()))
    tolerance = 64 * float(np.finfo(float).eps) * scale
    representative = np.arange(n)
    transporter = np.broadcast_to(np.eye(d), (n, d, d)).copy()
    for i in range(1, n):
        for component in action.group.components:
            found = align(x[i : i + 1], x[:i] @ component.T)
            near = np.flatnonzero((np.sqrt(found.gap[0]) <= tolerance) & (representative[:i] == np.arange(i)))
            if len(near) and representative[i] == i:
                j = int(near[0])
                representative[i] = j
                transporter[i] = found.left[0, j] @ found.right[0, j].T @ component
    return HaarCoincidences(action, x, representative, transporter, tolerance)
