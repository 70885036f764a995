"""Measures against loops written from the formulas, on random, equivariant and spoilt orbits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haarflow import measures

WITH_OUTPUT = {"orbit_error": measures.orbit_error, "orbit_mse": measures.orbit_mse}
OF_LOGITS = {"same": measures.orbit_same_prediction, "kl": measures.symmetrised_kl}
ALL = {
    **WITH_OUTPUT,
    **OF_LOGITS,
    "relative_orbit_std": measures.relative_orbit_std,
    "pull_back": measures.pull_back,
}


def turns(order):
    """Matrices of the turns by 2 pi g / order about the third axis."""
    matrices = np.zeros((order, 3, 3))
    for g in range(order):
        angle = 2 * math.pi * g / order
        matrices[g] = [
            [math.cos(angle), -math.sin(angle), 0],
            [math.sin(angle), math.cos(angle), 0],
            [0, 0, 1],
        ]
    return matrices


def representation(order, identity=0):
    """Turns with the identity element at another place of the listing."""
    matrices = np.roll(turns(order), identity, axis=0)
    return SimpleNamespace(matrices=matrices, group=SimpleNamespace(identity=identity))


def loop_orbit_error(outputs, matrices, identity):
    base = outputs[identity]
    largest = 0.0
    for g in range(len(outputs)):
        off = [outputs[g][a] - sum(matrices[g][a][b] * base[b] for b in range(len(base))) for a in range(len(base))]
        largest = max(largest, math.sqrt(sum(v * v for v in off)))
    return largest / math.sqrt(sum(v * v for v in base))


def loop_orbit_mse(outputs, matrices, identity):
    total = 0.0
    for g in range(len(outputs)):
        back = np.linalg.solve(matrices[g], outputs[g])
        total += sum((back[a] - outputs[identity][a]) ** 2 for a in range(len(back)))
    return total / len(outputs)


def loop_relative_std(outputs):
    energies = [math.fsum(row) for row in outputs]
    mean = sum(energies) / len(energies)
    return math.sqrt(sum((e - mean) ** 2 for e in energies) / len(energies)) / abs(mean)


def loop_same(outputs, identity):
    best = [max(range(len(row)), key=lambda c, row=row: row[c]) for row in outputs]
    return sum(b == best[identity] for b in best)


def loop_kl(outputs, identity):
    def softmax(row):
        weights = [math.exp(v) for v in row]
        return [w / sum(weights) for w in weights]

    def divergence(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    p = softmax(outputs[identity])
    both = [divergence(p, softmax(row)) + divergence(softmax(row), p) for row in outputs]
    return sum(both) / len(both)


def each(outputs, loop):
    """Apply a loop over the group to every entry of the axes between."""
    flat = outputs.reshape(len(outputs), -1, outputs.shape[-1])
    return np.array([loop(flat[:, i]) for i in range(flat.shape[1])]).reshape(outputs.shape[1:-1])


SHAPES = [(4, 3), (5, 6, 3), (3, 2, 4, 3), (1, 2, 3)]


@pytest.fixture(params=SHAPES, ids=str)
def outputs(request):
    return np.random.default_rng(7).standard_normal(request.param)


@pytest.mark.parametrize("identity", [0, -1], ids=["first", "last"])
def test_orbit_error_and_mse_against_loops(outputs, identity):
    order = len(outputs)
    identity %= order
    rho = representation(order, identity)
    error = measures.orbit_error(outputs, rho)
    assert error.shape == outputs.shape[1:-1]
    np.testing.assert_allclose(error, each(outputs, lambda o: loop_orbit_error(o, rho.matrices, identity)))
    mse = measures.orbit_mse(outputs, rho)
    np.testing.assert_allclose(mse, each(outputs, lambda o: loop_orbit_mse(o, rho.matrices, identity)))


def test_without_a_representation_outputs_are_invariant(outputs):
    order = len(outputs)
    ones = np.broadcast_to(np.eye(3), (order, 3, 3))
    for identity in {0, order - 1}:
        np.testing.assert_allclose(
            measures.orbit_error(outputs, identity=identity),
            each(outputs, lambda o, e=identity: loop_orbit_error(o, ones, e)),
        )
        np.testing.assert_allclose(
            measures.orbit_mse(outputs, identity=identity),
            each(outputs, lambda o, e=identity: loop_orbit_mse(o, ones, e)),
        )


def test_classification_measures_against_loops(outputs):
    for identity in {0, len(outputs) - 1}:
        same = measures.orbit_same_prediction(outputs, identity=identity)
        np.testing.assert_array_equal(same, each(outputs, lambda o, e=identity: loop_same(o, e)))
        assert same.dtype == np.int64
        kl = measures.symmetrised_kl(outputs, identity=identity)
        np.testing.assert_allclose(kl, each(outputs, lambda o, e=identity: loop_kl(o, e)), atol=1e-15)


def test_relative_orbit_std_against_a_loop(outputs):
    np.testing.assert_allclose(measures.relative_orbit_std(outputs), each(outputs, loop_relative_std), atol=1e-14)


def test_pull_back_solves_for_the_base_output(outputs):
    order = len(outputs)
    rho = representation(order)
    back = measures.pull_back(outputs, rho)
    for index in np.ndindex(outputs.shape[:-1]):
        np.testing.assert_allclose(back[index], np.linalg.solve(rho.matrices[index[0]], outputs[index]))
    plain = measures.pull_back(outputs)
    np.testing.assert_array_equal(plain, outputs)
    plain[:] = 0.0
    assert outputs.any()


@given(order=st.integers(1, 7), points=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_an_equivariant_orbit_measures_zero_and_a_spoilt_one_does_not(order, points, seed):
    rng = np.random.default_rng(seed)
    identity = int(rng.integers(order))
    rho = representation(order, identity)
    base = rng.standard_normal((points, 3)) + 0.1
    orbit = np.stack([base @ matrix.T for matrix in rho.matrices])
    assert measures.orbit_error(orbit, rho).max() < 1e-14
    assert measures.orbit_mse(orbit, rho).max() < 1e-28
    np.testing.assert_allclose(measures.pull_back(orbit, rho), np.broadcast_to(base, orbit.shape), atol=1e-14)
    if order == 1:
        return
    spoilt = orbit.copy()
    spoilt[(identity + 1) % order, 0, 2] += 0.5
    error = measures.orbit_error(spoilt, rho)
    np.testing.assert_allclose(error[0], 0.5 / np.linalg.norm(base[0]))
    np.testing.assert_allclose(measures.orbit_mse(spoilt, rho)[0], 0.25 / order)
    assert (error[1:] < 1e-14).all()


@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_the_inverse_representation_is_told_apart(name):
    rho = representation(5)
    orbit = np.stack([matrix @ np.array([1.0, 2.0, 3.0]) for matrix in rho.matrices])
    backwards = SimpleNamespace(matrices=np.swapaxes(rho.matrices, 1, 2))
    assert WITH_OUTPUT[name](orbit, rho) < 1e-14
    assert WITH_OUTPUT[name](orbit, backwards) > 0.5
    assert WITH_OUTPUT[name](orbit) > 0.5


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("axis", [1, -2, 2 - 4])
def test_the_group_may_lie_along_another_axis(name, axis):
    outputs = np.random.default_rng(0).standard_normal((4, 2, 5, 3))
    moved = np.moveaxis(outputs, 0, axis)
    np.testing.assert_array_equal(ALL[name](moved, axis=axis), ALL[name](outputs))


@pytest.mark.parametrize("name", ALL)
def test_results_are_writable_float64_or_counts(name):
    for shape in [(4, 3), (4, 5, 3)]:
        result = ALL[name](np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        assert isinstance(result, np.ndarray)
        assert result.flags.writeable
        assert result.dtype == (np.int64 if name == "same" else np.float64)


# ---------------------------------------------------------------- extremes


def test_zero_outputs_are_invariant_and_a_zero_base_divides_by_the_smallest_float():
    assert measures.orbit_error(np.zeros((3, 2))) == 0.0
    assert measures.relative_orbit_std(np.zeros((3, 2))) == 0.0
    assert measures.orbit_error([[0.0], [1e-300]]) == 1e-300 / np.finfo(float).tiny
    assert measures.relative_orbit_std([[1e3], [-1e3]]) == np.inf


@pytest.mark.parametrize("size", [1e-250, 1e250])
def test_the_orbit_error_does_not_depend_on_the_scale_of_the_outputs(size):
    outputs = np.random.default_rng(2).standard_normal((4, 5, 3))
    np.testing.assert_allclose(measures.orbit_error(size * outputs), measures.orbit_error(outputs), rtol=1e-13)


def test_kl_of_far_apart_logits_is_exact_where_probabilities_vanish():
    # p = (1, e^-2000), q swapped: both divergences are 2000 to rounding; the softmax underflows to 0.
    kl = measures.symmetrised_kl([[2000.0, 0.0], [0.0, 2000.0]])
    np.testing.assert_allclose(kl, (0 + 4000.0) / 2)


def test_kl_ignores_a_shift_of_all_logits_and_grows_with_a_shift_of_one():
    base = np.random.default_rng(1).standard_normal((1, 6, 4))
    shifted = np.concatenate([base, base + 300.0])
    assert np.abs(measures.symmetrised_kl(shifted)).max() < 1e-12
    moved = np.concatenate([base, base + np.array([1.0, 0, 0, 0])])
    assert measures.symmetrised_kl(moved).min() > 0.01


def test_same_prediction_counts_from_the_identity_alone_to_the_whole_group():
    logits = np.zeros((4, 2, 3))
    logits[:, 0, 1] = [1.0, 2.0, 0.1, 5.0]
    logits[0, 1, 2] = 1.0
    np.testing.assert_array_equal(measures.orbit_same_prediction(logits), [4, 1])
    np.testing.assert_array_equal(measures.orbit_same_prediction(logits, identity=1), [4, 3])


def test_the_sign_of_the_mean_energy_does_not_matter():
    energies = np.array([[-1.0, -2.0], [-2.0, -3.0]])
    assert measures.relative_orbit_std(energies) == measures.relative_orbit_std(-energies) == 0.25


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(4), ValueError, r"\[\|G\|, \.\.\., k\] with entries on every axis, found shape \(4,\)"),
        (np.zeros((0, 3)), ValueError, r"found shape \(0, 3\)"),
        (np.zeros((4, 2), complex), TypeError, "real numbers, found dtype complex128"),
        (np.array([[0.0, np.nan], [np.inf, 1.0]]), ValueError, r"found 2 NaN or inf entries.*index \(0, 1\)"),
    ],
)
def test_outputs_that_are_no_orbit_are_refused(name, values, error, message):
    with pytest.raises(error, match=message):
        ALL[name](values)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("axis", [2, -1, 5, -4])
def test_an_axis_that_cannot_be_the_group_is_refused(name, axis):
    with pytest.raises(ValueError, match=r"axis must be one of the first 2 axes.*found"):
        ALL[name](np.zeros((4, 2, 3)), axis=axis)


@pytest.mark.parametrize("name", [*WITH_OUTPUT, *OF_LOGITS])
@pytest.mark.parametrize("identity", [4, -1])
def test_an_identity_outside_the_group_is_refused(name, identity):
    with pytest.raises(ValueError, match=rf"identity must lie in 0 \.\. 3, found {identity}"):
        ALL[name](np.zeros((4, 2, 3)), identity=identity)


@pytest.mark.parametrize("name", [*WITH_OUTPUT, "pull_back"])
@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (turns(5), r"= \(4, 3, 3\), found shape \(5, 3, 3\)"),
        (turns(4)[:, :2, :2], r"found shape \(4, 2, 2\)"),
        (2 * turns(4), r"orthogonal, found \|rho rho\^T - 1\| = 3\.0e\+00"),
        (np.full((4, 3, 3), np.nan), "orthogonal"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(name, matrices, message):
    with pytest.raises(ValueError, match=message):
        ALL[name](np.zeros((4, 2, 3)), SimpleNamespace(matrices=matrices))


@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_an_identity_whose_matrix_is_not_one_is_refused(name):
    with pytest.raises(ValueError, match=r"output\.matrices\[1\] is off 1 by 1\.0e\+00"):
        WITH_OUTPUT[name](np.zeros((4, 2, 3)), representation(4), identity=1)
    with pytest.raises(ValueError, match=r"output\.matrices\[0\] is off"):
        WITH_OUTPUT[name](np.zeros((4, 3)), SimpleNamespace(matrices=np.roll(turns(4), 1, axis=0)))
