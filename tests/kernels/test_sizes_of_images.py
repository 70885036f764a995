"""Images of unequal, tiny and huge sizes under convolutional networks, against the listed recursion in 31 digits."""

from functools import cache

import numpy as np
import pytest
from oracles import mp_kernel

from haarflow import kernels as k
from haarflow.kernels.listed import of_listed, variances

BOUND = {"float64": 1e-11, "float32": 1e-5}
NONLINEAR = {
    "relu": k.Relu(),
    "leaky": k.LeakyRelu(0.2),
    "absolute value": k.LeakyRelu(-1.0),
    "erf": k.Erf(),
    "gelu": k.Gelu(),
    "sin": k.Sin(),
}
ENDS = {
    "flatten": (k.Flatten(), k.Dense(1.2)),
    "gap": (k.GlobalAvgPool(), k.Dense(1.2)),
    "gap and one more": (k.GlobalAvgPool(), k.Dense(1.2), k.Relu(), k.Dense()),
    "windows": (k.AvgPool(2), k.Conv(3, "CIRCULAR", 1.2), k.Relu(), k.Flatten(), k.Dense()),
}
RATIOS = 10.0 ** np.arange(-8, 9, 2)


@cache
def images():
    return np.random.default_rng(0).standard_normal((2, 4, 4, 2))


def errors(network, dtype, first, others):
    first, others = first.astype(dtype), others.astype(dtype)
    found = k.analytic(network, dtype)(first[None], others)
    listed = [first.astype(float), *others.astype(float)]
    tapes = [variances(network.layers, x) for x in listed]
    own = [of_listed(network.layers, x, x, tape, tape) for x, tape in zip(listed, tapes, strict=True)]
    worst = 0.0
    for i, other in enumerate(listed[1:]):
        truth = of_listed(network.layers, listed[0], other, tapes[0], tapes[i + 1])
        for kind, values in enumerate(found):
            # K may be all but 0, and is relative to the samples' own.
            size = (own[0][kind] * own[i + 1][kind]) ** 0.5
            worst = max(worst, abs(float(values[0, i]) - truth[kind]) / size)
    return worst


# Every nonlinearity with biases and without, both paddings, and every end.
CASES = [
    (name, end, ("CIRCULAR", "SAME")[(i + j) % 2], (0.0, 0.1)[j])
    for i, name in enumerate(NONLINEAR)
    for j, end in enumerate(list(ENDS)[2 * (i % 2) : 2 * (i % 2) + 2])
]


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(("name", "end", "padding", "b_std"), CASES)
def test_sizes_that_differ(name, end, padding, b_std, dtype):
    layer = NONLINEAR[name]
    network = k.Sequential(*(k.Conv(3, padding, 1.3, b_std), layer, k.Conv(3, padding, 1.1, b_std), layer, *ENDS[end]))
    x, other = images()
    assert errors(network, dtype, x, other * RATIOS[:, None, None, None]) < BOUND[dtype]


# dtype -> a size of which the squares underflow, and what is refused where all angles come from squares.
TINY = {"float64": (1e-153, 1e-140), "float32": (4e-19, 1e-13)}


@pytest.mark.parametrize("dtype", TINY)
def test_tiny_images_are_right_or_refused(dtype):
    tiny, small = TINY[dtype]
    rectified, smooth = (
        k.Sequential(k.Conv(3, "SAME"), layer, k.GlobalAvgPool(), k.Dense(), layer, k.Dense())
        for layer in (k.Relu(), k.Erf())
    )
    x = images().astype(dtype)
    kernel = k.analytic(rectified, dtype)
    found = kernel(tiny * x[:1], x[1:] / tiny)
    for values, whole in zip(found, kernel(x[:1], x[1:]), strict=True):
        np.testing.assert_allclose(values, whole, rtol=1e-12 if dtype == "float64" else 1e-5)
    with pytest.raises(ValueError, match="x1 must hold samples of a magnitude of at least"):
        kernel(tiny / 1000 * x)
    with pytest.raises(ValueError, match="x1 must hold samples of a magnitude of at least"):
        k.analytic(smooth, dtype)(small * x)


@pytest.mark.parametrize("distance", [1e-9, 1e-7, 1e-5])
def test_nearly_parallel_images_of_unequal_size(distance):
    """Distances, of which the angle is a small part, hold few of its digits: such pairs are evaluated with more."""
    network = k.Sequential(k.Conv(3, W_std=2**0.5), k.Relu(), k.Flatten(), k.Dense(1.0, 0.1))
    x, other = np.random.default_rng(0).standard_normal((2, 1, 4, 4, 1))
    near = 2 * x + distance * other
    exact = mp_kernel(network, x[0], near[0])
    for dtype, bound in (("float64", 1e-11), ("float32", 1e-5)):
        found = k.analytic(network, dtype)(x, near)
        if dtype == "float64" or distance > 1e-6:  # what float32 holds of the samples
            for value, truth in zip(found, exact, strict=True):
                assert abs(value.item() / float(truth) - 1) < bound
