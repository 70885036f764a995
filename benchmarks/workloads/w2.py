"""Question: how fast are both kernels of a convolutional network with global average pooling.

Cross Gram of 64 x 64 images 14 x 14 x 1 (FashionMNIST, halved by means of 2 x 2), and training Gram of the first 64;
[Conv 3x3, ReLU] x 3, GlobalAvgPool, Dense, all with W_std = sqrt 2 and b_std = 0.1; CIRCULAR and SAME padding;
float64 and float32.

Timed: kernel(x1, x2), and kernel(x) that knows its symmetry; of the peer, a jitted kernel_fn asked for both kernels in
one call, at the best of the batch sizes 2, 4, 8, 16, 32, each tried on one strip of that many rows by all columns. Its
training Gram is the full one. With float32 inputs it is tried with JAX's 64-bit scope off and on, and the faster
counts. It is timed on the first 16 rows, or one batch of them if that is more, and its time scaled by the number of
pairs. Both are warmed up by a whole run first; medians of the repeats, of the peer at most 3.

Shares count, for each pair and all P^2 pairs of positions, the inner product and three layers of box sum and dual;
half the pairs of a training Gram. The difference is the larger of both kernels', on the peer's rows; of a training
Gram without its diagonal, on which the peer's Theta is off by up to 5e-9.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from haarflow import kernels
from haarflow.bench.counting import Work, inner_products, recursion
from haarflow.bench.images import FASHION, Images
from haarflow.bench.measuring import difference, timed
from haarflow.bench.peer import PeerKernel, Trial
from haarflow.bench.registry import Options, Row, Steps, workload
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["SIZES", "Size", "convolutional_grams"]

LAYERS = 3
# Padding and dtype.
CASES = tuple(product(("CIRCULAR", "SAME"), ("float64", "float32")))


@dataclass(frozen=True)
class Size:
    """Numbers of images, side of an image, batch sizes tried on the peer, and how many rows it is timed on."""

    ns: tuple[int, ...]
    side: int
    batches: tuple[int, ...]
    rows: int


SIZES = {False: Size((64,), 14, (2, 4, 8, 16, 32), 16), True: Size((8,), 14, (4, 8), 4)}


def _network(padding: str) -> kernels.Sequential:
    layers = [kernels.Conv(3, padding, 2**0.5, 0.1), kernels.Relu()] * LAYERS
    return kernels.Sequential(*layers, kernels.GlobalAvgPool(), kernels.Dense(2**0.5, 0.1))


def _images(n: int, side: int, images: Images) -> np.ndarray:
    """Return the middle of images: of FashionMNIST halved by means, of digits as they are."""
    x = images.train(n).x
    if images is FASHION:
        x = x.reshape(n, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    rim = max(0, (x.shape[1] - side) // 2)
    return x[:, rim : rim + side, rim : rim + side]


@workload("W2", __doc__, SIZES)
def convolutional_grams(options: Options, progress: Progress | None = None) -> list[Row]:
    """Measure cross and training Gram for both paddings and dtypes."""
    size = options.sized(SIZES)
    cases = list(product(CASES, size.ns))
    steps = Steps(progress, "W2", 2 * len(cases))
    rows = []
    for (padding, dtype), n in cases:
        x = _images(2 * n, size.side, options.images)
        measured = _Measured(padding, dtype, size, options)
        for which, second in (("cross", x[n:]), ("training", None)):
            rows.append(measured.gram(which, x[:n], second))
            steps.done()
    return rows


class _Measured:
    """One network in one dtype; the peer is compiled and its batch sizes are tried once for both Gram matrices."""

    def __init__(self, padding: str, dtype: str, size: Size, options: Options) -> None:
        network = _network(padding)
        self._padding, self._dtype, self._size, self._options = padding, dtype, size, options
        self._kernel = kernels.analytic(network, dtype)
        self._peer = PeerKernel(network, dtype) if options.peer else None
        self._trials: list[Trial] = []

    def gram(self, which: str, x1: np.ndarray, x2: np.ndarray | None) -> Row:
        seconds, ours = timed(lambda: self._kernel(x1, x2), self._options.repeats, warm_up=True)
        n, positions = len(x1), int(np.prod(x1.shape[1:3]))
        pairs = n * n if x2 is not None else n * (n + 1) // 2
        peer = apart = None
        note, detail = "", {"n": n, "dtype": self._dtype, "padding": self._padding, "pairs": pairs}
        if self._peer is not None:
            other = x1 if x2 is None else x2
            self._trials = self._trials or self._peer.try_batches(x1, other, self._size.batches)
            beside = self._peer.timed_gram(x1, other, self._trials, self._options.peer_repeats, self._size.rows)
            peer, detail = beside.seconds, {**detail, **beside.detail}
            note = beside.note if x2 is not None else ""
            distinct = None if x2 is not None else np.eye(*beside.found.ntk.shape) == 0
            apart = max(difference(a[: len(b)], b, distinct) for a, b in zip(ours, beside.found, strict=True))
        return Row(
            "W2",
            f"{which}, {self._padding}, {self._dtype}, n = {n}",
            seconds,
            peer,
            difference=apart,
            work=_counted(pairs * positions**2, self._dtype),
            note=note,
            detail=detail,
        )


def _counted(entries: int, dtype: str) -> Work:
    return inner_products(entries, 1, dtype) + recursion(entries, LAYERS, dtype, convolutional=True)
