"""Decay times of the flow: which training times are early, and which late."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

__all__ = ["HasModes", "timescales"]


class HasModes(Protocol):
    """A block that knows eigenvalues, all of them or the Ritz values of a Krylov space."""

    def resolved(self, ridge: float) -> np.ndarray:
        """Return those above the block's rounding, ridge included."""
        ...


def timescales(blocks: Iterable[HasModes], rate: float, ridge: float = 0.0) -> np.ndarray:
    """Return the decay times 1 / ((lambda + ridge) rate) of all resolved modes, ascending.

    Parameters
    ----------
    blocks : iterable of Spectrum, or of what has a method resolved(ridge)
        The blocks.
    rate : float
        The flow's time in one unit of the user's clock.
    ridge : float
        Added to every eigenvalue.

    Returns
    -------
    array [modes] float64
        In the user's clock.
    """
    values = [block.resolved(ridge) for block in blocks]
    with np.errstate(over="ignore", under="ignore"):
        return np.sort(1 / np.concatenate([*values, np.empty(0)]) / rate)
