"""Question: how far is haarflow's mean from regression on the listed augmented set.

Digits x C4 (400 base samples, 1600 listed) against our explicit path, SciPy on the listed set, and
neural-tangents; its orbit error on N(0, 1) images; Ising and cross product against listing; orbits with
stabilisers against merging the duplicates by hand; interpolated rotations against listing by hand.

    python benchmarks/accuracy.py --json accuracy.json
"""

import argparse
import time
import warnings

import numpy as np
import scipy.linalg

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import write_json
from haarflow.kernels.backend import x64
from haarflow.theorems import workloads

TIMES = np.array([0, 1, 1e3, 1e6, np.inf])
C4 = groups.image_rotations(4)


def network(hidden):
    layers = [kernels.Dense(2**0.5, 0.1), kernels.Relu()] * hidden
    return kernels.Sequential(kernels.Flatten(), *layers, kernels.Dense(1.0, 0.1))


def listed(action, output, x, y):
    points = np.concatenate([action(g, x) for g in range(action.group.order)])
    turns = [np.eye(y.shape[1])] * action.group.order if output is None else output.matrices
    return points, np.concatenate([y @ turn.T for turn in turns])


def by_hand(net, points, labels, x_test, times, counts=None):
    """Gradient flow on a listed set, weighted where points were merged."""
    kernel = kernels.analytic(net)
    root = np.sqrt(np.ones(len(points)) if counts is None else counts)
    values, vectors = scipy.linalg.eigh(kernel(points).ntk * np.outer(root, root))
    targets, rows = vectors.T @ (root[:, None] * labels), kernel(x_test, points).ntk * root
    clock = np.sum(root**2) * labels.shape[1]
    phis = [1 / values if np.isinf(t) else -np.expm1(-values * t / clock) / values for t in times]
    return np.array([rows @ (vectors @ (phi[:, None] * targets)) for phi in phis])


def distance(a, b):
    return float(np.max(np.abs(a - b)))


def digits(results):
    data = hf.datasets.digits(450)
    x, y = data.x[:400], data.y[:400]
    normal = hf.datasets.off_manifold(50, (8, 8, 1))
    x_test = np.concatenate([data.x[400:], normal])
    net = network(3)
    ensemble = hf.DeepEnsemble(net, action=C4, reduction="orbit").fit(x, y)
    mean = ensemble.predict(x_test, TIMES).mean
    explicit = hf.DeepEnsemble(net, action=C4, reduction="explicit").fit(x, y).predict(x_test, TIMES).mean
    points, labels = listed(C4, None, x, y)
    results["a: digits x C4, against the explicit path"] = distance(mean, explicit)
    results["a: digits x C4, against SciPy on the listed set"] = distance(
        mean, by_hand(net, points, labels, x_test, TIMES)
    )
    nt = kernels.neural_tangents()
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(kernels.to_neural_tangents(net)[2], points, labels)
        theirs = np.asarray(predict(t=TIMES[:4], x_test=x_test, get="ntk"))
    results["a: digits x C4, against neural-tangents, finite t"] = distance(mean[:4], theirs)
    results["b: orbit error on N(0, 1) images, relative"] = orbit_error(ensemble, C4, None, normal)


def orbit_error(ensemble, action, output, x):
    orbit = action.orbit(x)
    mean = ensemble.predict(orbit.reshape(-1, *x.shape[1:]), TIMES[1:]).mean
    by_element = mean.reshape(len(TIMES) - 1, *orbit.shape[:2], -1).transpose(1, 0, 2, 3)
    return float(hf.measures.orbit_error(by_element, output, group=action).max())


def equivariant(results):
    for name, task in (("Ising", workloads.ising_c4(128)), ("cross product", workloads.vectors_o(40))):
        ensemble = hf.DeepEnsemble(task.architecture, action=task.action, output=task.output, reduction="orbit")
        mean = ensemble.fit(task.x, task.y).predict(task.outside, TIMES).mean
        points, labels = listed(task.action, task.output, task.x, task.y)
        results[f"c: {name}, against listing"] = distance(
            mean, by_hand(task.architecture, points, labels, task.outside, TIMES)
        )
        results[f"c: {name}, orbit error, relative"] = orbit_error(ensemble, task.action, task.output, task.outside)


def stabilised(results):
    data = hf.datasets.digits(60)
    x, y = data.x.copy(), data.y.copy()
    for i in range(0, 20, 2):
        x[i] = C4.orbit(x[i : i + 1]).mean(axis=0)[0]  # fully symmetric
        x[i + 1] = C4(1 + i % 3, x[20 + i : 21 + i])[0]  # in another's orbit, with its own label
    x_test = np.concatenate([hf.datasets.off_manifold(20, (8, 8, 1)), x[:20]])
    points, labels = listed(C4, None, x, y)
    _, first, inverse, counts = np.unique(
        points.reshape(len(points), -1).round(9),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    means = np.zeros((len(first), y.shape[1]))
    np.add.at(means, inverse.ravel(), labels)
    times = np.array([1e8, 1e12, np.inf])
    exact = by_hand(network(3), points[first], means / counts[:, None], x_test, times, counts)
    for dtype in ("float64", "float32"):
        mean = hf.DeepEnsemble(network(3), action=C4, dtype=dtype).fit(x, y).predict(x_test, times).mean
        results[f"e: stabilisers and conflicting labels, {dtype}, relative"] = distance(mean, exact) / np.max(
            np.abs(exact)
        )


def peer_at_coincidence(results):
    """What neural-tangents gives on the same orbits, and for Theta near coincidence, where ours is exact."""
    nt = kernels.neural_tangents()
    kernel_fn = kernels.to_neural_tangents(network(3))[2]
    data = hf.datasets.digits(10)
    x = np.concatenate([C4.orbit(data.x[:1]).mean(axis=0), data.x[1:]])
    points, labels = listed(C4, None, x, data.y)
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, points, labels)
        late = np.asarray(predict(t=None, x_test=data.x, get="ntk"))
    results["peer: share of NaN in neural-tangents' mean at t = inf, a symmetric image"] = float(np.isnan(late).mean())
    step = np.random.default_rng(0).standard_normal(data.x.shape)
    worst = 0.0
    for size in 10.0 ** np.arange(-12, -4):
        near = data.x + size * step
        theirs = kernels.from_neural_tangents(kernel_fn, key="peer")(data.x, near).ntk
        ours = kernels.analytic(network(3))(data.x, near).ntk
        worst = max(worst, float(np.max(np.abs(theirs / ours - 1))))
    results["peer: neural-tangents' Theta near coincidence, relative difference"] = worst


def interpolated(results):
    data = hf.datasets.digits(30)
    action = groups.interpolated_rotations(8)
    x_test = hf.datasets.off_manifold(10, (8, 8, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble = hf.DeepEnsemble(network(3), action=action).fit(data.x, data.y)
    points, labels = listed(action, None, data.x, data.y)
    exact = by_hand(network(3), points, labels, x_test, TIMES)
    results["f: interpolated_rotations(8), against listing by hand"] = distance(
        ensemble.predict(x_test, TIMES).mean, exact
    )
    print("f: auto said:", caught[0].message)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    results = {}
    start = time.perf_counter()
    for part in (digits, equivariant, stabilised, peer_at_coincidence, interpolated):
        part(results)
    for name, value in results.items():
        print(f"{value:9.1e}  {name}")
    print(f"{time.perf_counter() - start:.0f} s")
    write_json(args.json, {"largest difference": results})


if __name__ == "__main__":
    main()
