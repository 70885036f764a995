"""Question: does all of FashionMNIST under its quarter turns fit two cores and 24 GB, and what does it predict.

W4: 60,000 images x C4 (240,000 implied), 3 hidden ReLU Dense layers, 10 outputs, float32 Gram kept in tiles, a Krylov
space for 10 finite times and t = inf with a ridge. Accuracy on the 10,000 test images, upright and each turned by a
random quarter turn, beside the ensemble without augmentation. Seconds of each part, peak resident memory, the estimated
errors, and what the listed set would need. A run that is interrupted continues where it stopped: the folder keeps
tiles and Krylov spaces (about 20 GB).

    python benchmarks/w4_whole_fashion.py --store w4-store --json w4.json --figure w4.png
"""

import argparse
import resource
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

import haarflow as hf
from haarflow import groups, solvers
from haarflow.bench import DENSE, write_json
from haarflow.progress import progress_bar

FINITE = np.geomspace(1e1, 1e7, 10)


class Clock:
    """Passes progress on, and counts the seconds of each part."""

    def __init__(self, name, show):
        self.name, self.show, self.seconds, self.last = name, show, {}, time.monotonic()

    def __call__(self, label, done, total):
        """Take a report."""
        now = time.monotonic()
        self.seconds[label] = self.seconds.get(label, 0.0) + now - self.last
        self.last = now
        if self.show is not None:
            self.show(f"{self.name}: {label}", done, total)


def peak_gb():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def ensemble_row(name, action, args, data, tests, show):
    """Fit one ensemble and measure it on both test sets."""
    clock = Clock(name, show)
    start = time.monotonic()
    how = solvers.Krylov(tolerance=args.tolerance)
    ensemble = hf.DeepEnsemble(
        DENSE, action=action, ridge=args.ridge, solver=how, dtype=args.dtype, store=args.store, progress=clock
    )
    ensemble.fit(data.x, data.y)
    fitted = time.monotonic() - start
    times = np.append(FINITE, np.inf)
    # Both test sets in one pass: the Krylov space is grown once in any case.
    law = ensemble.predict(np.concatenate([images for images, _ in tests.values()]), times)
    found = {}
    parts = np.split(np.argmax(law.mean, axis=2), len(tests), axis=1)
    for (where, (_, classes)), predicted in zip(tests.items(), parts, strict=True):
        found[where] = (predicted == classes).mean(axis=1).tolist()
    return {
        "name": name,
        "samples": len(data.x) * action.group.order,
        "accuracy": found,
        "error": law.error.tolist(),
        "cut": law.cut.tolist(),
        "fit_s": fitted,
        "whole_s": time.monotonic() - start,
        "parts_s": clock.seconds,
        "peak_gb": peak_gb(),
    }


def table(rows, times):
    shown = Table("t")
    for row in rows:
        for where in row["accuracy"]:
            shown.add_column(f"{row['name']}, {where}", justify="right")
        shown.add_column("error", justify="right")
    for k, t in enumerate(times):
        cells = []
        for row in rows:
            cells += [f"{100 * accuracy[k]:.2f} %" for accuracy in row["accuracy"].values()]
            cells.append(f"{row['error'][k]:.0e}")
        shown.add_row(f"{t:.1e}", *cells)
    return shown


def draw(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, colour in zip(rows, ("tab:blue", "tab:orange"), strict=False):
        for (where, accuracy), style in zip(row["accuracy"].items(), ("-", "--"), strict=True):
            label = f"{row['name']}, {where}"
            axes.plot(FINITE, 100 * np.array(accuracy[:-1]), style, color=colour, marker="o", ms=3, label=label)
            axes.plot(FINITE[-1] * 4, 100 * accuracy[-1], "*", color=colour, ms=8)
    axes.set(xscale="log", xlabel="training time t (stars: t = inf, with ridge)", ylabel="test accuracy / %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=60_000, help="base samples")
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--store", default="w4-store", help="folder of tiles and Krylov spaces")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--ridge", type=float, default=0.1, help="in units of the mean Theta(x, x)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="relative error of the coefficients")
    parser.add_argument("--no-plain", action="store_true", help="leave the un-augmented ensemble out")
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--figure", help="where accuracies are drawn")
    args = parser.parse_args()
    data = hf.datasets.fashion_mnist(args.n)
    test = hf.datasets.fashion_mnist(args.test, split="test")
    turns = groups.image_rotations(4)
    by = np.random.default_rng(0).integers(4, size=len(test.x))
    turned = test.x.copy()
    for g in range(1, 4):
        turned[by == g] = turns(g, test.x[by == g])
    tests = {"upright": (test.x, test.labels), "turned": (turned, test.labels)}
    cases = {"augmented": turns} if args.no_plain else {"augmented": turns, "plain": groups.no_action()}
    console, rows = Console(), []
    with progress_bar(None) as show:
        for name, action in cases.items():
            rows.append(ensemble_row(name, action, args, data, tests, show))
    times = np.append(FINITE, np.inf)
    console.print(table(rows, times))
    for row in rows:
        parts = ", ".join(f"{label} {seconds:.0f} s" for label, seconds in row["parts_s"].items())
        size = row["samples"] ** 2 * (4 if args.dtype == "float32" else 8)
        console.print(
            f"{row['name']}: {row['samples']} samples, {row['whole_s']:.0f} s ({parts}), peak {row['peak_gb']:.1f} GB; "
            f"listed, the Gram matrix alone would be {size / 1e9:.0f} GB and its eigendecomposition "
            f"{9 * row['samples'] ** 3 / 1e15:.0f} PF",
            highlight=False,
        )
    if args.figure:
        draw(rows, args.figure)
    write_json(args.json, {"workload": "W4", "options": vars(args), "times": times.tolist(), "rows": rows})


if __name__ == "__main__":
    main()
