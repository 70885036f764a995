"""Ctrl-C inside LAPACK: the call returns at once, says what goes on, and the next fit uses what was finished."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels, solvers

background = importlib.import_module("haarflow.background")
factorising = importlib.import_module("haarflow.factorising")

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
RNG = np.random.default_rng(0)
X, Y, T = RNG.standard_normal((24, 4)), RNG.standard_normal((24, 2)), [1.0, 1e3]
SWAPS = groups.permutation_action(groups.cyclic(2), np.array([[0, 1, 2, 3], [1, 0, 3, 2]]))


class Slow:
    """LAPACK, which is held up at one of its calls until it is let go."""

    def __init__(self, monkeypatch, at):
        self.inner, self.at, self.calls = solvers.eigendecompose, at, 0
        self.entered, self.go = threading.Event(), threading.Event()
        monkeypatch.setattr(solvers, "eigendecompose", self)

    def __call__(self, *args, **kwargs):
        call, self.calls = self.calls, self.calls + 1
        if call == self.at:
            self.entered.set()
            assert self.go.wait(120)
        return self.inner(*args, **kwargs)


@pytest.fixture(autouse=True)
def _long(monkeypatch):
    monkeypatch.setattr(factorising, "is_long", lambda order: True)


def interrupted(slow, call):
    """The note of a call to which Ctrl-C comes once LAPACK is at work."""

    def press():
        assert slow.entered.wait(120)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as found:
        call()
    thread.join()
    (note,) = found.value.__notes__
    return note


def left_over():
    return [thread for thread in threading.enumerate() if thread.name.startswith("haarflow: the")]


def finish(slow):
    slow.go.set()
    for thread in left_over():
        thread.join(120)


@pytest.mark.parametrize("at", [0, 1])
def test_what_was_finished_is_used(tmp_path, monkeypatch, at):
    slow = Slow(monkeypatch, at)
    ensemble = hf.DeepEnsemble(NETWORK, action=SWAPS, store=tmp_path)
    note = interrupted(slow, lambda: ensemble.fit(X, Y, covariance=True))
    assert "the eigendecomposition of order 24 cannot be stopped" in note
    assert f"is kept in {tmp_path}, where the next fit finds it" in note
    (thread,) = left_over()
    assert not thread.daemon  # Python waits for it
    finish(slow)
    monkeypatch.setattr("haarflow.training.computed_tiles", None)
    law = ensemble.fit(X, Y, covariance=True).predict(X, T, covariance="full")
    assert slow.calls == 2
    monkeypatch.undo()
    alone = hf.DeepEnsemble(NETWORK, action=SWAPS).fit(X, Y, covariance=True).predict(X, T, covariance="full")
    assert np.array_equal(law.mean, alone.mean)
    assert np.array_equal(law.covariance, alone.covariance)
    # Blocks alone are gone once all of them are kept together.
    assert sorted(entry.kind for entry in kernels.Store(tmp_path).entries()) == ["gram", "spectrum"]


def test_the_next_fit_waits_for_what_is_going_on(tmp_path, monkeypatch):
    slow, seen = Slow(monkeypatch, 0), []
    report = lambda label, done, total: seen.append(label)  # noqa: E731
    ensemble = hf.DeepEnsemble(NETWORK, store=tmp_path, progress=report)
    interrupted(slow, lambda: ensemble.fit(X, Y))
    threading.Timer(1.0, slow.go.set).start()
    seen.clear()
    ensemble.fit(X, Y)
    assert slow.calls == 1
    assert "waiting for an interrupted fit, seconds" in seen
    assert np.array_equal(ensemble.predict(X, T).mean, hf.DeepEnsemble(NETWORK).fit(X, Y).predict(X, T).mean)


def test_without_a_store_it_says_that_it_is_lost(monkeypatch):
    slow = Slow(monkeypatch, 0)
    note = interrupted(slow, lambda: hf.DeepEnsemble(NETWORK).fit(X, Y))
    assert "its result is dropped" in note
    assert "with store= it would be kept" in note
    (thread,) = left_over()
    assert thread.daemon  # nobody waits for what is dropped
    finish(slow)


def test_members_covariance_is_left_too(monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK).fit(X, Y, covariance=True)
    expected = ensemble.sample(X, T, members=2, seed=0)
    entered, go, inner = threading.Event(), threading.Event(), solvers.symmetric_root

    def slow(*args):
        entered.set()
        assert go.wait(120)
        return inner(*args)

    slow.entered, slow.go = entered, go
    monkeypatch.setattr(solvers, "symmetric_root", slow)
    note = interrupted(slow, lambda: ensemble.sample(X, T, members=2, seed=0))
    assert "the square root of a covariance of order 24 cannot be stopped" in note
    finish(slow)
    assert np.array_equal(ensemble.sample(X, T, members=2, seed=0), expected)


def test_an_error_arrives(monkeypatch):
    monkeypatch.setattr(solvers, "eigendecompose", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hf.DeepEnsemble(NETWORK).fit(X, Y)
    assert not background._running


def test_a_fit_on_another_thread(tmp_path):
    found = []
    ensemble = hf.DeepEnsemble(NETWORK, store=tmp_path)
    thread = threading.Thread(target=lambda: found.append(ensemble.fit(X, Y).predict(X, T).mean))
    thread.start()
    thread.join(120)
    assert np.array_equal(found[0], hf.DeepEnsemble(NETWORK).fit(X, Y).predict(X, T).mean)


def test_seconds_move_while_lapack_works(monkeypatch):
    slow, seen = Slow(monkeypatch, 0), []
    monkeypatch.setattr(factorising, "eigendecomposition_seconds", lambda *_: 100.0)
    ensemble = hf.DeepEnsemble(NETWORK, progress=lambda *a: seen.append((time.monotonic(), *a)))
    threading.Timer(3.0, slow.go.set).start()
    ensemble.fit(X, Y)
    seconds = [(done, total) for _, label, done, total in seen if label == "eigendecomposition, seconds"]
    assert seconds[0] == (0, 100)
    assert {done for done, _ in seconds} >= {0, 1, 2}


def test_small_blocks_are_not_kept_alone(tmp_path, monkeypatch):
    monkeypatch.undo()
    slow = Slow(monkeypatch, 10**6)
    ensemble = hf.DeepEnsemble(NETWORK, action=SWAPS, store=tmp_path)
    ensemble.fit(X, Y, covariance=True)
    assert slow.calls == 2
    assert not background._running
    assert sorted(entry.kind for entry in kernels.Store(tmp_path).entries()) == ["gram", "spectrum"]


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import haarflow as hf
from haarflow import kernels, solvers
from haarflow import factorising
factorising.is_long = lambda order: True
inner = solvers.eigendecompose
def slow(*args, **kwargs):
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    time.sleep(3)
    return inner(*args, **kwargs)
solvers.eigendecompose = slow
network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
x = np.random.default_rng(0).standard_normal((24, 4))
hf.DeepEnsemble(network, store=sys.argv[1] or None).fit(x, x[:, :2])
"""


@pytest.mark.parametrize("stored", [True, False])
def test_python_waits_at_its_exit_for_what_is_kept(tmp_path, stored):
    folder = tmp_path / "store"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder) if stored else ""],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "KeyboardInterrupt" in run.stderr
    assert ("where the next fit finds it" if stored else "its result is dropped") in run.stderr
    if stored:
        assert "spectrum" in {entry.kind for entry in kernels.Store(folder).entries()}
