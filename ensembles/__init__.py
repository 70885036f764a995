"""haarflow: the exact law of infinitely wide deep ensembles trained with data augmentation over a group."""

from importlib.metadata import version as _version

from haarflow import datasets, groups, kernels, measures, solvers, theorems
from haarflow.datasets import one_hot
from haarflow.deep import DeepEnsemble
from haarflow.law import Law, ResolutionWarning
from haarflow.reduction import ReductionWarning

__version__ = _version("haarflow")

__all__ = [
    "DeepEnsemble",
    "Law",
    "ReductionWarning",
    "ResolutionWarning",
    "datasets",
    "groups",
    "kernels",
    "measures",
    "one_hot",
    "solvers",
    "theorems",
]
