"""Made-up verdicts of every theorem, with curves of the right shapes, and a report of them."""

import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

from haarflow.theorems import Measurement, Theorem, Verdict
from haarflow.theorems.report import write_report

TIMES = np.append(np.geomspace(0.4, 2e6, 25), np.inf)
PICTURES = ["verdicts", "orbit_error", "members", "same_prediction", "concentration", "subgroups", "any_width"]


def t3(rng):
    spans = {"times": TIMES, "early": np.array([4.0]), "late": np.array([2e5])}
    plain = 0.3 + 0.5 * np.log10(np.append(TIMES[:-1], 2e6) + 1) / 6.3
    return {**spans, "augmented": 1e-15 * (1 + rng.random(26)), "plain": plain}


def t4(rng, order=None):
    sizes = np.array([10, 100, 1000])
    members = 1.4 - 0.9 / (1 + 1e3 / np.append(TIMES[:-1], 1e9))
    curves = {**t3(rng), "sizes": sizes, "members": members}
    curves["means"] = members * sizes[:, None] ** -0.5 * np.exp(0.1 * rng.normal(size=(3, 26)))
    curves["ensemble"] = 1e-14 * (1 + rng.random(26))
    curves["law"] = 4e-15 * (1 + rng.random(26))
    if order:
        learnt = 1 / (1 + 1e3 / np.append(TIMES[:-1], 1e9))
        curves["osp_members"] = 1 + (order - 1) * (0.2 + 0.5 * learnt)
        curves["osp_means"] = 1 + (order - 1) * (1 - 0.5 / (1 + learnt * sizes[:, None] ** 0.5))
        curves["osp_ensemble"] = np.full(26, float(order))
        curves["osp_plain"] = 1 + (order - 1) * 0.4 * learnt
        curves["order"] = np.array([order])
    return curves


def t5(rng):
    ratios, sizes, times = np.linspace(0.5, 3, 6), np.array([5, 20, 80]), np.array([1.0, 1e3, np.inf])
    bound = np.sqrt(2 / np.pi) / ratios * np.exp(-(ratios**2) / 2)
    frequency = np.minimum(bound, 1) * (0.7 + 0.2 * rng.random((3, 3, 6)))
    frequency[0, 0, -1] = 0
    expected = np.array([0.8, 0.3, 0.1])[:, None] / sizes**0.5
    return {
        "ratios": ratios,
        "sizes": sizes,
        "times": times,
        "frequency": frequency,
        "bound": bound,
        "halved": np.broadcast_to(np.sqrt(1 / (2 * np.pi)) / ratios * np.exp(-2 * ratios**2), (3, 3, 6)).copy(),
        "trials": np.array([2000]),
        "rms": expected * np.exp(0.03 * rng.normal(size=(3, 3))),
        "expected": expected,
    }


def t6(rng):
    k, times = np.array([2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]), np.array([1.0, 1e3, np.inf])
    bound = np.array([0.1, 0.8, 2.0])[:, None] * 2 * np.sin(np.pi / (2 * k))
    ratio = 0.2 + 0.4 * rng.random((3, 11))
    return {
        "subgroups": k,
        "times": times,
        "deviation": 0.8 * ratio * bound,
        "bound": bound,
        "control": 0.3 * k * (1 + 0.1 * np.arange(3))[:, None],
        "ratio": ratio,
    }


def t7(rng):
    sizes = np.array([4, 16, 64, 256])
    curves = {"sizes": sizes}
    for name, floor in (("symmetric", 0.005), ("initial", 0.03), ("asymmetric", 0.1)):
        curves[name] = np.sqrt(0.5 / sizes + floor**2) * np.exp(0.03 * rng.normal(size=4))
        curves[f"{name}_floor"] = np.array([floor])
        curves[f"{name}_commutator"] = np.array([0.43 if floor > 0.01 else 0.001])
    return curves


NOTE = "found <beside> it"


def verdict(theorem, workload, curves, residual=2e-15, control=0.7, bound=1e-11, floor=1e-3, note=""):
    entry = Theorem(theorem, f"what {theorem} says", f"source of {theorem}", bound, floor, lambda workload: None)
    task = SimpleNamespace(name=workload, title=f"what {workload} is")
    return Verdict(entry, task, Measurement(residual, control, f"what {theorem} breaks", curves, note))


def made_up(seed=0):
    rng = np.random.default_rng(seed)
    names = ("digits x C4", "digits x D4", "Ising x C4", "vectors x O")
    verdicts = [verdict(theorem, name, {}) for theorem in ("NT", "T1", "T2") for name in names]
    verdicts += [verdict("T3", names[2], t3(rng))]
    verdicts += [verdict("T4", name, t4(rng, order)) for name, order in zip(names[1:3], (8, None), strict=True)]
    verdicts += [verdict("T5", names[0], t5(rng), residual=0.8, control=1.7, bound=1, floor=1)]
    verdicts += [verdict("T6", "plane x SO(2)", t6(rng), residual=0.6, control=17.0, bound=1, floor=1)]
    verdicts += [verdict("T7", "supports x C4", t7(rng), residual=0.7, control=30.0, bound=5, floor=7, note=NOTE)]
    return verdicts


def one_each():
    """Return one verdict per theorem."""
    return list({given.theorem.name: given for given in reversed(made_up())}.values())


def write(folder):
    """Write a report of made-up verdicts; return them, and the paths."""
    verdicts = made_up()
    before = dict(matplotlib.rcParams)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.pyplot", None)  # whoever imports it now fails
        paths = write_report(verdicts, folder)
    assert dict(matplotlib.rcParams) == before
    return verdicts, paths, folder
