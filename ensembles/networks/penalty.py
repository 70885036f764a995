"""How large a penalty makes the equivariant networks an attractor: the Hessian on what is not equivariant."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from haarflow.kernels.backend import compiled, precision, to_numpy
from haarflow.networks.structure import not_equivariant
from haarflow.networks.training import Data, Recipe, training_loss

__all__ = ["critical_penalty"]


def critical_penalty(recipe: Recipe, data: Data, parameters: Any, tolerance: float = 1e-6) -> float:
    """Return -lambda_min of the loss's Hessian, restricted to the parameters' part that is not equivariant.

    Parameters
    ----------
    recipe : Recipe
        Network and loss; its penalty does not count.
    data : Data
        The whole augmented training set, with the parts that are not equivariant.
    parameters : tuple of dict
        Equivariant, such as at the end of a training that began equivariant.
    tolerance : float
        Relative, of the eigenvalue.

    Returns
    -------
    float
        gamma beyond which (gamma/2) |P A|^2 makes small deviations decay; negative where they decay without.

    Notes
    -----
    Matrix-free, by Lanczos on Hessian-vector products in float64; cost: 4 passes over the samples for each.
    Source: Nordenfors & Flinth 2025 (arXiv 2502.06547).
    """
    x, y = (part.reshape(-1, *part.shape[2:]).astype(np.float64) for part in (data.x, data.y))
    with precision("float64"):
        parameters = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), parameters)
        flat, tree = ravel_pytree(parameters)
        plain = Recipe(recipe.network, recipe.loss, recipe.optimizer, recipe.learning_rate, dtype="float64")

        def restrict(v: np.ndarray) -> np.ndarray:
            return to_numpy(ravel_pytree(not_equivariant(data.parts, tree(jnp.asarray(v.ravel()))))[0])

        def hessian(v: np.ndarray) -> np.ndarray:
            return restrict(to_numpy(_product(plain, parameters, x, y, jnp.asarray(restrict(v)))))

        first = restrict(np.random.default_rng(0).standard_normal(flat.size))
        if not np.abs(first).max(initial=0.0) > 0:
            raise ValueError("action must leave some part of the layers not equivariant, found that all of it is")

        def eigenvalue(product: Any, which: str) -> float:
            operator = LinearOperator((flat.size, flat.size), matvec=product, dtype=np.float64)
            (found,) = eigsh(operator, 1, which=which, tol=tolerance, v0=first, return_eigenvectors=False)
            return float(found)

        # The equivariant part would give eigenvalues 0: it is lifted above all others.
        above = abs(eigenvalue(hessian, "LM"))
        return -eigenvalue(lambda v: hessian(v) + above * (v.ravel() - restrict(v)), "SA")


def _hessian_product(recipe: Recipe, parameters: Any, x: Any, y: Any, v: Any) -> Any:
    flat, tree = ravel_pytree(parameters)
    gradient = jax.grad(lambda flat: training_loss(recipe, (), tree(flat), x, y))
    return jax.jvp(gradient, (flat,), (v,))[1]


_product = compiled(_hessian_product)
