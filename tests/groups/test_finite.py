"""Groups: the axioms, known products, and tables or matrices that are no groups."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry import GROUPS

from haarflow import groups


@pytest.mark.parametrize("name", GROUPS)
def test_axioms_by_brute_force(name):
    make, order, _ = GROUPS[name]
    group = make()
    t = group.table
    assert group.order == len(t) == order
    for g, h in itertools.product(range(order), repeat=2):
        assert (t[t[g, h]] == t[g, t[h]]).all()
    assert (t[group.identity] == np.arange(order)).all()
    assert (t[:, group.identity] == np.arange(order)).all()
    assert (t[np.arange(order), group.inverse] == group.identity).all()


@pytest.mark.parametrize("name", GROUPS)
def test_generators_generate(name):
    group = GROUPS[name][0]()
    reached = {group.identity}
    while True:
        more = reached | {int(group.table[g, s]) for g in reached for s in group.generators}
        if more == reached:
            break
        reached = more
    assert len(reached) == group.order


def test_known_products():
    quarter, d4 = groups.cyclic(4), groups.dihedral(4)
    assert quarter.table[3, 3] == 2
    flip, turn = 1, 2
    assert d4.table[flip, turn] == d4.table[d4.inverse[turn], flip]
    s3 = groups.symmetric(3)
    elements = list(itertools.permutations(range(3)))
    for (i, a), (j, b) in itertools.product(enumerate(elements), repeat=2):
        assert elements[s3.table[i, j]] == tuple(a[b[k]] for k in range(3))
    assert groups.cyclic(6).is_abelian
    assert not s3.is_abelian
    assert groups.direct_product(groups.cyclic(2), groups.cyclic(3)).order == 6


@pytest.mark.parametrize("make", [groups.tetrahedral, groups.octahedral, groups.icosahedral])
def test_polyhedral_tables_are_their_matrices_products(make):
    group = make()
    products = np.einsum("gij,hjk->ghik", group.matrices, group.matrices)
    np.testing.assert_allclose(products, group.matrices[group.table], atol=1e-12)
    assert np.linalg.det(group.matrices) == pytest.approx(1)


@given(st.permutations(range(8)))
def test_renumbered_tables_are_groups(renumbering):
    perm = np.array(renumbering)
    table = groups.dihedral(4).table
    renamed = np.empty_like(table)
    renamed[np.ix_(perm, perm)] = perm[table]
    group = groups.FiniteGroup.from_table(renamed)
    assert group.identity == perm[0]
    assert sorted(i.dim for i in groups.irreps(group)) == [1, 1, 1, 1, 2]


def test_large_groups_are_quick():
    group = groups.direct_product(groups.translations((28, 28)), groups.cyclic(4))
    assert group.order == 3136
    assert groups.FiniteGroup.from_table(group.table) == group


BAD_TABLES = [
    ([[0, 1], [1, 2]], r"not closed: 1 \* 1 = 2"),
    ([[1, 1], [1, 1]], "no identity"),
    ([[0, 1], [1, 1]], "element 1 has no right inverse"),
    (
        [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]],
        r"not associative: \(\d \* \d\) \* \d = \d, \d \* \(\d \* \d\) = \d",
    ),
    ([[0, 1]], "must be square"),
    ([[0.5]], "element numbers"),
]


@pytest.mark.parametrize(("table", "message"), BAD_TABLES)
def test_tables_that_are_no_groups(table, message):
    with pytest.raises(ValueError, match=message):
        groups.FiniteGroup.from_table(table)


def test_matrices_that_are_no_groups():
    turn = groups.cyclic(4), np.array([[0.0, -1], [1, 0]])
    powers = np.stack([np.linalg.matrix_power(turn[1], k) for k in range(4)])
    assert groups.FiniteGroup.from_matrices(powers) == turn[0]
    with pytest.raises(ValueError, match="matrix 1 times matrix 2 is not among"):
        groups.FiniteGroup.from_matrices(powers[:3])
    with pytest.raises(ValueError, match="found 0 and 1 equal"):
        groups.FiniteGroup.from_matrices(powers[[0, 0]])
    with pytest.raises(ValueError, match="must be finite"):
        groups.FiniteGroup.from_matrices(powers * np.nan)
    with pytest.raises(ValueError, match=r"must be \[\|G\|, d, d\]"):
        groups.FiniteGroup.from_matrices(np.eye(2))


def test_factories_refuse_nonsense():
    for make in (groups.cyclic, groups.dihedral, groups.symmetric):
        with pytest.raises(ValueError, match="n must be a positive integer, found 0"):
            make(0)
    with pytest.raises(ValueError, match="at most 6"):
        groups.symmetric(7)
    with pytest.raises(ValueError, match="at least one side"):
        groups.translations(())
    with pytest.raises(ValueError, match="does not preserve products"):
        groups.semidirect_product(groups.cyclic(4), groups.cyclic(1), [[0, 2, 1, 3]])
    with pytest.raises(ValueError, match="do not compose"):
        groups.semidirect_product(groups.cyclic(3), groups.cyclic(2), [[0, 2, 1], [0, 2, 1]])


def test_groups_are_values():
    assert groups.cyclic(3) == groups.FiniteGroup.from_table(groups.cyclic(3).table, "another name")
    assert len({groups.cyclic(3), groups.cyclic(3), groups.symmetric(3)}) == 2
    with pytest.raises(ValueError, match="read-only"):
        groups.cyclic(3).table[0, 0] = 1
