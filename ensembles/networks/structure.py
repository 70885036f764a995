"""Spaces of linear layers under a group: are they mapped to themselves, and which part of a layer is not equivariant.

The group acts on the sample, on the positions of every feature map (channels stay), and on the outputs. A layer A is
averaged to mean_g rho_out(g) A rho_in(g)^-1. Where this projection commutes with that onto the space of layers,
ensembles are equivariant at any width (Nordenfors & Flinth 2024).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from haarflow.groups import Action, Representation
from haarflow.kernels import Conv
from haarflow.networks.network import LinearPlace, Network

__all__ = ["LayerSpace", "Parts", "layer_spaces", "not_equivariant"]

# For each linear layer: matrices that single out what is not equivariant, of "inputs" (the first axis of the weights,
# or the positions it is made of), "outputs", "both" (positions and outputs) or "bias"; none where all is equivariant.
Parts = tuple[dict[str, Any], ...]

# Squared cosines of principal angles: 1 for layers that are in both spaces.
_IN_BOTH = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class LayerSpace:
    """The space of one linear layer, held against the equivariant maps.

    Attributes
    ----------
    place : LinearPlace
        The layer.
    commutator : float
        Norm of the commutator of the projections onto the layer's space and onto the equivariant maps, 0 .. 1/2.
    part : dict
        What is not equivariant in the layer, as in `Parts`.
    """

    place: LinearPlace
    commutator: float
    part: dict[str, np.ndarray]


def layer_spaces(network: Network, action: Action, output: Representation | None = None) -> tuple[LayerSpace, ...]:
    """Hold every linear layer's space against the equivariant maps.

    Parameters
    ----------
    network : Network
        The layers, with the filters' supports.
    action : Action
        How the group acts on samples, exactly; on the positions of feature maps it acts as on images.
    output : Representation, optional
        How it acts on outputs.

    Returns
    -------
    tuple of LayerSpace
        One for each linear layer, in order.

    Raises
    ------
    ValueError
        For an action that interpolates, or that does not act on the positions of feature maps.

    Notes
    -----
    For projections P, Q the commutator's norm is the largest sin(a) cos(a) over their principal angles a; the squared
    cosines are eigenvalues of the group average in an orthonormal basis of the layer's space, one for each offset.
    Cost: |G| (S^2 P + P^2) for a filter of S offsets on P positions, |G| d^2 for a Dense layer on d inputs.
    Source: Nordenfors & Flinth 2024 (arXiv 2410.01452).
    """
    if not action.exact:
        raise ValueError(f"action must be exact, found {action}: what interpolates is no group of orthogonal maps")
    last = len(network.places) - 1
    spaces = []
    for i, place in enumerate(network.places):
        if isinstance(place.layer, Conv):
            if i == 0:
                _check_channels(action, network.sample_shape)
            spaces.append(_filter_space(place, action))
            continue
        if i == 0:
            inputs = _matrices(action, network.sample_shape)
        elif place.flattened:
            inputs = _matrices(action, (*place.spatial, 1))
        else:
            inputs = np.ones((action.group.order, 1, 1))
        spaces.append(LayerSpace(place, 0.0, _dense_part(inputs, output if i == last else None)))
    return tuple(spaces)


def not_equivariant(parts: Parts, parameters: Any) -> Any:
    """Return the part of the parameters that is not equivariant, the same tree; NumPy or JAX arrays.

    Parameters
    ----------
    parts : Parts
        One for each linear layer.
    parameters : tuple of dict
        Of one member.
    """
    out = []
    for part, layer in zip(parts, parameters, strict=True):
        weights = layer["weights"]
        if "inputs" in part:
            m = part["inputs"]
            found = {"weights": (m @ weights.reshape(len(m), -1)).reshape(weights.shape)}
        elif "both" in part:
            m, k = part["both"], weights.shape[-1]
            positions = weights.reshape(len(m) // k, -1, k)  # behind Flatten each has several channels
            moved = (m @ positions.transpose(0, 2, 1).reshape(len(m), -1)).reshape(len(m) // k, k, -1)
            found = {"weights": moved.transpose(0, 2, 1).reshape(weights.shape)}
        elif "outputs" in part:
            found = {"weights": weights @ part["outputs"]}
        else:
            found = {"weights": 0 * weights}
        if "bias" in layer:
            found["bias"] = layer["bias"] @ part["bias"] if "bias" in part else 0 * layer["bias"]
        out.append(found)
    return tuple(out)


def _matrices(action: Action, shape: tuple[int, ...]) -> np.ndarray:
    """Return the matrices [|G|, d, d] of the action on samples of a shape, on columns."""
    size = int(np.prod(shape))
    action.check_shape(shape)
    units = np.eye(size).reshape(size, *shape)
    return np.stack([action(g, units).reshape(size, size).T for g in range(action.group.order)])


def _dense_part(inputs: np.ndarray, output: Representation | None) -> dict[str, np.ndarray]:
    """What is left of weights [in, out] when their group average is taken away."""
    if output is None:
        rest = np.eye(inputs.shape[1]) - inputs.mean(axis=0)
        return {"inputs": rest} if np.abs(rest).max() > 1e-12 else {}
    bias = {"bias": np.eye(output.dim) - output.matrices.mean(axis=0)}
    if inputs.shape[1] == 1:
        return {"outputs": bias["bias"], **bias}
    both = np.mean([np.kron(a, b) for a, b in zip(inputs, output.matrices, strict=True)], axis=0)
    return {"both": np.eye(len(both)) - both, **bias}


def _filter_space(place: LinearPlace, action: Action) -> LayerSpace:
    layer = place.layer
    assert isinstance(layer, Conv)
    moved = _positions(action, place.spatial)
    seen = _neighbours(layer, place.spatial)
    norms = (seen >= 0).sum(axis=1).astype(float)
    positions = np.arange(seen.shape[1])
    average = np.zeros((len(seen), len(seen)))
    for to in moved:
        # The layer of offset b, transformed, connects to[p] with to[q] where it connected p with q.
        turned = np.full_like(seen, -1)
        turned[:, to] = np.where(seen >= 0, to[seen], -1)
        for b in range(len(seen)):
            average[:, b] += ((seen == turned[b]) & (seen >= 0))[:, positions].sum(axis=1)
    average /= len(moved) * np.sqrt(np.outer(norms, norms))
    squares, vectors = np.linalg.eigh((average + average.T) / 2)
    squares = np.where(np.abs(squares - squares.round()) < 1 - _IN_BOTH, squares.round(), squares)
    both = vectors[:, squares > _IN_BOTH]
    scale = np.sqrt(norms)
    rest = np.eye(len(seen)) - (both / scale[:, None]) @ (both * scale[:, None]).T
    return LayerSpace(place, float(np.sqrt(squares * (1 - squares)).max()), {"inputs": rest})


def _positions(action: Action, spatial: tuple[int, ...]) -> np.ndarray:
    """Return where each position goes, [|G|, P]."""
    try:
        matrices = _matrices(action, (*spatial, 1))
    except ValueError as error:
        raise ValueError(f"action must act on the positions of feature maps {spatial}: {error}") from error
    if not np.isin(matrices, (0.0, 1.0)).all():
        raise ValueError(
            f"action must move the positions of feature maps {spatial}, found {action}, which mixes values"
        )
    return matrices.argmax(axis=1)


def _check_channels(action: Action, shape: tuple[int, ...]) -> None:
    """Refuse what moves more than positions in front of a convolution, such as channels or signs."""
    x = np.random.default_rng(0).standard_normal((1, *shape))
    for g, to in enumerate(_positions(action, shape[:-1])):
        moved = np.empty((len(to), shape[-1]))
        moved[to] = x.reshape(len(to), -1)
        if not np.array_equal(action(g, x).reshape(moved.shape), moved):
            raise ValueError(f"action must move positions and leave channels in front of a Conv, found {action}")


def _neighbours(layer: Conv, spatial: tuple[int, ...]) -> np.ndarray:
    """Return which position each offset sees from each position, [offsets, P], -1 for the padding."""
    height, width = spatial
    y, x = np.divmod(np.arange(height * width), width)
    seen = []
    for dy, dx in layer.offsets:
        a, b = y + dy, x + dx
        inside = (a >= 0) & (a < height) & (b >= 0) & (b < width)
        if layer.padding == "CIRCULAR":
            inside = np.ones_like(inside)
        seen.append(np.where(inside, a % height * width + b % width, -1))
    table = np.array(seen)
    if any((table[i] == table[j])[table[i] >= 0].any() for i in range(len(table)) for j in range(i)):
        raise ValueError(f"filters must not wrap around onto themselves, found {layer} on feature maps {spatial}")
    return table
