"""Real orthogonal representations of a finite group, and sums of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from haarflow.groups.finite import IN_DOUBLE, FiniteGroup, as_finite

__all__ = ["DirectSum", "Representation", "check_matrices", "direct_sum", "regular", "trivial"]

_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Representation:
    """A real orthogonal representation rho of a finite group.

    Parameters
    ----------
    group : FiniteGroup
        The group.
    matrices : array [|G|, d, d]
        rho(g), orthogonal, with rho(g) rho(h) = rho(gh).
    name : str
        For printing.

    Raises
    ------
    ValueError
        For matrices of another shape, not finite, not orthogonal, or not a homomorphism: it says which
        element or product fails, and by how much.
    """

    group: FiniteGroup
    matrices: np.ndarray = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrices", check_matrices(self.group, self.matrices))

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.matrices.shape[1]

    @cached_property
    def character(self) -> np.ndarray:
        """Traces chi(g): array [|G|]."""
        return np.einsum("gii->g", self.matrices)

    @cached_property
    def commutant_dim(self) -> int:
        """Dimension of the commutant; 1, 2 or 4 for an irrep of real, complex or quaternionic type."""
        return round(float(np.mean(self.character**2)))

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity."""
        # One of matrices that are all the same, as `trivial` has them, tells for all.
        some = self.matrices[:1] if _is_repeated(self.matrices) else self.matrices
        return all(np.array_equal(matrix, np.eye(self.dim)) for matrix in some)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of table and matrices, to 9 decimals: equal for equal representations."""
        content = hashlib.sha256(self.group.digest.encode())
        repeated = self._bytes(0) if self.is_trivial else None
        for g in range(self.group.order):  # one at a time: all of them may be many times what they are made of
            content.update(self._bytes(g) if repeated is None else repeated)
        return content.hexdigest()

    def _bytes(self, g: int) -> bytes:
        # Rounded, since irreps' last bits depend on the processor; blocks that differ by as little are the same.
        return (np.round(self._matrix(g), 9) + 0.0).tobytes()

    def _matrix(self, g: int) -> np.ndarray:
        return self.matrices[g]

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Return rho(g) v for all elements and vectors v [n, d]: array [|G|, n, d]."""
        if self.is_trivial:
            return np.broadcast_to(vectors, (self.group.order, *vectors.shape))
        return np.einsum("gab,nb->gna", self.matrices, vectors)

    def __getstate__(self) -> dict[str, Any]:
        """Give what a pickle keeps: one of matrices that are all the same."""
        repeated = "matrices" in vars(self) and _is_repeated(self.matrices)
        return {**vars(self), **({"matrices": self.matrices[:1].copy()} if repeated else {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a pickle kept."""
        vars(self).update(state)
        if "matrices" in state:
            vars(self)["matrices"] = _repeated(state["matrices"], state["group"].order)


def _is_repeated(matrices: np.ndarray) -> bool:
    """Whether matrices [|G|, d, d] are one matrix in memory."""
    return matrices.ndim == 3 and matrices.strides[0] == 0 and len(matrices) > 1


def _repeated(matrices: np.ndarray, order: int) -> np.ndarray:
    """Return [order, d, d], read-only: as they are, or one matrix [1, d, d] for all."""
    if len(matrices) == order:
        matrices.setflags(write=False)
        return matrices
    return np.broadcast_to(matrices, (order, *matrices.shape[1:]))


def _known(group: FiniteGroup, matrices: np.ndarray, name: str) -> Representation:
    """Return a representation that is one by its construction, unchecked; of one matrix [1, d, d] for all elements."""
    made = object.__new__(Representation)
    made.__setstate__({"group": group, "matrices": matrices, "name": name})
    return made


class DirectSum(Representation):
    """Representations side by side; matrices are formed when they are asked for.

    Parameters
    ----------
    summands : sequence of Representation
        Of one group, in the order of their blocks.
    name : str
        For printing.
    """

    def __init__(self, summands: Sequence[Representation], name: str) -> None:
        vars(self).update(group=summands[0].group, name=name, summands=tuple(summands))

    summands: tuple[Representation, ...]

    @property
    def dim(self) -> int:
        """Dimension d."""
        return sum(part.dim for part in self.summands)

    @cached_property
    def matrices(self) -> np.ndarray:
        """Block-diagonal matrices: array [|G|, d, d]."""
        if self.is_trivial:
            return _repeated(np.eye(self.dim)[None], self.group.order)
        return _repeated(np.stack([self._matrix(g) for g in range(self.group.order)]), self.group.order)

    @cached_property
    def character(self) -> np.ndarray:
        """Traces chi(g): array [|G|]."""
        return np.sum([part.character for part in self.summands], axis=0)

    @cached_property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity."""
        return all(part.is_trivial for part in self.summands)

    def _matrix(self, g: int) -> np.ndarray:
        whole, place = np.zeros((self.dim, self.dim)), 0
        for part in self.summands:
            whole[place : place + part.dim, place : place + part.dim] = part._matrix(g)
            place += part.dim
        return whole

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Return rho(g) v for all elements and vectors v [n, d]: array [|G|, n, d]."""
        edges = np.cumsum([part.dim for part in self.summands])[:-1]
        parts = zip(self.summands, np.split(vectors, edges, axis=1), strict=True)
        return np.concatenate([part.transform(some) for part, some in parts], axis=2)


def check_matrices(group: FiniteGroup, matrices: Any, name: str = "matrices") -> np.ndarray:
    """Return a read-only float64 copy; ValueError where it is no orthogonal representation of the group."""
    as_finite(group, "group")
    if np.asarray(matrices).dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real, found dtype {np.asarray(matrices).dtype}")
    matrices = np.asarray(matrices, dtype=np.float64)
    if (
        matrices.ndim != 3
        or len(matrices) != group.order
        or matrices.shape[1] != matrices.shape[2]
        or not matrices.size
    ):
        raise ValueError(f"{name} must be [{group.order}, d, d] for {group}, found shape {matrices.shape}")
    # One matrix that stands for all elements is checked once, and kept once.
    alone = _is_repeated(matrices)
    matrices = np.array(matrices[:1] if alone else matrices)
    if not np.isfinite(matrices).all():
        bad = np.argwhere(~np.isfinite(matrices))
        raise ValueError(f"{name} must be finite: found {len(bad)} NaN or inf, the first at {tuple(map(int, bad[0]))}")
    gram = np.swapaxes(matrices, 1, 2) @ matrices
    skew = np.abs(gram - np.eye(matrices.shape[1])).max(axis=(1, 2), initial=0)
    if skew.max() > _TOLERANCE:
        g = int(np.argmax(skew))
        raise ValueError(
            f"{name}[{g}] must be orthogonal: its columns are off by {skew[g]:.1e} "
            f"(at most {_TOLERANCE:.0e} would do); {IN_DOUBLE}"
        )
    for s in group.generators or (group.identity,):
        products = matrices if alone else matrices[group.table[:, s]]
        off = np.abs(matrices @ matrices[0 if alone else s] - products).max(axis=(1, 2), initial=0)
        if off.max() > _TOLERANCE:
            g = int(np.argmax(off))
            raise ValueError(
                f"{name} must be a homomorphism: {name}[{g}] {name}[{s}] differs from "
                f"{name}[{group.table[g, s]}] of the product {g} * {s} by {off[g]:.1e} "
                f"(at most {_TOLERANCE:.0e} would do); {IN_DOUBLE}"
            )
    return _repeated(matrices, group.order)


def trivial(group: FiniteGroup, k: int = 1) -> Representation:
    """Return the representation of dimension k in which every element acts as the identity. Memory: 8 k^2 bytes."""
    as_finite(group, "group")
    if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
        raise ValueError(f"k must be a positive integer, found {k!r}")
    return _known(group, np.eye(k)[None], f"trivial ({k})")


def regular(group: FiniteGroup) -> Representation:
    """Return the representation on functions of the group: rho(g) e_h = e_gh. Memory: 8 |G|^3 bytes."""
    order = as_finite(group, "group").order
    matrices = np.zeros((order, order, order))
    g, h = np.indices((order, order))
    matrices[g, group.table, h] = 1
    return _known(group, matrices, "regular")


def direct_sum(a: Representation, b: Representation) -> Representation:
    """Return the block-diagonal representation of a and b, of the same group; its matrices wait to be asked for."""
    if a.group != b.group:
        raise ValueError(f"direct_sum needs representations of one group, found {a.group} and {b.group}")
    return DirectSum((a, b), f"{a.name} + {b.name}")
