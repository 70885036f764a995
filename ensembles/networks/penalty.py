"""How large a penalty makes the equivariant networks an attractor: the Hessian on what is not equivariant."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from haarflow.kernels.backend import compiled, precision, to_numpy
from haarflow.networks.network import check_parameters
from haarflow.networks.structure import not_equivariant
from haarflow.networks.training import Data, Recipe, share_of_sum, training_loss

__all__ = ["critical_penalty"]

# Lanczos vectors: with few, spectra of flat minima, of many eigenvalues near 0, do not converge.
_LANCZOS = 64
# Of the parameters' norm: what float32 leaves of a training that began equivariant.
_EQUIVARIANT = 1e-3


def critical_penalty(recipe: Recipe, data: Data, parameters: Any, tolerance: float = 1e-9) -> float:
    """Return -lambda_min of the loss's Hessian, restricted to the parameters' part that is not equivariant.

    Parameters
    ----------
    recipe : Recipe
        Network and loss; its penalty does not count.
    data : Data
        The whole augmented training set, with the parts that are not equivariant. Under loss="sum" steps that draw
        some of it see their share of its Hessian.
    parameters : tuple of dict
        Of one member, equivariant, such as at the end of a training that began equivariant.
    tolerance : float
        Of the eigenvalue, relative to the Hessian's norm on that part.

    Returns
    -------
    float
        gamma beyond which (gamma/2) |P A|^2 makes small deviations decay; negative where they decay without.

    Raises
    ------
    ValueError
        For parameters that are not equivariant, or of another network; where all layers are equivariant anyway.

    Notes
    -----
    A statement on stationary points: while the loss still falls, the Hessian changes with the parameters. Matrix-free,
    by Lanczos on Hessian-vector products in float64; cost: 4 passes over the samples for each.
    Source: Nordenfors & Flinth 2025 (arXiv 2502.06547).
    """
    check_parameters(recipe.network, parameters, "parameters")
    x, y = (part.reshape(-1, *part.shape[2:]).astype(np.float64) for part in (data.x, data.y))
    share = share_of_sum(recipe, data)
    with precision("float64"):
        parameters = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), parameters)
        flat, tree = ravel_pytree(parameters)
        plain = Recipe(recipe.network, recipe.loss, recipe.optimizer, recipe.learning_rate, dtype="float64")

        def restrict(v: np.ndarray) -> np.ndarray:
            return to_numpy(ravel_pytree(not_equivariant(data.parts, tree(jnp.asarray(v.ravel()))))[0])

        def hessian(v: np.ndarray) -> np.ndarray:
            return share * restrict(to_numpy(_product(plain, parameters, x, y, jnp.asarray(restrict(v)))))

        away, whole = np.linalg.norm(restrict(to_numpy(flat))), np.linalg.norm(flat)
        if away > _EQUIVARIANT * whole:
            raise ValueError(
                f"parameters must be equivariant, found |P A| = {away:.3g} of |A| = {whole:.3g}: take "
                "networks.not_equivariant(parts, parameters) away before training, by full orbits"
            )
        first = restrict(np.random.default_rng(0).standard_normal(flat.size))
        if not np.abs(first).max(initial=0.0) > 0:
            raise ValueError("action must leave some part of the layers not equivariant, found that all of it is")

        def eigenvalue(product: Any, which: str, tolerance: float) -> float:
            operator = LinearOperator((flat.size, flat.size), matvec=product, dtype=np.float64)
            size = min(flat.size, _LANCZOS)
            options = {"tol": tolerance, "v0": first, "ncv": size, "return_eigenvectors": False}
            (found,) = eigsh(operator, 1, which=which, **options)
            return float(found)

        # Turned round and lifted, so that the smallest eigenvalue becomes the largest, near or above 1 whatever its
        # size, and the equivariant part's zeros stay below it.
        norm = abs(eigenvalue(hessian, "LM", 1e-3))
        if norm == 0:
            return 0.0
        return norm * (eigenvalue(lambda v: 2 * restrict(v) - hessian(v) / norm, "LA", tolerance / 4) - 2)


def _hessian_product(recipe: Recipe, parameters: Any, x: Any, y: Any, v: Any) -> Any:
    flat, tree = ravel_pytree(parameters)
    gradient = jax.grad(lambda flat: training_loss(recipe, (), tree(flat), x, y))
    return jax.jvp(gradient, (flat,), (v,))[1]


_product = compiled(_hessian_product)
