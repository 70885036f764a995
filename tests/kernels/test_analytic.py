"""Analytic kernels against the recursion in 50-digit arithmetic and against neural-tangents."""

import importlib

import numpy as np
import pytest
from networks import NETWORKS, PEERLESS
from oracles import mp_kernel

from haarflow import kernels

POOLED = [name for name in NETWORKS if name.startswith("pool")]
CHEAP = ["relu", "relu without bias", "smooth before relu"]


def relative(found, exact):
    return float(abs(found.item() - exact) / abs(exact))


def pair(shape, distance, seed=0):
    rng = np.random.default_rng(seed)
    x, step = rng.standard_normal((2, 1, *shape))
    return x, x + distance * step / np.linalg.norm(step)


def errors(name, x1, x2, dtype="float64"):
    network, _ = NETWORKS[name]
    found = kernels.analytic(network, dtype)(x1, x2)
    exact = mp_kernel(network, x1[0], x2[0])
    return [relative(value, truth) for value, truth in zip(found, exact, strict=True)]


@pytest.mark.parametrize("name", NETWORKS)
def test_distinct_points_against_mpmath(name):
    x1, x2 = np.random.default_rng(1).standard_normal((2, 1, *NETWORKS[name][1]))
    assert max(errors(name, x1, x2)) < 1e-13


@pytest.mark.parametrize("name", NETWORKS)
def test_coincident_points_against_mpmath(name):
    x1, x2 = pair(NETWORKS[name][1], 0.0)
    assert max(errors(name, x1, x2)) < 1e-13


@pytest.mark.parametrize("distance", [1e-12, 1e-8, 1e-6, 1e-4, 1e-3])
@pytest.mark.parametrize("name", NETWORKS)
def test_nearly_coincident_points_against_mpmath(name, distance):
    x1, x2 = pair(NETWORKS[name][1], distance)
    assert max(errors(name, x1, x2)) < 1e-12


@pytest.mark.parametrize("distance", [1e-10, 1e-5])
@pytest.mark.parametrize("name", CHEAP)
def test_nearly_antipodal_points_against_mpmath(name, distance):
    x1, x2 = pair(NETWORKS[name][1], distance)
    network = NETWORKS[name][0]
    scale = kernels.analytic(network)(x1)
    found = kernels.analytic(network)(x1, -x2)
    exact = mp_kernel(network, x1[0], -x2[0])
    for value, truth, unit in zip(found, exact, scale, strict=True):
        assert abs(value.item() - float(truth)) < 1e-14 * unit.item()


@pytest.mark.parametrize("name", [*CHEAP, "circular gap", "same flatten"])
def test_parallel_inputs_against_mpmath(name):
    x, _ = pair(NETWORKS[name][1], 0.0)
    for factor in (1 + 1e-9, 1.001, 3.0):
        assert max(errors(name, x, factor * x)) < 1e-12


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["relu", "relu without bias"])
def test_nearly_parallel_inputs_of_any_size_against_mpmath(name, dtype):
    x, near = (part.astype(dtype) for part in pair(NETWORKS[name][1], 1e-7 if dtype == "float64" else 1e-3))
    for factor in (1.001, 1.5, 3.0):
        for scale in (1.0, 1e3, 1e6):
            for other in (x, near):
                first, second = (scale * x).astype(dtype), (scale * factor * other).astype(dtype)
                network = NETWORKS[name][0]
                exact = mp_kernel(network, first[0].astype(float), second[0].astype(float))
                found = kernels.analytic(network, dtype)(first, second)
                bound = 1e-12 if dtype == "float64" else 1e-5
                assert max(relative(value, truth) for value, truth in zip(found, exact, strict=True)) < bound


@pytest.mark.parametrize("distance", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_near_coincidence(name, distance):
    x1, x2 = (part.astype("float32") for part in pair(NETWORKS[name][1], distance))
    found = kernels.analytic(NETWORKS[name][0], "float32")(x1, x2)
    exact = mp_kernel(NETWORKS[name][0], x1[0].astype(float), x2[0].astype(float))
    assert max(relative(value, truth) for value, truth in zip(found, exact, strict=True)) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_float32(name):
    x1, x2 = np.random.default_rng(1).standard_normal((2, 1, *NETWORKS[name][1])).astype("float32")
    assert max(errors(name, x1, x2, "float32")) < 1e-5
    assert max(errors(name, x1, x1, "float32")) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_blank_inputs_without_bias_are_finite(name):
    network, shape = NETWORKS[name]
    blank = np.zeros((1, *shape))
    half = np.random.default_rng(0).standard_normal((1, *shape))
    half[:, : shape[0] // 2] = 0
    x = np.concatenate([blank, half])
    for part in kernels.analytic(network)(x):
        assert np.isfinite(part).all()
        assert np.array_equal(part, part.T)


@pytest.mark.parametrize("name", ["relu without bias", "leaky relu", "circular gap"])
def test_blank_inputs_without_bias_against_mpmath(name):
    shape = NETWORKS[name][1]
    half = np.random.default_rng(0).standard_normal((1, *shape))
    half[:, : shape[0] // 2] = 0
    assert max(errors(name, half, half)) < 1e-12


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - PEERLESS))
def test_distinct_points_against_neural_tangents(name):
    kernels_nt = _neural_tangents()
    network, shape = NETWORKS[name]
    x1, x2 = np.random.default_rng(2).standard_normal((2, 3, *shape))
    theirs = kernels.from_neural_tangents(kernels_nt(network), key=name)(x1, x2)
    for ours, other in zip(kernels.analytic(network)(x1, x2), theirs, strict=True):
        assert np.max(np.abs(ours - other)) < 1e-12 * np.max(np.abs(other))


def _neural_tangents():
    try:
        kernels.neural_tangents()
    except ImportError as missing:
        pytest.skip(str(missing))
    return lambda network: kernels.to_neural_tangents(network)[2]


def test_tiles_do_not_show():
    network = NETWORKS["relu"][0]
    x = np.random.default_rng(0).standard_normal((1001, 6))
    kernel = kernels.analytic(network)
    whole = kernel(x)
    assert whole.ntk.shape == (1001, 1001)
    for i, j in ((0, 1000), (511, 512), (1000, 1000), (700, 3)):
        alone = kernel(x[i : i + 1], x[j : j + 1])
        assert whole.ntk[i, j] == pytest.approx(alone.ntk.item(), rel=1e-14)
        assert whole.nngp[i, j] == pytest.approx(alone.nngp.item(), rel=1e-14)


def test_ragged_sizes_share_compilations():
    module = importlib.import_module("haarflow.kernels.flat")
    network = NETWORKS["relu"][0]
    kernel = kernels.analytic(network)
    program = module._vectors_tile.jitted(network.layers, False)
    x = np.random.default_rng(0).standard_normal((1001, 6))
    for n in (1001, 513):  # tiles of two sizes, whichever fits better
        kernel(x[:n])
    before = program._cache_size()
    for n in (1000, 990, 777, 600):
        kernel(x[:n])
    assert program._cache_size() == before > 0


def test_inputs_are_refused_by_name():
    kernel = kernels.analytic(NETWORKS["circular gap"][0])
    x = np.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match="x1 must be real"):
        kernel(x.astype(complex))
    with pytest.raises(ValueError, match="x2 must hold samples of x1's shape"):
        kernel(x, np.zeros((2, 5, 5, 1)))
    with pytest.raises(ValueError, match="needs images"):
        kernel(np.zeros((2, 16)))
    with pytest.raises(ValueError, match='dtype must be "float64" or "float32"'):
        kernels.analytic(NETWORKS["relu"][0], "float16")
    with pytest.raises(TypeError, match="architecture must be"):
        kernels.analytic("resnet")


def test_results_are_writable_numpy():
    pair = kernels.analytic(NETWORKS["relu"][0], "float32")(np.eye(6))
    for part in pair:
        assert type(part) is np.ndarray
        assert part.dtype == np.float32
        assert part.flags.writeable


@pytest.mark.parametrize("name", ["relu without bias", "leaky relu"])
@pytest.mark.parametrize(("dtype", "factors"), [("float64", (1e-75, 1e-20, 1e60)), ("float32", (1e-11, 1e8))])
def test_homogeneous_networks_at_any_scale(name, dtype, factors):
    network, shape = NETWORKS[name]
    kernel = kernels.analytic(network, dtype)
    x = np.random.default_rng(0).standard_normal((5, *shape))
    unit = kernel(x).ntk.astype(float)
    for factor in factors:
        found = kernel(x * factor).ntk.astype(float) / factor**2
        np.testing.assert_allclose(found, unit, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6 * unit.max())


def test_equal_windows_behind_a_pooling():
    # Every window of x equals every other, so the pooled distances are rounding alone.
    network = kernels.Sequential(
        *(kernels.Conv(1, "CIRCULAR", 1.3, 0.1), kernels.Relu(), kernels.AvgPool(3)),
        *(kernels.Conv(1, "CIRCULAR", 1.3), kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense()),
    )
    window = np.random.default_rng(0).standard_normal((3, 3, 1))
    x = np.tile(window, (2, 2, 1))[None]
    shuffled = np.tile(window.reshape(-1)[[4, 2, 8, 1, 0, 3, 5, 7, 6]].reshape(3, 3, 1), (2, 2, 1))[None]
    for other in (x, shuffled):
        exact = mp_kernel(network, x[0], other[0])
        for value, truth in zip(kernels.analytic(network)(x, other), exact, strict=True):
            assert relative(value, truth) < 1e-12
