"""What measures of callables share: samples that go in and numbers that come out, checked."""

from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked

__all__ = ["configurations", "real", "returned"]


def real(values: Any, name: str) -> np.ndarray:
    """Return finite reals as they are; TypeError or ValueError where they are something else.

    Parameters
    ----------
    values : array
        What was given.
    name : str
        What it is, for errors.
    """
    refuse_masked(values, name)
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, found dtype {array.dtype}")
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite: found {int(bad.sum())} NaN or inf entries, the first at index {first}"
        )
    return array


def returned(values: Any, name: str, shape: tuple[int, ...], layout: str) -> np.ndarray:
    """Return what a callable gave as float64; TypeError or ValueError unless it is finite reals of a shape.

    Parameters
    ----------
    values : array
        What it gave.
    name : str
        The call, for errors.
    shape : tuple of int
        What is right.
    layout : str
        The axes of that shape, for errors.
    """
    array = real(values, name)
    if array.shape != shape:
        raise ValueError(f"{name} must be [{layout}] = {shape}, found shape {array.shape}")
    return array.astype(np.float64)


def configurations(x: Any) -> np.ndarray:
    """Return positions [..., atoms, 3] as a new array, float32 where they are and float64 otherwise.

    Parameters
    ----------
    x : array [..., atoms, 3]
        What was given, the argument x.
    """
    array = real(x, "x")
    if array.ndim < 2 or array.size == 0 or array.shape[-1] != 3:
        raise ValueError(f"x must be [..., atoms, 3] with entries on every axis, found shape {array.shape}")
    return array.astype(np.float32 if array.dtype == np.float32 else np.float64)
