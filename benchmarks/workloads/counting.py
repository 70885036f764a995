"""What a workload needs, counted: operations and bytes, so that a time becomes a share of what the machine can do.

The counts are nominal: those of the method as docs/theory.md states it, for networks of ReLU layers, whatever the code
does. Operations are held against the machine's GEMM rate, bytes against its memory bandwidth. Bytes are what would
pass through memory if every layer read both kernels and wrote them back; where tiles stay in the caches, that share
may exceed 1.
"""

from dataclasses import dataclass

import numpy as np

from haarflow.bench.hardware import Rates

__all__ = ["Work", "by_fourier", "eigendecomposition", "inner_products", "recursion"]

# One ReLU dual, K and its derivative: two polynomials in z, of degrees 17 and 15 in float64, 7 and 6 in float32, and
# about 30 operations around them.
_DUAL = {"float64": 2 * (17 + 15) + 30, "float32": 2 * (7 + 6) + 30}
# A 3 x 3 box sum of K and of Theta, one axis after the other.
_BOX_SUMS = 8


@dataclass(frozen=True)
class Work:
    """Operations and bytes in one dtype.

    Attributes
    ----------
    flops : float
        Floating-point operations.
    bytes : float
        Read or written.
    dtype : {"float64", "float32"}
        Which of the machine's GEMM rates applies.
    """

    flops: float
    bytes: float
    dtype: str = "float64"

    def __add__(self, other: "Work") -> "Work":
        assert self.dtype == other.dtype
        return Work(self.flops + other.flops, self.bytes + other.bytes, self.dtype)

    def shares(self, seconds: float, rates: Rates) -> tuple[float, float]:
        """Return which share of the GEMM rate and of the memory bandwidth was reached.

        Parameters
        ----------
        seconds : float
            What the work took.
        rates : Rates
            Of the machine.
        """
        return self.flops / seconds / rates.gemm[self.dtype], self.bytes / seconds / rates.bandwidth


def inner_products(pairs: float, length: int, dtype: str = "float64") -> Work:
    """Inner products of `pairs` pairs of vectors of a length, as a matrix product makes them."""
    return Work(2.0 * length * pairs, 0.0, dtype)


def by_fourier(pairs: float, shape: tuple[int, int]) -> Work:
    """Inner products of pairs of real images [H, W], the second under each of its H W shifts, in float64.

    A product of two spectra (6 operations for each of half the frequencies) and one inverse transform, 5/2 P log2 P.
    """
    positions = int(np.prod(shape))
    return Work(pairs * positions * (3 + 2.5 * np.log2(positions)), 0.0)


def recursion(entries: float, layers: int, dtype: str = "float64", convolutional: bool = False) -> Work:
    """Both kernels of ReLU layers for `entries` pairs of positions, or of flat samples."""
    operations = _DUAL[dtype] + (_BOX_SUMS if convolutional else 0)
    return Work(float(operations) * entries * layers, 4.0 * np.dtype(dtype).itemsize * entries * layers, dtype)


def eigendecomposition(n: int) -> Work:
    """All eigenvectors of a symmetric matrix [n, n] in float64.

    4/3 n^3 to tridiagonal form, 4/3 n^3 at most by divide and conquer, 2 n^3 back; the reduction reads the triangle
    that is left, n^3 / 6 numbers in all.
    """
    return Work(14 / 3 * n**3, 8 * n**3 / 6)
