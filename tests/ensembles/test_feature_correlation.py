"""The correlation of transformed feature maps: loops, known values, networks that are equivariant or not."""

import jax.numpy as jnp
import numpy as np
import pytest
from callables import images, uneven
from scipy.stats import pearsonr

from haarflow import groups, kernels, measures, networks

ACTIONS = {
    "turns": groups.image_rotations(4),
    "turns and flips": groups.image_dihedral(),
    "shifts": groups.image_translations((2, 3)),
    "interpolated turns": groups.interpolated_rotations(8),
}


def loop_correlation(features, action, x):
    base, order = features(x), action.group.order
    out = np.empty((len(base), order))
    for i, g in np.ndindex(out.shape):
        moved = features(action(g, x))[i]
        found = []
        for sample in range(len(x)):
            if base[i].ndim == 2:
                found.append(pearsonr(moved[sample], base[i][sample]).statistic)
                continue
            wanted = action(g, base[i])
            for c in range(moved.shape[-1]):
                found.append(pearsonr(moved[sample, ..., c].ravel(), wanted[sample, ..., c].ravel()).statistic)
        out[i, g] = np.mean(found)
    return out


@pytest.mark.parametrize("name", ["turns", "turns and flips", "interpolated turns"])
def test_feature_correlation_against_a_loop(name):
    action, x = ACTIONS[name], images()
    found = measures.feature_correlation(uneven, action, x)
    assert found.correlation.shape == found.left_out.shape == (3, action.group.order)
    np.testing.assert_allclose(found.correlation, loop_correlation(uneven, action, x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.correlation[:, action.group.identity], 1, rtol=1e-14)
    assert (np.delete(found.correlation, action.group.identity, axis=1) < 0.97).all()
    np.testing.assert_array_equal(found.pairs, [6, 3, 3])
    assert not found.left_out.any()


@pytest.mark.parametrize("name", ACTIONS)
def test_what_acts_pixel_by_pixel_correlates_fully(name):
    # A scale and a shift of each channel are not seen: F(gx) is g F(x) where the corners that turn in are 0, too.
    found = measures.feature_correlation(lambda x: [x, -3 * x, x**3], ACTIONS[name], images())
    np.testing.assert_allclose(found.correlation[:2], 1, rtol=1e-14)
    if ACTIONS[name].exact:
        np.testing.assert_allclose(found.correlation[2], 1, rtol=1e-14)
    else:
        assert found.correlation[2].min() < 0.99


def test_feature_correlation_known_by_hand():
    # One lit pixel of 2 x 2, (3, -1, -1, -1)/4 when centred: apart from itself it correlates with -4/12.
    x = np.zeros((1, 2, 2, 1))
    x[0, 0, 0] = 1.0
    shift = groups.image_translations((2, 2))
    top = measures.feature_correlation(lambda x: x * np.array([1.0, 0.0])[:, None, None], shift, x)
    # Shifted down the top row sees nothing, which correlates with nothing.
    np.testing.assert_allclose(top.correlation, [[1, 1, np.nan, np.nan]], rtol=1e-14)
    np.testing.assert_array_equal(top.left_out, [[0, 0, 1, 1]])
    still = measures.feature_correlation(lambda x: np.broadcast_to(np.eye(2)[None, ..., None], (1, 2, 2, 1)), shift, x)
    np.testing.assert_allclose(still.correlation, [[1, -1, -1, 1]], rtol=1e-14)
    mirrored = measures.feature_correlation(lambda x: x[:, ::-1], groups.image_rotations(4), x)
    np.testing.assert_allclose(mirrored.correlation, [[1, -1 / 3, 1, -1 / 3]], rtol=1e-14)


def test_layers_without_positions_are_correlated_over_channels_untransformed():
    x = images(n=4)
    turns = groups.image_rotations(4)
    found = measures.feature_correlation(lambda x: [x.max(axis=(1, 2)), x[:, 0].sum(axis=1), x[:, 0, :, 0]], turns, x)
    np.testing.assert_allclose(found.correlation[0], 1, rtol=1e-14)
    # Two channels correlate with 1 or -1, as the sign of their difference stays or turns.
    signs = np.stack([np.sign(np.diff(turns(g, x)[:, 0].sum(axis=1), axis=1)) for g in range(4)])[..., 0]
    np.testing.assert_allclose(found.correlation[1], (signs * signs[0]).mean(axis=1), atol=1e-14)
    assert found.correlation[2, 1:].max() < 0.9
    np.testing.assert_array_equal(found.pairs, [4, 4, 4])


def network(symmetric):
    """A convolutional member, its filters averaged over quarter turns or as they are drawn."""
    layers = [kernels.Conv(3, padding="CIRCULAR", W_std=1.5, b_std=0.1), kernels.Relu()]
    arch = kernels.Sequential(*layers, kernels.AvgPool(2), *layers, kernels.GlobalAvgPool(), kernels.Dense(1.0, 0.1))
    net = networks.Network(arch, 8, (8, 8, 1), 3)
    parameters = networks.initial_parameters(net, 0, 0, "float64")
    if symmetric:
        for layer in parameters[:2]:
            square = layer["weights"].reshape(3, 3, *layer["weights"].shape[1:])
            turned = np.mean([np.rot90(square, k) for k in range(4)], axis=0)
            layer["weights"] = turned.reshape(layer["weights"].shape)
    return lambda x: networks.feature_maps(net, "float64", parameters, x)


def test_a_network_of_symmetric_filters_correlates_fully_and_a_drawn_one_does_not():
    x, turns = images(n=4, side=8, channels=1), groups.image_rotations(4)
    found = measures.feature_correlation(network(True), turns, x)
    assert found.correlation.shape == (7, 4)
    np.testing.assert_allclose(found.correlation, 1, rtol=1e-12)
    drawn = measures.feature_correlation(network(False), turns, x)
    np.testing.assert_allclose(drawn.correlation[:, 0], 1, rtol=1e-12)
    # Invariant layers see the mean over positions, which is nearly alike for all filters: below 1, not by as much.
    assert drawn.correlation[:5, 1:].max() < 0.8
    assert drawn.correlation[5:, 1:].max() < 1 - 1e-4


def test_channels_that_are_constant_in_space_are_left_out_and_counted():
    x, turns = images(n=3), groups.image_rotations(4)
    noise = np.random.default_rng(1).uniform(-1, 1, (3, 6, 6, 1))

    def features(x):
        constant = np.ones((3, 6, 6, 1), x.dtype)
        # Rounding is no structure, in the precision that the layer has.
        rounded = (5 * (1 + np.finfo(np.float32).eps * noise)).astype(np.float32)
        return [np.concatenate([x, constant], axis=-1), rounded, 0 * x, x.mean(axis=(1, 2, 3))[:, None]]

    found = measures.feature_correlation(features, turns, x)
    np.testing.assert_allclose(found.correlation[0], 1, rtol=1e-14)
    assert np.isnan(found.correlation[1:]).all()
    np.testing.assert_array_equal(found.left_out, np.array([[3, 3, 6, 3]] * 4).T)
    np.testing.assert_array_equal(found.pairs, [9, 3, 6, 3])
    kept = measures.feature_correlation(lambda x: 5 + 1e-4 * x.astype(np.float32), turns, x)
    np.testing.assert_allclose(kept.correlation, 1, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-250, 1e250])
def test_the_correlation_does_not_depend_on_the_scale_of_the_features(size):
    x, turns = images(), groups.image_rotations(4)
    found = measures.feature_correlation(lambda x: [size * part for part in uneven(x)], turns, x)
    wanted = measures.feature_correlation(uneven, turns, x)
    np.testing.assert_allclose(found.correlation, wanted.correlation, rtol=1e-10)


def test_features_see_the_dtype_they_are_given_and_may_return_one_jax_array_or_reuse_a_buffer():
    turns, seen = groups.image_rotations(4), set()
    x = images().astype(np.float32)
    buffer = np.empty_like(x)

    def features(x):
        seen.add(x.dtype)
        buffer[:] = np.roll(x, 1, axis=1)
        return buffer

    reused = measures.feature_correlation(features, turns, x)
    assert seen == {np.dtype("float32")}
    jaxed = measures.feature_correlation(lambda x: jnp.roll(jnp.asarray(x), 1, axis=1), turns, x)
    np.testing.assert_allclose(reused.correlation, jaxed.correlation, rtol=1e-6)
    assert reused.correlation[0, 1] < 0.9


def test_a_callable_that_draws_random_numbers_shows_at_the_identity():
    rng = np.random.default_rng(2)
    turns = groups.image_rotations(4)
    found = measures.feature_correlation(lambda x: x + rng.standard_normal(x.shape), turns, images())
    assert found.correlation[0, 0] < 0.8
