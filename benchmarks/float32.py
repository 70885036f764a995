"""Question: what does float32 lose, and where.

Kernels and means in float32 beside float64, on the same data: largest difference of K and Theta relative to the float64
value, on all pairs with coincident ones; of the mean relative to its largest value, at t = 1e3, 1e6, inf, without and
with a ridge of 1e-3. 400 digits or FashionMNIST images x C4 under a dense network, 60 digits under convolutional
ones. The condition is that of the Gram block.

    python benchmarks/float32.py --json float32.json
"""

import argparse
import warnings

import numpy as np

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import write_json

TIMES = np.array([1e3, 1e6, np.inf])
C4 = groups.image_rotations(4)


def dense(activation):
    hidden = [kernels.Dense(2**0.5, 0.1), activation] * 3
    return kernels.Sequential(kernels.Flatten(), *hidden, kernels.Dense(1.0, 0.1))


def conv(head):
    layers = [kernels.Conv(3, "SAME", 2**0.5, 0.1), kernels.Relu()] * 2
    return kernels.Sequential(*layers, head, kernels.Dense(1.0, 0.1))


def cases():
    digits, clothes = hf.datasets.digits(450), hf.datasets.fashion_mnist(450)
    for name, network, data, n in (
        ("digits, dense ReLU", dense(kernels.Relu()), digits, 400),
        ("FashionMNIST, dense ReLU", dense(kernels.Relu()), clothes, 400),
        ("digits, dense erf", dense(kernels.Erf()), digits, 400),
        ("digits, CNN with Flatten", conv(kernels.Flatten()), digits, 60),
        ("digits, CNN with GlobalAvgPool", conv(kernels.GlobalAvgPool()), digits, 60),
    ):
        yield name, network, data.x[:n], data.y[:n], data.x[n : n + 50]


def lost(a, b):
    return float(np.max(np.abs(a.astype(float) - b)) / np.max(np.abs(b)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    warnings.simplefilter("ignore", hf.ResolutionWarning)
    rows = []
    columns = ["K", "Theta", "t = 1e3", "1e6", "inf", "1e6, r.", "inf, r.", "cond."]
    print(" " * 32, " ".join(f"{column:>8}" for column in columns))
    for name, network, x, y, x_test in cases():
        x, x_test = (part.astype("float32").astype("float64") for part in (x, x_test))
        exact, rough = (kernels.analytic(network, dtype)(x) for dtype in ("float64", "float32"))
        kernel = [float(np.max(np.abs(a / b - 1))) for a, b in zip(rough, exact, strict=True)]
        means = [
            hf.DeepEnsemble(network, action=C4, ridge=ridge, dtype=dtype, progress=False)
            .fit(x, y)
            .predict(x_test, TIMES)
            .mean
            for ridge in (0.0, 1e-3)
            for dtype in ("float64", "float32")
        ]
        plain = [lost(b, a) for a, b in zip(means[0], means[1], strict=True)]
        ridged = [lost(b, a) for a, b in zip(means[2], means[3], strict=True)][1:]
        scales = hf.DeepEnsemble(network, action=C4, progress=False).fit(x, y).timescales
        figures = [*kernel, *plain, *ridged, float(scales[-1] / scales[0])]
        rows.append({"case": name, "figures": figures})
        print(f"{name:32} " + " ".join(f"{figure:8.0e}" for figure in figures), flush=True)
    write_json(args.json, {"columns": columns, "rows": rows})


if __name__ == "__main__":
    main()
