"""What the scripts for finite networks estimate from noise: right on average, with intervals that hold the truth."""

from itertools import pairwise

import finite_agreement
import jax
import numpy as np
import pytest
from finite import ising, rates
from finite.tasks import Task
from finite.variates import trained

import haarflow as hf
from haarflow import groups, kernels

REPEATS = 200


def products(q):
    return q @ q.T


def test_the_norm_of_a_mean_from_pairs_of_different_members():
    q = np.random.default_rng(0).standard_normal((9, 4)) + 1
    pairs = [q[i] @ q[j] for i in range(9) for j in range(9) if i != j]
    assert rates.norm(products(q)) == pytest.approx(np.sqrt(np.mean(pairs)), rel=1e-12)
    opposite = np.array([[1.0], [-1.0]])
    assert np.isnan(rates.norm(products(opposite)))


def test_standard_errors_of_members_without_mean():
    rng = np.random.default_rng(1)
    found = [rates.standard_errors(products(rng.standard_normal((60, 5)))) for _ in range(REPEATS)]
    assert abs(np.mean(found)) < 4 / np.sqrt(REPEATS)
    assert 0.8 < np.std(found) < 1.2
    assert rates.standard_errors(products(rng.standard_normal((60, 5)) + 1)) > 10


def test_the_jackknife_leaves_out_members_with_all_their_pairs(monkeypatch):
    monkeypatch.setattr(rates, "BLOCKS", 7)
    q = np.random.default_rng(2).standard_normal((23, 3)) + 1
    starts = np.linspace(0, 23, 8).astype(int)
    without = [rates.norm(products(np.delete(q, np.arange(a, b), axis=0))) ** 2 for a, b in pairwise(starts)]
    error = np.sqrt(6 / 7 * np.square(without - np.mean(without)).sum()) / (2 * rates.norm(products(q)) ** 2)
    assert rates._error_of_log(products(q)) == pytest.approx(error, rel=1e-10)


def test_slopes_in_the_width_with_their_intervals():
    """Biases of 8 / width under noise of size 1."""
    rng, widths = np.random.default_rng(3), np.array([16, 32, 64])
    inside = []
    for _ in range(REPEATS):
        several = [products(rng.standard_normal((320, 4)) + 8 / w) for w in widths]
        slope, low, high = rates.slope_of_norms(widths, several)
        assert low < slope < high
        inside.append(low < -1 < high)
    assert 0.88 <= np.mean(inside) <= 0.995
    # A width at which nothing is seen is left out; one alone gives no slope.
    unseen = products(np.array([[1.0], [-1.0]]))
    assert rates.slope_of_norms([16, 32, 64, 128], [*several, unseen]) == (slope, low, high)
    assert np.isnan(rates.slope_of_norms([64, 128], [several[2], unseen])).all()


def test_slopes_in_the_members_with_their_intervals():
    rng, sizes = np.random.default_rng(4), 2 ** np.arange(6)
    inside = []
    for _ in range(REPEATS):
        squares = rng.chisquare(8, (5, 6)) / 8 / sizes
        slope, low, high = rates.slope_over_runs(sizes, squares)
        assert low < slope < high
        inside.append(low < -1 / 2 < high)
    assert 0.88 <= np.mean(inside) <= 0.995


def gaussians(order=4, points=3, members=50, seed=0):
    """Outputs' covariance [|G| p, |G| p] of one network, and a function that draws total energies of 25 such."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((order * points, order * points))

    def draw(rng):
        return np.sqrt(25) * (rng.standard_normal((members, order * points)) @ root.T).reshape(members, order, points)

    return root @ root.T, draw


def test_the_law_of_deviations_by_projecting():
    covariance, _ = gaussians()
    project = np.kron(np.eye(4) - 1 / 4, np.eye(3))
    wanted = 25 * project @ covariance @ project
    found = ising._deviations(covariance, 3).reshape(12, 12)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


@pytest.mark.parametrize("measure", [ising._of_mean, ising._spread])
def test_members_of_the_law_are_on_it_within_the_standard_error(measure):
    covariance, draw = gaussians()
    expected, rng = ising._deviations(covariance, 3), np.random.default_rng(5)
    found = np.array([measure(draw(rng) + 7, expected) for _ in range(REPEATS)])
    squares = np.square(found[:, 0]) if measure is ising._of_mean else found[:, 0]
    assert abs(squares.mean() - 1) < 4 * squares.std() / np.sqrt(REPEATS)
    assert 0.8 < found[:, 0].std() / np.median(found[:, 1]) < 1.25
    # Members that spread more than their law are seen.
    ratio, error = measure(1.5 * draw(rng), expected)
    assert measure is ising._of_mean or ratio - 1 > 3 * error


def test_extrapolation_is_exact_for_a_parabola_and_carries_errors():
    widths = (512, 1024, 2048)
    ratios = [1.02 + 90 / w - 7000 / w**2 for w in widths]
    found, error = ising._extrapolated(widths, [(r, 0.01) for r in ratios])
    assert found == pytest.approx(1.02, abs=1e-12)
    # Lagrange's weights at 0: 1/3, -2, 8/3.
    assert error == pytest.approx(0.01 * np.sqrt(1 / 9 + 4 + 64 / 9), rel=1e-12)


def test_the_slope_of_disjoint_means():
    rng = np.random.default_rng(6)
    free = rng.standard_normal((640, 4, 30))
    _, low, high = ising._slope(free)
    assert low < -1 / 2 < high
    assert high - low < 0.1
    floor = np.arange(4.0)[:, None]  # what all members have in common does not average out
    assert ising._slope(free + floor)[2] > -0.3


def test_covariances_without_writing_them_down():
    rng = np.random.default_rng(7)
    f, g, bias = rng.standard_normal((6, 5)), rng.standard_normal((6, 5)), rng.standard_normal(5)
    matrices = [np.outer(a, a) - np.outer(b, b) - np.outer(bias, bias) for a, b in zip(f, g, strict=True)]
    wanted = [[np.sum(a * b) for b in matrices] for a in matrices]
    np.testing.assert_allclose(finite_agreement._covariances(f, g, bias), wanted, rtol=1e-10, atol=1e-10)


@pytest.fixture(scope="module")
def task():
    x, y = np.random.default_rng(8).standard_normal((2, 8, 4))
    network = kernels.Sequential(kernels.Dense(1.0, 0.1), kernels.Erf(), kernels.Dense(1.0, 0.1))
    action = groups.permutation_action(groups.cyclic(2), [[0, 1, 2, 3], [1, 0, 3, 2]])
    return Task("turns", network, action, None, x[:6], y[:6, :1], x[6:], 10)


def test_control_variates_have_mean_zero_and_the_laws_covariance(task):
    f, g, d = trained(task, 32, 400, seed=0)
    mean, covariance = task.law
    for variate in (g, d):
        assert np.all(np.abs(variate.mean(axis=0)) < 4.5 * variate.std(axis=0) / np.sqrt(len(variate)))
    squares = g[:, :, None] * g[:, None, :]
    error = squares.std(axis=0) / np.sqrt(len(g))
    # Networks of finite width start with the law's covariance exactly, and g is linear in what they start with.
    assert np.all(np.abs(squares.mean(axis=0) - covariance) < 4.5 * error)
    # f - g is of the order width^-1/2, f - g - d of the order 1 / width.
    wide = trained(task, 512, 50, seed=0)
    orders = [
        np.log(np.mean(np.square(left(*wide))) / np.mean(np.square(left(f, g, d)))) / 2 / np.log(16)
        for left in (lambda f, g, d: f - g, lambda f, g, d: f - g - d)
    ]
    assert orders == pytest.approx([-0.5, -1], abs=0.1)
    # f is a member of the library's own ensemble, less the law's mean.
    own = task.finite(32, 3, seed=0)
    np.testing.assert_allclose(f[:3] + mean, own, rtol=0, atol=1e-4 * np.abs(own).max())
    assert jax.config.jax_enable_x64 is False


def test_deviations_of_equivariant_outputs_vanish(task):
    ensemble = hf.DeepEnsemble(task.architecture, task.action, task.output, progress=False).fit(task.x, task.y)
    mean = ensemble.predict(task.points, [1.0]).mean[0].ravel()
    assert np.abs(task.deviations(mean)).max() < 1e-10 * np.abs(mean).max()
    uneven = mean + np.arange(mean.size)
    assert finite_agreement._orbit_mse(task, uneven) == pytest.approx(
        np.mean(np.square(np.arange(4.0).reshape(2, 2) - [1, 2]).sum() / 4)
    )
