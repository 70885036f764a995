"""Networks of finite width: trained ensembles beside their law, and the spaces their layers live in."""

from haarflow.networks.ensemble import FiniteEnsemble
from haarflow.networks.evaluation import feature_maps
from haarflow.networks.layers import LayerNorm, Tanh
from haarflow.networks.network import Network, initial_parameters
from haarflow.networks.penalty import critical_penalty
from haarflow.networks.stability import DivergenceError, StabilityWarning, largest_stable_rate
from haarflow.networks.structure import LayerSpace, layer_spaces, not_equivariant

__all__ = [
    "DivergenceError",
    "FiniteEnsemble",
    "LayerNorm",
    "LayerSpace",
    "Network",
    "StabilityWarning",
    "Tanh",
    "critical_penalty",
    "feature_maps",
    "initial_parameters",
    "largest_stable_rate",
    "layer_spaces",
    "not_equivariant",
]
