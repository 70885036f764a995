"""Groups whose identity is not element 0: every measure finds f(x) where the group says it is, or warns."""

import math

import numpy as np
import pytest

import haarflow as hf
from haarflow import finite, groups, measures

SOLIDS = {"T": groups.tetrahedral, "O": groups.octahedral, "I": groups.icosahedral}


def moved_listing(group, to):
    """The same group with its elements listed in another order, the identity at `to`."""
    order = np.r_[1 : to + 1, 0, to + 1 : group.order]  # the old number of each new element
    new = np.argsort(order)
    return groups.FiniteGroup.from_table(new[group.table[np.ix_(order, order)]]), order


GROUPS = {**SOLIDS, "C5 from 2": lambda: moved_listing(groups.cyclic(5), 2)[0]}
# name -> (measure of [|G|, m, k], the same written for one sample from f(gx) and f(x))
MEASURES = {
    "orbit_error": (
        measures.orbit_error,
        lambda f, base: max(math.dist(row, base) for row in f) / math.hypot(*base),
    ),
    "orbit_mse": (measures.orbit_mse, lambda f, base: np.mean([math.dist(row, base) ** 2 for row in f])),
    "orbit_same_prediction": (
        measures.orbit_same_prediction,
        lambda f, base: sum(max(range(3), key=row.__getitem__) == max(range(3), key=base.__getitem__) for row in f),
    ),
    "symmetrised_kl": (measures.symmetrised_kl, lambda f, base: np.mean([both_ways(row, base) for row in f])),
}


def both_ways(a, b):
    p, q = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (a, b))
    return sum((x - y) * math.log(x / y) for x, y in zip(p, q, strict=True))


def neutral(group):
    """The element e with e g = g for all g, searched for in the table."""
    (e,) = (e for e in range(group.order) if all(group.table[e, g] == g for g in range(group.order)))
    return e


@pytest.mark.parametrize("solid", GROUPS)
@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_arrays_ask_the_group(name, solid):
    group, (measure, by_hand) = GROUPS[solid](), MEASURES[name]
    e = neutral(group)
    assert e != 0
    f = np.random.default_rng(3).standard_normal((group.order, 4, 3))
    wanted = [by_hand(f[:, i].tolist(), f[e, i].tolist()) for i in range(4)]
    wrong = [by_hand(f[:, i].tolist(), f[0, i].tolist()) for i in range(4)]
    assert not np.allclose(wanted, wrong)
    for given in ({"group": group}, {"group": groups.trivial(group)}, {"identity": e}):
        np.testing.assert_allclose(measure(f, **given), wanted)
    np.testing.assert_allclose(measure(np.moveaxis(f, 0, 1), group=group, axis=1), wanted)


@pytest.mark.parametrize("solid", SOLIDS)
def test_an_action_names_its_group(solid):
    group = SOLIDS[solid]()
    action = groups.matrix_action(group)
    f = np.random.default_rng(4).standard_normal((group.order, 2, 3))
    assert np.array_equal(measures.orbit_error(f, group=action), measures.orbit_error(f, identity=3))


@pytest.mark.parametrize("solid", SOLIDS)
def test_without_a_group_an_order_that_tells_nothing_warns(solid):
    group = SOLIDS[solid]()
    f = np.random.default_rng(4).standard_normal((group.order, 3, 2, 3))
    covariance = np.eye(group.order)
    for call in (
        lambda **given: measures.orbit_error(f, **given),
        lambda **given: measures.orbit_mse(f, **given),
        lambda **given: measures.orbit_same_prediction(f, **given),
        lambda **given: measures.symmetrised_kl(f, **given),
        lambda **given: finite.orbit_floor(f, **given),
        lambda **given: finite.orbit_variance(covariance, **given),
        lambda **given: finite.expected_orbit_mse(covariance, 3, **given),
        lambda **given: finite.members_needed_on_orbit(covariance, 1.0, 0.1, k=1, **given),
    ):
        with pytest.warns(hf.InputWarning, match=r"takes element 0 for the identity.*pass group=") as caught:
            call()
        assert caught[0].filename == __file__
        for given in ({"group": group}, {"identity": 0}):  # what is said is not guessed, and not warned of
            call(**given)


def test_a_group_of_another_order_or_another_identity_is_refused():
    f = np.ones((12, 3))
    with pytest.raises(ValueError, match=r"must have the 12 elements of the orbit, found O \(order 24\)"):
        measures.orbit_error(f, group=groups.octahedral())
    with pytest.raises(ValueError, match=r"identity must be that of group, 3, or None, found 0"):
        measures.orbit_error(f, group=groups.tetrahedral(), identity=0)
    with pytest.raises(TypeError, match=r"group must be a finite group or its action, found 'T'"):
        measures.orbit_error(f, group="T")
    output = groups.trivial(groups.cyclic(12), 3)
    with pytest.raises(ValueError, match=r"output must represent group T \(order 12\), found one of C12 \(order 12\)"):
        measures.orbit_error(f, output, group=groups.tetrahedral())


def test_an_orbit_floor_measures_from_the_identity_of_its_output():
    group = groups.tetrahedral()
    output = groups.Representation(group, group.matrices)
    rng = np.random.default_rng(5)
    f = rng.standard_normal((12, 6, 2, 3))
    back = np.einsum("gba,gipb->gipa", group.matrices, f)
    d = np.moveaxis(back - back[3], 0, 1).reshape(6, -1)
    square = np.mean([d[i] @ d[j] for i in range(6) for j in range(6) if i != j]) / 24
    for given in ({"output": output}, {"output": output, "group": group}, {"output": output, "identity": 3}):
        np.testing.assert_allclose(finite.orbit_floor(f, **given).square, square)
    plain = np.moveaxis(f - f[3], 0, 1).reshape(6, -1)
    square = np.mean([plain[i] @ plain[j] for i in range(6) for j in range(6) if i != j]) / 24
    np.testing.assert_allclose(finite.orbit_floor(f, group=group).square, square)


@pytest.mark.parametrize("solid", SOLIDS)
def test_variances_on_an_orbit_are_those_of_the_differences_from_the_identity(solid):
    group = SOLIDS[solid]()
    root = np.random.default_rng(6).standard_normal((group.order, group.order))
    covariance = root @ root.T
    wanted = [covariance[g, g] + covariance[3, 3] - 2 * covariance[g, 3] for g in range(group.order)]
    np.testing.assert_allclose(finite.orbit_variance(covariance, group=group), wanted, atol=1e-12)
    np.testing.assert_allclose(finite.expected_orbit_mse(covariance, 7, k=2, group=group), 2 * np.mean(wanted) / 7)
    by_number = finite.members_needed_on_orbit(covariance, 1.0, 0.05, k=4, identity=3)
    assert finite.members_needed_on_orbit(covariance, 1.0, 0.05, k=4, group=group) == by_number


# name -> magnitudes that float64 holds but whose squares, sums or differences it does not
LARGE = [1e155, 1e300, 1.7e308]


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("name", ["orbit_error", "orbit_same_prediction", "relative_orbit_std"])
def test_measures_that_do_not_depend_on_the_scale_hold_near_overflow(name, size):
    f = np.random.default_rng(7).uniform(-1, 1, (4, 5, 3)) + (0.2 if name == "relative_orbit_std" else 0)
    f /= np.abs(f).max()
    measure = getattr(measures, name)
    np.testing.assert_allclose(measure(size * f), measure(f), rtol=1e-12)


def test_rotated_outputs_hold_near_overflow():
    group = groups.octahedral()
    output = groups.Representation(group, group.matrices)
    f = np.random.default_rng(8).uniform(-1, 1, (24, 5, 3))
    f /= np.abs(f).max()
    np.testing.assert_allclose(measures.orbit_error(1.7e308 * f, output), measures.orbit_error(f, output), rtol=1e-12)
    assert np.isposinf(measures.orbit_mse(1.7e308 * f, output)).all()  # the mean square itself is beyond float64
    np.testing.assert_allclose(measures.orbit_mse(1e150 * f, output), 1e300 * measures.orbit_mse(f, output))
    floors = [finite.orbit_floor(s * np.moveaxis(f.reshape(24, 5, 1, 3), 0, 0), output) for s in (1.0, 1.7e308)]
    np.testing.assert_allclose(floors[1].relative, floors[0].relative, rtol=1e-12)
    assert not np.isnan(floors[1].square)


def test_divergences_of_huge_logits_are_huge_and_not_undefined():
    found = measures.symmetrised_kl([[1.5e308, -1.5e308], [-1.5e308, 1.5e308]])
    assert np.isposinf(found)  # 2 x 3e308 nats, halved over the group, is above 1.8e308
    np.testing.assert_allclose(measures.symmetrised_kl([[1e307, 0.0], [0.0, 1e307]]), 1e307)


def test_a_spoilt_function_near_overflow_is_told():
    turns = groups.image_rotations(4)
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 1))
    with pytest.raises(AssertionError, match="f is not invariant under"):
        hf.testing.assert_equivariant(lambda x: 1.7e308 * np.sign(x[:, 0, :, 0]), turns, None, x)
    hf.testing.assert_equivariant(lambda x: np.full((len(x), 3), 1.7e308), turns, None, x)


def test_forces_near_overflow():
    turns = groups.octahedral().matrices
    f = np.random.default_rng(9).uniform(-1, 1, (24, 5, 3))
    large = measures.force_equivariance_error(1e308 * f, turns)
    np.testing.assert_allclose(large, 1e308 * measures.force_equivariance_error(f, turns), rtol=1e-12)
