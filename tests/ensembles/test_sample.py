"""Members drawn from the law: their moments against the listed set's, what repeats and what does not."""

import os
import subprocess
import sys

import numpy as np
import pytest
from oracles import flow_covariance, flow_operators, gradient_flow_mean, listed
from scipy.stats import norm

import haarflow as hf
from haarflow import groups, kernels, solvers

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
GROUP = groups.cyclic(4)
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
TURNS = np.stack([np.linalg.matrix_power(TURN, g) for g in range(4)])
ACTION = groups.matrix_action(GROUP, TURNS)
OUTPUT = groups.Representation(GROUP, TURNS)
TIMES = [0.0, 0.5, 30.0, np.inf]
MEMBERS = 20_000


def data():
    rng = np.random.default_rng(0)
    x, y, outside = rng.standard_normal((3, 3, 2))
    # One point with its whole orbit, and two others.
    return x, y, np.concatenate([ACTION.orbit(outside[:1])[:, 0], outside[1:]])


@pytest.fixture(scope="module")
def ensemble():
    x, y, _ = data()
    return hf.DeepEnsemble(NETWORK, action=ACTION, output=OUTPUT, loss="sum").fit(x, y, covariance=True)


@pytest.fixture(scope="module")
def law():
    """Mean [T, m, k] and joint covariance [T, m, T, m] from the listed set."""
    x, y, x_test = data()
    points, labels = listed(ACTION, OUTPUT, x, y)
    kernel = kernels.analytic(NETWORK)
    inside, rows = kernel(points), kernel(x_test, points)
    operators = flow_operators(inside.ntk, rows.ntk, TIMES)
    mean = gradient_flow_mean(inside.ntk, rows.ntk, labels, TIMES)
    return mean, flow_covariance(operators, inside.nngp, rows.nngp, kernel(x_test).nngp)


def quantile(comparisons, level=0.01):
    """How many standard errors the largest of so many may be away, by Bonferroni."""
    return norm.isf(level / (2 * comparisons))


def assert_moments(values, mean, covariance):
    """Members values [M, p] of a Gaussian law: every mean and every entry of the covariance, corrected together."""
    M, p = values.shape
    limit = quantile(p + p * (p + 1) // 2)
    spread = np.sqrt(np.diag(covariance))
    known = spread > 1e-6 * spread.max()
    assert np.max(np.abs(values - mean)[:, ~known], initial=0.0) < 1e-5 * spread.max()
    values, mean, spread = values[:, known], mean[known], spread[known]
    assert np.max(np.abs(values.mean(axis=0) - mean) / spread) < limit / np.sqrt(M)
    correlation = covariance[np.ix_(known, known)] / np.outer(spread, spread)
    whitened = (values - mean) / spread
    # Isserlis: the product of two has variance 1 + correlation^2.
    errors = (whitened.T @ whitened / M - correlation) / np.sqrt((1 + correlation**2) / M)
    assert np.max(np.abs(errors)) < limit


def test_moments_at_each_time(ensemble, law):
    mean, joint = law
    members = ensemble.sample(data()[2], TIMES, MEMBERS, seed=0)
    assert members.shape == (4, MEMBERS, 6, 2)
    for t in range(4):
        both = np.concatenate([members[t, :, :, 0], members[t, :, :, 1]], axis=1)  # outputs are independent
        assert_moments(both, mean[t].T.ravel(), np.kron(np.eye(2), joint[t, :, t]))


def test_times_are_independent_unless_coupled(ensemble, law):
    mean, joint = law
    members = ensemble.sample(data()[2], TIMES[:3], MEMBERS, seed=1)
    independent = np.zeros((18, 18))
    for t in range(3):
        independent[6 * t : 6 * t + 6, 6 * t : 6 * t + 6] = joint[t, :, t]
    values = members[..., 0].transpose(1, 0, 2).reshape(MEMBERS, -1)
    assert_moments(values, mean[:3, :, 0].ravel(), independent)


def test_joint_law_over_times(ensemble, law):
    mean, joint = law
    members = ensemble.sample(data()[2], TIMES, MEMBERS, seed=2, coupled=True)
    values = np.concatenate([members[..., i].transpose(1, 0, 2).reshape(MEMBERS, -1) for i in range(2)], axis=1)
    assert_moments(values, mean.transpose(2, 0, 1).ravel(), np.kron(np.eye(2), joint.reshape(24, 24)))
    with pytest.raises(AssertionError):  # what drawing each time for itself would give
        assert_moments(values[:, :24], mean[..., 0].ravel(), np.kron(np.eye(4), joint[1, :, 1]))


def test_joint_covariance_against_the_flow_of_initial_functions(ensemble, law, monkeypatch):
    """f_t(x) = mu_t(x) + f_0(x) - B_t(x) f_0(X) for drawn f_0, and the matrix whose root `sample` takes."""
    mean, joint = law
    asked = []
    root = solvers.symmetric_root
    monkeypatch.setattr(solvers, "symmetric_root", lambda matrix, *rest: asked.append(matrix) or root(matrix, *rest))
    x, _, x_test = data()
    ensemble.sample(x_test, TIMES, 1, seed=0, coupled=True)
    np.testing.assert_allclose(asked[0], joint.reshape(24, 24), atol=1e-10)
    points = np.concatenate([ACTION.orbit(x).reshape(-1, 2), x_test])
    kernel = kernels.analytic(NETWORK)
    initial = np.random.default_rng(0).multivariate_normal(np.zeros(18), kernel(points).nngp, MEMBERS)
    inside, rows = kernel(points[:12]).ntk, kernel(x_test, points[:12]).ntk
    learnt = np.einsum("txi,Mi->Mtx", flow_operators(inside, rows, TIMES), initial[:, :12])
    flow = mean[..., 0] + initial[:, None, 12:] - learnt
    assert_moments(flow.reshape(MEMBERS, -1), mean[..., 0].ravel(), asked[0])


def test_a_law_is_equivariant_and_its_members_are_not(ensemble):
    x_test = data()[2][:4]  # the orbit of one point
    law = ensemble.predict(x_test, TIMES, covariance="full")
    members = ensemble.sample(x_test, TIMES, 200, seed=3)
    assert hf.measures.orbit_error(law.mean.transpose(1, 0, 2)[:, 1:], OUTPUT).max() < 1e-11
    np.testing.assert_allclose(law.covariance, law.covariance[:, GROUP.table[1]][:, :, GROUP.table[1]], atol=1e-12)
    errors = hf.measures.orbit_error(members.transpose(2, 0, 1, 3), OUTPUT)  # [T, M]
    assert np.median(errors, axis=1).min() > 1e-2


# --- what repeats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [False, True])
def test_seeds_and_numbers_of_members(ensemble, coupled):
    x_test = data()[2]
    first, again, other = (ensemble.sample(x_test, TIMES, 5, seed, coupled) for seed in (7, np.int64(7), 8))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.1
    assert first.dtype == np.float64
    more = ensemble.sample(x_test, TIMES, 300, seed=7, coupled=coupled)
    np.testing.assert_allclose(more[:, :5], first, atol=1e-12)
    assert ensemble.sample(x_test, 1.0, 1, seed=0, coupled=coupled).shape == (1, 1, 6, 2)


def test_no_member_leaves_the_labels_at_the_end(ensemble):
    x, y, _ = data()
    members = ensemble.sample(x, [np.inf], 50, seed=0)
    # The root of a covariance of rounding, 1e-16, is 1e-8.
    assert np.abs(members - y).max() < 1e-6


@pytest.mark.parametrize("coupled", [False, True])
def test_float32_draws_the_same_members(ensemble, coupled, monkeypatch):
    x, y, x_test = data()
    options = {"action": ACTION, "output": OUTPUT, "loss": "sum", "dtype": "float32"}
    fine = ensemble.sample(x_test, TIMES[:3], 20, seed=0, coupled=coupled)
    cuts, root = [], solvers.symmetric_root
    monkeypatch.setattr(solvers, "symmetric_root", lambda matrix, *cut: cuts.append(cut) or root(matrix, *cut))
    rough = hf.DeepEnsemble(NETWORK, **options).fit(x, y).sample(x_test, TIMES[:3], 20, seed=0, coupled=coupled)
    assert np.abs(rough - fine).max() < 0.02
    # The cut is at float32's rounding of what the covariance was computed from.
    trace = np.trace(kernels.analytic(NETWORK)(x_test).nngp)
    for scale, eps in cuts:
        assert scale == pytest.approx(3 * trace if coupled else trace, rel=1e-5)
        assert eps == np.finfo("float32").eps


PROGRAM = """
import sys
sys.path[:0] = ["tests", "tests/ensembles"]
import test_sample as t
x, y, x_test = t.data()
images = t.np.random.default_rng(0).standard_normal((200, 2))
fitted = t.hf.DeepEnsemble(t.NETWORK, action=t.ACTION, output=t.OUTPUT, loss="sum").fit(x, y)
sys.stdout.buffer.write(fitted.sample(t.np.concatenate([x_test, x, images]), t.TIMES, 4, seed=5).tobytes())
"""


@pytest.mark.slow
def test_threads_change_rounding_only():
    """With 200 points the root is of a matrix whose spectrum falls below rounding, on several threads or one."""
    members = []
    for threads in ("1", "2"):
        environment = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), threads)
        command = [sys.executable, "-W", "error", "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        members.append(np.frombuffer(done.stdout))
    assert members[0].size == 4 * 4 * 209 * 2
    np.testing.assert_allclose(members[0], members[1], atol=1e-6)


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["members", "seed"])
def test_bad_integers(ensemble, name):
    x_test = data()[2]
    good = {"members": 2, "seed": 0}
    least = {"members": 1, "seed": 0}[name]
    for bad in (least - 1, -1, -(2**40)):
        with pytest.raises(ValueError, match=f"{name} must be at least {least}, found {bad}"):
            ensemble.sample(x_test, 1.0, **good | {name: bad})
    for bad in (1.5, 2.0, True, "a", None, [1], np.array([1, 2]), 1j):
        with pytest.raises(TypeError, match=f"{name} must be an integer, found"):
            ensemble.sample(x_test, 1.0, **good | {name: bad})


def test_bad_points_and_times(ensemble):
    x_test = data()[2]
    with pytest.raises(ValueError, match="x_test must hold at least one sample"):
        ensemble.sample(np.empty((0, 2)), 1.0, 2, 0)
    with pytest.raises(ValueError, match=r"x_test must hold samples of the training shape \(2,\)"):
        ensemble.sample(np.ones((2, 3)), 1.0, 2, 0)
    for times in (-1.0, np.nan, []):
        with pytest.raises(ValueError, match="times must be"):
            ensemble.sample(x_test, times, 2, 0)
    with pytest.raises(RuntimeError, match=r"call fit\(x, y\) before sample"):
        hf.DeepEnsemble(NETWORK, action=ACTION).sample(x_test, 1.0, 2, 0)
