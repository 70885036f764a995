"""From what a user hands over to what members are trained with, and the key under which they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import jax
import numpy as np

from haarflow.groups import Representation
from haarflow.inputs import as_labels, as_samples, check_room
from haarflow.kernels import Conv, digest_array
from haarflow.kernels.backend import cores, on_cpu
from haarflow.kernels.channels import warn_of_channels
from haarflow.kernels.entry import Key
from haarflow.networks.batches import Schedule
from haarflow.networks.checkpoints import FORMAT
from haarflow.networks.identity import own_parts
from haarflow.networks.losses import check_targets
from haarflow.networks.network import Network, Offsets, check_parameters, initial_parameters
from haarflow.networks.settings import Settings
from haarflow.networks.structure import layer_spaces
from haarflow.networks.training import Data, Recipe, State, begin

__all__ = ["Setup", "prepare"]


@dataclass(frozen=True)
class Setup:
    """All that training needs.

    Attributes
    ----------
    recipe, data
        How, and on what.
    seed, support
        Of the initial parameters.
    initial : dict of int to parameters, or None
        Where members begin, in place of drawn ones.
    key : dict
        Under which members are kept.
    """

    recipe: Recipe
    data: Data
    seed: int
    support: Offsets | None
    initial: dict[int, Any] | None = field(repr=False)
    key: Key

    def begin(self, member: int) -> State:
        """Return a member before its first step."""
        if self.initial is not None:
            return begin(self.recipe, self.data, self.initial[member])
        drawn = initial_parameters(self.recipe.network, self.seed, member, self.recipe.dtype, self.support)
        return begin(self.recipe, self.data, drawn)

    @cached_property
    def template(self) -> State:
        """A member, for the shapes of its arrays."""
        return begin(self.recipe, None, initial_parameters(self.recipe.network, 0, 0, self.recipe.dtype))


def prepare(
    settings: Settings,
    x: Any,
    y: Any,
    initial: Sequence[Any] | None = None,
    parts: bool = False,
    together: int = 1,
) -> Setup:
    """Check the training set and list its orbits.

    Parameters
    ----------
    settings : Settings
        Of the ensemble.
    x, y : array [n, ...], [n, k]
        Training set.
    initial : sequence of parameters, optional
        Where members begin.
    parts : bool
        Work out what is not equivariant, without a penalty too.
    together : int
        Members of a chunk, of which as many as there are cores (all, but for CPUs) are trained at a time.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    action, output, dtype = settings.action, settings.output, settings.dtype
    x = as_samples(x)
    y = as_labels(y, len(x), None if output is None else output.dim, dtype)
    settings.arch.check(x.shape[1:])
    action.check_shape(x.shape[1:])
    if action.group.order == 1:
        warn_of_channels(settings.arch.layers, x.shape[1:])
    order = action.group.order
    most = len(x) * (order if settings.augmentation == "orbit" else 1)
    if settings.batch is not None and settings.batch > most:
        raise ValueError(f"batch must be at most the {most} samples of an epoch, found {settings.batch}")
    network = Network(settings.arch, settings.width, x.shape[1:], y.shape[1])
    recipe = Recipe(
        network,
        settings.loss,
        settings.optimizer,
        settings.learning_rate,
        tuple(sorted(settings.options.items())),
        settings.penalty,
        dtype,
    )
    targets = _targets(y, output, order)
    check_targets(settings.loss, targets.reshape(-1, y.shape[1]))
    _check_support(network, settings.initial_support)
    spaces = layer_spaces(network, action, output) if parts or settings.penalty > 0 else ()
    schedule = Schedule(settings.augmentation, len(x), order, settings.batch)
    # A step's features, seen and given by each layer, forward and back, of the members at work; as float64.
    numbers = sum(max(1, prod(p.spatial)) * (p.fan_in + p.outputs) for p in network.places)
    scale = 2 * np.dtype(dtype).itemsize / 8
    busy = min(together, len(settings.members), cores() if on_cpu() else together)
    room = (busy, schedule.size, round(scale * numbers))
    check_room("samples of a step (pass batch=), or members at a time (chunk=),", room, "[members, samples, features]")
    check_room("x", (order, len(x), round(scale * prod(x.shape[1:]))), "[|G|, samples, numbers of each]")
    orbits = np.empty((order, *x.shape), dtype)
    for g, turned in enumerate(orbits):
        turned[:] = action(g, x)
    data = Data(orbits, targets.astype(dtype), schedule, tuple(space.part for space in spaces))
    begins = None if initial is None else _initial(network, settings.members, initial, dtype)
    key: Key = {
        "format": FORMAT,
        "network": settings.arch.key,
        "sample_shape": list(x.shape[1:]),
        "outputs": y.shape[1],
        "group": str(action.group),
        "action": action.digest_on(x.shape[1:]),
        "output": "invariant" if output is None else digest_array(output.matrices),
        "x": digest_array(x),
        "y": digest_array(y),
        "platform": jax.default_backend(),
        "initial": "drawn" if begins is None else _digest(begins),
        **settings.plain(),
        **own_parts(recipe, x, y),
    }
    return Setup(recipe, data, settings.seed, settings.initial_support, begins, key)


def _check_support(network: Network, support: Offsets | None) -> None:
    for place in network.places:
        if support is not None and isinstance(place.layer, Conv) and not {*support} & {*place.layer.offsets}:
            raise ValueError(
                f"initial_support must hold offsets of every filter, or its weights begin at 0, found {support} for "
                f"{place.layer}"
            )


def _targets(y: np.ndarray, output: Representation | None, order: int) -> np.ndarray:
    if output is None:
        return np.broadcast_to(y, (order, *y.shape))
    return output.transform(y)


def _initial(network: Network, members: Sequence[int], initial: Sequence[Any], dtype: str) -> dict[int, Any]:
    if len(initial) != len(members):
        raise ValueError(f"initial must hold parameters of each of the {len(members)} members, found {len(initial)}")
    for i, parameters in enumerate(initial):
        check_parameters(network, parameters, f"initial[{i}]")
    cast = [jax.tree.map(lambda a: np.array(a, dtype), each) for each in initial]
    return dict(zip(members, cast, strict=True))


def _digest(begins: dict[int, Any]) -> str:
    """Of all starts and whose they are: the same two may be those of other members."""
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(begins)]  # in the order of the members' numbers
    return f"{digest_array(np.array(sorted(begins)))} {digest_array(np.concatenate(leaves))}"
