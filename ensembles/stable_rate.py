"""Training that diverges, said in the learning rate that was typed."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.krylov_block import KrylovBlock

__all__ = ["in_learning_rates"]


@contextmanager
def in_learning_rates(learning_rate: float, fitted: Fitted, filter: solvers.Filter) -> Iterator[None]:
    """Turn a filter's `StepError`, which knows its own step and one block, into the largest stable learning rate.

    Parameters
    ----------
    learning_rate : float
        What the step was made from.
    fitted : Fitted
        All blocks.
    filter : Filter
        The dynamics.

    Raises
    ------
    solvers.StepError
        In the user's unit.
    """
    try:
        yield
    except solvers.StepError as error:
        excess = max(error.excess, *(_excess(block, fitted, filter) for block in fitted.spectra))
        stable = _below(learning_rate / excess)
        message = (
            f"learning_rate must be below {stable:.4g} for {error.name} to be stable on this training "
            f"set, found {learning_rate:g}"
        )
        raise solvers.StepError(message, error.name, excess) from None


def _below(rate: float) -> float:
    """Return a rate rounded down to four digits."""
    step = 10.0 ** (np.floor(np.log10(rate)) - 3)
    return float(np.floor(rate / step) * step)


def _excess(block: solvers.Spectrum | KrylovBlock, fitted: Fitted, filter: solvers.Filter) -> float:
    """Return how many times the step is too large for one block, as far as its modes are known; 0 where it is not."""
    largest = block.resolved(fitted.ridge)[-1:]
    try:
        filter(largest, np.zeros(1), fitted.rate)
    except solvers.StepError as error:
        return error.excess
    return 0.0
