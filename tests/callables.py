"""Feature maps, forces and energies that tests of learned equivariance measure, and what they act on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def images(n=3, side=6, channels=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, side, side, channels))


def cube_rotations():
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1.0, -1.0], repeat=3):
            matrix = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def random_rotations(count, seed):
    matrices = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))[0]
    return matrices * np.linalg.det(matrices)[:, None, None]


def uneven(x):
    """Two layers of maps, the second smaller, and one without positions; none equivariant."""
    y = np.tanh(x + 0.5 * np.roll(x, 1, axis=1) + 0.2 * np.roll(x, 2, axis=2))
    z = y[:, ::2, ::2, :1] - y[:, 1::2, ::2, 1:]
    return [y, z, np.concatenate([y[:, 0].mean(axis=1), z[:, :, 1].max(axis=1), x[:, 2, 3]], axis=1)]


def drift(x):
    """A smooth force field, not equivariant, in three directions and at two scales."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 3, 3))
    return np.sin(x @ a) + np.cos(2 * x @ b) + x.mean(axis=-2, keepdims=True) * np.array([1.0, 0.0, -1.0])


def atoms(shape=(5,), seed=4):
    return np.random.default_rng(seed).standard_normal((*shape, 3))


@jax.jit
def bonds(x):
    squares = ((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(axis=-1)
    return jnp.exp(-squares).sum(axis=(-2, -1))


@jax.jit
def field(x):
    """Not invariant: a field beside pairs that interact."""
    rest = jnp.sin(x @ jnp.asarray([1.0, -2.0, 0.5])) + x[..., 0] * x[..., 1] ** 2
    return bonds(x) + rest.sum(axis=-1)


def plain(x):
    """The same field in NumPy."""
    squares = ((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(axis=-1)
    rest = np.sin(np.asarray(x) @ np.array([1.0, -2.0, 0.5])) + x[..., 0] * x[..., 1] ** 2
    return np.exp(-squares).sum(axis=(-2, -1)) + rest.sum(axis=-1)
