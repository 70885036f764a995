"""Krylov's estimated error under filters that change sign, alternate or swing: against the literal iteration."""

from itertools import product

import numpy as np
import pytest

from haarflow import solvers
from haarflow.solvers.resolution import too_late

FLOW = solvers.GradientFlow()
MOMENTA = [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999]
SPREADS = [1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0]
TIMES = np.array([1, 2, 3, 5, 8, 13, 30, 100, 300, 1000])
SHAPES = {
    "uniform": lambda u: np.sort(u),
    "semicircle": lambda u: -np.cos(np.pi * (np.arange(len(u)) + 0.5) / len(u)),
    "two ends": lambda u: np.sort(np.sign(u) * (1 - 0.05 * np.abs(u))),
}


def problem(spread, shape="uniform", n=60, k=3, seed=0):
    """A matrix with eigenvalues 1 - spread .. 1 + spread, its modes, and labels."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = 1 + spread * SHAPES[shape](rng.uniform(-1, 1, n)) + (1e-3 if spread == 1 else 0)
    gram = (vectors * values) @ vectors.T
    return (gram + gram.T) / 2, values, vectors, rng.standard_normal((n, k))


def literal(values, vectors, labels, rate, momentum, times):
    """f <- f + b (f - f before) - rate A (f - y), mode by mode in extended precision, in the coefficients."""
    now = before = np.zeros(len(values), np.longdouble)
    found = {0: now}
    for step in range(1, int(max(times)) + 1):
        now, before = now + momentum * (now - before) + rate * (1 - values * now), now
        if step in times:
            found[step] = now
    inside = vectors.T @ labels
    return np.stack([vectors @ (found[int(t)].astype(float)[:, None] * inside) for t in times])


def worst_column(found, exact):
    return np.max(np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1), axis=1)


def assert_known(error, true, highest):
    """Estimates are a tenth of the true errors at least; where the solution is not exact, at most `highest` times."""
    assert np.all(error >= 0.1 * true - 1e-13), (true, error)
    inexact = true > 1e-12
    assert np.all(error[inexact] <= highest * true[inexact]), (true, error)


def check(momentum, spread, shape, share, how, k=3):
    gram, values, vectors, labels = problem(spread, shape, k=k)
    rate = share * 2 * (1 + momentum) / values.max()
    exact = literal(values, vectors, labels, rate, momentum, TIMES)
    filter = solvers.HeavyBall(momentum)
    solved = solvers.solve(lambda v: gram @ v, labels, filter, TIMES, rate, how=how)
    assert_known(solved.error, worst_column(solved.alpha, exact), 1e4)
    # One at a time, where the others' needs do not help.
    for i in (1, 3, 6):
        alone = solvers.solve(lambda v: gram @ v, labels, filter, TIMES[i : i + 1], rate, how=how)
        assert_known(alone.error, worst_column(alone.alpha, exact[i : i + 1]), 1e4)
        assert alone.error[0] <= how.tolerance


@pytest.mark.parametrize(("momentum", "spread"), list(product([0.0, 0.5, 0.9, 0.99], [1e-4, 0.1, 1.0])))
def test_the_error_is_known_under_momentum(momentum, spread):
    check(momentum, spread, "uniform", 0.9, solvers.Krylov())


@pytest.mark.slow
@pytest.mark.parametrize(("momentum", "spread"), list(product(MOMENTA, SPREADS)))
def test_the_error_is_known_under_every_momentum(momentum, spread):
    for shape, share, tolerance, k in product(SHAPES, (0.05, 0.5, 0.9, 0.99), (1e-2, 1e-6), (1, 3)):
        check(momentum, spread, shape, share, solvers.Krylov(tolerance), k)


def test_steps_that_alternate():
    """Beyond rate lambda = 1 the sign of what is left alternates, with a size that grows with lambda."""
    gram, values, vectors, labels = problem(0.3)
    rate = 1.95 / values.max()
    for t in (2, 3, 10, 11, 30, 31):
        exact = literal(values, vectors, labels, rate, 0.0, [t])
        for tolerance in (1e-2, 1e-6):
            how = solvers.Krylov(tolerance)
            found = solvers.solve(lambda v: gram @ v, labels, solvers.GradientDescent(), [t], rate, how=how)
            assert_known(found.error, worst_column(found.alpha, exact), 1e4)


def waves(eigenvalues, times, rate):
    """Oscillators without friction: f'' = -A (f - y)."""
    with np.errstate(all="ignore"):
        t = np.asarray(times)[:, None] * rate
        return np.where(eigenvalues > 0, (1 - np.cos(np.sqrt(eigenvalues) * t)) / eigenvalues, t**2 / 2)


def signed(eigenvalues, times, rate):
    """A filter of either sign."""
    return np.sin(3 * np.asarray(times)[:, None] * rate * eigenvalues[None])


def downhill(eigenvalues, times, rate):
    """Gradient flow of the negative of the labels."""
    return -FLOW(eigenvalues, times, rate)


@pytest.mark.parametrize("filter", [waves, signed, downhill])
@pytest.mark.parametrize("spread", [1e-2, 1.0])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_a_filter_of_ones_own(filter, spread, tolerance):
    gram, values, vectors, labels = problem(spread)
    times = np.array([0.5, 1.0, np.pi / 3, 4.0, 20.0])
    exact = np.stack([(vectors * row) @ (vectors.T @ labels) for row in filter(values, times, 1.0)])
    for some in (times, times[2:3]):
        found = solvers.solve(lambda v: gram @ v, labels, filter, some, 1.0, how=solvers.Krylov(tolerance))
        true = worst_column(found.alpha, exact if len(some) > 1 else exact[2:3])
        assert_known(found.error, true, 1e4)
        assert np.all((found.error <= tolerance) | found.space.exhausted)


def test_unresolved_modes_are_left_out_where_the_filter_is_another_on_what_they_may_be():
    """phi(0) = 1 for all times, but 2 on the uncertainty: gradient flow is not the only way to depend on lambda."""

    def steep(eigenvalues, times, rate):
        return np.where(eigenvalues[None] > 1e-17, 2.0, 1.0) + 0 * np.asarray(times)[:, None]

    def level(eigenvalues, times, rate):
        return 0.5 + 0 * eigenvalues[None] + 0 * np.asarray(times)[:, None]

    times = np.array([0.0, 1.0, np.inf])
    assert too_late(steep, times[:2], 1.0, 1e-16).tolist() == [True, True]
    assert too_late(level, times[:2], 1.0, 1e-16).tolist() == [False, False]
    assert too_late(FLOW, times, 1.0, 1e-16).tolist() == [False, False, True]
    assert too_late(downhill, np.array([1.0, 1e12]), 1.0, 1e-16).tolist() == [False, True]
