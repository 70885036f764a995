"""How many members a mean needs to be equivariant, from the ensemble's own covariance on the orbits of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from haarflow.finite import members_needed_on_orbit
from haarflow.finite.numbers import as_probability, as_reals
from haarflow.groups import Action, HaarAction, HarmonicSum, Representation
from haarflow.kernels.orbit_tiles import Progress
from haarflow.law import Evaluated

__all__ = ["Asked", "members_on_orbits"]


@dataclass(frozen=True)
class Asked:
    """How near, how surely and when a mean is to be equivariant.

    Attributes
    ----------
    times : array [T]
        Training times.
    delta, probability : float or array
        What broadcasts with [T, n].
    norm : {"euclidean", "max"}
        As in `members_needed_on_orbit`.
    """

    times: np.ndarray
    delta: Any
    probability: Any
    norm: Literal["euclidean", "max"]

    def at(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return delta and probability for each time and each of n samples, [T, n]; refuse what does not broadcast."""
        delta, probability = as_reals(self.delta, "delta", positive=True), as_probability(self.probability)
        shape = len(self.times), n
        for name, values in (("delta", delta), ("probability", probability)):
            try:
                np.broadcast_to(values, shape)
            except ValueError:
                raise ValueError(
                    f"{name} must be a number, or broadcast to [times, samples] = {list(shape)}, found shape "
                    f"{values.shape}"
                ) from None
        return np.broadcast_to(delta, shape), np.broadcast_to(probability, shape)


def members_on_orbits(
    law_at: Callable[..., Evaluated],
    action: Action | HaarAction,
    output: Representation | HarmonicSum | None,
    x: np.ndarray,
    asked: Asked,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of members for each time and sample, int64 [T, n]; modes cut at most, and their share, [T].

    Parameters
    ----------
    law_at : callable
        x_test= -> the law on an orbit's points [|G|, ...], with its covariance [T, |G|, |G|].
    action, output : Action, Representation or None
        How the group acts on samples and outputs.
    x : array [n, ...]
        Samples.
    asked : Asked
        How near, how surely and when.
    progress : callable, optional
        progress("orbits", done, n).

    Raises
    ------
    ValueError
        For a compact group, whose orbits cannot be listed.

    Notes
    -----
    One orbit at a time: its covariance, not that of all orbits with each other, is what is needed.
    """
    if isinstance(action, HaarAction) or isinstance(output, HarmonicSum):
        raise ValueError(f"action must be of a finite group, whose orbits can be listed, found {action.name}")
    delta, probability = asked.at(len(x))
    found = np.empty(delta.shape, np.int64)
    cut, share = np.zeros(len(asked.times), np.int64), np.zeros(len(asked.times))
    for i in range(len(x)):
        law = law_at(x_test=action.orbit(x[i : i + 1])[:, 0]).law
        cut = np.maximum(cut, law.cut)
        share = share if law.cut_share is None else np.maximum(share, law.cut_share)
        found[:, i] = members_needed_on_orbit(
            law.covariance,
            delta[:, i],
            probability[:, i],
            k=law.mean.shape[2],
            output=output,
            norm=asked.norm,
            group=action.group,
        )
        if progress is not None:
            progress("orbits", i + 1, len(x))
    return found, cut, share
