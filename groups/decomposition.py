"""All real irreps of a finite group, and the decomposition of representations into them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from haarflow.groups.finite import FiniteGroup, as_finite
from haarflow.groups.representations import DirectSum, Representation, trivial

__all__ = ["Isotypic", "decompose", "irreps"]

_TYPES = {1: "real", 2: "complex", 4: "quaternionic"}


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

    @cached_property
    def _is_identity(self) -> bool:
        copies, k, d = self.isometries.shape
        return d == 1 and copies == k and np.array_equal(self.isometries[:, :, 0], np.eye(k))

    def split(self, vectors: np.ndarray) -> np.ndarray:
        """Return the components W_a^T v of vectors [n, k]: array [n, d, m]. Cost: n k m d, nothing for invariants."""
        if self._is_identity:
            return vectors[:, None, :]
        return np.einsum("nk,akd->nda", vectors, self.isometries, optimize=True)

    def join(self, components: np.ndarray) -> np.ndarray:
        """Return sum_a W_a v_a from components [..., d, m]: array [..., k]. Cost as of `split`."""
        if self._is_identity:
            return components[..., 0, :]
        return np.einsum("...da,akd->...k", components, self.isometries, optimize=True)


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
    Random matrices averaged into intertwiners, one copy after the other. Cost: |G| k^2 d for each copy; trivial ones
    cost nothing, sums what their summands do.
    """
    group, k = representation.group, representation.dim
    if representation.is_trivial:
        return [Isotypic(trivial(group), np.eye(k)[:, :, None])]
    if isinstance(representation, DirectSum):
        return _side_by_side(representation)
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


def _side_by_side(representation: DirectSum) -> list[Isotypic]:
    found: dict[str, tuple[Any, list[np.ndarray]]] = {}
    place = 0
    for summand in representation.summands:
        for part in decompose(summand):
            padded = np.zeros((len(part.isometries), representation.dim, part.irrep.dim))
            padded[:, place : place + summand.dim] = part.isometries
            found.setdefault(part.irrep.digest, (part.irrep, []))[1].append(padded)
        place += summand.dim
    # As they are listed: the trivial one may stand for the first without having been computed.
    listed = [found[irrep.digest] for irrep in irreps(representation.group) if irrep.digest in found]
    return [Isotypic(irrep, np.concatenate(copies)) for irrep, copies in listed]
