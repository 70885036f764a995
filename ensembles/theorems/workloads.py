"""The real and physical tasks that theorems are verified on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from haarflow import datasets, groups, kernels
from haarflow.groups.rotations import plane_rotations

__all__ = [
    "Workload",
    "chosen_workload",
    "digits",
    "digits_c4",
    "digits_d4",
    "ising_c4",
    "plane",
    "standard_workloads",
    "vectors",
    "vectors_o",
]

# name -> (action or group, in words)
_IMAGES = {
    "C2": (lambda: groups.image_rotations(2), "half turns"),
    "C4": (lambda: groups.image_rotations(4), "quarter turns"),
    "D4": (groups.image_dihedral, "turns and flips"),
}
_SOLIDS = {
    "T": (groups.tetrahedral, "the 12 rotations of the tetrahedron"),
    "O": (groups.octahedral, "the 24 cube rotations"),
    "I": (groups.icosahedral, "the 60 rotations of the icosahedron"),
}


@dataclass(frozen=True, eq=False)
class Workload:
    """A task with a symmetry.

    Attributes
    ----------
    name : str
        Short, for tables.
    title : str
        One line that says what it is.
    architecture : Sequential
        The network.
    action, output : Action, Representation or None
        How the group acts on samples and labels.
    x, y : array [n, ...], [n, k]
        Base training set.
    outside : array [m, ...]
        N(0, 1) inputs, off the data manifold.
    broken_architecture : Sequential
        A network whose kernel the action does not leave invariant, or the same network.
    broken_map : callable
        Applied behind the action in the negative control of kernel invariance.
    broken : str
        What that control breaks.
    seed : int
        Of what a theorem draws.
    quick : bool
        Whether theorems may take fewer times and draws.
    """

    name: str
    title: str
    architecture: kernels.Sequential
    action: groups.Action
    output: groups.Representation | None
    x: np.ndarray
    y: np.ndarray
    outside: np.ndarray
    broken_architecture: kernels.Sequential
    broken_map: Callable[[np.ndarray], np.ndarray]
    broken: str
    seed: int = 0
    quick: bool = False


def _dense(hidden: int) -> kernels.Sequential:
    layers = [kernels.Dense(2**0.5, 0.1), kernels.Relu()] * hidden
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(1.0, 0.1))


def _convolutional(support: tuple[tuple[int, int], ...] | None = None) -> kernels.Sequential:
    conv = kernels.Conv(3, "SAME", 2**0.5, 0.1, support)
    return kernels.Sequential(
        conv, kernels.Relu(), conv, kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense(1.0, 0.1)
    )


_OFF_CENTRE = ((0, 0), (0, 1), (1, 0))


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _stretch(x: np.ndarray) -> np.ndarray:
    # One coordinate longer than the others: no orthogonal map.
    x = x.copy()
    x[..., 0] *= 1.5
    return x


def digits(group: str = "C4", network: str = "dense", n: int = 100, seed: int = 0) -> Workload:
    """Handwritten digits under turns and flips, classes that do not change.

    Parameters
    ----------
    group : {"C2", "C4", "D4"}
        Half turns, quarter turns, or quarter turns and flips.
    network : {"dense", "cnn"}
        3 hidden ReLU layers, or [Conv 3x3, ReLU] x 2 and global average pooling.
    n : int
        Base samples.
    seed : int
        Of their choice.
    """
    data = datasets.digits(n, seed)
    layers = "3 hidden ReLU Dense layers" if network == "dense" else "[Conv 3x3, ReLU] x 2 and global average pooling"
    return Workload(
        f"digits x {group}" + ("" if network == "dense" else ", cnn"),
        f"digits under {_IMAGES[group][1]}, {layers}, invariant",
        _dense(3) if network == "dense" else _convolutional(),
        _IMAGES[group][0](),
        None,
        data.x,
        data.y,
        datasets.off_manifold(8 if network == "dense" else 4, data.x.shape[1:], seed + 1),
        _convolutional(_OFF_CENTRE),
        _same,
        "SAME padding with an off-centre filter support",
        seed,
    )


def digits_c4(n: int = 100, seed: int = 0) -> Workload:
    """Handwritten digits under quarter turns, a Dense network."""
    return digits("C4", "dense", n, seed)


def digits_d4(n: int = 16, seed: int = 0) -> Workload:
    """Handwritten digits under quarter turns and flips, a convolutional network with global average pooling."""
    return digits("D4", "cnn", n, seed)


def ising_c4(n: int = 64, seed: int = 0) -> Workload:
    """Local energies of a 5 x 5 Ising lattice under quarter turns: outputs move with the sites."""
    data = datasets.ising(n, 5, seed=seed)
    perms = groups.lattice_rotations(5)
    action = groups.permutation_action(groups.cyclic(4), perms)
    network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
    return Workload(
        "Ising x C4",
        "local energies of a 5 x 5 Ising lattice, 1 hidden ReLU layer, outputs permute with the sites",
        network,
        action,
        groups.Representation(action.group, groups.permutation_matrices(perms)),
        data.x,
        data.y,
        datasets.off_manifold(8, data.x.shape[1:], seed + 1),
        network,
        _stretch,
        "a map that is not orthogonal",
        seed,
    )


def vectors(group: str = "O", n: int = 24, seed: int = 0) -> Workload:
    """The cross product under rotations: outputs are vectors.

    Parameters
    ----------
    group : {"T", "O", "I"}
        Rotations of the tetrahedron, the cube or the icosahedron.
    n : int
        Base samples.
    seed : int
        Of their choice.
    """
    data = datasets.cross_product(n, seed)
    make, title = _SOLIDS[group]
    rotations = make()
    assert rotations.matrices is not None
    return Workload(
        f"vectors x {group}",
        f"cross product of two vectors under {title}, 2 hidden ReLU layers, vector output",
        _dense(2),
        groups.matrix_action(rotations),
        groups.Representation(rotations, rotations.matrices),
        data.x,
        data.y,
        3 * datasets.off_manifold(8, data.x.shape[1:], seed + 1),
        _dense(2),
        _stretch,
        "a map that is not orthogonal",
        seed,
    )


def vectors_o(n: int = 24, seed: int = 0) -> Workload:
    """The cross product under the 24 rotations of the cube."""
    return vectors("O", n, seed)


def plane(n: int = 16, seed: int = 0, quick: bool = False) -> Workload:
    """Pairs of vectors in the plane, whose product and angle do not change under rotations."""
    rng = np.random.default_rng(seed)
    x, outside = rng.standard_normal((n, 2, 2)), rng.standard_normal((4, 2, 2))
    inner = np.einsum("nb,nb->n", x[:, 0], x[:, 1])
    turned = x[:, 0, 0] * x[:, 1, 1] - x[:, 0, 1] * x[:, 1, 0]
    group = groups.cyclic(8)
    return Workload(
        "plane x C_k",
        "inner and outer product of two vectors in the plane under C_k, 2 hidden ReLU layers, invariant",
        _dense(2),
        groups.matrix_action(group, plane_rotations(2 * np.pi * np.arange(8) / 8)),
        None,
        x,
        np.stack([inner, turned], axis=1),
        outside,
        _dense(2),
        _stretch,
        "a map that is not orthogonal",
        seed,
        quick,
    )


def chosen_workload(group: str | None, network: str | None, seed: int = 0) -> Workload:
    """Return the task for a group and a network.

    Parameters
    ----------
    group : str or None
        "C2", "C4", "D4" act on digits, "T", "O", "I" on vectors; default "C4".
    network : str or None
        "dense" or "cnn", the latter for digits; default "dense".
    seed : int
        Of the choice of samples.

    Raises
    ------
    ValueError
        For another group or network.
    """
    group, network = group or "C4", network or "dense"
    if group not in (*_IMAGES, *_SOLIDS):
        raise ValueError(f"group must be one of {[*_IMAGES, *_SOLIDS]}, found {group!r}")
    if network not in ("dense", "cnn"):
        raise ValueError(f"network must be 'dense' or 'cnn', found {network!r}")
    if group in _SOLIDS:
        if network == "cnn":
            raise ValueError(f"network must be 'dense' for {group}, which acts on vectors, found 'cnn'")
        return vectors(group, seed=seed)
    return digits(group, network, 100 if network == "dense" else 16, seed)


def standard_workloads(seed: int = 0, quick: bool = False) -> list[Workload]:
    """Return the tasks of `haarflow verify`.

    Parameters
    ----------
    seed : int
        Of the choice of samples and of the N(0, 1) inputs.
    quick : bool
        Fewer samples, times and draws, and no convolutional network, which takes long to compile.
    """
    if quick:
        return [replace(make(n, seed), quick=True) for make, n in ((digits_c4, 40), (ising_c4, 24), (vectors_o, 10))]
    return [make(seed=seed) for make in (digits_c4, digits_d4, ising_c4, vectors_o)]
