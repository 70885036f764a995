"""The images that workloads are measured on: FashionMNIST, or scikit-learn's digits where that is not installed."""

from collections.abc import Callable
from dataclasses import dataclass

from haarflow import datasets
from haarflow.datasets import Dataset

__all__ = ["DIGITS", "FASHION", "Images", "installed"]

# The last of the digits are test images.
_DIGITS, _HELD_BACK = 1797, 200


@dataclass(frozen=True)
class Images:
    """Where images come from.

    Attributes
    ----------
    name : str
        What they are called.
    side : int
        Pixels along each side.
    most : int
        How many there are to train on.
    train, test : callable
        n -> the first n, which are those of any larger n too.
    """

    name: str
    side: int
    most: int
    train: Callable[[int], Dataset]
    test: Callable[[int], Dataset]


def _held_back(n: int) -> Dataset:
    if n > _HELD_BACK:
        raise ValueError(f"n must be at most the {_HELD_BACK} digits that are held back, found {n}")
    whole = datasets.digits()
    last = slice(_DIGITS - n, _DIGITS)
    assert whole.labels is not None
    return Dataset(whole.name, whole.x[last], whole.y[last], whole.labels[last], whole.source)


FASHION = Images("FashionMNIST", 28, 60_000, datasets.fashion_mnist, lambda n: datasets.fashion_mnist(n, split="test"))
DIGITS = Images("digits", 8, _DIGITS - _HELD_BACK, datasets.digits, _held_back)


def installed() -> tuple[Images, str | None]:
    """Return FashionMNIST; or where it is not installed the digits, and why.

    Raises
    ------
    ValueError
        Where FashionMNIST is damaged.
    ImportError
        Where neither is installed.
    """
    try:
        FASHION.train(1), FASHION.test(1)
    except FileNotFoundError as error:
        DIGITS.train(1)
        return DIGITS, str(error)
    return FASHION, None
