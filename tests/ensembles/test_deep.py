"""The ensemble's mean against the listed augmented set, duplicates merged by hand, and neural-tangents."""

import numpy as np
import pytest
from oracles import gradient_flow_mean, listed, merged, weighted_flow_mean

import haarflow as hf
from haarflow import groups, kernels
from haarflow.theorems import workloads

TIMES = [0.0, 1.0, 1e3, 1e6, np.inf]
W = 2**0.5


def dense(hidden=3):
    layers = [kernels.Dense(W, 0.1), kernels.Relu()] * hidden
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(1.0, 0.1))


def by_listing(network, action, output, x, y, x_test, times):
    """mu_t from the listed set in the mean loss's clock."""
    points, labels = listed(action, output, x, y)
    kernel = kernels.analytic(network)
    clock = labels.size
    return gradient_flow_mean(kernel(points).ntk, kernel(x_test, points).ntk, labels, np.array(times) / clock)


def by_merging(network, action, output, x, y, x_test, times):
    points, labels = listed(action, output, x, y)
    distinct, means, counts = merged(points, labels)
    kernel = kernels.analytic(network)
    clock = labels.size
    return weighted_flow_mean(
        kernel(distinct).ntk, kernel(x_test, distinct).ntk, means, counts, np.array(times) / clock
    )


WORKLOADS = {
    "digits c4": lambda: workloads.digits_c4(40),
    "digits d4": lambda: workloads.digits_d4(8),
    "ising": lambda: workloads.ising_c4(20),
    "vectors": lambda: workloads.vectors_o(6),
}


@pytest.fixture(scope="module", params=WORKLOADS)
def workload(request):
    return WORKLOADS[request.param]()


def test_mean_against_the_listed_set(workload):
    ensemble = hf.DeepEnsemble(
        workload.architecture, action=workload.action, output=workload.output, reduction="orbit"
    ).fit(workload.x, workload.y)
    x_test = np.concatenate([workload.outside, workload.x[:3]])
    law = ensemble.predict(x_test, TIMES)
    exact = by_listing(workload.architecture, workload.action, workload.output, workload.x, workload.y, x_test, TIMES)
    # Absolute, as long as means are of the labels' size; on N(0, 1) images the convolutional one's reach 6.
    assert np.max(np.abs(law.mean - exact)) < 1e-11 * max(1, np.max(np.abs(exact)))
    assert ensemble.reduction == "orbit"
    assert law.unresolved == 0


def test_explicit_path_agrees(workload):
    both = [
        hf.DeepEnsemble(workload.architecture, action=workload.action, output=workload.output, reduction=reduction)
        .fit(workload.x[:5], workload.y[:5])
        .predict(workload.outside, TIMES)
        .mean
        for reduction in ("orbit", "explicit")
    ]
    assert np.max(np.abs(both[0] - both[1])) < 1e-11 * max(1, np.max(np.abs(both[0])))


def test_orbit_error(workload):
    ensemble = hf.DeepEnsemble(workload.architecture, action=workload.action, output=workload.output)
    ensemble.fit(workload.x, workload.y)
    orbit = workload.action.orbit(workload.outside)
    mean = ensemble.predict(orbit.reshape(-1, *orbit.shape[2:]), TIMES[1:]).mean
    by_element = mean.reshape(len(TIMES) - 1, *orbit.shape[:2], -1).transpose(1, 0, 2, 3)
    assert hf.measures.orbit_error(by_element, workload.output).max() < 1e-11


def test_digits_against_neural_tangents():
    try:
        nt = kernels.neural_tangents()
    except ImportError as missing:
        pytest.skip(str(missing))
    from haarflow.kernels.backend import x64

    data = hf.datasets.digits(60)
    action = groups.image_rotations(4)
    x_test = hf.datasets.off_manifold(10, (8, 8, 1))
    mean = hf.DeepEnsemble(dense(), action=action).fit(data.x, data.y).predict(x_test, TIMES[:4]).mean
    points, labels = listed(action, None, data.x, data.y)
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(kernels.to_neural_tangents(dense())[2], points, labels)
        theirs = np.array([np.asarray(predict(t=t, x_test=x_test, get="ntk")) for t in TIMES[:4]])
    assert np.max(np.abs(mean - theirs)) < 1e-7


# --- orbits with stabilisers -------------------------------------------------------------------------------


def symmetric_images():
    """Images with every stabiliser, two in one orbit, and conflicting labels."""
    rng = np.random.default_rng(3)
    action = groups.image_rotations(4)
    x = rng.standard_normal((6, 4, 4, 1))
    x[1] = action.orbit(x[1:2]).mean(axis=0)[0]  # fixed by all
    x[2] = (x[2:3] + action(2, x[2:3]))[0] / 2  # fixed by the half turn
    x[4] = action(3, x[3:4])[0]  # in another's orbit
    x[5] = 0  # blank
    return action, None, x, rng.standard_normal((6, 2))


def symmetric_lattices():
    """Spin lattices with fixed sites and symmetric patterns; labels that move with the sites conflict."""
    rng = np.random.default_rng(4)
    perms = groups.lattice_rotations(3)
    action = groups.permutation_action(groups.cyclic(4), perms)
    output = groups.Representation(action.group, groups.permutation_matrices(perms))
    x = np.sign(rng.standard_normal((5, 9)))
    x[1] = np.sign(action.orbit(x[1:2]).sum(axis=0)[0] + 0.5)
    x[3] = action(1, x[2:3])[0]
    return action, output, x, rng.standard_normal((5, 9))


def vectors_on_axes():
    """Vectors on rotation axes: stabilisers known to rounding only, vector labels off the axis conflict."""
    rng = np.random.default_rng(5)
    group = groups.icosahedral()
    action = groups.matrix_action(group, group.matrices)
    output = groups.Representation(group, group.matrices)
    axes = [np.linalg.svd(matrix - np.eye(3))[2][-1] for matrix in group.matrices[[1, 7]]]
    x = np.stack([axes[0], 1.3 * axes[1], rng.standard_normal(3)])
    x = np.concatenate([x, action(11, x[2:3])])
    return action, output, x, rng.standard_normal((4, 3))


STABILISED = {"images": symmetric_images, "lattices": symmetric_lattices, "vectors": vectors_on_axes}


@pytest.mark.parametrize("reduction", ["orbit", "explicit"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-3)])
@pytest.mark.parametrize("name", STABILISED)
def test_duplicates_against_merging_by_hand(name, dtype, tolerance, reduction):
    action, output, x, y = STABILISED[name]()
    network = dense(1) if x.ndim > 2 else kernels.Sequential(*dense(1).layers[1:])
    x_test = np.concatenate([np.random.default_rng(0).standard_normal((5, *x.shape[1:])), x])
    times = [0.0, 1e2, 1e8, 1e12, np.inf]
    law = (
        hf.DeepEnsemble(network, action=action, output=output, dtype=dtype, reduction=reduction)
        .fit(x, y)
        .predict(x_test, times)
    )
    exact = by_merging(network, action, output, x, y, x_test, times)
    assert np.isfinite(law.mean).all()
    assert np.max(np.abs(law.mean - exact)) < tolerance * np.max(np.abs(exact))
    assert law.unresolved == 0


# --- where the reduction does not apply ---------------------------------------------------------------------


def test_interpolated_rotations_list_the_set():
    action = groups.interpolated_rotations(8)
    data = hf.datasets.digits(6)
    x_test = hf.datasets.off_manifold(4, (8, 8, 1))
    ensemble = hf.DeepEnsemble(dense(1), action=action)
    with pytest.warns(hf.ReductionWarning, match=r"interpolated_rotations\(8\) is not an exact group action"):
        ensemble.fit(data.x, data.y)
    assert ensemble.reduction == "explicit"
    exact = by_listing(dense(1), action, None, data.x, data.y, x_test, TIMES)
    assert np.max(np.abs(ensemble.predict(x_test, TIMES).mean - exact)) < 1e-10


def convolution(padding="SAME", support=None, pool=False):
    conv = kernels.Conv(3, padding, W, 0.1, support)
    layers = [conv, kernels.Relu(), *([kernels.AvgPool(2)] if pool else []), conv, kernels.Relu()]
    return kernels.Sequential(*layers, kernels.Flatten(), kernels.Dense(1.0, 0.1))


QUARTERS = groups.image_rotations(4)
SHIFTS = groups.image_translations((4, 4))
CORNER = ((0, 0), (0, 1), (1, 0))
BLOCK = ((0, 0), (0, 1), (1, 0), (1, 1))
COLUMN = ((-1, 0), (0, 0), (1, 0))
BROKEN = {
    "same, off-centre support": (convolution("SAME", CORNER), QUARTERS, 4),
    "same, 3 x 1 support": (convolution("SAME", COLUMN), QUARTERS, 4),
    "circular, 3 x 1 support": (convolution("CIRCULAR", COLUMN), QUARTERS, 4),
    "same with shifts": (convolution("SAME"), SHIFTS, 4),
    "shifts finer than the pool": (convolution("CIRCULAR", pool=True), SHIFTS, 4),
}
INTACT = {
    "same, quarter turns": (convolution("SAME"), QUARTERS, 4),
    "circular, shifted support": (convolution("CIRCULAR", BLOCK), QUARTERS, 4),
    "circular with shifts": (convolution("CIRCULAR"), SHIFTS, 4),
    "pool on even sides": (convolution("SAME", pool=True), QUARTERS, 4),
    "shifts by the pool's stride": (convolution("CIRCULAR", pool=True), groups.image_translations((2, 2)), 4),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_kernel_that_is_not_invariant_is_noticed(name):
    network, action, side = BROKEN[name]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, side, side, 1)), rng.standard_normal((3, 2))
    with pytest.raises(ValueError, match=r"kernel is not invariant under .* differs .* for element g = "):
        hf.DeepEnsemble(network, action=action, reduction="orbit").fit(x, y)
    with pytest.warns(hf.ReductionWarning, match="augmented samples are listed instead"):
        ensemble = hf.DeepEnsemble(network, action=action).fit(x, y)
    x_test = rng.standard_normal((2, side, side, 1))
    exact = by_listing(network, action, None, x, y, x_test, TIMES)
    assert np.max(np.abs(ensemble.predict(x_test, TIMES).mean - exact)) < 1e-9


@pytest.mark.parametrize("name", INTACT)
def test_an_invariant_kernel_is_reduced(name):
    network, action, side = INTACT[name]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, side, side, 1)), rng.standard_normal((3, 2))
    x_test = rng.standard_normal((2, side, side, 1))
    ensemble = hf.DeepEnsemble(network, action=action).fit(x, y)
    assert ensemble.reduction == "orbit"
    exact = by_listing(network, action, None, x, y, x_test, TIMES)
    assert np.max(np.abs(ensemble.predict(x_test, TIMES).mean - exact)) < 1e-9


def test_pooling_of_odd_sides_is_refused():
    rng = np.random.default_rng(0)
    network = kernels.Sequential(
        kernels.Conv(3), kernels.Relu(), kernels.AvgPool(2), kernels.Flatten(), kernels.Dense()
    )
    with pytest.raises(ValueError, match=r"AvgPool\(2\) needs sides that 2 divides, found 5 x 5"):
        hf.DeepEnsemble(network, action=QUARTERS).fit(rng.standard_normal((3, 5, 5, 1)), np.eye(3))


# --- the clock, the ridge, the flows --------------------------------------------------------------------------


def test_losses_differ_by_their_clock():
    data = hf.datasets.digits(10)
    action = groups.image_rotations(4)
    x_test = hf.datasets.off_manifold(3, (8, 8, 1))
    mean = hf.DeepEnsemble(dense(1), action=action, learning_rate=0.5).fit(data.x, data.y)
    total = hf.DeepEnsemble(dense(1), action=action, loss="sum").fit(data.x, data.y)
    t = 700.0
    np.testing.assert_allclose(
        mean.predict(x_test, t).mean, total.predict(x_test, 0.5 * t / (40 * 10)).mean, rtol=1e-12
    )
    np.testing.assert_allclose(mean.timescales, total.timescales * 40 * 10 / 0.5, rtol=1e-12)


def test_timescales_are_the_listed_spectrum():
    data = hf.datasets.digits(8)
    action = groups.image_rotations(4)
    scales = hf.DeepEnsemble(dense(1), action=action, loss="sum").fit(data.x, data.y).timescales
    points, _ = listed(action, None, data.x, data.y)
    listed_values = np.linalg.eigvalsh(kernels.analytic(dense(1))(points).ntk)
    for scale in scales:
        assert np.min(np.abs(listed_values * scale - 1)) < 1e-9


def test_ridge_against_solving_the_listed_system():
    data = hf.datasets.digits(8)
    action = groups.image_rotations(4)
    x_test = hf.datasets.off_manifold(3, (8, 8, 1))
    found = hf.DeepEnsemble(dense(1), action=action, ridge=0.1).fit(data.x, data.y).predict(x_test, np.inf)
    points, labels = listed(action, None, data.x, data.y)
    kernel = kernels.analytic(dense(1))
    gram = kernel(points).ntk
    exact = kernel(x_test, points).ntk @ np.linalg.solve(
        gram + 0.1 * np.mean(np.diag(gram)) * np.eye(len(gram)), labels
    )
    np.testing.assert_allclose(found.mean[0], exact, atol=1e-12)


@pytest.mark.parametrize("flow", ["gradient_descent", "heavy_ball"])
def test_discrete_training_against_iterating_on_the_listed_set(flow):
    data = hf.datasets.digits(5)
    action = groups.image_rotations(4)
    x_test = hf.datasets.off_manifold(3, (8, 8, 1))
    ensemble = hf.DeepEnsemble(dense(1), action=action, flow=flow, loss="sum", learning_rate=0.02)
    found = ensemble.fit(data.x, data.y).predict(x_test, [0, 1, 7, 40]).mean
    points, labels = listed(action, None, data.x, data.y)
    kernel = kernels.analytic(dense(1))
    gram, rows = kernel(points).ntk, kernel(x_test, points).ntk
    beta = 0.9 if flow == "heavy_ball" else 0.0
    weights = previous = np.zeros_like(labels)
    for step in range(41):
        if step in (0, 1, 7, 40):
            np.testing.assert_allclose(found[[0, 1, 7, 40].index(step)], rows @ weights, atol=1e-12)
        update = weights + 0.02 * (labels - gram @ weights) + beta * (weights - previous)
        weights, previous = update, weights


def test_times_keep_their_order():
    data = hf.datasets.digits(5)
    ensemble = hf.DeepEnsemble(dense(1)).fit(data.x, data.y)
    forward = ensemble.predict(data.x, [1.0, np.inf, 0.0]).mean
    assert np.array_equal(forward[::-1], ensemble.predict(data.x, [0.0, np.inf, 1.0]).mean)
    assert not forward[2].any()
    np.testing.assert_allclose(forward[1], data.y, atol=1e-10)


def test_what_float64_cannot_resolve_is_said():
    # erf on a line: a spectrum that decays below rounding.
    x = np.linspace(-1, 1, 40)[:, None]
    network = kernels.Sequential(kernels.Dense(1.0, 0.1), kernels.Erf(), kernels.Dense())
    ensemble = hf.DeepEnsemble(network).fit(x, np.sin(3 * x))
    early = ensemble.predict(x, 1e3)
    assert early.unresolved > 10
    assert not early.cut.any()
    with pytest.warns(hf.ResolutionWarning, match="modes of the Gram matrix lie below the rounding"):
        late = ensemble.predict(x, np.inf)
    assert late.cut[0] == early.unresolved
    assert np.max(np.abs(late.mean[0] - np.sin(3 * x))) < 1e-4


def test_an_odd_kernel_has_no_invariant_part():
    # Without bias erf is odd: under +-1 the invariant block is rounding, and must not be inverted.
    group = groups.cyclic(2)
    action = groups.matrix_action(group, np.stack([np.eye(3), -np.eye(3)]))
    network = kernels.Sequential(kernels.Dense(1.0), kernels.Erf(), kernels.Dense())
    x = np.random.default_rng(0).standard_normal((8, 3))
    with pytest.warns(hf.ResolutionWarning):
        mean = hf.DeepEnsemble(network, action=action).fit(x, np.ones((8, 1))).predict(x, np.inf).mean
    assert np.max(np.abs(mean)) < 1e-12


def test_a_kernel_of_neural_tangents_is_used():
    try:
        kernel_fn = kernels.to_neural_tangents(dense(1))[2]
    except ImportError as missing:
        pytest.skip(str(missing))
    data = hf.datasets.digits(5)
    action = groups.image_rotations(4)
    x_test = hf.datasets.off_manifold(3, (8, 8, 1))
    theirs = hf.DeepEnsemble(kernels.from_neural_tangents(kernel_fn, key="dense"), action=action)
    ours = hf.DeepEnsemble(dense(1), action=action)
    a, b = (e.fit(data.x, data.y).predict(x_test, [1e2, 1e4]).mean for e in (theirs, ours))
    np.testing.assert_allclose(a, b, atol=1e-7)


def test_progress_is_reported():
    data = hf.datasets.digits(5)
    seen = []
    ensemble = hf.DeepEnsemble(dense(1), progress=lambda label, done, total: seen.append((label, done, total)))
    ensemble.fit(data.x, data.y).predict(data.x, 1.0)
    assert {label for label, _, _ in seen} == {"orbit Gram", "eigendecomposition", "test kernel"}
    assert all(0 <= done <= total for _, done, total in seen)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bias", [0.1, 10.0, 1e3, 1e4])
def test_a_bias_does_not_hide_a_kernel_that_is_not_invariant(bias, dtype):
    broken = kernels.Sequential(*convolution("SAME", CORNER).layers[:-1], kernels.Dense(1.0, bias))
    intact = kernels.Sequential(*convolution("SAME").layers[:-1], kernels.Dense(1.0, bias))
    assert not kernels.check_invariance(kernels.analytic(broken, dtype), QUARTERS, (4, 4, 1)).holds
    assert kernels.check_invariance(kernels.analytic(intact, dtype), QUARTERS, (4, 4, 1)).holds


@pytest.mark.parametrize("activation", [kernels.Relu(), kernels.Erf(), kernels.Gelu()])
def test_a_blank_training_set_predicts_nothing(activation):
    network = kernels.Sequential(kernels.Dense(), activation, kernels.Dense())
    ensemble = hf.DeepEnsemble(network).fit(np.zeros((2, 20)), np.ones((2, 1)))
    law = ensemble.predict(np.random.default_rng(0).standard_normal((3, 20)), [1.0, 1e100, np.inf])
    assert not law.mean.any()
    assert not law.cut.any()


def test_many_test_points_for_few_training_points():
    class Counting(kernels.AnalyticKernel):
        calls = 0

        def between(self, first, second=None, report=None):
            Counting.calls += 1
            return super().between(first, second, report)

    x = np.random.default_rng(0).standard_normal((2000, 3))
    ensemble = hf.DeepEnsemble(Counting(kernels.Sequential(*dense(1).layers[1:]))).fit(x[:1], np.ones((1, 1)))
    Counting.calls = 0
    ensemble.predict(x, 1.0)
    assert Counting.calls == 1
