"""Haar measure of SO(2), O(2), SO(3) and O(3) as nodes and weights, and these groups' action on vectors."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull

from haarflow.groups.rotations import about_axis, euler_products, plane_rotations, quaternions

# How far from orthogonal an element may be: what rounding to float32 leaves is more.
TOLERANCE = 1e-9

__all__ = ["HaarAction", "HaarQuadrature", "as_count", "o2", "o3", "so2", "so3"]


@dataclass(frozen=True, eq=False)
class HaarQuadrature:
    """A compact group with a rule that averages over it.

    Attributes
    ----------
    name : str
        "SO(2)", "O(2)", "SO(3)" or "O(3)".
    resolution : int
        What the rule was asked for: nodes of the circle, or the band limit.
    nodes : array [N, d, d]
        Orthogonal matrices.
    weights : array [N]
        Their weights, which sum to 1.
    band_limit : int
        Matrix elements of irreps up to this degree are averaged exactly.
    components : array [c, d, d]
        One element of each connected component, the identity first.
    """

    name: str
    resolution: int
    nodes: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    band_limit: int
    components: np.ndarray = field(repr=False)

    @property
    def dim(self) -> int:
        """Dimension d of the vectors that the group turns."""
        return self.nodes.shape[1]

    @cached_property
    def covering_radius(self) -> float:
        """Largest distance |g - node| in the operator norm from an element to its nearest node.

        Cost: none for the circle; a convex hull of 2 N points in four dimensions for SO(3) and O(3).
        """
        if self.dim == 2:
            return float(2 * np.sin(np.pi / (2 * self.resolution)))
        proper = self.nodes[np.linalg.det(self.nodes) > 0]
        points = quaternions(proper)
        points = np.concatenate([points, -points])  # a rotation is two points of the 3-sphere
        if np.linalg.matrix_rank(points, tol=1e-9) < 4:
            return 2.0
        # A facet's distance from the centre is the cosine of the angle from the sphere's emptiest place to its corners.
        nearest = float(np.clip(-ConvexHull(points).equations[:, -1].max(), 0.0, 1.0))
        return 2 * float(np.sin(np.arccos(nearest)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of name and resolution."""
        return hashlib.sha256(f"{self.name}|{self.resolution}".encode()).hexdigest()

    def contains(self, element: np.ndarray, tolerance: float = TOLERANCE) -> bool:
        """Whether a matrix [d, d] belongs to the group."""
        if element.shape != (self.dim, self.dim):
            return False
        proper = len(self.components) == 2 or np.linalg.det(element) > 0
        return bool(self._skew(element) <= tolerance and proper)

    def check(self, elements: Any, name: str = "elements") -> np.ndarray:
        """Return matrices [..., d, d] as float64, all of them the group's.

        Parameters
        ----------
        elements : array [..., d, d]
            What was given.
        name : str
            The argument's name, for errors.

        Raises
        ------
        ValueError
            For another shape, or a matrix that is not the group's up to 1e-9: it says which, and what would do.
        """
        found = np.asarray(elements, float)
        if found.ndim < 2 or found.shape[-2:] != (self.dim, self.dim):
            shape = f"[{self.dim}, {self.dim}]"
            raise ValueError(f"{name} must be a matrix of {self.name}, {shape}, or several, found shape {found.shape}")
        skew = self._skew(found)
        which = "a matrix" if found.ndim == 2 else "matrices"
        if (skew > TOLERANCE).any():
            at = np.unravel_index(int(np.argmax(skew)), skew.shape)
            raise ValueError(
                f"{name} must be {which} of {self.name}, found {_indexed(name, at)} with |g g^T - 1| = {skew[at]:.1e} "
                f"(at most {TOLERANCE:.0e} would do): make it in float64, or take the nearest orthogonal matrix, "
                "U @ Vt of U, s, Vt = np.linalg.svd(g.astype(float))"
            )
        reflections = np.linalg.det(found) < 0
        if len(self.components) == 1 and reflections.any():
            at = np.unravel_index(int(np.argmax(reflections)), reflections.shape)
            larger = "groups.o2" if self.dim == 2 else "groups.o3"
            raise ValueError(
                f"{name} must be {which} of {self.name}, found {_indexed(name, at)} with determinant -1: "
                f"{larger} has reflections"
            )
        return found

    def _skew(self, elements: np.ndarray) -> np.ndarray:
        """Return the largest entry of |g g^T - 1| for each matrix, inf where it is not finite."""
        with np.errstate(all="ignore"):
            off = np.abs(elements @ np.swapaxes(elements, -1, -2) - np.eye(self.dim)).max(axis=(-1, -2))
        return np.where(np.isfinite(off), off, np.inf)

    def at(self, resolution: int) -> "HaarQuadrature":
        """Return the same group at another resolution."""
        return _MAKERS[self.name](resolution)

    def random(self, count: int, seed: int) -> np.ndarray:
        """Draw elements from the Haar measure.

        Parameters
        ----------
        count : int
            How many.
        seed : int
            Of the draws.

        Returns
        -------
        array [count, d, d]

        Raises
        ------
        TypeError, ValueError
            For a count or a seed that is no integer, or negative.
        """
        count, seed = as_count(count, "count", 0), as_count(seed, "seed", 0)
        rng = np.random.default_rng(seed)
        q, r = np.linalg.qr(rng.standard_normal((count, self.dim, self.dim)))
        q = q * np.sign(np.einsum("nii->ni", r))[:, None, :]
        if len(self.components) == 1:
            q[:, :, 0] *= np.linalg.det(q)[:, None]
        return q

    def __str__(self) -> str:
        return f"{self.name} at resolution {self.resolution}"


def so2(nodes: int) -> HaarQuadrature:
    """Return SO(2) with equispaced angles.

    Parameters
    ----------
    nodes : int
        N >= 1; `band_limit` is N - 1. Aligned averages take as many on a half circle.

    Returns
    -------
    HaarQuadrature

    Raises
    ------
    TypeError, ValueError
        For something that is no integer, or too small.
    """
    count = as_count(nodes, "nodes", 1)
    rotations = plane_rotations(2 * np.pi * np.arange(count) / count)
    return HaarQuadrature("SO(2)", count, rotations, np.full(count, 1 / count), count - 1, np.eye(2)[None])


def o2(nodes: int) -> HaarQuadrature:
    """Return O(2): the angles of SO(2), each with and without a reflection.

    Parameters
    ----------
    nodes : int
        N >= 1 angles; `band_limit` is N - 1.
    """
    return _with_component(so2(nodes), "O(2)", np.diag([1.0, -1.0]))


def so3(band_limit: int) -> HaarQuadrature:
    """Return SO(3) with the product rule in Euler angles.

    Parameters
    ----------
    band_limit : int
        L >= 0; the rule has (L + 1)^2 (L // 2 + 1) nodes. Aligned averages take a rule of similar size for
        each pair of samples.

    Returns
    -------
    HaarQuadrature

    Raises
    ------
    TypeError, ValueError
        For something that is no integer, or negative.
    """
    limit = as_count(band_limit, "band_limit", 0)
    angles = 2 * np.pi * np.arange(limit + 1) / (limit + 1)
    heights, height_weights = np.polynomial.legendre.leggauss(limit // 2 + 1)
    nodes = euler_products(angles[:, None, None], np.arccos(heights)[:, None], angles)
    weights = np.broadcast_to(height_weights[None, :, None] / (2 * (limit + 1) ** 2), nodes.shape[:3])
    return HaarQuadrature("SO(3)", limit, nodes.reshape(-1, 3, 3), weights.ravel(), limit, np.eye(3)[None])


def o3(band_limit: int) -> HaarQuadrature:
    """Return O(3): the rotations of SO(3), each with and without the inversion.

    Parameters
    ----------
    band_limit : int
        L >= 0, as in `so3`.
    """
    return _with_component(so3(band_limit), "O(3)", -np.eye(3))


_MAKERS = {"SO(2)": so2, "O(2)": o2, "SO(3)": so3, "O(3)": o3}


def as_count(value: Any, name: str, least: int) -> int:
    """Return an integer that is at least so large."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, found {value!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, found {value!r}")
    return number


def _indexed(name: str, at: tuple[Any, ...]) -> str:
    return f"{name}[{', '.join(map(str, at))}]" if at else "one"


def _with_component(proper: HaarQuadrature, name: str, element: np.ndarray) -> HaarQuadrature:
    nodes = np.concatenate([proper.nodes, proper.nodes @ element])
    components = np.stack([np.eye(proper.dim), element])
    weights = np.tile(proper.weights / 2, 2)
    return HaarQuadrature(name, proper.resolution, nodes, weights, proper.band_limit, components)


@dataclass(frozen=True, eq=False)
class HaarAction:
    """A compact group acting on samples [n, ..., d] by its matrices on the last axis.

    Attributes
    ----------
    group : HaarQuadrature
        The group.
    """

    group: HaarQuadrature

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.group.name} on vectors"

    @property
    def digest(self) -> str:
        """Equal for equal actions."""
        return self.group.digest

    def __call__(self, g: Any, x: Any) -> np.ndarray:
        """Transform a batch.

        Parameters
        ----------
        g : array [d, d]
            An element of the group.
        x : array [n, ..., d]
            Samples.

        Raises
        ------
        ValueError
            For a matrix outside the group, or samples of another shape.
        """
        g, x = self.group.check(g, "g"), np.asarray(x, float)
        if g.ndim != 2:
            raise ValueError(f"g must be one matrix of {self.group.name}, found shape {g.shape}")
        self.check_shape(x.shape[1:])
        return x @ g.T

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where samples of this shape cannot be transformed."""
        if not shape or shape[-1] != self.group.dim:
            raise ValueError(
                f"{self.name} acts on a last axis of size {self.group.dim}, found samples of shape {shape}"
            )

    def stabiliser(self, x: np.ndarray, degree: int, tolerance: float) -> np.ndarray:
        """Return elements whose plain mean averages irreps up to a degree over the stabiliser of one sample.

        Parameters
        ----------
        x : array [..., d]
            One sample.
        degree : int
            Of the irreps that are averaged.
        tolerance : float
            Vectors shorter than this count as zero.

        Returns
        -------
        array [s, d, d]
            Empty for the whole group, which leaves only x = 0 fixed.
        """
        d = self.group.dim
        _, values, directions = np.linalg.svd(x.reshape(-1, d), full_matrices=True)
        rank = int(np.sum(values > tolerance))
        rest = directions[rank:]  # orthonormal, orthogonal to all vectors of the sample
        improper = len(self.group.components) == 2
        if rank == 0:
            return np.empty((0, d, d))
        elements = np.eye(d)[None]
        if len(rest) == 2:
            elements = about_axis(directions[0], 2 * np.pi * np.arange(2 * degree + 1) / (2 * degree + 1))
        if improper and len(rest) > 0:
            mirror = np.eye(d) - 2 * np.outer(rest[0], rest[0])
            elements = np.concatenate([elements, elements @ mirror])
        return elements
