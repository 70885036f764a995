"""Flat kernels of samples of any size and angle, and of rectifiers of any slope, against 50-digit arithmetic."""

import importlib

import jax
import mpmath
import numpy as np
import pytest
from networks import repeated
from oracles import mp_flat

from haarflow import kernels
from haarflow.kernels.backend import precision, to_numpy

duals = importlib.import_module("haarflow.kernels.duals")

ACTS = {
    "relu": kernels.Relu(),
    "absolute": kernels.LeakyRelu(-1.0),
    "leaky -1.01": kernels.LeakyRelu(-1.01),
    "leaky -3": kernels.LeakyRelu(-3.0),
    "leaky -0.3": kernels.LeakyRelu(-0.3),
    "leaky 0.2": kernels.LeakyRelu(0.2),
    "leaky 3": kernels.LeakyRelu(3.0),
    "erf": kernels.Erf(),
    "gelu": kernels.Gelu(),
    "sin": kernels.Sin(),
}
RATIOS = (1e-8, 1e-4, 1e-2, 0.5, 1.0, 3.0, 1e2, 1e4, 1e8)
# Relative to sqrt(K(x, x) K(x', x')), Theta alike.
WITHIN = {"float64": 1e-13, "float32": 5e-6}


def pairs(dtype, size=1.0):
    """A sample, and others of every size: anywhere, parallel, nearly so, and opposite."""
    rng = np.random.default_rng(0)
    x = size * rng.standard_normal(5)
    near = 1e-9 if dtype == "float64" else 1e-4
    towards = [size * rng.standard_normal(5), x, x + near * size * rng.standard_normal(5), -x]
    others = [ratio * direction for direction in towards for ratio in RATIOS]
    return x[None].astype(dtype), np.array(others).astype(dtype)


def errors(network, dtype, x, others):
    """Errors of K and Theta relative to their scale, op by op: nothing is compiled as a whole."""
    with jax.disable_jit():
        found = kernels.analytic(network, dtype)(x, others)
    worst = 0.0
    for j, other in enumerate(others):
        for values, (own, exact, theirs) in zip(found, mp_flat(network.layers, x[0], other), strict=True):
            worst = max(worst, float(abs(values[0, j] - exact) / mpmath.sqrt(own * theirs)))
    return worst


@pytest.mark.parametrize("dtype", WITHIN)
@pytest.mark.parametrize("name", ACTS)
def test_any_ratio_of_sizes_against_mpmath(name, dtype):
    x, others = pairs(dtype)
    for depth, bias in ((1, 0.1), (2, 0.0), (3, 0.1)):
        assert errors(repeated(ACTS[name], depth, bias), dtype, x, others) < WITHIN[dtype]


@pytest.mark.parametrize(
    ("name", "size"),
    # Beyond these sizes erf and sin change within the rounding of a direction.
    [("erf", 1e-8), ("erf", 1e-3), ("erf", 1e5), ("sin", 1e-8), ("sin", 1e-3), ("sin", 10.0)]
    + [("gelu", size) for size in (1e-8, 1e-3, 1e5, 1e10, 1e20)],
)
def test_samples_of_one_size_far_from_1_against_mpmath(name, size):
    """Nearly homogeneous nonlinearities, whose parallel samples stay nearly parallel, and rectifiers that see it."""
    x, others = pairs("float64", size)
    others = others[np.abs(np.log10(np.tile(RATIOS, 4))) < 1]
    assert errors(repeated(ACTS[name], 2, 0.0), "float64", x, others) < 2e-12
    first = (kernels.Dense(1.4), ACTS[name], *repeated(kernels.Relu(), 2, 0.0).layers)
    assert errors(kernels.Sequential(*first), "float64", x, others) < 2e-12


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4, 1e12, 1e40])
def test_own_values_of_gelu_at_any_size(size):
    x = size * np.random.default_rng(1).standard_normal((1, 5))
    network = repeated(kernels.Gelu(), 2, 0.0)
    with jax.disable_jit():
        found = kernels.analytic(network)(x)
    for value, (_, exact, _) in zip(found, mp_flat(network.layers, x[0], x[0], digits=250), strict=True):
        assert value.item() == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("dtype", WITHIN)
def test_the_absolute_value_is_even_to_the_bit(dtype):
    network = repeated(kernels.LeakyRelu(-1.0), 3, 0.0)
    x = np.random.default_rng(0).standard_normal((7, 4)).astype(dtype)
    kernel = kernels.analytic(network, dtype)
    for part, mirrored in zip(kernel(x, x), kernel(x, -x), strict=True):
        assert np.array_equal(part, mirrored)


def test_residual_connections_keep_angles():
    x, others = pairs("float64")
    branch = kernels.Residual(kernels.Gelu(), kernels.Dense(0.7, 0.1), kernels.Relu(), kernels.Dense(1.3))
    network = kernels.Sequential(kernels.Dense(1.4), branch, kernels.Relu(), kernels.Dense())
    assert errors(network, "float64", x, others) < 1e-13


@pytest.mark.parametrize("name", ACTS)
def test_distances_and_angles_are_one_state(name):
    """A pair function given D and S alone finds the angles, and returns what it was given."""
    dual, rng = duals.DUALS[type(ACTS[name])], np.random.default_rng(2)
    q1, q2, c = rng.uniform(0.5, 2, 50), rng.uniform(0.5, 2, 50), rng.uniform(-1, 1, 50)
    size, gap = 2 * np.sqrt(q1 * q2), (np.sqrt(q1) - np.sqrt(q2)) ** 2
    near, far = size * (1 - c), size * (1 + c)
    with precision("float64"):
        f1, f2 = dual.features(q1), dual.features(q2)
        given = {
            "angles": duals.Distances(near=near, far=far),
            "distances": duals.Distances(gap + near, gap + far),
            "both": duals.Distances(gap + near, gap + far, near, far),
        }
        found = {key: jax.tree.map(to_numpy, dual.pair(ACTS[name], apart, f1, f2)) for key, apart in given.items()}
        after = [to_numpy(dual.marginal(ACTS[name], q)) for q in (q1, q2)]
    gap = (np.sqrt(after[0]) - np.sqrt(after[1])) ** 2
    for key, image in found.items():
        assert (image.apart.D is None) == (key == "angles")
        for part in ("entering", "K", "slope"):
            np.testing.assert_allclose(getattr(image, part), getattr(found["angles"], part), rtol=0, atol=1e-14)
        np.testing.assert_allclose(image.apart.near, 2 * np.sqrt(after[0] * after[1]) - 2 * image.K, rtol=0, atol=1e-14)
        if key != "angles":
            np.testing.assert_allclose(image.apart.D, sum(after) - 2 * image.K, rtol=0, atol=2e-14)
        if image.apart.S is not None:
            np.testing.assert_allclose(image.apart.S, sum(after) + 2 * image.K, rtol=0, atol=2e-14)
            np.testing.assert_allclose(image.apart.S, gap + image.apart.far, rtol=0, atol=2e-14)


def test_a_bias_free_network_refuses_samples_that_underflow():
    for dtype, tiny, fine in (("float64", 1e-140, 1e-137), ("float32", 1e-14, 1e-11)):
        x = np.eye(3)
        kernel = kernels.analytic(repeated(kernels.Relu(), 1, 0.0), dtype)
        x[1] *= tiny
        with pytest.raises(
            ValueError, match=r"x2 must hold samples of a magnitude of at least .* at sample 1: rescale"
        ):
            kernel(np.eye(3), x)
        x[1] = 0
        assert np.isfinite(kernel(np.eye(3), x).ntk).all()
        x = np.array([[1.0, 2.0, 3.0], [3.0, -1.0, 2.0]])
        unit, small = (kernel(part).ntk.astype(float) for part in (x, fine * x))
        np.testing.assert_allclose(small / fine**2, unit, rtol=1e-12 if dtype == "float64" else 2e-6)
        # Behind a bias they are no smaller than it.
        biased = kernels.analytic(repeated(kernels.Relu(), 1, 0.1), dtype)
        assert np.array_equal(biased(tiny * x).ntk, biased(0 * x).ntk)
