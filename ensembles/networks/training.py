"""One member's steps, compiled into one program, and many members side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

__all__ = ["Data", "Recipe", "State", "advance", "begin", "training_loss"]

# Steps whose draws are handed to the program at once.
_SEGMENT = 500
# A loss that has grown by so much will not come back: at rates that still converge it may grow by the width once
# (Lewkowycz et al. 2020).
_GROWTH = 1e4


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
    diverged : int or None
        The step behind which its loss was no longer finite, or had grown beyond all measure.
    """

    parameters: Any
    optimizer: Any
    diverged: int | None = None


def begin(recipe: Recipe, parameters: Any) -> State:
    """Return a member before its first step."""
    with precision(recipe.dtype):
        return State(parameters, jax.tree.map(to_numpy, recipe.transformation().init(parameters)))


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
    number of members, so that a member alone has the same bits. Elsewhere members are stacked.
    """
    x, y = data.seen()
    with precision(recipe.dtype):
        arrays = (jnp.asarray(x), jnp.asarray(y), jax.tree.map(jnp.asarray, data.parts))
    if not on_cpu():
        return _stacked(recipe, data.schedule, arrays, states, seed, members, start, steps, report)

    def work(job: tuple[int, State]) -> State:
        member, state = job
        parameters, memory = state.parameters, state.optimizer
        for first, several in _segments(start, steps):
            picks = _picks(data.schedule, seed, [member], first, several)
            with one_thread(), precision(recipe.dtype):
                found = _program(recipe, (parameters, memory), arrays, None if picks is None else picks[0], several)
                taken, parameters, memory, loss = jax.tree.map(to_numpy, found)
            if taken < several or not np.isfinite(loss):
                return State(parameters, memory, first + int(taken))
            report(several)
        return State(parameters, memory)

    return list(in_threads(work, zip(members, states, strict=True)))


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
    diverged: list[int | None] = [None] * len(states)
    for first, several in _segments(start, steps):
        picks = _picks(schedule, seed, members, first, several)
        with precision(recipe.dtype):
            found = _many(recipe, stacked, arrays, picks, several)
            taken, *stacked, loss = jax.tree.map(to_numpy, found)
        for i in np.flatnonzero((taken < several) | ~np.isfinite(loss)):
            diverged[i] = first + int(taken[i])
        if any(step is not None for step in diverged):
            break
        report(several * len(states))
        stacked = tuple(stacked)
    states_of = [jax.tree.map(lambda each, i=i: each[i], tuple(stacked)) for i in range(len(states))]
    return [State(p, memory, step) for (p, memory), step in zip(states_of, diverged, strict=True)]


def _segments(start: int, steps: int) -> list[tuple[int, int]]:
    return [(first, min(_SEGMENT, start + steps - first)) for first in range(start, start + steps, _SEGMENT)]


def _picks(schedule: Schedule, seed: int, members: Sequence[int], first: int, steps: int) -> np.ndarray | None:
    if schedule.whole:
        return None
    drawn = np.zeros((len(members), _SEGMENT, 2, schedule.size), np.int32)
    for row, member in zip(drawn, members, strict=True):
        row[:steps] = schedule.picks(seed, member, first, steps)
    return drawn


def _steps(recipe: Recipe, state: Any, arrays: Any, picks: Any, steps: Any) -> Any:
    x, y, parts = arrays
    optimizer = recipe.transformation()
    ones = jnp.ones((len(y) if picks is None else picks.shape[-1], y.shape[-1]), y.dtype)
    unit = LOSSES[recipe.loss](ones, 0 * ones)

    def one(carry: Any) -> Any:
        i, parameters, memory, first, _ = carry
        batch = (x, y) if picks is None else (x[picks[i, 0], picks[i, 1]], y[picks[i, 0], picks[i, 1]])
        loss = lambda parameters: training_loss(recipe, parts, parameters, *batch)  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(parameters)
        updates, memory = optimizer.update(gradient, memory, parameters)
        parameters = jax.tree.map(jnp.add, parameters, updates)
        return i + 1, parameters, memory, jnp.where(i == 0, value, first), value

    def going(carry: Any) -> Any:
        i, _, _, first, value = carry
        return (i < steps) & (value <= _GROWTH * (first + unit))

    zero = jnp.zeros((), x.dtype)
    i, parameters, memory, _, value = lax.while_loop(going, one, (0, *state, zero, zero))
    return i, parameters, memory, value


_program = compiled(_steps)


def _vmapped(recipe: Recipe, state: Any, arrays: Any, picks: Any, steps: Any) -> Any:
    one = lambda state, picks: _steps(recipe, state, arrays, picks, steps)  # noqa: E731
    return jax.vmap(one, in_axes=(0, None if picks is None else 0))(state, picks)


_many = compiled(_vmapped)
