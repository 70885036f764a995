"""What all measures share: outputs and representations checked at the door, norms that neither vanish nor overflow."""

from typing import Any, Protocol

import numpy as np

__all__ = ["Output", "apply", "norm", "orthogonal", "prepare", "ratio", "represent", "stack"]


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


def represent(output: Output | None, identity: int | None, order: int, k: int) -> tuple[np.ndarray | None, int]:
    """Give rho_Y's checked matrices, None for invariant outputs, and the identity's index."""
    start = identity
    if start is None:
        start = int(getattr(getattr(output, "group", None), "identity", 0))
    if not 0 <= start < order:
        raise ValueError(f"identity must lie in 0 .. {order - 1}, found {start}")
    if output is None:
        return None, start
    matrices = orthogonal(output.matrices, order, k)
    off = float(np.abs(matrices[start] - np.eye(k)).max())
    if off > 1e-5:
        raise ValueError(
            f"identity must be the group's identity element: output.matrices[{start}] is off 1 by {off:.1e}"
        )
    return matrices, start


def prepare(
    outputs: Any, output: Output | None, identity: int | None, axis: int
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Give the checked outputs, the group first; rho_Y's matrices; and the identity's index."""
    stacked = stack(outputs, axis)
    return stacked, *represent(output, identity, len(stacked), stacked.shape[-1])


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
