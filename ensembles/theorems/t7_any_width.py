"""T7: ensembles of finite networks are equivariant too, where the group maps the space of layers to itself."""

from dataclasses import replace

import numpy as np

from haarflow import datasets, groups
from haarflow.finite import Floor, orbit_floor
from haarflow.kernels import Conv, Dense, GlobalAvgPool, Relu, Sequential
from haarflow.networks import FiniteEnsemble, Network, layer_spaces
from haarflow.theorems.registry import Measurement, theorem
from haarflow.theorems.workloads import Workload

__all__ = ["ASYMMETRIC", "CROSS", "any_width", "supports_workload"]

# The offsets of Nordenfors & Flinth 2024: a cross, and its four neighbours with one corner in place of the centre.
CROSS = ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))
ASYMMETRIC = ((-1, 0), (0, -1), (0, 1), (1, 0), (1, 1))
_NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0))

_WIDTH, _STEPS = 8, 100


def supports_workload(seed: int = 0, quick: bool = False) -> Workload:
    """Return digits under quarter turns with a narrow convolutional network, whose supports are crosses, or not."""
    data = datasets.digits(24, seed)
    return Workload(
        "supports x C4",
        f"digits under quarter turns, two convolutions of {_WIDTH} channels, {_STEPS} steps, invariant",
        _network(CROSS),
        groups.image_rotations(4),
        None,
        data.x[:12],
        data.y[:12],
        data.x[12:],
        _network(ASYMMETRIC),
        lambda x: x,
        "an asymmetric filter support",
        seed,
        quick,
    )


def _network(support: tuple[tuple[int, int], ...]) -> Sequential:
    conv = Conv(3, "SAME", 2**0.5, 0.1, support)
    return Sequential(conv, Relu(), conv, Relu(), GlobalAvgPool(), Dense(1.0, 0.1))


@theorem(
    "T7",
    "E[f_t(gx)] = rho_Y(g) E[f_t(x)] at any width and step, where the group maps the space of layers to itself",
    "Nordenfors & Flinth 2024, main theorem",
    bound=5.0,
    floor=7.0,
    own=lambda seed, quick: [supports_workload(seed, quick)],
)
def any_width(workload: Workload) -> Measurement:
    """Measure the orbit error left for M = inf, squared, in standard errors; symmetric and asymmetric supports."""
    members = 200 if workload.quick else 500
    network = Network(workload.architecture, _WIDTH, workload.x.shape[1:], workload.y.shape[1])
    tasks = {
        "symmetric": (workload.architecture, None),
        "initial": (workload.broken_architecture, _NEIGHBOURS),
        "asymmetric": (workload.broken_architecture, None),
    }
    curves: dict[str, np.ndarray] = {}
    floors: dict[str, Floor] = {}
    for name, (architecture, support) in tasks.items():
        orbit = _trained(workload, architecture, support, members)
        floors[name] = orbit_floor(orbit, group=workload.action)
        sizes = np.unique(np.geomspace(4, members, 8).astype(int))
        curves[name] = np.array([_error(orbit, size, workload) for size in sizes])
        curves[f"{name}_floor"] = np.array([floors[name].relative])
        curves["sizes"] = sizes
        spaces = layer_spaces(replace(network, architecture=architecture), workload.action)
        curves[f"{name}_commutator"] = np.array([max(space.commutator for space in spaces)])
    labels = {"symmetric": "symmetric", "initial": "asymmetric, symmetric at first", "asymmetric": "asymmetric"}
    told = [
        f"{label}: commutator {curves[f'{name}_commutator'][0]:.2g}, floor {floors[name].relative:.1%} "
        f"({floors[name].standard_errors:+.1f} s.e.)"
        for name, label in labels.items()
    ]
    return Measurement(
        abs(floors["symmetric"].standard_errors),
        floors["asymmetric"].standard_errors,
        workload.broken,
        curves,
        "; ".join(told),
    )


def _trained(
    workload: Workload, architecture: Sequential, support: tuple[tuple[int, int], ...] | None, members: int
) -> np.ndarray:
    """Return outputs [|G|, M, m, k] of trained members on the orbits of the points outside."""
    ensemble = FiniteEnsemble(
        architecture,
        _WIDTH,
        members,
        workload.action,
        learning_rate=15.0,
        options={"momentum": 0.9},
        initial_support=support,
        seed=workload.seed,
        progress=False,
    )
    ensemble.fit(workload.x, workload.y, steps=_STEPS)
    orbit = workload.action.orbit(workload.outside)
    (f,) = ensemble.predict(orbit.reshape(-1, *orbit.shape[2:]))
    return f.reshape(members, *orbit.shape[:2], -1).transpose(1, 0, 2, 3).astype(float)


def _error(orbit: np.ndarray, size: int, workload: Workload, subsets: int = 30) -> float:
    """Return the orbit error of means of some members, relative, root mean square over random choices of them."""
    rng = np.random.default_rng([workload.seed, size])
    chosen = [rng.choice(orbit.shape[1], size, replace=False) for _ in range(subsets)]
    means = np.stack([orbit[:, some].mean(axis=1) for some in chosen])
    deviations = np.square(means - means[:, [workload.action.group.identity]]).sum(axis=-1).mean()
    return float(np.sqrt(deviations / np.square(orbit.mean(axis=1)).sum(axis=-1).mean()))
