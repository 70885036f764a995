"""The derivative of the mean against central differences, at kinks, and where there is none."""

import os

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

W, B = 2**0.5, 0.1
TIMES = [10.0, 1000.0, np.inf]


def dense(nonlinearity, bias=B):
    layers = [kernels.Dense(W, bias), nonlinearity()] * 2
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(1.0, bias))


def conv(head, bias=B):
    return kernels.Sequential(kernels.Conv(3, "SAME", W, bias), kernels.Relu(), head, kernels.Dense(1.0, bias))


def cube():
    group = groups.octahedral()
    return groups.matrix_action(group), groups.Representation(group, group.matrices)


def compact(group):
    return groups.matrix_action(group), groups.vector(group)


# name -> (network, action and output, shape of a sample, relative error of the differences)
CASES = {
    "relu": (dense(kernels.Relu), lambda: (groups.image_dihedral(), None), (4, 4, 1), 1e-7),
    "erf": (dense(kernels.Erf), lambda: (groups.image_dihedral(), None), (4, 4, 1), 1e-7),
    "gap": (conv(kernels.GlobalAvgPool()), lambda: (groups.image_rotations(4), None), (3, 3, 2), 1e-7),
    "flatten": (conv(kernels.Flatten()), lambda: (groups.no_action(), None), (3, 3, 1), 1e-7),
    "cube": (dense(kernels.Relu), cube, (2, 3), 1e-7),
    "SO(2)": (dense(kernels.Relu), lambda: compact(groups.so2(48)), (3, 2), 1e-6),
    "SO(3)": (dense(kernels.Erf), lambda: compact(groups.so3(12)), (2, 3), 1e-4),
}


def fitted(name, n=5, **options):
    network, make, shape, tolerance = CASES[name]
    action, output = make()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, *shape)), rng.standard_normal((n, output.dim if output else 2))
    return hf.DeepEnsemble(network, action=action, output=output, **options).fit(x, y), x, rng, tolerance


@pytest.mark.parametrize("name", CASES)
def test_against_central_differences(name):
    ensemble, x, rng, tolerance = fitted(name)
    points, step = rng.standard_normal((2, 2, *x.shape[1:]))
    slopes = ensemble.jacobian(points, TIMES)
    assert slopes.shape == (3, 2, ensemble.predict(points, TIMES).mean.shape[2], *x.shape[1:])
    h = 1e-6
    ahead, behind = (ensemble.predict(points + sign * h * step, TIMES).mean for sign in (1, -1))
    along = np.einsum("tmkp,mp->tmk", slopes.reshape(*slopes.shape[:3], -1), step.reshape(2, -1))
    difference = (ahead - behind) / (2 * h)
    # In space the nodes' own error shows at late times, where it is amplified.
    times = slice(0, 2) if name == "SO(3)" else slice(None)
    assert np.abs(along - difference)[times].max() <= tolerance * np.abs(along).max()


def test_float32():
    exact, x, rng, _ = fitted("relu")
    rough, *_ = fitted("relu", dtype="float32")
    points = rng.standard_normal((2, *x.shape[1:]))
    wanted = exact.jacobian(points, [1000.0])
    assert np.abs(rough.jacobian(points, [1000.0]) - wanted).max() <= 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("distance", [0.0, 1e-15, 1e-12, 1e-9, 1e-6])
def test_at_and_near_a_training_point_the_sides_have_the_same_mean(distance):
    ensemble, x, rng, _ = fitted("relu")
    step = rng.standard_normal(x[:1].shape)
    step /= np.linalg.norm(step)
    sides = [ensemble.jacobian(x[:1] + sign * distance * step, [np.inf]) for sign in (1, -1)]
    far = [ensemble.jacobian(x[:1] + sign * 1e-5 * step, [np.inf]) for sign in (1, -1)]
    assert np.abs(sum(sides) - sum(far)).max() <= 1e-3 * np.abs(far[0]).max()


@pytest.mark.parametrize("head", [kernels.Flatten(), kernels.GlobalAvgPool()])
def test_blank_patches_with_bias_have_a_derivative(head):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 5, 5, 1))
    x[:, :3] = 0
    ensemble = hf.DeepEnsemble(conv(head, 0.1)).fit(x[:4], x[:4, 4, 4])
    for points in (x[4:], x[:1]):  # a new image that shares its blank patches with all others, and a training image
        assert np.isfinite(ensemble.jacobian(points, [1.0])).all()
    step = np.zeros_like(x[4:])
    step[:, 4] = rng.standard_normal((1, 5, 1))
    ahead, behind = (ensemble.predict(x[4:] + sign * 1e-6 * step, [1.0]).mean for sign in (1, -1))
    along = (ensemble.jacobian(x[4:], [1.0]) * step).sum(axis=(-3, -2, -1))
    np.testing.assert_allclose(along, (ahead - behind) / 2e-6, rtol=1e-5)


def test_equivariant_on_training_orbits():
    ensemble, x, _, _ = fitted("cube")
    action, output = cube()
    for g in range(24):
        moved = ensemble.jacobian(action(g, x), [np.inf])[0]
        base = ensemble.jacobian(x, [np.inf])[0]
        wanted = np.einsum("kl,mlbc,dc->mkbd", output.matrices[g], base, output.matrices[g])
        np.testing.assert_allclose(moved, wanted, atol=1e-9 * np.abs(base).max())


def test_half_turns_without_bias_meet_their_antipodes():
    group = groups.cyclic(2)
    action = groups.matrix_action(group, np.stack([np.eye(3), -np.eye(3)]))
    x = np.random.default_rng(0).standard_normal((4, 3))
    network = kernels.Sequential(kernels.Dense(W), kernels.Relu(), kernels.Dense())
    ensemble = hf.DeepEnsemble(network, action=action).fit(x, x[:, :1] ** 2)
    assert np.isfinite(ensemble.jacobian(x, [np.inf])).all()


def test_no_derivative_is_an_error_not_a_nan():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 5, 1))
    x[:, :3] = 0
    ensemble = hf.DeepEnsemble(conv(kernels.Flatten(), 0.0)).fit(x, x[:, 4, 4])
    with pytest.raises(ValueError, match=r"found none at sample 0: without bias"):
        ensemble.jacobian(x, [1.0])


def test_other_kernels_are_refused():
    class Kernel:
        dtype, content_key = "float64", "linear"

        def __call__(self, x1, x2=None):
            gram = x1 @ (x1 if x2 is None else x2).T
            return kernels.KernelPair(gram, gram)

    x = np.eye(3)
    with pytest.raises(TypeError, match=r"needs a network or kernels.analytic"):
        hf.DeepEnsemble(Kernel()).fit(x, x[:, :1]).jacobian(x, [1.0])


@pytest.mark.parametrize("nodes", [16, 64])
def test_nodes_that_do_not_fit_are_refused(monkeypatch, nodes):
    """All nodes' coefficients are there at once: room is made for those of 16, not of 64."""
    action, output = compact(groups.so2(nodes))
    x = np.random.default_rng(0).standard_normal((3, 3, 2))
    ensemble = hf.DeepEnsemble(dense(kernels.Erf), action, output, progress=False).fit(x[:2], x[:2, 0])
    size, real = 3 * 8 * 32 * 2 * 2, os.sysconf  # three arrays of 32 nodes, 2 samples, 2 outputs
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": size}.get(name) or real(name))
    if nodes == 16:
        assert ensemble.jacobian(x[2:], 1.0).shape == (1, 1, 2, 3, 2)
        return
    said = r"times must be fewer: .*\[arrays, elements, samples, times, outputs\] = \[3, 128, 2, 1, 2\]"
    with pytest.raises(ValueError, match=said):
        ensemble.jacobian(x[2:], 1.0)


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e6])
def test_at_zero_and_at_points_of_another_size(size):
    network = kernels.Sequential(kernels.Dense(W), kernels.Gelu(), kernels.Dense())
    rng = np.random.default_rng(0)
    ensemble = hf.DeepEnsemble(network).fit(rng.standard_normal((5, 3)), rng.standard_normal((5, 1)))
    points, step = rng.standard_normal((2, 2, 3))
    points *= size
    h = 1e-5 * max(size, 1e-2)
    ahead, behind = (ensemble.predict(points + sign * h * step, np.inf).mean[0, :, 0] for sign in (1, -1))
    along = np.einsum("mi,mi->m", ensemble.jacobian(points, np.inf)[0, :, 0], step)
    np.testing.assert_allclose(along, (ahead - behind) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-60, 1e-8, 1.0, 1e8, 1e60])
def test_euler_of_homogeneous_images(size):
    """Means of networks without biases are homogeneous: <d mu / d x, x> = mu, at every size of the test point."""
    layers = [kernels.Conv(3, W_std=2**0.5), kernels.Relu()] * 2
    network = kernels.Sequential(*layers, kernels.Flatten(), kernels.Dense())
    rng = np.random.default_rng(0)
    x, y, point = rng.standard_normal((6, 4, 4, 1)), rng.standard_normal((6, 2)), rng.standard_normal((1, 4, 4, 1))
    ensemble = hf.DeepEnsemble(network).fit(x, y)
    mean = ensemble.predict(point * size, [1e2]).mean
    slopes = ensemble.jacobian(point * size, [1e2])
    found = np.einsum("tmkhwc,mhwc->tmk", slopes, point * size)
    np.testing.assert_allclose(found, mean, rtol=1e-10, atol=1e-10 * np.abs(mean).max())
