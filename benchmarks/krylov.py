"""Question: what does the Krylov solver reach on hard spectra, for how many products, and does it know its error.

(b) The 14 matrices of tests/hard.py at order 4000, 10 outputs, float64, 12 times from 0 to infinity: dimension at
which the solver stops, vectors multiplied, true error against the known spectrum (largest over times), range of
estimated over true error, seconds beside a dense eigendecomposition of the same Gram matrix.
(c) One space for 20 times against one time. (d) Other ways, on three of the matrices: Chebyshev's expansion
for two finite times, SciPy's cg for t = inf, each stopped by the true error: vectors multiplied for 1e-6.
(e) Estimate over true error at all stages of growing, order 400, 1, 3 and 10 outputs: how many are within 0.1 .. 1000,
and the smallest estimate that is too low by more.

    python benchmarks/krylov.py --json krylov.json [--order 4000] [--only "k^-3"] [--dimension 4000] [--no-dense]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import scipy.fft
from scipy.sparse.linalg import LinearOperator, cg

from haarflow import solvers
from haarflow.bench import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hard import LARGE, large

FLOW = solvers.GradientFlow()
UNITS = np.array([0, 0.1, 1, 10, 1e2, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, np.inf])  # of 1 / lambda_max
OUTPUTS = 10
WANTED = 1e-6


def relative(found, exact):
    """Of the worst column, relative to itself, at each time."""
    sizes = np.linalg.norm(exact, axis=1)
    return np.max(np.linalg.norm(found - exact, axis=1) / np.where(sizes > 0, sizes, 1.0), axis=1)


def seconds(work):
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def hard_spectra(args):
    columns = ["dim", "vectors", "error", "est/true", "to", "s", "dense s", "dense"]
    print(f"{'order ' + str(args.order):20} " + " ".join(f"{column:>8}" for column in columns))
    rows = []
    for name in args.only or LARGE:
        case = large(name, args.order)
        labels, gram = case.labels(OUTPUTS), case.gram
        times = UNITS / case.values.max()
        exact = case.solution(FLOW, times, 1.0, labels)
        how = solvers.Krylov(dimension=args.dimension)
        found, spent = seconds(
            lambda g=gram, y=labels, t=times, h=how: solvers.solve(lambda v: g @ v, y, FLOW, t, 1.0, how=h)
        )
        true = relative(found.alpha, exact)
        inexact = true > 0
        ratios = found.error[inexact] / true[inexact]
        row = {
            "case": name,
            "dimension": found.space.dimension,
            "vectors": found.products,
            "error": float(true.max()),
            "errors": true.tolist(),
            "estimates": found.error.tolist(),
            "lowest": float(ratios.min()),
            "highest": float(ratios.max()),
            "seconds": spent,
        }
        figures = [row[key] for key in ("dimension", "vectors", "error", "lowest", "highest", "seconds")]
        if not args.no_dense:
            dense, took = seconds(lambda g=gram, y=labels, t=times: solvers.eigendecompose(g).apply(FLOW, t, 1.0, y))
            row |= {"dense seconds": took, "dense error": float(relative(dense, exact).max())}
            figures += [took, row["dense error"]]
        print(f"{name:20} " + " ".join(f"{figure:8.3g}" for figure in figures), flush=True)
        rows.append(row)
    return rows


def many_times(args):
    """Whole solves for 20 times and for the last of them, alternately, the best of three: by the clock, of the CPU."""

    def work(case, labels, gram, times):
        wall, busy = time.perf_counter(), time.process_time()
        solvers.solve(lambda v: gram @ v, labels, FLOW, times / case.values.max(), 1.0)
        return time.perf_counter() - wall, time.process_time() - busy

    rows, times = [], np.append(np.geomspace(0.1, 1e8, 19), np.inf)
    for name in ("k^-1.5", "NTK-like", "two far clusters"):
        case = large(name, args.order)
        labels, gram = case.labels(OUTPUTS), case.gram
        spent = {1: [], 20: []}
        for _ in range(3):
            for count in spent:
                spent[count].append(work(case, labels, gram, times[-count:]))
        one, twenty = np.min(spent[1], axis=0), np.min(spent[20], axis=0)
        ratio = twenty / one
        print(f"{name:20} 20 times {twenty[0]:6.1f} s, one {one[0]:6.1f} s, ratio {ratio[0]:.2f}, CPU {ratio[1]:.2f}")
        rows.append({"case": name, "twenty": twenty.tolist(), "one": one.tolist(), "ratio": ratio.tolist()})
    return rows


def chebyshev(product, top, time_, labels, exact):
    """Vectors multiplied until the expansion of phi_t on [0, top] is right to 1e-6."""
    degree = 64
    while True:
        nodes = top / 2 * (1 + np.cos(np.pi * (np.arange(degree) + 0.5) / degree))
        weights = scipy.fft.dct(FLOW(nodes, np.array([time_]), 1.0)[0]) / degree
        if np.abs(weights[-4:]).max() < 1e-9 * np.abs(weights).max() or degree >= 1 << 14:
            break
        degree *= 2
    before, now = labels, 2 / top * product(labels) - labels
    total = weights[0] / 2 * before + weights[1] * now
    for done in range(2, degree):
        if np.linalg.norm(total - exact) <= WANTED * np.linalg.norm(exact):
            return (done - 1) * labels.shape[1]
        before, now = now, 2 * (2 / top * product(now) - now) - before
        total = total + weights[done] * now
    return None


def conjugate(product, labels, exact):
    """Vectors multiplied by SciPy's cg, column by column, until each is right to 1e-6."""
    order, count = len(labels), 0
    operator = LinearOperator((order, order), lambda v: product(v.reshape(-1, 1))[:, 0])
    for y, x in zip(labels.T, exact.T, strict=True):

        def done(found, x=x):
            if np.linalg.norm(found - x) <= WANTED * np.linalg.norm(x):
                raise StopIteration

        steps = [0]

        def counted(found, done=done, steps=steps):
            steps[0] += 1
            done(found)

        try:
            cg(operator, y, rtol=0, maxiter=3000, callback=counted)
            return None
        except StopIteration:
            count += steps[0]
    return count


def other_ways(args):
    rows = []
    print(f"{'vectors for 1e-6':20} {'t':>6} {'Krylov':>8} {'Chebyshev':>10} {'cg':>8}")
    for name in ("k^-1.5", "two far clusters", "one dominant"):
        case = large(name, args.order)
        labels, top = case.labels(OUTPUTS), case.values.max()

        def product(v, case=case):
            return case.turn(case.values[:, None] * case.back(v))

        for unit in (1e2, 1e4, np.inf):
            t = np.array([unit / top])
            exact = case.solution(FLOW, t, 1.0, labels)[0]
            krylov = solvers.solve(product, labels, FLOW, t, 1.0).products
            other = None if np.isinf(unit) else chebyshev(product, top, t[0], labels, exact)
            scipys = conjugate(product, labels, exact) if np.isinf(unit) else None
            print(f"{name:20} {unit:6.0e} {krylov:8} {other or '–':>10} {scipys or '–':>8}", flush=True)
            rows.append({"case": name, "t": unit, "krylov": krylov, "chebyshev": other, "cg": scipys})
    return rows


def stages(args):
    """Solve again after every step of a space, until more steps do not help."""
    rows = []
    print(f"{'stages of growing':20} {'stages':>8} {'within':>8} {'too low':>8} {'too high':>8} {'least too low':>14}")
    for name in args.only or LARGE:
        case = large(name, 400)
        times, gram = UNITS[1:] / case.values.max(), case.gram
        true, told, count = [], [], 0
        for outputs in (1, 3, 10):
            labels = case.labels(outputs)
            exact = case.solution(FLOW, times, 1.0, labels)
            space, before = solvers.start_space(labels), -1
            while space.dimension > before and not space.exhausted:
                before = space.dimension
                how = solvers.Krylov(dimension=before + space.next.shape[1], tolerance=1e-300)
                found = solvers.solve(lambda v, g=gram: g @ v, labels, FLOW, times, 1.0, how=how, space=space)
                space, count = found.space, count + 1
                errors = relative(found.alpha, exact)
                true, told = [*true, *errors[errors > 0]], [*told, *found.error[errors > 0]]
        ratios, told = np.array(told) / np.array(true), np.array(told)
        low, high = ratios < 0.1, ratios > 1000
        row = {"case": name, "stages": count, "estimates": len(ratios), "low": int(low.sum()), "high": int(high.sum())}
        row["least estimate too low"] = float(told[low].min()) if low.any() else None
        rows.append(row)
        least = "–" if row["least estimate too low"] is None else f"{row['least estimate too low']:.2g}"
        within = 1 - (row["low"] + row["high"]) / len(ratios)
        print(f"{name:20} {count:8} {within:8.2%} {row['low']:8} {row['high']:8} {least:>14}", flush=True)
    total = sum(row["estimates"] for row in rows)
    missed = sum(row["low"] + row["high"] for row in rows)
    print(f"{'all':20} {sum(row['stages'] for row in rows):8} {1 - missed / total:8.2%}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where results are written")
    parser.add_argument("--order", type=int, default=4000)
    parser.add_argument("--dimension", type=int, default=4000, help="at most so many basis vectors in (b)")
    parser.add_argument("--only", action="append", choices=LARGE, help="only these matrices in (b)")
    parser.add_argument("--parts", default="bcde", help="which parts to run")
    parser.add_argument("--no-dense", action="store_true", help="do not time the dense solver")
    args = parser.parse_args()
    parts = {"b": hard_spectra, "c": many_times, "d": other_ways, "e": stages}
    write_json(args.json, {part: work(args) for part, work in parts.items() if part in args.parts})


if __name__ == "__main__":
    main()
