"""Question: how fast do trained finite ensembles come to their law, in the width and in the number of members.

Total energies of Ising lattices of 5 x 5 sites, n samples x C4, one hidden ReLU layer, full-batch gradient descent;
test inputs. (With the 25 local energies as outputs the expansion is in 25/width, and widths up to 512 are too few.) The
law is that of the same steps of gradient descent at infinite width. With one hidden layer the following have mean zero
over initialisations exactly, so they are taken from each member as control variates:

- f_0 - B f_0(X): the linearised network with the infinite network's kernel, less its mean mu_t;
- the first order in (Theta_member - Theta) of the linearised network with the member's own kernel.

What is left of f_t - mu_t is of the order 1/width in each member, so that the bias of that order is seen under noise
that would hide it otherwise. The slope in M is that of the mean without control variates.

    python benchmarks/finite_agreement.py --json finite_agreement.json --figure finite_agreement.png
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import linregress

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import machine, write_json
from haarflow.kernels.backend import in_threads, one_thread, x64
from haarflow.networks import Network, initial_parameters
from haarflow.networks.forward import forward

NETWORK = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))


class Task:
    """The training set, listed, and the law after some steps."""

    def __init__(self, n, m, steps, seed):
        perms = groups.lattice_rotations(5)
        self.action = groups.permutation_action(groups.cyclic(4), perms)
        data = hf.datasets.ising(n + m, 5, J=2.5, seed=seed)
        energy = data.y.sum(axis=1, keepdims=True)  # of the order 1
        self.base, self.test, self.steps = (data.x[:n], energy[:n]), data.x[n:], steps
        self.x = self.action.orbit(data.x[:n]).reshape(-1, 25)
        self.y = np.tile(energy[:n], (4, 1))
        self.theta = kernels.analytic(NETWORK)(np.concatenate([self.x, self.test]), self.x).ntk
        # In the clock of the mean loss, at half the largest stable rate.
        top = np.linalg.eigvalsh(self.theta[: len(self.x)])[-1]
        self.rate = self.y.size / top
        law = hf.DeepEnsemble(
            NETWORK, self.action, learning_rate=self.rate, flow="gradient_descent", progress=False
        ).fit(*self.base)
        self.law = law.predict(self.test, [steps], covariance="diagonal")
        self.mean = self.law.mean[0]


def member_of(task, width, seed, member):
    """Return one member's outputs on the test inputs, and its two control variates, [m, 1] each, in float64."""
    network, n = Network(NETWORK, width, (25,), 1), len(task.x)
    both, y = jnp.asarray(np.concatenate([task.x, task.test])), jnp.asarray(task.y)
    theta, eta = jnp.asarray(task.theta), task.rate / task.y.size
    start = jax.tree.map(jnp.asarray, initial_parameters(network, seed, member, "float64"))
    return _train(network, start, both, y, theta, eta, task.steps, n)


def _train(network, start, both, y, theta, eta, steps, n):
    with x64():
        program = _programs.setdefault((network, n), jax.jit(lambda *a: _steps(network, n, *a)))
        return tuple(np.asarray(part) for part in program(start, both, y, theta, eta, steps))


_programs = {}


def _steps(network, n, start, both, y, theta, eta, steps):
    f0 = forward(network, start, both)
    _, pull = jax.vjp(lambda p: forward(network, p, both[:n]), start)

    def own_kernel(r):
        return jax.jvp(lambda p: forward(network, p, both), (start,), pull(r))[1]

    def step(_, carry):
        p, g, d = carry
        _, back = jax.vjp(lambda p: forward(network, p, both[:n]), p)
        residual = forward(network, p, both[:n]) - y
        p = jax.tree.map(lambda a, b: a - eta * b, p, back(residual)[0])
        # g: the infinite network's kernel from this member's start; d: the first order of the difference of kernels.
        seen = g[:n] - y
        d = d - eta * (theta @ d[:n] + own_kernel(seen) - theta @ seen)
        return p, g - eta * (theta @ seen), d

    p, g, d = jax.lax.fori_loop(0, steps, step, (start, f0, jnp.zeros_like(f0)))
    return forward(network, p, both)[n:], g[n:], d[n:]


def biases(task, widths, members, seed):
    """Return for each width the mean of f - mu_t with control variates, [widths, members, m, 1]."""
    found = []
    for width in widths:

        def work(member, width=width):
            with one_thread(), x64():
                f, g, d = member_of(task, width, seed, member)
                return f - g - d

        found.append(np.stack(list(in_threads(work, range(members)))))
        print(f"width {width}: {members} members", flush=True)
    return np.stack(found)


def norm(bias):
    """Return |E b| from members' b [M, p], from products of different members alone, so without their variance."""
    total = bias.sum(axis=0)
    square = (total @ total - np.einsum("mp,mp->", bias, bias)) / (len(bias) * (len(bias) - 1))
    return np.sqrt(max(square, 1e-300))


def _squares(task, args, sizes, seed):
    ensemble = hf.FiniteEnsemble(NETWORK, args.width, args.most, task.action, learning_rate=task.rate, seed=seed)
    f = ensemble.fit(*task.base, args.steps).predict(task.test)[0].astype(float).reshape(args.most, -1)
    means = [f[: len(f) // size * size].reshape(-1, size, f.shape[1]).mean(axis=1) for size in sizes]
    return [np.square(each - task.mean.ravel()).sum(axis=1).mean() for each in means]


def slope(x, y):
    fitted = linregress(np.log(x), np.log(y))
    return fitted.slope


def bootstrap(values, draws, seed):
    """Return the median and the 95 % interval of values(rng) over draws."""
    rng = np.random.default_rng(seed)
    return np.quantile([values(rng) for _ in range(draws)], [0.5, 0.025, 0.975])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--members", type=int, default=1000, help="for the slope in width")
    parser.add_argument("--most", type=int, default=4096, help="members for the slope in M")
    parser.add_argument("--width", type=int, default=512, help="of the slope in M")
    parser.add_argument("--ensembles", type=int, default=8, help="independent ones for the slope in M")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--figure", help="where the figure is written")
    args = parser.parse_args()
    start, task = time.monotonic(), Task(args.n, 8, args.steps, args.seed)
    scale = np.sqrt(np.square(task.mean).sum())

    left = biases(task, args.widths, args.members, args.seed).reshape(len(args.widths), args.members, -1) / scale
    by_width = [norm(each) for each in left]

    # Leaving out one of 50 blocks of members at a time (jackknife).
    blocks = np.array_split(np.arange(args.members), 50)
    without = [slope(args.widths, [norm(np.delete(each, block, axis=0)) for each in left]) for block in blocks]
    error = np.sqrt(49 / 50 * np.square(without - np.mean(without)).sum())
    in_width = [slope(args.widths, by_width), *(slope(args.widths, by_width) + 1.96 * error * np.array([-1, 1]))]
    print(f"bias |E f - mu_t| / |mu_t| at widths {args.widths}: {', '.join(f'{b:.2e}' for b in by_width)}")
    print(f"slope in width {in_width[0]:.3f}, 95 % interval {in_width[1]:.3f} .. {in_width[2]:.3f}")

    sizes = 2 ** np.arange(2, int(np.log2(args.most)) + 1)
    # Independent ensembles: squared deviations of means of M members, averaged over all disjoint choices, [E, sizes].
    squares = np.stack([_squares(task, args, sizes, args.seed + 1 + i) for i in range(args.ensembles)]) / scale**2
    by_members = np.sqrt(squares.mean(axis=0))
    in_members = bootstrap(
        lambda rng: slope(sizes, np.sqrt(squares[rng.integers(0, len(squares), len(squares))].mean(axis=0))),
        400,
        args.seed,
    )
    expected = np.sqrt(task.law.variance.sum() / sizes) / scale
    print(f"|mean of M - mu_t| / |mu_t| at width {args.width}:")
    for size, found, wanted in zip(sizes, by_members, expected, strict=True):
        print(f"  M = {size:5d}: {found:.2e}, from Sigma_t {wanted:.2e}")
    print(f"slope in M {slope(sizes, by_members):.3f}, 95 % interval {in_members[1]:.3f} .. {in_members[2]:.3f}")
    taken = time.monotonic() - start
    print(f"{taken:.0f} s; rate {task.rate:.3g}, {args.steps} steps, {4 * args.n} samples")
    results = {
        "bias": by_width,
        "slope_in_width": in_width,
        "sizes": sizes.tolist(),
        "deviation": by_members.tolist(),
        "expected": expected.tolist(),
        "slope_in_members": [slope(sizes, by_members), *in_members[1:]],
    }
    about = {"options": vars(args), "machine": machine(), "seconds": taken}
    write_json(args.json, {"workload": "finite agreement", **about, **results})
    if args.figure:
        draw(args, by_width, sizes, by_members, expected)


def draw(args, by_width, sizes, by_members, expected):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    widths = np.array(args.widths)
    left.plot(widths, by_width, "o-", color="#0072B2", label=f"{args.members} members, control variates")
    left.plot(widths, by_width[0] * widths[0] / widths, ":", color="#555555", label="1 / width")
    left.set(xscale="log", yscale="log", xlabel="width", ylabel="bias of the mean, relative")
    left.set_xticks(widths, [str(w) for w in widths])
    left.set_xticks([], minor=True)
    right.plot(sizes, by_members, "o", color="#0072B2", label=f"trained, width {args.width}")
    right.plot(sizes, expected, "-", color="#D55E00", label="from Σ at infinite width")
    right.set(xscale="log", yscale="log", xlabel="members M", ylabel="distance of the mean of M, relative")
    for ax in (left, right):
        ax.legend()
    figure.suptitle("Ising × C4: trained ensembles beside their law")
    figure.savefig(args.figure, dpi=150)


if __name__ == "__main__":
    main()
