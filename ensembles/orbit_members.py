"""How many members a mean needs to be equivariant, from the ensemble's own covariance on the orbits of samples."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from haarflow.finite import members_needed_on_orbit
from haarflow.finite.numbers import as_probability, as_reals
from haarflow.groups import Action, Representation
from haarflow.law import Law

__all__ = ["members_on_orbits"]


def members_on_orbits(
    law_at: Callable[[np.ndarray], Law],
    action: Action,
    output: Representation | None,
    k: int,
    x: np.ndarray,
    times: np.ndarray,
    delta: Any,
    probability: Any,
    norm: Literal["euclidean", "max"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of members for each time and sample, int64 [T, n]; modes cut at most, and their share, [T].

    Parameters
    ----------
    law_at : callable
        The law on an orbit's points [|G|, ...], with its covariance [T, |G|, |G|].
    action, output : Action, Representation or None
        How the group acts on samples and outputs.
    k : int
        Number of outputs.
    x : array [n, ...]
        Samples.
    times : array [T]
        Training times.
    delta, probability : float or array
        What broadcasts with [T, n].
    norm : {"euclidean", "max"}
        As in `members_needed_on_orbit`.

    Notes
    -----
    One orbit at a time: its covariance, not that of all orbits with each other, is what is needed.
    """
    shape = len(times), len(x)
    delta, probability = as_reals(delta, "delta", positive=True), as_probability(probability)
    for name, values in (("delta", delta), ("probability", probability)):
        try:
            np.broadcast_to(values, shape)
        except ValueError:
            raise ValueError(
                f"{name} must be a number, or broadcast to [times, samples] = {list(shape)}, found shape {values.shape}"
            ) from None
    found, cut, share = np.empty(shape, np.int64), np.zeros(len(times), np.int64), np.zeros(len(times))
    each_delta, each_probability = np.broadcast_to(delta, shape), np.broadcast_to(probability, shape)
    for i in range(len(x)):
        law = law_at(action.orbit(x[i : i + 1])[:, 0])
        cut = np.maximum(cut, law.cut)
        share = share if law.cut_share is None else np.maximum(share, law.cut_share)
        found[:, i] = members_needed_on_orbit(
            law.covariance,
            each_delta[:, i],
            each_probability[:, i],
            k=k,
            output=output,
            norm=norm,
            group=action.group,
        )
    return found, cut, share
