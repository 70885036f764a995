"""Threads share an ensemble: a fit is not lost to a prediction that began before it, and each answer is of one fit."""

import copy
import importlib
import pickle
import threading

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels, solvers

deep = importlib.import_module("haarflow.deep")
finite = importlib.import_module("haarflow.networks.ensemble")

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
RNG = np.random.default_rng(0)
X, Y, T = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 2)), [1.0, 1e3]
OLD, NEW = (X[:20], Y[:20]), (X[10:], -Y[10:])


class Held:
    """Holds a function up once, from when another thread has entered it until that is let go."""

    def __init__(self, monkeypatch, module, name):
        self.function, self.entered, self.go = getattr(module, name), threading.Event(), threading.Event()
        monkeypatch.setattr(module, name, self)

    def __call__(self, *args, **kwargs):
        found = self.function(*args, **kwargs)
        if not self.entered.is_set():
            self.entered.set()
            assert self.go.wait(120)
        return found


def during(held, call, meanwhile):
    """What a call in another thread returns, during which something else happens here."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    assert held.entered.wait(120)
    meanwhile()
    held.go.set()
    thread.join(120)
    return found[0]


CALLS = {
    "predict": ("evaluate", lambda e: e.predict(X, T).mean),
    "covariance": ("with_covariance", lambda e: e.predict(X, T, covariance="diagonal").variance),
    "sample": ("evaluate", lambda e: e.sample(X, T, members=2, seed=0)),
    "jacobian": ("differentiate", lambda e: e.jacobian(X, T)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_fit_during_a_call_stays(name, monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK).fit(*OLD)
    within, call = CALLS[name]
    expected = call(hf.DeepEnsemble(NETWORK).fit(*OLD)), call(hf.DeepEnsemble(NETWORK).fit(*NEW))
    held = Held(monkeypatch, deep, within)
    assert np.array_equal(during(held, lambda: call(ensemble), lambda: ensemble.fit(*NEW)), expected[0])
    assert np.array_equal(call(ensemble), expected[1])


def test_a_fit_during_timescales_stays(monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov").fit(*OLD)
    held = Held(monkeypatch, importlib.import_module("haarflow.krylov_block"), "advance")
    during(held, lambda: ensemble.timescales, lambda: ensemble.fit(*NEW))
    expected = hf.DeepEnsemble(NETWORK, solver="krylov").fit(*NEW).predict(X, T).mean
    assert np.array_equal(ensemble.predict(X, T).mean, expected)


def test_a_warning_is_of_the_fit_that_was_asked(monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(tolerance=1e-14, dimension=2)).fit(*OLD)
    held = Held(monkeypatch, deep, "evaluate")

    def again():
        monkeypatch.setattr(ensemble, "_means", hf.DeepEnsemble(NETWORK)._means)
        ensemble.fit(*NEW)

    with pytest.warns(hf.ConvergenceWarning, match="has not converged to 1e-14"):
        during(held, lambda: ensemble.predict(X, T), again)


def test_what_two_calls_found_out_of_one_fit_is_kept(monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK).fit(*OLD)
    held = Held(monkeypatch, deep, "evaluate")
    during(held, lambda: ensemble.predict(X, T), lambda: ensemble.predict(X, T, covariance="diagonal"))
    monkeypatch.setattr(deep, "with_covariance", None)
    ensemble.predict(X, T, covariance="diagonal")


def test_a_krylov_space_does_not_shrink(monkeypatch):
    ensemble = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(tolerance=1e-3)).fit(*OLD)
    held = Held(monkeypatch, deep, "evaluate")
    during(held, lambda: ensemble.predict(X, 1.0), lambda: ensemble.predict(X, 1e4))
    grown = ensemble._fitted.spectra[0].space.dimension
    alone = hf.DeepEnsemble(NETWORK, solver=solvers.Krylov(tolerance=1e-3)).fit(*OLD)
    alone.predict(X, 1e4)
    assert grown >= alone._fitted.spectra[0].space.dimension


def test_members_of_finite_networks_are_of_one_fit(monkeypatch):
    def made():
        return hf.FiniteEnsemble(NETWORK, width=4, members=2, chunk=1)

    ensemble = made().fit(*OLD, steps=[0, 2])
    held = Held(monkeypatch, finite, "outputs")
    found = during(held, lambda: ensemble.predict(X), lambda: ensemble.fit(*NEW, steps=[1]))
    assert np.array_equal(found, made().fit(*OLD, steps=[0, 2]).predict(X))
    assert ensemble.steps == (1,)
    assert np.array_equal(ensemble.predict(X), made().fit(*NEW, steps=[1]).predict(X))


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, copy.copy])
def test_ensembles_travel_without_their_progress(again):
    seen = []
    ensemble = hf.DeepEnsemble(NETWORK, action=groups.no_action(), progress=lambda *a: seen.append(a)).fit(*OLD)
    expected = ensemble.predict(X, T, covariance="full")
    seen.clear()
    other = again(ensemble)
    law = other.predict(X, T, covariance="full")
    assert np.array_equal(law.mean, expected.mean)
    assert np.array_equal(law.covariance, expected.covariance)
    # A copy in this process goes on reporting, a pickled one has nobody to report to.
    assert bool(seen) == (again in (copy.deepcopy, copy.copy))
    assert np.array_equal(other.fit(*NEW).predict(X, T).mean, hf.DeepEnsemble(NETWORK).fit(*NEW).predict(X, T).mean)
    assert np.array_equal(ensemble.predict(X, T).mean, expected.mean)


@pytest.mark.parametrize("stored", [False, True])
def test_finite_ensembles_travel_too(stored, tmp_path):
    store = tmp_path / "store" if stored else None
    ensemble = hf.FiniteEnsemble(NETWORK, 4, 2, store=store, progress=lambda *_: None).fit(*OLD, steps=[0, 2])
    other = pickle.loads(pickle.dumps(ensemble))
    assert np.array_equal(other.predict(X), ensemble.predict(X))
    assert other.steps == (0, 2)
