"""What a kernel returns."""

from typing import NamedTuple

import numpy as np

__all__ = ["KernelPair"]


class KernelPair(NamedTuple):
    """NNGP and NTK between two batches, [n1, n2] each."""

    nngp: np.ndarray
    ntk: np.ndarray
