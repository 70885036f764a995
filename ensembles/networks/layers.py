"""Layers that only finite networks have: no closed form of their kernel is known here."""

from dataclasses import dataclass
from typing import ClassVar

from haarflow.kernels.architecture import Layer

__all__ = ["LayerNorm", "Tanh"]


@dataclass(frozen=True)
class Tanh(Layer):
    """The nonlinearity tanh(u)."""

    kind: ClassVar[str] = "nonlinear"


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Centre and normalise each sample over all its axes, without parameters.

    Source: Ba et al. 2016 (arXiv 1607.06450); affine-free in Nordenfors & Flinth 2024.
    """

    kind: ClassVar[str] = "norm"
