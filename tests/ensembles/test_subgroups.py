"""The bound on what a finite subgroup leaves broken, for vector outputs in space."""

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

LAYERS = [kernels.Dense(2**0.5, 0.1), kernels.Erf()] * 2
NETWORK = kernels.Sequential(kernels.Flatten(), *LAYERS, kernels.Dense(1.0, 0.1))


@pytest.mark.slow
def test_rotations_of_the_solids_and_vector_outputs():
    rng = np.random.default_rng(0)
    x, points = rng.standard_normal((2, 4, 2, 3))
    y = np.cross(x[:, 0], x[:, 1])
    g = groups.so3(2).random(5, seed=1)
    reached = []
    for solid in (groups.tetrahedral(), groups.icosahedral()):
        action, output = groups.matrix_action(solid), groups.Representation(solid, solid.matrices)
        ensemble = hf.DeepEnsemble(NETWORK, action=action, output=output).fit(x, y)
        change, bound = hf.subgroup_bound(
            ensemble, points[:2], g, solid.matrices, [10.0, 1e3], outputs=(g, solid.matrices)
        )
        assert change.shape == bound.shape == (2, 5, 2)
        assert (change <= bound).all()
        own = hf.subgroup_bound(
            ensemble, points[:1], solid.matrices, solid.matrices, [1e3], outputs=(solid.matrices,) * 2
        )
        assert own.change.max() < 1e-10
        assert own.bound.max() < 1e-10
        reached.append(change.max())
    assert reached[1] < reached[0]  # more elements, less broken


@pytest.mark.slow
def test_an_ensemble_that_was_not_augmented_breaks_the_bound():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 2, 3))
    solid = groups.icosahedral()
    plain = hf.DeepEnsemble(NETWORK).fit(x, np.cross(x[:, 0], x[:, 1]))
    own = hf.subgroup_bound(plain, x[:2], solid.matrices, solid.matrices, [1e3])
    assert (own.change > own.bound).any()
