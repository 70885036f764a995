"""Coincidences: structure that must hold whatever the rounding, memory, and nearly coinciding samples."""

import tracemalloc

import numpy as np
import pytest
from registry import ACTIONS

from haarflow import groups


def hard_samples(name, seed=0):
    """Generic, averaged over each cyclic subgroup, moved, repeated and blank samples, shuffled."""
    make, shape = ACTIONS[name]
    action, rng = make(), np.random.default_rng(seed)
    group = action.group
    x = list(rng.standard_normal((3, *shape)))
    for g in rng.integers(group.order, size=6):
        powers = [group.identity]
        while (power := int(group.table[g, powers[-1]])) != group.identity:
            powers.append(power)
        x.append(np.mean([action(p, x[0][None])[0] for p in powers], axis=0))
    for i in range(len(x)):
        x.append(action(int(rng.integers(group.order)), x[i][None])[0])
    x += [np.zeros(shape), np.zeros(shape)]
    return action, np.stack(x)[rng.permutation(len(x))]


@pytest.mark.parametrize("name", ACTIONS)
def test_structure(name):
    action, x = hard_samples(name)
    group = action.group
    found = groups.coincidences(action, x)
    points = np.concatenate([action(g, x).reshape(len(x), -1) for g in range(group.order)])
    assert found.distinct_points == len(np.unique(points.round(8) + 0.0, axis=0))
    assert not found.trivial
    for i, (j, u) in enumerate(zip(found.representative, found.transporter, strict=True)):
        assert found.representative[j] == j <= i
        assert i != j or u == group.identity
        np.testing.assert_allclose(action(u, x[j][None])[0], x[i], atol=1e-12)
        stabiliser = found.stabilisers[i]
        # A subgroup, and u S u^-1 for moved samples: both exactly.
        assert np.isin(group.table[np.ix_(stabiliser, stabiliser)], stabiliser).all()
        moved = group.table[group.table[u, found.stabilisers[j]], group.inverse[u]]
        assert np.array_equal(np.sort(moved), stabiliser)
        fixing = [g for g in range(group.order) if np.abs(action(g, x[i][None])[0] - x[i]).max() < 1e-9]
        assert stabiliser.tolist() == fixing


def test_samples_that_differ_slightly_stay_apart():
    """A distance of 1e-12 is far above rounding, though random projections shrink it by sqrt(D)."""
    action = groups.image_rotations(4)
    x = np.random.default_rng(0).standard_normal((1, 28, 28, 1))
    x = x / np.linalg.norm(x)
    step = np.zeros_like(x)
    step[0, 3, 4, 0] = 1e-12
    found = groups.coincidences(action, np.concatenate([x, x + step]))
    assert found.trivial
    assert found.distinct_points == 8
    # 40 times the tolerance, yet within it in every projection: only the full comparison tells.
    near = groups.coincidences(action, np.concatenate([x, x + step]), tolerance=2.5e-14)
    assert near.trivial
    merged = groups.coincidences(action, np.concatenate([x, x + step]), tolerance=1e-11)
    assert merged.representative.tolist() == [0, 0]
    assert merged.distinct_points == 4


def test_nearly_symmetric_samples_have_subgroups_as_stabilisers():
    """Shifts of a slow ramp lie within the tolerance one by one, not all together."""
    action = groups.image_translations((1, 8))
    x = 1 + 1e-9 * np.arange(8.0).reshape(1, 1, 8, 1)
    for tolerance in np.geomspace(1e-10, 1e-7, 25):
        found = groups.coincidences(action, x, tolerance=tolerance)
        stabiliser = found.stabilisers[0]
        table = action.group.table
        assert np.isin(table[np.ix_(stabiliser, stabiliser)], stabiliser).all()
        assert found.distinct_points * len(stabiliser) == 8


def test_float32_samples_coincide_within_their_own_rounding():
    group = groups.icosahedral()
    action = groups.matrix_action(group, group.matrices)
    x = np.random.default_rng(0).standard_normal((1, 4, 3))
    # An element that is no permutation of the axes: float32 rounds its image.
    g = int(np.argmax(np.abs(group.matrices - np.round(group.matrices)).min(axis=(1, 2))))
    x = np.concatenate([x, action(g, x)])
    assert groups.coincidences(action, x.astype("float32")).representative.tolist() == [0, 0]
    assert groups.coincidences(action, x.astype("float32").astype(float)).trivial
    whole = np.array([[0, 0, 2], [2, 0, 0]])
    cube = groups.octahedral()
    found = groups.coincidences(groups.matrix_action(cube, cube.matrices), whole)
    assert found.distinct_points == 6
    assert len(found.stabilisers[0]) == 4


def full_translations(side):
    """Shifts with quarter turns: side^2 * 4 elements, acting on the sites of a periodic lattice."""
    shifts, y, x = groups.translations((side, side)), *np.divmod(np.arange(side**2), side)
    turned = [(y, x)]
    for _ in range(3):
        turned.append((-turned[-1][1] % side, turned[-1][0]))
    turns = np.array([a * side + b for a, b in turned])
    group = groups.semidirect_product(shifts, groups.cyclic(4), turns)
    sites = shifts.table[np.arange(side**2)[:, None, None], turns[None, :, :]]
    return groups.permutation_action(group, sites.reshape(group.order, -1))


@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["generic", "blank", "constant", "in one orbit"])
def test_large_augmented_sets(kind, n):
    """Images of 28 x 28 under 3136 elements; 1000 of them, listed, would take 20 GB."""
    action = full_translations(28)
    rng = np.random.default_rng(0)
    x = {
        "generic": lambda: rng.standard_normal((n, 784)),
        "blank": lambda: np.zeros((n, 784)),
        "constant": lambda: np.repeat(rng.standard_normal((n, 1)), 784, axis=1),
        "in one orbit": lambda: action.orbit(rng.standard_normal((1, 784)))[rng.integers(3136, size=n), 0],
    }[kind]()
    tracemalloc.start()
    found = groups.coincidences(action, x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = {"generic": 3136 * n, "blank": 1, "constant": n, "in one orbit": 3136}
    assert found.distinct_points == expected[kind]
    assert peak < 500e6


def test_chains_of_near_samples_keep_representatives_that_stand_for_themselves():
    found = groups.coincidences(groups.no_action(), np.array([[1.0], [1.0008], [1.0016]]), tolerance=1e-3)
    assert found.representative.tolist() == [0, 0, 2]
    assert found.distinct_points == 2
