"""Question: how fast do trained finite ensembles come to their law, in the width and in the number of members.

One hidden layer, full-batch gradient descent at half the largest stable rate, outputs on whole orbits of test inputs:
total energies of Ising lattices (Dense, C4), parity of digits (Conv, C4), cross products (Dense, the 24 rotations of a
cube, equivariant outputs). The law is that of the same steps of gradient descent at infinite width: mean, covariance
of all test outputs with each other, orbit MSE. Beside each member two linearised networks are trained, which have mean
zero less the law's over initialisations exactly, so that they are taken away as control variates:

- g, with the infinite network's kernel: its mean and its covariance are the law's;
- d, the first order in (Theta_member - Theta) of the linearised network with the member's own kernel.

Less both, a member's deviation from the law's mean is of the order 1 / width. From covariance and orbit MSE only g's is
taken away (with d, E gd' would count, which is of the order 1 / width itself), which leaves noise of the order
width^-1/2; the covariance is around the members' own mean, known from f - g - d. So biases of the order 1 / width are
seen under noise that would hide them otherwise. Slopes in M are of plain members, without control variates.

    python benchmarks/finite_agreement.py --json finite_agreement.json --figure finite_agreement.png
"""

import argparse
import time

import numpy as np
from finite.rates import norm, slope_of_norms, slope_over_runs, standard_errors
from finite.tasks import TASKS
from finite.variates import trained

from haarflow.bench import machine, write_json

QUANTITIES = ("mean", "covariance", "orbit MSE")


def by_width(task, widths, members, seed):
    """Return inner products of what is left of the three quantities, for each width, and how far g is from the law."""
    left, held = {name: [] for name in QUANTITIES}, []
    covariance = task.law[1]
    for width in widths:
        f, g, d = trained(task, width, members, seed)
        b = f - g - d
        left["mean"].append(b @ b.T)
        left["covariance"].append(_covariances(f, g, b.mean(axis=0)))
        excess = _orbit_mse(task, f) - _orbit_mse(task, g)
        left["orbit MSE"].append(np.outer(excess, excess))
        own = np.einsum("md,de,me->m", g, covariance, g)
        held.append(standard_errors(np.square(g @ g.T) - own - own[:, None] + np.square(covariance).sum()))
        print(f"{task.name}: width {width}, {members} members", flush=True)
    return left, held


def _covariances(f, g, bias):
    """Return inner products of the members' f f' - g g' - bias bias', without writing these matrices down."""
    crossed = np.square(f @ g.T)
    of_bias = np.square(f @ bias) - np.square(g @ bias)
    squares = np.square(f @ f.T) + np.square(g @ g.T) - crossed - crossed.T
    return squares - of_bias - of_bias[:, None] + (bias @ bias) ** 2


def _orbit_mse(task, f):
    return np.square(task.deviations(f)).sum(axis=-1).mean(axis=(-2, -1))


def _orbit_mse_of_law(task, covariance):
    values, vectors = np.linalg.eigh(covariance)
    return float(values @ _orbit_mse(task, vectors.T))


def by_members(task, width, most, ensembles, seed):
    """Return mean squares over independent ensembles and disjoint means of M members: sizes, distance, orbit MSE.

    Relative to the law's mean; what the law expects beside them.
    """
    mean, covariance = task.law
    sizes = 2 ** np.arange(2, int(np.log2(most)) + 1)
    scale = np.square(mean).sum()
    distance, orbit = [], []
    for ensemble in range(ensembles):
        f = task.finite(width, most, seed + 1 + ensemble)
        means = [f[: most // size * size].reshape(-1, size, f.shape[1]).mean(axis=1) for size in sizes]
        distance.append([np.square(each - mean).sum(axis=1).mean() / scale for each in means])
        orbit.append([_orbit_mse(task, each).mean() for each in means])
        print(f"{task.name}: width {width}, {most} members", flush=True)
    size = np.square(mean).sum() / (len(task.rho) * len(task.test))
    expected = np.trace(covariance) / scale / sizes, _orbit_mse_of_law(task, covariance) / size / sizes
    return sizes, (np.array(distance), np.array(orbit) / size), expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--members", type=int, default=1000, help="for slopes in width")
    parser.add_argument("--most", type=int, default=4096, help="members for slopes in M, at most")
    parser.add_argument("--width", type=int, default=512, help="of slopes in M")
    parser.add_argument("--ensembles", type=int, default=4, help="independent ones for slopes in M")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--figure", help="where the figure is written")
    args = parser.parse_args()
    if args.ensembles < 2:
        parser.error(f"--ensembles must be at least 2 for an interval, found {args.ensembles}")
    results = {}
    for name in args.only:
        start, task = time.monotonic(), TASKS[name](seed=args.seed)
        results[name] = measured(task, args)
        results[name] |= {"seconds": time.monotonic() - start, "learning_rate": task.rate, "steps": task.steps}
        show(task, args, results[name])
    about = {"options": vars(args), "machine": machine()}
    write_json(args.json, {"workload": "finite agreement", **about, "tasks": results})
    if args.figure:
        draw(args, results)


def measured(task, args):
    """Return all of one task's numbers."""
    left, held = by_width(task, args.widths, args.members, args.seed)
    mean, covariance = task.law
    scales = np.linalg.norm(mean), np.linalg.norm(covariance), _orbit_mse_of_law(task, covariance)
    found = {
        quantity: {
            "left": [norm(P) / scale for P in several],
            "standard_errors": [standard_errors(P) for P in several],
            "slope": slope_of_norms(args.widths, several),
            "fitted": f"{sum(norm(P) > 0 for P in several)} of {len(several)} widths seen",
        }
        for (quantity, several), scale in zip(left.items(), scales, strict=True)
    }
    sizes, squares, expected = by_members(task, args.width, min(args.most, task.most), args.ensembles, args.seed)
    for quantity, square, wanted in zip(("distance of means", "orbit error of means"), squares, expected, strict=True):
        found[quantity] = {
            "found": np.sqrt(square.mean(axis=0)).tolist(),
            "expected": np.sqrt(wanted).tolist(),
            "slope": slope_over_runs(sizes, square),
            "fitted": f"{args.ensembles} ensembles",
        }
    return found | {"name": task.name, "sizes": sizes.tolist(), "control_variate_standard_errors": held}


def show(task, args, found):
    """Print one task's numbers."""
    print(f"\n{task.name}: {len(task.listed)} samples, {task.steps} steps at {task.rate:.3g}, {found['seconds']:.0f} s")
    print(f"  control variate's covariance to the law's: {_row(found['control_variate_standard_errors'], '+.1f')} s.e.")
    for quantity in QUANTITIES:
        part = found[quantity]
        print(f"  {quantity} less the law's, relative, widths {args.widths}: {_row(part['left'], '.2e')}")
        print(f"    squared, in standard errors: {_row(part['standard_errors'], '.1f')}; {_slope('width', part)}")
    for quantity in ("distance of means", "orbit error of means"):
        part = found[quantity]
        print(f"  {quantity}, width {args.width}, M = {found['sizes']}: {_row(part['found'], '.2e')}")
        print(f"    expected from Sigma_t: {_row(part['expected'], '.2e')}; {_slope('M', part)}")
    print(flush=True)


def _row(values, form):
    return ", ".join(format(value, form) for value in values)


def _slope(over, part):
    found, low, high = part["slope"]
    return f"slope in {over} {found:.3f}, 95 % interval {low:.3f} .. {high:.3f} ({part['fitted']})"


def draw(args, results):
    """Draw a column for each task: biases over the width above, errors of means over M below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(results), 6.4), layout="constrained")
    rows = figure.subplots(2, len(results), squeeze=False, sharey="row")
    colours = ("#0072B2", "#E69F00", "#009E73")
    widths = np.array(args.widths)
    for (above, below), found in zip(rows.T, results.values(), strict=True):
        for quantity, colour in zip(QUANTITIES, colours, strict=True):
            left, (rate, *_) = found[quantity]["left"], found[quantity]["slope"]
            above.plot(widths, left, "o-", color=colour, label=f"{quantity}, slope {rate:.2f}")
        above.plot(widths, found["mean"]["left"][0] * widths[0] / widths, ":", color="#555555", label="1 / width")
        above.set(xscale="log", yscale="log", xlabel="width", title=found["name"])
        above.set_xticks(widths, [str(w) for w in widths])
        above.set_xticks([], minor=True)
        kinds = ("distance of means", "orbit error of means")
        for kind, label, colour in zip(kinds, ("distance to μ", "orbit error"), colours, strict=False):
            part = found[kind]
            below.plot(found["sizes"], part["found"], "o", color=colour, label=f"{label}, slope {part['slope'][0]:.2f}")
            below.plot(found["sizes"], part["expected"], "-", color=colour, lw=1, label="from Σ at infinite width")
        below.set(xscale="log", yscale="log", xlabel="members M")
        above.legend(fontsize="x-small")
        below.legend(fontsize="x-small")
    rows[0, 0].set_ylabel("trained less the law, relative")
    rows[1, 0].set_ylabel(f"error of the mean of M, width {args.width}, relative")
    figure.savefig(args.figure, dpi=150)


if __name__ == "__main__":
    main()
