"""How often is compiled: batches of other sizes are filled up to what is there, and who waits is told."""

import importlib

import jax
import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels
from haarflow.kernels import backend
from haarflow.kernels.tiling import few_sizes

flat, images, spreads, unresolved, gradients = (
    importlib.import_module(f"haarflow.kernels.{name}")
    for name in ("flat", "images", "spreads", "unresolved", "gradients")
)
SIZES = [1, 2, 3, 5, 17, 33, 64, 100, 200, 500]
PROGRAMS = {
    flat: ("_vectors_tile", "_of_distances"),
    images: ("_tile",),
    spreads: ("_spreads",),
    unresolved: ("_pairs",),
    gradients: ("_slopes", "_image_gradient"),
}


def programs(network):
    """How many programs of a network there are, as JAX counts them."""
    every = [getattr(module, name) for module, names in PROGRAMS.items() for name in names]
    return sum(each.jitted(network.layers, False)._cache_size() for each in every)


def fitted(network, shape, n, action):
    x = np.random.default_rng(0).standard_normal((n, *shape))
    return hf.DeepEnsemble(network, action=action).fit(x, np.ones((n, 1)))


def draw(size, shape):
    return np.random.default_rng(size).standard_normal((size, *shape))


# W_std as nowhere else: the programs are this file's own.
DENSE = kernels.Sequential(kernels.Flatten(), kernels.Dense(1.01, 0.1), kernels.Relu(), kernels.Dense())
CONV = kernels.Sequential(kernels.Conv(3, W_std=1.01), kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense())
HEAD = kernels.Sequential(*CONV.layers[:-1], kernels.Dense(1.01), kernels.Relu(), kernels.Dense())


@pytest.mark.parametrize(
    ("network", "shape", "n", "fit", "more"),
    [
        (DENSE, (3, 3, 1), 300, 4, 4),
        (DENSE, (1, 1, 2), 60, 3, 4),  # in two dimensions some are always close
        (CONV, (6, 6, 1), 12, 2, 1),
        (HEAD, (6, 6, 1), 12, 4, 1),
    ],
    ids=["dense", "close pairs", "pooled", "pooled with a head"],
)
def test_batches_of_other_sizes(network, shape, n, fit, more):
    before = programs(network)
    ensemble = fitted(network, shape, n, groups.image_rotations(4))
    made = programs(network)
    assert 0 < made - before <= fit
    for size in SIZES:
        ensemble.predict(draw(size, shape), 1.0)
    assert programs(network) - made <= more


def test_derivatives_at_other_numbers_of_points():
    ensemble = fitted(DENSE, (3, 3, 1), 20, groups.image_rotations(4))
    ensemble.jacobian(draw(4, (3, 3, 1)), 1.0)
    made = programs(DENSE)
    for size in (1, 2, 3, 5, 17, 33):
        ensemble.jacobian(draw(size, (3, 3, 1)), 1.0)
    assert programs(DENSE) - made <= 1


def test_nodes_of_compact_groups():
    network = kernels.Sequential(kernels.Dense(1.02, 0.1), kernels.Relu(), kernels.Dense())
    ensemble = fitted(network, (2,), 30, groups.matrix_action(groups.so2(8)))
    made = programs(network)
    for size in SIZES:
        ensemble.predict(draw(size, (2,)), 1.0)
    assert programs(network) - made <= 4  # powers of 8 of pairs, at two resolutions


@pytest.mark.parametrize("smallest", [1, 5])
def test_few_sizes(smallest):
    sizes = set()
    for n in range(1, 3000):
        size = few_sizes(n, smallest)
        sizes.add(size)
        times = -(-n // size)
        assert times <= 4
        assert times * size < max(2 * n, smallest + 1)
    assert sizes <= {smallest * 8**power for power in range(5)}


def test_who_waits_for_a_compilation_is_told():
    network = kernels.Sequential(kernels.Dense(1.03, 0.1), kernels.Relu(), kernels.Dense())
    kernel, x = kernels.analytic(network), draw(1500, (3,))
    told = []
    with backend.compilations_told(told.append):
        kernel(x)  # in several threads
    assert told.count(True) == told.count(False) == programs(network) > 0
    assert told[0]
    with backend.compilations_told(told.append):
        kernel(x)  # nothing new
    before = len(told)
    kernel(x[:3])
    kernels.analytic(network, "float32")(x)  # nobody is told any more
    assert len(told) == before
    assert told.count(True) == told.count(False)


def test_a_compilation_that_fails_has_an_end():
    told = []

    def wrong(_, x):
        raise ArithmeticError("no such program")

    program = backend.compiled(wrong)
    with backend.compilations_told(told.append), pytest.raises(ArithmeticError):
        program(0, jax.numpy.ones(2))
    assert told == [True, False]
