"""One run on a cluster of two worker processes, of which one or both are killed meanwhile.

Run as a program: solver, store, seed. Writes what came of it as JSON.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from threading import Thread

import dask
from distributed import Client, LocalCluster, WorkerPlugin
from reliability import hooks, program
from reliability.program import CORNERS


class SmallAndSlow(WorkerPlugin):
    """What every worker is told, and each one that takes a killed one's place."""

    def setup(self, worker):
        program.use_small_tiles()
        hooks.slow(None, 0.03)


def main():
    """Run, and print what came of it."""
    solver, store, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    program.use_small_tiles()
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    names = (f"MALLOC_{which}_THRESHOLD_" for which in ("TRIM", "MMAP"))
    settings = {f"distributed.nanny.pre-spawn-environ.{name}": 2**25 for name in names}
    with dask.config.set(settings), LocalCluster(**options) as cluster, Client(cluster) as client:
        client.register_plugin(SmallAndSlow())
        client.wait_for_workers(2, timeout=30)
        killed, found = [], {}
        killer = Thread(target=_kill, args=(list(client.run(os.getpid).values()), store, solver, seed, killed))
        killer.start()
        try:
            found["result"] = program.answer(store, solver, client).hex()
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            found = {"kinds": kinds, "error": str(error), "trace": traceback.format_exc()}
        killer.join()
        print(json.dumps({"killed": len(killed), **found}), flush=True)


def _kill(workers, store, solver, seed, killed):
    """Kill a worker once some tiles are there, and in half of the trials the other one soon after it."""
    draw = random.Random(seed)
    draw.shuffle(workers)
    tiles = draw.randrange(len(CORNERS)) if solver == "dense" else len(CORNERS)
    while len(list(store.glob("gram-*"))) < tiles:
        time.sleep(0.002)
    time.sleep(draw.random() * (0.03 if solver == "dense" else 0.5))
    for worker in workers[: 1 + seed // 2 % 2]:
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)
        time.sleep(draw.choice([0, 0.1, 0.3]))


if __name__ == "__main__":
    main()
