"""Analytic kernels of an architecture: NumPy in, NumPy out, evaluated in tiles of few shapes."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels import recursion
from haarflow.kernels.architecture import Layer, Sequential
from haarflow.kernels.backend import check_dtype, precision, to_numpy
from haarflow.kernels.nearby import close_pairs, interpolate
from haarflow.kernels.pair import KernelPair

__all__ = ["KERNEL_VERSION", "AnalyticKernel", "analytic", "flat_distances", "of_states"]

# Part of every key in a store: raised whenever the values of any kernel change.
KERNEL_VERSION = 1

# Numbers of one state array that a tile may hold: large enough to keep the cores busy, small enough for caches.
_FLAT_TILE = 512
_TILE_NUMBERS = 2**20


@partial(jax.jit, static_argnums=0)
def _flat_tile(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    return recursion.finish(layers, recursion.flat_state(D, S, q1, q2), recursion.Spreads((), ()))


@partial(jax.jit, static_argnums=0)
def _paired_tile(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    return of_states(layers, D, S, q1[:, None], q2[:, None])


def of_states(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Run the recursion from distances and variances of flat inputs, all of shapes that broadcast."""
    state = recursion.State(D, S, jnp.zeros_like(D), q1, q2, 0, False)
    return recursion.finish(layers, state, recursion.Spreads((), ()))


@partial(jax.jit, static_argnums=(0, 3))
def _image_tile(layers: tuple[Layer, ...], x1: Array, x2: Array, paired: bool) -> tuple[Array, Array]:
    return recursion.run(layers, x1, x2, paired)


@partial(jax.jit, static_argnums=0)
def _aligned_tile(layers: tuple[Layer, ...], x1: Array, x2: Array) -> tuple[Array, Array]:
    def one(a: Array, b: Array) -> tuple[Array, Array]:
        K, theta = recursion.run(layers, a[None], b[None], True)
        return K[0, 0], theta[0, 0]

    return jax.vmap(one)(x1, x2)


@dataclass(frozen=True)
class AnalyticKernel:
    """NNGP and NTK of an architecture at infinite width; call it on two batches.

    Parameters
    ----------
    architecture : Sequential
        The network.
    dtype : {"float64", "float32"}
        Precision of all arithmetic.
    """

    architecture: Sequential
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, Sequential):
            raise TypeError(f"architecture must be kernels.Sequential(...), found {self.architecture!r}")
        object.__setattr__(self, "dtype", check_dtype(self.dtype).name)

    @property
    def content_key(self) -> str:
        """A string that is equal for kernels with equal values."""
        return self.architecture.key

    def __call__(self, x1: Any, x2: Any = None) -> KernelPair:
        """Evaluate both kernels between two batches.

        Parameters
        ----------
        x1 : array [n1, ...]
            Samples [n1, d] or [n1, spatial axes, channels].
        x2 : array [n2, ...], optional
            Default x1 itself, of which half is evaluated.

        Returns
        -------
        KernelPair
            `nngp` and `ntk`, [n1, n2] each, in `dtype`.

        Raises
        ------
        ValueError
            For samples that the architecture cannot take.

        Notes
        -----
        Cost: n1 n2 pairs; a pair costs one inner product and one dual activation a layer for flat inputs,
        P of them for P positions under Flatten, P^2 where a pooling comes before Flatten, or for
        GlobalAvgPool. Peak memory above the result: a few tiles (about 100 MB).
        Source: Jacot et al. 2018; Novak et al. 2019; Arora et al. 2019; near coincidence as in docs/theory.md.
        """
        symmetric = x2 is None
        x1 = self._samples(x1, "x1")
        x2 = x1 if symmetric else self._samples(x2, "x2")
        if x1.shape[1:] != x2.shape[1:]:
            raise ValueError(f"x2 must hold samples of x1's shape {x1.shape[1:]}, found {x2.shape[1:]}")
        self.architecture.check(x1.shape[1:])
        kind = recursion.layout(self.architecture.layers, x1.ndim - 2)
        if kind == "flat":
            x1 = x1.reshape(len(x1), -1)
            x2 = x1 if symmetric else x2.reshape(len(x2), -1)
        with precision(self.dtype):
            return self._tiles(x1, x2, symmetric, kind)

    def of_inner_product(self, sample_shape: tuple[int, ...]) -> bool:
        """Whether the kernels depend on norms and inner products of whole samples only."""
        return recursion.layout(self.architecture.layers, len(sample_shape) - 1) == "flat"

    def of_distances(self, D: np.ndarray, S: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> KernelPair:
        """Evaluate both kernels of inner products where only distances are known.

        Parameters
        ----------
        D, S : array [P, Q]
            |x - x'|^2 / d and |x + x'|^2 / d for P pairs of norms, at Q relative positions each.
        q1, q2 : array [P]
            |x|^2 / d and |x'|^2 / d of each pair.

        Returns
        -------
        KernelPair
            [P, Q] each.

        Notes
        -----
        Only for kernels that are `of_inner_product`. Cost: one dual activation a layer for each entry.
        """
        count = _power_of_two(len(D))
        parts = [_fill(np.asarray(part, self.dtype), count) for part in (D, S, q1, q2)]
        with precision(self.dtype):
            K, theta = _paired_tile(self.architecture.layers, *parts)
            return KernelPair(to_numpy(K)[: len(D)], to_numpy(theta)[: len(D)])

    def _samples(self, x: Any, name: str) -> np.ndarray:
        x = np.asarray(x)
        if np.iscomplexobj(x):
            raise ValueError(f"{name} must be real, found dtype {x.dtype}")
        if x.ndim < 2:
            raise ValueError(f"{name} must be [n, d] or [n, spatial axes, channels], found shape {x.shape}")
        return np.ascontiguousarray(x, dtype=self.dtype)

    def _tiles(self, x1: np.ndarray, x2: np.ndarray, symmetric: bool, kind: str) -> KernelPair:
        nngp, ntk = (np.empty((len(x1), len(x2)), self.dtype) for _ in range(2))
        rows, columns = _tile_sides(kind, x1.shape, len(x2))
        if symmetric:
            rows = columns = min(rows, columns)
        for i in range(0, len(x1), rows):
            for j in range(0, len(x2), columns):
                if symmetric and j < i:
                    continue
                a, b = x1[i : i + rows], x2[j : j + columns]
                tiles = self._tile(a, b, rows, columns, kind)
                for matrix, tile in zip((nngp, ntk), tiles, strict=True):
                    tile = tile[: len(a), : len(b)]
                    if symmetric and i == j:
                        tile = np.triu(tile) + np.triu(tile, 1).T
                    matrix[i : i + len(a), j : j + len(b)] = tile
                    if symmetric:
                        matrix[j : j + len(b), i : i + len(a)] = tile.T
        return KernelPair(nngp, ntk)

    def _tile(self, a: np.ndarray, b: np.ndarray, rows: int, columns: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        layers = self.architecture.layers
        # The last tiles are filled up by repetition: one compilation for each shape, and few shapes.
        a, b = _fill(a, rows), _fill(b, columns)
        if kind == "flat":
            K, theta = _flat_tile(layers, *flat_distances(a, b))
        else:
            K, theta = _image_tile(layers, a, b, kind == "pairs")
        values = to_numpy(K), to_numpy(theta)
        if recursion.pools_before_a_nonlinearity(layers):
            self._mend_nearby(a, b, values)
        return values

    def _mend_nearby(self, a: np.ndarray, b: np.ndarray, values: tuple[np.ndarray, np.ndarray]) -> None:
        D, _, q1, q2 = flat_distances(a.reshape(len(a), -1), b.reshape(len(b), -1))
        rows, columns, ratio = close_pairs(D, q1, q2)

        def evaluate(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
            size = _power_of_two(len(x1))
            parts = _aligned_tile(self.architecture.layers, _fill(x1, size), _fill(x2, size))
            return np.stack([to_numpy(part)[: len(x1)] for part in parts])

        for k in range(0, len(rows), len(a)):  # a tile's worth at a time
            i, j = rows[k : k + len(a)], columns[k : k + len(a)]
            found = interpolate(evaluate, a[i], b[j], ratio[k : k + len(a)])
            for matrix, part in zip(values, found, strict=True):
                matrix[i, j] = part


def analytic(architecture: Sequential, dtype: str = "float64") -> AnalyticKernel:
    """Return the analytic NNGP and NTK of an architecture.

    Parameters
    ----------
    architecture : Sequential
        The network.
    dtype : {"float64", "float32"}
        Precision of all arithmetic; float32 is accurate to about 1e-5 relative.

    Returns
    -------
    AnalyticKernel

    Raises
    ------
    TypeError, ValueError
        For something that is no architecture, or another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import kernels
    >>> kernel = kernels.analytic(kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense()))
    >>> kernel(np.eye(2)).nngp.round(3)
    array([[0.25, 0.08],
           [0.08, 0.25]])
    """
    return AnalyticKernel(architecture, dtype)


def _fill(x: np.ndarray, size: int) -> np.ndarray:
    if len(x) == size:
        return x
    return np.concatenate([x, np.broadcast_to(x[-1:], (size - len(x), *x.shape[1:]))])


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _tile_sides(kind: str, shape: tuple[int, ...], n2: int) -> tuple[int, int]:
    n1 = shape[0]
    if kind == "flat":
        return min(_FLAT_TILE, _power_of_two(n1)), min(_FLAT_TILE, _power_of_two(n2))
    positions = int(np.prod(shape[1:-1])) ** (2 if kind == "pairs" else 1)
    pairs = max(1, _TILE_NUMBERS // positions)
    rows = min(_power_of_two(n1), _power_of_two(int(pairs**0.5)))
    columns = min(_power_of_two(n2), max(1, _power_of_two(pairs // rows)))
    return rows, columns


def flat_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return D, S [n1, n2] and q1, q2 of flat inputs: a BLAS Gram, with close pairs taken from differences."""
    d = a.shape[1]
    q1, q2 = (np.einsum("ij,ij->i", x, x) / d for x in (a, b))
    gram = a @ b.T
    gram *= 2 / d
    total = q1[:, None] + q2[None, :]
    D, S = total - gram, total + gram
    # Below this a Gram's rounding, eps * total, would show up in the angle sqrt(D / total).
    close = np.finfo(a.dtype).eps ** 0.25 * total
    for values, sign in ((D, -1), (S, 1)):
        rows, columns = np.nonzero(values <= close)
        step = max(1, _TILE_NUMBERS // d)
        for k in range(0, len(rows), step):
            i, j = rows[k : k + step], columns[k : k + step]
            term = a[i] + sign * b[j]
            values[i, j] = np.einsum("ij,ij->i", term, term) / d
    return D, S, q1, q2
