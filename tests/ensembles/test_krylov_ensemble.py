"""DeepEnsemble with a Krylov space in place of eigendecompositions: the same law, kept and resumed."""

import os
import tracemalloc

import numpy as np
import pytest

import haarflow as hf
from haarflow import fitting, groups, kernels, solvers
from haarflow.kernels import gram_tiles
from haarflow.krylov_block import KrylovSolution
from haarflow.learning import learn

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
TIMES = [0, 1e1, 1e3, 1e5, np.inf]


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(gram_tiles, "_SMALLEST_SIDE", 8)
    monkeypatch.setattr(gram_tiles, "_LARGEST_SIDE", 8)


def data(n=40):
    found = hf.datasets.digits(n + 6)
    return found.x[:n], found.y[:n], found.x[n:]


def turning(n=9):
    """Vectors that turn with the cube, a sample twice, one on another's orbit, one fixed by a turn."""
    group = groups.octahedral()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2, 3))
    action = groups.matrix_action(group, group.matrices)
    x[1] = x[0]
    x[2] = action(5, x[3:4])[0]
    x[4] = [[0, 0, 1], [0, 0, 2]]
    return (
        x,
        np.cross(x[:, 0], x[:, 1]),
        rng.standard_normal((4, 2, 3)),
        action,
        groups.Representation(group, group.matrices),
    )


def predictions(x, y, x_test, times=TIMES, **options):
    law = hf.DeepEnsemble(NETWORK, **options).fit(x, y).predict(x_test, times)
    return law.mean


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("action", [groups.no_action(), groups.image_rotations(4)], ids=["none", "C4"])
def test_as_eigendecompositions(action, ridge, small_tiles):
    x, y, x_test = data()
    dense, krylov = (
        predictions(x, y, x_test, action=action, ridge=ridge, solver=solver) for solver in ("dense", "krylov")
    )
    np.testing.assert_allclose(krylov, dense, rtol=0, atol=1e-7)


def test_outputs_that_turn_and_samples_that_coincide():
    x, y, x_test, action, output = turning()
    dense, krylov = (
        predictions(x, y, x_test, action=action, output=output, solver=solver) for solver in ("dense", "krylov")
    )
    np.testing.assert_allclose(krylov, dense, rtol=0, atol=1e-7)


@pytest.mark.parametrize("reduction", ["orbit", "explicit"])
@pytest.mark.parametrize("solver", ["dense", "krylov"])
@pytest.mark.parametrize("also", [False, True], ids=["nothing to learn", "beside what there is"])
def test_samples_without_distinct_points(solver, reduction, also, tmp_path):
    """A sign that no turn of a symmetric sample changes is 0: its block has no points at all."""
    action = groups.image_rotations(2)
    signs = np.array([[[1.0]], [[-1.0]]])
    matrices = np.zeros((2, 2, 2)) + np.diag([0, 1]) + signs * np.diag([1, 0]) if also else signs
    output = groups.Representation(action.group, matrices)
    x = np.ones((6, 4, 4, 1)) * np.arange(1, 7)[:, None, None, None]
    y = np.random.default_rng(0).standard_normal((6, output.dim))
    x_test = np.concatenate([x[:2], data()[2][:2, 2:6, 2:6]])
    for _ in range(2):  # the second time from the store
        ensemble = hf.DeepEnsemble(
            NETWORK, action=action, output=output, solver=solver, reduction=reduction, store=tmp_path
        )
        found = ensemble.fit(x, y).predict(x_test, [0, 1e2, np.inf])
        np.testing.assert_allclose(found.mean[..., 0], 0, atol=1e-12)
        if also:
            # Half as many targets are in the mean of the loss.
            alone = hf.DeepEnsemble(NETWORK, action=action, learning_rate=0.5).fit(x, y[:, 1:])
            alone = alone.predict(x_test, [0, 1e2, np.inf])
            np.testing.assert_allclose(found.mean[..., 1:], alone.mean, rtol=0, atol=1e-7)
        if reduction == "orbit":
            assert (len(ensemble.timescales) > 0) == also


def test_a_compact_group():
    x, y, x_test, *_ = turning()
    action = groups.matrix_action(groups.so3(8))
    output = groups.vector(action.group)
    laws = [
        hf.DeepEnsemble(NETWORK, action=action, output=output, solver=solver).fit(x, y).predict(x_test, [1.0, 1e2])
        for solver in ("dense", "krylov")
    ]
    np.testing.assert_allclose(laws[1].mean, laws[0].mean, rtol=0, atol=1e-7)
    np.testing.assert_allclose(laws[1].refinement, laws[0].refinement, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("flow", ["gradient_descent", "heavy_ball"])
def test_steps_in_place_of_the_flow(flow):
    x, y, x_test = data()
    found = [predictions(x, y, x_test, [0, 1, 50, 3000], flow=flow, solver=solver) for solver in ("dense", "krylov")]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-8)


def test_the_estimate_bounds_the_error():
    x, y, x_test = data()
    how = solvers.Krylov(tolerance=1e-2)
    ensemble = hf.DeepEnsemble(NETWORK, solver=how, ridge=1e-2).fit(x, y)
    law = ensemble.predict(x_test, TIMES)
    kernel = kernels.analytic(NETWORK)
    gram = kernel(x).ntk
    values, vectors = np.linalg.eigh(gram + 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    for t in TIMES[1:]:
        phi = 1 / values if t == np.inf else -np.expm1(-values * t / y.size) / values
        exact = vectors @ (phi[:, None] * (vectors.T @ y))
        (found,) = learn(ensemble._fitted, solvers.GradientFlow(), np.array([t]))[1]
        error = np.linalg.norm(found.coefficients()[0] - exact) / np.linalg.norm(exact)
        assert error <= 10 * found.error[0] + 1e-14
    assert ensemble.solver == "krylov"
    assert law.error.shape == (5,)
    assert (law.error <= 1e-2).all()
    assert law.error[0] == 0
    exact = hf.DeepEnsemble(NETWORK, ridge=1e-2).fit(x, y)
    assert exact.solver == "dense"
    theirs = exact.predict(x_test, TIMES)
    assert theirs.error is None
    assert np.abs(law.mean - theirs.mean).max() < 0.1


def test_the_estimate_bounds_the_error_in_float32():
    """That of the coefficients under the Gram matrix as it is stored, whose own rounding no product shows."""
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", dtype="float32", ridge=1e-2).fit(x, y)
    law = ensemble.predict(x_test, TIMES)
    gram = kernels.analytic(NETWORK, dtype="float32")(x).ntk.astype(float)
    values, vectors = np.linalg.eigh(gram + 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    (found,) = learn(ensemble._fitted, solvers.GradientFlow(), np.array(TIMES))[1]
    assert law.error.tolist() == found.error.tolist()
    for t, alpha, error in zip(TIMES[1:], found.coefficients()[1:], law.error[1:], strict=True):
        phi = 1 / values if t == np.inf else -np.expm1(-values * t / y.size) / values
        exact = vectors @ (phi[:, None] * (vectors.T @ y))
        true = np.linalg.norm(alpha - exact) / np.linalg.norm(exact)
        assert 0.1 < error / true < 1000, (t, error, true)


@pytest.mark.parametrize("times", [[np.inf], [1e9, np.inf]])
def test_a_ridge_below_what_is_known(times):
    x, y, _ = data()
    how = {"action": groups.image_rotations(4), "ridge": 1e-12}
    found = [predictions(x, y, x, times, solver=solver, **how) for solver in ("dense", "krylov")]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-7)


def count_products(monkeypatch):
    counted = []
    grow = solvers.krylov_space.grow
    monkeypatch.setattr(solvers.krylov_space, "grow", lambda *args: counted.append(1) or grow(*args))
    return counted


def test_the_space_serves_later_calls(monkeypatch):
    counted = count_products(monkeypatch)
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", ridge=1e-3).fit(x, y)
    assert not counted
    ensemble.predict(x_test, TIMES)
    first = len(counted)
    ensemble.predict(x_test, [1e2, np.inf])
    ensemble.jacobian(x_test, 1e3)
    assert len(counted) == first > 0


def test_an_interrupted_run_continues(tmp_path, monkeypatch, small_tiles):
    x, y, x_test = data()
    how = {"action": groups.image_rotations(4), "solver": "krylov", "ridge": 1e-3}
    whole = predictions(x, y, x_test, store=tmp_path, **how)
    steps = {entry.key["step"]: entry.path for entry in kernels.Store(tmp_path).entries() if entry.kind == "krylov"}
    assert sorted(steps) == list(range(len(steps)))
    for step, path in steps.items():
        if step > 2:
            path.unlink()
    next(tmp_path.glob("gram-*")).unlink()
    counted = count_products(monkeypatch)
    again = predictions(x, y, x_test, store=tmp_path, **how)
    assert again.tobytes() == whole.tobytes()
    assert len(counted) == len(steps) - 3
    assert predictions(x, y, x_test, **how).tobytes() == whole.tobytes()


def test_what_solved_infinite_time_serves_other_times(monkeypatch):
    solved = []
    monkeypatch.setattr(solvers.krylov, "_NOISE_STEPS", 1)  # of more steps the space is enough here
    solve = solvers.krylov.conjugate_gradients
    monkeypatch.setattr(
        solvers.krylov, "conjugate_gradients", lambda *args, **rest: solved.append(1) or solve(*args, **rest)
    )
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", ridge=1e-3).fit(x, y)
    first, second = (ensemble.predict(x_test, times).mean for times in ([1.0, np.inf], [2.0, 3.0, np.inf]))
    assert len(solved) == 1
    # The coefficients are the same; products with more columns may be rounded in another order.
    np.testing.assert_allclose(first[-1], second[-1], rtol=0, atol=1e-13 * np.abs(first[-1]).max())
    np.testing.assert_allclose(second, predictions(x, y, x_test, [2.0, 3.0, np.inf], ridge=1e-3), rtol=0, atol=1e-7)


def test_predicting_takes_no_second_copy_of_the_coefficients():
    rng = np.random.default_rng(0)
    alpha, rows = rng.standard_normal((3000, 60, 2)), rng.standard_normal((5, 60))
    none = np.zeros(3000)
    solution = KrylovSolution(alpha, np.ones(2), None, none, none, 0, np.zeros((60, 2)))
    tracemalloc.start()
    found = solution.predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * alpha.nbytes
    np.testing.assert_allclose(found, rows @ alpha, rtol=0, atol=1e-13)


def test_steps_of_other_labels_are_not_taken(tmp_path):
    x, y, x_test = data()
    predictions(x, y, x_test, store=tmp_path, solver="krylov", ridge=1e-3)
    found = predictions(x, y[::-1], x_test, store=tmp_path, solver="krylov", ridge=1e-3)
    np.testing.assert_array_equal(found, predictions(x, y[::-1], x_test, solver="krylov", ridge=1e-3))


def test_steps_of_two_runs_are_not_mixed(tmp_path, monkeypatch):
    """Two runs with other last bits make other spaces: a step names the one it follows."""
    x, y, x_test = data()
    predictions(x, y, x_test, store=tmp_path, solver="krylov", ridge=1e-3)
    store = kernels.Store(tmp_path)
    third = next(entry for entry in store.entries() if entry.kind == "krylov" and entry.key["step"] == 2)
    kept = store.get("krylov", third.key)
    third.path.unlink()
    column, width = kept["column"].copy(), kept["block"].shape[1]
    column[-width:] *= -1  # the same space in another basis
    store.put("krylov", third.key, {"block": -kept["block"], "column": column})
    counted = count_products(monkeypatch)
    found = predictions(x, y, x_test, store=tmp_path, solver="krylov", ridge=1e-3)
    # None of those that follow is taken, though the next block is the same to the last bit.
    assert len(counted) == 3
    np.testing.assert_allclose(found, predictions(x, y, x_test, ridge=1e-3), rtol=0, atol=1e-6)


def test_jacobian():
    x, y, x_test = data()
    found = [
        hf.DeepEnsemble(NETWORK, solver=solver, ridge=1e-3).fit(x, y).jacobian(x_test, [1e2, np.inf])
        for solver in ("dense", "krylov")
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6 * np.abs(found[0]).max())


@pytest.mark.parametrize("ridge", [1e-1, 1.0])
def test_float32(ridge):
    """What rounding leaves of the coefficients is in the estimate; the mean is known better."""
    x, y, x_test = data()
    exact = predictions(x, y, x_test, ridge=ridge)
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", dtype="float32", ridge=ridge).fit(x, y)
    law = ensemble.predict(x_test, TIMES)
    assert (law.error <= 1e-3).all()
    assert np.abs(law.mean - exact).max() < 1e-4


def test_a_jacobian_that_has_not_converged_says_so():
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(dimension=15)).fit(x, y)
    with pytest.warns(hf.ConvergenceWarning, match="has not converged") as told:
        ensemble.jacobian(x_test, 1e5)
    assert told[0].filename == __file__


def test_the_last_answer_is_kept(monkeypatch):
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", ridge=1e-3).fit(x, y)
    first = ensemble.predict(x_test, TIMES).mean
    monkeypatch.setattr(solvers, "solve", None)
    assert ensemble.predict(x_test, TIMES).mean.tobytes() == first.tobytes()


def test_timescales_are_those_of_ritz_values():
    x, y, x_test = data()
    dense, krylov = (hf.DeepEnsemble(NETWORK, solver=solver).fit(x, y) for solver in ("dense", "krylov"))
    assert krylov.timescales[0] == pytest.approx(dense.timescales[0], rel=1e-10)
    assert krylov.timescales[-1] <= dense.timescales[-1] * (1 + 1e-9)
    krylov.predict(x_test, 1.0)
    assert krylov.timescales[0] == pytest.approx(dense.timescales[0], rel=1e-10)


def test_timescales_keep_to_the_largest_dimension():
    """A step adds nine, since ten outputs sum to 0; the first is taken whatever the dimension is."""
    x, y, _ = data()
    for dimension, known in ((17, 9), (18, 18), (5, 9)):
        ensemble = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(dimension=dimension)).fit(x, y)
        assert len(ensemble.timescales) == known


def test_what_timescales_cost_is_kept(tmp_path, monkeypatch):
    x, y, x_test = data()
    first = hf.DeepEnsemble(NETWORK, solver="krylov", ridge=1e-3, store=tmp_path).fit(x, y)
    timescales = first.timescales
    counted = count_products(monkeypatch)
    grow = solvers.grow
    monkeypatch.setattr(solvers, "grow", lambda *args: counted.append(1) or grow(*args))
    assert (first.timescales == timescales).all()
    second = hf.DeepEnsemble(NETWORK, solver="krylov", ridge=1e-3, store=tmp_path).fit(x, y)
    assert (second.timescales == timescales).all()
    second.predict(x_test, TIMES)
    assert not counted


def test_covariances_and_members_are_refused():
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov").fit(x, y)
    for call in (
        lambda: ensemble.predict(x_test, 1.0, covariance="diagonal"),
        lambda: ensemble.sample(x_test, 1.0, members=2, seed=0),
        lambda: hf.DeepEnsemble(NETWORK, solver="krylov").fit(x, y, covariance=True),
    ):
        with pytest.raises(ValueError, match='solver must be "dense" for covariances and members, found'):
            call()


def test_large_blocks_are_solved_by_a_krylov_space(monkeypatch):
    x, y, _ = data()
    monkeypatch.setattr(fitting, "_DENSE_ORDER", 39)
    with pytest.warns(hf.SolverWarning, match=r"a Krylov space for a block of order 40") as told:
        ensemble = hf.DeepEnsemble(NETWORK).fit(x, y)
    assert told[0].filename == __file__
    assert ensemble.solver == "krylov"
    assert hf.DeepEnsemble(NETWORK, solver="dense").fit(x, y).solver == "dense"
    assert hf.DeepEnsemble(NETWORK).fit(x, y, covariance=True).solver == "dense"
    assert hf.DeepEnsemble(NETWORK).fit(x[:39], y[:39]).solver == "dense"


def test_a_space_that_may_not_grow_says_so():
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(dimension=15)).fit(x, y)
    with pytest.warns(hf.ConvergenceWarning, match=r"has not converged to 1e-06 at 4 of 5 times") as told:
        law = ensemble.predict(x_test, TIMES)
    assert told[0].filename == __file__
    assert law.error[-1] > 1e-6


def test_a_singular_block_without_ridge():
    """Samples in a plane under a linear network: what is not resolved is left out at t = inf, counted and announced."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 5))
    y = rng.standard_normal((12, 1))
    linear = kernels.Sequential(kernels.Dense(), kernels.Dense())
    laws = []
    for solver in ("dense", "krylov"):
        with pytest.warns(hf.ResolutionWarning, match="are left out from t = inf"):
            laws.append(hf.DeepEnsemble(linear, solver=solver).fit(x, y).predict(x, [1e2, np.inf]))
    np.testing.assert_allclose(laws[1].mean, laws[0].mean, rtol=0, atol=1e-9)
    assert laws[1].cut[-1] > 0


def test_times_whose_coefficients_do_not_fit(monkeypatch):
    """Two arrays of them for the mean, four for its derivative."""
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov").fit(x, y)
    size = 3 * 8 * 2 * y.size
    real = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": size}.get(name) or real(name))
    times = [1.0, np.inf]
    assert ensemble.predict(x_test[:1], times).mean.shape == (2, 1, y.shape[1])
    with pytest.raises(ValueError, match=rf"\[arrays, times, coefficients\] = \[4, 2, {y.size}\] takes"):
        ensemble.jacobian(x_test[:1], times)
    with pytest.raises(ValueError, match=rf"\[arrays, times, coefficients\] = \[2, 4, {y.size}\] takes"):
        ensemble.predict(x_test[:1], [1.0, 2.0, 3.0, np.inf])


@pytest.mark.parametrize("solver", ["dense", "krylov"])
def test_times_whose_result_does_not_fit(solver):
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(NETWORK, solver=solver).fit(x, y)
    times = np.broadcast_to(1.0, 2 * 10**8)
    with pytest.raises(ValueError, match=r"times must be fewer: the result \[times, test points, outputs\]"):
        ensemble.predict(np.repeat(x_test, 10, axis=0), times)
    if solver == "dense":
        with pytest.raises(ValueError, match="times and members must be fewer"):
            ensemble.sample(x_test, 1.0, members=10**10, seed=0)
