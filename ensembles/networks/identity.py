"""What a user's own layer, loss or optimizer does, for the key under which members are kept."""

import jax
import jax.numpy as jnp
import numpy as np

from haarflow.groups.content import content_digest
from haarflow.kernels.backend import precision, to_numpy
from haarflow.kernels.entry import Key
from haarflow.kernels.gram_key import are_ours, rounded
from haarflow.networks.evaluation import outputs
from haarflow.networks.losses import LOSSES
from haarflow.networks.network import initial_parameters
from haarflow.networks.training import Recipe

__all__ = ["own_parts"]

_SAMPLES = 2


def own_parts(recipe: Recipe, x: np.ndarray, y: np.ndarray) -> Key:
    """Return digests of what parts that are not this library's or Optax's do; nothing where there are none.

    Parameters
    ----------
    recipe : Recipe
        How members are trained.
    x, y : array [n, ...], [n, k]
        Training set, of which two samples are tried.

    Returns
    -------
    dict
        "layers_do": outputs of a network drawn from seed 0; "loss_does": its values; "optimizer_does": two steps.

    Notes
    -----
    A name alone would serve members of what has been edited since. Cost: one forward pass of two samples.
    """
    import optax  # here, since it takes half a second

    found: Key = {}
    loss = LOSSES[recipe.loss]
    if not are_ours(recipe.network.architecture.layers):
        drawn = initial_parameters(recipe.network, 0, 0, recipe.dtype)
        found["layers_do"] = _digest(outputs(recipe.network, recipe.dtype, [drawn], x[:_SAMPLES]), recipe.dtype)
    with precision(recipe.dtype):
        if not str(getattr(loss, "__module__", "")).startswith("haarflow."):
            targets = jnp.asarray(y[:_SAMPLES], recipe.dtype)
            draws = np.random.default_rng(0).standard_normal((3, *targets.shape))
            values = [to_numpy(loss(jnp.asarray(f, recipe.dtype), targets)) for f in draws]
            found["loss_does"] = _digest(np.array(values), recipe.dtype)
        if not str(getattr(getattr(optax, recipe.optimizer), "__module__", "")).startswith("optax."):
            found["optimizer_does"] = _digest(_two_steps(recipe), recipe.dtype)
    return found


def _two_steps(recipe: Recipe) -> np.ndarray:
    optimizer, p = recipe.transformation(), jnp.linspace(-1.0, 2.0, 5, dtype=recipe.dtype)
    memory, found = optimizer.init(p), []
    for _ in range(2):
        updates, memory = optimizer.update(jnp.cos(p), memory, p)
        p = jax.tree.map(jnp.add, p, updates)
        found.append(to_numpy(p))
    return np.array(found)


def _digest(values: np.ndarray, dtype: str) -> str:
    return content_digest(rounded(values, dtype))
