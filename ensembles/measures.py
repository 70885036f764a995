"""How far outputs on an orbit are from equivariant: the numbers that the papers report.

Every measure takes outputs f(gx) stacked over the group, [|G|, ..., k], the layout that a model gives on
`action.orbit(x)`; the axes between (test points, times, members) are kept. Invariant outputs need no
representation; equivariant ones pass rho_Y as `output`.
"""

from typing import Any, Protocol

import numpy as np
from scipy.special import log_softmax

__all__ = [
    "orbit_error",
    "orbit_mse",
    "orbit_same_prediction",
    "pull_back",
    "relative_orbit_std",
    "symmetrised_kl",
]


class _Output(Protocol):
    """What is needed of a representation: its matrices; its group's identity when it has one."""

    @property
    def matrices(self) -> Any: ...


def pull_back(outputs: Any, output: _Output | None = None, *, axis: int = 0) -> np.ndarray:
    """Undo the group's action on the outputs, rho_Y(g)^-1 f(gx); an equivariant f gives f(x) for every g.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        f(gx), the group along `axis`.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k] in the order of `outputs`; None: invariant outputs.
    axis : int
        Which axis of `outputs` is the group.

    Returns
    -------
    float64 array [|G|, ..., k]
        The group first, whatever `axis` was.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, matrices that are not orthogonal, values that are not finite reals.

    Notes
    -----
    Cost: k multiplications for each entry.
    """
    stacked = _stack(outputs, axis)
    if output is None:
        return stacked
    # rho_Y is orthogonal: row vectors times rho_Y are rho_Y^-1 times columns.
    return _apply(stacked, np.swapaxes(_matrices(output, stacked), 1, 2))


def orbit_error(
    outputs: Any, output: _Output | None = None, *, identity: int | None = None, axis: int = 0
) -> np.ndarray:
    """Give the largest relative deviation on the orbit, max_g |f(gx) - rho_Y(g) f(x)| / |f(x)|.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        f(gx), the group along `axis`.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k] in the order of `outputs`; None: invariant outputs.
    identity : int, optional
        Index of the identity element, f(x); None: `output.group.identity`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.

    Returns
    -------
    float64 array [...]
        0 for an equivariant f. Where f(x) = 0 the divisor is the smallest normal float64.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, matrices that are not orthogonal or not 1 at the identity, values
        that are not finite reals.

    Notes
    -----
    Source: the main theorem of Gerken & Kessel 2024 (arXiv 2403.03103), as a residual.

    Examples
    --------
    >>> orbit_error([[3.0, 4.0], [3.0, 4.5]])
    array(0.1)
    """
    stacked, matrices, start = _prepare(outputs, output, identity, axis)
    wanted = stacked[start][None]
    if matrices is not None:
        wanted = _apply(wanted, matrices)
    return _ratio(_norm(stacked - wanted).max(axis=0), _norm(stacked[start]))


def orbit_mse(outputs: Any, output: _Output | None = None, *, identity: int | None = None, axis: int = 0) -> np.ndarray:
    """Give the mean square deviation on the orbit, mean_g |rho_Y(g)^-1 f(gx) - f(x)|^2, not normalised.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        f(gx), the group along `axis`.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k] in the order of `outputs`; None: invariant outputs.
    identity : int, optional
        Index of the identity element, f(x); None: `output.group.identity`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.

    Returns
    -------
    float64 array [...]
        Squares summed over the k components; the mean counts the identity, which adds 0.

    Raises
    ------
    ValueError, TypeError
        As `orbit_error`.

    Notes
    -----
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), the cross product experiment.

    Examples
    --------
    >>> orbit_mse([[3.0, 4.0], [3.0, 4.5]])
    array(0.125)
    """
    stacked, matrices, start = _prepare(outputs, output, identity, axis)
    back = stacked if matrices is None else _apply(stacked, np.swapaxes(matrices, 1, 2))
    return np.asarray(np.square(back - stacked[start]).sum(axis=-1).mean(axis=0))


def relative_orbit_std(outputs: Any, *, axis: int = 0) -> np.ndarray:
    """Give the spread of an invariant scalar on the orbit, std_g E(gx) / |mean_g E(gx)|.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        Parts whose sum over the last axis is the invariant E, such as the Ising model's local energies; a
        scalar has k = 1.
    axis : int
        Which axis of `outputs` is the group.

    Returns
    -------
    float64 array [...]
        The standard deviation divides by |G|. inf where the mean vanishes and the spread does not.

    Raises
    ------
    ValueError, TypeError
        For outputs without a group axis and a last axis, or values that are not finite reals.

    Notes
    -----
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), the Ising experiment.

    Examples
    --------
    >>> relative_orbit_std([[1.0, 2.0], [2.0, 3.0]])
    array(0.25)
    """
    energy = _stack(outputs, axis).sum(axis=-1)
    return _ratio(energy.std(axis=0), np.abs(energy.mean(axis=0)))


def orbit_same_prediction(outputs: Any, *, identity: int = 0, axis: int = 0) -> np.ndarray:
    """Count the group elements that leave the predicted class as it is (OSP), argmax f(gx) = argmax f(x).

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        Logits f(gx). For an ensemble, average them over its members first.
    identity : int
        Index of the identity element, f(x).
    axis : int
        Which axis of `outputs` is the group.

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
    stacked, _, start = _prepare(outputs, None, identity, axis)
    predicted = stacked.argmax(axis=-1)
    return np.asarray((predicted == predicted[start]).sum(axis=0, dtype=np.int64))


def symmetrised_kl(outputs: Any, *, identity: int = 0, axis: int = 0) -> np.ndarray:
    """Give the mean over g of KL(p(x) | p(gx)) + KL(p(gx) | p(x)), p = softmax(f), in nats.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        Logits f(gx). For an ensemble, average them over its members first.
    identity : int
        Index of the identity element, f(x).
    axis : int
        Which axis of `outputs` is the group.

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
    stacked, _, start = _prepare(outputs, None, identity, axis)
    logs = log_softmax(stacked, axis=-1)
    probabilities = np.exp(logs)
    both = (probabilities - probabilities[start]) * (logs - logs[start])
    return np.asarray(both.sum(axis=-1).mean(axis=0))


def _stack(outputs: Any, axis: int) -> np.ndarray:
    raw = np.asarray(outputs)
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"outputs must be real numbers, found dtype {raw.dtype}")
    if raw.ndim < 2 or raw.size == 0:
        raise ValueError(f"outputs must be [|G|, ..., k] with entries on every axis, found shape {raw.shape}")
    place = axis + raw.ndim if axis < 0 else axis
    if not 0 <= place < raw.ndim - 1:
        raise ValueError(f"axis must be one of the first {raw.ndim - 1} axes of outputs (the last is k), found {axis}")
    bad = ~np.isfinite(raw)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"outputs must be finite: found {int(bad.sum())} NaN or inf entries, the first at index {first}"
        )
    return np.moveaxis(raw.astype(np.float64), place, 0)


def _matrices(output: _Output, stacked: np.ndarray) -> np.ndarray:
    matrices = np.asarray(output.matrices, dtype=np.float64)
    order, k = stacked.shape[0], stacked.shape[-1]
    if matrices.shape != (order, k, k):
        raise ValueError(
            f"output.matrices must be [|G|, k, k] = {(order, k, k)} to fit outputs {stacked.shape} "
            f"(the group first), found {matrices.shape}"
        )
    off = float(np.abs(matrices @ np.swapaxes(matrices, 1, 2) - np.eye(k)).max())
    if not off < 1e-5:
        raise ValueError(f"output.matrices must be orthogonal, found |rho rho^T - 1| = {off:.1e}")
    return matrices


def _prepare(
    outputs: Any, output: _Output | None, identity: int | None, axis: int
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Give the checked outputs, the group first; rho_Y's matrices; and the identity's index."""
    stacked = _stack(outputs, axis)
    start = identity
    if start is None:
        start = int(getattr(getattr(output, "group", None), "identity", 0))
    if not 0 <= start < len(stacked):
        raise ValueError(f"identity must lie in 0 .. {len(stacked) - 1}, found {start}")
    if output is None:
        return stacked, None, start
    matrices = _matrices(output, stacked)
    off = float(np.abs(matrices[start] - np.eye(matrices.shape[-1])).max())
    if off > 1e-5:
        raise ValueError(
            f"identity must be the group's identity element: output.matrices[{start}] is off 1 by {off:.1e}"
        )
    return stacked, matrices, start


def _apply(vectors: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Multiply [|G| or 1, ..., k] by [|G|, k, k], element by element of the group."""
    flat = vectors.reshape(len(vectors), -1, vectors.shape[-1])
    return (flat @ np.swapaxes(matrices, 1, 2)).reshape(len(matrices), *vectors.shape[1:])


def _norm(vectors: np.ndarray) -> np.ndarray:
    # Scaled, since squares of entries below 1e-162 vanish and a deviation would pass for none.
    scale = np.maximum(np.abs(vectors).max(axis=-1), np.finfo(np.float64).tiny)
    return scale * np.linalg.norm(vectors / scale[..., None], axis=-1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(above / np.maximum(below, np.finfo(np.float64).tiny))
