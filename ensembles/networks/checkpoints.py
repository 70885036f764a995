"""Members in a store: a few at a time, at the steps asked for, under all that they were trained from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from haarflow.kernels import Store
from haarflow.kernels.entry import Key, Shapes
from haarflow.networks.training import State

__all__ = ["FORMAT", "Checkpoints"]

_KIND = "members"
# Raised when the same key would give other members.
FORMAT = 3


@dataclass(frozen=True)
class Checkpoints:
    """Where members are kept.

    Attributes
    ----------
    store : Store
        The store.
    key : dict
        What they are trained from.
    template : State
        One member: which arrays it has.
    """

    store: Store
    key: Key
    template: State

    def get(
        self, members: Sequence[int], step: int, known: dict[tuple[int, ...], set[int]] | None = None
    ) -> list[State] | None:
        """Return members at a step, or None: those kept together, or each from wherever it is.

        Parameters
        ----------
        members : sequence of int
            Which.
        step : int
            The step.
        known : dict, optional
            What `steps` says; default asked for where it is needed.
        """
        together = self._together(members, step)
        if together is not None:
            return together
        places: dict[int, tuple[tuple[int, ...], int]] = {}
        for several, at in (self.steps() if known is None else known).items():
            if step in at:
                places |= {member: (several, i) for i, member in enumerate(several)}
        if not all(member in places for member in members):
            return None
        files = {several: self._together(several, step) for several in {places[member][0] for member in members}}
        found = []
        for several, place in (places[member] for member in members):
            states = files[several]
            if states is None:
                return None
            found.append(states[place])
        return found

    def _together(self, members: Sequence[int], step: int) -> list[State] | None:
        leaves, tree = jax.tree.flatten(_parts(self.template))
        shapes: Shapes = {
            _name(i): ((len(members), *np.shape(leaf)), np.asarray(leaf).dtype.name) for i, leaf in enumerate(leaves)
        }
        arrays = self.store.get(_KIND, self._key(members, step), shapes)
        if arrays is None:
            return None
        stacked = [arrays[_name(i)] for i in range(len(leaves))]
        return [State(*jax.tree.unflatten(tree, [leaf[m] for leaf in stacked])) for m in range(len(members))]

    def put(self, members: Sequence[int], step: int, states: Sequence[State]) -> None:
        """Keep members at a step."""
        each = [jax.tree.leaves(_parts(state)) for state in states]
        arrays = {_name(i): np.stack(same) for i, same in enumerate(zip(*each, strict=True))}
        self.store.put(_KIND, self._key(members, step), arrays)

    def steps(self) -> dict[tuple[int, ...], set[int]]:
        """Return which steps are kept of which members together."""
        found: dict[tuple[int, ...], set[int]] = {}
        for entry in self.store.entries():
            if entry.kind != _KIND or entry.key is None:
                continue
            members, step = entry.key.get("members"), entry.key.get("step")
            if isinstance(members, list) and isinstance(step, int) and entry.key == self._key(members, step):
                found.setdefault(tuple(members), set()).add(step)
        return found

    def refusal(self, step: int) -> str:
        """Say how what is kept differs from what was asked for at a step."""
        nearest: tuple[list[str], Key] | None = None
        for entry in self.store.entries():
            if entry.kind != _KIND or entry.key is None:
                continue
            found = entry.key
            names = {*self.key, *found} - {"members", "step"}
            differing = sorted(name for name in names if found.get(name) != self.key.get(name))
            if nearest is None or len(differing) < len(nearest[0]):
                nearest = differing, found
        if nearest is None:
            return "it holds no members"
        differing, found = nearest
        if not differing:
            known = self.steps()
            there = sorted({member for several, at in known.items() if step in at for member in several})
            steps = sorted({step for at in known.values() for step in at})
            return "of the same ensemble it holds " + (f"members {there} there" if there else f"steps {steps}")
        said = [f"{name} = {_short(found.get(name))}, not {_short(self.key.get(name))}" for name in differing]
        return "its nearest members have " + "; ".join(said)

    def _key(self, members: Sequence[int], step: int) -> Key:
        return {**self.key, "members": [int(m) for m in members], "step": step}


def _parts(state: State) -> tuple[Any, Any, Any]:
    return state.parameters, state.optimizer, np.float64(state.limit)


def _name(i: int) -> str:
    return f"leaf_{i}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
