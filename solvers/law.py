"""The Gaussian law of trained members from the blocks: covariance between points and times, and draws."""

import math
from dataclasses import dataclass, field

import numpy as np

from haarflow.solvers.filters import Filter
from haarflow.solvers.lapack import divide_and_conquer
from haarflow.solvers.spectrum import Spectrum

__all__ = ["LawBlock", "Projected", "draw", "symmetric_root", "to_eigenbasis"]


@dataclass(frozen=True, eq=False)
class Projected:
    """Kernel rows of test points in the eigenbasis of one block.

    Attributes
    ----------
    ntk, nngp : array [m, d, r]
        theta_sigma(x) and k_sigma(x).
    """

    ntk: np.ndarray
    nngp: np.ndarray


@dataclass(frozen=True, eq=False)
class LawBlock:
    """One irrep's share of the covariance.

    Attributes
    ----------
    spectrum : Spectrum
        Of the irrep's NTK block.
    nngp : array [r, r]
        Its NNGP block in the NTK block's eigenbasis.
    weight : float
        d / (e |G|) for an irrep of dimension d and type e.
    """

    spectrum: Spectrum
    nngp: np.ndarray = field(repr=False)
    weight: float

    def project(self, ntk: np.ndarray, nngp: np.ndarray) -> Projected:
        """Take kernel rows into the eigenbasis.

        Parameters
        ----------
        ntk, nngp : array [m, d, N]
            theta_sigma and k_sigma between test points and the block.

        Returns
        -------
        Projected

        Notes
        -----
        Cost: 4 m d N r operations.
        """
        return Projected(self.spectrum.project(ntk, learnt=True), self.spectrum.project(nngp))

    def variance(self, at: Projected, filter: Filter, times: np.ndarray, rate: float, ridge: float = 0.0) -> np.ndarray:
        """Return what this irrep adds to K(x, x) at every time, without ever forming [m, m].

        Parameters
        ----------
        at : Projected
            The test points.
        filter, times, rate, ridge
            As in `Spectrum.phi`.

        Returns
        -------
        array [T, m] float64
            At most 0 up to rounding, summed over irreps, under a kernel whose NNGP and NTK agree.

        Notes
        -----
        Cost: 2 m d r^2 operations for each time. Source: docs/law.md, covariance by irreps.
        """
        phi = self.spectrum.phi(filter, times, rate, ridge)
        out = np.empty((len(phi), len(at.ntk)))
        for change, weights in zip(out, phi, strict=True):
            trained = self._trained(at, weights)
            rest = self._spread(trained) - 2 * at.nngp
            change[:] = self.weight * np.einsum("mdr,mdr->m", rest, trained)
        return out

    def covariance(
        self, at: Projected, filter: Filter, times: np.ndarray, rate: float, ridge: float = 0.0
    ) -> np.ndarray:
        """Return what this irrep adds to K(x, x') at every time.

        Parameters
        ----------
        at, filter, times, rate, ridge
            As in `variance`.

        Returns
        -------
        array [T, m, m] float64
            Symmetric.

        Notes
        -----
        Cost: 2 m d r^2 + 2 m^2 d r operations for each time. Source: docs/law.md, covariance by irreps.
        """
        phi = self.spectrum.phi(filter, times, rate, ridge)
        m = len(at.ntk)
        out = np.empty((len(phi), m, m))
        for change, weights in zip(out, phi, strict=True):
            trained = self._trained(at, weights)
            half = self._spread(trained) / 2 - at.nngp
            product = _by_point(half) @ _by_point(trained).T
            change[:] = self.weight * (product + product.T)
        return out

    def joint_covariance(
        self, at: Projected, filter: Filter, times: np.ndarray, rate: float, ridge: float = 0.0
    ) -> np.ndarray:
        """Return what this irrep adds to K(x, x') between every two times.

        Parameters
        ----------
        at, filter, times, rate, ridge
            As in `variance`.

        Returns
        -------
        array [T, m, T, m] float64
            Entry [t, x, s, x'] is Cov[f_t(x), f_s(x')] - K(x, x').

        Notes
        -----
        Cost: 2 T m d r^2 + 2 T^2 m^2 d r operations. Source: docs/law.md, covariance by irreps.
        """
        phi = self.spectrum.phi(filter, times, rate, ridge)
        T, m = len(phi), len(at.ntk)
        trained = np.stack([self._trained(at, weights) for weights in phi])
        flat = _by_point(trained, 2)
        both = (_by_point(self._spread(trained), 2) @ flat.T).reshape(T, m, T, m)
        crossed = (flat @ _by_point(at.nngp).T).reshape(T, m, 1, m)
        return self.weight * (both - crossed - crossed.transpose(2, 3, 0, 1)).astype(float)

    def _trained(self, at: Projected, weights: np.ndarray) -> np.ndarray:
        return at.ntk * weights.astype(at.ntk.dtype)

    def _spread(self, trained: np.ndarray) -> np.ndarray:
        return (_by_point(trained, trained.ndim - 1) @ self.nngp).reshape(trained.shape)


def _by_point(values: np.ndarray, axes: int = 1) -> np.ndarray:
    """Flatten the first axes and the others to a matrix; sizes written out, since a block may be empty."""
    return values.reshape(math.prod(values.shape[:axes]), math.prod(values.shape[axes:]))


def to_eigenbasis(spectrum: Spectrum, nngp: np.ndarray) -> np.ndarray:
    """Take a block of the NNGP's Gram matrix into the eigenbasis of the NTK's.

    Parameters
    ----------
    spectrum : Spectrum
        Of the NTK block.
    nngp : array [N, N]
        The NNGP block, symmetric.

    Returns
    -------
    array [r, r]
        Symmetric, in the block's dtype.

    Raises
    ------
    ValueError
        For a block of another shape or one that is not finite.

    Notes
    -----
    Cost: 4 r^3 operations and 2 matrices of order r.
    """
    if nngp.shape != (spectrum.rows, spectrum.rows):
        raise ValueError(f"nngp must be [{spectrum.rows}, {spectrum.rows}] to fit the block, found {nngp.shape}")
    if not np.isfinite(nngp).all():
        raise ValueError("nngp must be finite, found NaN or inf entries")
    turned = spectrum.project(spectrum.project(nngp).T)
    return (turned + turned.T) / 2


def symmetric_root(covariance: np.ndarray, scale: float, eps: float = float(np.finfo(float).eps)) -> np.ndarray:
    """Return a symmetric square root of a covariance matrix that rounding cannot turn.

    Parameters
    ----------
    covariance : array [m, m]
        Symmetric, positive semidefinite up to rounding.
    scale : float
        Trace of what the covariance was computed from: its rounding is m eps scale.
    eps : float
        Of the precision it was computed in.

    Returns
    -------
    array [m, m] float64
        V h(lambda) V^T with h = lambda / sqrt(lambda + c), c = m eps scale, and 0 for lambda <= 0.

    Notes
    -----
    h is sqrt(lambda) where lambda is known and goes to 0 smoothly where it is rounding: the square differs from
    the covariance by c at most, and a change of the covariance by delta changes the root by delta / sqrt(c) at
    most, whatever basis the eigensolver returns: where there is variance members repeat to rounding, where there
    is none they are its square root, about 1e-8 in float64. Cost: 9 m^3 operations.
    """
    values, vectors = divide_and_conquer(np.array(covariance, float, order="F"))
    known = np.maximum(values, 0.0)
    cut = max(len(values) * eps * scale, np.finfo(float).tiny)
    return (vectors * (known / np.sqrt(known + cut))) @ vectors.T


def draw(mean: np.ndarray, roots: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
    """Draw members from their law.

    Parameters
    ----------
    mean : array [T, m, k]
        mu_t.
    roots : array [T, m, m] or [T m, T m]
        Of Sigma_t for each time, which draws the times independently; or of the joint covariance over times.
    members : int
        M.
    rng : Generator
        Where randomness comes from. A smaller M draws the first of a larger one.

    Returns
    -------
    array [T, M, m, k]
    """
    T, m, k = mean.shape
    z = rng.standard_normal((members, T, m, k))
    noise = (roots @ z.reshape(members, T * m, k)).reshape(z.shape) if roots.ndim == 2 else roots @ z
    noise += mean
    return np.ascontiguousarray(noise.transpose(1, 0, 2, 3))
