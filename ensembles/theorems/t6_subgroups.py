"""T6: a finite subgroup leaves a continuous symmetry broken by no more than its covering radius times a gradient."""

import numpy as np

from haarflow import groups
from haarflow.deep import DeepEnsemble
from haarflow.groups.rotations import plane_rotations
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload, plane

__all__ = ["finite_subgroups", "measure_subgroups"]

_SUBGROUPS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_QUICK = (2, 4, 8, 64)
_STEPS = 9  # points of a segment
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
    turns = 2 * np.pi * (np.arange(angles) + 0.5) / angles
    sides = {"deviation": [], "bound": [], "ratio": [], "control": []}  # type: dict[str, list[np.ndarray]]
    for k in subgroups:
        group = groups.cyclic(k)
        action = groups.matrix_action(group, plane_rotations(2 * np.pi * np.arange(k) / k))
        trained = DeepEnsemble(workload.architecture, action=action, reduction="orbit", progress=False)
        left, right = _sides(trained.fit(workload.x, workload.y), points, turns, k, times)
        sides["deviation"].append(left.max(axis=(1, 2)))
        sides["bound"].append(right.max(axis=(1, 2)))
        sides["ratio"].append((left / right).max(axis=(1, 2)))
        left, right = _sides(plain, points, turns, k, times)
        sides["control"].append((left / right).max(axis=(1, 2)))
    curves = {"subgroups": np.array(subgroups), "times": times, **{n: np.stack(v, axis=1) for n, v in sides.items()}}
    telling = curves["control"][:, np.array(subgroups) >= _TELLING].max(axis=0)
    return Measurement(
        float(curves["ratio"].max()),
        float(telling.min()),
        f"no augmentation, held to C_k's eps, k >= {_TELLING}",
        curves,
    )


def _sides(
    ensemble: DeepEnsemble, points: np.ndarray, turns: np.ndarray, k: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return |mu(gx) - mu(x)| and eps |x| max |grad mu| on the segment from the nearest ax to gx: [T, angles, p]."""
    nearest = np.round(turns * k / (2 * np.pi)) * 2 * np.pi / k
    ends, starts = (np.einsum("gij,pbj->gpbi", plane_rotations(angle), points) for angle in (turns, nearest))
    base = ensemble.predict(points, times).mean
    moved = ensemble.predict(ends.reshape(-1, *points.shape[1:]), times).mean
    moved = moved.reshape(len(times), *ends.shape[:2], -1)
    left = np.linalg.norm(moved - base[:, None], axis=-1)
    steps = np.linspace(0, 1, _STEPS).reshape(-1, 1, 1, 1, 1)
    segment = (starts + steps * (ends - starts)).reshape(-1, *points.shape[1:])
    slopes = ensemble.jacobian(segment, times)
    sizes = np.linalg.norm(slopes.reshape(*slopes.shape[:3], -1), ord=2, axis=(2, 3))
    largest = sizes.reshape(len(times), _STEPS, *ends.shape[:2]).max(axis=1)
    norms = np.linalg.norm(points.reshape(len(points), -1), axis=1)
    return left, 2 * np.sin(np.pi / (2 * k)) * norms * largest
