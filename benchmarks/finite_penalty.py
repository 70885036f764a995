"""Question: from which gamma on does a penalty on what is not equivariant hold networks equivariant.

Random images under quarter turns, circular convolution with tanh, global average pooling; the target is how strongly
bars of three pixels, upright or lying, show in an image, which does not change when it turns. An equivariant network
(filters that quarter turns leave alone) cannot see such bars. Trained by full orbits it stays equivariant, and comes to
rest in a saddle: filters that are not symmetric fit better, and the smallest deviation grows. A penalty
(gamma/2) |P A|^2 on the layers' part that is not equivariant makes equivariant networks an attractor for gamma above
-lambda_min of the loss's Hessian on that part (Nordenfors & Flinth 2025, arXiv 2502.06547).

Measured: |P A| over the steps after a small deviation from the saddle, for several gamma; the rate at which it grows or
decays beside -(gamma + lambda_min).

    python benchmarks/finite_penalty.py --json finite_penalty.json --figure finite_penalty.png
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

import haarflow as hf
from haarflow import groups, kernels, networks
from haarflow.bench import machine, write_json
from haarflow.kernels.backend import x64
from haarflow.networks.forward import forward

ACTION = groups.image_rotations(4)
ARCHITECTURE = kernels.Sequential(
    kernels.Conv(3, "CIRCULAR", 1.0, 1.0), networks.Tanh(), kernels.GlobalAvgPool(), kernels.Dense(1.0, 1.0)
)
SIDE = 4
DEVIATION = 1e-6  # of the parameters' norm, at first


def images(n, seed):
    """Return N(0, 1) images [n, 4, 4, 1] and how strongly bars show in them [n, 1], of mean 0 and variance 1."""
    x = np.random.default_rng(seed).standard_normal((n, SIDE, SIDE, 1))
    bars = sum(np.abs(np.roll(x, 1, a) + x + np.roll(x, -1, a)).sum(axis=(1, 2, 3)) for a in (1, 2))
    return x, ((bars - bars.mean()) / bars.std())[:, None]


def norm(parameters):
    return np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(parameters)))


def at_rest(network, parts, x, y, start):
    """Bring an equivariant network to rest: its parameters, the loss, and the largest entry of its gradient.

    By BFGS, since gradient descent takes very many steps; among equivariant networks alone, out of which rounding would
    lead it, as gradients of the loss on full orbits would not.
    """
    with x64():
        flat, tree = ravel_pytree(jax.tree.map(jnp.asarray, start))

        def even(p):
            return jax.tree.map(jnp.subtract, tree(p), networks.not_equivariant(parts, tree(p)))

        orbits, targets = jnp.asarray(ACTION.orbit(x).reshape(-1, SIDE, SIDE, 1)), jnp.asarray(np.tile(y, (4, 1)))
        loss = lambda p: jnp.mean((forward(network, even(p), orbits) - targets) ** 2) / 2  # noqa: E731
        both = jax.jit(jax.value_and_grad(loss))

        def program(p):
            value, gradient = both(jnp.asarray(p))
            return float(value), np.asarray(gradient)

        found = minimize(program, np.asarray(flat), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
        return jax.tree.map(np.asarray, even(jnp.asarray(found.x))), found.fun, np.abs(found.jac).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="images")
    parser.add_argument("--width", type=int, default=3)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.0, 0.5, 0.9, 1.1, 1.5, 2.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--figure", help="where the figure is written")
    args = parser.parse_args()
    begun, (x, y) = time.monotonic(), images(args.n, args.seed)
    network = networks.Network(ARCHITECTURE, args.width, x.shape[1:], 1)
    parts = tuple(space.part for space in networks.layer_spaces(network, ACTION))
    drawn = networks.initial_parameters(network, args.seed, 0, "float64")
    even = jax.tree.map(np.subtract, drawn, networks.not_equivariant(parts, drawn))
    saddle, loss, gradient = at_rest(network, parts, x, y, even)
    critical = _members(args, 1.0, 0.0).critical_penalty(x, y, saddle)
    print(f"at rest: loss {loss:.4f}, gradient {gradient:.0e}; critical gamma {critical:.4g}", flush=True)
    if gradient > 1e-6 or critical <= 0:
        raise SystemExit("no saddle was found from this seed: try another")

    noise = networks.not_equivariant(parts, networks.initial_parameters(network, args.seed + 1, 0, "float64"))
    step = DEVIATION * norm(saddle) / norm(noise)
    moved = jax.tree.map(lambda a, b: a + step * b, saddle, noise)
    rate = 0.5 * _members(args, 1.0, max(args.factors) * critical).largest_stable_rate(x, y, saddle)
    at = np.unique(np.linspace(0, 16 / (critical * rate), 121).astype(int))
    rows = {}
    for factor in args.factors:
        row = _followed(_members(args, rate, factor * critical), parts, x, y, moved, at, norm(saddle))
        measured, expected = row["per_step"] / rate, (1 - factor) * critical
        rows[factor] = row | {"rate": measured, "expected": expected}
        first, *_, last = row["sizes"]
        print(
            f"gamma {factor:g} of it: |P A| / |A| {first:.1e} to {last:.1e}, rate {measured:+.4f}, "
            f"-(gamma + lambda_min) {expected:+.4f}; loss {row['loss']:.4f}",
            flush=True,
        )
    taken = time.monotonic() - begun
    print(f"{taken:.0f} s, learning rate {rate:.3g}")
    about = {"options": vars(args), "machine": machine(), "seconds": taken, "learning_rate": rate}
    results = {"critical_penalty": critical, "loss_at_rest": loss, "steps": at.tolist(), "factors": rows}
    write_json(args.json, {"workload": "finite penalty", **about, **results})
    if args.figure:
        draw(args.figure, critical, at, rate, rows)


def _members(args, rate, gamma):
    return hf.FiniteEnsemble(
        ARCHITECTURE,
        args.width,
        1,
        ACTION,
        learning_rate=rate,
        penalty=gamma,
        dtype="float64",
        seed=args.seed,
        progress=False,
    )


def _followed(ensemble, parts, x, y, moved, at, whole):
    """Train from a deviation: |P A| over |A| at some steps, its rate per step, and the loss over orbits at the end."""
    ensemble.fit(x, y, at.tolist(), initial=[moved])
    sizes = [norm(networks.not_equivariant(parts, ensemble.parameters(int(s))[0])) / whole for s in at]
    f = ensemble.predict(ACTION.orbit(x).reshape(-1, SIDE, SIDE, 1), int(at[-1]))[0, 0]
    loss = np.square(f - np.tile(y, (4, 1))).mean() / 2
    return {"sizes": sizes, "per_step": _rate(at, np.array(sizes)), "loss": float(loss)}


def _rate(at, sizes):
    """Return the exponential rate of |P A| over the later half of the steps before it is large, or lost in rounding."""
    large = np.flatnonzero((sizes > 1e-3) | (sizes < 1e-13))
    last = large[0] if len(large) else len(sizes)
    chosen = slice(last // 2, last)
    return float(np.polyfit(at[chosen], np.log(sizes[chosen]), 1)[0]) if last >= 6 else np.nan


def draw(path, critical, at, rate, rows):
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    ax = figure.subplots()
    start = len(at) // 6
    for i, (factor, row) in enumerate(rows.items()):
        colour = colormaps["viridis"](0.9 * i / max(1, len(rows) - 1))
        sizes = np.array(row["sizes"])
        ax.plot(at, sizes, "-", color=colour, label=f"{factor:g} times")
        law = sizes[start] * np.exp(row["expected"] * rate * (at - at[start]))
        ax.plot(at, np.where(law < 1, law, np.nan), ":", color=colour)
    ax.set(yscale="log", xlabel="steps after the deviation", ylabel="|P A| over |A|, what is not equivariant")
    ax.set_ylim(1e-14, 3)
    ax.legend(title=f"γ, of the critical {critical:.2g}", fontsize="small", ncols=2)
    ax.set_title("A penalty on what is not equivariant; dotted: the rate −(γ + λ_min)", fontsize="medium")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
