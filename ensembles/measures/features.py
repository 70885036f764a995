"""How equivariant each layer of a network is: feature maps correlated with transformed ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from haarflow.groups import Action
from haarflow.measures.callables import real

__all__ = ["FeatureCorrelation", "feature_correlation"]

# Of the largest magnitude: a spread of so many roundings is none.
_ROUNDINGS = 64


@dataclass(frozen=True, eq=False)
class FeatureCorrelation:
    """How feature maps of transformed samples correlate with transformed feature maps.

    Attributes
    ----------
    correlation : float64 array [L, |G|]
        For each layer and element, the mean over the pairs of sample and channel that have a correlation; NaN
        where none has.
    left_out : int64 array [L, |G|]
        How many pairs have none, since one of the two maps is constant up to rounding.
    pairs : int64 array [L]
        How many pairs there are: n C for maps [n, ..., C], n for layers [n, C].
    """

    correlation: np.ndarray
    left_out: np.ndarray
    pairs: np.ndarray


def feature_correlation(features: Callable[[np.ndarray], Any], action: Action, x: Any) -> FeatureCorrelation:
    """Give the mean Pearson correlation between g F(x) and F(gx), for every layer F and every element g.

    Parameters
    ----------
    features : callable
        Takes a batch [n, ...] and returns a list of layers, or one array: feature maps [n, ..., C] with spatial
        axes that the action transforms, channels last, or layers [n, C] without.
    action : Action
        How the group acts on samples and on feature maps, which may be smaller than the samples.
    x : array [n, ..., d]
        Samples; float32 is handed on as float32.

    Returns
    -------
    FeatureCorrelation
        1 for an equivariant layer, and at the identity for every layer; from -1 up for others.

    Raises
    ------
    ValueError, TypeError
        For something that is no action of a finite group, samples or feature maps that it cannot transform or
        that are not finite reals, and layers whose number or shapes change with g.

    Notes
    -----
    A feature map is correlated over its positions, for each channel, and the mean is over channels and samples
    together. A layer [n, C] has no positions: its channels are correlated with F(x) untransformed, which says how
    invariant it is; so is what Flatten gives. Correlations do not see how a channel is scaled or shifted as a
    whole. An action that interpolates loses corners and blurs, which lowers the correlation of every layer.
    Cost: |G| + 1 calls of `features`, and |G| transforms of all feature maps, of which two sets are held.
    Source: Bruintjes, Motyka & van Gemert 2023 (arXiv 2304.02628).

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import groups
    >>> x = np.zeros((1, 2, 2, 1))
    >>> x[0, 0, 0] = 1.0
    >>> found = feature_correlation(lambda x: [2 * x + 1, x[:, ::-1]], groups.image_rotations(4), x)
    >>> found.correlation.round(3)
    array([[ 1.   ,  1.   ,  1.   ,  1.   ],
           [ 1.   , -0.333,  1.   , -0.333]])
    """
    if not isinstance(action, Action):
        raise TypeError(f"action must be an Action such as groups.image_rotations(4), found {action!r}")
    x = real(x, "x")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"x must be [n, ..., d] with entries on every axis, found shape {x.shape}")
    x = x.astype(np.float32 if x.dtype == np.float32 else np.float64)
    action.check_shape(x.shape[1:])
    base = _layers(features(x.copy()), "features(x)", len(x))
    order = action.group.order
    correlation, left_out = np.empty((len(base), order)), np.empty((len(base), order), np.int64)
    for g in range(order):
        # At the identity too: a callable that draws random numbers shows there.
        call = f"features(action({g}, x))"
        moved = _layers(features(action(g, x)), call, len(x))
        shapes = [part.shape for part in moved], [part.shape for part in base]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{call} must have the shapes of features(x), {shapes[1]}, found {shapes[0]}")
        for i, (found, before) in enumerate(zip(moved, base, strict=True)):
            noise = _ROUNDINGS * np.finfo(before.dtype).eps
            (a, a_varies), (b, b_varies) = _standard(found, noise), _standard(_transformed(action, g, before, i), noise)
            both = a_varies & b_varies
            correlation[i, g] = (a[both] * b[both]).sum(axis=1).mean() if both.any() else np.nan
            left_out[i, g] = (~both).sum()
    pairs = [len(part) * (part.shape[-1] if part.ndim > 2 else 1) for part in base]
    return FeatureCorrelation(correlation, left_out, np.array(pairs, np.int64))


def _layers(found: Any, call: str, n: int) -> list[np.ndarray]:
    parts = found if isinstance(found, (list, tuple)) else [found]
    if not parts:
        raise ValueError(f"{call} must be a list of layers or one array, found an empty list")
    layers = []
    for i, part in enumerate(parts):
        layer = real(part, f"layer {i} of {call}")
        if layer.ndim < 2 or len(layer) != n or layer.size == 0:
            raise ValueError(
                f"layer {i} of {call} must be [n, ..., C] or [n, C] with n = {n} samples, found shape {layer.shape}"
            )
        # A copy: a callable may return the same buffer at every call.
        layers.append(layer.astype(layer.dtype if layer.dtype.kind == "f" else np.float64))
    return layers


def _transformed(action: Action, g: int, layer: np.ndarray, i: int) -> np.ndarray:
    if layer.ndim == 2:
        return layer
    try:
        return action(g, layer)
    except ValueError as error:
        raise ValueError(f"layer {i} of features(x) must be maps that the action transforms: {error}") from error


def _standard(layer: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return maps [pairs, positions] of mean 0 and norm 1, and which of them are not constant."""
    rows = layer if layer.ndim == 2 else np.moveaxis(layer, -1, 1).reshape(len(layer) * layer.shape[-1], -1)
    rows = rows.astype(np.float64)
    # Scaled first: squares of entries below 1e-162 vanish.
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rows -= rows.mean(axis=1, keepdims=True)
    varies = np.abs(rows).max(axis=1) > noise
    return rows / np.where(varies, np.linalg.norm(rows, axis=1), 1)[:, None], varies
