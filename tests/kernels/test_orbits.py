"""The assembler against sums written out element by element, in one tile and in many."""

import importlib

import numpy as np
import pytest
from oracles import listed
from registry import ACTIONS
from tilings import many_tiles, orbit_tiles, transformed

from haarflow import groups, kernels

FAST = ["shifts", "coarse shifts", "p4", "coarse p4"]
CASES = ["quarter turns", "turns and flips", "cube rotations", "quaternions", "lattice", *FAST]


@pytest.fixture(params=CASES)
def case(request):
    make, shape = ACTIONS[request.param]
    layers = [kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1)]
    flatten = [kernels.Flatten()] if len(shape) > 1 else []
    x, x_test = np.random.default_rng(0).standard_normal((2, 11, *shape))
    action = make()
    return kernels.analytic(kernels.Sequential(*flatten, *layers)), action, x, x_test[:7], groups.irreps(action.group)


@pytest.fixture(params=["one tile", "many tiles", "transformed"])
def tiling(request, monkeypatch):
    if request.param == "many tiles":
        many_tiles(monkeypatch)
    if request.param == "transformed":
        transformed(monkeypatch, 600)


def kappa(kernel, action, a, b):
    return np.stack([kernel(a, action(g, b)).ntk for g in range(action.group.order)])


def test_blocks_against_sums_over_the_group(case, tiling):
    kernel, action, x, _, irreps = case
    seen = []
    gram = kernels.orbit_gram(kernel, action, x, irreps, lambda *report: seen.append(report))
    by_element = kappa(kernel, action, x, x)
    for block, irrep in zip(gram.blocks, irreps, strict=True):
        exact = sum(np.kron(k, s) for k, s in zip(by_element, irrep.matrices, strict=True))
        np.testing.assert_allclose(block, exact, atol=1e-12)
        assert np.array_equal(block, block.T)
    points, _ = listed(action, None, x, np.zeros((11, 1)))
    whole = kernel(points).ntk
    assert gram.bound == pytest.approx(np.abs(whole).sum(axis=1).max(), rel=1e-12)
    assert gram.bound >= np.linalg.eigvalsh(whole)[-1]
    assert gram.mean_diagonal == pytest.approx(np.mean(np.diag(whole)), rel=1e-12)
    assert {(label, total) for label, _, total in seen} == {("orbit Gram", seen[-1][1])}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_rows_against_sums_over_the_group(case, tiling):
    kernel, action, x, x_test, irreps = case
    by_element = kappa(kernel, action, x_test, x)
    found = [np.empty((7, s.dim, 11, s.dim)) for s in irreps]
    for part in kernels.orbit_rows(kernel, action, x_test, x, irreps):
        assert part.nngp == []
        for whole, theta in zip(found, part.ntk, strict=True):
            whole[part.rows] = theta
    for theta, irrep in zip(found, irreps, strict=True):
        np.testing.assert_allclose(theta, np.einsum("gij,gab->iajb", by_element, irrep.matrices), atol=1e-12)


def test_block_spectra_are_the_listed_spectrum(case):
    kernel, action, x, _, irreps = case
    points, _ = listed(action, None, x[:3], np.zeros((3, 1)))
    gram = kernels.orbit_gram(kernel, action, x[:3], irreps)
    values = [
        np.repeat(np.linalg.eigvalsh(block), irrep.dim // irrep.commutant_dim)
        for block, irrep in zip(gram.blocks, irreps, strict=True)
    ]
    np.testing.assert_allclose(np.sort(np.concatenate(values)), np.linalg.eigvalsh(kernel(points).ntk), atol=1e-11)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FAST)
def test_a_fast_transform_is_exact_where_orbits_meet(name, dtype, monkeypatch):
    make, shape = ACTIONS[name]
    action = make()
    x = np.random.default_rng(0).standard_normal((7, *shape))
    x[1] = 0.3  # fixed by every element
    x[2] = 0
    x[3] = action(action.group.order - 1, x[:1])[0]
    x[4] = -x[0]
    x[5] = x[0] + 1e-9 * x[6]
    network = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
    kernel = kernels.analytic(network, dtype)
    trivial = [groups.trivial(action.group, 1)]
    transformed(monkeypatch, 4 * action.group.order)
    taken = []
    monkeypatch.setattr(orbit_tiles, "of_products", lambda *args: taken.append(1) or of_products(*args))
    of_products = importlib.import_module("haarflow.kernels.flat").of_products
    found = kernels.orbit_gram(kernel, action, x, trivial, nngp=True)
    assert taken
    exact = kernels.analytic(network)
    listed_pairs = [exact(x.astype(dtype), action(g, x.astype(dtype))) for g in range(action.group.order)]
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for block, part in ((found.blocks[0], "ntk"), (found.nngp[0], "nngp")):
        wanted = sum(getattr(pair, part) for pair in listed_pairs)
        np.testing.assert_allclose(block, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
    assert found.mean_diagonal == pytest.approx(np.mean(np.diag(exact(x).ntk)), rel=tolerance)
