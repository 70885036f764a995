"""Rates that are too large: the largest stable one, divergence, losses that end higher than they began."""

import dataclasses
import warnings

import numpy as np
import pytest
from trained import C4, CONV, DATA, HIDDEN, LINEAR, ensemble, f

import haarflow as hf
from haarflow import kernels
from haarflow.networks import training


def test_a_rate_that_diverges_is_told_the_largest_stable_one():
    made = ensemble(learning_rate=1e4)
    stable = made.largest_stable_rate(DATA.x, DATA.y)
    with pytest.raises(hf.DivergenceError, match=rf"learning_rate 10000 diverges: .* at step \d+; .* is {stable:.3g}"):
        f(made, 100)


@pytest.mark.parametrize("loss", ["mean", "sum", "cross_entropy"])
def test_the_largest_stable_rate_is_that_of_the_spectrum(loss):
    y = hf.one_hot(DATA.labels, 10)
    made = ensemble(LINEAR, loss=loss, members=1, dtype="float64")
    stable = made.largest_stable_rate(DATA.x, y)
    a = np.concatenate([1.5 / 8 * C4.orbit(DATA.x).reshape(24, 64), np.full((24, 1), 0.5)], axis=1)
    if loss == "cross_entropy":
        logits = made.fit(DATA.x, y, 0).predict(C4.orbit(DATA.x).reshape(24, 8, 8, 1))[0, 0]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        blocks = np.einsum("na,ab->nab", p, np.eye(10)) - np.einsum("na,nb->nab", p, p)
        hessian = np.einsum("ni,nj,nab->iajb", a, a, blocks).reshape(650, 650) / 24
    else:
        hessian = a.T @ a / (240 if loss == "mean" else 1)
    assert stable == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=0.02)
    if loss == "mean":
        f(ensemble(LINEAR, learning_rate=0.97 * stable), 2000)
        with pytest.raises(hf.DivergenceError):
            f(ensemble(LINEAR, learning_rate=1.03 * stable), 2000)


def test_steps_that_draw_some_of_a_sum_are_stable_up_to_larger_rates():
    whole = ensemble(loss="sum").largest_stable_rate(DATA.x, DATA.y)
    drawn = {"loss": "sum", "augmentation": "random"}
    assert ensemble(**drawn).largest_stable_rate(DATA.x, DATA.y) == pytest.approx(4 * whole, rel=0.02)
    assert ensemble(**drawn, batch=2).largest_stable_rate(DATA.x, DATA.y) == pytest.approx(12 * whole, rel=0.02)
    shared = {"loss": "mean", "augmentation": "random", "batch": 2}
    mean = ensemble().largest_stable_rate(DATA.x, DATA.y)
    assert ensemble(**shared).largest_stable_rate(DATA.x, DATA.y) == pytest.approx(mean, rel=0.02)


def test_others_stop_where_a_member_diverges(monkeypatch):
    monkeypatch.setattr(training, "_SEGMENT", 1)
    setup = ensemble().fit(DATA.x, DATA.y, 0)._latest.run.setup
    states = [setup.begin(member) for member in range(2)]
    states[0] = dataclasses.replace(states[0], limit=1e-9)
    taken = []
    found = training.advance(setup.recipe, setup.data, states, 0, [0, 1], 0, 2000, taken.append)
    assert [state.diverged for state in found] == [1, None]
    assert len(taken) < 1000


def test_a_large_penalty_at_first_is_no_divergence():
    made = hf.FiniteEnsemble(
        CONV, 128, 1, C4, learning_rate=0.1, penalty=1.0, progress=False, dtype="float64", initial_support=None
    )
    assert np.isfinite(f(made, 5)).all()


def test_outputs_that_begin_at_their_targets_are_no_divergence():
    """Adam's first steps have one length, however small the loss is."""
    made = ensemble(action=None, members=1, optimizer="adam", learning_rate=0.01)
    y = f(made, 0)[0, 0] * (1 + 1e-5)
    assert np.abs(f(made, 5, y=y)[0, 0] - y).max() > 1e-3


def test_sorted_and_small_targets_are_no_divergence():
    y = np.repeat([0.0, 1.0], 3)[:, None]
    small = kernels.Sequential(kernels.Flatten(), kernels.Dense(), kernels.Relu(), kernels.Dense(1e-3))
    assert np.isfinite(f(ensemble(small, augmentation="random", batch=2, learning_rate=0.01), 20, y=y)).all()


@pytest.mark.parametrize("stacked", [False, True])
def test_losses_that_end_higher_than_they_began_are_told(stacked, monkeypatch):
    if stacked:
        monkeypatch.setattr(training, "on_cpu", lambda: False)
    stable = ensemble(LINEAR).largest_stable_rate(DATA.x, DATA.y)
    with pytest.warns(hf.StabilityWarning, match=rf"the loss of 3 members, 0 first, is at .* is {stable:.3g}"):
        f(ensemble(LINEAR, learning_rate=1.1 * stable), 20)
    with pytest.warns(hf.StabilityWarning, match=r"the loss of member 1 is at step 20 above"):
        f(ensemble(LINEAR, learning_rate=1.1 * stable, members=[1]), 20)


def test_kept_members_whose_loss_has_risen_are_told_again(tmp_path):
    rate = 1.1 * ensemble(LINEAR).largest_stable_rate(DATA.x, DATA.y)
    made = ensemble(LINEAR, learning_rate=rate, store=tmp_path)
    for bring in (made.fit, made.fit, made.load):
        with pytest.warns(hf.StabilityWarning, match="the loss of 3 members"):
            bring(DATA.x, DATA.y, 20)


def test_where_warnings_are_errors_members_are_there():
    made = ensemble(LINEAR)
    made = ensemble(LINEAR, learning_rate=1.1 * made.largest_stable_rate(DATA.x, DATA.y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(hf.StabilityWarning):
            made.fit(DATA.x, DATA.y, 20)
    assert np.isfinite(made.predict(DATA.x)).all()


def test_a_batch_of_bad_luck_is_no_rising_loss():
    y = np.random.default_rng(0).standard_normal((len(DATA.x), 1))
    stable = ensemble(LINEAR).largest_stable_rate(DATA.x, y)
    f(ensemble(LINEAR, members=32, batch=1, learning_rate=stable / 100), 50, y=y)  # warnings are errors


def test_a_cross_entropy_that_diverges_is_told():
    y = hf.one_hot(DATA.labels, 10)
    stable = ensemble(width=64, loss="cross_entropy").largest_stable_rate(DATA.x, y)
    with pytest.raises(hf.DivergenceError, match="the largest stable one of plain gradient descent"):
        f(ensemble(width=64, loss="cross_entropy", learning_rate=100 * stable), 20, y=y)


@pytest.mark.parametrize("store", [True, False])
def test_which_steps_are_kept_does_not_hide_a_divergence(tmp_path, store):
    kept = {"store": tmp_path} if store else {}
    for steps in (6, range(7), [3, 6]):
        with pytest.raises(hf.DivergenceError, match="learning_rate 10000 diverges"):
            f(ensemble(learning_rate=1e4, **kept), steps)
    with pytest.raises(hf.DivergenceError):
        f(ensemble(learning_rate=1e30), 1)
    # Scaled targets and outputs diverge at the same rate.
    small = kernels.Sequential(*HIDDEN.layers[:-1], kernels.Dense(1e-3, 1e-4))
    stable = ensemble(small).largest_stable_rate(DATA.x, 1e-3 * DATA.y)
    with pytest.raises(hf.DivergenceError):
        f(ensemble(small, learning_rate=1e4 * stable), 10, y=1e-3 * DATA.y)


def test_a_penalty_beyond_the_stable_rate_is_told():
    made = ensemble(penalty=10.0, learning_rate=1.0)
    stable = made.largest_stable_rate(DATA.x, DATA.y)
    assert stable == pytest.approx(0.2, rel=0.02)
    with pytest.raises(hf.DivergenceError, match=rf"is {stable:.3g}$"):
        f(made, 200)
