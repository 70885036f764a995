"""Question: how equivariant are means of M infinitely wide members on the Ising task.

The paper's relative orbit std of the total energy, M = 100 .. 10000, beside its finite widths.
"""

from functools import partial

import numpy as np

import haarflow as hf
from claims import paper
from claims.figures import over_members
from claims.members import draw, times_of_loss
from claims.writing import Experiment, Table, number
from haarflow import groups, kernels, measures

FRACTIONS = (0.1, 0.01, 0.0)
MEMBERS = (1, *paper.ISING_MEMBERS, np.inf)
# Single members of width 2048 in the paper: these two numbers set the two scales that are not known.
SINGLE_TEST, SINGLE_TRAIN = paper.ISING["test"][2048][5], paper.ISING["train"][2048][5]


def ising(n=128, m=128, ensembles=100, direct=20, seed=0):
    """Run the experiment.

    Parameters
    ----------
    n, m : int
        Base samples for training; orbits of each kind of inputs that are measured, at most n.
    ensembles : int
        Independent ensembles for each M.
    direct : int
        Ensembles of 100 members that are drawn member by member, as a check.
    seed : int
        Of data and draws.
    """
    task = _Task(5, n, m, seed)
    scale = SINGLE_TEST / task.slope("test", seed + 5)
    clock = task.clock(SINGLE_TRAIN / scale, seed + 6)
    times = np.insert(times_of_loss(task.ensemble, task.x, task.y, FRACTIONS), 2, clock)
    names, use = ["loss 10 %", "loss 1 %", "matched clock", "t = ∞"], 2

    numbers = {"times": times, "times_named": names, "members": MEMBERS, "timescales": task.ensemble.timescales}
    numbers |= {"initial_scale": scale, "clock": clock}
    matched, unscaled, differences = {}, {}, {}
    for i, (kind, points) in enumerate(task.inputs.items()):
        draws = draw(task.ensemble, task.action.orbit(points), times, ensembles, seed + 10 + i)
        matched[kind] = [draws.measure(M / scale**2, measures.relative_orbit_std)[use] for M in MEMBERS]
        unscaled[kind] = [draws.measure(M, measures.relative_orbit_std) for M in MEMBERS]
        differences[kind] = _difference(draws, 100 / scale**2)
        for name, found in (("matched", matched), ("unscaled", unscaled)):
            rows = np.broadcast_arrays(*found[kind])
            numbers[f"relative_orbit_std_{name}/{kind}"] = np.stack(rows)
        numbers[f"difference_to_infinite_M100_matched/{kind}"] = differences[kind]
        if kind == "test":
            by_law = np.median(measures.relative_orbit_std(draws.of(100)[use], axis=1), axis=-1)
    by_hand = task.by_hand(clock, direct, seed + 20)
    numbers["relative_orbit_std_unscaled/test_M100_member_by_member"] = by_hand
    numbers["relative_orbit_std_unscaled/test_M100_law"] = by_law
    mean = task.ensemble.predict(task.inputs["test"], times).mean
    numbers["relative_test_error"] = np.square(mean - task.y_test).sum(axis=(1, 2)) / np.square(task.y_test).sum()
    lattices = _lattices(n, m, seed)
    numbers |= {f"lattices/{name}": value for name, value in lattices.items()}

    decay = task.ensemble.timescales
    setting = [
        f"5 × 5 lattice, {n} samples × C4, MSE on the 25 local energies, equivariant output; one hidden ReLU "
        "layer, W_std² = 2 and 1, b_std = 0.1. Lattice size, activation, initial scale, learning rate and "
        "steps of the paper are not known to us: stand-ins.",
        "Ours: infinite width, gradient flow to a stated time. Means of M members are drawn from their exact "
        f"law N(μ_t, Σ_t/M), {ensembles} ensembles for each M; the metric is averaged over {m} orbits of each "
        "ensemble, then the median and the 10–90 % range over ensembles.",
        "*Matched*: members' spread scales with the initial output scale α while μ_t does not, so α = "
        f"{number(scale)} is set such that single members have the paper's {SINGLE_TEST} on test inputs at t "
        f"= ∞, and the clock, t = {number(clock)}/α², such that they have its {SINGLE_TRAIN} on train (both "
        "width 2048). The other numbers follow.",
        f"Loss of μ_t at 10 % and 1 % of its start: t = {number(times[0])}/α² and {number(times[1])}/α²; "
        f"decay times {number(decay[0])}/α² … {number(decay[-1])}/α². Squared error of μ_t on test local "
        f"energies, relative: {', '.join(number(v) for v in numbers['relative_test_error'])} at loss 10 "
        "%, loss 1 %, the clock, ∞.",
        f"Check, α = 1, M = 100, test, median over orbits: {_mean(by_hand)} in {direct} ensembles averaged member by "
        f"member, {_mean(by_law)} in {ensembles} from the law of the mean.",
    ]
    return Experiment(
        "ising",
        f"Ising, {n} samples × C4",
        "How equivariant is the mean of M members, over M, and is the infinite ensemble exactly so?",
        setting,
        [_table(matched), _over_time(unscaled, names), _differences(differences, use), _ratios(lattices, n)],
        numbers,
        partial(over_members, MEMBERS, matched, "matched clock and initial scale"),
    )


class _Task:
    """The trained infinite ensemble and its inputs, on a lattice of some side."""

    def __init__(self, side, n, m, seed):
        perms = groups.lattice_rotations(side)
        self.action = groups.permutation_action(groups.cyclic(4), perms)
        output = groups.Representation(self.action.group, groups.permutation_matrices(perms))
        network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
        data = hf.datasets.ising(n + m, side, seed=seed)
        self.x, self.y, self.y_test = data.x[:n], data.y[:n], data.y[n:]
        outside = hf.datasets.off_manifold(m, side**2, seed + 1)
        self.inputs = {"train": data.x[: min(m, n)], "test": data.x[n:], "N(0,1)": outside}
        self.ensemble = hf.DeepEnsemble(network, action=self.action, output=output, progress=False)
        self.ensemble.fit(self.x, self.y, covariance=True)

    def slope(self, kind, seed, times=(np.inf,)):
        """Give the orbit std per initial scale, for a small scale: d std / d alpha, medians over 50 members: [T]."""
        draws = draw(self.ensemble, self.action.orbit(self.inputs[kind]), times, 50, seed)
        slopes = np.median(draws.measure(1e8, measures.relative_orbit_std), axis=-1) * 1e4
        return slopes if len(times) > 1 else float(slopes[0])

    def clock(self, slope, seed):
        """Return the time at which members have this slope on the training set."""
        scales = self.ensemble.timescales
        times = np.geomspace(scales[-1] / 10, scales[-1] * 20, 24)
        slopes = np.minimum.accumulate(self.slope("train", seed, times))
        return float(np.exp(np.interp(-np.log(slope), -np.log(slopes), np.log(times))))

    def by_hand(self, time, ensembles, seed):
        """Average 100 members one by one: median over the test orbits, which has no heavy tail, [ensembles]."""
        orbit = self.action.orbit(self.inputs["test"])
        members = self.ensemble.sample(orbit.reshape(-1, *orbit.shape[2:]), [time], 100 * ensembles, seed)
        means = members.reshape(ensembles, 100, *orbit.shape[:2], -1).mean(axis=1)
        return np.median(measures.relative_orbit_std(means, axis=1), axis=-1)


def _lattices(n, m, seed):
    """Give the slopes on test and N(0,1) inputs at t = inf on lattices of 3 x 3 and 5 x 5, and 8 times the "
    "samples.
    """
    tasks = [(3, n), (5, n), (5, 8 * n)]
    slopes = []
    for side, samples in tasks:
        task = _Task(side, samples, min(m, 64), seed)
        slopes.append([task.slope(kind, seed + 7) for kind in ("test", "N(0,1)")])
    return {"side_and_samples": tasks, "slopes_test_and_normal": slopes}


def _difference(draws, members):
    """Give |E_M - E_inf| / |E_inf| of the energies, averaged over orbits and their elements: [T, E]."""
    energy, infinite = draws.of(members).sum(axis=-1), draws.mean.sum(axis=-1)[:, None]
    return np.abs(energy / infinite - 1).mean(axis=(2, 3))


def _mean(values):
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def _median(values):
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return number(middle) if len(values) == 1 else f"{number(middle)} ({number(low)}–{number(high)})"


_WIDTHS = [f"paper, width {width} [F]" for width in (512, 1024, 2048)]


def _table(found):
    rows = []
    for kind, values in found.items():
        for i, M in enumerate(MEMBERS):
            if np.isinf(M):
                rows.append([kind, "∞", _median(values[i]), "the NTK: 0 to rounding", "", ""])
                continue
            theirs = [number(row[i - 1 if i else 5]) for row in paper.ISING[kind].values()]
            rows.append([kind, str(M), _median(values[i]), *theirs])
    return Table(
        "Relative orbit std of the total energy, matched",
        ["inputs", "M (1: single members)", "infinite width, median (10–90 %)", *_WIDTHS],
        rows,
    )


def _over_time(found, names):
    rows = [
        [kind, label, *(number(np.median(values[i][t])) for t in range(len(names)))]
        for kind, values in found.items()
        for label, i in (("1", 0), ("100", 1), ("10000", 5), ("∞", -1))
    ]
    return Table(
        "The same over training time, infinite width, α = 1 as the network is written",
        ["inputs", "M", *names],
        rows,
        "At α = 1 a member starts with outputs twelve times the size of the labels (0.08): the energies of "
        "single members average to about 0 on some orbits, the ratio saturates, and M^-1/2 "
        "holds from larger M on only.",
    )


def _differences(differences, use):
    rows = [
        [kind, _median(values[use]), *(number(w) for w in paper.ISING_TO_NTK[kind])]
        for kind, values in differences.items()
    ]
    return Table(
        "Relative difference of the mean of M = 100 members to the infinite ensemble, matched",
        ["inputs", "infinite width, median (10–90 %)", *_WIDTHS],
        rows,
        "Ours holds the fluctuation of 100 members only; the paper's the deviation of finite width besides.",
    )


def _ratios(lattices, n):
    rows = [
        [f"{side} × {side}", str(samples), *(number(s) for s in slopes), number(slopes[1] / slopes[0])]
        for (side, samples), slopes in zip(*lattices.values(), strict=True)
    ]
    theirs = [paper.ISING["N(0,1)"][w][5] / paper.ISING["test"][w][5] for w in (512, 1024, 2048)]
    rows.append(["paper [F], widths 512, 1024, 2048", "128", "", "", ", ".join(number(r) for r in theirs)])
    return Table(
        "Orbit std per initial scale α at t = ∞: what no scale and no clock can change is the ratio",
        ["lattice", "samples × C4", "test", "N(0,1)", "N(0,1) / test"],
        rows,
        f"{n} samples and their turns are a small part of the 2^25 configurations of 5 × 5 sites, so that "
        "test configurations are as far from them as N(0,1) inputs are. On 3 × 3 sites "
        "they are most of the 512.",
    )
