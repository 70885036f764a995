"""A random small ensemble from one seed: kernel, action, outputs, data that coincide, dynamics, solver, times."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from fuzz.actions import Acting, draw_acting, draw_output
from fuzz.extended import Swinging, Tikhonov
from fuzz.profiles import PROFILES, Mixed
from strategies import random_subgroup

from haarflow import groups, solvers

__all__ = ["Problem", "draw"]

# Order of the listed set, but for groups that are larger.
LARGEST = 40
# Tighter than what is drawn on purpose, wider than rounding: no two augmented points are that far apart.
_TOUCHING, _APART = 4e-15, 1e-10

# What a sample is, from those before it, and how often.
KINDS = {
    "fresh": 0.6,
    "symmetric": 0.1,
    "on an orbit": 0.06,
    "on an orbit, other label": 0.06,
    "twice": 0.04,
    "twice, other label": 0.04,
    "blank": 0.04,
    "near": 0.06,
}
TESTS = {"anywhere": 0.5, "orbit": 0.3, "near": 0.1, "blank": 0.05, "larger": 0.05}


def _chosen(weights, count, rng):
    return tuple(str(kind) for kind in rng.choice(list(weights), count, p=list(weights.values())))


@dataclass(frozen=True, eq=False)
class Problem:
    """What is asked of the library, and of the list."""

    seed: int
    kernel: Mixed
    acting: Acting
    output: groups.Representation | None
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    x_test: np.ndarray = field(repr=False)
    times: np.ndarray
    loss: str
    learning_rate: float
    ridge: float
    flow: solvers.Filter
    solver: str | solvers.Krylov
    reduction: str
    covariance: str | None
    at_once: bool
    calls: int
    kinds: tuple[str, ...]

    def __str__(self):
        output = "invariant" if self.output is None else self.output.name
        data = ", ".join(self.kinds)
        return (
            f"seed {self.seed}: {self.acting.action.name} on {self.acting.shape}, {output}, "
            f"{len(self.x)} samples ({data}), {self.y.shape[1]} outputs, kernel {self.kernel.content_key[:200]} in "
            f"{self.kernel.dtype}, {self.loss} loss, rate {self.learning_rate:.3g}, ridge {self.ridge:.3g}, "
            f"{type(self.flow).__name__} {getattr(self.flow, 'momentum', '')}, {self.solver}, {self.reduction}, "
            f"covariance {self.covariance}, times {self.times}"
        )

    @property
    def order(self):
        """Of the listed set."""
        return len(self.x) * self.acting.group.order

    @property
    def rate(self):
        """The flow's time in one unit of the user's clock."""
        return self.learning_rate / (self.order * self.y.shape[1] if self.loss == "mean" else 1)

    @cached_property
    def points(self):
        """The augmented set, laid out flat, element by element: [|G| n, D]."""
        flat = self.x.reshape(len(self.x), -1)
        return np.einsum("gab,nb->gna", self.acting.matrices, flat).reshape(self.order, -1)

    @cached_property
    def labels(self):
        """Those of the augmented set, [|G| n, k]."""
        if self.output is None:
            return np.tile(self.y, (self.acting.group.order, 1))
        return np.einsum("gab,nb->gna", self.output.matrices, self.y).reshape(self.order, -1)


def draw(seed):
    """The problem of that seed."""
    rng = np.random.default_rng([seed, 15])
    while True:
        acting = draw_acting(rng)
        output = draw_output(acting, rng)
        most = max(1, LARGEST // acting.group.order)
        n = min(int(rng.integers(1, most + 1)), int(rng.integers(1, 41)))
        kinds = _chosen(KINDS, n, rng)
        if rng.random() < 0.3:
            kinds = ("fresh",) * n
        x, y = _data(acting, output, kinds, rng)
        problem = _pose(seed, acting, output, x, y, kinds, rng)
        if _clear(problem):
            return problem


def _data(acting, output, kinds, rng):
    shape, group, n = acting.shape, acting.group, len(kinds)
    k = int(rng.integers(1, 5)) if output is None else output.dim
    x, y = np.empty((n, *shape)), rng.standard_normal((n, k))
    sizes = 10.0 ** rng.uniform(-1.5, 1.5, n) if rng.random() < 0.25 else np.ones(n)

    def move(g, x):
        return (acting.matrices[g] @ x.ravel()).reshape(shape)

    for i, kind in enumerate(kinds):
        x[i] = rng.standard_normal(shape) * sizes[i]
        j, g = int(rng.integers(max(i, 1))), int(rng.integers(group.order))
        if kind == "symmetric":
            x[i] = np.mean([move(h, x[i]) for h in random_subgroup(group, rng)], axis=0)
            x[i] = np.where(np.abs(x[i]).max() < 1e-12, 0.0, x[i])  # no direction that rounding chose
        elif kind == "blank":
            x[i] = 0
        elif kind == "near" and i:
            x[i] = move(g, x[j]) + 10.0 ** rng.uniform(-4, -1) * np.linalg.norm(x[j]) * x[i] / sizes[i]
        elif kind != "fresh" and i:
            g = g if "orbit" in kind else group.identity
            x[i] = move(g, x[j])
            if "other" not in kind:
                y[i] = y[j] if output is None else output.matrices[g] @ y[j]
    return x, y


def _scaled_labels(y, output, dtype, rng):
    far = 12 if dtype == "float32" else 30
    y = y * 10.0 ** rng.uniform(-far, far) if rng.random() < 0.2 else y
    if output is None and rng.random() < 0.3:
        # float32 holds nothing below 1e-45.
        y = y * 10.0 ** rng.uniform(-19, 0 if dtype == "float32" else 19, y.shape[1])
    if rng.random() < 0.1:
        y = y * (rng.random(y.shape[1] if output is None else 1) < 0.5)
    return y


def _kernel(acting, x, dtype, invariant, rng):
    size = acting.matrices.shape[1]
    metric = np.eye(size) + rng.standard_normal((size, size)) / (2 * np.sqrt(size))
    if rng.integers(2):
        metric = np.eye(size)
    if invariant:
        metric = np.einsum("gba,bc,gcd->ad", acting.matrices, metric, acting.matrices, optimize=True)
        metric /= acting.group.order
    typical = float(np.sqrt(np.mean(x**2) * size)) or 1.0
    unit = 10.0 ** rng.uniform(-5, 5) if rng.random() < 0.2 else 1.0
    mixtures = []
    for _ in range(2):
        names = rng.choice(list(PROFILES), size=int(rng.integers(1, 4)), replace=False)
        # Homogeneous ones grow with the samples, and are brought to the size of others.
        mixtures.append({str(name): unit * 10.0 ** rng.uniform(-2, 0) / _size(name, typical) for name in names})
    width = typical * 10.0 ** rng.uniform(-1.2, 0.7)
    rare = rng.random()
    if rare < 0.08:
        # Blocks of irreps vanish, but for rounding.
        names = (["linear"], ["constant"], ["linear", "constant"])[rng.integers(3)]
        mixtures[1] = dict.fromkeys(names, unit)
    elif rare < 0.25:
        # Near a multiple of the identity: one tight cluster of eigenvalues.
        mixtures[1] = {str(rng.choice(["laplace", "gauss"])): unit}
        width = typical * 10.0 ** rng.uniform(-1, -0.3)
    return Mixed(*mixtures, metric, width, dtype)


def _size(name, typical):
    return typical**2 if PROFILES[name][1] else 1.0


def _pose(seed, acting, output, x, y, kinds, rng):
    unit = 10.0 ** rng.uniform(-4, 4) if rng.random() < 0.2 else 1.0
    x = unit * x
    dtype = "float32" if rng.random() < 0.15 else "float64"
    y = _scaled_labels(y, output, dtype, rng)
    invariant = acting.group.order == 1 or rng.random() < 0.95
    kernel = _kernel(acting, x, dtype, invariant, rng)
    solver = "dense"
    if rng.random() < 0.3:
        solver = "krylov"
        if rng.integers(2):
            solver = solvers.Krylov(10.0 ** rng.uniform(-12, -2), preconditioner=int(rng.integers(0, 30)))
    ridge = 10.0 ** rng.uniform(-8, 1) if rng.random() < 0.4 else 0.0
    flow = _flow(rng)
    loss = str(rng.choice(["mean", "sum"]))
    reduction = "auto" if not invariant else str(rng.choice(["auto", "orbit", "explicit"], p=[0.45, 0.4, 0.15]))
    covariance = None if solver != "dense" else (None, "diagonal", "full")[rng.integers(3)]
    chosen = {
        "x_test": _tests(acting, x, rng), "loss": loss, "ridge": ridge, "flow": flow, "solver": solver,
        "reduction": reduction, "covariance": covariance, "at_once": bool(rng.integers(2)),
        "calls": int(rng.integers(1, 3)), "kinds": kinds,
    }  # fmt: skip
    problem = Problem(seed, kernel, acting, output, x, y, times=np.zeros(1), learning_rate=1.0, **chosen)
    theta = kernel.exactly(problem.points, problem.points).ntk
    largest = float(np.linalg.norm(theta, 2)) + ridge * float(np.mean(np.diagonal(theta)))
    rate, times = _clock(flow, largest or 1.0, rng)
    rate = rate / problem.rate
    return Problem(seed, kernel, acting, output, x, y, times=times, learning_rate=rate, **chosen)


def _flow(rng):
    kind = rng.choice(["flow", "descent", "momentum", "own", "swinging"], p=[0.4, 0.15, 0.3, 0.08, 0.07])
    if kind == "momentum":
        return solvers.HeavyBall(float(rng.choice([0.0, 0.3, 0.5, 0.9, 0.99, 0.999])))
    own = {"flow": solvers.GradientFlow, "descent": solvers.GradientDescent, "own": Tikhonov, "swinging": Swinging}
    return own[kind]()


def _clock(flow, largest, rng):
    """The rate in the flow's clock, and times in the user's, from 0 to inf."""
    count = int(rng.integers(1, 6))
    if isinstance(flow, (solvers.GradientDescent, solvers.HeavyBall)):
        momentum = getattr(flow, "momentum", 0.0)
        rate = 2 * (1 + momentum) * (0.9 if rng.random() < 0.3 else 10.0 ** rng.uniform(-3, -0.01)) / largest
        times = np.floor(10.0 ** rng.uniform(0, rng.choice([1, 5]), count))
    else:
        rate = 10.0 ** rng.uniform(-4, 4) / largest
        latest = 3 if isinstance(flow, Swinging) else float(rng.choice([2, 6, 14]))
        times = 10.0 ** rng.uniform(-4, latest, count) / largest / rate
    ends = [t for t in (0.0, np.inf) if rng.integers(2) and not (isinstance(flow, Swinging) and t)]
    return rate, rng.permutation([*times, *ends])


def _tests(acting, x, rng):
    """Test points: anywhere, on orbits, near them, symmetric, blank, far larger."""
    m = int(rng.integers(1, 5))
    typical = float(np.sqrt(np.mean(x**2))) or 1.0
    out = rng.standard_normal((m, *acting.shape)) * typical
    for i, kind in enumerate(_chosen(TESTS, m, rng)):
        g, j = int(rng.integers(acting.group.order)), int(rng.integers(len(x)))
        moved = (acting.matrices[g] @ x[j].ravel()).reshape(acting.shape)
        if kind == "orbit":
            out[i] = moved
        elif kind == "near":
            out[i] = moved + 1e-4 * out[i]
        elif kind == "blank":
            out[i] = 0
        elif kind == "larger":
            out[i] *= 30
    return out


def _clear(problem):
    """Whether any two augmented points coincide, or differ visibly."""
    points = problem.points
    size = float(np.linalg.norm(points, axis=1).max())
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    return not ((gaps > _TOUCHING * size) & (gaps < _APART * size)).any()
