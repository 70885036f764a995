"""Fuzz on request: `PYTHONPATH=tests python -m fuzz --count 20000`, or one seed again with `--seed`."""

import argparse
import os
import sys
import time
from multiprocessing import get_context

from fuzz.judge import judge, told


def main():
    """Return 1 where an ensemble is wrong, 0 elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many ensembles")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    if given.seed is not None:
        verdict = judge(given.seed)
        print(verdict)
        print(f"  errors in units of their bounds: {verdict.used}")
        return bool(verdict.faults)
    # Threads of linear algebra would wait for each other.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    seeds, wrong = range(given.first, given.first + given.count), 0
    with get_context("spawn").Pool(given.workers) as pool:
        pool.map(judge, range(given.workers))  # imports are no ensembles
        start = time.perf_counter()
        for wrongly in pool.imap_unordered(told, seeds, chunksize=8):
            if wrongly:
                wrong += 1
                print(wrongly, flush=True)
        rate = 60 * given.count / (time.perf_counter() - start)
    print(f"{given.count} ensembles, {wrong} of them wrong; {rate:.0f} a minute on {given.workers} processes")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
