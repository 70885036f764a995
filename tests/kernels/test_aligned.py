"""Haar averages of kernels against brute force: fine sums, adaptive integrals, Monte Carlo, finite subgroups."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from haarflow import groups, kernels
from haarflow.groups.alignment import align
from haarflow.groups.rotations import plane_rotations
from haarflow.kernels.aligned import aligned_tiles, evaluations

ACTS = {"erf": kernels.Erf, "relu": kernels.Relu, "gelu": kernels.Gelu}
PLANE, LINE = (3, 2), (3, 3)


def network(act, dtype="float64"):
    layers = (kernels.Dense(2**0.5, 0.1), ACTS[act](), kernels.Dense(2**0.5, 0.1), ACTS[act](), kernels.Dense(1.0, 0.1))
    return kernels.analytic(kernels.Sequential(kernels.Flatten(), *layers), dtype)


def samples(shape, other=3):
    """Batches of which the second holds a turned copy of the first's first sample, and that sample itself."""
    a, b = np.random.default_rng(0).standard_normal((2, other, *shape))
    group = groups.so2(1) if shape[-1] == 2 else groups.so3(0)
    b[0], b[1] = a[0] @ group.random(1, seed=1)[0].T, a[0]
    return a, b


def over(kernel, a, b, elements, family="ntk"):
    """Kernels between a and all transforms of b: [g, i, j]."""
    moved = np.einsum("gij,n...j->gn...i", elements, b).reshape(-1, *b.shape[1:])
    values = getattr(kernel(a, moved), family)
    return np.moveaxis(values.reshape(len(a), len(elements), len(b)), 0, 1)


def brute(kernel, a, b, elements, weights, irrep):
    """Return sum_g w Theta(x, g x') sigma(g) and the same of K from full kernels: [i, d, j, d] each."""
    sigma = irrep.at(elements) * weights[:, None, None]
    return [np.einsum("gij,gab->iajb", over(kernel, a, b, elements, f), sigma) for f in ("ntk", "nngp")]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("shape", [(4,), (3, 2)])
def test_kernels_of_distances_are_the_kernels_of_vectors(act, shape):
    kernel = network(act)
    assert kernel.of_inner_product(shape)
    a, b = np.random.default_rng(1).standard_normal((2, 5, *shape))
    a[0], a[1], a[2] = b[0], -b[1], b[2] * (1 + 1e-9)
    flat_a, flat_b = a.reshape(5, -1), b.reshape(5, -1)
    size = flat_a.shape[1]
    D, S = (np.square(flat_a[:, None] + sign * flat_b).sum(axis=-1) / size for sign in (-1, 1))
    q1, q2 = np.square(flat_a).mean(axis=1), np.square(flat_b).mean(axis=1)
    i, j = np.indices((5, 5)).reshape(2, -1)
    found = kernel.of_distances(D[i, j][:, None], S[i, j][:, None], q1[i], q2[j])
    exact = kernel(a, b)
    assert found.ntk.shape == (25, 1)
    np.testing.assert_allclose(found.ntk.reshape(5, 5), exact.ntk, rtol=1e-13)
    np.testing.assert_allclose(found.nngp.reshape(5, 5), exact.nngp, rtol=1e-13, atol=1e-15)


def test_networks_that_see_more_than_inner_products_say_so():
    dense = (kernels.Dense(), kernels.Erf(), kernels.Dense())
    assert kernels.analytic(kernels.Sequential(*dense)).of_inner_product((3,))
    assert not kernels.analytic(
        kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.Flatten(), kernels.Dense())
    ).of_inner_product((4, 4, 1))


@pytest.mark.parametrize("act", ["erf", "gelu"])
def test_the_plane_against_an_equispaced_sum(act):
    kernel, (a, b) = network(act), samples(PLANE)
    group = groups.o2(64)
    irreps = [groups.harmonic(group, 0, odd=True), *(groups.harmonic(group, degree) for degree in (0, 1, 3))]
    for name in ("SO(2)", "O(2)"):
        fine = groups.so2(256) if name == "SO(2)" else groups.o2(256)
        rule = fine.at(64)
        served = [irrep for irrep in irreps if name == "O(2)" or not irrep.odd]
        served = [groups.harmonic(rule, irrep.degree, irrep.odd) for irrep in served]
        found = aligned_tiles(kernel, groups.matrix_action(rule), a, b, served)
        for irrep, ntk, nngp in zip(served, found.ntk, found.nngp, strict=True):
            exact = brute(kernel, a, b, fine.nodes, fine.weights, irrep)
            np.testing.assert_allclose(ntk, exact[0], atol=1e-12)
            np.testing.assert_allclose(nngp, exact[1], atol=1e-12)


def test_the_plane_against_an_adaptive_integral_with_cusps():
    kernel, (a, b) = network("relu"), samples(PLANE)
    rule = groups.so2(64)
    irrep = groups.harmonic(rule, 1)
    found = aligned_tiles(kernel, groups.matrix_action(rule), a, b, [irrep])
    best = np.arctan2(*np.moveaxis(align(a, b).left[..., [1, 0], 0], -1, 0))

    def value(angle, i, j, row, column, family):
        g = plane_rotations(np.asarray(angle))
        return float(getattr(kernel(a[i : i + 1], b[j : j + 1] @ g.T), family)[0, 0]) * irrep.at(g)[row, column]

    for i, j, row, column, family in [
        (0, 0, 0, 0, "ntk"),
        (0, 0, 1, 0, "ntk"),
        (0, 1, 0, 0, "nngp"),
        (1, 2, 0, 1, "ntk"),
    ]:
        total = 0.0
        for start in (best[i, j], best[i, j] + np.pi):
            part, _ = quad(value, start, start + np.pi, (i, j, row, column, family), epsabs=1e-11, epsrel=1e-11)
            total += part / (2 * np.pi)
        values = (found.ntk if family == "ntk" else found.nngp)[0]
        assert values[i, row, j, column] == pytest.approx(total, abs=2e-11)


@pytest.mark.parametrize("name", ["SO(3)", "O(3)"])
def test_space_against_a_product_rule(name):
    kernel, (a, b) = network("erf"), samples(LINE, 2)
    fine = (groups.so3 if name == "SO(3)" else groups.o3)(18)
    rule = fine.at(20)
    irreps = list(groups.harmonics(rule, 2))
    found = aligned_tiles(kernel, groups.matrix_action(rule), a, b, irreps)
    for irrep, ntk, nngp in zip(irreps, found.ntk, found.nngp, strict=True):
        exact = brute(kernel, a, b, fine.nodes, fine.weights, irrep)
        np.testing.assert_allclose(ntk, exact[0], atol=2e-9)
        np.testing.assert_allclose(nngp, exact[1], atol=2e-9)


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_space_against_monte_carlo(vectors):
    kernel, (a, b) = network("relu"), samples((vectors, 3), 2)
    rule, count = groups.o3(20), 4000
    irreps = [groups.vector(rule).irreps[0], groups.pseudovector(rule).irreps[0]]
    found = aligned_tiles(kernel, groups.matrix_action(rule), a, b, irreps)
    elements = rule.random(count, seed=2)
    kappa = np.moveaxis(over(kernel, a, b, elements), 1, 0)
    for irrep, ntk in zip(irreps, found.ntk, strict=True):
        draws = kappa[:, :, None, :, None] * irrep.at(elements)[None, :, :, None, :]
        error = draws.std(axis=1) / np.sqrt(count)
        assert (np.abs(ntk - draws.mean(axis=1)) < 5 * error + 1e-4).all()
    assert np.abs(found.ntk[0]).max() > 0.02  # far above the error bars, about 0.005


def test_row_sums_are_means_of_magnitudes():
    kernel, (a, b) = network("erf"), samples(PLANE)
    fine = groups.o2(256)
    found = aligned_tiles(kernel, groups.matrix_action(groups.o2(64)), a, b, [])
    exact = np.abs(over(kernel, a, b, fine.nodes)).mean(axis=0)
    np.testing.assert_allclose(found.absolute, exact, atol=1e-3)  # kinks where the kernel changes sign


def test_blocks_are_the_limit_of_cyclic_groups():
    kernel, x = network("erf"), samples(PLANE)[0]
    rule = groups.so2(64)
    irrep = groups.harmonic(rule, 1)
    whole = kernels.orbit_gram(kernel, groups.matrix_action(rule), x, [irrep], nngp=True)
    errors = []
    for order in (8, 16, 64):
        turns = plane_rotations(2 * np.pi * np.arange(order) / order)
        cyclic = groups.FiniteGroup.from_matrices(turns)
        sigma = groups.Representation(cyclic, turns)
        part = kernels.orbit_gram(kernel, groups.matrix_action(cyclic), x, [sigma], nngp=True)
        errors.append(
            max(
                np.abs(part.blocks[0] / order - whole.blocks[0]).max(),
                np.abs(part.nngp[0] / order - whole.nngp[0]).max(),
            )
        )
    assert errors[0] > 1e-6
    assert errors[0] > errors[1]
    assert errors[2] < 1e-13


def test_tiles_do_not_depend_on_how_they_are_cut(monkeypatch):
    import importlib

    kernel, (a, b) = network("relu"), samples(LINE)
    rule = groups.so3(8)
    irreps = groups.harmonics(rule, 2)
    whole = aligned_tiles(kernel, groups.matrix_action(rule), a, b, irreps)
    monkeypatch.setattr(importlib.import_module("haarflow.kernels.aligned"), "_NUMBERS", 1)
    single = aligned_tiles(kernel, groups.matrix_action(rule), a, b, irreps)
    for one, other in zip(whole.ntk + whole.nngp, single.ntk + single.nngp, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-15)
    assert evaluations(groups.matrix_action(groups.o3(8))) == 2 * evaluations(groups.matrix_action(rule))
    assert evaluations(groups.matrix_action(groups.so2(9))) == 9


def test_averages_turn_with_the_samples():
    kernel, (a, b) = network("relu"), samples(LINE)
    rule = groups.so3(6)  # equivariant at any resolution
    irreps = groups.harmonics(rule, 2)
    base = aligned_tiles(kernel, groups.matrix_action(rule), a, b, irreps)
    g, h = Rotation.random(2, random_state=3).as_matrix()
    moved = aligned_tiles(kernel, groups.matrix_action(rule), a @ g.T, b @ h.T, irreps)
    for irrep, ntk, turned in zip(irreps, base.ntk, moved.ntk, strict=True):
        exact = np.einsum("ab,ibjc,dc->iajd", irrep.at(g), ntk, irrep.at(h))
        np.testing.assert_allclose(turned, exact, atol=1e-12)


def test_single_precision():
    (a, b), rule = samples(LINE), groups.so3(8)
    irreps = groups.harmonics(rule, 1)
    double, single = (
        aligned_tiles(network("relu", dtype), groups.matrix_action(rule), a, b, irreps)
        for dtype in ("float64", "float32")
    )
    for exact, found in zip(double.ntk + double.nngp, single.ntk + single.nngp, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, atol=2e-5)
