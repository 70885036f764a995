"""Which modes are known, and what a filter does on those that are not: one rule for every solver."""

import numpy as np

from haarflow.solvers.filters import Filter

__all__ = ["disbelieved", "resolved_phi", "ridged", "too_late"]

# An unresolved mode is followed while the uncertainty of its eigenvalue times t stays below this: that product is
# the relative error of phi = t, so six digits of the prediction hold.
_NEGLIGIBLE = 1e-6
# A doubtful mode, whose value two rules do not agree upon, is believed while their difference times t stays below this:
# to two digits, which is more than such a rule gives for the others.
_VISIBLE = 1e-2


def too_late(filter: Filter, times: np.ndarray, rate: float, uncertainty: float) -> np.ndarray:
    """Return [T]: whether unresolved modes, known to `uncertainty`, are left out at a time.

    They are where phi(0) is not known: since it is infinite, since its product with the uncertainty is, under gradient
    flow and what is like it, its own relative error, or since phi is another number on the uncertainty.
    """
    followed, apart = filter(np.array([0.0, uncertainty]), times, rate).T
    with np.errstate(all="ignore"):
        far = uncertainty * np.abs(followed) > _NEGLIGIBLE
        changed = np.abs(apart - followed) > _NEGLIGIBLE * np.maximum(np.abs(apart), np.abs(followed))
    return ~np.isfinite(followed) | far | changed


def disbelieved(filter: Filter, times: np.ndarray, rate: float, doubt: np.ndarray) -> np.ndarray:
    """Return [T, m]: whether doubtful modes, whose values change by `doubt` [m], are left out at a time."""
    travelled = filter(np.zeros(1), times, rate)
    with np.errstate(all="ignore"):
        return np.isinf(travelled) | (doubt * np.abs(travelled) > _VISIBLE)


def ridged(values: np.ndarray, ridge: float) -> np.ndarray:
    """Add the ridge: rounding may push an eigenvalue below 0, but never below the ridge."""
    return np.maximum(values, 0.0) + ridge if ridge > 0 else values


def resolved_phi(
    filter: Filter, times: np.ndarray, rate: float, values: np.ndarray, unresolved: np.ndarray, uncertainty: float
) -> np.ndarray:
    """Return phi [T, m] where unresolved modes follow the limit at lambda = 0, and 0 once it is too late for them."""
    left_out = too_late(filter, times, rate, uncertainty)[:, None] & unresolved
    return np.where(left_out, 0.0, filter(np.where(unresolved, 0.0, values), times, rate))
