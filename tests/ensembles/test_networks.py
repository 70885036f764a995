"""Finite networks: what they compute, their parametrisation, and which samples a step sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import NETWORKS
from scipy.special import erf, log_softmax

from haarflow import kernels, networks
from haarflow.kernels.backend import x64
from haarflow.networks.batches import Schedule
from haarflow.networks.forward import forward
from haarflow.networks.losses import LOSSES, check_targets

EVERY = pytest.mark.parametrize("name", NETWORKS)


def samples(shape, n=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def by_hand(layers, parameters, x):
    """Walk the layers in NumPy, convolutions position by position."""
    for layer in layers:
        if isinstance(layer, kernels.Residual):
            x = x + by_hand(layer.branch, parameters, x)
        elif isinstance(layer, kernels.Dense):
            own = next(parameters)
            x = layer.W_std / np.sqrt(x.shape[1]) * x @ own["weights"] + layer.b_std * own.get("bias", 0)
        elif isinstance(layer, kernels.Conv):
            own, (n, height, width, channels) = next(parameters), x.shape
            z = np.zeros((n, height, width, own["weights"].shape[-1]))
            for a, b in np.ndindex(height, width):
                for (dy, dx), w in zip(layer.offsets, own["weights"], strict=True):
                    i, j = a + dy, b + dx
                    if layer.padding == "CIRCULAR":
                        z[:, a, b] += x[:, i % height, j % width] @ w
                    elif 0 <= i < height and 0 <= j < width:
                        z[:, a, b] += x[:, i, j] @ w
            x = layer.W_std / np.sqrt(len(layer.offsets) * channels) * z + layer.b_std * own.get("bias", 0)
        elif isinstance(layer, kernels.AvgPool):
            n, height, width, channels = x.shape
            s = layer.size
            x = np.stack([x[:, a::s, b::s][:, : height // s, : width // s] for a, b in np.ndindex(s, s)]).mean(axis=0)
        elif isinstance(layer, kernels.GlobalAvgPool):
            x = x.mean(axis=tuple(range(1, x.ndim - 1)))
        elif isinstance(layer, kernels.Flatten):
            x = x.reshape(len(x), -1)
        else:
            x = POINTWISE[type(layer)](layer, x)
    return x


POINTWISE = {
    kernels.Relu: lambda layer, x: np.maximum(x, 0),
    kernels.LeakyRelu: lambda layer, x: np.maximum(x, 0) + layer.slope * np.minimum(x, 0),
    kernels.Erf: lambda layer, x: erf(x),
    kernels.Gelu: lambda layer, x: x * (1 + erf(x / np.sqrt(2))) / 2,
    kernels.Sin: lambda layer, x: np.sin(x),
    networks.Tanh: lambda layer, x: np.tanh(x),
    networks.LayerNorm: lambda layer, x: np.stack([(s - s.mean()) / np.sqrt(s.var() + 1e-5) for s in x]),
}


def drawn(network, member=0, dtype="float64"):
    return networks.initial_parameters(network, 0, member, dtype)


@EVERY
def test_outputs_are_those_of_a_walk_by_hand(name):
    arch, shape = NETWORKS[name]
    network = networks.Network(arch, 5, shape, 3)
    parameters, x = drawn(network), samples(shape)
    with x64():
        found = np.asarray(forward(network, jax.tree.map(jnp.asarray, parameters), jnp.asarray(x)))
    np.testing.assert_allclose(found, by_hand(arch.layers, iter(parameters), x), atol=1e-13)


def test_layers_without_a_kernel():
    conv = kernels.Conv(3, "SAME")
    layers = (conv, kernels.AvgPool(2), networks.Tanh(), networks.LayerNorm(), conv, networks.Tanh(), kernels.Flatten())
    arch = kernels.Sequential(*layers, kernels.Dense())
    network = networks.Network(arch, 4, (4, 4, 1), 2)
    x = samples((4, 4, 1))
    maps = networks.feature_maps(network, "float64", drawn(network), x)
    np.testing.assert_allclose(maps[-1], by_hand(arch.layers, iter(drawn(network)), x), atol=1e-13)
    assert [m.shape for m in maps[:2]] == [(3, 4, 4, 4), (3, 2, 2, 4)]
    with pytest.raises(TypeError, match=r"layers with a kernel in closed form, found Tanh\(\)"):
        kernels.analytic(arch)


# Each kind of layer once: what networks compute is held to a walk by hand above.
@pytest.mark.parametrize(
    "name", ["relu", "leaky relu", "sin", "same flatten", "circular gap", "pool gap dense", "residual"]
)
def test_wide_networks_have_the_analytic_kernels(name):
    # Outputs are independent at infinite width: each of many is one draw of f f^T.
    arch, shape = NETWORKS[name]
    x, k, members = samples(shape), 100, 12
    exact = kernels.analytic(arch)(x)
    wide = networks.Network(arch, 200, shape, k)
    draws, slopes = [], []

    @jax.jit
    def both(p):
        one = lambda p: forward(wide, p, jnp.asarray(x))[:, 0]  # noqa: E731
        return forward(wide, p, jnp.asarray(x)), jax.jacobian(one)(p)

    with x64():
        for member in range(members):
            f, jacobian = both(jax.tree.map(jnp.asarray, drawn(wide, member)))
            draws.append(np.asarray(f)[:, None] * np.asarray(f)[None])
            flat = np.concatenate([np.asarray(part).reshape(len(x), -1) for part in jax.tree.leaves(jacobian)], axis=1)
            slopes.append(flat @ flat.T)
    nngp = np.concatenate(draws, axis=-1)
    scale = np.abs(exact.nngp).max()
    assert (
        np.abs(nngp.mean(axis=-1) - exact.nngp).max() < 5 * nngp.std(axis=-1).max() / np.sqrt(members * k) + 0.1 * scale
    )
    error = np.std(slopes, axis=0).max() / np.sqrt(members)
    assert np.abs(np.mean(slopes, axis=0) - exact.ntk).max() < 5 * error + 0.02 * np.abs(exact.ntk).max()


def test_a_layer_that_stands_twice_is_read_out_once():
    again = kernels.Dense(W_std=1.5)
    network = networks.Network(kernels.Sequential(again, kernels.Relu(), again), 7, (4,), 2)
    assert [place.shape for place in network.places] == [(4, 7), (7, 2)]


def test_members_have_streams_of_their_own():
    network = networks.Network(NETWORKS["relu"][0], 8, (6,), 2)
    first, again, other = (drawn(network, m)[0]["weights"] for m in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5
    half = networks.initial_parameters(network, 0, 0)[0]["weights"]
    assert half.dtype == np.float32
    assert np.array_equal(half, first.astype(np.float32))


def test_supports_at_initialisation():
    arch, shape = NETWORKS["same flatten"]
    network = networks.Network(arch, 8, shape, 2)
    cross = ((0, 0), (0, 1))
    conv, *_ = networks.initial_parameters(network, 0, 0, support=cross)
    outside = [offset not in cross for offset in arch.layers[0].offsets]
    assert not conv["weights"][outside].any()
    assert conv["weights"][np.logical_not(outside)].all()


def test_losses():
    f, y = samples((4,), 5), np.eye(4)[[0, 1, 2, 3, 0]]
    assert np.isclose(LOSSES["mean"](f, y), ((f - y) ** 2).sum() / (2 * 20), rtol=1e-6)
    assert np.isclose(LOSSES["sum"](f, y), ((f - y) ** 2).sum() / 2, rtol=1e-6)
    assert np.isclose(LOSSES["cross_entropy"](f, y), -(y * log_softmax(f, axis=1)).sum() / 5, rtol=1e-6)


@pytest.mark.parametrize("row", [[0.5, 0.51], [0.5, 0.49], [1.1, -0.1]])
def test_what_are_no_probabilities(row):
    check_targets("cross_entropy", np.array([[0.25, 0.75], [1, 0]]))
    check_targets("mean", np.array([row]))
    with pytest.raises(ValueError, match=r'y must be probabilities for loss="cross_entropy", .* in row 1'):
        check_targets("cross_entropy", np.array([[0.25, 0.75], row]))


@pytest.mark.parametrize("augmentation", ["orbit", "random"])
def test_an_epoch_sees_every_sample_once(augmentation):
    schedule = Schedule(augmentation, samples=6, order=4, batch=3)
    total = 24 if augmentation == "orbit" else 6
    epoch = total // 3
    elements, chosen = schedule.picks(0, 5, 0, 2 * epoch).transpose(1, 0, 2)
    for part in (slice(0, epoch), slice(epoch, None)):
        seen = chosen[part] + (6 * elements[part] if augmentation == "orbit" else 0)
        assert sorted(seen.ravel()) == list(range(total))
    assert not np.array_equal(chosen[:epoch], chosen[epoch:])


@pytest.mark.parametrize("augmentation", ["orbit", "random"])
@pytest.mark.parametrize("batch", [4, None])
def test_draws_go_on_after_an_interruption_as_they_would_have(augmentation, batch):
    schedule = Schedule(augmentation, samples=6, order=4, batch=batch)
    whole = schedule.picks(3, 1, 0, 20)
    for start in (1, 7, 13):
        assert np.array_equal(schedule.picks(3, 1, start, 5), whole[start : start + 5])
    assert not np.array_equal(schedule.picks(3, 2, 0, 20), whole) or schedule.whole


def test_random_elements_are_uniform():
    elements, chosen = Schedule("random", samples=50, order=4, batch=None).picks(0, 0, 0, 200).transpose(1, 0, 2)
    assert np.array_equal(chosen, np.broadcast_to(np.arange(50), chosen.shape))
    counts = np.bincount(elements.ravel(), minlength=4)
    assert np.abs(counts - 2500).max() < 5 * np.sqrt(10_000 * 3 / 16)
    # And drawn anew at every step: as many of two steps' elements agree as by chance.
    agreeing = (elements[1:] == elements[:-1]).sum()
    assert abs(agreeing - 9950 / 4) < 5 * np.sqrt(9950 * 3 / 16)
