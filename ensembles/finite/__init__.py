"""Finite ensembles: how far a mean of M members strays from the infinite one, and how many members are enough."""

from haarflow.finite.bounds import deviation_bound, members_needed
from haarflow.finite.floors import Floor, orbit_floor
from haarflow.finite.orbits import expected_orbit_mse, members_needed_on_orbit, orbit_variance

__all__ = [
    "Floor",
    "deviation_bound",
    "expected_orbit_mse",
    "members_needed",
    "members_needed_on_orbit",
    "orbit_floor",
    "orbit_variance",
]
