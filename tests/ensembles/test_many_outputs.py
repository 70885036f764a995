"""Ensembles of many invariant outputs: nothing is made of the size of the group times their square."""

import time

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())


@pytest.mark.parametrize("explicit", [False, True])
def test_a_fit_of_many_invariant_outputs(explicit):
    action = groups.image_rotations(4)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 4, 4, 1)), rng.standard_normal((5, 1500))
    how = {"action": action, "reduction": "explicit" if explicit else "orbit"}
    hf.DeepEnsemble(NETWORK, **how).fit(x, y[:, :1]).predict(x, [1.0, np.inf])  # compiled
    start = time.perf_counter()
    fitted = hf.DeepEnsemble(NETWORK, output=groups.trivial(action.group, 1500), **how).fit(x, y)
    mean = fitted.predict(x, [1.0, np.inf]).mean
    assert time.perf_counter() - start < 1  # trivial(C4, 800) alone took 19 s
    few = hf.DeepEnsemble(NETWORK, loss="sum", action=action).fit(x, y[:, :3]).predict(x, 1.0 / (20 * 1500)).mean
    np.testing.assert_allclose(mean[0, :, :3], few[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(mean[1], y, atol=1e-10)
