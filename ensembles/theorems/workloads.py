"""The real and physical tasks that theorems are verified on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haarflow import datasets, groups, kernels

__all__ = ["Workload", "digits_c4", "digits_d4", "ising_c4", "standard_workloads", "vectors_o"]


@dataclass(frozen=True)
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


def digits_c4(n: int = 100, seed: int = 0) -> Workload:
    """Handwritten digits under quarter turns, a Dense network, classes that do not change."""
    data = datasets.digits(n, seed)
    return Workload(
        "digits x C4",
        "digits under quarter turns, 3 hidden ReLU Dense layers, invariant",
        _dense(3),
        groups.image_rotations(4),
        None,
        data.x,
        data.y,
        datasets.off_manifold(8, data.x.shape[1:], seed + 1),
        _convolutional(_OFF_CENTRE),
        _same,
        "SAME padding with an off-centre filter support",
    )


def digits_d4(n: int = 24, seed: int = 0) -> Workload:
    """Handwritten digits under quarter turns and flips, a convolutional network with global average pooling."""
    data = datasets.digits(n, seed)
    return Workload(
        "digits x D4",
        "digits under turns and flips, [Conv 3x3, ReLU] x 2 and global average pooling, invariant",
        _convolutional(),
        groups.image_dihedral(),
        None,
        data.x,
        data.y,
        datasets.off_manifold(4, data.x.shape[1:], seed + 1),
        _convolutional(_OFF_CENTRE),
        _same,
        "SAME padding with an off-centre filter support",
    )


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
    )


def vectors_o(n: int = 24, seed: int = 0) -> Workload:
    """The cross product under the 24 rotations of the cube: outputs are vectors."""
    data = datasets.cross_product(n, seed)
    group = groups.octahedral()
    assert group.matrices is not None
    return Workload(
        "vectors x O",
        "cross product of two vectors under the 24 cube rotations, 2 hidden ReLU layers, vector output",
        _dense(2),
        groups.matrix_action(group, group.matrices),
        groups.Representation(group, group.matrices),
        data.x,
        data.y,
        3 * datasets.off_manifold(8, data.x.shape[1:], seed + 1),
        _dense(2),
        _stretch,
        "a map that is not orthogonal",
    )


def standard_workloads(seed: int = 0) -> list[Workload]:
    """Return the four tasks of `haarflow verify`.

    Parameters
    ----------
    seed : int
        Of the choice of samples and of the N(0, 1) inputs.
    """
    return [make(seed=seed) for make in (digits_c4, digits_d4, ising_c4, vectors_o)]
