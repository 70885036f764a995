"""Members in a store: a few at a time, at the steps asked for, under all that they were trained from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def files(self) -> dict[int, list[tuple[int, ...]]]:
        """Which members are kept together at each step, as it was when first asked for."""
        found: dict[int, list[tuple[int, ...]]] = {}
        for entry in self.store.entries():
            if entry.kind != _KIND or entry.key is None:
                continue
            members, step = entry.key.get("members"), entry.key.get("step")
            if isinstance(members, list) and isinstance(step, int) and entry.key == self._key(members, step):
                found.setdefault(step, []).append(tuple(members))
        return found

    def members(self, step: int) -> set[int]:
        """Return which members are kept at a step, together with whichever others."""
        return {member for several in self.files.get(step, ()) for member in several}

    def get(self, members: Sequence[int], step: int) -> list[State] | None:
        """Return members at a step, or None: those kept together, or each from wherever it is."""
        together = self._together(members, step)
        if together is not None or not self.members(step).issuperset(members):
            return together
        found: dict[int, State] = {}
        for several in self.files[step]:
            wanted = {*members}.intersection(several) - {*found}
            if not wanted or several == tuple(members):
                continue
            # Copied, so that the file's other members do not stay in memory.
            for member, state in zip(several, self._together(several, step) or (), strict=False):
                if member in wanted:
                    found[member] = State(*jax.tree.map(np.copy, _parts(state)))
        return [found[member] for member in members] if len(found) == len({*members}) else None

    def latest(self, members: Sequence[int], after: int, before: int) -> tuple[int, list[State]] | None:
        """Return the last step between two at which members are kept, and the members, or None."""
        for step in sorted(self.files, reverse=True):
            if after < step < before and self.members(step).issuperset(members):
                found = self.get(members, step)
                if found is not None:
                    return step, found
        return None

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

    def refusal(self, members: Sequence[int], step: int) -> str:
        """Say how what is kept differs from members that were asked for at a step."""
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
            there = self.members(step)
            if there.issuperset(members):
                return "the files that held them are damaged or cannot be read"
            of_these = f"members {sorted(there)} there" if there else f"steps {sorted(self.files)}"
            return f"of the same ensemble it holds {of_these}"
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
