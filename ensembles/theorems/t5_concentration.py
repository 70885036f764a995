"""T5: the mean of M members keeps within a Gaussian bound of the infinite ensemble."""

import numpy as np

from haarflow.deep import DeepEnsemble
from haarflow.finite import deviation_bound
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["concentration"]

_SIZES = (1, 4, 16, 64)
_TRIALS = 12_000
_RATIOS = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


@theorem(
    "T5",
    "P(|mean of M members - mu_t| > delta) <= sqrt(2/pi) (s/delta) exp(-delta^2 / 2 s^2), s^2 = Sigma_t(x, x) / M",
    "Gerken & Kessel 2024, deviation of finite ensembles",
    bound=3.0,
    floor=3.0,
)
def concentration(workload: Workload) -> Measurement:
    """Measure how often drawn ensembles deviate by more than delta, in standard errors above the bound."""
    ensemble = DeepEnsemble(
        workload.architecture, action=workload.action, output=workload.output, reduction="orbit", progress=False
    ).fit(workload.x, workload.y, covariance=True)
    scales = ensemble.timescales
    times = np.array([scales[0], float(np.sqrt(scales[0] * scales[-1])), np.inf])
    point = workload.outside[:1]
    law = ensemble.predict(point, times, covariance="diagonal")
    assert law.variance is not None
    k = law.mean.shape[2]
    ensembles = -(-(_TRIALS // 3 if workload.quick else _TRIALS) // k)
    trials = ensembles * k  # outputs are independent
    members = ensembles * _SIZES[-1]
    f = ensemble.sample(point, times, members, seed=workload.seed)[:, :, 0] - law.mean
    variance = law.variance[:, 0]
    shape = (len(times), len(_SIZES), len(_RATIOS))
    frequency, rms = np.empty(shape), np.empty(shape[:2])
    for i, size in enumerate(_SIZES):
        # Equally many ensembles of every size.
        groups = f[:, : size * ensembles]
        means = groups.reshape(len(times), -1, size, f.shape[-1]).mean(axis=2).reshape(len(times), -1)
        s = np.sqrt(variance / size)[:, None]
        frequency[:, i] = (np.abs(means)[:, :, None] > (s * _RATIOS)[:, None, :]).mean(axis=1)
        rms[:, i] = np.sqrt(np.square(means).mean(axis=1))
    bound, halved = (np.asarray(deviation_bound(spread, _RATIOS, 1)) for spread in (1.0, 0.25))
    above, broken = (_standard_errors(frequency, each, trials) for each in (bound, halved))
    curves = {
        "times": times,
        "sizes": np.array(_SIZES),
        "ratios": _RATIOS,
        "trials": np.array([trials]),
        "frequency": frequency,
        "bound": bound,
        "halved": np.broadcast_to(halved, shape).copy(),
        "rms": rms,
        "expected": np.sqrt(variance[:, None] / np.array(_SIZES)),
    }
    return Measurement(float(above.max()), float(broken.max(axis=2).min()), "s halved", curves)


def _standard_errors(frequency: np.ndarray, bound: np.ndarray, trials: int) -> np.ndarray:
    """Return how far a frequency lies above a bound on its probability, in binomial standard errors."""
    error = np.sqrt(np.maximum(bound * (1 - bound), 1 / trials) / trials)
    return np.asarray((frequency - bound) / error)
