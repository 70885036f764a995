"""Alignments against direct sums over vectors, SciPy and brute force; rules against orthogonality."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import iv

from haarflow import groups
from haarflow.groups.alignment import align, aligned_rule

PLANE, SPACE = groups.so2(33), groups.so3(16)
RULES = {2: PLANE, 3: SPACE}
SHAPES = [(2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (3, 3), (3, 5)]


@pytest.fixture(params=SHAPES, ids=str)
def samples(request):
    d, vectors = request.param
    x, other = np.random.default_rng(0).standard_normal((2, 4, vectors, d))
    other[0] = x[1] @ RULES[d].random(1, seed=1)[0].T  # in one orbit
    other[1] = 0
    x[3] = x[3, :1]  # parallel vectors
    return x, other


def test_inner_products_depend_on_the_diagonal_only(samples):
    x, other = samples
    d = x.shape[-1]
    found = align(x, other)
    for part in (found.left, found.right):
        np.testing.assert_allclose(part @ np.swapaxes(part, -1, -2), np.broadcast_to(np.eye(d), part.shape), atol=1e-13)
        assert (np.linalg.det(part) > 0).all()
    for Q in RULES[d].random(20, seed=2):
        moved = np.einsum("nmij,mbj->nmbi", found.left @ Q @ np.swapaxes(found.right, -1, -2), other)
        direct = np.einsum("nbi,nmbi->nm", x, moved)
        diagonal = np.diag(Q) if d == 3 else Q[:1, 0]
        np.testing.assert_allclose(found.stretch @ diagonal, direct, atol=1e-13)


def test_nothing_lies_nearer_than_the_alignment(samples):
    x, other = samples
    d = x.shape[-1]
    found = align(x, other)
    turned = np.einsum("gij,mbj->gmbi", RULES[d].random(2000, seed=3), other)
    gaps = np.square(x[:, None, None] - turned).sum(axis=(-1, -2)).min(axis=1)
    assert (found.gap <= gaps + 1e-12).all()
    assert found.gap[1, 0] < 1e-27
    assert found.gap.shape == (4, 4)
    np.testing.assert_allclose(found.gap[:, 1], np.square(x).sum(axis=(1, 2)))
    if d == 3:
        assert (found.stretch[..., :-1] >= np.abs(found.stretch[..., 1:]) - 1e-13).all()


def test_the_best_alignment_is_scipys():
    x, other = np.random.default_rng(4).standard_normal((2, 5, 4, 3))
    found = align(x, other)
    for i in range(5):
        for j in range(5):
            exact, distance = Rotation.align_vectors(x[i], other[j])
            np.testing.assert_allclose(found.left[i, j] @ found.right[i, j].T, exact.as_matrix(), atol=1e-12)
            assert found.gap[i, j] == pytest.approx(distance**2, rel=1e-12)


def test_alignments_turn_with_the_samples(samples):
    x, other = samples
    d = x.shape[-1]
    found = align(x, other)
    best = found.left @ np.swapaxes(found.right, -1, -2)
    for g, h in zip(RULES[d].random(5, seed=5), RULES[d].random(5, seed=6), strict=True):
        moved = align(x @ g.T, other @ h.T)
        np.testing.assert_allclose(moved.stretch, found.stretch, atol=1e-13)
        np.testing.assert_allclose(moved.gap, found.gap, atol=1e-12)
        turned = moved.left @ np.swapaxes(moved.right, -1, -2)
        # Compared by what it does: parallel vectors leave the rotation about them free.
        a = np.einsum("nmij,mbj->nmbi", turned, other @ h.T)
        b = np.einsum("ij,nmjk,mbk->nmbi", g, best, other)
        alone = found.stretch[..., :2].sum(axis=-1) > 1e-9
        if d == 3 and x.shape[1] > 2:
            alone &= found.stretch[..., 1] + found.stretch[..., 2] > 1e-9
        elif d == 3:
            alone &= found.stretch[..., 1] > 1e-9
        np.testing.assert_allclose(a[alone], b[alone], atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("resolution", [1, 2, 7, 12])
def test_images_share_their_inner_products(d, resolution):
    rule = aligned_rule(d, resolution)
    assert rule.weights.sum() == pytest.approx(1, abs=1e-14)
    assert (rule.weights > 0).all()
    every = rule.rotations
    assert every.shape == (len(rule.weights), 2 if d == 2 else 8, d, d)
    np.testing.assert_allclose(every @ np.swapaxes(every, -1, -2), np.broadcast_to(np.eye(d), every.shape), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(every), 1, atol=1e-14)
    diagonals = np.einsum("nkii->nki", every)[..., : 1 if d == 2 else 3]
    assert np.abs(1 - rule.near[:, None] - diagonals).max() <= 1e-14
    assert np.abs(rule.far[:, None] - 1 - diagonals).max() <= 1e-14
    if d == 3:
        nodes = every.reshape(-1, 9)
        assert len(np.unique(nodes.round(9), axis=0)) == (2 * (resolution // 2) + 4) ** 2 * (3 * resolution // 2 + 1)


def test_distances_near_and_far_keep_their_digits(samples):
    x, other = samples
    d = x.shape[-1]
    found, rule = align(x, other), aligned_rule(d, 6)
    best = np.einsum("nmij,qkjl,nmol->nmqkio", found.left, rule.rotations, found.right)
    moved = np.einsum("nmqkij,mbj->nmqkbi", best, other)
    for sign, values in ((-1, rule.near), (1, rule.far)):
        direct = np.square(x[:, None, None, None] + sign * moved).sum(axis=(-1, -2))
        formula = found.gap[..., None] + 2 * found.stretch @ values.T
        np.testing.assert_allclose(np.broadcast_to(formula[..., None], direct.shape), direct, atol=1e-12)


@pytest.mark.parametrize(("d", "resolution", "degree"), [(2, 48, 8), (3, 8, 3), (3, 13, 6), (3, 16, 8)])
def test_rules_integrate_irreps(d, resolution, degree):
    # Gauss-Legendre in the angle integrates trigonometric polynomials to rounding, though not exactly.
    rule = aligned_rule(d, resolution)
    for irrep in groups.harmonics(RULES[d], degree):
        mean = np.einsum("n,nkab->ab", rule.weights, irrep.at(rule.rotations)) / rule.rotations.shape[1]
        np.testing.assert_allclose(mean, np.full_like(mean, 1.0) if irrep.degree == 0 else 0 * mean, atol=1e-12)


def test_rules_converge_on_a_function_that_is_not_band_limited():
    # The mean of exp(k trace Q) over SO(3) is exp(k) (I_0(2 k) - I_1(2 k)), over SO(2) with trace 2 cos it is I_0(2 k).
    for k in (0.5, 1.5):
        plane, space = aligned_rule(2, 40), aligned_rule(3, 20)
        assert plane.weights @ np.exp(2 * k * (1 - plane.near[:, 0])) == pytest.approx(iv(0, 2 * k), rel=1e-13)
        exact = np.exp(k) * (iv(0, 2 * k) - iv(1, 2 * k))
        assert space.weights @ np.exp(k * (3 - space.near.sum(axis=1))) == pytest.approx(exact, rel=1e-12)
        rough = aligned_rule(3, 1)
        assert rough.weights @ np.exp(k * (3 - rough.near.sum(axis=1))) != pytest.approx(exact, rel=1e-6)
