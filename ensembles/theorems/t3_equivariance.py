"""T3: the augmented ensemble is equivariant at every training time, on every input."""

import numpy as np

from haarflow.deep import DeepEnsemble
from haarflow.measures import orbit_error
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["emergent_equivariance"]


@theorem(
    "T3",
    "mu_t(gx) = rho_Y(g) mu_t(x) for every g, every t, and x off the data manifold",
    "Gerken & Kessel 2024, main theorem",
    bound=1e-11,
    floor=1e-3,
)
def emergent_equivariance(workload: Workload) -> Measurement:
    """Measure the relative orbit error of the mean on N(0, 1) inputs over training time, with and without."""
    augmented = DeepEnsemble(
        workload.architecture,
        action=workload.action,
        output=workload.output,
        reduction="orbit",
        progress=False,
    ).fit(workload.x, workload.y)
    plain = DeepEnsemble(workload.architecture, progress=False).fit(workload.x, workload.y)
    scales = augmented.timescales
    times = np.append(np.geomspace(scales[0] / 10, scales[-1] * 10, 25), np.inf)
    points = np.concatenate([workload.outside, workload.x[:4]])
    orbit = workload.action.orbit(points)
    errors = {
        name: _errors(ensemble, orbit, times, workload)
        for name, ensemble in (("augmented", augmented), ("plain", plain))
    }
    curves = {"times": times, "early": scales[:1], "late": scales[-1:], **errors}
    return Measurement(float(errors["augmented"].max()), float(errors["plain"].min()), "no augmentation", curves)


def _errors(ensemble: DeepEnsemble, orbit: np.ndarray, times: np.ndarray, workload: Workload) -> np.ndarray:
    mean = ensemble.predict(orbit.reshape(-1, *orbit.shape[2:]), times).mean
    by_element = mean.reshape(len(times), *orbit.shape[:2], -1).transpose(1, 0, 2, 3)
    return orbit_error(by_element, workload.output, group=workload.action).max(axis=-1)
