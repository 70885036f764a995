"""Up to which learning rate plain gradient descent is stable: from the spectrum of a member's own NTK."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from haarflow.kernels.backend import compiled, precision, to_numpy
from haarflow.networks.forward import forward
from haarflow.networks.network import check_parameters
from haarflow.networks.structure import Parts, not_equivariant
from haarflow.networks.training import Data, Recipe, share_of_sum

__all__ = ["DivergenceError", "StabilityWarning", "largest_stable_rate"]

# The largest eigenvalue of more samples hardly differs, under losses that are means.
_ENOUGH = 2000


class DivergenceError(RuntimeError):
    """The loss of a member is no longer finite, or has grown ten-thousandfold (cross-entropy: thousandfold)."""


class StabilityWarning(UserWarning):
    """A member's loss ends above the sum of what it and that of outputs 0 were at first."""


def largest_stable_rate(recipe: Recipe, data: Data, parameters: Any) -> float:
    """Return 2 / lambda_max of the loss's Gauss-Newton matrix J^T C J at the given parameters.

    Parameters
    ----------
    recipe, data
        Network and loss; the augmented training set, of which at most 2,000 samples are taken under a loss that is
        a mean.
    parameters : tuple of dict
        Of one member, such as its initial ones.

    Raises
    ------
    ValueError
        For parameters of another network.

    Notes
    -----
    J J^T is the member's NTK; C the loss's curvature in the outputs, 1/(N k) for the mean loss. By Lanczos on products
    with J and J^T, to 1 %, the penalty's curvature included; of the whole set, where under loss="sum" a step that draws
    some of it sees their share. Cost: about 30 passes over the samples.
    """
    check_parameters(recipe.network, parameters, "parameters")
    x = data.x.reshape(-1, *data.x.shape[2:])
    share = share_of_sum(recipe, data)
    if recipe.loss != "sum" and len(x) > _ENOUGH:
        chosen = np.random.default_rng(0).choice(len(x), _ENOUGH, replace=False)
        x = x[chosen]
    with precision(recipe.dtype):
        parts = jax.tree.map(jnp.asarray, data.parts)
        start, _ = ravel_pytree(parameters)
        size = start.size

        def product(v: np.ndarray) -> np.ndarray:
            return to_numpy(_gauss_newton(recipe, parts, parameters, x, share, jnp.asarray(v.ravel(), start.dtype)))

        # A start that is passed: ARPACK's own is random.
        first = np.random.default_rng(0).standard_normal(size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        (largest,) = eigsh(operator, 1, which="LA", tol=1e-2, v0=first, return_eigenvectors=False)
    return float(2 / largest)


def _curvature(recipe: Recipe, f: Any, u: Any) -> Any:
    if recipe.loss == "cross_entropy":
        p = jax.nn.softmax(f)
        return p * (u - jnp.sum(p * u, axis=-1, keepdims=True)) / len(f)
    if recipe.loss == "mean":
        return u / f.size
    if recipe.loss == "sum":
        return u
    raise ValueError(f"loss must be one whose curvature is known, found {recipe.loss!r}")


def _products(recipe: Recipe, parts: Parts, parameters: Any, x: Any, share: Any, v: Any) -> Any:
    flat, tree = ravel_pytree(parameters)
    outputs = lambda flat: forward(recipe.network, tree(flat), x)  # noqa: E731
    f, u = jax.jvp(outputs, (flat,), (v,))
    _, back = jax.vjp(outputs, flat)
    curved = share * back(_curvature(recipe, f, u))[0]
    if recipe.penalty > 0:
        curved = curved + recipe.penalty * ravel_pytree(not_equivariant(parts, tree(v)))[0]
    return curved


_gauss_newton = compiled(_products)
