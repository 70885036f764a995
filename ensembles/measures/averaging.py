"""Forces averaged over rotated frames, and how much of their equivariance error is left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haarflow.groups import so3
from haarflow.inputs import as_integer
from haarflow.measures.arrays import orthogonal
from haarflow.measures.callables import configurations, returned
from haarflow.measures.forces import force_equivariance_error

__all__ = ["FrameAveraging", "frame_averaged", "frame_averaging_error"]


@dataclass(frozen=True, eq=False)
class FrameAveraging:
    """The force equivariance error under averaging over more and more frames.

    Attributes
    ----------
    averages : int64 array [A]
        Numbers of averaging rotations.
    error : float64 array [A, ...]
        The error with the first so many of `frames`, for each configuration, in the unit of the forces.
    frames : float64 array [max(averages), 3, 3]
        The averaging rotations: `frame_averaged(force, frames[:k])` is the force that was measured.
    """

    averages: np.ndarray
    error: np.ndarray
    frames: np.ndarray


def frame_averaged(force: Callable[[np.ndarray], Any], rotations: Any) -> Callable[[Any], np.ndarray]:
    """Make a force field that is the mean of another one over rotated frames, x -> mean_q F(x Q_q^T) Q_q.

    Parameters
    ----------
    force : callable
        F: takes positions [..., atoms, 3], one row vector for each atom, and returns forces of the same shape.
    rotations : array [R, 3, 3]
        Q_q, rotations or other orthogonal matrices, r -> Q r for a column vector r.

    Returns
    -------
    callable
        Takes positions [..., atoms, 3] and returns float64 forces of the same shape. It is equivariant under the
        group where the rotations are all elements of one, and stays as it was where F is equivariant.

    Raises
    ------
    ValueError, TypeError
        For matrices that are not orthogonal; when called, for positions or forces of another shape or that are
        not finite reals.

    Notes
    -----
    Cost: R calls of `force`. float32 positions stay float32; the mean is taken in float64.
    Source: Eissler et al. 2025 (arXiv 2503.01431).

    Examples
    --------
    >>> import numpy as np
    >>> upward = lambda x: np.broadcast_to([0.0, 0.0, 1.0], x.shape)
    >>> frame_averaged(upward, [np.eye(3), np.diag([1.0, -1.0, -1.0])])([[0.3, 0.1, 0.2]])
    array([[0., 0., 0.]])
    """
    frames = np.asarray(rotations, dtype=np.float64)
    if frames.ndim != 3 or len(frames) == 0:
        raise ValueError(f"rotations must be [R, 3, 3] with at least one rotation, found shape {frames.shape}")
    frames = orthogonal(frames, len(frames), 3, "rotations", "R, 3, 3").copy()

    def averaged(x: Any) -> np.ndarray:
        *_, mean = _means(force, frames, configurations(x))
        return mean

    return averaged


def frame_averaging_error(
    force: Callable[[np.ndarray], Any],
    x: Any,
    *,
    averages: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    rotations: int = 64,
    seed: int = 0,
) -> FrameAveraging:
    """Give the force equivariance error over random rotations, by the number of averaging rotations.

    Parameters
    ----------
    force : callable
        F: takes positions [..., atoms, 3], one row vector for each atom, and returns forces of the same shape.
    x : array [..., atoms, 3]
        Configurations; float32 is handed on as float32.
    averages : sequence of int
        How many rotations are averaged over; a smaller number takes the first of those of a larger one.
    rotations : int
        How many random rotations the error is measured on, at least 2; Eissler et al. take 512.
    seed : int
        Of all rotations: those averaged over stay fixed, those measured on are others.

    Returns
    -------
    FrameAveraging
        Its error is `force_equivariance_error` of the averaged force; 0 for an equivariant one.

    Raises
    ------
    ValueError, TypeError
        For numbers that are no integers or too small, positions or forces of another shape or that are not
        finite reals.

    Notes
    -----
    The part of a force that is not equivariant is averaged over independent random frames: the error falls about
    like 1 / sqrt(averages), and with one frame it is that of F. Measured from the mean over the rotations, it is
    too small by a factor of about sqrt(1 - 1/rotations).
    Cost: rotations max(averages) calls of `force`, 16384 at the defaults, and len(averages) rotations forces held.
    Source: Eissler et al. 2025 (arXiv 2503.01431).

    Examples
    --------
    >>> import numpy as np
    >>> upward = lambda x: np.broadcast_to([0.0, 0.0, 1.0], x.shape)
    >>> frame_averaging_error(upward, [[0.3, 0.1, 0.2]], averages=(1, 100)).error.round(1)
    array([1. , 0.1])
    """
    x = configurations(x)
    if np.ndim(averages) != 1 or len(averages) == 0:
        raise ValueError(f"averages must be a sequence of at least one number of rotations, found {averages!r}")
    counts = [as_integer(count, "averages", 1) for count in averages]
    streams = np.random.SeedSequence(as_integer(seed, "seed", 0)).generate_state(2)
    # Their resolution is of no account for random elements.
    frames = so3(1).random(max(counts), int(streams[0]))
    turns = so3(1).random(as_integer(rotations, "rotations", 2), int(streams[1]))
    kept = np.empty((len(counts), len(turns), *x.shape))
    for i, turn in enumerate(turns):
        for done, mean in enumerate(_means(force, frames, _turned(x, turn)), 1):
            kept[[count == done for count in counts], i] = mean
    error = np.stack([force_equivariance_error(part, turns) for part in kept])
    return FrameAveraging(np.array(counts, np.int64), error, frames)


def _means(force: Callable[[np.ndarray], Any], frames: np.ndarray, x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the mean of F(x Q^T) Q over the first frame, the first two, and so on."""
    total = np.zeros(x.shape)
    for done, frame in enumerate(frames, 1):
        total += returned(force(_turned(x, frame)), "force(x)", x.shape, "..., atoms, 3") @ frame
        yield total / done


def _turned(x: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return (x @ rotation.T).astype(x.dtype)
