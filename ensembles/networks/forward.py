"""What a finite network computes, as a pure JAX function of its parameters, in the parametrisation of its kernel."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from haarflow import kernels
from haarflow.kernels.architecture import Layer
from haarflow.networks.layers import LayerNorm, Tanh
from haarflow.networks.network import Network

__all__ = ["activations", "forward"]

_EPS = 1e-5  # beside a variance, as deep learning libraries have it


def forward(network: Network, parameters: Any, x: Any) -> Any:
    """Return the outputs [n, k] for samples [n, ...]; NTK parametrisation, Lee et al. 2019, section 2.1."""
    return activations(network, parameters, x)[-1][1]


def activations(network: Network, parameters: Any, x: Any) -> list[tuple[Layer, Any]]:
    """Return what every layer gives, in order: [n, spatial axes, channels] or [n, channels]."""
    return list(_stages(network.architecture.layers, iter(parameters), x))


def _stages(layers: Sequence[Layer], parameters: Iterator[Any], x: Any) -> Iterator[tuple[Layer, Any]]:
    for layer in layers:
        if isinstance(layer, kernels.Residual):
            *_, (_, branch) = _stages(layer.branch, parameters, x)
            x = x + branch
        elif isinstance(layer, (kernels.Dense, kernels.Conv)):
            x = _linear(layer, next(parameters), x)
        else:
            x = _RULES[type(layer)](layer, x)
        yield layer, x


def _linear(layer: "kernels.Dense | kernels.Conv", parameters: Any, x: Any) -> Any:
    weights = parameters["weights"]
    fan_in = weights.size // weights.shape[-1]
    scaled = weights * (layer.W_std / fan_in**0.5)
    z = _convolve(layer, scaled, x) if isinstance(layer, kernels.Conv) else _product(x, scaled)
    return z + layer.b_std * parameters["bias"] if layer.b_std > 0 else z


def _product(x: Any, weights: Any) -> Any:
    # On GPUs float32 would have ten bits of mantissa otherwise.
    return jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)


def _convolve(layer: "kernels.Conv", weights: Any, x: Any) -> Any:
    """Return z[p] = sum over offsets s of x[p + s] weights[s]: one matrix product over all offsets and channels."""
    radius = layer.size // 2
    pad = [(0, 0), (radius, radius), (radius, radius), (0, 0)]
    padded = jnp.pad(x, pad, mode="wrap") if layer.padding == "CIRCULAR" else jnp.pad(x, pad)
    height, width = x.shape[1:3]
    seen = [
        padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width] for dy, dx in layer.offsets
    ]
    return _product(jnp.concatenate(seen, axis=-1), weights.reshape(-1, weights.shape[-1]))


def _average(layer: "kernels.AvgPool", x: Any) -> Any:
    n, height, width, channels = x.shape
    s = layer.size
    return x.reshape(n, height // s, s, width // s, s, channels).mean(axis=(2, 4))


def _normalise(layer: LayerNorm, x: Any) -> Any:
    axes = tuple(range(1, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=axes, keepdims=True) + _EPS)


# A new layer without parameters is one entry here.
_RULES: dict[type[Layer], Callable[[Any, Any], Any]] = {
    kernels.Relu: lambda layer, x: jax.nn.relu(x),
    kernels.LeakyRelu: lambda layer, x: jnp.where(x > 0, x, layer.slope * x),
    kernels.Erf: lambda layer, x: jax.lax.erf(x),
    kernels.Gelu: lambda layer, x: x * (1 + jax.lax.erf(x / 2**0.5)) / 2,
    kernels.Sin: lambda layer, x: jnp.sin(x),
    kernels.Flatten: lambda layer, x: x.reshape(len(x), -1),
    kernels.GlobalAvgPool: lambda layer, x: x.mean(axis=tuple(range(1, x.ndim - 1))),
    kernels.AvgPool: _average,
    Tanh: lambda layer, x: jnp.tanh(x),
    LayerNorm: _normalise,
}
