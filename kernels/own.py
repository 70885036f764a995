"""A user's own kernel: what it returns is converted and held to what a kernel is, before anything believes it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.backend import check_dtype, precision
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.tangents import TangentKernel

__all__ = ["OwnKernel", "as_own", "from_function"]

# Of the largest value: how far what ought to be equal may be apart.
_TOLERANCE = {"float64": 1e-8, "float32": 1e-3}
# Samples on both sides of the trial, two numbers so that a transposed matrix has another shape.
_TRIED = 4, 3


@dataclass(frozen=True, repr=False)
class OwnKernel:
    """A user's kernel, held to its word; see `from_function`.

    Attributes
    ----------
    call : callable
        call(x1, x2) -> (nngp, ntk); x2 may be left out where it has a default.
    content_key : str
        Equal keys promise equal values.
    dtype : {"float64", "float32"}
        Of its results.
    """

    call: Callable[..., Any] = field(compare=False)
    content_key: str
    dtype: str = "float64"

    def __repr__(self) -> str:
        """Show the user's own object, or the function with its key."""
        if hasattr(self.call, "content_key"):
            return repr(self.call)
        name = getattr(self.call, "__name__", repr(self.call))
        return f"kernels.from_function({name}, key={self.content_key!r}, dtype={self.dtype!r})"

    @cached_property
    def _takes_one(self) -> bool:
        try:
            inspect.signature(self.call).bind(None)
        except (TypeError, ValueError):  # needs another, or does not tell
            return False
        return True

    def __call__(self, x1: Any, x2: Any = None) -> KernelPair:
        """Evaluate both kernels between two batches.

        Parameters
        ----------
        x1, x2 : array [n1, ...], [n2, ...]
            Samples; x2 defaults to x1.

        Returns
        -------
        KernelPair
            `nngp` and `ntk`, [n1, n2] each, NumPy arrays in `dtype`.

        Raises
        ------
        TypeError, ValueError
            Where the kernel returns something else, of another shape, in less precision, or not finite.

        Notes
        -----
        Cost: the kernel's own. What it computes in JAX is in `dtype`, too.
        """
        refuse_masked((x1, x2), "x1 and x2")
        x1 = np.asarray(x1, self.dtype)
        other = x1 if x2 is None else np.asarray(x2, self.dtype)
        with precision(self.dtype):
            found = self.call(x1) if x2 is None and self._takes_one else self.call(x1, other)
            pair = _unpacked(found)
            return KernelPair(
                *(
                    self._checked(part, name, (len(x1), len(other)))
                    for part, name in zip(pair, ("nngp", "ntk"), strict=True)
                )
            )

    def _checked(self, values: Any, name: str, shape: tuple[int, int]) -> np.ndarray:
        array = np.asarray(values)
        if array.shape != shape:
            turned = ", its transpose" if array.shape == shape[::-1] else ""
            raise ValueError(f"kernel(x1, x2) must give {name} [n1, n2] = {shape}, found shape {array.shape}{turned}")
        if array.dtype.kind not in "iuf":
            raise TypeError(f"kernel(x1, x2) must give {name} of real numbers, found dtype {array.dtype}")
        if array.dtype.kind == "f" and array.dtype.itemsize < np.dtype(self.dtype).itemsize:
            raise ValueError(
                f"kernel(x1, x2) must give {name} in its dtype {self.dtype}, found {array.dtype}, which has fewer "
                f'digits: compute it in {self.dtype}, or say dtype="float32"'
            )
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ValueError(f"kernel(x1, x2) must give {name} of finite numbers, found {bad} NaN or inf")
        return np.asarray(array, self.dtype)

    def check(self, x: np.ndarray) -> None:
        """Hold the kernel to a few samples: symmetric, no negative diagonal, and the same with x2 left out.

        Parameters
        ----------
        x : array [n, ...]
            Samples; the first seven, again and again where there are fewer.

        Raises
        ------
        TypeError, ValueError
            Saying what fails, and by how much.

        Notes
        -----
        Cost: four calls on up to four samples.
        """
        a, b = (x[np.arange(start, start + size) % len(x)] for start, size in zip((0, _TRIED[0]), _TRIED, strict=True))
        here, there, whole, alone = self(a, b), self(b, a), self(a, a), self(a)
        for i, name in enumerate(("nngp", "ntk")):
            self._equal(here[i], there[i].T, f"{name}(x1, x2) = {name}(x2, x1)^T")
            self._equal(whole[i], whole[i].T, f"{name}(x, x) = {name}(x, x)^T")
            self._equal(alone[i], whole[i], f"{name}(x) = {name}(x, x)")
            lowest = float(whole[i].diagonal().min())
            if lowest < 0:
                raise ValueError(
                    f"kernel(x, x) must have a diagonal >= 0, as variances are, found {name} of {lowest:.1e}"
                )

    def _equal(self, a: np.ndarray, b: np.ndarray, what: str) -> None:
        off, size = float(np.abs(a - b).max()), float(np.abs(b).max())
        if off > _TOLERANCE[self.dtype] * size:
            raise ValueError(
                f"kernel must be symmetric, {what}, found them apart by {off / size if size else np.inf:.1e} of the "
                "largest value on samples of the training set"
            )


def _unpacked(found: Any) -> tuple[Any, Any]:
    if hasattr(found, "nngp") and hasattr(found, "ntk"):
        return found.nngp, found.ntk
    if isinstance(found, (tuple, list)) and len(found) == 2:
        return found[0], found[1]
    told = f"an array of shape {np.shape(found)}" if hasattr(found, "shape") else repr(found)
    raise TypeError(
        f"kernel(x1, x2) must return (nngp, ntk), both [n1, n2], or kernels.KernelPair(nngp, ntk), found {told}"
    )


def as_own(kernel: Any) -> Any:
    """Return a kernel of ours as it is, and a user's as one that is held to its word.

    Parameters
    ----------
    kernel : Kernel
        With `dtype` and `content_key`, callable on two batches.

    Raises
    ------
    TypeError, ValueError
        For something that is no kernel, or a dtype or key that is none.
    """
    if isinstance(kernel, (AnalyticKernel, TangentKernel, OwnKernel)):
        return kernel
    if not (callable(kernel) and hasattr(kernel, "content_key") and hasattr(kernel, "dtype")):
        raise TypeError(f"kernel must be callable, with a dtype and a content_key, found {kernel!r}")
    return OwnKernel(kernel, _key(kernel.content_key, "content_key"), check_dtype(kernel.dtype).name)


def _key(key: Any, name: str) -> str:
    if not isinstance(key, str) or not key:
        raise ValueError(f"{name} must be a non-empty string that names the kernel, found {key!r}")
    return key


def from_function(function: Callable[..., Any], key: str, dtype: str = "float64") -> OwnKernel:
    """Use a function of two batches wherever a kernel of ours is expected.

    Parameters
    ----------
    function : callable
        function(x1, x2) -> (nngp, ntk): takes NumPy arrays [n1, ...] and [n2, ...] in `dtype` and returns K and Theta,
        [n1, n2] each, as NumPy or JAX arrays; symmetric, so that function(x2, x1) is the transpose. Where x2 has a
        default, it is called with x1 alone for a batch with itself.
    key : str
        Names the kernel in a store: equal keys promise equal values, so that a function that is edited needs another.
    dtype : {"float64", "float32"}
        Precision of what it returns; what it computes in JAX is in that precision.

    Returns
    -------
    OwnKernel
        Callable as kernel(x1, x2=None) -> KernelPair.

    Raises
    ------
    TypeError, ValueError
        For something that is not callable, an empty key, or another dtype. When it is called: for results of another
        shape, in less precision, or not finite; at `fit`, where it is not symmetric.

    Notes
    -----
    `kernels.check_invariance(kernel, action, sample_shape)` tells whether the orbit reduction applies to it.

    Examples
    --------
    >>> import numpy as np, haarflow as hf
    >>> from haarflow import kernels
    >>> def linear(x1, x2):
    ...     K = x1 @ x2.T / x1.shape[1]
    ...     return K, 2 * K  # of a linear network with one hidden layer
    >>> kernel = kernels.from_function(linear, key="linear")
    >>> ensemble = hf.DeepEnsemble(kernel).fit(np.eye(2), [[1.0], [3.0]])
    >>> ensemble.predict([[1.0, 1.0]], np.inf).mean.round(9)
    array([[[4.]]])
    """
    if not callable(function):
        raise TypeError(f"function must be callable as function(x1, x2) -> (nngp, ntk), found {function!r}")
    return OwnKernel(function, f"function({_key(key, 'key')})", check_dtype(dtype).name)
