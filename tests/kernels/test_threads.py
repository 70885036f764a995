"""Tiles side by side: in order, few in flight, nested, given up half way, and with errors."""

import importlib
import threading
import time

import numpy as np
import pytest

from haarflow import kernels

backend = importlib.import_module("haarflow.kernels.backend")


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(backend, "cores", lambda: 2)
    backend._pool.cache_clear()
    yield
    backend._pool().shutdown()
    backend._pool.cache_clear()


def test_results_come_in_order_from_two_threads():
    together = threading.Barrier(2, timeout=10)

    def work(job):
        if job < 2:
            together.wait()  # passes only where two run at once
        time.sleep(0.001 * (7 - job))
        return job

    assert list(backend.in_threads(work, range(7))) == list(range(7))


def test_long_work_learns_that_nobody_listens():
    stop, begun, ended = threading.Event(), threading.Event(), []

    def work(job):
        if job:
            begun.set()
            ended.append(stop.wait(30))
        else:
            begun.wait(10)
        return job

    results = backend.in_threads(work, range(2), stop)
    assert next(results) == 0
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10
    assert ended == [True]


def test_nested_tiles_are_taken_in_turn():
    def work(job):
        return sum(backend.in_threads(lambda inner: inner + job, range(3)))

    assert list(backend.in_threads(work, range(6))) == [3 + 3 * job for job in range(6)]


def test_who_stops_listening_leaves_little_behind():
    started = []
    tiles = backend.in_threads(started.append, range(1000))
    next(tiles)
    tiles.close()
    assert len(started) <= 8


def test_errors_arrive():
    def work(job):
        if job == 3:
            raise ArithmeticError("tile 3")
        return job

    seen = []
    with pytest.raises(ArithmeticError, match="tile 3"):
        seen.extend(backend.in_threads(work, range(100)))
    assert list(backend.in_threads(lambda job: job, range(5))) == list(range(5))


def test_a_worker_of_one_thread_computes_in_it_alone():
    network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
    x = np.random.default_rng(0).standard_normal((1500, 20))
    kernel = kernels.analytic(network)
    threads = set()
    with backend.one_thread():
        for _ in backend.in_threads(lambda job: threads.add(threading.get_ident()), range(8)):
            continue
        alone = kernel(x)
    assert threads == {threading.get_ident()}
    together = kernel(x)
    assert alone.ntk.tobytes() == together.ntk.tobytes()
    assert alone.nngp.tobytes() == together.nngp.tobytes()
    for _ in backend.in_threads(lambda job: threads.add(threading.get_ident()), range(8)):
        continue
    assert len(threads) > 1
