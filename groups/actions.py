"""What a group action on arrays is, and the check that it is an orthogonal one."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from operator import index
from typing import Any

import numpy as np

from haarflow.groups.behaviour import behaviour
from haarflow.groups.catalogue import cyclic
from haarflow.groups.content import content_digest
from haarflow.groups.finite import FiniteGroup
from haarflow.groups.given import refuse_masked

__all__ = ["Action", "ActionReport", "check_action", "no_action"]


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
        IndexError, ValueError, TypeError
            For an element that the group does not have, samples of a shape the action does not fit, or
            samples that are not real numbers.
        """
        number = index(g)
        if not 0 <= number < self.group.order:
            raise IndexError(f"g must be an element 0 .. {self.group.order - 1} of {self.group}, found {g}")
        return self._transform(number, self._batch(x))

    def orbit(self, x: Any) -> np.ndarray:
        """Transform a batch by all elements: array [|G|, n, ...]."""
        x = self._batch(x)
        orbit = np.empty((self.group.order, *x.shape), x.dtype)
        for g in range(self.group.order):
            orbit[g] = self._transform(g, x)
        return orbit

    def correlate(self, x1: Any, x2: Any) -> np.ndarray | None:
        """Return all inner products <x1_i, rho(g) x2_j> by a fast transform of the group, or None where none is known.

        Parameters
        ----------
        x1 : array [n1, ...]
            Samples.
        x2 : array [n2, ...]
            Samples of the same shape; these are the ones that move.

        Returns
        -------
        array [n1, n2, |G|], or None
            float32 where both batches are, otherwise float64. An inner product sums over all numbers of a
            sample. Errors are of the order of eps |x1_i| |x2_j|, also where the product itself is small.

        Raises
        ------
        ValueError, TypeError
            For samples of a shape that the action does not fit or of two shapes, or that are not real numbers.

        Notes
        -----
        Cost where there is one: n1 n2 |G| log |G| rather than n1 n2 |G| D, for samples of D numbers.
        """
        x1, x2 = self._batch(x1, "x1"), self._batch(x2, "x2")
        if x1.shape[1:] != x2.shape[1:]:
            raise ValueError(f"x2 must hold samples of the shape {x1.shape[1:]} of those in x1, found {x2.shape[1:]}")
        dtype = np.result_type(x1, x2)
        return self._correlate(x1.astype(dtype, copy=False), x2.astype(dtype, copy=False))

    def _correlate(self, x1: np.ndarray, x2: np.ndarray) -> np.ndarray | None:
        """Correlate checked batches of one dtype; an action with a fast transform overrides this."""
        return None

    def _batch(self, x: Any, name: str = "x") -> np.ndarray:
        x = _floating(x, name)
        if x.ndim == 0:
            raise ValueError(f"{name} must be a batch [n, ...], found the single number {x}")
        self.check_shape(x.shape[1:])
        return x

    @property
    def digest(self) -> str:
        """SHA-256 of the class and all its fields: equal for equal actions, in every process.

        It does not see what `_transform` does: keys of stores are made of `digest_on`.
        """
        kind = type(self)
        known = (kind.__module__, kind.__qualname__, self.group.digest)
        if self._is_ours:
            return self._plain_digest("|".join(known))
        held = [(part.name, getattr(self, part.name)) for part in fields(self) if part.name != "group"]
        return content_digest([known, held])

    def digest_on(self, sample_shape: tuple[int, ...]) -> str:
        """Return a digest that is equal for actions that do the same to samples of a shape.

        Parameters
        ----------
        sample_shape : tuple of int
            Of one sample.

        Returns
        -------
        str
            Of this library's actions their `digest`; of others that together with what all elements make of random
            samples, so that a `_transform` that was edited, or that reads what has changed since, is another action.

        Raises
        ------
        ValueError
            For an action that makes something else of the same samples when it is asked again, or one that does not
            give samples of their own shape.

        Notes
        -----
        Cost: for others two transforms of two samples for each element. Differences below 1e-9 relative are not seen.
        """
        return self.digest if self._is_ours else content_digest([self.digest, behaviour(self, sample_shape)])

    @property
    def _is_ours(self) -> bool:
        # Their code is this library's, and their fields are numbers, names, tuples of numbers and plain arrays.
        return type(self).__module__.startswith("haarflow.groups.")

    def _plain_digest(self, known: str) -> str:
        # Kept as it was first written, since stores are found by it.
        content = hashlib.sha256(known.encode())
        for part in fields(self):
            if part.name != "group":
                value = getattr(self, part.name)
                plain = isinstance(value, np.ndarray)
                text = f"{part.name}:{value.dtype.str}{value.shape}" if plain else f"{part.name}:{value!r}"
                content.update(text.encode() + (np.ascontiguousarray(value).tobytes() if plain else b""))
        return content.hexdigest()

    @abstractmethod
    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where samples of this shape cannot be transformed."""

    @abstractmethod
    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        """Transform a checked batch into a new array."""


def _floating(x: Any, name: str = "x") -> np.ndarray:
    refuse_masked(x, name)
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, found dtype {x.dtype}")
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _NoAction(Action):
    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Take every shape."""

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        return x.copy()


def no_action() -> Action:
    """Return the action of the trivial group: no augmentation."""
    return _NoAction(cyclic(1), "no action")


@dataclass(frozen=True)
class ActionReport:
    """How well a map is an orthogonal group action on given inputs.

    Attributes
    ----------
    homomorphism : float
        Largest |rho(g) rho(h) x - rho(gh) x| / |x|.
    product : (int, int)
        Its g and h.
    orthogonality : float
        Largest |<gx, gx'> - <x, x'>| / |x|^2.
    element : int
        Its g.
    failures : tuple of str
        One sentence for each condition that is violated beyond tolerance.
    """

    homomorphism: float
    product: tuple[int, int]
    orthogonality: float
    element: int
    failures: tuple[str, ...]


def check_action(action: Action, x: Any, tolerance: float = 1e-8) -> ActionReport:
    """Check on given inputs that an action is a homomorphism and preserves inner products.

    Parameters
    ----------
    action : Action
        What is checked.
    x : array [n, ...]
        Generic inputs, N(0, 1) for example; finite, not all zero.
    tolerance : float
        For relative violations.

    Returns
    -------
    ActionReport

    Raises
    ------
    ValueError
        For inputs that are not finite, or all zero: they cannot tell anything.

    Notes
    -----
    Cost: |G| transforms for each generator; generators imply all products.
    """
    x = _floating(x)
    scale = float(np.linalg.norm(x))
    if not np.isfinite(scale) or scale == 0:
        raise ValueError(f"x must be finite and not all zero, found norm {scale}")
    gram = _inner(x)
    e = action.group.identity
    orthogonality, homomorphism = (0.0, e), (0.0, e, e)
    generators = action.group.generators
    moved = {s: action(s, x) for s in generators}
    for g in range(action.group.order):
        change = _size(_inner(action(g, x)) - gram) / scale**2
        orthogonality = max(orthogonality, (change, g))
        for s in generators:
            difference = action(g, moved[s]) - action(int(action.group.table[g, s]), x)
            homomorphism = max(homomorphism, (_size(difference) / scale, g, s))
    # Products can all hold while the identity moves x; and the trivial group has no generators.
    homomorphism = max(homomorphism, (_size(action(e, x) - x) / scale, e, e))
    failures = []
    if homomorphism[0] > tolerance:
        off, g, s = homomorphism
        failures.append(f"{action.name} is no group action: {g} after {s} differs from their product by {off:.1e}")
    if orthogonality[0] > tolerance:
        off, g = orthogonality
        failures.append(f"{action.name} is not orthogonal: element {g} changes inner products by {off:.1e} relative")
    return ActionReport(homomorphism[0], homomorphism[1:], *orthogonality, tuple(failures))


def _size(difference: np.ndarray) -> float:
    # NaN compares as small: an action that makes NaN is infinitely wrong.
    size = float(np.linalg.norm(difference))
    return size if np.isfinite(size) else np.inf


def _inner(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return flat @ flat.T
