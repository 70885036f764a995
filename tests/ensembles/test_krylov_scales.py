"""Krylov ensembles against what is right without one: momentum step by step, columns of every size, other processes."""

import math
import pickle
import warnings

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels, solvers
from haarflow.kernels import Store
from haarflow.krylov_block import Steps

RELU = kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense())
X = np.array([[1.0, 0], [0, 1], [1, 2]])
Y = np.array([[1.0, -1], [0, 2], [3, 1]])


def test_momentum_on_inputs_that_are_nearly_orthogonal():
    """At t = 5 all of phi is negative or nearly 0 on these eigenvalues: 42 % off, with an estimate of 2e-15."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 30_000)), rng.standard_normal((100, 2))
    network = kernels.Sequential(kernels.Dense(), kernels.Erf(), kernels.Dense())
    gram = kernels.analytic(network)(x).ntk
    rate = 0.9 * 2 * 1.9 / np.linalg.eigvalsh(gram)[-1]
    outputs = before = np.zeros_like(y)
    for _ in range(5):
        outputs, before = outputs + 0.9 * (outputs - before) - rate * gram @ (outputs - y), outputs
    options = {"loss": "sum", "learning_rate": rate, "flow": solvers.HeavyBall(0.9), "solver": "krylov"}
    law = hf.DeepEnsemble(network, **options).fit(x, y).predict(x, [5])
    assert np.abs(law.mean[0] - outputs).max() < 1e-9 * np.abs(outputs).max()
    assert law.error[0] < 1e-6


@pytest.mark.parametrize("scales", [[1, 1e-19], [1e-163] * 2, [1e155] * 2, [1e-300, 1e299], [1e-30, 1]], ids=str)
@pytest.mark.parametrize("solver", ["dense", "krylov"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_labels_of_every_size_are_fitted(scales, solver, dtype):
    ensemble = hf.DeepEnsemble(RELU, solver=solver, dtype=dtype)
    if dtype == "float32" and max(scales) > 1e38:
        with pytest.raises(ValueError, match=r"y must stay below 1e\+38 in magnitude"):
            ensemble.fit(X, Y * scales)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law = ensemble.fit(X, Y * scales).predict(X, [np.inf])
    np.testing.assert_allclose(law.mean[0] / scales, Y, atol={"float64": 1e-12, "float32": 1e-4}[dtype])


@pytest.mark.parametrize("scale", [1e-14, 1e14])
def test_a_column_beside_others(scale):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((80, 4)), rng.standard_normal((80, 2))
    wanted = hf.DeepEnsemble(RELU, solver="krylov").fit(x, y).predict(x[:9], [1e3, np.inf]).mean
    found = hf.DeepEnsemble(RELU, solver="krylov").fit(x, y * [1, scale]).predict(x[:9], [1e3, np.inf])
    np.testing.assert_allclose(found.mean / [1, scale], wanted, atol=1e-5)


def test_steps_that_an_older_version_kept_are_not_read_as_others(tmp_path):
    """It kept one direction for both columns, under the labels as they were."""
    y = Y * [1, 1e-19]
    first = hf.DeepEnsemble(RELU, solver="krylov", store=tmp_path).fit(X, y)
    (block,), (labels,) = first._fitted.spectra, first._fitted.labels
    kept, size = labels[:, :1] / np.linalg.norm(labels[:, 0]), np.linalg.norm(labels[:, 0])
    block.steps.keep(labels, None, kept, np.array([[size, 1e-20]]))
    law = first.predict(X, [np.inf])
    np.testing.assert_allclose(law.mean[0] / [1, 1e-19], Y, atol=1e-12)
    steps = [entry for entry in Store(tmp_path).entries() if entry.kind == "krylov"]
    again = hf.DeepEnsemble(RELU, solver="krylov", store=tmp_path).fit(X, y).predict(X, [np.inf])
    np.testing.assert_array_equal(again.mean, law.mean)
    assert len([entry for entry in Store(tmp_path).entries() if entry.kind == "krylov"]) == len(steps)


def test_steps_of_alike_columns_keep_their_key(tmp_path):
    ensemble = hf.DeepEnsemble(RELU, solver="krylov", store=tmp_path).fit(X, Y)
    (block,), (labels,) = ensemble._fitted.spectra, ensemble._fitted.labels
    ensemble.predict(X, [np.inf])
    assert isinstance(block.steps, Steps)
    assert block.steps.recall(labels, None) is not None


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_ensemble_travels(stored, protocol, tmp_path):
    rng = np.random.default_rng(0)
    network = kernels.Sequential(kernels.Flatten(), kernels.Dense(), kernels.Relu(), kernels.Dense())
    x, y, x_test = rng.standard_normal((20, 4, 4, 1)), rng.standard_normal((20, 2)), rng.standard_normal((3, 4, 4, 1))
    options = {"action": groups.image_rotations(4), "solver": "krylov", "store": tmp_path if stored else None}
    ensemble = hf.DeepEnsemble(network, **options).fit(x, y)
    before = pickle.loads(pickle.dumps(ensemble, protocol))
    mean = ensemble.predict(x_test, [10.0, np.inf]).mean
    after = pickle.loads(pickle.dumps(ensemble, protocol))
    for other in (before, after):
        np.testing.assert_array_equal(other.predict(x_test, [10.0, np.inf]).mean, mean)
        assert other.predict(x_test, [5.0]).mean.shape == (1, 3, 2)


@pytest.mark.parametrize("solver", ["dense", "krylov"])
@pytest.mark.parametrize(("flow", "limit"), [("gradient_descent", 2.0), (solvers.HeavyBall(0.5), 3.0)])
@pytest.mark.parametrize("ask", ["predict", "jacobian"])
def test_the_largest_stable_learning_rate_is_named(solver, flow, limit, ask):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    gram = kernels.analytic(RELU)(x).ntk
    stable = limit * 40 / np.linalg.eigvalsh(gram)[-1]  # the mean loss divides by the number of targets
    ensemble = hf.DeepEnsemble(RELU, flow=flow, solver=solver, learning_rate=1e5).fit(x, y)
    name = flow if isinstance(flow, str) else "heavy_ball"
    named = math.floor(stable * 100) / 100  # between 10 and 100: four digits, rounded down
    with pytest.raises(ValueError, match=f"learning_rate must be below {named} for {name} .* found 100000"):
        getattr(ensemble, ask)(x, [3])
    hf.DeepEnsemble(RELU, flow=flow, solver=solver, learning_rate=0.999 * stable).fit(x, y).predict(x, [3])


@pytest.mark.parametrize("solver", ["dense", "krylov"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 1e-100])
def test_an_exact_low_rank_loses_nothing(solver, dtype, scale):
    """One linear feature: the labels are it, so that whatever the other eigenvalues are, no mean misses them."""
    rng = np.random.default_rng(0)
    x, x_test = rng.standard_normal((20, 1)), rng.standard_normal((4, 1))
    ensemble = hf.DeepEnsemble(kernels.Sequential(kernels.Dense()), solver=solver, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law = ensemble.fit(x, 2 * scale * x).predict(x_test, [1.0, np.inf])
    np.testing.assert_allclose(law.mean[1] / scale, 2 * x_test, rtol=1e-5)
    assert law.cut_share.tolist() == [0, 0]
    # Labels that are not: said with their share, by hand.
    y = x + 0.3 * rng.standard_normal((20, 1))
    share = np.linalg.norm(y - x * (x.T @ y) / (x.T @ x)) / np.linalg.norm(y)
    with pytest.warns(hf.ResolutionWarning, match=f"left out from t = inf on, with {share:.1%} of the labels"):
        law = ensemble.fit(x, y).predict(x_test, [1.0, np.inf])
    np.testing.assert_allclose(law.cut_share, [0, share], rtol=1e-3)
    # An output whose labels are small beside another's counts as much.
    with pytest.warns(hf.ResolutionWarning, match=f"with {share:.1%} of the labels"):
        ensemble.fit(x, np.hstack([x, 1e-25 * y])).predict(x_test, [np.inf])


def test_variances_are_not_bounded_by_labels():
    x = np.random.default_rng(0).standard_normal((20, 1))
    ensemble = hf.DeepEnsemble(kernels.Sequential(kernels.Dense())).fit(x, 2 * x)
    with pytest.warns(hf.ResolutionWarning, match="their share of variances"):
        ensemble.predict(x, [np.inf], covariance="diagonal")
