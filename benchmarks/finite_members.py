"""Question: how many member-steps a second are trained, beside a Python loop, and which share of the GEMM peak is that.

Ising, 128 samples x C4 (512 a step), one hidden ReLU layer, 25 outputs, full-batch gradient descent in float32: beside
a Python loop over steps that calls the same step, jitted with JAX's defaults, one member after the other. Operations
are those of the five matrix products of a step; the peak is a float32 GEMM of order 2000. Medians of runs in turn.

    python benchmarks/finite_members.py --json finite_members.json
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import machine, measure_rates, write_json
from haarflow.networks import Network, initial_parameters
from haarflow.networks.forward import forward
from haarflow.networks.losses import LOSSES

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
RATE = 1.0


def task():
    data = hf.datasets.ising(128)
    perms = groups.lattice_rotations(5)
    action = groups.permutation_action(groups.cyclic(4), perms)
    return data, action, groups.Representation(action.group, groups.permutation_matrices(perms))


def ours(width, members, steps):
    """Return a function that trains all members, warmed up: the time is that of steps alone."""
    data, action, output = task()
    ensemble = hf.FiniteEnsemble(NETWORK, width, members, action, output, learning_rate=RATE, progress=False)
    ensemble.fit(data.x, data.y, 1)
    return lambda: ensemble.fit(data.x, data.y, steps)


def loop(width, members, steps):
    """Return a function that trains members one after the other, by a Python loop over a jitted step."""
    data, action, output = task()
    x = jnp.asarray(action.orbit(data.x).reshape(-1, 25), jnp.float32)
    y = jnp.asarray(np.einsum("gab,nb->gna", output.matrices, data.y).reshape(-1, 25), jnp.float32)
    network = Network(NETWORK, width, (25,), 25)

    @jax.jit
    def step(parameters):
        gradient = jax.grad(lambda p: LOSSES["mean"](forward(network, p, x), y))(parameters)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient)

    def run():
        for member in range(members):
            parameters = jax.tree.map(jnp.asarray, initial_parameters(network, 0, member))
            for _ in range(steps):
                parameters = step(parameters)
            jax.block_until_ready(parameters)

    jax.block_until_ready(step(initial_parameters(network, 0, 0)))
    return run


def seconds(job):
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    peak, rows = measure_rates().gemm["float32"], {}
    print(f"GEMM peak {peak / 1e9:.0f} GF/s in float32")
    for width in args.widths:
        steps = max(10, 40_000 // width)
        jobs = [make(width, args.members, steps) for make in (ours, loop)]
        times = np.array([[seconds(job) for job in jobs] for _ in range(args.repeats)])
        rates = args.members * steps / np.median(times, axis=0)
        # Forward, and back to the weights, 2 * 512 * 50 * width each; back to the hidden layer half of that.
        share = rates[0] * 2 * 512 * width * (50 + 50 + 25) / peak
        print(
            f"width {width}: {rates[0]:.0f} member-steps/s, loop {rates[1]:.0f}: {rates[0] / rates[1]:.2f} times; "
            f"{100 * share:.0f} % of the peak",
            flush=True,
        )
        rows[width] = {"ours": rates[0], "loop": rates[1], "share_of_peak": share}
    write_json(args.json, {"workload": "finite members", "machine": machine(), "peak": peak, "widths": rows})


if __name__ == "__main__":
    main()
