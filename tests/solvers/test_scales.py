"""Labels of every size, alone and beside each other: each column is solved as if it were alone and of order 1."""

import numpy as np
import pytest
from hard import large

from haarflow import solvers
from haarflow.solvers.krylov_space import start_space
from haarflow.solvers.units import column_units

FLOW = solvers.GradientFlow()
TIMES = np.array([1.0, 1e3, np.inf])
SCALES = [
    [1, 1e-14, 1e-19],
    [1e-163] * 3,
    [1e155] * 3,
    [1e-300, 1.0, 1e300],
    [1e-5, 1, 1e5],
    [1, 0, 1e-30],
]


def worst_column(found, exact):
    size = np.linalg.norm(exact, axis=1)
    return np.max(np.linalg.norm(found - exact, axis=1) / np.where(size > 0, size, 1.0), axis=1)


def times_by(gram):
    return lambda v: gram @ v


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize(("ridge", "aided"), [(0.0, False), (1e-3, False), (1e-3, True)])
def test_krylov_solves_each_column_as_if_alone(scales, ridge, aided):
    case, scales = large("k^-1.5", 120), np.array(scales)
    labels = case.labels(3) * (scales > 0)
    exact = case.solution(FLOW, TIMES, 1.0, labels, ridge)
    given = {"columns": lambda i: case.gram[:, i]} if aided else {}
    solved = solvers.solve(times_by(case.gram), labels * scales, FLOW, TIMES, 1.0, ridge, **given)
    with np.errstate(all="ignore"):
        found = np.where(scales > 0, solved.alpha / scales, 0.0)
    true = worst_column(found, exact)
    assert true.max() < 1e-6
    assert np.all(solved.error >= 0.1 * true)
    assert solved.error.max() < 1e-6
    assert not solved.alpha[:, :, scales == 0].any()


def test_a_column_of_another_direction_beside_a_large_one():
    """The small column alone has what the large one has not: where its direction was dropped, it was all wrong."""
    case = large("well conditioned", 600)
    labels = case.labels(2) * [1.0, 1e-14]
    solved = solvers.solve(times_by(case.gram), labels, FLOW, TIMES, 1.0)
    assert worst_column(solved.alpha, case.solution(FLOW, TIMES, 1.0, labels)).max() < 1e-6


def test_the_error_is_the_worst_columns():
    """The second is hardly solved, and a millionth of the first, which is one mode."""
    case = large("k^-1.5", 300)
    inside = case.back(case.labels(2)) * [0.0, 1.0]
    inside[0, 0] = 1e8
    labels = case.turn(inside)
    solved = solvers.solve(times_by(case.gram), labels, FLOW, [np.inf], 1.0, how=solvers.Krylov(dimension=40))
    exact = case.solution(FLOW, np.array([np.inf]), 1.0, labels)
    true = worst_column(solved.alpha, exact)[0]
    assert np.linalg.norm(solved.alpha - exact) / np.linalg.norm(exact) < 1e-3 * true
    assert 0.1 * true < solved.error[0] < 1000 * true


def test_bits_do_not_depend_on_the_unit():
    case = large("k^-1.5", 80)
    labels = case.labels(3)
    plain = solvers.solve(times_by(case.gram), labels, FLOW, TIMES, 1.0)
    for power in (-900, -300, 3, 300, 900):
        scaled = solvers.solve(times_by(case.gram), np.ldexp(labels, power), FLOW, TIMES, 1.0)
        np.testing.assert_allclose(np.ldexp(scaled.alpha, -power), plain.alpha, rtol=1e-9)
        np.testing.assert_allclose(scaled.error, plain.error, rtol=1e-3)


def test_alike_columns_are_not_scaled():
    """So that the spaces in older stores stay what they are."""
    labels = np.random.default_rng(0).standard_normal((50, 3)) * [1.0, 3.0, 0.3]
    assert column_units(labels).tolist() == [1, 1, 1]
    assert start_space(labels).units.tolist() == [1, 1, 1]
    assert column_units(np.array([[3.0, -5e-19, 0.0]])).tolist() == [2.0, 2.0**-61, 1.0]
    assert column_units(np.zeros((4, 2))).tolist() == [1, 1]
    assert column_units(np.zeros((0, 2))).tolist() == [1, 1]


def test_a_space_of_scaled_labels_is_rebuilt():
    case, kept = large("k^-1.5", 60), []
    labels = case.labels(2) * [1e-200, 1e200]
    first = solvers.start_space(labels)
    kept.append((first.next, first.coefficients))
    solved = solvers.solve(
        times_by(case.gram), labels, FLOW, [10.0], 1.0, keep=lambda before, block, column: kept.append((block, column))
    )
    again = solvers.space_from(labels, kept)
    assert again.dimension == solved.space.dimension
    both = [solvers.solve(times_by(case.gram), labels, FLOW, [10.0], 1.0, space=s) for s in (again, solved.space)]
    assert both[0].alpha.tobytes() == both[1].alpha.tobytes()
    with pytest.raises(ValueError, match="pieces must be those of these labels"):
        solvers.space_from(labels[:, ::-1], kept)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e12])
def test_dense_at_labels_of_every_size(dtype, size):
    """Large labels times a large phi are out of range where predictions are not."""
    case, bound = large("well conditioned", 30), {"float64": 1e-12, "float32": 1e-5}[dtype]
    gram, labels = (size * case.gram).astype(dtype), case.labels(2)
    rows = size * np.random.default_rng(2).standard_normal((5, 30)).astype(dtype)
    largest = {"float64": [1e-300, 1e-150, 1e150, 1e300], "float32": [1e-37, 1e-20, 1e20, 1e37]}[dtype]
    spectrum, times = solvers.eigendecompose(gram), TIMES / size
    plain = rows.astype(float) @ case.solution(FLOW, times * size, 1.0, labels) / size
    for scale in largest:
        for m in (1, 5):
            found = spectrum.predict(rows[:m], FLOW, times, 1.0, labels * scale)
            assert found.dtype == dtype
            assert np.abs(found / scale - plain[:, :m]).max() < bound * np.abs(plain).max()


def test_what_of_the_labels_is_unresolved():
    case = large("half singular", 40)
    labels = case.labels(3) * [1e-200, 1.0, 1e200]
    inside = case.back(case.labels(3))
    inside[:20] = 0
    spectrum = solvers.eigendecompose(case.gram)
    expected = case.turn(inside)
    np.testing.assert_allclose(spectrum.left_out(labels) / [1e-200, 1.0, 1e200], expected, atol=1e-13)
    assert not spectrum.left_out(labels, 0.1).any()
