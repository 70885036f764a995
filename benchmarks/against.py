"""Question: is this version of haarflow slower than another, on the workloads W1, W2, W3 and W6.

Both versions wait in a process of their own, and each case is run by one and then by the other, in turn, so that what
else the machine does meets both alike. One run before is not counted. Printed for each case: the median seconds of
both, and the median, the smallest and the largest of the ratios pair by pair. The other version is the Python of an
environment where it is installed, with the same dependencies. `--busy` runs processes beside that keep a core each.

    python benchmarks/against.py ../before/.venv/bin/python --repeats 7 --json against.json
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import haarflow as hf
from haarflow import groups, kernels

TIMES = np.append(np.geomspace(1e2, 1e6, 19), np.inf)
DENSE = kernels.Sequential(
    kernels.Flatten(), *[kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 3, kernels.Dense(1.0, 0.1)
)


def job(n, action, covariance=None):
    train, test = hf.datasets.fashion_mnist(n), hf.datasets.fashion_mnist(200, split="test").x
    times = TIMES[::4] if covariance else TIMES

    def work():
        ensemble = hf.DeepEnsemble(DENSE, action=action, progress=False)
        ensemble.fit(train.x, train.y, covariance=covariance is not None).predict(test, times, covariance)

    return work


def cross(padding, dtype):
    layers = [kernels.Conv(3, padding, 2**0.5, 0.1), kernels.Relu()] * 3
    kernel = kernels.analytic(kernels.Sequential(*layers, kernels.GlobalAvgPool(), kernels.Dense(2**0.5, 0.1)), dtype)
    x = hf.datasets.fashion_mnist(128).x.reshape(128, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    return lambda: kernel(x[:64], x[64:])


def gram(dtype):
    kernel, x = kernels.analytic(DENSE, dtype), hf.datasets.fashion_mnist(3000).x.reshape(3000, -1)
    return lambda: kernel(x)


CASES = {
    "W1, n = 1000 x C4": lambda: job(1000, groups.image_rotations(4)),
    "W1, n = 2000 x C4": lambda: job(2000, groups.image_rotations(4)),
    **{
        f"W2, cross, {padding}, {dtype}": lambda padding=padding, dtype=dtype: cross(padding, dtype)
        for padding in ("CIRCULAR", "SAME")
        for dtype in ("float64", "float32")
    },
    "W3, float64": lambda: gram("float64"),
    "W3, float32": lambda: gram("float32"),
    "W6, n = 500 x D4, diagonal": lambda: job(500, groups.image_dihedral(), "diagonal"),
    "W6, n = 500 x D4, full": lambda: job(500, groups.image_dihedral(), "full"),
}


def serve():
    """Run the cases that standard input names, one after the other, and print the seconds of each run."""
    ready = {}
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in ready:
            ready[name] = CASES[name]()
            ready[name]()
        start = time.perf_counter()
        ready[name]()
        print(time.perf_counter() - start, flush=True)


class Version:
    """A process that runs cases by one version."""

    def __init__(self, python):
        command = [python, __file__, "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, name):
        """Run a case; seconds."""
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def compare(name, ours, other, repeats):
    """Run a case in turn by both versions."""
    for version in (ours, other):
        version.run(name)
    pairs = [(ours.run(name), other.run(name)) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    row = {
        "seconds": statistics.median(a for a, _ in pairs),
        "other": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    spread = f"{min(ratios):.2f} .. {max(ratios):.2f}"
    print(f"{name:32} {row['seconds']:8.3f} s {row['other']:8.3f} s   {row['ratio']:.3f} ({spread})", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", nargs="?", help="Python of the environment that has the other version")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep a core each, beside the measurement")
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve()
    if args.other is None or not Path(args.other).exists():
        parser.error(f"other must be the Python of an environment with another version, found {args.other}")
    from haarflow.bench import write_json

    print(f"{'':32} {'this':>8}   {'other':>8}     ratio", flush=True)
    idle = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    versions = Version(sys.executable), Version(args.other)
    try:
        rows = {name: compare(name, *versions, args.repeats) for name in CASES if name.startswith(args.only)}
    finally:
        for version in versions:
            version.close()
        for process in idle:
            process.kill()
    write_json(args.json, {"busy": args.busy, "cases": rows})


if __name__ == "__main__":
    main()
