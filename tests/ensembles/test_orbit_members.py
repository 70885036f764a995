"""ensemble.members_needed against tails of the covariance written out, and against drawn ensembles."""

import importlib

import mpmath
import numpy as np
import pytest
from oracles import flow_covariance, flow_operators, listed

import haarflow as hf
from haarflow import groups, kernels

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
TIMES = [20.0, 300.0]
SOLID = groups.tetrahedral()


def images():
    rng = np.random.default_rng(0)
    return groups.image_rotations(4), None, rng.standard_normal((5, 3, 3, 1)), rng.standard_normal((5, 10)), (3, 3, 1)


def vectors():
    rng = np.random.default_rng(1)
    output = groups.Representation(SOLID, SOLID.matrices)
    return groups.matrix_action(SOLID), output, rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 3)), (2, 3)


CASES = {"images": images, "vectors": vectors}


def difference_covariances(action, output, x, y, point):
    """Cov[f(gx) - rho(g) f(x)] for all g, [T, |G|, k, k], from the listed flow and the joint covariance of outputs."""
    group, k = action.group, y.shape[1]
    points, labels = listed(action, output, x, y)
    orbit = np.concatenate([action(g, point) for g in range(group.order)])
    kernel = kernels.analytic(NETWORK)
    rows = kernel(orbit, points)
    operators = flow_operators(kernel(points).ntk, rows.ntk, np.array(TIMES) / labels.size)
    whole = flow_covariance(operators, kernel(points).nngp, rows.nngp, kernel(orbit).nngp)
    (e,) = (e for e in range(group.order) if (group.table[e] == np.arange(group.order)).all())
    found = []
    for t in range(len(TIMES)):
        joint = np.kron(whole[t, :, t], np.eye(k))
        for g in range(group.order):
            linear = np.zeros((k, group.order * k))
            linear[:, g * k : (g + 1) * k] += np.eye(k)
            linear[:, e * k : (e + 1) * k] -= np.eye(k) if output is None else output.matrices[g]
            found.append(linear @ joint @ linear.T)
    return np.array(found).reshape(len(TIMES), group.order, k, k)


@pytest.mark.parametrize("name", CASES)
def test_members_are_the_smallest_number_whose_tails_fit(name):
    action, output, x, y, shape = CASES[name]()
    ensemble = hf.DeepEnsemble(NETWORK, action=action, output=output).fit(x, y)
    points = np.random.default_rng(2).standard_normal((3, *shape))
    delta, probability, k, order = 0.2, 1e-3, y.shape[1], action.group.order
    found = ensemble.members_needed(points, delta, probability, TIMES)
    assert found.shape == (2, 3)
    assert found.dtype == np.int64
    assert found.min() > 1
    for i in range(3):
        largest = np.linalg.eigvalsh(difference_covariances(action, output, x, y, points[i : i + 1])).max(axis=(1, 2))
        for t in range(2):

            def tail(members, s=largest[t]):
                return mpmath.gammainc(mpmath.mpf(k) / 2, members * delta**2 / (2 * s), regularized=True)

            assert tail(int(found[t, i])) <= probability / order < tail(int(found[t, i]) - 1)


@pytest.mark.parametrize("norm", ["euclidean", "max"])
@pytest.mark.parametrize("name", CASES)
def test_drawn_ensembles_of_so_many_members_are_as_equivariant(name, norm):
    action, output, x, y, shape = CASES[name]()
    ensemble = hf.DeepEnsemble(NETWORK, action=action, output=output).fit(x, y)
    point = np.random.default_rng(3).standard_normal((1, *shape))
    probability, group, draws = 0.05, action.group, 4000
    unit = float(ensemble.members_needed(point, 1.0, probability, TIMES[0], norm=norm)[0, 0])
    delta = np.sqrt(unit / 20)  # asks for about 20
    members = int(ensemble.members_needed(point, delta, probability, TIMES[0], norm=norm)[0, 0])
    (f,) = ensemble.sample(action.orbit(point)[:, 0], TIMES[0], draws, seed=4)
    (mean,) = ensemble.predict(action.orbit(point)[:, 0], TIMES[0]).mean
    means = mean + (f - mean) / np.sqrt(members)  # Gaussian, as a mean of so many is
    base = means[:, group.identity]
    wanted = base[:, None] if output is None else np.einsum("gab,eb->ega", output.matrices, base)
    off = np.linalg.norm(means - wanted, ord=None if norm == "euclidean" else np.inf, axis=-1).max(axis=1)
    assert np.mean(off > delta) <= probability
    assert np.mean(off * 3**0.5 > delta) > probability  # a third of them would not do


def test_members_broadcast_over_times_and_samples():
    action, output, x, y, _ = images()
    ensemble = hf.DeepEnsemble(NETWORK, action=action, output=output).fit(x, y)
    points = np.random.default_rng(2).standard_normal((3, 3, 3, 1))
    deltas, probabilities = np.array([[0.1], [0.2]]), np.array([0.01, 0.05, 0.1])
    found = ensemble.members_needed(points, deltas, probabilities, TIMES)
    for t in range(2):
        for i in range(3):
            alone = ensemble.members_needed(points[[i]], deltas[t, 0], probabilities[i], TIMES[t])
            assert alone.shape == (1, 1)
            assert alone[0, 0] == found[t, i]
    assert (ensemble.members_needed(x, 0.1, 0.05, np.inf) == 1).all()  # nothing varies on trained orbits
    # Not the one orbit that ten orbits are not.
    listed_orbits = action.orbit(points).reshape(-1, 3, 3, 1)
    assert ensemble.members_needed(listed_orbits, 0.1, 0.05, TIMES).shape == (2, 12)


def test_what_members_need():
    action, output, x, y, _ = images()
    with pytest.raises(RuntimeError, match=r"call fit\(x, y\) before members_needed"):
        hf.DeepEnsemble(NETWORK, action=action).members_needed(x, 0.1, 0.05, 1.0)
    ensemble = hf.DeepEnsemble(NETWORK, action=action, output=output).fit(x, y)
    with pytest.raises(ValueError, match=r"delta must be a number, or broadcast to \[times, samples\] = \[2, 5\]"):
        ensemble.members_needed(x, np.ones(3), 0.05, TIMES)
    with pytest.raises(ValueError, match="delta must be > 0"):
        ensemble.members_needed(x, 0.0, 0.05, TIMES)
    with pytest.raises(ValueError, match="probability must lie in 0"):
        ensemble.members_needed(x, 0.1, 1.0, TIMES)
    with pytest.raises(ValueError, match="norm must be one of"):
        ensemble.members_needed(x, 0.1, 0.5, TIMES, norm="l1")
    plane = groups.so2(8)
    flat = kernels.Sequential(*NETWORK.layers[1:])
    haar = hf.DeepEnsemble(flat, action=groups.matrix_action(plane)).fit(np.eye(2), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"action must be of a finite group.* found SO\(2\)"):
        haar.members_needed(np.eye(2), 0.1, 0.05, 1.0)


def test_all_orbits_share_one_pass_over_the_kernel(monkeypatch):
    deep = importlib.import_module("haarflow.deep")
    calls, inner = [], deep.with_covariance
    monkeypatch.setattr(deep, "with_covariance", lambda *args: calls.append(args) or inner(*args))
    network = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5), kernels.Relu(), kernels.Dense())
    x = np.random.default_rng(0).standard_normal((4, 3, 3, 1))
    ensemble = hf.DeepEnsemble(network, groups.image_rotations(4)).fit(x, np.eye(4))
    assert ensemble.members_needed(x, 0.1, 0.05, [1.0]).shape == (1, 4)
    assert len(calls) == 1
