"""An assertion for users' own test suites: that a function is equivariant."""

from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import numpy as np

from haarflow.groups import Action, HaarAction, Harmonic, HarmonicSum, Representation
from haarflow.groups.given import refuse_masked
from haarflow.measures.arrays import norm, ratio, shrunk

__all__ = ["assert_equivariant"]


def assert_equivariant(
    f: Callable[[np.ndarray], Any],
    action: Action | HaarAction,
    output: Representation | Harmonic | HarmonicSum | None,
    x: Any,
    rtol: float = 1e-5,
    *,
    atol: float = 0.0,
    elements: Iterable[Any] | None = None,
) -> None:
    """Raise an AssertionError unless |f(gx) - rho_Y(g) f(x)| <= atol + rtol |f(x)| for all g and all samples x.

    Parameters
    ----------
    f : callable
        Takes a batch [n, ...] and returns one output for each sample, [n, k], as NumPy or JAX array; of any
        shape [n, ...] where `output` is None. It must not draw random numbers, as dropout does.
    action : Action or HaarAction
        How the group acts on x, from `haarflow.groups`.
    output : Representation, or Harmonic or HarmonicSum of a compact group, or None
        rho_Y, of the action's group; None: f is invariant.
    x : array [n, ...]
        Samples; generic ones, such as N(0, 1), find more than symmetric ones.
    rtol : float
        Tolerance relative to |f(x)| of each sample. |.| is the Euclidean norm over all of a sample's outputs.
    atol : float
        Absolute tolerance, for outputs near 0.
    elements : ints, or array [R, d, d] for a compact group, optional
        Which elements of the group are checked; None: all of them, the identity too; of a compact group the
        identity and 24 random ones, always the same.

    Raises
    ------
    AssertionError
        Naming the worst element and sample, the relative and absolute deviation, the tolerance, how many fail,
        and both outputs.
    ValueError, TypeError, IndexError
        For samples or outputs that are not finite reals, outputs of a shape that does not fit, a representation of
        another group, negative tolerances, or elements that the group does not have.

    Notes
    -----
    Cost: one call of f on n samples for each element, and one more. The relative deviation is that of
    `measures.orbit_error`.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import groups
    >>> from haarflow.testing import assert_equivariant
    >>> turns = groups.image_rotations(4)
    >>> x = np.random.default_rng(0).standard_normal((5, 4, 4, 1))
    >>> assert_equivariant(lambda x: x.max(axis=(1, 2)), turns, None, x)
    >>> assert_equivariant(lambda x: x[:, 0].sum(axis=1), turns, None, x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    AssertionError: f is not invariant under ...
    """
    rtol, atol = _tolerance(rtol, "rtol"), _tolerance(atol, "atol")
    chosen, rho = _elements(action, output, elements)
    x = _samples(x)
    width = None if output is None else output.dim
    base = _evaluate(f, x.copy(), "x", width)
    failed = np.empty((len(chosen), len(x)), bool)
    worst, row, sample = 0.0, 0, 0
    shown, relative, absolute, size = (base[0], base[0]), 0.0, 0.0, 0.0
    for i, g in enumerate(chosen):
        moved = _evaluate(f, action(g, x), f"action({g}, x)", width, base.shape)
        # In a unit of each sample's own, in which neither norms nor differences overflow.
        both, unit = shrunk(np.stack([base, moved]).reshape(2, len(x), -1))
        fx, fgx = both.reshape(2, *base.shape)
        wanted = fx if rho is None else fx @ rho[i].T
        off, sizes = norm((fgx - wanted).reshape(len(x), -1)), norm(both[0])
        allowed = atol * unit + rtol * sizes
        failed[i] = off > allowed
        excess = ratio(off, allowed) * failed[i]
        if excess.max() > worst:
            worst, row, sample = float(excess.max()), i, int(excess.argmax())
            relative = float(ratio(off[sample], sizes[sample]))
            with np.errstate(over="ignore"):
                shown = moved[sample], wanted[sample] / unit[sample]
                absolute, size = float(off[sample] / unit[sample]), float(sizes[sample] / unit[sample])
    if not failed.any():
        return
    finite = isinstance(action, Action)
    names = chosen if finite else list(range(len(chosen)))
    identity = chosen[row] == action.group.identity if isinstance(action, Action) else elements is None and row == 0
    words = ("invariant", "f(x)") if output is None else ("equivariant", "rho_Y(g) f(x)")
    worst_name = f"{'element' if finite else 'rotation'} {names[row]}"
    if identity:
        worst_name += " (the identity: f(x) itself is not reproduced)"
    raise AssertionError(
        f"f is not {words[0]} under {action.name}, {action.group}\n"
        f"Worst: {worst_name}, sample {sample}\n"
        f"|f(gx) - {words[1]}| / |f(x)| = {relative:.3g}, "
        f"absolute {absolute:.3g}, |f(x)| = {size:.3g}; rtol = {rtol:.3g}, atol = {atol:.3g}\n"
        f"Failed: {int(failed.sum())} of {failed.size} pairs of element and sample; "
        f"elements {_listed([names[i] for i in np.flatnonzero(failed.any(axis=1))])}\n"
        f" f(gx): {_brief(shown[0])}\n"
        f" {words[1]}: {_brief(shown[1])}"
    )


def _elements(
    action: Action | HaarAction, output: Representation | Harmonic | HarmonicSum | None, elements: Iterable[Any] | None
) -> tuple[list[Any], np.ndarray | None]:
    """Return the elements to be checked, and rho_Y of each."""
    if not isinstance(action, (Action, HaarAction)):
        raise TypeError(f"action must be an Action, not a group, such as groups.image_rotations(4), found {action!r}")
    kinds = Representation if isinstance(action, Action) else (Harmonic, HarmonicSum)
    if output is not None and not isinstance(output, kinds):
        raise TypeError(
            f"output must be a representation of the action's group {action.group} or None, found {output!r}"
        )
    if isinstance(action, Action):
        chosen: list[Any] = [*range(action.group.order)] if elements is None else [index(g) for g in elements]
    else:
        some = action.group.random(24, seed=0)
        chosen = [np.eye(action.group.dim), *some] if elements is None else [np.asarray(g, float) for g in elements]
    if not chosen:
        raise ValueError("elements must name at least one element, found none")
    if output is None:
        return chosen, None
    if isinstance(output, Representation):
        if output.group != action.group:
            raise ValueError(
                f"output must represent the action's group {action.group}, found a representation of {output.group}"
            )
        return chosen, output.matrices[chosen]
    assert isinstance(action, HaarAction)
    if output.group.name != action.group.name:
        raise ValueError(f"output must represent {action.group.name}, found a representation of {output.group.name}")
    return chosen, output.at(np.stack(chosen))


def _tolerance(value: float, name: str) -> float:
    number = float(value)
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be finite and >= 0, found {value}")
    return number


def _samples(x: Any) -> np.ndarray:
    refuse_masked(x, "x")
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"x must be real numbers, found dtype {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"x must be a batch [n, ...] of at least one sample, found shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"x must be finite, found {int((~np.isfinite(array)).sum())} NaN or inf entries")
    # As actions return it, so that f sees one dtype throughout.
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _evaluate(
    f: Callable[[np.ndarray], Any], x: np.ndarray, name: str, width: int | None, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    refuse_masked(found := f(x), f"f({name})")
    found = np.asarray(found)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"f({name}) must be real numbers, found dtype {found.dtype}")
    if found.ndim == 0 or len(found) != len(x) or found.size == 0:
        raise ValueError(f"f({name}) must be [n, ...] with n = {len(x)} samples, found shape {found.shape}")
    if width is not None and found.shape[1:] != (width,):
        raise ValueError(
            f"f({name}) must be [n, k] = {(len(x), width)}, k the dimension of output, found shape {found.shape}"
        )
    if shape is not None and found.shape != shape:
        raise ValueError(f"f({name}) must have the shape {shape} of f(x), found {found.shape}")
    if not np.isfinite(found).all():
        sample = int(np.argwhere(~np.isfinite(found))[0][0])
        raise ValueError(f"f({name}) must be finite, found NaN or inf at sample {sample}")
    return found.astype(np.float64)


def _brief(values: np.ndarray) -> str:
    return np.array2string(values, precision=8, threshold=20, edgeitems=4).replace("\n", "\n  ")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")
