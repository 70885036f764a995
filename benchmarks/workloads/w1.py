"""Question: how long does the whole job take, from images to predictions, and how does it grow with n and with |G|.

FashionMNIST, n base samples x C4, 3 hidden ReLU Dense layers, 10 outputs, 200 test images, 20 times with inf;
n = 250, 500, 1000, 2000. Then C2, C4 and D4 at the second of these n. With --n C4 alone at these n, with --group these
groups at each n. Exponents are least squares of log time against log n, and against log |G|; not of --quick, whose
times are those of calls and threads.

Timed: fit and predict of ours; of the peer, listing the n |G| images, a jitted kernel_fn, and
predict.gradient_descent_mse_ensemble with all finite times in one call. Both are warmed up by a whole run first;
medians of the repeats, of the peer at most 3, and one from 8000 listed images on.

Shares count the inner products and the recursion of n^2 |G| / 2 pairs and of those with the test images, one
eigendecomposition of [n, n], and the products with its eigenvectors. The difference is the mean's, over all times.
"""

from dataclasses import dataclass

import numpy as np

from haarflow import DeepEnsemble, groups
from haarflow.bench.counting import Work, eigendecomposition, inner_products, recursion
from haarflow.bench.measuring import DENSE, HIDDEN, difference, timed
from haarflow.bench.peer import PeerEnsemble
from haarflow.bench.registry import Options, Row, Steps, workload
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["SIZES", "Size", "counted", "whole_job"]

TIMES = np.append(np.geomspace(1e2, 1e6, 19), np.inf)
GROUPS = {"C2": groups.image_rotations(2), "C4": groups.image_rotations(4), "D4": groups.image_dihedral()}
# From so many listed images on, the peer is timed once.
LARGE = 8000


@dataclass(frozen=True)
class Size:
    """Numbers of base samples, and of test images."""

    ns: tuple[int, ...]
    test: int


SIZES = {False: Size((250, 500, 1000, 2000), 200), True: Size((50, 100), 50)}


def counted(n: int, order: int, test: int, times: int, length: int, outputs: int) -> Work:
    """Count fit and predict: n base samples under a group, test images, times, numbers of a sample, outputs."""
    pairs = n**2 * order / 2 + n * order * test
    solved = 2.0 * test * n**2 + 2.0 * n**2 * outputs + 2.0 * times * test * n * outputs
    return inner_products(pairs, length) + recursion(pairs, HIDDEN) + eigendecomposition(n) + Work(solved, 0.0)


@workload("W1", __doc__, SIZES)
def whole_job(options: Options, progress: Progress | None = None) -> list[Row]:
    """Measure whole jobs, then the exponents of their growth."""
    size = options.sized(SIZES)
    train, test = options.images.train(max(size.ns)), options.images.test(size.test).x
    fixed = size.ns[min(1, len(size.ns) - 1)]
    names = options.groups or ("C4",)
    cases = [(name, n) for name in names for n in size.ns]
    if not options.groups and not options.ns:
        cases += [("C2", fixed), ("D4", fixed)]
    steps = Steps(progress, "W1", len(cases))
    rows = {}
    for name, n in cases:
        rows[name, n] = _job(name, train.x[:n], train.y[:n], test, options)
        steps.done()
    found = [*rows.values()]
    if options.quick:
        return found
    along_n = [(f"n, {name}", "n", [rows[name, n] for n in size.ns]) for name in names]
    along_order = [rows[name, fixed] for name in GROUPS if (name, fixed) in rows]
    growths = [*along_n, (f"|G|, n = {fixed}", "order", along_order)]
    return [*found, *(_exponent(*growth) for growth in growths if len(growth[-1]) > 1)]


def _job(name: str, x: np.ndarray, y: np.ndarray, test: np.ndarray, options: Options) -> Row:
    action, n = GROUPS[name], len(x)
    order = action.group.order

    def ours() -> np.ndarray:
        return DeepEnsemble(DENSE, action=action, progress=False).fit(x, y).predict(test, TIMES).mean

    seconds, mean = timed(ours, options.repeats, warm_up=True)
    peer = apart = None
    repeats = 1 if n * order >= LARGE else options.peer_repeats
    if options.peer:
        ensemble = PeerEnsemble(DENSE)
        peer, theirs = timed(lambda: ensemble.fit(action, x, y).predict(test, TIMES), repeats, warm_up=True)
        apart = difference(mean, theirs)
    return Row(
        "W1",
        f"n = {n} x {name}",
        seconds,
        peer,
        difference=apart,
        work=counted(n, order, len(test), len(TIMES), x[0].size, y.shape[1]),
        detail={"n": n, "order": order, "test": len(test), "times": len(TIMES), "peer_repeats": repeats},
    )


def _exponent(of: str, key: str, rows: list[Row]) -> Row:
    def fitted(times: list[float]) -> float:
        return float(np.polyfit(np.log([row.detail[key] for row in rows]), np.log(times), 1)[0])

    peers = [row.peer for row in rows if row.peer is not None]
    return Row(
        "W1",
        f"exponent of the time's growth with {of}",
        fitted([row.ours for row in rows]),
        fitted(peers) if peers else None,
        unit="exponent",
        detail={key: [row.detail[key] for row in rows]},
    )
