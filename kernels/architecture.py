"""Architectures: layers as frozen dataclasses, checked when they are put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, ClassVar

from haarflow.kernels.layer import Layer as Layer

_PADDINGS = ("CIRCULAR", "SAME")
# Beyond it squares of variances overflow.
_LARGEST_STD = 1e75


def _positive_std(layer: Layer, W_std: float, b_std: float) -> None:
    for name, value in (("W_std", W_std), ("b_std", b_std)):
        number = _number(layer, name, value)
        if not 0 <= number <= _LARGEST_STD:
            raise ValueError(f"{type(layer).__name__}: {name} must be finite and >= 0, found {number}")
        object.__setattr__(layer, name, number)


def _number(layer: Layer, name: str, value: Any) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{type(layer).__name__}: {name} must be a number, found {value!r}")
    return float(value)


def _size(layer: Layer, value: Any) -> int:
    number = _number(layer, "size", value)
    if number < 1 or number != number // 1 or number == float("inf"):
        raise ValueError(f"{type(layer).__name__}: size must be a positive integer, found {value}")
    return int(number)


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer z = W_std/sqrt(fan_in) w.x + b_std b in NTK parametrisation.

    Parameters
    ----------
    W_std, b_std : float
        Standard deviations of weights and biases, >= 0.

    Raises
    ------
    ValueError
        For a negative or non-finite standard deviation.

    Notes
    -----
    Source: Lee et al. 2019, section 2.1.
    """

    W_std: float = 1.0
    b_std: float = 0.0
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _positive_std(self, self.W_std, self.b_std)

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Refuse inputs with spatial axes."""
        if shape:
            raise ValueError(
                f"Dense needs flat inputs [n, d]; found spatial axes of sizes {shape}: "
                "put Flatten() or GlobalAvgPool() in front of it"
            )
        return shape


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution of stride 1 on images [n, H, W, C], in NTK parametrisation.

    Parameters
    ----------
    size : int
        Odd side of the square filter.
    padding : {"SAME", "CIRCULAR"}
        "SAME" pads with zeros (the fan-in stays that of the whole filter), "CIRCULAR" wraps.
    W_std, b_std : float
        Standard deviations of weights and biases, >= 0.
    support : sequence of (dy, dx), optional
        The offsets the filter sees, inside the square; default all of it.

    Raises
    ------
    ValueError
        For an even size, an unknown padding, a negative standard deviation, or offsets that repeat or
        lie outside the square.

    Notes
    -----
    Source: Novak et al. 2019, section 2; Arora et al. 2019, section 4.
    """

    size: int
    padding: str = "SAME"
    W_std: float = 1.0
    b_std: float = 0.0
    support: tuple[tuple[int, int], ...] | None = None
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        size = _size(self, self.size)
        if size % 2 == 0:
            raise ValueError(
                f"Conv: size must be a positive odd integer, found {size}; for others pass the offsets as support="
            )
        if self.padding not in _PADDINGS:
            raise ValueError(f"Conv: padding must be one of {_PADDINGS}, found {self.padding!r}")
        _positive_std(self, self.W_std, self.b_std)
        radius = size // 2
        square = tuple((dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1))
        support = square
        if self.support is not None:
            try:
                support = tuple(sorted((index(dy), index(dx)) for dy, dx in self.support))
            except (TypeError, ValueError) as error:
                raise TypeError(f"Conv: support must be pairs of integers (dy, dx), found {self.support}") from error
        if not support or len(set(support)) < len(support) or not set(support) <= set(square):
            raise ValueError(
                f"Conv: support must be distinct offsets (dy, dx) with |dy|, |dx| <= {radius}, found {support}"
            )
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "support", support)

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """The offsets (dy, dx) that the filter sees."""
        assert self.support is not None
        return self.support

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Refuse inputs that are no images."""
        if len(shape) != 2:
            raise ValueError(f"Conv needs images [n, H, W, C]; found spatial axes of sizes {shape}")
        return shape


@dataclass(frozen=True)
class Relu(Layer):
    """The nonlinearity max(u, 0). Source of its kernel: Cho & Saul 2009."""

    kind: ClassVar[str] = "nonlinear"


@dataclass(frozen=True)
class LeakyRelu(Layer):
    """The nonlinearity max(u, 0) + slope * min(u, 0)."""

    slope: float = 0.01
    kind: ClassVar[str] = "nonlinear"

    def __post_init__(self) -> None:
        slope = _number(self, "slope", self.slope)
        if not abs(slope) < float("inf"):
            raise ValueError(f"LeakyRelu: slope must be finite, found {slope}")
        object.__setattr__(self, "slope", slope)


@dataclass(frozen=True)
class Erf(Layer):
    """The nonlinearity erf(u). Source of its kernel: Williams 1997."""

    kind: ClassVar[str] = "nonlinear"


@dataclass(frozen=True)
class Gelu(Layer):
    """The nonlinearity u * (1 + erf(u / sqrt 2)) / 2."""

    kind: ClassVar[str] = "nonlinear"


@dataclass(frozen=True)
class Sin(Layer):
    """The nonlinearity sin(u)."""

    kind: ClassVar[str] = "nonlinear"


@dataclass(frozen=True)
class Flatten(Layer):
    """Put all spatial axes into the channels: the kernel's mean over p of K[p, p]."""

    kind: ClassVar[str] = "collapse"

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Leave no spatial axis."""
        return ()


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Average over all spatial axes: the kernel's mean over p and q of K[p, q]."""

    kind: ClassVar[str] = "collapse"

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Leave no spatial axis."""
        if not shape:
            raise ValueError("GlobalAvgPool needs spatial axes, found flat inputs [n, d]")
        return ()


@dataclass(frozen=True)
class AvgPool(Layer):
    """Average over size x size windows, stride = size, without padding.

    Parameters
    ----------
    size : int
        Side of the window; it must divide both sides of the image.
    """

    size: int
    kind: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _size(self, self.size))

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Divide both sides by the window's."""
        if len(shape) != 2:
            raise ValueError(f"AvgPool needs images [n, H, W, C]; found spatial axes of sizes {shape}")
        if any(side % self.size for side in shape):
            raise ValueError(
                f"AvgPool({self.size}) needs sides that {self.size} divides, found {shape[0]} x {shape[1]}"
            )
        return (shape[0] // self.size, shape[1] // self.size)


def _unpack(layers: Sequence[Any], where: str) -> tuple[Layer, ...]:
    if len(layers) == 1 and isinstance(layers[0], (tuple, list)):
        layers = layers[0]
    found: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Sequential):
            found.extend(layer.layers)
        elif isinstance(layer, Layer):
            found.append(layer)
        else:
            raise TypeError(f"{where} is made of layers such as Dense(...), found {layer!r}")
    if not found:
        raise ValueError(f"{where} needs at least one layer")
    return tuple(found)


@dataclass(frozen=True, init=False)
class Residual(Layer):
    """A skip connection x + branch(x).

    Parameters
    ----------
    *branch : Layer
        The branch's layers; the last one is Dense or Conv, and no layer changes the spatial axes.

    Raises
    ------
    ValueError
        For a branch that does not end in a linear layer, or that changes the spatial axes.

    Notes
    -----
    The kernels of x and branch(x) add, which holds where x is Gaussian: behind a linear layer, never on
    the raw input or behind a nonlinearity.
    """

    branch: tuple[Layer, ...]
    kind: ClassVar[str] = "residual"

    def __init__(self, *branch: Layer | Sequence[Layer]) -> None:
        layers = _unpack(branch, "Residual")
        if layers[-1].kind != "linear":
            raise ValueError(f"Residual: the branch must end in Dense or Conv, found {layers[-1]}")
        changing = [layer for layer in layers if layer.kind in ("pool", "collapse")]
        if changing:
            raise ValueError(
                f"Residual: branch and input must have the same widths, but {changing[0]} changes the branch's"
            )
        object.__setattr__(self, "branch", layers)
        _check_order(layers, gaussian=True)

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Walk the branch, which leaves the spatial axes as they are."""
        for layer in self.branch:
            shape = layer.spatial_shape(shape)
        return shape


def _check_order(layers: tuple[Layer, ...], gaussian: bool = False) -> None:
    """Refuse orders that are wrong for every input; `gaussian` says whether the input is Gaussian."""
    spatial: bool | None = None  # unknown until a layer tells
    for position, layer in enumerate(layers, start=1):
        here = f"layer {position}, {layer},"
        if layer.kind == "nonlinear" and not gaussian:
            raise ValueError(f"{here} must follow a linear layer: Dense, Conv, or a pooling or Residual behind one")
        if isinstance(layer, Residual) and not gaussian:
            raise ValueError(
                f"{here} must follow a linear layer: kernels of x and branch(x) add only where x is Gaussian, "
                "which the raw input and a nonlinearity's output are not"
            )
        parts = layer.branch if isinstance(layer, Residual) else (layer,)
        if any(isinstance(part, (Conv, AvgPool, GlobalAvgPool)) for part in parts) and spatial is False:
            raise ValueError(f"{here} needs spatial axes, but a layer in front of it removed them")
        if any(isinstance(part, Dense) for part in parts) and spatial is True:
            raise ValueError(f"{here} needs flat inputs: put Flatten() or GlobalAvgPool() in front of it")
        if any(isinstance(part, (Conv, AvgPool)) for part in parts):
            spatial = True
        if layer.kind == "collapse" or isinstance(layer, Dense):
            spatial = False
        if layer.kind in ("linear", "nonlinear"):
            gaussian = layer.kind == "linear"


@dataclass(frozen=True, init=False)
class Sequential:
    """A network: layers in order, the last one Dense.

    Parameters
    ----------
    *layers : Layer
        Layers; a Sequential among them is unpacked.

    Raises
    ------
    TypeError
        For something that is no layer.
    ValueError
        For a network without a trailing Dense, or layers in an order that no input fits (Conv behind
        Flatten, a nonlinearity or Residual on the raw input, ...).

    Examples
    --------
    >>> from haarflow import kernels
    >>> net = kernels.Sequential(kernels.Dense(2**0.5), kernels.Relu(), kernels.Dense())
    >>> len(net.layers)
    3
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Any) -> None:
        found = _unpack(layers, "Sequential")
        _check_order(found)
        if not isinstance(found[-1], Dense):
            raise ValueError(
                f"Sequential must end in Dense, the read-out of the network, found {found[-1]}: add Dense(W_std, b_std)"
            )
        object.__setattr__(self, "layers", found)

    @property
    def key(self) -> str:
        """A string that is equal for equal networks, in every process."""
        return repr(self)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Refuse samples of a shape that the network cannot take.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample: spatial axes, then channels, e.g. (28, 28, 1) or (784,).

        Raises
        ------
        ValueError
            Saying which layer does not fit.
        """
        if not sample_shape:
            raise ValueError("x must be [n, d] or [n, spatial axes, channels], found one number a sample")
        shape = tuple(sample_shape[:-1])
        for layer in self.layers:
            shape = layer.spatial_shape(shape)
