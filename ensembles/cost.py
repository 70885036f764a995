"""What long work costs, and what would be cheaper: said once where no progress bar says it."""

import sys
import warnings

import numpy as np

from haarflow.kernels import AnalyticKernel, AvgPool, Flatten, GlobalAvgPool, Kernel, Store
from haarflow.kernels.architecture import Layer
from haarflow.kernels.duals import DUALS
from haarflow.kernels.gram_tiles import LABEL
from haarflow.kernels.work import entry_work, position_pairs
from haarflow.progress import Pace

__all__ = ["CostWarning", "Foretelling", "cheaper", "foretelling", "outside"]

# Seconds from which on work is foretold.
LONG = 600.0
# What an alternative must save to be named.
_WORTH = 1.5


# Of what grows otherwise than the Gram matrix; of solvers' steps nobody knows how many there will be.
_ADVICE = {
    "test kernel": "half the test points take half",
    "prior": 'half the test points take a quarter, and covariance="diagonal" one of them for each',
    "eigendecomposition, seconds": 'half the samples take an eighth, and means by solver="krylov" need none',
}
_NAMES = {"eigendecomposition, seconds": "the eigendecomposition", "prior": "the kernel of the test points"}


class CostWarning(UserWarning):
    """What was asked for will take long; how long, and what would be cheaper."""


class Foretelling:
    """Hears of progress, and warns once where what remains takes long.

    Parameters
    ----------
    advice : str
        What would be cheaper.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._paces: dict[str, Pace] = {}
        self._told = False

    def __call__(self, label: str, done: int, total: int) -> None:
        """Hear that some of the items are done."""
        pace = self._paces.setdefault(label, Pace())
        pace.add(done, total)
        remaining = pace.remaining
        if self._told or remaining is None or remaining < LONG or (label != LABEL and label not in _ADVICE):
            return
        self._told = True
        advice = self._advice if label == LABEL else _ADVICE[label]
        message = f"{_NAMES.get(label, f'the {label}')} takes {_in_words(remaining)} more at the present pace: {advice}"
        warnings.warn(message, CostWarning, stacklevel=outside())


def foretelling(kernel: Kernel, x: np.ndarray, store: Store | None) -> Foretelling:
    """Return what hears of progress with a kernel on samples x [n, ...], and knows what would be cheaper."""
    return Foretelling(cheaper(kernel, x.shape[1:], store is not None))


def cheaper(kernel: Kernel, sample_shape: tuple[int, ...], stored: bool) -> str:
    """Say what would be cheaper than a kernel on samples of a shape.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    sample_shape : tuple of int
        (d,) or (*positions, C).
    stored : bool
        Whether a store keeps what is done.
    """
    words = []
    if isinstance(kernel, AnalyticKernel) and (found := _other_networks(kernel, sample_shape)):
        pairs = position_pairs(kernel.architecture.layers, sample_shape)
        words.append(f"each kernel entry is a sum over {pairs:,} pairs of positions; {', '.join(found)}")
    words.append("half the samples take a quarter")
    if not stored:
        words.append("with store=... what is done is kept, and a run that is stopped goes on from there")
    return "; ".join(words)


def _other_networks(kernel: AnalyticKernel, sample_shape: tuple[int, ...]) -> list[str]:
    layers, positions, channels = kernel.architecture.layers, sample_shape[:-1], sample_shape[-1]
    if kernel.of_inner_product(sample_shape):
        return []
    even = all(side % 2 == 0 for side in positions)
    tried: list[tuple[str, tuple[Layer, ...], tuple[int, ...]]] = []
    whole = [k for k, layer in enumerate(layers) if isinstance(layer, GlobalAvgPool)]
    if whole:
        flat = (*layers[: whole[0]], Flatten(), *layers[whole[0] + 1 :])
        tried.append(("Flatten() in place of GlobalAvgPool()", flat, sample_shape))
    if even:
        halved = (*(side // 2 for side in positions), channels)
        tried.append(("images of half the side", layers, halved))
        first = next((k for k, layer in enumerate(layers) if type(layer) in DUALS), len(layers))
        early = (*layers[: first + 1], AvgPool(2), *layers[first + 1 :])
        if whole and first < whole[0] and not any(isinstance(layer, AvgPool) for layer in layers):
            tried.append(("AvgPool(2) behind the first nonlinearity", early, sample_shape))
    now = entry_work(layers, sample_shape)
    saved = [(what, now / entry_work(other, shape)) for what, other, shape in tried]
    return [f"{what} would take {_factor(times)} times less" for what, times in saved if times >= _WORTH]


def _factor(times: float) -> str:
    return f"{times:.1f}" if times < 10 else f"{times:.0f}"


def _in_words(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 90:
        return f"about {minutes:.0f} minutes"
    return f"about {minutes / 60:.0f} hours" if minutes < 48 * 60 else f"about {minutes / 60 / 24:.0f} days"


def outside() -> int:
    """Return the stacklevel at which its caller's warnings point at the code that called the library."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "haarflow":
        level, frame = level + 1, frame.f_back
    return level
