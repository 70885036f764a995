"""Tasks with one hidden layer, whose trained ensembles are held against their law after the same steps."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

import haarflow as hf
from haarflow import groups, kernels

__all__ = ["TASKS", "Task"]


@dataclass
class Task:
    """One hidden layer, full-batch gradient descent at half the largest stable rate, orbits of test inputs.

    Attributes
    ----------
    name : str
        For tables.
    architecture, action, output
        As `haarflow.DeepEnsemble` takes them.
    x, y : array [n, ...], [n, p]
        Base samples for training.
    test : array [m, ...]
        Base test points.
    steps : int
        Of gradient descent.
    most : int
        Members that are enough for slopes in their number.
    """

    name: str
    architecture: kernels.Sequential
    action: groups.Action
    output: groups.Representation | None
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    steps: int
    most: int = 4096

    def __post_init__(self):
        order = self.action.group.order
        shape = self.x.shape[1:]
        rho = np.eye(self.y.shape[1]) if self.output is None else self.output.matrices
        self.rho = np.broadcast_to(rho, (order, *rho.shape[-2:]))
        self.listed = self.action.orbit(self.x).reshape(-1, *shape)
        self.targets = np.einsum("gab,nb->gna", self.rho, self.y).reshape(len(self.listed), -1)
        self.points = self.action.orbit(self.test).reshape(-1, *shape)

    @cached_property
    def theta(self):
        """The infinite network's NTK of all points, training points first, with the training points."""
        return kernels.analytic(self.architecture)(np.concatenate([self.listed, self.points]), self.listed).ntk

    @cached_property
    def rate(self):
        """Half the largest stable learning rate, in the clock of the mean loss."""
        return self.targets.size / np.linalg.eigvalsh(self.theta[: len(self.listed)])[-1]

    @cached_property
    def law(self):
        """The law of the infinitely wide ensemble: mean [D] and covariance [D, D] of outputs on all test orbits."""
        ensemble = hf.DeepEnsemble(
            self.architecture,
            self.action,
            self.output,
            learning_rate=self.rate,
            flow="gradient_descent",
            progress=False,
        ).fit(self.x, self.y, covariance=True)
        found = ensemble.predict(self.points, [self.steps], covariance="full")
        return found.mean[0].ravel(), np.kron(found.covariance[0], np.eye(self.y.shape[1]))

    def deviations(self, f):
        """Return rho(g)^-1 f(gx), less its mean over g: [..., |G|, m, p] from outputs [..., D]."""
        turned = np.einsum("gba,...gmb->...gma", self.rho, f.reshape(*f.shape[:-1], len(self.rho), len(self.test), -1))
        return turned - turned.mean(axis=-3, keepdims=True)

    def finite(self, width, members, seed):
        """Return trained ensemble outputs [M, D] at finite width, in float64."""
        ensemble = hf.FiniteEnsemble(
            self.architecture, width, members, self.action, self.output, learning_rate=self.rate, seed=seed
        )
        (f,) = ensemble.fit(self.x, self.y, self.steps).predict(self.points)
        return f.reshape(members, -1).astype(float)


def _ising(n=64, m=8, steps=10, seed=0):
    perms = groups.lattice_rotations(5)
    data = hf.datasets.ising(n + m, 5, J=2.5, seed=seed)
    energy = data.y.sum(axis=1, keepdims=True)  # of the order 1
    dense = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
    action = groups.permutation_action(groups.cyclic(4), perms)
    return Task("Ising, Dense, C4", dense, action, None, data.x[:n], energy[:n], data.x[n:], steps)


def _digits(n=12, m=4, steps=20, seed=0):
    data = hf.datasets.digits(n + m, seed)
    # Their middle, and centred: else the brightness is all that a few steps learn.
    x = data.x[:, 2:6, 2:6]
    x = (x - x.mean()) / x.std()
    odd = (data.labels % 2 * 2.0 - 1)[:, None]
    # Smooth: at the kinks of ReLU corrections to 1 / width fall off slowly, here by more than the bias itself.
    conv = kernels.Sequential(
        kernels.Conv(3, "SAME", 2**0.5, 0.1), kernels.Erf(), kernels.GlobalAvgPool(), kernels.Dense(1.0, 0.1)
    )
    return Task("digits, Conv, C4", conv, groups.image_rotations(4), None, x[:n], odd[:n], x[n:], steps, 1024)


def _cube(n=16, m=2, steps=10, seed=0):
    data, cube = hf.datasets.cross_product(n + m, seed), groups.octahedral()
    dense = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
    action = groups.matrix_action(cube, cube.matrices)
    output = groups.Representation(cube, cube.matrices)
    return Task("cross product, Dense, cube", dense, action, output, data.x[:n], data.y[:n], data.x[n:], steps)


TASKS = {"ising": _ising, "digits": _digits, "cube": _cube}
