"""Question: what do tiles on a Dask cluster cost beside one process, and do both give the same bits.

Gram of n FashionMNIST images x C4, 3 hidden ReLU Dense layers, into a store: one process with two threads, beside two
worker processes of one thread each (LocalCluster), warm: both have compiled the shapes before. Medians of runs taken in
turn; then one run in which a worker is killed after a third of the tiles.

    python benchmarks/cluster.py --n 20000 --json cluster.json
"""

import argparse
import os
import signal
import tempfile
import time

import dask
import numpy as np
from distributed import Client, LocalCluster

import haarflow as hf
from haarflow import groups, kernels
from haarflow.bench import DENSE, write_json
from haarflow.kernels.distributed import Cluster
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.tile_store import TileStore


def problem(n, dtype):
    action = groups.image_rotations(4)
    x = hf.datasets.fashion_mnist(n).x
    return GramProblem(kernels.analytic(DENSE, dtype), action, x, (groups.trivial(action.group, 1),))


def in_this_process(gram, folder):
    for _ in TileStore(gram, kernels.Store(folder), {"benchmark": "cluster"}).tiles():
        continue


def on_workers(gram, folder, client, after=None):
    tiles = TileStore(gram, kernels.Store(folder), {"benchmark": "cluster"})
    for done, _ in enumerate(Cluster(client, tiles).make_all()):
        if after is not None:
            after(done)


def seconds(job, *arguments):
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.monotonic()
        job(arguments[0], folder, *arguments[1:])
        return time.monotonic() - start, frozenset(os.listdir(folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--dtype", default="float64", choices=("float32", "float64"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="where results are written")
    args = parser.parse_args()
    gram, warm = problem(args.n, args.dtype), problem(4096, args.dtype)
    with (
        # With Dask's default large arrays are mapped anew each time, and all takes 1.6 times as long.
        dask.config.set(
            {f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 2**25 for name in ("TRIM", "MMAP")}
        ),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        seconds(in_this_process, warm)
        for _ in range(2):  # until each worker has met every shape
            seconds(on_workers, warm, client)
        here, there, names = [], [], set()
        for _ in range(args.repeats):
            for times, job, rest in ((here, in_this_process, ()), (there, on_workers, (client,))):
                taken, files = seconds(job, gram, *rest)
                times.append(taken)
                names.add(files)
        victim = client.run(os.getpid)
        count = len(gram.corners())

        def kill(done):
            if done == count // 3:
                os.kill(next(iter(victim.values())), signal.SIGKILL)

        killed, files = seconds(on_workers, gram, client, kill)
        names.add(files)
    ours, theirs = float(np.median(here)), float(np.median(there))
    # The names hold the SHA-256 of the files' bytes.
    same = len(names) == 1
    print(f"n = {args.n} x C4, {args.dtype}, {count} tiles: one process of two threads {ours:.1f} s, two workers")
    print(
        f"{theirs:.1f} s: overhead {100 * (theirs / ours - 1):.1f} %; one worker killed after a third: {killed:.1f} s"
    )
    print(f"same bits in every tile of every run: {same}")
    results = {"here_s": here, "workers_s": there, "killed_s": killed, "same_bits": same, "options": vars(args)}
    write_json(args.json, {"workload": "cluster", **results})


if __name__ == "__main__":
    main()
