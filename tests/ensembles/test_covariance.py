"""The ensemble's covariance against the listed augmented set, simulated training and neural-tangents."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import flow_covariance, flow_operators, listed, merged
from registry import GROUPS, quaternions
from stores import CountingKernel, from_two_processes
from tilings import many_tiles

import haarflow as hf
from haarflow import groups, kernels, solvers

W = 2**0.5
TIMES = [0.0, 0.5, 30.0, np.inf]
RATE = 0.1  # at which all of these times matter


def dense(hidden=2):
    return kernels.Sequential(*[kernels.Dense(W, 0.1), kernels.Relu()] * hidden, kernels.Dense(1.0, 0.1))


def flat(hidden=2):
    return kernels.Sequential(kernels.Flatten(), *dense(hidden).layers)


def convolutional(end):
    conv = kernels.Conv(3, "SAME", W, 0.1)
    return kernels.Sequential(conv, kernels.Relu(), conv, kernels.Relu(), end, kernels.Dense(1.0, 0.1))


def images(end):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3, 3, 1))
    return convolutional(end), groups.image_dihedral(), None, x, rng.standard_normal((3, 2))


def vectors():
    rng = np.random.default_rng(1)
    group = groups.octahedral()
    output = groups.Representation(group, group.matrices)
    return flat(), groups.matrix_action(group, group.matrices), output, *rng.standard_normal((2, 4, 3))


def symmetric_images():
    """Images with every stabiliser and two in one orbit, so that 24 listed points are 15."""
    rng = np.random.default_rng(2)
    action = groups.image_rotations(4)
    x = rng.standard_normal((6, 4, 4, 1))
    x[1] = action.orbit(x[1:2]).mean(axis=0)[0]  # fixed by all
    x[2] = (x[2:3] + action(2, x[2:3]))[0] / 2  # fixed by the half turn
    x[4] = action(3, x[3:4])[0]  # in another's orbit
    return flat(), action, None, x, rng.standard_normal((6, 2))


def quaternionic():
    rng = np.random.default_rng(3)
    group = quaternions()
    output = groups.Representation(group, group.matrices)
    return dense(), groups.matrix_action(group, group.matrices), output, *rng.standard_normal((2, 4, 4))


CASES = {
    "D4, GAP": lambda: images(kernels.GlobalAvgPool()),
    "D4, Flatten": lambda: images(kernels.Flatten()),
    "rotations": vectors,
    "symmetric images": symmetric_images,
    "quaternions": quaternionic,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]()


def test_points(action, x):
    """Points off the data, an orbit element of a training point, a training point, and the first point again."""
    outside = np.random.default_rng(9).standard_normal((4, *x.shape[1:]))
    return np.concatenate([outside, action(action.group.order - 1, x[:1]), x[1:2], outside[:1]])


test_points.__test__ = False


def by_listing(network, action, output, x, y, x_test, times, ridge=0.0):
    """Cov[f_t(x), f_s(x')] under the sum loss, from the listed set with coinciding points merged."""
    points, _, counts = merged(*listed(action, output, x, y))
    kernel = kernels.analytic(network)
    inside, rows = kernel(points), kernel(x_test, points)
    ridge *= np.mean(np.diag(kernel(x).ntk))
    operators = flow_operators(inside.ntk, rows.ntk, RATE * np.array(times), counts, ridge)
    return flow_covariance(operators, inside.nngp, rows.nngp, kernel(x_test).nngp)


def at_once(joint):
    return np.einsum("txty->txy", joint)


def ensemble(network, action, output=None, **options):
    options = {"learning_rate": RATE, **options}
    return hf.DeepEnsemble(network, action=action, output=output, loss="sum", **options)


def assert_close(found, exact, tolerance):
    """Relative to the largest covariance at each time."""
    assert found.shape == exact.shape
    for one, other in zip(found, exact, strict=True):
        assert np.max(np.abs(one - other)) < tolerance * np.max(np.abs(other))


def test_against_the_listed_set_and_the_explicit_path(case):
    network, action, output, x, y = case
    x_test = test_points(action, x)
    laws = {}
    for reduction in ("orbit", "explicit"):
        fitted = ensemble(network, action, output, reduction=reduction).fit(x, y, covariance=True)
        laws[reduction] = fitted.predict(x_test, TIMES, covariance="full")
        variance = fitted.predict(x_test, TIMES, covariance="diagonal").variance
        diagonal = np.einsum("txx->tx", laws[reduction].covariance)
        assert np.max(np.abs(variance - diagonal)) < 1e-12 * np.max(diagonal)
        assert laws[reduction].unresolved == 0
    exact = at_once(by_listing(network, action, output, x, y, x_test, TIMES))
    assert_close(laws["orbit"].covariance, exact, 1e-8)
    assert_close(laws["explicit"].covariance, exact, 1e-8)
    assert_close(laws["orbit"].covariance, laws["explicit"].covariance, 1e-8)
    # The times can be told from each other, far above the tolerance.
    assert all(np.max(np.abs(a - b)) > 1e-5 * np.max(a) for a, b in itertools.pairwise(exact))


def test_a_covariance_matrix_that_starts_as_the_prior_and_ends_at_nothing(case):
    network, action, output, x, y = case
    x_test = test_points(action, x)
    fitted = ensemble(network, action, output, reduction="orbit").fit(x, y)
    times = [0.0, *np.geomspace(1e-3, 1e6, 10), np.inf]
    covariance = fitted.predict(x_test, times, covariance="full").covariance
    prior = kernels.analytic(network)(x_test).nngp
    trace = np.trace(prior)
    np.testing.assert_array_equal(covariance, covariance.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(covariance).min() > -1e-10 * trace
    np.testing.assert_array_equal(covariance[0], prior)
    trained = fitted.predict(action.orbit(x).reshape(-1, *x.shape[1:]), [np.inf], covariance="full").covariance
    assert np.max(np.abs(trained)) < 1e-10 * trace


def test_covariances_are_equivariant(case):
    network, action, output, x, y = case
    x_test = np.random.default_rng(4).standard_normal((3, *x.shape[1:]))
    fitted = ensemble(network, action, output, reduction="orbit").fit(x, y)
    base = fitted.predict(x_test, TIMES, covariance="full").covariance
    for g in action.group.generators:
        moved = fitted.predict(action(g, x_test), TIMES, covariance="full").covariance
        assert_close(moved, base, 1e-9)
    crossed = fitted.predict(np.concatenate([x_test, action(g, x_test)]), TIMES, covariance="full").covariance
    assert np.max(np.abs(crossed[2, :3, 3:] - base[2])) > 1e-2 * np.max(base[2])  # jointly it is no function of orbits


def test_covariance_at_fit_and_later(case):
    network, action, output, x, y = case
    x_test = test_points(action, x)
    laws = [
        ensemble(network, action, output).fit(x, y, covariance=now).predict(x_test, TIMES, covariance=kind)
        for kind in ("full", "diagonal")
        for now in (True, False)
    ]
    assert np.array_equal(laws[0].covariance, laws[1].covariance)
    assert np.array_equal(laws[2].variance, laws[3].variance)
    assert laws[0].variance is laws[2].covariance is None
    for law in laws[1:]:
        np.testing.assert_allclose(law.mean, laws[0].mean, atol=1e-12)


def test_tiles_and_company_do_not_matter(case, monkeypatch):
    network, action, output, x, y = case
    x_test = test_points(action, x)
    fitted = ensemble(network, action, output, reduction="orbit").fit(x, y)
    whole = fitted.predict(x_test, TIMES, "full").covariance
    many_tiles(monkeypatch)
    fitted = ensemble(network, action, output, reduction="orbit").fit(x, y, covariance=True)
    np.testing.assert_allclose(fitted.predict(x_test, TIMES, "full").covariance, whole, atol=1e-11)
    variance = fitted.predict(x_test, TIMES, "diagonal").variance
    np.testing.assert_allclose(variance, np.einsum("txx->tx", whole), atol=1e-11)
    np.testing.assert_allclose(fitted.predict(x_test[:3], TIMES, "diagonal").variance, variance[:, :3], atol=1e-11)


# --- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rotations", "symmetric images"])
def test_ridge(name):
    network, action, output, x, y = CASES[name]()
    x_test = test_points(action, x)
    fitted = ensemble(network, action, output, ridge=0.3, reduction="orbit").fit(x, y)
    exact = at_once(by_listing(network, action, output, x, y, x_test, TIMES, ridge=0.3))
    assert_close(fitted.predict(x_test, TIMES, "full").covariance, exact, 1e-9)
    variance = np.einsum("txx->tx", exact)
    assert_close(fitted.predict(x_test, TIMES, "diagonal").variance, variance, 1e-9)


def simulate(ntk, rows, steps, eta, momentum):
    """P_s with f_s(x) = f_0(x) + P_s f_0(X): training from every unit vector as f_0(X), labels 0."""
    inside, outside = np.eye(len(ntk)), np.zeros((len(rows), len(ntk)))
    moved, pushed, kept = 0 * inside, 0 * outside, []
    for step in range(max(steps) + 1):
        if step in steps:
            kept.append(outside.copy())
        moved, pushed = momentum * moved - eta * ntk @ inside, momentum * pushed - eta * rows @ inside
        inside, outside = inside + moved, outside + pushed
    return np.array(kept)


@pytest.mark.parametrize(
    ("flow", "momentum"), [("gradient_descent", 0.0), ("heavy_ball", 0.9), (solvers.HeavyBall(0.5), 0.5)]
)
@pytest.mark.parametrize("name", ["quaternions", "symmetric images"])
def test_discrete_training_against_its_simulation(name, flow, momentum):
    network, action, output, x, y = CASES[name]()
    x_test = test_points(action, x)
    points, _ = listed(action, output, x, y)
    kernel = kernels.analytic(network)
    inside, rows, steps = kernel(points), kernel(x_test, points), [0, 1, 7, 400]
    eta = 1 / np.linalg.eigvalsh(inside.ntk)[-1]
    changes = simulate(inside.ntk, rows.ntk, steps, eta, momentum)
    exact = at_once(flow_covariance(-changes, inside.nngp, rows.nngp, kernel(x_test).nngp))
    fitted = ensemble(network, action, output, flow=flow, learning_rate=eta).fit(x, y)
    assert_close(fitted.predict(x_test, steps, "full").covariance, exact, 1e-10)


@pytest.mark.parametrize("name", ["D4, Flatten", "rotations", "symmetric images", "quaternions"])
def test_float32(name):
    network, action, output, x, y = CASES[name]()
    x_test = test_points(action, x)
    fitted = ensemble(network, action, output, dtype="float32").fit(x, y)
    law = fitted.predict(x_test, TIMES, "full")
    exact = at_once(by_listing(network, action, output, x, y, x_test, TIMES))
    assert law.covariance.dtype == np.float64
    assert np.max(np.abs(law.covariance - exact)) < 1e-3 * np.max(exact)
    variance = fitted.predict(x_test, TIMES, "diagonal").variance
    assert np.max(np.abs(variance - np.einsum("txx->tx", exact))) < 1e-3 * np.max(exact)


def test_two_clocks():
    network, action, output, x, y = vectors()
    x_test = test_points(action, x)
    times = np.array([0.5, 30.0])
    by_sum = ensemble(network, action, output).fit(x, y).predict(x_test, times, "full").covariance
    by_mean = hf.DeepEnsemble(network, action=action, output=output).fit(x, y)
    clock = 24 * y.size * RATE
    np.testing.assert_allclose(by_mean.predict(x_test, times * clock, "full").covariance, by_sum, rtol=1e-9, atol=1e-12)


def test_against_neural_tangents():
    try:
        nt = kernels.neural_tangents()
    except ImportError as missing:
        pytest.skip(str(missing))
    from haarflow.kernels.backend import x64

    data = hf.datasets.digits(20)
    action, times = groups.image_rotations(4), np.array([0.0, 0.5, 10.0, 100.0])
    x_test = np.concatenate([hf.datasets.off_manifold(5, (8, 8, 1)), data.x[:2]])
    points, labels = listed(action, None, data.x, data.y)
    clocks = {"mean": 1.0, "sum": labels.size}
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(kernels.to_neural_tangents(flat(3))[2], points, labels)
        all_times = np.stack([times * clock for clock in clocks.values()])
        theirs = predict(t=all_times, x_test=x_test, get="ntk", compute_cov=True)
        theirs = {name: (np.asarray(theirs.mean[i]), np.asarray(theirs.covariance[i])) for i, name in enumerate(clocks)}
    for loss, (mean, covariance) in theirs.items():
        law = hf.DeepEnsemble(flat(3), action=action, loss=loss).fit(data.x, data.y).predict(x_test, times, "full")
        assert np.max(np.abs(law.covariance - covariance)) < 1e-6 * np.max(covariance)
        assert np.max(np.abs(law.mean - mean)) < 1e-6
        assert np.max(covariance[-1]) < 0.9 * np.max(covariance[0])


@given(name=st.sampled_from(sorted(GROUPS)), matrices=st.booleans(), seed=st.integers(0, 2**16))
@settings(max_examples=12, deadline=None)
def test_every_group(name, matrices, seed):
    group = GROUPS[name][0]()
    rng = np.random.default_rng(seed)
    if matrices and group.matrices is not None:
        action, width = groups.matrix_action(group, group.matrices), group.matrices.shape[1]
    else:
        action, width = groups.permutation_action(group, group.table), group.order
    x, x_test = rng.standard_normal((2, 2, width))
    y, times = rng.standard_normal((2, 1)), [0.0, *np.exp(rng.uniform(-4, 4, 2))]
    law = ensemble(dense(1), action, reduction="orbit").fit(x, y).predict(x_test, times, "full")
    exact = at_once(by_listing(dense(1), action, None, x, y, x_test, times))
    assert_close(law.covariance, exact, 1e-9)


# --- stores -----------------------------------------------------------------------------------------------


def run(store, kernel=None, now=True, **options):
    """Full and diagonal covariance and coupled members, as one array."""
    data = hf.datasets.digits(13)
    x, y, x_test = data.x[:10], data.y[:10], data.x[10:]
    fitted = ensemble(kernel or flat(), groups.image_rotations(4), store=store, reduction="orbit", **options)
    fitted.fit(x, y, covariance=now)
    law = fitted.predict(x_test, TIMES, "full")
    variance = fitted.predict(x_test, TIMES, "diagonal").variance
    members = fitted.sample(x_test, TIMES, 3, seed=0, coupled=True)
    return np.concatenate([each.ravel() for each in (law.mean, law.covariance, variance, members)])


@pytest.mark.parametrize("now", [True, False])
def test_a_second_run_evaluates_test_kernels_only(tmp_path, now):
    first, second = (CountingKernel(flat()) for _ in range(2))
    results = [run(tmp_path / "store", kernel, now) for kernel in (first, second)]
    assert first.rows.count(10) > 0
    assert second.rows.count(10) == 0
    assert results[0].tobytes() == results[1].tobytes() == run(None, now=now).tobytes()


def test_factorised_again_from_the_gram(tmp_path):
    result = run(tmp_path / "store", CountingKernel(flat()))
    for path in (tmp_path / "store").glob("spectrum-*"):
        path.unlink()
    kernel = CountingKernel(flat())
    assert run(tmp_path / "store", kernel).tobytes() == result.tobytes()
    assert kernel.rows.count(10) == 0


def test_entries_with_and_without_the_nngp_are_told_apart(tmp_path):
    data = hf.datasets.digits(10)
    for _ in range(2):  # C1: the mean and the covariance need the same irreps
        fitted = ensemble(flat(), None, store=tmp_path / "store").fit(data.x, data.y)
        fitted.predict(data.x, TIMES)
        covariance = fitted.predict(data.x, TIMES, "full").covariance
    assert len(list((tmp_path / "store").glob("gram-*"))) == 2
    exact = ensemble(flat(), None).fit(data.x, data.y).predict(data.x, TIMES, "full").covariance
    assert np.array_equal(covariance, exact)


@pytest.mark.parametrize("how", ["nan", "missing", "shape"])
@pytest.mark.parametrize("kind", ["spectrum", "gram"])
def test_an_nngp_that_does_not_hold_what_it_should(tmp_path, kind, how):
    result = run(tmp_path / "store")
    store = kernels.Store(tmp_path / "store")
    (entry,) = (entry for entry in store.entries() if entry.kind == kind)
    arrays = store.get(kind, entry.key)
    for each in store.entries():
        if kind == "gram" or each.kind == kind:
            each.path.unlink()
    spoilt = {"nan": arrays["nngp_1"] * np.nan, "shape": arrays["nngp_1"][:-1], "missing": None}[how]
    arrays.pop("nngp_1")
    store.put(kind, entry.key, arrays | ({} if spoilt is None else {"nngp_1": spoilt}))
    with pytest.warns(kernels.StoreWarning, match="nngp_1 must be finite float64"):
        assert run(tmp_path / "store").tobytes() == result.tobytes()


@pytest.mark.slow
def test_a_new_process_gives_the_same_bits(tmp_path):
    first, second = from_two_processes("test_covariance", tmp_path / "store")
    assert first == second
    assert np.isfinite(np.frombuffer(first)).all()


# --- bad input --------------------------------------------------------------------------------------------


def test_bad_input():
    network, action, output, x, y = vectors()
    fitted = ensemble(network, action, output)
    for kind in ("diagonal", "full"):
        with pytest.raises(RuntimeError, match=r"call fit\(x, y\) before predict"):
            fitted.predict(x, 1.0, covariance=kind)
    fitted.fit(x, y)
    for kind in ("diagonal", "full"):
        with pytest.raises(ValueError, match="x_test must hold at least one sample"):
            fitted.predict(np.empty((0, 3)), 1.0, covariance=kind)
        with pytest.raises(ValueError, match="times must be >= 0"):
            fitted.predict(x, -1.0, covariance=kind)
    for kind in ("Full", "joint", "variance", "", True, 1):
        with pytest.raises(ValueError, match=r'covariance must be None, "diagonal" or "full", found'):
            fitted.predict(x, 1.0, covariance=kind)
