"""Samples far larger or smaller than others, even networks, and variances that nothing resolves."""

import mpmath
import numpy as np
import pytest
from networks import repeated
from oracles import mp_flat

import haarflow as hf
from haarflow import kernels


def limit(network, x, y, point):
    """Mean and variance of one output at t = inf by 60-digit kernels and linear algebra."""
    with mpmath.workdps(60):
        points = [*x, point]
        count = len(points)
        K, theta = (mpmath.matrix(count, count) for _ in range(2))
        for i in range(count):
            for j in range(i + 1):
                for matrix, part in zip((K, theta), mp_flat(network.layers, points[i], points[j], 150), strict=True):
                    matrix[i, j] = matrix[j, i] = part[1]
        n = count - 1
        a = mpmath.lu_solve(theta[:n, :n], theta[:n, n])
        mean = sum(a[i] * mpmath.mpf(float(y[i, 0])) for i in range(n))
        variance = K[n, n] - 2 * (K[n, :n] * a)[0] + (a.T * K[:n, :n] * a)[0]
        return float(mean), float(variance)


@pytest.mark.parametrize("act", [kernels.Gelu, kernels.Erf])
@pytest.mark.parametrize(("dtype", "sizes"), [("float64", (1e-8, 1.0, 1e8, 1e12, 1e20)), ("float32", (1e-2, 1e2, 1e4))])
def test_a_test_point_of_any_size(act, dtype, sizes):
    rng = np.random.default_rng(0)
    x, y, point = (rng.standard_normal(shape).astype(dtype).astype(float) for shape in ((3, 4), (3, 1), 4))
    network = repeated(act(), 1, 0.1)
    ensemble = hf.DeepEnsemble(network, dtype=dtype).fit(x, y)
    points = np.array([(size * point).astype(dtype).astype(float) for size in sizes])
    law = ensemble.predict(points, np.inf, covariance="diagonal")
    for j, at in enumerate(points):
        mean, variance = limit(network, x, y, at)
        rounding = 1e-11 if dtype == "float64" else 2e-4
        assert law.mean[0, j, 0] == pytest.approx(mean, rel=rounding)
        assert law.variance[0, j] == pytest.approx(variance, rel=rounding)


@pytest.mark.filterwarnings("ignore:.*modes of the Gram matrix:haarflow.ResolutionWarning")
@pytest.mark.parametrize("depth", [2, 3])
def test_the_absolute_value_sees_no_sign(depth):
    """Labels y at x and -y at -x: an even network learns their mean, 0."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    ensemble = hf.DeepEnsemble(repeated(kernels.LeakyRelu(-1.0), depth, 0.0))
    ensemble.fit(np.concatenate([x, -x]), np.concatenate([y, -y]))
    mean = ensemble.predict(np.concatenate([x, rng.standard_normal((2, 3))]), [1e3, 1e12, np.inf]).mean
    assert np.abs(mean).max() < 1e-10 * np.abs(y).max()


@pytest.mark.parametrize(
    ("dtype", "fine", "tiny"), [("float64", (1e-60, 1e-137), 1e-153), ("float32", (1e-9, 1e-11), 1e-19)]
)
def test_tiny_samples(dtype, fine, tiny):
    """A bias-free rectifier network does not see the scale of all samples, down to where squares underflow."""
    rng = np.random.default_rng(2)
    x, y, points = rng.standard_normal((5, 4)), rng.standard_normal((5, 1)), rng.standard_normal((2, 4))
    network = repeated(kernels.Relu(), 2, 0.0)
    unit = hf.DeepEnsemble(network).fit(x, y).predict(points, np.inf).mean
    for size in fine:
        ensemble = hf.DeepEnsemble(network, dtype=dtype).fit(size * x, y)
        found = ensemble.predict(size * points, np.inf).mean
        np.testing.assert_allclose(found, unit, rtol=1e-10 if dtype == "float64" else 1e-4)
    with pytest.raises(ValueError, match=r"^x_test must hold samples of a magnitude of at least .* at sample 0"):
        ensemble.predict(tiny * points, np.inf)
    remedy = "float64" if dtype == "float32" else "rescale them$"
    with pytest.raises(ValueError, match=rf"^x must hold samples of a magnitude of .* at sample 3: .*{remedy}"):
        hf.DeepEnsemble(network, dtype=dtype).fit(np.concatenate([x[:3], tiny * x[3:]]), y)
    # A sample of zeros is exact, and behind a bias every other one.
    assert np.all(ensemble.predict(0 * points, np.inf).mean == 0)
    biased = hf.DeepEnsemble(repeated(kernels.Relu(), 2, 0.1), dtype=dtype).fit(x, y)
    assert np.array_equal(biased.predict(tiny * points, 1e3).mean, biased.predict(0 * points, 1e3).mean)


class Indefinite:
    """A kernel whose K is no covariance."""

    dtype, content_key = "float64", "indefinite"

    def __call__(self, x1, x2=None):
        x2 = x1 if x2 is None else x2
        D = np.square(x1[:, None] - x2).sum(axis=-1)
        return kernels.KernelPair(1 + D, np.exp(-D))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_no_variance_is_negative(covariance):
    x = np.random.default_rng(3).standard_normal((4, 2))
    ensemble = hf.DeepEnsemble(Indefinite()).fit(x, x[:, :1])
    said = r"of 6 variances came out negative beyond rounding, by up to .* of K\(x, x\), and are given as 0"
    with pytest.warns(hf.ResolutionWarning, match=said) as caught:
        law = ensemble.predict(0.5 * x[:3], [1.0, np.inf], covariance=covariance)
    assert caught[0].filename == __file__
    variance = law.variance if covariance == "diagonal" else np.einsum("tmm->tm", law.covariance)
    assert variance.min() == 0
