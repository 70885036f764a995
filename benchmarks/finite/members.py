"""What the experiments share: ensembles of M out of the members that were trained."""

import numpy as np
from claims.writing import number

__all__ = ["SUBSETS_SHARE", "counts", "means", "median"]

SUBSETS_SHARE = (
    "Ensembles of 1 < M < P members are random subsets of the P trained ones: they share members, so that their "
    "range is about (1 − M/P)^½ of that of independent ensembles; M = P is one ensemble, without a range."
)


def counts(several, members):
    """Return the ensemble sizes up to the number of members, and that number itself."""
    return [*(M for M in several if members > M), members]


def means(outputs, M, draws, seed):
    """Average the outputs of M members in each of several ensembles.

    Parameters
    ----------
    outputs : array [T, P, ...]
        Of P members, as `FiniteEnsemble.predict` gives them.
    M : int
        Members of an ensemble, at most P.
    draws, seed : int
        Random subsets for 1 < M < P.

    Returns
    -------
    array [T, E, ...]
        E is P for M = 1 (each member alone), 1 for M = P, else the number of subsets.
    """
    members = outputs.shape[1]
    if M == 1:
        return outputs
    rng = np.random.default_rng([seed, M])
    weights = np.zeros((1 if members == M else draws, members), outputs.dtype)
    for row in weights:
        row[rng.choice(members, M, replace=False)] = 1 / M
    return np.moveaxis(np.tensordot(weights, outputs, (1, 1)), 0, 1)


def median(values, write=number):
    """Write the median over ensembles, with the 10-90 % range in brackets."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return write(middle) if len(values) == 1 else f"{write(middle)} ({write(low)}–{write(high)})"
