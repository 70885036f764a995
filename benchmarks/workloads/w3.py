"""Question: how fast is the training Gram matrix of a dense network.

3000 flattened FashionMNIST images, 3 hidden ReLU Dense layers, float64 and float32.

Timed: kernel(x), which knows its symmetry; of the peer, a jitted kernel_fn asked for both kernels in one call, on all
3000 at once or in square blocks of 500, 1000 or 1500, the fastest of which counts: each is tried on one strip of
blocks. With float32 inputs it is tried with JAX's 64-bit scope off and on. Both are warmed up by a whole run first;
medians of the repeats, of the peer at most 3.

Shares count the inner products and three layers of duals of n^2 / 2 pairs. The difference is the larger of both
kernels', without the diagonal, on which the peer's Theta is off by up to 5e-9.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from haarflow import kernels
from haarflow.bench.counting import inner_products, recursion
from haarflow.bench.measuring import DENSE, HIDDEN, difference, timed
from haarflow.bench.peer import PeerKernel
from haarflow.bench.registry import Options, Row, Steps, workload
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["SIZES", "Size", "dense_gram"]


@dataclass(frozen=True)
class Size:
    """Numbers of images, and sides of the blocks that are tried on the peer besides all at once."""

    ns: tuple[int, ...]
    blocks: tuple[int, ...]


SIZES = {False: Size((3000,), (500, 1000, 1500)), True: Size((200,), (100,))}


@workload("W3", __doc__, SIZES)
def dense_gram(options: Options, progress: Progress | None = None) -> list[Row]:
    """Measure the Gram matrix in both dtypes."""
    size = options.sized(SIZES)
    cases = list(product(("float64", "float32"), size.ns))
    steps = Steps(progress, "W3", len(cases))
    rows = []
    for dtype, n in cases:
        rows.append(_gram(dtype, options.images.train(n).x.reshape(n, -1), (*size.blocks, n), options))
        steps.done()
    return rows


def _gram(dtype: str, x: np.ndarray, blocks: tuple[int, ...], options: Options) -> Row:
    n = len(x)
    kernel = kernels.analytic(DENSE, dtype)
    seconds, ours = timed(lambda: kernel(x), options.repeats, warm_up=True)
    peer = apart = None
    note, detail = "", {"n": n, "dtype": dtype}
    if options.peer:
        theirs = PeerKernel(DENSE, dtype)
        beside = theirs.timed_gram(x, x, theirs.try_batches(x, x, blocks), options.peer_repeats)
        peer, note, detail = beside.seconds, beside.note, {**detail, **beside.detail}
        distinct = ~np.eye(n, dtype=bool)
        apart = max(difference(a, b, distinct) for a, b in zip(ours, beside.found, strict=True))
    pairs = n * (n + 1) / 2
    return Row(
        "W3",
        f"training, {dtype}, n = {n}",
        seconds,
        peer,
        difference=apart,
        work=inner_products(pairs, x.shape[1], dtype) + recursion(pairs, HIDDEN, dtype),
        note=note,
        detail=detail,
    )
