"""Inner products of images with every shift of other images, by the fast Fourier transform."""

from math import prod

import numpy as np
from scipy.fft import irfft2, rfft2

__all__ = ["shift_correlations"]

# Up to here adding up channels in passes over the products is quicker than small matrix products.
_FEW_CHANNELS = 4


def shift_correlations(x1: np.ndarray, x2: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return <x1_i, T_s v_j> for every cyclic shift T_s and every version v_j of the second images.

    Parameters
    ----------
    x1 : array [n1, H, W, C]
        Images, float32 or float64.
    x2 : array [versions, n2, H, W, C]
        Versions of other images (their quarter turns, say), of the same dtype.
    shape : (int, int)
        Number of shifts along each axis, divisors of H and W.

    Returns
    -------
    array [n1, n2, shifts * versions]
        In the inputs' precision, shifts in C order, the version running fastest; errors are
        of the order of eps |x1_i| |v_j|, also where the product itself is small.

    Notes
    -----
    The correlation theorem: the transform of s -> <x, T_s v> is X conj(V).
    Cost: one real inverse transform of h w numbers, and D multiplications, for each pair and version of images of
    D numbers; one forward transform for each image and version. Memory up to
    three times the result.
    """
    (h, w), versions, n1, n2 = shape, len(x2), len(x1), x2.shape[1]
    first, second = rfft2(_phases(x1, shape), axes=(-3, -2)), rfft2(_phases(x2, shape), axes=(-3, -2))
    *frequencies, channels = first.shape[1:]
    # The versions come last from here on: products and transforms leave them where the result has them.
    if channels <= _FEW_CHANNELS:
        left = np.repeat(np.moveaxis(first, -1, 0)[..., None], versions, axis=-1)
        right = np.ascontiguousarray(np.conjugate(second).transpose(4, 1, 2, 3, 0))
        spectrum = left[0][:, None] * right[0]
        for a, b in zip(left[1:], right[1:], strict=True):
            spectrum += a[:, None] * b
    else:
        left = np.conjugate(first).reshape(n1, prod(frequencies), channels).swapaxes(0, 1)
        right = second.transpose(2, 3, 4, 1, 0).reshape(prod(frequencies), channels, n2 * versions)
        products = (left @ right).reshape(*frequencies, n1, n2, versions).transpose(2, 3, 0, 1, 4)
        # One pass for the order and for the conjugate. It must be NumPy's arithmetic: some builds of BLAS leave
        # the vector registers, after complex products, in a state in which the transform takes twice the time.
        spectrum = np.conjugate(products, out=np.empty(products.shape, products.dtype))
    return irfft2(spectrum, s=shape, axes=(2, 3), overwrite_x=True).reshape(n1, n2, h * w * versions)


def _phases(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return images [..., H, W, C] as coarse ones [..., h, w, phases * C], whose shifts are all coarse shifts."""
    (h, w), (*batch, height, width, channels) = shape, x.shape
    cells = x.reshape(*batch, h, height // h, w, width // w, channels)
    return cells.swapaxes(-4, -3).reshape(*batch, h, w, height // h * (width // w) * channels)
