"""Layers by the names they have in other libraries, and what there is here in their place."""

from collections.abc import Sequence

__all__ = ["told"]

_NAMES = {
    "linear": "Dense(W_std, b_std)",
    "fullyconnected": "Dense(W_std, b_std)",
    "conv2d": "Conv(size, padding, W_std, b_std)",
    "convolution": "Conv(size, padding, W_std, b_std)",
    "leakyrelu": "LeakyRelu(slope)",
    "abs": "LeakyRelu(-1)",
    "sine": "Sin()",
    "serial": "Sequential(...)",
    "avgpool2d": "AvgPool(size)",
    "averagepooling2d": "AvgPool(size)",
    "adaptiveavgpool2d": "GlobalAvgPool()",
    "globalaveragepooling2d": "GlobalAvgPool()",
    "globalavgpool2d": "GlobalAvgPool()",
    "resblock": "Residual(branch)",
    "skip": "Residual(branch)",
}
_FINITE = "networks of finite width have hf.networks.{}"
_NEAREST = "not yet: the nearest with a kernel in closed form are Erf(), Gelu() and Sin()"
_LACKING = {
    "tanh": f"{_NEAREST}; {_FINITE.format('Tanh()')}",
    "sigmoid": _NEAREST,
    "softplus": _NEAREST,
    "silu": _NEAREST,
    "swish": _NEAREST,
    "elu": _NEAREST,
    "selu": _NEAREST,
    "maxpool": "a maximum has no kernel in closed form: AvgPool(size) and GlobalAvgPool() have",
    "maxpool2d": "a maximum has no kernel in closed form: AvgPool(size) and GlobalAvgPool() have",
    "layernorm": f"not yet; {_FINITE.format('LayerNorm()')}",
    "batchnorm": "it has no kernel: what a batch holds would change a sample's outputs",
    "dropout": "it has no kernel: members differ by their initialisation alone",
    "softmax": "outputs are regressed on, by hf.one_hot(labels, k)",
    "attention": "not yet",
}


def told(name: str, there: Sequence[str]) -> str:
    """Return what an AttributeError says of a name that haarflow.kernels does not have.

    Parameters
    ----------
    name : str
        What was asked for.
    there : sequence of str
        The names that there are.
    """
    asked = name.replace("_", "").lower()
    alike = [each for each in there if each.lower() == asked]
    layer = f"{alike[0]}" if alike else _NAMES.get(asked)
    if layer is not None:
        return f"haarflow.kernels has no {name}: here it is kernels.{layer}"
    if asked in _LACKING:
        return f"haarflow.kernels has no {name}: {_LACKING[asked]}"
    return f"module 'haarflow.kernels' has no attribute {name!r}"
