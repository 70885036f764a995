"""How often, and by how much, class predictions change on an orbit."""

from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.measures.arrays import prepare, stack

__all__ = ["continuous_same_prediction", "orbit_same_prediction", "symmetrised_kl"]


def orbit_same_prediction(outputs: Any, *, identity: int | None = None, axis: int = 0, group: Any = None) -> np.ndarray:
    """Count the group elements that leave the predicted class as it is (OSP), argmax f(gx) = argmax f(x).

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        Logits f(gx). For an ensemble, average them over its members first.
    identity : int, optional
        Index of the identity element, f(x); None: that of `group`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.
    group : FiniteGroup or Action, optional
        Whose elements `outputs` are listed by, for its identity: in the rotation groups of solids that is element 3.

    Returns
    -------
    int64 array [...]
        From 1, the identity alone, to |G|. Of equal logits the first counts as the prediction.

    Raises
    ------
    ValueError, TypeError
        For an identity outside the group, shapes that do not fit, values that are not finite reals.

    Notes
    -----
    Source: Gerken & Kessel 2024 (arXiv 2403.03103); Nordenfors & Flinth 2024 (arXiv 2410.01452).

    Examples
    --------
    >>> orbit_same_prediction([[0.0, 1.0], [0.2, 0.1], [0.0, 3.0]])
    array(2)
    """
    stacked, _, start = prepare(outputs, None, identity, axis, group)
    predicted = stacked.argmax(axis=-1)
    return np.asarray((predicted == predicted[start]).sum(axis=0, dtype=np.int64))


def continuous_same_prediction(outputs: Any, reference: Any, *, axis: int = 0) -> np.ndarray:
    """Give the fraction of sampled group elements that leave the predicted class as it is (continuous OSP).

    Parameters
    ----------
    outputs : array [S, ..., k]
        Logits f(g_s x) at S elements drawn from the group, such as random angles of SO(2). For an
        ensemble, average them over its members first.
    reference : array [..., k]
        Logits f(x); `outputs` without its axis of samples.
    axis : int
        Which axis of `outputs` holds the samples of the group.

    Returns
    -------
    float64 array [...]
        From 0 to 1. Of equal logits the first counts as the prediction.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, values that are not finite reals.

    Notes
    -----
    The standard error of a fraction p from S independent elements is sqrt(p (1 - p) / S).
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), networks under random rotations in SO(2).

    Examples
    --------
    >>> continuous_same_prediction([[0.0, 1.0], [2.0, 1.0], [0.5, 0.6], [3.0, 4.0]], [0.0, 2.0])
    array(0.75)
    """
    sampled = stack(outputs, axis, layout="S, ..., k")
    refuse_masked(reference, "reference")
    base = np.asarray(reference)
    if base.shape != sampled.shape[1:]:
        raise ValueError(
            f"reference must have the shape of one sample's outputs, {sampled.shape[1:]}, found {base.shape}"
        )
    base = stack(base[None], 0, "reference", "1, ..., k")[0]
    return np.asarray((sampled.argmax(axis=-1) == base.argmax(axis=-1)).mean(axis=0))


def symmetrised_kl(outputs: Any, *, identity: int | None = None, axis: int = 0, group: Any = None) -> np.ndarray:
    """Give the mean over g of KL(p(x) | p(gx)) + KL(p(gx) | p(x)), p = softmax(f), in nats.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        Logits f(gx). For an ensemble, average them over its members first.
    identity : int, optional
        Index of the identity element, f(x); None: that of `group`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.
    group : FiniteGroup or Action, optional
        Whose elements `outputs` are listed by, for its identity: in the rotation groups of solids that is element 3.

    Returns
    -------
    float64 array [...]
        0 for invariant probabilities; the mean counts the identity, which adds 0.

    Raises
    ------
    ValueError, TypeError
        For an identity outside the group, shapes that do not fit, values that are not finite reals.

    Notes
    -----
    Both divergences together are sum_c (p_c - q_c)(log p_c - log q_c): every term is at least 0.
    Source: Nordenfors & Flinth 2024 (arXiv 2410.01452), the experiments.

    Examples
    --------
    >>> symmetrised_kl([[0.0, 1.0], [5.0, 6.0]])
    array(0.)
    """
    stacked, _, start = prepare(outputs, None, identity, axis, group)
    with np.errstate(over="ignore"):
        probabilities = np.exp(4 * (logs := _quarter_logs(stacked)))
        both = (probabilities - probabilities[start]) * (logs - logs[start])
        return np.asarray(4 * both.sum(axis=-1).mean(axis=0))


def _quarter_logs(logits: np.ndarray) -> np.ndarray:
    """Return log softmax over 4: differences of logits near the largest float64, and of these, do not overflow."""
    below = logits / 4 - logits.max(axis=-1, keepdims=True) / 4
    return below - np.log(np.exp(4 * below).sum(axis=-1, keepdims=True)) / 4
