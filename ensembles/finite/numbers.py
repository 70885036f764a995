"""Numbers that a user hands over for finite ensembles: checked once, with errors that name the argument."""

from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked

__all__ = ["as_array", "as_counts", "as_number", "as_probability", "as_reals", "refuse_tiny"]


def as_number(counts: Any) -> int | np.ndarray:
    """Return an int for a single count, the array otherwise."""
    return int(counts) if np.ndim(counts) == 0 else np.asarray(counts)


def as_array(values: Any, name: str) -> np.ndarray:
    """Return a float64 array; TypeError or ValueError where it is not real or not finite."""
    refuse_masked(values, name)
    raw = np.asarray(values)
    if raw.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be real numbers, found dtype {raw.dtype}")
    array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, found {array[~np.isfinite(array)].flat[0]}")
    return array


def as_reals(values: Any, name: str, positive: bool = False) -> np.ndarray:
    """Return a float64 array of numbers >= 0, or > 0."""
    array = as_array(values, name)
    wrong = array <= 0 if positive else array < 0
    if wrong.any():
        raise ValueError(f"{name} must be {'>' if positive else '>='} 0, found {array[wrong].flat[0]}")
    return array


def as_counts(values: Any, name: str) -> np.ndarray:
    """Return an integer array of counts >= 1; floats are refused, whatever their value."""
    raw = np.asarray(values)
    if raw.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, found {values!r}")
    if (raw < 1).any():
        raise ValueError(f"{name} must be >= 1, found {raw.min()}")
    return raw


def as_probability(values: Any) -> np.ndarray:
    """Return a float64 array of numbers in (0, 1)."""
    array = as_array(values, "probability")
    wrong = (array <= 0) | (array >= 1)
    if wrong.any():
        raise ValueError(f"probability must lie in 0 .. 1, both excluded, found {array[wrong].flat[0]}")
    return array


def refuse_tiny(allowed: np.ndarray, by: str) -> None:
    """Raise ValueError where a divided probability loses digits, below the smallest normal float64."""
    tiny = np.finfo(np.float64).tiny
    if (allowed < tiny).any():
        raise ValueError(f"probability / {by} must be at least {tiny:.1e}, found {allowed.min():.1e}")
