"""Question: how equivariant are means of M finite networks on the Ising task, beside their law and the paper.

Trained members of widths 512, 1024, 2048; the relative orbit std of the total energy of the mean of M of them, and the
orbit std itself beside what Sigma_t of the infinitely wide ensemble expects after the same steps.
"""

from functools import partial
from itertools import product

import numpy as np
from claims import paper
from claims.writing import Experiment, Table, number
from matplotlib.figure import Figure

import haarflow as hf
from finite.rates import slope_over_runs
from haarflow import groups, kernels, measures
from haarflow.finite import orbit_floor

# Of initial outputs, 1 for weights of variance 1: networks of these widths then stay close to their linearisation. The
# paper's spread would take 0.004 (docs/claims.md), where networks learn features and leave their law.
SCALE = 0.2
RUNS = 5
COLOURS = {512: "#009E73", 1024: "#E69F00", 2048: "#0072B2"}


def ising(n=128, m=64, widths=(512, 1024, 2048), members=(316, 100, 100), steps=(50, 200), subsets=50, seed=0):
    """Run the experiment.

    Parameters
    ----------
    n, m : int
        Base samples for training; orbits of each kind of inputs that are measured.
    widths, members : sequence of int
        Widths, and how many members of each are trained.
    steps : sequence of int
        Of full-batch gradient descent at half the largest stable rate, ascending.
    subsets : int
        Random choices of M out of the members.
    seed : int
        Of data, members and choices.
    """
    perms = groups.lattice_rotations(5)
    action = groups.permutation_action(groups.cyclic(4), perms)
    output = groups.Representation(action.group, groups.permutation_matrices(perms))
    arch = kernels.Sequential(
        kernels.Dense(2**0.5 * SCALE, 0.1 * SCALE), kernels.Relu(), kernels.Dense(1.0, 0.1 * SCALE)
    )
    data = hf.datasets.ising(n + m, seed=seed)
    x, y = data.x[:n], data.y[:n]
    outside = hf.datasets.off_manifold(m, 25, seed + 1)
    inputs = {"train": x[:m], "test": data.x[n:], "N(0,1)": outside}
    points = np.concatenate([action.orbit(each) for each in inputs.values()], axis=1)
    flat = points.reshape(-1, 25)

    first = hf.FiniteEnsemble(arch, 512, 1, action, output, dtype="float64")
    rate = first.largest_stable_rate(x, y) / 2
    law = hf.DeepEnsemble(arch, action, output, learning_rate=rate, flow="gradient_descent", progress=False)
    law.fit(x, y, covariance=True)
    limit = law.predict(flat, list(steps), covariance="full")
    mean = limit.mean[-1].reshape(4, -1, 25)
    covariances = [_deviations(each, points.shape[1]) for each in limit.covariance]
    loss = [np.square(each - y).sum() / np.square(y).sum() for each in law.predict(x, list(steps)).mean]

    kinds = {kind: slice(i * m, i * m + len(each)) for i, (kind, each) in enumerate(inputs.items())}
    losses = ", ".join(f"{100 * each:.1f} %" for each in loss)
    numbers = {"learning_rate": rate, "steps": steps, "loss_of_mean": loss, "widths": widths, "members": members}
    relative, agreement, falls, spreads = {}, [], [], {}
    for width, count in zip(widths, members, strict=True):
        ensemble = hf.FiniteEnsemble(arch, width, count, action, output, learning_rate=rate, seed=seed)
        f = ensemble.fit(x, y, list(steps)).predict(flat).astype(float).reshape(len(steps), count, 4, -1, 25)
        sizes = [M for M in (1, 10, *paper.ISING_MEMBERS) if count >= M]
        for (kind, place), (i, step) in product(kinds.items(), enumerate(steps)):
            part, expected = f[i][:, :, place], covariances[i][:, place, :, place]
            several = {M: _relative(part, M, subsets, seed) for M in sizes}
            relative[kind, width] = several  # the last steps' remain
            numbers[f"relative_orbit_std/{kind}/{width}/{step}"] = list(several.values())
            of_mean, of_members = _of_mean(part.sum(axis=-1), expected), _spread(part.sum(axis=-1), expected)
            numbers[f"orbit_std_of_mean_over_law/{kind}/{width}/{step}"] = of_mean
            numbers[f"variance_over_law/{kind}/{width}/{step}"] = spreads[kind, width, step] = of_members
            agreement.append([kind, str(step), str(width), *_beside_one(*of_mean), *_beside_one(*of_members)])
            slope, low, high = _slope(part.sum(axis=-1))
            floor = orbit_floor(part.sum(axis=-1, keepdims=True).swapaxes(0, 1))
            numbers[f"slope_in_members/{kind}/{width}/{step}"] = slope, low, high
            numbers[f"floor_standard_errors/{kind}/{width}/{step}"] = floor.standard_errors
            falls.append([kind, str(step), str(width), f"{slope:.3f} ({low:.3f} .. {high:.3f})"])
            falls[-1].append(f"{floor.standard_errors:+.1f}")
        difference = np.linalg.norm(f[-1, :100].mean(axis=0) - mean, axis=-1) / np.linalg.norm(mean, axis=-1)
        numbers[f"difference_to_law_of_100/{width}"] = [np.median(difference[:, p]) for p in kinds.values()]
    return Experiment(
        "ising",
        f"Ising, {n} samples × C4, finite width",
        "How equivariant is the mean of M trained networks, does it follow M^-1/2, and does its law say how much?",
        [
            f"5 × 5 lattice, {n} samples × C4, MSE on the 25 local energies, equivariant output; one hidden ReLU "
            f"layer; full-batch gradient descent at half the largest stable rate (the loss of μ_t is {losses} of its "
            f"start after {', '.join(map(str, steps))} steps). The paper's lattice, activation, scale, rate and steps "
            f"are not known to us: stand-ins. The first layer's scale is {SCALE}; about 0.004 would give members the "
            "paper's spread, and take them far from their law.",
            f"Means of M members are means of {subsets} random choices of M out of all that were trained; choices of "
            f"all members are one. The metric averaged over {m} orbits, the median over choices; in brackets its "
            "median over orbits: the average is that of the few orbits whose mean energy is near 0, and falls slowly.",
            "Beside the law, Σ_t of the infinitely wide ensemble after the same steps. Mean of all M: root mean square "
            "over orbits of the deviations of its total energy, over what Σ_t / M says; the standard error is Σ_t's "
            "own. Members: the variance over members of these deviations, over that of Σ_t, with the standard error "
            "over members: M times as many numbers, so that it sees what is of the order 1/width in the variance.",
            f"Slope in M: of the root mean square of these deviations, for disjoint means of M = 1, 2, 4 ... in {RUNS} "
            "shares of the members. Floor: what infinitely many would leave, from products of different members; its "
            "square over its standard error.",
            "Extrapolated: the parabola in 1/width through the three variances, at 0.",
        ],
        [
            _table(relative, widths, steps[-1]),
            Table(
                "Total energy's deviations on the orbit, over their law",
                ["inputs", "steps", "width", "mean of all M: std / law", "s.e. off", "members: variance / law",
                 "s.e. off"],
                agreement,
            ),
            Table(
                "How the orbit std of the mean of M falls",
                ["inputs", "steps", "width", "slope in M, 95 %", "floor², s.e."],
                falls,
            ),
            Table(
                "Members' variance over its law, extrapolated to infinite width",
                ["inputs", "steps", "variance / law", "s.e. off"],
                [
                    [kind, str(step), *_beside_one(*_extrapolated(widths, [spreads[kind, w, step] for w in widths]))]
                    for kind, step in product(kinds, steps)
                ],
            ),
            Table(
                f"Relative difference of the mean of 100 members to μ_t after {steps[-1]} steps, median over inputs",
                ["inputs", *(f"width {w}" for w in widths), "paper [F]"],
                [
                    [kind, *(number(numbers[f"difference_to_law_of_100/{w}"][i]) for w in widths),
                     ", ".join(number(v) for v in paper.ISING_TO_NTK[kind])]
                    for i, kind in enumerate(kinds)
                ],
            ),
        ],
        numbers,
        partial(_draw, relative, widths),
    )  # fmt: skip


def _deviations(covariance, points):
    """Return the law's covariance of the total energy's deviations from its mean on the orbit, [4, p, 4, p]."""
    blocks = 25 * covariance.reshape(4, points, 4, points)  # 25 independent outputs are added
    blocks = blocks - blocks.mean(axis=0)
    return blocks - blocks.mean(axis=2, keepdims=True)


def _of_mean(energy, expected):
    """Return the orbit std of the mean of all members over the law's, from energies [M, |G|, p]; its standard error."""
    mean = energy.mean(axis=0)
    square = np.square(mean - mean.mean(axis=0)).sum()
    law = expected.reshape(mean.size, mean.size) / len(energy)
    # Of a Gaussian: E |d|^2 = tr S, with variance 2 tr S^2.
    ratio, error = square / np.trace(law), np.sqrt(2 * np.square(law).sum()) / np.trace(law)
    return np.sqrt(ratio), error / 2


def _spread(energy, expected):
    """Return members' orbit variance over the law's, from energies [M, |G|, p], and its standard error."""
    centred = energy - energy.mean(axis=0)
    deviations = np.square(centred - centred.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
    ratio = deviations * len(energy) / (len(energy) - 1) / np.einsum("gpgp->", expected)
    return ratio.mean(), ratio.std(ddof=1) / np.sqrt(len(ratio))


def _extrapolated(widths, spreads):
    """Return the ratio at infinite width by the polynomial in 1/width through all, and its standard error."""
    x = 1 / np.array(widths)
    weights = [np.prod(np.delete(x, i) / (np.delete(x, i) - x[i])) for i in range(len(x))]
    ratios, errors = np.transpose(spreads)
    return weights @ ratios, np.linalg.norm(weights * errors)


def _beside_one(ratio, error):
    return f"{ratio:.3f} ± {error:.3f}", f"{(ratio - 1) / error:+.1f}"


def _relative(f, M, subsets, seed):
    """Return mean and median over orbits of the relative orbit std of means of M members, median over choices."""
    rng = np.random.default_rng([seed, M])
    count = 1 if len(f) == M else subsets
    means = [f[rng.choice(len(f), M, replace=False)].mean(axis=0) for _ in range(count)]
    orbits = np.array([measures.relative_orbit_std(each) for each in means])
    return np.median(orbits.mean(axis=1)), np.median(orbits)


def _slope(energy):
    """Return the slope in M of the orbit std of disjoint means of M members, energies [P, |G|, p]; 95 % interval."""
    share = len(energy) // RUNS
    sizes = 2 ** np.arange(int(np.log2(share)) + 1)
    squares = np.empty((RUNS, len(sizes)))
    for run, i in product(range(RUNS), range(len(sizes))):
        own = energy[run * share : (run + 1) * share]
        means = own[: share // sizes[i] * sizes[i]].reshape(-1, sizes[i], *own.shape[1:]).mean(axis=1)
        squares[run, i] = np.square(means - means.mean(axis=1, keepdims=True)).mean()
    return slope_over_runs(sizes, squares)


def _table(relative, widths, steps):
    sizes = sorted({M for by_members in relative.values() for M in by_members})
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in relative):
        for M in sizes:
            row = [kind, str(M)]
            for width in widths:
                found = relative[kind, width].get(M)
                place = 5 if M == 1 else {M: i for i, M in enumerate(paper.ISING_MEMBERS)}.get(M)
                theirs = paper.ISING[kind].get(width) if place is not None else None
                row += [
                    "" if found is None else f"{number(found[0])} ({number(found[1])})",
                    "" if theirs is None else number(theirs[place]),
                ]
            rows.append(row)
    heads = [head for width in widths for head in (f"width {width}", "paper [F]")]
    return Table(f"Relative orbit std of the total energy after {steps} steps", ["inputs", "M", *heads], rows)


def _draw(relative, widths, path):
    kinds = list(dict.fromkeys(kind for kind, _ in relative))
    figure = Figure(figsize=(3.6 * len(kinds), 4), layout="constrained")
    for ax, kind in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
        for width in widths:
            sizes = np.array(list(relative[kind, width]))
            values = np.array([median for _, median in relative[kind, width].values()])
            colour = COLOURS.get(width, "#555555")
            ax.plot(sizes, values, "o-", color=colour, label=f"trained, width {width}")
            if width in paper.ISING[kind]:
                row = paper.ISING[kind][width]
                ax.plot([1, *paper.ISING_MEMBERS], [row[5], *row[:5]], "x", color=colour, label=f"paper, {width}")
        ax.plot(sizes, values[0] / np.sqrt(sizes), ":", color="#555555", label=r"$M^{-1/2}$")
        ax.set(xscale="log", yscale="log", title=kind, xlabel="members M")
    figure.axes[0].set_ylabel("relative orbit std of the mean, median over orbits")
    figure.axes[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=150)
