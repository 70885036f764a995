"""Matrices on the last axis (vectors, point clouds) and permutations of sites (lattices)."""

from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from haarflow.groups.actions import Action
from haarflow.groups.finite import FiniteGroup, as_finite
from haarflow.groups.haar import HaarAction, HaarQuadrature
from haarflow.groups.representations import check_matrices

__all__ = ["lattice_rotations", "matrix_action", "permutation_action", "permutation_matrices"]


@dataclass(frozen=True, eq=False)
class _MatrixAction(Action):
    matrices: np.ndarray = field(default_factory=lambda: np.eye(1)[None], repr=False)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        d = self.matrices.shape[1]
        if not shape or shape[-1] != d:
            raise ValueError(f"{self.name} acts on a last axis of size {d}, found samples of shape {shape}")

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        return x @ self.matrices[g].T.astype(x.dtype)


@overload
def matrix_action(group: FiniteGroup, matrices: Any = None) -> Action: ...


@overload
def matrix_action(group: HaarQuadrature, matrices: None = None) -> HaarAction: ...


def matrix_action(group: FiniteGroup | HaarQuadrature, matrices: Any = None) -> Action | HaarAction:
    """Return the action by matrices on the last axis: x[..., :] -> M(g) x[..., :] (vectors, point clouds).

    Parameters
    ----------
    group : FiniteGroup or HaarQuadrature
        The group.
    matrices : array [|G|, d, d], optional
        Orthogonal, a homomorphism; default the group's own. A compact group acts by its own only.

    Raises
    ------
    ValueError
        For matrices that are not: it says which element or product fails, and by how much; or none where the
        group has none.
    """
    if isinstance(group, HaarQuadrature):
        if matrices is not None:
            raise ValueError(f"matrices must be None: {group.name} acts by its own, found {type(matrices).__name__}")
        return HaarAction(group)
    if matrices is None:
        if group.matrices is None:
            raise ValueError(f"matrices must be given: {group} has none of its own")
        matrices = group.matrices
    checked = check_matrices(group, matrices)
    d = checked.shape[1]
    return _MatrixAction(group, f"matrix_action({group.name}, {d} x {d})", matrices=checked)


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

    def orbit(self, x: Any) -> np.ndarray:
        """Transform a batch by all elements, through the table of sites: array [|G|, n, ...]."""
        x = self._batch(x)
        return x[np.arange(len(x))[None, :, None], self.sources[:, None, :]]


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
    group, perms = as_finite(group, "group"), _check_perms(perms)
    if len(perms) != group.order:
        raise ValueError(f"perms must have a row for each of the {group.order} elements, found {len(perms)}")
    for s in group.generators or (group.identity,):
        wrong = np.flatnonzero((perms[:, perms[s]] != perms[group.table[:, s]]).any(axis=1))
        if len(wrong):
            raise ValueError(
                f"perms must be a homomorphism: perms[{wrong[0]}][perms[{s}]] is not "
                f"perms[{group.table[wrong[0], s]}] of the product {wrong[0]} * {s}; "
                "perms[g][i] is where site i goes, not where its value comes from"
            )
    sources = np.argsort(perms, axis=1)
    sources.setflags(write=False)
    return _PermutationAction(group, f"permutation_action({group.name}, {perms.shape[1]} sites)", sources=sources)


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
        raise ValueError(
            f"perms[{wrong[0]}] must be a permutation of 0 .. {perms.shape[1] - 1}, found {perms[wrong[0]]}"
        )
    return perms


def lattice_rotations(side: int) -> np.ndarray:
    """Return where the sites of a square lattice go under quarter turns, as those of np.rot90 on an image.

    Parameters
    ----------
    side : int
        Sites along one axis; site i is at row i // side, column i % side.

    Returns
    -------
    int array [4, side^2]
        perms[g, i], for `permutation_action(cyclic(4), perms)` and `permutation_matrices(perms)`.
    """
    if side < 1:
        raise ValueError(f"side must be a positive integer, found {side!r}")
    sites = np.arange(side**2).reshape(side, side)
    return np.stack([np.argsort(np.rot90(sites, g).ravel()) for g in range(4)])
