"""Question: what do the experiments of Gerken & Kessel 2024 (arXiv 2403.03103) give at infinite width.

Ising x C4; FashionMNIST x C4, C8, C16 with a Dense and a convolutional kernel; random rotations in SO(2); the
cross product under finite subgroups of SO(3) and its Haar average. Writes OUT/claims.h5 (every number),
OUT/claims.md (tables) and figures. The images need Debian's dataset-fashion-mnist, photographs scikit-learn.

    python benchmarks/infinite_width_claims.py --out claims
    python benchmarks/infinite_width_claims.py --out claims --only ising cross_product
"""

import argparse
from functools import partial
from pathlib import Path

from claims import paper
from claims.cross_product import cross_product
from claims.fashion import fashion
from claims.ising import ising
from claims.running import run
from claims.so2 import so2

# Keyword arguments of each experiment: quick look, default, --full.
DENSE = ({"n": 20, "side": 14, "m": 4}, {"n": 150, "side": 28, "m": 32}, {"n": 500, "side": 28, "m": 100})
CNN = ({"n": 10, "side": 14, "m": 3}, {"n": 40, "side": 14, "m": 10}, {"n": 150, "side": 28, "m": 48})
EXPERIMENTS = {
    "ising": (ising, ({"n": 16, "m": 8, "ensembles": 10, "direct": 2}, {}, {"ensembles": 1000, "direct": 40})),
    "fashion_dense": (fashion, tuple({"name": "Dense", **size} for size in DENSE)),
    "fashion_cnn": (fashion, tuple({"name": "CNN", **size} for size in CNN)),
    "so2_dense": (so2, tuple({"name": "Dense", **size} for size in DENSE)),
    "so2_cnn": (so2, tuple({"name": "CNN", "angles": 12, **size} for size in CNN)),
    "cross_product": (cross_product, ({"n": 10, "m": 4, "rotations": 4}, {}, {"n": 400, "m": 32, "rotations": 64})),
}

OPENING = """# The infinite-width claims of {source}, measured

Experiments of the paper that have an infinite-width counterpart, beside the paper's numbers. [T]: a table or the text
of the authors; [F]: read off a vector figure of theirs, to about 1e-3 of the axis. **Ours is infinite width, in closed
form, at a stated time of gradient flow; theirs is finite width, trained for a number of epochs.** What is a stand-in is
said under each heading.

    {command}

took {seconds:.0f} s, {processor_seconds:.0f} s of processor time, on {cores} cores that other work shared
(Python {python}, jax {jax}, numpy {numpy}). It writes this file, `claims.h5`
with every number, and the figures.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("claims-results"), help="folder for the results")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="more images, orbits and ensembles: hours")
    size.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    args = parser.parse_args()
    size = 0 if args.quick else 2 if args.full else 1
    jobs = {name: partial(EXPERIMENTS[name][0], **EXPERIMENTS[name][1][size]) for name in args.only}
    run("infinite_width_claims.py", "claims", jobs, OPENING, args.out, source=paper.SOURCE)


if __name__ == "__main__":
    main()
