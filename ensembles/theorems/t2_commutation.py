"""T2: functions of the augmented Gram matrix commute with permuting the augmented set."""

import numpy as np
from scipy.linalg import expm, pinvh

from haarflow import kernels
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["gram_commutation"]

_BASE = 6  # the augmented set is listed here


@theorem(
    "T2",
    "Pi(g) F(Theta) = F(Theta) Pi(g) for F = pseudo-inverse, exp(-t Theta), phi_t",
    "Gerken & Kessel 2024, permutation lemma",
    bound=1e-9,
    floor=1e-3,
)
def gram_commutation(workload: Workload) -> Measurement:
    """Measure the commutator's norm over F's norm, for every g, on the listed set."""
    group, x = workload.action.group, workload.x[:_BASE]
    listed = workload.action.orbit(x).reshape(-1, *x.shape[1:])
    spoilt = listed.copy()
    spoilt[len(x)] = workload.outside[0]  # one orbit element gives way to another point
    kernel = kernels.analytic(workload.architecture)
    residual, control = (_commutators(kernel(points).ntk, group.table, len(x)) for points in (listed, spoilt))
    curves = {"element": np.arange(group.order), "residual": residual, "control": control}
    return Measurement(float(residual.max()), float(control.max()), "one orbit element replaced", curves)


def _commutators(gram: np.ndarray, table: np.ndarray, n: int) -> np.ndarray:
    scale = float(np.linalg.eigvalsh(gram)[-1])
    t = 10 / scale
    flow = expm(-t * gram)
    # A pseudo-inverse is continuous only at fixed rank: the cut stands far above rounding.
    functions = [
        pinvh(gram, atol=0.0, rtol=1e-6),
        flow,
        pinvh(gram, atol=0.0, rtol=1e-6) @ (np.eye(len(gram)) - flow),
    ]
    worst = np.zeros(len(table))
    for g, row in enumerate(table):
        # Pi(g) sends the point (h, i) to (gh, i).
        moved = (row[:, None] * n + np.arange(n)).ravel()
        for F in functions:
            worst[g] = max(worst[g], np.linalg.norm(F[np.ix_(moved, moved)] - F) / np.linalg.norm(F))
    return worst
