"""What is accepted although it looks as if something else was meant: one warning each, at the caller's own line."""

import sys
import warnings
from typing import Any

import numpy as np

__all__ = ["InputWarning", "warn_of_input", "warn_of_integers", "warn_of_width"]

# Integers from here on are what people write for a number of units.
_WIDTH = 8
# Smaller integers may be counts or grey levels of fewer bits, and fewer of them features of a table.
_LEVELS, _PIXELS = 128, 64


class InputWarning(UserWarning):
    """What was given is used as it stands, and is likely to be meant otherwise."""


def warn_of_input(message: str) -> None:
    """Warn at the first line outside haarflow that led here.

    Parameters
    ----------
    message : str
        What is taken for what, and what to write where something else is meant.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "haarflow":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, InputWarning, stacklevel=level)


def warn_of_width(layer: str, W_std: Any) -> None:
    """Say that W_std is no width, where it is an integer as large as one.

    Parameters
    ----------
    layer : str
        Name of the layer.
    W_std : float
        As it was given: 128.0 is taken as it is.
    """
    if isinstance(W_std, (int, np.integer)) and W_std >= _WIDTH:
        warn_of_input(
            f"{layer}: W_std is a standard deviation of the weights and no width, found the integer {W_std}: layers "
            f"are infinitely wide, and of hf.FiniteEnsemble(width=...) wide; if it is meant, write {W_std}.0"
        )


def warn_of_integers(x: np.ndarray, name: str) -> None:
    """Say that integers 0 .. 255 are used unscaled, where they look like the pixels of images.

    Parameters
    ----------
    x : array [n, ...]
        Samples as they were given.
    name : str
        The argument's name.
    """
    if x.dtype.kind not in "iu" or x.size == 0 or (x.ndim < 3 and x.size // len(x) < _PIXELS):
        return
    lowest, largest = int(x.min()), int(x.max())
    if lowest >= 0 and _LEVELS <= largest <= 255:
        warn_of_input(
            f"{name} holds integers {lowest} .. {largest}, which are used as they are: kernels and learning rates "
            f"expect numbers about 1, so that images are divided by 255, {name} / 255; {name}.astype(float) is taken "
            "without a word"
        )
