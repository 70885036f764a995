"""The fuzzer's own mathematics, against matrices with known eigenvectors and 50-digit arithmetic."""

import mpmath
import numpy as np
import pytest
from fuzz.extended import EPS, EXTENDED, LONG, Swinging, Tikhonov, eigh, phi
from fuzz.profiles import PROFILES, Pair
from hypothesis import given
from hypothesis import strategies as st
from oracles import DIGITS
from strategies import trials

from haarflow import solvers

pytestmark = pytest.mark.skipif(not EXTENDED, reason="extended floats are no longer than float64 here")

SPECTRA = {
    "apart": lambda n: np.linspace(1, 2, n),
    "graded": lambda n: 10.0 ** -np.linspace(0, 17, n),
    "twice": lambda n: np.repeat(np.arange(1.0, n + 1), 2)[:n],
    "near": lambda n: 1 + 1e-12 * np.arange(n) ** 2.0,
    "chained": lambda n: np.cumsum(np.full(n, 0.9e-8)),
    "half singular": lambda n: np.concatenate([np.zeros(n // 2), np.ones(n - n // 2)]),
    "zero": np.zeros,
}
NUMBERS = [0.0, 1e-30, 1e-12, 1e-3, 0.4, 1.0, 1.999]
DYNAMICS = {
    "flow": (solvers.GradientFlow(), [0.0, 1e-9, 0.7, 30.0, 1e12]),
    "descent": (solvers.GradientDescent(), [0.0, 1.0, 2.0, 7.0, 1000.0]),
    "momentum": (solvers.HeavyBall(0.9), [0.0, 1.0, 2.0, 7.0, 40.0, 41.0, 1000.0]),
    "no momentum": (solvers.HeavyBall(0.0), [1.0, 7.0, 100.0]),
    "long momentum": (solvers.HeavyBall(0.999), [3.0, 100.0, 3000.0]),
    "own": (Tikhonov(), [0.0, 1e-9, 0.7, 30.0, 1e12]),
    "swinging": (Swinging(), [0.0, 1e-9, 0.7, 30.0]),
}


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("name", SPECTRA)
def test_eigenvectors_to_the_last_bits(name, n):
    values = SPECTRA[name](n).astype(LONG)
    turn = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0].astype(LONG)
    matrix = (turn * values) @ turn.T
    matrix = (matrix + matrix.T) / 2
    found, vectors = eigh(matrix)
    scale = float(values.max()) or 1.0
    assert np.all(np.diff(found) >= 0)
    assert np.abs(vectors.T @ vectors - np.eye(n)).max() < 30 * EPS
    assert np.abs(vectors.T @ matrix @ vectors - np.diag(found)).max() < 30 * EPS * scale


def _literal(dynamics, value, t, rate):
    value, rate = mpmath.mpf(value), mpmath.mpf(rate)
    if isinstance(dynamics, Tikhonov):
        return 1 / (value + 1 / (rate * t)) if t else mpmath.mpf(0)
    if isinstance(dynamics, (solvers.GradientFlow, Swinging)):
        moved = mpmath.sin if isinstance(dynamics, Swinging) else lambda x: -mpmath.expm1(-x)
        return moved(value * rate * t) / value if value else rate * t
    b, before, now = mpmath.mpf(getattr(dynamics, "momentum", 0)), mpmath.mpf(0), mpmath.mpf(0)
    for _ in range(int(t)):
        before, now = now, now + rate * (1 - value * now) + b * (now - before)
    return now


@pytest.mark.parametrize("name", DYNAMICS)
def test_filters_against_literal_steps_in_50_digits(name):
    dynamics, times = DYNAMICS[name]
    found = phi(dynamics, np.array(NUMBERS), times, 0.8)
    with mpmath.workdps(DIGITS):
        for i, t in enumerate(times):
            for j, value in enumerate(NUMBERS):
                right = _literal(dynamics, value, t, 0.8)
                # What momentum adds up is larger than what is left.
                size = t / (1 - dynamics.momentum) if isinstance(dynamics, solvers.HeavyBall) else abs(right) + t * EPS
                assert abs(mpmath.mpf(str(found[i, j])) - right) <= 1e3 * EPS * size + 1e-40


def test_limits():
    for dynamics in (solvers.GradientFlow(), solvers.GradientDescent(), solvers.HeavyBall(0.5), Tikhonov()):
        assert np.allclose(phi(dynamics, np.array([0.5, 0.0]), [np.inf], 1.0)[0].astype(float), [2, np.inf])


@given(st.integers(0, 2**16))
@trials(20)
def test_profiles_lose_nothing_between_near_points(seed):
    rng = np.random.default_rng(seed)
    x1, direction = rng.standard_normal((2, 3, 4))
    x2 = x1 + 10.0 ** rng.uniform(-16, 0) * direction
    x2[0] *= 10.0 ** rng.uniform(-3, 3)
    for function, _ in PROFILES.values():
        rough, fine = (function(Pair(x1.astype(t), x2.astype(t)), t(1.3)) for t in (float, LONG))
        sizes = np.sqrt(np.outer(*(np.diagonal(function(Pair(x, x), 1.3)) for x in (x1, x2))))
        assert (np.abs(rough - fine) <= 100 * np.finfo(float).eps * sizes).all()
