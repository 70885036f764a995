"""Real orthogonal representations, all real irreps of a finite group, and decomposition into them."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from haarflow.groups.finite import IN_DOUBLE, FiniteGroup, as_finite

__all__ = ["Isotypic", "Representation", "decompose", "direct_sum", "irreps", "regular", "trivial"]

_TOLERANCE = 1e-8
_TYPES = {1: "real", 2: "complex", 4: "quaternionic"}


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
    def digest(self) -> str:
        """SHA-256 of table and matrices, to 9 decimals: equal for equal representations."""
        # Rounded, since irreps' last bits depend on the processor; blocks that differ by as little are the same.
        content = self.group.digest.encode() + (np.round(self.matrices, 9) + 0.0).tobytes()
        return hashlib.sha256(content).hexdigest()


def check_matrices(group: FiniteGroup, matrices: Any, name: str = "matrices") -> np.ndarray:
    """Return a read-only float64 copy; ValueError where it is no orthogonal representation of the group."""
    as_finite(group, "group")
    if np.asarray(matrices).dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real, found dtype {np.asarray(matrices).dtype}")
    matrices = np.array(matrices, dtype=np.float64)
    if (
        matrices.ndim != 3
        or len(matrices) != group.order
        or matrices.shape[1] != matrices.shape[2]
        or not matrices.size
    ):
        raise ValueError(f"{name} must be [{group.order}, d, d] for {group}, found shape {matrices.shape}")
    if not np.isfinite(matrices).all():
        bad = np.argwhere(~np.isfinite(matrices))
        raise ValueError(f"{name} must be finite: found {len(bad)} NaN or inf, the first at {tuple(map(int, bad[0]))}")
    gram = np.einsum("gia,gib->gab", matrices, matrices)
    skew = np.abs(gram - np.eye(matrices.shape[1])).max(axis=(1, 2), initial=0)
    if skew.max() > _TOLERANCE:
        g = int(np.argmax(skew))
        raise ValueError(
            f"{name}[{g}] must be orthogonal: its columns are off by {skew[g]:.1e} "
            f"(at most {_TOLERANCE:.0e} would do); {IN_DOUBLE}"
        )
    for s in group.generators or (group.identity,):
        off = np.abs(matrices @ matrices[s] - matrices[group.table[:, s]]).max(axis=(1, 2), initial=0)
        if off.max() > _TOLERANCE:
            g = int(np.argmax(off))
            raise ValueError(
                f"{name} must be a homomorphism: {name}[{g}] {name}[{s}] differs from "
                f"{name}[{group.table[g, s]}] of the product {g} * {s} by {off[g]:.1e} "
                f"(at most {_TOLERANCE:.0e} would do); {IN_DOUBLE}"
            )
    matrices.setflags(write=False)
    return matrices


def trivial(group: FiniteGroup, k: int = 1) -> Representation:
    """Return the representation of dimension k in which every element acts as the identity."""
    as_finite(group, "group")
    return Representation(group, np.broadcast_to(np.eye(k), (group.order, k, k)), f"trivial ({k})")


def regular(group: FiniteGroup) -> Representation:
    """Return the representation on functions of the group: rho(g) e_h = e_gh. Memory: 8 |G|^3 bytes."""
    order = as_finite(group, "group").order
    matrices = np.zeros((order, order, order))
    g, h = np.indices((order, order))
    matrices[g, group.table, h] = 1
    return Representation(group, matrices, "regular")


def direct_sum(a: Representation, b: Representation) -> Representation:
    """Return the block-diagonal representation of a and b, of the same group."""
    if a.group != b.group:
        raise ValueError(f"direct_sum needs representations of one group, found {a.group} and {b.group}")
    matrices = np.zeros((a.group.order, a.dim + b.dim, a.dim + b.dim))
    matrices[:, : a.dim, : a.dim], matrices[:, a.dim :, a.dim :] = a.matrices, b.matrices
    return Representation(a.group, matrices, f"{a.name} + {b.name}")


@lru_cache(maxsize=32)
def irreps(group: FiniteGroup) -> tuple[Representation, ...]:
    """Return all real irreps of a finite group, computed from its table.

    Parameters
    ----------
    group : FiniteGroup
        Any finite group.

    Returns
    -------
    tuple of Representation
        Pairwise inequivalent, orthogonal, the trivial one first, then by dimension. Their `commutant_dim` e
        is 1, 2 or 4 for real, complex and quaternionic type, and sum d^2 / e = |G|.

    Raises
    ------
    ArithmeticError
        Where they cannot be told apart in float64.

    Notes
    -----
    Eigenspaces of a random symmetric matrix that commutes with the regular representation are irreducible
    with probability 1. Cost: |G|^3 and 8 |G|^2 bytes for the eigenproblem.
    Source: Dixon 1970 for the idea; Serre, Linear Representations of Finite Groups, section 13.2.

    Examples
    --------
    >>> from haarflow import groups
    >>> [(irrep.dim, irrep.commutant_dim) for irrep in groups.irreps(groups.cyclic(4))]
    [(1, 1), (1, 1), (2, 2)]
    """
    as_finite(group, "group")
    for seed in range(5):
        found = _split_regular(group, np.random.default_rng(seed))
        if found is not None:
            return found
    raise ArithmeticError(f"the irreps of {group} cannot be told apart at working precision")


def _split_regular(group: FiniteGroup, rng: np.random.Generator) -> tuple[Representation, ...] | None:
    order, table, inverse = group.order, group.table, group.inverse
    weights = rng.standard_normal(order)
    weights = weights + weights[inverse]
    # Right translations commute with left ones: C[h, k] = w(h^-1 k), symmetric since w(g) = w(g^-1).
    left = table[inverse[:, None], np.arange(order)]  # [g, k] = g^-1 k
    commuting = weights[left]
    values, vectors = np.linalg.eigh(commuting)
    steps = np.diff(values) / (values[-1] - values[0] + 1)
    if ((steps > 1e-10) & (steps < 1e-6)).any():
        return None  # neither equal nor well apart: eigenvectors would mix
    gaps = np.flatnonzero(steps >= 1e-6)
    found: list[Representation] = []
    squares = 0
    drawn = rng.standard_normal((order, order))
    for space in np.split(vectors, gaps + 1, axis=1):
        # Which basis eigh returns is decided by rounding: take the one nearest to a fixed random draw.
        turn, _, back = np.linalg.svd(space.T @ drawn[:, : space.shape[1]])
        space = space @ (turn @ back)
        # The space V is invariant: sigma(g) = V^T rho(g) V, with (rho(g) V)[gh] = V[h].
        character = np.einsum("gka,ka->g", space[left], space)
        e = float(np.mean(character**2))
        indicator = float(np.mean(character[table[np.arange(order), np.arange(order)]]))
        if min(abs(e - t) + abs(indicator - i) for t, i in ((1, 1), (2, 0), (4, -2))) > 1e-6:
            return None  # not irreducible: eigenvalues of two irreps fell together
        if any(np.abs(character - other.character).max() < 1e-6 for other in found):
            continue
        matrices = np.einsum("ka,gkb->gab", space, space[left])
        matrices = _orthogonalised(matrices)
        found.append(Representation(group, matrices))
        squares += found[-1].dim ** 2 // found[-1].commutant_dim
    if squares != order:
        return None
    found.sort(key=lambda irrep: (irrep.dim, tuple(np.round(-irrep.character, 6))))
    return tuple(
        Representation(group, irrep.matrices, f"irrep {i} (dim {irrep.dim}, {_TYPES[irrep.commutant_dim]} type)")
        for i, irrep in enumerate(found)
    )


def _orthogonalised(matrices: np.ndarray) -> np.ndarray:
    # The nearest orthogonal matrices; exact signs for one-dimensional irreps.
    if matrices.shape[1] == 1:
        return np.sign(matrices)
    left, _, right = np.linalg.svd(matrices)
    return left @ right


@dataclass(frozen=True, eq=False)
class Isotypic:
    """All copies of one irrep sigma in a representation rho.

    Attributes
    ----------
    irrep : Representation or Harmonic
        sigma, of dimension d.
    isometries : array [m, k, d]
        W_a with rho(g) W_a = W_a sigma(g) and W_a^T W_b = delta_ab 1.
    """

    irrep: Any
    isometries: np.ndarray


def decompose(representation: Representation) -> list[Isotypic]:
    """Split a representation into copies of irreps.

    Parameters
    ----------
    representation : Representation
        rho, of dimension k.

    Returns
    -------
    list of Isotypic
        Only irreps that occur; all isometries side by side form an orthogonal [k, k] matrix.

    Raises
    ------
    ArithmeticError
        Where copies and dimensions do not add up to k at working precision.

    Notes
    -----
    Random matrices averaged into intertwiners, one copy after the other. Cost: |G| k^2 d for each copy.
    """
    group, k = representation.group, representation.dim
    if np.array_equal(representation.matrices, np.broadcast_to(np.eye(k), representation.matrices.shape)):
        return [Isotypic(trivial(group), np.eye(k)[:, :, None])]
    rng = np.random.default_rng(0)
    parts = []
    for irrep in irreps(group):
        overlap = float(np.mean(representation.character * irrep.character))
        copies: list[np.ndarray] = []
        for _ in range(round(overlap / irrep.commutant_dim)):
            draw = rng.standard_normal((k, irrep.dim))
            for _ in range(2):  # once more against rounding
                for copy in copies:
                    draw = draw - copy @ (copy.T @ draw)
                draw = np.einsum("gij,jb,gab->ia", representation.matrices, draw, irrep.matrices, optimize=True)
                draw /= np.linalg.norm(draw) / np.sqrt(irrep.dim)
            copies.append(draw)
        if copies:
            parts.append(Isotypic(irrep, np.array(copies)))
    if sum(part.isometries.shape[0] * part.irrep.dim for part in parts) != k:
        raise ArithmeticError(f"the irreps in {representation.name or 'the representation'} do not add up to {k}")
    return parts
