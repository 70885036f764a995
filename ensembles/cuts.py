"""What share of the labels lies in modes that are left out, since their eigenvalues are not known from 0."""

from collections.abc import Sequence

import numpy as np

from haarflow.fitted import Fitted
from haarflow.learning import Learnt

__all__ = ["share_left_out"]


def share_left_out(fitted: Fitted, learnt: Sequence[Learnt], dtype: str) -> np.ndarray:
    """Return the share of the labels, in norm, in modes that are left out at each time: [T], of the worst output.

    Parameters
    ----------
    fitted : Fitted
        The parts of the output.
    learnt : sequence of Learnt
        What each part's block has learnt.
    dtype : {"float64", "float32"}
        Of the blocks.

    Returns
    -------
    array [T]
        0 where it is no more than rounding: then no labels that these may be rounded from lose anything.

    Notes
    -----
    Cost: a product with the modes that are left out, for each block.
    """
    y, eps = fitted.problem.y, float(np.finfo(dtype).eps)
    late: np.ndarray = np.stack([each.cut > 0 for each in learnt], axis=1)
    if not late.any():
        return np.zeros(len(late))
    fields = [
        np.einsum("nda,akd->nk", each.left_out().reshape(len(y), part.irrep.dim, -1), part.isometries)
        if missed
        else np.zeros(y.shape)
        for part, each, missed in zip(fitted.parts, learnt, np.asarray(late.any(axis=0)), strict=True)
    ]
    largest = np.abs(y).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    whole = np.linalg.norm(y / unit, axis=0)
    missing = np.einsum("tp,pnk->tnk", late.astype(float), np.stack(fields) / unit)
    shares = np.linalg.norm(missing, axis=1) / np.where(whole > 0, whole, 1.0)
    shares = shares.max(axis=1, initial=0.0)
    return np.where(shares > max(64, fitted.problem.size) * eps, shares, 0.0)
