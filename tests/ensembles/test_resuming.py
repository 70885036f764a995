"""With a store, a second run evaluates no kernel on the training set and gives the same bits."""

import dataclasses

import numpy as np
import pytest
from stores import from_two_processes

import haarflow as hf
from haarflow import groups, kernels, solvers
from haarflow.kernels import StoreWarning

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
ACTION = groups.image_rotations(4)


class Counting:
    """A kernel that counts its calls by the number of rows."""

    dtype = "float64"
    content_key = NETWORK.key

    def __init__(self):
        self.kernel = kernels.analytic(NETWORK)
        self.rows = []

    def __call__(self, x1, x2=None):
        self.rows.append(len(x1))
        return self.kernel(x1, x2)


def data():
    found = hf.datasets.digits(23)
    return found.x[:20], found.y[:20], found.x[20:]


def run(store, kernel=None, **options):
    x, y, x_test = data()
    ensemble = hf.DeepEnsemble(kernel or NETWORK, action=ACTION, store=store, reduction="orbit", **options)
    return ensemble.fit(x, y).predict(x_test, [10.0, 1e4, np.inf]).mean


def test_second_run_evaluates_test_kernels_only(tmp_path):
    first, second = Counting(), Counting()
    means = [run(tmp_path / "store", kernel) for kernel in (first, second)]
    assert first.rows.count(20) == 1
    assert second.rows.count(20) == 0
    assert means[0].tobytes() == means[1].tobytes()
    assert means[0].tobytes() == run(None).tobytes()


def test_eigendecompositions_are_made_again_from_the_gram(tmp_path):
    mean = run(tmp_path / "store", Counting())
    for path in (tmp_path / "store").glob("spectrum-*"):
        path.unlink()
    kernel = Counting()
    assert run(tmp_path / "store", kernel).tobytes() == mean.tobytes()
    assert kernel.rows.count(20) == 0


def test_a_new_process_gives_the_same_bits(tmp_path):
    first, second = from_two_processes("test_resuming", tmp_path / "store")
    assert first == second
    assert len(first) == 3 * 3 * 10 * 8


def two_predictions(store):
    """A rough mean, and a later one for which the Krylov space grows."""
    found = hf.datasets.digits(83)
    how = solvers.Krylov(tolerance=1e-3)
    ensemble = hf.DeepEnsemble(NETWORK, action=ACTION, solver=how, store=store).fit(found.x[:80], found.y[:80, :2])
    return [ensemble.predict(found.x[80:], time).mean.tobytes() for time in (1e2, 1e5)]


def test_calls_in_the_same_order_give_the_same_bits(tmp_path, monkeypatch):
    """What was kept for the second call does not change the first, whether or not the second came to its end."""
    grow, made, most = solvers.krylov_space.grow, [], [10**6]

    def limited(*args):
        if len(made) == most[0]:
            raise KeyboardInterrupt
        made.append(1)
        return grow(*args)

    whole = two_predictions(None)
    monkeypatch.setattr(solvers.krylov_space, "grow", limited)
    two_predictions(tmp_path / "whole")
    steps = len(made)
    made.clear()
    assert two_predictions(tmp_path / "whole") == whole
    assert not made
    for killed in (steps // 2, steps - 1):
        made.clear()
        most[0] = killed
        with pytest.raises(KeyboardInterrupt):
            two_predictions(tmp_path / str(killed))
        most[0] = steps
        assert two_predictions(tmp_path / str(killed)) == whole
        assert len(made) == steps


KRYLOV = {"solver": "krylov", "ridge": 1e-3}


def in_place_of_a_step(store, number, change):
    """Put other arrays where a step of the Krylov space was kept."""
    store = kernels.Store(store)
    step = next(entry for entry in store.entries() if entry.kind == "krylov" and entry.key["step"] == number)
    kept = store.get("krylov", step.key)
    step.path.unlink()
    store.put("krylov", step.key, change(kept))


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {**kept, "column": np.zeros(kept["column"].shape, bool)},
        lambda kept: {**kept, "block": kept["block"] * np.nan},
        lambda kept: {**kept, "column": kept["column"][:-1]},
        lambda kept: {**kept, "block": kept["block"].ravel()},
    ],
    ids=["bool", "nan", "narrow", "flat"],
)
def test_steps_that_do_not_hold_what_they_should(change, tmp_path):
    mean = run(tmp_path, **KRYLOV)
    in_place_of_a_step(tmp_path, 1, change)
    with pytest.warns(StoreWarning, match="krylov-.* is computed again: (block|column) must be finite float64"):
        assert run(tmp_path, **KRYLOV).tobytes() == mean.tobytes()


@pytest.mark.parametrize("number", [0, 1])
def test_a_step_that_is_too_large_is_not_read(number, tmp_path):
    mean = run(tmp_path, **KRYLOV)
    in_place_of_a_step(tmp_path, number, lambda kept: {**kept, "more": np.zeros(3 * 2**20)})
    with pytest.warns(StoreWarning, match="krylov-.* is computed again: it is larger than"):
        assert run(tmp_path, **KRYLOV).tobytes() == mean.tobytes()


def test_a_space_that_narrows_is_kept(tmp_path, monkeypatch):
    """Ten outputs that depend on each other, 20 samples: blocks of 9, 9, 2 and no columns."""
    mean = run(tmp_path, **KRYLOV)
    entries = [entry for entry in kernels.Store(tmp_path).entries() if entry.kind == "krylov"]
    blocks = {entry.key["step"]: kernels.Store(tmp_path).get("krylov", entry.key)["block"] for entry in entries}
    assert [blocks[step].shape[1] for step in range(4)] == [10, 9, 9, 2]
    assert [int(blocks[step].any(axis=0).sum()) for step in range(4)] == [9, 9, 2, 0]
    monkeypatch.setattr(solvers.krylov_space, "grow", None)
    assert run(tmp_path, **KRYLOV).tobytes() == mean.tobytes()


def test_damage_is_computed_again(tmp_path):
    mean = run(tmp_path / "store")
    for path in (tmp_path / "store").glob("*.h5"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content))
    with pytest.warns(StoreWarning):
        assert run(tmp_path / "store").tobytes() == mean.tobytes()
    assert run(tmp_path / "store").tobytes() == mean.tobytes()


def test_what_differs_is_not_mixed_up(tmp_path):
    run(tmp_path / "store")
    files = len(list((tmp_path / "store").glob("gram-*")))
    x, y, x_test = data()
    others = {
        "action of the same group": (NETWORK, groups.image_translations((4, 1)), x, "float64"),
        "data": (NETWORK, ACTION, x + 1e-9, "float64"),
        "action": (NETWORK, groups.image_rotations(2), x, "float64"),
        "network": (kernels.Sequential(*NETWORK.layers[:-1], kernels.Dense(1.1)), ACTION, x, "float64"),
        "dtype": (NETWORK, ACTION, x, "float32"),
    }
    for network, action, samples, dtype in others.values():
        kept, fresh = (
            hf.DeepEnsemble(network, action=action, store=store, dtype=dtype).fit(samples, y).predict(x_test, 1e3).mean
            for store in (tmp_path / "store", None)
        )
        assert np.array_equal(kept, fresh)
    assert len(list((tmp_path / "store").glob("gram-*"))) == files + len(others)
    run(tmp_path / "store", ridge=0.1, learning_rate=3.0)
    assert len(list((tmp_path / "store").glob("gram-*"))) == files + len(others)


def spoil(arrays, name):
    values = arrays[name]
    return {
        "nan": {**arrays, name: values * np.nan},
        "dtype": {**arrays, name: values.astype("int8")},
        "missing": {key: value for key, value in arrays.items() if key != name},
        "shape": {**arrays, name: values[..., :-1]},
    }


@pytest.mark.parametrize("how", ["nan", "dtype", "missing", "shape"])
@pytest.mark.parametrize(
    ("kind", "name"), [("spectrum", "eigenvectors_0"), ("spectrum", "eigenvalues_0"), ("gram", "block_0")]
)
def test_entries_that_do_not_hold_what_they_should(tmp_path, kind, name, how):
    mean = run(tmp_path / "store")
    store = kernels.Store(tmp_path / "store")
    (entry,) = (entry for entry in store.entries() if entry.kind == kind)
    arrays = store.get(kind, entry.key)
    for other in store.entries():
        if kind == other.kind or kind == "gram":
            other.path.unlink()
    store.put(kind, entry.key, spoil(arrays, name)[how])
    with pytest.warns(StoreWarning, match=f"{name} must be finite float64"):
        assert run(tmp_path / "store").tobytes() == mean.tobytes()


def test_eigenvectors_in_other_coordinates_are_not_used(tmp_path, monkeypatch):
    # Where samples have stabilisers the basis of distinct points is a choice, which another LAPACK makes otherwise.
    group = groups.dihedral(4)
    turn, flip = np.array([[0.0, -1], [1, 0]]), np.diag([1.0, -1])
    matrices = np.stack([np.linalg.matrix_power(turn, g // 2) @ np.linalg.matrix_power(flip, g % 2) for g in range(8)])
    action, output = groups.matrix_action(group, matrices), groups.Representation(group, matrices)
    network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
    x, y = np.array([[1.0, 0], [0.3, 0.9], [2, 2], [0.5, 0]]), np.random.default_rng(0).standard_normal((4, 2))

    def mean():
        ensemble = hf.DeepEnsemble(network, action=action, output=output, store=tmp_path / "store")
        return ensemble.fit(x, y).predict(x, 1e4).mean

    first, eigh = mean(), np.linalg.eigh

    def other(matrix):
        # Flipping every sample's basis would cancel; only those with a stabiliser are flipped.
        values, vectors = eigh(matrix)
        return values, vectors if np.allclose(matrix, np.eye(len(matrix))) else -vectors

    monkeypatch.setattr(np.linalg, "eigh", other)
    np.testing.assert_allclose(mean(), first, atol=1e-10)


def test_actions_of_a_users_own_class_are_told_apart(tmp_path):
    @dataclasses.dataclass(frozen=True, eq=False)
    class Roll(groups.Action):
        axis: int = 1

        def check_shape(self, shape):
            assert len(shape) == 3

        def _transform(self, g, x):
            return np.roll(x, g, axis=self.axis)

    x, y, x_test = data()
    for axis in (1, 2):
        kept, fresh = (
            hf.DeepEnsemble(NETWORK, action=Roll(groups.cyclic(8), "roll", True, axis), store=store)
            .fit(x, y)
            .predict(x_test, 1e4)
            .mean
            for store in (tmp_path / "store", None)
        )
        assert np.array_equal(kept, fresh)
