"""How wrong the blocks of an orbit Gram may be, by rounding and by a compact group's rule."""

from collections.abc import Sequence

import numpy as np

from haarflow.groups import HaarAction, Harmonic
from haarflow.kernels.aligned import aligned_tiles
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.orbit_tiles import Irrep, Kernel

__all__ = ["roundings", "rule_error"]

# Samples between which two rules are compared: 64 pairs, whatever the training set.
_SAMPLES = 8
# Of a kernel from elsewhere, whose arithmetic is not known: as of a network of 16 layers.
_FOREIGN = 32


def roundings(kernel: Kernel) -> int:
    """Return how many times eps the relative error of a kernel's values may be, in the mean over an orbit.

    Notes
    -----
    The recursion multiplies and adds once a layer, which are two roundings; held against 50 digits in
    tests/kernels/test_rule_error.py. An error of r eps |Theta| in every entry is at most r eps times the largest
    absolute row sum in the norm of the augmented Gram matrix, and so of each of its blocks (Schur's test).
    """
    return kernel.roundings if isinstance(kernel, AnalyticKernel) else _FOREIGN


def rule_error(kernel: AnalyticKernel, action: HaarAction, x: np.ndarray, irreps: Sequence[Irrep]) -> np.ndarray:
    """Estimate what a compact group's rule leaves in the norm of each block, from one of an eighth fewer nodes.

    Parameters
    ----------
    kernel : AnalyticKernel
        Of inner products.
    action : HaarAction
        The group on vectors.
    x : array [n, ..., d]
        Training samples, of which at most 8 are compared.
    irreps : sequence of Harmonic
        The blocks.

    Returns
    -------
    array [irreps] float64
        In the unit of the blocks' eigenvalues.

    Notes
    -----
    A block's norm is at most its largest row sum of the norms of its d x d parts. A norm says nothing about single
    modes: `solvers.Spectrum.beside` does, where two whole blocks are at hand. Cost: 128 pairs of samples at most, each
    of `evaluations(action)` kernel entries.
    """
    group, wanted = action.group, [irrep for irrep in irreps if isinstance(irrep, Harmonic)]
    # Below four there is hardly a smaller rule: there a larger one tells.
    step = max(1, group.resolution // 8)
    other = group.resolution + (-step if group.resolution >= 4 else step)
    chosen = x[np.unique(np.linspace(0, len(x) - 1, _SAMPLES).round().astype(int))]
    blocks, rough = (
        aligned_tiles(kernel, HaarAction(rule), chosen, chosen, wanted).ntk for rule in (group, group.at(other))
    )
    found = np.empty(len(wanted))
    for k, (block, less) in enumerate(zip(blocks, rough, strict=True)):
        off = np.linalg.norm((block.astype(float) - less).transpose(0, 2, 1, 3), axis=(2, 3), ord=2)  # [i, j]
        own = np.diagonal(off)
        others = (off.sum(axis=1) - own) / max(len(chosen) - 1, 1)
        found[k] = (own + (len(x) - 1) * others).max()
    return found
