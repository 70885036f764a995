"""Actions: homomorphisms by brute force, NumPy's own transforms, and samples or matrices that do not fit."""

import itertools

import numpy as np
import pytest
from registry import ACTIONS

from haarflow import groups


def samples(name, n=3, seed=0):
    make, shape = ACTIONS[name]
    return make(), np.random.default_rng(seed).standard_normal((n, *shape))


def inner(x):
    return x.reshape(len(x), -1) @ x.reshape(len(x), -1).T


@pytest.mark.parametrize("name", ACTIONS)
def test_homomorphism_and_orthogonality_by_brute_force(name):
    action, x = samples(name)
    np.testing.assert_allclose(action(action.group.identity, x), x, atol=1e-14)
    gram = inner(x)
    for g, h in itertools.product(range(action.group.order), repeat=2):
        np.testing.assert_allclose(action(g, action(h, x)), action(action.group.table[g, h], x), atol=1e-12)
    for g in range(action.group.order):
        np.testing.assert_allclose(inner(action(g, x)), gram, atol=1e-12)


@pytest.mark.parametrize("name", ACTIONS)
def test_orbit_and_types(name):
    action, x = samples(name)
    orbit = action.orbit(x)
    for g in range(action.group.order):
        assert np.array_equal(orbit[g], action(g, x))
    assert action(0, x.astype("float32")).dtype == np.float32
    assert action(0, np.ones(x.shape, int)).dtype == np.float64
    assert orbit.flags.writeable
    action(0, x)[:] = 0
    assert x.any()


def test_against_numpy():
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3))
    for g in range(4):
        assert np.array_equal(groups.image_rotations(4)(g, x), np.rot90(x, g, axes=(1, 2)))
    assert np.array_equal(groups.image_rotations(2)(1, x), x[:, ::-1, ::-1])
    for g, (turns, flip) in enumerate(itertools.product(range(4), (False, True))):
        assert np.array_equal(groups.image_dihedral()(g, x), np.rot90(np.flip(x, 2) if flip else x, turns, axes=(1, 2)))
    shifts = groups.image_translations((4, 4))
    assert np.array_equal(shifts(4 * 1 + 3, x), np.roll(x, (1, 3), axis=(1, 2)))


def test_lattice_rotations_move_sites_as_images():
    x = np.random.default_rng(0).standard_normal((2, 25))
    sites = groups.permutation_action(groups.cyclic(4), groups.lattice_rotations(5))
    images = groups.image_rotations(4)
    matrices = groups.permutation_matrices(groups.lattice_rotations(5))
    for g in range(4):
        turned = images(g, x.reshape(2, 5, 5, 1)).reshape(2, 25)
        assert np.array_equal(sites(g, x), turned)
        assert np.array_equal(x @ matrices[g].T, turned)


def test_interpolated_rotations():
    action = groups.interpolated_rotations(8)
    assert not action.exact
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 2))
    for g in (0, 2, 4, 6):
        assert np.array_equal(action(g, x), np.rot90(x, g // 2, axes=(1, 2)))
    # One eighth turn of a linear ramp, inside the inscribed circle, in the direction of np.rot90.
    y, z = np.mgrid[-4:5, -4:5].astype(float)
    ramp = z[None, :, :, None]
    angle = np.pi / 4
    inside = y**2 + z**2 < 12
    np.testing.assert_allclose(
        action(1, ramp)[0, :, :, 0][inside], (np.cos(angle) * z - np.sin(angle) * y)[inside], atol=1e-12
    )
    report = groups.check_action(action, x)
    assert report.homomorphism > 0.01
    assert "is no group action" in report.failures[0]


def test_check_action_names_the_element():
    class Stretched(type(groups.no_action())):
        def _transform(self, g, x):
            return x * 2.0 if g else x.copy()

    report = groups.check_action(Stretched(groups.cyclic(2), "stretch"), np.ones((2, 3)))
    assert any("1 after 1 differs" in failure for failure in report.failures)
    assert any("element 1 changes inner products" in failure for failure in report.failures)
    assert groups.check_action(*samples("quarter turns")).failures == ()


MISFITS = [
    ("quarter turns", (3, 4, 1), "needs square images"),
    ("quarter turns", (1, 8, 8), "channel axis must be the last"),
    ("quarter turns", (8, 8), r"add a channel axis with x\[..., None\]"),
    ("turns and flips", (3, 4, 1), "needs square images"),
    ("shifts", (3, 3, 1), "multiples of"),
    ("p4", (3, 6, 1), "needs square images"),
    ("p4", (4, 4, 1), r"multiples of 3, found samples of shape \(4, 4, 1\)"),
    ("cube rotations", (3, 2), "last axis of size 3"),
    ("lattice", (10,), r"acts on \[n, 9, ...\]"),
]


@pytest.mark.parametrize(("name", "shape", "message"), MISFITS)
def test_samples_that_do_not_fit(name, shape, message):
    with pytest.raises(ValueError, match=message):
        ACTIONS[name][0]()(0, np.zeros((2, *shape)))


def test_arguments_that_are_wrong():
    with pytest.raises(ValueError, match=r"see interpolated_rotations\(8\)"):
        groups.image_rotations(8)
    with pytest.raises(ValueError, match=r"use image_rotations\(4\)"):
        groups.interpolated_rotations(4)
    with pytest.raises(IndexError, match=r"g must be an element 0 \.\. 3"):
        groups.image_rotations(4)(4, np.zeros((1, 2, 2, 1)))
    cycle = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    with pytest.raises(ValueError, match=r"perms\[1\] must be a permutation"):
        groups.permutation_action(groups.cyclic(3), [[0, 1, 2], [1, 1, 0], [2, 0, 1]])
    with pytest.raises(ValueError, match="a row for each of the 2 elements"):
        groups.permutation_action(groups.cyclic(2), cycle)
    with pytest.raises(ValueError, match="perms must be a homomorphism"):
        groups.permutation_action(groups.cyclic(3), cycle[[0, 1, 1]])
    s3 = groups.symmetric(3)
    where_from = np.array(list(itertools.permutations(range(3))))
    assert groups.permutation_action(s3, where_from).group == s3
    with pytest.raises(ValueError, match="not where its value comes from"):
        groups.permutation_action(s3, np.argsort(where_from))
    with pytest.raises(ValueError, match="homomorphism"):
        groups.matrix_action(groups.cyclic(2), np.stack([np.eye(2), np.array([[0.0, -1], [1, 0]])]))
