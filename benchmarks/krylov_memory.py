"""Question: within how much memory is a block on disk solved.

FashionMNIST, n base samples x C4, 3 hidden ReLU Dense layers, 10 outputs, Gram tiles in a store, a Krylov space for 10
finite times and t = inf with a ridge of 1e-3: peak resident memory of the whole process, from images to predictions at
200 test images, and seconds. Checked by the residual of t = inf against the tiles, in products of their own.

    python benchmarks/krylov_memory.py --n 20000 --json krylov_memory.json
"""

import argparse
import resource
import sys
import tempfile
import time

import numpy as np

import haarflow as hf
from haarflow import groups, solvers
from haarflow.bench import DENSE, write_json
from haarflow.learning import learn

TIMES = np.append(np.geomspace(1e1, 1e7, 10), np.inf)


def peak_gb():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--dtype", default="float64", choices=("float32", "float64"))
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    data, test = hf.datasets.fashion_mnist(args.n), hf.datasets.fashion_mnist(200, split="test")
    imported = peak_gb()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.monotonic()
        ensemble = hf.DeepEnsemble(
            DENSE,
            action=groups.image_rotations(4),
            ridge=1e-3,
            solver=solvers.Krylov(tolerance=args.tolerance),
            dtype=args.dtype,
            store=folder,
        )
        ensemble.fit(data.x, data.y)
        gram = time.monotonic() - start
        law = ensemble.predict(test.x, TIMES)
        seconds, peak = time.monotonic() - start, peak_gb()
        # The space has grown, so that this only multiplies.
        fitted, learnt = learn(ensemble._fitted, ensemble._filter, TIMES[-1:])
        (alpha,) = learnt[0].coefficients()
        residual = fitted.spectra[0].multiply(alpha) + fitted.ridge * alpha - fitted.labels[0]
        relative = float(np.linalg.norm(residual) / np.linalg.norm(fitted.labels[0]))
    half = args.n**2 / 2 * np.dtype(args.dtype).itemsize / 1e9
    print(
        f"n = {args.n} x C4, {args.dtype}: peak {peak:.2f} GB (data and imports {imported:.2f} GB), tiles {half:.1f} GB"
    )
    print(f"{seconds:.0f} s, of which the Gram {gram:.0f} s; residual at t = inf {relative:.1e}")
    print(f"estimated errors {law.error.min():.0e} to {law.error.max():.0e}")
    results = {"peak_gb": peak, "seconds": seconds, "gram_s": gram, "residual": relative, "error": law.error.tolist()}
    write_json(args.json, {"workload": "Krylov memory", "options": vars(args), **results})


if __name__ == "__main__":
    main()
