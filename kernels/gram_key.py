"""Under which key an orbit Gram is kept: what it is computed from, and what a user's kernel and action do."""

import warnings
from typing import Any

import numpy as np

from haarflow.groups import Action
from haarflow.groups.content import content_digest
from haarflow.kernels.analytic import KERNEL_VERSION, AnalyticKernel
from haarflow.kernels.architecture import Layer
from haarflow.kernels.entry import Key, digest_array, stem
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.orbit_tiles import Kernel
from haarflow.kernels.store import Store, StoreWarning

__all__ = ["are_ours", "check_key", "gram_key", "rounded", "values_digest", "warn_of_older"]

_SAMPLES = 3
# Of the largest value: what is smaller is rounding, which differs between machines.
_DECIMALS = {"float64": 8, "float32": 3}
# Sides that tiles have had.
_SIDES = tuple(2**power for power in range(5, 13))


def gram_key(gram: GramProblem, reduction: str) -> Key:
    """Return what an orbit Gram, and all that is made of it, is computed from.

    Parameters
    ----------
    gram : GramProblem
        Kernel, action, samples and irreps.
    reduction : str
        "orbit" or "explicit".

    Returns
    -------
    dict
        Where kernel and action are this library's, what tells them apart is their names and numbers; of others also
        what they do: the user's word alone would serve numbers of a kernel that has been edited since.

    Raises
    ------
    ValueError
        For an action that is not deterministic.

    Notes
    -----
    Cost: two passes over the samples; for a user's kernel 3 x 3 entries, for a user's action `Action.digest_on`.
    """
    values = values_digest(gram.kernel, gram.x)
    return {
        **({"nngp": True} if gram.nngp else {}),
        **({} if values is None else {"values": values}),
        "architecture": gram.kernel.content_key,
        "action": _action_digest(gram),
        "reduction": reduction,
        "irreps": " ".join(irrep.digest for irrep in gram.irreps),
        "samples": len(gram.x),
        "data": digest_array(gram.x),
        "dtype": gram.kernel.dtype,
        "kernel_version": KERNEL_VERSION,
    }


def _action_digest(gram: GramProblem) -> str:
    action = gram.action
    return action.digest_on(gram.x.shape[1:]) if isinstance(action, Action) else action.digest


def values_digest(kernel: Kernel, x: np.ndarray) -> str | None:
    """Return the digest of a few values of a user's kernel; None for kernels of this library, which their key tells.

    Parameters
    ----------
    kernel : Kernel
        What is looked at.
    x : array [n, ...]
        Samples that it can take, of which three are tried.

    Notes
    -----
    Both kernels in units of their largest value, to 8 decimals, in float32 to 3. A kernel that draws is another one at
    each call, and nothing kept is found. Cost: at most 9 entries.
    """
    if type(kernel) is AnalyticKernel and are_ours(kernel.architecture.layers):
        return None
    some = x[np.unique(np.linspace(0, len(x) - 1, _SAMPLES).round().astype(int))]
    # Points between them: where points coincide, some kernels are noise beyond their rounding.
    other = 0.5 * some + 0.3 * np.roll(some, 1, axis=0)
    return content_digest([rounded(np.asarray(values), kernel.dtype) for values in kernel(some, other)])


def rounded(values: np.ndarray, dtype: str) -> list[Any]:
    """Return values in units of the largest, without what is rounding in a dtype: 8 decimals, in float32 3."""
    decimals, array = _DECIMALS.get(dtype, 4), np.asarray(values, float)
    size = float(np.abs(array).max(initial=0.0))
    return [f"{size:.{decimals - 1}e}", np.round(array / size if size > 0 else array, decimals) + 0.0]


def check_key(gram: GramProblem, key: Key) -> None:
    """Refuse a user's kernel or action that does something else here than where a key was made.

    Raises
    ------
    ValueError
        On a worker that has another version of the user's code.
    """
    found = {"values": values_digest(gram.kernel, gram.x), "action": _action_digest(gram)}
    names = {"values": "kernel", "action": "action"}
    other = [names[name] for name, value in found.items() if key.get(name) != value]
    if other:
        raise ValueError(
            f"workers must run the {' and '.join(other)} of this process, and have another one of the same name: start "
            "them again after its file was edited"
        )


def are_ours(layers: tuple[Layer, ...]) -> bool:
    """Whether all layers, those of branches too, are this library's, and so known by what they show."""
    return all(
        type(layer).__module__.startswith("haarflow.") and are_ours(getattr(layer, "branch", ())) for layer in layers
    )


def warn_of_older(
    store: Store, gram: GramProblem, key: Key, spectrum_key: Key | None = None, stacklevel: int = 2
) -> None:
    """Say that a store holds the same of an older kernel version, and nothing of this one.

    Parameters
    ----------
    store : Store
        Where it was looked for.
    gram : GramProblem
        Whose tiles.
    key, spectrum_key : dict
        Of the tiles, and of the eigendecompositions where there are some.
    stacklevel : int
        Of the warning.

    Notes
    -----
    Cost: one listing of the folder.
    """
    keys = [("spectrum", spectrum_key)] if spectrum_key else []
    # Before version 3 keys said nothing of values, and tiles may have had other sides.
    keys += [("gram", {**key, "side": side, "row": 0, "column": 0}) for side in {*_SIDES, gram.side}]
    keys += [(kind, {name: part for name, part in each.items() if name != "values"}) for kind, each in keys]
    stems = {
        stem(kind, {**each, "kernel_version": version}): version
        for kind, each in keys
        for version in range(1, KERNEL_VERSION + 1)
    }
    versions = sorted({stems[start] for start in store.found(stems)})
    if versions and versions[-1] < KERNEL_VERSION:
        warnings.warn(
            f"store {store.path} holds this problem's kernels as version {versions[-1]} had them, whose values are not "
            f"those of version {KERNEL_VERSION}: they are computed again, once; `haarflow store prune --outdated "
            f"{store.path}` removes what is older",
            StoreWarning,
            stacklevel=stacklevel,
        )
