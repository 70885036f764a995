"""What layers are told: numbers, checked, with errors that name the layer."""

from typing import Any

from haarflow.kernels.misread import warn_of_width

__all__ = ["as_number", "as_size", "set_std"]

# Beyond it squares of variances overflow.
_LARGEST_STD = 1e75


def set_std(layer: Any, W_std: float, b_std: float) -> None:
    """Enter standard deviations of weights and biases, finite and >= 0, into a layer."""
    warn_of_width(type(layer).__name__, W_std)
    for name, value in (("W_std", W_std), ("b_std", b_std)):
        number = as_number(layer, name, value)
        if not 0 <= number <= _LARGEST_STD:
            raise ValueError(f"{type(layer).__name__}: {name} must be finite and >= 0, found {number}")
        object.__setattr__(layer, name, number)


def as_number(layer: Any, name: str, value: Any) -> float:
    """Return a number as a float."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{type(layer).__name__}: {name} must be a number, found {value!r}")
    return float(value)


def as_size(layer: Any, value: Any) -> int:
    """Return a positive whole number as an integer."""
    number = as_number(layer, "size", value)
    if number < 1 or number != number // 1 or number == float("inf"):
        raise ValueError(f"{type(layer).__name__}: size must be a positive integer, found {value}")
    return int(number)
