"""What a user hands over: checked once, at the door, with errors that name the argument."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from haarflow.given import as_array, as_real
from haarflow.groups import (
    Action,
    FiniteGroup,
    HaarAction,
    HaarQuadrature,
    Harmonic,
    HarmonicSum,
    Representation,
    harmonic,
)
from haarflow.groups.continuous import summands
from haarflow.kernels import AnalyticKernel, Kernel, Sequential, analytic
from haarflow.kernels.backend import check_dtype
from haarflow.kernels.misread import warn_of_integers
from haarflow.kernels.own import as_own
from haarflow.solvers.lapack import machine_memory

__all__ = ["as_integer", "as_kernel", "as_labels", "as_number", "as_output", "as_samples", "check_room", "seen_by"]

# Sums and differences of so many times less than the largest number are representable.
# Kernels hold squares of the samples and products of such squares.
_LARGEST = {"float64": 1e70, "float32": 1e8}
_LARGEST_LABEL = {"float64": 1e300, "float32": 1e38}


def as_samples(x: Any, name: str = "x", like: tuple[int, ...] | None = None, largest: float = np.inf) -> np.ndarray:
    """Return samples as a new float64 array [n, ...]; integers and float32 are converted.

    Parameters
    ----------
    x : array [n, ...]
        Samples, at least one.
    name : str
        The argument's name, for errors.
    like : tuple of int, optional
        The sample shape that the training set has.
    largest : float
        Magnitude beyond which kernels overflow.

    Raises
    ------
    ValueError, TypeError
        For no samples, complex or non-numeric values, NaN or inf, values too large, or another sample shape.

    Warns
    -----
    InputWarning
        For integers that look like unscaled pixels.
    """
    raw = as_array(x, name)
    array = as_real(raw, name)
    one = f": one sample is {name}[None]" if like is not None and array.shape == like else ""
    if array.ndim < 2:
        raise ValueError(f"{name} must be [n, d] or [n, spatial axes, channels], found shape {array.shape}{one}")
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one sample, found shape {array.shape}")
    if like is not None and array.shape[1:] != like:
        found = f"shape {array.shape}{one}" if one else f"{array.shape[1:]}"
        raise ValueError(f"{name} must hold samples of the training shape {like}, found {found}")
    if np.abs(array).max() > largest:
        raise ValueError(
            f"{name} must stay below {largest:.0e} in magnitude, or its kernel overflows, found "
            f"{np.abs(array).max():.1e}: rescale it, or use float64"
        )
    warn_of_integers(raw, name)
    return array


def seen_by(kernel: Kernel, x: Any, name: str = "x", like: tuple[int, ...] | None = None) -> np.ndarray:
    """Return samples as `as_samples` does, of sizes whose kernels the dtype holds.

    Parameters
    ----------
    kernel : Kernel
        Which is asked for.
    x, name, like
        As in `as_samples`.
    """
    x = as_samples(x, name, like, _LARGEST[kernel.dtype])
    if isinstance(kernel, AnalyticKernel):
        kernel.check_scale(x, name)
    return x


def as_number(value: Any, name: str, positive: bool = False) -> float:
    """Return a finite number >= 0, or > 0.

    Parameters
    ----------
    value : float
        What was given.
    name : str
        The argument's name, for errors.
    positive : bool
        Refuse 0 too.

    Raises
    ------
    TypeError, ValueError
        For something that is no single number, or out of range.
    """
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number, found {value!r}")
    number = float(value)
    if not (number > 0 if positive else number >= 0) or number == np.inf:
        raise ValueError(f"{name} must be finite and {'>' if positive else '>='} 0, found {value}")
    return number


def as_integer(value: Any, name: str, least: int) -> int:
    """Return an integer of at least `least`.

    Parameters
    ----------
    value : int
        What was given; bools are none.
    name : str
        The argument's name, for errors.
    least : int
        The smallest that is allowed.

    Raises
    ------
    TypeError, ValueError
        For something that is no single integer, or too small.
    """
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "iu":
        raise TypeError(f"{name} must be an integer, found {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")
    return int(value)


def check_room(name: str, shape: Sequence[int], axes: str) -> None:
    """Refuse what would not fit the machine's memory, before anything is computed.

    Parameters
    ----------
    name : str
        The argument that makes it large.
    shape : sequence of int
        Of the float64 array that is to be returned.
    axes : str
        What its axes are, for the error.

    Raises
    ------
    ValueError
        Where it is larger than the machine's memory, as far as the system tells.
    """
    size = 8 * prod(int(side) for side in shape)
    room = machine_memory()
    if room is not None and size > room:
        raise ValueError(
            f"{name} must be fewer: the result {axes} = {list(shape)} takes {size / 1e9:.3g} GB, and this machine has "
            f"{room / 1e9:.3g} GB; ask for a part at a time"
        )


def as_labels(y: Any, n: int, width: int | None, dtype: str = "float64") -> np.ndarray:
    """Return labels as a new float64 array [n, k].

    Parameters
    ----------
    y : array [n, k]
        One row of targets for each sample.
    n : int
        Number of samples.
    width : int or None
        k as the output representation asks for it; None: any.
    dtype : {"float64", "float32"}
        Which is to hold them.

    Raises
    ------
    ValueError, TypeError
        For integer class labels, another length or width, complex or non-numeric values, NaN or inf, or numbers that
        the dtype does not hold.
    """
    raw = as_array(y, "y")
    if raw.dtype.kind in "US" or (raw.dtype.kind == "O" and raw.size and isinstance(raw.flat[0], (str, bytes))):
        raise TypeError(
            f"y must be targets [n, k], found strings such as {str(raw.flat[0])!r}: number the classes, "
            "classes, labels = np.unique(y, return_inverse=True), and pass hf.one_hot(labels, len(classes))"
        )
    if raw.ndim == 1 and raw.dtype.kind in "iub":
        raise ValueError(
            f"y must be targets [n, k], found {raw.dtype} class labels of shape {raw.shape}: "
            "pass hf.one_hot(y, k) for k classes, or y[:, None] to regress on the numbers"
        )
    array = as_real(raw, "y")
    if array.ndim != 2:
        raise ValueError(f"y must be targets [n, k], found shape {array.shape}: one output is y[:, None]")
    if len(array) != n:
        raise ValueError(f"x and y must have the same length, found {n} samples and {len(array)} labels")
    if array.shape[1] == 0:
        raise ValueError(f"y must have at least one column, found shape {array.shape}")
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"y must have {width} columns, the dimension of the output representation, found {array.shape[1]}"
        )
    if np.abs(array).max() > _LARGEST_LABEL[dtype]:
        raise ValueError(
            f"y must stay below {_LARGEST_LABEL[dtype]:.0e} in magnitude, which {dtype} holds, found "
            f"{np.abs(array).max():.1e}: rescale it{', or use float64' if dtype == 'float32' else ''}"
        )
    return array


def as_kernel(arch: Sequential | Kernel, dtype: str | None) -> Kernel:
    """Return the kernel of a network, or a kernel itself.

    Parameters
    ----------
    arch : Sequential or Kernel
        What was given.
    dtype : str or None
        The dtype asked for.

    Raises
    ------
    TypeError, ValueError
        For something else, or a kernel of another dtype.
    """
    if isinstance(arch, Sequential):
        return analytic(arch, "float64" if dtype is None else dtype)
    if not (callable(arch) and hasattr(arch, "content_key") and hasattr(arch, "dtype")):
        raise TypeError(
            "arch must be kernels.Sequential(...) or a kernel: kernels.analytic(...), for a function of two batches "
            'kernels.from_function(f, key="..."), for the third of stax.serial(...) '
            f'kernels.from_neural_tangents(kernel_fn, key="..."), found {arch!r}'
        )
    kernel = as_own(arch)
    if dtype is not None and kernel.dtype != check_dtype(dtype):
        raise ValueError(f"dtype must be the kernel's own, {kernel.dtype!r}, found {dtype!r}")
    return kernel


def as_output(
    action: Action | HaarAction,
    output: Representation | Harmonic | HarmonicSum | Sequence[Harmonic | HarmonicSum] | None,
) -> Representation | HarmonicSum | None:
    """Return how the action's group acts on outputs, None for not at all.

    Parameters
    ----------
    action : Action or HaarAction
        How it acts on samples.
    output : Representation, Harmonic, HarmonicSum, sequence of the latter two, or None
        What was given.

    Raises
    ------
    TypeError, ValueError
        For something else, another group, or a degree that the quadrature cannot serve.
    """
    if isinstance(action, (FiniteGroup, HaarQuadrature)):
        raise TypeError(f"action must say how {action} acts, such as groups.matrix_action(group), found the group")
    if not isinstance(action, (Action, HaarAction)):
        raise TypeError(f"action must be an Action such as groups.image_rotations(4), found {action!r}")
    if output is None:
        return None
    if isinstance(action, HaarAction):
        several: list[Any] = [*output] if isinstance(output, (list, tuple)) else [output]
        if len(several) == 0 or not all(isinstance(each, (Harmonic, HarmonicSum)) for each in several):
            raise TypeError(
                f"output must be groups.vector(...), groups.harmonic(...) or a list of these, found {_brief(output)}"
            )
        irreps = [irrep for each in several for irrep in summands(each)]
        others = [irrep.name for irrep in irreps if irrep.group.name != action.group.name]
        if others:
            raise ValueError(f"output must represent the action's group {action.group.name}, found {others[0]}")
        # At the action's own resolution, which has to serve the degree.
        return HarmonicSum(action.group, tuple(harmonic(action.group, each.degree, each.odd) for each in irreps))
    if not isinstance(output, Representation):
        how = "groups.Representation(action.group, matrices) makes one of matrices [|G|, k, k]"
        if isinstance(output, (list, tuple)):
            how = "groups.direct_sum(a, b) puts two side by side"
        raise TypeError(f"output must be a groups.Representation or None, found {_brief(output)}: {how}")
    if output.group != action.group:
        raise ValueError(f"output must represent the action's group {action.group}, found one of {output.group}")
    return output


def _brief(value: Any) -> str:
    """Return what was found in few words: arrays by their shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {list(value.shape)} of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
