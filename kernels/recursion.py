"""The kernel recursion for one displacement of positions, unit by unit: squared distances and the NTK.

Arrays are [*positions, I, J]: positions p of the first sample, to each of which p' = p + d of the second belongs,
and the pairs of a tile of I and J samples last, so that loops over them run along memory. Marginals have size 1
along the other's samples. No position axes remain behind Flatten and GlobalAvgPool.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import Array

from haarflow.kernels import convolution
from haarflow.kernels.architecture import Conv
from haarflow.kernels.duals import DUALS, Distances
from haarflow.kernels.pairs import Features, inverse
from haarflow.kernels.schedule import Unit

__all__ = ["Marginal", "Place", "State", "covariance", "distance_sum", "marginals", "walk"]


class State(NamedTuple):
    """What is known of a pair (u, v); a field is None where it is not carried."""

    apart: Distances | None = None  # until the network's last nonlinearity
    K: Array | None = None  # E[u v], behind it
    theta: Array | None = None  # None while it is 0


class Marginal(NamedTuple):
    """What one unit needs of a sample's variances: evaluated once for each sample, not for each pair."""

    features: Features  # of the variance behind the linear layer
    linear: Array  # that variance
    variance: Array  # behind the unit


class Place(NamedTuple):
    """Where in the grid of position pairs a walk takes place, and how its stages are kept apart."""

    displacement: tuple[Array, ...] | None  # None: p = p'
    fence: Callable[..., Any]  # fence(f, *arrays) = f(*arrays), compiled on its own
    angles: bool = False  # whether rectifiers' angles are carried


Pair = tuple[Array, Array]


def marginals(units: tuple[Unit, ...], q: Array) -> tuple[list[Marginal], Array]:
    """Walk the variances of one sample through the units: their marginals in order, and the variance at the end."""
    tape: list[Marginal] = []
    for unit in units:
        if unit.branch:
            inner, branch = marginals(unit.branch, q)
            q = q + branch
            tape += [*inner, Marginal((), q, q)]
            continue
        features: Features = ()
        if unit.linear is not None:
            weight, bias = unit.linear.W_std**2, unit.linear.b_std**2
            if isinstance(unit.linear, Conv):
                rim = convolution.padded(unit.linear, q, zeros=unit.linear.padding == "SAME")
                weight /= len(unit.linear.offsets)
                q = convolution.total(unit.linear, rim)
            q = weight * q + bias
        linear = q
        if unit.nonlinear is not None:
            dual = DUALS[type(unit.nonlinear)]
            features, q = dual.features(q), dual.marginal(unit.nonlinear, q)
        tape.append(Marginal(features, linear, q))
    return tape, q


def covariance(state: State, q1: Array, q2: Array) -> Array:
    """Return E[u v]."""
    if state.K is not None:
        return state.K
    assert state.apart is not None
    D, S, near, far = state.apart
    if near is not None:
        size = q1**0.5 * q2**0.5
        return size - near / 2 if far is None else (far - near) / 4
    return (q1 + q2 - D) / 2 if S is None else (S - D) / 4


def distance_sum(state: State, q1: Array, q2: Array) -> Array:
    """Return S, carried or not."""
    assert state.apart is not None
    return 2 * (q1 + q2) - state.apart.D if state.apart.S is None else state.apart.S


def walk(
    units: tuple[Unit, ...], state: State, variances: Pair, tapes: Iterator[tuple[Marginal, Marginal]], place: Place
) -> tuple[State, Pair]:
    """Walk a pair through the units.

    Parameters
    ----------
    units : tuple of Unit
        Of one segment.
    state : State
        In front of them.
    variances : (Array, Array)
        Of both samples there, the second's at p'.
    tapes : iterator of (Marginal, Marginal)
        Of both samples, the second's at p'.
    place : Place
        Which positions.

    Returns
    -------
    State, (Array, Array)
        Behind them.
    """
    for unit in units:
        if unit.branch:
            branch, inside = walk(unit.branch, state, variances, tapes, place)
            first, second = next(tapes)
            state = _sum(state, variances, branch, inside)
        else:
            first, second = next(tapes)
            state = _advance(unit, state, variances, first, second, place)
        variances = first.variance, second.variance
    return state, variances


def _sum(a: State, at_a: Pair, b: State, at_b: Pair) -> State:
    theta = b.theta if a.theta is None else a.theta if b.theta is None else a.theta + b.theta
    if a.apart is None or b.apart is None:
        return State(None, covariance(a, *at_a) + covariance(b, *at_b), theta)
    D = S = near = far = None
    if a.apart.D is not None and b.apart.D is not None:
        carried = a.apart.S is not None or b.apart.S is not None
        D = a.apart.D + b.apart.D
        S = distance_sum(a, *at_a) + distance_sum(b, *at_b) if carried else None
    if a.apart.near is not None and b.apart.near is not None:
        (a1, a2), (b1, b2) = (tuple(q**0.5 for q in at) for at in (at_a, at_b))
        # What the norms of sums exceed the sums of the norms by, multiplied: Lagrange's identity.
        whole = ((at_a[0] + at_b[0]) ** 0.5) * ((at_a[1] + at_b[1]) ** 0.5) + (a1 * a2 + b1 * b2)
        twist = 2 * (a1 * b2 - a2 * b1) ** 2 * inverse(whole)
        near = a.apart.near + b.apart.near + twist
        if a.apart.far is not None or b.apart.far is not None:
            whole_a, whole_b = (
                4 * s1 * s2 - part.near if part.far is None else part.far
                for part, s1, s2 in ((a.apart, a1, a2), (b.apart, b1, b2))
            )
            far = whole_a + whole_b + twist
    return State(Distances(D, S, near, far), None, theta)


def _advance(unit: Unit, state: State, variances: Pair, first: Marginal, second: Marginal, place: Place) -> State:
    conv = unit.linear if isinstance(unit.linear, Conv) else None
    masks, alone = convolution.Neighbours(), None
    if conv is not None:
        wraps = conv.padding == "CIRCULAR" or place.displacement is not None
        state = _without_angles(state)
        state = place.fence(partial(jax.tree.map, lambda image: convolution.padded(conv, image, not wraps)), state)
        if place.displacement is not None and conv.padding == "SAME" and conv.size > 1:
            shape = first.variance.shape[:2]
            masks = place.fence(lambda d: convolution.neighbours(conv, shape, d, first.variance), place.displacement)
            if state.apart is not None:
                rims = (convolution.padded(conv, q, zeros=False) for q in variances)
                alone = place.fence(lambda *q: convolution.total_alone(conv, masks, *q), *rims)

    def stage(state: State, first: Marginal, second: Marginal, masks: Any, alone: Any) -> State:
        if conv is not None:
            state = jax.tree.map(lambda image: convolution.total(conv, image, masks.both), state)
            if alone is not None:
                state = state._replace(apart=jax.tree.map(lambda part: part + (alone[0] + alone[1]), state.apart))
        if unit.linear is not None:
            fan_in = 1 if conv is None else len(conv.offsets)
            weight, bias = unit.linear.W_std**2 / fan_in, unit.linear.b_std**2
            state = _weighted(state, weight, bias, variances, (first.linear, second.linear))
        if unit.nonlinear is None:
            K = covariance(state, first.variance, second.variance)
            return state._replace(theta=K if state.theta is None else state.theta + K)
        state = _activated(unit, state, first, second)
        return state if place.angles else _without_angles(state)

    return place.fence(stage, state, first, second, masks, alone)


def _without_angles(state: State) -> State:
    # They are not what a filter averages.
    return state if state.apart is None else state._replace(apart=state.apart._replace(near=None, far=None))


def _weighted(state: State, weight: float, bias: float, before: Pair, after: Pair) -> State:
    """Multiply by the weights' variance and add the bias's, of which D sees nothing."""
    apart, K, theta = state
    if apart is not None:
        D, S, near, far = apart
        # What (sqrt q1 - sqrt q2)^2 loses to the bias goes to the angle.
        lost = 0.0 if bias == 0 or near is None else _lost(weight, bias, before, after)
        apart = Distances(
            None if D is None else weight * D,
            None if S is None else weight * S + 4 * bias,
            None if near is None else weight * near + lost,
            None if far is None else weight * far + (lost + 4 * bias),
        )
    return State(apart, None if K is None else weight * K + bias, None if theta is None else weight * theta)


def _lost(weight: float, bias: float, before: Pair, after: Pair) -> Array:
    """Return weight (sqrt q1 - sqrt q2)^2 in front of a layer less (sqrt q1 - sqrt q2)^2 behind it."""
    # A product of two differences, each of what belongs to one sample and is exact there.
    sum1, sum2 = ((weight * q) ** 0.5 + p**0.5 for q, p in zip(before, after, strict=True))
    return (sum1 - sum2) * (bias / sum2 - bias / sum1)


def _activated(unit: Unit, state: State, first: Marginal, second: Marginal) -> State:
    assert state.apart is not None
    assert unit.nonlinear is not None
    image = DUALS[type(unit.nonlinear)].pair(unit.nonlinear, state.apart, first.features, second.features)
    theta = state.theta
    if unit.linear is not None:  # the linear layer's own K, which the nonlinearity forms anyway
        theta = image.entering if theta is None else theta + image.entering
    theta = None if theta is None else theta * image.slope
    return State(None, image.K, theta) if unit.last else State(image.apart, None, theta)
