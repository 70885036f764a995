"""How far outputs on an orbit are from equivariant: the numbers that the papers report.

Every measure takes outputs f(gx) stacked over the group, [|G|, ..., k], the layout that a model gives on
`action.orbit(x)`; the axes between (test points, times, members) are kept. Invariant outputs need no
representation; equivariant ones pass rho_Y as `output`.
"""

from haarflow.measures.deviations import orbit_error, orbit_mse, pull_back, relative_orbit_std
from haarflow.measures.forces import force_equivariance_error
from haarflow.measures.predictions import continuous_same_prediction, orbit_same_prediction, symmetrised_kl

__all__ = [
    "continuous_same_prediction",
    "force_equivariance_error",
    "orbit_error",
    "orbit_mse",
    "orbit_same_prediction",
    "pull_back",
    "relative_orbit_std",
    "symmetrised_kl",
]
