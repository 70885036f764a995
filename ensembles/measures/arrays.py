"""What all measures share: outputs and representations checked at the door, norms that neither vanish nor overflow."""

from operator import index
from typing import Any, Protocol

import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.kernels import InputWarning
from haarflow.kernels.misread import warn_of_input

__all__ = [
    "InputWarning",
    "Output",
    "apply",
    "norm",
    "orthogonal",
    "output_dim",
    "prepare",
    "ratio",
    "represent",
    "shrunk",
    "stack",
]

# Orders of the rotation groups of solids, and of these with the inversion: their element 0 is not the identity.
_ELSEWHERE = (12, 24, 48, 60, 120)
# Above the first, sums of a few squares, differences and products may overflow; the second brings all back below it.
_LARGE, _SHRINK = 2.0**400, 2.0**-700


class Output(Protocol):
    """What is needed of a representation: its matrices; its group's identity when it has one."""

    @property
    def matrices(self) -> Any:
        """rho_Y(g): array [|G|, k, k]."""


def stack(outputs: Any, axis: int, name: str = "outputs", layout: str = "|G|, ..., k") -> np.ndarray:
    """Return checked float64 outputs, a new array with the group moved to the front.

    Parameters
    ----------
    outputs : array
        Real and finite, entries on every axis.
    axis : int
        Which axis is the group.
    name, layout : str
        The argument's name and its axes, for errors; those after "..." cannot be the group.
    """
    refuse_masked(outputs, name)
    raw = np.asarray(outputs)
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, found dtype {raw.dtype}")
    last = layout.split("..., ")[1]
    inner = len(last.split(", "))
    if raw.ndim < 1 + inner or raw.size == 0:
        raise ValueError(f"{name} must be [{layout}] with entries on every axis, found shape {raw.shape}")
    place = axis + raw.ndim if axis < 0 else axis
    if not 0 <= place < raw.ndim - inner:
        raise ValueError(
            f"axis must be one of the first {raw.ndim - inner} axes of {name} (then comes {last}), found {axis}"
        )
    bad = ~np.isfinite(raw)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite: found {int(bad.sum())} NaN or inf entries, the first at index {first}"
        )
    return np.moveaxis(raw.astype(np.float64), place, 0)


def orthogonal(
    matrices: Any, order: int, k: int, name: str = "output.matrices", layout: str = "|G|, k, k"
) -> np.ndarray:
    """Return float64 matrices [|G|, k, k]; ValueError where they have another shape or are not orthogonal."""
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.shape != (order, k, k):
        raise ValueError(f"{name} must be [{layout}] = {(order, k, k)}, found shape {matrices.shape}")
    off = float(np.abs(matrices @ np.swapaxes(matrices, 1, 2) - np.eye(k)).max())
    if not off < 1e-5:
        raise ValueError(f"{name} must be orthogonal, found |rho rho^T - 1| = {off:.1e}")
    return matrices


def output_dim(output: Output) -> int:
    """Return k, without asking for |G| k^2 numbers where a representation tells."""
    return int(output.dim) if hasattr(output, "dim") else int(np.shape(output.matrices)[-1])


def represent(
    output: Output | None, identity: int | None, order: int, k: int, group: Any = None
) -> tuple[np.ndarray | None, int]:
    """Give rho_Y's checked matrices, None for invariant outputs, and the identity's index."""
    start = _identity(output, identity, order, group)
    if output is None:
        return None, start
    if getattr(output, "is_trivial", False):  # known to be the identity, whatever |G| k^2 is
        if output_dim(output) != k or output.group.order != order:  # type: ignore[attr-defined]
            found = (output.group.order, *(output_dim(output),) * 2)  # type: ignore[attr-defined]
            raise ValueError(f"output.matrices must be [|G|, k, k] = {(order, k, k)}, found shape {found}")
        return None, start
    matrices = orthogonal(output.matrices, order, k)
    off = float(np.abs(matrices[start] - np.eye(k)).max())
    if off > 1e-5:
        raise ValueError(
            f"identity must be the group's identity element: output.matrices[{start}] is off 1 by {off:.1e}"
        )
    return matrices, start


def _identity(output: Output | None, identity: int | None, order: int, group: Any) -> int:
    """Return which output is f(x): as the group says, or the caller; element 0 where nobody does."""
    known = getattr(output, "group", None)
    if group is not None:
        group = getattr(group, "group", group)  # of an action or a representation
        if not hasattr(group, "identity") or not hasattr(group, "order"):
            raise TypeError(f"group must be a finite group or its action, found {group!r}")
        if group.order != order:
            raise ValueError(f"group must have the {order} elements of the orbit, found {group}")
        if known is not None and known != group:
            raise ValueError(f"output must represent group {group}, found one of {known}")
        if identity is not None and index(identity) != group.identity:
            raise ValueError(f"identity must be that of group, {group.identity}, or None, found {identity}")
        return int(group.identity)
    if identity is None and known is None and output is None and order in _ELSEWHERE:
        warn_of_input(
            f"a measure of {order} elements takes element 0 for the identity, since it knows no group, and in "
            "groups.tetrahedral(), octahedral() and icosahedral() the identity is element 3: pass group=action.group, "
            "or identity=0 where element 0 is it"
        )
    start = index(getattr(known, "identity", 0) if identity is None else identity)
    if not 0 <= start < order:
        raise ValueError(f"identity must lie in 0 .. {order - 1}, found {start}")
    return start


def prepare(
    outputs: Any, output: Output | None, identity: int | None, axis: int, group: Any = None
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Give the checked outputs, the group first; rho_Y's matrices; and the identity's index."""
    stacked = stack(outputs, axis)
    return stacked, *represent(output, identity, len(stacked), stacked.shape[-1], group)


def shrunk(stacked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give outputs [|G|, ..., k] times a power of two where they are huge, and that factor [...]; elsewhere it is 1.

    Squares, sums and differences of what is returned do not overflow, and none of its digits is lost.
    """
    factor = np.where(np.abs(stacked).max(axis=(0, -1)) > _LARGE, _SHRINK, 1.0)
    return stacked * factor[..., None], factor


def apply(vectors: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Multiply [|G| or 1, ..., k] by [|G|, k, k], element by element of the group."""
    flat = vectors.reshape(len(vectors), -1, vectors.shape[-1])
    return (flat @ np.swapaxes(matrices, 1, 2)).reshape(len(matrices), *vectors.shape[1:])


def norm(vectors: np.ndarray) -> np.ndarray:
    """Give the Euclidean norms over the last axis."""
    # Scaled, since squares of entries below 1e-162 vanish and a deviation would pass for none.
    scale = np.maximum(np.abs(vectors).max(axis=-1), np.finfo(np.float64).tiny)
    return scale * np.linalg.norm(vectors / scale[..., None], axis=-1)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, with the smallest normal float64 as the least divisor."""
    with np.errstate(over="ignore"):
        return np.asarray(above / np.maximum(below, np.finfo(np.float64).tiny))
