"""T6: a finite subgroup leaves a continuous symmetry broken by no more than its covering radius times a gradient."""

import numpy as np

from haarflow import groups
from haarflow.deep import DeepEnsemble
from haarflow.groups.rotations import plane_rotations
from haarflow.subgroups import subgroup_bound
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload, plane

__all__ = ["finite_subgroups", "measure_subgroups"]

_SUBGROUPS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_QUICK = (2, 4, 8, 64)
# From this order on the bound is tight enough to tell an ensemble that was not augmented.
_TELLING = 8


@theorem(
    "T6",
    "|mu_t(gx) - mu_t(x)| <= eps |x| max |grad mu_t| for g in SO(2), trained with C_k, eps = 2 sin(pi / 2k)",
    "Gerken & Kessel 2024, finite subgroups of continuous groups",
    bound=1.0,
    floor=1.0,
    own=lambda seed, quick: [plane(seed=seed, quick=quick)],
)
def finite_subgroups(workload: Workload) -> Measurement:
    """Measure the largest ratio of both sides over angles, subgroups and times."""
    return measure_subgroups(workload, _QUICK if workload.quick else _SUBGROUPS)


def measure_subgroups(workload: Workload, subgroups: tuple[int, ...], angles: int = 48) -> Measurement:
    """Compare both sides of the bound for several subgroups C_k.

    Parameters
    ----------
    workload : Workload
        Vectors in the plane, invariant outputs.
    subgroups : tuple of int
        The orders k.
    angles : int
        Elements g of SO(2), at equal steps and off every subgroup's lattice.
    """
    plain = DeepEnsemble(workload.architecture, progress=False).fit(workload.x, workload.y)
    scales = plain.timescales
    times = np.array([scales[0], float(np.sqrt(scales[0] * scales[-1])), np.inf])
    points = np.concatenate([workload.outside[:2], workload.x[:1]])
    turns = plane_rotations(2 * np.pi * (np.arange(angles) + 0.5) / angles)
    sides = {"deviation": [], "bound": [], "ratio": [], "control": []}  # type: dict[str, list[np.ndarray]]
    for k in subgroups:
        group = groups.cyclic(k)
        matrices = plane_rotations(2 * np.pi * np.arange(k) / k)
        action = groups.matrix_action(group, matrices)
        trained = DeepEnsemble(workload.architecture, action=action, reduction="orbit", progress=False)
        trained.fit(workload.x, workload.y)
        radius = 2 * float(np.sin(np.pi / (2 * k)))
        left, right = subgroup_bound(trained, points, turns, matrices, times, radius)
        sides["deviation"].append(left.max(axis=(1, 2)))
        sides["bound"].append(right.max(axis=(1, 2)))
        sides["ratio"].append((left / right).max(axis=(1, 2)))
        left, right = subgroup_bound(plain, points, turns, matrices, times, radius)
        sides["control"].append((left / right).max(axis=(1, 2)))
    curves = {"subgroups": np.array(subgroups), "times": times, **{n: np.stack(v, axis=1) for n, v in sides.items()}}
    telling = curves["control"][:, np.array(subgroups) >= _TELLING].max(axis=0)
    return Measurement(
        float(curves["ratio"].max()),
        float(telling.min()),
        f"no augmentation, held to C_k's eps, k >= {_TELLING}",
        curves,
    )
