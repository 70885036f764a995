"""Question: how does the orbit MSE of M trained networks fall with M and with their width, and is its limit the law's.

The paper's cross product under random rotations of SO(3), beside the infinite width at the same steps and rate.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np
from claims import paper
from claims.writing import Experiment, Table, number

import haarflow as hf
from finite.figures import orbit_mse_over_members
from finite.members import SUBSETS_SHARE, means, median
from haarflow import groups, kernels, measures

MEMBERS = (1, 2, 3, 5, 10)
WIDTHS = (128, 181, 256)
_WIDTHS = [f"width {width}" for width in WIDTHS]


def network(scale):
    """Return two hidden ReLU layers on a pair of vectors, whose outputs begin at a scale."""
    layers = [kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 2
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(scale, 0.1 * scale))


def cross_product(n=100, members=48, steps=(30, 100, 300), m=16, rotations=32, draws=100, scale=1.0, seed=0):
    """Run the experiment.

    Parameters
    ----------
    n : int
        Base pairs of vectors.
    members : int
        Networks of each width, more than 10.
    steps : sequence of int
        Of gradient descent, after which networks are looked at, ascending.
    m, rotations : int
        Orbits of each kind of inputs; random rotations of each.
    draws : int
        Ensembles for each M.
    scale : float
        W_std of the read-out: the limit's mean does not depend on it, its members' spread and finite widths do.
    seed : int
        Of data, rotations, networks and ensembles.
    """
    data = hf.datasets.cross_product(n + m, seed)
    x, y, x_test, y_test = data.x[:n], data.y[:n], data.x[n:], data.y[n:]
    uniform = np.random.default_rng(seed + 2).uniform(-1, 1, (m, 2, 3))
    kinds = {
        "train": x[:m],
        "test": x_test,
        "off: uniform in [−1, 1]": uniform,
        "off: 3 × N(0,1)": 3 * hf.datasets.off_manifold(m, (2, 3), seed + 1),
    }
    turns = np.concatenate([np.eye(3)[None], groups.so3(1).random(rotations, seed + 3)])
    orbits = np.einsum("gab,invb->ginva", turns, np.stack(list(kinds.values())))
    rotated, net = SimpleNamespace(matrices=turns), network(scale)
    group = groups.tetrahedral()
    both = {
        "action": groups.matrix_action(group, group.matrices),
        "output": groups.Representation(group, group.matrices),
        "progress": False,
    }
    stable = [hf.FiniteEnsemble(net, width, 1, seed=seed, **both).largest_stable_rate(x, y) for width in WIDTHS]
    rate = min(stable) / 2  # one rate, so that a step is as long for every width
    numbers = {"members": MEMBERS, "widths": WIDTHS, "steps": steps, "inputs": list(kinds), "rotations": turns}
    numbers |= {"largest_stable_rates": stable, "learning_rate": rate}
    found, floors, errors = {}, {}, {}
    for width in WIDTHS:
        ensemble = hf.FiniteEnsemble(net, width, members, learning_rate=rate, seed=seed, **both)
        ensemble.fit(x, y, list(steps))
        errors[width] = [_errors(ensemble.predict(a), b) for a, b in ((x, y), (x_test, y_test))]
        f = ensemble.predict(orbits.reshape(-1, 2, 3)).astype(float)
        f = f.reshape(len(steps), members, len(turns), len(kinds), m, 3)
        for i, kind in enumerate(kinds):
            several = [means(f[:, :, :, i], M, draws, seed) for M in MEMBERS]
            found[width, kind] = [measures.orbit_mse(each, rotated, axis=2).mean(axis=-1) for each in several]
            floors[width, kind] = _floor(f[:, :, :, i], rotated)
            for M, values in zip(MEMBERS, found[width, kind], strict=True):
                numbers[f"orbit_mse/width {width}/{kind}/M = {M}"] = values
            numbers[f"floor/width {width}/{kind}"] = floors[width, kind]
        numbers[f"squared_error/width {width}"] = errors[width]
    law = hf.DeepEnsemble(net, learning_rate=rate, flow="gradient_descent", **both).fit(x, y, covariance=True)
    errors["∞"] = [_law_errors(law.predict(a, steps, covariance="diagonal"), b) for a, b in ((x, y), (x_test, y_test))]
    numbers["squared_error/infinite"] = errors["∞"]
    for i, kind in enumerate(kinds):
        found["∞", kind], floors["∞", kind] = _expected(law, orbits[:, i], steps, rotated)
        numbers[f"orbit_mse/infinite/{kind}"] = found["∞", kind]
        numbers[f"floor/infinite/{kind}"] = floors["∞", kind]
    return Experiment(
        "cross_product",
        "Cross product × 12 rotations, trained networks",
        "How does the orbit MSE under random rotations of SO(3) fall with the members M and the width, and does it "
        "tend to the infinite width's?",
        [
            f"{n} pairs of N(0,1) vectors, target x × y (mean square 6); two hidden ReLU layers, W_std² = 2, 2 and "
            f"{number(scale**2)}, b_std = 0.1, equivariant output, augmented by the 12 rotations of the tetrahedron. "
            "The paper: the same widths, a small finite set of rotations; its number of samples, initial scale, inputs "
            "off the manifold and training length are not known to us, so that its absolute values are beside ours for "
            "their trend only.",
            f"Full-batch gradient descent on the mean loss, learning rate {number(rate)} for every width, half of the "
            f"smallest of the widths' largest stable ones at initialisation ({', '.join(number(r) for r in stable)}); "
            f"{steps[-1]} steps, {members} networks of each width.",
            f"Orbit MSE: mean over the identity and {rotations} random rotations of |g⁻¹ f(gx) − f(x)|², mean over {m} "
            f"orbits; median over ensembles, 10–90 % range in brackets. {SUBSETS_SHARE}",
            "M = ∞ at finite width: unbiased, from the members' orbit MSE and that of their mean, ± one standard error "
            "over members (jackknife). Infinite width: gradient descent with the same rate and steps in closed form, "
            "the expectation from μ_t and Σ_t.",
        ],
        [_over_members(found, floors, kinds, steps), _shares(found, floors, kinds, steps), _learnt(errors, steps)],
        numbers,
        partial(orbit_mse_over_members, MEMBERS, found, floors, steps),
    )


def _floor(f, rotated):
    """Estimate the orbit MSE of M = inf from members [T, P, |G|, m, 3], and its standard error: [T, 2]."""
    several = f.shape[1]
    own = measures.orbit_mse(f, rotated, axis=2).mean(axis=-1)
    without = (f.sum(axis=1, keepdims=True) - f) / (several - 1)
    means_without = measures.orbit_mse(without, rotated, axis=2).mean(axis=-1)
    of_mean = measures.orbit_mse(f.mean(axis=1), rotated, axis=1).mean(axis=-1)
    # E over ensembles is a + b/M: a from M = 1 and M = P, and once more with each member left out.
    whole = (several * of_mean - own.mean(axis=1)) / (several - 1)
    own_without = (own.sum(axis=1, keepdims=True) - own) / (several - 1)
    left = ((several - 1) * means_without - own_without) / (several - 2)
    return np.stack([whole, np.sqrt((several - 1) * left.var(axis=1))], axis=1)


def _expected(law, orbit, steps, rotated):
    """Return the expected orbit MSE [T] for each M, and the infinite ensemble's [T], on orbits [|G|, m, 2, 3]."""
    order, m = orbit.shape[:2]
    found = law.predict(orbit.reshape(-1, 2, 3), steps, covariance="full")
    covariance = np.einsum("tgihi->tigh", found.covariance.reshape(len(steps), order, m, order, m))
    mean = found.mean.reshape(len(steps), order, m, 3).swapaxes(1, 2)
    expected = [hf.expected_orbit_mse(covariance, M, output=rotated, mean=mean).mean(axis=-1) for M in MEMBERS]
    return expected, measures.orbit_mse(mean, rotated, axis=2).mean(axis=-1)


def _errors(f, y):
    """Return squared errors over the mean square of targets, of single members and of all members' mean: [T, 2]."""
    single, mean = ((np.square(each - y)).sum(axis=(-1, -2)) / np.square(y).sum() for each in (f, f.mean(axis=1)))
    return np.stack([single.mean(axis=1), mean], axis=1)


def _law_errors(law, y):
    mean = np.square(law.mean - y).sum(axis=(1, 2))
    return np.stack([mean + y.shape[1] * law.variance.sum(axis=1), mean], axis=1) / np.square(y).sum()


def _over_members(found, floors, kinds, steps):
    rows = []
    for kind in kinds:
        theirs = paper.CROSS[kind.split(":")[0]]
        for i, M in enumerate(MEMBERS):
            column = {1: 0, 2: 1, 10: 2}.get(M)
            beside = ", ".join(number(theirs[width][column]) for width in WIDTHS) if column is not None else ""
            ours = [median(found[width, kind][i][-1]) for width in WIDTHS]
            rows.append([kind, str(M), *ours, number(found["∞", kind][i][-1]), beside])
        ours = [" ± ".join(number(value) for value in floors[width, kind][-1]) for width in WIDTHS]
        rows.append([kind, "∞", *ours, number(floors["∞", kind][-1]), ""])
    return Table(
        f"Orbit MSE over random rotations, {steps[-1]} steps",
        ["inputs", "M", *_WIDTHS, "infinite width, expected", "paper, widths 128, 181, 256 [F]"],
        rows,
    )


def _shares(found, floors, kinds, steps):
    rows = []
    for kind in kinds:
        theirs = paper.CROSS[kind.split(":")[0]]
        beside = ", ".join(_two((10 * last / single - 1) / 9) for single, _, last in (theirs[w] for w in WIDTHS))
        for t, step in enumerate(steps):
            ours = [_two(floors[width, kind][t, 0] / found[width, kind][0][t].mean()) for width in WIDTHS]
            rows.append([kind, str(step), *ours, _two(floors["∞", kind][t] / found["∞", kind][0][t]), beside])
    return Table(
        "What more members do not take away: orbit MSE of M = ∞ over that of single members",
        ["inputs", "steps", *_WIDTHS, "infinite width", "paper, widths 128, 181, 256"],
        rows,
        "A ratio, which the scale of targets cannot change. The expected orbit MSE is exactly a + b/M at any width; "
        "the paper's a is from its M = 1 and M = 10.",
    )


def _learnt(errors, steps):
    rows = [
        [split, str(step), *(f"{number(e[i][t][0])} / {number(e[i][t][1])}" for e in errors.values())]
        for i, split in enumerate(("train", "test"))
        for t, step in enumerate(steps)
    ]
    return Table(
        "Squared error over the mean square of targets: single members / mean of all",
        ["inputs", "steps", *_WIDTHS, "infinite width: expected / μ_t"],
        rows,
    )


def _two(value):
    return f"{value:.2f}"
