"""Matrices outside a compact group, sums of its irreps, and compact groups where finite ones are asked for."""

from math import comb

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from haarflow import groups

FLIP, MIRROR = np.diag([1.0, 1, -1]), np.diag([1.0, -1])


def rules():
    return groups.so2(8), groups.o2(8), groups.so3(4), groups.o3(4)


@pytest.mark.parametrize("group", rules(), ids=lambda group: group.name)
def test_irreps_have_no_value_outside_their_group(group):
    every = [*groups.harmonics(group, 3), groups.vector(group), groups.pseudovector(group, 2)]
    inside = group.random(5, seed=0)
    single = Rotation.random(random_state=0).as_matrix()[: group.dim, : group.dim].astype(np.float32)
    outside = [2 * np.eye(group.dim), np.zeros((group.dim,) * 2), np.full((group.dim,) * 2, np.nan), single]
    if len(group.components) == 1:
        outside.append(FLIP if group.dim == 3 else MIRROR)
    for irrep in every:
        assert irrep.at(inside).shape == (5, irrep.dim, irrep.dim)
        assert irrep.at(inside[:0]).shape == (0, irrep.dim, irrep.dim)
        assert irrep.at(inside[0]).shape == (irrep.dim, irrep.dim)
        for bad in outside:
            with pytest.raises(ValueError, match=r"elements must be a matrix of .*, found one with"):
                irrep.at(bad)
            with pytest.raises(ValueError, match=r"elements must be matrices of .*, found elements\[1, 2\] with"):
                irrep.at(np.stack([inside[:3], [inside[3], inside[4], bad]]))
        for shape in ((3,), (4, 4), (2, 3)):
            with pytest.raises(ValueError, match="found shape"):
                irrep.at(np.ones(shape))


def test_an_orthogonalised_matrix_passes_as_the_message_says():
    group = groups.so3(4)
    action = groups.matrix_action(group)
    rounded = Rotation.random(random_state=2).as_matrix().astype(np.float32)
    with pytest.raises(ValueError, match=r"\(at most 1e-09 would do\).* U @ Vt of U, s, Vt = np\.linalg\.svd"):
        action(rounded, np.ones((1, 3)))
    U, _, Vt = np.linalg.svd(rounded.astype(float))
    assert np.abs(groups.vector(group).at(U @ Vt) - rounded).max() < 1e-6
    np.testing.assert_allclose(action(U @ Vt, np.ones((1, 3)))[0], rounded.sum(axis=1), atol=1e-6)
    with pytest.raises(ValueError, match=r"determinant -1: groups\.o3 has reflections"):
        action(FLIP, np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"g must be one matrix of SO\(3\), found shape \(2, 3, 3\)"):
        action(group.random(2, seed=0), np.ones((1, 3)))


def test_float32_groups_are_told_to_be_made_in_float64():
    turns = Rotation.from_rotvec(np.outer(2 * np.pi * np.arange(5) / 5, [0.6, 0, 0.8])).as_matrix()
    group, rounded = groups.FiniteGroup.from_matrices(turns), turns.astype(np.float32)
    U, _, Vt = np.linalg.svd(rounded.astype(float))
    for make in (groups.FiniteGroup.from_matrices, lambda m: groups.matrix_action(group, m)):
        for bad in (rounded, U @ Vt):  # orthogonal, and no group
            with pytest.raises(ValueError, match=r"e-08 would do\); .*float32.* made in float64"):
                make(bad)
        make(turns)
    with pytest.raises(ValueError, match="made in float64"):
        groups.Representation(group, rounded)


def test_sums_of_compact_irreps():
    group = groups.o3(4)
    both = groups.direct_sum(groups.harmonic(group, 2), groups.vector(groups.o3(6), 2))
    assert isinstance(both, groups.HarmonicSum)
    elements = group.random(4, seed=1)
    exact = np.zeros((4, 11, 11))
    exact[:, :5, :5] = groups.harmonic(group, 2).at(elements)
    exact[:, 5:8, 5:8] = exact[:, 8:, 8:] = elements
    np.testing.assert_allclose(both.at(elements), exact, atol=1e-14)
    four = groups.octahedral()
    finite = groups.Representation(four, four.matrices)
    assert groups.direct_sum(finite, finite).dim == 6
    for other in (finite, groups.vector(groups.so3(4))):
        with pytest.raises(ValueError, match="direct_sum needs representations of one group, found O"):
            groups.direct_sum(groups.vector(group), other)
    with pytest.raises(TypeError, match=r"b must be a groups\.Representation, or groups\.harmonic.*found ndarray"):
        groups.direct_sum(finite, four.matrices)


@pytest.mark.parametrize(
    "make",
    [
        lambda group: groups.direct_product(groups.symmetric(3), group),
        lambda group: groups.direct_product(group, groups.cyclic(2)),
        lambda group: groups.semidirect_product(groups.cyclic(2), group, [[0, 1]]),
        lambda group: groups.permutation_action(group, [[0, 1]]),
        lambda group: groups.Representation(group, np.eye(3)[None]),
        groups.regular,
        groups.trivial,
        groups.irreps,
    ],
)
def test_compact_groups_where_finite_ones_are_asked_for(make):
    with pytest.raises(TypeError, match=r"must be a groups\.FiniteGroup, found SO\(3\).*groups\.octahedral\(\)"):
        make(groups.so3(2))
    with pytest.raises(TypeError, match=r"must be a groups\.FiniteGroup such as groups\.cyclic\(4\), found str"):
        make("C4")


@pytest.mark.parametrize("degree", [5, 8])
def test_quarter_turns_are_exact(degree):
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # about y: z goes to x
    matrix = groups.harmonic(groups.so3(degree), degree).at(turn)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2 * degree + 1), atol=2e-15)
    # The harmonic along z, at a right angle to itself: P_l(0).
    legendre = 0 if degree % 2 else (-1) ** (degree // 2) * comb(degree, degree // 2) / 2**degree
    assert matrix[degree, degree] == pytest.approx(legendre, abs=2e-16)
