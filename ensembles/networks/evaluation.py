"""What members say: their outputs, and what each of their layers gives."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from haarflow.kernels.backend import compiled, in_threads, one_thread, precision, to_numpy
from haarflow.networks.forward import activations, forward
from haarflow.networks.network import Network

__all__ = ["feature_maps", "outputs"]

# Numbers in the widest layer that are computed at once.
_AT_ONCE = 2**22


def outputs(network: Network, dtype: str, members: Sequence[Any], x: np.ndarray) -> np.ndarray:
    """Return the outputs of members: array [M, m, k] in the dtype.

    Parameters
    ----------
    network : Network
        What they are.
    dtype : str
        In which they compute.
    members : sequence of parameters
        M of them.
    x : array [m, ...]
        Samples.
    """
    positions = int(np.prod(network.sample_shape[:-1], dtype=int))
    rows = min(len(x), max(1, _AT_ONCE // (max(network.width, network.sample_shape[-1]) * positions)))
    x = x.astype(dtype)
    out = np.empty((len(members), len(x), network.outputs), dtype)

    def work(m: int) -> None:
        with one_thread(), precision(dtype):
            for start in range(0, len(x), rows):
                part = x[start : start + rows]
                padded = np.concatenate([part, np.zeros((rows - len(part), *x.shape[1:]), dtype)])
                out[m, start : start + rows] = to_numpy(_forward(network, members[m], jnp.asarray(padded)))[: len(part)]

    for _ in in_threads(work, range(len(members))):
        continue
    return out


def feature_maps(network: Network, dtype: str, parameters: Any, x: np.ndarray) -> list[np.ndarray]:
    """Return what every layer of one member gives, in order: arrays [m, spatial axes, channels] or [m, channels]."""
    with precision(dtype):
        return [to_numpy(part) for part in _layers(network, parameters, jnp.asarray(x.astype(dtype)))]


_forward = compiled(forward)


def _all_layers(network: Network, parameters: Any, x: Any) -> list[Any]:
    return [part for _, part in activations(network, parameters, x)]


_layers = compiled(_all_layers)
