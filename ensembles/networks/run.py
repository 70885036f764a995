"""One run: members, a chunk at a time, brought from the latest step that is kept to each step asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from haarflow.kernels import Store
from haarflow.kernels.orbit_tiles import Progress
from haarflow.networks.checkpoints import Checkpoints
from haarflow.networks.setup import Setup
from haarflow.networks.stability import DivergenceError, largest_stable_rate
from haarflow.networks.training import State, advance, has_risen
from haarflow.progress import Counter

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """What members are trained from, and where they are kept.

    Attributes
    ----------
    setup : Setup
        All that training needs.
    members : tuple of int
        Which members.
    chunk : int
        How many are trained side by side, and kept in one file.
    store : Store or None
        Keeps them.
    """

    setup: Setup
    members: tuple[int, ...]
    chunk: int
    store: Store | None

    def __call__(
        self, steps: Sequence[int], save_every: int | None, progress: Progress | None, train: bool = True
    ) -> tuple[dict[tuple[int, int], list[State]], list[int]]:
        """Bring all members to some steps.

        Parameters
        ----------
        steps : sequence of int
            Ascending.
        save_every : int or None
            With a store, steps after which members are kept besides.
        progress : callable or None
            progress(label, done, total).
        train : bool
            Whether members that are not kept are trained, or refused.

        Returns
        -------
        dict
            (first member of a chunk, step) to its members without their optimizers; empty with a store.
        list of int
            Members whose loss has risen by the last step (`has_risen`).

        Raises
        ------
        DivergenceError, ValueError
            As `FiniteEnsemble.fit` and `load` have it.
        """
        report = Counter(progress, "training", len(self.members) * steps[-1])
        found: dict[tuple[int, int], list[State]] = {}
        risen: list[int] = []
        for first, members in self.chunks():
            states: list[State] | None = None
            taken = 0
            for target in steps:
                kept = self._kept(members, target, train)
                if kept is None:
                    kept = self._reach(states, members, taken, target, save_every, report)
                else:
                    report((target - taken) * len(members))
                states, taken = kept, target
                if self.store is None:
                    found[first, target] = [replace(state, optimizer=None) for state in states]
            ends = zip(members, states or (), strict=True)
            risen += [member for member, state in ends if has_risen(self.setup.recipe, self.setup.data, state)]
        return found, risen

    def too_high(self, members: list[int], step: int) -> str:
        """Say that the rate may be too large, since the loss of members has risen."""
        several = f"member {members[0]}" if len(members) == 1 else f"{len(members)} members, {members[0]} first,"
        return (
            f"learning_rate {self.setup.recipe.learning_rate:g} may be too large: the loss of {several} is at step "
            f"{step} above the sum of what it and that of outputs 0 were at first; {self._stable(members[0])}"
        )

    @cached_property
    def checkpoints(self) -> Checkpoints | None:
        """Where members are kept, if anywhere."""
        return None if self.store is None else Checkpoints(self.store, self.setup.key, self.setup.template)

    def chunks(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the members that are trained side by side, with the place of the first."""
        for first in range(0, len(self.members), self.chunk):
            yield first, list(self.members[first : first + self.chunk])

    def _kept(self, members: list[int], target: int, train: bool) -> list[State] | None:
        checkpoints = self.checkpoints
        if checkpoints is None:
            return None
        found = checkpoints.get(members, target)
        if found is None and not train:
            raise ValueError(
                f"store {checkpoints.store.path} does not hold members {members} at step {target}: "
                f"{checkpoints.refusal(members, target)}"
            )
        return found

    def _reach(
        self,
        states: list[State] | None,
        members: list[int],
        taken: int,
        target: int,
        save_every: int | None,
        report: Counter,
    ) -> list[State]:
        """Train some members to a step, from the latest step that is kept."""
        checkpoints = self.checkpoints
        latest = None if checkpoints is None else checkpoints.latest(members, taken, target)
        if latest is not None:
            report((latest[0] - taken) * len(members))
            taken, states = latest
        if states is None:
            states = [self.setup.begin(member) for member in members]
        every = save_every if save_every and checkpoints else target
        while True:
            upto = min(target, (taken // every + 1) * every) if every else target
            states = self._advance(states, members, taken, upto, report)
            if checkpoints is not None:
                checkpoints.put(members, upto, states)
            if upto == target:
                return states
            taken = upto

    def _advance(
        self, states: list[State], members: list[int], taken: int, target: int, report: Counter
    ) -> list[State]:
        recipe, data, seed = self.setup.recipe, self.setup.data, self.setup.seed
        states = advance(recipe, data, states, seed, members, taken, target - taken, report)
        for member, state in zip(members, states, strict=True):
            if state.diverged is not None:
                raise DivergenceError(
                    f"learning_rate {recipe.learning_rate:g} diverges: the loss of member {member} is beyond all "
                    f"measure at step {state.diverged}; {self._stable(member)}"
                )
        return states

    def _stable(self, member: int) -> str:
        stable = largest_stable_rate(self.setup.recipe, self.setup.data, self.setup.begin(member).parameters)
        return (
            "at its initial parameters the largest stable one of plain gradient descent, 2 / lambda_max of its NTK in "
            f"this loss's clock, is {stable:.3g}"
        )
