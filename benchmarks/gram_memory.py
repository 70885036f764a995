"""Question: how much memory does a training Gram matrix take above its result.

Both kernels of a dense network (3 hidden ReLU layers) on n FashionMNIST images, of the convolutional network of
workload W2 on 256 images 14 x 14, and the orbit Gram under the 3136 elements of p4 on 250 images. Each in a process of
its own: the peak of its resident size, above that before the Gram matrix was asked for and above the result; compiling
is part of it.

    python benchmarks/gram_memory.py --json memory.json
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import write_json

DENSE = kernels.Sequential(
    kernels.Flatten(), *[kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 3, kernels.Dense(2**0.5, 0.1)
)


def dense(n, dtype):
    x = hf.datasets.fashion_mnist(n).x
    return lambda: tuple(kernels.analytic(DENSE, dtype)(x))


def conv(n, dtype, padding):
    layers = [kernels.Conv(3, padding, 2**0.5, 0.1), kernels.Relu()] * 3
    network = kernels.Sequential(*layers, kernels.GlobalAvgPool(), kernels.Dense())
    x = hf.datasets.fashion_mnist(n).x.reshape(n, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    return lambda: tuple(kernels.analytic(network, dtype)(x))


def orbits(n):
    action, x = groups.image_p4(28), hf.datasets.fashion_mnist(n).x
    return lambda: kernels.orbit_gram(kernels.analytic(DENSE), action, x, [groups.trivial(action.group, 1)]).blocks


CASES = {
    "dense, n = 3000, float64": lambda: dense(3000, "float64"),
    "dense, n = 3000, float32": lambda: dense(3000, "float32"),
    "dense, n = 10000, float64": lambda: dense(10000, "float64"),
    "convolutional, CIRCULAR, n = 256, float64": lambda: conv(256, "float64", "CIRCULAR"),
    "convolutional, SAME, n = 256, float64": lambda: conv(256, "float64", "SAME"),
    "orbits of p4, n = 250, float64": lambda: orbits(250),
}


def resident(field):
    """Resident size of this process in MB: VmHWM its peak, VmRSS that of now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1e3


def measure(name):
    work = CASES[name]()
    np.eye(64) @ np.eye(64)  # BLAS takes its buffers
    # Loading a data set has a peak of its own, which must not hide the Gram matrix's.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = resident("VmRSS")
    result = work()
    print(resident("VmHWM") - before - sum(part.nbytes for part in result) / 1e6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--case", choices=CASES, help="measure one in this process")
    args = parser.parse_args()
    if args.case:
        return measure(args.case)
    rows = {}
    for name in CASES:
        command = [sys.executable, __file__, "--case", name]
        rows[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{rows[name]:6.0f} MB above the result: {name}", flush=True)
    write_json(args.json, {"megabytes above the result": rows})


if __name__ == "__main__":
    main()
