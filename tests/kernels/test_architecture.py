"""Architectures: every wrong composition is refused with a sentence that says what would be right."""

import numpy as np
import oracles
import pytest
import textbook

from haarflow import kernels as k
from haarflow.kernels.architecture import Layer
from haarflow.kernels.schedule import schedule

WRONG = [
    (lambda: k.Sequential(), "at least one layer"),
    (lambda: k.Sequential(k.Dense(), k.Relu()), "must end in Dense"),
    (lambda: k.Sequential(k.Conv(3), k.GlobalAvgPool()), "must end in Dense"),
    (lambda: k.Sequential(k.Flatten(), k.Conv(3), k.Flatten(), k.Dense()), "needs spatial axes"),
    (lambda: k.Sequential(k.Dense(), k.AvgPool(2), k.Dense()), "needs spatial axes"),
    (lambda: k.Sequential(k.Conv(3), k.Relu(), k.Dense()), "needs flat inputs"),
    (lambda: k.Sequential(k.Relu(), k.Dense()), "must follow a linear layer"),
    (lambda: k.Sequential(k.Dense(), k.Relu(), k.Erf(), k.Dense()), "must follow a linear layer"),
    (lambda: k.Sequential(k.Residual(k.Dense()), k.Dense()), "must follow a linear layer"),
    (
        lambda: k.Sequential(k.Dense(), k.Relu(), k.Residual(k.Dense()), k.Dense()),
        "must follow a linear layer",
    ),
    (lambda: k.Residual(k.Dense(), k.Relu()), "must end in Dense or Conv"),
    (lambda: k.Residual(k.Relu(), k.AvgPool(2), k.Conv(3)), "same widths"),
    (lambda: k.Dense(W_std=-1.0), "W_std must be finite and >= 0, found -1.0"),
    (lambda: k.Dense(b_std=float("nan")), "b_std must be finite"),
    (lambda: k.Dense(1e200), "W_std must be finite"),
    (lambda: k.Conv(float("nan")), "size must be a positive integer, found nan"),
    (lambda: k.Sequential(k.Flatten(), k.Dense(), k.Residual(k.Conv(3)), k.Dense()), "layer 3.* needs spatial axes"),
    (lambda: k.Sequential(k.Conv(3), k.Residual(k.Dense()), k.Flatten(), k.Dense()), "layer 2.* needs flat inputs"),
    (lambda: k.Conv(2), "size must be a positive odd integer, found 2"),
    (lambda: k.Conv(3, padding="VALID"), "padding must be one of"),
    (lambda: k.Conv(3, support=((0, 2),)), "support must be distinct offsets"),
    (lambda: k.Conv(3, support=((0, 0), (0, 0))), "support must be distinct offsets"),
    (lambda: k.AvgPool(0), "size must be a positive integer"),
    (lambda: k.LeakyRelu(float("inf")), "slope must be finite"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_compositions(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: k.Dense("a"), "Dense: W_std must be a number, found 'a'"),
        (lambda: k.Dense(None), "W_std must be a number, found None"),
        (lambda: k.Conv((3, 3)), r"Conv: size must be a number, found \(3, 3\)"),
        (lambda: k.Conv(3, support=[1, 2]), "support must be pairs of integers"),
        (lambda: k.Conv(3, support=[(0.5, 0)]), "support must be pairs of integers"),
    ],
)
def test_arguments_of_another_type(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_something_that_is_no_layer():
    with pytest.raises(TypeError, match="made of layers"):
        k.Sequential(k.Dense(), "relu")


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (k.Sequential(k.Dense()), (4, 4, 1), "Dense needs flat inputs"),
        (k.Sequential(k.Conv(3), k.Flatten(), k.Dense()), (16,), "Conv needs images"),
        (
            k.Sequential(k.Conv(3), k.AvgPool(2), k.Flatten(), k.Dense()),
            (5, 5, 1),
            "sides that 2 divides, found 5 x 5",
        ),
        (k.Sequential(k.GlobalAvgPool(), k.Dense()), (16,), "needs spatial axes"),
        (k.Sequential(k.Dense()), (), "one number a sample"),
    ],
)
def test_samples_that_do_not_fit(network, shape, message):
    with pytest.raises(ValueError, match=message):
        network.check(shape)


def test_key_is_stable_and_tells_networks_apart():
    networks = [
        k.Sequential(k.Dense(2**0.5), k.Relu(), k.Dense()),
        k.Sequential(k.Dense(2**0.5), k.Erf(), k.Dense()),
        k.Sequential(k.Dense(2**0.5, 0.1), k.Relu(), k.Dense()),
        k.Sequential(k.Conv(3), k.Flatten(), k.Dense()),
        k.Sequential(k.Conv(3, "CIRCULAR"), k.Flatten(), k.Dense()),
        k.Sequential(k.Conv(3, support=((0, 0),)), k.Flatten(), k.Dense()),
    ]
    assert len({network.key for network in networks}) == len(networks)
    assert k.Sequential(k.Dense(1, 0)).key == k.Sequential([k.Dense(1.0, 0.0)]).key
    everything = [(i, j) for i in (1, 0, -1) for j in (1, 0, -1)]
    full = k.Sequential(k.Conv(3, support=everything), k.Flatten(), k.Dense())
    assert full.key == networks[3].key


def test_sequential_unpacks():
    inner = k.Sequential(k.Dense(2.0), k.Relu(), k.Dense())
    assert k.Sequential(inner, k.Relu(), k.Dense()).layers == (*inner.layers, k.Relu(), k.Dense())


def test_layers_say_their_kind():
    """A default would let a nonlinearity stand on raw input, which its Gaussian formula does not hold for."""
    with pytest.raises(TypeError, match=r"Silent: a Layer must say its kind, one of linear, nonlinear, .* found none"):
        type("Silent", (Layer,), {})
    with pytest.raises(TypeError, match="found 'pointwise'"):
        type("Misspelt", (Layer,), {"kind": "pointwise"})
    assert type("Steep", (k.LeakyRelu,), {}).kind == "nonlinear"


def test_a_layer_without_a_kernel_is_no_other():
    """Neither left out nor taken for what it derives from."""
    steep = type("Steep", (k.Relu,), {})()
    for layer in (steep, type("Cube", (Layer,), {"kind": "nonlinear"})()):
        network = k.Sequential(k.Dense(), layer, k.Dense())
        with pytest.raises(TypeError, match="architecture must have layers with a kernel in closed form, found"):
            k.analytic(network)
        with pytest.raises(TypeError, match="no kernel in closed form is known of"):
            schedule(network.layers, 0)
        one = np.ones(1)
        for formula in (oracles._dual, textbook._dual):
            with pytest.raises(TypeError, match="no textbook formula for"):
                formula(layer, one, one, one)
