"""Images whose pooled values nearly coincide, in front of a nonlinearity, against 50 digits."""

import numpy as np
import pytest
from oracles import mp_kernel

from haarflow import kernels as k

BOUND = {"float64": 1e-11, "float32": 1e-5}


def conv(padding="CIRCULAR", b_std=0.0):
    return k.Conv(3, padding, 2**0.5, b_std)


# A pooling with a nonlinearity behind it.
NETWORKS = {
    "gap": k.Sequential(conv(), k.Relu(), k.GlobalAvgPool(), k.Dense(2**0.5), k.Relu(), k.Dense()),
    "gap with biases": k.Sequential(
        *(conv("SAME", 0.1), k.Relu(), k.GlobalAvgPool(), k.Dense(2**0.5, 0.1), k.Relu(), k.Dense(1.0, 0.1))
    ),
    "windows": k.Sequential(conv(), k.Relu(), k.AvgPool(2), conv(), k.Relu(), k.GlobalAvgPool(), k.Dense()),
    "windows with biases": k.Sequential(
        *(conv("SAME", 0.1), k.Relu(), k.AvgPool(2), conv("SAME", 0.1), k.Relu(), k.GlobalAvgPool()),
        *(k.Dense(1.0, 0.1), k.Relu(), k.Dense(1.0, 0.1)),
    ),
    "windows and Flatten": k.Sequential(
        conv("SAME", 0.1), k.Relu(), k.AvgPool(2), conv("SAME"), k.Relu(), k.Flatten(), k.Dense()
    ),
    "leaky": k.Sequential(conv(), k.LeakyRelu(-0.3), k.GlobalAvgPool(), k.Dense(), k.LeakyRelu(0.2), k.Dense()),
    "smooth": k.Sequential(
        *(conv("SAME", 0.1), k.Erf(), k.AvgPool(2), conv("SAME", 0.1), k.Gelu(), k.GlobalAvgPool()),
        *(k.Dense(), k.Sin(), k.Dense(), k.Relu(), k.Dense()),
    ),
}


def relative(network, first, second, dtype):
    first, second = first.astype(dtype), second.astype(dtype)
    found = k.analytic(network, dtype)(first[None], second[None])
    exact = mp_kernel(network, first.astype(float), second.astype(float))
    return max(float(abs(value.item() - truth) / abs(truth)) for value, truth in zip(found, exact, strict=True))


def images():
    return np.random.default_rng(0).standard_normal((2, 4, 4, 1))


# What x becomes: parallel, perturbed, or shifted, turned and perturbed.
NEIGHBOURS = {
    "parallel": lambda x, step, e: (1 + e) * x,
    "perturbed": lambda x, step, e: x + e * step,
    "parallel and perturbed": lambda x, step, e: (1 + e) * x + e**2 * step,
    "turned and perturbed": lambda x, step, e: np.rot90(x) + e * step,
    "turned and parallel": lambda x, step, e: (1 + e) * np.rot90(x),
    "shifted and perturbed": lambda x, step, e: np.roll(x, (2, 2), (0, 1)) + e * step,
}


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("e", [1e-12, 1e-8, 1e-5, 3e-4, 2e-3, 3e-2, 1.0])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("name", NETWORKS)
def test_nearly_equal_pooled_values(name, neighbour, e, dtype):
    x, step = images()
    assert relative(NETWORKS[name], x, NEIGHBOURS[neighbour](x, step, e), dtype) < BOUND[dtype]
