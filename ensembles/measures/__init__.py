"""How far outputs on an orbit are from equivariant: the numbers that the papers report.

Most measures take outputs f(gx) stacked over the group, [|G|, ..., k], the layout that a model gives on
`action.orbit(x)`; the axes between (test points, times, members) are kept. Invariant outputs need no
representation; equivariant ones pass rho_Y as `output`. Arrays do not know their group: `group=action.group` says
which element is the identity, f(x), which is not element 0 in every group. Measures of learned equivariance take the
model itself, as any callable: its layers, its forces or its energy.
"""

from haarflow.measures.averaging import FrameAveraging, frame_averaged, frame_averaging_error
from haarflow.measures.deviations import orbit_error, orbit_mse, pull_back, relative_orbit_std
from haarflow.measures.features import FeatureCorrelation, feature_correlation
from haarflow.measures.forces import force_equivariance_error
from haarflow.measures.gradients import rotational_gradient
from haarflow.measures.predictions import continuous_same_prediction, orbit_same_prediction, symmetrised_kl

__all__ = [
    "FeatureCorrelation",
    "FrameAveraging",
    "continuous_same_prediction",
    "feature_correlation",
    "force_equivariance_error",
    "frame_averaged",
    "frame_averaging_error",
    "orbit_error",
    "orbit_mse",
    "orbit_same_prediction",
    "pull_back",
    "relative_orbit_std",
    "rotational_gradient",
    "symmetrised_kl",
]
