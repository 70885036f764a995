"""FiniteGroup: a group by its multiplication table."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["FiniteGroup", "as_finite"]

_MATRIX_TOLERANCE = 1e-8
# Orthogonalised one by one, such matrices are orthogonal and still no group.
IN_DOUBLE = "matrices that went through float32 are off by about 1e-7, and have to be made in float64"
_DIRECTIONS = 6


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group, elements numbered 0 .. |G|-1.

    Parameters
    ----------
    table : int array [|G|, |G|]
        table[g, h] is the number of the product gh. Use `from_table` or `from_matrices` to have it checked.
    name : str
        Such as "C4".
    matrices : array [|G|, d, d], optional
        The matrices the group was made from.
    """

    table: np.ndarray = field(repr=False)
    name: str = "G"
    matrices: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Copies, so that nothing the caller holds is frozen or can change the group.
        for name in ("table", "matrices"):
            if getattr(self, name) is not None:
                array = np.array(getattr(self, name))
                array.setflags(write=False)
                object.__setattr__(self, name, array)

    @property
    def order(self) -> int:
        """Number of elements |G|."""
        return len(self.table)

    @cached_property
    def identity(self) -> int:
        """Number of the neutral element."""
        return int(np.flatnonzero((self.table == np.arange(self.order)).all(axis=1))[0])

    @cached_property
    def inverse(self) -> np.ndarray:
        """Numbers of the inverses: int array [|G|]."""
        inverse = np.argmax(self.table == self.identity, axis=1)
        inverse.setflags(write=False)
        return inverse

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """A small set of elements whose products are the whole group; empty for the trivial group."""
        return _generators(self.table, self.identity)

    @property
    def is_abelian(self) -> bool:
        """Whether all elements commute."""
        return bool(np.array_equal(self.table, self.table.T))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table: equal for equal tables, in every process."""
        content = hashlib.sha256()
        for row in self.table:  # one at a time: the whole table as int64 would be twice its size again
            content.update(row.astype(np.int64).tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FiniteGroup) and np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"{self.name} (order {self.order})"

    @classmethod
    def from_table(cls, table: Any, name: str = "G") -> Self:
        """Make a group from its multiplication table, after checking the axioms.

        Parameters
        ----------
        table : int array [|G|, |G|]
            table[g, h] is the number of gh.
        name : str
            For printing.

        Raises
        ------
        ValueError
            For a table that is not closed, has no identity, lacks an inverse, or is not associative: it says
            which product fails.

        Notes
        -----
        Cost: |G|^2 for each generator (Light's test of associativity).
        """
        raw = np.asarray(table)
        if raw.ndim != 2 or raw.shape[0] != raw.shape[1] or raw.size == 0:
            raise ValueError(f"table must be square [|G|, |G|], found shape {raw.shape}")
        if raw.dtype.kind not in "iu":
            raise ValueError(f"table must hold element numbers, found dtype {raw.dtype}")
        order = len(raw)
        outside = np.argwhere((raw < 0) | (raw >= order))
        if len(outside):
            g, h = outside[0]
            raise ValueError(f"table is not closed: {g} * {h} = {raw[g, h]}, outside 0 .. {order - 1}")
        table = raw.astype(np.int32)
        numbers = np.arange(order)
        neutral = (table == numbers).all(axis=1) & (table == numbers[:, None]).all(axis=0)
        if not neutral.any():
            raise ValueError("table has no identity: no element e has e * g = g * e = g for every g")
        e = int(np.argmax(neutral))
        for side, part in (("right", table), ("left", table.T)):
            lacking = np.flatnonzero(~(part == e).any(axis=1))
            if len(lacking):
                raise ValueError(f"element {lacking[0]} has no {side} inverse in table")
        for s in _generators(table, e):
            # (g s) h = g (s h) for generators s implies it for all.
            left, right = table[table[:, s]], table[:, table[s]]
            if not np.array_equal(left, right):
                g, h = np.argwhere(left != right)[0]
                raise ValueError(
                    f"table is not associative: ({g} * {s}) * {h} = {left[g, h]}, {g} * ({s} * {h}) = {right[g, h]}"
                )
        return cls(table, name)

    @classmethod
    def from_matrices(cls, matrices: Any, name: str = "G") -> Self:
        """Make a group from all of its matrices.

        Parameters
        ----------
        matrices : array [|G|, d, d]
            Distinct matrices, closed under multiplication.
        name : str
            For printing.

        Raises
        ------
        ValueError
            For matrices that repeat, are not closed (it says which product is missing), or are singular.

        Notes
        -----
        Cost: |G|^2 d^3, and |G|^2 look-ups in a k-d tree of a few random projections.
        """
        matrices = np.array(matrices, dtype=float)
        if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.size == 0:
            raise ValueError(f"matrices must be [|G|, d, d], found shape {matrices.shape}")
        if not np.isfinite(matrices).all():
            raise ValueError("matrices must be finite, found NaN or inf")
        order, d, _ = matrices.shape
        flat = matrices.reshape(order, -1)
        scale = _MATRIX_TOLERANCE * float(np.abs(matrices).max())
        # A k-d tree is slow in d^2 dimensions: look up in a few random directions, compare in full.
        directions = np.random.default_rng(0).standard_normal((d * d, min(d * d, _DIRECTIONS)))
        directions /= np.linalg.norm(directions, axis=0)
        tree = cKDTree(flat @ directions)
        for g, h in sorted(tree.query_pairs(scale)):
            if np.linalg.norm(flat[g] - flat[h]) <= scale * d:
                raise ValueError(f"matrices must be distinct, found {g} and {h} equal")
        table = np.empty((order, order), np.int32)
        for g in range(order):
            products = (matrices[g] @ matrices).reshape(order, -1)
            table[g] = tree.query(products @ directions)[1]
            distances = np.linalg.norm(products - flat[table[g]], axis=1)
            missing = np.flatnonzero(distances > scale * d)
            if len(missing):
                nearest = float(np.linalg.norm(flat - products[missing[0]], axis=1).min())
                raise ValueError(
                    f"matrices are not closed under multiplication: matrix {g} times matrix {missing[0]} "
                    f"is not among them (the nearest is {nearest:.1e} away, {scale * d:.1e} would do); {IN_DOUBLE}"
                )
        group = cls.from_table(table, name)
        off = float(np.abs(matrices[group.identity] - np.eye(d)).max())
        if off > scale * d:
            raise ValueError(
                f"matrices must be invertible: their neutral element, matrix {group.identity}, "
                f"differs from the identity matrix by {off:.1e} (at most {scale * d:.1e} would do), "
                "so that all of them are singular"
            )
        return cls(group.table, name, matrices)


def as_finite(group: Any, name: str) -> FiniteGroup:
    """Return a finite group; TypeError for a compact one or something else, with what takes its place."""
    if isinstance(group, FiniteGroup):
        return group
    if not hasattr(group, "nodes"):
        raise TypeError(f"{name} must be a groups.FiniteGroup such as groups.cyclic(4), found {type(group).__name__}")
    raise TypeError(
        f"{name} must be a groups.FiniteGroup, found {group}, a compact group: its averages run over it alone. "
        "A finite subgroup, such as groups.octahedral() or groups.cyclic(k), forms products with other groups; "
        "or list what the other group makes of x and y, and keep the compact group as action"
    )


def _generators(table: np.ndarray, identity: int) -> tuple[int, ...]:
    reached = np.zeros(len(table), bool)
    reached[identity] = True
    found: list[int] = []
    while not reached.all():
        found.append(int(np.argmin(reached)))
        spread(table, reached, found)
    return tuple(found)


def spread(table: np.ndarray, reached: np.ndarray, generators: Sequence[int]) -> None:
    """Extend a mask of elements, in place, by all their products with generators."""
    frontier = np.flatnonzero(reached)
    while len(frontier):
        products = np.unique(table[np.ix_(frontier, np.asarray(generators))])
        frontier = products[~reached[products]]
        reached[frontier] = True
