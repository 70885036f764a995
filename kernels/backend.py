"""The only file that touches JAX's moving parts: the x64 scope and host copies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

__all__ = ["check_dtype", "precision", "to_numpy", "x64"]


@contextmanager
def x64(enabled: bool = True) -> Iterator[None]:
    """Switch 64-bit JAX arrays on or off in this thread, inside a `with` block only."""
    if hasattr(jax, "enable_x64"):  # the scope since JAX 0.8
        scope = jax.enable_x64(enabled)
    else:
        from jax.experimental import enable_x64

        scope = enable_x64(enabled)
    with scope:
        yield


def precision(dtype: str | np.dtype) -> Any:
    """Return the x64 scope that a dtype needs."""
    return x64(check_dtype(dtype) == np.float64)


def check_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype, and refuse others."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f'dtype must be "float64" or "float32", found {dtype!r}')
    return found


def to_numpy(array: Any) -> np.ndarray:
    """Return a writable host copy."""
    return np.array(array)
