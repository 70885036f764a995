"""What an ensemble of finite networks is told, checked at the door."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import jax
import numpy as np

from haarflow.groups import Action, Representation
from haarflow.inputs import as_integer, as_number, as_output
from haarflow.kernels import Sequential
from haarflow.kernels.backend import check_dtype
from haarflow.kernels.entry import Key
from haarflow.networks.batches import AUGMENTATIONS
from haarflow.networks.losses import LOSSES
from haarflow.networks.network import Offsets

__all__ = ["Settings", "as_members", "as_support"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `FiniteEnsemble` that decide what its members become.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found, and what would be right.
    """

    arch: Sequential
    width: int
    members: tuple[int, ...]
    action: Action
    output: Representation | None
    loss: str
    learning_rate: float
    optimizer: str
    options: dict[str, Any]
    augmentation: str
    batch: int | None
    initial_support: Offsets | None
    penalty: float
    dtype: str
    seed: int

    def __post_init__(self) -> None:
        if not isinstance(self.arch, Sequential):
            raise TypeError(f"arch must be kernels.Sequential(...), found {self.arch!r}")
        if not isinstance(self.action, Action):
            raise TypeError(f"action must be an Action such as groups.image_rotations(4), found {self.action!r}")
        for name, allowed in (("loss", tuple(LOSSES)), ("augmentation", AUGMENTATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, found {getattr(self, name)!r}")
        checked = {
            "width": as_integer(self.width, "width", 1),
            "output": as_output(self.action, self.output),
            "learning_rate": as_number(self.learning_rate, "learning_rate", positive=True),
            "batch": None if self.batch is None else as_integer(self.batch, "batch", 1),
            "penalty": as_number(self.penalty, "penalty"),
            "dtype": check_dtype(self.dtype).name,
            "seed": as_integer(self.seed, "seed", 0),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        # Each number of a stream's key has 32 bits.
        for name, number in (("seed", self.seed), ("members", max(self.members))):
            if number >= 2**32:
                raise ValueError(f"{name} must be below 2^32, found {number}")
        object.__setattr__(self, "options", _as_options(self.options))
        _check_optimizer(self.optimizer, self.options, self.learning_rate)

    def plain(self) -> Key:
        """Return those that are numbers and names, for a store's key."""
        names = ("width", "loss", "learning_rate", "optimizer", "options", "augmentation", "batch", "penalty")
        support = self.initial_support
        return {
            **{name: getattr(self, name) for name in (*names, "dtype", "seed")},
            "initial_support": None if support is None else [list(offset) for offset in support],
        }


def as_members(members: Any) -> tuple[int, ...]:
    """Return which members are asked for: all below a number, or the numbers given."""
    if np.ndim(members) == 0:
        return tuple(range(as_integer(members, "members", 1)))
    chosen = tuple(as_integer(member, "members", 0) for member in members)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"members must be a number, or numbers of which none repeats, found {members!r}")
    return chosen


def as_support(support: Sequence[tuple[int, int]] | None) -> Offsets | None:
    """Return offsets sorted, so that equal supports are equal."""
    if support is None:
        return None
    try:
        return tuple(sorted((index(dy), index(dx)) for dy, dx in support))
    except (TypeError, ValueError) as error:
        raise TypeError(f"initial_support must be pairs of integers (dy, dx), found {support!r}") from error


def _as_options(options: Any) -> dict[str, Any]:
    if not isinstance(options, dict):
        raise TypeError(f'options must be a dict such as {{"momentum": 0.9}}, found {options!r}')
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
    wrong = {name: value for name, value in plain.items() if not isinstance(value, (bool, int, float))}
    if wrong:
        raise TypeError(f"options must be numbers or booleans, found {wrong}")
    return plain


def _check_optimizer(name: Any, options: dict[str, Any], rate: float) -> None:
    import optax  # here, since it takes half a second

    factory = getattr(optax, name, None) if isinstance(name, str) and name.isidentifier() else None
    try:
        made = None if factory is None else factory(rate, **options)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"optimizer must take a rate and the options {options}: optax.{name}: {error}") from error
    if not isinstance(made, optax.GradientTransformation) or not _descends(made):
        raise ValueError(
            f'optimizer must be the name of an optimizer of Optax such as "sgd" or "adam", which steps against the '
            f"gradient and asks for nothing else, found {name!r}"
        )


def _descends(optimizer: Any) -> bool:
    """Whether a first step on one number goes down, with a memory that is made of plain numbers."""
    p, gradient = (np.ones(1, np.float32),) * 2
    try:
        memory = optimizer.init(p)
        plain = all(np.asarray(leaf).dtype.kind in "iufb" for leaf in jax.tree.leaves(memory))
        updates, _ = optimizer.update(gradient, memory, p)
    except Exception:  # whatever it misses: a loss, a key
        return False
    return plain and bool(np.asarray(updates)[0] < 0)
