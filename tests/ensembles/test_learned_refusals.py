"""What the measures of learned equivariance refuse, each by the name of its argument."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from callables import atoms, cube_rotations, drift, field, images, plain, uneven

from haarflow import groups, measures

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
