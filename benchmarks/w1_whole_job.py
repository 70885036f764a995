"""Question: how long does the whole job W1 take, from images to predictions, beside neural-tangents.

FashionMNIST, n base samples x C4, 3 hidden ReLU Dense layers, 10 outputs, 200 test images, 20 times with inf.
The peer is given the listed 4n images: jitted kernel_fn and predict.gradient_descent_mse_ensemble, all times
in one call. Both are warmed up by a whole run first; medians of the repeats.

    python benchmarks/w1_whole_job.py --n 250 500 1000 --json w1.json
"""

import argparse

import jax
import numpy as np
from common import timed, write_json

import haarflow as hf
from haarflow import groups, kernels
from haarflow.kernels.backend import x64

TIMES = np.append(np.geomspace(1e2, 1e6, 19), np.inf)
LAYERS = [kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 3
NETWORK = kernels.Sequential(kernels.Flatten(), *LAYERS, kernels.Dense(1.0, 0.1))
ACTION = groups.image_rotations(4)


def ours(x, y, x_test):
    return hf.DeepEnsemble(NETWORK, action=ACTION, progress=False).fit(x, y).predict(x_test, TIMES).mean


def peer():
    nt = kernels.neural_tangents()
    kernel_fn = jax.jit(kernels.to_neural_tangents(NETWORK)[2], static_argnames="get")

    def ensemble(x, y, x_test):
        with x64():
            listed = np.concatenate([np.rot90(x, g, axes=(1, 2)) for g in range(4)])
            predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, listed, np.tile(y, (4, 1)))
            finite = np.asarray(predict(t=TIMES[:-1], x_test=x_test, get="ntk"))
            late = np.asarray(predict(t=None, x_test=x_test, get="ntk"))
            return np.concatenate([finite, late[None]])

    return ensemble


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--repeats", type=int, default=5, help="of ours; the peer runs at most 3 times")
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    train, test = hf.datasets.fashion_mnist(max(args.n)), hf.datasets.fashion_mnist(200, split="test")
    their_job = peer()
    rows = []
    print(f"{'n':>6} {'ours / s':>10} {'peer / s':>10} {'ratio':>7} {'difference':>11}")
    for n in args.n:
        work = (train.x[:n], train.y[:n], test.x)
        ours(*work), their_job(*work)
        our_time, our_mean = timed(lambda work=work: ours(*work), args.repeats)
        their_time, their_mean = timed(lambda work=work: their_job(*work), min(args.repeats, 3))
        difference = float(np.max(np.abs(our_mean - their_mean)))
        rows.append(
            {
                "n": n,
                "ours_s": our_time,
                "peer_s": their_time,
                "ratio": their_time / our_time,
                "difference": difference,
            }
        )
        print(
            f"{n:6d} {our_time:10.3f} {their_time:10.2f} {their_time / our_time:7.1f} {difference:11.1e}",
            flush=True,
        )
    write_json(args.json, {"workload": "W1", "times": len(TIMES), "rows": rows})


if __name__ == "__main__":
    main()
