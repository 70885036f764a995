"""Polynomial angles and the dual activations made of them against mpmath, at 10^5 points with both ends."""

import importlib

import jax
import mpmath
import numpy as np
import pytest

from haarflow import kernels
from haarflow.kernels.backend import precision, to_numpy

arcs = importlib.import_module("haarflow.kernels.arcs")
duals = importlib.import_module("haarflow.kernels.duals")
DTYPES = ["float64", "float32"]
COUNT = 10**5


def exact(f, values):
    """f in 50-digit arithmetic, rounded to float64."""
    with mpmath.workdps(50):
        return np.array([float(f(mpmath.mpf(float(value)))) for value in values])


def angles(w):
    theta = 2 * mpmath.asin(w / mpmath.sqrt(2))
    return theta / mpmath.pi, (mpmath.sin(theta) - theta * mpmath.cos(theta)) / mpmath.pi


def relative(found, wanted):
    scale = np.where(wanted == 0, 1, np.abs(wanted))
    return np.abs(found.astype(float) - wanted) / scale


def points(dtype, smallest):
    """10^5 points of [0, 1]: equispaced, and spread over the magnitudes; both ends among them."""
    half = COUNT // 2
    return np.concatenate([np.linspace(0, 1, half), np.geomspace(smallest, 1, COUNT - half)]).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_arc_at_many_points(dtype):
    # The odd part falls as w^3, which float32 holds down to w = 1e-10.
    w = points(dtype, 1e-12 if dtype == "float64" else 1e-10)
    with precision(dtype):
        found = [to_numpy(part) for part in arcs.arc(w)]
    bound = 1e-15 if dtype == "float64" else 3e-7
    for k, part in enumerate(found):
        assert relative(part, exact(lambda v, k=k: angles(v)[k], w)).max() < bound


@pytest.mark.filterwarnings("ignore:Descending")  # the order that all versions of mpmath have
@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_interpolate_at_chebyshev_points(dtype):
    def first(z):
        return mpmath.acos(1 - z) / mpmath.sqrt(z) / mpmath.pi if z > 0 else mpmath.sqrt(2) / mpmath.pi

    def second(z):
        if z < mpmath.mpf(10) ** -12:
            return 2 * mpmath.sqrt(2) / 3 / mpmath.pi
        return angles(mpmath.sqrt(z))[1] / mpmath.sqrt(z) ** 3

    with mpmath.workdps(40):
        for f, found in zip((first, second), arcs.COEFFICIENTS[dtype], strict=True):
            wanted = mpmath.chebyfit(f, [0, 1], len(found))
            assert [float(value) for value in wanted[::-1]] == list(found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_of_arc(dtype):
    w = points(dtype, 1e-6)[:: COUNT // 1000]
    with precision(dtype):
        found = [to_numpy(jax.vmap(jax.grad(lambda v, k=k: arcs.arc(v)[k]))(w)) for k in range(2)]
    bound = 1e-15 if dtype == "float64" else 5e-7
    slopes = (lambda v: 2 / mpmath.pi / mpmath.sqrt(2 - v**2), lambda v: 2 * v * angles(v)[0])
    for part, slope in zip(found, slopes, strict=True):
        assert relative(part, exact(slope, w)).max() < bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_twice_arcsin_and_its_derivative(dtype):
    x = points(dtype, 1e-30)
    x = np.concatenate([-x[::2], x[1::2]])
    bound = 2e-15 if dtype == "float64" else 1e-6
    with precision(dtype):
        found = to_numpy(arcs.twice_arcsin(x))
        some = x[np.abs(x) < 0.999][::97]
        slopes = to_numpy(jax.vmap(jax.grad(arcs.twice_arcsin))(some))
    # Near 1 rounding of x^2 is amplified by the slope.
    amplified = 1 + 1 / np.sqrt(np.maximum(1 - x.astype(float) ** 2, np.finfo(dtype).eps))
    assert (relative(found, exact(lambda v: 2 * mpmath.asin(v), x)) <= bound * amplified).all()
    assert relative(slopes, exact(lambda v: 2 / mpmath.sqrt(1 - v**2), some)).max() < 1000 * bound


def rectified(c):
    """K and slope of ReLU at unit variances."""
    theta = mpmath.acos(c)
    return (mpmath.sin(theta) + (mpmath.pi - theta) * c) / (2 * mpmath.pi), (1 - theta / mpmath.pi) / 2


@pytest.mark.slow
@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_dual_at_many_points(dtype, carried):
    # D = 2 (1 - c) and S = 2 (1 + c): the smaller one is exact, close to c = 1 and to c = -1.
    small = 2 * points(dtype, 1e-20)
    near = np.arange(COUNT) % 2 == 1 if carried else np.ones(COUNT, bool)
    D, S = np.where(near, small, 4 - small), np.where(near, 4 - small, small)
    dual = duals.DUALS[kernels.Relu]
    with precision(dtype):
        one = dual.features(np.ones(1, dtype))
        found = dual.pair(kernels.Relu(), duals.Distances(D, S if carried else None), one, one)
        K, slope = to_numpy(found.K), to_numpy(found.slope)
    bound = 1e-15 if dtype == "float64" else 4e-7
    with mpmath.workdps(40):
        cosines = [
            mpmath.mpf(1 if n else -1) * (1 - mpmath.mpf(float(v)) / 2) for v, n in zip(small, near, strict=True)
        ]
        wanted = np.array([[float(part) for part in rectified(c)] for c in cosines])
    assert np.abs(K - wanted[:, 0]).max() < bound
    assert np.abs(slope - wanted[:, 1]).max() < bound
    # At c = -1 both vanish, and are exact relative to themselves.
    assert relative(slope[~near], wanted[~near, 1]).max(initial=0) < 4 * bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivative_of_the_relu_dual(dtype):
    D = np.geomspace(1e-12, 2, 1000).astype(dtype)
    dual = duals.DUALS[kernels.Relu]

    def kernel(D, one):
        return dual.pair(kernels.Relu(), duals.Distances(D), one, one).K[0]

    with precision(dtype):
        one = dual.features(np.ones(1, dtype))
        found = to_numpy(jax.vmap(jax.grad(kernel), (0, None))(D, one))
    with mpmath.workdps(40):
        slopes = np.array([float(rectified(1 - mpmath.mpf(float(v)) / 2)[1]) for v in D])
    # K = (q1 + q2 - D) / 2 enters, so that the derivative is -slope / 2.
    assert np.abs(found + slopes / 2).max() < (1e-14 if dtype == "float64" else 2e-6)
