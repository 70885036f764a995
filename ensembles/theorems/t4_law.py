"""T4: the law of the members is equivariant at every training time and ends on the labels; members are not."""

import numpy as np

from haarflow.deep import DeepEnsemble
from haarflow.law import Law
from haarflow.measures import orbit_same_prediction, pull_back
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["equivariant_law"]

_SIZES = (10, 100)
_ENSEMBLES = 4  # of the largest size


@theorem(
    "T4",
    "Sigma_t(gx, gx') = Sigma_t(x, x') for every g and t, Sigma_inf = 0 on training orbits; single members differ",
    "Gerken & Kessel 2024, main theorem for the covariance",
    bound=1e-11,
    floor=1e-3,
)
def equivariant_law(workload: Workload) -> Measurement:
    """Measure the relative change of the covariance over the group; beside it, drawn members and their means."""
    augmented = DeepEnsemble(
        workload.architecture, action=workload.action, output=workload.output, reduction="orbit", progress=False
    ).fit(workload.x, workload.y, covariance=True)
    plain = DeepEnsemble(workload.architecture, progress=False).fit(workload.x, workload.y, covariance=True)
    scales = augmented.timescales
    times = np.append(np.geomspace(scales[0] / 3, scales[-1] * 10, 8 if workload.quick else 20), np.inf)
    orbit = workload.action.orbit(np.concatenate([workload.outside[:1], workload.x[:1]]))
    listed = orbit.reshape(-1, *orbit.shape[2:])
    laws = [ensemble.predict(listed, times, covariance="full") for ensemble in (augmented, plain)]
    law, broken = (_change(each, orbit.shape[:2], workload.action.group.identity) for each in laws)
    law[-1] += _left_on_training_orbits(laws[0], orbit.shape[:2])
    members = augmented.sample(listed, times, _SIZES[-1] * _ENSEMBLES, seed=workload.seed, coupled=True)
    norm = np.sqrt(np.square(members).sum(axis=-1).mean(axis=(1, 2)))
    drawn = {size: _means(members, size) for size in (1, *_SIZES)}
    deviations = {size: _deviation(f, orbit.shape[:2], workload) / norm for size, f in drawn.items()}
    means = dict(zip(("ensemble", "plain"), (each.mean for each in laws), strict=True))
    exact = {name: _deviation(f[:, None], orbit.shape[:2], workload) / norm for name, f in means.items()}
    curves = {
        "times": times,
        "early": scales[:1],
        "late": scales[-1:],
        "sizes": np.array(_SIZES),
        "law": law,
        "law_plain": broken,
        "members": deviations[1],
        "means": np.stack([deviations[size] for size in _SIZES]),
        **exact,
    }
    if workload.output is None and workload.y.shape[1] > 1:
        same = {size: _same(f, orbit.shape[:2], workload) for size, f in drawn.items()}
        curves |= {
            "osp_members": same[1],
            "osp_means": np.stack([same[size] for size in _SIZES]),
            "osp_ensemble": _same(means["ensemble"][:, None], orbit.shape[:2], workload),
            "osp_plain": _same(means["plain"][:, None], orbit.shape[:2], workload),
            "order": np.array([workload.action.group.order]),
        }
    control = min(float(broken.min()), float(deviations[1].min()))
    return Measurement(float(law.max()), control, "no augmentation; or single members for the ensemble", curves)


def _change(law: Law, shape: tuple[int, int], identity: int) -> np.ndarray:
    """Return max_g |Sigma_t(gx, gx') - Sigma_t(x, x')| over the largest variance, per time."""
    assert law.covariance is not None
    by_element = np.einsum("tgpgq->tgpq", law.covariance.reshape(-1, *shape, *shape))
    return np.asarray(
        np.abs(by_element - by_element[:, [identity]]).max(axis=(1, 2, 3)) / np.abs(by_element).max(axis=(1, 2, 3))
    )


def _left_on_training_orbits(law: Law, shape: tuple[int, int]) -> float:
    """Return the variance at the end of training of the last point's orbit, over the first point's."""
    assert law.covariance is not None
    variance = np.diagonal(law.covariance[-1]).reshape(shape)
    return float(np.abs(variance[:, -1]).max() / variance[:, 0].max())


def _means(members: np.ndarray, size: int) -> np.ndarray:
    """Average [T, M, m, k] over groups of members."""
    T, M, *rest = members.shape
    return members.reshape(T, M // size, size, *rest).mean(axis=2)


def _by_element(f: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Take [T, M, |G| p, k] to [|G|, T, M, p, k]."""
    return np.moveaxis(f.reshape(*f.shape[:2], *shape, f.shape[-1]), 2, 0)


def _deviation(f: np.ndarray, shape: tuple[int, int], workload: Workload) -> np.ndarray:
    """Return the root mean square of f(gx) - rho_Y(g) f(x) over members, points and elements, per time."""
    back = pull_back(_by_element(f, shape), workload.output)
    return np.asarray(np.sqrt(np.square(back - back[workload.action.group.identity]).sum(axis=-1).mean(axis=(0, 2, 3))))


def _same(f: np.ndarray, shape: tuple[int, int], workload: Workload) -> np.ndarray:
    return np.asarray(orbit_same_prediction(_by_element(f, shape), group=workload.action).mean(axis=(1, 2)))
