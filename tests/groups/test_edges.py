"""What groups, representations and actions refuse, and where they could quietly go wrong."""

import itertools
import pickle
import time

import numpy as np
import pytest
from registry import ACTIONS, GROUPS

from haarflow import groups

C2, C3, C4 = groups.cyclic(2), groups.cyclic(3), groups.cyclic(4)
SQUARE = np.arange(18.0).reshape(2, 3, 3, 1)


class Faulty(type(groups.no_action())):
    """An action given by any function of element and samples."""

    def _transform(self, g, x):
        return FAULTS[self.name](g, x)


FAULTS = {
    "identity moves": lambda g, x: x @ np.diag([1.0, 1.0, 0.0]),
    "makes NaN": lambda g, x: x * np.nan if g else x.copy(),
    "stretches": lambda g, x: x * (2.0 if g else 1.0),
    "turns by the wrong angle": lambda g, x: np.roll(x, g, axis=1),
}


def test_check_action_names_product_and_element():
    x = np.random.default_rng(0).standard_normal((2, 3))
    report = groups.check_action(Faulty(groups.cyclic(1), "identity moves"), x)
    assert report.homomorphism > 0.1
    assert report.product == (0, 0)
    assert report.orthogonality > 0.01
    report = groups.check_action(Faulty(C2, "makes NaN"), x)
    assert report.homomorphism == report.orthogonality == np.inf
    assert len(report.failures) == 2
    report = groups.check_action(Faulty(C2, "stretches"), x)
    assert report.product == (1, 1)
    assert report.homomorphism == pytest.approx(3)
    assert report.element == 1
    gram = x @ x.T
    assert report.orthogonality == pytest.approx(3 * np.linalg.norm(gram) / np.linalg.norm(x) ** 2)
    # Shifts by 2 sites of 3 are no involution, yet they are orthogonal.
    report = groups.check_action(Faulty(C2, "turns by the wrong angle"), x)
    assert "is no group action" in report.failures[0]
    assert len(report.failures) == 1
    good = groups.check_action(groups.image_dihedral(), np.random.default_rng(0).standard_normal((2, 4, 4, 1)))
    assert good.homomorphism == 0
    assert good.failures == ()


@pytest.mark.parametrize("x", [np.zeros((2, 3)), np.array([[np.nan, 1, 2]]), np.array([[np.inf, 1, 2]])])
def test_check_action_refuses_inputs_that_tell_nothing(x):
    with pytest.raises(ValueError, match="x must be finite and not all zero"):
        groups.check_action(groups.no_action(), x)


REFUSED = {
    "fractional order": (lambda: groups.cyclic(4.0), ValueError, r"n must be a positive integer, found 4\.0"),
    "order in words": (lambda: groups.dihedral("4"), ValueError, "n must be a positive integer, found '4'"),
    "boolean order": (lambda: groups.cyclic(True), ValueError, "positive integer, found True"),
    "side 0": (lambda: groups.translations((2, 0)), ValueError, "every side in shape must be a positive"),
    "singular matrices": (
        lambda: groups.FiniteGroup.from_matrices([[[1.0, 0], [0, 0]]]),
        ValueError,
        "must be invertible: their neutral element, matrix 0",
    ),
    "zero matrix": (lambda: groups.FiniteGroup.from_matrices(np.zeros((1, 2, 2))), ValueError, "invertible"),
    "automorphisms of another shape": (
        lambda: groups.semidirect_product(C3, C2, [[0, 1, 2]]),
        ValueError,
        r"must be element numbers \(2, 3\)",
    ),
    "maps that are no bijections": (
        lambda: groups.semidirect_product(C3, C2, [[0, 1, 2], [0, 1, 1]]),
        ValueError,
        "must each be a permutation",
    ),
    "complex representation": (
        lambda: groups.Representation(C4, np.array([1, 1j, -1, -1j])[:, None, None]),
        ValueError,
        "matrices must be real, found dtype complex128",
    ),
    "no dimension": (lambda: groups.trivial(C2, 0), ValueError, "k must be a positive integer, found 0"),
    "where NaN is": (
        lambda: groups.Representation(C2, [[[1.0]], [[np.nan]]]),
        ValueError,
        r"found 1 NaN or inf, the first at \(1, 0, 0\)",
    ),
    "one matrix that is no identity": (
        lambda: groups.matrix_action(groups.cyclic(1), -np.eye(2)[None]),
        ValueError,
        "must be a homomorphism",
    ),
    "complex matrix action": (
        lambda: groups.matrix_action(C2, np.ones((2, 1, 1), complex)),
        ValueError,
        "real",
    ),
    "one permutation that is no identity": (
        lambda: groups.permutation_action(groups.cyclic(1), [[1, 0]]),
        ValueError,
        "must be a homomorphism",
    ),
    "fractional sites": (lambda: groups.permutation_action(C2, np.eye(2)), ValueError, "must be integers"),
    "permutations of another shape": (lambda: groups.permutation_matrices([0, 1]), ValueError, "sites"),
    "no sites": (lambda: groups.lattice_rotations(0), ValueError, "side must be a positive integer"),
    "one side": (lambda: groups.image_translations(3), ValueError, r"shape must be \(H, W\), found 3"),
    "three sides": (lambda: groups.image_translations((2, 2, 2)), ValueError, r"must be \(H, W\)"),
    "no side": (lambda: groups.image_p4(0), ValueError, "side must be a positive integer, found 0"),
    "two sides of a square": (
        lambda: groups.p4((3, 3)),
        ValueError,
        r"side must be a positive integer, found \(3, 3\)",
    ),
    "three turns": (lambda: groups.image_rotations(3), ValueError, r"see interpolated_rotations\(3\)"),
    "no turns": (lambda: groups.interpolated_rotations(0), ValueError, "positive integer, found 0"),
    "oblong turns": (
        lambda: groups.interpolated_rotations(3)(1, np.zeros((1, 3, 4, 1))),
        ValueError,
        "needs square images",
    ),
    "channels first": (
        lambda: groups.image_rotations(4)(1, np.zeros((5, 3, 32, 32))),
        ValueError,
        r"channel axis must be the last: x.transpose\(0, 2, 3, 1\)",
    ),
    "fractional element": (lambda: groups.image_rotations(4)(1.5, SQUARE), TypeError, "integer"),
    "negative element": (lambda: groups.image_rotations(4)(-1, SQUARE), IndexError, r"found -1"),
    "complex samples": (
        lambda: groups.image_rotations(4)(1, SQUARE * 1j),
        TypeError,
        "must hold real numbers",
    ),
    "a number": (lambda: groups.no_action()(0, 3.0), ValueError, "must be a batch"),
    "coincidences of nothing": (
        lambda: groups.coincidences(groups.no_action(), np.zeros((0, 3))),
        ValueError,
        "at least one sample",
    ),
    "coincidences of NaN": (
        lambda: groups.coincidences(groups.no_action(), np.array([[1.0], [np.nan]])),
        ValueError,
        "sample 1 is not",
    ),
    "coincidences of complex numbers": (
        lambda: groups.coincidences(groups.no_action(), np.ones((2, 1), complex)),
        TypeError,
        "must hold real numbers",
    ),
    "coincidences under interpolation": (
        lambda: groups.coincidences(groups.interpolated_rotations(8), SQUARE),
        ValueError,
        "needs an exact action",
    ),
    "coincidences of misfits": (
        lambda: groups.coincidences(groups.image_rotations(4), SQUARE[:, :2]),
        ValueError,
        "needs square images",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_square_stacks_of_three_channels_are_images():
    assert groups.image_rotations(4)(1, np.zeros((2, 3, 3, 3))).shape == (2, 3, 3, 3)
    assert groups.image_rotations(2)(1, np.zeros((2, 1, 4, 4))).shape == (2, 1, 4, 4)


@pytest.mark.parametrize("make", [lambda: groups.interpolated_rotations(8), lambda: groups.interpolated_rotations(3)])
def test_interpolation_returns_new_arrays(make):
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 1))
    for g in range(make().group.order):
        assert not np.shares_memory(make()(g, x), x)
    assert make()(1, x.astype("float32")).dtype == np.float32


def test_interpolation_against_four_neighbours_by_hand():
    """The turned image at pixel p is the bilinear value of the image at R(-angle) p, 0 outside."""
    action, x = groups.interpolated_rotations(12), np.random.default_rng(1).standard_normal((1, 4, 4, 1))
    for g in (1, 2, 5, 11):
        angle = 2 * np.pi * g / 12
        expected = np.zeros((4, 4))
        for row, column in itertools.product(range(4), repeat=2):
            up, right = 1.5 - row, column - 1.5
            # np.rot90 turns counterclockwise as seen on the screen, so the source lies clockwise.
            source_right = np.cos(angle) * right + np.sin(angle) * up
            source_up = -np.sin(angle) * right + np.cos(angle) * up
            r, c = 1.5 - source_up, 1.5 + source_right
            if not (0 <= r <= 3 and 0 <= c <= 3):
                continue
            i, j = min(int(r), 2), min(int(c), 2)
            p, q = r - i, c - j
            z = x[0, :, :, 0]
            expected[row, column] = (1 - p) * ((1 - q) * z[i, j] + q * z[i, j + 1]) + p * (
                (1 - q) * z[i + 1, j] + q * z[i + 1, j + 1]
            )
        np.testing.assert_allclose(action(g, x)[0, :, :, 0], expected, atol=1e-12)


def test_groups_own_their_arrays():
    table = np.array([[0, 1], [1, 0]])
    group = groups.FiniteGroup(table)
    table[0, 0] = 1
    assert group == C2
    matrices = np.array([[[1.0]], [[-1.0]]])
    rho, action = groups.Representation(C2, matrices), groups.matrix_action(C2, matrices)
    matrices[:] = 0
    assert rho.matrices[1, 0, 0] == -1
    assert action(1, np.ones((1, 1)))[0, 0] == -1
    with pytest.raises(ValueError, match="read-only"):
        rho.matrices[0] = 0


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_survive_pickling(name):
    make, shape = ACTIONS[name]
    action = make()
    again = pickle.loads(pickle.dumps(action))
    x = np.random.default_rng(0).standard_normal((2, *shape))
    assert again.digest == action.digest
    assert again.group == action.group
    assert np.array_equal(again.orbit(x), action.orbit(x))


def test_many_matrices_are_quick():
    perms = np.array(list(itertools.permutations(range(6))))
    start = time.perf_counter()
    group = groups.FiniteGroup.from_matrices(groups.permutation_matrices(perms))
    assert time.perf_counter() - start < 10
    assert group == groups.symmetric(6)


def test_matrices_need_not_be_orthogonal_to_make_a_group():
    skew = np.array([[2.0, 1.0], [0.0, 1.0]])
    turns = np.stack([np.linalg.matrix_power(np.array([[0.0, -1], [1, 0]]), k) for k in range(4)])
    group = groups.FiniteGroup.from_matrices(np.linalg.inv(skew) @ turns @ skew)
    assert group == C4
    with pytest.raises(ValueError, match=r"matrices\[1\] must be orthogonal"):
        groups.Representation(group, group.matrices)


@pytest.mark.parametrize("name", GROUPS)
def test_repr_is_short(name):
    assert len(repr(GROUPS[name][0]())) < 60


def test_semidirect_products_are_dihedral_groups():
    """(r, f)(s, g) = (r + (-1)^f s, f + g), by hand and against the table of turns and flips."""
    for n in (3, 4, 5):
        turns = np.arange(n)
        made = groups.semidirect_product(groups.cyclic(n), C2, np.stack([turns, -turns % n]))
        assert made == groups.dihedral(n)
        for r, f, s, g in itertools.product(range(n), range(2), range(n), range(2)):
            assert made.table[2 * r + f, 2 * s + g] == 2 * ((r + (-1) ** f * s) % n) + (f + g) % 2
