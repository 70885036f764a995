"""Irreps against Schur's orthogonality relations and known tables; decompositions put back together."""

import numpy as np
import pytest
from registry import ACTIONS, GROUPS

from haarflow import groups


@pytest.fixture(scope="module", params=GROUPS)
def case(request):
    make, order, types = GROUPS[request.param]
    return make(), order, types


def test_orthogonality_relations(case):
    group, order, types = case
    irreps = groups.irreps(group)
    found = sorted((i.dim, i.commutant_dim) for i in irreps)
    assert types is None or found == sorted(types)
    assert sum(i.dim**2 / i.commutant_dim for i in irreps) == order
    assert (irreps[0].matrices == 1).all()
    for a, sigma in enumerate(irreps):
        for b, tau in enumerate(irreps):
            means = np.einsum("gij,gkl->ijkl", sigma.matrices, tau.matrices) / order
            if a != b:
                assert np.abs(means).max() < 1e-12
            elif sigma.commutant_dim == 1:
                eye = np.eye(sigma.dim)
                np.testing.assert_allclose(means, np.einsum("ik,jl->ijkl", eye, eye) / sigma.dim, atol=1e-12)
            else:
                # The trace relation that holds for every type.
                np.testing.assert_allclose(np.einsum("iikk->", means), sigma.commutant_dim, atol=1e-12)


def test_irreps_are_homomorphisms_by_brute_force(case):
    group, _, _ = case
    for irrep in groups.irreps(group):
        products = np.einsum("gij,hjk->ghik", irrep.matrices, irrep.matrices)
        np.testing.assert_allclose(products, irrep.matrices[group.table], atol=1e-12)


def test_decomposition_puts_the_representation_back_together(case):
    group, order, _ = case
    representations = [groups.trivial(group, 3)]
    if order <= 24:
        representations.append(groups.regular(group))
    if group.matrices is not None:
        vectors = groups.Representation(group, group.matrices)
        representations.append(groups.direct_sum(vectors, groups.direct_sum(groups.trivial(group), vectors)))
    for rho in representations:
        parts = groups.decompose(rho)
        basis = np.concatenate([w for part in parts for w in part.isometries], axis=1)
        np.testing.assert_allclose(basis.T @ basis, np.eye(rho.dim), atol=1e-12)
        again = sum(
            np.einsum("aki,gij,alj->gkl", part.isometries, part.irrep.matrices, part.isometries) for part in parts
        )
        np.testing.assert_allclose(again, rho.matrices, atol=1e-12)


def test_regular_representation_is_left_multiplication():
    group = groups.symmetric(3)
    rho = groups.regular(group)
    for g in range(6):
        for h in range(6):
            assert rho.matrices[g][group.table[g, h], h] == 1
    assert rho.matrices.sum() == 36


def test_what_is_no_representation():
    group = groups.cyclic(3)
    turn = 2 * np.pi / 3
    rotations = np.array(
        [[[np.cos(k * turn), -np.sin(k * turn)], [np.sin(k * turn), np.cos(k * turn)]] for k in range(3)]
    )
    assert groups.Representation(group, rotations).commutant_dim == 2
    with pytest.raises(ValueError, match=r"must be \[3, d, d\] for C3"):
        groups.Representation(group, rotations[:2])
    with pytest.raises(ValueError, match=r"matrices\[1\] must be orthogonal: its columns are off by"):
        groups.Representation(group, rotations * np.array([1, 1.5, 1])[:, None, None])
    with pytest.raises(
        ValueError, match=r"matrices\[1\] matrices\[1\] differs from matrices\[2\] of the product 1 \* 1"
    ):
        groups.Representation(group, rotations[[0, 1, 1]])
    with pytest.raises(ValueError, match="must be finite"):
        groups.Representation(group, rotations * np.nan)
    with pytest.raises(ValueError, match="of one group"):
        groups.direct_sum(groups.trivial(group), groups.trivial(groups.cyclic(2)))


@pytest.mark.parametrize("name", ACTIONS)
def test_digests_tell_actions_apart(name):
    action = ACTIONS[name][0]()
    assert action.digest == ACTIONS[name][0]().digest
    assert action.digest not in {make().digest for other, (make, _) in ACTIONS.items() if other != name}
