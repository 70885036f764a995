"""Measures of learned equivariance on callables: loops, SciPy's correlation and exponential, answers known by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import pearsonr

from haarflow import groups, kernels, measures, networks

ACTIONS = {
    "turns": groups.image_rotations(4),
    "turns and flips": groups.image_dihedral(),
    "shifts": groups.image_translations((2, 3)),
    "interpolated turns": groups.interpolated_rotations(8),
}


def images(n=3, side=6, channels=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, side, side, channels))


def cube_rotations():
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1.0, -1.0], repeat=3):
            matrix = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def random_rotations(count, seed):
    matrices = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))[0]
    return matrices * np.linalg.det(matrices)[:, None, None]


# ---------------------------------------------------------------- layers


def uneven(x):
    """Two layers of maps, the second smaller, and one without positions; none equivariant."""
    y = np.tanh(x + 0.5 * np.roll(x, 1, axis=1) + 0.2 * np.roll(x, 2, axis=2))
    z = y[:, ::2, ::2, :1] - y[:, 1::2, ::2, 1:]
    return [y, z, np.concatenate([y[:, 0].mean(axis=1), z[:, :, 1].max(axis=1), x[:, 2, 3]], axis=1)]


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


# ---------------------------------------------------------------- forces


def drift(x):
    """A smooth force field, not equivariant, in three directions and at two scales."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 3, 3))
    return np.sin(x @ a) + np.cos(2 * x @ b) + x.mean(axis=-2, keepdims=True) * np.array([1.0, 0.0, -1.0])


def springs(x):
    apart = x[..., :, None, :] - x[..., None, :, :]
    return -(apart / (1 + (apart**2).sum(axis=-1, keepdims=True)) ** 2).sum(axis=-2)


def atoms(shape=(5,), seed=4):
    return np.random.default_rng(seed).standard_normal((*shape, 3))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 1, 4)])
def test_frame_averaging_against_a_loop(shape):
    x, rotations = atoms(shape), random_rotations(6, 5)
    found = measures.frame_averaged(drift, rotations)(x)
    wanted = np.zeros(x.shape)
    for rotation in rotations:
        # As columns: r -> Q r, and the force at the rotated place turned back.
        moved = np.einsum("ab,...b->...a", rotation, x)
        wanted += np.einsum("ab,...b->...a", np.linalg.inv(rotation), drift(moved)) / 6
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_averaging_over_all_cube_rotations_is_equivariant_under_them_and_under_no_others():
    cube, x = cube_rotations(), atoms((2, 5))
    assert len(cube) == 24
    averaged = measures.frame_averaged(drift, cube)

    def error(force, rotations):
        forces = np.stack([force(x @ rotation.T) for rotation in rotations])
        return measures.force_equivariance_error(forces, rotations)

    assert error(averaged, cube).max() < 1e-14
    for rotation in cube:
        np.testing.assert_allclose(averaged(x @ rotation.T), averaged(x) @ rotation.T, atol=1e-14)
    assert error(averaged, random_rotations(24, 6)).min() > 0.01
    assert error(drift, cube).min() > 0.5
    assert error(measures.frame_averaged(drift, cube[:23]), cube).min() > 0.01


def test_an_equivariant_force_stays_as_it_is_and_has_no_error():
    x = atoms((2, 5))
    np.testing.assert_allclose(measures.frame_averaged(springs, random_rotations(7, 7))(x), springs(x), atol=1e-14)
    found = measures.frame_averaging_error(springs, x, averages=(1, 3), rotations=5)
    assert found.error.shape == (2, 2)
    assert found.error.max() < 1e-14


def test_frame_averaging_error_against_a_loop_over_the_rotations_that_the_force_saw():
    # Three atoms on the axes: their rows are the transposed rotation itself.
    seen = []

    def force(x):
        seen.append(x.copy())
        return drift(x)

    found = measures.frame_averaging_error(force, np.eye(3), averages=(3, 1, 2), rotations=4, seed=8)
    frames = found.frames
    assert frames.shape == (3, 3, 3)
    assert len(seen) == 12
    turns = [(x @ frames[0]).T for x in seen[::3]]
    for matrix in [*turns, *frames]:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
        assert np.linalg.det(matrix) > 0
    apart = [np.abs(a - b).max() for a, b in itertools.combinations([*turns, *frames], 2)]
    assert min(apart) > 0.01
    for count, error in zip((3, 1, 2), found.error, strict=True):
        averaged = measures.frame_averaged(drift, frames[:count])
        back = np.stack([averaged(turn.T) @ turn for turn in turns])
        distance = [math.dist(back[r, a], back[:, a].mean(axis=0)) for r in range(4) for a in range(3)]
        np.testing.assert_allclose(error, np.mean(distance), rtol=1e-12)


def test_the_error_falls_like_one_over_the_root_of_the_number_of_frames():
    found = measures.frame_averaging_error(drift, atoms((20, 5)), rotations=32)
    np.testing.assert_array_equal(found.averages, 2 ** np.arange(9))
    error = found.error.mean(axis=1)
    slope = np.polyfit(np.log(found.averages), np.log(error), 1)[0]
    assert -0.6 < slope < -0.4
    assert 1 / 1.5 < error[-1] / (error[0] / 16) < 1.5


def test_a_constant_force_leaves_the_length_of_the_mean_frame():
    # F(x) = e gives mean_q e Q_q everywhere, turned back by every rotation to another place on a sphere.
    found = measures.frame_averaging_error(
        lambda x: np.broadcast_to([0.0, 0.0, 2.0], x.shape), atoms(), averages=(1, 2, 10), rotations=1000
    )
    length = [2 * np.linalg.norm(found.frames[:k, 2].mean(axis=0)) for k in (1, 2, 10)]
    assert length[0] == pytest.approx(2)
    # The mean over 1000 rotations is off 0 by 1/sqrt(1000) of the length.
    np.testing.assert_allclose(found.error, length, rtol=0.01)


def test_frames_are_fixed_by_the_seed_and_fewer_are_the_first_of_more():
    x = atoms()
    few = measures.frame_averaging_error(drift, x, averages=(1, 4), rotations=3, seed=1)
    more = measures.frame_averaging_error(drift, x, averages=[1, 4, 9], rotations=3, seed=1)
    other = measures.frame_averaging_error(drift, x, averages=(1, 4), rotations=3, seed=2)
    np.testing.assert_array_equal(few.error, more.error[:2])
    np.testing.assert_array_equal(few.frames, more.frames[:4])
    assert (np.abs(few.error - other.error) > 1e-6).all()


def test_forces_see_the_dtype_they_are_given():
    seen = set()

    def force(x):
        seen.add(x.dtype)
        return drift(x)

    x = atoms().astype(np.float32)
    found = measures.frame_averaging_error(force, x, averages=(2,), rotations=2)
    assert measures.frame_averaged(force, cube_rotations())(x).dtype == found.error.dtype == np.float64
    assert seen == {np.dtype("float32")}


# ---------------------------------------------------------------- energies


@jax.jit
def field(x):
    """Not invariant: a field beside pairs that interact."""
    rest = jnp.sin(x @ jnp.asarray([1.0, -2.0, 0.5])) + x[..., 0] * x[..., 1] ** 2
    return bonds(x) + rest.sum(axis=-1)


@jax.jit
def bonds(x):
    squares = ((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(axis=-1)
    return jnp.exp(-squares).sum(axis=(-2, -1))


def plain(x):
    """The same field in NumPy."""
    squares = ((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(axis=-1)
    rest = np.sin(np.asarray(x) @ np.array([1.0, -2.0, 0.5])) + x[..., 0] * x[..., 1] ** 2
    return np.exp(-squares).sum(axis=(-2, -1)) + rest.sum(axis=-1)


def exponential_differences(x, step=1e-5):
    """Vary each entry of G, with SciPy's exponential."""
    out = np.zeros((*x.shape[:-2], 3, 3))
    for a, b in np.ndindex(3, 3):
        g = np.zeros((3, 3))
        g[a, b] = step
        out[..., a, b] = (plain(x @ expm(g - g.T)) - plain(x @ expm(g.T - g))) / (2 * step)
    return out


@pytest.mark.parametrize("shape", [(5,), (2, 1, 4)])
def test_both_ways_to_the_rotational_gradient_against_the_exponential(shape):
    x = atoms(shape)
    wanted = exponential_differences(x)
    assert np.abs(wanted).max() > 0.1
    exact = measures.rotational_gradient(field, x)
    np.testing.assert_allclose(exact, wanted, atol=1e-8)
    np.testing.assert_allclose(measures.rotational_gradient(plain, x, step=1e-5), exact, atol=1e-8)
    np.testing.assert_array_equal(exact, -np.swapaxes(exact, -1, -2))
    # Second order: ten times the step, a hundred times the error.
    coarse, finer = (np.abs(measures.rotational_gradient(plain, x, step=s) - exact).max() for s in (1e-2, 1e-3))
    assert 90 < coarse / finer < 110


def test_the_rotational_gradient_known_by_hand():
    # E = x_1 y_2: turning x into y changes it by -y_1 y_2 + x_1 x_2, y into z by x_1 * -z_2, x into z by -z_1 y_2.
    x = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 11.0]])
    wanted = np.zeros((3, 3))
    wanted[0, 1], wanted[1, 2], wanted[0, 2] = -2 * 7 + 1 * 5, -1 * 11, -3 * 7
    wanted -= wanted.T
    np.testing.assert_allclose(measures.rotational_gradient(lambda x: x[0, 0] * x[1, 1], x), wanted)
    found = measures.rotational_gradient(lambda x: x[0, 0] * x[1, 1], x, step=1e-4)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_differences_turn_by_the_whole_angle_without_stretching():
    # x y on a circle is r^2 sin(2 angle)/2: over a wide step its difference is the derivative times sin(2 h)/(2 h).
    found = measures.rotational_gradient(lambda x: x[0, 0] * x[0, 1], [[2.0, 1.0, 5.0]], step=0.5)
    np.testing.assert_allclose(found[0, 1], (2.0**2 - 1.0**2) * math.sin(1.0), rtol=1e-14)


def test_an_invariant_energy_has_none_and_the_norm_is_that_of_the_torque():
    x = atoms((3, 5))
    assert np.abs(measures.rotational_gradient(bonds, x)).max() < 1e-14
    assert np.abs(measures.rotational_gradient(bonds, x, step=1e-5)).max() < 1e-9
    # sqrt of a sum of squares has a derivative away from 0; the distance from the origin is invariant, a plane's not.
    assert np.abs(measures.rotational_gradient(lambda x: jnp.linalg.norm(x, axis=-1).sum(axis=-1), x)).max() < 1e-14
    pull = np.array([0.3, -1.0, 2.0])
    found = measures.rotational_gradient(lambda x: x.sum(axis=-2) @ pull, x)
    torque = np.cross(x.sum(axis=-2), pull)
    np.testing.assert_allclose(np.linalg.norm(found, axis=(-2, -1)), 2**0.5 * np.linalg.norm(torque, axis=-1))
    assert torque.any()


@pytest.mark.parametrize("step", [None, 1e-2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_energies_are_computed_in_the_dtype_asked_for_and_no_scope_stays_open(dtype, step):
    seen = set()

    def energy(x):
        x = jnp.asarray(x)
        seen.add(str(x.dtype))
        return field(x)

    for given in (np.float32, np.float64):
        found = measures.rotational_gradient(energy, atoms().astype(given), step=step, dtype=dtype)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, exponential_differences(atoms()), rtol=1e-3)
    assert seen == {dtype}
    assert jnp.ones(1).dtype == jnp.float32


UNTRACEABLE = {
    "NumPy": lambda x: np.sin(np.asarray(x)).sum(axis=(-2, -1)),
    "a branch": lambda x: x[0, 0] if x[0, 0] > 0 else -x[0, 0],
    "a mask": lambda x: x[x > 2.5].sum(),
    "an index": lambda x: x[0, [0, 1][x[0, 0].astype(int) * 0]],
    "an item": lambda x: np.float64(x[0, 1].item()),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_differences_are_taken_only_where_they_are_asked_for(name):
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    with pytest.raises(TypeError, match=r"energy must be made of operations that JAX can trace.*step=1e-5: found "):
        measures.rotational_gradient(UNTRACEABLE[name], x)
    assert np.abs(measures.rotational_gradient(UNTRACEABLE[name], x, step=1e-5)).max() > 0.1
    assert jnp.ones(1).dtype == jnp.float32


# ---------------------------------------------------------------- refusals

TURNS, CUBE, X, ATOMS = groups.image_rotations(4), cube_rotations(), images(), atoms((2, 5))
calls = itertools.count()


def averaging(**options):
    return measures.frame_averaging_error(drift, ATOMS, **{"averages": (1, 2), "rotations": 2, **options})


REFUSED = {
    "a group for an action": (
        lambda: measures.feature_correlation(uneven, groups.cyclic(4), X),
        TypeError,
        r"action must be an Action such as groups\.image_rotations\(4\), found",
    ),
    "one number": (lambda: measures.feature_correlation(uneven, TURNS, 1.0), ValueError, r"x must be \[n, \.\.\., d\]"),
    "complex samples": (lambda: measures.feature_correlation(uneven, TURNS, 1j * X), TypeError, "x must be real"),
    "nan samples": (lambda: measures.feature_correlation(uneven, TURNS, X * np.nan), ValueError, "x must be finite"),
    "samples that do not turn": (
        lambda: measures.feature_correlation(lambda x: 1 / 0, TURNS, X[:, :3]),
        ValueError,
        r"image_rotations\(4\) needs square images",
    ),
    "no layers": (lambda: measures.feature_correlation(lambda x: [], TURNS, X), ValueError, "found an empty list"),
    "a layer of another batch": (
        lambda: measures.feature_correlation(lambda x: [x, x[:2]], TURNS, X),
        ValueError,
        r"layer 1 of features\(x\) must be \[n, \.\.\., C\] or \[n, C\] with n = 3 samples, found shape \(2, 6, 6, 2\)",
    ),
    "a layer of numbers": (
        lambda: measures.feature_correlation(lambda x: x.sum(axis=(1, 2, 3)), TURNS, X),
        ValueError,
        r"layer 0 of features\(x\) must be .* found shape \(3,\)",
    ),
    "a nan layer": (
        lambda: measures.feature_correlation(lambda x: [x, np.where(x > 1, np.nan, x)], TURNS, X),
        ValueError,
        r"layer 1 of features\(x\) must be finite",
    ),
    "a dict of layers": (
        lambda: measures.feature_correlation(lambda x: {"a": x}, TURNS, X),
        TypeError,
        r"layer 0 of features\(x\) must be real numbers, found dtype object",
    ),
    "maps that do not turn": (
        lambda: measures.feature_correlation(lambda x: [x, x[:, :3]], TURNS, X),
        ValueError,
        r"layer 1 of features\(x\) must be maps that the action transforms: image_rotations\(4\) needs square",
    ),
    "shapes that change": (
        lambda: measures.feature_correlation(lambda x: [x] * (1 + (next(calls) > 0)), TURNS, X),
        ValueError,
        r"features\(action\(0, x\)\) must have the shapes of features\(x\), .*, found",
    ),
    "one rotation": (lambda: measures.frame_averaged(drift, np.eye(3)), ValueError, r"rotations must be \[R, 3, 3\]"),
    "no rotations": (lambda: measures.frame_averaged(drift, CUBE[:0]), ValueError, "with at least one rotation"),
    "plane rotations": (lambda: measures.frame_averaged(drift, CUBE[:, :2, :2]), ValueError, r"found shape \(24, 2, 2"),
    "stretching": (lambda: measures.frame_averaged(drift, 2 * CUBE), ValueError, "rotations must be orthogonal"),
    "a flat configuration": (
        lambda: measures.frame_averaged(drift, CUBE)(ATOMS[..., :2]),
        ValueError,
        r"x must be \[\.\.\., atoms, 3\] with entries on every axis, found shape \(2, 5, 2\)",
    ),
    "forces of another shape": (
        lambda: measures.frame_averaged(lambda x: x[:1], CUBE)(ATOMS),
        ValueError,
        r"force\(x\) must be \[\.\.\., atoms, 3\] = \(2, 5, 3\), found shape \(1, 5, 3\)",
    ),
    "nan forces": (
        lambda: measures.frame_averaged(lambda x: x * np.inf, CUBE)(ATOMS),
        ValueError,
        r"force\(x\) must be finite",
    ),
    "an average over none": (lambda: averaging(averages=(0,)), ValueError, "averages must be at least 1, found 0"),
    "half a rotation": (lambda: averaging(averages=(1.5,)), TypeError, r"averages must be an integer, found 1\.5"),
    "no averages": (lambda: averaging(averages=()), ValueError, "averages must be a sequence of at least one"),
    "one number of averages": (lambda: averaging(averages=4), ValueError, "averages must be a sequence .*, found 4"),
    "a single measured rotation": (lambda: averaging(rotations=1), ValueError, "rotations must be at least 2, found 1"),
    "a negative seed": (lambda: averaging(seed=-1), ValueError, "seed must be at least 0, found -1"),
    "energies summed up": (
        lambda: measures.rotational_gradient(lambda x: field(x).sum(), ATOMS),
        ValueError,
        r"energy\(x\) must be real numbers \[\.\.\.\] = \(2,\), one for each configuration, found shape \(\)",
    ),
    "energies summed up, differences": (
        lambda: measures.rotational_gradient(lambda x: plain(x).sum(), ATOMS, step=1e-5),
        ValueError,
        r"energy\(x\) must be \[\.\.\.\] = \(2,\), found shape \(\)",
    ),
    "complex energies": (
        lambda: measures.rotational_gradient(lambda x: 1j * field(x), ATOMS),
        ValueError,
        "energy.* found shape .* of dtype complex128",
    ),
    "a kink at distance 0": (
        lambda: measures.rotational_gradient(
            lambda x: jnp.sqrt(((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(axis=-1)).sum(axis=(-2, -1)), ATOMS
        ),
        ValueError,
        "the gradient of energy in x must be finite: found 30 NaN",
    ),
    "a configuration of numbers": (
        lambda: measures.rotational_gradient(field, ATOMS[0, 0]),
        ValueError,
        r"x must be \[\.\.\., atoms, 3\] with entries on every axis, found shape \(3,\)",
    ),
    "no step at all": (
        lambda: measures.rotational_gradient(field, ATOMS, step=0.0),
        ValueError,
        "step must be finite and > 0, found 0",
    ),
    "half precision": (
        lambda: measures.rotational_gradient(field, ATOMS, dtype="float16"),
        ValueError,
        'dtype must be "float64" or "float32"',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_what_does_not_fit_is_refused_by_name(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
