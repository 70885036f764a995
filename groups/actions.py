"""How a group acts on a batch of arrays, and the check that it is an orthogonal action."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from haarflow.groups.catalogue import cyclic, dihedral, translations
from haarflow.groups.finite import FiniteGroup
from haarflow.groups.representations import check_matrices

__all__ = [
    "Action",
    "ActionReport",
    "check_action",
    "image_dihedral",
    "image_rotations",
    "image_translations",
    "lattice_rotations",
    "matrix_action",
    "no_action",
    "permutation_action",
    "permutation_matrices",
]


@dataclass(frozen=True, eq=False)
class Action(ABC):
    """A group acting on samples: `action(g, x)` is rho_X(g) x for a batch x [n, ...].

    Attributes
    ----------
    group : FiniteGroup
        The group.
    name : str
        For messages.
    exact : bool
        Whether action(g, action(h, x)) is action(gh, x) up to rounding; False where it interpolates.
    """

    group: FiniteGroup
    name: str
    exact: bool = True

    def __call__(self, g: int, x: Any) -> np.ndarray:
        """Transform a batch.

        Parameters
        ----------
        g : int
            Element number.
        x : array [n, ...]
            Samples; integers become float64.

        Returns
        -------
        array [n, ...]
            A new array.

        Raises
        ------
        IndexError, ValueError
            For an element that the group does not have, or samples of a shape the action does not fit.
        """
        if not 0 <= g < self.group.order:
            raise IndexError(f"g must be an element 0 .. {self.group.order - 1} of {self.group}, found {g}")
        x = _floating(x)
        self.check_shape(x.shape[1:])
        return self._transform(int(g), x)

    def orbit(self, x: Any) -> np.ndarray:
        """Transform a batch by all elements: array [|G|, n, ...]."""
        x = _floating(x)
        self.check_shape(x.shape[1:])
        return np.stack([self._transform(g, x) for g in range(self.group.order)])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the action does: equal for equal actions, in every process."""
        content = "|".join((type(self).__name__, self.name, self.group.digest)).encode()
        return hashlib.sha256(content + self._content()).hexdigest()

    @abstractmethod
    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where samples of this shape cannot be transformed."""

    @abstractmethod
    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        """Transform a checked batch into a new array."""

    def _content(self) -> bytes:
        return b""


def _floating(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _NoAction(Action):
    def check_shape(self, shape: tuple[int, ...]) -> None:
        pass

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        return x.copy()


def no_action() -> Action:
    """Return the action of the trivial group: no augmentation."""
    return _NoAction(cyclic(1), "no action")


def check_images(shape: tuple[int, ...], name: str, square: bool) -> None:
    """Raise ValueError where `shape` is no image [H, W, C], or not a square one that is needed."""
    if len(shape) != 3:
        hint = "; add a channel axis with x[..., None]" if len(shape) == 2 else ""
        raise ValueError(f"{name} acts on images [n, H, W, C], found samples of shape {shape}{hint}")
    if square and shape[0] != shape[1]:
        hint = "; the channel axis must be the last: x.transpose(0, 2, 3, 1)" if shape[1] == shape[2] else ""
        raise ValueError(f"{name} needs square images [n, H, H, C], found samples of shape {shape}{hint}")


@dataclass(frozen=True, eq=False)
class _ImageTurns(Action):
    """Element r * flips + f: flip left-right if f, then r * step quarter turns."""

    step: int = 1
    flips: int = 1

    def check_shape(self, shape: tuple[int, ...]) -> None:
        square = self.step * (self.group.order > 1) % 2 == 1
        check_images(shape, self.name, square)

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        turns, flip = divmod(g, self.flips)
        return np.ascontiguousarray(np.rot90(x[:, :, ::-1] if flip else x, turns * self.step, axes=(1, 2))) + 0.0


def image_rotations(k: int) -> Action:
    """Return the exact quarter turns C_k of images [n, H, W, C]; element g turns by 360 g/k degrees (np.rot90).

    Parameters
    ----------
    k : {1, 2, 4}
        Order; for 4 the images are square.

    Raises
    ------
    ValueError
        For another k: `interpolated_rotations(k)` turns by other angles, inexactly.
    """
    if k not in (1, 2, 4):
        raise ValueError(f"k must be 1, 2 or 4 for exact rotations, found {k}: see interpolated_rotations({k})")
    return _ImageTurns(cyclic(k), f"image_rotations({k})", step=4 // k)


def image_dihedral() -> Action:
    """Return the 8 exact turns and flips D4 of square images [n, H, H, C]: flip left-right, then turn."""
    return _ImageTurns(dihedral(4), "image_dihedral()", flips=2)


@dataclass(frozen=True, eq=False)
class _ImageShifts(Action):
    shape: tuple[int, int] = (1, 1)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        check_images(shape, self.name, square=False)
        if any(side % steps for side, steps in zip(shape, self.shape, strict=False)):
            raise ValueError(
                f"{self.name} needs images whose sides are multiples of {self.shape}, found samples of shape {shape}"
            )

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        steps = np.unravel_index(g, self.shape)
        shift = [int(s) * side // n for s, side, n in zip(steps, x.shape[1:3], self.shape, strict=True)]
        return np.roll(x, shift, axis=(1, 2))


def image_translations(shape: tuple[int, int]) -> Action:
    """Return the cyclic shifts of images [n, H, W, C].

    Parameters
    ----------
    shape : (int, int)
        Number of shifts along each axis: (H, W) for all, or divisors of H and W for every H/shape-th.
    """
    if len(shape) != 2:
        raise ValueError(f"shape must be (H, W), found {shape}")
    group = translations(shape)
    return _ImageShifts(group, f"image_translations({tuple(shape)})", shape=(int(shape[0]), int(shape[1])))


@dataclass(frozen=True, eq=False)
class _MatrixAction(Action):
    matrices: np.ndarray = field(default_factory=lambda: np.eye(1)[None], repr=False)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        d = self.matrices.shape[1]
        if not shape or shape[-1] != d:
            raise ValueError(f"{self.name} acts on a last axis of size {d}, found samples of shape {shape}")

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        return x @ self.matrices[g].T.astype(x.dtype)

    def _content(self) -> bytes:
        return np.ascontiguousarray(self.matrices).tobytes()


def matrix_action(group: FiniteGroup, matrices: Any) -> Action:
    """Return the action by matrices on the last axis: x[..., :] -> M(g) x[..., :] (vectors, point clouds).

    Parameters
    ----------
    group : FiniteGroup
        The group.
    matrices : array [|G|, d, d]
        Orthogonal, a homomorphism.

    Raises
    ------
    ValueError
        For matrices that are not: it says which element or product fails, and by how much.
    """
    matrices = np.array(matrices, dtype=float)
    check_matrices(group, matrices)
    matrices.setflags(write=False)
    return _MatrixAction(
        group, f"matrix_action({group.name}, {matrices.shape[1]} x {matrices.shape[1]})", matrices=matrices
    )


@dataclass(frozen=True, eq=False)
class _PermutationAction(Action):
    # sources[g, i] is the site whose value arrives at i.
    sources: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), int), repr=False)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        sites = self.sources.shape[1]
        if not shape or shape[0] != sites:
            raise ValueError(f"{self.name} acts on [n, {sites}, ...], found samples of shape {shape}")

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        return x[:, self.sources[g]]

    def _content(self) -> bytes:
        return np.ascontiguousarray(self.sources, np.int64).tobytes()


def permutation_action(group: FiniteGroup, perms: Any) -> Action:
    """Return the action that moves sites, on axis 1 of [n, sites, ...].

    Parameters
    ----------
    group : FiniteGroup
        The group.
    perms : int array [|G|, sites]
        perms[g, i] is the site that i goes to: (rho(g) x)[perms[g, i]] = x[i].

    Raises
    ------
    ValueError
        For rows that are no permutations, or perms[gh] other than perms[g][perms[h]].
    """
    perms = _check_perms(perms)
    if len(perms) != group.order:
        raise ValueError(f"perms must have a row for each of the {group.order} elements, found {len(perms)}")
    for s in group.generators:
        wrong = np.flatnonzero((perms[:, perms[s]] != perms[group.table[:, s]]).any(axis=1))
        if len(wrong):
            raise ValueError(
                f"perms must be a homomorphism: perms[{wrong[0]}][perms[{s}]] is not perms[{group.table[wrong[0], s]}] "
                f"of the product {wrong[0]} * {s}; perms[g][i] is where site i goes, not where its value comes from"
            )
    return _PermutationAction(
        group, f"permutation_action({group.name}, {perms.shape[1]} sites)", sources=np.argsort(perms)
    )


def permutation_matrices(perms: Any) -> np.ndarray:
    """Return the matrices that move sites, for outputs that move with them.

    Parameters
    ----------
    perms : int array [|G|, sites]
        As in `permutation_action`.

    Returns
    -------
    array [|G|, sites, sites]
        P(g) e_i = e_perms[g, i].
    """
    perms = _check_perms(perms)
    matrices = np.zeros((*perms.shape, perms.shape[1]))
    g, i = np.indices(perms.shape)
    matrices[g, perms, i] = 1
    return matrices


def _check_perms(perms: Any) -> np.ndarray:
    perms = np.asarray(perms)
    if perms.ndim != 2 or perms.dtype.kind not in "iu":
        raise ValueError(f"perms must be integers [|G|, sites], found {perms.dtype} {perms.shape}")
    wrong = np.flatnonzero((np.sort(perms, axis=1) != np.arange(perms.shape[1])).any(axis=1))
    if len(wrong):
        raise ValueError(f"perms[{wrong[0]}] must be a permutation of 0 .. {perms.shape[1] - 1}")
    return perms


def lattice_rotations(side: int) -> np.ndarray:
    """Return where the sites of a square lattice go under quarter turns (as np.rot90): int array [4, side^2]."""
    sites = np.arange(side**2).reshape(side, side)
    return np.stack([np.argsort(np.rot90(sites, g).ravel()) for g in range(4)])


@dataclass(frozen=True)
class ActionReport:
    """How well a map is an orthogonal group action on given inputs.

    Attributes
    ----------
    homomorphism, orthogonality : float
        Largest relative violations.
    failures : tuple of str
        One sentence for each condition that is violated beyond tolerance.
    """

    homomorphism: float
    orthogonality: float
    failures: tuple[str, ...]


def check_action(action: Action, x: Any, tolerance: float = 1e-8) -> ActionReport:
    """Check on given inputs that an action is a homomorphism and preserves inner products.

    Parameters
    ----------
    action : Action
        What is checked.
    x : array [n, ...]
        Generic inputs, N(0, 1) for example.
    tolerance : float
        For relative violations.

    Returns
    -------
    ActionReport

    Notes
    -----
    Cost: |G| transforms for each generator; generators imply all products.
    """
    x = _floating(x)
    scale = float(np.linalg.norm(x))
    gram = _inner(x)
    orthogonality, homomorphism = (0.0, 0), (0.0, 0, 0)
    generators = action.group.generators
    moved = {s: action(s, x) for s in generators}
    for g in range(action.group.order):
        once = action(g, x)
        change = float(np.max(np.abs(_inner(once) - gram))) / scale**2
        orthogonality = max(orthogonality, (change, g))
        for s in generators:
            difference = action(g, moved[s]) - action(int(action.group.table[g, s]), x)
            homomorphism = max(homomorphism, (float(np.linalg.norm(difference)) / scale, g, s))
    failures = []
    if homomorphism[0] > tolerance:
        off, g, s = homomorphism
        failures.append(f"{action.name} is no group action: {g} after {s} differs from their product by {off:.1e}")
    if orthogonality[0] > tolerance:
        off, g = orthogonality
        failures.append(f"{action.name} is not orthogonal: element {g} changes inner products by {off:.1e} relative")
    return ActionReport(homomorphism[0], orthogonality[0], tuple(failures))


def _inner(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return flat @ flat.T
