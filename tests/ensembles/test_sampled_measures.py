"""Measures on elements sampled from a continuous group, against loops and fields of known symmetry."""

import math

import numpy as np
import pytest

from haarflow import measures


def loop_fraction(outputs, reference):
    best = max(range(len(reference)), key=lambda c: reference[c])
    return sum(max(range(len(row)), key=lambda c, row=row: row[c]) == best for row in outputs) / len(outputs)


def loop_force_error(forces, rotations):
    """Forces [R, atoms, 3]."""
    total = 0.0
    for atom in range(forces.shape[1]):
        back = [np.linalg.solve(rotation, forces[r, atom]) for r, rotation in enumerate(rotations)]
        mean = sum(back) / len(back)
        total += sum(math.sqrt(sum(v * v for v in b - mean)) for b in back)
    return total / (len(rotations) * forces.shape[1])


def random_rotations(count, seed):
    matrices = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))[0]
    return matrices * np.linalg.det(matrices)[:, None, None]


@pytest.mark.parametrize("shape", [(4, 3), (5, 6, 3), (3, 2, 4, 3), (1, 2, 3)])
def test_continuous_same_prediction_against_a_loop(shape):
    outputs = np.random.default_rng(7).standard_normal(shape)
    reference = np.random.default_rng(8).standard_normal(outputs.shape[1:])
    found = measures.continuous_same_prediction(outputs, reference)
    flat = outputs.reshape(len(outputs), -1, 3)
    wanted = [loop_fraction(flat[:, i], row) for i, row in enumerate(reference.reshape(-1, 3))]
    np.testing.assert_allclose(found, np.reshape(wanted, outputs.shape[1:-1]))
    assert found.dtype == np.float64


def test_continuous_same_prediction_of_a_classifier_with_a_known_arc():
    # It predicts class 0 where the first coordinate exceeds cos(0.3 pi): 0.3 of all angles.
    angles = np.random.default_rng(9).uniform(0, 2 * math.pi, 20_000)
    logits = np.stack([np.cos(angles) - math.cos(0.3 * math.pi), np.zeros_like(angles)], axis=-1)
    found = measures.continuous_same_prediction(logits, [1.0, 0.0])
    assert abs(found - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 20_000)


def test_force_equivariance_error_against_a_loop():
    rotations = random_rotations(4, 10)
    forces = np.random.default_rng(11).standard_normal((4, 2, 5, 3))
    found = measures.force_equivariance_error(forces, rotations)
    assert found.shape == (2,)
    np.testing.assert_allclose(found, [loop_force_error(forces[:, i], rotations) for i in range(2)])


def test_a_pairwise_force_field_is_equivariant_and_one_with_a_preferred_direction_is_not():
    rotations = random_rotations(6, 12)
    positions = np.random.default_rng(13).standard_normal((5, 3))

    def forces(positions):
        apart = positions[:, None] - positions[None]
        return (apart / (1 + (apart**2).sum(axis=-1, keepdims=True)) ** 2).sum(axis=1)

    rotated = np.stack([forces(positions @ rotation.T) for rotation in rotations])
    assert measures.force_equivariance_error(rotated, rotations) < 1e-14
    # The inverse rotations, and a field along one axis of space, must be told apart.
    assert measures.force_equivariance_error(rotated, np.swapaxes(rotations, 1, 2)) > 0.1
    assert measures.force_equivariance_error(rotated + np.array([0.0, 0.0, 1.0]), rotations) > 0.1


@pytest.mark.parametrize("axis", [1, 2, -3])
def test_samples_of_a_continuous_group_may_lie_along_another_axis(axis):
    rng = np.random.default_rng(14)
    rotations = random_rotations(4, 15)
    outputs, reference = rng.standard_normal((4, 2, 5, 3)), rng.standard_normal((2, 5, 3))
    np.testing.assert_array_equal(
        measures.continuous_same_prediction(np.moveaxis(outputs, 0, axis), reference, axis=axis),
        measures.continuous_same_prediction(outputs, reference),
    )
    forces = rng.standard_normal((4, 2, 6, 5, 3))
    axis = axis if axis > 0 else axis - 1
    np.testing.assert_array_equal(
        measures.force_equivariance_error(np.moveaxis(forces, 0, axis), rotations, axis=axis),
        measures.force_equivariance_error(forces, rotations),
    )


FORCES, ROTATIONS = np.zeros((4, 5, 3)), random_rotations(4, 16)
REFUSED = {
    "reference of another shape": (
        lambda: measures.continuous_same_prediction(np.zeros((4, 2, 3)), np.zeros(3)),
        r"reference must have the shape of one sample's outputs, \(2, 3\), found \(3,\)",
    ),
    "nan reference": (
        lambda: measures.continuous_same_prediction(np.zeros((4, 3)), [0, np.nan, 0]),
        "reference must be finite: found 1 NaN",
    ),
    "nan outputs": (
        lambda: measures.continuous_same_prediction(np.full((4, 3), np.nan), np.zeros(3)),
        "outputs must be finite: found 12 NaN",
    ),
    "axis of the classes": (
        lambda: measures.continuous_same_prediction(np.zeros((4, 3)), np.zeros(4), axis=1),
        r"axis must be one of the first 1 axes of outputs \(then comes k\), found 1",
    ),
    "forces of one atom alone": (
        lambda: measures.force_equivariance_error(FORCES[:, 0], ROTATIONS),
        r"forces must be \[R, \.\.\., atoms, 3\] with entries on every axis, found shape \(4, 3\)",
    ),
    "forces in the plane": (
        lambda: measures.force_equivariance_error(FORCES[..., :2], ROTATIONS),
        r"forces must be \[R, \.\.\., atoms, 3\], found shape \(4, 5, 2\)",
    ),
    "nan forces": (
        lambda: measures.force_equivariance_error(FORCES * np.nan, ROTATIONS),
        "forces must be finite",
    ),
    "axis of the atoms": (
        lambda: measures.force_equivariance_error(FORCES, ROTATIONS, axis=1),
        r"axis must be one of the first 1 axes of forces \(then comes atoms, 3\), found 1",
    ),
    "number of rotations": (
        lambda: measures.force_equivariance_error(FORCES, ROTATIONS[:3]),
        r"rotations must be \[R, 3, 3\] = \(4, 3, 3\), found shape \(3, 3, 3\)",
    ),
    "stretching rotations": (
        lambda: measures.force_equivariance_error(FORCES, 1.1 * ROTATIONS),
        "rotations must be orthogonal",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_measures_of_continuous_groups_refuse_what_does_not_fit(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
