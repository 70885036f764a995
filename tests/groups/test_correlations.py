"""Inner products over whole groups: fast transforms against products with each transformed sample; p4 on images."""

import time

import numpy as np
import pytest
from registry import ACTIONS, turns_and_shifts

from haarflow import groups


def listed(action, x1, x2):
    """<x1_i, rho(g) x2_j>, one element after the other."""
    return np.stack([np.tensordot(x1, action(g, x2), [range(1, x1.ndim)] * 2) for g in range(action.group.order)], -1)


def batches(shape, n1=3, n2=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n1, *shape)), rng.standard_normal((n2, *shape))


def scale(x1, x2):
    return max(np.linalg.norm(x) for x in x1) * max(np.linalg.norm(x) for x in x2)


def is_fast(name):
    make, shape = ACTIONS[name]
    return make().correlate(*batches(shape)) is not None


FAST = [name for name in ACTIONS if is_fast(name)]

# name -> (action, sides): sides that are odd, even and oblong, and coarse shifts of each.
CASES = {name: (ACTIONS[name][0](), ACTIONS[name][1][:2]) for name in FAST} | {
    "odd and oblong": (groups.image_translations((5, 7)), (5, 7)),
    "coarse along one axis": (groups.image_translations((6, 3)), (6, 9)),
    "along one axis": (groups.image_translations((1, 6)), (5, 6)),
    "no shift": (groups.image_translations((1, 1)), (2, 3)),
    "even p4": (groups.image_p4(4), (4, 4)),
    "odd p4": (groups.image_p4(5), (5, 5)),
    "p4 by odd steps": (groups.image_p4(2), (6, 6)),
    "p4 of an odd side by steps": (groups.image_p4(3), (9, 9)),
    "p4 without shifts": (groups.image_p4(1), (4, 4)),
}


def test_who_has_a_fast_transform():
    assert FAST == ["shifts", "coarse shifts", "p4", "coarse p4"]


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", CASES)
def test_against_every_element(name, channels):
    action, sides = CASES[name]
    x1, x2 = batches((*sides, channels))
    kept = x1.copy(), x2.copy()
    expected = listed(action, x1, x2)
    found = action.correlate(x1, x2)
    assert found.shape == (3, 4, action.group.order)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale(x1, x2))
    single = action.correlate(x1.astype("float32"), x2.astype("float32"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * scale(x1, x2))
    assert np.array_equal(x1, kept[0])
    assert np.array_equal(x2, kept[1])


@pytest.mark.parametrize("name", ["shifts", "p4"])
def test_types_and_empty_batches(name):
    make, shape = ACTIONS[name]
    action, (x1, x2) = make(), batches(shape)
    mixed = action.correlate(x1.astype("float32"), x2)
    assert mixed.dtype == np.float64
    exact = listed(action, x1.astype("float32").astype(float), x2)
    np.testing.assert_allclose(mixed, exact, rtol=0, atol=1e-12 * scale(x1, x2))
    whole = np.rint(3 * x1).astype(int)
    np.testing.assert_allclose(action.correlate(whole, whole[:1]), listed(action, whole, whole[:1]), atol=1e-10)
    for channels in (1, 6):
        none, some = np.zeros((0, *shape[:2], channels)), np.zeros((2, *shape[:2], channels))
        assert action.correlate(none, some).shape == (0, 2, action.group.order)
        assert action.correlate(some, none).shape == (2, 0, action.group.order)


def test_batches_that_do_not_fit():
    action, (x1, x2) = groups.image_translations((2, 2)), batches((2, 2, 1))
    with pytest.raises(ValueError, match=r"x2 must hold samples of the shape \(2, 2, 1\) of those in x1, found \(4, 2"):
        action.correlate(x1, batches((4, 2, 1))[1])
    with pytest.raises(ValueError, match="multiples of"):
        action.correlate(x1, batches((3, 2, 1))[1])
    with pytest.raises(TypeError, match="x1 must hold real numbers"):
        action.correlate(x1 * 1j, x2)
    with pytest.raises(ValueError, match="x2 must be a batch"):
        action.correlate(x1, 1.0)


@pytest.mark.parametrize("name", [name for name in CASES if "p4" in name])
def test_p4_is_an_action(name):
    action, sides = CASES[name]
    assert groups.check_action(action, batches((*sides, 2))[0], tolerance=1e-14).failures == ()


def test_p4_turns_before_it_shifts():
    x = batches((6, 6, 2))[0]
    fine, coarse = groups.image_p4(6), groups.image_p4(3)
    for g in (1, 4 * (6 * 1 + 2), 4 * (6 * 5 + 3) + 1, 4 * (6 * 4) + 3):
        (y, z), turns = divmod(g // 4, 6), g % 4
        assert np.array_equal(fine(g, x), np.roll(np.rot90(x, turns, axes=(1, 2)), (y, z), axis=(1, 2)))
    assert np.array_equal(coarse(4 * (3 * 1 + 2) + 1, x), np.roll(np.rot90(x, axes=(1, 2)), (2, 4), axis=(1, 2)))
    assert fine.group == groups.p4(6) == turns_and_shifts(6)
    assert groups.FiniteGroup.from_table(groups.p4(3).table) == groups.p4(3)


def test_p4_of_all_shifts_of_28_x_28():
    start = time.perf_counter()
    action = groups.image_p4(28)
    assert action.group.generators == (1, 4)
    assert action.group.inverse[action.group.identity] == action.group.identity == 0
    assert time.perf_counter() - start < 10
    x1, x2 = batches((28, 28, 1), 2, 1)
    np.testing.assert_allclose(action.correlate(x1, x2), listed(action, x1, x2), rtol=0, atol=1e-12 * scale(x1, x2))
