"""What a store serves is what would be computed: users' actions, kernels, layers and losses that changed are others."""

import dataclasses
import functools
import types

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import haarflow as hf
from haarflow import groups, kernels, solvers
from haarflow.cli import app
from haarflow.groups.content import content_digest
from haarflow.kernels import distributed
from haarflow.kernels.architecture import Layer
from haarflow.kernels.duals import DUALS
from haarflow.kernels.gram_key import gram_key
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.tile_store import TileStore
from haarflow.networks import forward, losses
from haarflow.networks.setup import prepare

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
C2 = groups.cyclic(2)
SIDE = 40
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((6, SIDE)), RNG.standard_normal((6, 1))


def mean(action, store, network=NETWORK, x=X):
    return hf.DeepEnsemble(network, action=action, store=store).fit(x, Y).predict(x + 0.1, [30.0, np.inf]).mean


def served(first, second, store, **options):
    """The second's means from a store into which the first has computed, and what is right."""
    mean(first, store, **options)
    return mean(second, store, **options), mean(second, None, **options)


def reflection(seed, flip=(0, 1)):
    """A matrix [40, 40], entry (0, 0) far in front of where a printed array of 1600 is abbreviated."""
    matrix = np.eye(SIDE)
    matrix[flip, flip] = -1
    turned = np.linalg.qr(np.random.default_rng(seed).standard_normal((SIDE - 6, SIDE - 6)))[0]
    inner = np.eye(SIDE - 6)
    inner[0, 0] = -1
    matrix[3:-3, 3:-3] = turned @ inner @ turned.T
    return matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Held(groups.Action):
    """x -> M(g) x for matrices that stand in whatever a field holds."""

    held: object = None

    def check_shape(self, shape):
        assert shape == (SIDE,)

    def _transform(self, g, x):
        found = self.held
        while isinstance(found, (tuple, list, dict)):
            found = found[1]
        found = getattr(found, "inner", found)
        return x @ np.asarray(found.todense() if hasattr(found, "todense") else found).T if g else x.copy()


@dataclasses.dataclass(frozen=True)
class Box:
    inner: np.ndarray


HOLDERS = {
    "tuple": lambda m: (0, m),
    "list": lambda m: [0, m],
    "dict": lambda m: {1: m},
    "tuple of lists": lambda m: (0, [0, m]),
    "sparse": csr_matrix,
    "dataclass": Box,
    "objects": lambda m: (0, np.array([None, m], object)[1]),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_fields_that_are_not_shown_whole(holder, tmp_path):
    actions = [Held(C2, "held", True, HOLDERS[holder](reflection(seed))) for seed in (1, 2)]
    kept, fresh = served(*actions, tmp_path)
    assert np.array_equal(kept, fresh)
    assert actions[0].digest != actions[1].digest
    again = Held(C2, "held", True, HOLDERS[holder](reflection(1)))
    assert (again.digest, again.digest_on((SIDE,))) == (actions[0].digest, actions[0].digest_on((SIDE,)))


SIGN = {"axis": 0}


def signs(axis):
    """An action as a notebook's cell defines it, again and again."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Signs(groups.Action):
        def check_shape(self, shape):
            pass

        def _transform(self, g, x):
            x = x.copy()
            x[:, SIGN["axis"] if axis is None else axis] *= (-1) ** g
            return x

    return Signs(C2, "signs")


def test_a_transform_that_was_edited(tmp_path):
    kept, fresh = served(signs(0), signs(1), tmp_path)
    assert np.array_equal(kept, fresh)
    # Without augmentation along the axis, these differ.
    assert not np.allclose(fresh, mean(signs(0), None))


def test_a_transform_that_reads_a_global(tmp_path, monkeypatch):
    action = signs(None)
    mean(action, tmp_path)
    monkeypatch.setitem(SIGN, "axis", 1)
    assert np.array_equal(mean(action, tmp_path), mean(signs(1), None))


def test_an_unchanged_action_is_found(tmp_path):
    mean(signs(0), tmp_path)
    before = sorted(tmp_path.iterdir())
    mean(signs(0), tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_an_orbit_of_its_own_and_a_fast_transform_are_seen():
    class Listed(type(signs(0))):
        def orbit(self, x):
            return super().orbit(x)[::-1]

    class Fast(type(signs(0))):
        def _correlate(self, x1, x2):
            return np.zeros((len(x1), len(x2), 2))

    plain = signs(0)
    others = [kind(C2, "signs") for kind in (Listed, Fast)]
    for other in others:  # told apart by more than their names
        type(other).__module__, type(other).__qualname__ = type(plain).__module__, type(plain).__qualname__
    assert len({action.digest for action in (plain, *others)}) == 1
    assert len({action.digest_on((4,)) for action in (plain, *others)}) == 3


def test_an_action_that_draws_is_refused():
    class Drawing(type(signs(0))):
        def _transform(self, g, x):
            return x * np.random.default_rng().choice([-1, 1], x.shape)

    finite = hf.FiniteEnsemble(NETWORK, width=4, members=1, action=Drawing(C2, "drawing"))
    with pytest.raises(ValueError, match="action drawing must be deterministic, but element 0 makes something else"):
        finite.fit(X, Y, 1)


def test_finite_members_are_told_apart(tmp_path):
    def f(action, store):
        ensemble = hf.FiniteEnsemble(NETWORK, width=4, members=1, action=action, store=store)
        return ensemble.fit(X, Y, 3).predict(X)

    f(signs(0), tmp_path)
    assert np.array_equal(f(signs(1), tmp_path), f(signs(1), None))


class Scaled:
    """A user's kernel under one key."""

    dtype = "float64"
    content_key = "mine"

    def __init__(self, scale):
        self.scale, self.inner = scale, kernels.analytic(NETWORK)

    def __call__(self, x1, x2=None):
        found = self.inner(x1, x2)
        return kernels.KernelPair(found.nngp, found.ntk + self.scale * x1 @ (x1 if x2 is None else x2).T)


def test_a_kernel_that_changed_under_its_key(tmp_path):
    mean(None, tmp_path, Scaled(1.0))
    files = sorted(tmp_path.iterdir())
    assert np.array_equal(mean(None, tmp_path, Scaled(2.0)), mean(None, None, Scaled(2.0)))
    assert np.array_equal(mean(None, tmp_path, Scaled(1.0)), mean(None, None, Scaled(1.0)))
    assert {*files} < {*tmp_path.iterdir()}


def test_a_layer_that_changed(monkeypatch):
    keys = []
    for like in (kernels.Relu, kernels.Erf):

        @dataclasses.dataclass(frozen=True)
        class Mine(Layer):
            kind = "nonlinear"

        monkeypatch.setitem(DUALS, Mine, DUALS[like])
        network = kernels.Sequential(kernels.Dense(), Mine(), kernels.Dense())
        keys.append(gram_key(GramProblem(kernels.analytic(network), groups.no_action(), X, ()), "orbit"))
    assert {name for name in keys[0] if keys[0][name] != keys[1][name]} == {"values"}
    ours = gram_key(GramProblem(kernels.analytic(NETWORK), groups.no_action(), X, ()), "orbit")
    assert {*keys[0]} - {*ours} == {"values"}


def members_key(network, **options):
    ensemble = hf.FiniteEnsemble(network, width=4, members=1, **options)
    return prepare(ensemble._settings, X, Y).key


def test_members_of_a_users_layer_and_loss(monkeypatch):
    kinds = []
    for power in (2, 3):

        @dataclasses.dataclass(frozen=True)
        class Power(Layer):
            kind = "nonlinear"

        kinds.append(Power)
        monkeypatch.setitem(forward._RULES, Power, lambda layer, x, power=power: x**power)
    square, cube = (members_key(kernels.Sequential(kernels.Dense(), kind(), kernels.Dense())) for kind in kinds)
    assert square["network"] == cube["network"]
    assert {name for name in square if square[name] != cube[name]} == {"layers_do"}
    found = []
    for power in (2, 4):
        monkeypatch.setitem(losses.LOSSES, "mean", lambda f, y, power=power: jnp.mean(jnp.abs(f - y) ** power))
        found.append(members_key(NETWORK))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"loss_does"}


def test_members_of_an_optimizer_of_ones_own(monkeypatch):
    found = []
    for factor in (1, 2):
        mine = lambda rate, factor=factor: optax.sgd(factor * rate)  # noqa: E731
        monkeypatch.setattr(optax, "mine", mine, raising=False)
        found.append(members_key(NETWORK, optimizer="mine"))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"optimizer_does"}
    assert not {"layers_do", "loss_does", "optimizer_does"} & {*members_key(NETWORK)}


def test_workers_with_another_version_are_refused(tmp_path):
    def tiles(scale, action):
        irreps = tuple(groups.irreps(C2))
        problem = GramProblem(Scaled(scale), action, X, irreps)
        return problem, gram_key(problem, "orbit")

    problem, key = tiles(1.0, signs(0))
    store = kernels.Store(tmp_path)
    right = TileStore(problem, store, key)
    distributed._make(right, distributed._version(right), (0, 0))
    for other, name in ((tiles(2.0, signs(0))[0], "kernel"), (tiles(1.0, signs(1))[0], "action")):
        stale = TileStore(other, store, key)
        with pytest.raises(ValueError, match=f"workers must run the {name} of this process"):
            distributed._make(stale, distributed._version(stale), (0, 0))


def test_what_is_older_is_computed_again_and_said_once(tmp_path, monkeypatch):
    fresh = mean(None, None)
    monkeypatch.setattr("haarflow.kernels.gram_key.KERNEL_VERSION", kernels.KERNEL_VERSION - 1)
    mean(None, tmp_path)
    monkeypatch.undo()
    store = kernels.Store(tmp_path)
    older = [entry.path for entry in store.entries()]
    with pytest.warns(kernels.StoreWarning, match=r"as version \d+ had them.*prune --outdated") as seen:
        assert np.array_equal(mean(None, tmp_path), fresh)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert np.array_equal(mean(None, tmp_path), fresh)  # and nothing more is said
    result = CliRunner().invoke(app, ["store", "prune", "--outdated", str(tmp_path)])
    assert result.output.count("removed") == len(older)
    assert not any(path.exists() for path in older)
    assert len([*store.entries()]) == len(older)


def test_what_is_older_of_a_krylov_space_too(tmp_path, monkeypatch):
    def fit():
        hf.DeepEnsemble(NETWORK, solver="krylov", store=tmp_path).fit(X, Y)

    monkeypatch.setattr("haarflow.kernels.gram_key.KERNEL_VERSION", kernels.KERNEL_VERSION - 1)
    fit()
    monkeypatch.undo()
    with pytest.warns(kernels.StoreWarning, match="as version") as seen:
        fit()
    assert (len(seen), seen[0].filename) == (1, __file__)
    fit()


def test_a_compact_groups_fit_says_it_once(tmp_path, monkeypatch):
    def fit():
        action = groups.matrix_action(groups.so2(8))
        hf.DeepEnsemble(NETWORK, action=action, store=tmp_path).fit(X[:, :2], Y)

    monkeypatch.setattr("haarflow.kernels.gram_key.KERNEL_VERSION", kernels.KERNEL_VERSION - 1)
    fit()
    monkeypatch.undo()
    with pytest.warns(kernels.StoreWarning, match="as version") as seen:
        fit()
    assert len(seen) == 1


def test_names_of_functions_are_all_that_is_known_of_them():
    same = [functools.partial(np.roll, shift=1), functools.partial(np.roll, shift=1)]
    assert content_digest(same[0]) == content_digest(same[1])
    assert content_digest(same[0]) != content_digest(functools.partial(np.roll, shift=2))
    assert content_digest(types.SimpleNamespace()) == content_digest(types.SimpleNamespace())


def test_a_filter_that_changes_under_its_name(monkeypatch):
    """It has arrays, which have no equality, and reads a global: its last answer is not given again."""

    @dataclasses.dataclass(frozen=True)
    class Slowed:
        table: np.ndarray

        def __call__(self, eigenvalues, times, rate):
            return solvers.GradientFlow()(eigenvalues, times * SIGN["axis"], rate)

    ensemble = hf.DeepEnsemble(NETWORK, solver="krylov", flow=Slowed(np.arange(3.0))).fit(X, Y)
    flow = hf.DeepEnsemble(NETWORK, solver="krylov").fit(X, Y)
    for factor in (1, 3, 1):
        monkeypatch.setitem(SIGN, "axis", factor)
        np.testing.assert_allclose(ensemble.predict(X, 20.0).mean, flow.predict(X, 20.0 * factor).mean, rtol=1e-9)
