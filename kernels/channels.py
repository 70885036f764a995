"""Images whose channels seem to come first, where a network tells positions from channels."""

from collections.abc import Iterator
from typing import Any

from haarflow.kernels.architecture import AvgPool, Conv, GlobalAvgPool
from haarflow.kernels.misread import warn_of_input

__all__ = ["warn_of_channels"]

_SEES = (AvgPool, Conv, GlobalAvgPool)


def warn_of_channels(layers: Any, shape: tuple[int, ...]) -> None:
    """Say that images look as if their channels came first, where a network tells positions from channels.

    Parameters
    ----------
    layers : sequence of Layer
        Of the network.
    shape : tuple of int
        Of one sample.
    """
    if (
        len(shape) == 3
        and shape[0] in (1, 3)
        and shape[1] == shape[2] != shape[0]
        and any(isinstance(layer, _SEES) for layer in _walk(layers))
    ):
        h, w, c = shape
        warn_of_input(
            f"x is read as images of {h} x {w} pixels with {c} channels, [n, H, W, C], found samples of shape {shape}: "
            "if the channels come first, pass x.transpose(0, 2, 3, 1)"
        )


def _walk(layers: Any) -> Iterator[Any]:
    for layer in layers:
        yield layer
        yield from _walk(getattr(layer, "branch", ()))
