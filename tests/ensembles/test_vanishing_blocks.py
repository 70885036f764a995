"""Blocks that are exactly zero, over compact and finite groups: nothing is learnt there, at any time."""

import itertools
import warnings

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels
from haarflow.groups.rotations import plane_rotations

Dense, Erf, Flatten, Gelu, Relu = kernels.Dense, kernels.Erf, kernels.Flatten, kernels.Gelu, kernels.Relu
LATE = [1e15, np.inf]


def network(act, depth=1):
    return kernels.Sequential(Flatten(), *[layer for _ in range(depth) for layer in (Dense(1.5), act)], Dense(1.0))


def quietly(ensemble, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hf.ResolutionWarning)
        return ensemble.predict(*arguments)


def test_third_harmonic_of_a_rectifier():
    net = kernels.Sequential(Dense(1.0), Relu(), Dense(1.0))
    group = groups.so2(48)
    ensemble = hf.DeepEnsemble(net, action=groups.matrix_action(group), output=groups.harmonic(group, 3))
    ensemble.fit([[1.0, 0.5]], np.ones((1, 2)))
    with pytest.warns(hf.ResolutionWarning, match="2 modes .* are left out"):
        law = ensemble.predict([[1.0, 0.5]], LATE)
    np.testing.assert_array_equal(law.mean, 0)
    np.testing.assert_array_equal(law.cut, 2)
    assert law.unresolved == 2
    np.testing.assert_array_equal(law.refinement, 0)
    assert len(ensemble.timescales) == 0
    # Before that: six digits of 0 beside labels of 1.
    assert np.abs(quietly(ensemble, [[1.0, 0.5]], np.logspace(0, 15, 46)).mean).max() <= 1e-6


# Whose harmonics vanish: act, depth, degrees, vectors in a sample.
VANISHING = {
    "relu": (Relu(), 1, (3, 5, 7), 1),
    "gelu": (Gelu(), 1, (3, 7), 1),
    "erf": (Erf(), 1, (0, 2, 6), 3),
    "deep erf": (Erf(), 3, (2, 4), 2),
}


@pytest.mark.parametrize("name", VANISHING)
def test_at_any_resolution_of_the_circle(name):
    act, depth, degrees, vectors = VANISHING[name]
    rng = np.random.default_rng(0)
    x, points = rng.standard_normal((2, 3, vectors, 2))
    for degree, nodes in itertools.product(degrees, (12, 17, 24, 30, 48, 96)):
        group = groups.so2(nodes)
        irrep = groups.harmonic(group, degree)
        y = rng.standard_normal((3, irrep.dim))
        ensemble = hf.DeepEnsemble(network(act, depth), groups.matrix_action(group), irrep).fit(x, y)
        law = quietly(ensemble, points, LATE)
        np.testing.assert_array_equal(law.mean, 0)
        np.testing.assert_array_equal(law.cut, 3 * irrep.dim)


@pytest.mark.parametrize("limit", [8, 11, 16])
def test_at_any_resolution_of_space(limit):
    rng = np.random.default_rng(1)
    group = groups.o3(limit)
    cases = [(Relu(), groups.harmonic(group, 3, odd=True), 1), (Relu(), groups.harmonic(group, 5, odd=True), 1)]
    cases.append((Erf(), groups.harmonic(group, 2), 2))  # an odd kernel has nothing even under the inversion
    for act, irrep, vectors in cases:
        x, points = rng.standard_normal((2, 2, vectors, 3))
        y = rng.standard_normal((2, irrep.dim))
        ensemble = hf.DeepEnsemble(network(act), groups.matrix_action(group), irrep).fit(x, y)
        np.testing.assert_array_equal(quietly(ensemble, points, LATE).mean, 0)


def test_a_krylov_space_and_float32():
    rng = np.random.default_rng(2)
    group = groups.so2(24)
    irrep = groups.harmonic(group, 3)
    x, y = rng.standard_normal((3, 1, 2)), rng.standard_normal((3, 2))
    for settings in ({"solver": "krylov"}, {"dtype": "float32"}, {"solver": "krylov", "dtype": "float32"}):
        ensemble = hf.DeepEnsemble(network(Relu()), groups.matrix_action(group), irrep, **settings).fit(x, y)
        np.testing.assert_array_equal(quietly(ensemble, x, LATE).mean, 0)


def test_variances_beside_a_block_that_vanishes():
    group = groups.so2(32)
    irrep = groups.harmonic(group, 3)
    x, y = np.random.default_rng(3).standard_normal((2, 2, 1, 2))
    ensemble = hf.DeepEnsemble(network(Relu()), groups.matrix_action(group), irrep).fit(x, y[:, 0], covariance=True)
    with pytest.warns(hf.ResolutionWarning):
        law = ensemble.predict(x, LATE, "diagonal")
    np.testing.assert_array_equal(law.mean, 0)
    prior = np.diagonal(kernels.analytic(network(Relu()))(x).nngp)
    assert (law.variance >= 0).all()
    assert (law.variance <= prior).all()
    # The third harmonic of the mean is counted once, beside those of the covariance.
    assert law.unresolved >= 4


def turns(order, decimals=None):
    matrices = plane_rotations(2 * np.pi * np.arange(order) / order)
    return matrices if decimals is None else np.round(matrices, decimals)


@pytest.mark.parametrize("decimals", [None, 9])
def test_a_finite_group(decimals):
    """The sign of C6 holds the harmonics 3, 9, ... of the circle, which a rectifier does not have."""
    matrices = turns(6, decimals)
    group = groups.FiniteGroup.from_matrices(matrices)
    sign = groups.Representation(group, (-1.0) ** np.arange(6)[:, None, None])
    x, y = np.random.default_rng(4).standard_normal((2, 3, 1, 2))
    ensemble = hf.DeepEnsemble(network(Relu()), groups.matrix_action(group), sign, reduction="orbit").fit(
        x, y[:, 0, :1]
    )
    np.testing.assert_array_equal(quietly(ensemble, x, LATE).mean, 0)


def test_small_modes_that_are_known_stay():
    """The seventh harmonic of a smooth kernel lies 1e-6 below the first, and is learnt."""
    group = groups.so2(64)
    irrep = groups.harmonic(group, 7)
    x, y = np.random.default_rng(5).standard_normal((2, 2, 2, 2))
    ensemble = hf.DeepEnsemble(network(Erf()), groups.matrix_action(group), irrep).fit(x, y[:, 0])
    law = ensemble.predict(x, [np.inf])
    assert not law.cut.any()
    np.testing.assert_allclose(law.mean[0], y[:, 0], rtol=1e-7)


def test_a_refinement_beside_a_mean_of_zero():
    """Labels that cancel over an orbit leave a mean of rounding, of which no share is worth a number."""
    group = groups.so2(32)
    x = np.random.default_rng(6).standard_normal((1, 2, 2))
    both = np.concatenate([x, x @ group.nodes[5].T])
    ensemble = hf.DeepEnsemble(network(Erf()), groups.matrix_action(group), groups.harmonic(group, 1))
    cancelling = np.array([[1.0, 2.0], [0, 0]])
    cancelling[1] = -groups.harmonic(group, 1).at(group.nodes[5]) @ cancelling[0]
    law = ensemble.fit(both, cancelling).predict(x, [0, 1e-9, 1.0, np.inf])
    assert np.abs(law.mean).max() < 1e-12
    assert law.refinement.max() < 1e-6


def test_harmonics_in_lists_and_sums():
    group = groups.o3(6)
    action, output = groups.matrix_action(group), groups.vector(group)
    x, y = np.random.default_rng(7).standard_normal((2, 3, 3, 3))
    y = y.reshape(3, 9)
    third = groups.harmonic(group, 2)
    whole = hf.DeepEnsemble(network(Erf()), action, groups.vector(group, 3)).fit(x, y).predict(x, [1.0]).mean
    for listed in ([output] * 3, (output, groups.vector(group, 2)), [*output.irreps, output, output]):
        again = hf.DeepEnsemble(network(Erf()), action, listed).fit(x, y).predict(x, [1.0]).mean
        np.testing.assert_array_equal(again, whole)
    both = hf.DeepEnsemble(network(Erf()), action, groups.direct_sum(third, output)).fit(x, y[:, :8])
    mixed = hf.DeepEnsemble(network(Erf()), action, [third, output]).fit(x, y[:, :8])
    np.testing.assert_array_equal(both.predict(x, [1.0]).mean, mixed.predict(x, [1.0]).mean)


def test_outputs_that_are_no_representation_are_named_in_short():
    four, rule = groups.octahedral(), groups.so3(4)
    finite, compact = groups.matrix_action(four), groups.matrix_action(rule)
    net = network(Erf())
    with pytest.raises(
        TypeError, match=r"found an array \[24, 3, 3\] of float64: groups\.Representation\(action"
    ) as found:
        hf.DeepEnsemble(net, finite, four.matrices)
    assert len(str(found.value)) < 250
    vectors = groups.Representation(four, four.matrices)
    with pytest.raises(TypeError, match=r"groups\.direct_sum\(a, b\) puts two side by side"):
        hf.DeepEnsemble(net, finite, [vectors] * 2)
    for bad in (rule.nodes, 3, "vector", [groups.vector(rule), 1], []):
        with pytest.raises(TypeError, match=r"output must be groups\.vector\(\.\.\.\)") as found:
            hf.DeepEnsemble(net, compact, bad)
        assert len(str(found.value)) < 250
    with pytest.raises(ValueError, match=r"action's group SO\(3\), found degree 1, odd of O\(3\)"):
        hf.DeepEnsemble(net, compact, [groups.vector(rule), groups.vector(groups.o3(4))])
