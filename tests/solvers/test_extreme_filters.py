"""Filters at extreme arguments, against 60 digits; every warning would fail."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haarflow import solvers

STEPS = [0, 1, 2, 3, 10**4, 10**9, 10**9 + 1, 10**12]
PRODUCTS = [1e-200, 1e-18, 1e-13, 1e-9, 1e-4, 0.0026334, 0.3, 0.999, 1.0]  # step times eigenvalue


def ball(x, momentum, steps):
    """Heavy ball in units of the step, from the closed form's matrix power at 60 digits."""
    x, b = mpmath.mpf(x), mpmath.mpf(momentum)
    return (mpmath.matrix([[1 + b - x, -b, 1], [1, 0, 0], [0, 0, 1]]) ** steps)[0, 2]


def descent(x, steps):
    x = mpmath.mpf(x)
    return (1 - (1 - x) ** steps) / x


def agree(found, exact, rtol):
    return abs(mpmath.mpf(found) - exact) <= rtol * abs(exact)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_heavy_ball_after_very_many_steps(momentum):
    found = solvers.HeavyBall(momentum)(np.array(PRODUCTS), np.array(STEPS, float), 1.0)
    with mpmath.workdps(300):  # 1e-200 has to survive beside 1
        for i, steps in enumerate(STEPS):
            for j, x in enumerate(PRODUCTS):
                assert agree(found[i, j], ball(x, momentum, steps), 1e-11), (x, steps)


@pytest.mark.parametrize("x", [*PRODUCTS, 1.0000001, 1.5, 1.999, 2 - 1e-9])
def test_gradient_descent_after_very_many_steps(x):
    found = solvers.GradientDescent()(np.array([x]), np.array(STEPS, float), 1.0)[:, 0]
    with mpmath.workdps(300):
        for value, steps in zip(found, STEPS, strict=True):
            exact = descent(x, steps)
            # Near x = 2 even steps cancel to nothing: held to the size of the odd ones.
            assert abs(mpmath.mpf(value) - exact) <= mpmath.mpf(1e-13) * max(abs(exact), 1 if x > 1 else 0), steps


@given(st.floats(1e-12, 1.99), st.integers(0, 10**12))
def test_gradient_descent_anywhere(x, steps):
    found = solvers.GradientDescent()(np.array([x]), np.array([float(steps)]), 1.0).item()
    with mpmath.workdps(60):
        exact = descent(x, steps)
        assert abs(mpmath.mpf(found) - exact) <= mpmath.mpf(1e-12) * max(abs(exact), 1 if x > 1 else 0)


@pytest.mark.parametrize("filter", [solvers.GradientFlow(), solvers.GradientDescent(), solvers.HeavyBall(0.0)])
def test_arguments_that_underflow(filter):
    # lambda rate t is not representable: phi is rate t, to the last digit, until t is infinite.
    values, times = np.array([0.0, 1e-300, 5e-324]), np.array([0.0, 1.0, 7.0])
    np.testing.assert_allclose(filter(values, times, 1e-200), times[:, None] * [[1e-200] * 3], rtol=1e-15)
    late = filter(np.array([0.0, 1e-300, 5e-324]), np.array([np.inf]), 1e-200)[0]
    np.testing.assert_array_equal(late, [np.inf, 1 / 1e-300, np.inf])


def test_arguments_that_overflow():
    values = np.array([0.0, 1e-300, 1e300])
    found = solvers.GradientFlow()(values, np.array([1e300, 0.0]), 1e200)
    np.testing.assert_allclose(found, [[np.inf, 1e300, 1e-300], [0, 0, 0]])


@pytest.mark.parametrize(
    ("filter", "limit"),
    [(solvers.GradientDescent(), 2.0), (solvers.HeavyBall(0.5), 3.0), (solvers.HeavyBall(), 3.8)],
)
def test_the_largest_stable_step_is_named_and_is_right(filter, limit):
    values = np.array([0.0, 1.0, 8.0])
    with pytest.raises(ValueError, match=rf"stable for steps below {limit / 8:g}, so divide learning_rate by"):
        filter(values, np.array([1.0]), 1.01 * limit / 8)
    with pytest.raises(ValueError, match="learning_rate is too large"):
        filter(values, np.array([1.0]), limit / 8)
    settled = filter(values[1:], np.array([1e6]), 0.99 * limit / 8)
    np.testing.assert_allclose(settled[0], 1 / values[1:], rtol=1e-9)


def test_a_filter_of_ones_own():
    def tikhonov(eigenvalues, times, rate):
        with np.errstate(divide="ignore"):
            return 1 / (eigenvalues[None, :] + 1 / (rate * np.asarray(times)[:, None]))

    assert solvers.make_filter(tikhonov) is tikhonov
    found = solvers.eigendecompose(np.diag([0.0, 2.0])).phi(tikhonov, [1.0, np.inf], 1.0)
    np.testing.assert_allclose(found, [[1, 1 / 3], [0, 0.5]])
