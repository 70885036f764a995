"""Filters against mpmath, and against taking every step."""

import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haarflow import solvers

finite = {"allow_nan": False, "allow_infinity": False}


@given(st.floats(0, 1e12, **finite), st.floats(0, 1e15, **finite))
def test_gradient_flow_against_mpmath(value, t):
    found = solvers.GradientFlow()(np.array([value]), np.array([t]), 1.0).item()
    with mpmath.workdps(60):
        lam, time = mpmath.mpf(value), mpmath.mpf(t)
        exact = time if lam == 0 else -mpmath.expm1(-lam * time) / lam
        assert abs(found - exact) <= abs(exact) * 1e-15 + 1e-300


def test_gradient_flow_limits():
    phi = solvers.GradientFlow()(np.array([0.0, 1e-300, 2.0]), np.array([0.0, 3.0, np.inf]), 0.5)
    np.testing.assert_allclose(phi[:2], [[0, 0, 0], [1.5, 1.5, -np.expm1(-3.0) / 2]])
    assert np.isinf(phi[2, 0])
    np.testing.assert_allclose(phi[2, 1:], [1e300, 0.5])


@pytest.mark.parametrize("rate", [0.05, 0.7])
def test_gradient_descent_against_taking_steps(rate):
    values = np.array([0.0, 1e-14, 1e-3, 0.5, 1 / rate, 1.7 / rate])
    phi, steps = np.zeros(len(values)), range(200)
    found = solvers.GradientDescent()(values, np.array(steps), rate)
    for step in steps:
        np.testing.assert_allclose(found[step], phi, rtol=1e-11)
        phi = (1 - rate * values) * phi + rate
    late = solvers.GradientDescent()(values[1:], np.array([np.inf]), rate)
    np.testing.assert_allclose(late[0], 1 / values[1:])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_heavy_ball_against_taking_steps(momentum):
    rate = 0.3
    values = np.array([0.0, 1e-12, 1e-3, 0.5, 1.9 * (1 + momentum) / rate])
    found = solvers.HeavyBall(momentum)(values, np.arange(300), rate)
    before, phi = np.zeros(len(values)), np.zeros(len(values))
    for step in range(300):
        np.testing.assert_allclose(found[step], phi, rtol=1e-9, atol=1e-12)
        before, phi = phi, (1 + momentum - rate * values) * phi - momentum * before + rate
    far = solvers.HeavyBall(momentum)(values[2:4], np.array([1e9, np.inf]), rate)
    np.testing.assert_allclose(far, np.broadcast_to(1 / values[2:4], (2, 2)), rtol=1e-9)


def test_momentum_zero_is_gradient_descent():
    values, times = np.geomspace(1e-8, 1, 20), np.array([0, 1, 10, 1000])
    np.testing.assert_allclose(
        solvers.HeavyBall(0.0)(values, times, 0.9), solvers.GradientDescent()(values, times, 0.9), rtol=1e-9
    )


def test_names_and_refusals():
    assert solvers.make_filter("gradient_flow") == solvers.GradientFlow()
    assert solvers.make_filter(solvers.HeavyBall(0.5)).momentum == 0.5
    for wrong in ("adam", 3, solvers.GradientFlow):
        with pytest.raises(ValueError, match="flow must be one of"):
            solvers.make_filter(wrong)
    with pytest.raises(ValueError, match=r"momentum must be 0 <= b < 1, found 1.0"):
        solvers.HeavyBall(1.0)
    for wrong in ("0.9", True, None, [0.9]):
        with pytest.raises(TypeError, match=r"momentum must be a number 0 <= b < 1 such as 0.9, found"):
            solvers.HeavyBall(wrong)
        with pytest.raises(TypeError, match=r"tolerance must be a number 0 < tolerance < 1 such as 1e-6, found"):
            solvers.Krylov(tolerance=wrong)
    assert solvers.HeavyBall(np.float32(0.5)) == solvers.HeavyBall(0.5)
    for flow in (solvers.GradientDescent(), solvers.HeavyBall()):
        with pytest.raises(ValueError, match="whole numbers of steps"):
            flow(np.ones(1), np.array([0.5]), 0.1)
        with pytest.raises(ValueError, match="learning_rate is too large"):
            flow(np.array([50.0]), np.array([1.0]), 0.1)


@pytest.mark.parametrize(
    ("flow", "hint"),
    [
        ("sgd", 'full-batch gradient descent is "gradient_descent"'),
        ("SGD", "mini-batches have no closed form"),
        ("momentum", 'momentum is "heavy_ball"'),
        ("gradient-flow", "did you mean 'gradient_flow'"),
        ("adam", "adaptive steps have no closed form"),
        (solvers.HeavyBall, r"HeavyBall\(\)"),
    ],
)
def test_a_flow_by_another_name(flow, hint):
    with pytest.raises(ValueError, match=f"flow must be one of .*'gradient_descent'.*found .*{hint}"):
        solvers.make_filter(flow)


def test_a_step_that_is_too_large_says_by_how_much():
    for flow, limit in ((solvers.GradientDescent(), 2.0), (solvers.HeavyBall(0.5), 3.0)):
        with pytest.raises(solvers.StepError) as caught:
            flow(np.array([1.0, 50.0]), np.array([1.0]), 0.1)
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert error.excess == 5 / limit
            assert "must be below" in str(error)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([-1.0], "must be >= 0 .* found -1.0"),
        ([np.nan], "found nan"),
        ([], "one or more real numbers"),
        ([[1.0]], r"shape \(1, 1\)"),
        ([1j], "complex"),
        ("soon", "real numbers .* found 'soon': convert text first"),
        (["1", "2"], r"convert text first, np.asarray\(times, float\)"),
        ([[1], [2, 3]], "real numbers"),
        (np.ones((2, 2)), r"pass times.ravel\(\)"),
        ((t for t in "ab"), "convert text first"),
    ],
)
def test_times_that_are_wrong(times, message):
    with pytest.raises(ValueError, match=message):
        solvers.check_times(times)


def test_times_that_are_right():
    assert solvers.check_times(3).tolist() == [3.0]
    assert solvers.check_times([5, 0, np.inf]).tolist() == [5.0, 0.0, np.inf]
    assert solvers.check_times(10.0**k for k in range(3)).tolist() == [1.0, 10.0, 100.0]
    assert solvers.check_times({1: "early", 5: "late"}).tolist() == [1.0, 5.0]
    assert solvers.check_times(map(float, ["1", "inf"])).tolist() == [1.0, np.inf]
