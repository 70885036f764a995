"""Real and generated data sets of the field's papers, as base samples: nothing is augmented here."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from haarflow.groups.given import refuse_masked

__all__ = ["Dataset", "cross_product", "digits", "fashion_mnist", "ising", "off_manifold", "one_hot"]

_DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
_SPLITS = {"train": "train", "test": "t10k"}
# Each generator draws from its own stream: off_manifold(n, (2, 3)) must not repeat cross_product(n).
_STREAMS = {"shuffle": 1, "ising": 2, "cross_product": 3, "off_manifold": 4}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with their targets.

    Parameters
    ----------
    name : str
        What the data are called.
    x : float64 array [n, ...]
        Samples; images are [n, H, W, C] in [0, 1], neither centred nor normalised.
    y : float64 array [n, k]
        Targets. For k classes one_hot - 1/k, so that the mean of an untrained ensemble, 0, prefers no class.
    labels : int64 array [n], optional
        Classes 0 .. k-1, for classification.
    source : str
        Where the data come from.

    Raises
    ------
    ValueError
        When x, y and labels differ in length.
    """

    name: str
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        found = [len(part) for part in (self.x, self.y, self.labels) if part is not None]
        if len(set(found)) > 1:
            raise ValueError(f"x, y and labels must have the same length, found {found}")


def one_hot(labels: Any, k: int, centred: bool = False) -> np.ndarray:
    """Turn classes into targets.

    Parameters
    ----------
    labels : integer array [n]
        Classes 0 .. k-1.
    k : int
        Number of classes.
    centred : bool
        Subtract 1/k, so that every row sums to 0.

    Returns
    -------
    float64 array [n, k]

    Raises
    ------
    TypeError
        For labels that are not integers.
    ValueError
        For labels outside 0 .. k-1, or not in one row.

    Examples
    --------
    >>> one_hot([1, 0], 2)
    array([[0., 1.],
           [1., 0.]])
    >>> one_hot([1, 0], 2, centred=True)
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    """
    classes = _whole(k, "k", 1)
    refuse_masked(labels, "labels")
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        number = ": classes, labels = np.unique(labels, return_inverse=True) numbers them"
        raise TypeError(f"labels must be integers, found dtype {array.dtype}{number if array.ndim == 1 else ''}")
    if array.ndim != 1:
        raise ValueError(f"labels must be [n], found shape {array.shape}")
    outside = (array < 0) | (array >= classes)
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(f"labels must lie in 0 .. {classes - 1}, found {array[first]} at index {first}")
    targets = np.zeros((len(array), classes))
    targets[np.arange(len(array)), array] = 1.0
    return targets - 1.0 / classes if centred else targets


def digits(n: int | None = None, seed: int | None = 0) -> Dataset:
    """Load scikit-learn's 1797 handwritten digits of 8 x 8 pixels.

    Parameters
    ----------
    n : int, optional
        How many, the first of the shuffled order; None: all. A smaller n gives a prefix of a larger one.
    seed : int or None
        Seed of the shuffling; None keeps the file's order.

    Returns
    -------
    Dataset
        x [n, 8, 8, 1] in [0, 1], y [n, 10] = one_hot - 1/10, labels [n].

    Raises
    ------
    ImportError
        Without scikit-learn, which ships the data.
    ValueError, TypeError
        For n outside 1 .. 1797, or a seed that is not a whole number.

    Notes
    -----
    Source: UCI, optical recognition of handwritten digits (Alpaydin & Kaynak 1998).
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('digits() needs scikit-learn: pip install "haarflow[data]"') from error
    raw = load_digits()
    source = "UCI optical recognition of handwritten digits (Alpaydin & Kaynak 1998), shipped by scikit-learn"
    return _classification("digits", raw.images, raw.target, 16.0, n, seed, source)


def fashion_mnist(
    n: int | None = None,
    folder: str | Path | None = None,
    split: Literal["train", "test"] = "train",
    seed: int | None = 0,
) -> Dataset:
    """Load FashionMNIST, 28 x 28 grey images of ten kinds of clothes, from IDX files on this machine.

    Parameters
    ----------
    n : int, optional
        How many, the first of the shuffled order; None: all. A smaller n gives a prefix of a larger one.
    folder : str or Path, optional
        Where the IDX files lie, plain or gzipped; None: where Debian's dataset-fashion-mnist puts them.
    split : "train" or "test"
        The 60,000 training or the 10,000 test images.
    seed : int or None
        Seed of the shuffling; None keeps the file's order.

    Returns
    -------
    Dataset
        x [n, 28, 28, 1] in [0, 1], y [n, 10] = one_hot - 1/10, labels [n].

    Raises
    ------
    FileNotFoundError
        When the files are not there; says how to get them.
    ValueError, TypeError
        For damaged files, another split, n out of range, or a seed that is not a whole number.

    Notes
    -----
    Cost: 6.3 kB of memory for each sample returned; the files are read whole and never written.
    Source: Xiao, Rasul & Vollgraf 2017 (arXiv 1708.07747), MIT licence.
    """
    if split not in _SPLITS:
        raise ValueError(f'split must be "train" or "test", found {split!r}')
    where = Path(_DEBIAN_FOLDER if folder is None else folder).expanduser()
    images = _read_idx(where, f"{_SPLITS[split]}-images-idx3-ubyte", 3)
    labels = _read_idx(where, f"{_SPLITS[split]}-labels-idx1-ubyte", 1)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{where} must hold images of 28 x 28 pixels, found {images.shape[1:]}")
    if len(images) != len(labels):
        raise ValueError(
            f"{where} must hold one label for each image, found {len(images)} images and {len(labels)} labels"
        )
    source = f"FashionMNIST (Xiao, Rasul & Vollgraf 2017), {split} split, {where}"
    return _classification("fashion_mnist", images, labels, 255.0, n, seed, source)


def ising(n: int, side: int = 5, J: float = 1.0, seed: int = 0) -> Dataset:
    """Draw spin configurations on a periodic square lattice, with their local energies as targets.

    Parameters
    ----------
    n : int
        How many configurations, drawn uniformly.
    side : int
        Sites on a side, at least 3, so that the four neighbours are four sites.
    J : float
        Coupling.
    seed : int
        Seed of the spins.

    Returns
    -------
    Dataset
        x [n, side^2] of spins -1 and 1, rows of the lattice one after the other;
        y [n, side^2] with E_i = -(J / side^2) * sum over the four neighbours j of s_i s_j.

    Raises
    ------
    ValueError, TypeError
        For n, side or seed that are not whole numbers in range, or J that is not finite.

    Notes
    -----
    The local energies turn with the lattice (equivariant, permutation of sites); their sum is invariant.
    A bond is counted at both its ends, so the sum is twice the energy with each bond counted once.
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), the Ising experiment.

    Examples
    --------
    >>> data = ising(4)
    >>> data.x.shape, data.y.shape
    ((4, 25), (4, 25))
    """
    count, width = _whole(n, "n", 1), _whole(side, "side", 3)
    if not np.isfinite(J):
        raise ValueError(f"J must be finite, found {J}")
    spins = 2.0 * _generator("ising", seed).integers(0, 2, (count, width, width)) - 1.0
    field_at_site = sum(np.roll(spins, step, axis) for axis in (1, 2) for step in (1, -1))
    energies = -(J / width**2) * spins * field_at_site
    source = f"uniform spins on {width} x {width} sites, J = {J}, seed {seed}"
    return Dataset("ising", spins.reshape(count, -1), energies.reshape(count, -1), source=source)


def cross_product(n: int, seed: int = 0) -> Dataset:
    """Draw pairs of vectors, with their cross product as target.

    Parameters
    ----------
    n : int
        How many pairs.
    seed : int
        Seed of the vectors.

    Returns
    -------
    Dataset
        x [n, 2, 3] of N(0, 1) entries; y [n, 3] = x[:, 0] cross x[:, 1], a vector under rotations.

    Raises
    ------
    ValueError, TypeError
        For n or seed that are not whole numbers in range.

    Notes
    -----
    Under a reflection y gains a sign (it is a pseudovector): O(3) acts on it by det(g) g.
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), the SO(3) experiment.
    """
    x = _generator("cross_product", seed).standard_normal((_whole(n, "n", 1), 2, 3))
    return Dataset("cross_product", x, np.cross(x[:, 0], x[:, 1]), source=f"N(0, 1) vectors, seed {seed}")


def off_manifold(n: int, shape: int | Sequence[int], seed: int = 0) -> np.ndarray:
    """Draw inputs of independent N(0, 1) entries, far from any training data.

    Parameters
    ----------
    n : int
        How many.
    shape : int or sequence of int
        Shape of one sample.
    seed : int
        Seed of the entries.

    Returns
    -------
    float64 array [n, *shape]

    Raises
    ------
    ValueError, TypeError
        For n, shape or seed that are not whole numbers in range.

    Notes
    -----
    Source: Gerken & Kessel 2024 (arXiv 2403.03103), where equivariance is measured on such inputs.

    Examples
    --------
    >>> off_manifold(3, (8, 8, 1)).shape
    (3, 8, 8, 1)
    """
    sides = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not sides:
        raise ValueError("shape must hold at least one side, found ()")
    sample = tuple(_whole(side, "shape", 1) for side in sides)
    return _generator("off_manifold", seed).standard_normal((_whole(n, "n", 1), *sample))


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, found {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")
    return int(value)


def _generator(stream: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([_STREAMS[stream], _whole(seed, "seed", 0)])


def _classification(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    top: float,
    n: int | None,
    seed: int | None,
    source: str,
) -> Dataset:
    total = len(images)
    count = total if n is None else _whole(n, "n", 1)
    if count > total:
        raise ValueError(f"n must be at most the {total} samples that {name} holds, found {n}")
    order = np.arange(total) if seed is None else _generator("shuffle", seed).permutation(total)
    chosen = order[:count]
    classes = labels[chosen].astype(np.int64)
    return Dataset(name, images[chosen][..., None] / top, one_hot(classes, 10, centred=True), classes, source)


def _read_idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """Read one IDX file of unsigned bytes: 0, 0, 8, axes, the sides as big-endian int32, the bytes."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {name} or {name}.gz in {folder}: apt-get install dataset-fashion-mnist (Debian, Ubuntu), "
            "or pass folder= with the IDX files"
        )
    path = found[0]
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} must be a whole gzip file, found: {error}") from error
    wanted, header = bytes([0, 0, 8, axes]), 4 + 4 * axes
    if content[:4] != wanted:
        raise ValueError(f"{path} must start with the IDX magic number {wanted.hex()}, found {content[:4].hex()!r}")
    if len(content) < header:
        raise ValueError(f"{path} must have a header of {header} bytes, found {len(content)}")
    sides = tuple(int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4))
    size = 1
    for side in sides:
        size *= side
    body = len(content) - header
    if body != size:
        raise ValueError(f"{path} must hold {size} bytes for its shape {sides}, found {body}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sides)
