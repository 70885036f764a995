"""What an action does, as numbers: all elements on fixed random samples."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from haarflow.groups.actions import Action

__all__ = ["behaviour"]

# Of the samples' size: what is smaller is rounding, which differs between machines.
_DECIMALS = 9


def behaviour(action: "Action", sample_shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return what all elements make of two fixed random samples, in one number for each, rounded.

    Parameters
    ----------
    action : Action
        What is looked at.
    sample_shape : tuple of int
        Of one sample.

    Returns
    -------
    list of array [|G|, 2], and array [2, 2, |G|] where the action has a fast transform
        Inner products of the transforms with a third sample, to 9 decimals of its norm: by the elements one after the
        other, and as `orbit` lists them; then what `correlate` gives.

    Raises
    ------
    ValueError
        For an action that makes something else of the same samples when it is asked again, or one that does not give
        samples of their own shape.

    Notes
    -----
    Two linear maps that differ agree on a random sample with probability 0. One number for each sample, since each
    may be rounded the other way on another machine, whose last bits are others. Cost: three transforms of two samples
    for each element.
    """
    rng = np.random.default_rng(0)
    # Some actions are made for intensities, which are not negative.
    x = np.stack([rng.standard_normal(sample_shape), rng.random(sample_shape)])
    direction = rng.standard_normal(sample_shape)
    direction /= max(float(np.linalg.norm(direction)), np.finfo(float).tiny)
    numbers = np.stack([_seen(_moved(action, g, x), direction) for g in range(action.group.order)])
    listed = np.stack([_seen(moved, direction) for moved in action.orbit(x.copy())])
    found = [numbers, listed]
    products = action.correlate(x.copy(), x.copy())
    if products is not None:
        found.append(np.asarray(products) / max(1, direction.size))
    return [np.round(part, _DECIMALS) + 0.0 for part in found]  # no -0.0


def _seen(moved: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return (moved * direction).reshape(len(moved), -1).sum(axis=1)


def _moved(action: "Action", g: int, x: np.ndarray) -> np.ndarray:
    moved, again = (np.asarray(action(g, x.copy())) for _ in range(2))
    if not moved.shape == again.shape == x.shape:
        raise ValueError(
            f"action {action.name} must give samples of their own shape, found {moved.shape[1:]} for samples of shape "
            f"{x.shape[1:]} and element {g}"
        )
    size = float(np.abs(moved).max(initial=0.0))
    if not np.allclose(moved, again, rtol=0, atol=1e-9 * size if np.isfinite(size) else 0, equal_nan=True):
        raise ValueError(
            f"action {action.name} must be deterministic, but element {g} makes something else of the same samples "
            "when it is asked again: draw what is random once, from a fixed seed, and keep it in a field"
        )
    return moved
