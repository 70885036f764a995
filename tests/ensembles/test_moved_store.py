"""A store whose folder was moved: what is in memory predicts, what is not says which folder is missing."""

import shutil

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels, solvers
from haarflow.kernels import StoreError, StoreWarning

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
RNG = np.random.default_rng(0)
X, Y, T = RNG.standard_normal((24, 4)), RNG.standard_normal((24, 2)), [1.0, 1e3]
TEST = RNG.standard_normal((5, 4))
ROUGH = solvers.Krylov(tolerance=1e-3)


def action():
    swapped = np.array([[0, 1, 2, 3], [1, 0, 3, 2]])
    return groups.permutation_action(groups.cyclic(2), swapped)


def moved(ensemble, folder):
    shutil.move(folder, folder.with_name("elsewhere"))
    return ensemble


def test_eigendecompositions_predict_from_memory(tmp_path):
    folder = tmp_path / "store"
    ensemble = moved(hf.DeepEnsemble(NETWORK, action=action(), store=folder).fit(X, Y, covariance=True), folder)
    alone = hf.DeepEnsemble(NETWORK, action=action()).fit(X, Y, covariance=True)
    for covariance in (None, "diagonal", "full"):
        assert np.array_equal(ensemble.predict(TEST, T, covariance).mean, alone.predict(TEST, T, covariance).mean)
    assert np.array_equal(ensemble.timescales, alone.timescales)
    assert not folder.exists()


def test_a_covariance_is_computed_without_it(tmp_path):
    folder = tmp_path / "store"
    ensemble = moved(hf.DeepEnsemble(NETWORK, action=action(), store=folder).fit(X, Y), folder)
    with pytest.warns(StoreWarning, match=rf"store {folder} is gone.*computed without it") as seen:
        found = ensemble.predict(TEST, T, covariance="full").covariance
    assert (len(seen), seen[0].filename) == (1, __file__)
    alone = hf.DeepEnsemble(NETWORK, action=action()).fit(X, Y).predict(TEST, T, covariance="full")
    assert np.array_equal(found, alone.covariance)
    assert not folder.exists()


@pytest.mark.parametrize("solver", ["dense", "krylov"])
def test_a_fit_makes_it_anew(tmp_path, solver):
    folder = tmp_path / "store"
    ensemble = moved(hf.DeepEnsemble(NETWORK, action=action(), store=folder, solver=solver).fit(X, Y), folder)
    with pytest.warns(StoreWarning, match=rf"store {folder} is gone: .* made anew") as seen:
        ensemble.fit(X, -Y)
    assert (len(seen), seen[0].filename) == (1, __file__)
    alone = hf.DeepEnsemble(NETWORK, action=action(), solver=solver).fit(X, -Y)
    assert np.array_equal(ensemble.predict(TEST, T).mean, alone.predict(TEST, T).mean)


def test_a_krylov_space_answers_what_it_knows_and_names_what_is_missing(tmp_path):
    folder = tmp_path / "store"
    ensemble = hf.DeepEnsemble(NETWORK, action=action(), store=folder, solver=ROUGH).fit(X, Y)
    known = ensemble.predict(TEST, T).mean
    moved(ensemble, folder)
    assert np.array_equal(ensemble.predict(TEST, T).mean, known)
    with pytest.raises(StoreError, match=rf"store {folder} cannot be read, since it is gone.*call\s+fit"):
        ensemble.predict(TEST, [1e7])
    shutil.move(folder.with_name("elsewhere"), folder)
    alone = hf.DeepEnsemble(NETWORK, action=action(), solver=ROUGH).fit(X, Y)
    alone.predict(TEST, T)
    assert np.array_equal(ensemble.predict(TEST, [1e7]).mean, alone.predict(TEST, [1e7]).mean)


def test_what_was_computed_is_found_in_the_new_place(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    ensemble = moved(hf.DeepEnsemble(NETWORK, action=action(), store=folder).fit(X, Y), folder)
    monkeypatch.setattr("haarflow.training.assemble", None)
    again = hf.DeepEnsemble(NETWORK, action=action(), store=folder.with_name("elsewhere")).fit(X, Y)
    assert np.array_equal(again.predict(TEST, T).mean, ensemble.predict(TEST, T).mean)


def test_members_say_which_folder_is_missing(tmp_path):
    folder = tmp_path / "store"
    ensemble = hf.FiniteEnsemble(NETWORK, 4, 2, store=folder).fit(X, Y, 2)
    found = ensemble.predict(TEST)
    moved(ensemble, folder)
    with pytest.raises(StoreError, match=rf"store {folder} cannot be read, since it is gone"):
        ensemble.predict(TEST)
    with pytest.raises(StoreError, match=rf"store {folder} cannot be read, since it is gone"):
        ensemble.load(X, Y, 2)
    with pytest.warns(StoreWarning, match=rf"store {folder} is gone: .* made anew") as seen:
        ensemble.fit(X, Y, 2)
    assert (len(seen), seen[0].filename) == (1, __file__)
    assert np.array_equal(ensemble.predict(TEST), found)
