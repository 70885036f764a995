"""Coinciding augmented samples against comparing every pair of the listed set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import ACTIONS

from haarflow import groups


def brute_force(action, x, tolerance=1e-9):
    points = np.stack([action(g, x).reshape(len(x), -1) for g in range(action.group.order)])
    same = np.abs(points[:, None, :, None] - points[None, :, None, :]).max(axis=-1) < tolerance
    distinct = len(np.unique(points.reshape(-1, points.shape[-1]).round(7) + 0.0, axis=0))
    return same, distinct  # [g, h, i, j]


def check(action, x):
    found = groups.coincidences(action, x)
    same, distinct = brute_force(action, x)
    e = action.group.identity
    assert found.distinct_points == distinct
    for i in range(len(x)):
        assert np.array_equal(found.stabilisers[i], np.flatnonzero(same[:, e, i, i]))
        related = np.flatnonzero(same[:, e, :, i].any(axis=0))
        assert found.representative[i] == related[0]
        u, r = found.transporter[i], found.representative[i]
        np.testing.assert_allclose(action(u, x[r : r + 1]), x[i : i + 1], atol=1e-9)
    return found


@pytest.mark.parametrize("name", ACTIONS)
def test_generic_samples(name):
    make, shape = ACTIONS[name]
    action, x = make(), np.random.default_rng(0).standard_normal((4, *shape))
    assert check(action, x).trivial


@pytest.mark.parametrize("name", ACTIONS)
def test_symmetric_related_equal_and_blank_samples(name):
    make, shape = ACTIONS[name]
    action, x = make(), np.random.default_rng(0).standard_normal((7, *shape))
    x[1] = action.orbit(x[1:2]).mean(axis=0)[0]
    x[3] = action(action.group.order - 1, x[2:3])[0]
    x[4] = x[0]
    x[6] = 0
    assert not check(action, x).trivial


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=9, max_size=9), min_size=1, max_size=6))
def test_spin_patterns(rows):
    action = groups.permutation_action(groups.cyclic(4), groups.lattice_rotations(3))
    check(action, np.array(rows, float))


def test_vectors_on_an_axis_known_to_rounding_only():
    group = groups.icosahedral()
    action = groups.matrix_action(group, group.matrices)
    axis = np.linalg.svd(group.matrices[1] - np.eye(3))[2][-1]
    x = np.stack([axis, *action(17, axis[None]), *action(5, 2 * axis[None])])
    found = check(action, x)
    assert len(found.stabilisers[0]) > 1
    assert found.representative[1] == 0


def test_many_blank_images_are_no_trouble():
    action = groups.image_translations((8, 8))
    found = groups.coincidences(action, np.zeros((200, 8, 8, 1)))
    assert found.distinct_points == 1
    assert not found.representative.any()
