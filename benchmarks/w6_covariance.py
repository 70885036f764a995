"""Question: how long and how much memory the covariance of W6 takes, beside neural-tangents.

FashionMNIST, n base samples x D4, 3 hidden ReLU Dense layers, 10 outputs, 200 test images, 5 times: mean and
Sigma_t(x, x), or Sigma_t(x, x'). The peer is given the listed 8n images: jitted kernel_fn and
predict.gradient_descent_mse_ensemble with compute_cov=True, all times in one call; its covariance is always
full. Whole jobs, from images to predictions. Time: medians after a whole run of each. Memory: the peak
resident size of a process that runs the job once, above its size once all it needs is imported.

    python benchmarks/w6_covariance.py --n 500 --json w6.json
"""

import argparse
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import jax
import numpy as np

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import DENSE, timed, write_json
from haarflow.kernels.backend import x64

TIMES = np.geomspace(1e2, 1e6, 5)
ACTION = groups.image_dihedral()


def diagonal(x, y, x_test):
    ensemble = hf.DeepEnsemble(DENSE, action=ACTION, progress=False).fit(x, y, covariance=True)
    return ensemble.predict(x_test, TIMES, covariance="diagonal").variance


def full(x, y, x_test):
    ensemble = hf.DeepEnsemble(DENSE, action=ACTION, progress=False).fit(x, y, covariance=True)
    return ensemble.predict(x_test, TIMES, covariance="full").covariance


def peer(x, y, x_test):
    nt = kernels.neural_tangents()
    listed = ACTION.orbit(x).reshape(-1, *x.shape[1:])
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(
            peer_kernel(), listed, np.tile(y, (len(listed) // len(y), 1))
        )
        law = predict(t=TIMES, x_test=x_test, get="ntk", compute_cov=True)
        return np.asarray(law.covariance)


@cache
def peer_kernel():
    return jax.jit(kernels.to_neural_tangents(DENSE)[2], static_argnames="get")


JOBS = {"diagonal": diagonal, "full": full, "peer": peer}


def work(n):
    train, test = hf.datasets.fashion_mnist(n), hf.datasets.fashion_mnist(200, split="test")
    return train.x, train.y, test.x


def peak():
    """Largest resident size of this process so far, in MB.

    Linux's resource.getrusage would do only without a parent: its ru_maxrss starts at the size of what was forked.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1e3


def memory(name, arrays):
    """Return the peak of one job above the imports, in MB, from a process of its own.

    It is handed the arrays: reading a whole data set would raise the baseline.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, *arrays)
        command = [sys.executable, __file__, "--memory", name, str(path)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(name, path):
    if name == "peer":
        kernels.neural_tangents()
    baseline = peak()
    with np.load(path) as file:
        arrays = [file[f"arr_{i}"] for i in range(3)]
    JOBS[name](*arrays)
    print(peak() - baseline)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[500])
    parser.add_argument("--repeats", type=int, default=5, help="of ours; the peer runs at most 3 times")
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--memory", nargs=2, metavar=("JOB", "ARRAYS"), help="print the peak of one job in MB")
    args = parser.parse_args()
    if args.memory:
        return measure_memory(*args.memory)
    rows = []
    for n in args.n:
        arrays = work(n)
        found, times = {}, {}
        for name, job in JOBS.items():
            job(*arrays)
            times[name], found[name] = timed(
                lambda job=job, arrays=arrays: job(*arrays), min(args.repeats, 3) if name == "peer" else args.repeats
            )
        megabytes = {name: memory(name, arrays) for name in JOBS}
        few = (arrays[0][:8], arrays[1][:8], arrays[2])
        compiler = {name: memory(name, few) for name in ("full", "peer")}
        theirs = {"full": found["peer"], "diagonal": np.diagonal(found["peer"], axis1=1, axis2=2)}
        print(f"n = {n} x D4: neural-tangents {times['peer']:.2f} s, {megabytes['peer']:.0f} MB")
        print(
            f"of which on 8 samples, compilation above all: {compiler['peer']:.0f} MB, ours {compiler['full']:.0f} MB"
        )
        print(f"{'':>9} {'time / s':>9} {'faster':>7} {'memory / MB':>12} {'less':>6} {'difference':>11}")
        for name in ("diagonal", "full"):
            row = {
                "n": n,
                "covariance": name,
                "ours_s": times[name],
                "peer_s": times["peer"],
                "ratio": times["peer"] / times[name],
                "ours_mb": megabytes[name],
                "peer_mb": megabytes["peer"],
                "memory_ratio": megabytes["peer"] / megabytes[name],
                "ours_8_samples_mb": compiler["full"],
                "peer_8_samples_mb": compiler["peer"],
                "difference": float(np.max(np.abs(found[name] - theirs[name]))),
            }
            rows.append(row)
            print(
                f"{name:>9} {row['ours_s']:9.3f} {row['ratio']:6.1f}x {row['ours_mb']:12.0f} "
                f"{row['memory_ratio']:5.1f}x {row['difference']:11.1e}",
                flush=True,
            )
    write_json(args.json, {"workload": "W6", "times": len(TIMES), "rows": rows})


if __name__ == "__main__":
    main()
