"""Runs on a cluster of two worker processes, of which some are killed meanwhile. Run as a program: work, folder, seeds.

Writes a line of JSON for each seed.
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

from distributed import Client, LocalCluster, WorkerPlugin
from reliability import hooks, program
from reliability.program import CORNERS

WORK = {"answer": program.answer, "products": program.products}


class SmallAndSlow(WorkerPlugin):
    """What every worker is told, and each one that takes a killed one's place."""

    def setup(self, worker):
        program.use_small_tiles()
        hooks.slow(None, 0.03)


def main():
    """Run them all on one cluster."""
    work, folder, *seeds = sys.argv[1:]
    program.use_small_tiles()
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.register_plugin(SmallAndSlow())
        for seed in map(int, seeds):
            client.wait_for_workers(2)
            store, killed, found = Path(folder) / str(seed), [], {}
            killer = Thread(target=_kill, args=(list(client.run(os.getpid).values()), store, work, seed, killed))
            killer.start()
            try:
                found["result"] = WORK[work](store, executor=client).hex()
            except Exception as error:
                kinds = [kind.__name__ for kind in type(error).__mro__]
                found = {"kinds": kinds, "error": str(error), "trace": traceback.format_exc()}
            killer.join()
            print(json.dumps({"seed": seed, "killed": len(killed), **found}), flush=True)


def _kill(workers, store, work, seed, killed):
    """Kill one worker once some tiles are there, for every third seed the other one later too."""
    draw = random.Random(seed)
    draw.shuffle(workers)
    tiles = draw.randrange(len(CORNERS)) if work == "answer" else len(CORNERS)
    while len(list(store.glob("gram-*"))) < tiles:
        time.sleep(0.002)
    time.sleep(draw.random() * (0.03 if work == "answer" else 0.5))
    for worker in workers[: 2 if seed % 3 == 2 else 1]:
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)
        time.sleep(0.3)


if __name__ == "__main__":
    main()
