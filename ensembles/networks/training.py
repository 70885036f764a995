"""One member's steps, compiled into one program, and many members side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from haarflow.kernels.backend import compiled, in_threads, on_cpu, one_thread, precision, to_numpy
from haarflow.networks.batches import Schedule
from haarflow.networks.forward import forward
from haarflow.networks.losses import LOSSES
from haarflow.networks.network import Network
from haarflow.networks.structure import Parts, not_equivariant

__all__ = [
    "Data",
    "Recipe",
    "State",
    "advance",
    "begin",
    "has_risen",
    "losses",
    "share_of_sum",
    "training_loss",
]

# At most so many steps, products in forward passes, and numbers drawn in one call: what is waited for at a time.
_SEGMENT, _PRODUCTS, _DRAWS = 500, 2 * 10**10, 2**20
# A loss that has grown by so much will not come back: at rates that still converge it may grow by the width once
# (Lewkowycz et al. 2020). Cross-entropy grows with outputs, not with their squares.
_GROWTH = {"mean": 1e4, "sum": 1e4, "cross_entropy": 1e3}
# Samples that tell how large a loss is at first.
_FIRST = 256


@dataclass(frozen=True)
class Recipe:
    """How members are trained.

    Attributes
    ----------
    network : Network
        What is trained.
    loss : str
        One of LOSSES.
    optimizer : str
        A factory of Optax, such as "sgd" or "adam".
    learning_rate : float
        Its first argument.
    options : tuple of (name, value)
        Its others.
    penalty : float
        gamma, on the part of the parameters that is not equivariant.
    dtype : str
        Of parameters and data.
    """

    network: Network
    loss: str
    optimizer: str
    learning_rate: float
    options: tuple[tuple[str, Any], ...] = ()
    penalty: float = 0.0
    dtype: str = "float32"

    @property
    def growth(self) -> float:
        """Growth of the loss beyond which training has diverged."""
        return _GROWTH[self.loss]

    def transformation(self) -> Any:
        """Return Optax's transformation of gradients."""
        import optax  # here, since it takes half a second

        return getattr(optax, self.optimizer)(self.learning_rate, **dict(self.options))


@dataclass(frozen=True)
class Data:
    """What members are trained on.

    Attributes
    ----------
    x, y : array [|G|, n, ...], [|G|, n, k]
        The orbit of every sample, with its targets, in the dtype of training.
    schedule : Schedule
        Which of it a step sees.
    parts : Parts
        What is not equivariant in each linear layer, for the penalty; empty without.
    """

    x: np.ndarray
    y: np.ndarray
    schedule: Schedule
    parts: Parts = ()

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what the program is given: the augmented set in one row, or, where steps draw, orbits."""
        if not self.schedule.whole:
            return self.x, self.y
        return self.x.reshape(-1, *self.x.shape[2:]), self.y.reshape(-1, self.y.shape[-1])


@dataclass(frozen=True)
class State:
    """A member at some step.

    Attributes
    ----------
    parameters, optimizer : tree of arrays
        Its parameters, and Optax's state.
    limit : float
        A loss above which it has diverged.
    diverged : int or None
        The step behind which its loss was no longer finite, or had grown beyond all measure.
    """

    parameters: Any
    optimizer: Any
    limit: float
    diverged: int | None = None


def begin(recipe: Recipe, data: Data | None, parameters: Any) -> State:
    """Return a member before its first step; without data, for the shapes of its arrays alone."""
    with precision(recipe.dtype):
        memory = jax.tree.map(to_numpy, recipe.transformation().init(parameters))
    if data is None:
        return State(parameters, memory, np.inf)
    # That of outputs 0 besides, since outputs may happen to begin at their targets.
    return State(parameters, memory, recipe.growth * sum(losses(recipe, data, parameters)))


def has_risen(recipe: Recipe, data: Data, state: State) -> bool:
    """Whether a member's loss is above the sum of what it and that of outputs 0 were at first."""
    return losses(recipe, data, state.parameters)[0] > state.limit / recipe.growth


def losses(recipe: Recipe, data: Data, parameters: Any) -> tuple[float, float]:
    """Return the loss of a member and that of outputs 0, mean over batches from all over the augmented set."""
    x, y = (part.reshape(-1, *part.shape[2:]) for part in (data.x, data.y))
    # As many samples at a time as a step has; the set may be sorted.
    size = data.schedule.size
    slices = max(1, min(len(x) // size, _FIRST // size))
    shape = (slices, size)
    if slices * size == len(x):
        x, y = (part.reshape(size, slices, *part.shape[1:]).swapaxes(0, 1) for part in (x, y))
    else:
        chosen = np.linspace(0, len(x) - 1, slices * size).round().astype(int).reshape(shape[::-1]).T
        x, y = x[chosen], y[chosen]
    with precision(recipe.dtype):
        parts = jax.tree.map(jnp.asarray, data.parts)
        own, of_zero = _losses(recipe, parts, parameters, jnp.asarray(x), jnp.asarray(y))
        return float(own), float(of_zero)


def share_of_sum(recipe: Recipe, data: Data) -> float:
    """Return which share of the loss of the whole augmented set a step sees on average: all of it, if not a sum."""
    return data.schedule.size / (data.x.shape[0] * data.x.shape[1]) if recipe.loss == "sum" else 1.0


def _mean_losses(recipe: Recipe, parts: Parts, parameters: Any, x: Any, y: Any) -> Any:
    def both(batch: Any) -> Any:
        x, y = batch
        return training_loss(recipe, parts, parameters, x, y), LOSSES[recipe.loss](jnp.zeros_like(y), y)

    return jax.tree.map(jnp.mean, lax.map(both, (x, y)))


_losses = compiled(_mean_losses)


def training_loss(recipe: Recipe, parts: Parts, parameters: Any, x: Any, y: Any) -> Any:
    """Return the loss of a batch, with the penalty (gamma/2) |P A|^2 where there is one."""
    value = LOSSES[recipe.loss](forward(recipe.network, parameters, x), y)
    if recipe.penalty > 0:
        squares = jax.tree.map(lambda part: jnp.sum(part**2), not_equivariant(parts, parameters))
        value = value + recipe.penalty / 2 * sum(jax.tree.leaves(squares))
    return value


def advance(
    recipe: Recipe,
    data: Data,
    states: Sequence[State],
    seed: int,
    members: Sequence[int],
    start: int,
    steps: int,
    report: Callable[[int], None] = lambda several: None,
) -> list[State]:
    """Train members for some steps more.

    Parameters
    ----------
    recipe, data
        How, and on what.
    states : sequence of State
        The members as they are.
    seed : int
        Of the ensemble.
    members : sequence of int
        Which they are, for their draws.
    start, steps : int
        Steps taken, and to be taken.
    report : callable, optional
        Told how many member-steps were taken, from any thread.

    Notes
    -----
    On a CPU each member is one loop on one thread, as many at a time as there are cores: the same program for any
    number of members, so that a member alone has the same bits. Elsewhere members are stacked. Where one has diverged
    the others stop after the calls they are in.
    """
    x, y = data.seen()
    with precision(recipe.dtype):
        arrays = (jnp.asarray(x), jnp.asarray(y), jax.tree.map(jnp.asarray, data.parts))
    if not on_cpu():
        return _stacked(recipe, data.schedule, arrays, states, seed, members, start, steps, report)

    stop = Event()

    def work(job: tuple[int, State]) -> State:
        member, state = job
        parameters, memory = state.parameters, state.optimizer
        for first, several in _segments(recipe, data.schedule, start, steps):
            if stop.is_set():
                break
            picks = _picks(data.schedule, seed, [member], first, several, _segment(recipe, data.schedule))
            with one_thread(), precision(recipe.dtype):
                found = _program(
                    recipe, (parameters, memory), arrays, None if picks is None else picks[0], several, state.limit
                )
                taken, parameters, memory, loss = jax.tree.map(to_numpy, found)
            if taken < several or not loss <= state.limit < np.inf:
                stop.set()
                return State(parameters, memory, state.limit, first + int(taken))
            report(several)
        return State(parameters, memory, state.limit)

    return list(in_threads(work, zip(members, states, strict=True), stop))


def _stacked(
    recipe: Recipe,
    schedule: Schedule,
    arrays: Any,
    states: Sequence[State],
    seed: int,
    members: Sequence[int],
    start: int,
    steps: int,
    report: Callable[[int], None],
) -> list[State]:
    """All members in one program, as a GPU has it best."""
    stacked = jax.tree.map(lambda *each: np.stack(each), *[(s.parameters, s.optimizer) for s in states])
    limits = np.array([state.limit for state in states])
    diverged: list[int | None] = [None] * len(states)
    for first, several in _segments(recipe, schedule, start, steps):
        picks = _picks(schedule, seed, members, first, several, _segment(recipe, schedule))
        with precision(recipe.dtype):
            found = _many(recipe, stacked, arrays, picks, several, limits.astype(recipe.dtype))
            taken, *stacked, last = jax.tree.map(to_numpy, found)
        for i in np.flatnonzero((taken < several) | ~(last <= limits) | ~np.isfinite(limits)):
            diverged[i] = first + int(taken[i])
        if any(step is not None for step in diverged):
            break
        report(several * len(states))
        stacked = tuple(stacked)
    states_of = [jax.tree.map(lambda each, i=i: each[i], tuple(stacked)) for i in range(len(states))]
    return [
        State(p, memory, state.limit, step)
        for (p, memory), state, step in zip(states_of, states, diverged, strict=True)
    ]


def _segment(recipe: Recipe, schedule: Schedule) -> int:
    """Return how many steps make a call of a few seconds, and draws of a few megabytes."""
    products = sum(prod(place.shape) * max(1, prod(place.spatial)) for place in recipe.network.places)
    return max(1, min(_SEGMENT, _PRODUCTS // (schedule.size * products), _DRAWS // schedule.size))


def _segments(recipe: Recipe, schedule: Schedule, start: int, steps: int) -> list[tuple[int, int]]:
    most = _segment(recipe, schedule)
    return [(first, min(most, start + steps - first)) for first in range(start, start + steps, most)]


def _picks(
    schedule: Schedule, seed: int, members: Sequence[int], first: int, steps: int, most: int
) -> np.ndarray | None:
    if schedule.whole:
        return None
    drawn = np.zeros((len(members), most, 2, schedule.size), np.int32)  # of one length, for one program
    for row, member in zip(drawn, members, strict=True):
        row[:steps] = schedule.picks(seed, member, first, steps)
    return drawn


def _steps(recipe: Recipe, state: Any, arrays: Any, picks: Any, steps: Any, limit: Any) -> Any:
    x, y, parts = arrays
    optimizer = recipe.transformation()

    def loss(parameters: Any, i: Any) -> Any:
        batch = (x, y) if picks is None else (x[picks[i, 0], picks[i, 1]], y[picks[i, 0], picks[i, 1]])
        return training_loss(recipe, parts, parameters, *batch)

    def one(carry: Any) -> Any:
        i, parameters, memory, _ = carry
        value, gradient = jax.value_and_grad(loss)(parameters, i)
        updates, memory = optimizer.update(gradient, memory, parameters)
        return i + 1, jax.tree.map(jnp.add, parameters, updates), memory, value

    def going(carry: Any) -> Any:
        i, _, _, value = carry
        return (i < steps) & (value <= limit)

    i, parameters, memory, _ = lax.while_loop(going, one, (0, *state, jnp.zeros((), x.dtype)))
    # Behind the last step too, so that which steps are kept makes no difference.
    return i, parameters, memory, loss(parameters, i - 1)


_program = compiled(_steps)


def _vmapped(recipe: Recipe, state: Any, arrays: Any, picks: Any, steps: Any, limits: Any) -> Any:
    one = lambda state, picks, limit: _steps(recipe, state, arrays, picks, steps, limit)  # noqa: E731
    return jax.vmap(one, in_axes=(0, None if picks is None else 0, 0))(state, picks, limits)


_many = compiled(_vmapped)
