"""The Krylov solver on the catalogue of hard matrices: the same filters as the dense one, and it knows its error."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hard import FLOAT32, HARD, LARGE, large
from hypothesis import given, settings
from hypothesis import strategies as st

from haarflow import solvers

FLOW = solvers.GradientFlow()
UNITS = np.array([0.0, 0.1, 1.0, 10.0, 1e2, 1e4, 1e6, 1e8, 1e10, np.inf])
FILTERS = [solvers.GradientDescent(), solvers.HeavyBall(0.9)]


def tikhonov(eigenvalues, times, rate):
    with np.errstate(divide="ignore"):
        return 1 / (eigenvalues[None, :] + 1 / (rate * np.asarray(times)[:, None]))


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def times_by(gram, dtype=float):
    return lambda v: gram.astype(dtype) @ v.astype(dtype)


def relative(found, exact):
    return np.array([np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0) for a, b in zip(found, exact, strict=True)])


def assert_known(solved, exact, highest=1000.0):
    """The estimates are a tenth to a thousand times the true errors, or both are rounding; above 0.1 they say no."""
    true = relative(solved.alpha, exact)
    assert np.all(solved.error >= 0.1 * true), (true, solved.error)
    assert np.all((solved.error <= np.maximum(highest * true, 1e-12)) | (solved.error > 0.1)), (true, solved.error)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("k", [1, 4])
def test_every_time_on_every_matrix(name, k):
    case = large(name, 120)
    labels, times = case.labels(k), UNITS / case.values.max()
    exact = case.solution(FLOW, times, 1.0, labels)
    solved = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0)
    assert solved.alpha.shape == (len(times), 120, k)
    assert solved.alpha.dtype == np.float64
    # Rounding is amplified by 1 / lambda_min: 1e12 for the second case.
    assert relative(solved.alpha, exact).max() < (1e-4 if "geometric" in name else 1e-6)
    assert_known(solved, exact)
    assert not solved.alpha[0].any()
    assert solved.error[0] == 0
    dense = solvers.eigendecompose(case.gram)
    np.testing.assert_array_equal(solved.cut > 0, dense.cut(times, 1.0) > 0)


@pytest.mark.parametrize("name", ["k^-1.5", "k^-3", "three clusters", "two far clusters", "NTK-like", "steps"])
@pytest.mark.parametrize("dimension", [16, 40, 80, 160])
def test_the_error_is_known_before_convergence(name, dimension):
    case = large(name, 240)
    labels, times = case.labels(4), UNITS / case.values.max()
    how = solvers.Krylov(dimension=dimension)
    solved = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0, how=how)
    assert solved.space.dimension <= dimension
    assert_known(solved, case.solution(FLOW, times, 1.0, labels))


def test_rounding_of_weak_directions_of_the_basis_is_part_of_the_error():
    # Of the labels' images the last directions are 1e-6 of the first, and so are known to 1e-10 only.
    case = large("rank ten", 4000)
    labels, times = case.labels(10), UNITS / case.values.max()
    solved = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0)
    assert_known(solved, case.solution(FLOW, times, 1.0, labels))


def test_a_null_mode_that_is_not_yet_found_is_part_of_the_error():
    # Its Ritz value is below the threshold and followed as 0, while it is still more than rounding.
    case = large("duplicated rows", 240)
    labels, times = case.labels(1), np.array([10.0]) / case.values.max()
    solved = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0, how=solvers.Krylov(1e-14, 18))
    assert solved.unresolved == 1
    assert_known(solved, case.solution(FLOW, times, 1.0, labels))


@pytest.mark.parametrize("name", HARD)
def test_as_the_dense_solver(name):
    gram, unit = HARD[name].gram, HARD[name].values[-1] or 1.0
    y, times = draw(len(gram), 3), np.array([0.0, 0.1, 1.0, 100.0, 1e12, np.inf]) / unit
    solved = solvers.solve(times_by(gram), y, FLOW, times, 1.0)
    dense = solvers.eigendecompose(gram).apply(FLOW, times, 1.0, y)
    for found, exact in zip(solved.alpha, dense, strict=True):
        assert np.abs(found - exact).max() <= 1e-8 * np.abs(exact).max()


@pytest.mark.parametrize("name", FLOAT32)
def test_a_float32_gram_in_float32_arithmetic(name):
    gram, unit = HARD[name].gram.astype("float32"), HARD[name].values[-1] or 1.0
    y, times = draw(len(gram), 3), np.array([0.0, 0.1, 1.0, 100.0, np.inf]) / unit
    solved = solvers.solve(times_by(gram, "float32"), y, FLOW, times, 1.0)
    # The matrix that was stored, without the rounding of products: what it is rounded to is not the solver's to know.
    spectrum = solvers.eigendecompose(gram.astype(float), scale=unit, size=int(len(gram) * 2**29))
    exact = spectrum.apply(FLOW, times, 1.0, y)
    late = (solved.cut > 0)[:, None, None]  # then what counts is what a kernel row sees
    true = relative(np.where(late, gram @ solved.alpha, solved.alpha), np.where(late, gram @ exact, exact))
    assert np.all(true <= np.maximum(10 * solved.error, 3e-6))
    assert true.max() < 3e-3


@pytest.mark.parametrize("name", ["k^-1.5", "NTK-like", "one dominant", "two far clusters"])
def test_float32_products_of_a_larger_matrix(name):
    case = large(name, 200)
    gram, labels = case.gram.astype("float32"), case.labels(4)
    times = np.array([1.0, 1e2, 1e4, np.inf]) / case.values.max()
    solved = solvers.solve(times_by(gram, "float32"), labels, FLOW, times, 1.0, ridge=1e-3 * case.values.max())
    dense = solvers.eigendecompose(gram.astype(float)).apply(FLOW, times, 1.0, labels, 1e-3 * case.values.max())
    assert_known(solved, dense)
    assert solved.error.max() < 1e-2
    assert solved.space.dimension < 200


@pytest.mark.parametrize("filter", [*FILTERS, tikhonov], ids=lambda f: getattr(f, "__name__", type(f).__name__))
@pytest.mark.parametrize("name", ["well conditioned", "k^-1.5", "steps", "half singular", "duplicated rows"])
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_other_filters(name, filter, ridge):
    case = large(name, 120)
    top = case.values.max()
    labels, times, rate = case.labels(3), np.array([0.0, 1.0, 7.0, 100.0, 1e4, np.inf]), 0.9 / top
    with np.errstate(divide="ignore"):
        solved = solvers.solve(times_by(case.gram), labels, filter, times, rate, ridge * top)
        exact = case.solution(filter, times, rate, labels, ridge * top)
    assert relative(solved.alpha, exact).max() < 1e-6
    assert_known(solved, exact, highest=1e5)  # discrete steps cancel where the flow does not


@pytest.mark.parametrize("name", ["k^-3", "half singular", "two far clusters"])
def test_ridge(name):
    case = large(name, 120)
    ridge, labels, times = 1e-4 * case.values.max(), case.labels(3), UNITS / case.values.max()
    solved = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0, ridge)
    inverse = np.linalg.solve(case.gram + ridge * np.eye(120), labels)
    np.testing.assert_allclose(solved.alpha[-1], inverse, rtol=0, atol=2e-6 * np.linalg.norm(inverse))
    assert_known(solved, case.solution(FLOW, times, 1.0, labels, ridge))
    assert not solved.cut.any()


def test_the_dimension_is_what_the_tolerance_needs():
    case = large("k^-1.5", 300)
    labels, times = case.labels(2), np.array([1.0, 1e3]) / case.values.max()
    rough = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0, how=solvers.Krylov(tolerance=1e-2))
    fine = solvers.solve(times_by(case.gram), labels, FLOW, times, 1.0, how=solvers.Krylov(tolerance=1e-9))
    assert rough.space.dimension < fine.space.dimension < 150
    assert rough.error.max() <= 1e-2
    assert fine.error.max() <= 1e-9
    exact = case.solution(FLOW, times, 1.0, labels)
    assert relative(fine.alpha, exact).max() < 1e-9 < 1e-8 < relative(rough.alpha, exact).max() < 1e-2
    assert fine.products == fine.space.dimension


def test_unresolved_modes_follow_the_whole_matrix():
    # A block of rounding noise beside a large one: left out in the end, as in the dense solver.
    noise = 1e-16 * draw(12, 12)
    gram, y, times = noise + noise.T, np.ones((12, 1)), np.array([1.0, 1e8, np.inf])
    solved = solvers.solve(times_by(gram), y, FLOW, times, 1.0, scale=10.0, size=40)
    np.testing.assert_allclose(solved.alpha[:2], times[:2, None, None] * y, rtol=1e-6)
    assert not solved.alpha[2].any()
    assert solved.cut.tolist() == [0, 0, solved.space.dimension]
    assert solved.unresolved == solved.space.dimension


def test_the_threshold_is_of_the_whole_matrix():
    gram, y = np.diag([1e-6, 0.5, 1.0]), np.ones((3, 1))
    alone = solvers.solve(times_by(gram), y, FLOW, [np.inf], 1.0)
    part = solvers.solve(times_by(gram), y, FLOW, [np.inf], 1.0, size=10**11)  # 1e11 eps = 2e-5
    np.testing.assert_allclose(alone.alpha[0, :, 0], [1e6, 2, 1], rtol=1e-6)
    np.testing.assert_allclose(part.alpha[0, :, 0], [0, 2, 1], atol=1e-5)
    assert (alone.cut.tolist(), part.cut.tolist()) == ([0], [1])


def test_modes_below_the_products_noise_are_left_out():
    case, rng = large("half singular", 100), np.random.default_rng(0)
    labels = case.labels(4)
    exact = case.solution(FLOW, np.array([np.inf]), 1.0, labels)

    def product(v):
        return case.gram @ v + 1e-8 * rng.standard_normal(v.shape)

    solved = solvers.solve(product, labels, FLOW, [np.inf], 1.0)
    assert solved.cut[0] == solved.unresolved >= 4
    true = relative(solved.alpha, exact)[0]
    assert true < 1e-5
    assert 0.1 < solved.error[0] / true < 1000


def test_small_eigenproblems_are_few(monkeypatch):
    orders = []
    whole = scipy.linalg.eigh
    monkeypatch.setattr(scipy.linalg, "eigh", lambda a, **rest: orders.append(len(a)) or whole(a, **rest))
    case = large("k^-3", 300)
    solved = solvers.solve(times_by(case.gram), case.labels(1), FLOW, [np.inf], 1.0)
    assert solved.space.dimension > 100
    assert sum(order**3 for order in orders) < 3 * solved.space.dimension**3


def test_an_indefinite_matrix_is_unknown_up_to_its_defect():
    vectors, _ = np.linalg.qr(draw(40, 40))
    values = np.concatenate([[-1e-3, 1.5e-3], np.linspace(1, 2, 38)])
    y = draw(40, 2)
    solved = solvers.solve(times_by((vectors * values) @ vectors.T), y, FLOW, [1e-5, np.inf], 1.0)
    dense = solvers.eigendecompose((vectors * values) @ vectors.T).apply(FLOW, [1e-5, np.inf], 1.0, y)
    assert solved.cut.tolist() == [0, 2]
    np.testing.assert_allclose(solved.alpha, dense, rtol=1e-6, atol=1e-6)


def test_a_space_serves_other_times_and_filters():
    case = large("k^-1.5", 200)
    labels, unit = case.labels(3), 1 / case.values.max()
    first = solvers.solve(times_by(case.gram), labels, FLOW, [1e3 * unit], 1.0)
    again = solvers.solve(times_by(case.gram), labels, tikhonov, [1e2 * unit], 1.0, space=first.space)
    assert again.products == 0
    assert relative(again.alpha, case.solution(tikhonov, np.array([1e2 * unit]), 1.0, labels)).max() < 1e-6
    later = solvers.solve(times_by(case.gram), labels, FLOW, [np.inf], 1.0, space=first.space)
    afresh = solvers.solve(times_by(case.gram), labels, FLOW, [np.inf], 1.0)
    assert later.products + first.products == afresh.products
    np.testing.assert_array_equal(later.alpha, afresh.alpha)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6), st.sampled_from(["k^-1.5", "well conditioned", "steps"]))
def test_permutations_and_units(seed, factor, name):
    case = large(name, 60)
    order = np.random.default_rng(seed).permutation(60)
    gram, y, times = case.gram, case.labels(2), np.array([0.3, 40.0, 1e4, np.inf])
    plain = solvers.solve(times_by(gram), y, FLOW, times, 1.0)
    turned = solvers.solve(times_by(factor * gram[np.ix_(order, order)]), y[order], FLOW, times / factor, 1.0)
    found = relative(factor * turned.alpha, plain.alpha[:, order])
    assert np.all(found <= 10 * (plain.error + turned.error) + 1e-12)


def test_many_times_take_one_copy_of_the_coefficients():
    case = large("k^-1.5", 60)
    tracemalloc.start()
    solved = solvers.solve(times_by(case.gram), case.labels(10), FLOW, np.geomspace(1e-3, 1e6, 3000), 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * solved.alpha.nbytes


def test_progress_and_pieces_are_told_in_order():
    case = large("k^-1.5", 80)
    told, kept = [], []
    solved = solvers.solve(
        times_by(case.gram),
        case.labels(2),
        FLOW,
        [10.0],
        1.0,
        keep=lambda before, block, column: kept.append((before.steps, block.shape[1], column.shape)),
        progress=lambda *args: told.append(args),
    )
    assert told == [("Krylov space", 2 * step, 4000) for step in range(1, solved.space.steps + 1)]
    assert kept == [(s, 2, (2 * s + 4, 2)) for s in range(solved.space.steps)]


def test_nothing_to_learn():
    solved = solvers.solve(times_by(np.eye(6)), np.zeros((6, 2)), FLOW, [1.0, np.inf], 1.0)
    assert not solved.alpha.any()
    assert not solved.error.any()
    assert solved.products == 0
    empty = solvers.solve(times_by(np.eye(6)), np.zeros((6, 0)), FLOW, [1.0], 1.0)
    assert empty.alpha.shape == (1, 6, 0)
    nobody = solvers.solve(times_by(np.eye(0)), np.zeros((0, 2)), FLOW, [1.0, np.inf], 1.0)
    assert nobody.alpha.shape == (2, 0, 2)
    assert not nobody.error.any()
    vanishing = solvers.solve(times_by(np.zeros((6, 6))), np.ones((6, 2)), FLOW, [3.0, np.inf], 1.0)
    np.testing.assert_allclose(vanishing.alpha, [np.full((6, 2), 3.0), np.zeros((6, 2))], rtol=1e-14)
    assert not vanishing.cut.any()


@pytest.mark.parametrize("filter", FILTERS)
def test_a_step_at_which_training_diverges_is_refused(filter):
    case = large("well conditioned", 40)
    with pytest.raises(ValueError, match="learning_rate is too large"):
        solvers.solve(times_by(case.gram), case.labels(2), filter, [3], 5.0 / case.values.max())


@pytest.mark.parametrize(("filter", "ridge"), [(solvers.GradientDescent(), 1.5), (solvers.HeavyBall(0.5), 2.0)])
@pytest.mark.parametrize("times", [[5, 50], [np.inf]], ids=["finite", "inf"])
@pytest.mark.parametrize("columns", [False, True])
def test_a_step_that_is_stable_on_all_there_is_is_not_refused(filter, ridge, times, columns, monkeypatch):
    """Half of the largest eigenvalue more, ridge included, would be too much."""
    monkeypatch.setattr(solvers.krylov, "_NOISE_STEPS", 1)
    vectors, _ = np.linalg.qr(draw(60, 60))
    gram, y = (vectors * np.linspace(0.1, 0.3, 60)) @ vectors.T, draw(60, 2)
    given = {"columns": lambda i: gram[:, i]} if columns else {}
    solved = solvers.solve(times_by(gram), y, filter, times, 1.0, ridge, **given)
    np.testing.assert_allclose(
        solved.alpha, solvers.eigendecompose(gram).apply(filter, times, 1.0, y, ridge), rtol=0, atol=1e-5
    )
    assert solved.preconditioned.tolist() == ([columns] if times == [np.inf] else [False, False])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.ones(4)}, r"labels must be real numbers \[N, k\], found float64 of shape \(4,\)"),
        ({"labels": np.full((4, 1), np.nan)}, "labels must be finite, found 4"),
        ({"product": lambda v: v[:-1]}, r"product must return floats of the shape \(4, 2\) .* found .* \(3, 2\)"),
        ({"product": lambda v: v.astype(int)}, "found int64"),
        ({"product": lambda v: v * np.inf}, "product must be finite"),
        ({"times": [-1.0]}, "times must be >= 0"),
        ({"ridge": -1.0}, "ridge must be finite and >= 0, found -1.0"),
        ({"scale": np.nan}, "scale must be finite and >= 0, found nan"),
        ({"size": 0}, "size must be >= 1, found 0"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    given = {"product": lambda v: v, "labels": draw(4, 2), "filter": FLOW, "times": [1.0], "rate": 1.0}
    with pytest.raises(ValueError, match=message):
        solvers.solve(**{**given, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, "tolerance must be 0 < tolerance < 1, found 0.0"),
        ({"tolerance": 1.0}, "found 1.0"),
        ({"dimension": 0}, "dimension must be >= 1, found 0"),
        ({"preconditioner": -1}, "preconditioner must be >= 0, found -1"),
    ],
)
def test_choices_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        solvers.Krylov(**arguments)
