"""haarflow: the exact law of infinitely wide deep ensembles trained with data augmentation over a group."""

from importlib.metadata import version as _version

from haarflow import datasets, finite, groups, kernels, measures, networks, solvers, testing, theorems
from haarflow.cost import CostWarning
from haarflow.datasets import one_hot
from haarflow.deep import DeepEnsemble
from haarflow.finite import deviation_bound, expected_orbit_mse, members_needed, members_needed_on_orbit
from haarflow.fitting import SolverWarning
from haarflow.kernels import InputWarning
from haarflow.kernels.distributed import ClusterWarning
from haarflow.law import ConvergenceWarning, Law, ResolutionWarning
from haarflow.networks import DivergenceError, FiniteEnsemble, StabilityWarning
from haarflow.reduction import ReductionWarning
from haarflow.subgroups import subgroup_bound

__version__ = _version("haarflow")

__all__ = [
    "ClusterWarning",
    "ConvergenceWarning",
    "CostWarning",
    "DeepEnsemble",
    "DivergenceError",
    "FiniteEnsemble",
    "InputWarning",
    "Law",
    "ReductionWarning",
    "ResolutionWarning",
    "SolverWarning",
    "StabilityWarning",
    "datasets",
    "deviation_bound",
    "expected_orbit_mse",
    "finite",
    "groups",
    "kernels",
    "measures",
    "members_needed",
    "members_needed_on_orbit",
    "networks",
    "one_hot",
    "solvers",
    "subgroup_bound",
    "testing",
    "theorems",
]
