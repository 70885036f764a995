"""The catalogue of hard Gram matrices, with known spectrum, that every solver is tested on."""

from typing import NamedTuple

import numpy as np


class Hard(NamedTuple):
    """A symmetric positive semidefinite matrix V diag(values) V^T."""

    values: np.ndarray
    vectors: np.ndarray

    @property
    def gram(self):
        gram = (self.vectors * self.values) @ self.vectors.T
        return (gram + gram.T) / 2


def _make(values, seed=0):
    values = np.asarray(values, float)
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return Hard(np.sort(values), vectors)


HARD = {
    "well conditioned": _make(np.linspace(1, 3, 12)),
    "geometric": _make(10.0 ** -np.arange(0, 6, 0.5)),
    "clustered": _make([1e-3] * 4 + [1.0] * 4 + [1e3] * 4),
    "one dominant": _make([1e4] + [1.0] * 11),
    "identity": _make(np.ones(8)),
    "one sample": _make([2.5]),
    "huge": _make(1e150 * np.linspace(1, 3, 6)),
    "tiny": _make(1e-150 * np.linspace(1, 3, 6)),
    "rank one": _make([3.0] + [0.0] * 7),
    "half singular": _make([1.0, 2.0, 3.0] + [0.0] * 3),
    "zero": Hard(np.zeros(5), np.eye(5)),
}
REGULAR = [name for name, hard in HARD.items() if hard.values[0] > 0]
# What float32 can represent, and does not lose below its rounding.
FLOAT32 = ["well conditioned", "one dominant", "identity", "one sample", "rank one", "half singular", "zero"]
