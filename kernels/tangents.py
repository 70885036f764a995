"""The only file that knows neural-tangents: the module itself, and kernels to and from it."""

import importlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import jax
import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.kernels.architecture import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Layer,
    LeakyRelu,
    Relu,
    Residual,
    Sequential,
    Sin,
)
from haarflow.kernels.backend import check_dtype, precision, to_numpy
from haarflow.kernels.pair import KernelPair

__all__ = ["TangentKernel", "from_neural_tangents", "neural_tangents", "to_neural_tangents"]

_INSTALL = "pip install --no-deps neural-tangents==0.6.5 && pip install frozendict"
_NAME = "neural_tangents"
_MOVED = ("Jaxpr", "JaxprEqn", "Literal", "Var", "Primitive")
_lock = threading.RLock()


def neural_tangents() -> ModuleType:
    """Return the module neural_tangents, importable on current JAX and without TensorFlow.

    Kernels, `batch`, `predict` and `monte_carlo_kernel_fn` work; `max_learning_rate` and structured
    derivatives of empirical kernels do not.

    Raises
    ------
    ImportError
        Where it is not installed, saying how to install it.

    Notes
    -----
    It was written for JAX before 0.6. For its import alone, what it looks for in `jax.core` and `jax.util` is
    put there, and two of its modules that it does not need here are left empty; afterwards JAX is as before.
    Source: Novak et al. 2020.
    """
    with _lock:
        if sys.modules.get(_NAME) is not None:
            # By us or by the user; another thread's import is waited for.
            return importlib.import_module(_NAME)
        if _NAME in sys.modules or importlib.util.find_spec(_NAME) is None:
            raise ImportError(f"neural-tangents is not installed: {_INSTALL}")
        with _older_jax(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return importlib.import_module(_NAME)
            except ImportError as error:
                # Halves of it would be found by the next import, which may be one without this function.
                for name in [name for name in sys.modules if name.startswith(f"{_NAME}.")]:
                    del sys.modules[name]
                missing = isinstance(error, ModuleNotFoundError)
                found = f"lacks {error.name}" if missing else f"cannot be imported ({error})"
                raise ImportError(f"neural-tangents {found}: {_INSTALL}") from error


@contextmanager
def _older_jax() -> Iterator[None]:
    """Let JAX look as neural-tangents expects it, and put it back."""
    core = jax.core
    extended = importlib.import_module("jax.extend.core")
    before = dict(vars(core))
    # Modules that neural_tangents imports but that are not needed: TensorFlow, empirical kernels' rules.
    rules = ModuleType(f"{_NAME}._src.utils.rules")
    vars(rules)["Structure"] = object  # stands in annotations
    absent = {module.__name__: module for module in (ModuleType(f"{_NAME}.experimental"), rules)}
    if not _has("jax.util", "safe_map"):
        util = ModuleType("jax.util")
        vars(util).update(safe_map=_safe_map, safe_zip=_safe_zip)
        absent["jax.util"] = util
    kept = {name: sys.modules.get(name) for name in absent}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that JAX deprecates warn when they are looked up
            for name in _MOVED:
                if hasattr(extended, name):
                    vars(core)[name] = getattr(extended, name)
        sys.modules.update(absent)
        yield
    finally:
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for name in _MOVED:
            if name in before:
                vars(core)[name] = before[name]
            else:
                vars(core).pop(name, None)


def _has(module: str, name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def _safe_map(function: Callable[..., Any], *sequences: Any) -> list[Any]:
    return [function(*items) for items in zip(*map(list, sequences), strict=True)]


def _safe_zip(*sequences: Any) -> list[tuple[Any, ...]]:
    return list(zip(*map(list, sequences), strict=True))


def to_neural_tangents(arch: Sequential, width: int = 512, outputs: int = 1) -> tuple[Any, Any, Any]:
    """Return the same network as neural-tangents' (init_fn, apply_fn, kernel_fn).

    Parameters
    ----------
    arch : Sequential
        The network.
    width : int
        Channels of hidden layers at finite width; the kernels do not depend on it.
    outputs : int
        Width of the last layer.

    Raises
    ------
    ImportError
        Where neural-tangents is not installed.
    ValueError
        For a Conv whose support is not its full square, which neural-tangents does not have.
    """
    stax = neural_tangents().stax
    *hidden, last = arch.layers
    layers = [_translate(stax, layer, width) for layer in hidden]
    return stax.serial(*layers, _translate(stax, last, outputs))


def _translate(stax: Any, layer: Layer, width: int) -> Any:
    if isinstance(layer, Residual):
        branch = [_translate(stax, part, width) for part in layer.branch]
        return stax.serial(stax.FanOut(2), stax.parallel(stax.serial(*branch), stax.Identity()), _quiet_sum(stax))
    return _BUILDERS[type(layer)](stax, layer, width)


def _quiet_sum(stax: Any) -> Any:
    # It warns that the branches' independence is not verified; ours is, by the rules of composition.
    init_fn, apply_fn, kernel_fn = stax.FanInSum()

    def quiet(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kernel_fn(*args, **kwargs)

    vars(quiet).update(vars(kernel_fn))
    return init_fn, apply_fn, quiet


def _conv(stax: Any, layer: Conv, width: int) -> Any:
    if len(layer.offsets) != layer.size**2:
        raise ValueError(f"neural-tangents has no filter support: {layer} sees only {layer.offsets}")
    return stax.Conv(
        width, (layer.size, layer.size), padding=layer.padding, W_std=layer.W_std, b_std=layer.b_std or None
    )


_BUILDERS: dict[type[Layer], Callable[[Any, Any, int], Any]] = {
    Dense: lambda stax, layer, width: stax.Dense(width, W_std=layer.W_std, b_std=layer.b_std or None),
    Conv: _conv,
    Relu: lambda stax, layer, width: stax.Relu(),
    LeakyRelu: lambda stax, layer, width: stax.LeakyRelu(layer.slope),
    Erf: lambda stax, layer, width: stax.Erf(),
    Gelu: lambda stax, layer, width: stax.Gelu(),
    Sin: lambda stax, layer, width: stax.Sin(),
    Flatten: lambda stax, layer, width: stax.Flatten(),
    GlobalAvgPool: lambda stax, layer, width: stax.GlobalAvgPool(),
    AvgPool: lambda stax, layer, width: stax.AvgPool((layer.size, layer.size), (layer.size, layer.size)),
}


@dataclass(frozen=True)
class TangentKernel:
    """A kernel_fn of neural-tangents as a kernel of ours; see `from_neural_tangents`."""

    kernel_fn: Callable[..., Any] = field(repr=False, compare=False)
    key: str
    dtype: str = "float64"

    @property
    def content_key(self) -> str:
        """A string that is equal for kernels with equal values, as the user's key tells."""
        return f"neural_tangents({self.key})"

    def __getstate__(self) -> dict[str, Any]:
        # What was compiled stays in its process.
        return {name: value for name, value in vars(self).items() if name != "_compiled"}

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        return jax.jit(lambda x1, x2: self.kernel_fn(x1, x2, ("nngp", "ntk")))

    def __call__(self, x1: Any, x2: Any = None) -> KernelPair:
        """Evaluate both kernels between two batches.

        Parameters
        ----------
        x1, x2 : array [n1, ...], [n2, ...]
            Samples; x2 defaults to x1.

        Returns
        -------
        KernelPair
            `nngp` and `ntk`, [n1, n2] each, in `dtype`.

        Raises
        ------
        ValueError
            Where kernel_fn leaves spatial axes.

        Notes
        -----
        Cost: that of kernel_fn, and one compilation for each pair of shapes.
        """
        with precision(self.dtype):
            refuse_masked((x1, x2), "x1 and x2")
            x1 = np.asarray(x1, self.dtype)
            pair = self._compiled(x1, None if x2 is None else np.asarray(x2, self.dtype))
            nngp, ntk = to_numpy(pair.nngp), to_numpy(pair.ntk)
        shape = (len(x1), len(x1 if x2 is None else x2))
        if not nngp.shape == ntk.shape == shape:
            raise ValueError(
                f"kernel_fn must give K and Theta of shape {shape}, found {nngp.shape} and {ntk.shape}: "
                "spatial axes are removed by stax.Flatten() or stax.GlobalAvgPool()"
            )
        return KernelPair(nngp, ntk)


def from_neural_tangents(kernel_fn: Callable[..., Any], key: str, dtype: str = "float64") -> TangentKernel:
    """Use a kernel_fn of neural-tangents wherever a kernel of ours is expected.

    Parameters
    ----------
    kernel_fn : callable
        The third of stax.serial(...), or a batched one.
    key : str
        Names the kernel in a store: equal keys promise equal values.
    dtype : {"float64", "float32"}
        Precision of its evaluation.

    Raises
    ------
    ImportError
        Where neural-tangents is not installed.
    TypeError, ValueError
        For something that is not callable, an empty key, or another dtype.
    """
    neural_tangents()
    if not callable(kernel_fn):
        raise TypeError(f"kernel_fn must be callable, the third of stax.serial(...), found {kernel_fn!r}")
    if not isinstance(key, str) or not key:
        raise ValueError(f"key must be a non-empty string that names the kernel, found {key!r}")
    return TangentKernel(kernel_fn, key, check_dtype(dtype).name)
