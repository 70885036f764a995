"""How far a force field is from equivariant under rotations."""

from typing import Any

import numpy as np

from haarflow.measures.arrays import apply, norm, orthogonal, shrunk, stack

__all__ = ["force_equivariance_error"]


def force_equivariance_error(forces: Any, rotations: Any, *, axis: int = 0) -> np.ndarray:
    """Give the mean distance of forces, turned back to the first frame, from their mean over the rotations.

    Parameters
    ----------
    forces : array [R, ..., atoms, 3]
        F(R x), the forces on the atoms of the rotated configuration; one row vector for each atom.
    rotations : array [R, 3, 3]
        The rotations or other orthogonal matrices, r -> R r for a column vector r, in the order of `forces`.
    axis : int
        Which axis of `forces` is that of the rotations.

    Returns
    -------
    float64 array [...]
        mean over R and atoms of |R^-1 F(R x) - mean over R|, in the unit of `forces`; 0 for an equivariant
        force field, F(R x) = R F(x), and for a single rotation.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, matrices that are not orthogonal, values that are not finite reals.

    Notes
    -----
    Rows are turned back by F R. The unrotated configuration has no special part, so that it need not be
    among the rotations. Source: Eissler et al. 2025 (arXiv 2503.01431).

    Examples
    --------
    >>> quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    >>> rotations = [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], quarter]
    >>> force_equivariance_error([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]], rotations)
    array(0.)
    >>> force_equivariance_error([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.5]]], rotations)
    array(0.25)
    """
    stacked = stack(forces, axis, "forces", "R, ..., atoms, 3")
    if stacked.shape[-1] != 3:
        raise ValueError(f"forces must be [R, ..., atoms, 3], found shape {np.shape(forces)}")
    matrices = orthogonal(rotations, len(stacked), 3, "rotations", "R, 3, 3")
    whole, factor = shrunk(stacked.reshape(*stacked.shape[:-2], -1))
    back = apply(whole.reshape(stacked.shape), np.swapaxes(matrices, 1, 2))
    with np.errstate(over="ignore"):
        return np.asarray(norm(back - back.mean(axis=0)).mean(axis=(0, -1)) / factor)
