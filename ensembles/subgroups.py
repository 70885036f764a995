"""How far an ensemble trained with a finite subgroup can be from a continuous symmetry."""

from typing import NamedTuple

import numpy as np

from haarflow.deep import DeepEnsemble

__all__ = ["SubgroupBound", "subgroup_bound"]

# Points of a segment at which the derivative is taken.
_STEPS = 9


class SubgroupBound(NamedTuple):
    """Both sides of the bound, [T, R, m] each: |mu_t(gx) - rho_Y(g) mu_t(x)|, and what it is at most."""

    change: np.ndarray
    bound: np.ndarray


def subgroup_bound(
    ensemble: DeepEnsemble,
    x: np.ndarray,
    elements: np.ndarray,
    subgroup: np.ndarray,
    times: np.ndarray,
    radius: float | None = None,
    outputs: tuple[np.ndarray, np.ndarray] | None = None,
) -> SubgroupBound:
    """Compare an ensemble's change under a continuous group with its subgroup's covering radius times its slope.

    Parameters
    ----------
    ensemble : DeepEnsemble
        Trained with the subgroup, on vectors.
    x : array [m, ..., d]
        Test points.
    elements : array [R, d, d]
        Elements g of the continuous group.
    subgroup : array [A, d, d]
        The subgroup's matrices a.
    times : array [T]
        Training times.
    radius : float, optional
        max_g min_a |g - a|, such as 2 sin(pi / 2k) for C_k in the plane; default the largest over `elements`.
    outputs : (array [R, k, k], array [A, k, k]), optional
        rho_Y of elements and subgroup; default invariant outputs.

    Returns
    -------
    SubgroupBound

    Notes
    -----
    mu_t(gx) is within radius |x| max |grad mu_t| of mu_t(ax) on the segment between them, a the element nearest to
    g, and mu_t(ax) = rho_Y(a) mu_t(x); equivariant outputs add |rho_Y(g) - rho_Y(a)| |mu_t(x)|. The maximum is
    taken over 9 points of the segment. Cost: the mean and jacobian at 9 R m points.
    Source: Gerken & Kessel 2024, finite subgroups of continuous groups.
    """
    distances = np.linalg.norm(elements[:, None] - subgroup[None], ord=2, axis=(2, 3))
    nearest = distances.argmin(axis=1)
    reach = float(distances.min(axis=1).max()) if radius is None else radius
    ends, starts = (np.einsum("gij,p...j->gp...i", each, x) for each in (elements, subgroup[nearest]))
    base = ensemble.predict(x, times).mean
    T, m, k = base.shape
    moved = ensemble.predict(ends.reshape(-1, *x.shape[1:]), times).mean.reshape(T, len(elements), m, k)
    wanted = base[:, None] if outputs is None else np.einsum("gkl,tml->tgmk", outputs[0], base)
    steps = np.linspace(0, 1, _STEPS).reshape(-1, *[1] * ends.ndim)
    segment = (starts + steps * (ends - starts)).reshape(-1, *x.shape[1:])
    slopes = ensemble.jacobian(segment, times)
    sizes = np.linalg.norm(slopes.reshape(*slopes.shape[:3], -1), ord=2, axis=(2, 3))
    largest = sizes.reshape(T, _STEPS, len(elements), m).max(axis=1)
    bound = reach * np.linalg.norm(x.reshape(m, -1), axis=1) * largest
    if outputs is not None:
        turned = np.linalg.norm(outputs[0] - outputs[1][nearest], ord=2, axis=(1, 2))
        bound = bound + turned[:, None] * np.linalg.norm(base, axis=2)[:, None]
    return SubgroupBound(np.linalg.norm(moved - wanted, axis=-1), bound)
