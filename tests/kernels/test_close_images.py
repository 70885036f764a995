"""Images whose pooled values nearly coincide in front of a nonlinearity, against 50 digits and 31 of them."""

import numpy as np
import pytest
from oracles import mp_kernel

import haarflow as hf
from haarflow import kernels as k
from haarflow.kernels.copies import are_copies
from haarflow.kernels.listed import of_listed, variances

BOUND = {"float64": 1e-11, "float32": 1e-5}


def conv(padding="CIRCULAR", b_std=0.0):
    return k.Conv(3, padding, 2**0.5, b_std)


HOMOGENEOUS = k.Sequential(conv(), k.Relu(), k.GlobalAvgPool(), k.Dense(2**0.5), k.Relu(), k.Dense())
# A pooling with a nonlinearity behind it.
NETWORKS = {
    "gap": HOMOGENEOUS,
    "gap with biases": k.Sequential(
        *(conv("SAME", 0.1), k.Relu(), k.GlobalAvgPool(), k.Dense(2**0.5, 0.1), k.Relu(), k.Dense(1.0, 0.1))
    ),
    "windows": k.Sequential(
        *(conv(b_std=0.1), k.Relu(), k.AvgPool(2), conv(), k.Relu(), k.GlobalAvgPool()),
        *(k.Dense(1.0, 0.1), k.Relu(), k.Dense(1.0, 0.1)),
    ),
    "windows and Flatten": k.Sequential(
        conv("SAME", 0.1), k.Relu(), k.AvgPool(2), conv("SAME"), k.Relu(), k.Flatten(), k.Dense()
    ),
    "both signs": k.Sequential(
        *(conv("SAME", 0.1), k.Erf(), k.AvgPool(2), conv("SAME", 0.1), k.LeakyRelu(-0.3), k.GlobalAvgPool()),
        *(k.Dense(), k.Sin(), k.Dense()),
    ),
}
# What x becomes: parallel, perturbed, shifted.
NEIGHBOURS = {
    "parallel": lambda x, step, e: (1 + e) * x,
    "perturbed": lambda x, step, e: x + e * step,
    "parallel and perturbed": lambda x, step, e: (1 + e) * x + e**2 * step,
    "shifted and parallel": lambda x, step, e: (1 + e) * np.roll(x, 2, 0),
    "shifted and perturbed": lambda x, step, e: np.roll(x, (2, 2), (0, 1)) + e * step,
}
STEPS = (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 1e-2, 0.1, 1.0)


def images():
    return np.random.default_rng(0).standard_normal((2, 4, 4, 1))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", NETWORKS)
def test_nearly_equal_pooled_values(name, dtype):
    network = NETWORKS[name]
    x, step = images()
    others = np.stack([move(x, step, e) for move in NEIGHBOURS.values() for e in STEPS]).astype(dtype)
    x = x.astype(dtype)
    found = k.analytic(network, dtype)(x[None], others)
    first = x.astype(float)
    own = variances(network.layers, first)
    for i, other in enumerate(others.astype(float)):
        truth = of_listed(network.layers, first, other, own, variances(network.layers, other))
        for values, true in zip(found, truth, strict=True):
            assert abs(values[0, i] - true) < BOUND[dtype] * true, (i // len(STEPS), STEPS[i % len(STEPS)])


@pytest.mark.parametrize("e", [1e-8, 1e-4])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("name", ["gap", "gap with biases"])
def test_nearly_equal_pooled_values_against_mpmath(name, neighbour, e):
    x, step = images()
    other = NEIGHBOURS[neighbour](x, step, e)
    found = k.analytic(NETWORKS[name])(x[None], other[None])
    for value, truth in zip(found, mp_kernel(NETWORKS[name], x, other), strict=True):
        assert abs(value.item() - truth) < 1e-12 * abs(truth)


def test_equal_and_nearly_equal_windows_of_one_image():
    network = NETWORKS["windows and Flatten"]
    corner, step = np.random.default_rng(1).standard_normal((2, 4, 4, 1))
    for e in (0.0, 1e-9, 1e-6, 1e-4):
        x = np.concatenate([corner, corner + e * step])
        for other in (x, x[::-1].copy()):
            found = k.analytic(network)(x[None], other[None])
            tapes = (variances(network.layers, part) for part in (x, other))
            for value, truth in zip(found, of_listed(network.layers, x, other, *tapes), strict=True):
                assert abs(value.item() - truth) < 1e-12 * truth


def test_opposite_labels_at_parallel_images():
    # Homogeneous: f(1.0001 x) = 1.0001 f(x), whose least squares are what is learnt.
    x, _ = images()
    both = np.stack([x, 1.0001 * x])
    with pytest.warns(hf.ResolutionWarning):
        law = hf.DeepEnsemble(HOMOGENEOUS).fit(both, np.array([[1.0], [-1.0]])).predict(both, [np.inf])
    slope = (1 - 1.0001) / (1 + 1.0001**2)
    np.testing.assert_allclose(law.mean[0, :, 0], [slope, 1.0001 * slope], rtol=1e-6)


def test_copies():
    x, other = images()
    wrapped, edged, pointwise = ((k.Conv(3, "CIRCULAR"),), (k.Conv(3, "SAME"),), (k.Conv(1, "SAME"),))
    shifted, turned = np.roll(x, (1, 2), (0, 1)), np.rot90(x)
    assert are_copies(wrapped, x, x)
    assert are_copies(edged, x, x * (1 + 2e-16))
    assert not are_copies(edged, x, x * (1 + 1e-14))
    assert not are_copies(wrapped, x, other)
    assert are_copies(wrapped, x, shifted)
    assert not are_copies(edged, x, shifted)
    assert not are_copies((*wrapped, k.Relu(), k.AvgPool(2)), x, shifted)
    assert are_copies((*wrapped, k.Relu(), k.AvgPool(2)), x, np.roll(x, (2, 0), (0, 1)))
    # A filter sees a turned image in another way, unless it sees one position at a time.
    assert not are_copies(wrapped, x, turned)
    assert are_copies(pointwise, x, turned)
    assert are_copies((k.Residual(k.Conv(1, "SAME")),), x, x[:, ::-1])
