"""Where the law is easily wrong: empty blocks, coarse rules over compact groups, variances that vanish."""

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

W, B = 2**0.5, 0.1
TIMES = [0.0, 1.0, 1e4, np.inf]


def dense(nonlinearity=kernels.Relu, bias=B):
    return kernels.Sequential(
        kernels.Flatten(),
        kernels.Dense(W, bias),
        nonlinearity(),
        kernels.Dense(W, bias),
        nonlinearity(),
        kernels.Dense(),
    )


def symmetric_samples(rng):
    action = groups.image_rotations(4)
    return action, action.orbit(rng.standard_normal((2, 4, 4, 1))).mean(axis=0)


def zero_sample(rng):
    return groups.image_rotations(4), np.zeros((1, 3, 3, 1))


def samples_on_an_axis(rng):
    return groups.matrix_action(groups.octahedral()), np.eye(3)[:1][:, None] * np.array([1.0, 2.0])[:, None, None]


@pytest.mark.parametrize("make", [symmetric_samples, zero_sample, samples_on_an_axis])
def test_irreps_that_no_sample_carries(make):
    rng = np.random.default_rng(0)
    action, x = make(rng)
    y, points = rng.standard_normal((len(x), 2)), rng.standard_normal((3, *x.shape[1:]))
    both = [hf.DeepEnsemble(dense(), action=action, reduction=how).fit(x, y) for how in ("orbit", "explicit")]
    if make is not symmetric_samples:  # the listed set merges no duplicates: these Gram matrices are singular
        found = both[0].predict(points, TIMES[1:3], covariance="full").covariance
        assert np.linalg.eigvalsh(found).min() > -1e-10
    else:
        found, wanted = (e.predict(points, TIMES[:2], covariance="full").covariance for e in both)
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    variance = both[0].predict(points, TIMES, covariance="diagonal").variance
    full = both[0].predict(points, TIMES, covariance="full").covariance
    np.testing.assert_allclose(variance, np.einsum("tmm->tm", full), atol=1e-12)
    assert both[0].sample(points, TIMES, 3, seed=0, coupled=True).shape == (4, 3, 3, 2)


@pytest.mark.parametrize("group", [groups.so3(1), groups.o3(1)], ids=str)
def test_coarse_rules_do_not_grow_without_bound(group):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3, group.dim))
    y = x[:, 0]
    ensemble = hf.DeepEnsemble(dense(), action=groups.matrix_action(group), output=groups.vector(group)).fit(x, y)
    with pytest.warns(hf.ResolutionWarning, match="a higher resolution over compact ones"):
        law = ensemble.predict(rng.standard_normal((4, 3, group.dim)), [1e7])
    assert np.abs(law.mean).max() < 1e3 * np.abs(y).max()
    assert law.cut[0] > 0
    assert law.refinement is None or law.refinement[0] > 0


def test_outputs_of_a_degree_beyond_half_the_band_limit():
    group = groups.so2(24)
    x = np.random.default_rng(0).standard_normal((4, 2, 2))
    output = groups.harmonic(group, 13)
    for eager in (True, False):
        ensemble = hf.DeepEnsemble(dense(), action=groups.matrix_action(group), output=output)
        law = ensemble.fit(x, x[:, 0], covariance=eager).predict(x, [0.1], covariance="diagonal")
        assert np.isfinite(law.variance).all()


def test_missing_degrees_are_said():
    group = groups.so2(6)
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    ensemble = hf.DeepEnsemble(dense(), action=groups.matrix_action(group)).fit(x, x[:, 0])
    with pytest.warns(hf.ResolutionWarning, match="degrees above are missing"):
        ensemble.predict(x, [1e4], covariance="diagonal")
    with pytest.warns(hf.ResolutionWarning, match="degrees above are missing"):
        ensemble.sample(x, [1e4], 2, seed=0)


def test_a_zero_point_has_no_variance_and_no_truncation():
    group = groups.so2(8)
    x = np.random.default_rng(0).standard_normal((3, 2, 2))
    action = groups.matrix_action(group)
    ensemble = hf.DeepEnsemble(dense(kernels.Erf, 0.0), action=action).fit(x, x[:, 0])
    law = ensemble.predict(np.zeros((1, 2, 2)), [1.0], covariance="diagonal")
    assert law.variance[0, 0] < 1e-30
    assert law.truncation[0] == 0


def test_no_negative_variances_where_training_leaves_none():
    action = groups.image_rotations(4)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 4, 4, 1))
    ensemble = hf.DeepEnsemble(dense(), action=action).fit(x, rng.standard_normal((6, 2)))
    orbit = action.orbit(x)[:, 0]
    law = ensemble.predict(orbit, [np.inf], covariance="full")
    assert (np.einsum("tmm->tm", law.covariance) >= 0).all()
    assert (hf.expected_orbit_mse(law.covariance, 10, k=2) < 1e-12).all()
    assert (hf.members_needed_on_orbit(law.covariance, 0.1, 0.05, k=2) == 1).all()
    for coupled in (False, True):
        f = ensemble.sample(orbit, [np.inf], 50, seed=0, coupled=coupled)
        np.testing.assert_allclose(f - law.mean[:, None], 0, atol=1e-6)


def test_a_group_in_place_of_an_action_is_said():
    for group in (groups.so3(2), groups.cyclic(4)):
        with pytest.raises(TypeError, match=r"such as groups.matrix_action\(group\), found the group"):
            hf.DeepEnsemble(dense(), action=group)
