"""Frame averaging and the rotational gradient: loops, known values, finite differences."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from callables import atoms, bonds, cube_rotations, drift, field, plain, random_rotations
from scipy.linalg import expm

from haarflow import measures


def springs(x):
    apart = x[..., :, None, :] - x[..., None, :, :]
    return -(apart / (1 + (apart**2).sum(axis=-1, keepdims=True)) ** 2).sum(axis=-2)


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
