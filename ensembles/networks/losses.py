"""What members are trained to make small."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["LOSSES", "check_targets"]


def _mean(f: Any, y: Any) -> Any:
    return 0.5 * jnp.mean((f - y) ** 2)


def _sum(f: Any, y: Any) -> Any:
    return 0.5 * jnp.sum((f - y) ** 2)


def _cross_entropy(f: Any, y: Any) -> Any:
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(f), axis=-1))


# (outputs [n, k], targets [n, k]) -> number. The first two are DeepEnsemble's.
LOSSES: dict[str, Callable[[Any, Any], Any]] = {"mean": _mean, "sum": _sum, "cross_entropy": _cross_entropy}


def check_targets(loss: str, y: np.ndarray) -> None:
    """Refuse targets that a loss has no meaning for.

    Parameters
    ----------
    loss : str
        One of LOSSES.
    y : array [n, k]
        Targets.

    Raises
    ------
    ValueError
        For cross-entropy with rows that are no probabilities.
    """
    if loss != "cross_entropy":
        return
    wrong = np.flatnonzero((y < 0).any(axis=1) | (np.abs(y.sum(axis=1) - 1) > 1e-6))
    if len(wrong):
        row = y[wrong[0]]
        raise ValueError(
            f'y must be probabilities for loss="cross_entropy", rows >= 0 with a sum of 1, found {row} with sum '
            f"{row.sum():.3g} in row {wrong[0]}: classes become such rows by hf.one_hot(labels, k)"
        )
