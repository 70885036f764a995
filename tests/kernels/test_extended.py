"""Numbers of twice float64's digits against 60-digit arithmetic, and the listed recursion in them against 50 digits."""

import mpmath
import numpy as np
import pytest
from networks import NETWORKS
from oracles import mp_kernel

from haarflow.kernels.extended import Extended, atan2, exp, expm1, sqrt
from haarflow.kernels.listed import of_listed, variances

DIGITS = 60


def numbers(low, high, count=500, seed=0):
    """Numbers of sizes between 10^low and 10^high, of both signs, with all their digits drawn."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(count) * 10.0 ** rng.uniform(low, high, count)
    return Extended(first, first * 2.0**-54 * rng.uniform(-1, 1, count))


def exact(values):
    return [mpmath.mpf(float(h)) + mpmath.mpf(float(rest)) for h, rest in zip(values.high, values.low, strict=True)]


def error(found, truth):
    pairs = zip(exact(found), truth, strict=True)
    return float(max(abs(value - true) / (abs(true) if true else 1) for value, true in pairs))


def extended(values):
    high = np.array([float(value) for value in values])
    return Extended(high, np.array([float(v - mpmath.mpf(float(h))) for v, h in zip(values, high, strict=True)]))


def test_arithmetic():
    a, b = numbers(-3, 3), numbers(-3, 3, seed=1)
    with mpmath.workdps(DIGITS):
        both = list(zip(exact(a), exact(b), strict=True))
        assert error(a * b, [x * y for x, y in both]) < 1e-31
        assert error(a / b, [x / y for x, y in both]) < 1e-31
        assert error(1.0 / b, [1 / y for _, y in both]) < 1e-31
        assert error(sqrt(a * a), [abs(x) for x, _ in both]) < 1e-31
        sums = zip(exact(a + b), exact(1.0 - b), both, strict=True)
        for added, lessened, (x, y) in sums:
            assert abs(added - x - y) < 1e-31 * (abs(x) + abs(y))
            assert abs(lessened - 1 + y) < 1e-31 * (1 + abs(y))
    assert np.all(sqrt(Extended(np.array([0.0, -1.0]))).high == 0)


@pytest.mark.parametrize("count", [1, 7, 8])
def test_means(count):
    values = numbers(-1, 1, 5 * count)
    with mpmath.workdps(DIGITS):
        truth = [mpmath.fsum(row) / count for row in np.array(exact(values), object).reshape(5, count)]
        size = max(abs(value) for value in exact(values))
        found = exact(values.reshape(5, count).mean(1))
        assert max(abs(a - b) for a, b in zip(found, truth, strict=True)) < 1e-31 * size


def test_exponentials():
    x = numbers(-20, 2)
    with mpmath.workdps(DIGITS):
        assert error(exp(x), [mpmath.exp(value) for value in exact(x)]) < 3e-30
        assert error(expm1(x), [mpmath.expm1(value) for value in exact(x)]) < 3e-30
    assert exp(Extended(np.array([-1e5]))).high == 0
    assert expm1(Extended(np.array([-1e5]))).high == -1


def test_angles_with_both_ends():
    rng = np.random.default_rng(0)
    ends = 10.0 ** rng.uniform(-16, 0, 300)
    angles = np.concatenate([rng.uniform(-np.pi, np.pi, 500), ends, -ends, np.pi - ends, [0.0]])
    with mpmath.workdps(DIGITS):
        c, s = (extended([f(mpmath.mpf(angle)) for angle in angles]) for f in (mpmath.cos, mpmath.sin))
        assert error(atan2(s, c), [mpmath.atan2(y, x) for y, x in zip(exact(s), exact(c), strict=True)]) < 1e-31


@pytest.mark.parametrize("name", [name for name in NETWORKS if len(NETWORKS[name][1]) == 3])
def test_listed_recursion_against_mpmath(name):
    network, shape = NETWORKS[name]
    x, step = np.random.default_rng(1).standard_normal((2, *shape))
    own = variances(network.layers, x)
    for other in (step, x, (1 + 1e-6) * x + 1e-9 * step):
        found = of_listed(network.layers, x, other, own, variances(network.layers, other))
        for value, truth in zip(found, mp_kernel(network, x, other), strict=True):
            assert abs(value - truth) < 1e-14 * abs(truth)
