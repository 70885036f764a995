"""How far one output of a mean of M members strays from the infinite ensemble, and how many are enough."""

from typing import Any

import numpy as np
from scipy.special import wrightomega

from haarflow.finite.counting import first_guess, smallest, steps
from haarflow.finite.numbers import as_counts, as_probability, as_reals, refuse_tiny

__all__ = ["deviation_bound", "members_needed"]


def deviation_bound(variance: Any, delta: Any, members: Any) -> np.ndarray:
    """Bound the probability that one output of a mean of M members is off the infinite ensemble by more than delta.

    P(|mean of M members - mu_t(x)| > delta) <= min(1, sqrt(2/pi) (s/delta) exp(-delta^2 / 2 s^2)),
    s^2 = Sigma_t(x, x) / M.

    Parameters
    ----------
    variance : float or array
        Sigma_t(x, x) >= 0, the variance of one member's output, such as `law.variance`.
    delta : float or array
        Deviation >= 0, in the unit of the output.
    members : int or array of int
        Number of members M >= 1.

    Returns
    -------
    float64 array
        The bound, in 0 .. 1, of the arguments' common shape; 0 where the variance is 0.

    Raises
    ------
    ValueError, TypeError
        For negative, NaN or infinite numbers, members that are not whole numbers >= 1, or shapes that do not
        broadcast.

    Notes
    -----
    Members are Gaussian, so this is the bound on a normal tail by its density; it is 1.04 times the true
    probability at delta = 5 s, 1.25 times at 1.7 s, and above 1 below 0.65 s.
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), on the deviation of finite ensembles.

    Examples
    --------
    >>> print(deviation_bound(0.04, 0.1, [1, 10, 20, 30]).round(4))
    [1.     0.1446 0.0293 0.0069]
    """
    delta, variance = as_reals(delta, "delta"), as_reals(variance, "variance")
    return np.asarray(_tail(steps(delta, variance, as_counts(members, "members"))))


def members_needed(variance: Any, delta: Any, probability: Any, outputs: Any = 1) -> int | np.ndarray:
    """Count the members whose mean stays within delta of the infinite ensemble with probability 1 - p.

    Parameters
    ----------
    variance : float or array
        Sigma_t(x, x) >= 0, the variance of one member's output, such as `law.variance`.
    delta : float or array
        Allowed deviation > 0, in the unit of the output.
    probability : float or array
        p, in 0 .. 1, both excluded: how likely a larger deviation may be.
    outputs : int or array of int
        How many outputs shall stay within delta together; each may fail with p / outputs (union bound).

    Returns
    -------
    int or int64 array
        The smallest M >= 1 with `deviation_bound(variance, delta, M) <= probability / outputs`, of the
        arguments' common shape; an int where all of them are numbers.

    Raises
    ------
    ValueError, TypeError
        For a negative variance, a delta that is not positive, a probability outside (0, 1) or so small that
        p / outputs is below 2.2e-308, NaN, more than 4.5e15 members, or shapes that do not broadcast.

    Notes
    -----
    M = ceil(variance W0(2 / (pi p^2)) / delta^2), W0 Lambert's function, then set right where the ceiling
    meets rounding. W0(z) = omega(log z), Wright's function, does not overflow at small p.
    Source: the inverse of the bound in Gerken & Kessel 2024 (arXiv 2403.03103).

    Examples
    --------
    >>> members_needed(0.04, 0.1, 0.01)
    28
    >>> members_needed([0.04, 0.01], 0.1, 0.01, outputs=10)
    array([44, 11])
    """
    variance, delta = as_reals(variance, "variance"), as_reals(delta, "delta", positive=True)
    allowed = as_probability(probability) / as_counts(outputs, "outputs")
    refuse_tiny(allowed, "outputs")
    factor = wrightomega(np.log(2 / np.pi) - 2 * np.log(allowed))
    return smallest(
        lambda members: _tail(steps(delta, variance, members)), allowed, first_guess(variance, delta, factor)
    )


def _tail(deviations: np.ndarray) -> np.ndarray:
    # In standard deviations. The density over the deviation lies above the tail.
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.minimum(np.sqrt(2 / np.pi) / deviations * np.exp(-np.square(deviations) / 2), 1.0)
