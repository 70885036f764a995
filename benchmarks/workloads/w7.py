"""Question: what do 200 times cost beside one time.

FashionMNIST, 1000 base samples x C4, 3 hidden ReLU Dense layers, 10 outputs, 200 test images; one finite time, and 200.

Timed: the whole job, fit and predict; and predict alone, of an ensemble that is fitted already. The peer is given the
listed 4000 images; its whole job makes and calls predict.gradient_descent_mse_ensemble, its predict alone is one more
call of the predict_fn, which has kept the training kernel's eigenvectors. All is warmed up by a whole run first;
medians of the repeats, of the peer at most 3.

Shares count as for W1; predict alone without the training Gram and its eigendecomposition. The difference is the
mean's, over all times. The last rows say how many times as long 200 times take as one, ours and the peer's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haarflow import DeepEnsemble, groups
from haarflow.bench.counting import Work, inner_products, recursion
from haarflow.bench.measuring import DENSE, HIDDEN, difference, timed
from haarflow.bench.peer import PeerEnsemble
from haarflow.bench.registry import Options, Row, Steps, workload
from haarflow.bench.w1 import counted
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["SIZES", "Size", "many_times"]

ACTION = groups.image_rotations(4)
JOBS = ("fit and predict", "predict")


@dataclass(frozen=True)
class Size:
    """Numbers of base samples, of test images, and of times beside one."""

    ns: tuple[int, ...]
    test: int
    times: int


SIZES = {False: Size((1000,), 200, 200), True: Size((60,), 50, 200)}


@workload("W7", __doc__, SIZES)
def many_times(options: Options, progress: Progress | None = None) -> list[Row]:
    """Measure both jobs at one time and at many."""
    size = options.sized(SIZES)
    train, test = options.images.train(max(size.ns)), options.images.test(size.test).x
    many = np.geomspace(1e2, 1e6, size.times)
    steps = Steps(progress, "W7", 4 * len(size.ns))
    rows = []
    for n in size.ns:
        measured = _Measured(train.x[:n], train.y[:n], test, options)
        for job in JOBS:
            pair = []
            for times in (many[size.times // 2 :][:1], many):
                pair.append(measured.row(job, times))
                steps.done()
            rows += [*pair, _cost(job, *pair)]
    return rows


class _Measured:
    """Ours and the peer on one training set."""

    def __init__(self, x: np.ndarray, y: np.ndarray, test: np.ndarray, options: Options) -> None:
        self._x, self._y, self._test, self._options = x, y, test, options
        self._ours = DeepEnsemble(DENSE, action=ACTION, progress=False).fit(x, y)
        self._peer = PeerEnsemble(DENSE).fit(ACTION, x, y) if options.peer else None

    def row(self, job: str, times: np.ndarray) -> Row:
        ours, theirs = self._jobs(job, times)
        seconds, mean = timed(ours, self._options.repeats, warm_up=True)
        peer = apart = None
        if theirs is not None:
            peer, found = timed(theirs, self._options.peer_repeats, warm_up=True)
            apart = difference(mean, found)
        n, count = len(self._x), len(times)
        return Row(
            "W7",
            f"{job}, {count} time{'s' * (count > 1)}, n = {n}",
            seconds,
            peer,
            difference=apart,
            work=self._counted(job, count),
            detail={"n": n, "order": ACTION.group.order, "test": len(self._test), "times": count},
        )

    def _jobs(self, job: str, times: np.ndarray) -> tuple[Callable[[], np.ndarray], Callable[[], np.ndarray] | None]:
        x, y, test, peer = self._x, self._y, self._test, self._peer
        if job == "predict":
            ours = lambda: self._ours.predict(test, times).mean  # noqa: E731
            return ours, None if peer is None else lambda: peer.predict(test, times)
        ours = lambda: self._ours.fit(x, y).predict(test, times).mean  # noqa: E731
        return ours, None if peer is None else lambda: peer.fit(ACTION, x, y).predict(test, times)

    def _counted(self, job: str, count: int) -> Work:
        n, m, length, outputs = len(self._x), len(self._test), self._x[0].size, self._y.shape[1]
        if job != "predict":
            return counted(n, ACTION.group.order, m, count, length, outputs)
        pairs = n * ACTION.group.order * m
        solved = Work(2.0 * m * n**2 + 2.0 * count * m * n * outputs, 0.0)
        return inner_products(pairs, length) + recursion(pairs, HIDDEN) + solved


def _cost(job: str, one: Row, many: Row) -> Row:
    count = many.detail["times"]
    return Row(
        "W7",
        f"{job}, {count} times over one, n = {one.detail['n']}",
        many.ours / one.ours,
        None if one.peer is None or many.peer is None else many.peer / one.peer,
        unit="times as long",
        detail={"n": one.detail["n"], "times": count},
    )
