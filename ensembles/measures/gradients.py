"""How an energy changes when its configuration begins to rotate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haarflow.inputs import as_number
from haarflow.kernels.backend import check_dtype, precision, to_numpy
from haarflow.measures.callables import configurations, real, returned

__all__ = ["rotational_gradient"]

_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def rotational_gradient(
    energy: Callable[[Any], Any], x: Any, *, step: float | None = None, dtype: str = "float64"
) -> np.ndarray:
    """Give dE(x R)/dG at G = 0 with R = exp(G - G^T): 0 for an energy that no rotation changes.

    Parameters
    ----------
    energy : callable
        E: takes positions [..., atoms, 3], one row vector for each atom, and returns one energy for each
        configuration, [...], that depends on this configuration alone.
    x : array [..., atoms, 3]
        Configurations. What has to turn with the atoms, such as lattice vectors, may be further rows.
    step : float, optional
        None: by automatic differentiation, for an energy that JAX can trace. A number: by central finite
        differences with rotations by this angle in radians, for any energy; 1e-5 suits float64, 5e-3 float32.
    dtype : {"float64", "float32"}
        Of the positions that the energy sees, and of what JAX computes.

    Returns
    -------
    float64 array [..., 3, 3]
        Antisymmetric, in the unit of the energy; entry [a, b] is the change of E per radian that turns axis a
        into axis b. Its Frobenius norm over the last two axes is sqrt(2) times the torque that forces exert.

    Raises
    ------
    TypeError
        For an energy that JAX cannot trace where no step is given, or values that are not real.
    ValueError
        For positions or energies of another shape, energies or derivatives that are not finite, a step that is
        not positive.

    Notes
    -----
    To first order R = 1 + G - G^T, and row i becomes x_i + x_i (G - G^T). With M = x^T dE/dx, that is
    M_ab = sum_i x_ia dE/dx_ib, this gives dE = sum_ab M_ab (dG_ab - dG_ba), hence dE/dG = M - M^T. It vanishes at
    all x exactly where E is invariant under all rotations about the origin; reflections it does not see.
    Cost: one call of `energy` and its gradient, or six calls; differences err by about step^2 and by eps |E| / step.
    Source: Neumann et al. 2024 (Orb, arXiv 2410.22570).

    Examples
    --------
    >>> height = lambda x: x[..., 2].sum(axis=-1)
    >>> rotational_gradient(height, [[1.0, 2.0, 3.0]])
    array([[ 0.,  0.,  1.],
           [ 0.,  0.,  2.],
           [-1., -2.,  0.]])
    """
    x = configurations(x).astype(check_dtype(dtype))
    with precision(dtype):
        if step is not None:
            return _differences(energy, x, as_number(step, "step", positive=True))
        gradient = _gradient(energy, x)
    moment = np.swapaxes(x, -1, -2).astype(np.float64) @ gradient
    return moment - np.swapaxes(moment, -1, -2)


def _gradient(energy: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    positions = jnp.asarray(x)
    try:
        # Values taken out by item() are no error to jax.grad, whose derivative is then 0; to this they are.
        seen = jax.eval_shape(lambda positions: jnp.asarray(energy(positions)), positions)
    except _UNTRACEABLE as error:
        raise TypeError(
            "energy must be made of operations that JAX can trace, or step be given for central finite differences, "
            f"such as step=1e-5: found {type(error).__name__}"
        ) from error
    if seen.shape != x.shape[:-2] or not jnp.issubdtype(seen.dtype, jnp.floating):
        raise ValueError(
            f"energy(x) must be real numbers [...] = {x.shape[:-2]}, one for each configuration, "
            f"found shape {seen.shape} of dtype {seen.dtype}"
        )
    found = to_numpy(jax.grad(lambda positions: jnp.asarray(energy(positions)).sum())(positions))
    return real(found, "the gradient of energy in x").astype(np.float64)


def _differences(energy: Callable[[Any], Any], x: np.ndarray, step: float) -> np.ndarray:
    out = np.zeros((*x.shape[:-2], 3, 3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        ahead, behind = (
            returned(energy((x @ _turn(a, b, angle)).astype(x.dtype)), "energy(x)", x.shape[:-2], "...")
            for angle in (step, -step)
        )
        out[..., a, b] = (ahead - behind) / (2 * step)
        out[..., b, a] = -out[..., a, b]
    return out


def _turn(a: int, b: int, angle: float) -> np.ndarray:
    """Return exp(G - G^T) for a G that is the angle at [a, b] and 0 elsewhere."""
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = np.sin(angle), -np.sin(angle)
    return matrix
