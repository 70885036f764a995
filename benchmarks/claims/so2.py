"""Question: how invariant under all of SO(2) is an infinite ensemble trained on a cyclic subgroup.

The paper's fraction of random rotations that leave the prediction unchanged.
"""

import numpy as np

from claims import paper
from claims.images import FRACTIONS, inputs, trained
from claims.writing import Experiment, Table
from haarflow import groups, measures

_DEGREES = groups.interpolated_rotations(360)


def so2(name="Dense", n=200, side=28, m=32, angles=32, orders=(1, 4, 8, 16), seed=0):
    """Run the experiment with one network.

    Parameters
    ----------
    name, n, side
        As in `fashion`.
    m, angles : int
        Images of each kind; random rotations of each, by whole degrees.
    orders : sequence of int
        Of the cyclic groups in training; 1 is no augmentation.
    seed : int
        Of inputs and angles.
    """
    kinds = inputs(m, side, seed)
    rng = np.random.default_rng(seed + 30)
    degrees = rng.integers(1, 360, angles)
    times = [FRACTIONS.index(0.1), FRACTIONS.index(0.0)]
    numbers = {"degrees": degrees, "loss_fractions": [0.1, 0.0], "orders": orders, "inputs": list(kinds)}
    cells = {}
    for k in orders:
        this = trained(name, k, n, side)
        for kind, points in kinds.items():
            turned = np.stack([points, *(_DEGREES(int(d), points) for d in degrees)])
            mean = this.ensemble.predict(turned.reshape(-1, *points.shape[1:]), this.times[times]).mean
            mean = mean.reshape(len(times), *turned.shape[:2], -1)
            same = measures.continuous_same_prediction(mean[:, 1:], mean[:, 0], axis=1)
            numbers[f"C{k}/{kind}"] = same
            cells[k, kind] = [f"{s.mean():.2f} ± {s.std(ddof=1) / np.sqrt(m):.2f}" for s in same]
    rows = [[kind, label, *(cells[k, kind][i] for k in orders)] for kind in kinds
            for i, label in enumerate(("loss 10 %", "t = ∞"))]  # fmt: skip
    theirs = dict(zip((4, 8, 16), paper.SO2, strict=True))
    rows.append(["paper [F], about", "10 epochs", *(theirs.get(k, "–") for k in orders)])
    return Experiment(
        f"so2_{name.lower()}",
        f"Random rotations in SO(2), FashionMNIST, {name} kernel",
        "What fraction of random rotations leaves the prediction of an ensemble trained on C_k unchanged?",
        [
            f"The infinite ensembles (μ_t) of the table above, C1 without augmentation besides; {n} base "
            f"images of {side} × {side} pixels. {angles} random rotations by whole degrees, the same for all, "
            f"of {m} images of each kind, interpolated bilinearly; ± one standard error over images. The "
            "paper's ensembles are finite, trained 10 epochs of FashionMNIST; on which inputs its "
            "figure is measured is not known to us.",
        ],
        [
            Table(
                "Fraction of rotations that leave the class unchanged",
                ["inputs", "time", *(f"C{k}" for k in orders)],
                rows,
            )
        ],
        numbers,
    )
