"""Kernels of a batch with itself, without a group: what a covariance begins with."""

import numpy as np

from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.backend import in_threads
from haarflow.kernels.orbit_tiles import Kernel, Progress
from haarflow.kernels.own import as_own
from haarflow.kernels.pair import KernelPair

__all__ = ["kernel_diagonal", "kernel_matrix"]

# Samples whose K(x, x) are read off one small Gram matrix of another's kernel.
_DIAGONAL = 32


def kernel_diagonal(kernel: Kernel, x: np.ndarray, progress: Progress | None = None) -> KernelPair:
    """Return K(x_i, x_i) and Theta(x_i, x_i) without the Gram matrix.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    x : array [m, ...]
        Samples.
    progress : callable, optional
        progress("prior", done, total) in samples.

    Returns
    -------
    KernelPair
        [m] each.

    Notes
    -----
    Cost: as many kernel entries for each sample as a tile has rows, 8 to 64, as diagonals of small Gram matrices.
    """
    kernel = as_own(kernel)
    ours = isinstance(kernel, AnalyticKernel)
    step = kernel.batch(x.shape[1:]) if isinstance(kernel, AnalyticKernel) else _DIAGONAL

    def evaluate(start: int) -> KernelPair:
        pair = kernel(x[start : start + step])
        return KernelPair(*(np.diagonal(part) for part in pair))

    parts, starts = [], range(0, len(x), step)
    for pair in (in_threads if ours else map)(evaluate, starts):  # another's kernel may not be for several threads
        parts.append(pair)
        if progress is not None:
            progress("prior", min(len(parts) * step, len(x)), len(x))
    return KernelPair(*(np.concatenate(family) for family in zip(*parts, strict=True)))


def kernel_matrix(kernel: Kernel, x: np.ndarray, progress: Progress | None = None) -> KernelPair:
    """Return K and Theta [m, m].

    Parameters
    ----------
    kernel, x
        As in `kernel_diagonal`.
    progress : callable, optional
        progress("prior", done, total) in kernel entries.
    """
    if progress is None or not isinstance(kernel, AnalyticKernel):
        return kernel(x)
    done = 0

    def told(some: int) -> None:
        nonlocal done
        done += some
        progress("prior", done, len(x) ** 2)

    return kernel.between(kernel.prepare(x), None, told)
