"""A Krylov space of a float32 Gram matrix: what was rounded away is no mode, though no product shows it."""

import warnings

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

GROUPS = {"C5": groups.cyclic(5), "C7": groups.cyclic(7), "D5": groups.dihedral(5), "S4": groups.symmetric(4)}


class Constant:
    """Theta = K = c everywhere: of rank one, so that every block but the invariant one is rounding."""

    dtype = "float32"
    content_key = "constant"

    def __call__(self, x1, x2=None):
        values = np.full((len(x1), len(x1 if x2 is None else x2)), 0.028964967768074043, np.float32)
        return kernels.KernelPair(values, values)


@pytest.mark.parametrize("time", [1e3, 1e5, 1e7, 1e9, np.inf])
@pytest.mark.parametrize("name", GROUPS)
def test_rounding_of_a_float32_gram_learns_nothing(name, time):
    # Vectors that turn with the samples have mean 0 over an orbit, which is all that a constant learns.
    irrep = groups.irreps(GROUPS[name])[-1]
    action = groups.matrix_action(irrep.group, irrep.matrices)
    for n in (1, 2, 3):
        x, y = np.random.default_rng(0).standard_normal((2, n, irrep.dim))
        ensemble = hf.DeepEnsemble(Constant(), action=action, output=irrep, loss="sum", solver="krylov").fit(x, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hf.ResolutionWarning)
            assert np.abs(ensemble.predict(x, time).mean).max() < 1e-4
            assert ensemble.timescales.size == 0
