"""Question: what does one training Gram matrix cost under a group of 3136 elements, in all and for each entry.

1000 FashionMNIST images x (28 x 28 translations x 4 quarter turns), 3 hidden ReLU Dense layers, an invariant task:
the block of the trivial representation, out of n^2 |G| kernel entries, of which half follow from the other half by
symmetry. The listed set, 3.1 million images, fits no machine.

Timed: kernels.orbit_gram, once, warmed up on the first 64 images, which compiles the shapes of nearly all tiles; making
the group's table is not timed. An entry's time is that of the whole divided by n^2 |G|. The peer's is that of a jitted
kernel_fn, asked for both kernels in one call, on square blocks of 250, 500, 1000 or 2000 listed images, the fastest of
which counts: warmed up by a whole run, then the median of at most 3 repeats.

Shares count the inner products by Fourier transforms and three layers of duals of n^2 |G| / 2 entries. The
difference is that of the block from sums of kernel(x_i, g x_j) over all g, on random pairs (i, j).
"""

from dataclasses import dataclass

import numpy as np

from haarflow import groups, kernels
from haarflow.bench.counting import by_fourier, recursion
from haarflow.bench.measuring import DENSE, HIDDEN, difference, timed
from haarflow.bench.peer import PeerKernel, PeerTime
from haarflow.bench.registry import Options, Row, Steps, workload
from haarflow.groups import Action
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["SIZES", "Size", "orbit_gram"]

# Images that are run before anything is timed.
WARM = 64


@dataclass(frozen=True)
class Size:
    """Numbers of images, shifts along each axis, sides of the peer's blocks, and pairs that are checked."""

    ns: tuple[int, ...]
    shifts: int
    blocks: tuple[int, ...]
    pairs: int


SIZES = {False: Size((1000,), 28, (250, 500, 1000, 2000), 6), True: Size((16,), 28, (250, 500), 3)}


@workload("W5", __doc__, SIZES)
def orbit_gram(options: Options, progress: Progress | None = None) -> list[Row]:
    """Measure the orbit Gram matrix, and one entry beside the peer's."""
    size = options.sized(SIZES)
    action = groups.image_p4(min(size.shifts, options.images.side))
    steps = Steps(progress, "W5", len(size.ns) + 1)
    beside = _peer(action, size, options) if options.peer else None
    steps.done()
    rows = []
    for n in size.ns:
        rows += _gram(action, options.images.train(n).x, size, beside, progress)
        steps.done()
    return rows


def _gram(action: Action, x: np.ndarray, size: Size, beside: PeerTime | None, progress: Progress | None) -> list[Row]:
    n, order = len(x), action.group.order
    kernel, irreps = kernels.analytic(DENSE), [groups.trivial(action.group, 1)]
    kernels.orbit_gram(kernel, action, x[:WARM], irreps)
    seconds, gram = timed(lambda: kernels.orbit_gram(kernel, action, x, irreps, progress), 1)
    entries = n**2 * order
    apart = _against_sums(kernel, action, x, gram.blocks[0], size.pairs)
    # Images of [H, W] under fewer shifts than pixels take the transforms of a whole one all the same.
    height, width = x.shape[1:3]
    work = by_fourier(n**2 * 4 / 2, (height, width)) + recursion(entries / 2, HIDDEN)
    detail = {"n": n, "order": order, "entries": entries, "pairs_checked": size.pairs}
    case = f"n = {n} x {order}"
    rows = [Row("W5", f"training, {case}", seconds, difference=apart, work=work, detail=detail)]
    if beside is None:
        return [*rows, Row("W5", f"one entry, {case}", 1e9 * seconds / entries, unit="ns", detail=detail)]
    theirs = 1e9 * beside.seconds / beside.found.ntk.size
    detail = {**detail, **beside.detail}
    return [
        *rows,
        Row("W5", f"one entry, {case}", 1e9 * seconds / entries, theirs, unit="ns", note=beside.note, detail=detail),
    ]


def _against_sums(kernel: kernels.Kernel, action: Action, x: np.ndarray, block: np.ndarray, pairs: int) -> float:
    """Return how far the block lies from sums over listed orbits, on random pairs."""
    chosen = np.random.default_rng(0).integers(0, len(x), (pairs, 2))
    sums = [kernel(x[i : i + 1], action.orbit(x[j : j + 1])[:, 0]).ntk.sum() for i, j in chosen]
    return difference(block[tuple(chosen.T)], np.array(sums))


def _peer(action: Action, size: Size, options: Options) -> PeerTime:
    """Time the peer on the best of its blocks."""
    x = options.images.train(min(max(size.blocks), options.images.most)).x
    turned = action(1, x)
    kernel = PeerKernel(DENSE)
    trials = kernel.try_batches(x, turned, size.blocks)
    batch = max(trials, key=lambda trial: trial.pairs_per_second).batch
    return kernel.timed_gram(x[:batch], turned[:batch], trials, options.peer_repeats)
