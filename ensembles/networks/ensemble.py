"""FiniteEnsemble: many networks of finite width, trained with augmentation."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from haarflow.groups import Action, Representation, no_action
from haarflow.inputs import as_integer, as_samples, check_room
from haarflow.kernels import Sequential, Store
from haarflow.kernels.orbit_tiles import Progress
from haarflow.networks.evaluation import outputs
from haarflow.networks.penalty import critical_penalty
from haarflow.networks.run import Run
from haarflow.networks.settings import Settings, as_members, as_support
from haarflow.networks.setup import prepare
from haarflow.networks.stability import StabilityWarning, largest_stable_rate
from haarflow.networks.training import State
from haarflow.passing import as_report
from haarflow.progress import progress_bar

__all__ = ["FiniteEnsemble"]


class FiniteEnsemble:
    """An ensemble of networks of finite width, trained together on all, or random, transforms of a training set.

    Parameters
    ----------
    arch : Sequential
        The network, in the parametrisation of its kernel: `DeepEnsemble` with the same arguments is its limit.
    width : int
        Channels of every hidden layer.
    members : int or sequence of int
        How many; or which, such as [17] for that member alone: each depends on the seed and its own number only.
    action : Action, optional
        How the group acts on samples, interpolated actions included; default no augmentation.
    output : Representation, optional
        How it acts on targets; default not at all.
    loss : {"mean", "sum", "cross_entropy"}
        1/(2 N k) sum |f - y|^2 over the N samples of a step, 1/2 sum |f - y|^2, or the mean of -sum y log softmax f.
    learning_rate : float
        Of the optimizer.
    optimizer : str
        A factory of Optax, such as "sgd" or "adam".
    options : dict, optional
        Its other arguments, numbers and booleans, such as {"momentum": 0.9}.
    augmentation : {"orbit", "random"}
        All transforms of each sample, or one random transform of each, drawn anew at every step.
    batch : int, optional
        Samples of a step, of a shuffled walk through the augmented set ("orbit") or the samples ("random"); default
        all of them at every step.
    initial_support : sequence of (dy, dx), optional
        Weights of filters outside these offsets begin at 0.
    penalty : float
        gamma of a penalty (gamma/2) |P A|^2 on the layers' part that is not equivariant.
    dtype : {"float32", "float64"}
        Of parameters and outputs.
    seed : int
        Of the ensemble.
    store : path or kernels.Store, optional
        Folder that keeps members: a run that was killed goes on where it stopped, and ends with the same bits.
    progress : callable, bool, optional
        progress(label, done, total); default a bar on a terminal and none elsewhere.
    chunk : int
        Members that are trained side by side, and kept in one file; fewer than there are cores leave some idle.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found, and what would be right.

    Notes
    -----
    Cost: for each member and step three forward passes over the step's samples.
    Source: Gerken & Kessel 2024; Nordenfors & Flinth 2024, 2025.

    Examples
    --------
    >>> import haarflow as hf
    >>> from haarflow import groups, kernels
    >>> net = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5), kernels.Relu(), kernels.Dense())
    >>> data = hf.datasets.digits(8)
    >>> ensemble = hf.FiniteEnsemble(net, width=32, members=4, action=groups.image_rotations(4), learning_rate=10.0)
    >>> f = ensemble.fit(data.x, data.y, steps=[0, 50]).predict(data.x)
    >>> f.shape, bool(((f[1] - data.y) ** 2).mean() < ((f[0] - data.y) ** 2).mean())
    ((2, 4, 8, 10), True)
    """

    def __init__(
        self,
        arch: Sequential,
        width: int,
        members: int | Sequence[int],
        action: Action | None = None,
        output: Representation | None = None,
        loss: str = "mean",
        learning_rate: float = 1.0,
        optimizer: str = "sgd",
        options: dict[str, Any] | None = None,
        augmentation: str = "orbit",
        batch: int | None = None,
        initial_support: Sequence[tuple[int, int]] | None = None,
        penalty: float = 0.0,
        dtype: str = "float32",
        seed: int = 0,
        store: str | Path | Store | None = None,
        progress: Progress | bool | None = None,
        chunk: int = 16,
    ) -> None:
        self._settings = Settings(
            arch=arch,
            width=width,
            members=as_members(members),
            action=no_action() if action is None else action,
            output=output,
            loss=loss,
            learning_rate=learning_rate,
            optimizer=optimizer,
            options={} if options is None else options,
            augmentation=augmentation,
            batch=batch,
            initial_support=as_support(initial_support),
            penalty=penalty,
            dtype=dtype,
            seed=seed,
        )
        self.members = self._settings.members
        if store is not None and not isinstance(store, (str, Path, Store)):
            raise TypeError(f"store must be a path or a Store, found {store!r}")
        self._store = Store(store) if isinstance(store, (str, Path)) else store
        self._progress, self._chunk = as_report(progress), as_integer(chunk, "chunk", 1)
        self._latest: _Trained | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps at which the last `fit` or `load` kept members, ascending; none before."""
        return () if self._latest is None else self._latest.steps

    def __repr__(self) -> str:
        """Show network, action and members, and what they were trained to."""
        s = self._settings
        layers = " - ".join(type(layer).__name__ for layer in s.arch.layers)
        told = f"{layers}, width {s.width}, {len(self.members)} members, {s.action.name}, {s.optimizer}, {s.dtype}"
        return f"FiniteEnsemble({told}; {f'steps {list(self.steps)}' if self.steps else 'not fitted'})"

    def fit(
        self,
        x: Any,
        y: Any,
        steps: int | Sequence[int],
        initial: Sequence[Any] | None = None,
        save_every: int | None = None,
    ) -> Self:
        """Train all members.

        Parameters
        ----------
        x, y : array [n, ...], [n, k]
            Base samples, before augmentation, and their targets.
        steps : int or sequence of int
            Steps at which members are kept, 0 included if asked for; the largest is the last.
        initial : sequence of parameters, optional
            Where each member begins, as `parameters` gives them; default drawn from the seed.
        save_every : int, optional
            With a store, steps after which members are kept besides, so that a killed run loses less.

        Returns
        -------
        FiniteEnsemble
            Itself.

        Raises
        ------
        TypeError, ValueError
            For samples, targets or steps out of shape or range; members that fit no memory without a store.
        DivergenceError
            Where a member's loss grows beyond all measure, with the largest stable learning rate.

        Warns
        -----
        StabilityWarning
            Where a member's loss at the last step is above the sum of what it and that of outputs 0 were at first.

        Notes
        -----
        Cost: members times steps times three forward passes. Memory: without a store members times the steps asked
        for; with one a chunk of members.
        """
        every = None if save_every is None else as_integer(save_every, "save_every", 1)
        return self._run(x, y, steps, initial, every, train=True)

    def load(self, x: Any, y: Any, steps: int | Sequence[int], initial: Sequence[Any] | None = None) -> Self:
        """Take members from the store, and train none.

        Parameters
        ----------
        x, y, steps, initial
            As in `fit`.

        Returns
        -------
        FiniteEnsemble
            Itself.

        Raises
        ------
        ValueError
            Without a store, or where it does not hold them; says how what it holds differs.

        Notes
        -----
        Cost: reading them, and one pass over the training set for each, for `StabilityWarning`.
        """
        if self._store is None:
            raise ValueError("store must be a folder that holds members, found None")
        return self._run(x, y, steps, initial, None, train=False)

    def predict(self, x_test: Any, steps: int | Sequence[int] | None = None) -> np.ndarray:
        """Return the outputs of every member.

        Parameters
        ----------
        x_test : array [m, ...]
            Test points.
        steps : int or sequence of int, optional
            Some of those asked for in `fit`; default all of them.

        Returns
        -------
        array [T, M, m, k]
            In the ensemble's dtype, T steps.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            For test points of another shape, or steps that were not asked for.
        """
        trained, chosen = self._chosen("predict", steps)
        run = trained.run
        network = run.setup.recipe.network
        x_test = as_samples(x_test, "x_test", network.sample_shape)
        shape = (len(chosen), len(self.members), len(x_test), network.outputs)
        check_room("x_test", shape, "[steps, members, test points, outputs]")
        out = np.empty(shape, self._settings.dtype)
        for i, step in enumerate(chosen):
            row = 0
            for first, members in run.chunks():
                several = [state.parameters for state in trained.states(first, members, step)]
                out[i, row : row + len(members)] = outputs(network, self._settings.dtype, several, x_test)
                row += len(members)
        return out

    def parameters(self, step: int | None = None) -> list[Any]:
        """Return every member's parameters at a step, by default the last.

        Parameters
        ----------
        step : int, optional
            One of those asked for in `fit`.

        Returns
        -------
        list of tuple of dict
            For each member and linear layer `weights`, [in, out] or [offsets, in, out], and `bias` [out].

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            For a step that was not asked for, or members that do not fit the memory.
        """
        trained, (*_, last) = self._chosen("parameters", step)
        run = trained.run
        # Shapes are counted as float64.
        scale = np.dtype(self._settings.dtype).itemsize / 8
        room = (len(self.members), round(scale * run.setup.recipe.network.parameters))
        check_room("members (ask for some by members=)", room, "[members, parameters]")
        # Copied chunk by chunk, so that neither files nor optimizers stay in memory.
        return [
            jax.tree.map(np.copy, state.parameters)
            for first, members in run.chunks()
            for state in trained.states(first, members, last)
        ]

    def largest_stable_rate(self, x: Any, y: Any, parameters: Any = None) -> float:
        """Return the largest learning rate at which plain gradient descent is stable.

        Parameters
        ----------
        x, y : array [n, ...], [n, k]
            Training set.
        parameters : tuple of dict, optional
            Of one member; default the first member's initial ones.

        Raises
        ------
        ValueError
            For parameters of another network.

        Notes
        -----
        2 / lambda_max of the member's own NTK there in the loss's clock, to 1 %; see `networks.largest_stable_rate`.
        Cost: about 30 passes over at most 2,000 samples (loss="sum": all).
        """
        setup = prepare(self._settings, x, y)
        if parameters is None:
            parameters = setup.begin(self.members[0]).parameters
        return largest_stable_rate(setup.recipe, setup.data, parameters)

    def critical_penalty(self, x: Any, y: Any, parameters: Any) -> float:
        """Return the penalty gamma beyond which small deviations from equivariant parameters decay.

        Parameters
        ----------
        x, y : array [n, ...], [n, k]
            Training set.
        parameters : tuple of dict
            Of one member, equivariant, where the loss does not change any more.

        Returns
        -------
        float
            As `networks.critical_penalty` has it.

        Raises
        ------
        ValueError
            For parameters that are not equivariant, or of another network.
        """
        setup = prepare(self._settings, x, y, parts=True)
        return critical_penalty(setup.recipe, setup.data, parameters)

    def _run(
        self, x: Any, y: Any, steps: Any, initial: Sequence[Any] | None, save_every: int | None, train: bool
    ) -> Self:
        asked = sorted({as_integer(step, "steps", 0) for step in np.atleast_1d(steps)})
        if not asked:
            raise ValueError("steps must hold at least one step, found none")
        setup = prepare(self._settings, x, y, initial, together=self._chunk)
        if self._store is not None and train:
            self._store.make_again()
        if self._store is None:
            # As many again to work with; shapes are counted as float64.
            scale = 2 * np.dtype(self._settings.dtype).itemsize / 8
            shape = (len(asked), len(self.members), round(scale * setup.recipe.network.parameters))
            check_room("members, without store= to keep them in,", shape, "[steps, members, parameters]")
        run = Run(setup, self.members, self._chunk, self._store)
        with progress_bar(self._progress) as progress:
            kept, risen = run(asked, save_every, progress, train)
        self._latest = _Trained(tuple(asked), run, kept)  # at once: other threads may be predicting
        if risen:  # last: where warnings are errors, the members are there
            warnings.warn(run.too_high(risen, asked[-1]), StabilityWarning, stacklevel=3)
        return self

    def _chosen(self, name: str, steps: Any) -> tuple["_Trained", list[int]]:
        trained = self._latest
        if trained is None:
            raise RuntimeError(f"call fit(x, y, steps) before {name}")
        if steps is None:
            return trained, list(trained.steps)
        chosen = [as_integer(step, "steps", 0) for step in np.atleast_1d(steps)]
        missing = [step for step in chosen if step not in trained.steps]
        if missing:
            raise ValueError(f"steps must be among those that fit kept, {list(trained.steps)}, found {missing[0]}")
        return trained, chosen


@dataclass(frozen=True)
class _Trained:
    """What one call of `fit` or `load` leaves: its steps, its run, and without a store its members."""

    steps: tuple[int, ...]
    run: Run
    kept: dict[tuple[int, int], list[State]] = field(repr=False)

    def states(self, first: int, members: list[int], step: int) -> list[State]:
        checkpoints = self.run.checkpoints
        if checkpoints is None:
            return self.kept[first, step]
        # Others may have written them anew since they were listed.
        found = checkpoints.get(members, step) or replace(checkpoints).get(members, step)
        if found is None:
            path = checkpoints.store.path
            raise RuntimeError(f"members {members} at step {step} are gone from {path}: call fit again")
        return found
