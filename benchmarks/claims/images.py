"""FashionMNIST, networks, inputs off the manifold and trained ensembles, for the two experiments on images."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

import haarflow as hf
from claims.members import times_of_loss
from haarflow import groups, kernels

__all__ = ["FRACTIONS", "Trained", "action_of", "inputs", "network", "shrink", "trained"]

FRACTIONS = (0.9, 0.5, 0.2, 0.1, 0.03, 0.01, 0.0)


@dataclass(frozen=True)
class Trained:
    """An ensemble with the times at which its loss has fallen to FRACTIONS, and its accuracies there."""

    ensemble: hf.DeepEnsemble
    times: np.ndarray
    train_accuracy: np.ndarray
    test_accuracy: np.ndarray


def network(name):
    """Return "Dense" (3 hidden layers) or "CNN" (3 convolutions, no pooling)."""
    if name == "Dense":
        layers = [kernels.Flatten(), *[kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 3]
    else:
        layers = [*[kernels.Conv(3, "SAME", 2**0.5, 0.1), kernels.Relu()] * 3, kernels.Flatten()]
    return kernels.Sequential(*layers, kernels.Dense(1.0, 0.1))


def action_of(k):
    """Return C_k on images: exact for quarter turns, interpolated otherwise."""
    return groups.image_rotations(k) if k in (1, 2, 4) else groups.interpolated_rotations(k)


def shrink(images, side):
    """Average blocks of pixels down to a side that divides the images'."""
    n, height, width, channels = images.shape
    return images.reshape(n, side, height // side, side, width // side, channels).mean(axis=(2, 4))


@cache
def trained(name, k, n, side, tests=200):
    """Train on n base images x C_k; once for each setting."""
    data, test = hf.datasets.fashion_mnist(n), hf.datasets.fashion_mnist(tests, split="test")
    x, x_test = shrink(data.x, side), shrink(test.x, side)
    action = action_of(k)
    path = "orbit" if action.exact else "explicit"
    ensemble = hf.DeepEnsemble(network(name), action=action, reduction=path, progress=False)
    ensemble.fit(x, data.y, covariance=True)
    times = times_of_loss(ensemble, x, data.y, FRACTIONS)
    both = ensemble.predict(np.concatenate([x, x_test]), times).mean.argmax(axis=-1)
    right = both == np.concatenate([data.labels, test.labels])
    return Trained(ensemble, times, right[:, :n].mean(axis=1), right[:, n:].mean(axis=1))


def inputs(m, side, seed=0):
    """Return m images of each kind: FashionMNIST's test set and four kinds off its manifold."""
    kinds = {"FashionMNIST test": shrink(hf.datasets.fashion_mnist(m, split="test", seed=seed + 1).x, side)}
    photographs = _photographs(m, side, seed + 2)
    if photographs is not None:
        kinds["photographs"] = photographs
        kinds["photographs, disc"] = photographs * _disc(side)
    noise = hf.datasets.off_manifold(m, (28, 28, 1), seed + 3)
    smooth = gaussian_filter(noise, (0, 3, 3, 0), mode="wrap")
    low, high = smooth.min(axis=(1, 2, 3), keepdims=True), smooth.max(axis=(1, 2, 3), keepdims=True)
    kinds["smooth blobs"] = shrink((smooth - low) / (high - low), side)
    kinds["N(0,1)"] = hf.datasets.off_manifold(m, (side, side, 1), seed + 4)
    return kinds


def _disc(side):
    """Return 1 inside the largest circle, which every rotation leaves inside the image, and 0 outside."""
    at = np.arange(side) - (side - 1) / 2
    return (np.hypot(at[:, None], at[None, :]) <= side / 2 - 0.5)[..., None].astype(float)


def _photographs(m, side, seed):
    """Cut m grey squares of random place and size from scikit-learn's two photographs; None without them."""
    try:
        from sklearn.datasets import load_sample_images

        pictures = [p.mean(axis=-1) / 255 for p in load_sample_images().images]
    except ImportError:
        return None
    rng = np.random.default_rng(seed)
    cut = []
    for i in range(m):
        picture, size = pictures[i % len(pictures)], side * int(rng.integers(2, 1 + 200 // side))
        top, left = (int(rng.integers(0, full - size)) for full in picture.shape)
        cut.append(shrink(picture[None, top : top + size, left : left + size, None], side)[0])
    return np.stack(cut)
