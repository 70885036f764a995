"""Question: how far from SO(3) equivariance does augmentation by a finite subgroup leave ensembles, and by Haar.

The paper's orbit MSE of the cross product, over members.
"""

from types import SimpleNamespace

import numpy as np

import haarflow as hf
from claims import paper
from claims.members import draw, times_of_loss
from claims.writing import Experiment, Table, number
from haarflow import groups, kernels, measures

FRACTIONS = (0.1, 0.01, 0.0)
MEMBERS = (1, 2, 3, 5, 10, 100, np.inf)
SUBGROUPS = {
    "none": lambda: groups.FiniteGroup.from_matrices(np.eye(3)[None]),
    "T (12)": groups.tetrahedral,
    "O (24)": groups.octahedral,
    "I (60)": groups.icosahedral,
}


def network():
    """Return two hidden ReLU layers on a pair of vectors."""
    layers = [kernels.Dense(2**0.5, 0.1), kernels.Relu()] * 2
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(1.0, 0.1))


def haar_ensemble(band_limit):
    """Return the ensemble of the Haar average over SO(3)."""
    group = groups.so3(band_limit)
    return hf.DeepEnsemble(network(), action=groups.matrix_action(group), output=groups.vector(group), progress=False)


def cross_product(n=100, m=16, rotations=32, ensembles=50, band_limit=8, seed=0):
    """Run the experiment.

    Parameters
    ----------
    n : int
        Base pairs of vectors.
    m, rotations : int
        Orbits of each kind of inputs; random rotations of each.
    ensembles : int
        Independent ensembles for each M.
    band_limit : int
        Of the Haar quadrature.
    seed : int
        Of data, rotations and draws.
    """
    data = hf.datasets.cross_product(n + m, seed)
    x, y = data.x[:n], data.y[:n]
    uniform = np.random.default_rng(seed + 2).uniform(-1, 1, (m, 2, 3))
    kinds = {
        "train": x[:m],
        "test": data.x[n:],
        "off: uniform in [−1, 1]": uniform,
        "off: 3 × N(0,1)": 3 * hf.datasets.off_manifold(m, (2, 3), seed + 1),
    }
    turns = np.concatenate([np.eye(3)[None], groups.so3(1).random(rotations, seed + 3)])
    numbers = {"members": MEMBERS, "loss_fractions": FRACTIONS, "inputs": list(kinds), "rotations": turns}
    found, own, errors = {}, {}, {}
    for name, make in SUBGROUPS.items():
        group = make()
        action = groups.matrix_action(group, group.matrices)
        output = groups.Representation(group, group.matrices)
        ensemble = hf.DeepEnsemble(network(), action=action, output=output, progress=False)
        ensemble.fit(x, y, covariance=True)
        times = times_of_loss(ensemble, x, y, FRACTIONS)
        errors[name] = _test_error(ensemble, data.x[n:], data.y[n:], times)
        numbers[f"{name}/times"], numbers[f"{name}/test_error"] = times, errors[name]
        for i, (kind, points) in enumerate(kinds.items()):
            draws = draw(ensemble, _turned(points, turns), times, ensembles, seed + 10 + i)
            found[name, kind] = [draws.measure(M, _mse(turns)) for M in MEMBERS]
            numbers[f"{name}/orbit_mse_SO3/{kind}"] = np.stack(np.broadcast_arrays(*found[name, kind]))
            mean = _on_orbit(ensemble, _turned(points, group.matrices), times)
            own[name, kind] = measures.orbit_mse(mean, output, axis=1).mean(axis=-1)
            numbers[f"{name}/orbit_mse_subgroup_infinite/{kind}"] = own[name, kind]
    haar = haar_ensemble(band_limit).fit(x, y)
    times = times_of_loss(haar, x, y, FRACTIONS)
    errors["Haar"] = _test_error(haar, data.x[n:], data.y[n:], times)
    numbers["Haar/times"], numbers["Haar/test_error"] = times, errors["Haar"]
    for kind, points in kinds.items():
        mean = _on_orbit(haar, _turned(points, turns), times)
        found["Haar", kind] = [_mse(turns)(np.moveaxis(mean, 1, 0)).mean(axis=-1)[:, None]]
        numbers[f"Haar/orbit_mse_SO3/{kind}"] = found["Haar", kind][0]
    return Experiment(
        "cross_product",
        "Cross product × finite subgroups of SO(3), and Haar",
        "How large is the orbit MSE under random rotations of ensembles augmented by a finite "
        "subgroup, or by all of SO(3)?",
        [
            f"{n} pairs of N(0,1) vectors, target x × y (mean square 6); two hidden ReLU layers, W_std² = 2, "
            "2, 1, b_std = 0.1; MSE, equivariant output. The paper: widths 128, 181, 256, a small finite set "
            "of rotations; its number of samples, distribution off the manifold and training length are "
            "not known to us, so that its absolute values are beside ours for the trend over M only.",
            "Ours: infinite width, gradient flow; each ensemble at the times where its own loss of μ_t on "
            "the training set is 10 % and 1 % of the start, and t = ∞. Orbit MSE: mean over the identity and "
            f"{rotations} random rotations of |g⁻¹ f(gx) − f(x)|², mean over {m} orbits, median (10–90 %) "
            f"over {ensembles} ensembles from N(μ_t, Σ_t/M).",
            f"Haar: the average over SO(3), aligned for each pair of samples, band limit {band_limit}; "
            "the infinite ensemble only.",
        ],
        [_over_members(found, t) for t in (1, 2)] + [_infinite(found, own, errors, kinds)],
        numbers,
    )


def _turned(points, matrices):
    return np.einsum("gab,nvb->gnva", matrices, points)


def _on_orbit(ensemble, orbit, times):
    mean = ensemble.predict(orbit.reshape(-1, *orbit.shape[2:]), times).mean
    return mean.reshape(len(times), *orbit.shape[:2], -1)


def _mse(turns):
    output = SimpleNamespace(matrices=turns)
    return lambda outputs: measures.orbit_mse(outputs, output)


def _test_error(ensemble, x, y, times):
    return np.square(ensemble.predict(x, times).mean - y).sum(axis=(1, 2)) / np.square(y).sum()


def _cell(values):
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return number(middle) if low == high else f"{number(middle)} ({number(low)}–{number(high)})"


def _over_members(found, t):
    rows = []
    kinds = list(dict.fromkeys(kind for _, kind in found))
    for kind in kinds:
        theirs = paper.CROSS[kind.split(":")[0]]
        for i, M in enumerate(MEMBERS):
            column = {1: 0, 2: 1, 10: 2}.get(M)
            beside = ", ".join(number(row[column]) for row in theirs.values()) if column is not None else ""
            ours = [_cell(found[name, kind][i][t]) for name in SUBGROUPS]
            haar = number(found["Haar", kind][0][t, 0]) if np.isinf(M) else "–"
            rows.append([kind, "∞" if np.isinf(M) else str(M), *ours, haar, beside])
    when = "t = ∞" if FRACTIONS[t] == 0 else f"loss {100 * FRACTIONS[t]:.0f} %"
    return Table(
        f"Orbit MSE over random rotations, {when}",
        ["inputs", "M", *SUBGROUPS, "Haar SO(3)", "paper, widths 128, 181, 256 [F]"],
        rows,
    )


def _infinite(found, own, errors, kinds):
    rows = []
    for t, f in enumerate(FRACTIONS):
        when = f"loss {100 * f:.0f} %" if f else "t = ∞"
        for kind in kinds:
            cells = [f"{number(own[n, kind][t])} / {number(found[n, kind][-1][t, 0])}" for n in SUBGROUPS]
            rows.append([when, kind, *cells, number(found["Haar", kind][0][t, 0])])
        rows.append([when, "squared test error / mean square", *(number(errors[n][t]) for n in (*SUBGROUPS, "Haar"))])
    return Table(
        "The infinite ensemble: orbit MSE over the subgroup itself / over random rotations of SO(3)",
        ["time", "inputs", *SUBGROUPS, "Haar SO(3)"],
        rows,
    )
