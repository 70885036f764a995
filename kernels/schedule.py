"""How a network is walked: linear layers with the nonlinearities behind them, cut into segments at poolings."""

from dataclasses import dataclass

from haarflow.kernels.architecture import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyRelu,
    Relu,
    Residual,
)
from haarflow.kernels.duals import DUALS

__all__ = ["Segment", "Unit", "homogeneous", "layout", "schedule"]

Pooling = AvgPool | GlobalAvgPool | Flatten


@dataclass(frozen=True)
class Unit:
    """A linear layer and the nonlinearity behind it, either of which may be missing; or a residual branch.

    Attributes
    ----------
    linear, nonlinear : Layer or None
        The layers.
    last : bool
        Whether no nonlinearity of the network comes later, so that K takes the place of distances.
    branch : tuple of Unit
        Of a residual connection; then there are no layers.
    """

    linear: Dense | Conv | None = None
    nonlinear: Layer | None = None
    last: bool = False
    branch: tuple["Unit", ...] = ()


@dataclass(frozen=True)
class Segment:
    """Units on one grid of positions, and what takes them to the next.

    Attributes
    ----------
    units : tuple of Unit
        Walked for each displacement alone.
    pooling : AvgPool, GlobalAvgPool, Flatten or None
        None at the network's end.
    distances : bool
        Whether a nonlinearity follows the pooling, so that distances are pooled.
    """

    units: tuple[Unit, ...]
    pooling: Pooling | None
    distances: bool


def layout(layers: tuple[Layer, ...], rank: int) -> str:
    """Return which pairs of positions the network needs of samples with `rank` spatial axes.

    Returns
    -------
    str
        "flat" where none are left, "diagonal" where p = p' is all that counts, "displaced" where a pooling
        mixes positions.
    """
    if rank == 0 or isinstance(layers[0], Flatten):
        return "flat"
    pooled = next((layer for layer in layers if isinstance(layer, (AvgPool, GlobalAvgPool, Flatten))), None)
    if pooled is None:
        raise ValueError("the network never removes the spatial axes")
    return "diagonal" if isinstance(pooled, Flatten) else "displaced"


def homogeneous(layers: tuple[Layer, ...]) -> bool:
    """Whether K and Theta of a x and b x' are a b times those of x and x' for all a, b > 0."""
    for layer in layers:
        if isinstance(layer, Residual):
            if not homogeneous(layer.branch):
                return False
        elif isinstance(layer, (Dense, Conv)):
            if layer.b_std:
                return False
        elif type(layer) in DUALS and not isinstance(layer, (Relu, LeakyRelu)):
            return False
    return True


def schedule(layers: tuple[Layer, ...], rank: int) -> tuple[Segment, ...]:
    """Cut a network into segments.

    Parameters
    ----------
    layers : tuple of Layer
        Of a Sequential.
    rank : int
        Number of spatial axes of its samples; with none, Flatten does nothing.

    Returns
    -------
    tuple of Segment
        The last one without a pooling.
    """
    segments: list[Segment] = []
    remaining = _count(layers)
    part: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Flatten) and (rank == 0 or any(isinstance(s.pooling, _COLLAPSING) for s in segments)):
            continue
        if isinstance(layer, (AvgPool, GlobalAvgPool, Flatten)):
            units, remaining = _units(part, remaining)
            segments.append(Segment(units, layer, remaining > 0))
            part = []
        else:
            part.append(layer)
    units, _ = _units(part, remaining)
    return (*segments, Segment(units, None, False))


_COLLAPSING = (GlobalAvgPool, Flatten)


def _count(layers: tuple[Layer, ...]) -> int:
    return sum(_count(layer.branch) if isinstance(layer, Residual) else type(layer) in DUALS for layer in layers)


def _units(layers: list[Layer], remaining: int) -> tuple[tuple[Unit, ...], int]:
    """Return the units, and how many nonlinearities of the network come behind them."""
    units: list[Unit] = []
    waiting: Dense | Conv | None = None
    for layer in layers:
        if type(layer) in DUALS:
            remaining -= 1
            units.append(Unit(waiting, layer, remaining == 0))
            waiting = None
            continue
        if waiting is not None:
            units.append(Unit(waiting))
            waiting = None
        if isinstance(layer, Residual):
            branch, remaining = _units(list(layer.branch), remaining)
            units.append(Unit(branch=branch))
        elif isinstance(layer, (Dense, Conv)):
            waiting = layer
        else:
            raise TypeError(f"no kernel in closed form is known of {layer}")
    if waiting is not None:
        units.append(Unit(waiting))
    return tuple(units), remaining
