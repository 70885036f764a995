"""The only file that touches JAX's moving parts: the x64 scope and host copies."""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import jax
import numpy as np

__all__ = ["check_dtype", "precision", "to_numpy", "x64"]


@contextmanager
def x64(enabled: bool = True) -> Iterator[None]:
    """Switch 64-bit JAX arrays on or off in this thread, inside a `with` block only.

    Results are to be converted with `to_numpy` inside the block, which must not hold a `yield` or `await`:
    what is suspended in it would take the scope along. Not inside `jax.jit`.
    """
    # The scope's place since JAX 0.8, and before; looked up at run time, since each version has only one.
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    with home.enable_x64(enabled):
        yield


def precision(dtype: str | np.dtype) -> AbstractContextManager[None]:
    """Return the x64 scope that a dtype needs: on for float64, off for float32."""
    return x64(check_dtype(dtype) == np.float64)


def check_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype, and refuse others."""
    with suppress(TypeError, ValueError, SyntaxError):
        # To NumPy, None is float64.
        if dtype is not None and np.dtype(dtype) in (np.dtype("float32"), np.dtype("float64")):
            return np.dtype(dtype)
    raise ValueError(f'dtype must be "float64" or "float32", found {dtype!r}')


def to_numpy(array: Any) -> np.ndarray:
    """Return a writable host copy."""
    return np.array(array)
