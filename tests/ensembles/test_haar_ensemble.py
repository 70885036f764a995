"""Ensembles under continuous groups: equivariance, convergence, and the limit of finite subgroups."""

import itertools

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels
from haarflow.groups.rotations import plane_rotations

RELU, ERF = kernels.Relu, kernels.Erf
TIMES = [1, 1e3, np.inf]
# Small rules are tried on purpose.
ROUGH = pytest.mark.filterwarnings("ignore::haarflow.ResolutionWarning")


def network(act, bias=0.1):
    layers = (kernels.Dense(2**0.5, bias), act(), kernels.Dense(2**0.5, bias), act(), kernels.Dense(1.0, bias))
    return kernels.Sequential(kernels.Flatten(), *layers)


def ensemble(group, act=RELU, output=None, **settings):
    return hf.DeepEnsemble(network(act), action=groups.matrix_action(group), output=output, **settings)


def data(n, vectors, d, k, seed=0):
    """Training samples, labels, and test points: some on training orbits, some N(0, 1)."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, vectors, d)), rng.standard_normal((n, k))
    return x, y, np.concatenate([x[:2], rng.standard_normal((2, vectors, d))])


def orbit_error(fitted, output, points, elements, times):
    """Largest |mu_t(g x) - rho(g) mu_t(x)| over elements and points, relative to the largest mean: [T]."""
    base = fitted.predict(points, times).mean
    moved = np.einsum("gij,nbj->gnbi", elements, points).reshape(-1, *points.shape[1:])
    found = fitted.predict(moved, times).mean.reshape(len(times), len(elements), *base.shape[1:])
    rho = np.tile(np.eye(base.shape[2]), (len(elements), 1, 1)) if output is None else output.at(elements)
    exact = np.einsum("gab,tnb->tgna", rho, base)
    return np.abs(found - exact).max(axis=(1, 2, 3)) / np.abs(base).max(axis=(1, 2))


def changes(rough, fine):
    """Largest change of the mean at each time, relative to the largest mean of that time: [T]."""
    return np.abs(fine.mean - rough.mean).max(axis=(1, 2)) / np.abs(fine.mean).max(axis=(1, 2))


def subgroup(matrices):
    finite = groups.FiniteGroup.from_matrices(matrices)
    return groups.matrix_action(finite), groups.Representation(finite, matrices)


def turns(order):
    return plane_rotations(2 * np.pi * np.arange(order) / order)


@pytest.mark.parametrize("act", [RELU, ERF])
@pytest.mark.parametrize("kind", ["invariant", "vectors"])
def test_plane_orbit_error_and_convergence(act, kind):
    x, y, points = data(8, 3, 2, 2)
    laws = []
    for nodes in (64, 128):
        group = groups.so2(nodes)
        output = None if kind == "invariant" else groups.vector(group)
        fitted = ensemble(group, act, output).fit(x, y)
        laws.append(fitted.predict(points, TIMES))
        if nodes == 64:
            assert orbit_error(fitted, output, points, group.random(1000, seed=1), TIMES).max() <= 1e-10
            np.testing.assert_allclose(laws[0].mean[-1, :2], y[:2], atol=1e-9)
    assert changes(*laws).max() <= 1e-9
    assert not laws[1].cut.any()


def test_too_few_nodes_are_noticed():
    x, y, points = data(8, 3, 2, 2)
    fitted = ensemble(groups.so2(8), RELU, groups.vector(groups.so2(8))).fit(x, y)
    rough = ensemble(groups.so2(4), RELU, groups.vector(groups.so2(4))).fit(x, y)
    early = [1e-3, 1e-2]
    law, by_hand = fitted.predict(points, early), rough.predict(points, early)
    for t in range(2):
        change = np.abs(law.mean[t] - by_hand.mean[t]).max()
        assert law.refinement[t] == pytest.approx(change / np.abs(law.mean[t]).max(), rel=1e-9)
    assert fitted.predict(points, TIMES).refinement[-1] > 1e-4
    # Two nodes and four agree on no mode.
    with pytest.warns(hf.ResolutionWarning, match="error of a compact group's rule"):
        assert rough.predict(points, [1e3]).cut == 16
    # Aligned rules are equivariant at any resolution.
    assert orbit_error(fitted, groups.vector(groups.so2(8)), points, groups.so2(1).random(50, 2), TIMES).max() <= 1e-10


@pytest.mark.parametrize(("act", "limit"), [(ERF, 24), (RELU, 16)])
def test_space_convergence(act, limit):
    x, y, points = data(8, 2, 3, 3)
    group = groups.so3(limit)
    fine, rough = (ensemble(g, act, groups.vector(g)).fit(x, y) for g in (group, groups.so3(limit // 2)))
    law, coarse = fine.predict(points, [1, 100]), rough.predict(points, [1, 100])
    change = changes(coarse, law)
    assert (law.refinement <= change * (1 + 1e-9) + 1e-15).all()
    assert change[1] <= (1e-8 if act is ERF else 1e-4)
    assert orbit_error(fine, groups.vector(group), points, group.random(10, seed=3), [1, 100]).max() <= 1e-10


@pytest.mark.parametrize("act", [RELU, ERF])
def test_space_orbit_error(act):
    x, y, points = data(6, 2, 3, 3)
    group = groups.so3(6)  # equivariant at any resolution
    fitted = ensemble(group, act, groups.vector(group)).fit(x, y)
    error = orbit_error(fitted, groups.vector(group), points[1:3], group.random(1000, seed=3), [1, 100, 1e3])
    assert error.max() <= 1e-10


@pytest.mark.parametrize("kind", ["invariant", "vectors"])
def test_the_circle_is_the_limit_of_cyclic_groups(kind):
    x, y, points = data(5, 3, 2, 2)
    action, output = subgroup(turns(64))
    group = groups.so2(64)
    vectors = kind == "vectors"
    whole = ensemble(group, ERF, groups.vector(group) if vectors else None).fit(x, y, covariance=True)
    finite = hf.DeepEnsemble(network(ERF), action=action, output=output if vectors else None).fit(x, y)
    times = [0, 1, 100, 1e3]
    for covariance in ("diagonal", "full"):
        law, exact = whole.predict(points, times, covariance), finite.predict(points, times, covariance)
        np.testing.assert_allclose(law.mean, exact.mean, atol=1e-10)
        name = {"diagonal": "variance", "full": "covariance"}[covariance]
        np.testing.assert_allclose(getattr(law, name), getattr(exact, name), atol=1e-9)
        assert exact.refinement is None
        assert exact.truncation is None
        assert law.truncation.shape == (4,)
        assert law.truncation[0] == 0
        assert law.truncation.max() < 1e-9
    np.testing.assert_allclose(whole.timescales[:8], finite.timescales[:8], rtol=1e-9)


@ROUGH
def test_truncation_falls_with_resolution_and_bounds_what_is_missing():
    x, y, points = data(4, 3, 2, 2)
    found = [ensemble(groups.so2(n), ERF).fit(x, y).predict(points, [10, 1e3], "diagonal") for n in (8, 16, 32, 64)]
    left = [law.truncation.max() for law in found]
    assert all(b < a for a, b in itertools.pairwise(left))
    assert left[0] > 1e-4 > left[2]
    # The orbits of training points keep no variance at late times but what is truncated.
    for law in found:
        assert (law.variance > -1e-14).all()
    for law in found[:-1]:
        missing = np.abs(law.variance - found[-1].variance).max(axis=1)
        assert (missing <= 2 * law.truncation * kernels.analytic(network(ERF))(points).nngp.max()).all()
    missing = [np.abs(law.variance - found[-1].variance).max() for law in found[:-1]]
    assert all(b < a for a, b in itertools.pairwise(missing))


def test_truncated_variances_are_warned_of():
    x, y, points = data(4, 3, 2, 2)
    fitted = ensemble(groups.so2(8), ERF).fit(x, y)
    with pytest.warns(hf.ResolutionWarning, match="degrees above are missing"):
        fitted.predict(points, [1e3], "diagonal")


@ROUGH
def test_variance_in_space():
    x, y, points = data(3, 2, 3, 3)
    laws = []
    for limit in (8, 12, 16):
        group = groups.so3(limit)
        fitted = ensemble(group, ERF, groups.vector(group)).fit(x, y, covariance=True)
        laws.append(fitted.predict(points, [0, 1, 100], "diagonal"))
    exact = np.diagonal(kernels.analytic(network(ERF))(points).nngp)
    for law in laws:
        np.testing.assert_allclose(law.variance[0], exact, rtol=1e-12)
        assert (law.variance[1:] < law.variance[:-1]).all()
    left = [law.truncation.max() for law in laws]
    assert left[0] > left[1] > left[2]
    # An odd nonlinearity nearly lacks every other degree: the last one alone would promise too much.
    assert np.abs(laws[2].variance - laws[1].variance).max() < left[1] * exact.max()
    assert np.abs(laws[2].variance - laws[1].variance).max() < np.abs(laws[1].variance - laws[0].variance).max()


def test_members_of_a_continuous_group():
    x, y, points = data(4, 3, 2, 2)
    group = groups.so2(64)
    fitted = ensemble(group, ERF, groups.vector(group)).fit(x, y, covariance=True)
    members = 2000
    draws = fitted.sample(points, [100], members, seed=0)
    assert draws.shape == (1, members, 4, 2)
    assert np.array_equal(draws[:, :3], fitted.sample(points, [100], 3, seed=0))
    law = fitted.predict(points, [100], "full")
    error = np.sqrt(np.diagonal(law.covariance[0]) / members)[:, None]
    assert (np.abs(draws[0].mean(axis=0) - law.mean[0]) < 5 * error).all()
    sample = np.einsum("rmk,rnk->mn", draws[0] - law.mean[0], draws[0] - law.mean[0]) / (2 * members)
    variances = np.diagonal(law.covariance[0])
    spread = np.sqrt((np.outer(variances, variances) + law.covariance[0] ** 2) / (2 * members))
    assert (np.abs(sample - law.covariance[0]) < 5 * spread).all()
    both = fitted.sample(points, [100, 100], 20, seed=1, coupled=True)
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


@pytest.mark.parametrize("make", [groups.o2, groups.o3])
def test_cross_products_are_learnt_as_pseudovectors(make):
    group = make(16 if make is groups.o2 else 8)
    rng = np.random.default_rng(2)
    x, points = rng.standard_normal((6, 2, group.dim)), rng.standard_normal((3, 2, group.dim))

    def cross(v):
        if group.dim == 3:
            return np.cross(v[:, 0], v[:, 1])
        return (v[:, 0, 0] * v[:, 1, 1] - v[:, 0, 1] * v[:, 1, 0])[:, None]

    output = groups.pseudovector(group)
    fitted = ensemble(group, RELU, output).fit(x, cross(x))
    times = [1, 1e3, 1e6]
    elements = group.random(100, seed=4)
    assert (np.linalg.det(elements) < 0).any()
    assert orbit_error(fitted, output, np.concatenate([x[:2], points]), elements, times).max() <= 1e-10
    train_error = np.abs(fitted.predict(x, np.inf).mean[0] - cross(x)).max()
    assert train_error < 1e-6
    # Vectors are another representation: the same labels are then learnt as something else.
    mean = fitted.predict(points, [1e6]).mean[0]
    off = np.abs(mean - cross(points)).mean() / np.abs(cross(points)).mean()
    assert off < 0.9
    if group.dim == 3:
        wrong = ensemble(group, RELU, groups.vector(group)).fit(x, cross(x)).predict(points, [1e6]).mean[0]
        assert np.abs(wrong - mean).max() > 0.1 * np.abs(mean).max()


def test_hard_samples_against_the_limit_of_finite_groups():
    """Duplicates in one orbit with labels that disagree, parallel vectors, and zero."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 2))
    matrices = np.concatenate([turns(64), turns(64) @ np.diag([1.0, -1.0])])  # D_64
    x[3] = x[0] @ matrices[7].T
    x[4] = np.outer([1, -0.5, 2], matrices[3, :, 0])  # along an axis of the finite group too
    x[5] = 0
    points = np.concatenate([x[:1], x[3:], rng.standard_normal((2, 3, 2))])
    group = groups.o2(64)
    action, output = subgroup(matrices)
    whole = ensemble(group, ERF, groups.vector(group)).fit(x, y)
    finite = hf.DeepEnsemble(network(ERF), action=action, output=output).fit(x, y)
    law, exact = whole.predict(points, [1, 1e3, np.inf]), finite.predict(points, [1, 1e3, np.inf])
    assert np.isfinite(law.mean).all()
    assert not law.cut.any()
    np.testing.assert_allclose(law.mean[:2], exact.mean[:2], atol=1e-9)
    np.testing.assert_allclose(law.mean[2], exact.mean[2], atol=1e-6)
    rho = output.matrices[7]
    np.testing.assert_allclose(law.mean[2, 0], (y[0] + rho.T @ y[3]) / 2, atol=1e-7)  # the mean of both labels
    np.testing.assert_allclose(law.mean[2, 3], 0, atol=1e-9)  # zero has no direction


def test_hard_samples_in_space():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 3))
    group = groups.so3(16)
    g = group.random(1, seed=5)[0]
    axis = np.array([2.0, -1, 2]) / 3
    x[2], x[3], x[4] = x[0] @ g.T, np.outer([1, -2], axis), 0
    law = ensemble(group, ERF, groups.vector(group)).fit(x, y).predict(x, [100, np.inf])
    assert np.isfinite(law.mean).all()
    assert not law.cut.any()
    np.testing.assert_allclose(law.mean[1, 0], (y[0] + g.T @ y[2]) / 2, atol=1e-6)
    np.testing.assert_allclose(law.mean[1, 1], y[1], atol=1e-6)
    np.testing.assert_allclose(law.mean[:, 2], law.mean[:, 0] @ g.T, atol=1e-9)
    np.testing.assert_allclose(law.mean[1, 3], axis * (axis @ y[3]), atol=1e-6)  # along the vectors only
    np.testing.assert_allclose(law.mean[:, 4], 0, atol=1e-12)


def test_no_bias_and_a_zero_test_point():
    x, y, points = data(4, 2, 2, 2)
    points[0] = 0
    group = groups.so2(16)
    fitted = hf.DeepEnsemble(network(RELU, 0.0), groups.matrix_action(group), groups.vector(group)).fit(x, y)
    law = fitted.predict(points, [1, np.inf], "diagonal")
    assert np.isfinite(law.mean).all()
    assert np.isfinite(law.variance).all()
    assert np.isfinite(law.truncation).all()
    assert np.abs(law.mean[:, 0]).max() < 1e-20


def test_what_a_continuous_group_refuses():
    group = groups.so3(4)
    x, y, _ = data(3, 2, 3, 3)
    action, output = groups.matrix_action(group), groups.vector(group)
    for settings in ({"loss": "sum"}, {"ridge": 1e-3}):
        with pytest.raises(ValueError, match=r'loss must be "mean" and ridge 0 under SO\(3\)'):
            ensemble(group, **settings)
    with pytest.raises(ValueError, match=r"reduction .*orbits of SO\(3\) cannot be listed"):
        ensemble(group, output=output, reduction="explicit").fit(x, y)
    conv = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.Flatten(), kernels.Dense())
    with pytest.raises(ValueError, match="a finite subgroup takes other kernels"):
        hf.DeepEnsemble(conv, action=action).fit(np.ones((3, 4, 4, 3)), y)

    class Plugged:
        dtype, content_key = "float64", "plugged"

        def __call__(self, x1, x2=None):
            return kernels.analytic(network(RELU))(x1, x2)

    with pytest.raises(ValueError, match="inner products of whole samples"):
        hf.DeepEnsemble(Plugged(), action=action).fit(x, y)
    with pytest.raises(ValueError, match=r"action's group SO\(3\), found degree 1, odd of O\(3\)"):
        ensemble(group, output=groups.vector(groups.o3(4)))
    with pytest.raises(ValueError, match="band limit"):
        ensemble(groups.so3(2), output=groups.harmonic(groups.so3(4), 3))
    finite = groups.octahedral()
    for bad in (groups.Representation(finite, finite.matrices), [], "vector", [1]):
        with pytest.raises(TypeError, match=r"output must be groups\.vector"):
            ensemble(group, output=bad)
    with pytest.raises(TypeError, match=r"output must be a groups\.Representation"):
        hf.DeepEnsemble(network(RELU), action=groups.matrix_action(finite), output=output)
    with pytest.raises(TypeError, match=r"action must say how SO\(3\)"):
        hf.DeepEnsemble(network(RELU), action=group)
    with pytest.raises(ValueError, match="last axis of size 3"):
        ensemble(group).fit(np.ones((3, 2, 4)), y)
    with pytest.raises(ValueError, match="y"):
        ensemble(group, output=output).fit(x, y[:, :2])


@ROUGH
def test_lists_of_irreps_and_every_degree_the_band_limit_serves():
    x, y, points = data(3, 3, 2, 5)
    group = groups.so2(16)
    mixed = [groups.harmonic(group, 3), groups.harmonic(group, 0), groups.harmonic(group, 15)]
    fitted = ensemble(group, ERF, mixed).fit(x, y)
    rho = groups.HarmonicSum(group, tuple(mixed))
    assert orbit_error(fitted, rho, points, group.random(50, seed=6), [1, 100]).max() <= 1e-10
    law = fitted.predict(points, [100], "diagonal")
    np.testing.assert_allclose(law.mean, fitted.predict(points, [100]).mean, atol=1e-13)
    again = ensemble(group, ERF, mixed).fit(x, y, covariance=True).predict(points, [100], "diagonal")
    np.testing.assert_allclose(again.variance, law.variance, atol=1e-12)


@ROUGH
@pytest.mark.parametrize("make", [groups.so2, groups.o2, groups.so3, groups.o3])
def test_the_smallest_rules_that_serve_vectors(make):
    group = make(2 if make in (groups.so2, groups.o2) else 1)
    x, y, points = data(3, 2, group.dim, group.dim)
    law = ensemble(group, ERF, groups.vector(group)).fit(x, y).predict(points, [1], "diagonal")
    assert np.isfinite(law.mean).all()
    assert np.isfinite(law.variance).all()


@ROUGH
def test_stored_entries_are_found_again(tmp_path):
    x, y, points = data(4, 2, 3, 3)
    first = groups.so3(6)
    laws = []
    for _ in range(2):
        fitted = ensemble(first, RELU, groups.vector(first), store=tmp_path).fit(x, y, covariance=True)
        laws.append(fitted.predict(points, [1, 100], "full"))
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    np.testing.assert_allclose(laws[0].covariance, laws[1].covariance, atol=1e-14)
    np.testing.assert_array_equal(laws[0].refinement, laws[1].refinement)
    fresh = ensemble(first, RELU, groups.vector(first)).fit(x, y).predict(points, [1, 100])
    np.testing.assert_allclose(fresh.mean, laws[0].mean, atol=1e-14)
    other = groups.so3(7)
    ensemble(other, RELU, groups.vector(other), store=tmp_path).fit(x, y)
    assert files < {path.name for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [groups.so2, groups.so3])
def test_single_precision(make):
    group = make(16 if make is groups.so2 else 8)
    x, y, points = data(5, 3, group.dim, group.dim)
    double, single = (
        ensemble(group, RELU, groups.vector(group), dtype=dtype).fit(x, y).predict(points, [1, 100])
        for dtype in ("float64", "float32")
    )
    assert np.abs(single.mean - double.mean).max() <= 2e-4 * np.abs(double.mean).max()
    assert np.abs(single.mean - double.mean).max() > 1e-9
