"""The smallest number of members at which a bound on a Gaussian tail is small enough."""

from collections.abc import Callable

import numpy as np

from haarflow.finite.numbers import as_number

__all__ = ["first_guess", "smallest", "steps"]

_MOST = 2.0**52  # beyond it, M and M + 1 are hardly told apart in float64


def steps(delta: np.ndarray, variance: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Give delta in standard deviations of the mean of M members; inf where nothing varies."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return np.where(variance > 0, delta / np.sqrt(variance) * np.sqrt(members), np.inf)


def first_guess(variance: np.ndarray, delta: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Give ceil(variance factor / delta^2), at least 1."""
    with np.errstate(over="ignore", under="ignore"):
        guess = np.maximum(np.ceil(np.square(np.sqrt(variance) / delta) * factor), 1.0)
    if guess.max(initial=1.0) > _MOST:
        raise ValueError(f"delta is too small: {guess.max():.1e} members would be needed, found delta = {delta.min()}")
    return guess


def smallest(bound: Callable[[np.ndarray], np.ndarray], allowed: np.ndarray, guess: np.ndarray) -> int | np.ndarray:
    """Find the smallest whole numbers M >= 1 with bound(M) <= allowed: a ceiling alone may be off by rounding."""
    low, high = np.zeros_like(guess), 2 * guess
    while (high - low > 1).any():
        middle = low + np.ceil((high - low) / 2)
        held = bound(middle) <= allowed
        low, high = np.where(held, low, middle), np.where(held, middle, high)
    return as_number(high.astype(np.int64))
