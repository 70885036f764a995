"""How far real outputs on an orbit are from equivariant: largest, mean square and relative deviations."""

from typing import Any

import numpy as np

from haarflow.measures.arrays import Output, apply, norm, orthogonal, prepare, ratio, shrunk, stack

__all__ = ["orbit_error", "orbit_mse", "pull_back", "relative_orbit_std"]


def pull_back(outputs: Any, output: Output | None = None, *, axis: int = 0) -> np.ndarray:
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
    stacked = stack(outputs, axis)
    if output is None:
        return stacked
    matrices = orthogonal(output.matrices, len(stacked), stacked.shape[-1])
    stacked, factor = shrunk(stacked)
    # rho_Y is orthogonal: row vectors times rho_Y are rho_Y^-1 times columns.
    with np.errstate(over="ignore"):
        return np.asarray(apply(stacked, np.swapaxes(matrices, 1, 2)) / factor[..., None])


def orbit_error(
    outputs: Any, output: Output | None = None, *, identity: int | None = None, axis: int = 0, group: Any = None
) -> np.ndarray:
    """Give the largest relative deviation on the orbit, max_g |f(gx) - rho_Y(g) f(x)| / |f(x)|.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        f(gx), the group along `axis`.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k] in the order of `outputs`; None: invariant outputs.
    identity : int, optional
        Index of the identity element, f(x); None: that of `group` or `output.group`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.
    group : FiniteGroup or Action, optional
        Whose elements `outputs` are listed by, for its identity: in the rotation groups of solids that is element 3.

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
    stacked, matrices, start = prepare(outputs, output, identity, axis, group)
    stacked, _ = shrunk(stacked)
    wanted = stacked[start][None]
    if matrices is not None:
        wanted = apply(wanted, matrices)
    return ratio(norm(stacked - wanted).max(axis=0), norm(stacked[start]))


def orbit_mse(
    outputs: Any, output: Output | None = None, *, identity: int | None = None, axis: int = 0, group: Any = None
) -> np.ndarray:
    """Give the mean square deviation on the orbit, mean_g |rho_Y(g)^-1 f(gx) - f(x)|^2, not normalised.

    Parameters
    ----------
    outputs : array [|G|, ..., k]
        f(gx), the group along `axis`.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k] in the order of `outputs`; None: invariant outputs.
    identity : int, optional
        Index of the identity element, f(x); None: that of `group` or `output.group`, or 0 where there is none.
    axis : int
        Which axis of `outputs` is the group.
    group : FiniteGroup or Action, optional
        Whose elements `outputs` are listed by, for its identity: in the rotation groups of solids that is element 3.

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
    stacked, matrices, start = prepare(outputs, output, identity, axis, group)
    stacked, factor = shrunk(stacked)
    back = stacked if matrices is None else apply(stacked, np.swapaxes(matrices, 1, 2))
    with np.errstate(over="ignore"):
        return np.asarray(np.square(back - stacked[start]).sum(axis=-1).mean(axis=0) / factor / factor)


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
    energy = shrunk(stack(outputs, axis))[0].sum(axis=-1)
    return ratio(energy.std(axis=0), np.abs(energy.mean(axis=0)))
