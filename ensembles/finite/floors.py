"""Is there an orbit error that more members would not take away: told from the members that there are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from haarflow.finite.numbers import as_array
from haarflow.measures import pull_back
from haarflow.measures.arrays import Output, represent

__all__ = ["Floor", "orbit_floor"]


@dataclass(frozen=True)
class Floor:
    """What is left of the orbit error for M = inf.

    Attributes
    ----------
    square : float
        Unbiased estimate of |E[f(gx) - rho_Y(g) f(x)]|^2, averaged over g and the test points; may be negative.
    error : float
        Its standard error where the floor is 0.
    relative : float
        Root of `square`, or 0, over the root mean square of the members' mean.
    """

    square: float
    error: float
    relative: float

    @property
    def standard_errors(self) -> float:
        """How many standard errors `square` lies above 0."""
        return self.square / self.error if self.error > 0 else float(np.sign(self.square)) * np.inf


def orbit_floor(outputs: Any, output: Output | None = None, *, identity: int | None = None, group: Any = None) -> Floor:
    """Estimate the orbit error that a mean of infinitely many members would keep.

    Parameters
    ----------
    outputs : array [|G|, M, m, k]
        f(gx) of M independent members on the orbits of m test points.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k]; None: invariant outputs.
    identity : int, optional
        Index of the identity element; None: that of `group` or `output.group`, or 0 where there is none.
    group : FiniteGroup or Action, optional
        Whose elements `outputs` are listed by.

    Returns
    -------
    Floor

    Raises
    ------
    ValueError, TypeError
        For fewer than three members, or shapes that do not fit.

    Notes
    -----
    With d_i the differences of member i, the mean of d_i . d_j over pairs i != j: members' own variance, which the
    error of their mean consists of, does not enter. Its variance for E d = 0 is 2 tr(C^2) / (M (M - 1)), C the
    covariance of d, whose tr(C^2) is estimated from pairs too. Cost: M^2 |G| m k.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> f = rng.standard_normal((2, 500, 3, 1))
    >>> abs(orbit_floor(f).standard_errors) < 4, orbit_floor(f + [[[[0]]], [[[1]]]]).standard_errors > 20
    (True, True)
    """
    array = as_array(outputs, "outputs")
    if array.ndim != 4 or array.shape[1] < 3:
        raise ValueError(f"outputs must be [|G|, M, m, k] with M of at least 3, found shape {array.shape}")
    _, start = represent(output, identity, len(array), array.shape[-1], group)
    # In a unit near the largest output, in which fourth powers neither overflow nor vanish.
    unit = int(np.frexp(np.abs(array).max())[1])
    back = pull_back(np.ldexp(array, -unit), output)
    order, members, points, _ = back.shape
    d = (back - back[start]).transpose(1, 0, 2, 3).reshape(members, -1)
    pairs = members * (members - 1)
    products = d @ d.T
    square = (products.sum() - np.trace(products)) / pairs
    spread = np.square(products)
    error = np.sqrt(2 * (spread.sum() - np.trace(spread)) / pairs / pairs)
    scale = np.square(back.mean(axis=1)).sum() / (order * points)
    square, error = square / (order * points), error / (order * points)
    relative = float(np.sqrt(max(square, 0.0) / scale)) if scale > 0 else 0.0
    with np.errstate(over="ignore"):
        return Floor(float(np.ldexp(square, 2 * unit)), float(np.ldexp(error, 2 * unit)), relative)
