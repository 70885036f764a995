"""The preconditioned solve for t = inf under a ridge, against SciPy's cg and the dense inverse."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hard import large
from scipy.sparse.linalg import cg

from haarflow import solvers
from haarflow.solvers.krylov_space import grow, start_space
from haarflow.solvers.preconditioned import (
    Nystroem,
    PreconditionedSolve,
    conjugate_gradients,
    nystroem,
    nystroem_from_space,
)

FLOW = solvers.GradientFlow()
NAMES = ["k^-1.5", "k^-3", "smallest modes", "two far clusters", "NTK-like"]


def relative(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def problem(name, ridge, n=240, k=3):
    case = large(name, n)
    gram, labels, ridge = case.gram, case.labels(k), ridge * case.values.max()
    return gram, labels, ridge, np.linalg.solve(gram + ridge * np.eye(n), labels)


def grown(gram, labels, steps):
    space = start_space(labels)
    for _ in range(steps):
        space = grow(space, lambda v: gram @ v)
    return space


@pytest.mark.parametrize("name", NAMES)
def test_against_scipys_cg(name):
    gram, labels, ridge, exact = problem(name, 1e-4)
    found = solvers.solve(
        lambda v: gram @ v,
        labels,
        FLOW,
        [np.inf],
        1.0,
        ridge,
        how=solvers.Krylov(dimension=24, preconditioner=30),
        columns=lambda i: gram[:, i],
    )
    scipys = np.stack([cg(gram + ridge * np.eye(240), y, rtol=1e-12, maxiter=5000)[0] for y in labels.T], axis=1)
    assert relative(scipys, exact) < 1e-6
    assert found.preconditioned.all()
    assert found.iterations > 0
    assert relative(found.alpha[0], scipys) < 1e-5
    assert 0.1 < found.error[0] / relative(found.alpha[0], exact) < 1000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preconditioner", [0, 40])
def test_a_space_that_is_too_small_is_finished(name, preconditioner):
    gram, labels, ridge, exact = problem(name, 1e-3)
    how = solvers.Krylov(dimension=30, preconditioner=preconditioner)
    found = solvers.solve(lambda v: gram @ v, labels, FLOW, [1.0 / gram.max(), np.inf], 1.0, ridge, how=how)
    assert found.space.dimension <= 30
    assert not found.preconditioned[0]
    assert relative(found.alpha[1], exact) < 1e-5
    assert 0.1 < found.error[1] / relative(found.alpha[1], exact) < 1000
    assert found.products == found.space.dimension or found.preconditioned[1]


def test_the_preconditioner_saves_products():
    gram, labels, ridge, _ = problem("k^-1.5", 1e-5)
    product, start = (lambda v: gram @ v), np.zeros_like(labels)
    plain = Nystroem((), np.empty((0, 0)), np.empty(0), 0.0)
    steps = [
        conjugate_gradients(product, labels, ridge, approximation, start, tolerance=1e-6).steps
        for approximation in (plain, nystroem(lambda i: gram[:, i], 240, 80))
    ]
    assert steps[1] < steps[0] / 3


@pytest.mark.parametrize("how", ["columns", "space"])
def test_the_approximation_is_one(how):
    gram, labels, *_ = problem("k^-3", 1e-4)
    found = (
        nystroem(lambda i: gram[:, i], 240, 60, seed=2)
        if how == "columns"
        else nystroem_from_space(grown(gram, labels, 20))
    )
    basis = np.concatenate(found.basis, axis=1) @ found.turn
    low = (basis * found.values) @ basis.T
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(found.values)), atol=1e-12)
    assert np.linalg.norm(gram - low, 2) < 1e-3
    # A Nystroem approximation lies below the matrix.
    assert np.linalg.eigvalsh(gram - low).min() > -1e-10
    ridge, rest, y = 0.01, 0.2, labels[:, :2]
    whole = low + rest * (np.eye(240) - basis @ basis.T) + ridge * np.eye(240)
    np.testing.assert_allclose(found.solve(y, ridge, rest), np.linalg.solve(whole, y), atol=1e-9)


def test_every_column_known_is_the_matrix_itself():
    gram, labels, ridge, exact = problem("k^-1.5", 1e-6)
    approximation = nystroem(lambda i: gram[:, i], 240, 10**6)
    found = conjugate_gradients(lambda v: gram @ v, labels, ridge, approximation, 0 * labels, tolerance=1e-8)
    assert found.steps <= 3
    assert relative(found.solution, exact) < 1e-8


def test_noise_ends_the_iteration():
    gram, labels, ridge, exact = problem("k^-1.5", 1e-4)

    def rough(v):
        return gram.astype("float32") @ v.astype("float32")

    approximation = nystroem(lambda i: gram.astype("float32")[:, i], 240, 40)
    found = conjugate_gradients(rough, labels, ridge, approximation, 0 * labels, tolerance=1e-12)
    assert found.steps < 1000
    assert relative(found.solution, exact) < 1e-2
    assert 0.1 < found.error / relative(found.solution, exact) < 1000


def test_it_waits_for_the_space_only_without_columns():
    gram, labels, ridge, _ = problem("k^-1.5", 1e-4)
    times = [1 / gram.max(), np.inf]
    alone = solvers.solve(lambda v: gram @ v, labels, FLOW, times, 1.0, ridge)
    aided = solvers.solve(lambda v: gram @ v, labels, FLOW, times, 1.0, ridge, columns=lambda i: gram[:, i])
    assert not alone.preconditioned.any()
    assert aided.preconditioned.tolist() == [False, True]
    assert aided.space.dimension < alone.space.dimension
    assert relative(aided.alpha[1], alone.alpha[1]) < 1e-5

    # Tikhonov's filter at infinity is the inverse too; one that is not is left to the space.
    def half(eigenvalues, times, rate):
        return FLOW(eigenvalues, times, rate) / 2

    other = solvers.solve(lambda v: gram @ v, labels, half, times, 1.0, ridge, columns=lambda i: gram[:, i])
    assert not other.preconditioned.any()
    assert relative(2 * other.alpha[1], alone.alpha[1]) < 1e-5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [1 / 30, 30])
def test_a_ridge_on_either_side_of_what_is_known(dtype, side):
    """Below, the smallest eigenvalues are unknown with the ridge as they are without: only the space tells them."""
    gram = large("k^-1.5", 240).gram.astype(dtype)
    labels = np.random.default_rng(1).standard_normal((240, 3))
    known = {"float64": 240 * np.finfo(float).eps, "float32": 1e-7}[dtype]  # the largest eigenvalue is 1
    ridge = side * known
    exact = np.linalg.solve(gram.astype(float) + ridge * np.eye(240), labels)
    for times in ([np.inf], [1.0, np.inf]):
        found = solvers.solve(
            lambda v: gram @ v.astype(dtype), labels, FLOW, times, 1.0, ridge, scale=1.0, columns=lambda i: gram[:, i]
        )
        assert found.preconditioned[-1] == (side > 1)
        true = relative(found.alpha[-1], exact)
        assert true < {"float64": 1e-6, "float32": 1e-3}[dtype]
        assert 0.1 < found.error[-1] / true < 1000


def test_what_was_solved_serves_other_times():
    gram, labels, ridge, exact = problem("k^-1.5", 1e-4)

    def solve(times, columns, **others):
        return solvers.solve(lambda v: gram @ v, labels, FLOW, times, 1.0, ridge, columns=columns, **others)

    first = solve([1.0, np.inf], lambda i: gram[:, i])
    again = solve([10.0, np.inf], None, space=first.space, inverse=first.inverse)
    assert first.inverse.error == first.error[1]
    assert relative(again.alpha[1], exact) < 1e-6
    # Without columns the space grows until it solves t = inf itself.
    assert not again.preconditioned.any()
    last = solve([10.0, np.inf], lambda i: gram[:, i], space=first.space, inverse=first.inverse)
    assert last.preconditioned.tolist() == [False, True]
    assert (last.iterations, last.products) == (0, last.space.dimension - first.space.dimension)
    assert last.alpha[1].tobytes() == first.alpha[1].tobytes()
    assert last.error[1] == first.error[1]


@pytest.mark.parametrize("name", ["half singular", "steps", "three clusters"])
def test_noise_is_known_before_conjugate_gradients_take_over(name):
    """After one step of ten columns the estimate in float32 was a tenth of the error and less."""
    case = large(name, 400)
    gram, labels, ridge = case.gram.astype("float32"), case.labels(10), 1e-6 * case.values.max()
    exact = np.linalg.solve(gram.astype(float) + ridge * np.eye(400), labels)
    found = solvers.solve(
        lambda v: gram @ v.astype("float32"),
        labels,
        FLOW,
        [np.inf],
        1.0,
        ridge,
        how=solvers.Krylov(1e-3, preconditioner=60),
        columns=lambda i: gram[:, i],
    )
    assert 0.1 < found.error[0] / relative(found.alpha[0], exact) < 1000


@pytest.mark.parametrize("rank", [20, 60])
def test_the_estimate_knows_smaller_eigenvalues_than_the_drawn_columns(rank):
    """Of steps the columns see the upper ones alone: judged by them the error was 24 times as large as estimated."""
    case = large("steps", 400)
    labels, ridge = case.labels(10), 1e-6 * case.values.max()
    found = solvers.solve(
        lambda v: case.gram @ v,
        labels,
        FLOW,
        [np.inf],
        1.0,
        ridge,
        how=solvers.Krylov(1e-3, preconditioner=rank),
        columns=lambda i: case.gram[:, i],
    )
    exact = np.linalg.solve(case.gram + ridge * np.eye(400), labels)
    assert found.preconditioned.all()
    assert 1 < found.error[0] / relative(found.alpha[0], exact) < 1000


def test_what_was_solved_for_a_larger_tolerance_is_gone_on_from(monkeypatch):
    monkeypatch.setattr(solvers.krylov, "_NOISE_STEPS", 1)  # of more steps the space is enough for the larger one
    gram, labels, ridge, exact = problem("k^-1.5", 1e-4)

    def solve(tolerance, inverse=None):
        given = {
            "how": solvers.Krylov(tolerance, preconditioner=20),
            "columns": lambda i: gram[:, i],
            "inverse": inverse,
        }
        return solvers.solve(lambda v: gram @ v, labels, FLOW, [np.inf], 1.0, ridge, **given)

    roughly, at_once = solve(1e-2), solve(1e-9)
    finely = solve(1e-9, roughly.inverse)
    assert relative(roughly.alpha[0], exact) > 1e-6
    assert relative(finely.alpha[0], exact) < 1e-9 >= finely.error[0]
    assert 0 < finely.iterations < at_once.iterations
    # What is better than was asked for stays as it is, whatever was asked for when it was found.
    for inverse in (finely.inverse, replace(finely.inverse, tolerance=1.0)):
        again = solve(1e-2, inverse)
        assert (again.iterations, again.alpha.tobytes()) == (0, finely.alpha.tobytes())


def test_what_was_solved_badly_is_solved_again():
    gram, labels, ridge, exact = problem("k^-1.5", 1e-4)
    bad = PreconditionedSolve(0 * labels, 7.0, 1e-6, 0, 0)
    found = solvers.solve(
        lambda v: gram @ v, labels, FLOW, [np.inf], 1.0, ridge, columns=lambda i: gram[:, i], inverse=bad
    )
    assert found.iterations > 0
    assert relative(found.alpha[0], exact) < 1e-6


def test_a_preconditioner_is_made_within_two_arrays_and_a_little():
    """The columns and their root."""
    rows, rank = 3000, 200

    def columns(chosen):  # of the identity and a constant
        drawn = np.full((rows, len(chosen)), 1 / rows)
        drawn[chosen, np.arange(len(chosen))] += 1
        return drawn

    tracemalloc.start()
    nystroem(columns, rows, rank)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.4 * 8 * rows * rank


def test_columns_that_do_not_fit():
    with pytest.raises(ValueError, match=r"columns must return finite \[10, 4\], found shape \(4, 10\)"):
        nystroem(lambda i: np.eye(10)[i], 10, 4)
