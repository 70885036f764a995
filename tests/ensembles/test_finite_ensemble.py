"""FiniteEnsemble: the steps it takes, its law, members alone, stores, and what it refuses."""

import os

import jax
import numpy as np
import optax
import pytest
from trained import C4, CONV, DATA, HIDDEN, LINEAR, ensemble, f

import haarflow as hf
from haarflow import groups, kernels, networks
from haarflow.finite import orbit_floor
from haarflow.networks import training


def by_hand(member, picks, rate, optimizer=None, loss="mean", seed=0):
    """Train a linear network in NumPy on the samples picked at each step; return its outputs on the data."""
    network = networks.Network(LINEAR, 1, (8, 8, 1), 10)
    (start,) = networks.initial_parameters(network, seed, member, "float64")
    p = np.concatenate([start["weights"], start["bias"][None]])
    orbit = C4.orbit(DATA.x).reshape(4, 6, 64)
    features = lambda x: np.concatenate([1.5 / 8 * x, np.full((len(x), 1), 0.5)], axis=1)  # noqa: E731
    velocity = np.zeros_like(p)
    for elements, chosen in picks:
        a, y = features(orbit[elements, chosen]), DATA.y[chosen]
        gradient = a.T @ (a @ p - y) / (y.size if loss == "mean" else 1)
        velocity = (optimizer or 0.0) * velocity + gradient
        p = p - rate * velocity
    return features(DATA.x.reshape(6, 64)) @ p


WHOLE = np.divmod(np.arange(24), 6)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("momentum", [None, 0.8])
def test_full_batches_are_gradient_descent(loss, momentum):
    rate = 20.0 if loss == "mean" else 0.02
    options = None if momentum is None else {"momentum": momentum}
    made = ensemble(LINEAR, loss=loss, learning_rate=rate, options=options, dtype="float64", members=[4])
    found = f(made, [0, 1, 7])
    for at, steps in enumerate((0, 1, 7)):
        expected = by_hand(4, [WHOLE] * steps, rate, momentum, loss)
        np.testing.assert_allclose(found[at, 0], expected, atol=1e-12)


@pytest.mark.parametrize("augmentation", ["orbit", "random"])
@pytest.mark.parametrize("batch", [5, None])
def test_steps_see_what_the_schedule_says(augmentation, batch):
    made = ensemble(LINEAR, augmentation=augmentation, batch=batch, dtype="float64", seed=3)
    found = f(made, 11)
    schedule = training.Schedule(augmentation, 6, 4, batch)
    for member in range(3):
        picks = [WHOLE] * 11 if schedule.whole else schedule.picks(3, member, 0, 11)
        np.testing.assert_allclose(found[0, member], by_hand(member, picks, 5.0, seed=3), atol=1e-12)


def test_optimizers_are_those_of_optax():
    adam = {"optimizer": "adam", "options": {"b1": np.float32(0.8)}, "learning_rate": 0.01}
    made = ensemble(LINEAR, dtype="float64", members=1, **adam)
    (found,) = made.fit(DATA.x, DATA.y, 5).parameters()
    network = networks.Network(LINEAR, 1, (8, 8, 1), 10)
    p = networks.initial_parameters(network, 0, 0, "float32")
    adam = optax.adam(0.01, b1=np.float32(0.8).item())
    state = adam.init(p)
    x, y = C4.orbit(DATA.x).reshape(24, 64), np.tile(DATA.y, (4, 1))
    for _ in range(5):
        loss = lambda p: ((1.5 / 8 * x @ p[0]["weights"] + 0.5 * p[0]["bias"] - y) ** 2).mean() / 2  # noqa: E731
        updates, state = adam.update(jax.grad(loss)(p), state, p)
        p = optax.apply_updates(p, updates)
    np.testing.assert_allclose(found[0]["weights"], p[0]["weights"], atol=1e-5)


def test_equivariant_targets_turn_with_the_samples():
    data = hf.datasets.cross_product(5)
    group = groups.tetrahedral()
    action, output = groups.matrix_action(group), groups.Representation(group, group.matrices)
    made = hf.FiniteEnsemble(HIDDEN, 16, 2, action, output, dtype="float64", progress=False).fit(data.x, data.y, 30)
    turned = hf.FiniteEnsemble(HIDDEN, 16, 2, action, output, dtype="float64", progress=False)
    g = 5
    turned.fit(action(g, data.x), data.y @ group.matrices[g].T, 30)
    np.testing.assert_allclose(turned.predict(data.x), made.predict(data.x), atol=1e-10)


@pytest.mark.parametrize("arch", [HIDDEN, CONV], ids=["dense", "conv"])
def test_mean_and_variance_come_close_to_the_law(arch):
    rate, steps, members = (20.0, 20, 400) if arch is HIDDEN else (20.0, 30, 200)
    width = 256 if arch is HIDDEN else 64
    x = DATA.x if arch is HIDDEN else DATA.x[:, 2:6, 2:6]
    found = ensemble(arch, width, members, learning_rate=rate).fit(x, DATA.y, [0, steps]).predict(x).astype(float)
    limit = hf.DeepEnsemble(arch, C4, learning_rate=rate, flow="gradient_descent", progress=False).fit(x, DATA.y)
    law = limit.predict(x, [0, steps], covariance="diagonal")
    error = np.sqrt(law.variance / members)[..., None]
    # Five standard errors, and a bias of the order of 1 / width.
    assert (np.abs(found.mean(axis=1) - law.mean) < 5 * error + 5 / width).all()
    variance = found.var(axis=1, ddof=1).mean(axis=-1)
    assert np.abs(variance / law.variance - 1).max() < 0.25


def test_a_member_alone_has_the_same_bits():
    together = f(ensemble(CONV, members=5, augmentation="random", batch=4, chunk=2), [0, 9])
    assert np.array_equal(f(ensemble(CONV, members=[3], augmentation="random", batch=4), [0, 9])[:, 0], together[:, 3])
    assert not np.array_equal(together[:, 2], together[:, 3])
    assert not np.array_equal(f(ensemble(CONV, members=[3], seed=1), [0])[0], together[0, 3:4])


def test_stacked_members_are_the_same_up_to_rounding(monkeypatch):
    expected = f(ensemble(CONV, augmentation="random", batch=4), [3, 9])
    whole = f(ensemble(CONV), 9)
    monkeypatch.setattr(training, "on_cpu", lambda: False)
    np.testing.assert_allclose(f(ensemble(CONV), 9), whole, atol=1e-5)
    np.testing.assert_allclose(f(ensemble(CONV, augmentation="random", batch=4), [3, 9]), expected, atol=1e-5)
    with pytest.raises(hf.DivergenceError, match="the loss of member 0"):
        f(ensemble(learning_rate=1e5), 50)


def test_long_trainings_are_cut_into_segments_that_do_not_show(monkeypatch):
    options = {"augmentation": "random", "batch": 4, "options": {"momentum": 0.5}, "learning_rate": 1.0}
    expected = f(ensemble(**options), 23)
    monkeypatch.setattr(training, "_SEGMENT", 5)
    assert np.array_equal(f(ensemble(**options), 23), expected)
    assert np.array_equal(f(ensemble(**options), [4, 10, 23])[2:], expected)


@pytest.mark.filterwarnings("ignore:Specifying a key will be required")
def test_an_optimizer_whose_memory_is_no_numbers_is_refused():
    with pytest.raises(ValueError, match="optimizer must be the name of an optimizer of Optax"):
        ensemble(optimizer="noisy_sgd")


def test_parameters_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    """Though a store keeps more than memory does."""
    made = ensemble(store=tmp_path).fit(DATA.x, DATA.y, 1)
    assert len(made.parameters()) == 3
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 10**3)
    with pytest.raises(ValueError, match=r"members \(ask for some by members=\) must be fewer"):
        made.parameters()


def test_parameters_are_copies():
    made = ensemble().fit(DATA.x, DATA.y, 3)
    before = made.predict(DATA.x)
    made.parameters()[0][0]["weights"][:] = 0
    assert np.array_equal(made.predict(DATA.x), before)
    start = ensemble().fit(DATA.x, DATA.y, 0).parameters()
    again = ensemble().fit(DATA.x, DATA.y, 0, initial=start)
    before = again.predict(DATA.x)
    start[0][0]["weights"][:] = 0
    assert np.array_equal(again.predict(DATA.x), before)


def test_cross_entropy_learns():
    y = hf.one_hot(DATA.labels, 10)
    made = ensemble(loss="cross_entropy", width=64, learning_rate=10.0)
    before, after = f(made, [0, 200], y=y)
    assert (after.argmax(axis=-1) == DATA.labels).all()
    assert not (before.argmax(axis=-1) == DATA.labels).all()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"arch": "relu"}, TypeError, "arch must be kernels.Sequential"),
        ({"width": 0}, ValueError, "width must be at least 1, found 0"),
        ({"members": 0}, ValueError, "members must be at least 1, found 0"),
        ({"members": [1, 1]}, ValueError, "members must be a number, or numbers of which none repeats"),
        ({"members": [-1]}, ValueError, "members must be at least 0, found -1"),
        ({"action": groups.cyclic(4)}, TypeError, "action must be an Action"),
        ({"loss": "hinge"}, ValueError, "loss must be one of .*'hinge'"),
        ({"augmentation": "none"}, ValueError, "augmentation must be one of"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be finite and > 0"),
        ({"optimizer": "newton"}, ValueError, "optimizer must be the name of an optimizer of Optax"),
        ({"optimizer": "chain"}, ValueError, "optimizer must take a rate"),
        ({"options": {"speed": 1}}, ValueError, "optimizer must take a rate and the options .*speed"),
        ({"options": {"momentum": "a"}}, TypeError, "options must be numbers or booleans"),
        ({"options": ["momentum"]}, TypeError, "options must be a dict such as"),
        ({"optimizer": "scale"}, ValueError, "steps against the gradient"),
        ({"optimizer": "lbfgs"}, ValueError, "asks for nothing else, found 'lbfgs'"),
        ({"initial_support": [(0,)]}, TypeError, "initial_support must be pairs"),
        ({"seed": 2**32}, ValueError, r"seed must be below 2\^32"),
        ({"members": [2**32]}, ValueError, r"members must be below 2\^32"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"penalty": -1}, ValueError, "penalty must be finite and >= 0"),
        ({"dtype": "float16"}, ValueError, "dtype must be"),
        ({"store": 3}, TypeError, "store must be a path or a Store"),
        ({"chunk": 0}, ValueError, "chunk must be at least 1"),
        ({"progress": 3}, TypeError, "progress must be callable"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_arguments_are_checked(options, error, said):
    with pytest.raises(error, match=said):
        ensemble(**options)


def test_training_sets_and_steps_are_checked(tmp_path):
    made = ensemble()
    with pytest.raises(RuntimeError, match="call fit"):
        made.predict(DATA.x)
    with pytest.raises(ValueError, match="x and y must have the same length"):
        made.fit(DATA.x, DATA.y[:3], 1)
    with pytest.raises(ValueError, match="steps must be at least 0, found -1"):
        made.fit(DATA.x, DATA.y, -1)
    with pytest.raises(ValueError, match="steps must hold at least one"):
        made.fit(DATA.x, DATA.y, [])
    with pytest.raises(ValueError, match="batch must be at most the 24 samples"):
        ensemble(batch=25).fit(DATA.x, DATA.y, 1)
    with pytest.raises(ValueError, match=r"y must be probabilities .* in row 0"):
        ensemble(loss="cross_entropy").fit(DATA.x, DATA.y, 1)
    with pytest.raises(ValueError, match="store must be a folder that holds members, found None"):
        made.load(DATA.x, DATA.y, 1)
    with pytest.raises(ValueError, match="initial must hold parameters of each of the 3 members, found 1"):
        made.fit(DATA.x, DATA.y, 1, initial=[()])
    bad = jax.tree.map(lambda a: a * np.nan, ensemble(members=3).fit(DATA.x, DATA.y, 0).parameters())
    with pytest.raises(ValueError, match=r"initial\[0\] must be finite"):
        made.fit(DATA.x, DATA.y, 1, initial=bad)
    with pytest.raises(ValueError, match="initial_support must hold offsets of every filter"):
        ensemble(CONV, initial_support=[(5, 5)]).fit(DATA.x, DATA.y, 1)
    other = ensemble(width=9).fit(DATA.x, DATA.y, 0).parameters()
    with pytest.raises(ValueError, match=r"initial\[0\] must be the parameters of one member, .* of shapes .*found"):
        made.fit(DATA.x, DATA.y, 1, initial=other)
    made.fit(DATA.x, DATA.y, [1, 2])
    with pytest.raises(ValueError, match=r"steps must be among those that fit kept, \[1, 2\], found 3"):
        made.predict(DATA.x, 3)
    with pytest.raises(ValueError, match="x_test must hold samples of the training shape"):
        made.predict(DATA.x[:, :4])
    assert made.predict(DATA.x, [2]).shape == (1, 3, 6, 10)


def test_turned_targets_must_be_probabilities_too():
    signs = groups.Representation(C4.group, [[[1.0]], [[-1.0]], [[1.0]], [[-1.0]]])
    with pytest.raises(ValueError, match="y must be probabilities"):
        ensemble(loss="cross_entropy", output=signs).fit(DATA.x, np.ones((6, 1)), 1)


def test_samples_that_a_step_cannot_hold_are_refused():
    wide = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense())
    x = np.zeros((2000, 28, 28, 1))
    with pytest.raises(ValueError, match=r"samples of a step \(pass batch=\), or members .* must be fewer"):
        ensemble(wide, width=20_000).fit(x, np.zeros((2000, 1)), 1)


def test_members_that_fit_no_memory_are_refused_before_training():
    huge = ensemble(width=10**6, members=10**5)
    with pytest.raises(ValueError, match="members, without store= to keep them in, must be fewer"):
        huge.fit(DATA.x, DATA.y, [0, 1])


def test_progress_counts_member_steps():
    said = []
    f(ensemble(members=5, chunk=2, progress=lambda *a: said.append(a)), [3, 10])
    assert said[-1] == ("training", 50, 50)


def test_interpolated_actions_train():
    made = ensemble(CONV, action=groups.interpolated_rotations(8), augmentation="random", batch=3)
    assert np.isfinite(f(made, 5)).all()


def test_floors_of_ensembles_with_and_without():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, 300, 5, 3))
    even = orbit_floor(noise)
    assert abs(even.standard_errors) < 4
    shift = np.zeros((4, 1, 5, 3))
    shift[1] = 0.5
    odd = orbit_floor(noise + shift)
    # |E d|^2 = 3 * 0.25 for one of four elements.
    assert odd.square == pytest.approx(0.75 / 4, rel=0.3)
    assert odd.standard_errors > 10
    # As many numbers as one likes beside few members.
    few = [orbit_floor(rng.standard_normal((2, 5, 30, 5))).standard_errors for _ in range(200)]
    assert np.std(few) == pytest.approx(1, rel=0.3)
    many = [orbit_floor(rng.standard_normal((2, 30, 1, 2))).standard_errors for _ in range(400)]
    assert abs(np.mean(many)) < 4 / np.sqrt(400)
    assert np.std(many) == pytest.approx(1, rel=0.15)
    with pytest.raises(ValueError, match="outputs must be"):
        orbit_floor(noise[:, :2])
