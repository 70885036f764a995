"""Analytic kernels of an architecture: NumPy in, NumPy out, evaluated in tiles of few shapes."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from operator import mul
from typing import Any

import numpy as np

from haarflow.groups.given import refuse_masked
from haarflow.kernels.architecture import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Layer, Residual, Sequential
from haarflow.kernels.backend import check_dtype, is_traced
from haarflow.kernels.duals import DUALS, Distances
from haarflow.kernels.flat import SMALL_SIDE, Vectors, flat_gram, of_distances, prepare_vectors
from haarflow.kernels.images import Images, image_gram, prepare_images, tile_side
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.schedule import homogeneous, layout
from haarflow.kernels.tiling import Report

__all__ = ["KERNEL_VERSION", "AnalyticKernel", "analytic"]

# Part of every key in a store: raised whenever the values of any kernel change.
KERNEL_VERSION = 3


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
        _check_layers(self.architecture.layers)
        object.__setattr__(self, "dtype", check_dtype(self.dtype).name)

    @property
    def content_key(self) -> str:
        """A string that is equal for kernels with equal values."""
        return self.architecture.key

    @property
    def roundings(self) -> int:
        """How many times eps the relative error of an entry may be: two roundings a layer."""
        return 2 * _count(self.architecture.layers)

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
        Cost: n1 n2 entries, half of them without x2. An entry costs one inner product and one dual activation a
        layer for flat inputs; P of these for P positions under Flatten; P^2 under GlobalAvgPool, 0.6 million on
        28 x 28 pixels; and with AvgPool(s) P^2 up to it and (P / s^2)^2 behind it under GlobalAvgPool,
        P (2 s - 1)^2 and P / s^2 under Flatten. A core takes about 10^8 of them a second in ReLU networks. Peak
        memory above the result: a few tiles (about 100 MB).
        Source: Jacot et al. 2018; Novak et al. 2019; Arora et al. 2019; near coincidence as in docs/theory.md.
        """
        first = self.prepare(x1, "x1")
        if x2 is None:
            return self.between(first)
        if np.shape(x1)[1:] != np.shape(x2)[1:]:
            raise ValueError(f"x2 must hold samples of x1's shape {np.shape(x1)[1:]}, found {np.shape(x2)[1:]}")
        return self.between(first, self.prepare(x2, "x2"))

    def prepare(self, x: Any, name: str = "x") -> Vectors | Images:
        """Evaluate what is needed of each sample alone, once for all pairs it is part of.

        Parameters
        ----------
        x : array [n, ...]
            Samples as for a call.
        name : str
            What errors call them.

        Returns
        -------
        Vectors or Images
            For `between`; slices of it are such as well.

        Raises
        ------
        ValueError
            For samples that the architecture cannot take.
        """
        x = self._samples(x, name)
        self.architecture.check(x.shape[1:])
        self.check_scale(x, name)
        if self.of_inner_product(x.shape[1:]):
            return prepare_vectors(x)
        return prepare_images(self.architecture.layers, x)

    def check_scale(self, x: np.ndarray, name: str = "x") -> None:
        """Refuse samples whose angles would be lost to underflow; a sample of zeros is none of them.

        Parameters
        ----------
        x : array [n, ...]
            Samples.
        name : str
            What errors call them.

        Raises
        ------
        ValueError
            For samples too small in magnitude, with the first one's size and the remedy.
        """
        self.architecture.check(x.shape[1:])
        smallest = self._smallest
        if not self.of_inner_product(x.shape[1:]) and homogeneous(self.architecture.layers):
            # These are normalised: kernels themselves have to be normal numbers, and no more.
            smallest *= float(np.finfo(self.dtype).eps)
        if len(x) == 0 or smallest == 0:
            return
        sizes = np.abs(x.reshape(len(x), -1)).max(axis=1, initial=0)
        tiny = np.flatnonzero((sizes > 0) & (sizes < smallest))
        if len(tiny):
            finer = ', or use dtype="float64"' if self.dtype == "float32" else ""
            raise ValueError(
                f"{name} must hold samples of a magnitude of at least {smallest:.0e}, or zeros, since squares of "
                f"smaller ones underflow in {self.dtype}, found {sizes[tiny[0]]:.1e} at sample {tiny[0]}: "
                f"rescale them{finer}"
            )

    @cached_property
    def _smallest(self) -> float:
        """The magnitude below which 1 - cos(theta), known to eps^2, times the variance is no normal number."""
        linear = [layer for layer in self.architecture.layers if isinstance(layer, (Dense, Conv))]
        # Behind a bias variances are no longer small.
        gains = [layer.W_std for layer in takewhile(lambda layer: layer.b_std == 0, linear)]
        if not gains:
            return 0.0
        least = min(1.0, *(gain for gain in accumulate(gains, mul) if gain > 0), 1.0)
        limits = np.finfo(self.dtype)
        return float(limits.tiny) ** 0.5 / float(limits.eps) / least

    def between(
        self, first: Vectors | Images, second: Vectors | Images | None = None, report: Report | None = None
    ) -> KernelPair:
        """Evaluate both kernels between two prepared batches, or of one with itself; `report` hears of new entries."""
        layers = self.architecture.layers
        other = first if second is None else second
        if isinstance(first, Vectors):
            assert isinstance(other, Vectors)
            return flat_gram(layers, first, other, second is None, report)
        assert isinstance(other, Images)
        return image_gram(layers, first, other, second is None, report)

    def batch(self, sample_shape: tuple[int, ...]) -> int:
        """Return how many samples fill the smallest tile of a batch with itself."""
        if self.of_inner_product(sample_shape):
            return SMALL_SIDE
        return tile_side(self.architecture.layers, sample_shape[:-1])

    def of_inner_product(self, sample_shape: tuple[int, ...]) -> bool:
        """Whether the kernels depend on norms and inner products of whole samples only."""
        return layout(self.architecture.layers, len(sample_shape) - 1) == "flat"

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
        Only for kernels that are `of_inner_product`. Of samples whose sizes differ by a factor r, D and S know their
        angle to eps r; `of_angles` takes it itself. Cost: one dual activation a layer for each entry.
        """
        D, S, q1, q2 = (np.asarray(part, self.dtype) for part in (D, S, q1[:, None], q2[:, None]))
        return of_distances(self.architecture.layers, Distances(D, S), q1, q2)

    def of_angles(self, near: np.ndarray, far: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> KernelPair:
        """Evaluate both kernels of inner products where angles are known, exactly at any ratio of the norms.

        Parameters
        ----------
        near, far : array [P, Q]
            2 (|x| |x'| - <x, x'>) / d and 2 (|x| |x'| + <x, x'>) / d, without cancellation.
        q1, q2 : array [P]
            |x|^2 / d and |x'|^2 / d of each pair.

        Returns
        -------
        KernelPair
            [P, Q] each; otherwise as `of_distances`.
        """
        near, far, q1, q2 = (np.asarray(part, self.dtype) for part in (near, far, q1[:, None], q2[:, None]))
        return of_distances(self.architecture.layers, Distances(near=near, far=far), q1, q2)

    def _samples(self, x: Any, name: str) -> np.ndarray:
        if is_traced(x):
            raise TypeError(
                f"{name} must be NumPy or JAX arrays outside of jax.jit and its kind, found what JAX traces: "
                "kernels.to_neural_tangents(arch) gives a kernel that JAX can trace"
            )
        refuse_masked(x, name)
        x = np.asarray(x)
        if np.iscomplexobj(x):
            raise ValueError(f"{name} must be real, found dtype {x.dtype}")
        if x.ndim < 2:
            raise ValueError(f"{name} must be [n, d] or [n, spatial axes, channels], found shape {x.shape}")
        return np.ascontiguousarray(x, dtype=self.dtype)


def _check_layers(layers: tuple[Layer, ...]) -> None:
    # By their very type: a subclass may compute something else.
    known = {AvgPool, Conv, Dense, Flatten, GlobalAvgPool, *DUALS}
    for layer in layers:
        if type(layer) is Residual:
            _check_layers(layer.branch)
        elif type(layer) not in known:
            raise TypeError(f"architecture must have layers with a kernel in closed form, found {layer}")


def _count(layers: tuple[Layer, ...]) -> int:
    return sum(1 + _count(layer.branch) if isinstance(layer, Residual) else 1 for layer in layers)


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
        Of which an entry costs one inner product for flat samples, P walks through the network for convolutions on
        P positions under Flatten, and P^2 under GlobalAvgPool: see its call.

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
