"""Laws of the whole ensemble on random groups, actions, outputs, networks and data with every coincidence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import PIECEWISE, experiments, homogeneous, networks, sum_of_irreps, trials

from haarflow import groups

pytestmark = pytest.mark.filterwarnings("ignore::haarflow.ResolutionWarning")

SAFETY = 4  # times what `ListedFlow.tolerances` estimates
GROWING = st.sampled_from((2.0, 1 / 3, 10.0))


def assert_within(found, exact, tolerances):
    """Hold each time's values to its own tolerance."""
    assert found.shape == exact.shape
    errors = np.abs(found - exact).reshape(len(found), -1).max(axis=1)
    assert (errors <= SAFETY * tolerances).all(), f"off by {errors}, tolerances {SAFETY * tolerances}"


def assert_same_law(law, other, flow, x, times):
    of_mean, of_covariance = flow.tolerances(x, times)
    assert_within(law.mean, other.mean, of_mean)
    assert_within(law.covariance, other.covariance, of_covariance)


def some_points(experiment):
    """Points off the data, and one on an orbit."""
    return np.concatenate([experiment.outside(3), experiment.action(experiment.order - 1, experiment.x[:1])])


# --- the reduction ---------------------------------------------------------------------------------------------


def check_against_the_listed_set(experiment, ridge, at_once):
    """The orbit reduction and the explicit path, held to a closed form that shares no code with either."""
    flow, times = experiment.flow(ridge=ridge)
    x = some_points(experiment)
    mean, covariance = flow.mean(x, times), np.einsum("txty->txy", flow.covariance(x, times))
    of_mean, of_covariance = flow.tolerances(x, times)
    for reduction in ("orbit", "explicit"):
        ensemble = experiment.fit(reduction=reduction, ridge=ridge, at_once=at_once)
        assert ensemble.reduction == reduction
        law = ensemble.predict(x, times * experiment.targets, covariance="full")
        assert_within(law.mean, mean, of_mean)
        assert_within(law.covariance, covariance, of_covariance)
        variance = ensemble.predict(x, times * experiment.targets, covariance="diagonal").variance
        assert_within(variance, np.einsum("txx->tx", covariance), of_covariance)
        assert_within(ensemble.predict(x, times * experiment.targets).mean, mean, of_mean)


RIDGES = st.sampled_from((0.0, 0.1))


@trials(150)
@given(experiments(compiled=False), RIDGES, st.booleans())
def test_reduced_and_explicit_are_the_closed_form(experiment, ridge, at_once):
    check_against_the_listed_set(experiment, ridge, at_once)


@trials(10)
@given(experiments(compiled=True), RIDGES, st.booleans())
def test_reduced_and_explicit_are_the_closed_form_of_compiled_networks(experiment, ridge, at_once):
    check_against_the_listed_set(experiment, ridge, at_once)


@trials(30)
@given(experiments(convolutional=True), RIDGES, st.booleans())
def test_reduced_and_explicit_are_the_closed_form_of_convolutional_networks(experiment, ridge, at_once):
    check_against_the_listed_set(experiment, ridge, at_once)


@trials(80)
@given(experiments(compiled=False))
def test_the_law_moves_with_the_group(experiment):
    flow, times = experiment.flow()
    x = experiment.outside(2)
    ensemble = experiment.fit(loss="sum")
    law = ensemble.predict(x, times, covariance="full")
    for g in range(experiment.order):
        moved = ensemble.predict(experiment.action(g, x), times, covariance="full")
        turned = replace(law, mean=experiment.on_outputs(g, law.mean))
        assert_same_law(moved, turned, flow, x, times)


# --- what does not matter ----------------------------------------------------------------------------------------


@trials(60)
@given(experiments(compiled=False), st.booleans(), st.booleans())
def test_neither_order_nor_place_on_an_orbit_matter(experiment, shuffled, moved):
    flow, times = experiment.flow()
    n = len(experiment.x)
    order = experiment.rng.permutation(n) if shuffled else np.arange(n)
    x, y = experiment.x[order], experiment.y[order]
    for i, g in enumerate(experiment.rng.integers(experiment.order, size=n) if moved else ()):
        x[i], y[i] = experiment.action(int(g), x[i : i + 1])[0], experiment.on_outputs(int(g), y[i])
    points = some_points(experiment)
    law, other = (
        experiment.fit(*data, loss="sum").predict(points, times, covariance="full")
        for data in ((experiment.x, experiment.y), (x, y))
    )
    assert_same_law(law, other, flow, points, times)


@trials(80)
@given(experiments(networks(PIECEWISE, least=1, biases=(0.1, 1.0))), st.integers(0, 5))
def test_another_sample_that_agrees_is_not_seen_at_the_end(experiment, i):
    # A copy of a sample, or where samples coincide and their labels conflict, one with their mean.
    flow, _ = experiment.flow()
    assert not flow.singular
    g, i = int(experiment.rng.integers(experiment.order)), i % len(experiment.x)
    x = np.concatenate([experiment.x, experiment.action(g, experiment.x[i : i + 1])])
    y = np.concatenate([experiment.y, flow.labels_listed[None, g * len(experiment.x) + i]])
    points = some_points(experiment)
    law, other = (
        experiment.fit(*data).predict(points, np.inf, covariance="full")
        for data in ((experiment.x, experiment.y), (x, y))
    )
    assert_same_law(law, other, flow, points, [np.inf])


# --- scaling -------------------------------------------------------------------------------------------------------


@trials(50)
@given(experiments(compiled=False), GROWING)
def test_the_mean_is_linear_in_the_labels(experiment, factor):
    flow, times = experiment.flow()
    points, extra = some_points(experiment), experiment.rng.standard_normal(experiment.y.shape)
    one, two, both = (
        experiment.fit(y=y, loss="sum").predict(points, times, covariance="full")
        for y in (experiment.y, extra, factor * experiment.y + extra)
    )
    flow.norm = factor * flow.norm + np.linalg.norm(extra) * experiment.order**0.5
    assert_same_law(replace(one, mean=factor * one.mean + two.mean), both, flow, points, times)


@trials(50)
@given(experiments(compiled=False), GROWING, st.booleans())
def test_clocks(experiment, factor, ridged):
    flow, times = experiment.flow(ridge=0.1 * ridged)
    points = some_points(experiment)
    law, *others = (
        experiment.fit(loss=loss, learning_rate=rate, ridge=0.1 * ridged).predict(points, clock, covariance="full")
        for loss, rate, clock in (
            ("sum", 1.0, times),
            ("sum", factor, times / factor),
            ("mean", 1.0, times * experiment.targets),
            ("mean", factor, times * experiment.targets / factor),
        )
    )
    for other in others:
        assert_same_law(law, other, flow, points, times)


@trials(50)
@given(experiments(homogeneous()), GROWING)
def test_larger_samples_of_a_homogeneous_network_learn_faster(experiment, factor):
    flow, times = experiment.flow()
    points = some_points(experiment)
    law = experiment.fit(loss="sum").predict(points, times, covariance="full")
    larger = experiment.fit(factor * experiment.x, loss="sum").predict(
        factor * points, times / factor**2, covariance="full"
    )
    assert_same_law(law, replace(larger, covariance=larger.covariance / factor**2), flow, points, times)


@trials(50)
@given(experiments(compiled=False))
def test_an_output_without_labels_learns_nothing(experiment):
    flow, times = experiment.flow()
    group, k = experiment.action.group, experiment.y.shape[1]
    blank = sum_of_irreps(group, experiment.rng, parts=1)
    output = groups.direct_sum(experiment.output or groups.trivial(group, k), blank)
    y = np.concatenate([experiment.y, np.zeros((len(experiment.y), blank.dim))], axis=1)
    points = some_points(experiment)
    law, wider = (
        experiment.fit(y=labels, output=rho, loss="sum").predict(points, times)
        for labels, rho in ((experiment.y, experiment.output), (y, output))
    )
    of_mean, _ = flow.tolerances(points, times)
    assert_within(wider.mean[..., :k], law.mean, of_mean)
    assert_within(wider.mean[..., k:], np.zeros_like(wider.mean[..., k:]), of_mean)
