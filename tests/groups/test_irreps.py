"""Irreps and decompositions: general Schur relations, accuracy, hidden bases, and what is reproducible."""

import numpy as np
import pytest
from registry import GROUPS

from haarflow import groups
from haarflow.groups import decomposition

LARGE = {
    "S5": lambda: groups.symmetric(5),
    "T14x14": lambda: groups.translations((14, 14)),
    "O x C8": lambda: groups.direct_product(groups.octahedral(), groups.cyclic(8)),
    "D100": lambda: groups.dihedral(100),
    "C5": lambda: groups.cyclic(5),
}
ALL = {name: entry[0] for name, entry in GROUPS.items()} | LARGE


@pytest.mark.parametrize("name", ALL)
def test_accuracy_and_types(name):
    group = ALL[name]()
    squares = group.table[np.arange(group.order), np.arange(group.order)]
    irreps = groups.irreps(group)
    assert [i.dim for i in irreps] == sorted(i.dim for i in irreps)
    for i, sigma in enumerate(irreps):
        gram = np.einsum("gia,gib->gab", sigma.matrices, sigma.matrices)
        assert np.abs(gram - np.eye(sigma.dim)).max() < 1e-13
        for s in group.generators:
            assert np.abs(sigma.matrices @ sigma.matrices[s] - sigma.matrices[group.table[:, s]]).max() < 1e-13
        indicator = sigma.character[squares].mean()
        assert indicator == pytest.approx({1: 1, 2: 0, 4: -2}[sigma.commutant_dim], abs=1e-9)
        kind = {1: "real", 2: "complex", 4: "quaternionic"}[sigma.commutant_dim]
        assert sigma.name == f"irrep {i} (dim {sigma.dim}, {kind} type)"


@pytest.mark.parametrize("name", GROUPS)
def test_characters_reassemble_the_regular_one(name):
    group = GROUPS[name][0]()
    total = sum(i.dim / i.commutant_dim * i.character for i in groups.irreps(group))
    expected = np.where(np.arange(group.order) == group.identity, group.order, 0)
    np.testing.assert_allclose(total, expected, atol=1e-11)


@pytest.mark.parametrize("name", GROUPS)
def test_averages_lie_in_the_commutant(name):
    """mean_g sigma(g) T sigma(g)^T is the projection of T on the commutant, whose dimension is e."""
    group = GROUPS[name][0]()
    for sigma in groups.irreps(group):
        projector = np.einsum("gij,gkl->ikjl", sigma.matrices, sigma.matrices) / group.order
        values = np.linalg.eigvalsh(projector.reshape(sigma.dim**2, -1))
        ones = int((values > 0.5).sum())
        assert ones == sigma.commutant_dim
        assert np.abs(values[-ones:] - 1).max() < 1e-12
        assert np.abs(values[:-ones]).max(initial=0) < 1e-12


def hidden_sum(group, seed=0):
    """Two copies of the last irrep, one of every other, in a random orthonormal basis."""
    rho = None
    irreps = groups.irreps(group)
    for sigma in (*irreps, irreps[-1]):
        rho = sigma if rho is None else groups.direct_sum(rho, sigma)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((rho.dim, rho.dim)))
    return groups.Representation(group, basis @ rho.matrices @ basis.T)


@pytest.mark.parametrize("name", GROUPS)
def test_hidden_copies_are_found(name):
    group = GROUPS[name][0]()
    rho = hidden_sum(group)
    parts = groups.decompose(rho)
    irreps = groups.irreps(group)
    assert [len(p.isometries) for p in parts] == [1] * (len(irreps) - 1) + [2]
    again = np.zeros_like(rho.matrices)
    for part in parts:
        for a, w in enumerate(part.isometries):
            for g in range(group.order):
                np.testing.assert_allclose(rho.matrices[g] @ w, w @ part.irrep.matrices[g], atol=1e-12)
                again[g] += w @ part.irrep.matrices[g] @ w.T
            for b, v in enumerate(part.isometries):
                np.testing.assert_allclose(w.T @ v, np.eye(part.irrep.dim) * (a == b), atol=1e-12)
    np.testing.assert_allclose(again, rho.matrices, atol=1e-11)


def test_trivial_representations_have_identity_columns_to_the_bit():
    for group in (groups.cyclic(1), groups.octahedral()):
        (part,) = groups.decompose(groups.trivial(group, 5))
        assert np.array_equal(part.isometries[:, :, 0], np.eye(5))
        assert part.irrep.dim == 1


def test_sites_decompose_as_burnside_counts():
    """The number of trivial copies is the number of orbits of the sites."""
    group, perms = groups.cyclic(4), groups.lattice_rotations(5)
    parts = groups.decompose(groups.Representation(group, groups.permutation_matrices(perms)))
    orbits = {frozenset(perms[:, i]) for i in range(25)}
    assert len(parts[0].isometries) == len(orbits) == 7
    assert [(p.irrep.dim, len(p.isometries)) for p in parts] == [(1, 7), (1, 6), (2, 6)]


def test_irreps_do_not_depend_on_the_basis_that_the_eigensolver_returns(monkeypatch):
    """Degenerate eigenvectors are turned at random, as another LAPACK might: the irreps stay."""
    group = groups.dihedral(3)
    expected = groups.irreps(group)
    eigh = np.linalg.eigh

    def turned(matrix):
        values, vectors = eigh(matrix)
        rng = np.random.default_rng(5)
        start = 0
        for stop in [*(np.flatnonzero(np.diff(values) > 1e-6) + 1), len(values)]:
            turn, _ = np.linalg.qr(rng.standard_normal((stop - start, stop - start)))
            vectors[:, start:stop] = vectors[:, start:stop] @ turn
            start = stop
        return values, vectors

    monkeypatch.setattr(np.linalg, "eigh", turned)
    again = decomposition._split_regular(group, np.random.default_rng(0))
    for a, b in zip(expected, again, strict=True):
        np.testing.assert_allclose(a.matrices, b.matrices, atol=1e-12)


def test_irreps_that_cannot_be_told_apart_are_an_error(monkeypatch):
    monkeypatch.setattr(np.linalg, "eigh", lambda m: (np.zeros(len(m)), np.eye(len(m))))
    with pytest.raises(ArithmeticError, match="cannot be told apart"):
        groups.irreps.__wrapped__(groups.cyclic(3))


def test_digests_are_of_content():
    group = groups.cyclic(3)
    a, b = groups.trivial(group, 2), groups.trivial(group, 2)
    assert a.digest == b.digest
    assert a.digest != groups.trivial(group, 3).digest
    assert a.digest != groups.trivial(groups.cyclic(4), 2).digest
    renamed = groups.FiniteGroup.from_table(group.table, "threefold")
    assert renamed.digest == group.digest
