"""Rounding of kernel values against 50 digits, and of averages over compact groups against averages that vanish."""

import numpy as np
import pytest
from oracles import mp_kernel

from haarflow import groups, kernels
from haarflow.kernels.rule_error import roundings, rule_error

EPS = np.finfo(float).eps
Dense, Erf, Gelu, Relu = kernels.Dense, kernels.Erf, kernels.Gelu, kernels.Relu


def network(act, depth, bias=0.0):
    return kernels.Sequential(*[layer for _ in range(depth) for layer in (Dense(1.2, bias), act)], Dense(1.2, bias))


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("act", [Relu(), Erf(), Gelu(), kernels.Sin()])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_errors_of_kernel_values_add_up_to_two_roundings_a_layer(act, depth, bias):
    architecture = network(act, depth, bias)
    kernel = kernels.analytic(architecture)
    assert roundings(kernel) == 2 * (2 * depth + 1)
    angles = np.linspace(0.05, 3.1, 13)
    x, points = np.array([[1.1, 0.0]]), 1.1 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    exact = np.array([float(mp_kernel(architecture, x[0], point)[1]) for point in points])
    error = np.abs(kernel(x, points).ntk[0] - exact).mean()
    assert error <= roundings(kernel) * EPS * np.abs(exact).mean()


def test_branches_count_and_other_kernels_have_a_number_too():
    branch = kernels.Residual(Relu(), Dense())
    kernel = kernels.analytic(kernels.Sequential(Dense(), branch, Dense()))
    assert roundings(kernel) == 10

    class Plain:
        dtype, content_key = "float64", "plain"

        def __call__(self, x1, x2=None):
            return kernel(x1, x2)

    assert roundings(Plain()) > roundings(kernel)


# Harmonics that vanish: odd ones of a rectifier beyond the first, even ones of an odd nonlinearity.
VANISHING = {"relu": (Relu(), (3, 5, 7)), "gelu": (Gelu(), (3, 5, 7)), "erf": (Erf(), (2, 4, 6))}


@pytest.mark.parametrize("name", VANISHING)
@pytest.mark.parametrize(
    ("make", "resolutions"), [(groups.so2, (6, 9, 12, 24, 48, 96)), (groups.so3, (5, 6, 8, 11, 16))]
)
def test_blocks_that_vanish_are_within_what_is_known_of_them(name, make, resolutions):
    act, degrees = VANISHING[name]
    kernel = kernels.analytic(kernels.Sequential(kernels.Flatten(), *network(act, 1).layers))
    for resolution in resolutions:
        group = make(resolution)
        x = np.random.default_rng(resolution).standard_normal((3, 1, group.dim))
        irreps = [groups.harmonic(group, degree) for degree in degrees if degree <= group.band_limit]
        gram = kernels.orbit_gram(kernel, groups.matrix_action(group), x, irreps)
        errors = rule_error(kernel, groups.matrix_action(group), x, irreps)
        for irrep, block, error in zip(irreps, gram.blocks, errors, strict=True):
            rounding = (roundings(kernel) + irrep.degree) * EPS * gram.bound
            assert np.linalg.norm(block, 2) <= rounding + error
            if resolution == max(resolutions):  # converged: the error is rounding too
                assert error <= 10 * rounding


def test_one_sample_and_many_are_compared_alike():
    architecture = kernels.Sequential(kernels.Flatten(), *network(Relu(), 2, 0.1).layers)
    kernel, group = kernels.analytic(architecture), groups.so3(8)
    action, irreps = groups.matrix_action(group), [groups.harmonic(group, 1), groups.harmonic(group, 4)]
    x = np.random.default_rng(0).standard_normal((20, 2, 3))
    finer = groups.matrix_action(groups.so3(16))
    for n in (1, 3, 20):
        errors = rule_error(kernel, action, x[:n], irreps)
        blocks, exact = (kernels.orbit_gram(kernel, each, x[:n], irreps).blocks for each in (action, finer))
        for error, block, other in zip(errors, blocks, exact, strict=True):
            off = np.linalg.norm(block - other, 2)
            assert off / 3 <= error <= 100 * off
