"""Arrays as a user hands them over: real numbers, or an error that says what was found instead and what to pass."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.kernels.backend import is_traced

__all__ = ["as_real", "refuse_traced"]


def as_real(values: Any, name: str) -> np.ndarray:
    """Return finite real numbers as a new float64 array.

    Parameters
    ----------
    values : array
        What was given.
    name : str
        The argument's name, for errors.

    Raises
    ------
    TypeError, ValueError
        For what JAX traces, what is no array, masked, ragged, complex or not numeric, NaN or inf.
    """
    raw = as_array(values, name)
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, found dtype {raw.dtype}{_remedy(raw, name)}")
    array = raw.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite: found {int(bad.sum())} NaN or inf entries, the first at index {first}"
        )
    return array


def as_array(values: Any, name: str) -> np.ndarray:
    """Return what was given as an array of whatever dtype, which is no copy where it is one."""
    refuse_traced(name, values)
    refuse_masked(values, name)
    if not _is_like_an_array(values):
        raise TypeError(f"{name} must be an array, found {_article(type(values).__name__)}{_loader(values, name)}")
    try:
        return np.asarray(values)
    except ValueError as error:  # ragged lists
        raise ValueError(f"{name} must be an array: {error}") from error


def refuse_traced(name: str, *values: Any) -> None:
    """Raise TypeError inside of jax.jit and its kind: what is asked for is NumPy in, NumPy out.

    Parameters
    ----------
    name : str
        The argument that was traced, or the method that was called.
    *values : anything
        What was given.
    """
    if is_traced(*values):
        raise TypeError(
            f"{name} must be outside of jax.jit, jax.grad and jax.vmap, found what JAX traces: ensembles are NumPy in, "
            "NumPy out, and compile what they need. ensemble.jacobian(x_test, times) gives derivatives, and "
            "kernels.to_neural_tangents(arch) a kernel that JAX can trace"
        )


def _is_like_an_array(values: Any) -> bool:
    if isinstance(values, (Sequence, int, float, complex, np.generic, str, bytes)):
        return True
    if any(hasattr(values, name) for name in ("__array__", "__array_interface__", "__buffer__")):
        return True
    try:
        memoryview(values)
    except TypeError:
        return False
    return True


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _loader(values: Any, name: str) -> str:
    """Say how to make an array of what yields samples or batches."""
    part = 1 if name == "y" else 0  # of a batch or of a sample: images and their labels
    if isinstance(values, dict):
        return ": pass one of its entries"
    if hasattr(values, "batch_size") and hasattr(values, "dataset"):
        return f": collect its batches, {name} = np.concatenate([np.asarray(batch[{part}]) for batch in loader])"
    if hasattr(values, "__getitem__") and hasattr(values, "__len__"):
        return f": stack its samples, {name} = np.stack([np.asarray(dataset[i][{part}]) for i in range(len(dataset))])"
    if hasattr(values, "__iter__"):
        return f": list it first, {name} = np.array(list({name}))"
    return ""


def _remedy(raw: np.ndarray, name: str) -> str:
    first = next((value for value in raw.flat if not isinstance(value, (int, float))), None) if raw.size else None
    if raw.dtype.kind in "US" or isinstance(first, (str, bytes)):
        return ": strings are no numbers"
    if raw.dtype.kind == "O" and first is not None:
        kind = type(first).__name__
        lacking = kind in ("NAType", "NoneType", "NaTType")
        told = f"; give missing values a number, {name}.fillna(...), or leave their samples out" if lacking else ""
        return f" that holds {_article(kind)}{told}"
    return ""
